//! The commands that are served, each with its parser and what `COMMAND` tells of it: as Redis 7.2 tells it, but in words that fit
//! counters. Errors are in the words of Redis where it has any.

use std::borrow::Cow;

use snowtide_protocol::Action;

use super::answer::Shape;
use super::command::{Command, Fault};
use super::limits;
use super::refusals;
use super::request::Words;
use super::spec::{Family, Keys, Parse, Spec};

/// How much of an unknown command is repeated.
const REPEATED_BYTES_MAX: usize = 128;

const CHANGED: &[&str] = &["RW", "access", "update"];
const READ: &[&str] = &["RO", "access"];
const LOOKED_FOR: &[&str] = &["RO"];

const WRITES: &[&str] = &["write", "denyoom", "fast"];
const READS: &[&str] = &["readonly", "fast"];
const TALKS: &[&str] = &["loading", "stale", "fast"];
const TELLS: &[&str] = &["loading", "stale"];
const NAMES: &[&str] = &["noscript", "loading", "stale"];
const GATHERS: &[&str] = &["noscript", "loading", "stale", "fast", "allow_busy"];
const CARRIES_OUT: &[&str] = &["noscript", "loading", "stale", "skip_slowlog"];
const OPENS: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];

const FAST: &[&str] = &["@fast", "@transaction"];
const SLOW: &[&str] = &["@slow", "@transaction"];

const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

const fn family(group: &'static str, since: &'static str, categories: &'static [&'static str]) -> Family {
    Family { group, since, categories }
}

const fn connection(since: &'static str) -> Family {
    family("connection", since, &["@fast", "@connection"])
}

const fn slow(group: &'static str, since: &'static str) -> Family {
    family(group, since, &["@slow", "@connection"])
}

