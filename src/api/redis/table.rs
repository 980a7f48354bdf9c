//! The commands that are served, and what `COMMAND` tells of each: as Redis 7.2 tells it, but in words that fit counters.

use super::reply::Reply;

/// What a command is called and how it is used.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) verb: Verb,
    pub(super) row: Row,
    /// `CLIENT ID` and the like.
    pub(super) subcommands: &'static [Row],
}

/// What `COMMAND INFO` and `COMMAND DOCS` tell.
#[derive(Debug)]
pub(super) struct Row {
    /// In lower case; a subcommand's own name stands behind a bar.
    pub(super) name: &'static str,
    /// How many words it has, its names included; negative: at least so many.
    pub(super) arity: i64,
    flags: &'static [&'static str],
    pub(super) keys: Keys,
    categories: &'static [&'static str],
    tips: &'static [&'static str],
    summary: &'static str,
    /// The version of Redis that has it first.
    since: &'static str,
    group: &'static str,
    complexity: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Incr,
    Get,
    IncrBy,
    Mget,
    Decr,
    DecrBy,
    Exists,
    Ping,
    Echo,
    Multi,
    Exec,
    Discard,
    Hello,
    Auth,
    Client,
    Command,
    Config,
    Info,
    Select,
    Quit,
    Reset,
}

/// Which words are keys, and what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    /// The first word behind the name.
    One(&'static [&'static str]),
    /// All of them.
    All(&'static [&'static str]),
}

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

const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

/// A row whose group and categories are those of a family of commands.
const fn row(name: &'static str, arity: i64, flags: &'static [&'static str], of: Family, summary: &'static str) -> Row {
    let Family { categories, group, since } = of;
    Row { name, arity, flags, keys: Keys::None, categories, tips: &[], summary, since, group, complexity: "O(1)" }
}

#[derive(Clone, Copy)]
struct Family {
    categories: &'static [&'static str],
    group: &'static str,
    since: &'static str,
}

const fn family(group: &'static str, since: &'static str, categories: &'static [&'static str]) -> Family {
    Family { categories, group, since }
}

const fn written(since: &'static str) -> Family {
    family("string", since, &["@write", "@string", "@fast"])
}

const fn connection(since: &'static str) -> Family {
    family("connection", since, &["@fast", "@connection"])
}

const fn slow(group: &'static str, since: &'static str) -> Family {
    family(group, since, &["@slow", "@connection"])
}

impl Row {
    const fn keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    const fn tips(self, tips: &'static [&'static str]) -> Self {
        Self { tips, ..self }
    }

    const fn takes(self, complexity: &'static str) -> Self {
        Self { complexity, ..self }
    }

    const fn of(self, verb: Verb) -> Spec {
        Spec { verb, row: self, subcommands: &[] }
    }
}

impl Spec {
    const fn with(self, subcommands: &'static [Row]) -> Self {
        Self { subcommands, ..self }
    }
}

