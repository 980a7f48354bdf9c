//! `snowtide cluster reload`: have the node of this machine read its configuration and its certificates again.

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::cli::{Global, print};
use crate::control::{Answer, Order};

use super::drain::{Place, tell};

/// Have the node of this machine read tokens, certificates and the log filter again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Reload {
    #[command(flatten)]
    place: Place,
}

const EXAMPLES: &str = "\
Examples:
  snowtide cluster reload
  snowtide cluster reload --data-dir /var/lib/snowtide

The node reads what it was started with: the same files, the environment and the flags that it had then. It tells what has \
    changed, and what has to wait for its next start. A configuration that is not allowed changes nothing, and the answer \
    says why. SIGHUP does the same, and the node's log has the answer.";

impl Reload {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = self.place.dir(global)?;
        let Answer::Reloaded { changed, restart } = tell(&dir, Order::Reload).await? else {
            bail!("the node of {} answers something else; is it of another version?", dir.display())
        };
        let dir = dir.display();
        if global.json {
            return print(&json!({ "data_dir": dir.to_string(), "changed": changed, "restart": restart }).to_string());
        }
        print(&sentence(&dir.to_string(), &changed, &restart))
    }
}

fn sentence(dir: &str, changed: &[String], restart: &[String]) -> String {
    let changed =
        if changed.is_empty() { "nothing has changed".to_owned() } else { format!("new: {}", changed.join(", ")) };
    let restart = if restart.is_empty() {
        String::new()
    } else {
        format!("; in force only after a restart: {}", restart.join(", "))
    };
    format!("the node of {dir} has read its configuration and certificates again; {changed}{restart}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_from_what_waits() {
        let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        let all = "the node of d has read its configuration and certificates again; ";
        assert_eq!(sentence("d", &[], &[]), format!("{all}nothing has changed"));
        assert_eq!(
            sentence("d", &keys(&["api.tokens", "log.filter"]), &keys(&["data_dir"])),
            format!("{all}new: api.tokens, log.filter; in force only after a restart: data_dir")
        );
    }
}
