//! Clients: each asks for a key in a way of its own, and some know where windows end.

use rand::RngExt;
use snowtide::limits::{Algorithm, Decision, Given, KeyHash, Mode, Moment, PolicyId, Refusal, Request};

use super::ledger::Admitted;
use super::plan::{Pattern, Version};
use super::world::{Happening, World};

/// What is asked just before and after an edge comes within so much time.
const EDGE_MS: u64 = 30;
/// What is asked in silence pauses once in so long.
const SILENCE_MS: u64 = 9_000;
/// What is asked seldom is asked for at most so long.
const SELDOM_MS: u64 = 8_000;
/// Nodes that are asked one after another in a window.
const STAYS: u64 = 3;

impl World {
    /// What a demand asks for at this moment, and when it asks again.
    pub fn ask(&mut self, demand: usize) {
        if self.is_still {
            return;
        }
        let wanted = self.plan.demands[demand];
        let version = self.versions[wanted.policy][0].clone();
        let wait_ms = match wanted.pattern {
            Pattern::Steady(times) => {
                let node = self.rng.random_range(0..self.plan.nodes);
                self.one(demand, node, &version, times)
            }
            Pattern::Lopsided(times, node) => self.one(demand, node, &version, times),
            Pattern::Waves(times) => {
                let (node, wave_ms) = (self.rng.random_range(0..self.plan.nodes), version.window_ms / 2);
                let wait_ms = self.one(demand, node, &version, times * 5.0);
                let (ends, next) = ((self.now + wait_ms) / wave_ms, self.now / wave_ms);
                if ends % 5 == 0 || next % 5 != 0 { wait_ms } else { (5 - ends % 5) * wave_ms }
            }
            Pattern::Seldom(times) => {
                let node = self.rng.random_range(0..self.plan.nodes);
                let wait_ms = self.one(demand, node, &version, times);
                let ends = (self.now + wait_ms) / SELDOM_MS * SELDOM_MS > self.now;
                if ends { wait_ms + self.rng.random_range(70_000..200_000) } else { wait_ms }
            }
            Pattern::Tour(times) => {
                let stay = self.now * STAYS / version.window_ms;
                let node = (stay * 7 + stay / 3 + demand as u64) as usize % self.plan.nodes;
                self.one(demand, node, &version, times)
            }
            Pattern::Edges => self.at_an_edge(demand, &version),
            Pattern::Quiet(times) => self.in_silence(demand, &version, times),
        };
        self.at(self.now + wait_ms, Happening::Ask(demand));
    }

    fn one(&mut self, demand: usize, node: usize, version: &Version, times: f64) -> u64 {
        let cost_max = (version.limit.min(version.burst) / self.plan.pieces).max(1);
        let cost = self.rng.random_range(1..=cost_max);
        self.at(self.now, Happening::Request { demand, node, cost });
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let gap_ms = (version.window_ms as f64 * (cost_max + 1) as f64 / 2.0 / (times * version.limit as f64)) as u64;
        self.rng.random_range(0..=2 * gap_ms.max(1))
    }

    /// As much as there is, in pieces, on both sides of the true edge of a window.
    fn at_an_edge(&mut self, demand: usize, version: &Version) -> u64 {
        let cost = (version.limit.min(version.burst) / 8).max(1);
        for node in 0..self.plan.nodes {
            for _ in 0..9 {
                let soon = self.rng.random_range(0..2 * EDGE_MS);
                self.at(self.now + soon, Happening::Request { demand, node, cost });
            }
        }
        let after = (self.true_ms() + EDGE_MS) % version.window_ms;
        version.window_ms - after
    }

    /// One unit less than is told, of every node, spread over the window.
    fn in_silence(&mut self, demand: usize, version: &Version, times: u64) -> u64 {
        let pause_ms = SILENCE_MS - self.now % SILENCE_MS;
        if times == 0 && pause_ms <= SILENCE_MS / 3 {
            // Whatever was used has drained before it goes on.
            return pause_ms;
        }
        let cost = version.threshold().saturating_sub(1).max(1);
        for node in 0..self.plan.nodes {
            self.at(self.now, Happening::Request { demand, node, cost });
        }
        // Or as soon as it has drained.
        version
            .window_ms
            .checked_div(times)
            .map_or(cost * version.window_ms / version.limit + 1, |wait_ms| wait_ms.max(20))
    }

