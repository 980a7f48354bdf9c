//! A rogue: somebody has a node's certificate and key, listens to what that node is told, and says what they like in its
//! name, beside it (`SECURITY.md` says what that may come to).
//!
//! What may come of it: counters are raised, that node fences itself, and others begin new incarnations. What may not:
//! that an acknowledged increment is lost, an ID comes twice or IDs end, another node fences itself, anybody panics, or
//! those who are left disagree once the certificate is shut out. The checkers hold nodes to that; what the rogue has
//! said is told to them where it may come true.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use snowtide::crdt::{LogHash, Mark, Row, Slot, VersionVector};
use snowtide::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};
use snowtide::merkle::{Place, Sum};
use snowtide::replica::{
    Change, Digest, Heartbeat, Message, Payload, Proof, Record, Refused, RepairStep, RepairedRow, Seal, Sighting,
};
use snowtide::section::Milliseconds;
use snowtide_protocol::Key;

use super::checkers::ledger::Ledger;
use super::clients::{name, only_grows};
use super::faults::{Fault, Faults};
use super::ids::layout;
use super::world::{Happening, World};

/// Of what it hears, this much is answered before the true node can.
const ANSWER_CHANCE: f64 = 0.2;
const ANSWERED_MS: u64 = 2;
/// What it remembers of each kind.
const REMEMBERED_MAX: usize = 64;
/// Far from everything that true nodes come to.
const FAR: [u64; 4] = [u64::MAX, u64::MAX - 1, 1 << 62, 1 << 33];

/// Milliseconds for which a node that has begun a new incarnation on somebody's word begins no other.
pub const RENEWAL_MS: u64 = 60_000;

pub struct Rogue {
    /// Its own, so that the world is the same without it.
    rng: SmallRng,
    /// Whose certificate it has.
    pub victim: usize,
    /// The latest that any true clock had shown when somebody last moved one, in Unix time.
    latest_ms: u64,
    /// How far logs are told to go.
    marks: BTreeMap<(NamespaceId, ReplicaId), Mark>,
    boots: Vec<Peer>,
    sightings: Vec<Sighting>,
    counters: usize,
}

/// Whom it speaks to, and what it knows of that node.
struct Target {
    peer: Peer,
    /// The node in whose name it speaks.
    own: Peer,
    serving: Option<ReplicaId>,
    now_ms: u64,
}

/// What only the holder of a node's key can make, as `src/peer/seal.rs` makes it.
pub fn sealed(by: Peer, of: Boot) -> Seal {
    Seal(format!("node {} says of its boot {:?} that it has heard of {of:?}", by.worker, by.boot).into_bytes())
}

impl Rogue {
    /// With the certificate of one of so many nodes, if there is to be one at all.
    pub fn new(mut rng: SmallRng, faults: &Faults, nodes: usize, counters: usize) -> Option<Self> {
        let victim = rng.random_range(0..nodes);
        (faults.chance(Fault::Rogue) > 0.0).then_some(Self {
            rng,
            victim,
            latest_ms: 0,
            marks: BTreeMap::new(),
            boots: Vec::new(),
            sightings: Vec::new(),
            counters,
        })
    }

    /// Milliseconds to what it says next.
    fn pause(&mut self, rate: f64) -> u64 {
        let mean_ms = 60_000.0 / rate;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // minutes, never negative
        let wait = (mean_ms * -self.rng.random_range(f64::EPSILON..1.0_f64).ln()) as u64;
        wait + 1
    }

    /// What comes to the node whose key it has, it reads as well.
    fn listen(&mut self, from: Peer, message: &Message) {
        remember(&mut self.boots, from);
        let Message::Digest(digest) = message else { return };
        let vectors = digest.vectors.iter();
        let marks = vectors.flat_map(|(space, vector)| vector.iter().map(|(origin, mark)| ((*space, origin), mark)));
        marks.for_each(|(log, mark)| {
            let held = self.marks.entry(log).or_default();
            *held = held.join(mark);
        });
        digest.live.iter().for_each(|heartbeat| remember(&mut self.boots, heartbeat.peer));
        digest.sightings.iter().for_each(|sighting| remember(&mut self.sightings, sighting.clone()));
    }

