//! Reloads: what changes while a node serves, and what does not.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use snowtide_client::{Connection, Error};
use snowtide_dev::Options;
use snowtide_protocol::Code;

use crate::harness::site::{Ended, run};
use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, ensure, eventually, http};

const OLD: &str = "old-0123456789abcdef";
const NEW: &str = "new-0123456789abcdef";

fn token(secret: &str) -> String {
    format!("[[api.tokens]]\nname = \"billing\"\ntoken = \"{secret}\"\naccess = [\"read\", \"write\"]\n")
}

/// A node that was started with this configuration, and its file.
async fn node(dir: &Path, text: &str) -> (Bed, PathBuf) {
    let file = dir.join("snowtide.toml");
    std::fs::write(&file, text).unwrap();
    let config_file = Some(file.clone());
    (Bed::start(|options| Options { regions: Some(1), config_file, ..options }).await, file)
}

async fn reload(bed: &Bed, arguments: &[&str]) -> Ended {
    let data = bed.cluster.folder().data_dir(EAST);
    let line = [&["cluster", "reload", "--data-dir", data.to_str().unwrap()], arguments].concat();
    run(bed.cluster.folder().path(), &line, &[]).await
}

async fn open(bed: &Bed, token: &str) -> Result<Connection, String> {
    let config = bed.cluster.client_config(EAST).unwrap().token(token);
    Connection::open(config).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_token_is_replaced_without_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bed, file) = node(dir.path(), &token(OLD)).await;
    let old = open(&bed, OLD).await.unwrap();
    assert_eq!(old.increment(NAMESPACE, "k", 1).await, Ok(1));

    // As SECURITY.md says: a second one of the same name, then the first is taken away.
    std::fs::write(&file, token(OLD) + &token(NEW)).unwrap();
    let told = reload(&bed, &[]).await;
    assert!(told.code == Some(0) && told.stdout.contains("new: api.tokens"), "{told:?}");
    let new = open(&bed, NEW).await.unwrap();
    assert_eq!(new.increment(NAMESPACE, "k", 1).await, Ok(2));
    assert_eq!(old.increment(NAMESPACE, "k", 1).await, Ok(3));

    std::fs::write(&file, token(NEW)).unwrap();
    bed.cluster.signal(EAST, Signal::SIGHUP).unwrap();
    let refused =
        eventually(DEADLINE, "the old one is refused", async || old.get(NAMESPACE, "k").await.err().ok_or("")).await;
    assert!(matches!(refused, Error::Refused { code: Code::Unauthenticated, .. }), "{refused}");
    assert!(open(&bed, OLD).await.is_err());
    assert_eq!(new.increment(NAMESPACE, "k", 1).await, Ok(4));
    bed.cluster.check().unwrap();
}

#[tokio::test]
async fn a_configuration_that_is_refused_changes_nothing_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, file) = node(dir.path(), &token(OLD)).await;
    std::fs::write(&file, token("short") + "[log]\nfilter = \"debug\"\n").unwrap();
    let refused = reload(&bed, &[]).await;
    assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
    assert!(refused.stderr.contains("api.tokens[0].token = (redacted): allowed: 16 to 256"), "{refused:?}");
    bed.cluster.signal(EAST, Signal::SIGHUP).unwrap();
    eventually(DEADLINE, "the log says so twice", async || {
        let told = bed.lines(EAST, &["not reloaded: nothing has changed", "allowed: 16 to 256"]).len();
        ensure(told == 2, || format!("{told}"))
    })
    .await;
    assert!(bed.lines(EAST, &["short"]).is_empty(), "a token is never logged");
    open(&bed, OLD).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    let refused = reload(&bed, &[]).await;
    assert!(refused.stderr.contains("snowtide.toml: cannot be read"), "{refused:?}");
    open(&bed, OLD).await.unwrap();
}

#[tokio::test]
async fn what_has_to_wait_for_a_restart_is_named_and_the_rest_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, file) = node(dir.path(), "").await;
    std::fs::write(&file, "[log]\nfilter = \"debug\"\n[gossip]\ninterval = \"50ms\"\n").unwrap();
    let told = reload(&bed, &["--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told["changed"], serde_json::json!(["log.filter"]));
    assert_eq!(told["restart"], serde_json::json!(["gossip.interval"]));
    bed.logged(EAST, &["WARN", "only after a restart", "gossip.interval"]).await;
    // Each request has lines of its own at this level.
    http::get(bed.http(EAST), "/livez").await.unwrap();
    bed.logged(EAST, &["DEBUG"]).await;
}