    pub fn request(&mut self, demand: usize, node: usize, cost: u64) {
        let wanted = self.plan.demands[demand];
        let Some((policy, now, decision)) = self.decide(demand, node, cost) else { return };
        let version = self.nodes[node].versions[wanted.policy];
        let passed_ms =
            now.unix_ms.saturating_sub(u64::from(decision.window) * self.plan.policies[wanted.policy].window_ms);
        self.tally.decisions += 1;
        let side = self.nodes[node].limits.as_ref().map(|limits| limits.side(policy));
        self.note(|| {
            format!("node {node} demand {demand} cost {cost} at {} {now:?}: {decision:?} {:?}", now.unix_ms, side)
        });
        let told = self.others_told(node);
        if decision.admitted {
            self.tally.admitted += 1;
            let admitted = Admitted {
                at_ms: self.now,
                node,
                boot: self.nodes[node].boot,
                window: decision.window,
                passed_ms,
                cost,
                version,
                is_told: told,
            };
            if let Err(text) = self.ledger.admit(demand, admitted, &self.versions) {
                self.finding(text);
            }
        } else {
            self.tally.denied += 1;
            self.judge_denial((demand, node), decision.window, passed_ms, cost);
        }
    }

    /// Asks a node, as a door does that keeps what it has looked up until it is told that this holds no more.
    fn decide(&mut self, demand: usize, node: usize, cost: u64) -> Option<(PolicyId, Moment, Decision)> {
        let wanted = self.plan.demands[demand];
        let (limits, now) = self.decider(node)?;
        for _ in 0..2 {
            let policy = match self.nodes[node].ids.get(&wanted.policy) {
                Some(id) => *id,
                None => self.look_up(node, wanted.policy)?,
            };
            match limits.decide(now, Request { policy, key: key(wanted.policy, wanted.key), cost }) {
                Err(Refusal::Changed) => {
                    self.tally.changed += 1;
                    self.nodes[node].ids.remove(&wanted.policy);
                }
                decided => return Some((policy, now, decided.ok()?)),
            }
        }
        self.finding(format!("node {node} says that what was just looked up has changed: demand {demand}"));
        None
    }

    fn look_up(&mut self, node: usize, policy: usize) -> Option<PolicyId> {
        let (mono_ms, version) = (self.mono_ms(node), self.plan.policies[policy].clone());
        let limits = self.nodes[node].limits.clone()?;
        let found =
            if version.is_given { limits.given(&version.given(), mono_ms).ok() } else { limits.find(version.name) };
        self.drain(node);
        let Some(id) = found else {
            self.tally.refused += u64::from(version.is_given);
            return None;
        };
        self.nodes[node].ids.insert(policy, id);
        if version.is_given {
            // The others hear of it now, if they did not have it.
            self.tally.given += 1;
            self.disturb(0);
        }
        Some(id)
    }

    /// Somebody makes up policies, and asks for each of them once.
    pub fn invent(&mut self, node: usize) {
        let Some((limits, now)) = self.decider(node) else { return };
        for _ in 0..self.rng.random_range(1..=self.plan.given_max) {
            let (limit, window_ms) = (self.rng.random_range(1..1 << 30), self.rng.random_range(1_000..5_000));
            let given = match self.rng.random_range(0..3) {
                0 => Given::fixed(limit, window_ms),
                1 => Given::sliding(limit, window_ms),
                _ => Given::gcra(limit, window_ms, limit),
            };
            let Ok(policy) = limits.given(&given, now.mono_ms) else {
                self.tally.refused += 1;
                continue;
            };
            self.tally.given += 1;
            let _ = limits.decide(now, Request { policy, key: KeyHash::of(u128::from(limit)), cost: 1 });
        }
        self.drain(node);
    }

