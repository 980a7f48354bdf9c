//! The hunt: the simulator runs with one bug planted, over more and more seeds, until one of its checkers objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use snowtide::clock::Stopwatch;

use super::bugs::Bug;

/// Every bug has to be found within so many seeds.
pub(crate) const SEEDS_MAX: u64 = 10_000;
/// And so much time.
const LONGEST: Duration = Duration::from_secs(900);
/// Seeds of the first run; each further one has twice as many.
const FIRST: u64 = 20;

/// What came of one bug.
pub(crate) struct Catch {
    /// What a checker said first.
    pub(crate) finding: Option<String>,
    /// Seeds that it took.
    pub(crate) seeds: u64,
    pub(crate) took: Duration,
}

/// Where the simulators are, by the names of their tests.
pub(crate) type Programs = BTreeMap<String, PathBuf>;

/// Builds these tests over the copy.
pub(crate) fn build(copy: &Path, tests: &BTreeSet<&str>) -> Result<Programs, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo tells this process of itself would make build scripts run again.
    let ours = |name: &str| name.starts_with("CARGO_") && !matches!(name, "CARGO_TARGET_DIR" | "CARGO_HOME");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        command.env_remove(name);
    }
    command.current_dir(copy).args(["test", "--release", "--offline", "--workspace", "--no-run"]);
    command.args(tests.iter().flat_map(|test| ["--test", test]));
    let built = command.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit()).output();
    let built = built.map_err(|error| format!("cargo does not run: {error}"))?;
    if !built.status.success() {
        return Err("the planted copy does not compile".to_owned());
    }
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    // The binaries are built as well.
    let named = messages.filter_map(|message| {
        let name = message["target"]["name"].as_str().filter(|name| tests.contains(name))?;
        Some((name.to_owned(), PathBuf::from(message["executable"].as_str()?)))
    });
    let programs: Programs = named.collect();
    let missing = tests.iter().find(|test| !programs.contains_key(**test));
    missing.map_or(Ok(programs.clone()), |test| Err(format!("cargo built no program for {test}")))
}

/// The simulator with nothing planted objects to none of the first `seeds`.
pub(crate) fn sound(programs: &Programs, (test, scenario): (&str, &str), seeds: u64) -> Result<(), String> {
    let program = programs.get(test).ok_or_else(|| format!("there is no test {test}"))?;
    match run(program, scenario, None, (1, seeds.saturating_add(1)))? {
        Some((seed, finding)) => Err(format!("{scenario} fails without any bug, at seed {seed}: {finding}")),
        None => Ok(()),
    }
}

/// Looks for one bug.
pub(crate) fn hunt(programs: &Programs, number: usize, bug: &Bug) -> Result<Catch, String> {
    let program = programs.get(&bug.test).ok_or_else(|| format!("there is no test {}", bug.test))?;
    let began = Stopwatch::start();
    let took = || Duration::from_millis(began.elapsed_ms());
    let (mut from, mut many) = (1, FIRST);
    while from <= SEEDS_MAX && took() < LONGEST {
        let end = (from + many).min(SEEDS_MAX + 1);
        if let Some((seed, finding)) = run(program, &bug.scenario, Some(number), (from, end))? {
            return Ok(Catch { finding: Some(finding), seeds: seed, took: took() });
        }
        (from, many) = (end, many * 2);
    }
    Ok(Catch { finding: None, seeds: from - 1, took: took() })
}

/// The seed that failed, and the first line of what was found. A simulator that fails for another reason is an error.
fn run(
    program: &Path,
    scenario: &str,
    planted: Option<usize>,
    (from, end): (u64, u64),
) -> Result<Option<(u64, String)>, String> {
    let mut command = Command::new(program);
    command.args([scenario, "--exact", "--nocapture", "--test-threads=1"]).env("SIM_SEEDS", format!("{from}..{end}"));
    command.env_remove("SNOWTIDE_PLANTED").env_remove("SIM_TRACE");
    command.envs(planted.map(|number| ("SNOWTIDE_PLANTED", number.to_string())));
    let output = command.output().map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let told = format!("{scenario}: seed ");
    let found = text.lines().find_map(|line| line.strip_prefix(&told)?.split_once(": "));
    match found.and_then(|(seed, finding)| Some((seed.parse().ok()?, finding.to_owned()))) {
        Some(found) => Ok(Some(found)),
        None if output.status.success() && text.contains("1 passed") => Ok(None),
        // Few seeds may lack a fault that the scenario wants.
        None if text.contains("these faults never happened") => Ok(None),
        None => Err(format!("the simulator failed without a finding: {text}")),
    }
}
