//! The end of all trouble: what follows has to converge within a bounded number of rounds.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::seq::IndexedRandom;
use snowtide::identity::NamespaceId;
use snowtide::replica::Operation;
use snowtide::section::Milliseconds;
use snowtide_protocol::{Action, Key};

use super::checkers::ledger::Rows;
use super::checkers::state::{self, Held};
use super::clients::name;
use super::rogue::RENEWAL_MS;
use super::world::World;

/// Without repair, its interval is longer than any run.
const LONGEST_ROUND_MS: u64 = 60_000;
const LASTING_CUT_CHANCE: f64 = 0.3;
/// Intervals of digests or of repair, whichever is longer, after which all must agree.
const ROUNDS_MAX: u64 = 40;

impl World {
    /// From here on nothing goes wrong. Operators take copies away and restart what has stopped itself.
    pub fn heal(&mut self) {
        self.broken = false;
        self.network.mend_all();
        for node in 0..self.nodes.len() {
            if self.nodes[node].copy_of.is_some() {
                self.retire(node);
                continue;
            }
            self.see_clock(node);
            self.nodes[node].clock.correct_wall();
            self.nodes[node].disk.tidy();
            if self.nodes[node].is_paused() {
                self.resume(node);
            }
            self.restart_fenced(node);
            self.configure_again(node);
            self.put_back(node);
            self.start(node);
        }
        (0..self.nodes.len()).for_each(|node| self.dial_all(node));
    }

    /// Sometimes one link stays cut for good: news has to go around it.
    fn leave_a_cut(&mut self) {
        let living: Vec<usize> = (0..self.nodes.len()).filter(|node| !self.nodes[*node].retired).collect();
        if !self.rng.random_bool(LASTING_CUT_CHANCE) {
            return;
        }
        let Some([one, other]) = living.sample_array(&mut self.rng) else { return };
        let around = |namespace: &NamespaceId| {
            living.iter().filter(|node| self.nodes[**node].namespaces.contains(namespace)).count() > 2
        };
        if self.shared(one, other).iter().all(around) {
            self.cut(&[(one, other), (other, one)]);
            self.tally.note("links cut for good");
        }
    }

    /// Heals, waits until all hold the same, and checks it against what clients were told.
    pub fn converge(&mut self) -> Result<(), String> {
        self.heal();
        self.leave_a_cut();
        if self.has_rogue() {
            // Whoever has begun incarnations on its word rests before the next one.
            self.run_until(self.now + RENEWAL_MS);
        }
        // Starts have to be proven first.
        self.run_until(self.now + self.settings.tuning.incarnation.proof_timeout.ms() + self.settings.claim_wait.ms());
        // Clients ask on while nodes come back, but not while the rounds are counted.
        self.clients = false;
        let round_ms = self
            .settings
            .tuning
            .gossip
            .digest_interval
            .ms()
            .max(self.settings.tuning.repair.interval.ms().min(LONGEST_ROUND_MS));
        let mut differing = String::new();
        for round in 0..ROUNDS_MAX {
            self.run_until(self.now + round_ms);
            if let Some(finding) = self.findings.first() {
                return Err(finding.clone());
            }
            if let Some(unready) = self.unready() {
                differing = unready;
                continue;
            }
            let states = self.states()?;
            match state::difference(&states) {
                Some(difference) => differing = difference,
                None => {
                    self.tally.convergences += 1;
                    self.tally.rounds_max = self.tally.rounds_max.max(round + 1);
                    for _ in 0..self.checkers.forks.untold(&self.checkers.ledger, &states) {
                        self.tally.note("forks that nobody tells");
                    }
                    return self.agreed(states);
                }
            }
        }
        Err(format!("G4: no convergence within {ROUNDS_MAX} rounds: {differing}"))
    }

    fn unready(&self) -> Option<String> {
        let living = self.nodes.iter().enumerate().filter(|(_, node)| !node.retired);
        let mut unready = living.filter_map(|(at, node)| match &node.process {
            None => Some(format!("node {at} does not run")),
            Some(process) if process.fenced.is_some() => Some(format!("node {at} is fenced: {:?}", process.fenced)),
            Some(process) if process.serving.is_none() => Some(format!("node {at} is not serving")),
            // What waits for a slow disk is counted when it has come.
            Some(process) if !process.asked.is_empty() || self.repeats.waits_for(at, node.starts) => {
                Some(format!("node {at} has not answered everything"))
            }
            Some(_) => None,
        });
        unready.next()
    }

    fn states(&self) -> Result<Vec<BTreeMap<NamespaceId, Held>>, String> {
        self.nodes.iter().filter(|node| !node.retired).map(|node| state::held(node, self.all_keys())).collect()
    }

    /// The ledger against the state that all disks agree on, and that state against what nodes answer.
    fn agreed(&mut self, states: Vec<BTreeMap<NamespaceId, Held>>) -> Result<(), String> {
        let rows = state::join_all(states);
        if let Some(finding) = self.checkers.ledger.check(&rows) {
            return Err(finding);
        }
        for node in (0..self.nodes.len()).filter(|node| !self.nodes[*node].retired).collect::<Vec<_>>() {
            self.inspect(node);
            for namespace in self.nodes[node].namespaces.clone() {
                let keys = (0..self.keys).filter_map(|key| Key::new(name(key)).ok());
                let reads = keys.map(|key| Operation { namespace, key, action: Action::Get }).collect();
                self.expected.get_or_insert_with(|| rows.clone());
                self.submit(node, reads);
                self.carry_out(node);
            }
        }
        self.run_until(self.now + 1_000);
        self.list_everything(&rows);
        self.expected = None;
        self.still = true;
        self.run_until(self.now + 2 * self.settings.tuning.repair.interval.ms().min(LONGEST_ROUND_MS));
        self.still = false;
        self.findings.first().map_or(Ok(()), |finding| Err(finding.clone()))
    }

    /// Whatever all disks hold is listed by everybody.
    fn list_everything(&mut self, rows: &Rows) {
        for (counter, _) in rows.iter().filter(|(_, row)| !row.slots().is_empty()) {
            let holders = self.nodes.iter().enumerate().filter(|(_, node)| node.namespaces.contains(&counter.0));
            holders.for_each(|(node, _)| self.checkers.lists.shown(node, counter.clone()));
        }
        if !self.list_all() {
            self.findings.push("list: walks do not end while nothing goes wrong".to_owned());
        }
    }
}
