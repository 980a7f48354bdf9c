//! `snowtide cluster status`: a line a node.

use std::collections::BTreeSet;

use anyhow::Context;
use clap::Args;
use http::StatusCode;
use serde_json::{Value, json};
use snowtide_protocol::Code;
use tokio::task::JoinSet;

use super::Access;
use crate::cli::Global;
use crate::cli::paint::{self, Tone};
use crate::clock;
use crate::config::address::Address;
use crate::config::map::{ClusterMap, Node, Region};
use crate::identity::WorkerId;
use crate::probe::{ClusterView, ForkView, IdsView, PeerView, Probe, ProbeError};

/// Ask every node of the map, each for itself.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    #[command(flatten)]
    access: Access,
}

const EXAMPLES: &str = "\
Examples:
  snowtide cluster status
  snowtide cluster status --json | jq '.nodes[] | select(.ready | not)'

A peer's lag is how many commits of the line's node it has not acknowledged, and for how long; its clock is how far it is \
    ahead of that node's, and how certain that is. Namespaces that the two define differently are not exchanged, and are \
    named. \
    Exits with 69 only if no node answers at all, and with 77 if all that answer refuse the token.";

impl Command {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let loaded = global.load()?;
        let lines = ask_all(&loaded.map, &self.access.probe(&loaded.config)?).await?;
        global.print(
            || json!({ "nodes": lines.iter().map(NodeReport::as_json).collect::<Vec<_>>() }),
            || as_text(&lines),
        )?;
        Ok(super::verdict(&lines)?)
    }
}

fn as_text(lines: &[NodeReport]) -> String {
    let ids = lines.iter().find_map(NodeReport::ids);
    let ids = ids.map(|ids| format!("IDs: {}, until {}", dated(&ids.layout), ids.last));
    [table(lines)].into_iter().chain(ids).chain(forks(lines)).collect::<Vec<_>>().join("\n")
}

/// A line for each log that some node knows to have forked.
fn forks(lines: &[NodeReport]) -> Vec<String> {
    let known: BTreeSet<&ForkView> = lines.iter().filter_map(NodeReport::answer).flat_map(|view| &view.forks).collect();
    let in_words = |fork: &&ForkView| {
        format!(
            "forked: {}/{} counted as {} in two processes in namespace {}; acknowledged increments of it may be missing",
            fork.region, fork.node, fork.replica, fork.namespace
        )
    };
    known.iter().map(in_words).collect()
}

/// A layout that tells its epoch as a date. What other releases may say instead is left as it is.
fn dated(layout: &str) -> String {
    let parts = layout.strip_suffix(" ms").and_then(|layout| layout.rsplit_once(" since "));
    let dated = parts.and_then(|(bits, ms)| Some(format!("{bits} since {}", clock::rfc3339(ms.parse().ok()?)?)));
    dated.unwrap_or_else(|| layout.to_owned())
}

/// What is known of one node.
#[derive(Debug)]
pub(super) struct NodeReport {
    pub(super) worker: WorkerId,
    pub(super) region: String,
    pub(super) http: Address,
    /// `None` if it did not answer.
    pub(super) ready: Option<bool>,
    pub(super) view: Result<ClusterView, ProbeError>,
}