    fn number(&mut self) -> u64 {
        let small = self.rng.random_range(0..40);
        if self.rng.random_bool(0.7) { small } else { *FAR.choose(&mut self.rng).unwrap_or(&0) }
    }

    /// Mostly one that both serve.
    fn namespace(&mut self) -> NamespaceId {
        NamespaceId(*[1, 1, 1, 2, 2, 9].choose(&mut self.rng).unwrap_or(&1))
    }

    /// A log, and how far it goes: that of whom it speaks to, of anybody, or one that never was.
    fn log(&mut self, namespace: NamespaceId, target: &Target) -> (ReplicaId, Mark) {
        let known = self.marks.keys().filter(|(space, _)| *space == namespace).map(|(_, origin)| *origin);
        let known = known.choose(&mut self.rng);
        let worker = if self.rng.random_bool(0.5) { target.own.worker } else { target.peer.worker };
        let invented = ReplicaId::new(worker, self.rng.random_range(0..6));
        let origin = match self.rng.random_range(0..4) {
            0 => target.serving.unwrap_or(invented),
            1 | 2 => known.unwrap_or(invented),
            _ => invented,
        };
        (origin, self.marks.get(&(namespace, origin)).copied().unwrap_or_default())
    }

    /// A mark near the true one: of another history, further on, or as it is.
    fn mark(&mut self, true_one: Mark) -> Mark {
        let seq = match self.rng.random_range(0..4) {
            0 => true_one.seq,
            1 => true_one.seq.saturating_sub(1),
            2 => true_one.seq.saturating_add(self.rng.random_range(1..5)),
            _ => self.number(),
        };
        let hash = match self.rng.random_range(0..6) {
            0 => LogHash::FORKED,
            1 => LogHash(0),
            2 | 3 => true_one.hash,
            _ => LogHash(self.rng.random()),
        };
        Mark { seq, hash }
    }

    fn vector(&mut self, namespace: NamespaceId, target: &Target) -> VersionVector {
        let logs = self.rng.random_range(0..4);
        let mut marks: Vec<(ReplicaId, Mark)> = Vec::new();
        for _ in 0..logs {
            let (origin, mark) = self.log(namespace, target);
            let mark = self.mark(mark);
            marks.push((origin, mark));
        }
        marks.into_iter().collect()
    }

    fn vectors(&mut self, target: &Target) -> Vec<(NamespaceId, VersionVector)> {
        let namespace = self.namespace();
        vec![(namespace, self.vector(namespace, target))]
    }

    fn slot(&mut self) -> Slot {
        let [added, subtracted] = [(); 2].map(|()| match self.rng.random_range(0..4) {
            0 => 0,
            1 => self.rng.random_range(0..1 << 44),
            2 => self.rng.random_range(0..1_000),
            _ => self.number(),
        });
        Slot::of(added, subtracted)
    }

    /// A counter that clients use, so that every checker looks at it; what it is said to be may come true.
    fn change(&mut self, ledger: &mut Ledger, namespace: NamespaceId, origin: ReplicaId) -> (String, Slot) {
        let (key, mut slot) = (name(self.rng.random_range(0..self.counters)), self.slot());
        if only_grows(&key) {
            slot = Slot::of(slot.totals().0, 0);
        }
        let counter = (namespace, Key::new(key.as_str()).expect("a counter's name is a key"));
        ledger.lied(&counter, origin, slot);
        (key, slot)
    }

    fn delta(&mut self, ledger: &mut Ledger, target: &Target) -> Message {
        let namespace = self.namespace();
        let (origin, mark) = self.log(namespace, target);
        let Mark { seq: upto, hash } = self.mark(mark);
        let after = match self.rng.random_range(0..4) {
            0 => self.number(),
            _ => mark.seq.min(upto.saturating_sub(1)),
        };
        let mut changes: Vec<(String, Slot)> =
            (0..self.rng.random_range(0..3)).map(|_| self.change(ledger, namespace, origin)).collect();
        let mut payload = match self.rng.random_range(0..8) {
            0 => {
                changes.push(("x".repeat(513), Slot::default()));
                encode(&changes)
            }
            1 => {
                changes.push((String::new(), Slot::default()));
                encode(&changes)
            }
            _ => encode(&changes),
        };
        if self.rng.random_bool(0.1) {
            payload = Payload(payload.0.slice(..payload.0.len() / 2));
        }
        Message::Delta(Record { namespace, origin, after, upto, hash, payload })
    }

