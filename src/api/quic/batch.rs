//! One batch, parsed and validated. The keys are copied once, out of the frame; every count is checked first.

use snowtide_protocol::Code;
use snowtide_protocol::codec::{Cursor, DecodeError};
use snowtide_protocol::wire::{BATCH_NAMESPACES_MAX, BATCH_OPERATIONS_MAX, WireOperation};

use crate::api::bearer::Grant;
use crate::api::{Named, Namespaces, Refused};
use crate::replica::Operation;

/// The batch that was read last.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What the engine is asked, in order.
    pub(super) operations: Vec<Operation>,
    /// Operations on namespaces that are not served here: their positions in the batch, and why. The engine never sees
    /// them.
    pub(super) unknown: Vec<(u32, Code)>,
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
            let operation = cursor.read()?;
            self.push(position, operation)?;
        }
        Ok(cursor.finish()?)
    }

    fn clear(&mut self) {
        self.operations.clear();
        self.unknown.clear();
        self.names.clear();
    }

    fn push(
        &mut self,
        position: u32,
        WireOperation { namespace, key, action }: WireOperation<'_>,
    ) -> Result<(), Rejected> {
        let named = usize::try_from(namespace).ok().and_then(|at| self.names.get(at)).ok_or_else(|| {
            let detail = format!("namespace {namespace} of {} in the batch", self.names.len());
            within(position, Refused::new(Code::InvalidRequest, detail))
        })?;
        match named.operation(key, action) {
            Ok(operation) => self.operations.push(operation),
            Err(refused) if refused.is_not_served() => self.unknown.push((position, refused.code)),
            Err(refused) => return Err(within(position, refused).into()),
        }
        Ok(())
    }
}

/// Says which operation of a batch is refused.
fn within(position: u32, refused: Refused) -> Refused {
    Refused { detail: format!("operation {position}: {refused}").into(), ..refused }
}

fn at_most(count: u32, limit: usize, what: &str) -> Result<(), Rejected> {
    if usize::try_from(count).is_ok_and(|count| count <= limit) {
        return Ok(());
    }
    let detail = format!("a batch holds at most {limit} {what}, this one has {count}");
    Err(Refused::new(Code::TooLarge, detail).into())
}
