//! The command line against real nodes: what it prints, how it ends, and that a terminal is as it was afterwards.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::Value;
use snowtide_dev::{Ending, Options};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::site::{Ended, run, run_program};
use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, SOUTH, WEST, beside, executable, http};

fn one_region(options: Options) -> Options {
    Options { regions: Some(1), ..options }
}

async fn snowtide(bed: &Bed, arguments: &[&str]) -> Ended {
    let config = bed.cluster.folder().config_file();
    let arguments = [&["--config", config.to_str().unwrap()][..], arguments].concat();
    run(bed.cluster.folder().path(), &arguments, &[]).await
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[tokio::test]
async fn the_exit_code_tells_what_happened_and_a_line_what_to_do_next() {
    let mut bed = Bed::start(one_region).await;
    assert_eq!(snowtide(&bed, &["counter", "incr", "k"]).await.code, Some(0));
    snowtide(&bed, &["counter", "incr"]).await.refused(2, &["<KEY>", "--help"]);
    snowtide(&bed, &["counter", "incr", "k", "--at", "mars"])
        .await
        .refused(2, &["no such region", "there are us-east"]);
    snowtide(&bed, &["--set", "log.format=xml", "counter", "get", "k"])
        .await
        .refused(2, &["allowed: \"text\" or \"json\""]);
    for command in [["counter", "incr", ".."], ["counter", "get", "."], ["counter", "watch", ".."]] {
        snowtide(&bed, &command).await.refused(2, &["a key is not \".\" or \"..\""]);
    }
    let unknown = snowtide(&bed, &["counter", "incr", "k", "--namespace", "nowhere"]).await;
    unknown.refused(76, &["unknown_namespace", "\nnext: name one that is configured"]);
    snowtide(&bed, &["counter", "get", "k", "--namespace", "nowhere"])
        .await
        .refused(76, &["name one that is configured"]);

    bed.cluster.kill(EAST).await.unwrap();
    snowtide(&bed, &["counter", "incr", "k", "--at", EAST])
        .await
        .refused(69, &["start it: snowtide serve --region us-east"]);
    for command in ["status", "peers"] {
        snowtide(&bed, &["cluster", command]).await.refused(69, &["start all on this machine: snowtide-dev up"]);
    }
    snowtide(&bed, &["cluster", "top", "--once"]).await.refused(69, &["no node of the map answers"]);
}

#[tokio::test]
async fn a_limit_is_checked_by_an_exit_code_and_looked_at_without_being_charged() {
    let bed = Bed::start(one_region).await;
    let given = ["--limit", "3", "--window", "1h", "--algorithm", "gcra"];
    let limit = async |arguments: &[&str]| snowtide(&bed, &[&["limit"], arguments, &given[..]].concat()).await;
    let allowed = limit(&["check", "_", "alice", "--cost", "2"]).await;
    assert_eq!((allowed.code, &*allowed.stdout), (Some(0), "allowed; 1 of 3 left, all again in 40m\n"), "{allowed:?}");
    let denied = limit(&["check", "_", "alice", "--cost", "2", "--json"]).await;
    denied.refused(3, &["\"alice\" may not have so much now; try again in "]);
    assert_eq!((&json(&denied)["allowed"], &json(&denied)["remaining"]), (&false.into(), &1.into()), "{denied:?}");
    let seen = limit(&["peek", "_", "alice", "--json"]).await;
    assert_eq!(seen.code, Some(0), "{seen:?}");
    assert_eq!((&json(&seen)["limit"], &json(&seen)["remaining"]), (&3.into(), &1.into()), "{seen:?}");
    assert_eq!((&json(&seen)["policy"], &json(&seen)["region"]), (&"_".into(), &EAST.into()));

    limit(&["check", "_", "alice", "--cost", "4"]).await.refused(76, &["cost_too_high", "\nnext: ask for less"]);
    let unknown = snowtide(&bed, &["limit", "check", "none", "alice"]).await;
    unknown.refused(76, &["unknown_policy", "snowtide limit list"]);
    snowtide(&bed, &["limit", "check", "_", "alice"]).await.refused(2, &["--limit and --window"]);
}

#[tokio::test]
async fn completions_and_manual_pages_are_made_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef snowtide"), ("fish", "complete -c snowtide")] {
        let script = run(dir.path(), &["completions", shell], &[]).await;
        assert!(script.code == Some(0) && script.stdout.contains(word), "{script:?}");
    }
    let made = run(dir.path(), &["man", "pages/man1"], &[]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let page = std::fs::read_to_string(dir.path().join("pages/man1/snowtide-counter-watch.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("at each change"), "{page}");

    let dev = async |arguments: &[&str]| run_program(&beside("snowtide-dev"), dir.path(), arguments, &[]).await;
    let script = dev(&["completions", "zsh"]).await;
    assert!(script.code == Some(0) && script.stdout.contains("#compdef snowtide-dev"), "{script:?}");
    let made = dev(&["man", "pages/man1"]).await;
    assert!(made.code == Some(0) && made.stdout.contains("wrote snowtide-dev.1"), "{made:?}");
    assert!(dir.path().join("pages/man1/snowtide-dev-up.1").exists());
}

#[tokio::test]
async fn colour_is_only_where_it_is_seen_or_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = ["counter", "incr", "k", "--at", "mars"];
    let with =
        async |more: &[&str], env: &[(&str, &str)]| run(dir.path(), &[&wrong[..], more].concat(), env).await.stderr;
    assert!(with(&["--color", "always"], &[("NO_COLOR", "1")]).await.contains("\x1b["));
    for (more, env) in [(&[][..], &[][..]), (&["--color=never"], &[]), (&[], &[("NO_COLOR", "1"), ("TERM", "xterm")])] {
        assert!(!with(more, env).await.contains("\x1b["), "{more:?} {env:?}");
    }
}

#[tokio::test]
async fn a_watched_counter_has_a_line_at_each_change_although_its_node_is_killed_in_between() {
    let mut bed = Bed::start(one_region).await;
    let config = bed.cluster.folder().config_file();
    let mut watch = Command::new(executable())
        .args([
            "--config",
            config.to_str().unwrap(),
            "counter",
            "watch",
            "seen",
            "--json",
            "--every",
            "20ms",
            "--lines",
            "3",
        ])
        .current_dir(bed.cluster.folder().path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(DEADLINE, lines.next_line()).await.expect("a line in time").unwrap().expect("one more line");
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["namespace"], &line["key"]), (&NAMESPACE.into(), &"seen".into()), "{line}");
        (line["value"].as_str().unwrap().to_owned(), line["change"].as_str().unwrap().to_owned())
    };
    assert_eq!(next().await, ("0".into(), "0".into()));
    bed.client(EAST).await.increment(NAMESPACE, "seen", 5).await.unwrap();
    assert_eq!(next().await, ("5".into(), "5".into()));
    bed.cluster.kill(EAST).await.unwrap();
    bed.start_node(EAST).await;
    bed.client(EAST).await.increment(NAMESPACE, "seen", 2).await.unwrap();
    assert_eq!(next().await, ("7".into(), "2".into()));
    let status = timeout(DEADLINE, watch.wait()).await.expect("it has told as much as it was to").unwrap();
    assert!(status.success(), "{status}");
}

