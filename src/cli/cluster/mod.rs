//! `snowtide cluster`: what the nodes of the map say of themselves and of their peers.

mod drain;
mod orders;
mod peers;
mod status;
mod top;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use snowtide_protocol::Code;

use self::status::{NodeReport, ask_all, table};
use super::data_dir::DataDir;
use super::exit::{self, Ended, Exit};
use super::{Global, Misuse, reach};
use crate::config::Config;
use crate::config::map::ClusterMap;
use crate::control::Order;
use crate::probe::Probe;
use crate::tls;

/// Look at the whole cluster, and take nodes out of service.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  snowtide cluster status
  snowtide cluster top
  snowtide cluster peers --at eu-west
  snowtide cluster drain --data-dir /var/lib/snowtide
  snowtide cluster resume --data-dir /var/lib/snowtide
  snowtide cluster reload --data-dir /var/lib/snowtide
  snowtide cluster clear-fence --data-dir /var/lib/snowtide
  snowtide cluster forget-ceilings --data-dir /var/lib/snowtide";

#[derive(Debug, Subcommand)]
enum Action {
    Status(status::Command),
    Top(top::Command),
    Peers(peers::Command),
    Drain(drain::Drain),
    /// Have a drained node serve again.
    #[command(after_help = orders::RESUME)]
    Resume(DataDir),
    /// Have the node of this machine read tokens, certificates and the log filter again.
    #[command(after_help = orders::RELOAD)]
    Reload(DataDir),
    /// Have the node of this machine, which has fenced itself, serve again from its next start on.
    #[command(after_help = orders::CLEAR_FENCE)]
    ClearFence(DataDir),
    /// Have the node of this machine forget what its peers told of ID ceilings.
    #[command(after_help = orders::FORGET_CEILINGS)]
    ForgetCeilings(DataDir),
}

/// What it takes to be answered.
#[derive(Debug, Args)]
pub(super) struct Access {
    /// A bearer token, where the cluster asks for one.
    #[arg(long, env = "SNOWTIDE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// The authority that the certificates of HTTP doors are by, where `[http.tls]` is set; without it, ca.pem of tls.dir.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Command {
    /// Does what was asked.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        reach::block_on(async {
            match self.action {
                Action::Status(command) => command.run(global).await,
                Action::Top(command) => command.run(global).await,
                Action::Peers(command) => command.run(global).await,
                Action::Drain(command) => command.run(global).await,
                Action::Resume(dir) => orders::give(global, dir, Order::Resume).await,
                Action::Reload(dir) => orders::give(global, dir, Order::Reload).await,
                Action::ClearFence(dir) => orders::give(global, dir, Order::ClearFence).await,
                Action::ForgetCeilings(dir) => orders::give(global, dir, Order::ForgetCeilings).await,
            }
        })
    }
}

impl Access {
    pub(super) fn probe(&self, config: &Config) -> anyhow::Result<Probe> {
        let probe = Probe::new(self.token.as_deref())
            .ok_or_else(|| Misuse("--token: it cannot be sent in a header; give it without line ends".to_owned()))?;
        if !config.http.tls.is_on() {
            return Ok(probe);
        }
        let authority = self.ca.clone().unwrap_or_else(|| config.tls.dir.join(tls::CA_FILE));
        Ok(probe.over_tls(Arc::new(tls::believing(&authority).context("--ca")?)))
    }
}

/// What every node of the map says of itself, as a table: for programs that show it beside something else.
pub async fn overview(map: &ClusterMap, probe: &Probe) -> anyhow::Result<String> {
    Ok(table(&ask_all(map, probe).await?))
}

/// How a look at these nodes ends, whatever was shown of them: well if any has told something, or could tell nothing for
/// another reason than the caller.
fn verdict<'a>(lines: impl IntoIterator<Item = &'a NodeReport>) -> Result<(), Ended> {
    let lines: Vec<_> = lines.into_iter().collect();
    let denials: Option<Vec<_>> = lines.iter().filter(|line| line.answers()).map(|line| line.denial()).collect();
    match denials.as_deref() {
        Some([]) => Err(silence(&lines)),
        Some([code, ..]) => Err(denial(*code)),
        None => Ok(()),
    }
}

fn silence(lines: &[&NodeReport]) -> Ended {
    let nodes: Vec<_> = lines.iter().map(|line| format!("{} at {}", line.name(), line.http)).collect();
    let text = format!(
        "no node of the map answers: {}; start all on this machine: snowtide-dev up; or name the map of the cluster that \
         runs, with --config or --regions-dir",
        nodes.join(", ")
    );
    Ended::new(Exit::Unavailable, text)
}

fn denial(code: Code) -> Ended {
    let text = format!("every node that answers refuses to tell ({code}): {}", exit::advice_on_code(code));
    Ended::new(Exit::Denied, text)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::config::address::Address;
    use crate::identity::WorkerId;
    use crate::probe::ProbeError;

    fn line(ready: Option<bool>, view: ProbeError) -> NodeReport {
        let (worker, http) = (WorkerId::new(1, 0).unwrap(), Address::parse("127.0.0.1:8410").unwrap());
        NodeReport { worker, region: "eu-west".into(), http, ready, view: Err(view) }
    }

    fn refusing(status: StatusCode) -> NodeReport {
        let address = "127.0.0.1:8410".to_owned();
        line(Some(true), ProbeError::Refused { address, status, detail: String::new() })
    }

    fn silent() -> NodeReport {
        line(None, ProbeError::Silent { address: "127.0.0.1:8410".to_owned() })
    }

    #[test]
    fn who_is_refused_by_all_that_answer_is_told_from_who_is_not_answered() {
        let exit = |lines: &[NodeReport]| verdict(lines).err().map(|ended| ended.exit);
        assert_eq!(exit(&[silent(), silent()]), Some(Exit::Unavailable));
        assert_eq!(exit(&[silent(), refusing(StatusCode::UNAUTHORIZED)]), Some(Exit::Denied));
        assert_eq!(exit(&[refusing(StatusCode::FORBIDDEN), refusing(StatusCode::UNAUTHORIZED)]), Some(Exit::Denied));
        assert_eq!(exit(&[refusing(StatusCode::UNAUTHORIZED), refusing(StatusCode::SERVICE_UNAVAILABLE)]), None);
        let said = verdict(&[refusing(StatusCode::UNAUTHORIZED)]).unwrap_err().text;
        assert!(said.contains("with --token or in SNOWTIDE_TOKEN"), "{said}");
    }
}
