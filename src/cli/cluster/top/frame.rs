//! A frame: what is shown of all nodes, cut to the size of the terminal.

use std::time::Duration;

use super::NodeSample;
use super::reading::Rates;
use crate::cli::cluster::status::{NodeReport, complaint};
use crate::cli::paint::Tone;
use crate::cli::reach::how_to_start;
use crate::probe::PeerView;

/// How far apart columns stand.
const GAP: usize = 2;
/// Names of columns; those that hold numbers stand at the right.
const HEAD: [(&str, bool); 9] = [
    ("NODE", false),
    ("STATE", false),
    ("INCR/S", true),
    ("IDS/S", true),
    ("SYNC", true),
    ("LAG", true),
    ("PEERS", true),
    ("FREE", true),
    ("JOURNAL", true),
];

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// Everything that is shown.
pub(super) struct Frame<'a> {
    pub(super) samples: &'a [NodeSample],
    pub(super) every: Duration,
    pub(super) coloured: bool,
    /// Somebody can press keys.
    pub(super) keys: bool,
}

/// Text in one tone.
type Cell = (String, Tone);

impl Size {
    /// As much as it takes, in lines that fit everywhere.
    pub(super) fn of_pipe() -> Self {
        Self { columns: 100, rows: usize::MAX }
    }
}

impl Frame<'_> {
    /// Its lines, no longer and no more than there is room for.
    pub(super) fn lines(&self, size: Size) -> Vec<String> {
        let mut lines = vec![self.title()];
        let table = self.table();
        let notes = self.notes();
        // The title, an empty line below it, one above the notes; and the nodes come first.
        let room = size.rows.saturating_sub(2);
        let for_notes = room.saturating_sub(table.len() + 1).min(notes.len());
        let for_table = room.saturating_sub(if for_notes == 0 { 0 } else { for_notes + 1 });
        lines.push(Vec::new());
        lines.extend(shortened(table, for_table));
        if for_notes > 0 {
            lines.push(Vec::new());
            lines.extend(shortened(notes, for_notes));
        }
        lines.into_iter().take(size.rows).map(|line| cut(&line, size.columns, self.coloured)).collect()
    }

    fn title(&self) -> Vec<Cell> {
        let (all, ready) =
            (self.samples.len(), self.samples.iter().filter(|sample| sample.line.ready == Some(true)).count());
        let tone = if all == ready { Tone::Good } else { Tone::Bad };
        let keys = if self.keys { "   q quits" } else { "" };
        let every = humantime::format_duration(self.every);
        vec![
            ("snowtide  ".to_owned(), Tone::Strong),
            (format!("{ready} of {all} nodes ready"), tone),
            (format!("   every {every}{keys}"), Tone::Dim),
        ]
    }

    /// A line of names, one for all nodes, and one for each.
    fn table(&self) -> Vec<Vec<Cell>> {
        let head = HEAD.map(|(name, _)| (name.to_owned(), Tone::Dim));
        let mut rows = vec![head];
        rows.extend((self.samples.len() > 1).then(|| self.sum()));
        rows.extend(self.samples.iter().map(row));
        let widths: Vec<usize> = (0..HEAD.len())
            .map(|column| rows.iter().map(|row| length(&row[column].0)).max().unwrap_or_default())
            .collect();
        rows.iter().map(|row| aligned(row, &widths)).collect()
    }

    fn sum(&self) -> [Cell; 9] {
        let rates = || self.samples.iter().filter_map(|sample| sample.rates.as_ref());
        let (increments, ids) = (rates().map(|rates| rates.increments).sum(), rates().map(|rates| rates.ids).sum());
        let mut row: [Cell; 9] = std::array::from_fn(|_| (String::new(), Tone::Plain));
        row[0] = ("all".to_owned(), Tone::Strong);
        row[2] = (number(increments), Tone::Strong);
        row[3] = (number(ids), Tone::Strong);
        row
    }

    /// What is not as it should be, in words.
    fn notes(&self) -> Vec<Vec<Cell>> {
        self.samples.iter().flat_map(|sample| notes_on(&sample.line)).map(|note| vec![note]).collect()
    }
}

fn notes_on(line: &NodeReport) -> Vec<Cell> {
    let name = line.name();
    let view = match &line.view {
        Ok(view) => view,
        Err(error) => {
            let remedy = line.ready.is_none().then(|| format!("; {}", how_to_start(&line.region, line.worker.node())));
            return vec![(format!("{name}: {}{}", complaint(error), remedy.unwrap_or_default()), Tone::Bad)];
        }
    };
    let reason = view.node.reason.iter().map(|why| (format!("{name}: {}: {why}", view.node.stage), Tone::Bad));
    let unlinked = view.peers.iter().filter(|peer| peer.state != "up").map(|peer| {
        let behind = peer.lag_commits.as_ref().map(|commits| format!(", {commits} commits behind"));
        let link = format!("{name}: no link to {}/{}", peer.region, peer.node);
        (format!("{link}{}", behind.unwrap_or_default()), Tone::Warning)
    });
    reason.chain(unlinked).collect()
}

