//! A node that one other alone hears, and that then comes back with an older disk.
//!
//! What that one was told is known to nobody else. So whether the node goes on under its old replica id (I3) hangs on
//! that one: on its being asked, though the node's map lacks it now; or on its having let go of what it had not applied.

use rand::RngExt;

use super::disk::Image;
use super::faults::Fault;
use super::node::Node;
use super::world::{Happening, World};

/// Both, and what comes of them.
pub struct Estranged {
    node: usize,
    heard_by: usize,
    start: u32,
    /// The node's disk before the other alone heard it.
    image: Image,
    /// The other is not asked afterwards; or else its disk takes long, and it is.
    is_unasked: bool,
    epoch: u64,
}

impl World {
    /// From now on only `heard_by` hears `node`.
    pub fn estrange(&mut self, node: usize, heard_by: usize) {
        let runs = |at: usize| self.nodes[at].process.is_some();
        // One that the maps of several lack is not asked, whatever the rest tell.
        let whole = |node: &Node| node.copy_of.is_none() && node.unmapped.is_none();
        if node == heard_by || !runs(node) || !runs(heard_by) || !self.nodes.iter().all(whole) {
            return;
        }
        self.count(Fault::Estranged);
        let (is_unasked, delay) = (self.rng.random_bool(0.5), self.rng.random_range(500..6_000));
        self.cut(&self.ways(node, heard_by));
        if is_unasked {
            self.cut(&self.ways(heard_by, node));
        } else {
            let slow = self.now + delay + self.rng.random_range(1_000..8_000);
            self.slow_disk(heard_by, slow);
        }
        let (start, image) = (self.nodes[node].starts, self.nodes[node].disk.image());
        let estranged = Estranged { node, heard_by, start, image, is_unasked, epoch: self.epoch };
        self.schedule(delay, Happening::Estranged(Box::new(estranged)));
    }

    /// The node goes back to its older disk, and all others hear it again.
    pub fn go_back(&mut self, estranged: Estranged) {
        let Estranged { node, heard_by, start, image, is_unasked, epoch } = estranged;
        let void = !self.broken || epoch != self.epoch;
        if void || !self.nodes[node].runs(start) {
            return self.mend(&[self.ways(node, heard_by), self.ways(heard_by, node)].concat());
        }
        self.nodes[node].snapshot = Some(image);
        self.lose_disk(node, Fault::Rollback);
        self.mend(&self.ways(node, heard_by));
        if is_unasked {
            self.nodes[node].unmapped = Some(self.nodes[heard_by].worker);
            let (pairs, delay) = (self.ways(heard_by, node), self.rng.random_range(5_000..40_000));
            self.schedule(delay, Happening::Mend { pairs });
            self.schedule(delay, Happening::WholeMap { node });
        }
    }

    /// The node is started with a map that has all others.
    pub fn map_all(&mut self, node: usize) {
        if self.nodes[node].unmapped.take().is_some() {
            self.crash(node, Fault::Kill);
        }
    }

    /// All ways to and from a node but those between it and `except`.
    fn ways(&self, node: usize, except: usize) -> Vec<(usize, usize)> {
        let others = (0..self.nodes.len()).filter(|other| *other != node && *other != except);
        others.flat_map(|other| [(node, other), (other, node)]).collect()
    }
}
