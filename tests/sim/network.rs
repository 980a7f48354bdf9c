//! The network: links of one direction each, judged by their acceptor as `src/peer` does it, and what cuts them.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use snowtide::identity::{Boot, Peer, WorkerId};
use snowtide::replica::{Event, Message, RepairStep, Sighting};
use snowtide::snowflake::ceiling_max;

use super::faults::{Fault, Way};
use super::ids::{LIMITS, layout};
use super::rogue::sealed;
use super::world::{Happening, World};

/// A dead link is noticed after at most this long.
const IDLE_TIMEOUT_MS: u64 = 5_000;
/// Messages that wait for a process that stands still; the rest is dropped, as a full queue drops it.
pub const WAITING_MAX: usize = 512;

/// What carries the messages of one node to one worker.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The process at the other end.
    pub to: usize,
    pub peer: Peer,
    /// Nothing arrives before what was sent before it.
    arrives: u64,
}

#[derive(Default)]
pub struct Network {
    /// By dialer and the worker that it dialed.
    pub links: BTreeMap<(usize, WorkerId), Link>,
    /// Who holds a worker's place at an acceptor.
    places: BTreeMap<(usize, WorkerId), (usize, Boot)>,
    /// Nothing gets from the first to the second.
    cuts: BTreeSet<(usize, usize)>,
    /// Where the address of a worker leads, if not to its own node.
    pub routes: BTreeMap<(usize, WorkerId), usize>,
}

impl Network {
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Whether what `at` hears of that worker comes from the process that runs at `from` now.
    pub fn hears(&self, at: usize, from: usize, peer: Option<Peer>) -> bool {
        peer.is_some_and(|peer| self.places.get(&(at, peer.worker)) == Some(&(from, peer.boot)))
    }

    pub fn mend(&mut self, pairs: &[(usize, usize)]) {
        pairs.iter().for_each(|pair| {
            self.cuts.remove(pair);
        });
    }

    pub fn mend_all(&mut self) {
        self.cuts.clear();
        self.routes.clear();
    }
}

