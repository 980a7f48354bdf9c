//! What goes wrong, and how it is put right.

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use snowtide::limits::{Fingerprint, Message, Told, Total};

use super::clients::key;
use super::plan::{PRESENCE_MS, Version};
use super::world::{Happening, World};

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// One node does not reach another, which may still reach it.
    OneWayCut,
    /// Each node reaches the next one only, and nobody answers.
    Chain,
    /// Two halves have one node in common, which both reach.
    Bridge,
    /// All reach one node, and only that one.
    Star,
    /// The nodes fall into two groups.
    Halves,
    /// A way is cut and mended again and again, faster than presence runs out.
    Flaps,
    /// A queue is full: its stream ends, and what was on it is lost.
    Drop,
    /// Everything between two nodes takes most of the presence time.
    Hold,
    /// One way takes longer than the presence time, while the other is as fast as ever.
    Lag,
    /// A process ends, and starts again.
    Kill,
    /// The same, several times in a row.
    CrashLoop,
    /// A process stands still for longer than the presence time, then finds all that has come.
    Pause,
    /// A policy gets another limit, node by node.
    Rollout,
    /// The same with other shares.
    Shares,
    /// The same with a map that lacks a node.
    Map,
    /// A clock is set, by up to two seconds.
    Step,
    /// A clock is set, by up to an hour.
    Leap,
    /// A node does not believe its clock for a while.
    Doubt,
    /// A peer claims what no node can have admitted.
    Claim,
    /// Clients make up policies that come with their requests.
    Invent,
}

#[derive(Clone, Debug)]
pub enum Trouble {
    Begin(Fault),
    Mend(Vec<(usize, usize)>),
    Cut((usize, usize)),
    Kill(usize),
    Give { node: usize, policy: usize, version: usize },
}

impl Fault {
    pub const ALL: [Self; 20] = [
        Self::OneWayCut,
        Self::Chain,
        Self::Bridge,
        Self::Star,
        Self::Halves,
        Self::Flaps,
        Self::Drop,
        Self::Hold,
        Self::Lag,
        Self::Kill,
        Self::CrashLoop,
        Self::Pause,
        Self::Rollout,
        Self::Shares,
        Self::Map,
        Self::Step,
        Self::Leap,
        Self::Doubt,
        Self::Claim,
        Self::Invent,
    ];

    /// Whether windows are not numbered steadily while it lasts.
    pub fn is_of_clocks(self) -> bool {
        matches!(self, Self::Step | Self::Leap | Self::Doubt)
    }
}

