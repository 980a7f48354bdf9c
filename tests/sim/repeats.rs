//! Clients that repeat requests (G6): at the node that they asked, whatever has happened to it since, as long as its disk is
//! the same.
//!
//! Each has a counter of its own and one request at a time, so it knows exactly what the counter has to be: with the request
//! that it was not told of, or without, but never with it twice.

use std::collections::BTreeMap;

use rand::RngExt;
use snowtide::identity::{NamespaceId, ReplicaId};
use snowtide::replica::{Caller, Event, Operation, Outcome, Receipt, Refusal, RequestId, Terms, Ticket, Turn};
use snowtide::section::Milliseconds;
use snowtide_protocol::{Action, Key};

use super::clients::name;
use super::world::World;

/// Counters beside those that all clients use.
pub const COUNTERS: usize = 8;
const TWICE_CHANCE: f64 = 0.3;
/// An answer to a request is lost on its way, so that the client has to ask again.
const LOST_CHANCE: f64 = 0.2;

#[derive(Default)]
pub struct Repeats {
    clients: Vec<Client>,
    /// Not answered yet, or never will be.
    asked: BTreeMap<Ticket, Asked>,
}

/// What a client has asked.
struct Asked {
    client: usize,
    /// Its request, not a read.
    asks: bool,
    /// The incarnation that it takes the node for, and how long ago the request was first sent.
    incarnation: Option<ReplicaId>,
    again: Option<u64>,
    turn: u64,
    /// The start of its node that was asked.
    start: u32,
}

struct Client {
    node: usize,
    key: Key,
    namespace: NamespaceId,
    /// Of the request that is not answered yet, or of the next one.
    turn: u64,
    by: i64,
    /// It was sent at least once, for the first time then.
    sent: bool,
    sent_at: u64,
    /// The node's, when the client began its session there.
    incarnation: Option<ReplicaId>,
    /// What all answered requests have added.
    total: i128,
    /// The node's disk is another one, and the client cannot go on.
    over: bool,
    /// The same, and it goes on with another session; what the counter has to be is not known any more.
    blind: bool,
}

/// Some have a session, the others name each request for itself.
fn has_session(client: usize) -> bool {
    client.is_multiple_of(2)
}

impl Repeats {
    /// Whether this start of a node owes one of them an answer.
    pub fn waits_for(&self, node: usize, start: u32) -> bool {
        self.asked.values().any(|asked| self.clients[asked.client].node == node && asked.start == start)
    }

    pub fn disk_lost(&mut self, node: usize) {
        for (at, client) in self.clients.iter_mut().enumerate().filter(|(_, client)| client.node == node) {
            *(if has_session(at) { &mut client.blind } else { &mut client.over }) = true;
        }
    }
}

impl World {
    /// Something of one such client at `node`: its request, once more or for the first time, or a read.
    pub fn repeat(&mut self, node: usize) {
        let Some(client) = self.repeater(node) else { return };
        let Some(process) = &self.nodes[node].process else { return };
        if !process.replica.has_room() {
            return;
        }
        let (serving, asks) = (process.serving, self.rng.random_bool(0.7));
        let by = self.rng.random_range(1..1 << 40);
        let (now, own) = (self.now, process.replica.id());
        let held = &mut self.repeats.clients[client];
        let again = (asks && held.sent).then(|| now - held.sent_at);
        if asks && !std::mem::replace(&mut held.sent, true) {
            (held.by, held.sent_at) = (by, now);
        }
        // A session begins once the node has an incarnation.
        let session = has_session(client);
        if session && held.incarnation.is_none() {
            held.incarnation = own;
        }
        let incarnation = held.incarnation;
        let action = if asks { Action::Increment(held.by) } else { Action::Get };
        let operations = vec![Operation { namespace: held.namespace, key: held.key.clone(), action }];
        let (id, caller) = (u128::try_from(client).unwrap_or_default(), Caller(client as u64 % 3));
        let once = if session {
            RequestId { caller, id, turn: Turn::Next { number: held.turn, content: 7 } }
        } else {
            RequestId { caller, id: id + (u128::from(held.turn) << 64), turn: Turn::Only(7) }
        };
        let again = again.filter(|_| session);
        let terms = asks.then(|| Terms { request_id: Some(once), incarnation, again, ..Terms::default() });
        if let (true, Some(replica)) = (asks, serving) {
            self.checkers.ledger.attempted(replica, &operations);
        }
        let (turn, start) = (held.turn, self.nodes[node].starts);
        // What comes twice, one right behind the other, comes before the sync as well.
        for _ in 0..=u8::from(asks && self.rng.random_bool(TWICE_CHANCE)) {
            self.tickets += 1;
            self.repeats.asked.insert(self.tickets, Asked { client, asks, incarnation, again, turn, start });
            let (operations, terms) = (operations.clone(), terms.clone().map(Box::new));
            self.handle(node, Event::Submit { ticket: self.tickets, operations, terms });
            self.carry_out(node);
        }
    }

