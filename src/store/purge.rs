//! Removing a namespace from a data directory, on an operator's word and while no node uses it.
//!
//! With its rows goes its part of the node's own log. Peers may hold more of that log than is left here, and would take new
//! commits for ones they have. So the replica id goes too, and the next start mints an incarnation (I2, I3). All of that is one
//! synced batch: whatever stops it, either nothing has happened or everything. Then the tables are rewritten, so that no file
//! holds anything of the namespace.

use std::path::Path;

use crate::identity::{NamespaceId, ReplicaId};

use super::database::Database;
use super::error::{OpenError, OpenRefusal, StoreError};
use super::format::{Kind, kind_prefix};
use super::medium::{Batch, Family, Medium};
use super::tuning::Memory;
use super::{directory, meta, namespaces};

/// What a data directory holds of a namespace, and loses with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Counters in the family of rows; what was changed since the last checkpoint is in the records.
    pub rows: u64,
    /// Records of the journal.
    pub records: u64,
    /// The incarnation under which the node counts, in this namespace and in all others.
    pub replica: Option<ReplicaId>,
}

/// A data directory with a namespace that is to go.
pub struct Purge {
    database: Database,
    namespace: NamespaceId,
    holding: Holding,
}

impl Purge {
    /// Opens the directory, and looks what it holds of the namespace of this name. Nothing is changed yet.
    pub fn prepare(path: &Path, name: &str) -> Result<Self, OpenError> {
        Self::open(path, name).map_err(OpenError::at(path))
    }

    fn open(path: &Path, name: &str) -> Result<Self, OpenRefusal> {
        directory::expect(path)?;
        let (database, namespace) = (Database::open(path, false, Memory::OFFLINE)?, NamespaceId::of(name));
        let worker = meta::identity(&database)?.worker;
        if !namespaces::held(&database)?.contains(&namespace) {
            return Err(OpenRefusal::NoSuchNamespace { name: name.to_owned(), held: namespaces::names(&database)? });
        }
        let holding = Holding {
            rows: namespaces::count(&database, Family::Rows, &kind_prefix(namespace, Kind::Row))?,
            records: namespaces::count(&database, Family::Journal, &namespace.0.to_be_bytes())?,
            replica: meta::replica(&database, worker)?,
        };
        Ok(Self { database, namespace, holding })
    }

    /// What goes.
    pub fn holding(&self) -> Holding {
        self.holding
    }

    /// Removes it; tells `watch` which family is being rewritten.
    pub fn run(self, watch: &mut dyn FnMut(&'static str)) -> Result<Holding, StoreError> {
        let mut batch = Batch::default();
        namespaces::remove(&mut batch, self.namespace);
        meta::REPLICA.remove(&mut batch);
        self.database.write_synced(batch)?;
        self.database.rewrite(watch)?;
        Ok(self.holding)
    }
}
