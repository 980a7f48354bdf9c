//! One batch, parsed and validated. The keys are copied once, out of the frame; every count is checked first.

use snowtide_protocol::Code;
use snowtide_protocol::codec::{Cursor, DecodeError};
use snowtide_protocol::wire::{BATCH_NAMESPACES_MAX, BATCH_OPERATIONS_MAX, WireOperation};

use crate::api::bearer::Grant;
use crate::api::gate::Plan;
use crate::api::{Named, Namespaces, Refused};

/// The batch that was read last.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) plan: Plan<Code>,
    names: Vec<Named>,
}

/// Why a request goes no further.
#[derive(Debug)]
pub(super) enum Rejected {
    /// The frame is not a request: the connection is closed.
    Malformed(DecodeError),
    /// The request is answered with this.
    Refused(Refused),
}

impl From<Refused> for Rejected {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<DecodeError> for Rejected {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

impl Batch {
    /// Reads what follows the head of a batch, in place of what was read before.
    pub(super) fn read(
        &mut self,
        known: &Namespaces,
        grant: &Grant,
        namespaces: u32,
        operations: u32,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Rejected> {
        at_most(namespaces, BATCH_NAMESPACES_MAX, "namespaces")?;
        at_most(operations, BATCH_OPERATIONS_MAX, "operations")?;
        self.clear();
        for _ in 0..namespaces {
            self.names.push(known.named(grant, cursor.read()?));
        }
        for position in 0..operations {
            let pushed = self.push(cursor.read()?);
            pushed.map_err(|refused| refused.about(format_args!("operation {position}")))?;
        }
        Ok(cursor.finish()?)
    }

    fn clear(&mut self) {
        self.plan.operations.clear();
        self.plan.left_out.clear();
        self.names.clear();
    }

    fn push(&mut self, WireOperation { namespace, key, action }: WireOperation<'_>) -> Result<(), Refused> {
        let named = usize::try_from(namespace).ok().and_then(|at| self.names.get(at)).ok_or_else(|| {
            let detail = format!("namespace {namespace} of {} in the batch", self.names.len());
            Refused::new(Code::InvalidRequest, detail)
        })?;
        self.plan.push(named.operation(key, action))
    }
}

pub(super) fn at_most(count: u32, limit: usize, what: &str) -> Result<(), Rejected> {
    if usize::try_from(count).is_ok_and(|count| count <= limit) {
        return Ok(());
    }
    let detail = format!("a batch holds at most {limit} {what}, this one has {count}");
    Err(Refused::new(Code::TooLarge, detail).into())
}
