//! The door as a whole: its dialogue without a socket, and its sessions against an engine whose answers the test chooses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;

use proptest::prelude::*;
use snowtide_protocol::{Action, Key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::dialogue::{Dialogue, Next};
use super::*;
use crate::api::known::KNOWN;
use crate::config::{Permission, Token};
use crate::engine::Fake;
use crate::identity::NamespaceId;
use crate::replica::{Operation, Outcome, Refusal};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const READER: &str = "reader-0123456789";
const WRITER: &str = "writer-0123456789";

fn hear(dialogue: &mut Dialogue, bytes: &[u8]) {
    dialogue.buffer.room(bytes.len()).copy_from_slice(bytes);
    dialogue.buffer.filled(bytes.len());
}

fn config() -> Config {
    let mut config = Config::builtin();
    config.api.request_timeout = Duration::from_secs(60);
    config
}

fn token(token: &str, access: &[Permission], namespaces: &[&str]) -> Token {
    let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
    Token { name: token.into(), token: token.into(), access: access.to_vec(), namespaces }
}

/// With a token for reading and one for reading and writing.
fn guarded() -> Config {
    let mut config = config();
    config.api.tokens =
        vec![token(READER, &[Permission::Read], &[]), token(WRITER, &[Permission::Read, Permission::Write], &[])];
    config
}

fn door_of(config: &Config, stage: Stage, engine: EngineHandle) -> (Arc<Door>, watch::Sender<Stage>) {
    let namespaces = Namespaces::from([("default".into(), NamespaceId(1)), ("likes".into(), NamespaceId(2))]);
    let (sender, stage) = watch::channel(stage);
    let limits = Limits::from(config);
    let door = Door {
        decider: KNOWN.decider.clone(),
        gate: Gate::before(engine, telemetry::Door::Redis, stage, config.api.request_timeout),
        namespaces: Arc::new(namespaces.with_elsewhere("orders", &["far"])),
        bearers: Bearers::new(&config.api.tokens),
        limits,
        region: "eu-west".into(),
        node: 0,
        port: 6410,
        up: Stopwatch::start(),
        budget: Budget::new(usize::try_from(config.api.client_bytes_max.as_u64()).unwrap()),
        queued: Arc::new(Semaphore::new(limits.queued_bytes_max)),
        ids: AtomicI64::new(1),
    };
    (Arc::new(door), sender)
}

fn dialogue_at(door: Arc<Door>) -> Dialogue {
    let account = door.budget.open(telemetry::Door::Redis);
    Dialogue::new(door, HERE, account)
}

/// Counters that work as they should.
#[derive(Default)]
struct Counters(BTreeMap<(NamespaceId, Key), i128>);

impl Counters {
    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome> {
        let one = |operation: &Operation| {
            let value = self.0.entry((operation.namespace, operation.key.clone())).or_default();
            if let Action::Increment(by) = operation.action {
                *value += i128::from(by);
            }
            Outcome::Value(*value)
        };
        operations.iter().map(one).collect()
    }
}

/// All replies to what arrives in these pieces, and whether the connection is closed after them.
fn replies_at(config: &Config, stage: Stage, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let (door, _stage) = door_of(config, stage, EngineHandle::recording().0);
    let (mut dialogue, mut counters, mut bytes) = (dialogue_at(door), Counters::default(), Vec::new());
    for piece in pieces {
        hear(&mut dialogue, piece);
        loop {
            let (next, _) = dialogue.take();
            let operations = std::mem::take(&mut dialogue.intake.batch.operations);
            dialogue.intake.batch.settle(Ok(&counters.apply(&operations)), &mut bytes);
            match next {
                Next::Read => break,
                Next::Take => {}
                Next::Close => return (bytes, true),
            }
        }
    }
    (bytes, false)
}

fn replies(config: &Config, lines: &[&str]) -> Vec<String> {
    let (bytes, _) = replies_at(config, Stage::Ready, &[command_bytes(lines).as_slice()]);
    String::from_utf8(bytes).unwrap().split_terminator("\r\n").map(str::to_owned).collect()
}

/// Each line as an array of bulk strings.
fn command_bytes(lines: &[&str]) -> Vec<u8> {
    let command = |line: &&str| {
        let words: Vec<_> = line.split(' ').map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{}", words.len(), words.concat())
    };
    lines.iter().map(command).collect::<String>().into_bytes()
}

#[test]
fn counters_are_changed_and_read_in_the_order_of_the_commands() {
    let lines = ["INCR a", "PING", "INCRBY a 10", "GET a", "DECR likes:a", "MGET a likes:a b", "EXISTS a a b", "GET b"];
    let expected = [":1", "+PONG", ":11", "$2", "11", ":-1", "*3", "$2", "11", "$2", "-1", "$1", "0", ":2", "$1", "0"];
    assert_eq!(replies(&config(), &lines), expected);
}

#[test]
fn limits_are_decided_in_the_order_of_the_commands() {
    let lines = [
        "CL.THROTTLE redis/t 1 60 3600",
        "INCR a",
        "cl.throttle redis/t 1 60 3600 1",
        "CL.THROTTLE redis/t 1 60 3600",
        "CL.THROTTLE redis/t 1 60 3600 0",
        "CL.THROTTLE redis/t 1 60 3600 3",
    ];
    let found = replies(&config(), &lines);
    let arrays: Vec<_> = found.split(|line| line == "*5").map(|array| array.join(" ")).collect();
    assert_eq!(arrays[1], ":0 :2 :1 :-1 :60 :1", "a unit of 60 in an hour takes a minute; then INCR's reply");
    assert!(arrays[2].starts_with(":0 :2 :0 :-1 :"), "{found:?}");
    let [_, limited, most, left, retry, _] = [""].iter().copied().chain(arrays[3].split(' ')).collect::<Vec<_>>()[..]
    else {
        panic!("{found:?}")
    };
    let seconds: u64 = retry[1..].parse().unwrap();
    assert_eq!((limited, most, left, (1..=60).contains(&seconds)), (":1", ":2", ":0", true), "{found:?}");
    assert!(arrays[4].starts_with(":0 :2 :0 :-1 :"), "nothing fits always: {found:?}");
    assert!(arrays[5].starts_with(":1 :2 :0 :-1 :"), "what can never be has no time to come back: {found:?}");
}

#[test]
fn a_counter_with_a_bound_and_an_end_is_a_limit() {
    let found = replies(
        &config(),
        &[
            "INCREX redis/i UBOUND 2 EX 3600 ENX",
            "increx redis/i px 3600000 enx byint 1 ubound 2",
            "INCREX redis/i UBOUND 2 EX 3600 ENX",
            "INCREX redis/i UBOUND 2 EX 3600 ENX BYINT 3",
        ],
    );
    assert_eq!(found[..9], ["*2", ":1", ":1", "*2", ":2", ":1", "*2", ":2", ":0"]);
    assert!(found[9].starts_with("-ERR cost_too_high: "), "{found:?}");
    for (line, words) in [
        ("INCREX a", "needs UBOUND"),
        ("INCREX a UBOUND 2 EX 60", "ENX"),
        ("INCREX a UBOUND 2 EX 60 ENX SATURATE", "without SATURATE"),
        ("INCREX a UBOUND 2 EX 60 ENX LBOUND 0", "without LBOUND"),
        ("INCREX a UBOUND 2 EX 60 ENX EX 60", "syntax error"),
        ("INCREX a UBOUND 2 EX", "syntax error"),
        ("INCREX a UBOUND 2 EX 60 ENX MORE", "syntax error"),
        ("INCREX a UBOUND -2 EX 60 ENX", "not an integer"),
        ("INCREX a UBOUND 0 EX 60 ENX", "a limit is 1 to"),
        ("INCREX a UBOUND 2 PX 999 ENX", "a window is 1000 to"),
        ("CL.THROTTLE a 15 30", "wrong number of arguments for 'cl.throttle'"),
        ("CL.THROTTLE a 15 30 60 1 1", "wrong number of arguments for 'cl.throttle'"),
        ("CL.THROTTLE a 15 x 60", "not an integer"),
        ("CL.THROTTLE a 15 30 18446744073709551615", "a window is 1000 to"),
        ("CL.THROTTLE .. 15 30 60", "another place"),
    ] {
        let found = replies(&config(), &[line, "PING"]);
        assert!(found[0].starts_with("-ERR") && found[0].contains(words), "{line}: {found:?}");
        assert_eq!(found[1..], ["+PONG"], "{line}");
    }
    let guarded = replies(&guarded(), &[&format!("AUTH {WRITER}"), "CL.THROTTLE a 15 30 60"]);
    assert!(guarded[1].starts_with("-NOPERM the token") && guarded[1].contains("limits"), "{guarded:?}");
}

#[test]
fn a_bad_key_fails_its_command_and_no_other() {
    let long = format!("INCR {}", "k".repeat(513));
    let found = replies(&config(), &["INCR a", "MGET a orders:1 a", &long, "INCR a"]);
    assert_eq!((&found[0][..], &found[3][..]), (":1", ":2"));
    assert!(found[1].starts_with("-ERR wrong_region: ") && found[1].ends_with("ask a node of far"), "{found:?}");
    assert!(found[2].starts_with("-ERR too_large: a key is 1 to 512 bytes"), "{found:?}");
}

#[test]
fn hello_chooses_the_version_from_the_next_reply_on() {
    let found =
        replies(&config(), &["CLIENT GETNAME", "HELLO 3 SETNAME me", "CLIENT GETNAME", "CONFIG GET save", "HELLO 2"]);
    assert_eq!(found[..2], ["$-1", "%7"]);
    let rest = found.join(" ");
    assert!(rest.contains("$5 proto :3") && rest.contains("$2 me %1 $4 save $0  *14") && rest.contains("$5 proto :2"));
    for (line, error) in [
        ("HELLO 4", "-NOPROTO unsupported protocol version"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 NAME x", "-ERR Syntax error in HELLO option 'NAME'"),
        ("HELLO 3 AUTH x", "-ERR Syntax error in HELLO option 'AUTH'"),
    ] {
        // Nothing of it is done.
        assert_eq!(replies(&config(), &[line, "CLIENT GETNAME"]), [error, "$-1"]);
    }
}

#[test]
fn tokens_are_passwords() {
    let (writer, reader) = (format!("AUTH {WRITER}"), format!("AUTH someone {READER}"));
    let found =
        replies(&guarded(), &["INCR a", "PING", &reader, "GET a", "INCR a", &writer, "INCR a", "RESET", "GET a"]);
    let no_auth = "-NOAUTH Authentication required.";
    assert_eq!(found[..5], [no_auth, no_auth, "+OK", "$1", "0"]);
    assert!(found[5].starts_with("-NOPERM "), "{found:?}");
    assert_eq!(found[6..], ["+OK", ":1", "+RESET", no_auth]);
    let found = replies(
        &guarded(),
        &["AUTH wrong", "HELLO 3", &format!("HELLO 3 AUTH default {WRITER}"), "AUTH wrong", "INCR a"],
    );
    assert!(found[0].starts_with("-WRONGPASS ") && found[1].starts_with("-NOAUTH HELLO"), "{found:?}");
    assert_eq!(found[2], "%7");
    assert_eq!(found.last().unwrap(), ":1", "who shows a wrong one keeps what he had");
    assert!(replies(&config(), &["AUTH x"])[0].starts_with("-ERR AUTH <password> called without any password"));
}

#[test]
fn a_token_opens_its_namespaces_and_tells_nothing_of_others() {
    let mut config = config();
    config.api.tokens = vec![token(WRITER, &[Permission::Write], &["likes"])];
    let lines =
        [&format!("AUTH {WRITER}")[..], "INCR likes:a", "INCR a", "INCR orders:a", "GET likes:a", "INCR likes:a"];
    let found = replies(&config, &lines);
    assert_eq!((&found[1][..], &found[5][..]), (":1", ":2"));
    for (at, words) in
        [(2, r#""write" in the namespace "default""#), (3, r#""write" in the namespace "orders""#), (4, "read")]
    {
        assert!(found[at].starts_with("-NOPERM the token ") && found[at].contains(words), "{found:?}");
    }
}

#[test]
fn a_connection_whose_token_was_taken_away_has_to_show_another() {
    let (door, _stage) = door_of(&guarded(), Stage::Ready, EngineHandle::recording().0);
    let mut dialogue = dialogue_at(Arc::clone(&door));
    let mut say = |lines: &[&str]| {
        hear(&mut dialogue, &command_bytes(lines));
        dialogue.take();
        let outcomes = vec![Outcome::Value(7); std::mem::take(&mut dialogue.intake.batch.operations).len()];
        let mut bytes = Vec::new();
        dialogue.intake.batch.settle(Ok(&outcomes), &mut bytes);
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(say(&[&format!("AUTH {WRITER}"), "INCR a"]), "+OK\r\n:7\r\n");
    door.bearers.replace(&[token(WRITER, &[Permission::Read], &[])]);
    assert!(say(&["INCR a"]).starts_with("-NOPERM "), "what it allows now counts");
    door.bearers.replace(&[token(READER, &[Permission::Read], &[])]);
    assert_eq!(say(&["GET a"]), "-NOAUTH Authentication required.\r\n");
    assert_eq!(say(&[&format!("AUTH {READER}"), "GET a"]), "+OK\r\n$1\r\n7\r\n");
}

#[test]
fn strangers_may_not_send_much() {
    let many = b"*11\r\n$4\r\nMGET\r\n";
    let (bytes, closed) = replies_at(&guarded(), Stage::Ready, &[many]);
    assert!(bytes.starts_with(b"-ERR Protocol error: invalid multibulk length") && closed);
    assert_eq!(replies_at(&config(), Stage::Ready, &[many]), (vec![], false));
}

#[test]
fn a_node_that_does_not_serve_counters_says_why_and_talks() {
    let stages = [
        (Stage::Starting, "-LOADING starting"),
        (Stage::Draining, "-ERR draining"),
        (Stage::Drained, "-ERR draining"),
        (Stage::Fenced("a clone".into()), "-ERR fenced"),
    ];
    for (stage, error) in stages {
        let (bytes, closed) = replies_at(&config(), stage, &[&command_bytes(&["INCR a", "PING", "ECHO a"])]);
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with(error) && lines[1].starts_with(error), "{text}");
        assert_eq!((&lines[2..], closed), (&["$1", "a"][..], false));
    }
}

#[test]
fn malformed_input_is_answered_after_what_came_before_and_ends_the_connection() {
    let mut bytes = command_bytes(&["INCR a"]);
    bytes.extend_from_slice(b"*1\r\n:1\r\n");
    bytes.extend_from_slice(&command_bytes(&["INCR a"]));
    let (bytes, closed) = replies_at(&config(), Stage::Ready, &[&bytes]);
    assert_eq!((&bytes[..], closed), (&b":1\r\n-ERR Protocol error: expected '$', got ':'\r\n"[..], true));
    let (bytes, closed) = replies_at(&config(), Stage::Ready, &[b"QUIT\r\nPING\r\n"]);
    assert_eq!((&bytes[..], closed), (&b"+OK\r\n"[..], true));
}

#[test]
fn what_a_node_tells_about_itself() {
    let text =
        replies(&config(), &["INFO", "INFO server", "INFO nonsense", "COMMAND COUNT", "COMMAND DOCS"]).join("\n");
    for line in ["redis_version:7.2.0", "tcp_port:6410", "region:eu-west", "role:master", "loading:0", ":23", "*46"] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    assert_eq!((text.matches("# Server").count(), text.matches("# Clients").count()), (2, 1));
    let found = replies(&config(), &["COMMAND", "CONFIG GET save appendonly nonsense", "SELECT 0", "CLIENT ID"]);
    assert_eq!(found[..5], ["*23", "*10", "$4", "incr", ":2"]);
    assert!(found.join(" ").ends_with("*4 $4 save $0  $10 appendonly $3 yes +OK :1"), "{found:?}");
}

/// A row of `COMMAND` as Redis 7 sends it, field by field.
#[test]
fn a_row_of_command_has_the_fields_that_redis_has() {
    let found = replies(&config(), &["HELLO 3", "COMMAND INFO mget nonsense client|id client"]).join(" ");
    let (_, found) = found.split_once("modules *0 ").unwrap();
    let mget = "*10 $4 mget :-2 ~2 +readonly +fast :1 :-1 :1 ~3 +@read +@string +@fast ~1 $26 \
                request_policy:multi_shard ~1 %3 $5 flags ~2 +RO +access $12 begin_search %2 $4 type $5 index $4 spec %1 \
                $5 index :1 $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :-1 $7 keystep :1 $5 limit :0 ~0";
    let id = "*10 $9 client|id :2 ~3 +noscript +loading +stale :0 :0 :0 ~2 +@slow +@connection ~0 ~0 ~0";
    let client = "*10 $6 client :-2 ~0 :0 :0 :0 ~1 +@slow ~0 ~0 *4 *10 $14 client|setname";
    assert!(found.starts_with(&format!("*4 {mget} _ {id} {client}")), "{found}");
    let found =
        replies(&config(), &["COMMAND INFO ping nonsense", "COMMAND DOCS incr nonsense", "COMMAND LIST"]).join(" ");
    assert!(found.starts_with("*2 *10 $4 ping :-1 *1 +fast :0 :0 :0 *2 "), "{found}");
    assert!(found.contains(" *-1 *2 $4 incr *8 $7 summary ") && found.contains(" O(1) *23 $4 incr $3 get "), "{found}");
}

const QUEUED: &str = "+QUEUED";

#[test]
fn a_transaction_is_one_batch_whose_replies_come_with_exec() {
    let (door, _stage) = door_of(&config(), Stage::Ready, EngineHandle::recording().0);
    let mut dialogue = dialogue_at(door);
    let lines = ["MULTI", "INCR a", "PING", "MGET a likes:b", "INCRBY a x", "INCR a"];
    hear(&mut dialogue, &command_bytes(&lines));
    assert_eq!(dialogue.take(), (Next::Read, true));
    assert!(dialogue.intake.batch.operations.is_empty(), "nothing is asked before EXEC");
    let mut bytes = Vec::new();
    dialogue.intake.batch.settle(Ok(&[]), &mut bytes);
    assert_eq!(bytes, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    hear(&mut dialogue, &command_bytes(&["EXEC", "GET a"]));
    assert_eq!(dialogue.take(), (Next::Read, true));
    assert_eq!(dialogue.intake.batch.operations.len(), 5);
    let (outcomes, mut bytes) = ([1, 1, 0, 2, 2].map(Outcome::Value), Vec::new());
    dialogue.intake.batch.settle(Ok(&outcomes), &mut bytes);
    let replies = "*5\r\n:1\r\n+PONG\r\n*2\r\n$1\r\n1\r\n$1\r\n0\r\n\
                   -ERR value is not an integer or out of range\r\n:2\r\n$1\r\n2\r\n";
    assert_eq!(String::from_utf8(bytes).unwrap(), replies);
}

#[test]
fn a_transaction_ends_as_in_redis() {
    let abort = "-EXECABORT Transaction discarded because of previous errors.";
    let nested = "-ERR MULTI calls can not be nested";
    for (lines, expected) in [
        (&["MULTI", "EXEC"][..], &["+OK", "*0"][..]),
        (&["EXEC", "DISCARD"], &["-ERR EXEC without MULTI", "-ERR DISCARD without MULTI"]),
        (&["MULTI", "MULTI", "INCR a", "EXEC"], &["+OK", nested, QUEUED, "*1", ":1"]),
        (&["MULTI", "INCR a", "DISCARD", "GET a"], &["+OK", QUEUED, "+OK", "$1", "0"]),
        (
            &["MULTI", "INCR a", "RESET", "GET a", "EXEC"],
            &["+OK", QUEUED, "+RESET", "$1", "0", "-ERR EXEC without MULTI"],
        ),
        (&["MULTI", "INCR a", "QUIT"], &["+OK", QUEUED, "+OK"]),
        (
            &["MULTI", "INCR a", "INCR", "INCR a", "EXEC", "GET a"],
            &["+OK", QUEUED, "-ERR wrong number of arguments for 'incr' command", QUEUED, abort, "$1", "0"],
        ),
        (
            &["MULTI", "SELECT 1", "AUTH", "EXEC"],
            &["+OK", QUEUED, "-ERR wrong number of arguments for 'auth' command", abort],
        ),
        (
            &["multi", "client setname", "exec"],
            &["+OK", "-ERR wrong number of arguments for 'client|setname' command", abort],
        ),
        (&["MULTI", "CLIENT SETNAME me", "CLIENT GETNAME", "EXEC"], &["+OK", QUEUED, QUEUED, "*2", "+OK", "$2", "me"]),
        (&["MULTI", "HELLO 4", "EXEC"], &["+OK", QUEUED, "*1", "-NOPROTO unsupported protocol version"]),
    ] {
        assert_eq!(replies(&config(), lines), expected, "{lines:?}");
    }
    let version = replies(&config(), &["MULTI", "HELLO 3", "CLIENT GETNAME", "EXEC"]);
    assert!(version[3..5] == ["*2", "%7"] && version.last().unwrap() == "_", "{version:?}");
}

#[test]
fn what_is_known_to_be_refused_spoils_a_transaction() {
    for refused in ["SET a 1", "WATCH a", "NONSENSE", "INCR orders:1", "INCR ..", "MGET a likes:.", "CLIENT KILL"] {
        let found = replies(&config(), &["MULTI", "INCR a", refused, "EXEC", "GET a"]);
        assert!(found[2].starts_with("-ERR "), "{found:?}");
        assert!(found[3].starts_with("-EXECABORT ") && found[4..] == ["$1", "0"], "{found:?}");
    }
    let found =
        replies(&guarded(), &[&format!("AUTH {READER}"), "MULTI", "GET a", "INCR a", "EXEC", "MULTI", "GET a", "EXEC"]);
    assert!(found[3].starts_with("-NOPERM ") && found[4].starts_with("-EXECABORT "), "{found:?}");
    assert_eq!(found[5..], ["+OK", QUEUED, "*1", "$1", "0"]);
    assert_eq!(replies(&guarded(), &["MULTI"]), ["-NOAUTH Authentication required."]);
}

#[test]
fn a_node_that_is_taken_out_of_service_between_multi_and_exec_counts_nothing() {
    let (door, stage) = door_of(&config(), Stage::Ready, EngineHandle::recording().0);
    let mut dialogue = dialogue_at(door);
    hear(&mut dialogue, &command_bytes(&["MULTI", "INCR a"]));
    dialogue.take();
    stage.send_replace(Stage::Draining);
    hear(&mut dialogue, &command_bytes(&["EXEC", "MULTI", "INCR a", "PING", "EXEC"]));
    dialogue.take();
    assert!(dialogue.intake.batch.operations.is_empty());
    let mut bytes = Vec::new();
    dialogue.intake.batch.settle(Ok(&[]), &mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<_> = text.lines().skip(2).collect();
    assert!(lines[0].starts_with("-EXECABORT Transaction discarded because of: ERR draining"), "{text}");
    assert!(lines[2].starts_with("-ERR draining") && lines[4].starts_with("-EXECABORT "), "{text}");
}

#[test]
fn transactions_are_bounded_each_and_together() {
    let gather = format!("MGET {}", vec!["k"; 5_000].join(" "));
    let found = replies(&config(), &["MULTI", &gather, &gather, "GET a", "GET a", "EXEC"]);
    assert_eq!(found[..3], ["+OK", QUEUED, QUEUED]);
    assert!(found[3].starts_with("-ERR too_large: ") && found[4] == QUEUED, "{found:?}");
    assert!(found[5].starts_with("-EXECABORT "), "{found:?}");
    // As many as fit go into one batch, behind whatever came before.
    let found = replies(&config(), &["INCR a", "MULTI", &gather, &gather, "EXEC"]);
    assert_eq!((found.len(), &found[4][..], &found[5][..]), (4 + 1 + 2 * 10_001, "*2", "*5000"));
    let mut config = config();
    config.redis.queued_bytes_max = bytesize::ByteSize::mib(2);
    let (door, _stage) = door_of(&config, Stage::Ready, EngineHandle::recording().0);
    let long = format!("ECHO {}", "x".repeat(900 << 10));
    let mut dialogues = [(); 3].map(|()| dialogue_at(Arc::clone(&door)));
    let mut last = |at: usize, lines: &[&str]| {
        let dialogue: &mut Dialogue = &mut dialogues[at];
        hear(dialogue, &command_bytes(lines));
        while dialogue.take().0 == Next::Take {
            dialogue.intake.batch.settle(Ok(&[]), &mut Vec::new());
        }
        let mut bytes = Vec::new();
        dialogue.intake.batch.settle(Ok(&[]), &mut bytes);
        String::from_utf8(bytes).unwrap().lines().last().unwrap().to_owned()
    };
    assert_eq!(last(0, &["MULTI", &long]), QUEUED);
    assert_eq!(last(1, &["MULTI", &long]), QUEUED);
    assert!(last(2, &["MULTI", &long]).starts_with("-TRYAGAIN overloaded: "));
    assert!(last(2, &["EXEC"]).starts_with("-EXECABORT "));
    assert_eq!(last(0, &["DISCARD"]), "+OK");
    assert_eq!(last(2, &["MULTI", &long]), QUEUED);
    drop(dialogues);
    assert_eq!(door.queued.available_permits(), 2 << 20, "connections that are gone hold nothing");
}

#[test]
fn many_short_commands_with_long_replies_are_answered_in_parts() {
    let (door, _stage) = door_of(&config(), Stage::Ready, EngineHandle::recording().0);
    let mut dialogue = dialogue_at(door);
    hear(&mut dialogue, &command_bytes(&["COMMAND"; 1_000]));
    let (mut parts, mut bytes, mut longest) = (0, Vec::new(), 0);
    loop {
        let (next, _) = dialogue.take();
        let before = bytes.len();
        dialogue.intake.batch.settle(Ok(&[]), &mut bytes);
        longest = longest.max(bytes.len() - before);
        parts += 1;
        if next == Next::Read {
            break;
        }
    }
    assert_eq!(bytes.windows(5).filter(|bytes| bytes == b"*23\r\n").count(), 1_000);
    assert!(parts > 2 && longest < 300_000, "{parts} parts, {longest} bytes");
}

const LINES: [&str; 18] = [
    "INCR a",
    "DECRBY b 7",
    "GET a",
    "MGET a b likes:a",
    "EXISTS a b c",
    "PING",
    "ECHO hello",
    "HELLO 3",
    "HELLO 2",
    "SET a 1",
    "INCR",
    "INCRBY a x",
    "CLIENT SETNAME me",
    "CLIENT GETNAME",
    "MULTI",
    "EXEC",
    "DISCARD",
    "COMMAND INFO get nonsense",
];

proptest! {
    #[test]
    fn replies_do_not_depend_on_how_commands_are_cut(
        chosen in prop::collection::vec((0..LINES.len(), any::<bool>()), 1..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        for (at, typed) in chosen {
            let line = LINES[at];
            bytes.extend(if typed { format!("{line}\r\n").into_bytes() } else { command_bytes(&[line]) });
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        let whole = replies_at(&config(), Stage::Ready, &[&bytes]);
        prop_assert_eq!(&whole, &replies_at(&config(), Stage::Ready, &pieces));
        prop_assert_eq!(&whole, &replies_at(&config(), Stage::Ready, &bytewise));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(prop_oneof![
        any::<u8>(),
        prop::sample::select(&b"*$\r\n0123456789- PINGet:"[..]),
    ], 0..300)) {
        replies_at(&config(), Stage::Ready, &[&bytes]);
        replies_at(&guarded(), Stage::Ready, &bytes.chunks(7).collect::<Vec<_>>());
    }

    #[test]
    fn a_flipped_byte_never_panics(chosen in 0..LINES.len(), at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = command_bytes(&[LINES[chosen], "PING"]);
        let at = at.index(bytes.len());
        bytes[at] = to;
        replies_at(&config(), Stage::Ready, &[&bytes]);
    }
}

/// A door that is served on a socket until this is dropped.
struct Served {
    address: std::net::SocketAddr,
    stage: watch::Sender<Stage>,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

async fn serve_with(config: &Config, engine: impl FnMut(Vec<Operation>) -> Fake + Send + 'static) -> Served {
    let (door, stage) = door_of(config, Stage::Ready, EngineHandle::fake(engine));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(attend(listener, door, Threads::here(), None, shutdown.clone()));
    Served { address, stage, shutdown, serving }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Sends these bytes and reads as many of the replies.
async fn exchange(stream: &mut TcpStream, bytes: &[u8], replies: &str) {
    stream.write_all(bytes).await.unwrap();
    let mut found = vec![0; replies.len()];
    stream.read_exact(&mut found).await.unwrap();
    assert_eq!(String::from_utf8(found).unwrap(), replies);
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    rest
}

#[tokio::test]
async fn nothing_is_written_before_the_engine_has_answered() {
    let (asked, asks) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let served = serve_with(&config(), move |operations| {
        asked.send(operations.len()).unwrap();
        released.recv().unwrap();
        Ok(vec![Outcome::Value(7); operations.len()])
    })
    .await;
    let mut stream = served.connect().await;
    stream.write_all(&command_bytes(&["PING", "INCR a", "GET a"])).await.unwrap();
    let operations = tokio::task::spawn_blocking(move || asks.recv().unwrap()).await.unwrap();
    assert_eq!(operations, 2, "what came together is one batch");
    let nothing = stream.try_read(&mut [0; 100]);
    assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    release.send(()).unwrap();
    exchange(&mut stream, b"", "+PONG\r\n:7\r\n$1\r\n7\r\n").await;
}

#[tokio::test]
async fn a_long_pipeline_is_cut_into_batches_that_the_engine_takes() {
    let (sizes, sized) = mpsc::channel();
    let mut counters = Counters::default();
    let served = serve_with(&config(), move |operations| {
        sizes.send(operations.len()).unwrap();
        Ok(counters.apply(&operations))
    })
    .await;
    let mut stream = served.connect().await;
    let (mut reading, mut writing) = stream.split();
    let lines = vec!["INCR a"; 30_000];
    let bytes = command_bytes(&lines);
    let expected: String = (1..=lines.len()).map(|value| format!(":{value}\r\n")).collect();
    let mut found = vec![0; expected.len()];
    let (written, read) = tokio::join!(writing.write_all(&bytes), reading.read_exact(&mut found));
    written.unwrap();
    read.unwrap();
    assert!(found == expected.as_bytes());
    let sizes: Vec<_> = sized.try_iter().collect();
    assert_eq!(sizes.iter().sum::<usize>(), lines.len());
    assert!(sizes.iter().all(|size| *size <= 10_000), "{sizes:?}");
}

#[tokio::test]
async fn an_engine_that_ends_leaves_writes_unknown_and_says_so() {
    let served = serve_with(&config(), |_| panic!("the engine ends")).await;
    let mut stream = served.connect().await;
    stream.write_all(&command_bytes(&["PING", "INCR a", "PING"])).await.unwrap();
    let unknown = "-ERR internal: this node stopped before it answered; whether a write was carried out is unknown\r\n";
    assert_eq!(rest(&mut stream).await, format!("+PONG\r\n{unknown}+PONG\r\n"));
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_open() {
    let served = serve_with(&config(), |_| Err(Refusal::DiskLow)).await;
    let mut stream = served.connect().await;
    let refused = format!("-MISCONF disk_low: {}\r\n", Refusal::DiskLow);
    exchange(&mut stream, &command_bytes(&["INCR a"]), &refused).await;
    exchange(&mut stream, &command_bytes(&["PING"]), "+PONG\r\n").await;
}

#[tokio::test]
async fn a_connection_more_than_there_are_places_is_told_so() {
    let mut config = config();
    config.redis.connections_max = 1;
    let (answer, answers) = mpsc::channel();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let served = serve_with(&config, move |_| {
        begun.send(()).unwrap();
        answers.recv().unwrap()
    });
    let served = served.await;
    let mut first = served.connect().await;
    first.write_all(&command_bytes(&["INCR a"])).await.unwrap();
    begins.recv().await.unwrap();
    // While a command is in our hands its connection is not cut, however slow this machine is.
    assert_eq!(rest(&mut served.connect().await).await, "-ERR max number of clients reached\r\n");
    answer.send(Ok(vec![Outcome::Value(1)])).unwrap();
    exchange(&mut first, b"QUIT\r\n", ":1\r\n+OK\r\n").await;
    assert_eq!(rest(&mut first).await, "");
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed_even_if_it_sends() {
    let mut config = config();
    config.redis.idle_timeout = Duration::from_millis(100);
    let served = serve_with(&config, |_| Ok(vec![])).await;
    let mut stream = served.connect().await;
    stream.write_all(b"*2\r\n$4\r\nINC").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_drained_node_closes_its_connections_and_the_door_ends() {
    let served = serve_with(&config(), |operations| Ok(vec![Outcome::Value(1); operations.len()])).await;
    let mut stream = served.connect().await;
    exchange(&mut stream, &command_bytes(&["INCR a"]), ":1\r\n").await;
    served.stage.send_replace(Stage::Draining);
    let refused = format!("-ERR draining: {}\r\n", Refusal::Draining);
    exchange(&mut stream, &command_bytes(&["INCR a"]), &refused).await;
    served.shutdown.cancel();
    served.stage.send_replace(Stage::Drained);
    assert_eq!(rest(&mut stream).await, "");
    drop(stream);
    served.serving.await.unwrap();
}
