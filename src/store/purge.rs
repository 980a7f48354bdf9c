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
use super::medium::{Batch, Family, Medium};
use super::tuning::{MEMTABLE_BYTES_MAX, Memory, OPEN_FILES_MAX};
use super::{directory, meta, namespaces};

const MEMORY: Memory = Memory { cache: 32 << 20, memtables: MEMTABLE_BYTES_MAX, open_files: OPEN_FILES_MAX };

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
        let refused = |refusal| OpenError { path: path.to_path_buf(), refusal };
        directory::expect(path).map_err(refused)?;
        let database = Database::open(path, false, MEMORY).map_err(refused)?;
        let namespace = NamespaceId::of(name);
        match look(&database, namespace) {
            Ok(Some(holding)) => Ok(Self { database, namespace, holding }),
            Ok(None) => {
                let held = namespaces::names(&database).map_err(|error| refused(error.into()))?;
                Err(refused(OpenRefusal::NoSuchNamespace { name: name.to_owned(), held }))
            }
            Err(refusal) => Err(refused(refusal)),
        }
    }

    /// What goes.
    pub fn holding(&self) -> Holding {
        self.holding
    }

    /// Removes it; tells `watch` which family is being rewritten.
    pub fn run(self, watch: &mut dyn FnMut(&'static str)) -> Result<Holding, StoreError> {
        let mut batch = Batch::default();
        namespaces::remove(&mut batch, self.namespace);
        meta::forget_replica(&mut batch);
        self.database.write_synced(batch)?;
        self.database.tidy()?;
        for family in Family::ALL {
            watch(family.name());
            self.database.compact(family)?;
        }
        Ok(self.holding)
    }
}

/// `None` if there is nothing of the namespace.
fn look(database: &Database, namespace: NamespaceId) -> Result<Option<Holding>, OpenRefusal> {
    if meta::check_format(database)?.is_none() {
        return Err(meta::missing("the format version").into());
    }
    if !namespaces::held(database)?.contains(&namespace) {
        return Ok(None);
    }
    let worker = meta::identity(database)?.worker;
    Ok(Some(Holding {
        rows: namespaces::count(database, Family::Rows, namespace)?,
        records: namespaces::count(database, Family::Journal, namespace)?,
        replica: meta::replica(database, worker)?,
    }))
}