/// Every command; the frequent ones come first.
pub(super) const COMMANDS: [Spec; 21] = [
    row("incr", 2, WRITES, written("1.0.0"), "Adds one to a counter").keys(Keys::One(CHANGED)).of(Verb::Incr),
    row("get", 2, READS, family("string", "1.0.0", &["@read", "@string", "@fast"]), "Reads a counter")
        .keys(Keys::One(READ))
        .of(Verb::Get),
    row("incrby", 3, WRITES, written("1.0.0"), "Adds to a counter").keys(Keys::One(CHANGED)).of(Verb::IncrBy),
    row("mget", -2, READS, family("string", "1.0.0", &["@read", "@string", "@fast"]), "Reads counters")
        .keys(Keys::All(READ))
        .tips(&["request_policy:multi_shard"])
        .takes("O(N), where N is the number of counters")
        .of(Verb::Mget),
    row("decr", 2, WRITES, written("1.0.0"), "Subtracts one from a counter").keys(Keys::One(CHANGED)).of(Verb::Decr),
    row("decrby", 3, WRITES, written("1.0.0"), "Subtracts from a counter").keys(Keys::One(CHANGED)).of(Verb::DecrBy),
    row(
        "exists",
        -2,
        READS,
        family("generic", "1.0.0", &["@keyspace", "@read", "@fast"]),
        "Counts those that are not 0",
    )
    .keys(Keys::All(LOOKED_FOR))
    .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
    .takes("O(N), where N is the number of counters")
    .of(Verb::Exists),
    row("ping", -1, &["fast"], connection("1.0.0"), "Tells whether the node serves").tips(ALL_SHARDS).of(Verb::Ping),
    row("echo", 2, TALKS, connection("1.0.0"), "Answers what was sent").of(Verb::Echo),
    row(
        "multi",
        1,
        GATHERS,
        family("transactions", "1.2.0", &["@fast", "@transaction"]),
        "Gathers commands for one batch",
    )
    .of(Verb::Multi),
    row(
        "exec",
        1,
        CARRIES_OUT,
        family("transactions", "1.2.0", &["@slow", "@transaction"]),
        "Carries out what was gathered",
    )
    .takes("Depends on the commands")
    .of(Verb::Exec),
    row(
        "discard",
        1,
        GATHERS,
        family("transactions", "2.0.0", &["@fast", "@transaction"]),
        "Forgets what was gathered",
    )
    .of(Verb::Discard),
    row("hello", -1, OPENS, connection("6.0.0"), "Chooses the version of the protocol").of(Verb::Hello),
    row("auth", -2, OPENS, connection("1.0.0"), "Shows a token").of(Verb::Auth),
    row("client", -2, &[], family("connection", "2.4.0", &["@slow"]), "What a connection says about itself")
        .takes("Depends on the subcommand")
        .of(Verb::Client)
        .with(&CLIENT),
    row("command", -1, TELLS, slow("server", "2.8.13"), "Tells of all commands")
        .tips(UNORDERED)
        .takes("O(N), where N is the number of commands")
        .of(Verb::Command)
        .with(&COMMAND),
    row("config", -2, &[], family("server", "2.0.0", &["@slow"]), "What tools look for")
        .takes("Depends on the subcommand")
        .of(Verb::Config)
        .with(&CONFIG),
    row("info", -1, TELLS, family("server", "1.0.0", &["@slow", "@dangerous"]), "Tells of the node")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .of(Verb::Info),
    row("select", 2, TALKS, connection("1.0.0"), "Chooses the only database").of(Verb::Select),
    row("quit", -1, OPENS, connection("1.0.0"), "Closes the connection").of(Verb::Quit),
    row("reset", 1, OPENS, connection("6.2.0"), "Begins the connection anew").of(Verb::Reset),
];

const CLIENT: [Row; 4] = [
    row("client|setname", 3, NAMES, slow("connection", "2.6.9"), "Names the connection"),
    row("client|getname", 2, NAMES, slow("connection", "2.6.9"), "Tells the connection's name"),
    row("client|setinfo", 4, NAMES, slow("connection", "7.2.0"), "Takes note of the client's library"),
    row("client|id", 2, NAMES, slow("connection", "5.0.0"), "Tells the connection's number"),
];

const COMMAND: [Row; 4] = [
    row("command|count", 2, TELLS, slow("server", "2.8.13"), "Tells how many commands there are"),
    row("command|docs", -2, TELLS, slow("server", "7.0.0"), "Tells what commands do").tips(UNORDERED),
    row("command|info", -2, TELLS, slow("server", "2.8.13"), "Tells how commands are used").tips(UNORDERED),
    row("command|list", -2, TELLS, slow("server", "7.0.0"), "Names all commands").tips(UNORDERED),
];

const CONFIG: [Row; 1] = [row(
    "config|get",
    -3,
    &["admin", "noscript", "loading", "stale"],
    family("server", "2.0.0", &["@admin", "@slow", "@dangerous"]),
    "Tells settings that tools look for",
)];

