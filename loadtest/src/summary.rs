//! Sums up what was measured and checked.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

use crate::args::{Args, Distribution};
use crate::conserve::Agreement;
use crate::keys::{Kind, Names};
use crate::measure::{Board, Figures};
use crate::report::{Conservation, Row, Settings, Summary, hgrm};
use crate::run::{Sent, Setup};
use crate::schedule::Rate;

fn kinds(args: &Args) -> impl Iterator<Item = Kind> {
    args.mix.kinds()
}

fn positions(args: &Args) -> impl Iterator<Item = u16> {
    (0_u16..).take(args.targets.len())
}

/// The figures of one kind at all targets, or of all kinds.
fn total(args: &Args, board: &Board, kind: Option<Kind>) -> Figures {
    let mut figures = Figures::default();
    for target in positions(args) {
        for kind in kinds(args).filter(|each| kind.is_none_or(|kind| kind == *each)) {
            figures.add(&board.copy(target, kind));
        }
    }
    figures
}

/// Writes the percentile files that were asked for.
pub(crate) fn write_hgrm(setup: &Setup, board: &Board) -> anyhow::Result<()> {
    let args = &setup.args;
    let Some(directory) = &args.hgrm else { return Ok(()) };
    let failed = || format!("cannot write percentile files to {}", directory.display());
    for kind in kinds(args) {
        hgrm::write_file(directory, kind.name(), &total(args, board, Some(kind)).latency).with_context(failed)?;
        for (target, reader) in positions(args).zip(&setup.readers) {
            let name = format!("{}-{}", kind.name(), reader.name);
            hgrm::write_file(directory, &name, &board.copy(target, kind).latency).with_context(failed)?;
        }
    }
    Ok(())
}

/// Sums a run up.
pub(crate) fn of(setup: &Setup, sent: Sent, agreement: &Agreement) -> Summary {
    let args = &setup.args;
    let rate = args.rate.per_second();
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let kinds_count = kinds(args).count().max(1) as f64;
    // Where kinds take turns, each has its part of the time, and all that is asked for in it.
    let own_s = args.turns.map_or(sent.measured_s, |_| sent.measured_s / kinds_count);
    let asked = |kind: Kind| rate.map(|rate| if args.turns.is_some() { rate } else { rate * args.mix.share(kind) });
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let targets = args.targets.len() as f64;
    let mut results = Vec::new();
    for (target, origin) in positions(args).zip(&setup.origins) {
        for kind in kinds(args) {
            let each = asked(kind).map(|asked| asked / targets);
            let figures = sent.books.board.copy(target, kind);
            results.push(Row::new(Some(origin), Some(kind), &figures, own_s, each));
        }
    }
    let of = |kind| total(args, &sent.books.board, kind);
    let mut totals: Vec<Row> =
        kinds(args).map(|kind| Row::new(None, Some(kind), &of(Some(kind)), own_s, asked(kind))).collect();
    totals.push(Row::new(None, None, &of(None), sent.measured_s, rate));
    let conservation = conservation(setup, &sent, agreement);
    let (findings, findings_by_kind) = sent.books.findings.into_parts();
    Summary {
        format: Summary::FORMAT,
        settings: settings(setup, &sent.books.names),
        results,
        totals,
        conservation,
        ok: findings.is_empty(),
        findings,
        findings_by_kind,
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
