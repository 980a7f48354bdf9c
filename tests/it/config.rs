//! Broken configurations through the real binary: each with its message, exit code 2, and nothing started.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::site::{Ended, run};

/// What is wrong with a configuration.
enum Break {
    /// In the file named by `--config`.
    File(&'static str),
    /// In a further region file, `regions/x.toml`.
    Region(&'static str),
    Env(&'static str, &'static str),
    Set(&'static str),
    NoRegions,
    NoFile,
}

use Break::{Env, File, NoFile, NoRegions, Region, Set};

/// Each with every part of its message: where, the key, the value, what is allowed.
const BROKEN: [(Break, &[&str]); 21] = [
    (NoFile, &["x.toml: cannot be read: No such file"]),
    (File("[commit]\nbytes_max = \"1MiB\n"), &["x.toml:2:18: not valid TOML"]),
    (File("[commit]\nbyte_max = \"1MiB\"\n"), &["x.toml: commit.byte_max is not a key; did you mean bytes_max?"]),
    (File("[cluster]\nid = 7\n"), &["x.toml: cluster.id = 7: allowed: 1 to 64 letters, digits, dots, dashes"]),
    (File("[api]\nwaiting_max = 0\n"), &["api.waiting_max = 0: allowed: a whole number from 1 to 1000000"]),
    (File("[drain]\ncheckpoint = \"1s\"\n"), &["x.toml: drain.checkpoint is not a key; what it set is fixed now"]),
    (File("[gossip]\ninterval = \"fast\"\n"), &["gossip.interval = \"fast\": allowed: a duration from 1ms to 10s"]),
    (File("[ids.bits]\ntime = 42\n"), &["ids.bits.time = 42", "an ID has 64 bits, not 63"]),
    (File("[ids]\nepoch = \"yesterday\"\n"), &["ids.epoch = \"yesterday\": allowed: a time since 1970"]),
    (File("[frame]\nbytes_max = \"1MiB\"\n"), &["frame.bytes_max = \"1MiB\": allowed: at least"]),
    (File("[namespace.likes]\nregions = [\"mars\"]\n"), &["x.toml: namespace.likes.regions", "mars"]),
    (
        File("[[api.tokens]]\nname = \"a\"\ntoken = \"secret\"\naccess = [\"write\"]\n"),
        &["api.tokens[0].token", "allowed: 16 to"],
    ),
    (File("[log]\nformat = \"xml\"\n"), &["log.format = \"xml\": allowed: \"text\" or \"json\""]),
    (Env("SNOWTIDE_GOSSIP__INTERVALL", "1ms"), &["environment SNOWTIDE_GOSSIP__INTERVALL", "did you mean interval?"]),
    (Env("SNOWTIDE_COMMIT__BYTES_MAX", "4 pages"), &["SNOWTIDE_COMMIT__BYTES_MAX: commit.bytes_max = \"4 pages\""]),
    (Set("drain.timeout=forever"), &["flag --set: drain.timeout = \"forever\": allowed: a duration from 10ms to 10m"]),
    (NoRegions, &["regions: no region file (*.toml) is here; create it with one file a region"]),
    (
        Region("name = \"x\"\nid = 1\n"),
        &["regions/x.toml: id = 1: id in regions/eu.toml is the same", "no other region has"],
    ),
    (Region("name = \"eu\"\nid = 2\n"), &["name = \"eu\"", "is the same; allowed: a name that no other region has"]),
    (Region("name = \"x\"\nid = 32\n"), &["regions/x.toml: id = 32: allowed: a whole number from 0 to 31"]),
    (
        Region("name = \"x\"\nid = 2\n[[node]]\nid = 0\nquic = \"127.0.0.1:7410\"\nhttp = \"127.0.0.1:9\"\n"),
        &["node[0].quic = \"127.0.0.1:7410\"", "allowed: a UDP address that no other node has"],
    ),
];

const EU: &str = "name = \"eu\"\nid = 1\n[[node]]\nid = 0\nquic = \"127.0.0.1:7410\"\nhttp = \"127.0.0.1:8410\"\n";

fn site() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("regions")).unwrap();
    fs::write(dir.path().join("regions/eu.toml"), EU).unwrap();
    dir
}

/// Runs a command under the broken configuration.
async fn run_broken(dir: &Path, broken: &Break, command: &[&str]) -> Ended {
    let mut arguments: Vec<&str> = Vec::new();
    let mut env = Vec::new();
    match broken {
        File(text) => fs::write(dir.join("x.toml"), text).unwrap(),
        Region(text) => fs::write(dir.join("regions/x.toml"), text).unwrap(),
        Env(name, value) => env.push((*name, *value)),
        Set(assignment) => arguments.extend(["--set", assignment]),
        NoRegions => fs::remove_file(dir.join("regions/eu.toml")).unwrap(),
        NoFile => {}
    }
    if matches!(broken, File(_) | NoFile) {
        arguments.extend(["--config", "x.toml"]);
    }
    arguments.extend(command);
    run(dir, &arguments, &env).await
}

#[tokio::test]
async fn broken_configurations_are_refused_with_their_messages() {
    for (broken, message) in &BROKEN {
        for command in [["config", "check"].as_slice(), &["serve", "--region", "eu"]] {
            let dir = site();
            let ended = run_broken(dir.path(), broken, command).await;
            ended.refused(2, message);
            assert_eq!(ended.stdout, "", "{ended:?}");
            assert!(!dir.path().join("data").exists(), "something was started");
        }
    }
}

#[tokio::test]
async fn a_sound_configuration_passes() {
    let dir = site();
    let checked = run(dir.path(), &["config", "check"], &[]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let shown = run(dir.path(), &["config", "show", "--origins"], &[("SNOWTIDE_DRAIN__TIMEOUT", "7s")]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let line = shown.stdout.lines().find(|line| line.contains("drain.timeout")).expect("every key is shown");
    assert!(line.contains("7s") && line.contains("SNOWTIDE_DRAIN__TIMEOUT"), "{line}");
}

#[tokio::test]
async fn every_problem_is_told_at_once() {
    let dir = site();
    let both = File("[log]\nformat = \"xml\"\n[drain]\ntimeout = 5\n");
    run_broken(dir.path(), &both, &["config", "check"]).await.refused(2, &["log.format", "drain.timeout"]);
}

#[tokio::test]
async fn a_node_that_the_map_does_not_have_is_refused_with_those_it_has() {
    let dir = site();
    for (arguments, message) in [
        (["serve", "--region", "us", "--node", "0"], "there is no region \"us\"; the region files name eu"),
        (["serve", "--region", "eu", "--node", "3"], "region eu has no node 3; its file lists 0"),
    ] {
        let ended = run(dir.path(), &arguments, &[]).await;
        assert_ne!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stderr.contains(message), "{ended:?}");
    }
}

#[tokio::test]
async fn wrong_usage_is_told_from_failure() {
    let dir = site();
    for arguments in [["serve", "--reigon", "eu"].as_slice(), &["fly"], &["config"], &["--set", "x", "config", "check"]]
    {
        let ended = run(dir.path(), arguments, &[]).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    }
}