/// A line of the table, with what stands between its cells.
fn aligned(row: &[Cell; 9], widths: &[usize]) -> Vec<Cell> {
    let mut line = Vec::new();
    for (at, (((text, tone), width), (_, right))) in row.iter().zip(widths).zip(HEAD).enumerate() {
        let space = width.saturating_sub(length(text));
        let gap = if at == 0 { 0 } else { GAP };
        let (before, after) = if right { (gap + space, 0) } else { (gap, space) };
        line.push((" ".repeat(before), Tone::Plain));
        line.push((text.clone(), *tone));
        line.push((" ".repeat(after), Tone::Plain));
    }
    line
}

fn row(sample: &NodeSample) -> [Cell; 9] {
    let dash = || ("-".to_owned(), Tone::Dim);
    let (state, tone) = match (&sample.line.view, sample.line.ready) {
        (Ok(_), Some(true)) => ("ready", Tone::Good),
        (Ok(view), _) if view.node.stage == "ready" => ("not ready", Tone::Warning),
        (Ok(view), _) if view.node.stage == "fenced" => ("fenced", Tone::Bad),
        (Ok(view), _) => (view.node.stage.as_str(), Tone::Warning),
        (Err(_), Some(_)) => ("no access", Tone::Warning),
        (Err(_), None) => ("down", Tone::Bad),
    };
    let rate =
        |of: fn(&Rates) -> f64| sample.rates.as_ref().map_or_else(dash, |rates| (number(of(rates)), Tone::Plain));
    let sync = sample.rates.as_ref().and_then(|rates| rates.sync_seconds);
    let peers = sample.line.peers();
    let reading = sample.reading.as_ref();
    let size = |size: Option<f64>| size.map_or_else(dash, |size| (bytes(size), Tone::Plain));
    [
        (sample.line.name(), Tone::Strong),
        (state.to_owned(), tone),
        rate(|rates| rates.increments),
        rate(|rates| rates.ids),
        sync.map_or_else(dash, |seconds| (format!("{:.1}ms", seconds * 1e3), Tone::Plain)),
        lag(peers).unwrap_or_else(dash),
        linked(peers).unwrap_or_else(dash),
        size(reading.and_then(|reading| reading.disk_free)),
        size(reading.and_then(|reading| reading.journal)),
    ]
}

/// How far the peer is behind that is furthest behind.
fn lag(peers: &[PeerView]) -> Option<Cell> {
    let behind =
        |peer: &PeerView| Some((peer.lag_commits.as_ref()?.parse::<u64>().ok()?, peer.lag_seconds.unwrap_or_default()));
    let (commits, seconds) = peers.iter().filter_map(behind).max_by(|one, other| one.1.total_cmp(&other.1))?;
    let tone = if seconds > 5.0 { Tone::Warning } else { Tone::Plain };
    let text = if commits == 0 { "0".to_owned() } else { format!("{} {}", number(commits as f64), time(seconds)) };
    Some((text, tone))
}

fn linked(peers: &[PeerView]) -> Option<Cell> {
    let up = peers.iter().filter(|peer| peer.state == "up").count();
    let tone = if up == peers.len() { Tone::Plain } else { Tone::Warning };
    (!peers.is_empty()).then(|| (format!("{up}/{}", peers.len()), tone))
}

/// At most `room` lines; the last one says how many are missing.
fn shortened(mut lines: Vec<Vec<Cell>>, room: usize) -> Vec<Vec<Cell>> {
    if lines.len() > room {
        let missing = lines.len().saturating_sub(room.saturating_sub(1));
        lines.truncate(room.saturating_sub(1));
        if room > 0 {
            lines.push(vec![(format!("and {missing} more"), Tone::Dim)]);
        }
    }
    lines
}

