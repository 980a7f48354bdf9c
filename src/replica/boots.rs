//! Live boots: which processes claim which worker id, and how two under one are found (G5, I3).
//!
//! Each boot counts heartbeats, and every digest carries the highest one heard of each boot (van Renesse, Minsky and
//! Hayden, "A Gossip-Style Failure Detection Service", 1998). Times are each listener's own and are never sent: news that
//! goes round in circles keeps nobody alive, for a boot that has ended beats no more.
//!
//! A heartbeat is hearsay: it makes nobody stop. It only makes the boot that hears of another one of its worker id say so,
//! under its own signature: a [`Sighting`]. Nobody can name a boot before it has started, because its nonce is random. So
//! a boot that is named by another knows that this one has lived beside it, and no peer can make that up. Sightings travel
//! in digests as well: two live processes under one worker id are found as soon as any chain of links leads from one to
//! the other and back, though they never meet and have no peer in common. A node that restarts is heard of twice for a
//! moment and is no duplicate, for the boot that has ended names nobody.
//!
//! The later boot loses, by counter and then by nonce: the only order that all listeners compute alike, whatever they
//! heard first and however their clocks stand. And nearly always it is that of age: a copy of a running node's
//! directory is at least one boot ahead of it. If the original was restarted more often than its copy, the original
//! loses; that is as safe, since what both acknowledged counts (I3).

use std::collections::BTreeMap;

use crate::identity::{Boot, Peer, WorkerId};

use super::Replica;
use super::effect::{Effect, Notice};
use super::message::{Digest, Heartbeat, Seal, Sighting};

/// Boots of one worker that are remembered (I6). With one more, a boot goes of those that were first heard of from the
/// peer that has told of most of them: who makes boots up displaces only its own.
const BOOTS_MAX: usize = 4;
/// Sightings of one worker's boots that are remembered; with one more, the one that was told longest ago is forgotten (I6).
const SIGHTINGS_MAX: usize = 2 * BOOTS_MAX;
/// Sightings in one digest. Our own come first.
pub(super) const SIGHTINGS_PER_DIGEST: usize = 64;

/// What was heard of every boot, our own aside.
#[derive(Debug)]
pub(super) struct Boots {
    own: Peer,
    beats: u64,
    /// `boot_silent_after`
    patience_ms: u64,
    heard: BTreeMap<(WorkerId, Boot), Heard>,
    /// By worker, who says so, and of whom.
    sighted: BTreeMap<(WorkerId, Boot, Boot), Sighted>,
}

/// What was heard of one boot.
#[derive(Clone, Copy, Debug)]
struct Heard {
    beat: u64,
    /// When its beat last moved.
    moved_at: u64,
    /// Who told of it first.
    teller: WorkerId,
}

/// What one boot says of another.
#[derive(Debug)]
struct Sighted {
    seal: Seal,
    heard_at: u64,
}

/// Two live processes under one worker id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    pub(super) worker: WorkerId,
    pub(super) stays: Boot,
    pub(super) loses: Boot,
}

