//! A whole run: connect, send, wait until the regions agree, and compare with what was acknowledged and attempted. What came
//! of it is an [`Outcome`]; how that is told is for others.

mod lane;
mod limited;
mod processes;
mod progress;
mod record;
mod sending;
mod setup;
mod ticker;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::conserve::{self, Agreement};
use crate::faults::fault::Fault;
use crate::faults::orders::Orders;
use crate::faults::script::Script;
use crate::figures::Figures;
use crate::finding::Finding;
use crate::ids::Full;
use crate::keys::Kind;
use crate::plan::Plan;
use crate::timeline::Timeline;

pub use limited::Limited;
pub use processes::send_part;
pub use record::Record;
pub use sending::{Ids, Sent};
pub use setup::{Origin, Setup};

/// What came of a run.
pub struct Outcome {
    /// What was decided before the first request.
    pub setup: Setup,
    /// What came of the sending.
    pub sent: Sent,
    /// What the targets answered at the end.
    pub agreement: Agreement,
    /// What came of the limits; none if no decisions were asked.
    pub limited: Option<Limited>,
}

/// Runs the load and the check. An error means that nothing could be tested.
pub async fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    run_with(plan, None, until_ctrl_c).await
}

/// The same with faults in a cluster whose operator is reached by the orders. What `begin` gives, once the load begins, ends
/// the sending early.
pub async fn run_with(
    plan: &Plan,
    drill: Option<(Orders, Vec<Fault>)>,
    begin: impl FnOnce() -> CancellationToken,
) -> anyhow::Result<Outcome> {
    let mut setup = Setup::connect(plan).await?;
    let ledger = setup.open_ledger().await?;
    let script = drill.map(|(orders, faults)| Script {
        orders,
        faults,
        targets: plan.network.targets.clone(),
        dial: Arc::clone(&setup.dial),
        patience: plan.checks.agree_timeout,
    });
    let sent = match plan.network.processes {
        1 => sending::send(&setup, ledger, script, async { Ok(begin()) }).await?,
        _ => processes::send_all(&setup, ledger, begin).await?,
    };
    let record = &sent.record;
    let expected = |key| record.ledger.expected(key);
    let (touched, read) = (record.ledger.touched(), conserve::Progress::default());
    let waiting = progress::check(plan, touched.len(), &read);
    let agreement = conserve::agree(&mut setup.readers, touched, expected, plan.checks.agree_timeout, &read).await;
    waiting.finish_and_clear();
    conserve::judge(&agreement, &setup.readers, &record.names, expected, &record.findings);
    judge_ids(record, &sent.ids);
    let limited = limited::judge(&setup, &sent);
    Ok(Outcome { setup, sent, agreement, limited })
}

fn judge_ids(record: &Record, ids: &Ids) {
    for duplicate in &ids.found.named {
        let targets = (record.target(duplicate.targets.0), record.target(duplicate.targets.1));
        record.findings.push(Finding::DuplicateId { id: duplicate.id.to_string(), count: duplicate.count, targets });
    }
    if let Some(Full { runs_max }) = ids.full {
        record.findings.push(Finding::TooManyIdRuns { runs_max });
    }
}

/// What the first Ctrl-C from now on cancels, so that what was sent is still checked; the second ends the program.
pub fn until_ctrl_c() -> CancellationToken {
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_ctrl_c(stop.clone()));
    stop
}

async fn stop_on_ctrl_c(stop: CancellationToken) {
    for exit in [false, true] {
        if tokio::signal::ctrl_c().await.is_err() {
            return;
        }
        stop.cancel();
        if exit {
            std::process::exit(130);
        }
    }
}

impl Outcome {
    /// The kinds that occur.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        self.setup.workload.mix.kinds()
    }

    /// The targets with their positions.
    pub fn targets(&self) -> impl Iterator<Item = (u16, &Origin)> {
        (0..).zip(&self.setup.origins)
    }

    /// The figures of the targets and kinds that are `wanted`.
    pub fn figures(&self, wanted: impl Fn(u16, Kind) -> bool) -> Figures {
        self.sent.record.recorder.figures(wanted)
    }

    /// The timeline of the targets and kinds that are `wanted`.
    pub fn timeline(&self, wanted: impl Fn(u16, Kind) -> bool) -> Timeline {
        self.sent.record.recorder.timeline(wanted)
    }

    /// Seconds that one kind was measured for: where kinds take turns, each has its part of the time.
    pub fn seconds_of_kind(&self) -> f64 {
        let all = self.sent.measured_s;
        self.setup.workload.turn.map_or(all, |_| all / self.kinds().count().max(1) as f64)
    }
}
