//! Live boots: which processes claim which worker id, as every node hears of them (G5, I3).
//!
//! Each boot counts heartbeats, and every digest carries the highest one heard of each boot (van Renesse, Minsky and
//! Hayden, "A Gossip-Style Failure Detection Service", 1998). So two live processes under one worker id are found as
//! soon as any chain of links leads from one to the other, though they never meet and have no peer in common. Times are
//! each listener's own and are never sent: news that goes round in circles keeps nobody alive, for a boot that has
//! ended beats no more.
//!
//! A node that restarts is heard of twice for a moment. Two boots count as two processes only once both were heard to
//! beat for `duplicate_after` side by side, in the listener's time.
//!
//! The later boot loses, by counter and then by nonce: the only order that all listeners compute alike, whatever they
//! heard first and however their clocks stand. And nearly always it is that of age: a copy of a running node's
//! directory is at least one boot ahead of it. If the original was restarted more often than its copy, the original
//! loses; that is as safe, since what both acknowledged counts (I3).

use std::collections::BTreeMap;

use crate::identity::{Boot, Peer, WorkerId};

use super::Replica;
use super::effect::{Effect, Notice};
use super::message::Heartbeat;

/// Boots of one worker that are remembered; with one more, the one that was silent longest is forgotten (I6).
const BOOTS_MAX: usize = 4;

/// What was heard of every boot, our own aside.
#[derive(Debug)]
pub(super) struct Boots {
    own: Peer,
    started_at: u64,
    beats: u64,
    /// `duplicate_after`
    patience_ms: u64,
    heard: BTreeMap<(WorkerId, Boot), Heard>,
}

/// What was heard of one boot.
#[derive(Clone, Copy, Debug)]
struct Heard {
    beat: u64,
    /// Since when it has beaten, without having been silent for as long as `patience_ms`.
    since: u64,
    /// When its beat last moved.
    moved_at: u64,
    /// Its loss was told.
    told: bool,
}

/// Two live processes under one worker id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    pub(super) worker: WorkerId,
    pub(super) stays: Boot,
    pub(super) loses: Boot,
}

impl Boots {
    pub(super) fn new(own: Peer, patience_ms: u64, now: u64) -> Self {
        Self { own, started_at: now, beats: 0, patience_ms, heard: BTreeMap::new() }
    }

    /// We are alive.
    pub(super) fn beat(&mut self) {
        self.beats = self.beats.saturating_add(1);
    }

    /// What a digest tells: every boot that was heard lately, and ourselves.
    pub(super) fn live(&self, now: u64) -> Vec<Heartbeat> {
        let lately = self.heard.iter().filter(|(_, heard)| !self.is_silent(heard, now));
        let others = lately.map(|(&(worker, boot), heard)| Heartbeat { peer: Peer { worker, boot }, beat: heard.beat });
        std::iter::once(Heartbeat { peer: self.own, beat: self.beats }).chain(others).collect()
    }

    /// A digest tells this. Whom `is_known` does not name is nobody.
    pub(super) fn hear(&mut self, now: u64, live: &[Heartbeat], is_known: impl Fn(WorkerId) -> bool) {
        let patience_ms = self.patience_ms;
        self.heard.retain(|_, heard| now.saturating_sub(heard.moved_at) <= patience_ms);
        for Heartbeat { peer, beat } in live {
            if *peer == self.own || !is_known(peer.worker) {
                continue;
            }
            match self.heard.get_mut(&(peer.worker, peer.boot)) {
                Some(heard) if *beat > heard.beat => (heard.beat, heard.moved_at) = (*beat, now),
                Some(_) => {}
                None => self.insert(*peer, Heard { beat: *beat, since: now, moved_at: now, told: false }),
            }
        }
    }

    fn insert(&mut self, peer: Peer, heard: Heard) {
        let of_worker = self.heard.iter().filter(|((worker, _), _)| *worker == peer.worker);
        let known: Vec<_> = of_worker.map(|(key, heard)| (heard.moved_at, *key)).collect();
        if known.len() >= BOOTS_MAX
            && let Some((_, silent)) = known.iter().min()
        {
            self.heard.remove(silent);
        }
        self.heard.insert((peer.worker, peer.boot), heard);
    }

