//! Limits: decisions a second in one node's memory, with a bound on what several regions admit together.
//!
//! A node decides by itself: it counts what it knows of all, admits if that fits, and charges only then. Nodes tell each
//! other what they admitted. No disk, network, clock or randomness is in here: time is an argument, messages come in and
//! leave as data.
//!
//! # The law
//! - **Totals.** What a node admits to a key is a total that carries its window's number and its teller's boot. Totals are
//!   joined by taking the greater ([`slot`]). Nothing has to be forgotten with care: what has another number counts for
//!   nothing.
//! - **Telling.** As soon as θ units of a key are not told, its total is due ([`telling`]), at the next tick. A stream is
//!   in order and whole until it ends ([`message`]).
//! - **Sides.** Who counts together, in which windows, and what is left to each when a side ends, is [`standing`]'s and
//!   [`sharing`]'s business. A policy that differs, a clock that is more than W/8 off, and a node that cannot tell in time
//!   part like a cut.
//! - **Windows** are numbered by a time that never goes back ([`timeline`]).
//! - **Starts.** A boot counts alone in the window that it begins in, and takes its share of what is left of the whole, as
//!   far as its peers tell it what they admitted, and what its own earlier boots did.
//!
//! # What is promised
//! With N nodes, U(t) the most that one of them admits to a key within t, D = tick + one way + queues (a node whose queue
//! is longer than the presence time S parts itself), θ = ε·L/(N−1) with ε = 5 %, u = min(L, θ + U(D)):
//!
//! | Admitted to a key, at most | | because |
//! |---|---|---|
//! | a window number | L + (N−1)·u | the last to admit knew of every other all but θ and what was on its way for D |
//! | any time W, less what clocks differ by | twice that | it meets two numbers |
//! | `sliding`, at any moment: this window, and the last one weighted | L + (N−1)·2u | as for one window, for each of two |
//! | `gcra` shared, any t | burst + (1+ε)·rate·t + (N−1)·(θ + min(U(D), burst + rate·D)) | a level that misses so much; what is told carries what was not told of earlier windows |
//! | while sides change | the same with D + S | words on their way make views differ for so long; then everybody has taken his share of the rest |
//! | parted since before the window | L + (N−1)·u | shares add up to L exactly |
//! | `split` | L a window number | the same |
//! | each restart, or change of policy | + θ + U(D), and w·L before tables | what was not told dies with the boot; alone, it has its share at most |
//!
//! Never: exactness, fairness between regions, what a crashed node admitted and had not told, keys that went because the
//! table was full.

mod decision;
mod entry;
mod evict;
mod fingerprint;
mod given;
mod index;
mod key;
mod keys;
mod level;
mod link;
mod listing;
mod message;
mod policies;
mod policy;
mod register;
mod rule;
mod rules;
mod shard;
mod shares;
mod sharing;
mod slot;
mod speaking;
mod standing;
mod table;
mod telling;
mod timeline;
mod window;
mod workers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::identity::{Peer, WorkerId};

use register::Directory;
use sharing::Sharing;
use table::Table;
use timeline::Timeline;

pub use decision::{Decision, Refusal};
pub use fingerprint::Fingerprint;
pub use given::{GIVEN_MAX, Given, GivenError, Template};
pub use key::{KeyHash, KeyHasher, SECRET_BYTES};
pub use keys::WhenFull;
pub use link::Parted;
pub use listing::Listed;
pub use message::{Beat, Brought, Echo, Message, Naming, Opening, Told, Total, Violation};
pub use policy::{
    Algorithm, LIMIT_MAX, Mode, NAME_BYTES_MAX, POLICIES_MAX, Policy, PolicyError, WINDOW_MAX_MS, WINDOW_MIN_MS,
};
pub use rule::PolicyId;
pub use shard::Usage;
pub use sharing::Pace;
pub use table::{Fill, Request, Room, Round};
pub use timeline::{Moment, Reading};
pub use workers::Workers;

/// The limits of one node, for all its threads.
///
/// Doors look policies up, ask for the [`Self::moment`] of a round and decide; they meet only at the lock of a shard. One
/// thread calls [`Self::tick`] and sends what [`Self::poll`] returns; the links tell what comes and goes. None of that is on
/// the path of a decision.
#[derive(Debug)]
pub struct Limits {
    table: Table,
    sharing: Mutex<Sharing>,
    directory: ArcSwap<Directory>,
    timeline: ArcSwap<Timeline>,
}

impl Limits {
    /// Of a boot of a node, without a policy.
    pub fn new(me: Peer, room: Room, pace: Pace, peers: usize) -> Self {
        let (directory, timeline) = (ArcSwap::default(), ArcSwap::default());
        Self { table: Table::new(room, peers), sharing: Mutex::new(Sharing::new(me, pace)), directory, timeline }
    }

