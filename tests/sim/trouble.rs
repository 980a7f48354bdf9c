//! Faults, as they are done to the world.

use rand::RngExt;
use rand::seq::SliceRandom;
use snowtide::replica::{Disk as Space, Event, Headroom};

use super::checkers::doors::Closed;
use super::checkers::state;
use super::clock::Clock;
use super::disk::{Disk, Failure, Image};
use super::faults::Fault;
use super::node::Node;
use super::world::{Happening, World};

const DAY_MS: i64 = 86_400_000;

/// How many of the ways to a node lead to its copy.
const CLONE_WAYS: f64 = 0.3;
/// The same where the copy takes its place.
const TWIN_WAYS: f64 = 0.9;

impl World {
    pub fn next_trouble(&mut self) {
        if let Some((delay, fault)) = self.faults.next(&mut self.rng) {
            self.schedule(delay, Happening::Trouble { fault, epoch: self.epoch });
        }
    }

    pub fn trouble(&mut self, fault: Fault) {
        let (node, other) = (self.rng.random_range(0..self.nodes.len()), self.rng.random_range(0..self.nodes.len()));
        self.inspect(node);
        // So that a rollback goes back to anywhere.
        self.nodes[other].snapshot = Some(self.nodes[other].disk.image());
        if self.nodes[node].retired {
            return;
        }
        match fault {
            Fault::OneWayCut | Fault::Split | Fault::Ring => self.partition(fault, node),
            Fault::Drift | Fault::Jump => self.shift_clock(fault, node),
            Fault::Clone | Fault::Twin => self.copy(node, fault),
            _ if self.nodes[node].process.is_none() => {}
            Fault::Kill | Fault::PowerCut => self.crash(node, fault),
            Fault::Wipe | Fault::Rollback => self.lose_disk(node, fault),
            Fault::FailedSync => self.fail_write(node, Failure::Sync, fault),
            Fault::DiskFull => self.fail_write(node, Failure::Full, fault),
            Fault::Pause => self.pause(node),
            Fault::Shutdown => self.shut_down(node),
            Fault::Drain => self.take_out(node),
            Fault::Reconfigure => self.reconfigure(node),
            Fault::OldMap => self.change_map(node),
            Fault::Estranged => self.estrange(node, other),
            Fault::SlowDisk => {
                self.count(fault);
                let slow = self.now + self.rng.random_range(500..15_000);
                self.slow_disk(node, slow);
            }
            Fault::DiskLow => {
                self.count(fault);
                let (delay, start) = (self.rng.random_range(1_000..20_000), self.nodes[node].starts);
                let headroom = if self.rng.random_bool(0.5) { Headroom::Low } else { Headroom::None };
                self.tell(node, Event::Disk(Space { headroom, ..Space::default() }));
                self.schedule(delay, Happening::DiskRoom { node, start });
            }
            Fault::Loss | Fault::Duplication | Fault::Reordering | Fault::Delay | Fault::TornTail => {}
            // They come by themselves.
            Fault::Leave | Fault::Rogue => {}
        }
    }

    /// Nothing that the disk of a node has to do ends before `slow`.
    pub fn slow_disk(&mut self, node: usize, slow: u64) {
        if let Some(process) = &mut self.nodes[node].process {
            process.busy_until.iter_mut().for_each(|until| *until = slow.max(*until));
        }
    }

    fn partition(&mut self, fault: Fault, node: usize) {
        let count = self.nodes.len();
        let mut places: Vec<usize> = (0..count).collect();
        places.shuffle(&mut self.rng);
        let half = self.rng.random_range(1..count);
        let apart = |a: usize, b: usize| match fault {
            Fault::OneWayCut => a == node && b == (node + half) % count,
            Fault::Split => (places[a] < half) != (places[b] < half),
            _ => (places[a] + 1) % count != places[b] && (places[b] + 1) % count != places[a],
        };
        let pairs: Vec<(usize, usize)> =
            (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b && apart(*a, *b)).collect();
        if pairs.is_empty() {
            return;
        }
        self.count(fault);
        self.cut(&pairs);
        let delay = self.rng.random_range(500..60_000);
        self.schedule(delay, Happening::Mend { pairs });
    }

    fn shift_clock(&mut self, fault: Fault, node: usize) {
        self.count(fault);
        self.see_clock(node);
        if fault == Fault::Drift {
            self.nodes[node].clock.drift(self.rng.random_range(-100_000..100_000));
            // The monotonic clock must not go back, so a new rate begins with a new process.
            return self.crash(node, Fault::Kill);
        }
        let reach = [10, 1_000, 60_000, 3 * 3_600_000, 30 * DAY_MS, 3 * 365 * DAY_MS];
        let reach = reach[self.rng.random_range(0..reach.len())];
        self.nodes[node].clock.jump(self.rng.random_range(-reach..=reach));
        self.see_clock(node);
    }