    /// Beyond the layout, beyond every clock, or as it may be.
    fn ceiling(&mut self, target: &Target) -> u64 {
        let now = target.now_ms.saturating_sub(layout().epoch_ms());
        let day = 86_400_000;
        let choices =
            [u64::MAX, layout().timestamp_ms_max(), layout().timestamp_ms_max() + 1, now + 365 * day, now + day, now];
        choices.choose(&mut self.rng).copied().unwrap_or(0)
    }

    fn boot(&mut self) -> Boot {
        Boot { counter: self.number(), nonce: self.rng.random_range(0..4) }
    }

    /// It can sign as its victim alone: all else it makes up, or repeats.
    fn sighting(&mut self, target: &Target) -> Sighting {
        let boot = self.boot();
        let stolen = Peer { boot, ..target.own };
        let (by, of) = match self.rng.random_range(0..6) {
            0 => (stolen, target.own.boot),
            1 => (target.own, boot),
            2 | 3 => (Peer { worker: target.peer.worker, boot }, target.peer.boot),
            _ => match self.sightings.choose(&mut self.rng) {
                Some(heard) if self.rng.random_bool(0.5) => return heard.clone(),
                Some(heard) => return Sighting { of: target.peer.boot, ..heard.clone() },
                None => (Peer { worker: target.peer.worker, boot }, target.peer.boot),
            },
        };
        let seal = match self.rng.random_range(0..3) {
            0 => Seal::default(),
            1 => sealed(stolen, of),
            _ if by.worker == target.own.worker => sealed(by, of),
            _ => Seal(vec![self.rng.random(); 16]),
        };
        Sighting { by, of, seal }
    }

    fn heartbeat(&mut self, target: &Target) -> Heartbeat {
        let heard = self.boots.choose(&mut self.rng).copied().unwrap_or(target.peer);
        let peer = match self.rng.random_range(0..4) {
            0 => target.peer,
            1 => heard,
            2 => Peer { boot: self.boot(), ..target.peer },
            _ => Peer { boot: self.boot(), ..heard },
        };
        Heartbeat { peer, beat: self.number() }
    }

    fn digest(&mut self, target: &Target) -> Message {
        let replica = self.log(NamespaceId(1), target).0;
        let mut digest = Digest { replica: Some(replica).filter(|_| self.rng.random_bool(0.5)), ..Digest::default() };
        // As a rule little of each; now and then more than there may be.
        let many =
            |rng: &mut SmallRng, max: usize| if rng.random_bool(0.01) { max + 1 } else { rng.random_range(0..3) };
        if self.rng.random_bool(0.5) {
            digest.vectors = self.vectors(target);
        }
        for _ in 0..many(&mut self.rng, 1_024) {
            let about = self.boots.choose(&mut self.rng).map_or(target.peer.worker, |peer| peer.worker);
            digest.ceilings.push((about, self.ceiling(target)));
        }
        digest.live = (0..many(&mut self.rng, 4_096)).map(|_| self.heartbeat(target)).collect();
        digest.sightings = (0..many(&mut self.rng, 64)).map(|_| self.sighting(target)).collect();
        Message::Digest(digest)
    }

    fn proof(&mut self, target: &Target) -> Message {
        let namespace = self.namespace();
        let (replica, mark) = self.log(namespace, target);
        let boot = if self.rng.random_bool(0.9) { target.peer.boot } else { self.boot() };
        let worker = WorkerId::new(self.rng.random_range(0..32), self.rng.random_range(0..32));
        Message::Proof(Proof {
            replica: target.serving.filter(|_| self.rng.random_bool(0.7)).unwrap_or(replica),
            boot,
            marks: vec![(namespace, self.mark(mark)); usize::from(self.rng.random_bool(0.5))],
            reach: vec![(namespace, self.number()); usize::from(self.rng.random_bool(0.3))],
            ceiling: self.ceiling(target),
            nodes: worker.into_iter().filter(|_| self.rng.random_bool(0.1)).collect(),
        })
    }

