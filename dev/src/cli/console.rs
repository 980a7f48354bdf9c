//! What can be typed while `snowtide-dev up` runs.

use std::io::{self, BufRead};

use anyhow::bail;
use nix::sys::signal::Signal;
use snowtide::cli::{cluster, table};
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

/// Does what a line says, in the words of [`HELP`], and tells what was done.
pub(super) async fn carry_out(line: &str, cluster: &mut Cluster) -> anyhow::Result<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    Ok(match words[..] {
        ["cut", region] => {
            cluster.cut(region)?;
            format!("{region} is cut off; clients still reach it")
        }
        ["heal", region] => {
            cluster.heal(region)?;
            format!("{region} is connected again")
        }
        ["kill", region] => {
            cluster.kill(region).await?;
            format!("{region} is killed; `start {region}` brings it back")
        }
        ["stop", region] => super::stop::sentence(region, cluster.terminate(region).await?),
        ["start", region] => {
            cluster.start_node(region).await?;
            format!("{region} is ready")
        }
        ["pause", region] => {
            cluster.signal(region, Signal::SIGSTOP)?;
            format!("{region} stands still; `resume {region}` lets it go on")
        }
        ["resume", region] => {
            cluster.signal(region, Signal::SIGCONT)?;
            format!("{region} goes on")
        }
        ["status"] => status(cluster).await?,
        ["help" | "?"] => HELP.to_owned(),
        _ => bail!("not understood: {}\n{HELP}", line.trim()),
    })
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
    let mut table = table(["region", "HTTP", "QUIC", "Redis", "gRPC", "pid", "log"]);
    table.add_rows(endpoints.iter().map(|node| {
        let region = if node.cut_off { format!("{} (cut off)", node.region) } else { node.region.clone() };
        let pid = node.pid.map_or_else(|| "(not running)".to_owned(), |pid| pid.to_string());
        let [redis, grpc] =
            [node.redis, node.grpc].map(|door| door.map_or_else(|| "-".to_owned(), |at| at.to_string()));
        let [http, quic, log] =
            [format!("http://{}", node.http), node.quic.to_string(), node.log.display().to_string()];
        [region, http, quic, redis, grpc, pid, log]
    }));
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[tokio::test]
    async fn every_order_of_the_help_is_understood_and_anything_else_answered_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Cluster::prepare(Options::new("snowtide", dir.path())).unwrap();
        // Whoever reads the lines quits by itself.
        for line in HELP.lines().filter(|line| line.contains("REGION")) {
            let order = line.split("  ").next().unwrap().replace("REGION", "mars");
            let refused = carry_out(&order, &mut cluster).await.unwrap_err().to_string();
            assert!(refused.contains("there is no region mars"), "{order}: {refused}");
        }
        assert!(carry_out(" cut  eu-west\n", &mut cluster).await.unwrap().contains("eu-west is cut off"));
        for line in ["cut", "cut a b", "", "reboot", "status now"] {
            let refused = carry_out(line, &mut cluster).await.unwrap_err().to_string();
            assert!(refused.contains(HELP), "{line}: {refused}");
        }
    }

    #[test]
    fn a_table_shows_what_does_not_run_and_what_is_cut_off() {
        let node = Endpoint {
            region: "eu-west".into(),
            node: 0,
            quic: ([127, 0, 0, 1], 7410).into(),
            http: ([127, 0, 0, 1], 8410).into(),
            redis: Some(([127, 0, 0, 1], 6410).into()),
            grpc: Some(([127, 0, 0, 1], 9410).into()),
            pid: None,
            log: "node.log".into(),
            cut_off: true,
        };
        let table = endpoints(std::slice::from_ref(&node));
        assert!(table.contains("eu-west (cut off)") && table.contains("(not running)"), "{table}");
        assert!(table.contains("127.0.0.1:6410"), "{table}");
        assert_eq!(serde_json::to_value(&node).unwrap()["http"], "127.0.0.1:8410");
    }
}
