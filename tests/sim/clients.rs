//! Clients: they ask random nodes, and what they were told goes into the ledger.

use std::collections::BTreeSet;

use rand::RngExt;
use snowtide::identity::{NamespaceId, ReplicaId};
use snowtide::replica::{Event, Operation, Outcome, Receipt, Refusal, Terms, Ticket, Token};
use snowtide_protocol::{Ack, Action, Key};

use super::checkers::ledger::counter;
use super::checkers::state;
use super::checkers::tokens::Asked;
use super::faults::Fault;
use super::node::Node;
use super::repeats::COUNTERS;
use super::world::{Happening, World};

/// Of so many counters one is decremented, too.
const MIXED_EVERY: usize = 4;

pub fn name(key: usize) -> String {
    format!("counter-{key}")
}

/// Whether only increments are asked of this counter, so that reads of it never go back.
pub fn only_grows(key: &str) -> bool {
    key.rsplit('-')
        .next()
        .and_then(|number| number.parse::<usize>().ok())
        .is_some_and(|number| number % MIXED_EVERY > 0)
}

impl World {
    /// One client's turn.
    pub fn client(&mut self) {
        let node = self.rng.random_range(0..self.nodes.len());
        if self.nodes[node].process.is_none() || self.nodes[node].is_paused() {
            return;
        }
        if self.rng.random_bool(0.15) {
            self.ask_ids(node);
        }
        if self.rng.random_bool(0.2) {
            self.repeat(node);
        }
        if self.rng.random_bool(0.2) {
            self.list(node);
        }
        let batches = if self.rng.random_bool(0.1) { self.rng.random_range(2..6) } else { 1 };
        for _ in 0..batches {
            // Many counters are asked for many at a time, so that there are checkpoints of several parts.
            let wide = (self.keys / 4).max(20);
            let size = if self.rng.random_bool(0.1) { self.rng.random_range(2..wide) } else { 1 };
            let operations = (0..size).filter_map(|_| self.operation(node)).collect();
            self.submit(node, operations);
        }
        self.carry_out(node);
    }

    /// With those of clients that repeat.
    pub fn all_keys(&self) -> usize {
        self.keys + COUNTERS
    }

    fn operation(&mut self, node: usize) -> Option<Operation> {
        let served = self.nodes[node].served();
        let namespace = *served.get(self.rng.random_range(0..served.len()))?;
        let key = self.rng.random_range(0..self.keys);
        let action = if self.rng.random_bool(0.3) {
            Action::Get
        } else {
            // Large and distinct, so that a lost one can be named.
            let by = self.rng.random_range(1..1 << 40);
            Action::Increment(if key.is_multiple_of(MIXED_EVERY) && self.rng.random_bool(0.5) { -by } else { by })
        };
        Some(Operation { namespace, key: Key::new(name(key)).ok()?, action })
    }

