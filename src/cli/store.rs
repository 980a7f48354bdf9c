//! `snowtide store`: look at a data directory, back it up, restore it, make it small, remove a namespace. The node must not
//! run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde_json::json;

use super::data_dir::{DataDir, named_or_configured};
use super::exit::{Ended, Exit};
use super::{Global, Misuse, note, table};
use crate::store::{self, Holding, Report};

/// Check, back up, restore and compact data directories, and remove namespaces from them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  snowtide store check /var/lib/snowtide
  snowtide store backup --data-dir /var/lib/snowtide /backup/2026-11-22
  snowtide store restore /backup/2026-11-22 /var/lib/snowtide
  snowtide store check /backup/2026-11-22 --json
  snowtide store compact /var/lib/snowtide
  snowtide store purge orders --data-dir /var/lib/snowtide

Stop the node first (SIGTERM drains it): these commands need the directory to themselves, and refuse one in use. \
    Exit codes: 0 done, and nothing is wrong; 65 something is damaged; 75 the directory is in use; 1 anything else failed; \
    2 wrong usage or configuration.";

#[derive(Debug, Subcommand)]
enum Action {
    /// Read every file with its checksums, decode everything, and say what is there and what is damaged.
    #[command(after_help = EXAMPLES)]
    Check {
        /// A data directory or a backup; without it, data_dir of the configuration.
        dir: Option<PathBuf>,
    },
    /// Copy a data directory. On one file system the tables are links: copy the backup to another disk.
    #[command(after_help = EXAMPLES)]
    Backup {
        #[command(flatten)]
        data_dir: DataDir,
        /// Where the copy goes; must not exist.
        to: PathBuf,
    },
    /// Copy a backup to where a node will start on it, under a new incarnation.
    #[command(after_help = EXAMPLES)]
    Restore {
        /// The backup. It is checked first, and only read.
        from: PathBuf,
        /// The node's data directory; must not exist.
        to: PathBuf,
    },
    /// Remove all that a data directory holds of a namespace, for good. The node's next start is under a new incarnation, because
    /// its peers know more of the former one's log than is left.
    #[command(after_help = EXAMPLES)]
    Purge {
        /// The namespace's name, which the configuration need not know any more.
        namespace: String,
        #[command(flatten)]
        data_dir: DataDir,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Rewrite all tables without what was overwritten or deleted. Needs room for the largest family once more meanwhile.
    #[command(after_help = EXAMPLES)]
    Compact {
        /// A data directory; without it, data_dir of the configuration.
        dir: Option<PathBuf>,
    },
}

impl Command {
    /// Does what was asked.
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.action {
            Action::Check { dir } => {
                let report = look(&named_or_configured(dir, global)?)?;
                global.print(|| as_json(&report), || as_text(&report))?;
                sound(&report)
            }
            Action::Backup { data_dir, to } => backup(&data_dir.path(global)?, &to, global),
            Action::Restore { from, to } => restore(&from, &to, global),
            Action::Compact { dir } => compact(&named_or_configured(dir, global)?, global),
            Action::Purge { namespace, data_dir, yes } => purge(&data_dir.path(global)?, &namespace, yes, global),
        }
    }
}

/// Shows that something is being done, and what, for as long as `work` does it.
fn waiting<T>(first: &'static str, work: impl FnOnce(&ProgressBar) -> T) -> T {
    let bar = ProgressBar::new_spinner().with_message(first);
    bar.enable_steady_tick(Duration::from_millis(100));
    let outcome = work(&bar);
    bar.finish_and_clear();
    outcome
}

fn look(dir: &Path) -> anyhow::Result<Report> {
    Ok(waiting("opening", |bar| {
        store::check(dir, &mut |family, entries| {
            bar.set_message(format!("{family}: {} entries", HumanCount(entries)));
        })
    })?)
}

/// Success only if nothing is damaged.
fn sound(report: &Report) -> anyhow::Result<()> {
    let all = report.more_damages.saturating_add(report.damages.len() as u64);
    let text = match report.damages.first() {
        None => return Ok(()),
        Some(first) if all == 1 => format!("damaged: {first}"),
        Some(first) => format!("damaged in {all} places; the first: {first}"),
    };
    Err(Ended::new(Exit::Damaged, format!("{text}; {REMEDY}")).into())
}

const REMEDY: &str = "keep a copy, check the disk, then restore a backup (snowtide store restore), or start the node with \
    an empty directory: it fetches everything that other regions hold";

fn compact(dir: &Path, global: &Global) -> anyhow::Result<()> {
    let outcome =
        waiting("opening", |bar| store::compact(dir, &mut |family| bar.set_message(format!("compacting {family}"))));
    let done = outcome.context("not compacted")?;
    global.print(
        || json!({ "bytes_before": done.before, "bytes_after": done.after }),
        || format!("{} is {} now, it was {}", dir.display(), HumanBytes(done.after), HumanBytes(done.before)),
    )
}