/// Asks every node of the map at once; the answers in the order of the nodes' numbers.
pub(super) async fn ask_each<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    map: &ClusterMap,
    ask: impl Fn(WorkerId, &Region, &Node) -> F,
) -> anyhow::Result<Vec<T>> {
    let numbered = |(worker, region, node): (WorkerId, &Region, &Node)| {
        let answer = ask(worker, region, node);
        async move { (worker, answer.await) }
    };
    let mut asking: JoinSet<_> = map.nodes().map(numbered).collect();
    let mut answers = Vec::new();
    while let Some(answer) = asking.join_next().await {
        answers.push(answer.context("a question ended by itself")?);
    }
    answers.sort_by_key(|(worker, _)| *worker);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// What every node of the map says of itself.
pub(super) async fn ask_all(map: &ClusterMap, probe: &Probe) -> anyhow::Result<Vec<NodeReport>> {
    ask_each(map, |worker, region, node| NodeReport::ask(probe.clone(), worker, region, node)).await
}

impl NodeReport {
    /// What this node says of itself.
    pub(super) fn ask(
        probe: Probe,
        worker: WorkerId,
        region: &Region,
        node: &Node,
    ) -> impl Future<Output = Self> + use<> {
        let (region, http) = (region.name.clone(), node.http.clone());
        async move {
            let (ready, view) = tokio::join!(probe.is_ready(&http), probe.cluster(&http));
            Self { worker, region, http, ready: ready.ok(), view }
        }
    }

    fn ids(&self) -> Option<&IdsView> {
        self.answer()?.ids.as_ref()
    }

    /// What the node said of itself, if it did.
    pub(super) fn answer(&self) -> Option<&ClusterView> {
        self.view.as_ref().ok()
    }

    /// Its peers as it sees them.
    pub(super) fn peers(&self) -> &[PeerView] {
        self.answer().map_or(&[], |view| &view.peers)
    }

    /// Whether there is a node at all.
    pub(super) fn answers(&self) -> bool {
        let silent = matches!(self.view, Err(ProbeError::Unreachable { .. } | ProbeError::Silent { .. }));
        self.ready.is_some() || !silent
    }

    /// How the node refuses this caller's token, if it does.
    pub(super) fn denial(&self) -> Option<Code> {
        match &self.view {
            Err(ProbeError::Refused { status: StatusCode::UNAUTHORIZED, .. }) => Some(Code::Unauthenticated),
            Err(ProbeError::Refused { status: StatusCode::FORBIDDEN, .. }) => Some(Code::Forbidden),
            _ => None,
        }
    }

    fn as_json(&self) -> Value {
        let node = self.answer().map(|view| &view.node);
        json!({
            "region": self.region,
            "node": self.worker.node(),
            "http": self.http.to_string(),
            "reachable": self.ready.is_some(),
            "ready": self.ready.unwrap_or(false),
            "stage": node.map(|node| &node.stage),
            "reason": node.and_then(|node| node.reason.as_ref()),
            "version": node.and_then(|node| node.version.as_ref()),
            "replica": node.and_then(|node| node.replica.as_ref()),
            "commits": node.and_then(|node| node.commits.as_ref()),
            "ids": self.ids(),
            "forks": self.answer().map_or(&[][..], |view| &view.forks),
            "peers": self.peers(),
            "error": self.view.as_ref().err().map(ToString::to_string),
        })
    }

    /// As the map calls it.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.region, self.worker.node())
    }

    /// Good, bad, or between the two.
    fn tone(&self) -> Tone {
        match (&self.view, self.ready) {
            (Ok(view), Some(true)) if view.peers.iter().all(|peer| peer.not_exchanged.is_empty()) => Tone::Good,
            (Ok(view), _) if view.node.stage == "fenced" => Tone::Bad,
            (Ok(_), _) => Tone::Warning,
            (Err(_), _) => Tone::Bad,
        }
    }

    fn cells(&self) -> [String; 6] {
        let name = self.name();
        let ready = match self.ready {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let dash = || "-".to_owned();
        match &self.view {
            Ok(ClusterView { node, peers, .. }) => [
                name,
                node.reason.as_ref().map_or_else(|| node.stage.clone(), |why| format!("{}: {why}", node.stage)),
                ready.to_owned(),
                node.replica.clone().unwrap_or_else(dash),
                node.commits.clone().unwrap_or_else(dash),
                peers.iter().map(peer).collect::<Vec<_>>().join("\n"),
            ],
            Err(error) => [name, complaint(error), ready.to_owned(), dash(), dash(), dash()],
        }
    }
}

pub(super) fn complaint(error: &ProbeError) -> String {
    match error {
        ProbeError::Unreachable { address, .. } => format!("unreachable at {address}"),
        ProbeError::Silent { address } => format!("silent at {address}"),
        ProbeError::Refused { status, detail, .. } => format!("{status}: {detail}; give --token"),
        ProbeError::Malformed { .. } => error.to_string(),
    }
}

fn peer(peer: &PeerView) -> String {
    let name = format!("{}/{} {}", peer.region, peer.node, peer.state);
    let lag = match (&peer.lag_commits, peer.lag_seconds) {
        (Some(commits), Some(seconds)) if commits != "0" => format!(", {commits} behind for {seconds:.1} s"),
        (Some(_), _) => ", 0 behind".to_owned(),
        _ => String::new(),
    };
    let clock = match (peer.clock_offset_seconds, peer.clock_uncertainty_seconds) {
        (Some(ahead), Some(uncertainty)) => format!(", clock {ahead:+.4} ± {uncertainty:.4} s"),
        _ => String::new(),
    };
    let apart = match &peer.not_exchanged[..] {
        [] => String::new(),
        namespaces => format!(", not exchanged: {}", namespaces.join(", ")),
    };
    format!("{name}{lag}{apart}{clock}")
}

/// One line a node, its peers below each other.
pub(super) fn table(lines: &[NodeReport]) -> String {
    let mut table = paint::table(["node", "state", "ready", "replica", "commits", "peers"]);
    table.add_rows(lines.iter().map(|line| {
        let tone = line.tone();
        line.cells().into_iter().enumerate().map(move |(column, text)| {
            // The state and whether it is ready; what the rest means depends.
            if matches!(column, 1 | 2) { tone.cell(text) } else { Tone::Plain.cell(text) }
        })
    }));
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::NodeView;

    fn line(view: Result<ClusterView, ProbeError>) -> NodeReport {
        let ready = view.is_ok().then_some(true);
        let worker = WorkerId::new(1, 0).unwrap();
        NodeReport { worker, region: "eu-west".into(), http: Address::parse("127.0.0.1:8410").unwrap(), ready, view }
    }

    fn answering() -> NodeReport {
        let peer = |region: &str, state: &str, commits: Option<&str>, seconds| PeerView {
            region: region.into(),
            node: 0,
            state: state.into(),
            not_exchanged: if region == "ap-south" { vec!["orders".into()] } else { Vec::new() },
            lag_commits: commits.map(Into::into),
            lag_seconds: seconds,
            compared_seconds: None,
            clock_offset_seconds: (state == "up").then_some(-0.000_81),
            clock_uncertainty_seconds: (state == "up").then_some(0.000_36),
        };
        let node = NodeView {
            region: "eu-west".into(),
            node: 0,
            replica: Some("0021c5b94e6bdbc5".into()),
            stage: "ready".into(),
            reason: None,
            version: Some("0.1.0".into()),
            commits: Some("12".into()),
        };
        let peers = vec![
            peer("us-east", "up", Some("0"), Some(0.0)),
            peer("ap-south", "down", Some("7"), Some(1.25)),
            peer("me-south", "down", None, None),
        ];
        let ids = Some(IdsView { layout: "41 time".into(), last: "2094-09-07T15:47:35.551Z".into() });
        let (namespace, region, replica) = ("orders".into(), "ap-south".into(), "0061c5b94e6bdbc5".into());
        line(Ok(ClusterView { node, ids, peers, forks: vec![ForkView { namespace, region, node: 0, replica }] }))
    }

    fn unreachable() -> NodeReport {
        let address = "127.0.0.1:8410".to_owned();
        line(Err(ProbeError::Unreachable { address, reason: "Connection refused (os error 111)".into() }))
    }

    #[test]
    fn a_line_tells_the_lag_of_each_peer() {
        let expected = [
            "eu-west/0",
            "ready",
            "yes",
            "0021c5b94e6bdbc5",
            "12",
            "us-east/0 up, 0 behind, clock -0.0008 ± 0.0004 s\nap-south/0 down, 7 behind for 1.2 s, not exchanged: orders\nme-south/0 down",
        ];
        assert_eq!(answering().cells(), expected);
    }

    #[test]
    fn a_node_that_does_not_answer_has_a_line_too() {
        assert_eq!(unreachable().cells(), ["eu-west/0", "unreachable at 127.0.0.1:8410", "-", "-", "-", "-"]);
        assert!(table(&[answering(), unreachable()]).contains("unreachable"));
    }

    #[test]
    fn a_fork_is_told_once_however_many_nodes_know_it() {
        let told = forks(&[answering(), unreachable(), answering()]);
        let [fork] = &told[..] else { panic!("{told:?}") };
        assert!(fork.contains("ap-south/0") && fork.contains("0061c5b94e6bdbc5") && fork.contains("orders"), "{fork}");
    }

    #[test]
    fn a_layout_tells_its_epoch_as_a_date() {
        let layout = crate::ids::layout_of(&crate::config::Config::builtin().ids).unwrap().to_string();
        let (bits, _) = layout.split_once(" since ").unwrap();
        assert_eq!(dated(&layout), format!("{bits} since 2025-01-01T00:00:00.000Z"));
        assert_eq!(dated("41 time"), "41 time");
    }

    #[test]
    fn json_has_the_same_fields_whether_a_node_answers_or_not() {
        let fields = |line: &NodeReport| line.as_json().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(&answering()), fields(&unreachable()));
        let json = answering().as_json();
        assert_eq!((&json["commits"], &json["peers"][1]["lag_commits"]), (&"12".into(), &"7".into()));
        assert_eq!(json["ids"]["last"], "2094-09-07T15:47:35.551Z");
        assert_eq!(unreachable().as_json()["reachable"], false);
    }
}