/// How the command ended, in its own words, and the first line, after which nobody reads any more.
async fn into_head(bed: &Bed, command: &str) -> (String, String) {
    let (program, config) = (executable(), bed.cluster.folder().config_file());
    let line =
        format!("{{ '{}' --config '{}' {command}; echo $? >&2; }} | head -n 1", program.display(), config.display());
    let shell = Command::new("sh")
        .args(["-c", &line])
        .current_dir(bed.cluster.folder().path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, shell).await.unwrap_or_else(|_| panic!("{command} does not end")).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stderr), text(output.stdout))
}

#[tokio::test]
async fn a_command_without_an_end_ends_once_nobody_reads_it() {
    let bed = Bed::start(one_region).await;
    // Its counter does not change, so that it has nothing more to write.
    let (ended, line) = into_head(&bed, "counter watch still --every 20ms").await;
    assert!(ended == "0\n" && line.contains("\tstill\t0\t"), "{ended:?} {line:?}");
    let (ended, line) = into_head(&bed, "id new -n 1000000").await;
    assert!(ended == "0\n" && line.trim().parse::<u64>().is_ok(), "{ended:?} {line:?}");
    let metrics = http::get(bed.http(EAST), "/metrics").await.unwrap().body;
    let minted = metrics.lines().filter(|line| line.starts_with("snowtide_ids_minted_total"));
    let minted: f64 = minted.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum();
    assert!(minted > 0.0 && minted < 1e6, "{minted}");
}

#[tokio::test]
async fn who_may_not_look_at_a_cluster_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let token = "a-token-of-enough-letters";
    std::fs::write(&file, format!("[[api.tokens]]\nname = \"a\"\ntoken = \"{token}\"\naccess = [\"admin\"]\n"))
        .unwrap();
    let bed = Bed::start(|options| Options { config_file: Some(file), ..one_region(options) }).await;
    for command in [&["status"][..], &["peers"], &["top", "--once", "--every", "100ms"]] {
        let line = [&["cluster"], command].concat();
        snowtide(&bed, &line).await.refused(77, &["every node that answers refuses", "--token or in SNOWTIDE_TOKEN"]);
        let allowed = snowtide(&bed, &[&line[..], &["--token", token]].concat()).await;
        assert_eq!(allowed.code, Some(0), "{allowed:?}");
    }
}

