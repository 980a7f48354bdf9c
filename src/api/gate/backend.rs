//! What stands behind the gate: the engine, a node with its IDs, or whatever a test puts there.

use std::future::Future;

use snowtide_protocol::wire::IdRun;

use crate::engine::{Awaited, EngineHandle};
use crate::ids::{IdRefusal, IdSource};
use crate::replica::{Operation, Refusal, Terms};

/// Who carries operations on counters out.
pub(in crate::api) trait Counts: Send + Sync + 'static {
    /// As [`EngineHandle::room`].
    fn room(&self) -> usize;
    /// As [`EngineHandle::submit`].
    fn submit(&self, operations: Vec<Operation>, terms: Option<Box<Terms>>) -> Result<Awaited, Refusal>;
}

/// Who mints IDs, too.
pub(in crate::api) trait Mints: Counts {
    /// As [`IdSource::mint`].
    fn mint(&self, count: u32) -> impl Future<Output = Result<Vec<IdRun>, IdRefusal>> + Send;
}

/// A node with all that it does.
pub(in crate::api) struct Node {
    pub(super) engine: EngineHandle,
    pub(super) ids: IdSource,
}

impl Counts for EngineHandle {
    fn room(&self) -> usize {
        self.room()
    }

    fn submit(&self, operations: Vec<Operation>, terms: Option<Box<Terms>>) -> Result<Awaited, Refusal> {
        self.submit(operations, terms)
    }
}

impl Counts for Node {
    fn room(&self) -> usize {
        self.engine.room()
    }

    fn submit(&self, operations: Vec<Operation>, terms: Option<Box<Terms>>) -> Result<Awaited, Refusal> {
        self.engine.submit(operations, terms)
    }
}

impl Mints for Node {
    async fn mint(&self, count: u32) -> Result<Vec<IdRun>, IdRefusal> {
        self.ids.mint(count).await
    }
}
