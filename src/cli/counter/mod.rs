//! `snowtide counter`: add to counters, read and watch them, at one node.

mod watch;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use snowtide_client::{Answered, Batch, Error};
use snowtide_protocol::wire::Welcome;
use snowtide_protocol::{Ack, Code};

use super::exit::{self, Ended, Exit};
use super::output::while_read;
use super::reach::{self, Reach};
use super::terms::{self, Acknowledgement, Look, Tokens};
use super::{Global, print, print_json};

/// Add to counters, read or watch them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  snowtide counter incr visits
  snowtide counter incr visits --by 10 --at eu-west
  snowtide counter incr stock --by -3 --namespace shop
  snowtide counter get visits
  snowtide counter get visits stock --at ap-south --json
  snowtide counter incr visits --at eu-west --ack regions:2 --wait 5s
  token=$(snowtide counter incr visits --at eu-west --show-token | tail -n 1)
  snowtide counter get visits --at ap-south --after $token --wait 5s
  snowtide counter get visits --view regions
  snowtide counter watch visits

A value is what the node that answers knows; the others agree as soon as they have exchanged state.";

#[derive(Debug, Subcommand)]
enum Action {
    /// Add to a counter; prints its value afterwards, which is on disk then.
    #[command(after_help = EXAMPLES)]
    Incr {
        /// The counter, any text of 1 to 512 bytes but "." and "..".
        key: String,

        /// How much; a negative number is a decrement.
        #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
        by: i64,

        #[command(flatten)]
        ack: Acknowledgement,

        #[command(flatten)]
        tokens: Tokens,

        #[command(flatten)]
        namespace: Namespace,

        #[command(flatten)]
        reach: Reach,
    },
    /// Read counters: the value of one, or a line `KEY<tab>VALUE` for each of several.
    #[command(after_help = EXAMPLES)]
    Get {
        /// Counters; one that does not exist is 0.
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,

        /// What else to tell of each counter.
        #[arg(long, value_name = "WHAT")]
        view: Option<Look>,

        #[command(flatten)]
        tokens: Tokens,

        #[command(flatten)]
        namespace: Namespace,

        #[command(flatten)]
        reach: Reach,
    },
    Watch(watch::Command),
}

#[derive(Debug, Args)]
struct Namespace {
    /// The namespace that the counters live in.
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
}

impl Command {
    /// Does what was asked.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.action {
            Action::Incr { key, by, ack, tokens, namespace, reach } => {
                reach::block_on(increment(global, &reach, &namespace.namespace, &key, by, ack.ack, &tokens))
            }
            Action::Get { keys, view, tokens, namespace, reach } => {
                reach::block_on(get(global, &reach, &namespace.namespace, &keys, view, &tokens))
            }
            Action::Watch(command) => reach::block_on(while_read(command.run(global))),
        }
    }
}

async fn increment(
    global: &Global,
    reach: &Reach,
    namespace: &str,
    key: &str,
    by: i64,
    ack: Option<Ack>,
    tokens: &Tokens,
) -> anyhow::Result<()> {
    let client = reach.connect_for(global, Some(namespace)).await?;
    let terms = tokens.terms().ack(ack.unwrap_or_default());
    let counted = client.add_on(namespace, key, by, &terms).await;
    let counted =
        counted.map_err(|error| advised(error, global, namespace)).with_context(|| asked(client.welcome()))?;
    if global.json {
        let welcome = client.welcome();
        let mut answer = json!({
            "namespace": namespace,
            "key": key,
            "value": counted.value.to_string(),
            "by": by.to_string(),
            "region": welcome.region,
            "node": welcome.node,
            "token": counted.token.map(|token| token.to_string()),
        });
        if ack.is_some() {
            answer["ack"] = json!(if counted.pending { "pending" } else { "done" });
            answer["acknowledged_by"] = json!(counted.acknowledged_by);
        }
        print_json(&answer)?;
    } else {
        print(&counted.value.to_string())?;
        if ack.is_some() {
            let pending = if counted.pending { "; the others follow, do not repeat it" } else { "" };
            print(&format!("durable in {}{pending}", counted.acknowledged_by.join(", ")))?;
        }
        tokens.show(counted.token.as_ref())?;
    }
    client.close().await;
    Ok(())
}

async fn get(
    global: &Global,
    reach: &Reach,
    namespace: &str,
    keys: &[String],
    view: Option<Look>,
    tokens: &Tokens,
) -> anyhow::Result<()> {
    let mut batch = Batch::new();
    for key in keys {
        batch.get(namespace, key)?;
    }
    let client = reach.connect_for(global, Some(namespace)).await?;
    let terms = view.into_iter().fold(tokens.terms(), |terms, Look::Regions| terms.with_regions());
    let answered = client.batch_on(&batch, &terms).await.with_context(|| asked(client.welcome()))?;
    if global.json {
        print_json(&as_json(client.welcome(), namespace, keys, &answered))?;
    } else {
        print_values(keys, &answered)?;
        tokens.show(answered.token.as_ref())?;
    }
    client.close().await;
    let refused = keys.iter().zip(&answered.results).find_map(|(key, value)| value.err().map(|code| (key, code)));
    match refused {
        Some((key, code)) => Err(refusal(global, namespace, key, code).into()),
        None => Ok(()),
    }
}