impl Boots {
    pub(super) fn new(own: Peer, patience_ms: u64) -> Self {
        Self { own, beats: 0, patience_ms, heard: BTreeMap::new(), sighted: BTreeMap::new() }
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

    /// What a digest tells besides: what we say of other boots of our worker, and what others say of theirs, as long as
    /// both are heard of.
    pub(super) fn sightings(&self, now: u64) -> Vec<Sighting> {
        let rivals =
            self.heard.iter().filter(|((worker, _), heard)| *worker == self.own.worker && !self.is_silent(heard, now));
        let ours = rivals.map(|((_, rival), _)| Sighting { by: self.own, of: *rival, seal: Seal::default() });
        let others = self
            .sighted
            .iter()
            .filter(|((worker, by, of), _)| self.is_live(*worker, *by, now) && self.is_live(*worker, *of, now));
        let others = others.map(|(&(worker, boot, of), sighted)| Sighting {
            by: Peer { worker, boot },
            of,
            seal: sighted.seal.clone(),
        });
        ours.chain(others).take(SIGHTINGS_PER_DIGEST).collect()
    }

    /// A digest of `teller` tells this. Whom `is_known` does not name is nobody.
    pub(super) fn hear(&mut self, now: u64, teller: WorkerId, live: &[Heartbeat], is_known: impl Fn(WorkerId) -> bool) {
        let patience_ms = self.patience_ms;
        self.heard.retain(|_, heard| now.saturating_sub(heard.moved_at) <= patience_ms);
        self.sighted.retain(|_, sighted| now.saturating_sub(sighted.heard_at) <= patience_ms);
        for Heartbeat { peer, beat } in live {
            if *peer == self.own || !is_known(peer.worker) {
                continue;
            }
            match self.heard.get_mut(&(peer.worker, peer.boot)) {
                Some(heard) if *beat > heard.beat => (heard.beat, heard.moved_at) = (*beat, now),
                Some(_) => {}
                None => self.insert(*peer, Heard { beat: *beat, moved_at: now, teller }),
            }
        }
    }

    fn insert(&mut self, peer: Peer, heard: Heard) {
        let of_worker = || self.heard.iter().filter(|((worker, _), _)| *worker == peer.worker);
        if of_worker().count() >= BOOTS_MAX {
            let told_by = |teller| of_worker().filter(|(_, heard)| heard.teller == teller).count();
            let victim =
                of_worker().max_by_key(|(_, heard)| (told_by(heard.teller), std::cmp::Reverse(heard.moved_at)));
            let victim = victim.map(|(key, _)| *key);
            victim.and_then(|key| self.heard.remove(&key));
        }
        self.heard.insert((peer.worker, peer.boot), heard);
    }

    /// The same of sightings, whose seals are checked. Each pair that they show to be duplicates is told once, but those
    /// that concern us again and again.
    pub(super) fn hear_sightings(
        &mut self,
        now: u64,
        sightings: &[Sighting],
        is_known: impl Fn(WorkerId) -> bool,
    ) -> Vec<Duplicate> {
        let mut found = Vec::new();
        for Sighting { by, of, seal } in sightings {
            let worker = by.worker;
            if *by == self.own || by.boot == *of || !is_known(worker) {
                continue;
            }
            let of_us = Peer { worker, boot: *of } == self.own;
            let news =
                self.sighted.insert((worker, by.boot, *of), Sighted { seal: seal.clone(), heard_at: now }).is_none();
            self.forget_sightings(worker);
            let duplicate = Duplicate { worker, stays: by.boot.min(*of), loses: by.boot.max(*of) };
            // To others one word is not enough: a boot may speak of one that has ended before it began.
            let mutual = news && self.sighted.contains_key(&(worker, *of, by.boot));
            if of_us && (news || duplicate.loses == *of) || mutual {
                found.push(duplicate);
            }
        }
        found
    }

    fn forget_sightings(&mut self, worker: WorkerId) {
        let of_worker = || self.sighted.iter().filter(|((of, ..), _)| *of == worker);
        if of_worker().count() > SIGHTINGS_MAX
            && let Some(oldest) = of_worker().min_by_key(|(_, sighted)| sighted.heard_at).map(|(key, _)| *key)
        {
            self.sighted.remove(&oldest);
        }
    }

    fn is_live(&self, worker: WorkerId, boot: Boot, now: u64) -> bool {
        let heard = self.heard.get(&(worker, boot));
        Peer { worker, boot } == self.own || heard.is_some_and(|heard| !self.is_silent(heard, now))
    }

    fn is_silent(&self, heard: &Heard, now: u64) -> bool {
        now.saturating_sub(heard.moved_at) > self.patience_ms
    }
}

impl Replica {
    /// The boots that a digest speaks of. One that has fenced itself claims nothing any more.
    pub(super) fn live_boots(&self) -> Vec<Heartbeat> {
        let mut live = self.gossip.boots.live(self.now);
        if self.readiness.is_fenced() {
            live.retain(|heartbeat| heartbeat.peer != self.gossip.boots.own);
        }
        live
    }

    /// What a digest says of two processes under one worker id.
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        let mut sightings = self.gossip.boots.sightings(self.now);
        if self.readiness.is_fenced() {
            sightings.retain(|sighting| sighting.by != self.gossip.boots.own);
        }
        sightings
    }

