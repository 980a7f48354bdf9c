//! IDs under kills, restarts, clocks that stray, and copies: the tests of `tests/it`, at length.
//!
//! Nodes that mint at once have ledgers of their own, since each is a cluster of its own.

use std::time::Duration;

use snowtide::clock::Stopwatch;

use crate::Scale;
use crate::processes::minting::{HARMS, Harm, Outcome, mint_under, twins};
use crate::table::Tally;

/// Rounds of all harms for each of the two nodes: over a thousand harms together.
const ROUNDS: usize = 42;
/// After each harm, so that there are more than 10^9 in the end.
const PROGRESS: u64 = 1_000_000;
const KILLS_IN_A_ROW: usize = 30;
const TWINS: usize = 30;

pub(crate) fn run(scale: Scale) -> Vec<Tally> {
    // `make test` has those tests anyway.
    if !scale.is_soak() {
        return vec![];
    }
    crate::runtime().block_on(async {
        vec![under_harms().await, kills_in_a_row().await, of("copies", Stopwatch::start(), vec![twins(TWINS).await])]
    })
}

async fn under_harms() -> Tally {
    let watch = Stopwatch::start();
    // Two nodes, since one alone would wait for its starts half of the time; and not in step.
    let harms = |from: usize| HARMS.into_iter().cycle().skip(from).take(HARMS.len() * ROUNDS);
    let (one, other) = tokio::join!(mint_under(harms(0), PROGRESS), mint_under(harms(HARMS.len() / 2), PROGRESS));
    of("clocks and restarts", watch, vec![one, other])
}

/// No time for anything in between.
async fn kills_in_a_row() -> Tally {
    let watch = Stopwatch::start();
    let outcome = mint_under(std::iter::repeat_n(Harm::KillTwice, KILLS_IN_A_ROW), 1).await;
    of("kill -9 in a loop", watch, vec![outcome])
}

fn of(what: &'static str, watch: Stopwatch, outcomes: Vec<Outcome>) -> Tally {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let (ids, duplicates, stretches) =
        (sum(|outcome| outcome.ids), sum(|outcome| outcome.duplicates), sum(|outcome| outcome.stretches as u64));
    Tally {
        done: outcomes.iter().map(|outcome| outcome.harms).sum(),
        took: Duration::from_millis(watch.elapsed_ms()),
        remarks: format!("{ids} ids, {duplicates} duplicates, {stretches} ranges kept"),
        lost: outcomes.into_iter().flat_map(|outcome| outcome.findings).collect(),
        ..Tally::new(what)
    }
}
