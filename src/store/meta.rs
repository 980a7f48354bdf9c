//! The family `meta`: whose data this is, and how far it got.
//!
//! Every write here is synced, except that positions ride on the checkpoint's own batch.

use std::fmt;

use bincode::{Decode, Encode};

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::replica::Census;

use super::Options;
use super::error::{Aspect, Malformed, OpenRefusal, StoreError};
use super::format::{FORMAT, seal, unseal};
use super::medium::{Batch, Family, Medium};

const FORMAT_KEY: &[u8] = b"format";
const IDENTITY_KEY: &[u8] = b"identity";
const BOOT_KEY: &[u8] = b"boot";
const REPLICA_KEY: &[u8] = b"replica";
const CEILING_KEY: &[u8] = b"ceiling";
const PEER_CEILINGS_KEY: &[u8] = b"ceilings";
const QUARANTINE_KEY: &[u8] = b"quarantine";
const FENCE_KEY: &[u8] = b"fence";
const REPAIRED_KEY: &[u8] = b"repaired";
const POSITION_PREFIX: &[u8] = b"position/";
const REACH_PREFIX: &[u8] = b"reach/";
const NAME_PREFIX: &[u8] = b"name/";
const CENSUS_PREFIX: &[u8] = b"census/";

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
            (Aspect::Cluster, self.cluster.clone(), configured.cluster.clone()),
            (Aspect::Worker, self.worker.to_string(), configured.worker.to_string()),
            (Aspect::Layout, self.layout.clone(), configured.layout.clone()),
            (Aspect::Secret, self.secret.clone(), configured.secret.clone()),
        ];
        match pairs.into_iter().find(|(_, found, configured)| found != configured) {
            Some((aspect, found, configured)) => Err(OpenRefusal::Mismatch { aspect, found, configured }),
            None => Ok(()),
        }
    }
}

