//! kill -9 of real nodes under load, by the test of `tests/it`, more often.

use snowtide::clock::Stopwatch;

use crate::Scale;
use crate::processes::kills::kill_under_load;
use crate::table::Tally;

pub(crate) fn run(scale: Scale) -> Vec<Tally> {
    // `make test` has that test anyway.
    let rounds = scale.of(0, 300);
    if rounds == 0 {
        return vec![];
    }
    let watch = Stopwatch::start();
    let outcome = crate::runtime().block_on(kill_under_load(rounds));
    let (acknowledged, unknown, ids) = (outcome.acknowledged, outcome.unknown, outcome.ids);
    vec![Tally {
        done: outcome.kills,
        lost: outcome.findings,
        took: std::time::Duration::from_millis(watch.elapsed_ms()),
        remarks: format!("{acknowledged} acknowledged, {unknown} unanswered, {ids} ids"),
        ..Tally::new("kill -9")
    }]
}