#[tokio::test]
async fn a_region_that_is_down_is_seen_among_the_others() {
    let mut bed = Bed::start(|options| options).await;
    let whole = snowtide(&bed, &["cluster", "top", "--once", "--every", "200ms"]).await;
    assert!(whole.code == Some(0) && whole.stdout.contains("3 of 3 nodes ready"), "{whole:?}");
    bed.cluster.kill(SOUTH).await.unwrap();
    let seen = snowtide(&bed, &["cluster", "top", "--once", "--every", "200ms"]).await;
    assert_eq!(seen.code, Some(0), "{seen:?}");
    for word in ["2 of 3 nodes ready", "ap-south/0  down", "start it: snowtide serve --region ap-south --node 0"] {
        assert!(seen.stdout.contains(word), "{word}: {}", seen.stdout);
    }
    assert!(seen.stdout.lines().all(|line| line.chars().count() <= 100), "{}", seen.stdout);
    let told = json(&snowtide(&bed, &["cluster", "top", "--once", "--every", "200ms", "--json"]).await);
    let reachable: Vec<_> = told["nodes"].as_array().unwrap().iter().map(|node| node["reachable"].as_bool()).collect();
    assert_eq!(reachable, [Some(true), Some(true), Some(false)], "{told}");
    assert!(told["nodes"][0]["disk_free_bytes"].as_f64().is_some_and(|free| free > 0.0), "{told}");

    let links = json(&snowtide(&bed, &["cluster", "peers", "--json"]).await);
    let from = |link: &Value| link["from"].as_str().unwrap().to_owned();
    let all: Vec<_> = links["links"].as_array().unwrap().iter().map(from).collect();
    assert_eq!(all, ["us-east/0", "us-east/0", "eu-west/0", "eu-west/0", "ap-south/0"], "{links}");
    let one = snowtide(&bed, &["cluster", "peers", "--at", "eu-west/0"]).await;
    assert!(one.code == Some(0) && !one.stdout.contains("unreachable") && one.stdout.contains("us-east/0"), "{one:?}");
    snowtide(&bed, &["cluster", "peers", "--at", "mars"])
        .await
        .refused(2, &["there are us-east/0, eu-west/0, ap-south/0"]);
}

#[tokio::test]
async fn the_node_of_this_machine_is_taken_out_of_service_and_back_by_its_directory() {
    let mut bed = Bed::start(|options| options).await;
    bed.client(WEST).await.increment(NAMESPACE, "kept", 3).await.unwrap();
    let data = bed.cluster.folder().data_dir(WEST);
    let at = |verb: &'static str| ["cluster", verb, "--data-dir", data.to_str().unwrap()];
    for _ in 0..2 {
        let drained = snowtide(&bed, &at("drain")).await;
        assert_eq!(drained.code, Some(0), "{drained:?}");
        assert!(drained.stdout.contains("holds everything that it acknowledged"), "{drained:?}");
    }
    let increment = ["counter", "incr", "kept", "--by", "4", "--at", WEST];
    snowtide(&bed, &increment).await.refused(75, &["draining"]);
    snowtide(&bed, &["id", "new", "--at", WEST]).await.refused(75, &["draining"]);
    let ready = http::get(bed.http(WEST), "/readyz").await.unwrap();
    assert_eq!((ready.status, ready.body.as_str()), (503, "draining"));
    // It still takes what others count.
    bed.client(EAST).await.increment(NAMESPACE, "kept", 5).await.unwrap();

    let resumed = snowtide(&bed, &[&at("resume")[..], &["--json"]].concat()).await;
    assert_eq!((resumed.code, json(&resumed)["drained"].as_bool()), (Some(0), Some(false)), "{resumed:?}");
    assert_eq!(snowtide(&bed, &increment).await.code, Some(0));
    bed.counted(&[EAST, WEST, SOUTH], "kept", 12).await;

    assert_eq!(snowtide(&bed, &at("drain")).await.code, Some(0));
    assert_eq!(bed.cluster.terminate(WEST).await.unwrap(), Ending::Drained, "a drained node ends like any other");
    snowtide(&bed, &at("resume")).await.refused(2, &["no node has", "name the directory of one that runs"]);
    bed.start_node(WEST).await;
    assert_eq!(snowtide(&bed, &increment).await.code, Some(0), "a start puts it back into service");
}