/// The format of the directory, `None` if nothing was ever written. Looked at before anything else: whatever a newer
/// program wrote, one byte under this key says so.
pub(super) fn check_format(medium: &dyn Medium) -> Result<Option<u8>, OpenRefusal> {
    let Some(value) = medium.get(Family::Meta, FORMAT_KEY)? else { return Ok(None) };
    match *value {
        [found] if found > FORMAT => Err(OpenRefusal::NewerFormat { found, known: FORMAT }),
        [FORMAT] => Ok(Some(FORMAT)),
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

/// Whose directory this is.
pub(super) fn identity(medium: &dyn Medium) -> Result<Identity, StoreError> {
    read(medium, IDENTITY_KEY)?.ok_or_else(|| missing("the record of its owner"))
}

/// Writes what [`check_format`] and [`check_identity`] look for.
pub(super) fn put_identity(batch: &mut Batch, options: &Options) {
    batch.put(Family::Meta, FORMAT_KEY, vec![FORMAT]);
    batch.put(Family::Meta, IDENTITY_KEY, seal(&Identity::of(options)));
}

/// How often this directory was started; 0 before the first time.
pub(super) fn boot(medium: &dyn Medium) -> Result<u64, StoreError> {
    Ok(read(medium, BOOT_KEY)?.unwrap_or_default())
}

pub(super) fn put_boot(batch: &mut Batch, counter: u64) {
    batch.put(Family::Meta, BOOT_KEY, seal(&counter));
}

/// The current incarnation, if one was minted: always one of `worker`.
pub(super) fn replica(medium: &dyn Medium, worker: WorkerId) -> Result<Option<ReplicaId>, StoreError> {
    let replica: Option<ReplicaId> = read(medium, REPLICA_KEY)?;
    match replica {
        Some(replica) if replica.worker() != worker => {
            let reason = format!("{replica} is an incarnation of worker {}, not of {worker}", replica.worker());
            Err(StoreError::malformed("the replica id", Malformed::impossible(reason)))
        }
        replica => Ok(replica),
    }
}

pub(super) fn put_replica(batch: &mut Batch, replica: ReplicaId) {
    batch.put(Family::Meta, REPLICA_KEY, seal(&replica));
}

/// The next start mints an incarnation, as the first one does.
pub(super) fn forget_replica(batch: &mut Batch) {
    batch.delete(Family::Meta, REPLICA_KEY);
}

/// The upper bound on ID timestamps; 0 before the first ID.
pub(super) fn ceiling(medium: &dyn Medium) -> Result<u64, StoreError> {
    Ok(read(medium, CEILING_KEY)?.unwrap_or_default())
}

pub(super) fn put_ceiling(batch: &mut Batch, ceiling: u64) {
    batch.put(Family::Meta, CEILING_KEY, seal(&ceiling));
}

/// The end of the last quarantine of our IDs, which was the ceiling then, and where they had come before it.
pub(super) fn quarantine(medium: &dyn Medium) -> Result<Option<(u64, u64)>, StoreError> {
    read(medium, QUARANTINE_KEY)
}

pub(super) fn put_quarantine(batch: &mut Batch, upto: u64, before: u64) {
    batch.put(Family::Meta, QUARANTINE_KEY, seal(&(upto, before)));
    put_ceiling(batch, upto);
}

/// Why the node fenced itself, if no operator has cleared that since.
pub(super) fn fence(medium: &dyn Medium) -> Result<Option<String>, StoreError> {
    read(medium, FENCE_KEY)
}

pub(super) fn put_fence(batch: &mut Batch, reason: &str) {
    batch.put(Family::Meta, FENCE_KEY, seal(&reason.to_owned()));
}

pub(super) fn clear_fence(batch: &mut Batch) {
    batch.delete(Family::Meta, FENCE_KEY);
}

/// The highest ceiling that was seen of each other worker id, this cluster's former ones included.
pub(super) fn peer_ceilings(medium: &dyn Medium) -> Result<Vec<(WorkerId, u64)>, StoreError> {
    Ok(read(medium, PEER_CEILINGS_KEY)?.unwrap_or_default())
}

pub(super) fn put_peer_ceilings(batch: &mut Batch, ceilings: &[(WorkerId, u64)]) {
    batch.put(Family::Meta, PEER_CEILINGS_KEY, seal(&ceilings.to_vec()));
}

/// The number of the last record of the local kind that the family of rows covers.
pub(super) fn repaired(medium: &dyn Medium) -> Result<Option<u64>, StoreError> {
    read(medium, REPAIRED_KEY)
}

pub(super) fn put_repaired(batch: &mut Batch, number: u64) {
    batch.put(Family::Meta, REPAIRED_KEY, seal(&number));
}

/// The vector that the family of rows covers; empty before the first checkpoint.
pub(super) fn position(medium: &dyn Medium, namespace: NamespaceId) -> Result<VersionVector, StoreError> {
    Ok(read(medium, &of_namespace(POSITION_PREFIX, namespace))?.unwrap_or_default())
}

pub(super) fn put_position(batch: &mut Batch, namespace: NamespaceId, vector: &VersionVector) {
    batch.put(Family::Meta, of_namespace(POSITION_PREFIX, namespace), seal(vector));
}

/// The seqs beyond that vector which cover what repair brought to the family of rows.
pub(super) fn reach(medium: &dyn Medium, namespace: NamespaceId) -> Result<Vec<(ReplicaId, u64)>, StoreError> {
    Ok(read(medium, &of_namespace(REACH_PREFIX, namespace))?.unwrap_or_default())
}

pub(super) fn put_reach(batch: &mut Batch, namespace: NamespaceId, reach: &[(ReplicaId, u64)]) {
    batch.put(Family::Meta, of_namespace(REACH_PREFIX, namespace), seal(reach));
}

/// The counters in the family of rows; `None` if that was never written.
pub(super) fn census(medium: &dyn Medium, namespace: NamespaceId) -> Result<Option<Census>, StoreError> {
    read(medium, &of_namespace(CENSUS_PREFIX, namespace))
}

/// Rides on the batch of the rows that it counts.
pub(super) fn put_census(batch: &mut Batch, namespace: NamespaceId, census: Census) {
    batch.put(Family::Meta, of_namespace(CENSUS_PREFIX, namespace), seal(&census));
}

/// What the configuration last called a namespace.
pub(super) fn name(medium: &dyn Medium, namespace: NamespaceId) -> Result<Option<String>, StoreError> {
    read(medium, &of_namespace(NAME_PREFIX, namespace))
}

pub(super) fn put_name(batch: &mut Batch, namespace: NamespaceId, name: &str) {
    batch.put(Family::Meta, of_namespace(NAME_PREFIX, namespace), seal(&name.to_owned()));
}

/// Nothing is known of it any more.
pub(super) fn forget_namespace(batch: &mut Batch, namespace: NamespaceId) {
    for prefix in [POSITION_PREFIX, REACH_PREFIX, CENSUS_PREFIX, NAME_PREFIX] {
        batch.delete(Family::Meta, of_namespace(prefix, namespace));
    }
}

fn of_namespace(prefix: &[u8], namespace: NamespaceId) -> Vec<u8> {
    [prefix, namespace.0.to_be_bytes().as_slice()].concat()
}

fn read<T: Decode<()>>(medium: &dyn Medium, key: &[u8]) -> Result<Option<T>, StoreError> {
    let decode = |bytes: &[u8]| {
        unseal(bytes)
            .map_err(|reason| StoreError::malformed(format!("the record {:?}", key.escape_ascii().to_string()), reason))
    };
    medium.get(Family::Meta, key)?.map(|value| decode(&value)).transpose()
}

pub(super) fn missing(what: &str) -> StoreError {
    StoreError::malformed(what, Malformed::impossible("it is missing"))
}
