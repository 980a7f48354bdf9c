//! The Redis protocol at a real node: by hand, and by redis-cli, redis-benchmark and redis-py as they are.

use std::net::SocketAddr;
use std::process::Stdio;

use snowtide_dev::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{Bed, DEADLINE, EAST, WEST, eventually, http};

const READER: &str = "reader-0123456789";
const WRITER: &str = "writer-0123456789";
/// The interpreter for which the system's package installs redis-py.
const PYTHON: &str = "/usr/bin/python3";

/// One node, with these settings.
async fn node(settings: &[(&str, &str)]) -> (Bed, SocketAddr) {
    let bed = Bed::start(|options| {
        let options = settings.iter().fold(options, |options, (key, value)| options.set(key, value));
        Options { regions: Some(1), ..options }
    })
    .await;
    let address = door(&bed, EAST);
    (bed, address)
}

/// Where the region's node speaks the Redis protocol.
fn door(bed: &Bed, region: &str) -> SocketAddr {
    bed.cluster.endpoints().into_iter().find(|node| node.region == region).unwrap().redis.unwrap()
}

/// Whether so many connections are open at the door.
async fn has_connections(bed: &Bed, count: usize) -> Result<(), String> {
    let metrics = http::get(bed.http(EAST), "/metrics").await.unwrap().body;
    let expected = format!("snowtide_connections{{door=\"redis\"}} {count}");
    if metrics.lines().any(|line| line == expected) { Ok(()) } else { Err(metrics) }
}

/// Each line as an array of bulk strings.
fn commands(lines: &[&str]) -> Vec<u8> {
    let command = |line: &&str| {
        let words: Vec<_> = line.split(' ').map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{}", words.len(), words.concat())
    };
    lines.iter().map(command).collect::<String>().into_bytes()
}

/// Everything that the node says to these bytes until it closes the connection.
async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let conversation = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    timeout(DEADLINE, conversation).await.unwrap_or_else(|_elapsed| panic!("the connection stays open"))
}

/// As [`say`], but the client closes its sending side behind these bytes, as `nc` does at the end of its input.
async fn say_all(address: SocketAddr, bytes: &[u8]) -> String {
    let conversation = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    timeout(DEADLINE, conversation).await.unwrap_or_else(|_elapsed| panic!("the connection stays open"))
}

/// The lines of the replies to these commands and to the `QUIT` behind them.
async fn ask(address: SocketAddr, lines: &[&str]) -> Vec<String> {
    let lines: Vec<_> = lines.iter().chain(&["QUIT"]).copied().collect();
    let mut found: Vec<_> = say(address, &commands(&lines)).await.split_terminator("\r\n").map(str::to_owned).collect();
    assert_eq!(found.pop().as_deref(), Some("+OK"), "{found:?}");
    found
}

