//! `snowtide counter watch`: a line at each change.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use snowtide_client::{Batch, Connection, Error};
use snowtide_protocol::Code;
use snowtide_protocol::wire::Welcome;

use super::asking::{Place, name};
use crate::cli::exit::Exit;
use crate::cli::output::print_more;
use crate::cli::{Global, note, terms};
use crate::clock;

/// In milliseconds. More often is no use: a commit takes as long.
const EVERY_MS_MIN: u64 = 10;
/// How often at most a node is looked for: a handshake costs it more than a read.
const AGAIN: Duration = Duration::from_millis(250);

/// Print a line now, and one at each change.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// Counters; one that does not exist is 0.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,

    /// How often to look; changes in between come as one.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = terms::interval::<EVERY_MS_MIN>)]
    every: Duration,

    /// Ends after so many lines; without it, at Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    lines: Option<u64>,

    #[command(flatten)]
    place: Place,
}

const EXAMPLES: &str = "\
Examples:
  snowtide counter watch visits
  snowtide counter watch visits stock --at ap-south --every 1s
  snowtide counter watch visits --json --lines 10

A line is TIME<tab>KEY<tab>VALUE<tab>CHANGE; with --json, an object. A node that is lost, starts or drains is looked for again until \
    Ctrl-C. Another node than before may know of less, so that a value may go back then.";

/// What was shown of each counter.
#[derive(Default)]
struct Shown {
    values: BTreeMap<String, i128>,
    lines: u64,
}

impl Command {
    /// Watches until it is told to stop, or has printed enough.
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let namespace = &self.place.namespace;
        let mut batch = Batch::new();
        for key in &self.keys {
            batch.get(namespace, key)?;
        }
        let mut client = self.place.connect(global).await?;
        let mut shown = Shown::default();
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut noted = false;
        loop {
            ticks.tick().await;
            let results = match client.batch(&batch).await {
                Ok(results) => results,
                Err(error) => {
                    let Some(remedy) = Remedy::of(&error) else {
                        return Err(self.place.failure(global, client.welcome(), error));
                    };
                    if !std::mem::replace(&mut noted, true) {
                        note(&format!("{}: {error}; {}", name(client.welcome()), remedy.in_words()));
                    }
                    match remedy {
                        Remedy::Reconnect => client = self.again(global).await?,
                        Remedy::Wait(after) => tokio::time::sleep(after).await,
                    }
                    continue;
                }
            };
            noted = false;
            for (key, result) in self.keys.iter().zip(results) {
                let value = result.map_err(|code| self.place.refusal(global, key, code))?;
                if let Some(change) = shown.change(key, value) {
                    self.print(global, client.welcome(), key, value, change)?;
                }
                if self.lines.is_some_and(|most| shown.lines >= most) {
                    client.close().await;
                    return Ok(());
                }
            }
        }
    }

    fn print(&self, global: &Global, node: &Welcome, key: &str, value: i128, change: i128) -> anyhow::Result<()> {
        let at = clock::in_words(clock::wall_ms());
        if !global.json {
            return print_more(&format!("{at}\t{key}\t{value}\t{change:+}"));
        }
        let line = json!({
            "at": at,
            "namespace": self.place.namespace,
            "key": key,
            "value": value.to_string(),
            "change": change.to_string(),
            "region": node.region,
            "node": node.node,
        });
        print_more(&line.to_string())
    }

    /// A connection, however long it takes, unless there is a reason that stays.
    async fn again(&self, global: &Global) -> anyhow::Result<Connection> {
        loop {
            tokio::time::sleep(self.every.max(AGAIN)).await;
            match self.place.connect(global).await {
                Err(error) if passes(Exit::of(&error)) => {}
                outcome => return outcome,
            }
        }
    }
}

/// What to do about a failed read before it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// The connection is gone, or its node does not serve: look for a node.
    Reconnect,
    /// The node has asked for so much time; a new connection would only cost it more.
    Wait(Duration),
}

impl Remedy {
    /// `None` if repeating it is of no use.
    fn of(error: &Error) -> Option<Self> {
        match error {
            Error::Disconnected { .. }
            | Error::Unreachable { retryable: true, .. }
            | Error::Timeout { may_have_written: false, .. }
            | Error::Refused { code: Code::Starting | Code::Draining, .. } => Some(Self::Reconnect),
            Error::Refused { code, retry_after, .. } if passes(Exit::of_code(*code)) => {
                Some(Self::Wait(retry_after.unwrap_or_default()))
            }
            Error::Busy { .. } => Some(Self::Wait(Duration::ZERO)),
            _ => None,
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Reconnect => "looking for a node again",
            Self::Wait(_) => "asking it again",
        }
    }
}

/// Whether an end of this kind may not be one if one waits.
const fn passes(exit: Exit) -> bool {
    matches!(exit, Exit::Unavailable | Exit::Later)
}

impl Shown {
    /// By how much the counter has changed, if it has or was not shown yet.
    fn change(&mut self, key: &str, value: i128) -> Option<i128> {
        let before = self.values.insert(key.to_owned(), value);
        let change = before.map_or(0, |before| value.saturating_sub(before));
        let shows = before.is_none() || change != 0;
        self.lines = self.lines.saturating_add(u64::from(shows));
        shows.then_some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_shown_first_and_then_when_it_changes() {
        let mut shown = Shown::default();
        let changes = [5, 5, 7, 7, 6].map(|value| shown.change("k", value));
        assert_eq!(changes, [Some(0), None, Some(2), None, Some(-1)]);
        assert_eq!(shown.change("other", 0), Some(0), "a counter that is not there yet");
        assert_eq!(shown.lines, 4);
    }

    #[test]
    fn a_lost_node_is_looked_for_a_busy_one_is_given_time_and_a_refusal_for_good_is_the_end() {
        let refused = |code| {
            let retry_after = Some(Duration::from_secs(2));
            Remedy::of(&Error::Refused { code, detail: "x".into(), retry_after })
        };
        for code in [Code::Starting, Code::Draining] {
            assert_eq!(refused(code), Some(Remedy::Reconnect), "{code}");
        }
        for code in [Code::Overloaded, Code::Throttled] {
            assert_eq!(refused(code), Some(Remedy::Wait(Duration::from_secs(2))), "{code}");
        }
        for code in [Code::Unauthenticated, Code::Forbidden, Code::UnknownNamespace, Code::Internal] {
            assert_eq!(refused(code), None, "{code}");
        }
        assert_eq!(Remedy::of(&Error::Disconnected { reason: "reset".into() }), Some(Remedy::Reconnect));
        let late = Error::Timeout { after: Duration::ZERO, may_have_written: false };
        assert_eq!(Remedy::of(&late), Some(Remedy::Reconnect));
        assert_eq!(Remedy::of(&Error::Protocol("x".into())), None);
    }
}