    /// While nothing is wrong, what is denied would not have fit. Nor would it where a boot has its share of a rest.
    fn judge_denial(&mut self, (demand, node): (usize, usize), window: u32, passed_ms: u64, cost: u64) {
        let version = &self.versions[self.plan.demands[demand].policy][0];
        let memory = 2 + u64::from(version.algorithm == Algorithm::Sliding);
        let calm_ms = self.now.saturating_sub((memory + 1) * version.window_ms);
        if version.algorithm == Algorithm::Gcra || version.mode != Mode::Shared {
            return;
        }
        let left_ms = version.window_ms - passed_ms.min(version.window_ms);
        let Some(claimed) = self.ledger.claimed(demand, window, version, left_ms) else { return };
        let known = self.ledger.weighed(demand, window, passed_ms, version.window_ms) + claimed;
        let (fits, what) = if self.is_whole(version, calm_ms) {
            (version.limit.saturating_sub(known), "what fits")
        } else if self.begins_in(node, version, passed_ms) {
            let mine = self.ledger.used_by(demand, window, (node, self.nodes[node].boot));
            let left = version.limit.saturating_sub(known - mine);
            ((left * version.share(node).0 / version.limit).saturating_sub(mine), "its share of the rest")
        } else {
            return;
        };
        self.tally.judged += 1;
        if cost <= fits {
            let (name, limit) = (version.name, version.limit);
            self.finding(format!(
                "{name} key {demand}: node {node} denies {cost}, {what}: {known} of {limit} used in {window}"
            ));
        }
    }

    /// Whether a node's boot began in the present window of `fixed`, and all that was changed since are restarts.
    fn begins_in(&self, node: usize, version: &Version, passed_ms: u64) -> bool {
        let began = self.mono_ms(node) < passed_ms;
        began && version.algorithm == Algorithm::Fixed && self.ledger.restarts_only
    }

    /// Whether all nodes have had everything they need to count together since then.
    fn is_whole(&self, version: &Version, since_ms: u64) -> bool {
        let streams = self.streams.iter().flatten().filter(|stream| stream.id != 0);
        let is_cut = self.streams.iter().flatten().any(|stream| stream.is_cut);
        let clocks = (0..self.plan.nodes).all(|node| self.clock_off_ms(node) < version.window_ms / 20);
        let same = self.nodes.iter().all(|node| node.limits.is_some() && node.versions.iter().all(|v| *v == 0));
        let all = streams.filter(|stream| !stream.is_broken).count() == self.plan.nodes * (self.plan.nodes - 1);
        !is_cut && all && same && clocks && !self.ledger.is_disturbed(since_ms, self.now)
    }

    pub fn clock_off_ms(&self, node: usize) -> u64 {
        self.decider(node).map_or(u64::MAX, |(_, now)| now.unix_ms.abs_diff(self.true_ms()))
    }

    pub fn decider(&self, node: usize) -> Option<(std::sync::Arc<snowtide::limits::Limits>, Moment)> {
        let limits = self.nodes[node].limits.clone()?;
        let now = limits.moment(self.mono_ms(node))?;
        Some((limits, now))
    }

    /// Whether the peers have told this boot all of their tables.
    fn others_told(&self, node: usize) -> bool {
        let others = (0..self.plan.nodes).filter(|other| *other != node);
        let limits = self.nodes[node].limits.as_ref();
        limits.is_some_and(|limits| others.into_iter().all(|other| limits.has_table(super::plan::worker(other as u8))))
    }

    /// One region makes up new keys.
    pub fn flood(&mut self) {
        let flood = self.plan.policies.len() - 1;
        let Some((limits, now)) = self.decider(0) else { return self.at(self.now + 1_000, Happening::Flood) };
        let name = self.plan.policies[flood].name;
        for _ in 0..self.plan.flood.div_ceil(50) {
            self.flooded += 1;
            let Some(policy) = limits.find(name) else { continue };
            let request = Request { policy, key: KeyHash::of(u128::from(self.flooded).wrapping_mul(SPREAD)), cost: 3 };
            let _ = limits.decide(now, request);
        }
        self.tally.flooded = self.flooded;
        self.at(self.now + 20, Happening::Flood);
    }
}

/// Spreads small numbers over all bits.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

pub fn key(policy: usize, key: u32) -> KeyHash {
    KeyHash::of((u128::from(key) + 1 + 1_000 * policy as u128).wrapping_mul(SPREAD) ^ 0xabcd)
}