/// The command, or the subcommand behind a bar, of this name.
pub(super) fn find(name: &[u8]) -> Option<(&'static Row, &'static [Row])> {
    let is = |row: &Row| name.eq_ignore_ascii_case(row.name.as_bytes());
    let mut all = COMMANDS.iter();
    all.find_map(|spec| match is(&spec.row) {
        true => Some((&spec.row, spec.subcommands)),
        false => spec.subcommands.iter().find(|row| is(row)).map(|row| (row, &[][..])),
    })
}

impl Keys {
    /// The first key, the last and the step from one to the next.
    fn places(self) -> [i64; 3] {
        match self {
            Self::None => [0, 0, 0],
            Self::One(_) => [1, 1, 1],
            Self::All(_) => [1, -1, 1],
        }
    }
}

/// One row of `COMMAND` and `COMMAND INFO`: ten fields since Redis 7.0.
pub(super) fn tell_row(reply: &mut Reply<'_>, row: &Row, subcommands: &[Row]) {
    reply.array(10);
    reply.text(row.name.as_bytes());
    reply.integer(row.arity);
    reply.set(row.flags.len());
    row.flags.iter().for_each(|flag| reply.word(flag));
    row.keys.places().into_iter().for_each(|place| reply.integer(place));
    reply.set(row.categories.len());
    row.categories.iter().for_each(|category| reply.word(category));
    reply.set(row.tips.len());
    row.tips.iter().for_each(|tip| reply.text(tip.as_bytes()));
    match row.keys {
        Keys::None => reply.set(0),
        Keys::One(flags) => tell_keys(reply, flags, 0),
        Keys::All(flags) => tell_keys(reply, flags, -1),
    }
    if subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(subcommands.len());
        subcommands.iter().for_each(|row| tell_row(reply, row, &[]));
    }
}

/// Where the keys stand: from the first word on, up to so many further.
fn tell_keys(reply: &mut Reply<'_>, flags: &[&str], last: i64) {
    reply.set(1);
    reply.map(3);
    reply.text(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.word(flag));
    for (step, kind, numbers) in [
        (&b"begin_search"[..], &b"index"[..], &[(&b"index"[..], 1)][..]),
        (b"find_keys", b"range", &[(b"lastkey", last), (b"keystep", 1), (b"limit", 0)]),
    ] {
        reply.text(step);
        reply.map(2);
        reply.text(b"type");
        reply.text(kind);
        reply.text(b"spec");
        reply.map(numbers.len());
        for (name, number) in numbers {
            reply.text(name);
            reply.integer(*number);
        }
    }
}

/// A name and what is told of it by `COMMAND DOCS`.
pub(super) fn tell_docs(reply: &mut Reply<'_>, row: &Row, subcommands: &[Row]) {
    reply.text(row.name.as_bytes());
    reply.map(if subcommands.is_empty() { 4 } else { 5 });
    for (name, text) in
        [("summary", row.summary), ("since", row.since), ("group", row.group), ("complexity", row.complexity)]
    {
        reply.text(name.as_bytes());
        reply.text(text.as_bytes());
    }
    if !subcommands.is_empty() {
        reply.text(b"subcommands");
        reply.map(subcommands.len());
        subcommands.iter().for_each(|row| tell_docs(reply, row, &[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_stand_behind_the_names_of_their_commands() {
        for spec in &COMMANDS {
            for row in spec.subcommands {
                assert_eq!(row.name.split_once('|').unwrap().0, spec.row.name);
                assert_eq!(find(row.name.to_ascii_uppercase().as_bytes()).unwrap().0.name, row.name);
            }
            assert_eq!(find(spec.row.name.as_bytes()).unwrap().1.len(), spec.subcommands.len());
        }
        assert!(find(b"client|kill").is_none() && find(b"").is_none() && find(b"client|").is_none());
    }
}