    fn rows(&mut self, ledger: &mut Ledger, namespace: NamespaceId, target: &Target) -> Vec<RepairedRow> {
        let mut rows = Vec::new();
        for _ in 0..self.rng.random_range(0..3) {
            let origin = self.log(namespace, target).0;
            let (key, slot) = self.change(ledger, namespace, origin);
            rows.push(RepairedRow { key, row: Row::from_iter([(origin, slot)]) });
        }
        if self.rng.random_bool(0.1) {
            rows.push(RepairedRow { key: String::new(), row: Row::default() });
        }
        rows
    }

    /// A step that nobody asked for, or the answer to one, if `ask` is its number.
    fn answer(&mut self, ledger: &mut Ledger, namespace: NamespaceId, ask: u64, target: &Target) -> RepairStep {
        let sums = vec![self.rng.random(); *[0, 1, 15, 16, 17, 256].choose(&mut self.rng).unwrap_or(&0)];
        match self.rng.random_range(0..5) {
            0 => RepairStep::Compared {
                vector: self.vector(namespace, target),
                children: Some(sums).filter(|_| self.rng.random_bool(0.5)),
            },
            1 => RepairStep::Children { ask, sums },
            2 | 3 => {
                let reach = (self.log(namespace, target).0, self.number());
                RepairStep::Differing {
                    ask,
                    rows: self.rows(ledger, namespace, target),
                    reach: vec![reach; usize::from(self.rng.random_bool(0.5))],
                    covered: Place(self.rng.random()),
                }
            }
            _ => RepairStep::End,
        }
    }

    fn question(&mut self) -> RepairStep {
        match self.rng.random_range(0..2) {
            0 => RepairStep::Compare { root: Sum(self.rng.random()) },
            _ => {
                let level = *[0, 1, 2, 3, 4, 255].choose(&mut self.rng).unwrap_or(&0);
                RepairStep::Nodes { ask: self.number(), level, indexes: vec![self.rng.random(); 3] }
            }
        }
    }

    fn lie(&mut self, ledger: &mut Ledger, target: &Target) -> Message {
        let namespace = self.namespace();
        let (origin, _) = self.log(namespace, target);
        match self.rng.random_range(0..14) {
            0..4 => self.digest(target),
            4..7 => self.delta(ledger, target),
            7 => Message::Ack(self.vectors(target)),
            8 => Message::Request { namespace, origin, after: self.number() },
            9 => Message::Refused(if self.rng.random_bool(0.5) {
                Refused::Gap { namespace, origin, known: self.number() }
            } else {
                Refused::NotWhole { namespace, origin, from: self.number() }
            }),
            10 => {
                let boot = if self.rng.random_bool(0.5) { target.own.boot } else { self.boot() };
                Message::ProofRequest { replica: origin, boot }
            }
            11 => self.proof(target),
            12 => {
                let session = self.number();
                let ask = self.number();
                let asks = self.rng.random_bool(0.5);
                let step = if asks { self.question() } else { self.answer(ledger, namespace, ask, target) };
                Message::Repair { namespace, session, step }
            }
            _ => Message::Leaving,
        }
    }

    /// A question of repair that the true node is asked as well.
    fn hurry(&mut self, ledger: &mut Ledger, asked: &Message, target: &Target) -> Option<Message> {
        let Message::Repair { namespace, session, step } = asked else { return None };
        let ask = match step {
            RepairStep::Compare { .. } => 0,
            RepairStep::Nodes { ask, .. } | RepairStep::Rows { ask, .. } => *ask,
            _ => return None,
        };
        let (namespace, session) = (*namespace, *session);
        let answers = self.rng.random_bool(ANSWER_CHANCE);
        answers.then(|| Message::Repair { namespace, session, step: self.answer(ledger, namespace, ask, target) })
    }
}

fn remember<T: PartialEq>(held: &mut Vec<T>, news: T) {
    if !held.contains(&news) {
        held.push(news);
        held.drain(..held.len().saturating_sub(REMEMBERED_MAX));
    }
}

fn encode(changes: &[(String, Slot)]) -> Payload {
    let changes: Vec<Change<'_>> = changes.iter().map(|(key, slot)| Change { key, slot: *slot }).collect();
    Payload::encode(&changes)
}