    /// Every worker id that two live processes claim; each once, but those that concern us again and again.
    pub(super) fn duplicates(&mut self, now: u64) -> Vec<Duplicate> {
        let (own, patience_ms) = ((self.own.worker, self.own.boot), self.patience_ms);
        let ourselves = Heard { beat: self.beats, since: self.started_at, moved_at: now, told: false };
        let mut claims = self.heard.clone();
        claims.insert(own, ourselves);
        let mut found = Vec::new();
        for (&(worker, later), heard) in &claims {
            // Boots of one worker stand side by side, in order.
            let earlier = claims.range(..(worker, later)).rev().take_while(|((other, _), _)| *other == worker);
            let side_by_side = earlier.filter(|(_, other)| other.overlaps(heard, patience_ms));
            if let Some((&(_, stays), _)) = side_by_side.last()
                && !heard.told
            {
                found.push(Duplicate { worker, stays, loses: later });
                self.heard.entry((worker, later)).and_modify(|heard| heard.told = true);
            }
        }
        found
    }

    fn is_silent(&self, heard: &Heard, now: u64) -> bool {
        now.saturating_sub(heard.moved_at) > self.patience_ms
    }
}

impl Heard {
    /// Both have beaten side by side for this long.
    fn overlaps(&self, other: &Self, ms: u64) -> bool {
        let (since, until) = (self.since.max(other.since), self.moved_at.min(other.moved_at));
        until.checked_sub(since).is_some_and(|side_by_side| side_by_side >= ms)
    }
}

impl Replica {
    /// The boots that a digest speaks of. One that has fenced itself claims nothing any more.
    pub(super) fn live_boots(&self) -> Vec<Heartbeat> {
        let mut live = self.boots.live(self.now);
        if self.fenced.is_some() {
            live.retain(|heartbeat| heartbeat.peer != self.boots.own);
        }
        live
    }

    pub(super) fn hear_boots(&mut self, live: &[Heartbeat]) {
        let Self { boots, settings, .. } = self;
        let is_known = |worker| worker == settings.worker || settings.peers.contains_key(&worker);
        boots.hear(self.now, live, is_known);
    }

