//! The table of what was done to the disk, and what became of the data.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

/// One kind of harm.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) what: &'static str,
    /// How often it was done.
    pub(crate) done: usize,
    /// Something acknowledged was gone, and nobody said so.
    pub(crate) lost: Vec<String>,
    /// Something else was wrong, and nobody said so.
    pub(crate) silent: Vec<String>,
    /// A start or a read was refused, naming the file.
    pub(crate) refused: Vec<String>,
    /// Whether a refusal is right: of rot it is, of a power cut it is not.
    pub(crate) may_refuse: bool,
    /// Harm that must be noticed, or this suite is blind: then losses are what is wanted.
    pub(crate) must_fail: bool,
    pub(crate) took: Duration,
    /// Whatever else is worth a word.
    pub(crate) remarks: String,
}

/// What became of the data.
#[derive(Debug)]
pub(crate) enum Verdict {
    Fine,
    Lost(String),
    Silent(String),
    Refused(String),
}

impl Tally {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, ..Self::default() }
    }

    pub(crate) fn add(&mut self, place: &str, verdict: Verdict) {
        self.done += 1;
        let (list, reason) = match verdict {
            Verdict::Fine => return,
            Verdict::Lost(reason) => (&mut self.lost, reason),
            Verdict::Silent(reason) => (&mut self.silent, reason),
            Verdict::Refused(reason) => (&mut self.refused, reason),
        };
        list.push(format!("{place}: {reason}"));
    }

    pub(crate) fn is_good(&self) -> bool {
        let harmed = !self.lost.is_empty() || !self.silent.is_empty();
        let refused = !self.refused.is_empty() && !self.may_refuse;
        self.done > 0 && if self.must_fail { harmed || refused } else { !harmed && !refused }
    }

    /// The first few of each.
    fn findings(&self) -> String {
        let of = |kind: &str, list: &[String]| -> String {
            list.iter().take(5).map(|line| format!("  {}: {kind}: {line}\n", self.what)).collect()
        };
        of("lost", &self.lost) + &of("silent", &self.silent) + &of("refused", &self.refused)
    }
}

/// One row a kind; before it, what went wrong.
pub(crate) fn render(tallies: &[Tally]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["harm", "done", "lost", "silent", "refused", "seconds", "verdict", "remarks"]);
    for tally in tallies {
        let wanted = if tally.must_fail { "noticed, as it must be" } else { "good" };
        table.add_row([
            tally.what.to_owned(),
            tally.done.to_string(),
            tally.lost.len().to_string(),
            tally.silent.len().to_string(),
            tally.refused.len().to_string(),
            format!("{:.0}", tally.took.as_secs_f64()),
            (if tally.is_good() { wanted } else { "BAD" }).to_owned(),
            tally.remarks.clone(),
        ]);
    }
    for column in 1..=5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let findings: String = tallies.iter().filter(|tally| !tally.is_good()).map(Tally::findings).collect();
    format!("{findings}\n{table}")
}