    /// A process ends at once. A `kill -9` leaves what was written, a power cut only what was synced.
    pub fn crash(&mut self, node: usize, fault: Fault) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.count(fault);
        self.end(node, fault == Fault::PowerCut);
        let long = self.rng.random_bool(0.2);
        let delay = if long { self.rng.random_range(10_000..90_000) } else { self.rng.random_range(50..3_000) };
        self.schedule(delay, Happening::Restart { node });
    }

    /// The process is gone. Writes that were under way have reached the disk or not; without `power`, all that was
    /// written has.
    pub fn end(&mut self, node: usize, power_lost: bool) {
        let Some(mut process) = self.nodes[node].process.take() else { return };
        self.trace.note(self.now, [6, node as u64, 0], || format!("node {node} ends"));
        let mut torn = false;
        for lane in &mut process.lanes {
            let under_way = lane.len();
            let reached = self.rng.random_range(0..=under_way);
            for job in lane.drain(..).take(reached) {
                // Nobody hears of it any more.
                let _ = job(&process.store);
            }
            torn |= reached < under_way;
        }
        if power_lost {
            let unsynced = self.nodes[node].disk.unsynced();
            let kept = self.rng.random_range(0..=unsynced);
            self.nodes[node].disk.cut_power(kept);
            if (torn || kept < unsynced) && self.rng.random_bool(0.5) {
                self.count(Fault::TornTail);
            }
        }
        self.unlink(node);
    }

    /// A process ends by itself: after a drain, or because its disk has failed.
    pub fn exit(&mut self, node: usize) {
        let failed = self.nodes[node].disk.poison().is_some();
        self.end(node, failed);
        let delay = self.rng.random_range(500..5_000);
        self.schedule(delay, Happening::Restart { node });
    }

    pub fn restart_fenced(&mut self, node: usize) {
        if self.nodes[node].process.as_ref().is_some_and(|process| process.fenced.is_some()) {
            self.tally.note("fenced nodes restarted");
            self.end(node, false);
            let delay = self.rng.random_range(50..3_000);
            self.schedule(delay, Happening::Restart { node });
        }
    }

    pub fn lose_disk(&mut self, node: usize, fault: Fault) {
        let image = match (fault, self.nodes[node].snapshot.clone()) {
            (Fault::Wipe, _) => Image::default(),
            (_, Some(image)) => image,
            (_, None) => return,
        };
        self.count(fault);
        self.end(node, false);
        self.excuse(node);
        self.checkers.disk_lost(node);
        self.repeats.disk_lost(node);
        self.nodes[node].disk.replace(image);
        self.nodes[node].kept = None;
        self.nodes[node].snapshot = None;
        let delay = self.rng.random_range(50..3_000);
        self.schedule(delay, Happening::Restart { node });
    }

    /// What only this disk holds may be lost with it (see the promises).
    fn excuse(&mut self, node: usize) {
        let living = |lost: bool| {
            let nodes = self.nodes.iter().enumerate().filter(move |(at, _)| (*at == node) == lost);
            nodes.map(|(_, node)| node).filter(|node| !node.retired)
        };
        let (lost, others) =
            (state::joined(living(true), self.all_keys()), state::joined(living(false), self.all_keys()));
        match (lost, others) {
            (Ok(lost), Ok(others)) => self.checkers.ledger.excuse(&lost, &others),
            (Err(finding), _) | (_, Err(finding)) => self.findings.push(finding),
        }
    }

    fn fail_write(&mut self, node: usize, failure: Failure, fault: Fault) {
        self.count(fault);
        self.nodes[node].disk.fail_next(failure);
    }

    fn pause(&mut self, node: usize) {
        let start = self.nodes[node].starts;
        let Some(process) = self.nodes[node].process.as_mut().filter(|process| process.stash.is_none()) else { return };
        process.stash = Some(Vec::new());
        self.count(Fault::Pause);
        let long = self.rng.random_bool(0.3);
        let delay = if long { self.rng.random_range(6_000..60_000) } else { self.rng.random_range(10..3_000) };
        if long {
            // Links to it die of silence.
            for other in 0..self.nodes.len() {
                self.lose_link(other, self.nodes[node].worker, node);
            }
        }
        self.schedule(delay, Happening::Resume { node, start });
    }

    pub fn resume(&mut self, node: usize) {
        let stash = self.nodes[node].process.as_mut().and_then(|process| process.stash.take()).unwrap_or_default();
        for happening in stash {
            self.happen(happening);
        }
        self.dial_all(node);
    }

    pub fn shut_down(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_mut().filter(|process| !process.leaving) else { return };
        process.leaving = true;
        process.minting.generator.drain();
        self.count(Fault::Shutdown);
        self.checkers.doors.close(node, Closed::Leaving, self.tickets);
        self.tell(node, Event::Drain);
    }

    /// A copy of the disk is started beside the original, and some ways to it lead to the copy from now on.
    fn copy(&mut self, original: usize, fault: Fault) {
        let busy = self.nodes.iter().any(|node| node.copy_of.is_some() && !node.retired);
        let worker = self.nodes[original].worker;
        if busy || self.nodes[original].starts == 0 {
            return;
        }
        self.count(fault);
        let image = match self.nodes[original].snapshot.clone() {
            Some(older) if self.rng.random_bool(0.5) => older,
            _ => self.nodes[original].disk.image(),
        };
        let copy = self.nodes.len();
        self.nodes.push(Node {
            worker,
            namespaces: self.nodes[original].namespaces.clone(),
            unmapped: self.nodes[original].unmapped,
            away: self.nodes[original].away,
            kept: None,
            disk: Disk::holding(image),
            snapshot: None,
            clock: Clock::default(),
            process: None,
            starts: 0,
            copy_of: Some(original),
            retired: false,
        });
        let ways = if fault == Fault::Twin { TWIN_WAYS } else { CLONE_WAYS };
        for other in (0..copy).filter(|other| *other != original) {
            if self.rng.random_bool(ways) {
                self.network.routes.insert((other, worker), copy);
            }
        }
        self.checkers.disk_lost(copy);
        self.repeats.disk_lost(original);
        self.start(copy);
        let delay = self.rng.random_range(2_000..60_000);
        self.schedule(delay, Happening::Retire { node: copy });
    }

    /// A copy is found and taken away, with its disk.
    pub fn retire(&mut self, node: usize) {
        if self.nodes[node].retired {
            return;
        }
        self.end(node, false);
        self.excuse(node);
        self.nodes[node].retired = true;
        self.network.routes.retain(|_, to| *to != node);
        if let Some(original) = self.nodes[node].copy_of {
            self.dial_all(original);
        }
    }
}
