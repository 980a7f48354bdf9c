//! Sums up what was measured and checked.

use std::collections::{BTreeMap, BTreeSet};

use crate::args::{Args, Distribution};
use std::time::Duration;

use crate::conserve::{Agreement, Reader};
use crate::drill::report::{self, Balance, DrillReport, FaultRow, RegionRow};
use crate::drill::script::Course;
use crate::figures::Figures;
use crate::keys::{Kind, Names};
use crate::measure::Board;
use crate::report::{Conservation, Row, Settings, Summary};
use crate::run::{Sent, Setup};
use crate::schedule::Rate;
use crate::threshold::{Judged, Threshold};
use crate::timeline::{self, Timeline};

fn kinds(args: &Args) -> impl Iterator<Item = Kind> {
    args.mix.kinds()
}

fn positions(args: &Args) -> impl Iterator<Item = u16> {
    (0_u16..).take(args.targets.len())
}

/// The figures of the targets and kinds that are `wanted`.
pub(crate) fn total(args: &Args, board: &Board, wanted: impl Fn(u16, Kind) -> bool) -> Figures {
    let mut figures = Figures::default();
    for target in positions(args) {
        for kind in kinds(args).filter(|kind| wanted(target, *kind)) {
            figures.add(&board.copy(target, kind));
        }
    }
    figures
}

