//! G7: what a replica says of itself stays within its settings.

use snowtide::replica::{ROW_BYTES, Settings, Status};
use snowtide::section::Bytes;

/// A changed slot in a record, with its key, takes less.
const CHANGE_BYTES: usize = 64;

/// A commit or a delta may overshoot a bound by one batch of the clients, which is of `batch_max` at most.
pub fn check(node: usize, status: &Status, settings: &Settings, batch_max: usize) -> Option<String> {
    let over = |what: &str, is: usize, bound: usize| {
        (is > bound).then(|| format!("G7: node {node} has {is} {what}, the bound is {bound}"))
    };
    // Rows that are dirty, or that something waits for, cannot leave memory.
    let rows_max = settings.rows_bytes_max / ROW_BYTES
        + settings.tuning.checkpoint.dirty_rows_max
        + settings.tuning.memory.loading_rows_max
        + batch_max;
    // What closes a commit or fills a window is sent whole.
    let inflight_max = settings.tuning.gossip.inflight_bytes_max.bytes()
        + settings.tuning.commit.bytes_max.bytes()
        + batch_max * CHANGE_BYTES;
    let peers =
        status.peers.iter().find_map(|peer| over("bytes in flight to a peer", peer.inflight_bytes, inflight_max));
    over("rows in memory", status.memory.rows_cached, rows_max)
        .or_else(|| {
            over("changed rows", status.memory.rows_dirty, settings.tuning.checkpoint.dirty_rows_max + 2 * batch_max)
        })
        .or(peers)
}
