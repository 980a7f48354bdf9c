//! What the node of this machine is told over its control socket and does at once: `snowtide cluster resume`, `reload`,
//! `clear-fence` and `forget-ceilings`.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;

use crate::cli::data_dir::DataDir;
use crate::cli::exit::{Ended, Exit};
use crate::cli::{Global, Misuse};
use crate::control::{self, Answer, Order};

pub(super) const RESUME: &str = "\
Examples:
  snowtide cluster resume
  snowtide cluster resume --data-dir /var/lib/snowtide";

pub(super) const RELOAD: &str = "\
Examples:
  snowtide cluster reload
  snowtide cluster reload --data-dir /var/lib/snowtide

The node reads what it was started with: the same files, the environment and the flags that it had then. It tells what has \
    changed, and what has to wait for its next start. A configuration that is not allowed changes nothing, and the answer \
    says why. SIGHUP does the same, and the node's log has the answer.";

pub(super) const CLEAR_FENCE: &str = "\
Examples:
  snowtide cluster status
  snowtide cluster clear-fence
  snowtide cluster clear-fence --data-dir /var/lib/snowtide

A node fences itself when another live process has its worker id. It then refuses \
    counters and IDs, also after a restart, and snowtide cluster status says why. First stop the other process for good, and \
    see that it cannot start again: while both serve, their IDs can be the same. Then clear the fence, and restart the node: \
    the process that has fenced itself stays so. Counters are safe either way, because each start is proven by the peers.";

pub(super) const FORGET_CEILINGS: &str = "\
Examples:
  snowtide cluster forget-ceilings
  snowtide cluster forget-ceilings --data-dir /var/lib/snowtide

Every node remembers how far the IDs of every other one had come, so that whoever takes over a worker id with an empty disk \
    mints above them. A peer that lies can have IDs refused with `starting` until a time of its choice. This takes back what \
    was told: the node mints above its own last ID again, at once, and tells others nothing of what it has forgotten. First \
    take the lying peer out of the cluster; then run this on each node that refuses IDs, and on each that may have \
    believed the lie. The risk: if the node has lost its disk, or has taken over somebody's worker id, and its clock \
    is behind the former holder's, IDs may come again that the former holder has minted.";

/// Gives the node an order and prints what it answers.
pub(super) async fn give(global: &Global, dir: DataDir, order: Order) -> anyhow::Result<()> {
    let dir = dir.path(global)?;
    let answer = tell(&dir, order).await?;
    let dir = dir.display().to_string();
    let (json, text) = match (order, answer) {
        (Order::Resume, _) => (json!({ "data_dir": dir, "drained": false }), format!("the node of {dir} serves again")),
        (_, Answer::Reloaded { changed, restart }) => {
            let text = reloaded(&dir, &changed, &restart);
            (json!({ "data_dir": dir, "changed": changed, "restart": restart }), text)
        }
        (_, Answer::FenceCleared { reason }) => (
            json!({ "data_dir": dir, "fence_cleared": true, "reason": reason }),
            format!("the fence of the node of {dir} is cleared; restart it to have it serve. It was: {reason}"),
        ),
        (_, Answer::ForgotCeilings { quarantine_ended }) => {
            let ids = if quarantine_ended {
                "it mints above its own last ID again"
            } else {
                "its IDs were not held up by it"
            };
            (
                json!({ "data_dir": dir, "forgotten": true, "quarantine_ended": quarantine_ended }),
                format!("the node of {dir} has forgotten what its peers told of ID ceilings; {ids}"),
            )
        }
        _ => bail!("the node of {dir} answers something else; is it of another version?"),
    };
    global.print_line(|| json, || text)
}

fn reloaded(dir: &str, changed: &[String], restart: &[String]) -> String {
    let changed = match changed {
        [] => "nothing has changed".to_owned(),
        changed => format!("new: {}", changed.join(", ")),
    };
    let restart = match restart {
        [] => String::new(),
        restart => format!("; in force only after a restart: {}", restart.join(", ")),
    };
    format!("the node of {dir} has read its configuration and certificates again; {changed}{restart}")
}

/// A refusal is an error.
pub(super) async fn tell(dir: &Path, order: Order) -> anyhow::Result<Answer> {
    let shown = dir.display();
    match control::tell(dir, order).await {
        Ok(Answer::Refused(reason)) => {
            Err(Ended::new(Exit::Refused, format!("the node of {shown} refuses: {reason}")).into())
        }
        Ok(answer) => Ok(answer),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Err(Misuse(format!(
            "no node has {shown} open on this machine; name the directory of one that runs: --data-dir DIR"
        ))
        .into()),
        Err(error) => Err(error).with_context(|| {
            format!("cannot speak with the node of {shown}; run this as the user that runs the node, or see whether it hangs")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_from_what_waits() {
        let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        let all = "the node of d has read its configuration and certificates again; ";
        assert_eq!(reloaded("d", &[], &[]), format!("{all}nothing has changed"));
        assert_eq!(
            reloaded("d", &keys(&["api.tokens", "log.filter"]), &keys(&["data_dir"])),
            format!("{all}new: api.tokens, log.filter; in force only after a restart: data_dir")
        );
    }
}
