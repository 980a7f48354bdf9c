//! `snowtide cluster clear-fence` and `snowtide cluster forget-ceilings`: what an operator may take back, and at what risk.

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::cli::{Global, print};
use crate::control::{Answer, Order};

use super::drain::{Place, tell};

/// Have the node of this machine, which has fenced itself, serve again from its next start on.
#[derive(Debug, Args)]
#[command(after_help = CLEAR_FENCE)]
pub(super) struct ClearFence {
    #[command(flatten)]
    place: Place,
}

/// Have the node of this machine forget what its peers told of ID ceilings.
#[derive(Debug, Args)]
#[command(after_help = FORGET_CEILINGS)]
pub(super) struct ForgetCeilings {
    #[command(flatten)]
    place: Place,
}

const CLEAR_FENCE: &str = "\
Examples:
  snowtide cluster status
  snowtide cluster clear-fence
  snowtide cluster clear-fence --data-dir /var/lib/snowtide

A node fences itself when another live process has its worker id. It then refuses \
    counters and IDs, also after a restart, and snowtide cluster status says why. First stop the other process for good, and \
    see that it cannot start again: while both serve, their IDs can be the same. Then clear the fence, and restart the node: \
    the process that has fenced itself stays so. Counters are safe either way, because each start is proven by the peers.";

const FORGET_CEILINGS: &str = "\
Examples:
  snowtide cluster forget-ceilings
  snowtide cluster forget-ceilings --data-dir /var/lib/snowtide

Every node remembers how far the IDs of every other one had come, so that whoever takes over a worker id with an empty disk \
    mints above them. A peer that lies can have IDs refused with `starting` until a time of its choice. This takes back what \
    was told: the node mints above its own last ID again, at once, and tells others nothing of what it has forgotten. First \
    take the lying peer out of the cluster; then run this on each node that refuses IDs, and on each that may have \
    believed the lie. The risk: if the node has lost its disk, or has taken over somebody's worker id, and its clock \
    is behind the former holder's, IDs may come again that the former holder has minted.";

impl ClearFence {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = self.place.dir(global)?;
        let Answer::FenceCleared { reason } = tell(&dir, Order::ClearFence).await? else {
            bail!("the node of {} answers something else; is it of another version?", dir.display())
        };
        let dir = dir.display();
        if global.json {
            return print(&json!({ "data_dir": dir.to_string(), "fence_cleared": true, "reason": reason }).to_string());
        }
        print(&format!("the fence of the node of {dir} is cleared; restart it to have it serve. It was: {reason}"))
    }
}

impl ForgetCeilings {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = self.place.dir(global)?;
        let Answer::ForgotCeilings { quarantine_ended } = tell(&dir, Order::ForgetCeilings).await? else {
            bail!("the node of {} answers something else; is it of another version?", dir.display())
        };
        let dir = dir.display();
        if global.json {
            let told = json!({ "data_dir": dir.to_string(), "forgotten": true, "quarantine_ended": quarantine_ended });
            return print(&told.to_string());
        }
        let ids =
            if quarantine_ended { "it mints above its own last ID again" } else { "its IDs were not held up by it" };
        print(&format!("the node of {dir} has forgotten what its peers told of ID ceilings; {ids}"))
    }
}
