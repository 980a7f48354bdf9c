//! Everything about a run, for programs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::drill::DrillReport;
use super::limits::LimitsReport;
use super::row::Row;
use super::settings::Settings;
use crate::finding::{Finding, Log};
use crate::generator::Generator;
use crate::keys::Kind;
use crate::run::{Origin, Outcome};
use crate::threshold::{Judged, Threshold};

/// Everything about a run. Sums of counters are strings, since they may exceed what JSON numbers hold.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The version of this shape.
    pub format: u32,
    /// What was asked for.
    pub settings: Settings,
    /// Per target and kind of operation.
    pub results: Vec<Row>,
    /// Per kind over all targets, then everything.
    pub totals: Vec<Row>,
    /// The check at the end.
    pub conservation: Conservation,
    /// Whether the generator itself was a bottleneck.
    pub generator: Generator,
    /// What was done to the cluster meanwhile, and what came of it; none unless it was a drill.
    pub drill: Option<DrillReport>,
    /// What came of the limits; none if no decisions were asked.
    pub limits: Option<LimitsReport>,
    /// What became of each `--threshold`.
    pub thresholds: Vec<Judged>,
    /// The first findings of each kind.
    pub findings: Vec<Finding>,
    /// How many of each kind there were.
    pub findings_by_kind: BTreeMap<Cow<'static, str>, u64>,
    /// Nothing was found.
    pub ok: bool,
}

/// The check at the end.
#[derive(Clone, Debug, Serialize)]
pub struct Conservation {
    /// Distinct regions among the targets.
    pub regions: Vec<String>,
    /// Counters that any increment was sent for.
    pub counters: u64,
    /// The sum of what was acknowledged.
    pub acknowledged_sum: String,
    /// The sum of what was attempted and not refused.
    pub attempted_sum: String,
    /// What the counters grew by, by target; none where a target could not be read.
    pub counted_sum: BTreeMap<String, Option<String>>,
    /// All targets answered the same and nothing was missing.
    pub agreed: bool,
    /// How long that took.
    pub agree_wait_s: f64,
    /// IDs that came in.
    pub ids: u64,
    /// How many of them had come before.
    pub duplicate_ids: u64,
}

impl Summary {
    /// The version of the shape that this program writes: fields may be added to it, none is renamed or removed.
    pub const FORMAT: u32 = 1;

    /// Sums a run up.
    pub fn of(outcome: &Outcome) -> Self {
        let Log { named: findings, counts: findings_by_kind } = outcome.sent.record.findings.so_far();
        let totals = totals(outcome);
        let p99_ms = totals.last().map_or(0.0, |all| all.latency_ms.p99);
        let processes = usize::try_from(outcome.setup.plan.network.processes).unwrap_or(usize::MAX);
        // Each process sends on one thread.
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(processes);
        let thresholds = outcome.setup.plan.checks.thresholds.iter();
        Self {
            format: Self::FORMAT,
            settings: Settings::of(&outcome.setup),
            results: results(outcome),
            totals,
            conservation: Conservation::of(outcome),
            generator: outcome.sent.usage.judge(cores, p99_ms),
            drill: outcome.sent.faults.as_ref().map(|faults| DrillReport::of(outcome, faults)),
            limits: LimitsReport::of(outcome),
            thresholds: thresholds.map(|threshold| judge(outcome, threshold)).collect(),
            ok: findings.is_empty(),
            findings,
            findings_by_kind,
        }
    }

    /// The last line of a run without findings, and what to say otherwise.
    pub fn verdict(&self) -> String {
        let Conservation { regions, counters, acknowledged_sum, ids, .. } = &self.conservation;
        if !self.ok {
            let counts = self.findings_by_kind.iter().map(|(kind, count)| format!("{count} {kind}"));
            let all_are = |word: &str| self.findings_by_kind.keys().all(|kind| kind == word);
            let verdict = match () {
                () if all_are(Finding::UNREADABLE) => "NOT CHECKED",
                () if all_are(Finding::OVER_LIMIT) => "OVER THE LIMIT",
                () => "NOT CONSERVED",
            };
            return format!("{verdict}: {}", counts.collect::<Vec<_>>().join(", "));
        }
        let regions = match regions.len() {
            1 => "1 region".to_owned(),
            many => format!("{many} regions"),
        };
        let excess = self.unknown_sum().map_or_else(String::new, |sum| format!(", {sum} more from unknown outcomes"));
        let limits = if self.limits.is_some() { ", admitted ≤ bound" } else { "" };
        format!(
            "acknowledged = counted in each of {regions}, 0 duplicate IDs{limits} \
             ({acknowledged_sum} in {counters} counters{excess}; {ids} IDs)"
        )
    }

