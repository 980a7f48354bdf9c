//! Flags and output of what goes beyond an operation: tokens, waiting, acknowledgements, views.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use snowtide_client::Terms;
use snowtide_protocol::{Share, Token, View};

use super::print;

/// What every request on counters can ask.
#[derive(Debug, Default, Args)]
pub struct Tokens {
    /// A token of an earlier answer: this one includes everything that it names; may be repeated.
    #[arg(long, value_name = "SNOWTIDE-TOKEN")]
    after: Vec<Token>,

    /// How long to wait for the token, or for other regions, such as 5s or 500ms.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,

    /// Prints the answer's token on a line of its own, the last one.
    #[arg(long)]
    show_token: bool,
}

/// How a counter is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Detail {
    /// With each region's share, how fresh it is, and the value that every region is known to have.
    Regions,
}

impl Tokens {
    /// The terms of a request.
    pub fn terms(&self) -> Terms {
        let terms = self.after.iter().fold(Terms::new().with_token(), Terms::after);
        self.wait.into_iter().fold(terms, Terms::wait)
    }

    /// Prints the token, if that is wanted.
    pub fn show(&self, token: Option<&Token>) -> anyhow::Result<()> {
        if !self.show_token {
            return Ok(());
        }
        let token = token.context("the answer's token would exceed what the node takes; read fewer counters at once, or raise api.token_bytes_max there")?;
        print(&token.to_string())
    }
}

/// How often to do something, not more often than every so many milliseconds.
pub(super) fn interval<const MS_MIN: u64>(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if every < Duration::from_millis(MS_MIN) { Err(format!("at least {MS_MIN}ms")) } else { Ok(every) }
}

/// Field names as over HTTP.
pub fn view_as_json(View { regions, settled, behind }: &View) -> Value {
    let share = |Share { region, value, as_of_ms }: &Share| json!({ "region": region, "value": value.to_string(), "as_of_ms": as_of_ms });
    let regions: Vec<Value> = regions.iter().map(share).collect();
    json!({ "regions": regions, "settled": settled.map(|settled| settled.to_string()), "behind": behind })
}

/// A line for each region, then what is settled.
pub fn view_as_text(View { regions, settled, behind }: &View) -> Vec<String> {
    let share = |Share { region, value, as_of_ms }: &Share| {
        let age = as_of_ms.map_or("never heard completely".to_owned(), |ms| format!("as of {ms} ms ago"));
        format!("  {region}\t{value}\t{age}")
    };
    let behind = if behind.is_empty() { String::new() } else { format!("\tbehind: {}", behind.join(", ")) };
    let settled = settled.map_or("not known yet, ask again".to_owned(), |settled| settled.to_string());
    regions.iter().map(share).chain([format!("  settled\t{settled}{behind}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_bounded() {
        assert_eq!(interval::<100>("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(interval::<100>("10ms"), Err("at least 100ms".to_owned()));
        assert!(interval::<10>("10ms").is_ok() && interval::<10>("often").is_err());
    }
}
