//! The limiter: a node's [`Limits`] with its clock, the names of policies and keys, and its peers.
//!
//! Doors choose a policy, make requests of keys, and have a round of them decided; no disk, network or engine is on that
//! path. A thread of its own reads the clocks every `limits.interval` and hands what is due to the links, which carry it on
//! a stream for each peer. A peer whose stream takes no more is parted: its stream ends, and another one begins anew.

mod checks;
pub(crate) mod fixture;
mod keeper;
mod outlets;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use snowtide_protocol::limit::{Algorithm, Decision, Numbers};
use tokio::sync::mpsc;

use crate::clock::Stopwatch;
use crate::config;
use crate::config::map::{ClusterMap, Region};
use crate::identity::{Peer, WorkerId};
use crate::limits::{
    self, Fill, GIVEN_MAX, Given, GivenError, KeyHasher, Limits, Listed, Message, Pace, Policy, PolicyError, PolicyId,
    Reading, Refusal, Request, Room, Template, Violation,
};

use checks::Meant;
use outlets::Outlets;

pub use checks::Checks;
pub use keeper::Keeper;

/// The limits of this node, for doors and links; cheap to clone.
#[derive(Clone, Debug)]
pub struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    me: WorkerId,
    limits: Limits,
    hasher: KeyHasher,
    uptime: Stopwatch,
    /// The policies that are declared, by name.
    declared: ArcSwap<BTreeMap<String, Declared>>,
    outlets: Outlets,
}

/// Who limits, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node, and this start of it.
    pub me: Peer,
    /// For keys.
    pub room: Room,
    /// How many nodes tell this one of their keys.
    pub peers: usize,
    /// What keys are hashed with.
    pub hasher: KeyHasher,
}

/// A policy of the configuration.
#[derive(Clone, Debug)]
pub struct Declared {
    /// As nodes decide by it.
    pub policy: Policy,
    /// The regions whose nodes do.
    pub regions: Arc<[String]>,
}

/// A policy that a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    id: PolicyId,
    /// Its numbers.
    pub numbers: Numbers,
    by: By<'a>,
}

/// What it was chosen by, which is hashed with each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By<'a> {
    Name(&'a str),
    Given(Given),
}

impl Chosen<'_> {
    fn meant(&self) -> Meant {
        match self.by {
            By::Name(name) => Meant::Named(name.into()),
            By::Given(given) => Meant::Given(given),
        }
    }
}

/// Why nothing is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// No clock was believed yet, by which windows could be numbered.
    #[error("this node does not believe its clock yet, by which windows are numbered")]
    NoClock,
}

impl Declared {
    /// These.
    pub fn all(policies: impl IntoIterator<Item = Policy>, map: &ClusterMap) -> Vec<Self> {
        let declare = |policy: Policy| {
            let decides = |region: &&Region| policy.weights.keys().any(|worker| worker.region() == region.id);
            let regions = map.regions.iter().filter(decides).map(|region| region.name.clone()).collect();
            Self { policy, regions }
        };
        policies.into_iter().map(declare).collect()
    }
}

/// What a configuration says of all policies that requests bring along; `None` if there are none.
pub fn template(config: &config::Limits, map: &ClusterMap) -> Option<Template> {
    let weights = config::LimitPolicy::default().weights(map);
    Some(Template { mode: config.given_mode()?, weights, policies_max: GIVEN_MAX })
}

impl Limiter {
    /// Of a boot of a node, without a policy.
    pub fn new(settings: Settings) -> Self {
        let Settings { me, room, peers, hasher } = settings;
        Self(Arc::new(Shared {
            me: me.worker,
            limits: Limits::new(me, room, Pace::default(), peers),
            hasher,
            uptime: Stopwatch::start(),
            declared: ArcSwap::default(),
            outlets: Outlets::default(),
        }))
    }

    /// Takes these policies in place of all earlier ones, and those of requests by this template; none, if one of them is
    /// absurd.
    pub fn replace(&self, declared: Vec<Declared>, template: Option<Template>) -> Result<(), PolicyError> {
        let policies = declared.iter().map(|declared| declared.policy.clone()).collect();
        self.0.limits.replace(policies, template, self.mono_ms())?;
        let by_name = declared.into_iter().map(|declared| (declared.policy.name.clone(), declared)).collect();
        self.0.declared.store(Arc::new(by_name));
        Ok(())
    }

    /// The policies that are declared, by name.
    pub fn declared(&self) -> Arc<BTreeMap<String, Declared>> {
        self.0.declared.load_full()
    }