    /// Takes these policies in place of all earlier ones, and requests' own by this template; none, if one of them is
    /// absurd. Keys are kept under a policy of the same name, algorithm, window and mode. Policies that came with requests
    /// stay for as long as there is a template.
    pub fn replace(&self, policies: Vec<Policy>, template: Option<Template>, mono_ms: u64) -> Result<(), PolicyError> {
        self.change(|sharing| sharing.replace(&self.table, policies, template, mono_ms))
    }

    /// The policy that was declared under this name.
    pub fn find(&self, name: &str) -> Option<PolicyId> {
        self.directory.load().find(name)
    }

    /// The policy that has these numbers, as a request brought them; it is taken in if need be. Keys under it are hashed by
    /// [`KeyHasher::hash_given`].
    pub fn given(&self, given: &Given, mono_ms: u64) -> Result<PolicyId, GivenError> {
        let directory = self.directory.load();
        if let Some(id) = directory.given(given) {
            return Ok(id);
        }
        directory.takes(1)?;
        self.change(|sharing| sharing.give(&self.table, *given, mono_ms))
    }

    /// Waits until no change of policies is under way: what is looked up after that is not [`Refusal::Changed`] by it.
    pub fn settle(&self) {
        drop(self.sharing());
    }

    /// This moment, by which decisions are made; `None` until a wall clock was believed.
    pub fn moment(&self, mono_ms: u64) -> Option<Moment> {
        self.timeline.load().at(mono_ms)
    }

    /// Decides on one key.
    pub fn decide(&self, now: Moment, request: Request) -> Result<Decision, Refusal> {
        self.table.decide(now, request)
    }

    /// Decides on all of a round, shard by shard; `answer` is told the place of each request.
    pub fn decide_all(
        &self,
        now: Moment,
        round: &mut Round,
        requests: &[Request],
        answer: impl FnMut(usize, Result<Decision, Refusal>),
    ) {
        self.table.decide_all(now, round, requests, answer);
    }

    /// Reads the clocks and says what is due. To be called every `limits.interval`.
    pub fn tick(&self, reading: Reading) {
        self.change(|sharing| {
            sharing.tick(&self.table, reading);
            self.timeline.store(Arc::new(sharing.timeline));
        });
    }

    /// The next message, and to whom.
    pub fn poll(&self) -> Option<(WorkerId, Message)> {
        self.sharing().outbox.pop_front()
    }

    /// A stream to this boot of a peer is open.
    pub fn opened(&self, peer: Peer, mono_ms: u64) {
        self.sharing().opened(&self.table, peer, mono_ms);
    }

    /// The stream to a peer has ended, or takes no more: whatever cannot be sent ends it.
    pub fn closed(&self, to: WorkerId, mono_ms: u64) {
        self.sharing().closed(&self.table, to, mono_ms);
    }

    /// The stream from a peer has ended. To be told before anything of the next one.
    pub fn ended(&self, from: WorkerId, mono_ms: u64) {
        self.sharing().ended(&self.table, from, mono_ms);
    }

    /// A message has come on the stream from a peer; after an error the stream has to end.
    pub fn receive(&self, from: WorkerId, message: Message, mono_ms: u64) -> Result<(), Violation> {
        self.change(|sharing| sharing.receive(&self.table, from, message, mono_ms))
    }

    /// No more decisions, for good. When this returns, none is being made.
    pub fn fence(&self) {
        self.table.fence();
    }

    /// With whom this node counts under a policy, or would from the next window on.
    pub fn side(&self, policy: PolicyId) -> Workers {
        self.sharing().side(policy)
    }

    /// Whether a peer has told all that this boot needs to know of the window that it began in.
    pub fn has_table(&self, peer: WorkerId) -> bool {
        self.sharing().has_table(peer)
    }

    /// All policies, and how each stands.
    ///
    /// Nothing here resets what was used of a key: totals only grow, so whatever a node took back of its own use would come
    /// back with the next of its totals that is greater, and peers would not hear of the difference.
    pub fn list(&self, mono_ms: u64) -> Vec<Listed> {
        self.sharing().list(&self.table, mono_ms)
    }

    /// How full the table is.
    pub fn fill(&self) -> Fill {
        self.table.fill()
    }

    /// Changes what is shared, and tells doors where policies are now. Shards know of a new policy before doors do.
    fn change<R>(&self, change: impl FnOnce(&mut Sharing) -> R) -> R {
        let mut sharing = self.sharing();
        let result = change(&mut sharing);
        if !Arc::ptr_eq(&sharing.register.directory, &self.directory.load()) {
            self.directory.store(sharing.register.directory.clone());
        }
        result
    }

    /// What is shared is changed step by step, each of them sound: a panic in one leaves nothing half done that is not
    /// settled with the next.
    fn sharing(&self) -> MutexGuard<'_, Sharing> {
        self.sharing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