/// Sums a run up.
pub(crate) fn of(setup: &Setup, sent: &Sent, agreement: &Agreement) -> Summary {
    let (findings, findings_by_kind) = sent.books.findings.parts();
    let (results, totals) = rows(setup, sent);
    let p99_ms = totals.last().map_or(0.0, |all| all.latency_ms.p99);
    Summary {
        format: Summary::FORMAT,
        settings: settings(setup, &sent.books.names),
        results,
        totals,
        conservation: conservation(setup, sent, agreement),
        drill: sent.played.as_ref().map(|courses| drill(setup, sent, agreement, courses)),
        generator: sent.strain.judge(cores(), p99_ms),
        thresholds: setup.args.thresholds.iter().map(|threshold| judge(setup, sent, threshold)).collect(),
        ok: findings.is_empty(),
        findings,
        findings_by_kind,
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Seconds that one kind was measured for: where kinds take turns, each has its part of the time.
fn own_seconds(args: &Args, sent: &Sent) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let kinds = kinds(args).count().max(1) as f64;
    args.turns.map_or(sent.measured_s, |_| sent.measured_s / kinds)
}

/// Per target and kind; then per kind over all targets, and everything.
fn rows(setup: &Setup, sent: &Sent) -> (Vec<Row>, Vec<Row>) {
    let (args, board) = (&setup.args, &sent.books.board);
    let (rate, own_s) = (args.rate.per_second(), own_seconds(args, sent));
    // In its turn, all that is asked for is of one kind.
    let asked = |kind: Kind| rate.map(|rate| if args.turns.is_some() { rate } else { rate * args.mix.share(kind) });
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let targets = args.targets.len() as f64;
    let mut results = Vec::new();
    for (target, origin) in positions(args).zip(&setup.origins) {
        for kind in kinds(args) {
            let each = asked(kind).map(|asked| asked / targets);
            results.push(Row::new(Some(origin), Some(kind), &board.copy(target, kind), own_s, each));
        }
    }
    let of_kind = |kind: Kind| total(args, board, |_, each| each == kind);
    let mut totals: Vec<Row> =
        kinds(args).map(|kind| Row::new(None, Some(kind), &of_kind(kind), own_s, asked(kind))).collect();
    totals.push(Row::new(None, None, &total(args, board, |_, _| true), sent.measured_s, rate));
    (results, totals)
}

fn judge(setup: &Setup, sent: &Sent, threshold: &Threshold) -> Judged {
    let at = |target: u16| setup.origins.get(usize::from(target)).map(|origin| &origin.region);
    let region = threshold.region.as_ref();
    let wanted = |target: u16, kind: Kind| {
        threshold.kind.is_none_or(|wanted| wanted == kind) && (region.is_none() || at(target) == region)
    };
    let figures = total(&setup.args, &sent.books.board, wanted);
    let seconds = threshold.kind.map_or(sent.measured_s, |_| own_seconds(&setup.args, sent));
    threshold.judge(&figures, seconds)
}

fn drill(setup: &Setup, sent: &Sent, agreement: &Agreement, courses: &[Course]) -> DrillReport {
    let (ledger, board) = (&sent.books.ledger, &sent.books.board);
    let (acknowledged, attempted) = ledger.totals();
    let balance = Balance::of(agreement, |key| ledger.expected(key));
    let regions = positions(&setup.args).zip(&setup.readers);
    DrillReport {
        faults: courses.iter().map(FaultRow::of).collect(),
        regions: regions.map(|(target, reader)| region(setup, board, target, reader, sent.measured_s)).collect(),
        acknowledged: acknowledged.to_string(),
        in_doubt: attempted.saturating_sub(acknowledged).to_string(),
        lost: balance.lost.to_string(),
        doubled: balance.doubled.to_string(),
        duplicate_ids: sent.found.duplicates,
        agreed_after_s: agreement.settled.then_some(agreement.waited.as_secs_f64()),
    }
}

fn region(setup: &Setup, board: &Board, target: u16, reader: &Reader, measured_s: f64) -> RegionRow {
    let args = &setup.args;
    let figures = total(args, board, |each, _| each == target);
    let mut timeline = Timeline::default();
    kinds(args).for_each(|kind| timeline.add(&board.timeline(target, kind)));
    let width = board.slice_width();
    // The last slice may lie in the measured part only in part, and then it says nothing.
    let end = timeline::slice_at(Duration::from_secs_f64(measured_s), width);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let requests = args.rate.per_second().unwrap_or(0.0) / f64::from(args.batch) / args.targets.len() as f64;
    let silent = report::is_dense(requests, width).then(|| report::unavailable(timeline.counts(), end, width));
    RegionRow {
        target: reader.name.clone(),
        unavailable_s: silent.map(|(all, _)| all),
        longest_s: silent.map(|(_, longest)| longest),
        refused: figures.refused.values().sum(),
        unknown: figures.unknown.values().sum(),
        unsent: figures.unsent,
    }
}

fn conservation(setup: &Setup, sent: &Sent, agreement: &Agreement) -> Conservation {
    let ledger = &sent.books.ledger;
    let (acknowledged, attempted) = ledger.totals();
    let baseline: i128 = agreement.keys.iter().map(|key| ledger.baseline(*key)).sum();
    let counted = |values: &Vec<Option<i128>>| values.iter().copied().sum::<Option<i128>>();
    let counted = |values| counted(values).map(|sum| (sum - baseline).to_string());
    let regions: BTreeSet<&String> = setup.origins.iter().map(|origin| &origin.region).collect();
    Conservation {
        regions: regions.into_iter().cloned().collect(),
        counters: agreement.keys.len() as u64,
        acknowledged_sum: acknowledged.to_string(),
        attempted_sum: attempted.to_string(),
        counted_sum: setup
            .readers
            .iter()
            .zip(&agreement.values)
            .map(|(reader, values)| (reader.name.clone(), counted(values)))
            .collect::<BTreeMap<_, _>>(),
        agreed: agreement.settled,
        agree_wait_s: agreement.waited.as_secs_f64(),
        ids: sent.found.seen,
        duplicate_ids: sent.found.duplicates,
    }
}

fn settings(setup: &Setup, names: &Names) -> Settings {
    let args = &setup.args;
    Settings {
        rate_per_s: args.rate.per_second(),
        arrivals: args.rate.per_second().map(|_| args.arrivals.name()),
        processes: args.processes,
        celebrity: (args.celebrity > 0.0).then_some(args.celebrity),
        scenario: args.scenario.clone(),
        open_loop: args.rate != Rate::Max,
        duration_s: args.duration.as_secs_f64(),
        warmup_s: args.warmup.as_secs_f64(),
        connections: args.connections,
        in_flight: args.in_flight,
        batch: args.batch,
        keys: args.keys,
        distribution: match args.dist {
            Distribution::Uniform => "uniform",
            Distribution::Zipf => "zipf",
        },
        zipf_exponent: (args.dist == Distribution::Zipf).then_some(args.zipf_exponent),
        mix: args.mix.weights(),
        turns_s: args.turns.map(|turn| turn.as_secs_f64()),
        seed: setup.seed.to_string(),
        namespace: names.namespace.clone(),
        key_prefix: names.prefix.clone(),
    }
}
