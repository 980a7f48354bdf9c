//! `snowtide limit list`: a line for each policy of each node.

use clap::Args;
use comfy_table::CellAlignment;
use serde_json::{Value, json};

use crate::cli::cluster::Access;
use crate::cli::exit::{Ended, Exit};
use crate::cli::paint::{self, Tone};
use crate::cli::{Global, Misuse};
use crate::probe::{LimitsView, PolicyView, Probe, ProbeError};

/// Ask every node for its policies, with whom it counts together by each, and what it has decided.
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
  snowtide limit list
  snowtide limit list --at eu-west/0
  snowtide limit list --json | jq '.nodes[].policies[] | select(.parted != [])'

Side is who counts together with the node, as the node sees it; parted, who does not, and why. Admitted are units, denied \
    decisions, both of the node alone since it started.";

/// A node, and its policies if it told them.
struct Line {
    name: String,
    policies: Result<Vec<PolicyView>, ProbeError>,
}

impl Command {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let loaded = global.load()?;
        let probe = self.access.probe(&loaded.config)?;
        let mut lines = Vec::new();
        for (_, region, node) in loaded.map.nodes() {
            let name = format!("{}/{}", region.name, node.id);
            if self.at.as_ref().is_some_and(|at| *at != region.name && *at != name) {
                continue;
            }
            let http = node.http.clone();
            let ask = |probe: Probe| async move { probe.limits(&http).await };
            lines.push((name, tokio::spawn(ask(probe.clone()))));
        }
        if lines.is_empty() {
            let at = self.at.unwrap_or_default();
            return Err(Misuse(format!("--at {at}: not on the map; see snowtide cluster status")).into());
        }
        let mut told = Vec::new();
        for (name, asked) in lines {
            told.push(Line { name, policies: asked.await?.map(|LimitsView { policies }| policies) });
        }
        global.print(|| json!({ "nodes": told.iter().map(as_json).collect::<Vec<_>>() }), || table(&told))?;
        verdict(&told)
    }
}

/// Well, if any node has told something.
fn verdict(lines: &[Line]) -> anyhow::Result<()> {
    if lines.iter().any(|line| line.policies.is_ok()) {
        return Ok(());
    }
    let reasons: Vec<_> =
        lines.iter().filter_map(|line| line.policies.as_ref().err()).map(ToString::to_string).collect();
    let denied = lines.iter().all(|line| matches!(line.policies, Err(ProbeError::Refused { .. })));
    let exit = if denied { Exit::Denied } else { Exit::Unavailable };
    Err(Ended::new(exit, format!("no node tells its policies: {}", reasons.join("; "))).into())
}

fn as_json(Line { name, policies }: &Line) -> Value {
    match policies {
        Ok(policies) => json!({ "node": name, "policies": policies }),
        Err(error) => json!({ "node": name, "error": error.to_string() }),
    }
}

fn table(lines: &[Line]) -> String {
    let header = ["node", "policy", "limit", "window", "algorithm", "mode", "side", "parted", "admitted", "denied"];
    let mut table = paint::table(header);
    for Line { name, policies } in lines {
        match policies {
            Ok(policies) => table.add_rows(policies.iter().map(|policy| {
                let parted = if policy.parted.is_empty() { Tone::Plain } else { Tone::Bad };
                let tone = |at: usize| if at == PARTED { parted } else { Tone::Plain };
                let texts = std::iter::once(name.clone()).chain(cells(policy)).enumerate();
                texts.map(|(at, text)| tone(at).cell(text)).collect::<Vec<_>>()
            })),
            Err(error) => table.add_rows([vec![Tone::Plain.cell(name), Tone::Bad.cell(error.to_string())]]),
        };
    }
    for column in [2, 3, 8, 9] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// The column of who is parted.
const PARTED: usize = 7;

fn cells(policy: &PolicyView) -> [String; 9] {
    let PolicyView { name, algorithm, limit, window_ms, burst, mode, side, parted, admitted, denied, .. } = policy;
    let limit = match burst.filter(|burst| burst != limit) {
        Some(burst) => format!("{limit}, {burst} at once"),
        None => limit.to_string(),
    };
    let window = humantime::format_duration(std::time::Duration::from_millis(*window_ms)).to_string();
    let parted: Vec<_> = parted.iter().map(|parted| format!("{} ({})", parted.node, parted.reason)).collect();
    let dash = |list: Vec<String>| if list.is_empty() { "-".to_owned() } else { list.join(", ") };
    [
        name.clone(),
        limit,
        window,
        algorithm.clone(),
        mode.clone(),
        dash(side.clone()),
        dash(parted),
        admitted.to_string(),
        denied.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(parted: &str) -> LimitsView {
        let text = format!(
            r#"{{"policies":[{{"name":"web","algorithm":"gcra","limit":100,"window_ms":60000,"burst":20,"mode":"shared",
                "given":false,"side":["eu-west/0","us-east/0"],"parted":{parted},"decisions":12,"admitted":10,"denied":2}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_policy_is_a_line_and_who_is_parted_has_a_reason() {
        let whole = view("[]").policies;
        let expected = ["web", "100, 20 at once", "1m", "gcra", "shared", "eu-west/0, us-east/0", "-", "10", "2"];
        assert_eq!(cells(&whole[0]), expected);
        let parted = view(r#"[{"node":"ap-south/0","reason":"silent"}]"#).policies;
        assert_eq!(cells(&parted[0])[6], "ap-south/0 (silent)");
    }

    #[test]
    fn one_node_that_tells_is_enough() {
        let silent = || Line { name: "a/0".into(), policies: Err(ProbeError::Silent { address: "x".into() }) };
        let told = Line { name: "b/0".into(), policies: Ok(view("[]").policies) };
        assert!(verdict(&[silent(), told]).is_ok());
        let error = verdict(&[silent()]).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Unavailable);
        let refused =
            ProbeError::Refused { address: "x".into(), status: http::StatusCode::FORBIDDEN, detail: "no".into() };
        let error = verdict(&[Line { name: "a/0".into(), policies: Err(refused) }]).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Denied);
        assert_eq!(as_json(&silent())["node"], "a/0");
    }
}