/// One operation was refused, and what to do about it.
fn refusal(global: &Global, namespace: &str, key: &str, code: Code) -> Ended {
    let advice = match code {
        Code::WrongRegion => reach::elsewhere(global, namespace),
        code => exit::advice_on_code(code).to_owned(),
    };
    Ended::new(Exit::of_code(code), format!("{namespace}/{key}: refused ({code}): {advice}"))
}

/// Field names as over HTTP; a counter that was refused has an error code instead of a value.
fn as_json(welcome: &Welcome, namespace: &str, keys: &[String], answered: &Answered) -> Value {
    let counters = keys.iter().zip(&answered.results).enumerate().map(|(at, (key, value))| match value {
        Ok(value) => {
            let mut counter = json!({ "namespace": namespace, "key": key, "value": value.to_string() });
            if let Some(view) = answered.views.get(at) {
                counter["view"] = terms::view_as_json(view);
            }
            counter
        }
        Err(code) => json!({ "namespace": namespace, "key": key, "code": code.as_str() }),
    });
    let counters: Vec<_> = counters.collect();
    let token = answered.token.as_ref().map(ToString::to_string);
    json!({ "counters": counters, "region": welcome.region, "node": welcome.node, "token": token })
}

fn print_values(keys: &[String], answered: &Answered) -> anyhow::Result<()> {
    for (at, (key, value)) in keys.iter().zip(&answered.results).enumerate() {
        match value {
            Ok(value) if keys.len() == 1 => print(&value.to_string())?,
            Ok(value) => print(&format!("{key}\t{value}"))?,
            Err(_) => continue,
        }
        answered.views.get(at).map_or(Ok(()), terms::print_view)?;
    }
    Ok(())
}

/// Says where the namespace is, if the node says that it is not there.
fn advised(error: Error, global: &Global, namespace: &str) -> anyhow::Error {
    match error {
        Error::Refused { code: Code::WrongRegion, .. } => {
            anyhow::Error::new(error).context(reach::elsewhere(global, namespace))
        }
        error => error.into(),
    }
}

fn asked(welcome: &Welcome) -> String {
    format!("node {}/{}", welcome.region, welcome.node)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use snowtide_protocol::Code;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        command: Command,
    }

    fn parse(line: &[&str]) -> Result<Action, clap::Error> {
        Line::try_parse_from(["counter"].iter().chain(line)).map(|line| line.command.action)
    }

    #[test]
    fn an_increment_is_by_one_in_the_default_namespace_unless_said_otherwise() {
        let Action::Incr { key, by, namespace, reach, .. } = parse(&["incr", "home"]).unwrap() else { panic!() };
        assert_eq!((key.as_str(), by, namespace.namespace.as_str(), reach.at), ("home", 1, "default", None));
        let line = ["incr", "stock", "--by", "-3", "--namespace", "shop", "--at", "eu-west/1"];
        let Action::Incr { key, by, namespace, reach, .. } = parse(&line).unwrap() else { panic!() };
        let expected = ("stock", -3, "shop", Some("eu-west/1"));
        assert_eq!((key.as_str(), by, namespace.namespace.as_str(), reach.at.as_deref()), expected);
    }

    #[test]
    fn an_amount_has_64_bits_and_a_sign() {
        for by in ["-9223372036854775808", "9223372036854775807"] {
            assert!(parse(&["incr", "home", "--by", by]).is_ok(), "{by}");
        }
        for by in ["9223372036854775808", "1.5", "ten", ""] {
            assert!(parse(&["incr", "home", "--by", by]).is_err(), "{by}");
        }
    }

    #[test]
    fn acknowledgements_tokens_and_waits_are_checked_before_anything_is_sent() {
        let line = ["incr", "home", "--ack", "regions:2", "--wait", "1500ms", "--after", "AQA", "--after", "AQA"];
        let Action::Incr { ack, .. } = parse(&line).unwrap() else { panic!() };
        assert_eq!(ack.ack, Some(Ack::Regions(2)));
        for bad in [["--ack", "two"], ["--wait", "soon"], ["--after", "!"], ["--view", "regions"]] {
            assert!(parse(&["incr", "home", bad[0], bad[1]]).is_err(), "{bad:?}");
        }
        let Action::Get { view, .. } = parse(&["get", "home", "--view", "regions"]).unwrap() else { panic!() };
        assert_eq!(view, Some(Look::Regions));
    }

    #[test]
    fn at_least_one_key_is_read() {
        assert!(parse(&["get"]).is_err());
        let Action::Get { keys, .. } = parse(&["get", "a", "b"]).unwrap() else { panic!() };
        assert_eq!(keys, ["a", "b"]);
    }

    #[test]
    fn json_has_a_value_or_a_code_for_each_counter() {
        let welcome = Welcome {
            version: 1,
            region: "eu-west".into(),
            node: 2,
            frame_bytes_max: 1 << 20,
            requests_max: 16,
            id_scheme: snowtide_protocol::id::IdScheme::default(),
            incarnation: None,
        };
        let keys = ["a".to_owned(), "b".to_owned()];
        let results = vec![Ok(i128::from(u64::MAX) * 4), Err(Code::UnknownNamespace)];
        let answered = Answered { results, ..Answered::default() };
        let expected = json!({
            "counters": [
                { "namespace": "n", "key": "a", "value": "73786976294838206460" },
                { "namespace": "n", "key": "b", "code": "unknown_namespace" },
            ],
            "region": "eu-west",
            "node": 2,
            "token": null,
        });
        assert_eq!(as_json(&welcome, "n", &keys, &answered), expected);
    }
}