impl World {
    pub fn plan_trouble(&mut self) {
        let faults: Vec<Fault> = self.plan.faults.keys().copied().collect();
        faults.into_iter().for_each(|fault| self.trouble_later(fault));
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn trouble_later(&mut self, fault: Fault) {
        let mean_ms = 60_000.0 / self.plan.faults[&fault];
        let wait_ms = -mean_ms * self.rng.random_range(0.01f64..1.0).ln();
        self.at(self.now + 3_000 + wait_ms as u64, Happening::Trouble(Trouble::Begin(fault)));
    }

    pub fn trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Begin(fault) if !self.is_healing => {
                self.note(|| format!("{fault:?} begins"));
                *self.tally.faults.entry(fault).or_default() += 1;
                self.begin(fault);
                self.trouble_later(fault);
            }
            Trouble::Begin(_) => {}
            Trouble::Cut((from, to)) if !self.is_healing => {
                self.disturb(0);
                self.cut(from, to);
            }
            Trouble::Cut(_) => {}
            Trouble::Mend(ways) => {
                self.disturb(0);
                ways.into_iter().for_each(|(from, to)| self.mend(from, to));
            }
            Trouble::Kill(node) => self.kill_for_a_while(node, 2_000),
            Trouble::Give { node, policy, version } if !self.is_healing || version == 0 => {
                self.disturb(0);
                self.note(|| format!("node {node} gets version {version} of policy {policy}"));
                self.nodes[node].versions[policy] = version;
                let policies = self.policies_of(node);
                self.give(node, policies);
            }
            Trouble::Give { .. } => {}
        }
    }

    fn begin(&mut self, fault: Fault) {
        let node = self.rng.random_range(0..self.plan.nodes);
        match fault {
            Fault::OneWayCut | Fault::Chain | Fault::Bridge | Fault::Star | Fault::Halves => self.cut_ways(fault),
            Fault::Flaps => self.flap(),
            Fault::Drop => {
                self.disturb(3_000);
                let (from, to) = self.way();
                self.break_stream(from, to, true);
            }
            Fault::Hold => {
                let (from, to) = self.way();
                let hold_ms = self.rng.random_range(100..PRESENCE_MS);
                self.disturb(hold_ms);
                self.streams[from][to].held_until_ms = self.now + hold_ms;
            }
            Fault::Lag => {
                let (from, to) = self.way();
                let lag_ms = self.rng.random_range(PRESENCE_MS..8 * PRESENCE_MS);
                let lasting_ms = self.rng.random_range(500..30_000);
                self.disturb(lasting_ms + lag_ms);
                self.streams[from][to].lags = (self.now + lasting_ms, lag_ms);
            }
            Fault::Kill => self.kill_for_a_while(node, 6_000),
            Fault::CrashLoop => {
                for round in 0..self.rng.random_range(3..8) {
                    self.at(self.now + round * 2_500, Happening::Trouble(Trouble::Kill(node)));
                }
            }
            Fault::Pause => {
                let pause_ms = self.rng.random_range(200..6_000);
                self.disturb(pause_ms);
                self.nodes[node].paused_until_ms = self.now + pause_ms;
            }
            Fault::Rollout | Fault::Shares | Fault::Map => self.roll_out(fault),
            Fault::Step => self.step(node, 2_000),
            Fault::Leap => self.step(node, 3_600_000),
            Fault::Doubt => self.nodes[node].doubts_until_ms = self.now + self.rng.random_range(500..10_000),
            Fault::Claim => self.claim(),
            Fault::Invent => {
                // From now on policies go that others need, and come again.
                self.disturb(self.plan.duration_ms);
                self.invent(node);
            }
        }
    }

    fn way(&mut self) -> (usize, usize) {
        let from = self.rng.random_range(0..self.plan.nodes);
        (from, (from + self.rng.random_range(1..self.plan.nodes)) % self.plan.nodes)
    }

    fn cut_ways(&mut self, fault: Fault) {
        let mut order: Vec<usize> = (0..self.plan.nodes).collect();
        order.shuffle(&mut self.rng);
        let at = |node: usize| order.iter().position(|held| *held == node).expect("all are there");
        let half = self.plan.nodes / 2;
        let stays = |from: usize, to: usize| match fault {
            Fault::Chain => at(to) == at(from) + 1,
            Fault::Star => at(from) == 0 || at(to) == 0,
            Fault::Bridge => (at(from) <= half && at(to) <= half) || (at(from) >= half && at(to) >= half),
            Fault::Halves => (at(from) < half.max(1)) == (at(to) < half.max(1)),
            _ => (at(from), at(to)) != (0, 1),
        };
        let nodes = 0..self.plan.nodes;
        let ways =
            nodes.clone().flat_map(|from| nodes.clone().map(move |to| (from, to))).filter(|(from, to)| from != to);
        let cut: Vec<(usize, usize)> = ways.filter(|(from, to)| !stays(*from, *to)).collect();
        self.disturb(0);
        cut.iter().for_each(|(from, to)| self.cut(*from, *to));
        let lasting_ms = self.rng.random_range(300..60_000);
        self.at(self.now + lasting_ms, Happening::Trouble(Trouble::Mend(cut)));
    }

    fn flap(&mut self) {
        let (from, to) = self.way();
        let mut when = self.now;
        for _ in 0..self.rng.random_range(3..10) {
            self.at(when, Happening::Trouble(Trouble::Cut((from, to))));
            when += self.rng.random_range(20..PRESENCE_MS);
            self.at(when, Happening::Trouble(Trouble::Mend(vec![(from, to)])));
            when += self.rng.random_range(400..2 * PRESENCE_MS);
        }
    }

    fn kill_for_a_while(&mut self, node: usize, most_ms: u64) {
        let down_ms = self.rng.random_range(50..most_ms);
        self.disturb(down_ms);
        self.kill(node);
        self.at(self.now + down_ms, Happening::Start(node));
    }

    /// Another version of a policy reaches the nodes one by one.
    fn roll_out(&mut self, fault: Fault) {
        let declared = (0..self.plan.policies.len()).filter(|policy| !self.plan.policies[*policy].is_given);
        let policy = *declared.collect::<Vec<_>>().choose(&mut self.rng).expect("`split` is declared");
        let first = self.versions[policy][0].clone();
        let mut weights = first.weights.clone();
        match fault {
            Fault::Shares => weights.iter_mut().for_each(|w| *w = Some(self.rng.random_range(1..4))),
            Fault::Map => weights[self.plan.nodes - 1] = None,
            _ => {}
        }
        let unit = if fault == Fault::Rollout { self.rng.random_range(1..200) } else { first.limit / first.sum() };
        let sum: u64 = weights.iter().flatten().map(|w| u64::from(*w)).sum();
        let next = Version { limit: sum * unit, burst: sum * unit.div_ceil(2), weights, ..first };
        let version = self.versions[policy].len();
        self.versions[policy].push(next);
        let lasting_ms = *[20_000, 120_000].choose(&mut self.rng).expect("not empty");
        for node in 0..self.plan.nodes {
            let wait_ms = self.rng.random_range(0..lasting_ms);
            self.at(self.now + wait_ms, Happening::Trouble(Trouble::Give { node, policy, version }));
        }
    }

    fn step(&mut self, node: usize, most_ms: i64) {
        self.disturb(0);
        let by_ms = self.rng.random_range(-most_ms..=most_ms);
        self.nodes[node].offset_ms += by_ms;
        self.note(|| format!("the clock of node {node} is set by {by_ms} ms"));
    }

    /// Somebody with a node's certificate says that it admitted more than there is.
    fn claim(&mut self) {
        let (from, to) = self.way();
        let demand = self.rng.random_range(0..self.plan.demands.len());
        let wanted = self.plan.demands[demand];
        let version = &self.versions[wanted.policy][self.nodes[from].versions[wanted.policy]];
        let present = u32::try_from(self.wall_ms(from) / version.window_ms).expect("not so late");
        let all = [present - 1, present, present + 1, present + 7, u32::MAX, 0];
        let total = |window: &u32| Total { key: key(wanted.policy, wanted.key), window: *window, units: 1 << 63 };
        let told = Told { fingerprint: Fingerprint::of(&version.policy()), totals: all.iter().map(total).collect() };
        let message =
            *[Message::Totals as fn(_) -> _, Message::Table, Message::Yours].choose(&mut self.rng).expect("not empty");
        self.ledger.claims.push((demand, present));
        self.say(from, to, message(vec![told]));
    }

    /// Everything works from now on.
    pub fn heal(&mut self) {
        self.note(|| "everything heals".to_owned());
        self.is_healing = true;
        for node in 0..self.plan.nodes {
            self.nodes[node].doubts_until_ms = 0;
            self.nodes[node].offset_ms = 0;
            self.start(node);
            // A node that is far ahead is restarted: by itself it would run slowly for hours.
            if self.clock_off_ms(node) > 500 && self.decider(node).is_some() {
                self.kill(node);
                self.start(node);
            }
            for policy in 0..self.plan.policies.len() {
                self.trouble(Trouble::Give { node, policy, version: 0 });
            }
            for other in (0..self.plan.nodes).filter(|other| *other != node) {
                self.streams[node][other].lags = (0, 0);
                self.mend(node, other);
            }
        }
        // Whoever stands still wakes up within that.
        self.disturb(6_000);
    }
}
