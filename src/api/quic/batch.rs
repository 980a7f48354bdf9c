//! One batch, parsed and validated. The keys are copied once, out of the frame; every count is checked first.

use snowtide_protocol::codec::{Cursor, DecodeError};
use snowtide_protocol::wire::{BATCH_NAMESPACES_MAX, BATCH_OPERATIONS_MAX, WireError, WireOperation};
use snowtide_protocol::{Access, Code, Key};

use super::error;
use crate::api::Namespaces;
use crate::api::bearer::{Forbidden, Grant};
use crate::config::Permission;
use crate::identity::NamespaceId;
use crate::replica::Operation;

/// The batch that was read last.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What the engine is asked, in order.
    pub(super) operations: Vec<Operation>,
    /// Operations on namespaces that are not served here: their positions in the batch, and why. The engine never sees
    /// them.
    pub(super) unknown: Vec<(u32, Code)>,
    /// Any operation changes a counter.
    pub(super) writes: bool,
    names: Vec<Name>,
}

/// A namespace that the batch names.
#[derive(Debug)]
struct Name {
    served: Result<NamespaceId, Code>,
    /// Whether the caller may read in it.
    reads: Result<(), Forbidden>,
    /// Whether the caller may change its counters.
    writes: Result<(), Forbidden>,
}

/// Why a request goes no further.
#[derive(Debug)]
pub(super) enum Rejected {
    /// The frame is not a request: the connection is closed.
    Malformed(DecodeError),
    /// The request is answered with this.
    Refused(WireError),
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
            let name: &str = cursor.read()?;
            self.names.push(Name {
                served: known.find(name).map_err(|reason| reason.code()),
                reads: grant.require_in(Permission::Read, name),
                writes: grant.require_in(Permission::Write, name),
            });
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
        self.writes = false;
    }

    fn push(
        &mut self,
        position: u32,
        WireOperation { namespace, key, action }: WireOperation<'_>,
    ) -> Result<(), Rejected> {
        let invalid = |detail: &dyn std::fmt::Display| {
            Rejected::Refused(error(Code::InvalidRequest, format_args!("operation {position}: {detail}")))
        };
        let key = Key::of_client(key).map_err(|bad| invalid(&bad))?;
        self.writes |= action.is_write();
        let named = usize::try_from(namespace).ok().and_then(|at| self.names.get(at));
        let named = named
            .ok_or_else(|| invalid(&format_args!("namespace {namespace} of {} in the batch", self.names.len())))?;
        let allowed = match action.access() {
            Access::Read => &named.reads,
            Access::Write => &named.writes,
        };
        let forbidden = |why| Rejected::Refused(error(Code::Forbidden, format_args!("operation {position}: {why}")));
        allowed.as_ref().map_err(forbidden)?;
        match named.served {
            Ok(id) => self.operations.push(Operation { namespace: id, key, action }),
            Err(code) => self.unknown.push((position, code)),
        }
        Ok(())
    }
}

fn at_most(count: u32, limit: usize, what: &str) -> Result<(), Rejected> {
    if usize::try_from(count).is_ok_and(|count| count <= limit) {
        return Ok(());
    }
    let detail = format_args!("a batch holds at most {limit} {what}, this one has {count}");
    Err(Rejected::Refused(error(Code::TooLarge, detail)))
}
