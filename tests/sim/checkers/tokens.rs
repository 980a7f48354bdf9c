//! Tokens and acknowledgements: an answer to a request that brings a token shows at least what the token names, a token that
//! is told names at least what the answer shows, and a region that is said to hold a write holds it on a disk when that is said.
//!
//! What a token names is known from the records that disks have reported as synced: the totals of each slot at each seq.

use std::collections::{BTreeMap, BTreeSet};

use snowtide::identity::{NamespaceId, ReplicaId};
use snowtide::replica::{Commit, Operation, Record, Recovered, Ticket, Token};
use snowtide_protocol::{Action, Key};

use super::ledger::{Rows, counter};
use crate::clients::only_grows;

/// Tokens that clients remember; the oldest goes first.
const REMEMBERED_MAX: usize = 64;

/// A start of a node, and the number of a commit in it.
type CommitOf = (usize, u32, u64);

/// What a replica added to the counters of a namespace, by the seqs of its log that changed each.
type Added = BTreeMap<Key, BTreeMap<u64, u64>>;

/// A request on terms that is not answered yet.
pub struct Asked {
    pub brought: Token,
    /// As many regions as are to hold what it writes; 0 if that was not asked for.
    pub regions: usize,
    /// What the serving replica had added to the first operation's counter, as far as that was synced.
    before: u64,
}

#[derive(Default)]
pub struct Tokens {
    added: BTreeMap<(NamespaceId, ReplicaId), Added>,
    /// Commits that the disks have and have not reported.
    committing: BTreeMap<CommitOf, (Option<ReplicaId>, Vec<Record>)>,
    /// How far each log goes at its origin.
    ends: BTreeMap<(NamespaceId, ReplicaId), u64>,
    remembered: Vec<Token>,
    next: usize,
    asked: BTreeMap<Ticket, Asked>,
    /// Nodes whose disks were lost, some time: what they had acknowledged may be gone with them.
    lost: BTreeSet<usize>,
}

impl Tokens {
    /// The disk of a node that counts as `serving` has been given a commit.
    pub fn committing(&mut self, node: usize, serving: Option<ReplicaId>, start: u32, commit: &Commit) {
        self.committing.insert((node, start, commit.number), (serving, commit.records.clone()));
    }

    /// What a start finds was synced, also where nobody was left to be told so.
    pub fn started(&mut self, node: usize, recovered: &Recovered) {
        let held = |record: &Record| {
            let space = recovered.spaces.iter().find(|space| space.namespace == record.namespace);
            space.is_some_and(|space| space.vector.mark(record.origin).seq >= record.upto)
        };
        let untold: Vec<CommitOf> = self.committing.keys().filter(|(at, ..)| *at == node).copied().collect();
        for commit in untold {
            let Some((serving, records)) = self.committing.remove(&commit) else { continue };
            records.iter().filter(|record| held(record)).for_each(|record| self.learn(serving, record));
        }
    }

    /// The disk has synced it.
    pub fn synced(&mut self, node: usize, start: u32, number: u64) {
        let (serving, records) = self.committing.remove(&(node, start, number)).unwrap_or_default();
        records.iter().for_each(|record| self.learn(serving, record));
    }

    fn learn(&mut self, serving: Option<ReplicaId>, record: &Record) {
        if Some(record.origin) == serving {
            self.written(record);
        }
        let log = self.added.entry((record.namespace, record.origin)).or_default();
        for change in record.changes().unwrap_or_default() {
            let total = change.slot.totals().0;
            if let Some(added) = log.get_mut(change.key) {
                added.insert(record.upto, total);
            } else if let Ok(key) = Key::new(change.key) {
                log.insert(key, BTreeMap::from([(record.upto, total)]));
            }
        }
    }

    /// A log goes on. After a lost disk it may go on from further back, if nobody had what came after.
    fn written(&mut self, record: &Record) {
        let log = (record.namespace, record.origin);
        let end = self.ends.entry(log).or_default();
        let rewritten = record.upto <= std::mem::replace(end, record.upto);
        if let Some(log) = self.added.get_mut(&log).filter(|_| rewritten) {
            log.values_mut().for_each(|added| added.retain(|seq, _| *seq < record.upto));
        }
    }

