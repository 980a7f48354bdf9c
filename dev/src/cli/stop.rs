//! Being told to stop, by a terminal or by another process.

use anyhow::Context;
use snowtide::cli::note as tell;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cluster::Cluster;
use crate::process::Ending;

/// SIGINT and SIGQUIT (Ctrl-C, Ctrl-\\), SIGTERM and SIGHUP (the terminal is gone) all mean the same.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
}

impl Stop {
    /// From now on, signals no longer end this process by themselves. Must be called within a Tokio runtime.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
            quit: catch(SignalKind::quit())?,
        })
    }

    /// Returns when the next signal comes.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

/// Drains all nodes; a second signal kills those that are not done. Returns those that did not drain.
pub(super) async fn wind_down(cluster: &mut Cluster, stop: &mut Stop) -> Vec<(String, Ending)> {
    tokio::select! {
        endings = cluster.stop_all() => endings.into_iter().filter(|(_, ending)| *ending != Ending::Drained).collect(),
        () = stop.asked() => {
            tell("told to stop twice: nodes are killed; what they acknowledged is on disk");
            Vec::new()
        }
    }
}

/// How a node ended that did not drain.
pub(super) fn sentence(region: &str, ending: Ending) -> String {
    match ending {
        Ending::Drained => format!("{region} drained"),
        Ending::Failed(status) => format!("{region} did not drain: it ended with {status}"),
        Ending::Killed => format!("{region} did not drain in time and was killed"),
    }
}
