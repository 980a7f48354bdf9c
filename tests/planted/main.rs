//! Does the simulator see? Bugs are planted in a copy of the sources, one at a time, and each has to be found.
//!
//! `bugs.toml` lists them; the product knows nothing of it. `make planted` runs this. Words on the command line choose
//! bugs by parts of their names.

// What it prints is its report.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bugs;
mod hunt;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use bugs::Bug;
use hunt::{Catch, Programs, SEEDS_MAX};

/// Findings are cut to this for the table.
const FINDING_CHARS: usize = 110;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// True if every bug was found.
fn run(words: &[String]) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bugs = bugs::list(root)?;
    let copy = target_dir(root).join("planted").join("source");
    bugs::plant(root, &copy, &bugs)?;
    let chosen = |bug: &Bug| words.is_empty() || words.iter().any(|word| bug.name.contains(word.as_str()));
    let chosen: Vec<(usize, &Bug)> = (1..).zip(&bugs).filter(|(_, bug)| chosen(bug)).collect();
    let programs = hunt::build(&copy, &chosen.iter().map(|(_, bug)| bug.test.as_str()).collect())?;
    let catches = hunt_all(&programs, &chosen)?;
    println!("{}", table(&catches));
    sound(&programs, &catches)?;
    let survivors = catches.iter().filter(|(_, catch)| catch.finding.is_none()).count();
    println!("{} bugs planted, {survivors} not found", catches.len());
    Ok(survivors == 0 && !catches.is_empty())
}

/// Hunts for all, as many at a time as there are cores; in the order of the list.
fn hunt_all<'a>(programs: &Programs, chosen: &[(usize, &'a Bug)]) -> Result<Vec<(&'a Bug, Catch)>, String> {
    let bar = ProgressBar::new(chosen.len() as u64);
    let style = ProgressStyle::with_template("{pos}/{len} {wide_msg}").map_err(|error| error.to_string())?;
    bar.set_style(style);
    let catches = at_once(chosen, |(number, bug)| {
        bar.set_message(bug.name.clone());
        let catch = hunt::hunt(programs, *number, bug)?;
        // Each is told at once, so that a run that is broken off has told something.
        bar.suspend(|| println!("{}", said(bug, &catch)));
        bar.inc(1);
        Ok((*bug, catch))
    });
    bar.finish_and_clear();
    catches
}

/// With nothing planted, the simulator objects to none of the seeds at which it found something: so that was the bug.
fn sound(programs: &Programs, catches: &[(&Bug, Catch)]) -> Result<(), String> {
    let mut seeds: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (bug, catch) in catches {
        let most = seeds.entry((bug.test.as_str(), bug.scenario.as_str())).or_default();
        *most = catch.seeds.max(*most);
    }
    let seeds: Vec<_> = seeds.into_iter().collect();
    at_once(&seeds, |(scenario, seeds)| hunt::sound(programs, *scenario, *seeds)).map(|_| ())
}

/// Does it to each, on as many threads as there are cores; the results are in order.
fn at_once<T: Sync, R: Send>(each: &[T], does: impl Fn(&T) -> Result<R, String> + Sync) -> Result<Vec<R>, String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, one)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, each.get(at)?)))
        {
            done.push((index, does(one)));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join().map_err(|_| "a hunter panicked".to_owned()));
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    let mut done: Vec<_> = done.iter_mut().flat_map(std::mem::take).collect();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn said(bug: &Bug, Catch { finding, seeds, took }: &Catch) -> String {
    let seconds = took.as_secs_f64();
    match finding {
        Some(finding) => format!("{}: seed {seeds}, {seconds:.1} s: {finding}", bug.name),
        None => format!("{}: NOT FOUND in {seeds} seeds, {seconds:.1} s", bug.name),
    }
}

fn table(catches: &[(&Bug, Catch)]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["bug", "breaks", "scenario", "seeds", "seconds", "found by"]);
    for (bug, Catch { finding, seeds, took }) in catches {
        let survived = || format!("NOT FOUND within {SEEDS_MAX} seeds and the time that there is");
        let finding = finding.clone().unwrap_or_else(survived);
        table.add_row([
            bug.name.clone(),
            bug.invariant.clone(),
            bug.scenario.clone(),
            seeds.to_string(),
            format!("{:.1}", took.as_secs_f64()),
            finding.chars().take(FINDING_CHARS).collect(),
        ]);
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Shared with the product, so that nothing else is compiled again.
fn target_dir(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