    /// One of the tokens that clients have been given.
    pub fn pick(&self, at: usize) -> Token {
        at.checked_rem(self.remembered.len()).and_then(|at| self.remembered.get(at)).cloned().unwrap_or_default()
    }

    /// A client asks on terms.
    pub fn submitted(
        &mut self,
        ticket: Ticket,
        brought: Token,
        regions: usize,
        first: &Operation,
        replica: Option<ReplicaId>,
    ) {
        let totals = replica.and_then(|replica| self.added.get(&(first.namespace, replica))?.get(&first.key));
        let before = totals.and_then(|totals| totals.last_key_value()).map_or(0, |(_, added)| *added);
        self.asked.insert(ticket, Asked { brought, regions, before });
    }

    /// It is answered, one way or another.
    pub fn answered(&mut self, ticket: Ticket) -> Option<Asked> {
        self.asked.remove(&ticket)
    }

    pub fn disk_lost(&mut self, node: usize) {
        self.lost.insert(node);
    }

    /// Whether the disk of a node is the one that it began with.
    pub fn is_intact(&self, node: usize) -> bool {
        !self.lost.contains(&node)
    }

    /// A client has been given a token.
    pub fn told(&mut self, token: Token) {
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.push(token);
        } else if let Some(oldest) = self.remembered.get_mut(self.next) {
            *oldest = token;
            self.next = (self.next + 1) % REMEMBERED_MAX;
        }
    }

    /// What had been added to the counter of an operation at the places that a token names.
    fn named(&self, operation: &Operation, token: &Token) -> i128 {
        let named = token.iter().filter(|(namespace, ..): &(NamespaceId, _, _)| *namespace == operation.namespace);
        let added = named.filter_map(|(namespace, replica, seq)| {
            self.added.get(&(namespace, replica))?.get(&operation.key)?.range(..=seq).next_back()
        });
        added.map(|(_, added)| i128::from(*added)).sum()
    }

    /// A token covers the answer that it comes with. What only a lost disk had in its log, nobody can name: `gone` tells whose.
    pub fn check_told(
        &self,
        node: usize,
        operation: &Operation,
        value: i128,
        told: &Token,
        gone: impl Fn(ReplicaId) -> bool,
    ) -> Option<String> {
        if !only_grows(&operation.key) {
            return None;
        }
        let namespace = operation.namespace;
        let logs = self.added.range((namespace, ReplicaId(0))..=(namespace, ReplicaId(u64::MAX)));
        let beyond: i128 = logs
            .filter(|((_, replica), _)| gone(*replica))
            .filter_map(|((_, replica), log)| {
                let added = log.get(&operation.key)?;
                let seq =
                    told.iter().find(|named| (named.0, named.1) == (namespace, *replica)).map_or(0, |named| named.2);
                let named = added.range(..=seq).next_back().map_or(0, |(_, added)| *added);
                Some(i128::from(*added.last_key_value()?.1) - i128::from(named))
            })
            .sum();
        let most = self.named(operation, told) + beyond;
        (value > most).then(|| {
            format!("token: node {node} answered {value} to {operation:?}, and {told:?}, told with it, names {most}")
        })
    }

    /// What an answer to a request that brought a token shows.
    pub fn check(&self, node: usize, operation: &Operation, value: i128, brought: &Token) -> Option<String> {
        if !only_grows(&operation.key) {
            return None;
        }
        let least = self.named(operation, brought);
        (value < least)
            .then(|| format!("token: node {node} answered {value} to {operation:?}, and {brought:?} names {least}"))
    }
}

impl Asked {
    /// A region is said to hold an increment by `replica` durably; `held` is what its disks hold.
    pub fn check_ack(&self, region: u8, replica: ReplicaId, operation: &Operation, held: &Rows) -> Option<String> {
        let Action::Increment(by @ 1..) = operation.action else { return None };
        let least = self.before.saturating_add(by.unsigned_abs());
        let found = held.get(&counter(operation)).map_or(0, |row| row.slot(replica).totals().0);
        (found < least).then(|| {
            format!("ack: region {region} is said to hold {operation:?} of {replica}: {found} of {least} is there")
        })
    }
}
