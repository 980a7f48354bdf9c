//! Terms: what a client asks of a batch beyond its operations, and what it is told beyond their outcomes.
//!
//! A batch without terms pays nothing for them. One with terms may wait for a token before it is applied and for other
//! regions after it is synced (see `waits`); its answer never leaves before the sync, whatever the namespace's
//! durability, because all that it can tell is read off the committed vector (I1).

use std::collections::{BTreeMap, BTreeSet};

use snowtide_protocol::Ack;

use crate::identity::{NamespaceId, ReplicaId, WorkerId};

use super::Replica;
use super::operation::{Operation, Refusal};
use super::request::RequestId;
use super::token::{Missing, Token};
use super::view::View;

/// What a client asks of a batch beyond its operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Apply the batch only once this is held here. What it says of namespaces that the batch does not touch does not
    /// matter.
    pub after: Token,
    /// How long the batch may wait for that; 0 means that it must be held already.
    pub wait_ms: u64,
    /// Who has to hold the batch's writes durably before it is answered.
    pub ack: Ack,
    /// How long the answer may wait for that, from the submission on.
    pub ack_wait_ms: u64,
    /// Tell a token that covers everything that the answer shows.
    pub wants_token: bool,
    /// Nobody asked for all this, the token is told in passing: the answer comes without it from namespaces of durability
    /// `interval`, where it would have to wait for the sync.
    pub in_passing: bool,
    /// Tell a [`View`] of each operation's counter.
    pub wants_views: bool,
    /// The name under which the request may be repeated.
    pub request_id: Option<RequestId>,
    /// The incarnation to which the request's session belongs; `None` if the caller does not say.
    pub incarnation: Option<ReplicaId>,
    /// The request was sent before, for the first time so many milliseconds ago, or [`u64::MAX`] if that is not known.
    pub again: Option<u64>,
}

impl Terms {
    /// Whether a batch may wait on these terms for longer than for its commit.
    pub fn may_wait(&self) -> bool {
        (!self.after.is_empty() && self.wait_ms > 0) || self.ack != Ack::Local
    }

    /// How many milliseconds longer than others a batch on these terms may take.
    pub fn patience_ms(&self) -> u64 {
        if self.ack == Ack::Local { self.wait_ms } else { self.wait_ms.max(self.ack_wait_ms) }
    }
}

/// What a client is told beyond the outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Covers everything that the answer shows, if it was asked for.
    pub token: Option<Token>,
    /// The regions that hold all of the batch's writes durably, ours included; empty if it wrote nothing.
    pub acknowledged_by: BTreeSet<u8>,
    /// The time was over before as many regions as asked for held them. They are durable here all the same.
    pub pending: bool,
    /// One per operation, if asked for.
    pub views: Vec<View>,
    /// The request was carried out before, and these were the outcomes then.
    pub repeated: bool,
}

/// What is still to be done for an answer once its commit is synced.
#[derive(Debug)]
pub(super) struct Owed {
    wants_token: bool,
    /// Whose slots the outcomes show.
    origins: BTreeMap<NamespaceId, BTreeSet<ReplicaId>>,
    /// The own seq that holds the batch's writes, by namespace.
    written: BTreeMap<NamespaceId, u64>,
    ack: Ack,
    /// When the answer leaves even if the acknowledgements are missing.
    pub(super) ack_until: u64,
    views: Vec<View>,
    repeated: bool,
}

/// Terms as they came, with the times that they set.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) terms: Terms,
    pub(super) token_until: u64,
    ack_until: u64,
}

impl Due {
    pub(super) fn new(terms: Terms, now: u64) -> Self {
        let (token_until, ack_until) = (now.saturating_add(terms.wait_ms), now.saturating_add(terms.ack_wait_ms));
        Self { terms, token_until, ack_until }
    }
}

impl Replica {
    /// Terms that cannot be met, whatever happens, or not by one more.
    pub(super) fn refuse_terms(&self, operations: &[Operation], terms: &Terms) -> Option<Refusal> {
        if terms.ack != Ack::Local && !self.may_await_acks() {
            return Some(Refusal::TooManyWaiting);
        }
        let Ack::Regions(wanted) = terms.ack else { return None };
        let written = operations.iter().filter(|operation| operation.action.is_write());
        let held_by = |operation: &Operation| self.regions_of(operation.namespace).len();
        let least = written.map(held_by).min()?;
        (usize::from(wanted) > least).then_some(Refusal::TooFewRegions { wanted, held_by: least })
    }

    /// The first thing that a token names of the namespaces that a batch touches and that is not held here.
    pub(super) fn missing(&self, operations: &[Operation], after: &Token) -> Option<Missing> {
        let touched: BTreeSet<NamespaceId> = operations.iter().map(|operation| operation.namespace).collect();
        let mut held = touched.iter().filter_map(|namespace| self.namespaces.get(*namespace));
        held.find_map(|held| after.missing(held.id(), held.committed()))
    }