const fn transaction(since: &'static str, speed: &'static [&'static str]) -> Family {
    family("transactions", since, speed)
}

/// What does this to a counter, which is the first word behind its name.
const fn counter(name: &'static str, arity: i64, action: Action, summary: &'static str, parse: Parse) -> Spec {
    if action.is_write() {
        let of = family("string", "1.0.0", &["@write", "@string", "@fast"]);
        Spec::new(name, arity, WRITES, of, summary, parse).keys(Keys::One(CHANGED))
    } else {
        let of = family("string", "1.0.0", &["@read", "@string", "@fast"]);
        Spec::new(name, arity, READS, of, summary, parse).keys(Keys::One(READ))
    }
}

/// Changes the counter that the first word behind the name names.
fn add(words: Words<'_>, by: i64) -> Command<'_> {
    Command::Operate(words.only(1), Action::Increment(by), Shape::Changed)
}

/// Every command; the frequent ones come first.
pub(super) static COMMANDS: [Spec; 23] = [
    counter("incr", 2, Action::Increment(1), "Adds one to a counter", |words| Ok(add(words, 1))),
    counter("get", 2, Action::Get, "Reads a counter", |words| {
        Ok(Command::Operate(words.only(1), Action::Get, Shape::Value))
    }),
    counter("incrby", 3, Action::Increment(1), "Adds to a counter", |words| Ok(add(words, integer(words, 2)?))),
    counter("mget", -2, Action::Get, "Reads counters", |words| {
        Ok(Command::Operate(words.after(1), Action::Get, Shape::Values))
    })
    .keys(Keys::All(READ))
    .tips(&["request_policy:multi_shard"])
    .takes("O(N), where N is the number of counters"),
    counter("decr", 2, Action::Increment(1), "Subtracts one from a counter", |words| Ok(add(words, -1))),
    counter("decrby", 3, Action::Increment(1), "Subtracts from a counter", |words| {
        Ok(add(words, integer(words, 2)?.checked_neg().ok_or("ERR decrement would overflow")?))
    }),
    Spec::new(
        "exists",
        -2,
        READS,
        family("generic", "1.0.0", &["@keyspace", "@read", "@fast"]),
        "Counts those that are not 0",
        |words| Ok(Command::Operate(words.after(1), Action::Get, Shape::Existing)),
    )
    .keys(Keys::All(LOOKED_FOR))
    .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
    .takes("O(N), where N is the number of counters"),
    Spec::new(
        "cl.throttle",
        -5,
        WRITES,
        family("module", "4.0.0", &["@write", "@fast"]),
        "Limits a rate, by the generic cell rate algorithm",
        |words| limits::throttle(words).map(Command::Decide),
    )
    .keys(Keys::One(CHANGED)),
    Spec::new(
        "increx",
        -2,
        WRITES,
        family("string", "8.8.0", &["@write", "@string", "@fast"]),
        "Limits a rate, in windows",
        |words| limits::increx(words).map(Command::Decide),
    )
    .keys(Keys::One(CHANGED)),
    Spec::new("ping", -1, &["fast"], connection("1.0.0"), "Tells whether the node serves", |words| match words.len() {
        1 | 2 => Ok(Command::Ping(words.get(1))),
        _ => Err(wrong_number("ping")),
    })
    .tips(ALL_SHARDS),
    Spec::new("echo", 2, TALKS, connection("1.0.0"), "Answers what was sent", |words| {
        Ok(Command::Echo(word(words, 1)))
    }),
    Spec::new("multi", 1, GATHERS, transaction("1.2.0", FAST), "Gathers commands for one batch", |_| {
        Ok(Command::Multi)
    }),
    Spec::new("exec", 1, CARRIES_OUT, transaction("1.2.0", SLOW), "Carries out what was gathered", |_| {
        Ok(Command::Exec)
    })
    .takes("Depends on the commands"),
    Spec::new("discard", 1, GATHERS, transaction("2.0.0", FAST), "Forgets what was gathered", |_| Ok(Command::Discard)),
    Spec::new("hello", -1, OPENS, connection("6.0.0"), "Chooses the version of the protocol", |words| {
        Ok(Command::Hello(words.get(1), words.after(2)))
    }),
    Spec::new("auth", -2, OPENS, connection("1.0.0"), "Shows a token", |words| match words.len() {
        at @ (2 | 3) => Ok(Command::Auth(word(words, at.saturating_sub(1)))),
        _ => Err("ERR syntax error".into()),
    }),
    Spec::new(
        "client",
        -2,
        &[],
        family("connection", "2.4.0", &["@slow"]),
        "What a connection says about itself",
        |words| Err(no_subcommand(words, "SETNAME, GETNAME, SETINFO and ID are")),
    )
    .takes("Depends on the subcommand")
    .with(&CLIENT),
    Spec::new("command", -1, TELLS, slow("server", "2.8.13"), "Tells of all commands", |words| match words.len() {
        1 => Ok(Command::Commands),
        _ => Err(no_subcommand(words, "COMMAND, COUNT, DOCS, INFO and LIST are")),
    })
    .tips(UNORDERED)
    .takes("O(N), where N is the number of commands")
    .with(&COMMAND),
    Spec::new("config", -2, &[], family("server", "2.0.0", &["@slow"]), "What tools look for", |words| {
        Err(no_subcommand(words, "only GET is: a node of Snowtide is configured by its files and flags"))
    })
    .takes("Depends on the subcommand")
    .with(&CONFIG),
    Spec::new("info", -1, TELLS, family("server", "1.0.0", &["@slow", "@dangerous"]), "Tells of the node", |words| {
        Ok(Command::Info(words.after(1)))
    })
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    Spec::new("select", 2, TALKS, connection("1.0.0"), "Chooses the only database", select),
    Spec::new("quit", -1, OPENS, connection("1.0.0"), "Closes the connection", |_| Ok(Command::Quit)),
    Spec::new("reset", 1, OPENS, connection("6.2.0"), "Begins the connection anew", |_| Ok(Command::Reset)),
];

static CLIENT: [Spec; 4] = [
    Spec::new("client|setname", 3, NAMES, slow("connection", "2.6.9"), "Names the connection", |words| {
        Ok(Command::SetName(word(words, 2)))
    }),
    Spec::new("client|getname", 2, NAMES, slow("connection", "2.6.9"), "Tells the connection's name", |_| {
        Ok(Command::GetName)
    }),
    Spec::new("client|setinfo", 4, NAMES, slow("connection", "7.2.0"), "Takes note of the client's library", |_| {
        Ok(Command::SetInfo)
    }),
    Spec::new("client|id", 2, NAMES, slow("connection", "5.0.0"), "Tells the connection's number", |_| Ok(Command::Id)),
];

static COMMAND: [Spec; 4] = [
    Spec::new("command|count", 2, TELLS, slow("server", "2.8.13"), "Tells how many commands there are", |_| {
        Ok(Command::Count)
    }),
    Spec::new("command|docs", -2, TELLS, slow("server", "7.0.0"), "Tells what commands do", |words| {
        Ok(Command::Docs(words.after(2)))
    })
    .tips(UNORDERED),
    Spec::new("command|info", -2, TELLS, slow("server", "2.8.13"), "Tells how commands are used", |words| {
        Ok(Command::Rows(words.after(2)))
    })
    .tips(UNORDERED),
    Spec::new("command|list", -2, TELLS, slow("server", "7.0.0"), "Names all commands", |words| match words.len() {
        2 => Ok(Command::Names),
        _ => Err(wrong_number("command|list")),
    })
    .tips(UNORDERED),
];

static CONFIG: [Spec; 1] = [Spec::new(
    "config|get",
    -3,
    &["admin", "noscript", "loading", "stale"],
    family("server", "2.0.0", &["@admin", "@slow", "@dangerous"]),
    "Tells settings that tools look for",
    |words| Ok(Command::ConfigGet(words.after(2))),
)];

/// The command of at least one word.
pub(super) fn parse(words: Words<'_>) -> Result<Command<'_>, Fault> {
    let Some(spec) = called(words) else { return Err(unserved(words)) };
    let spec = spec.subcommand(word(words, 1)).unwrap_or(spec);
    if spec.fits(words.len()) { (spec.parse)(words) } else { Err(wrong_number(spec.name)) }
}

/// Whether a transaction takes in what cannot be understood as a command, as Redis does: what has the name and the number of
/// words of one fails when it is carried out, and alone.
pub(super) fn is_gathered(words: Words<'_>) -> bool {
    called(words).is_some_and(|spec| spec.fits(words.len()) && spec.subcommands.is_empty())
}

/// The command, or the subcommand behind a bar, of this name.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    COMMANDS.iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)).find(|spec| spec.is_called(name))
}

fn called(words: Words<'_>) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| spec.is_called(word(words, 0)))
}

/// The word at this place; empty where there is none, which the arity has ruled out for those of a command.
fn word(words: Words<'_>, at: usize) -> &[u8] {
    words.get(at).unwrap_or_default()
}

fn select(words: Words<'_>) -> Result<Command<'_>, Fault> {
    match integer(words, 1) {
        Ok(0) => Ok(Command::Select),
        Ok(_) => {
            Err("ERR DB index is out of range: there is one database, counters are kept apart by namespaces, as in \
                 INCR namespace:key"
                .into())
        }
        Err(_) => Err("ERR invalid DB index".into()),
    }
}

fn wrong_number(name: &str) -> Fault {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

fn no_subcommand(words: Words<'_>, served: &str) -> Fault {
    let [command, subcommand] = [0, 1].map(|at| shown(word(words, at)).to_ascii_lowercase());
    format!("ERR '{command} {subcommand}' is not served here; {served}").into()
}

fn unserved(words: Words<'_>) -> Fault {
    let name = word(words, 0);
    if let Some(why) = refusals::why(name) {
        return format!("ERR '{}' is not served here: {why}", shown(name).to_ascii_lowercase()).into();
    }
    let mut repeated = String::new();
    for argument in words.after(1).iter() {
        if repeated.len() >= REPEATED_BYTES_MAX {
            break;
        }
        repeated.push_str(&format!("'{}' ", shown(argument)));
    }
    format!("ERR unknown command '{}', with args beginning with: {repeated}", shown(name)).into()
}

/// A word for an error, short enough to be repeated there.
fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word.get(..REPEATED_BYTES_MAX).unwrap_or(word)).into_owned()
}

/// As Redis writes integers, so that each has one form.
fn integer(words: Words<'_>, at: usize) -> Result<i64, Fault> {
    let text = std::str::from_utf8(word(words, at)).unwrap_or_default();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let one_form = !text.starts_with('+') && (text == "0" || !digits.starts_with('0'));
    let value = text.parse().ok().filter(|_| one_form);
    value.ok_or(Cow::Borrowed("ERR value is not an integer or out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::redis::request::{Bounds, Scanner};

    /// What a line comes to, as its debug output, or the error.
    fn parse(line: &str) -> Result<String, String> {
        let line = format!("{line}\n");
        let mut scanner = Scanner::default();
        scanner.scan(line.as_bytes(), Bounds { bytes_max: 10_000, words_max: 100 }).unwrap().unwrap();
        match super::parse(scanner.words(line.as_bytes())) {
            Ok(Command::Operate(keys, Action::Increment(by), _)) => {
                Ok(format!("Add {} {by}", String::from_utf8_lossy(keys.get(0).unwrap_or_default())))
            }
            Ok(Command::Operate(keys, action, shape)) => Ok(format!("{action:?} {shape:?} {}", keys.len())),
            Ok(other) => Ok(format!("{other:?}").split([' ', '(', '{']).next().unwrap().to_owned()),
            Err(fault) => Err(fault.into_owned()),
        }
    }

    #[test]
    fn subcommands_stand_behind_the_names_of_their_commands() {
        for spec in &COMMANDS {
            for one in spec.subcommands {
                assert_eq!(one.name.split_once('|').unwrap().0, spec.name);
                assert_eq!(find(one.name.to_ascii_uppercase().as_bytes()).unwrap().name, one.name);
            }
            assert_eq!(find(spec.name.as_bytes()).unwrap().subcommands.len(), spec.subcommands.len());
        }
        assert!(find(b"client|kill").is_none() && find(b"").is_none() && find(b"client|").is_none());
    }

    #[test]
    fn names_are_understood_in_any_case() {
        for (line, parsed) in [
            ("INCR a", "Add a 1"),
            ("decr a", "Add a -1"),
            ("IncrBy a -5", "Add a -5"),
            ("DECRBY a 5", "Add a -5"),
            ("decrby a -9223372036854775807", "Add a 9223372036854775807"),
            ("get a", "Get Value 1"),
            ("mget a b", "Get Values 2"),
            ("exists a", "Get Existing 1"),
            ("ping", "Ping"),
            ("select 0", "Select"),
            ("client setinfo lib-name x", "SetInfo"),
            ("command docs get", "Docs"),
            ("config get save appendonly", "ConfigGet"),
            ("auth user secret", "Auth"),
            ("quit", "Quit"),
        ] {
            assert_eq!(parse(line).unwrap(), parsed, "{line}");
        }
    }

    #[test]
    fn errors_are_those_of_redis_or_say_what_to_do() {
        let integer = "ERR value is not an integer or out of range";
        for (line, error) in [
            ("incr", "ERR wrong number of arguments for 'incr' command"),
            ("incr a b", "ERR wrong number of arguments for 'incr' command"),
            ("mget", "ERR wrong number of arguments for 'mget' command"),
            ("ping a b", "ERR wrong number of arguments for 'ping' command"),
            ("client setname", "ERR wrong number of arguments for 'client|setname' command"),
            ("config get", "ERR wrong number of arguments for 'config|get' command"),
            ("incrby a 9223372036854775808", integer),
            ("incrby a +1", integer),
            ("incrby a 01", integer),
            ("incrby a -0", integer),
            ("incrby a 1.5", integer),
            ("incrby a -", integer),
            ("decrby a -9223372036854775808", "ERR decrement would overflow"),
            ("select x", "ERR invalid DB index"),
            ("Nonsense a b", "ERR unknown command 'Nonsense', with args beginning with: 'a' 'b' "),
            ("client kill a", "ERR 'client kill' is not served here; SETNAME, GETNAME, SETINFO and ID are"),
        ] {
            assert_eq!(parse(line).unwrap_err(), error, "{line}");
        }
        for (line, word) in [
            ("SET a 1", "INCRBY"),
            ("del a", "another key"),
            ("expire a 1", "period"),
            ("incrbyfloat a 1", "whole numbers"),
            ("watch a", "counters are only added to"),
            ("keys a", "MGET"),
            ("select 1", "namespaces"),
            ("config set a b", "files and flags"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.starts_with("ERR ") && error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn long_words_are_cut_in_errors() {
        let line = format!("{} {}", "x".repeat(5_000), "y ".repeat(90));
        assert!(parse(&line).unwrap_err().len() < 400);
        assert!(parse(&format!("client {}", "x".repeat(5_000))).unwrap_err().len() < 400);
    }
}
