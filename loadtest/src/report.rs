//! How a run is told: a summary for programs, a table and a page for people, percentile files for plotting.

mod charts;
pub mod drill;
mod files;
mod hgrm;
mod hlog;
mod html;
pub mod limits;
mod plot;
pub mod row;
pub mod settings;
pub mod summary;
pub mod text;

pub use summary::Summary;

use crate::run::Outcome;

/// Sums a run up, and writes the files that were asked for.
pub fn of(outcome: &Outcome) -> anyhow::Result<Summary> {
    let summary = Summary::of(outcome);
    files::write(outcome, &summary)?;
    Ok(summary)
}
