//! One decision: by which policy, on which key, at which node, and what the node answers.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use snowtide_client::{Algorithm, Decision, Numbers, Policy};
use snowtide_protocol::wire::Welcome;

use crate::cli::exit::{Ended, Exit};
use crate::cli::reach::Reach;
use crate::cli::{Global, Misuse};

/// Stands for the policy that the flags give.
const GIVEN: &str = "_";

/// What is asked.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// A policy of the nodes' configuration, or _ for the one that the flags give.
    policy: String,

    /// Who or what is limited, any text of 1 to 512 bytes but "." and "..".
    key: String,

    #[command(flatten)]
    given: Given,

    #[command(flatten)]
    reach: Reach,
}

/// The numbers of a policy. They are part of the key: with others, another is counted.
#[derive(Debug, Args)]
struct Given {
    /// With the policy _: units in a window.
    #[arg(long, value_name = "N", requires = "window")]
    limit: Option<u64>,

    /// With the policy _: how long a window is, such as 1m.
    #[arg(long, value_name = "DURATION", requires = "limit", value_parser = humantime::parse_duration)]
    window: Option<Duration>,

    /// With the policy _: fixed, sliding or gcra; without it, sliding.
    #[arg(long, value_name = "WORD", requires = "limit")]
    algorithm: Option<Algorithm>,

    /// With gcra: units that may come at once; without it, as many as the limit.
    #[arg(long, value_name = "N", requires = "limit")]
    burst: Option<u64>,
}

impl Asked {
    /// Asks, and prints the answer; an error if the cost was denied.
    pub(super) async fn check(self, global: &Global, cost: u64) -> anyhow::Result<()> {
        let policy = self.given.policy(&self.policy)?;
        let client = self.reach.connect(global).await?;
        let node = client.welcome().clone();
        let decided = client.limit(policy, &self.key).cost(cost).check().await;
        let decision = decided
            .map_err(|error| anyhow::Error::new(error).context(format!("node {}/{}", node.region, node.node)))?;
        client.close().await;
        global.print(|| as_json(&self, cost, &decision, &node), || as_text(cost, &decision))?;
        if decision.admitted { Ok(()) } else { Err(denied(&self.key, &decision).into()) }
    }
}

impl Given {
    /// By which policy is asked: a name, or numbers.
    fn policy<'a>(&self, name: &'a str) -> Result<Policy<'a>, Misuse> {
        let Self { limit, window, algorithm, burst } = *self;
        let (limit, window) = match (name, limit, window) {
            (GIVEN, Some(limit), Some(window)) => (limit, window),
            (GIVEN, ..) => return Err(Misuse("the policy _ needs --limit and --window".to_owned())),
            (_, None, None) => return Ok(name.into()),
            (name, ..) => {
                return Err(Misuse(format!(
                    "--limit and --window go with the policy _, not with {name:?}, which has its own"
                )));
            }
        };
        let algorithm = algorithm.unwrap_or(Algorithm::Sliding);
        if burst.is_some() && algorithm != Algorithm::Gcra {
            return Err(Misuse(format!("--burst goes with --algorithm gcra, not with {algorithm}")));
        }
        let window_ms = u64::try_from(window.as_millis()).map_err(|_| Misuse("--window is too long".to_owned()))?;
        Ok(Numbers { algorithm, limit, window_ms, burst: burst.unwrap_or(limit) }.into())
    }
}

fn denied(key: &str, decision: &Decision) -> Ended {
    let again = time(decision.retry_after_ms);
    Ended::new(Exit::OverLimit, format!("{key:?} may not have so much now; try again in {again}"))
}

/// Field names as over HTTP.
fn as_json(asked: &Asked, cost: u64, decision: &Decision, node: &Welcome) -> Value {
    let Decision { admitted, limit, remaining, reset_ms, retry_after_ms } = *decision;
    json!({
        "policy": asked.policy,
        "key": asked.key,
        "cost": cost,
        "allowed": admitted,
        "limit": limit,
        "remaining": remaining,
        "reset_ms": reset_ms,
        "retry_after_ms": retry_after_ms,
        "region": node.region,
        "node": node.node,
    })
}

fn as_text(cost: u64, decision: &Decision) -> String {
    let Decision { admitted, limit, remaining, reset_ms, .. } = *decision;
    let verdict = match (cost, admitted) {
        (0, _) => "",
        (_, true) => "allowed; ",
        (_, false) => "denied; ",
    };
    let reset = if reset_ms == 0 { String::new() } else { format!(", all again in {}", time(reset_ms)) };
    format!("{verdict}{remaining} of {limit} left{reset}")
}

fn time(ms: u64) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        asked: Asked,
    }

    fn parse(line: &[&str]) -> Result<Asked, clap::Error> {
        Line::try_parse_from(["check"].iter().chain(line)).map(|line| line.asked)
    }

    fn policy(line: &[&str]) -> Result<String, String> {
        let asked = parse(line).unwrap();
        asked.given.policy(&asked.policy).map(|policy| format!("{policy:?}")).map_err(|misuse| misuse.to_string())
    }

    #[test]
    fn a_policy_is_a_name_or_numbers() {
        assert_eq!(policy(&["web", "alice"]).unwrap(), format!("{:?}", Policy::from("web")));
        let numbers = Numbers { algorithm: Algorithm::Gcra, limit: 30, window_ms: 60_000, burst: 16 };
        let line = ["_", "alice", "--limit", "30", "--window", "1m", "--algorithm", "gcra", "--burst", "16"];
        assert_eq!(policy(&line).unwrap(), format!("{:?}", Policy::from(numbers)));
        let sliding = Numbers { algorithm: Algorithm::Sliding, burst: 30, ..numbers };
        assert_eq!(policy(&line[..6]).unwrap(), format!("{:?}", Policy::from(sliding)));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_before_anything_is_sent() {
        let numbers = ["--limit", "30", "--window", "1m"];
        assert!(policy(&["_", "alice"]).unwrap_err().contains("needs --limit and --window"));
        assert!(
            policy(&[&["web", "alice"], &numbers[..]].concat()).unwrap_err().contains("\"web\", which has its own")
        );
        let burst = policy(&[&["_", "alice", "--burst", "5"], &numbers[..]].concat()).unwrap_err();
        assert_eq!(burst, "--burst goes with --algorithm gcra, not with sliding");
        for line in [&["_", "a", "--limit", "3"][..], &["_", "a", "--burst", "3"], &["_", "a", "--limit", "-1"], &["a"]]
        {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn an_answer_is_told_in_words_and_in_the_names_of_the_api() {
        let denied = Decision { admitted: false, limit: 100, remaining: 3, reset_ms: 42_000, retry_after_ms: 1_500 };
        assert_eq!(as_text(5, &denied), "denied; 3 of 100 left, all again in 42s");
        let fresh = Decision { admitted: true, reset_ms: 0, remaining: 100, ..denied };
        assert_eq!(
            (as_text(0, &fresh), as_text(1, &fresh)),
            ("100 of 100 left".into(), "allowed; 100 of 100 left".into())
        );
        let ended = super::denied("alice", &denied);
        assert_eq!(
            (ended.exit, &*ended.text),
            (Exit::OverLimit, "\"alice\" may not have so much now; try again in 1s 500ms")
        );
    }
}
