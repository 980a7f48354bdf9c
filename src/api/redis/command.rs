//! From words to a command, purely. Errors are in the words of Redis where it has any.

use std::borrow::Cow;

use snowtide_protocol::Action;

use super::answer::Shape;
use super::refusals;
use super::request::Words;
use super::table::{COMMANDS, Spec, Verb};

/// A command that can be carried out, unless its keys or its caller's rights stand against it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command<'a> {
    /// Have this done to the counters of these names, and make a reply of this shape of their values.
    Operate(Words<'a>, Action, Shape),
    Ping(Option<&'a [u8]>),
    Echo(&'a [u8]),
    /// The version that is wanted, and the options.
    Hello(Option<&'a [u8]>, Words<'a>),
    /// The password: a bearer token. The user does not matter.
    Auth(&'a [u8]),
    SetName(&'a [u8]),
    GetName,
    SetInfo,
    Id,
    Commands,
    /// Rows of these names; all without any.
    Rows(Words<'a>),
    Count,
    /// What commands of these names do; all without any.
    Docs(Words<'a>),
    Names,
    ConfigGet(Words<'a>),
    Info(Words<'a>),
    Select,
    Multi,
    Exec,
    Discard,
    Quit,
    Reset,
}

/// The text of an error.
pub(super) type Fault = Cow<'static, str>;

/// How much of an unknown command is repeated.
const REPEATED_BYTES_MAX: usize = 128;

impl<'a> Command<'a> {
    /// The command of at least one word.
    pub(super) fn parse(words: Words<'a>) -> Result<Self, Fault> {
        let Some(spec) = spec_of(words) else {
            return Err(unserved(words.get(0).unwrap_or_default(), words.after(1)));
        };
        if !fits(spec.row.arity, words.len()) {
            return Err(wrong_number(spec.row.name));
        }
        Self::of(spec, words)
    }

    /// Whether a transaction takes in what cannot be understood as a command, as Redis does: what has the name and the
    /// number of words of one fails when it is carried out, and alone.
    pub(super) fn is_gathered(words: Words<'_>) -> bool {
        let has_subcommands = |spec: &Spec| !spec.subcommands.is_empty();
        spec_of(words).is_some_and(|spec| fits(spec.row.arity, words.len()) && !has_subcommands(spec))
    }

    fn of(spec: &Spec, words: Words<'a>) -> Result<Self, Fault> {
        // The arity was looked at.
        let word = |at| words.get(at).unwrap_or_default();
        let add = |by| Self::Operate(words.only(1), Action::Increment(by), Shape::Changed);
        Ok(match spec.verb {
            Verb::Incr => add(1),
            Verb::IncrBy => add(integer(word(2))?),
            Verb::Decr => add(-1),
            Verb::DecrBy => add(integer(word(2))?.checked_neg().ok_or("ERR decrement would overflow")?),
            Verb::Get => Self::Operate(words.only(1), Action::Get, Shape::Value),
            Verb::Mget => Self::Operate(words.after(1), Action::Get, Shape::Values),
            Verb::Exists => Self::Operate(words.after(1), Action::Get, Shape::Existing),
            Verb::Ping if words.len() > 2 => return Err(wrong_number(spec.row.name)),
            Verb::Ping => Self::Ping(words.get(1)),
            Verb::Echo => Self::Echo(word(1)),
            Verb::Hello => Self::Hello(words.get(1), words.after(2)),
            Verb::Auth if words.len() > 3 => return Err("ERR syntax error".into()),
            Verb::Auth => Self::Auth(words.iter().last().unwrap_or_default()),
            Verb::Client => client(words)?,
            Verb::Command => command(words)?,
            Verb::Config => config(words)?,
            Verb::Info => Self::Info(words.after(1)),
            Verb::Select => select(word(1))?,
            Verb::Multi => Self::Multi,
            Verb::Exec => Self::Exec,
            Verb::Discard => Self::Discard,
            Verb::Quit => Self::Quit,
            Verb::Reset => Self::Reset,
        })
    }

    /// The engine's operations of it.
    pub(super) fn operations(&self) -> usize {
        match self {
            Self::Operate(keys, ..) => keys.len(),
            _ => 0,
        }
    }

    /// Bytes of the longest reply, where that is not about as long as the command itself.
    pub(super) fn reply_bytes(&self) -> usize {
        match self {
            Self::Commands | Self::Rows(_) | Self::Docs(_) => 64 << 10,
            Self::Ping(_) | Self::Echo(_) | Self::Hello(..) | Self::ConfigGet(_) | Self::Info(_) | Self::Names => {
                2 << 10
            }
            _ => 128,
        }
    }

    /// It is carried out within a transaction, too, and not gathered.
    pub(super) fn is_of_transactions(&self) -> bool {
        matches!(self, Self::Multi | Self::Exec | Self::Discard | Self::Quit | Self::Reset)
    }

    /// Who has not said who it is may do this.
    pub(super) fn opens(&self) -> bool {
        matches!(self, Self::Hello(..) | Self::Auth(_) | Self::Quit | Self::Reset)
    }
}

fn spec_of(words: Words<'_>) -> Option<&'static Spec> {
    let name = words.get(0).unwrap_or_default();
    COMMANDS.iter().find(|spec| name.eq_ignore_ascii_case(spec.row.name.as_bytes()))
}

fn fits(arity: i64, words: usize) -> bool {
    let words = i64::try_from(words).unwrap_or(i64::MAX);
    if arity < 0 { words >= arity.saturating_neg() } else { words == arity }
}

fn client(words: Words<'_>) -> Result<Command<'_>, Fault> {
    match subcommand(words).as_str() {
        "setname" => Ok(Command::SetName(exactly(words, 3, "client|setname")?)),
        "getname" => exactly(words, 2, "client|getname").map(|_| Command::GetName),
        "setinfo" => exactly(words, 4, "client|setinfo").map(|_| Command::SetInfo),
        "id" => exactly(words, 2, "client|id").map(|_| Command::Id),
        other => Err(format!("ERR 'client {other}' is not served here; SETNAME, GETNAME, SETINFO and ID are").into()),
    }
}

fn command(words: Words<'_>) -> Result<Command<'_>, Fault> {
    match subcommand(words).as_str() {
        "" => Ok(Command::Commands),
        "count" => exactly(words, 2, "command|count").map(|_| Command::Count),
        "docs" => Ok(Command::Docs(words.after(2))),
        "info" => Ok(Command::Rows(words.after(2))),
        "list" => exactly(words, 2, "command|list").map(|_| Command::Names),
        other => {
            Err(format!("ERR 'command {other}' is not served here; COMMAND, COUNT, DOCS, INFO and LIST are").into())
        }
    }
}

fn config(words: Words<'_>) -> Result<Command<'_>, Fault> {
    match subcommand(words).as_str() {
        "get" if words.len() > 2 => Ok(Command::ConfigGet(words.after(2))),
        "get" => Err(wrong_number("config|get")),
        other => {
            let why = "a node of Snowtide is configured by its files and flags";
            Err(format!("ERR 'config {other}' is not served here, only GET is: {why}").into())
        }
    }
}

fn select(index: &[u8]) -> Result<Command<'_>, Fault> {
    match integer(index) {
        Ok(0) => Ok(Command::Select),
        Ok(_) => {
            Err("ERR DB index is out of range: there is one database, counters are kept apart by namespaces, as in \
                      INCR namespace:key"
                .into())
        }
        Err(_) => Err("ERR invalid DB index".into()),
    }
}

/// In lower case, and short enough to be repeated in an error.
fn subcommand(words: Words<'_>) -> String {
    shown(words.get(1).unwrap_or_default()).to_ascii_lowercase()
}

/// The last of so many words.
fn exactly<'a>(words: Words<'a>, count: usize, name: &str) -> Result<&'a [u8], Fault> {
    let last = words.get(count.saturating_sub(1)).filter(|_| words.len() == count);
    last.ok_or_else(|| wrong_number(name))
}

pub(super) fn wrong_number(name: &str) -> Fault {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

fn unserved(name: &[u8], arguments: Words<'_>) -> Fault {
    if let Some(why) = refusals::why(name) {
        return format!("ERR '{}' is not served here: {why}", shown(name).to_ascii_lowercase()).into();
    }
    let mut repeated = String::new();
    for argument in arguments.iter() {
        if repeated.len() >= REPEATED_BYTES_MAX {
            break;
        }
        repeated.push_str(&format!("'{}' ", shown(argument)));
    }
    format!("ERR unknown command '{}', with args beginning with: {repeated}", shown(name)).into()
}

/// A word for an error.
fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word.get(..REPEATED_BYTES_MAX).unwrap_or(word)).into_owned()
}

/// As Redis writes integers, so that each has one form.
fn integer(word: &[u8]) -> Result<i64, Fault> {
    let text = std::str::from_utf8(word).unwrap_or_default();
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
        match Command::parse(scanner.words(line.as_bytes())) {
            Ok(Command::Operate(keys, Action::Increment(by), _)) => {
                Ok(format!("Add {} {by}", String::from_utf8_lossy(keys.get(0).unwrap_or_default())))
            }
            Ok(Command::Operate(keys, action, shape)) => Ok(format!("{action:?} {shape:?} {}", keys.len())),
            Ok(other) => Ok(format!("{other:?}").split([' ', '(', '{']).next().unwrap().to_owned()),
            Err(fault) => Err(fault.into_owned()),
        }
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
