//! Does the simulator see? Bugs are planted in a copy of the sources, one at a time, and each has to be found.
//!
//! `bugs.toml` lists them; the product knows nothing of it. `make planted` runs this. Words on the command line choose
//! bugs by parts of their names.

// What it prints is its report.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bugs;
mod hunt;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use bugs::Bug;
use hunt::{Catch, SEEDS_MAX};

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
    let program = hunt::build(&copy)?;
    let chosen = |bug: &Bug| words.is_empty() || words.iter().any(|word| bug.name.contains(word.as_str()));
    let chosen: Vec<(usize, &Bug)> = (1..).zip(&bugs).filter(|(_, bug)| chosen(bug)).collect();
    let mut scenarios: Vec<&str> = chosen.iter().map(|(_, bug)| bug.scenario.as_str()).collect();
    scenarios.sort_unstable();
    scenarios.dedup();
    hunt::sound(&program, &scenarios)?;
    let catches = hunt_all(&program, &chosen)?;
    println!("{}", table(&catches));
    let survivors = catches.iter().filter(|(_, catch)| catch.finding.is_none()).count();
    println!("{} bugs planted, {survivors} not found", catches.len());
    Ok(survivors == 0 && !catches.is_empty())
}

fn hunt_all<'a>(program: &Path, chosen: &[(usize, &'a Bug)]) -> Result<Vec<(&'a Bug, Catch)>, String> {
    let bar = ProgressBar::new(chosen.len() as u64);
    let style = ProgressStyle::with_template("{pos}/{len} {wide_msg}").map_err(|error| error.to_string())?;
    bar.set_style(style);
    let mut catches = Vec::new();
    for (number, bug) in chosen {
        bar.set_message(bug.name.clone());
        catches.push((*bug, hunt::hunt(program, *number, bug)?));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(catches)
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
