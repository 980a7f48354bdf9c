//! What signals mean to a node. None that could be caught ends it without a word.
//!
//! - SIGTERM, SIGINT, SIGQUIT, SIGABRT and SIGPWR drain, and so does SIGXCPU, which comes shortly before the end that a limit of
//!   processor time brings. Told again by one of the first four, a second later or more, the process ends at once;
//!   what comes within a second is the same request twice, as a terminal and a wrapper send it.
//! - SIGHUP reloads. That it was ignored by whoever started the node (nohup) changes nothing.
//! - Any other one whose default is to end the process is ignored, and logged the first time.
//!
//! SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP and SIGSYS are left alone: they are how a fault of the process itself shows, which
//! must not go on.

use std::collections::BTreeSet;
use std::sync::Arc;

use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Stopwatch;

/// Signals that were caught and not looked at yet; those of one number are one anyway.
const PENDING_MAX: usize = 16;
/// A request to stop that comes so soon after another is no second one.
const SAME_REQUEST_MS: u64 = 1_000;

/// What a node is told by signals; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    /// Drain and end.
    pub(super) shutdown: CancellationToken,
    /// Read the configuration and the certificates again; told many times before it is heard, it is told once.
    pub(super) reload: Arc<Notify>,
}

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Drain; told twice, end at once.
    Stop,
    /// Drain, however often it comes.
    Drain,
    Reload,
    Nothing,
}

/// Catches signals from now on. Must be called within a Tokio runtime.
pub(super) fn catch() -> Signals {
    let signals = Signals::default();
    let (sender, pending) = mpsc::channel(PENDING_MAX);
    for (number, name, meaning) in caught() {
        let sender = sender.clone();
        let Ok(mut signal) = signal(SignalKind::from_raw(number)) else {
            warn!(signal = name, "cannot be caught on this system");
            continue;
        };
        tokio::spawn(async move {
            while signal.recv().await.is_some() && sender.send((name.clone(), meaning)).await.is_ok() {}
        });
    }
    tokio::spawn(obey(pending, signals.clone()));
    signals
}

/// Every signal that ends a process by default, or is to reload, but for those that cannot be caught and faults.
fn caught() -> Vec<(i32, String, Meaning)> {
    let standard = Signal::iterator().filter_map(|signal| {
        let meaning = match signal {
            Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGABRT => Meaning::Stop,
            Signal::SIGXCPU => Meaning::Drain,
            #[cfg(target_os = "linux")]
            Signal::SIGPWR => Meaning::Drain,
            Signal::SIGHUP => Meaning::Reload,
            // Cannot be caught.
            Signal::SIGKILL | Signal::SIGSTOP => return None,
            Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL | Signal::SIGFPE | Signal::SIGTRAP | Signal::SIGSYS => {
                return None;
            }
            // Do not end a process: by default they stop it, let it go on or are ignored.
            Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU | Signal::SIGCONT => return None,
            Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH => return None,
            _ => Meaning::Nothing,
        };
        Some((signal as i32, signal.as_str().to_owned(), meaning))
    });
    standard.chain(realtime()).collect()
}

#[cfg(target_os = "linux")]
fn realtime() -> impl Iterator<Item = (i32, String, Meaning)> {
    let first = nix::libc::SIGRTMIN();
    (first..=nix::libc::SIGRTMAX())
        .map(move |number| (number, format!("SIGRTMIN+{}", number.saturating_sub(first)), Meaning::Nothing))
}

#[cfg(not(target_os = "linux"))]
fn realtime() -> impl Iterator<Item = (i32, String, Meaning)> {
    std::iter::empty()
}

async fn obey(mut pending: mpsc::Receiver<(String, Meaning)>, signals: Signals) {
    let mut stopping: Option<Stopwatch> = None;
    let mut ignored = BTreeSet::new();
    while let Some((signal, meaning)) = pending.recv().await {
        match (meaning, &stopping) {
            (Meaning::Reload, _) => signals.reload.notify_one(),
            (Meaning::Nothing, _) => {
                if ignored.insert(signal.clone()) {
                    warn!(signal, "a signal that means nothing to a node was ignored, as will be the next ones");
                }
            }
            (Meaning::Stop | Meaning::Drain, None) => {
                info!(signal, "told to stop");
                stopping = Some(Stopwatch::start());
                signals.shutdown.cancel();
            }
            (Meaning::Stop, Some(since)) if since.elapsed_ms() >= SAME_REQUEST_MS => end(&signal),
            (Meaning::Stop | Meaning::Drain, Some(_)) => {}
        }
    }
}

fn end(signal: &str) {
    warn!(
        signal,
        "told to stop twice: ending at once; what was acknowledged and not synced (durability interval) is lost"
    );
    // An orderly exit would pull RocksDB's threads apart while they work; being killed is what the data is made for.
    if raise(Signal::SIGKILL).is_err() {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(signal: Signal) -> Option<Meaning> {
        caught().into_iter().find(|(number, ..)| *number == signal as i32).map(|(.., meaning)| meaning)
    }

    /// By signal(7): whose action is to end the process, with a core or without.
    #[test]
    fn whatever_would_end_the_process_is_caught_but_for_faults() {
        let ends = [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGABRT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGPIPE,
            Signal::SIGALRM,
            Signal::SIGTERM,
            Signal::SIGXCPU,
            Signal::SIGXFSZ,
            Signal::SIGVTALRM,
            Signal::SIGPROF,
            Signal::SIGIO,
        ];
        assert!(ends.into_iter().all(|signal| meaning(signal).is_some()));
        assert_eq!((meaning(Signal::SIGHUP), meaning(Signal::SIGQUIT)), (Some(Meaning::Reload), Some(Meaning::Stop)));
        for left in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGCHLD, Signal::SIGTSTP] {
            assert_eq!(meaning(left), None, "{left}");
        }
    }

    #[tokio::test]
    async fn the_first_stop_drains_and_what_follows_at_once_is_the_same_one() {
        let signals = Signals::default();
        let (sender, pending) = mpsc::channel(PENDING_MAX);
        let obeying = tokio::spawn(obey(pending, signals.clone()));
        for (name, meaning) in [("SIGUSR1", Meaning::Nothing), ("SIGHUP", Meaning::Reload), ("SIGHUP", Meaning::Reload)]
        {
            sender.send((name.to_owned(), meaning)).await.unwrap();
        }
        signals.reload.notified().await;
        assert!(!signals.shutdown.is_cancelled());
        for _ in 0..3 {
            sender.send(("SIGTERM".to_owned(), Meaning::Stop)).await.unwrap();
        }
        sender.send(("SIGXCPU".to_owned(), Meaning::Drain)).await.unwrap();
        signals.shutdown.cancelled().await;
        drop(sender);
        obeying.await.unwrap();
    }
}