/// What a tool prints. It has to succeed.
async fn run(tool: &str, arguments: &[&str]) -> String {
    let child = Command::new(tool).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(DEADLINE, child).await.unwrap_or_else(|_elapsed| panic!("{tool} {arguments:?} does not end"));
    let output = output.unwrap_or_else(|error| panic!("{tool}: {error}; scripts/setup installs it"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tool} {arguments:?}: {stdout}{stderr}");
    stdout.into_owned()
}

async fn cli(address: SocketAddr, arguments: &[&str]) -> String {
    let port = address.port().to_string();
    let all: Vec<_> = ["-h", "127.0.0.1", "-p", &port].iter().chain(arguments).copied().collect();
    run("redis-cli", &all).await.trim_end().to_owned()
}

#[tokio::test]
async fn redis_cli_works_as_it_is() {
    let (mut bed, address) = node(&[]).await;
    assert_eq!(cli(address, &["PING"]).await, "PONG");
    assert_eq!(cli(address, &["INCR", "visits"]).await, "1");
    assert_eq!(cli(address, &["INCRBY", "visits", "41"]).await, "42");
    assert_eq!(cli(address, &["-3", "DECR", "visits"]).await, "41");
    assert_eq!(cli(address, &["-3", "GET", "visits"]).await, "41");
    assert_eq!(cli(address, &["MGET", "visits", "never"]).await, "41\n0");
    assert_eq!(cli(address, &["EXISTS", "visits", "never"]).await, "1");
    assert!(cli(address, &["SET", "visits", "1"]).await.contains("change it by INCRBY or DECRBY"));
    assert!(cli(address, &["INFO"]).await.contains("snowtide_version:"));
    assert!(cli(address, &["-r", "20", "INCR", "many"]).await.ends_with("20"));
    // The same counter through another door.
    let read = http::get(bed.http(EAST), "/v1/counters/default/visits").await.unwrap();
    assert_eq!(read.json()["value"], "41");
    bed.serves(EAST).await;
}

#[tokio::test]
async fn redis_benchmark_works_as_it_is_and_every_increment_counts_once() {
    let (mut bed, address) = node(&[]).await;
    let port = address.port().to_string();
    let benchmark = ["-h", "127.0.0.1", "-p", &port, "-q"];
    // How many requests, over how many connections, how many at a time.
    let mut expected = 0;
    for (requests, clients, pipeline) in [("500", "5", "1"), ("8000", "50", "16"), ("12800", "50", "64")] {
        let load = ["-n", requests, "-c", clients, "-P", pipeline, "INCRBY", "bench", "3"];
        let printed = run("redis-benchmark", &[&benchmark[..], &load].concat()).await;
        assert!(
            printed.contains("requests per second") && !printed.contains("rror") && !printed.contains("WARN"),
            "{printed}"
        );
        expected += 3 * requests.parse::<u64>().unwrap();
        assert_eq!(cli(address, &["GET", "bench"]).await, expected.to_string());
    }
    let tests =
        run("redis-benchmark", &[&benchmark[..], &["-n", "1000", "-P", "10", "-t", "ping,incr"]].concat()).await;
    assert!(tests.contains("INCR:"), "{tests}");
    // The key is theirs: its first part is no namespace here.
    assert_eq!(cli(address, &["GET", "counter:__rand_int__"]).await, "1000");
    bed.serves(EAST).await;
}

/// Fails with what it did not expect, and prints what four connections have counted together.
const SCRIPT: &str = r#"
import sys, threading, redis
client = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]), decode_responses=True, client_name="script")
pipeline = client.pipeline()
assert pipeline.incr("whole").incr("whole").get("whole").execute() == [1, 2, "2"]
pipeline.incr("whole").set("whole", 1)
try:
    sys.exit(f"it was not refused: {pipeline.execute()}")
except redis.ResponseError as error:
    assert client.get("whole") == "2", error
assert client.ping() is True
assert client.incr("py") == 1 and client.incrby("py", 10) == 11 and client.decr("py", 4) == 7
assert client.get("py") == "7" and client.get("never") == "0"
assert client.mget(["py", "never"]) == ["7", "0"] and client.exists("py", "never") == 1
assert client.client_getname() == "script" and client.client_id() > 0
assert client.info()["snowtide_version"] and client.info("server")["redis_mode"] == "standalone"
assert client.config_get("appendonly") == {"appendonly": "yes"} and client.command_count() > 10
assert client.command()["incr"]["arity"] == 2
for refused in (lambda: client.set("py", 1), lambda: client.delete("py"), lambda: client.incrbyfloat("py", 0.5)):
    try:
        refused()
        sys.exit("it was not refused")
    except redis.ResponseError as error:
        assert "not served here" in str(error), error
def count():
    mine = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]))
    for _ in range(5):
        pipeline = mine.pipeline(transaction=False)
        for _ in range(2000):
            pipeline.incr("together")
        values = pipeline.execute()
        assert len(values) == 2000 and values == sorted(values)