impl World {
    /// Every link that is missing from and to `node` is dialed soon.
    pub fn dial_all(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            self.dial_soon(node, self.nodes[other].worker);
            self.dial_soon(other, self.nodes[node].worker);
        }
    }

    pub fn dial_soon(&mut self, from: usize, worker: WorkerId) {
        let linked = self.network.links.contains_key(&(from, worker));
        if self.nodes[from].process.is_some() && self.nodes[from].worker != worker && !linked {
            let delay = self.rng.random_range(1..300);
            self.schedule(delay, Happening::Dial { from, start: self.nodes[from].starts, worker });
        }
    }

    fn route(&self, from: usize, worker: WorkerId) -> Option<usize> {
        let own = || self.nodes.iter().position(|node| node.worker == worker && node.copy_of.is_none());
        self.network.routes.get(&(from, worker)).copied().or_else(own)
    }

    /// A dial that fails is repeated when what is in its way goes.
    pub fn dial(&mut self, from: usize, worker: WorkerId) {
        let Some(to) = self.route(from, worker) else { return };
        let (Some(caller), Some(callee)) = (self.nodes[from].peer(), self.nodes[to].peer()) else { return };
        let shared = self.shared(from, to);
        let mapped = self.nodes[from].maps(worker) && self.nodes[to].maps(caller.worker);
        let reachable = !self.network.is_cut(from, to) && !self.nodes[to].is_paused();
        if self.network.links.contains_key(&(from, worker)) || !(reachable && mapped) || shared.is_empty() {
            return;
        }
        if let Some((holder, boot)) = self.network.places.get(&(to, caller.worker)).copied()
            && (holder, boot) != (from, caller.boot)
        {
            if self.answers_probe(holder, boot, to) {
                self.tally.note("duplicates refused");
                let reason = format!("worker {worker} refuses us: boot {boot:?} of our worker id lives");
                return self.tell(from, Event::Rival(reason));
            }
            self.lose_link(holder, callee.worker, to);
        }
        self.network.places.insert((to, caller.worker), (from, caller.boot));
        self.network.links.insert((from, worker), Link { to, peer: callee, arrives: 0 });
        self.tell(to, Event::PeerBoot(caller));
        self.drop_link_to_other_boot(to, caller);
        self.tell(from, Event::PeerUp { peer: callee, namespaces: shared });
    }

    /// Whether the holder of a place at `to` lives, and its link as well.
    fn answers_probe(&self, holder: usize, boot: Boot, to: usize) -> bool {
        let lives = self.nodes[holder].process.as_ref().is_some_and(|process| process.boot == boot);
        let linked = self.network.links.get(&(holder, self.nodes[to].worker)).is_some_and(|link| link.to == to);
        lives && linked && !self.nodes[holder].is_paused() && !self.network.is_cut(holder, to)
    }

    /// Whoever is called from another boot than it is linked with drops that link and dials again.
    fn drop_link_to_other_boot(&mut self, node: usize, caller: Peer) {
        if let Some(link) = self.network.links.get(&(node, caller.worker)).copied()
            && link.peer != caller
        {
            self.network.links.remove(&(node, caller.worker));
            self.tell(node, Event::PeerDown(link.peer));
        }
        self.dial_soon(node, caller.worker);
    }

    /// The link of `from` to `worker` breaks, if it leads to `to`; the dialer notices within a while.
    pub fn lose_link(&mut self, from: usize, worker: WorkerId, to: usize) {
        if self.network.links.get(&(from, worker)).is_some_and(|link| link.to == to) {
            let delay = self.rng.random_range(1..IDLE_TIMEOUT_MS);
            let peer = self.network.links[&(from, worker)].peer;
            self.schedule(delay, Happening::LinkLost { from, start: self.nodes[from].starts, peer });
        }
    }

    /// The dialer notices that its link is dead.
    pub fn link_lost(&mut self, from: usize, peer: Peer) {
        if self.network.links.get(&(from, peer.worker)).is_some_and(|link| link.peer == peer) {
            self.network.links.remove(&(from, peer.worker));
            self.tell(from, Event::PeerDown(peer));
            self.dial_soon(from, peer.worker);
        }
    }

    /// A process has ended: its links are gone, and others notice in time.
    pub fn unlink(&mut self, node: usize) {
        self.network.links.retain(|(from, _), _| *from != node);
        self.network.places.retain(|(acceptor, _), _| *acceptor != node);
        for other in 0..self.nodes.len() {
            self.lose_link(other, self.nodes[node].worker, node);
        }
    }

    pub fn cut(&mut self, pairs: &[(usize, usize)]) {
        for (from, to) in pairs.iter().copied() {
            self.network.cut(from, to);
            self.lose_link(from, self.nodes[to].worker, to);
        }
    }

    pub fn mend(&mut self, pairs: &[(usize, usize)]) {
        self.network.mend(pairs);
        for (from, to) in pairs.iter().copied() {
            self.dial_soon(from, self.nodes[to].worker);
        }
    }

    pub fn send(&mut self, node: usize, to: WorkerId, mut message: Message) {
        let finding = self.checkers.durable.check(node, to, &message);
        self.findings.extend(finding);
        if let (true, Message::Repair { namespace, step: RepairStep::Compared { children: Some(_), .. }, .. }) =
            (self.still, &message)
        {
            let finding = format!("G4: node {node} and {to} hold the same of {namespace:?}, and their trees differ");
            self.findings.push(finding);
        }
        let Some(link) = self.network.links.get(&(node, to)).copied() else { return };
        let Some(from) = self.nodes[node].peer() else { return };
        // An acceptor that has given the place to another boot reads this link no more, and a new process never did.
        let place = self.network.places.get(&(link.to, from.worker)).copied();
        let read = place == Some((node, from.boot)) && self.nodes[link.to].peer() == Some(link.peer);
        if self.network.is_cut(node, link.to) || !read {
            return;
        }
        let muted = match self.faults.only {
            Some(Way::Gossip) => matches!(message, Message::Repair { .. }),
            Some(Way::Repair) => matches!(message, Message::Delta(_)),
            None => false,
        };
        self.seal(from, &mut message);
        self.overhear(node, link.to, &message);
        if muted || self.befalls(Fault::Loss) {
            return;
        }
        let near = self.nodes[node].worker.region() == to.region();
        let base = if near { self.rng.random_range(1..4) } else { self.rng.random_range(15..120) };
        let slow = if self.befalls(Fault::Delay) { self.rng.random_range(500..8_000) } else { 0 };
        let mut at = (self.now + base + slow).max(link.arrives);
        if self.befalls(Fault::Reordering) {
            at += self.rng.random_range(1..1_000);
        } else if let Some(link) = self.network.links.get_mut(&(node, to)) {
            link.arrives = at;
        }
        let start = self.nodes[link.to].starts;
        if self.befalls(Fault::Duplication) {
            let again = at + self.rng.random_range(0..2_000);
            let message = Box::new(message.clone());
            self.schedule_at(again, Happening::Message { from, to: link.to, start, message });
        }
        self.schedule_at(at, Happening::Message { from, to: link.to, start, message: Box::new(message) });
    }

    /// Where there is a rogue, what a node says of other boots of its worker is sealed.
    fn seal(&self, from: Peer, message: &mut Message) {
        if let (true, Message::Digest(digest)) = (self.has_rogue(), message) {
            let own = digest.sightings.iter_mut().filter(|sighting| sighting.by == from);
            own.for_each(|sighting| sighting.seal = sealed(from, sighting.of));
        }
    }

    /// Where there is a rogue, a node does not believe everything: it takes out of messages what `src/peer` takes out.
    pub fn sift(&mut self, from: Peer, to: usize, message: &mut Message) {
        if self.rogue.is_none() {
            return;
        }
        let linked = self.network.links.iter().filter(|((dialer, _), link)| {
            *dialer == to && self.nodes[link.to].process.is_some() && !self.network.is_cut(link.to, to)
        });
        let mut known: Vec<usize> = linked.map(|(_, link)| link.to).collect();
        let readings: Vec<_> = known.iter().map(|node| self.reading(*node)).collect();
        let mut readings = readings.into_iter();
        known.retain(|node| {
            let reading = readings.next();
            let process = self.nodes[*node].process.as_mut();
            process.zip(reading).is_some_and(|(process, reading)| process.minting.generator.believes(reading))
        });
        let clocks = known.into_iter().chain([to]).map(|node| self.reading(node).wall_ms).collect();
        let highest = || ceiling_max(layout(), clocks, LIMITS.max_leap_ms);
        let verify = |sighting: &Sighting| {
            let true_one = sighting.seal == sealed(sighting.by, sighting.of);
            if true_one { Ok(()) } else { Err("another seal".to_owned()) }
        };
        let own = self.nodes[to].worker;
        let refused = self.sieves.entry((to, from)).or_default().sift(message, own, highest, verify);
        refused.iter().for_each(|_| self.tally.note("claims refused"));
    }

    /// Whether this fault befalls a message now.
    fn befalls(&mut self, fault: Fault) -> bool {
        let chance = if self.broken { self.faults.chance(fault) } else { 0.0 };
        let hit = chance > 0.0 && self.rng.random_bool(chance);
        if hit {
            self.tally.fault(fault);
        }
        hit
    }
}