    /// Beats, and looks whether anybody lives twice. If it is us and we are the later boot, we stop (I3).
    pub(super) fn advance_boots(&mut self) {
        self.boots.beat();
        for duplicate in self.boots.duplicates(self.now) {
            let Duplicate { worker, stays, loses } = duplicate;
            if worker == self.settings.worker && loses == self.boot {
                self.fence(format!(
                    "duplicate worker: another live process is node {worker} (its boot {}, this one {}), as peers that \
                     hear both tell; stop one of them, and start this node again if it is to stay",
                    stays.counter, loses.counter
                ));
            } else {
                self.effects.push_back(Effect::Notice(Notice::Duplicate { worker, stays, loses }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE_MS: u64 = 8_000;
    const DIGEST_MS: u64 = 1_000;

    fn worker(node: u8) -> WorkerId {
        WorkerId::new(1, node).unwrap()
    }

    fn peer(node: u8, counter: u64, nonce: u64) -> Peer {
        Peer { worker: worker(node), boot: Boot { counter, nonce } }
    }

    /// Listeners, and who is linked with whom.
    struct Town {
        members: Vec<Boots>,
        links: Vec<(usize, usize)>,
        now: u64,
        found: Vec<Vec<Duplicate>>,
    }

    impl Town {
        fn new(members: &[Peer], links: &[(usize, usize)]) -> Self {
            let members: Vec<_> = members.iter().map(|own| Boots::new(*own, PATIENCE_MS, 0)).collect();
            Self { found: vec![Vec::new(); members.len()], members, links: links.into(), now: 0 }
        }

        /// Digests go over every link, both ways, this often.
        fn pass(&mut self, rounds: u64) {
            for _ in 0..rounds {
                self.now += DIGEST_MS;
                for (member, found) in self.members.iter_mut().zip(&mut self.found) {
                    member.beat();
                    found.extend(member.duplicates(self.now));
                }
                for (one, other) in self.links.clone() {
                    for (from, to) in [(one, other), (other, one)] {
                        let live = self.members[from].live(self.now);
                        self.members[to].hear(self.now, &live, |_| true);
                    }
                }
            }
        }

        /// The process at this place is gone, and another boot of it starts.
        fn restart(&mut self, at: usize, boot: Peer) {
            self.members[at] = Boots::new(boot, PATIENCE_MS, self.now);
        }
    }

    #[test]
    fn two_that_never_meet_are_found_along_a_chain_and_all_name_the_same_loser() {
        // 0 and 3 are one worker; between them stand two nodes that know only one of them each.
        let (original, copy) = (peer(0, 5, 900), peer(0, 6, 3));
        let mut town = Town::new(&[original, peer(1, 1, 1), peer(2, 1, 2), copy], &[(0, 1), (1, 2), (2, 3)]);
        town.pass(PATIENCE_MS / DIGEST_MS);
        assert!(town.found.iter().all(Vec::is_empty), "too early: {:?}", town.found);
        town.pass(6);
        let duplicate = Duplicate { worker: worker(0), stays: original.boot, loses: copy.boot };
        for (at, found) in town.found.iter().enumerate() {
            assert_eq!(found.first(), Some(&duplicate), "node {at}");
            assert!(found.iter().all(|each| *each == duplicate), "node {at}: {found:?}");
        }
        assert_eq!((town.found[1].len(), town.found[2].len()), (1, 1), "told once");
    }

    #[test]
    fn of_two_boots_with_one_counter_the_nonce_decides() {
        let (one, other) = (peer(0, 7, 2), peer(0, 7, 1));
        let mut town = Town::new(&[one, peer(1, 1, 1), other], &[(0, 1), (1, 2)]);
        town.pass(20);
        assert!(town.found.iter().all(|found| found.first().map(|each| each.loses) == Some(one.boot)));
    }

    #[test]
    fn a_node_that_restarts_again_and_again_is_one_node() {
        let mut town = Town::new(&[peer(0, 1, 1), peer(1, 1, 1), peer(2, 1, 2)], &[(0, 1), (1, 2), (2, 0)]);
        for counter in 2..40 {
            town.pass(counter % 7);
            town.restart(0, peer(0, counter, counter));
        }
        town.pass(20);
        assert!(town.found.iter().all(Vec::is_empty), "{:?}", town.found);
    }

    #[test]
    fn news_that_goes_round_keeps_nobody_alive() {
        let mut town = Town::new(&[peer(0, 1, 1), peer(1, 1, 1), peer(2, 1, 2)], &[(0, 1), (1, 2), (2, 0)]);
        town.pass(5);
        // Node 0 is gone; the others go on telling each other what they heard of it.
        town.links = vec![(1, 2)];
        town.pass(PATIENCE_MS / DIGEST_MS + 2);
        for at in [1, 2] {
            let live = town.members[at].live(town.now);
            assert!(live.iter().all(|heartbeat| heartbeat.peer.worker != worker(0)), "{live:?}");
        }
    }

    #[test]
    fn a_burst_of_old_news_is_no_life() {
        let mut boots = Boots::new(peer(1, 1, 1), PATIENCE_MS, 0);
        let (old, new) = (peer(0, 3, 3), peer(0, 4, 4));
        for second in 0..60_u64 {
            let now = second * DIGEST_MS;
            boots.hear(now, &[Heartbeat { peer: new, beat: second }], |_| true);
            if second == 20 {
                // A peer that was stopped for long tells everything at once.
                (0..50).for_each(|beat| boots.hear(now, &[Heartbeat { peer: old, beat }], |_| true));
            }
            assert_eq!(boots.duplicates(now), []);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_only_of_known_workers() {
        let mut boots = Boots::new(peer(1, 1, 1), PATIENCE_MS, 0);
        for nonce in 0..1_000 {
            boots.hear(nonce, &[Heartbeat { peer: peer(0, 1, nonce), beat: 1 }], |_| true);
            boots.hear(nonce, &[Heartbeat { peer: peer(9, 1, nonce), beat: 1 }], |known| known == worker(0));
        }
        assert_eq!(boots.live(1_000).len(), 1 + BOOTS_MAX);
        let nonces: Vec<u64> = boots.live(1_000).iter().skip(1).map(|heartbeat| heartbeat.peer.boot.nonce).collect();
        assert_eq!(nonces, [996, 997, 998, 999]);
    }
}