    /// A client of this node; a new one as long as there are counters left.
    fn repeater(&mut self, node: usize) -> Option<usize> {
        let known = &self.repeats.clients;
        let served = self.nodes[node].served();
        let mine: Vec<usize> = (0..known.len()).filter(|at| known[*at].node == node && !known[*at].over).collect();
        let (mine, away): (Vec<_>, Vec<_>) = mine.into_iter().partition(|at| served.contains(&known[*at].namespace));
        if mine.is_empty() && !away.is_empty() {
            return None;
        }
        if !mine.is_empty() {
            return Some(mine[self.rng.random_range(0..mine.len())]);
        }
        let key = Key::new(name(self.keys + known.len())).ok().filter(|_| known.len() < COUNTERS)?;
        let namespace = *served.get(self.rng.random_range(0..served.len()))?;
        self.repeats.clients.push(Client {
            node,
            key,
            namespace,
            turn: 1,
            by: 0,
            sent: false,
            sent_at: 0,
            incarnation: None,
            total: 0,
            over: false,
            blind: false,
        });
        Some(self.repeats.clients.len() - 1)
    }

    /// A session's request is carried out by the incarnation that the client began it at, and by no other.
    fn judge_incarnation(&mut self, asked: &Asked, answer: &Result<Vec<Outcome>, Refusal>, receipt: Option<&Receipt>) {
        let Asked { client, incarnation: Some(incarnation), asks: true, .. } = asked else { return };
        let node = self.repeats.clients[*client].node;
        let own = self.nodes[node].process.as_ref().and_then(|process| process.serving);
        let repeated = receipt.is_some_and(|receipt| receipt.repeated);
        let wrong = match answer {
            Ok(_) if !repeated => own != Some(*incarnation),
            Err(Refusal::AnotherIncarnation) => {
                self.tally.note("requests for another incarnation");
                own == Some(*incarnation)
            }
            _ => false,
        };
        if wrong {
            self.findings
                .push(format!("G6: node {node} is {own:?} and answers {answer:?} to what is for {incarnation}"));
        }
    }

    /// An answer to one of them; false if it is somebody else's.
    pub fn repeated(
        &mut self,
        ticket: Ticket,
        answer: &Result<Vec<Outcome>, Refusal>,
        receipt: Option<&Receipt>,
    ) -> bool {
        let Some(asked) = self.repeats.asked.remove(&ticket) else { return false };
        let Asked { client, asks, again, turn, .. } = asked;
        self.judge_incarnation(&asked, answer, receipt);
        if asks && answer.is_ok() && self.rng.random_bool(LOST_CHANCE) {
            self.tally.note("answers lost");
            return true;
        }
        let clouded = self.has_two_histories();
        let held = &mut self.repeats.clients[client];
        match answer {
            // What the client has been told since tells more.
            _ if held.over || held.turn != turn => {}
            Ok(_) if held.blind && asks => (held.turn, held.sent) = (held.turn + 1, false),
            Ok(_) if held.blind => {}
            // That is an answer as any other, and remembered.
            Ok(outcomes) if asks && outcomes[..] == [Outcome::QuotaExceeded] => {
                (held.turn, held.sent) = (held.turn + 1, false);
            }
            Ok(outcomes) if asks => {
                let expected = held.total + i128::from(held.by);
                if outcomes[..] != [Outcome::Value(expected)] {
                    self.findings.push(format!("G6: client {client} was answered {outcomes:?} and not {expected}"));
                }
                if receipt.is_some_and(|receipt| receipt.repeated) {
                    self.tally.note("requests answered again");
                }
                (held.total, held.turn, held.sent) = (expected, held.turn + 1, false);
            }
            Ok(outcomes) => {
                let without = Outcome::Value(held.total);
                let with = Outcome::Value(held.total + i128::from(held.by));
                let allowed = outcomes[..] == [without] || (held.sent && outcomes[..] == [with]);
                if !allowed {
                    let total = held.total;
                    self.findings.push(format!("G6: client {client} reads {outcomes:?}, and has counted {total}"));
                }
            }
            // Nothing was done, and the client begins a new session; but what was sent before is unknown for good.
            Err(Refusal::AnotherIncarnation) if again.is_none() => (held.sent, held.incarnation) = (false, None),
            Err(Refusal::AnotherIncarnation | Refusal::Outdated) if held.blind => {
                (held.turn, held.sent, held.incarnation) = (held.turn + 1, false, None);
            }
            Err(Refusal::AnotherIncarnation) => held.blind = true,
            Err(Refusal::Outdated)
                if again.is_some_and(|age| age > self.settings.tuning.idempotency.session_idle.ms() / 3) =>
            {
                self.tally.note("repetitions that came too late");
                held.blind = true;
            }
            // Another process has counted in the name of the node: it cannot tell any more whether that counts.
            Err(Refusal::Outdated) if clouded => held.over = true,
            Err(Refusal::AnotherRequest | Refusal::Outdated) => {
                self.findings.push(format!("G6: client {client} was told {answer:?}"));
            }
            Err(_) => {}
        }
        true
    }
}