/// The line as the terminal takes it, no longer than so many columns.
fn cut(line: &[Cell], columns: usize, coloured: bool) -> String {
    let (mut text, mut left) = (String::new(), columns);
    for (cell, tone) in line {
        let shown: String = cell.chars().take(left).collect();
        left = left.saturating_sub(length(&shown));
        text.push_str(&tone.paint(&shown, coloured && !shown.trim().is_empty()));
    }
    if coloured { text } else { text.trim_end().to_owned() }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Three digits or so: 0, 7.5, 950, 12.3k, 4.1M.
fn number(number: f64) -> String {
    scaled(number, 1_000.0, &["", "k", "M", "G", "T"])
}

fn bytes(bytes: f64) -> String {
    scaled(bytes, 1_024.0, &["B", "K", "M", "G", "T", "P"])
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    // What would be rounded to a whole step is one of the next unit.
    while number >= step - 0.5 {
        let Some(next) = units.next() else { break };
        number /= step;
        unit = next;
    }
    if number >= 100.0 || number.fract() == 0.0 { format!("{number:.0}{unit}") } else { format!("{number:.1}{unit}") }
}

fn time(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.0}ms", seconds * 1e3),
        ..100.0 => format!("{seconds:.1}s"),
        ..6_000.0 => format!("{:.0}min", seconds / 60.0),
        _ => format!("{:.0}h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::Reading;
    use super::*;
    use crate::config::address::Address;
    use crate::identity::WorkerId;
    use crate::probe::{ClusterView, NodeView, ProbeError};

    fn sample(region: &str, number: u8, view: Option<(&str, Vec<PeerView>)>) -> NodeSample {
        let address = Address::parse("127.0.0.1:8400").unwrap();
        let ready = view.as_ref().map(|(stage, _)| *stage == "ready");
        let view = view.map(|(stage, peers)| {
            let node = NodeView {
                region: region.into(),
                node: 0,
                replica: None,
                stage: stage.into(),
                reason: (stage == "fenced").then(|| "a clone lives".into()),
                version: None,
                commits: None,
            };
            ClusterView { node, ids: None, peers, forks: Vec::new() }
        });
        let reading = view.is_some().then(|| Reading::of("snowtide_disk_free_bytes 1e12\nsnowtide_journal_bytes 2048"));
        let rates = view.is_some().then_some(Rates { increments: 12_345.0, ids: 0.0, sync_seconds: Some(0.0008) });
        let view = view.ok_or(ProbeError::Unreachable { address: address.to_string(), reason: "refused".into() });
        let worker = WorkerId::new(number, 0).unwrap();
        NodeSample { line: NodeReport { worker, region: region.into(), http: address, ready, view }, reading, rates }
    }

    fn peer(region: &str, up: bool, commits: u64) -> PeerView {
        PeerView {
            region: region.into(),
            node: 0,
            state: if up { "up" } else { "down" }.into(),
            not_exchanged: Vec::new(),
            lag_commits: Some(commits.to_string()),
            lag_seconds: Some(if commits > 0 { 7.2 } else { 0.0 }),
            compared_seconds: None,
            clock_offset_seconds: None,
            clock_uncertainty_seconds: None,
        }
    }

    fn frame(samples: &[NodeSample], columns: usize, rows: usize) -> Vec<String> {
        let frame = Frame { samples, every: Duration::from_secs(1), coloured: false, keys: true };
        frame.lines(Size { columns, rows })
    }

    #[test]
    fn a_frame_shows_every_node_and_says_what_is_wrong() {
        let samples = [
            sample("us-east", 0, Some(("ready", vec![peer("eu-west", true, 0), peer("ap-south", false, 12)]))),
            sample("eu-west", 1, Some(("fenced", vec![]))),
            sample("ap-south", 2, None),
        ];
        let expected = [
            "snowtide  1 of 3 nodes ready   every 1s   q quits",
            "",
            "NODE        STATE   INCR/S  IDS/S   SYNC      LAG  PEERS  FREE  JOURNAL",
            "all                  24.7k      0",
            "us-east/0   ready    12.3k      0  0.8ms  12 7.2s    1/2  931G       2K",
            "eu-west/0   fenced   12.3k      0  0.8ms        -      -  931G       2K",
            "ap-south/0  down         -      -      -        -      -     -        -",
            "",
            "us-east/0: no link to ap-south/0, 12 commits behind",
            "eu-west/0: fenced: a clone lives",
            "ap-south/0: unreachable at 127.0.0.1:8400; start it: snowtide serve --region ap",
        ];
        assert_eq!(frame(&samples, 79, 24), expected);
    }

    #[test]
    fn nothing_is_wider_or_taller_than_the_terminal() {
        let samples: Vec<_> =
            (0..30).map(|number| sample("region", number, (number % 3 > 0).then(|| ("ready", vec![])))).collect();
        for (columns, rows) in [(80, 24), (20, 5), (1, 1), (0, 0), (200, 100)] {
            let lines = frame(&samples, columns, rows);
            assert!(lines.len() <= rows, "{rows}: {lines:#?}");
            assert!(lines.iter().all(|line| length(line) <= columns), "{columns}: {lines:#?}");
        }
        assert!(frame(&samples, 80, 24).iter().any(|line| line == "and 11 more"), "{:#?}", frame(&samples, 80, 24));
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 7.5, 950.0, 999.7, 12_345.0, 4_096_000.0, 1e17];
        assert_eq!(numbers.map(number), ["0", "7.5", "950", "1.0k", "12.3k", "4.1M", "100000T"]);
        assert_eq!([512.0, 2048.0, 1e12].map(bytes), ["512B", "2K", "931G"]);
        assert_eq!([0.05, 1.25, 360.0, 7200.0].map(time), ["50ms", "1.2s", "6min", "2h"]);
    }

    #[test]
    fn colour_stands_outside_of_the_width() {
        let line = [("down".to_owned(), Tone::Bad), ("!".to_owned(), Tone::Plain)];
        assert_eq!(cut(&line, 5, true), "\x1b[31;1mdown\x1b[0m!");
        assert_eq!(cut(&line, 2, false), "do");
    }
}