    /// Hands a batch over, if there is room; the effects wait to be carried out.
    pub fn submit(&mut self, node: usize, operations: Vec<Operation>) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if !process.replica.has_room() {
            self.tally.note("throttled");
            return;
        }
        self.tickets += 1;
        process.asked.insert(self.tickets, operations.clone());
        if let Some(replica) = process.serving {
            self.checkers.ledger.attempted(replica, &operations);
        }
        let serving = process.serving;
        let terms = self.terms();
        if let (Some(terms), Some(first)) = (&terms, operations.first()) {
            let regions = match terms.ack {
                Ack::Local => 0,
                Ack::Regions(regions) => usize::from(regions),
                Ack::All => self.regions_of(node, first.namespace),
            };
            self.checkers.tokens.submitted(self.tickets, terms.after.clone(), regions, first, serving);
        }
        let waits = terms.is_some();
        self.handle(node, Event::Submit { ticket: self.tickets, operations, terms: terms.map(Box::new) });
        let chance = self.faults.chance(Fault::Leave);
        if waits && self.broken && chance > 0.0 && self.rng.random_bool(chance) {
            let (delay, start) = (self.rng.random_range(1..2_000), self.nodes[node].starts);
            self.schedule(delay, Happening::Leave { node, start, ticket: self.tickets });
        }
    }

    /// A client waits no longer for an answer that has not come.
    pub fn leave(&mut self, node: usize, ticket: Ticket) {
        if self.nodes[node].process.as_ref().is_some_and(|process| process.asked.contains_key(&ticket)) {
            self.count(Fault::Leave);
            self.tell(node, Event::Hurry(ticket));
        }
    }

    /// Some requests bring a token, want one, or want their writes acknowledged by others.
    fn terms(&mut self) -> Option<Terms> {
        if !self.rng.random_bool(0.3) {
            return None;
        }
        let after = if self.rng.random_bool(0.5) {
            self.checkers.tokens.pick(self.rng.random_range(0..1_000))
        } else {
            Default::default()
        };
        let ack = match self.rng.random_range(0..6) {
            0 => Ack::All,
            1 => Ack::Regions(2),
            _ => Ack::Local,
        };
        let (wait_ms, ack_wait_ms) = (self.rng.random_range(0..3_000), self.rng.random_range(0..3_000));
        let wants_views = self.rng.random_bool(0.1);
        Some(Terms {
            after,
            wait_ms,
            ack,
            ack_wait_ms,
            wants_token: true,
            in_passing: false,
            wants_views,
            ..Terms::default()
        })
    }

    pub fn reply(
        &mut self,
        node: usize,
        ticket: Ticket,
        answer: Result<Vec<Outcome>, Refusal>,
        receipt: Option<Box<Receipt>>,
    ) {
        let closed = self.checkers.doors.check(node, ticket).filter(|_| answer.is_ok());
        self.findings.extend(closed);
        if self.repeated(ticket, &answer, receipt.as_deref()) {
            return;
        }
        let asked = self.checkers.tokens.answered(ticket);
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(operations) = process.asked.remove(&ticket) else {
            self.findings.push(format!("node {node} answered ticket {ticket} twice"));
            return;
        };
        let serving = process.serving;
        match (answer, serving) {
            (Ok(outcomes), Some(replica)) if outcomes.len() == operations.len() => {
                // An answer that waits for other regions tells the value right after it was applied: meanwhile others
                // may have been told later ones. It overlaps with them, so no order is promised.
                let ordered = asked.as_ref().is_none_or(|asked| asked.regions == 0);
                for (operation, outcome) in operations.iter().zip(&outcomes) {
                    self.answered(node, replica, operation, *outcome, ordered);
                }
                if let (Some(asked), Some(receipt)) = (asked, receipt) {
                    self.on_terms(node, replica, &operations, &outcomes, &asked, *receipt);
                }
            }
            (Ok(outcomes), _) => self.findings.push(format!(
                "node {node}, serving as {serving:?}, answered {} operations with {outcomes:?}",
                operations.len()
            )),
            // It may count or not, and nobody was told that it does.
            (Err(Refusal::Uncertain), _) => self.tally.note("answers that nobody can vouch for"),
            (Err(refusal), serving) => {
                if matches!(refusal, Refusal::TokenNotHeld(_)) {
                    self.tally.note("tokens not held in time");
                }
                if let Some(replica) = serving {
                    self.checkers.ledger.refused(replica, &operations);
                }
                self.tally.refused += operations.len() as u64;
            }
        }
    }

    /// Two processes under one replica id, or one and a liar, have two histories, and nothing can be said of what a node
    /// knows of either.
    pub fn has_two_histories(&self) -> bool {
        self.tally.copies() || self.has_rogue()
    }

    /// What was promised beyond the values.
    fn on_terms(
        &mut self,
        node: usize,
        replica: ReplicaId,
        operations: &[Operation],
        outcomes: &[Outcome],
        asked: &Asked,
        receipt: Receipt,
    ) {
        if !asked.brought.is_empty() {
            self.tally.note("answers after a token");
        }
        if let Some(token) = &receipt.token {
            let worker = self.nodes[node].worker;
            let finding = self.checkers.durable.check_token(node, worker, token);
            self.findings.extend(finding);
            self.checkers.tokens.told(token.clone());
        }
        if self.has_two_histories() {
            return;
        }
        for (operation, outcome) in operations.iter().zip(outcomes) {
            let Outcome::Value(value) = outcome else { continue };
            let finding = self.checkers.tokens.check(node, operation, *value, &asked.brought);
            self.findings.extend(finding);
            let gone = |replica: ReplicaId| {
                let mut nodes = self.nodes.iter().enumerate().filter(|(_, node)| node.worker == replica.worker());
                nodes.any(|(at, _)| !self.checkers.tokens.is_intact(at))
            };
            let check = |told: &Token| self.checkers.tokens.check_told(node, operation, *value, told, gone);
            let finding = receipt.token.as_ref().and_then(check);
            self.findings.extend(finding);
        }
        let applied = !outcomes.contains(&Outcome::QuotaExceeded);
        if let (true, Some(first)) = (asked.regions > 0 && applied, operations.first()) {
            self.tally.note(if receipt.pending { "acks pending" } else { "acks of regions" });
            let holders = receipt.acknowledged_by.len();
            let alike = operations.iter().all(|operation| operation.namespace == first.namespace);
            let wrote = operations.iter().any(|operation| operation.action.is_write());
            if alike && wrote && !receipt.pending && holders < asked.regions {
                let wanted = asked.regions;
                self.findings.push(format!("ack: node {node} waited for {holders} regions, {wanted} were asked for"));
            }
            // Reading whole disks takes long, so only some are looked at.
            let looked_at = self.rng.random_bool(0.1);
            for region in receipt.acknowledged_by.iter().filter(|_| looked_at) {
                let nodes = self.nodes.iter().enumerate().filter(|(_, node)| node.worker.region() == *region);
                if nodes.clone().any(|(at, _)| !self.checkers.tokens.is_intact(at)) {
                    continue;
                }
                let finding = match state::durable(nodes.map(|(_, node)| node), self.all_keys()) {
                    Ok(held) => asked.check_ack(*region, replica, first, &held),
                    Err(refused) => Some(refused),
                };
                self.findings.extend(finding);
            }
        }
    }

    fn answered(&mut self, node: usize, replica: ReplicaId, operation: &Operation, outcome: Outcome, ordered: bool) {
        if outcome == Outcome::QuotaExceeded {
            self.tally.note("new counters refused");
            return self.checkers.ledger.refused(replica, std::slice::from_ref(operation));
        }
        let Outcome::Value(value) = outcome else {
            self.findings.push(format!("node {node} answered {operation:?} with {outcome:?}"));
            return;
        };
        match operation.action {
            Action::Increment(_) => {
                self.tally.acknowledged += 1;
                self.checkers.ledger.acknowledged(replica, operation);
                self.checkers.handovers.acknowledged(node, replica, operation);
                self.findings.extend(self.checkers.vouching.check(node, replica, operation));
            }
            Action::Get => self.tally.reads += 1,
        }
        self.judge_value(node, operation, value, ordered);
    }

    /// What a client is told of a counter; `ordered` if it is told as soon as it is so.
    pub fn judge_value(&mut self, node: usize, operation: &Operation, value: i128, ordered: bool) {
        if value != 0 || operation.action.is_write() {
            self.checkers.lists.shown(node, counter(operation));
        }
        if let Some(expected) = &self.expected {
            let row = expected.get(&counter(operation));
            let agreed = row.map_or(0, snowtide::crdt::Row::value);
            if value != agreed {
                self.findings.push(format!("node {node} answers {value} to {operation:?}; all disks hold {agreed}"));
            }
        }
        let bound = self.checkers.ledger.check_value(node, operation, value);
        let order = if ordered { self.checkers.reads.check(node, operation, value) } else { None };
        self.findings.extend(bound.into_iter().chain(order));
    }

    /// As far as the node's map tells.
    fn regions_of(&self, node: usize, namespace: NamespaceId) -> usize {
        let is_mapped = |holder: &&Node| self.nodes[node].maps(holder.worker);
        let holders = self.nodes.iter().filter(is_mapped).filter(|holder| holder.namespaces.contains(&namespace));
        holders.map(|node| node.worker.region()).collect::<BTreeSet<_>>().len()
    }

    /// The namespaces that both nodes serve.
    pub fn shared(&self, one: usize, other: usize) -> BTreeSet<NamespaceId> {
        let theirs = self.nodes[other].served();
        self.nodes[one].served().into_iter().filter(|namespace| theirs.contains(namespace)).collect()
    }

    /// Those that a node shares with another as far as its own configuration tells.
    pub fn configured(&self, one: usize, other: usize) -> BTreeSet<NamespaceId> {
        if !self.nodes[one].maps(self.nodes[other].worker) {
            return BTreeSet::new();
        }
        let theirs = &self.nodes[other].namespaces;
        self.nodes[one].served().into_iter().filter(|namespace| theirs.contains(namespace)).collect()
    }
}