impl World {
    /// Nothing is certain of what logs hold, and of what nodes are said to hold: a rogue speaks of them.
    pub fn has_rogue(&self) -> bool {
        self.rogue.is_some()
    }

    pub fn next_lie(&mut self) {
        let rate = self.faults.chance(Fault::Rogue);
        if let Some(rogue) = &mut self.rogue {
            let pause = rogue.pause(rate);
            self.schedule(pause, Happening::Lie { epoch: self.epoch });
        }
    }

    /// It says something to somebody.
    pub fn lie(&mut self) {
        let Some(mut rogue) = self.rogue.take() else { return };
        let to = rogue.rng.random_range(0..self.nodes.len());
        if let Some(target) = self.target(&rogue, to) {
            let message = rogue.lie(&mut self.checkers.ledger, &target);
            let delay = rogue.rng.random_range(1..100);
            self.count(Fault::Rogue);
            self.say(&target, to, delay, message);
        }
        self.rogue = Some(rogue);
    }

    /// Something is on its way to a node; the rogue hears it if it has that one's key, and may be quicker to answer.
    pub fn overhear(&mut self, node: usize, to: usize, message: &Message) {
        let Some(mut rogue) = self.rogue.take() else { return };
        if let Some(from) = self.nodes[node].peer().filter(|_| rogue.victim == to) {
            rogue.listen(from, message);
            if let Some(target) = self.target(&rogue, node).filter(|_| self.broken)
                && let Some(answer) = rogue.hurry(&mut self.checkers.ledger, message, &target)
            {
                self.count(Fault::Rogue);
                self.say(&target, node, ANSWERED_MS, answer);
            }
        }
        self.rogue = Some(rogue);
    }

    /// A node that takes what comes in the victim's name for the victim's.
    fn target(&self, rogue: &Rogue, to: usize) -> Option<Target> {
        let (peer, own) = (self.nodes[to].peer()?, self.nodes[rogue.victim].peer()?);
        let heard = to != rogue.victim && self.network.hears(to, rogue.victim, Some(own));
        let serving = self.nodes[to].process.as_ref().and_then(|process| process.serving);
        let now_ms = self.reading(to).wall_ms;
        (heard && !self.network.is_cut(rogue.victim, to)).then_some(Target { peer, own, serving, now_ms })
    }

    fn say(&mut self, target: &Target, to: usize, delay: u64, message: Message) {
        if let Message::Repair { namespace, step: RepairStep::Differing { reach, .. }, .. } = &message {
            // Whoever hears it may say so as well.
            self.checkers.durable.lied(target.peer.worker, *namespace, reach);
        }
        let (from, start) = (target.own, self.nodes[to].starts);
        self.schedule(delay, Happening::Message { from, to, start, message: Box::new(message) });
    }

    /// Somebody is about to move this clock, or has: a node may have put what it shows now into a ceiling of its own.
    pub fn see_clock(&mut self, node: usize) {
        let wall_ms = self.reading(node).wall_ms;
        self.rogue.iter_mut().for_each(|rogue| rogue.latest_ms = rogue.latest_ms.max(wall_ms));
    }

    /// No word of it ends the IDs of a node: they go on at the latest when the clocks have come so far.
    pub fn judge_claim(&mut self, node: usize, ceiling: u64) {
        let Some(rogue) = &self.rogue else { return };
        let lead_ms = super::ids::LIMITS.max_leap_ms + self.settings.quarantine.ms();
        let clocks = (0..self.nodes.len()).map(|node| self.reading(node).wall_ms);
        let latest = clocks.fold(rogue.latest_ms, u64::max).saturating_sub(layout().epoch_ms());
        if ceiling > latest + lead_ms {
            self.findings.push(format!(
                "I10: node {node} begins its ids above {ceiling}, on the word of a rogue; no clock was ever beyond {latest}"
            ));
        }
    }

    /// Nor does it end any node but the one whose key it has.
    pub fn judge_fence(&mut self, node: usize, reason: &str) {
        let other = self.rogue.as_ref().is_some_and(|rogue| rogue.victim != node);
        if !self.tally.copies() && other && reason.starts_with("duplicate worker") {
            self.findings.push(format!("I3: node {node} fences itself, and no disk was copied: {reason}"));
        }
    }
}
