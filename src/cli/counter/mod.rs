//! `snowtide counter`: add to counters, read and watch them, at one node.

mod asking;
mod watch;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use snowtide_client::{Answered, Batch, InvalidArgument};
use snowtide_protocol::Ack;
use snowtide_protocol::wire::Welcome;

use self::asking::Asking;
use super::output::while_read;
use super::terms::{self, Detail};
use super::{Global, reach};

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
    Incr(Increment),
    /// Read counters: the value of one, or a line `KEY<tab>VALUE` for each of several.
    #[command(after_help = EXAMPLES)]
    Get(Read),
    Watch(watch::Command),
}

#[derive(Debug, Args)]
struct Increment {
    /// The counter, any text of 1 to 512 bytes but "." and "..".
    key: String,

    /// How much; a negative number is a decrement.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    by: i64,

    /// local, all, or regions:k for k regions, the answering node's included; without it, local.
    #[arg(long, value_name = "WHO")]
    ack: Option<Ack>,

    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
struct Read {
    /// Counters; one that does not exist is 0.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,

    /// What else to tell of each counter.
    #[arg(long, value_name = "WHAT")]
    view: Option<Detail>,

    #[command(flatten)]
    asking: Asking,
}

/// How one operation more comes into a batch.
type Put = for<'a> fn(&'a mut Batch, &str, &str) -> Result<&'a mut Batch, InvalidArgument>;

impl Command {
    /// Does what was asked.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        reach::block_on(async {
            match self.action {
                Action::Incr(increment) => increment.run(global).await,
                Action::Get(read) => read.run(global, Batch::get).await,
                Action::Watch(command) => while_read(command.run(global)).await,
            }
        })
    }
}

impl Increment {
    async fn run(self, global: &Global) -> anyhow::Result<()> {
        let Self { key, by, ack, asking } = self;
        let namespace = &asking.place.namespace;
        let terms = asking.terms().ack(ack.unwrap_or_default());
        let (node, counted) =
            asking.ask(global, async |client| client.add_on(namespace, &key, by, &terms).await).await?;
        let mut lines = vec![counted.value.to_string()];
        if ack.is_some() {
            let pending = if counted.pending { "; the others follow, do not repeat it" } else { "" };
            lines.push(format!("durable in {}{pending}", counted.acknowledged_by.join(", ")));
        }
        let json = || {
            let mut answer = json!({
                "namespace": namespace,
                "key": key,
                "value": counted.value.to_string(),
                "by": by.to_string(),
                "region": node.region,
                "node": node.node,
                "token": counted.token.as_ref().map(ToString::to_string),
            });
            if ack.is_some() {
                answer["ack"] = json!(if counted.pending { "pending" } else { "done" });
                answer["acknowledged_by"] = json!(counted.acknowledged_by);
            }
            answer
        };
        asking.tell(global, json, &lines, counted.token.as_ref())
    }
}

impl Read {
    async fn run(self, global: &Global, put: Put) -> anyhow::Result<()> {
        let Self { keys, view, asking } = self;
        let namespace = &asking.place.namespace;
        let mut batch = Batch::new();
        for key in &keys {
            put(&mut batch, namespace, key)?;
        }
        let terms = view.into_iter().fold(asking.terms(), |terms, Detail::Regions| terms.with_regions());
        let (node, answered) = asking.ask(global, async |client| client.batch_on(&batch, &terms).await).await?;
        let json = || as_json(&node, namespace, &keys, &answered);
        asking.tell(global, json, &as_lines(&keys, &answered), answered.token.as_ref())?;
        let mut results = keys.iter().zip(&answered.results);
        match results.find_map(|(key, value)| Some((key, value.err()?))) {
            Some((key, code)) => Err(asking.place.refusal(global, key, code).into()),
            None => Ok(()),
        }
    }
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

fn as_lines(keys: &[String], answered: &Answered) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, (key, value)) in keys.iter().zip(&answered.results).enumerate() {
        let Ok(value) = value else { continue };
        lines.push(if keys.len() == 1 { value.to_string() } else { format!("{key}\t{value}") });
        lines.extend(answered.views.get(at).map(terms::view_as_text).unwrap_or_default());
    }
    lines
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
        let Action::Incr(Increment { key, by, asking, .. }) = parse(&["incr", "home"]).unwrap() else { panic!() };
        let place = asking.place;
        assert_eq!((key.as_str(), by, place.namespace.as_str(), place.reach.at), ("home", 1, "default", None));
        let line = ["incr", "stock", "--by", "-3", "--namespace", "shop", "--at", "eu-west/1"];
        let Action::Incr(Increment { key, by, asking, .. }) = parse(&line).unwrap() else { panic!() };
        let place = asking.place;
        let expected = ("stock", -3, "shop", Some("eu-west/1"));
        assert_eq!((key.as_str(), by, place.namespace.as_str(), place.reach.at.as_deref()), expected);
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
        let Action::Incr(Increment { ack, .. }) = parse(&line).unwrap() else { panic!() };
        assert_eq!(ack, Some(Ack::Regions(2)));
        for bad in [["--ack", "two"], ["--wait", "soon"], ["--after", "!"], ["--view", "regions"]] {
            assert!(parse(&["incr", "home", bad[0], bad[1]]).is_err(), "{bad:?}");
        }
        let Action::Get(Read { view, .. }) = parse(&["get", "home", "--view", "regions"]).unwrap() else { panic!() };
        assert_eq!(view, Some(Detail::Regions));
    }

    #[test]
    fn at_least_one_key_is_read() {
        assert!(parse(&["get"]).is_err());
        let Action::Get(Read { keys, .. }) = parse(&["get", "a", "b"]).unwrap() else { panic!() };
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
