//! `snowtide counter watch`: a line at each change.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use snowtide_client::wire::Welcome;
use snowtide_client::{Batch, Connection};

use super::{Namespace, advised, asked, refusal};
use crate::cli::output::print_more;
use crate::cli::reach::Reach;
use crate::cli::{Global, note};
use crate::clock;

/// More often is no use: a commit takes milliseconds.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// Print a line now, and one at each change.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// Counters; one that does not exist is 0.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,

    /// How often to look; changes in between come as one.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = interval)]
    every: Duration,

    /// Ends after so many lines; without it, at Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    lines: Option<u64>,

    #[command(flatten)]
    namespace: Namespace,

    #[command(flatten)]
    reach: Reach,
}

const EXAMPLES: &str = "\
Examples:
  snowtide counter watch visits
  snowtide counter watch visits stock --at ap-south --every 1s
  snowtide counter watch visits --json --lines 10

A line is TIME<tab>KEY<tab>VALUE<tab>CHANGE; with --json, an object. A node that is lost, or starts, is looked for again until \
    Ctrl-C. Another node than before may know of less, so that a value may go back then.";

fn interval(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if every < EVERY_MIN { Err("at least 10ms".to_owned()) } else { Ok(every) }
}

/// What was shown of each counter.
#[derive(Default)]
struct Shown {
    values: BTreeMap<String, i128>,
    lines: u64,
}

impl Command {
    /// Watches until it is told to stop, or has printed enough.
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let namespace = &self.namespace.namespace;
        let mut batch = Batch::new();
        for key in &self.keys {
            batch.get(namespace, key)?;
        }
        let mut client = self.reach.connect_for(global, Some(namespace)).await?;
        let mut shown = Shown::default();
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told_of_loss = false;
        loop {
            ticks.tick().await;
            let results = match client.batch(&batch).await {
                Ok(results) => results,
                Err(error) if error.is_retryable() => {
                    if !std::mem::replace(&mut told_of_loss, true) {
                        note(&format!("{}: {error}; looking for a node again", asked(client.welcome())));
                    }
                    client = self.again(global).await;
                    continue;
                }
                Err(error) => {
                    return Err(advised(error, global, namespace).context(asked(client.welcome())));
                }
            };
            told_of_loss = false;
            for (key, result) in self.keys.iter().zip(results) {
                let value = result.map_err(|code| refusal(global, namespace, key, code))?;
                if let Some(change) = shown.change(key, value) {
                    let line = Line { namespace, key, value, change, node: client.welcome() };
                    print_more(&if global.json { line.as_json() } else { line.as_text() })?;
                }
                if self.lines.is_some_and(|most| shown.lines >= most) {
                    client.close().await;
                    return Ok(());
                }
            }
        }
    }

    /// A connection, however long it takes.
    async fn again(&self, global: &Global) -> Connection {
        loop {
            if let Ok(client) = self.reach.connect_for(global, Some(&self.namespace.namespace)).await {
                return client;
            }
            tokio::time::sleep(self.every).await;
        }
    }
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

/// What is told of one change.
struct Line<'a> {
    namespace: &'a str,
    key: &'a str,
    value: i128,
    change: i128,
    node: &'a Welcome,
}

impl Line<'_> {
    fn as_text(&self) -> String {
        format!("{}\t{}\t{}\t{:+}", clock::in_words(clock::wall_ms()), self.key, self.value, self.change)
    }

    fn as_json(&self) -> String {
        let line = json!({
            "at": clock::in_words(clock::wall_ms()),
            "namespace": self.namespace,
            "key": self.key,
            "value": self.value.to_string(),
            "change": self.change.to_string(),
            "region": self.node.region,
            "node": self.node.node,
        });
        line.to_string()
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
    fn the_interval_is_bounded() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert!(interval("1ms").is_err() && interval("often").is_err());
    }
}
