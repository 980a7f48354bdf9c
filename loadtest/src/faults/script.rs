//! Has the faults carried out while the load goes on, and measures how soon the regions are whole again after each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fault::{Fault, steps};
use super::orders::Orders;
use crate::conserve::{self, Reader};
use crate::ledger::Ledger;
use crate::measure::Phases;
use crate::target::{Dial, Endpoint, Link};

/// What is to be done.
pub struct Script {
    /// Who does it.
    pub orders: Orders,
    /// What and when.
    pub faults: Vec<Fault>,
    /// Where the counters can be read.
    pub targets: Vec<Endpoint>,
    /// How to reach them.
    pub dial: Arc<Dial>,
    /// How long to wait until regions are whole again.
    pub patience: Duration,
}

/// How one fault went; times are after the beginning of the measured part.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FaultRecord {
    /// Such as `kill eu-west`.
    pub fault: String,
    /// When it was done.
    pub began_s: Option<f64>,
    /// When it was made good: a killed node was ready again.
    pub ended_s: Option<f64>,
    /// From then on until every region counted all that had been acknowledged anywhere by then.
    pub converged_after_s: Option<f64>,
    /// Why it could not be carried out.
    pub error: Option<String>,
}

impl Script {
    /// Has everything carried out; the records are by position in the script. If the run is stopped early, what was begun is
    /// made good at once.
    pub async fn play(self, ledger: Arc<Ledger>, phases: Phases, stop: CancellationToken) -> Vec<FaultRecord> {
        let untouched = |fault: &Fault| FaultRecord { fault: fault.to_string(), ..FaultRecord::default() };
        let mut records: Vec<FaultRecord> = self.faults.iter().map(untouched).collect();
        let mut measuring = JoinSet::new();
        for step in steps(&self.faults) {
            tokio::select! {
                () = tokio::time::sleep_until((phases.measured + step.at).into()) => {}
                () = stop.cancelled() => {}
            }
            let (stopped, record) = (stop.is_cancelled(), &mut records[step.fault]);
            // What was never begun needs no end, and nothing begins once the run is stopped.
            let is_moot = if step.ends { record.began_s.is_none() } else { stopped };
            if is_moot {
                continue;
            }
            let carried_out = self.orders.order(&self.faults[step.fault].order(step.ends)).await;
            let now = Instant::now();
            let since_s = Some(now.saturating_duration_since(phases.measured).as_secs_f64());
            match carried_out {
                Err(error) => record.error = Some(format!("{error:#}")),
                Ok(()) if !step.ends => record.began_s = since_s,
                Ok(()) => {
                    record.ended_s = since_s;
                    if !stopped {
                        let converging = self.converging(&ledger, now);
                        measuring.spawn(async move { (step.fault, converging.await) });
                    }
                }
            }
        }
        for (fault, converged_after) in measuring.join_all().await {
            records[fault].converged_after_s = converged_after.map(|after| after.as_secs_f64());
        }
        records
    }

    /// How long after `since` every region counts what had been acknowledged anywhere by now.
    fn converging(&self, ledger: &Ledger, since: Instant) -> impl Future<Output = Option<Duration>> + use<> {
        let least = ledger.touched().into_iter().map(|key| (key, ledger.expected(key).least)).collect();
        let (targets, dial, deadline) = (self.targets.clone(), Arc::clone(&self.dial), since + self.patience);
        async move {
            let mut readers = Vec::new();
            for target in &targets {
                let patience = deadline.saturating_duration_since(Instant::now());
                readers.push(Reader::new(target.to_string(), Link::open(target, &dial, patience).await.ok()?));
            }
            conserve::reach(&mut readers, &least, deadline).await.then(|| since.elapsed())
        }
    }
}
