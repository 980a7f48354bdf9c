//! What people see while they wait. Nothing is drawn unless standard error is a terminal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::record::Record;
use crate::measure::Phases;
use crate::plan::Plan;

const TICKS_PER_SECOND: u64 = 5;
const INTERVAL: Duration = Duration::from_millis(1_000 / TICKS_PER_SECOND);

/// The bar of the run.
pub(super) fn bar(plan: &Plan) -> ProgressBar {
    if plan.output.quiet {
        return ProgressBar::hidden();
    }
    let ms = plan.pace.warmup.saturating_add(plan.pace.duration).as_millis();
    let style = ProgressStyle::with_template("{bar:40} {elapsed}/{duration} {msg}");
    let bar = ProgressBar::new(u64::try_from(ms).unwrap_or(u64::MAX));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Shows that something is waited for.
pub(super) fn spinner(plan: &Plan, message: &'static str) -> ProgressBar {
    let spinner = if plan.output.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.enable_steady_tick(INTERVAL);
    spinner.with_message(message)
}

/// Draws until it is aborted.
pub(super) async fn show(bar: ProgressBar, record: Arc<Record>, phases: Phases) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut before = 0;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let (done, failed) = record.recorder.progress();
        let per_second = done.saturating_sub(before) * TICKS_PER_SECOND;
        before = done;
        let phase = match now {
            now if now < phases.measured => "warm-up",
            now if now < phases.end => "measuring",
            _ => "waiting for answers",
        };
        let elapsed = now.saturating_duration_since(phases.start).as_millis();
        bar.set_position(u64::try_from(elapsed).unwrap_or(u64::MAX));
        bar.set_message(format!("{phase}: {per_second}/s, {done} done, {failed} not"));
    }
}