    /// All rows: the targets, then the totals.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.results.iter().chain(&self.totals)
    }

    /// No threshold was crossed.
    pub fn kept(&self) -> bool {
        self.thresholds.iter().all(|judged| !judged.crossed)
    }

    /// Requests for IDs a second in relation to those that ask whether the node lives, where the two took turns.
    pub fn ids_to_live(&self) -> Option<f64> {
        let operations = &self.settings.operations;
        operations.turns_s?;
        let rate =
            |kind: Kind| self.totals.iter().find(|row| row.operation == kind.name()).map(|row| row.achieved_per_s);
        let (ids, live) = (rate(Kind::Id)? / f64::from(operations.batch), rate(Kind::Live)?);
        (live > 0.0).then_some(ids / live)
    }

    /// What was counted above what was acknowledged: unanswered increments that did happen.
    fn unknown_sum(&self) -> Option<i128> {
        let counted: i128 = self.conservation.counted_sum.values().next()?.as_ref()?.parse().ok()?;
        let acknowledged: i128 = self.conservation.acknowledged_sum.parse().ok()?;
        counted.checked_sub(acknowledged).filter(|more| *more != 0)
    }
}

impl Conservation {
    fn of(outcome: &Outcome) -> Self {
        let Outcome { setup, sent, agreement, .. } = outcome;
        let ledger = &sent.record.ledger;
        let (acknowledged, attempted) = ledger.totals();
        let baseline: i128 = agreement.keys.iter().map(|key| ledger.baseline(*key)).sum();
        let counted = |values: &[Option<i128>]| values.iter().copied().sum::<Option<i128>>();
        let counted = |values| counted(values).map(|sum| (sum - baseline).to_string());
        let counted = setup.origins.iter().zip(&agreement.values).map(|(at, values)| (at.name(), counted(values)));
        let regions: BTreeSet<&String> = setup.origins.iter().filter_map(|origin| origin.region.as_ref()).collect();
        Self {
            regions: regions.into_iter().cloned().collect(),
            counters: agreement.keys.len() as u64,
            acknowledged_sum: acknowledged.to_string(),
            attempted_sum: attempted.to_string(),
            counted_sum: counted.collect(),
            agreed: agreement.settled,
            agree_wait_s: agreement.waited.as_secs_f64(),
            ids: sent.ids.found.seen,
            duplicate_ids: sent.ids.found.duplicates,
        }
    }
}

/// Operations of this kind a second that were asked for. In its turn, all that is asked for is of one kind.
fn asked(outcome: &Outcome, kind: Kind) -> Option<f64> {
    let workload = &outcome.setup.workload;
    let share = if workload.turn.is_some() { 1.0 } else { workload.mix.share(kind) };
    outcome.setup.plan.pace.rate.per_second().map(|rate| rate * share)
}

fn results(outcome: &Outcome) -> Vec<Row> {
    let (seconds, targets) = (outcome.seconds_of_kind(), outcome.setup.origins.len() as f64);
    let row = |target: u16, origin: &Origin, kind: Kind| {
        let figures = outcome.figures(|at, each| at == target && each == kind);
        Row::new(origin.clone(), Some(kind), &figures, seconds, asked(outcome, kind).map(|asked| asked / targets))
    };
    let of_target = |(target, origin)| outcome.kinds().map(move |kind| row(target, origin, kind));
    outcome.targets().flat_map(of_target).collect()
}

fn totals(outcome: &Outcome) -> Vec<Row> {
    let of_kind = |kind: Kind| {
        let figures = outcome.figures(|_, each| each == kind);
        Row::new(Origin::all(), Some(kind), &figures, outcome.seconds_of_kind(), asked(outcome, kind))
    };
    let (all, rate) = (outcome.figures(|_, _| true), outcome.setup.plan.pace.rate.per_second());
    let all = Row::new(Origin::all(), None, &all, outcome.sent.measured_s, rate);
    outcome.kinds().map(of_kind).chain([all]).collect()
}

fn judge(outcome: &Outcome, threshold: &Threshold) -> Judged {
    let region_of = |target: u16| outcome.setup.origins.get(usize::from(target)).and_then(|at| at.region.as_ref());
    let figures = outcome.figures(|target, kind| {
        let is_there = threshold.region.is_none() || region_of(target) == threshold.region.as_ref();
        is_there && threshold.kind.is_none_or(|wanted| wanted == kind)
    });
    let seconds = threshold.kind.map_or(outcome.sent.measured_s, |_| outcome.seconds_of_kind());
    threshold.judge(&figures, seconds)
}
