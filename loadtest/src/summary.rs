//! Sums up what was measured and checked.

use std::collections::{BTreeMap, BTreeSet};

use crate::args::{Args, Distribution};
use crate::conserve::Agreement;
use crate::figures::Figures;
use crate::keys::{Kind, Names};
use crate::measure::Board;
use crate::report::{Conservation, Row, Settings, Summary};
use crate::run::{Sent, Setup};
use crate::schedule::Rate;
use crate::threshold::{Judged, Threshold};

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
    Summary {
        format: Summary::FORMAT,
        settings: settings(setup, &sent.books.names),
        results,
        totals,
        conservation: conservation(setup, sent, agreement),
        thresholds: setup.args.thresholds.iter().map(|threshold| judge(setup, sent, threshold)).collect(),
        ok: findings.is_empty(),
        findings,
        findings_by_kind,
    }
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