fn purge(dir: &Path, namespace: &str, yes: bool, global: &Global) -> anyhow::Result<()> {
    let prepared = store::Purge::prepare(dir, namespace).context("nothing was purged")?;
    let Holding { rows, records, replica } = prepared.holding();
    let all = format!("{rows} rows and {records} journal records of {namespace} in {}", dir.display());
    if !yes {
        note(&format!(
            "{all} go for good. What no other region holds of them is lost. To go on, type the namespace's name:"
        ));
        let mut typed = String::new();
        std::io::stdin().read_line(&mut typed).context("nothing was purged: no answer can be read")?;
        if typed.trim() != namespace {
            return Err(Misuse("nothing was purged: that is not the namespace's name".to_owned()).into());
        }
    }
    let outcome = waiting("removing", |bar| prepared.run(&mut |family| bar.set_message(format!("rewriting {family}"))));
    outcome.context("the purge has failed")?;
    let retired = replica.map(|replica| replica.to_string());
    let (rows, records) = (rows.to_string(), records.to_string());
    global.print(
        || json!({ "namespace": namespace, "rows": rows, "records": records, "retired": retired }),
        || {
            let retired = retired.as_ref().map(|replica| format!("; the incarnation {replica} is retired"));
            format!("purged {all}{}; the next start mints a new incarnation", retired.unwrap_or_default())
        },
    )
}

fn backup(from: &Path, to: &Path, global: &Global) -> anyhow::Result<()> {
    waiting("copying", |_| store::backup(from, to)).context("no backup was made")?;
    finish("backed up to", to, global)
}

fn restore(from: &Path, to: &Path, global: &Global) -> anyhow::Result<()> {
    sound(&look(from)?).context("the backup is not restored")?;
    let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {eta} left")?;
    let bar = ProgressBar::new(0).with_style(style);
    let outcome = store::restore(from, to, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    outcome.context("the backup is not restored")?;
    finish("restored to", to, global)
}

/// A copy is good once it has been looked at.
fn finish(what: &str, copy: &Path, global: &Global) -> anyhow::Result<()> {
    let report = look(copy)?;
    sound(&report).with_context(|| format!("the copy at {} is not good", copy.display()))?;
    let where_to = format!("{what} {}; a start there mints a new incarnation", copy.display());
    global.print(|| as_json(&report), || format!("{}\n{where_to}", as_text(&report)))
}

fn as_text(report: &Report) -> String {
    let mut families = table(["family", "entries", "bytes"]);
    families.add_rows(
        report
            .families
            .iter()
            .map(|found| [found.family.to_owned(), found.entries.to_string(), found.bytes.to_string()]),
    );
    let mut logs = table(["namespace", "log of", "records", "gaps", "from commit", "to commit"]);
    logs.add_rows(report.logs.iter().map(|log| {
        let from = log.after.saturating_add(1);
        let numbers = [log.records.to_string(), log.gaps.to_string(), from.to_string(), log.upto.to_string()];
        [format!("{:?}", log.namespace), log.origin.to_string()].into_iter().chain(numbers)
    }));
    let mut lines = Vec::new();
    if !report.owner.is_empty() {
        let replica = report.replica.map_or("none yet: the next start mints one".to_owned(), |id| id.to_string());
        lines.push(format!("{}\nreplica {replica}, {} starts", report.owner, report.boots));
    }
    lines.push(families.trim_fmt());
    if !report.namespaces.is_empty() {
        lines.push(format!("namespaces: {}", report.namespaces.join(", ")));
    }
    if !report.logs.is_empty() {
        lines.push(logs.trim_fmt());
    }
    lines.extend(report.remarks.iter().cloned());
    lines.extend(report.damages.iter().map(|damage| format!("damaged: {damage}")));
    if report.damages.is_empty() {
        lines.push("nothing is damaged".to_owned());
    }
    lines.join("\n")
}

fn as_json(report: &Report) -> serde_json::Value {
    let families = report
        .families
        .iter()
        .map(|found| json!({ "family": found.family, "entries": found.entries, "bytes": found.bytes }));
    let logs = report.logs.iter().map(|log| {
        json!({
            "namespace": format!("{:?}", log.namespace),
            "origin": log.origin.to_string(),
            "records": log.records,
            "gaps": log.gaps,
            "after": log.after.to_string(),
            "upto": log.upto.to_string(),
        })
    });
    json!({
        "ok": report.damages.is_empty(),
        "owner": report.owner,
        "replica": report.replica.map(|replica| replica.to_string()),
        "boots": report.boots,
        "ceiling": report.ceiling.to_string(),
        "families": families.collect::<Vec<_>>(),
        "namespaces": report.namespaces,
        "logs": logs.collect::<Vec<_>>(),
        "remarks": report.remarks,
        "damages": report.damages,
    })
}
