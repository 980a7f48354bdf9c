//! Being told to stop, by a terminal or by another process.

use anyhow::{Context, bail};
use snowtide::cli::note as tell;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::process::Ending;

/// SIGINT and SIGQUIT (Ctrl-C, Ctrl-\\), SIGTERM and SIGHUP (the terminal is gone) all mean the same.
pub(super) struct Stop(mpsc::Receiver<()>);

impl Stop {
    /// From now on, signals no longer end this process by themselves. Must be called within a Tokio runtime.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let (asking, asked) = mpsc::channel(1);
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
            let (mut signal, asking) = (signal(kind).context("signals cannot be caught")?, asking.clone());
            tokio::spawn(async move { while signal.recv().await.is_some() && asking.send(()).await.is_ok() {} });
        }
        Ok(Self(asked))
    }

    /// Returns when the next signal comes.
    pub(super) async fn asked(&mut self) {
        self.0.recv().await;
    }
}

/// Drains all nodes; a second signal kills those that are not done. An error if one did not drain by itself.
pub(super) async fn wind_down(cluster: &mut Cluster, stop: &mut Stop) -> anyhow::Result<()> {
    let endings = tokio::select! {
        endings = cluster.stop_all() => endings,
        () = stop.asked() => {
            tell("told to stop twice: nodes are killed; what they acknowledged is on disk");
            Vec::new()
        }
    };
    match endings.iter().find(|(_, ending)| *ending != Ending::Drained) {
        Some((region, ending)) => bail!(sentence(region, *ending)),
        None => Ok(()),
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
