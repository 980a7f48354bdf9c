//! What people see while they wait. Nothing is drawn unless standard error is a terminal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Args;
use crate::lane::Books;
use crate::measure::Phases;

const TICKS_PER_SECOND: u64 = 5;
const INTERVAL: Duration = Duration::from_millis(1_000 / TICKS_PER_SECOND);

/// The bar of the run.
pub(crate) fn bar(args: &Args) -> ProgressBar {
    if args.quiet {
        return ProgressBar::hidden();
    }
    let ms = args.warmup.saturating_add(args.duration).as_millis();
    let style = ProgressStyle::with_template("{bar:40} {elapsed}/{duration} {msg}");
    let bar = ProgressBar::new(u64::try_from(ms).unwrap_or(u64::MAX));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Shows that something is waited for.
pub(crate) fn spinner(args: &Args, message: &'static str) -> ProgressBar {
    let spinner = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.enable_steady_tick(INTERVAL);
    spinner.with_message(message)
}

/// Draws until it is aborted.
pub(crate) async fn show(bar: ProgressBar, books: Arc<Books>, phases: Phases) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut before = 0;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let (done, failed) = books.board.progress();
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