    /// Hears of boots. If ours is the later one of two that live, we stop (I3).
    pub(super) fn hear_boots(&mut self, teller: WorkerId, digest: &Digest) {
        let Self { gossip, settings, .. } = self;
        let boots = &mut gossip.boots;
        let is_known = |worker| worker == settings.worker || settings.peers.contains_key(&worker);
        boots.hear(self.now, teller, &digest.live, is_known);
        for duplicate in boots.hear_sightings(self.now, &digest.sightings, is_known) {
            let Duplicate { worker, stays, loses } = duplicate;
            if worker == self.settings.worker && loses == self.incarnation.boot() {
                self.rival(format!(
                    "duplicate worker: another live process is node {worker} (its boot {}, this one {}), and has said so \
                     itself, by way of peers that hear both",
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
            let members: Vec<_> = members.iter().map(|own| Boots::new(*own, PATIENCE_MS)).collect();
            Self { found: vec![Vec::new(); members.len()], members, links: links.into(), now: 0 }
        }

        /// Digests go over every link, both ways, this often.
        fn pass(&mut self, rounds: u64) {
            for _ in 0..rounds {
                self.now += DIGEST_MS;
                self.members.iter_mut().for_each(Boots::beat);
                for (one, other) in self.links.clone() {
                    for (from, to) in [(one, other), (other, one)] {
                        let (live, sightings) =
                            (self.members[from].live(self.now), self.members[from].sightings(self.now));
                        let teller = self.members[from].own.worker;
                        self.members[to].hear(self.now, teller, &live, |_| true);
                        let found = self.members[to].hear_sightings(self.now, &sightings, |_| true);
                        self.found[to].extend(found);
                    }
                }
            }
        }

        /// The process at this place is gone, and another boot of it starts.
        fn restart(&mut self, at: usize, boot: Peer) {
            self.members[at] = Boots::new(boot, PATIENCE_MS);
        }
    }

    #[test]
    fn two_that_never_meet_are_found_along_a_chain_and_all_name_the_same_loser() {
        // 0 and 3 are one worker; between them stand two nodes that know only one of them each.
        let (original, copy) = (peer(0, 5, 900), peer(0, 6, 3));
        let mut town = Town::new(&[original, peer(1, 1, 1), peer(2, 1, 2), copy], &[(0, 1), (1, 2), (2, 3)]);
        // There and back.
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
    fn what_anybody_can_make_up_makes_nobody_stop() {
        let mut boots = Boots::new(peer(0, 5, 5), PATIENCE_MS);
        for second in 0..60 {
            // Of a boot before ours, of one after it, and of ours as though it had gone on without us.
            let invented = [peer(0, 0, 0), peer(0, 6, 6), peer(0, 5, 5)].map(|peer| Heartbeat { peer, beat: second });
            boots.hear(second * DIGEST_MS, worker(1), &invented, |_| true);
            // What others of our worker say of others still is no evidence against us; nor is what we say ourselves.
            let sightings = [(peer(0, 4, 4), 0), (peer(0, 5, 5), 6)];
            let sightings = sightings.map(|(by, number)| Sighting {
                by,
                of: Boot { counter: number, nonce: number },
                seal: Seal::default(),
            });
            let found = boots.hear_sightings(second * DIGEST_MS, &sightings, |_| true);
            assert!(found.iter().all(|duplicate| duplicate.loses != boots.own.boot), "{found:?}");
        }
    }

    #[test]
    fn a_boot_that_names_ours_lives_beside_us_and_the_later_one_loses() {
        let boots = || Boots::new(peer(0, 5, 5), PATIENCE_MS);
        let of = peer(0, 5, 5).boot;
        for (counter, loses) in [(4, 5), (6, 6)] {
            let sighting = Sighting { by: peer(0, counter, 9), of, seal: Seal::default() };
            let found = boots().hear_sightings(0, &[sighting], |_| true);
            assert_eq!(found.iter().map(|duplicate| duplicate.loses.counter).collect::<Vec<_>>(), [loses]);
        }
        let stranger = Sighting { by: peer(9, 4, 9), of, seal: Seal::default() };
        assert_eq!(boots().hear_sightings(0, &[stranger], |known| known == worker(0)), []);
    }

    #[test]
    fn a_disk_that_is_replaced_makes_no_duplicate_of_the_boot_before() {
        let mut town = Town::new(&[peer(0, 9, 9), peer(1, 1, 1), peer(2, 1, 2)], &[(0, 1), (1, 2), (2, 0)]);
        town.pass(5);
        town.restart(0, peer(0, 1, 3));
        town.pass(20);
        assert!(town.found.iter().all(Vec::is_empty), "{:?}", town.found);
    }

    #[test]
    fn who_makes_boots_up_does_not_hide_true_ones() {
        let mut boots = Boots::new(peer(0, 5, 5), PATIENCE_MS);
        let rival = peer(0, 6, 6);
        for second in 0..100 {
            boots.hear(second, worker(2), &[Heartbeat { peer: rival, beat: second + 1 }], |_| true);
            for nonce in 0..50 {
                let invented = Heartbeat { peer: peer(0, 7, second * 100 + nonce), beat: 1 };
                boots.hear(second, worker(1), &[invented], |_| true);
            }
            let said: Vec<Boot> = boots.sightings(second).iter().map(|sighting| sighting.of).collect();
            assert!(said.contains(&rival.boot) && said.len() <= BOOTS_MAX, "{said:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_only_of_known_workers() {
        let mut boots = Boots::new(peer(1, 1, 1), PATIENCE_MS);
        for nonce in 0..1_000 {
            boots.hear(nonce, worker(2), &[Heartbeat { peer: peer(0, 1, nonce), beat: 1 }], |_| true);
            boots.hear(nonce, worker(2), &[Heartbeat { peer: peer(9, 1, nonce), beat: 1 }], |known| known == worker(0));
            let sighting = Sighting { by: peer(0, 1, nonce), of: peer(0, 2, 0).boot, seal: Seal::default() };
            boots.hear_sightings(nonce, &[sighting], |_| true);
        }
        assert_eq!(boots.sighted.len(), SIGHTINGS_MAX);
        assert_eq!(boots.live(1_000).len(), 1 + BOOTS_MAX);
        let nonces: Vec<u64> = boots.live(1_000).iter().skip(1).map(|heartbeat| heartbeat.peer.boot.nonce).collect();
        assert_eq!(nonces, [996, 997, 998, 999]);
    }
}
