//! A policy as one node decides by it.

use std::collections::BTreeMap;

use crate::identity::WorkerId;

use super::fingerprint::Fingerprint;
use super::given::{Given, Template};
use super::policy::{Algorithm, Mode, Policy, PolicyError};
use super::shares;
use super::window::Windows;
use super::workers::Workers;

/// Use that is not told yet may reach this part of a limit, all nodes but one taken together.
const UNTOLD_PERCENT: u64 = 5;
/// A policy that came with a request stays for at least so long without use.
const FORGETS_MIN_MS: u64 = 60_000;

/// Where a rule stands among all of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(pub(super) u16);

/// Which policy of a node. It is never taken for another one: when the policy is gone, or counts anew, decisions by it are
/// refused ([`super::Refusal::Changed`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    pub(super) place: Place,
    pub(super) serial: u32,
}

/// What some nodes may admit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) members: Workers,
    /// In a window.
    pub(super) units: u64,
    /// At once.
    pub(super) burst: u64,
}

/// The numbers of a policy, worked out for one node.
#[derive(Debug)]
pub(super) struct Rule {
    me: WorkerId,
    pub(super) policy: Policy,
    /// The numbers, if they came with a request.
    pub(super) given: Option<Given>,
    pub(super) fingerprint: Fingerprint,
    pub(super) windows: Windows,
    /// What this node may admit if it knows of nobody.
    pub(super) own: Pool,
    /// What all may admit together.
    pub(super) whole: Pool,
    /// Use of one key is told when so much of it is not.
    pub(super) threshold: u64,
    units: BTreeMap<WorkerId, u64>,
    bursts: BTreeMap<WorkerId, u64>,
}

impl Rule {
    /// By a policy that was declared.
    pub(super) fn new(policy: Policy, me: WorkerId) -> Result<Self, PolicyError> {
        Self::of(policy, None, me)
    }

    /// By a policy that came with a request.
    pub(super) fn given(given: Given, template: &Template, me: WorkerId) -> Result<Self, PolicyError> {
        Self::of(template.policy(given), Some(given), me)
    }

    fn of(policy: Policy, given: Option<Given>, me: WorkerId) -> Result<Self, PolicyError> {
        policy.check()?;
        let units = shares::split(policy.limit, &policy.weights);
        let bursts = shares::split(policy.burst, &policy.weights);
        let all: Workers = policy.weights.keys().copied().collect();
        let whole = Pool { members: all, units: policy.limit, burst: policy.burst };
        let share =
            |of: &BTreeMap<WorkerId, u64>, total| if policy.mode == Mode::Local { total } else { of_one(of, me) };
        let (own, burst) = (share(&units, policy.limit), share(&bursts, policy.burst));
        Ok(Self {
            me,
            given,
            fingerprint: Fingerprint::of(&policy),
            windows: Windows::of(policy.algorithm, policy.window_ms),
            own: Pool { members: Workers::only(me), units: own, burst },
            whole,
            threshold: threshold(&policy, all.len()),
            units,
            bursts,
            policy,
        })
    }

    /// What these nodes may admit together.
    pub(super) fn pool(&self, members: Workers) -> Pool {
        let sum = |of: &BTreeMap<WorkerId, u64>| of.iter().filter(|(w, _)| members.contains(**w)).map(|(_, u)| u).sum();
        Pool { members, units: sum(&self.units), burst: sum(&self.bursts) }
    }

    /// Whether nodes tell each other what they admit.
    pub(super) fn is_told(&self) -> bool {
        self.policy.mode == Mode::Shared && self.whole.members.len() > 1
    }

    /// Whether `worker` decides by this policy.
    pub(super) fn is_decided_by(&self, worker: WorkerId) -> bool {
        self.whole.members.contains(worker)
    }

    pub(super) fn is_decided_by_me(&self) -> bool {
        self.is_decided_by(self.me)
    }

    /// The most that one node can admit to one key in one window, so that whoever claims more is not believed. What
    /// `gcra` carries over from the window before counts again.
    pub(super) fn claim_max(&self) -> u64 {
        match self.policy.algorithm {
            Algorithm::Fixed | Algorithm::Sliding => self.policy.limit,
            Algorithm::Gcra => 2 * (self.policy.limit + self.policy.burst),
        }
    }

    /// After so long without use, nothing that the policy can still ask for is known of any key: windows are over, and
    /// levels have drained, be it at this node's own share of the rate.
    pub(super) fn forgets_ms(&self) -> u64 {
        let windows = match self.policy.algorithm {
            Algorithm::Fixed => 2,
            Algorithm::Sliding => 3,
            Algorithm::Gcra => 2u64.max(self.level_max().div_ceil(self.own.units.max(1))),
        };
        windows.saturating_mul(self.policy.window_ms).max(FORGETS_MIN_MS)
    }

    /// Units that all nodes can have come to at once, in a level of `gcra`.
    pub(super) fn level_max(&self) -> u64 {
        let nodes = u64::from(self.whole.members.len());
        self.policy.burst.saturating_mul(nodes).saturating_add(self.policy.limit)
    }

    /// Whether keys that were counted by `other` can be counted on by this rule.
    pub(super) fn continues(&self, other: &Self) -> bool {
        let kept =
            |rule: &Self| (rule.policy.name.clone(), rule.policy.algorithm, rule.policy.window_ms, rule.policy.mode);
        kept(self) == kept(other)
    }
}

fn of_one(of: &BTreeMap<WorkerId, u64>, worker: WorkerId) -> u64 {
    of.get(&worker).copied().unwrap_or(0)
}

fn threshold(policy: &Policy, nodes: u32) -> u64 {
    let smallest = policy.limit.min(policy.cost_max());
    (smallest * UNTOLD_PERCENT / 100 / u64::from(nodes.saturating_sub(1).max(1))).max(1)
}
