//! The files that were asked for.

use anyhow::Context as _;

use super::hgrm;
use super::hlog::{self, Track};
use crate::keys::Kind;
use crate::run::{Sent, Setup};
use crate::summary::total;

/// Writes all of them.
pub(crate) fn write(setup: &Setup, sent: &Sent) -> anyhow::Result<()> {
    percentiles(setup, sent)?;
    if let Some(path) = &setup.args.hlog {
        hlog::write_file(path, &tracks(setup, sent), sent.started, sent.books.board.slice_width())?;
    }
    Ok(())
}

fn percentiles(setup: &Setup, sent: &Sent) -> anyhow::Result<()> {
    let Some(directory) = &setup.args.hgrm else { return Ok(()) };
    let failed = || format!("cannot write percentile files to {}", directory.display());
    let board = &sent.books.board;
    for kind in setup.args.mix.kinds() {
        let all = total(&setup.args, board, |_, each| each == kind);
        hgrm::write_file(directory, kind.name(), &all.latency).with_context(failed)?;
        for (target, reader) in (0_u16..).zip(&setup.readers) {
            let name = format!("{}-{}", kind.name(), reader.name);
            hgrm::write_file(directory, &name, &board.copy(target, kind).latency).with_context(failed)?;
        }
    }
    Ok(())
}

fn tracks(setup: &Setup, sent: &Sent) -> Vec<Track> {
    let track = |kind: Kind, target: u16, name: &str| Track {
        name: format!("{}/{name}", kind.name()),
        timeline: sent.books.board.timeline(target, kind),
    };
    let kinds = setup.args.mix.kinds();
    kinds
        .flat_map(|kind| (0_u16..).zip(&setup.readers).map(move |(target, reader)| track(kind, target, &reader.name)))
        .collect()
}
