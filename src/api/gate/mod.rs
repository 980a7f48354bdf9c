//! The gate: what every front door does with a request once it has read it. A door is a codec and a socket; whether the node
//! serves what is asked, what the caller may do, how long it may take, who carries it out, what is counted, and in which words
//! it is refused, are decided here, once for all doors.

mod backend;
mod limits;
mod namespaces;
mod not_served;
mod plan;
mod refused;
mod stage;

use std::future::Future;
use std::time::{Duration, Instant};

use snowtide_protocol::Code;
use snowtide_protocol::wire::IdRun;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Doors;
use crate::clock;
use crate::engine::{Applied, Awaited};
use crate::replica::{Operation, Outcome, Terms};
use crate::telemetry::{self, Door, Verb};

pub(super) use backend::{Counts, Mints, Node};
pub(super) use limits::Decider;
pub use namespaces::{Named, Namespaces};
pub use not_served::NotServed;
pub(super) use plan::{Plan, weave};
pub use refused::Refused;
pub use stage::Stage;

/// The gate behind one door.
pub(super) struct Gate<B = Node> {
    door: Door,
    backend: B,
    pub(super) stage: watch::Receiver<Stage>,
    /// `api.request_timeout`
    timeout: Duration,
}

/// A submission that the engine has taken.
pub(super) struct Submitted {
    answer: Awaited,
    door: Door,
    /// How many operations it has.
    count: usize,
    writes: Writes,
}

/// Which operations of a submission are writes.
enum Writes {
    None,
    All,
    Some(Box<[bool]>),
}

impl Gate {
    /// Behind this door of a node.
    pub(super) fn new(doors: &Doors, door: Door) -> Self {
        let backend = Node { engine: doors.engine.clone(), ids: doors.ids.clone() };
        Self::before(backend, door, doors.stage.clone(), doors.config.api.request_timeout)
    }
}

impl<B: Counts> Gate<B> {
    /// Before whatever carries requests out.
    pub(super) fn before(backend: B, door: Door, stage: watch::Receiver<Stage>, timeout: Duration) -> Self {
        Self { door, backend, stage, timeout }
    }

    /// Refuses counting at a stage at which no counter is served.
    pub(super) fn admit_counting(&self) -> Result<(), Refused> {
        self.stage.borrow().admit_counting()
    }

    /// Refuses minting at a stage at which there are no IDs.
    pub(super) fn admit_minting(&self) -> Result<(), Refused> {
        self.stage.borrow().admit_minting()
    }

    /// Operations that the engine has room for.
    pub(super) fn room(&self) -> usize {
        self.backend.room()
    }

    /// How long a request on these terms may take.
    pub(super) fn limit(&self, terms: Option<&Terms>) -> Duration {
        self.timeout.saturating_add(Duration::from_millis(terms.map_or(0, Terms::patience_ms)))
    }

    /// Has a request carried out within its time, and counts it.
    pub(super) async fn carry_out<T>(
        &self,
        verb: Verb,
        limit: Duration,
        request: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        let began = clock::monotonic();
        let answer = timeout(limit, request).await.unwrap_or_else(|_| Err(Refused::timed_out(limit)));
        self.count(verb, began, answer.as_ref().err().map(|refused| refused.code));
        answer
    }

    /// A request that came at `began` is answered; `refused` tells how, if it was not carried out.
    pub(super) fn count(&self, verb: Verb, began: Instant, refused: Option<Code>) {
        let seconds = clock::monotonic().duration_since(began).as_secs_f64();
        telemetry::request_answered(self.door, verb, refused, seconds);
    }

    /// Hands operations to the engine: what is submitted first is applied first.
    pub(super) fn submit(&self, operations: Vec<Operation>, terms: Option<Box<Terms>>) -> Result<Submitted, Refused> {
        let (count, writes) = (operations.len(), Writes::among(&operations));
        let answer = self.backend.submit(operations, terms)?;
        Ok(Submitted { answer, door: self.door, count, writes })
    }
}

impl<B: Mints> Gate<B> {
    /// Mints so many IDs.
    pub(super) async fn mint(&self, count: u32) -> Result<Vec<IdRun>, Refused> {
        let runs = self.backend.mint(count).await?;
        telemetry::ids_minted(self.door, u64::from(count));
        Ok(runs)
    }
}

impl Submitted {
    /// What the engine says of each operation. Once `leaving` ends, the batch waits for nothing that its terms ask any more.
    pub(super) async fn answer(self, leaving: impl Future<Output = ()>) -> Result<Applied, Refused> {
        let Self { mut answer, door, count, writes } = self;
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = leaving => {
                answer.hurry();
                answer.await
            }
        };
        let applied = answered.map_err(|_| Refused::stopped())??;
        if applied.outcomes.len() != count {
            return Err(Refused::miscounted());
        }
        telemetry::increments_acknowledged(door, writes.carried_out(&applied.outcomes));
        Ok(applied)
    }
}

impl Writes {
    fn among(operations: &[Operation]) -> Self {
        let is_write = |operation: &Operation| operation.action.is_write();
        match operations.iter().filter(|operation| is_write(operation)).count() {
            0 => Self::None,
            all if all == operations.len() => Self::All,
            _ => Self::Some(operations.iter().map(is_write).collect()),
        }
    }

    /// How many have taken place.
    fn carried_out(&self, outcomes: &[Outcome]) -> u64 {
        let done = |outcome: &Outcome| matches!(outcome, Outcome::Value(_));
        let count = match self {
            Self::None => 0,
            Self::All => outcomes.iter().filter(|outcome| done(outcome)).count(),
            Self::Some(writes) => {
                outcomes.iter().zip(writes).filter(|(outcome, is_write)| **is_write && done(outcome)).count()
            }
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use snowtide_protocol::{Action, Key};

    use super::*;
    use crate::engine::EngineHandle;
    use crate::identity::NamespaceId;

    fn operations(actions: &[Action]) -> Vec<Operation> {
        let operation =
            |action: &Action| Operation { namespace: NamespaceId(1), key: Key::new("k").unwrap(), action: *action };
        actions.iter().map(operation).collect()
    }

    #[tokio::test]
    async fn an_engine_that_miscounts_is_not_believed() {
        for (asked, believed) in [(0, false), (1, false), (2, true), (3, false)] {
            let engine = EngineHandle::fake(|_| Ok(vec![Outcome::Value(1); 2]));
            let gate = Gate::before(engine, Door::Http, watch::channel(Stage::Ready).1, Duration::from_secs(30));
            let answer = gate.submit(operations(&vec![Action::Get; asked]), None).unwrap().answer(pending()).await;
            assert_eq!(
                answer.map(|_| ()).map_err(|refused| refused.code),
                believed.then_some(()).ok_or(Code::Internal)
            );
        }
    }

    #[test]
    fn writes_that_took_place_are_counted_and_nothing_else() {
        let (add, get) = (Action::Increment(1), Action::Get);
        let (done, not) = (Outcome::Value(1), Outcome::Overflow);
        for (actions, outcomes, counted) in [
            (&[get, get][..], &[done, done][..], 0),
            (&[add, add], &[done, done], 2),
            (&[add, add], &[done, not], 1),
            (&[get, add, add], &[done, not, done], 1),
            (&[add, get], &[done, done], 1),
        ] {
            assert_eq!(Writes::among(&operations(actions)).carried_out(outcomes), counted, "{actions:?}");
        }
    }
}
