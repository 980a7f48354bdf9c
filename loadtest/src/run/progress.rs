//! What people see while they wait. Nothing is drawn unless standard error is a terminal.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::record::Record;
use crate::conserve::Progress;
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

/// Shows that it is waited until the regions agree, and how many answers about how many counters there were.
pub(super) fn check(plan: &Plan, counters: usize, read: &Progress) -> ProgressBar {
    let spinner = if plan.output.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let read = Arc::clone(read);
    let style = ProgressStyle::with_template("{spinner} waiting until the regions agree: {elapsed}, {read}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    spinner.enable_steady_tick(INTERVAL);
    spinner.with_style(style.with_key("read", move |_: &ProgressState, text: &mut dyn fmt::Write| {
        let _ = write!(text, "{} answers about {counters} counters", read.load(Relaxed));
    }))
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