    /// The policy of this name.
    pub fn named<'a>(&self, name: &'a str) -> Option<Chosen<'a>> {
        let declared = self.0.declared.load();
        let Declared { policy, .. } = declared.get(name)?;
        Some(Chosen { id: self.0.limits.find(name)?, numbers: numbers(policy), by: By::Name(name) })
    }

    /// The policy that a request brings along.
    pub fn given(&self, numbers: Numbers) -> Result<Chosen<'static>, GivenError> {
        let Numbers { algorithm, limit, window_ms, burst } = numbers;
        let given = match algorithm {
            Algorithm::Fixed => Given::fixed(limit, window_ms),
            Algorithm::Sliding => Given::sliding(limit, window_ms),
            Algorithm::Gcra => Given::gcra(limit, window_ms, burst),
        };
        Ok(Chosen { id: self.0.limits.given(&given, self.mono_ms())?, numbers, by: By::Given(given) })
    }

    /// The regions that decide by the policy of this name, if this node does not.
    pub fn elsewhere(&self, name: &str) -> Option<Arc<[String]>> {
        let declared = self.0.declared.load();
        let declared = declared.get(name).filter(|declared| !declared.policy.weights.contains_key(&self.0.me))?;
        Some(declared.regions.clone())
    }

    /// Asks one decision more.
    pub fn ask(&self, checks: &mut Checks, chosen: &Chosen<'_>, key: &[u8], cost: u64) {
        let key = match &chosen.by {
            By::Name(name) => self.0.hasher.hash(name, key),
            By::Given(given) => self.0.hasher.hash_given(given, key),
        };
        checks.push(chosen, Request { policy: chosen.id, key, cost });
    }

    /// Decides on all that is asked; `answer` is told the place of each, those of one key in their order.
    pub fn decide(
        &self,
        checks: &mut Checks,
        mut answer: impl FnMut(usize, Result<Decision, Refusal>),
    ) -> Result<(), Undecided> {
        let limits = &self.0.limits;
        let now = limits.moment(self.mono_ms()).ok_or(Undecided::NoClock)?;
        let mut changed = Vec::new();
        let Checks { requests, round, .. } = checks;
        limits.decide_all(now, round, requests, |at, decided| match decided {
            Err(Refusal::Changed) => changed.push(at),
            decided => answer(at, decided.map(told)),
        });
        if !changed.is_empty() {
            limits.settle();
            for at in changed {
                let request = checks.requests.get(at).and_then(|request| self.again(*request, checks.meant(at)?));
                let decided = request.ok_or(Refusal::Changed).and_then(|request| limits.decide(now, request));
                answer(at, decided.map(told));
            }
        }
        Ok(())
    }

    /// The same request by the policy as it is now, if there still is one.
    fn again(&self, request: Request, meant: &Meant) -> Option<Request> {
        let policy = match meant {
            Meant::Named(name) => self.0.limits.find(name)?,
            Meant::Given(given) => self.0.limits.given(given, self.mono_ms()).ok()?,
        };
        Some(Request { policy, ..request })
    }

    /// All policies, and how each stands.
    pub fn list(&self) -> Vec<Listed> {
        self.0.limits.list(self.mono_ms())
    }

    /// How full the table of keys is.
    pub fn fill(&self) -> Fill {
        self.0.limits.fill()
    }

    /// Reads the clocks, and sends what is due.
    pub fn tick(&self, wall_ms: Option<u64>) {
        let mono_ms = self.mono_ms();
        self.0.limits.tick(Reading { mono_ms, wall_ms });
        self.0.outlets.send(&self.0.limits, mono_ms);
    }

    /// A stream to this boot of a peer begins: what comes out is to be sent on it, in order. When nothing comes any more,
    /// the stream has to end.
    pub fn open(&self, peer: Peer) -> mpsc::Receiver<Message> {
        self.0.outlets.open(&self.0.limits, peer, self.mono_ms())
    }

    /// The stream to a peer has ended.
    pub fn close(&self, to: WorkerId) {
        self.0.outlets.close(&self.0.limits, to, self.mono_ms());
    }

    /// A message has come on the stream from a peer; after an error the stream has to end.
    pub fn receive(&self, from: WorkerId, message: Message) -> Result<(), Violation> {
        self.0.limits.receive(from, message, self.mono_ms())
    }

    /// The stream from a peer has ended. To be told before anything of the next one.
    pub fn ended(&self, from: WorkerId) {
        self.0.limits.ended(from, self.mono_ms());
    }

    /// No more decisions, for good.
    pub fn fence(&self) {
        self.0.limits.fence();
    }

    fn mono_ms(&self) -> u64 {
        self.0.uptime.elapsed_ms()
    }
}

fn numbers(policy: &Policy) -> Numbers {
    let Policy { algorithm, limit, window_ms, burst, .. } = *policy;
    Numbers {
        algorithm: match algorithm {
            limits::Algorithm::Fixed => Algorithm::Fixed,
            limits::Algorithm::Sliding => Algorithm::Sliding,
            limits::Algorithm::Gcra => Algorithm::Gcra,
        },
        limit,
        window_ms,
        burst,
    }
}

/// As clients are told.
fn told(decision: limits::Decision) -> Decision {
    let limits::Decision { admitted, limit, remaining, reset_ms, retry_after_ms, window: _ } = decision;
    Decision { admitted, limit, remaining, reset_ms, retry_after_ms }
}