#[tokio::test]
async fn what_an_operator_takes_back_is_answered_by_what_was_there_to_take() {
    let mut bed = Bed::start(one_region).await;
    let data = bed.cluster.folder().data_dir(EAST);
    let at = |action| ["cluster", action, "--data-dir", data.to_str().unwrap()];
    snowtide(&bed, &at("clear-fence")).await.refused(76, &["it is not fenced"]);
    let forgotten = snowtide(&bed, &[&at("forget-ceilings")[..], &["--json"]].concat()).await;
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    assert_eq!(json(&forgotten)["quarantine_ended"].as_bool(), Some(false));
    let before: u64 = snowtide(&bed, &["id", "new"]).await.stdout.trim().parse().unwrap();
    let again = snowtide(&bed, &at("forget-ceilings")).await;
    assert!(again.stdout.contains("its IDs were not held up by it"), "{again:?}");
    let after: u64 = snowtide(&bed, &["id", "new"]).await.stdout.trim().parse().unwrap();
    assert!(after > before, "{after} after {before}");
    bed.serves(EAST).await;
}

#[tokio::test]
async fn a_drain_waits_for_another_region_only_as_long_as_it_is_to() {
    let mut bed = Bed::start(|options| Options { regions: Some(2), ..options }).await;
    bed.cluster.kill(WEST).await.unwrap();
    bed.client(EAST).await.increment(NAMESPACE, "kept", 3).await.unwrap();
    let data = bed.cluster.folder().data_dir(EAST);
    let drain = ["cluster", "drain", "--within", "100ms", "--data-dir", data.to_str().unwrap()];
    snowtide(&bed, &drain)
        .await
        .refused(75, &["no other region holds all of it within 100ms", "snowtide cluster resume"]);
    bed.start_node(WEST).await;
    let drain = ["cluster", "drain", "--data-dir", data.to_str().unwrap()];
    let drained = snowtide(&bed, &drain).await;
    assert!(drained.code == Some(0) && drained.stdout.contains("eu-west holds everything"), "{drained:?}");
}

#[tokio::test]
async fn who_asks_the_server_for_a_cluster_is_told_which_program_runs_one() {
    let dir = tempfile::tempdir().unwrap();
    for (asked, line) in [
        (&["dev", "up", "--regions", "5"][..], "snowtide-dev up --regions 5"),
        (&["dev", "--help"], "snowtide-dev --help"),
    ] {
        run(dir.path(), asked, &[]).await.refused(2, &["another program", line]);
    }
    let help = run_program(&beside("snowtide-dev"), dir.path(), &["--help"], &[]).await;
    assert!(help.code == Some(0) && help.stdout.contains("\n  snowtide-dev up --regions 5"), "{help:?}");
}

#[tokio::test]
async fn a_cluster_ends_with_the_program_that_started_it_whether_it_is_ready_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let program = beside("snowtide-dev");
    let arguments = ["up", "--json", "--regions", "1", "--dir", "cluster", "--exit-with-stdin"];
    // Its input has ended before it begins.
    let early = run_program(&program, dir.path(), &arguments, &[]).await;
    assert!(early.code.is_some() && early.stdout.is_empty() && early.stderr.contains("stopping"), "{early:?}");

    let mut up = Command::new(&program)
        .args(arguments)
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (input, output) = (up.stdin.take().unwrap(), up.stdout.take().unwrap());
    let line = timeout(DEADLINE, BufReader::new(output).lines().next_line()).await.expect("it is ready");
    let site: Value = serde_json::from_str(&line.unwrap().expect("a line")).unwrap();
    let door: SocketAddr = site["nodes"][0]["http"].as_str().unwrap().parse().unwrap();
    assert_eq!(http::get(door, "/readyz").await.unwrap().status, 200);
    drop(input);
    let status = timeout(DEADLINE, up.wait()).await.expect("it has ended").unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_terminal_is_as_it_was_once_the_live_view_ends() {
    let bed = Bed::start(one_region).await;
    let config = bed.cluster.folder().config_file();
    let top = format!("stty rows 24 cols 80; {} --config {} cluster top", executable().display(), config.display());
    let mut terminal = Command::new("script")
        .args(["-q", "-e", "-f", "-c", &top, "/dev/null"])
        .current_dir(bed.cluster.folder().path())
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut keys, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let (mut seen, mut bytes) = (String::new(), [0; 4_096]);
    let mut pressed = false;
    let all = async {
        loop {
            let count = screen.read(&mut bytes).await.unwrap();
            if count == 0 {
                break;
            }
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            if !pressed && seen.contains("us-east/0") {
                keys.write_all(b"q").await.unwrap();
                pressed = true;
            }
        }
    };
    timeout(DEADLINE, all).await.expect("q ends it");
    let status = timeout(DEADLINE, terminal.wait()).await.expect("it has ended").unwrap();
    assert!(status.success(), "{status}: {seen:?}");
    for (entered, left) in [("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h")] {
        let (first, last) = (seen.find(entered), seen.rfind(left));
        assert!(first.is_some() && last > seen.rfind("us-east/0") && last > first, "{entered:?} {left:?}: {seen:?}");
    }
    assert!(seen.contains("1 of 1 nodes ready"), "{seen:?}");
}
