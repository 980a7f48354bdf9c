//! An operator who takes nodes out of service and puts them back, as `src/node/desk.rs` and `cluster drain` do it.

use rand::RngExt;
use rand::seq::IndexedRandom;
use snowtide::identity::WorkerId;
use snowtide::replica::{Event, Status};

use super::checkers::doors::Closed;
use super::checkers::state;
use super::faults::Fault;
use super::node::Process;
use super::world::{Happening, World};

const PUT_BACK_CHANCE: f64 = 0.2;
/// Once another region holds everything, it may be stopped.
const STOP_CHANCE: f64 = 0.1;

/// Whether it obeys: one that has fenced itself or is leaving does not.
fn obeys(process: &&mut Process) -> bool {
    process.fenced.is_none() && !process.leaving && process.stash.is_none()
}

impl World {
    /// From here on the node refuses new work, until it is put back or starts again.
    pub fn take_out(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_mut().filter(obeys).filter(|process| !process.drained) else {
            return;
        };
        process.drained = true;
        self.count(Fault::Drain);
        self.checkers.doors.close(node, Closed::Drained, self.tickets);
        self.tell(node, Event::Hold(true));
        self.look_later(node);
    }

    fn look_later(&mut self, node: usize) {
        let (delay, start) = (self.rng.random_range(20..4_000), self.nodes[node].starts);
        self.schedule(delay, Happening::Look { node, start });
    }

    /// The operator looks how far the drain is, and may have other plans with the node by now.
    pub fn look(&mut self, node: usize) {
        self.inspect(node);
        if self.rng.random_bool(PUT_BACK_CHANCE) {
            self.put_back(node);
        }
        if self.nodes[node].process.as_ref().is_some_and(|process| process.drained) {
            self.look_later(node);
        }
    }

    /// The node starts with another configuration, which does not name one of the namespaces, or names it again. What its
    /// disk holds of that namespace has to be there then.
    pub fn reconfigure(&mut self, node: usize) {
        let named = &self.nodes[node].namespaces;
        let away = match self.nodes[node].away {
            None if named.len() > 1 => named.choose(&mut self.rng).copied(),
            None => return,
            Some(_) => None,
        };
        let fault = if self.rng.random_bool(0.5) { Fault::Kill } else { Fault::PowerCut };
        self.count(Fault::Reconfigure);
        self.crash(node, fault);
        self.nodes[node].away = away;
    }

    /// The node starts with a map that lacks one of the others, or with the whole one again.
    pub fn change_map(&mut self, node: usize) {
        let own = self.nodes[node].worker;
        let others: Vec<WorkerId> =
            self.nodes.iter().map(|other| other.worker).filter(|worker| *worker != own).collect();
        let unmapped = match self.nodes[node].unmapped {
            None => others.choose(&mut self.rng).copied(),
            Some(_) => None,
        };
        self.count(Fault::OldMap);
        self.crash(node, Fault::Kill);
        self.nodes[node].unmapped = unmapped;
    }

    /// Every namespace is named again, and every node is in every map.
    pub fn configure_again(&mut self, node: usize) {
        let (away, unmapped) = (self.nodes[node].away.take(), self.nodes[node].unmapped.take());
        if (away.is_some() || unmapped.is_some()) && self.nodes[node].process.is_some() {
            self.end(node, false);
        }
    }

    pub fn put_back(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_mut().filter(obeys).filter(|process| process.drained) else {
            return;
        };
        process.drained = false;
        self.tally.note("drained nodes put back");
        self.checkers.doors.open(node, Closed::Drained);
        self.tell(node, Event::Hold(false));
    }

    /// What a node says of itself, as `cluster drain` understands it.
    pub fn told_status(&mut self, node: usize, status: &Status) {
        let drained = self.nodes[node].process.as_ref().is_some_and(|process| process.drained);
        let Some(region) = status.held_by.filter(|_| drained && status.idle) else { return };
        self.tally.handovers += 1;
        self.handed_over(node, region);
        if self.rng.random_bool(STOP_CHANCE) {
            self.shut_down(node);
        }
    }

    /// A region is said to hold all that a node has acknowledged.
    pub fn handed_over(&mut self, node: usize, region: u8) {
        if self.has_two_histories() {
            self.tally.note("handovers beside a copy or a liar");
            return;
        }
        let mut disks = Vec::new();
        for (at, holder) in self.nodes.iter().enumerate().filter(|(_, holder)| holder.worker.region() == region) {
            // It may have said so before its disk was lost, and nobody knows yet.
            if !self.checkers.tokens.is_intact(at) && !self.network.hears(node, at, holder.peer()) {
                self.tally.note("handovers to a disk that was lost");
                return;
            }
            match state::durable(std::iter::once(holder), self.all_keys()) {
                Ok(rows) => disks.push(rows),
                Err(refused) => self.findings.push(refused),
            }
        }
        let finding = self.checkers.handovers.check(node, region, &disks);
        self.findings.extend(finding);
    }
}
