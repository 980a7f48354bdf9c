//! `snowtide cluster peers`: a line for each node and each of its peers.

use clap::Args;
use comfy_table::CellAlignment;
use serde_json::{Value, json};

use super::Access;
use super::status::{NodeReport, ask_all, complaint};
use crate::cli::paint::{self, Tone};
use crate::cli::{Global, Misuse};
use crate::probe::PeerView;

/// Ask every node how it sees each of the others.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// Only this region's nodes, or this node; without it, all.
    #[arg(long, value_name = "REGION[/NODE]")]
    at: Option<String>,

    #[command(flatten)]
    access: Access,
}

const EXAMPLES: &str = "\
Examples:
  snowtide cluster peers
  snowtide cluster peers --at eu-west/0
  snowtide cluster peers --json | jq '.links[] | select(.state != \"up\")'

Behind is how many of the node's commits the peer has not acknowledged, and for how long; compared, how long ago \
    everything that both hold was last compared; clock, by how much the peer's is ahead.";

impl Command {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let loaded = global.load()?;
        let (map, probe) = (loaded.map, self.access.probe(&loaded.config)?);
        let mut lines = ask_all(&map, &probe).await?;
        if let Some(at) = &self.at {
            lines.retain(|line| line.region == *at || line.name() == *at);
            if lines.is_empty() {
                let known: Vec<_> =
                    map.nodes().map(|(_, region, node)| format!("{}/{}", region.name, node.id)).collect();
                return Err(Misuse(format!("--at {at}: not on the map; there are {}", known.join(", "))).into());
            }
        }
        let links = || json!({ "links": lines.iter().flat_map(as_json).collect::<Vec<_>>() });
        global.print(links, || table(&lines))?;
        Ok(super::verdict(&lines)?)
    }
}

fn as_json(line: &NodeReport) -> Vec<Value> {
    let link = |peer: &PeerView| {
        let mut link = json!({ "from": line.name(), "to": format!("{}/{}", peer.region, peer.node) });
        if let (Some(link), Ok(Value::Object(fields))) = (link.as_object_mut(), serde_json::to_value(peer)) {
            link.extend(fields);
        }
        link
    };
    match &line.view {
        Ok(view) => view.peers.iter().map(link).collect(),
        Err(error) => vec![json!({ "from": line.name(), "error": error.to_string() })],
    }
}

fn table(lines: &[NodeReport]) -> String {
    let mut table = paint::table(["node", "peer", "state", "behind", "for", "compared", "clock"]);
    for line in lines {
        let name = Tone::Plain.cell(line.name());
        match &line.view {
            Ok(view) => table.add_rows(view.peers.iter().map(|peer| {
                let state = if peer.state == "up" { Tone::Good } else { Tone::Bad };
                let tones = [Tone::Plain, state].into_iter().chain(std::iter::repeat(Tone::Plain));
                let cells = tones.zip(cells(peer)).map(|(tone, text)| tone.cell(text));
                std::iter::once(name.clone()).chain(cells).collect::<Vec<_>>()
            })),
            Err(error) => table.add_rows([vec![name, Tone::Bad.cell(complaint(error))]]),
        };
    }
    for column in [3, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn cells(peer: &PeerView) -> [String; 6] {
    let dash = || "-".to_owned();
    let clock = match (peer.clock_offset_seconds, peer.clock_uncertainty_seconds) {
        (Some(ahead), Some(uncertainty)) => format!("{:+.1} ± {:.1} ms", ahead * 1e3, uncertainty * 1e3),
        _ => dash(),
    };
    [
        format!("{}/{}", peer.region, peer.node),
        peer.state.clone(),
        peer.lag_commits.clone().unwrap_or_else(dash),
        peer.lag_seconds.map_or_else(dash, |seconds| format!("{seconds:.1} s")),
        peer.compared_seconds.map_or_else(dash, |seconds| format!("{seconds:.0} s ago")),
        clock,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_tells_what_is_known_and_no_more() {
        let peer = |up: bool| PeerView {
            region: "us-east".into(),
            node: 1,
            state: if up { "up" } else { "down" }.into(),
            not_exchanged: Vec::new(),
            lag_commits: up.then(|| "7".into()),
            lag_seconds: up.then_some(1.26),
            compared_seconds: up.then_some(42.4),
            clock_offset_seconds: up.then_some(-0.000_81),
            clock_uncertainty_seconds: up.then_some(0.000_36),
        };
        assert_eq!(cells(&peer(true)), ["us-east/1", "up", "7", "1.3 s", "42 s ago", "-0.8 ± 0.4 ms"]);
        assert_eq!(cells(&peer(false)), ["us-east/1", "down", "-", "-", "-", "-"]);
    }
}