    /// What has to be remembered of a batch that has just been applied; `seen` becomes the last commit that its answer
    /// needs.
    pub(super) fn owe(&mut self, operations: &[Operation], due: &Due, seen: &mut u64) -> Box<Owed> {
        let mut owed = Owed {
            wants_token: due.terms.wants_token,
            origins: BTreeMap::new(),
            written: BTreeMap::new(),
            ack: due.terms.ack,
            ack_until: due.ack_until,
            views: Vec::new(),
            repeated: false,
        };
        for operation in operations {
            if operation.action.is_write() {
                *seen = self.commits.barrier().max(*seen);
                owed.written.extend(self.written_seq(operation.namespace).map(|seq| (operation.namespace, seq)));
            }
            if due.terms.wants_views {
                owed.views.push(self.view(operation));
            }
            let Some(held) = self.namespaces.get(operation.namespace) else { continue };
            let Some(row) = held.rows().find(&operation.key) else { continue };
            let cell = held.rows().get(row);
            // I1: what is shown is synced before anything is told of it, also where a bare answer waits for no sync.
            if cell.is_pending() {
                *seen = cell.last_commit().max(*seen);
            }
            if due.terms.wants_token {
                owed.origins.entry(operation.namespace).or_default().extend(cell.origins());
            }
        }
        Box::new(owed)
    }

    /// The same for an answer of before. The rows that it was about may have left memory: what it shows is in our own log.
    pub(super) fn owe_again(&mut self, operations: &[Operation], due: &Due, seen: &mut u64) -> Box<Owed> {
        let mut owed = self.owe(operations, due, seen);
        owed.repeated = true;
        if due.terms.wants_token {
            for operation in operations {
                owed.origins.entry(operation.namespace).or_default().extend(self.incarnation.id());
            }
        }
        owed
    }

    /// The own seq that holds everything that is applied so far in a namespace.
    fn written_seq(&self, namespace: NamespaceId) -> Option<u64> {
        let closed = self.namespaces.get(namespace)?.applied().mark(self.incarnation.id()?).seq;
        Some(closed + u64::from(self.commits.gathers_own(namespace)))
    }

    /// Whether as many regions as asked for hold what was written.
    pub(super) fn is_acknowledged(&self, owed: &Owed) -> bool {
        owed.written.iter().all(|(namespace, seq)| {
            let wanted = match owed.ack {
                Ack::Local => 1,
                Ack::Regions(regions) => usize::from(regions),
                Ack::All => self.regions_of(*namespace).len(),
            };
            self.holders(*namespace, *seq).len() >= wanted
        })
    }

    /// What is told of a batch whose answer leaves now.
    pub(super) fn receipt(&self, owed: Owed) -> Box<Receipt> {
        let pending = !self.is_acknowledged(&owed);
        let holders = owed.written.iter().map(|(namespace, seq)| self.holders(*namespace, *seq));
        let acknowledged_by = holders.reduce(|all, some| all.intersection(&some).copied().collect());
        let token = owed.wants_token.then(|| self.token(&owed.origins));
        Box::new(Receipt {
            token,
            acknowledged_by: acknowledged_by.unwrap_or_default(),
            pending,
            views: owed.views,
            repeated: owed.repeated,
        })
    }

    /// I1: the committed vector, as far as these origins go, or what a peer held durably that repaired from it. It covers
    /// what the answer shows, because the answer has waited for the last commit that it saw.
    fn token(&self, origins: &BTreeMap<NamespaceId, BTreeSet<ReplicaId>>) -> Token {
        let held = origins.iter().filter_map(|(id, origins)| Some((self.namespaces.get(*id)?, origins)));
        let marks = held.flat_map(|(held, origins)| {
            origins.iter().map(|origin| (held.id(), *origin, self.covering_seq(held, *origin)))
        });
        marks.filter(|(.., seq)| *seq > 0).collect()
    }

    /// The regions that hold our own log up to `seq` durably; acknowledgements and digests follow a sync.
    fn holders(&self, namespace: NamespaceId, seq: u64) -> BTreeSet<u8> {
        let Some(own) = self.incarnation.id() else { return BTreeSet::new() };
        let here = self.namespaces.get(namespace).is_some_and(|held| held.committed().mark(own).seq >= seq);
        let peers = self.gossip.peers().filter(|peer| peer.holds(namespace, own) >= seq);
        let there = peers.map(|peer| peer.worker.region());
        there.chain(here.then_some(self.settings.worker.region())).collect()
    }

    /// The regions that hold a namespace, ours included.
    pub(super) fn regions_of(&self, namespace: NamespaceId) -> BTreeSet<u8> {
        self.settings.sharing(namespace).map(WorkerId::region).chain([self.settings.worker.region()]).collect()
    }
}
