//! IDs: the real generator, its ceiling kept ahead as `src/ids` does it.

use rand::RngExt;
use snowtide::identity::Peer;
use snowtide::replica::Event;
use snowtide::snowflake::{Bits, Generator, Layout, Limits, Run, Verdict};

use super::node::Lane;
use super::world::{Happening, World};

pub const LIMITS: Limits =
    Limits { max_backstep_ms: 1_000, max_leap_ms: 3_600_000, max_absence_ms: 365 * 86_400_000, probation_ms: 3_000 };
/// A request that has to wait is served again this soon, and this often.
const RETRY_MS: u64 = 2;
const RETRIES_MAX: u32 = 50;

/// One process's source of IDs.
pub struct Minting {
    pub generator: Generator,
    /// A ceiling is on its way to the disk.
    persisting: bool,
    /// The ceiling is to be extended even if half of its lead is left.
    eager: bool,
}

pub fn layout() -> Layout {
    let bits = Bits { time: 41, region: 5, node: 5, sequence: 12 };
    Layout::new(1_735_689_600_000, bits).expect("41, 5, 5 and 12 are 63 bits")
}

impl Minting {
    pub fn new(worker: snowtide::identity::WorkerId, ceiling: u64) -> Self {
        let generator = Generator::new(layout(), worker, LIMITS, ceiling).expect("the worker fits the layout");
        Self { generator, persisting: false, eager: false }
    }
}

impl World {
    /// A peer has told how far IDs of this worker had come. What an earlier boot of a peer said is dropped, and rightly.
    pub fn heard_ceiling(&mut self, node: usize, from: Peer, ceiling: u64) {
        if self.nodes.iter().all(|other| other.copy_of.is_none())
            && self.nodes.iter().any(|other| other.peer() == Some(from))
        {
            self.checkers.ids.heard(node, ceiling);
        }
    }

    pub fn claim_ids(&mut self, node: usize, ceiling: u64) {
        self.judge_claim(node, ceiling);
        let finding = self.checkers.ids.check_claim(node, ceiling);
        self.findings.extend(finding);
        if self.checkers.ids.claimed(node, ceiling) {
            self.tally.note("claims after a lost disk on the clock alone");
        }
        let reading = self.reading(node);
        if let Some(process) = &mut self.nodes[node].process {
            process.minting.generator.claim(reading, ceiling);
            process.minting.eager = true;
        }
        self.keep_ceiling(node);
    }

    pub fn reading(&self, node: usize) -> snowtide::snowflake::Reading {
        let born = self.nodes[node].process.as_ref().map_or(0, |process| process.born);
        self.nodes[node].clock.reading(born, self.now)
    }

    /// Makes the next ceiling durable if it is time.
    pub fn keep_ceiling(&mut self, node: usize) {
        let reading = self.reading(node);
        let Some(process) = &mut self.nodes[node].process else { return };
        let minting = &mut process.minting;
        if minting.persisting {
            return;
        }
        let eager = std::mem::take(&mut minting.eager);
        let next =
            if eager { minting.generator.ceiling_possible(reading) } else { minting.generator.ceiling_due(reading) };
        if let Some(ceiling) = next {
            minting.persisting = true;
            self.job(node, Lane::Ceilings, move |store| {
                store.put_ceiling(ceiling)?;
                Ok(Event::Ceiling(ceiling))
            });
        }
    }

    /// This ceiling is durable.
    pub fn ceiling_raised(&mut self, node: usize, ceiling: u64) {
        if let Some(process) = &mut self.nodes[node].process {
            process.minting.generator.raise_ceiling(ceiling);
            process.minting.persisting = false;
        }
        self.keep_ceiling(node);
    }

    /// A client asks for IDs.
    pub fn ask_ids(&mut self, node: usize) {
        let count =
            if self.rng.random_bool(0.05) { self.rng.random_range(1..10_000) } else { self.rng.random_range(1..20) };
        let since = self.reading(node).wall_ms;
        self.mint(node, since, count, 0);
    }

    /// Serves a request for IDs as far as it can be served now.
    pub fn mint(&mut self, node: usize, since: u64, count: u32, tries: u32) {
        let reading = self.reading(node);
        let Some(process) = &mut self.nodes[node].process else { return };
        let mut runs: Vec<Run> = Vec::new();
        let verdict = process.minting.generator.allocate(reading, since, count, &mut runs);
        let issued: u32 = runs.iter().map(|run| run.count).sum();
        self.tally.ids += u64::from(issued);
        for run in runs {
            self.trace.note(self.now, [3, node as u64, run.first], || format!("node {node} mints {run:?}"));
            let finding = self.checkers.ids.issued(node, run, layout());
            self.findings.extend(finding);
        }
        self.keep_ceiling(node);
        match verdict {
            Verdict::Wait { .. } | Verdict::NeedsCeiling if tries < RETRIES_MAX => {
                let (start, left) = (self.nodes[node].starts, count - issued);
                self.schedule(RETRY_MS, Happening::Mint { node, start, since, left, tries: tries + 1 });
            }
            Verdict::ClockRegressed { .. } => self.tally.note("clock regressed"),
            Verdict::ClockAhead { .. } => self.tally.note("clock ahead"),
            _ => {}
        }
    }
}
