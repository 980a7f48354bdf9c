//! Carries the faults out while the load goes on, and measures how soon the regions are whole again after each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fault::{Fault, Step, steps};
use super::orders::Orders;
use crate::conserve::{self, Reader};
use crate::lane::Books;
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
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// Which.
    pub fault: Fault,
    /// When it was done.
    pub began: Option<Duration>,
    /// When it was made good: a killed node was ready again.
    pub ended: Option<Duration>,
    /// From then on until every region counted all that had been acknowledged anywhere when it was made good.
    pub converged_after: Option<Duration>,
    /// Why it could not be done.
    pub error: Option<String>,
}

impl Script {
    /// Has everything carried out; the courses are by position in the script. If the run is stopped early, what was begun is
    /// made good at once.
    pub async fn play(self, books: Arc<Books>, phases: Phases, stop: CancellationToken) -> Vec<Course> {
        let course = |fault: &Fault| Course {
            fault: fault.clone(),
            began: None,
            ended: None,
            converged_after: None,
            error: None,
        };
        let mut courses: Vec<Course> = self.faults.iter().map(course).collect();
        let mut measuring = JoinSet::new();
        for step in steps(&self.faults) {
            tokio::select! {
                () = tokio::time::sleep_until((phases.measured + step.at).into()) => {}
                () = stop.cancelled() => {}
            }
            let stopped = stop.is_cancelled();
            self.step(step, stopped, &mut courses, phases).await;
            if let (true, Some(ended), false) = (step.ends, courses[step.fault].ended, stopped) {
                let measure = self.measure(&books, phases.measured + ended);
                measuring.spawn(async move { (step.fault, measure.await) });
            }
        }
        drop(books);
        for (fault, converged_after) in measuring.join_all().await {
            courses[fault].converged_after = converged_after;
        }
        courses
    }

    async fn step(&self, step: Step, stopped: bool, courses: &mut [Course], phases: Phases) {
        let course = &mut courses[step.fault];
        // What was never begun needs no end.
        if (step.ends && course.began.is_none()) || (!step.ends && stopped) {
            return;
        }
        let harm = course.fault.harm;
        let word = if step.ends { harm.ends() } else { harm.begins() };
        let carried_out = self.orders.order(&format!("{word} {}", course.fault.region)).await;
        let at = Some(phases.measured.elapsed());
        match carried_out {
            Ok(()) if step.ends => course.ended = at,
            Ok(()) => course.began = at,
            Err(error) => course.error = Some(format!("{error:#}")),
        }
    }

    /// How long after `since` every region counts what had been acknowledged anywhere by now.
    fn measure(&self, books: &Books, since: Instant) -> impl Future<Output = Option<Duration>> + use<> {
        let keys = books.ledger.touched();
        let least: Vec<i128> = keys.iter().map(|key| books.ledger.expected(*key).least).collect();
        let (targets, dial, deadline) = (self.targets.clone(), Arc::clone(&self.dial), since + self.patience);
        async move {
            let mut readers = Vec::new();
            for target in &targets {
                let patience = deadline.saturating_duration_since(Instant::now());
                readers.push(Reader::new(target.to_string(), Link::open(target, &dial, patience).await.ok()?));
            }
            conserve::reach(&mut readers, &keys, &least, deadline).await.then(|| since.elapsed())
        }
    }
}
