//! What can be typed while `snowtide-dev up` runs.

use std::io::{self, BufRead};
use std::str::FromStr;

use comfy_table::{Table, presets};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use snowtide::cli::cluster;
use snowtide::probe::Probe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Endpoint};

/// Lines that were typed ahead; then typing waits.
const LINES_MAX: usize = 16;

pub(super) const HELP: &str = "\
cut REGION     lose everything between this region and the others
heal REGION    let it through again
kill REGION    end the node at once, as kill -9 does
stop REGION    let the node drain and end
start REGION   start it again
pause REGION   let the node stand still, as SIGSTOP does
resume REGION  let it go on
status         show all nodes
quit           let all nodes drain, and end (Ctrl-C does the same)";

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Cut(String),
    Heal(String),
    Kill(String),
    Stop(String),
    Start(String),
    Pause(String),
    Resume(String),
    Status,
    Help,
    Quit,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["cut", region] => Ok(Self::Cut(region.to_owned())),
            ["heal", region] => Ok(Self::Heal(region.to_owned())),
            ["kill", region] => Ok(Self::Kill(region.to_owned())),
            ["stop", region] => Ok(Self::Stop(region.to_owned())),
            ["start", region] => Ok(Self::Start(region.to_owned())),
            ["pause", region] => Ok(Self::Pause(region.to_owned())),
            ["resume", region] => Ok(Self::Resume(region.to_owned())),
            ["status"] => Ok(Self::Status),
            ["help" | "?"] => Ok(Self::Help),
            ["quit" | "exit"] => Ok(Self::Quit),
            _ => Err(format!("not understood: {}\n{HELP}", line.trim())),
        }
    }
}

impl Order {
    /// Does it, and says what was done.
    pub(super) async fn carry_out(self, cluster: &mut Cluster) -> anyhow::Result<String> {
        match self {
            Self::Cut(region) => {
                cluster.cut(&region)?;
                Ok(format!("{region} is cut off; clients still reach it"))
            }
            Self::Heal(region) => {
                cluster.heal(&region)?;
                Ok(format!("{region} is connected again"))
            }
            Self::Kill(region) => {
                cluster.kill(&region).await?;
                Ok(format!("{region} is killed; `start {region}` brings it back"))
            }
            Self::Stop(region) => {
                let ending = cluster.terminate(&region).await?;
                Ok(super::stop::sentence(&region, ending))
            }
            Self::Start(region) => {
                cluster.start_node(&region).await?;
                Ok(format!("{region} is ready"))
            }
            Self::Pause(region) => {
                cluster.signal(&region, Signal::SIGSTOP)?;
                Ok(format!("{region} stands still; `resume {region}` lets it go on"))
            }
            Self::Resume(region) => {
                cluster.signal(&region, Signal::SIGCONT)?;
                Ok(format!("{region} goes on"))
            }
            Self::Status => status(cluster).await,
            Self::Help | Self::Quit => Ok(HELP.to_owned()),
        }
    }
}

async fn status(cluster: &Cluster) -> anyhow::Result<String> {
    let nodes = cluster::overview(cluster.map(), &Probe::anonymous()).await?;
    Ok(format!("{}\n\n{nodes}", endpoints(&cluster.endpoints())))
}

/// What is typed.
pub(super) struct Typed {
    /// None any more once standard input ends.
    pub(super) lines: mpsc::Receiver<String>,
    /// Cancelled then, although lines may be left.
    pub(super) ended: CancellationToken,
}

/// Reads standard input from now on.
pub(super) fn typed() -> Typed {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let ended = CancellationToken::new();
    let end = ended.clone().drop_guard();
    // A read of standard input cannot be given up, so it has a thread that ends with the process.
    std::thread::spawn(move || {
        let _end = end;
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    Typed { lines, ended }
}

/// Where to find each node.
pub(super) fn endpoints(endpoints: &[Endpoint]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["region", "HTTP", "QUIC", "Redis", "pid", "log"]);
    table.add_rows(endpoints.iter().map(|node| {
        let region = if node.cut_off { format!("{} (cut off)", node.region) } else { node.region.clone() };
        let pid = node.pid.map_or_else(|| "(not running)".to_owned(), |pid| pid.to_string());
        let redis = node.redis.map_or_else(|| "-".to_owned(), |redis| redis.to_string());
        [region, format!("http://{}", node.http), node.quic.to_string(), redis, pid, node.log.display().to_string()]
    }));
    table.trim_fmt()
}

/// The same for programs.
pub(super) fn as_json(endpoints: &[Endpoint]) -> Vec<Value> {
    let endpoint = |node: &Endpoint| {
        json!({
            "region": node.region,
            "node": 0,
            "http": node.http.to_string(),
            "quic": node.quic.to_string(),
            "redis": node.redis.map(|redis| redis.to_string()),
            "pid": node.pid,
            "log": node.log.display().to_string(),
            "cut_off": node.cut_off,
        })
    };
    endpoints.iter().map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_of_the_help_is_understood() {
        for line in HELP.lines() {
            let order = line.split("  ").next().unwrap();
            assert!(order.replace("REGION", "eu-west").parse::<Order>().is_ok(), "{order}");
        }
        assert_eq!(" cut  eu-west\n".parse(), Ok(Order::Cut("eu-west".into())));
    }

    #[test]
    fn anything_else_is_answered_with_the_help() {
        for line in ["cut", "cut a b", "", "reboot", "status now"] {
            assert!(line.parse::<Order>().unwrap_err().contains(HELP), "{line}");
        }
    }

    #[test]
    fn a_table_shows_what_does_not_run_and_what_is_cut_off() {
        let node = Endpoint {
            region: "eu-west".into(),
            quic: ([127, 0, 0, 1], 7410).into(),
            http: ([127, 0, 0, 1], 8410).into(),
            redis: Some(([127, 0, 0, 1], 6410).into()),
            pid: None,
            log: "node.log".into(),
            cut_off: true,
        };
        let table = endpoints(std::slice::from_ref(&node));
        assert!(table.contains("eu-west (cut off)") && table.contains("(not running)"), "{table}");
        assert!(table.contains("127.0.0.1:6410"), "{table}");
        assert_eq!(as_json(&[node])[0]["http"], "127.0.0.1:8410");
    }
}