threads = [threading.Thread(target=count) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(client.get("together"))
"#;

#[tokio::test]
async fn redis_py_works_as_it_is_and_every_increment_counts_once() {
    let (mut bed, address) = node(&[]).await;
    let printed = run(PYTHON, &["-c", SCRIPT, &address.port().to_string()]).await;
    assert_eq!(printed.trim(), "40000");
    assert_eq!(cli(address, &["GET", "together"]).await, "40000");
    bed.serves(EAST).await;
}

#[tokio::test]
async fn what_was_counted_is_known_in_the_other_region_and_residency_holds() {
    let held = format!("[{WEST}]");
    let mut bed = Bed::start(|options| {
        let options = options.set("namespace.likes.regions", "[]").set("namespace.orders.regions", &held);
        Options { regions: Some(2), ..options }
    })
    .await;
    let (east, west) = (door(&bed, EAST), door(&bed, WEST));
    assert_eq!(ask(east, &["INCR a", "INCRBY likes:a 5", "INCR elsewhere:a"]).await, [":1", ":5", ":1"]);
    assert_eq!(ask(west, &["INCR orders:a"]).await, [":1"]);
    let refused = ask(east, &["INCR orders:a", "GET a"]).await;
    assert!(refused[0].starts_with("-ERR wrong_region: ") && refused[0].ends_with(WEST), "{refused:?}");
    assert_eq!(refused[1..], ["$1", "1"]);
    eventually(DEADLINE, "the other region has heard of all", async || {
        let found = ask(west, &["MGET a likes:a elsewhere:a default:a"]).await;
        if found == ["*4", "$1", "1", "$1", "5", "$1", "1", "$1", "1"] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let read = http::get(bed.http(EAST), "/v1/counters/likes/a").await.unwrap();
    assert_eq!(read.json()["value"], "5");
    bed.serves(EAST).await;
}

#[tokio::test]
async fn both_versions_of_the_protocol_are_spoken_by_hand() {
    let (mut bed, address) = node(&[]).await;
    let hello = ask(address, &["HELLO 3 SETNAME me", "CLIENT GETNAME", "RESET", "CLIENT GETNAME"]).await.join(" ");
    assert!(hello.starts_with("%7 $6 server $5 redis $7 version") && hello.ends_with("$2 me +RESET $-1"), "{hello}");
    // Beyond the 64 bits of an integer, up to where a total would overflow.
    let step = format!("INCRBY big {}", i64::MAX);
    let big = ask(address, &[&step, "INCR big", "GET big", "HELLO 3", "INCRBY big 0", &step, "INCR big"]).await;
    assert_eq!(big[0], format!(":{}", i64::MAX));
    assert!(big[1].starts_with("-ERR the counter is changed") && big[1].ends_with("read it with GET"), "{big:?}");
    assert_eq!(big[2..4], ["$19", "9223372036854775808"]);
    let expected = ["(9223372036854775808", "(18446744073709551615", "-ERR increment or decrement would overflow"];
    assert!(big.ends_with(&expected.map(str::to_owned)), "{big:?}");
    let line = ask(address, &["INCR", "INCRBY a b", "nonsense x", "SELECT 1"]).await;
    assert_eq!(line[0], "-ERR wrong number of arguments for 'incr' command");
    assert_eq!(line[1], "-ERR value is not an integer or out of range");
    assert_eq!(line[2], "-ERR unknown command 'nonsense', with args beginning with: 'x' ");
    assert!(line[3].starts_with("-ERR DB index is out of range"), "{line:?}");
    assert_eq!(say(address, b"incr typed\r\nget typed\r\nquit\r\n").await, ":1\r\n$1\r\n1\r\n+OK\r\n");
    // As many keys as one batch takes, in one command.
    let keys: Vec<_> = (0..10_000).map(|key| format!("k{key}")).collect();
    let found = ask(address, &["INCR k77", &format!("MGET {}", keys.join(" "))]).await;
    assert_eq!((found.len(), &found[1][..], &found[2 + 2 * 77 + 1][..]), (2 + 20_000, "*10000", "1"));
    bed.serves(EAST).await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_is_answered_and_a_transaction_without_exec_counts_nothing() {
    let (mut bed, address) = node(&[]).await;
    assert_eq!(
        say_all(address, b"INCR half\r\nMULTI\r\nINCR half\r\nEXEC\r\n").await,
        ":1\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n"
    );
    let many = commands(&vec!["INCR half"; 20_000]);
    let said = say_all(address, &many).await;
    assert!(said.ends_with(":20002\r\n") && said.lines().count() == 20_000, "{}", said.len());
    for ending in ["", "QUIT\r\n", "RESET\r\n", "DISCARD\r\n", "*2\r\n$4\r\nINC", "*x\r\n"] {
        let bytes = format!("MULTI\r\nINCR half\r\nINCR half\r\n{ending}");
        assert!(say_all(address, bytes.as_bytes()).await.starts_with("+OK\r\n+QUEUED\r\n+QUEUED\r\n"), "{ending}");
    }
    assert_eq!(ask(address, &["GET half"]).await, ["$5", "20002"]);
    bed.serves(EAST).await;
}

#[tokio::test]
async fn tokens_open_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let token =
        |token: &str, access| format!("[[api.tokens]]\nname = \"{token}\"\ntoken = \"{token}\"\naccess = {access}\n");
    std::fs::write(&file, token(READER, "[\"read\"]") + &token(WRITER, "[\"read\", \"write\"]")).unwrap();
    let bed = Bed::start(|options| Options { regions: Some(1), config_file: Some(file), ..options }).await;
    let address = door(&bed, EAST);
    let found =
        ask(address, &["INCR a", &format!("AUTH {READER}"), "INCR a", "GET a", &format!("AUTH x {WRITER}")]).await;
    assert_eq!((&found[0][..], &found[1][..]), ("-NOAUTH Authentication required.", "+OK"));
    assert!(found[2].starts_with("-NOPERM "), "{found:?}");
    assert_eq!(found[3..], ["$1", "0", "+OK"]);
    assert_eq!(cli(address, &["--no-auth-warning", "-a", WRITER, "INCR", "a"]).await, "1");
    assert_eq!(cli(address, &["-3", "--no-auth-warning", "--user", "u", "--pass", WRITER, "INCR", "a"]).await, "2");
    let refused = ask(address, &["AUTH wrong", "INCR a"]).await;
    assert!(refused[0].starts_with("-WRONGPASS ") && refused[1].starts_with("-NOAUTH "), "{refused:?}");
}

#[tokio::test]
async fn what_is_too_much_or_malformed_is_refused_and_the_node_goes_on() {
    let bounds = [("api.request_bytes_max", "4KiB"), ("redis.arguments_max", "16"), ("redis.connections_max", "2")];
    let (mut bed, address) = node(&bounds).await;
    for (bytes, error) in [
        ("*17\r\n", "invalid multibulk length"),
        ("*2\r\n$3\r\nGET\r\n$4096\r\n", "invalid bulk length"),
        ("*1\r\n*1\r\n", "expected '$', got '*'"),
        ("*x\r\n", "invalid multibulk length"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "this is not HTTP"),
        ("POST / HTTP/1.1\r\n\r\nINCR stolen\r\n", "this is not HTTP"),
    ] {
        // Those before have left: there are places for two.
        eventually(DEADLINE, "nobody is there", || has_connections(&bed, 0)).await;
        let said = say(address, bytes.as_bytes()).await;
        assert!(said.contains("-ERR Protocol error: ") && said.contains(error), "{bytes:?}: {said}");
        assert!(!said.contains(":1"), "{said}");
    }
    let nested = "*1\r\n".repeat(500_000);
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It is closed before all of it is sent.
    let _ = stream.write_all(nested.as_bytes()).await;
    drop(stream);
    let (mut one, mut two) = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    for stream in [&mut one, &mut two] {
        eventually(DEADLINE, "a place is free", async || {
            stream.write_all(b"PING\r\n").await.map_err(|error| error.to_string())?;
            let mut pong = [0; 7];
            let read = stream.read_exact(&mut pong).await.map_err(|error| error.to_string());
            if read.is_err() || pong != *b"+PONG\r\n" {
                *stream = TcpStream::connect(address).await.unwrap();
                return Err(String::from_utf8_lossy(&pong).into_owned());
            }
            Ok(())
        })
        .await;
    }
    assert_eq!(say(address, b"").await, "-ERR max number of clients reached\r\n");
    has_connections(&bed, 2).await.unwrap();
    drop((one, two));
    bed.serves(EAST).await;
}

#[tokio::test]
async fn a_node_that_drains_closes_the_door_and_keeps_what_it_acknowledged() {
    let (mut bed, address) = node(&[]).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&commands(&["INCR a"])).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b":1\r\n");
    bed.cluster.terminate(EAST).await.unwrap();
    assert_eq!(stream.read(&mut answer).await.unwrap(), 0);
    bed.start_node(EAST).await;
    assert_eq!(ask(address, &["GET a"]).await, ["$1", "1"]);
}
