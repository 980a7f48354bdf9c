//! The family `meta`: whose data this is, and how far it got.
//!
//! Every write here is synced, except that positions ride on the checkpoint's own batch.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bincode::{Decode, Encode};

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, ReplicaId, WorkerId};

use super::Options;
use super::error::{Malformed, OpenRefusal, StoreError};
use super::format::{FORMAT, seal, unseal};
use super::medium::{Batch, Family, Medium};

const FORMAT_KEY: &[u8] = b"format";

const IDENTITY: Entry<Identity> = Entry::new("identity");
/// How often this directory was started; 0 before the first time.
pub(super) const BOOT: Entry<u64> = Entry::new("boot");
/// The current incarnation, if one was minted; see [`replica`]. Without it, the next start mints one, as the first one does.
pub(super) const REPLICA: Entry<ReplicaId> = Entry::new("replica");
/// The upper bound on ID timestamps; 0 before the first ID.
pub(super) const CEILING: Entry<u64> = Entry::new("ceiling");
/// The highest ceiling that was seen of each other worker id, this cluster's former ones included.
pub(super) const PEER_CEILINGS: Entry<Vec<(WorkerId, u64)>> = Entry::new("ceilings");
/// The end of the last quarantine of our IDs, which was the ceiling then, and where they had come before it.
pub(super) const QUARANTINE: Entry<(u64, u64)> = Entry::new("quarantine");
/// Why the node fenced itself, if no operator has cleared that since.
pub(super) const FENCE: Entry<String> = Entry::new("fence");
/// The number of the last record of the local kind that the family of rows covers.
pub(super) const REPAIRED: Entry<u64> = Entry::new("repaired");

/// The vector that the family of rows covers; empty before the first checkpoint.
pub(super) const POSITION: OfNamespace<VersionVector> = OfNamespace::new("position/");
/// The seqs beyond that vector which cover what repair brought to the family of rows.
pub(super) const REACH: OfNamespace<Vec<(ReplicaId, u64)>> = OfNamespace::new("reach/");
/// What the configuration last called a namespace.
pub(super) const NAME: OfNamespace<String> = OfNamespace::new("name/");

/// A record: what it stands under, and of what type it is.
pub(super) struct Entry<T>(Cow<'static, [u8]>, PhantomData<T>);

impl<T: Encode + Decode<()>> Entry<T> {
    const fn new(key: &'static str) -> Self {
        Self(Cow::Borrowed(key.as_bytes()), PhantomData)
    }

    /// `None` if it was never written, or was removed.
    pub(super) fn find(&self, medium: &dyn Medium) -> Result<Option<T>, StoreError> {
        let decode = |bytes: Vec<u8>| {
            let what = || format!("the record {:?}", self.0.escape_ascii().to_string());
            unseal(&bytes).map_err(|reason| StoreError::malformed(what(), reason))
        };
        medium.get(Family::Meta, &self.0)?.map(decode).transpose()
    }

    /// As it is before it is written, where it was not.
    pub(super) fn read(&self, medium: &dyn Medium) -> Result<T, StoreError>
    where
        T: Default,
    {
        Ok(self.find(medium)?.unwrap_or_default())
    }

    pub(super) fn write(&self, batch: &mut Batch, value: &T) {
        batch.put(Family::Meta, self.0.as_ref(), seal(value));
    }

    pub(super) fn remove(&self, batch: &mut Batch) {
        batch.delete(Family::Meta, self.0.as_ref());
    }
}

/// A record that each namespace has: what its key begins with.
pub(super) struct OfNamespace<T>(&'static str, PhantomData<T>);

impl<T> OfNamespace<T> {
    const fn new(prefix: &'static str) -> Self {
        Self(prefix, PhantomData)
    }

    /// That of one.
    pub(super) fn of(&self, namespace: NamespaceId) -> Entry<T> {
        Entry([self.0.as_bytes(), namespace.0.to_be_bytes().as_slice()].concat().into(), PhantomData)
    }
}

/// What ties the directory to one configuration. The field order is the format.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Identity {
    cluster: String,
    pub(super) worker: WorkerId,
    layout: String,
    secret: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {}, worker {}, IDs {}", self.cluster, self.worker, self.layout)
    }
}

impl Identity {
    fn of(options: &Options) -> Self {
        Self {
            cluster: options.cluster_id.clone(),
            worker: options.worker,
            layout: options.layout.clone(),
            secret: options.secret.clone(),
        }
    }

    fn check(&self, configured: &Self) -> Result<(), OpenRefusal> {
        let pairs = [
            ("cluster", self.cluster.clone(), configured.cluster.clone()),
            ("worker (region/node)", self.worker.to_string(), configured.worker.to_string()),
            ("ID layout", self.layout.clone(), configured.layout.clone()),
            ("cluster secret (fingerprint)", self.secret.clone(), configured.secret.clone()),
        ];
        match pairs.into_iter().find(|(_, found, configured)| found != configured) {
            Some((aspect, found, configured)) => Err(OpenRefusal::Mismatch { aspect, found, configured }),
            None => Ok(()),
        }
    }
}

/// Whether the directory has a format, and none that is not ours; it has none if nothing was ever written. Looked at before
/// anything else: whatever a newer program wrote, one byte under this key says so.
pub(super) fn check_format(medium: &dyn Medium) -> Result<bool, OpenRefusal> {
    let Some(value) = medium.get(Family::Meta, FORMAT_KEY)? else { return Ok(false) };
    match *value {
        [found] if found > FORMAT => Err(OpenRefusal::NewerFormat { found, known: FORMAT }),
        [FORMAT] => Ok(true),
        [found] if found > 0 => Err(OpenRefusal::OlderFormat { found, known: FORMAT }),
        _ => {
            Err(StoreError::malformed("the format version", Malformed::impossible("it is not one byte above 0")).into())
        }
    }
}

/// Checks that the directory belongs to this configuration.
pub(super) fn check_identity(medium: &dyn Medium, options: &Options) -> Result<(), OpenRefusal> {
    identity(medium)?.check(&Identity::of(options))
}

/// Whose directory this is, once something was written.
pub(super) fn identity(medium: &dyn Medium) -> Result<Identity, OpenRefusal> {
    if !check_format(medium)? {
        return Err(missing("the format version"));
    }
    IDENTITY.find(medium)?.ok_or_else(|| missing("the record of its owner"))
}

/// Writes what [`check_format`] and [`check_identity`] look for.
pub(super) fn put_identity(batch: &mut Batch, options: &Options) {
    batch.put(Family::Meta, FORMAT_KEY, vec![FORMAT]);
    IDENTITY.write(batch, &Identity::of(options));
}

/// The current incarnation, if one was minted: always one of `worker`.
pub(super) fn replica(medium: &dyn Medium, worker: WorkerId) -> Result<Option<ReplicaId>, StoreError> {
    match REPLICA.find(medium)? {
        Some(replica) if replica.worker() != worker => {
            let reason = format!("{replica} is an incarnation of worker {}, not of {worker}", replica.worker());
            Err(StoreError::malformed("the replica id", Malformed::impossible(reason)))
        }
        replica => Ok(replica),
    }
}

/// Nothing is known of it any more.
pub(super) fn forget_namespace(batch: &mut Batch, namespace: NamespaceId) {
    POSITION.of(namespace).remove(batch);
    REACH.of(namespace).remove(batch);
    NAME.of(namespace).remove(batch);
}

fn missing(what: &str) -> OpenRefusal {
    StoreError::malformed(what, Malformed::impossible("it is missing")).into()
}
