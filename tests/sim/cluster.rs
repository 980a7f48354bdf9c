//! The cluster that a seed chooses: its nodes, its namespaces, its settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use snowtide::config::default_file;
use snowtide::identity::{NamespaceId, WorkerId};
use snowtide::merkle::{Hasher, SECRET_BYTES};
use snowtide::replica::tuning::{Hints, Idempotency, Tuning};
use snowtide::replica::{Pieces, Quota, ROW_BYTES, Settings};
use snowtide::store::{Memory, Options};

use super::clock::Clock;
use super::disk::Disk;
use super::faults::Way;
use super::node::Node;

/// Longer than any run, and more than it writes.
const NEVER: u64 = 1 << 40;
/// Some runs have so many counters that a checkpoint has several parts.
pub const WIDE_KEYS: usize = 3_000;
pub const WIDE_CHANCE: f64 = 0.05;

/// In some runs, nobody else's digests help those of one region out.
const ONE_REGION_CHANCE: f64 = 0.1;

pub fn nodes(rng: &mut SmallRng) -> Vec<Node> {
    let workers = if rng.random_bool(ONE_REGION_CHANCE) { one_region() } else { regions(rng) };
    let regions = workers.iter().map(|worker| worker.region() + 1).max().unwrap_or(0);
    let wide = NamespaceId(1);
    // Residency: the second namespace lives in the first regions only.
    let narrow = (NamespaceId(2), rng.random_range(regions.min(2)..=regions));
    let make = |worker: WorkerId| Node {
        worker,
        namespaces: if worker.region() < narrow.1 { vec![wide, narrow.0] } else { vec![wide] },
        unmapped: None,
        away: None,
        kept: None,
        disk: Disk::default(),
        snapshot: None,
        clock: Clock::default(),
        process: None,
        starts: 0,
        copy_of: None,
        retired: false,
    };
    workers.into_iter().map(make).collect()
}

fn one_region() -> Vec<WorkerId> {
    (0..3).filter_map(|node| WorkerId::new(0, node)).collect()
}

/// Of one node or two each.
fn regions(rng: &mut SmallRng) -> Vec<WorkerId> {
    let count = rng.random_range(3..=7);
    let mut workers = Vec::new();
    let mut region = 0;
    while workers.len() < count {
        let twice = rng.random_bool(0.3) && workers.len() + 2 <= count && (region > 0 || count > 3);
        for node in 0..=u8::from(twice) {
            workers.extend(WorkerId::new(region, node));
        }
        region += 1;
    }
    workers
}

/// Small bounds and short intervals, so that everything that they lead to happens often.
pub fn settings(rng: &mut SmallRng, wide: bool, only: Option<Way>) -> Settings {
    let mut any = |choices: &[u64]| choices.choose(rng).copied().unwrap_or(1);
    // Whoever asks for many rows at a time needs room for them.
    let least = if wide { 2 * WIDE_KEYS } else { 1 };
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let ms = Duration::from_millis;
    let mut tuning: Tuning = toml::from_str(&default_file()).expect("the declared defaults");
    // In this order, so that a seed goes on meaning the same.
    tuning.commit.bytes_max = ByteSize(any(&[300, 2_000, 16_384]));
    let quotas = quotas(any(&[0, 0, 0, 3, 40]));
    tuning.gossip.interval = ms(any(&[20, 100]));
    tuning.gossip.digest_interval = ms(any(&[1_000, 3_000, 6_000]));
    tuning.gossip.inflight_bytes_max = ByteSize(any(&[1_000, 16_384]));
    tuning.gossip.fetch_timeout = ms(any(&[1_000, 2_000]));
    let rows_bytes_max = bytes(any(&[2, 8, 100])) * ROW_BYTES;
    tuning.memory.loading_rows_max = bytes(any(&[30, 1_000])).max(least);
    tuning.checkpoint.interval = ms(any(&[500, 3_000, 20_000]));
    tuning.checkpoint.dirty_rows_max = bytes(any(&[30, 1_000])).max(least);
    tuning.repair.interval = ms(any(&[2_000, 5_000, 20_000]));
    tuning.repair.session_max = ms(any(&[5_000, 30_000]));
    // A pass over the whole tree, whose leaves are far more than the rows.
    tuning.repair.scrub_interval = ms(any(&[7_200_000, 86_400_000]));
    tuning.hints.max_age = ms(any(&[1_000, 20_000, 3_600_000]));
    tuning.hints.max_bytes = ByteSize(any(&[500, 20_000, 1 << 30]));
    // Long enough for what waits, and short enough to be over now and then.
    tuning.idempotency = Idempotency { retention: ms(NEVER), session_idle: ms(40_000), bytes_max: ByteSize(1 << 20) };
    tuning.drain.checkpoint = ms(1_000);
    if matches!(only, Some(Way::Gossip)) {
        tuning.repair.interval = ms(NEVER);
        tuning.hints = Hints { max_age: ms(NEVER), max_bytes: ByteSize(NEVER) };
    }
    let pieces = pieces(&mut rng.clone());
    Settings {
        worker: WorkerId::new(0, 0).expect("zero is a number of a region and of a node"),
        peers: BTreeMap::new(),
        hasher: hasher(),
        unsynced: BTreeSet::new(),
        quotas,
        rows_bytes_max,
        tuning,
        pieces,
        claim_wait: ms(3_000),
        quarantine: ms(4_000),
        // Longer than four of the longest intervals of digests.
        boot_silent_after: ms(28_000),
        waiting_max: 100,
    }
}

/// Often so small that a checkpoint has many parts, and several tables.
fn pieces(rng: &mut SmallRng) -> Pieces {
    let mut any = |choices: &[usize]| choices.choose(rng).copied().unwrap_or(1);
    Pieces { part_rows: any(&[1, 5, 1_024]), table_rows: any(&[1, 12, 262_144]) }
}

/// So many counters in each namespace; 0 is no bound.
fn quotas(keys_max: u64) -> BTreeMap<NamespaceId, Quota> {
    let quota = Quota { keys_max: (keys_max > 0).then_some(keys_max), bytes_max: None };
    [1, 2].into_iter().map(|number| (NamespaceId(number), quota)).filter(|_| keys_max > 0).collect()
}

/// Any secret will do, as long as all have the same.
fn hasher() -> Hasher {
    Hasher::new([7; SECRET_BYTES])
}

/// For all namespaces of the node's region, or those that its configuration names.
pub fn store_options(node: &Node, namespaces: Vec<NamespaceId>, boot_nonce: u64) -> Options {
    Options {
        path: PathBuf::from("simulated"),
        cluster_id: "simulated".into(),
        hasher: hasher(),
        secret: "simulated".into(),
        layout: "simulated".into(),
        worker: node.worker,
        namespaces,
        boot_nonce,
        memory: Memory { cache: 0, memtables: 0, open_files: 0 },
    }
}
