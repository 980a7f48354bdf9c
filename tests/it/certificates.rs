//! Certificates: replaced while nodes serve, judged anew, and warned of before they end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::{CertificateParams, KeyPair};
use snowtide_client::Connection;
use snowtide_dev::Options;
use snowtide_dev::certificates::{Folders, Holder, certificates};
use time::{Duration, OffsetDateTime};

use crate::harness::site::{Ended, run, run_program};
use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, REGIONS, SOUTH, WEST, beside, ensure, eventually, http};

async fn reload(bed: &Bed, region: &str) -> Ended {
    let data = bed.cluster.folder().data_dir(region);
    let line = ["cluster", "reload", "--data-dir", data.to_str().unwrap()];
    run(bed.cluster.folder().path(), &line, &[]).await
}

async fn reloaded(bed: &Bed, region: &str) {
    let told = reload(bed, region).await;
    assert!(told.code == Some(0) && told.stdout.contains("new: the certificates of tls.dir"), "{told:?}");
}

/// Waits until every node says that its links to all others are up.
async fn all_linked(bed: &Bed) {
    for region in REGIONS {
        eventually(DEADLINE, &format!("{region} is linked with all"), async || {
            let metrics = http::get(bed.http(region), "/metrics").await.map_err(|error| error.to_string())?.body;
            let up =
                metrics.lines().filter(|line| line.starts_with("snowtide_peer_up{") && line.ends_with(" 1")).count();
            ensure(up == 2, || format!("{up} links"))
        })
        .await;
    }
}

async fn believes(bed: &Bed, region: &str, authority: &[u8]) -> bool {
    let config = snowtide_client::Config::new(bed.quic(region).to_string()).ca_pem(authority).unwrap();
    Connection::open(config).await.is_ok()
}

/// Counts at one region until it is told to stop; nothing may fail.
fn counting(client: Connection, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<i128> {
    tokio::spawn(async move {
        let mut counted = 0;
        while !stop.load(Ordering::Relaxed) {
            client.increment(NAMESPACE, "k", 1).await.unwrap();
            counted += 1;
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        counted
    })
}

/// Step by step as SECURITY.md has it.
#[tokio::test]
async fn an_authority_is_replaced_without_a_stop() {
    let mut bed = Bed::start(|options| options).await;
    all_linked(&bed).await;
    let (stop, mut counters) = (Arc::new(AtomicBool::new(false)), Vec::new());
    for region in REGIONS {
        counters.push(counting(bed.client(region).await, stop.clone()));
    }
    let certs = bed.cluster.folder().certs_dir();
    let next = Folders::beside(&certs.with_file_name("next"));
    certificates(&next, &Holder::all(bed.cluster.map()), false).unwrap();
    let (old, new) = (fs::read(certs.join("ca.pem")).unwrap(), fs::read(next.nodes.join("ca.pem")).unwrap());

    // 1. All believe both.
    fs::write(certs.join("ca.pem"), [old.clone(), new.clone()].concat()).unwrap();
    for region in REGIONS {
        reloaded(&bed, region).await;
    }
    // 2. Each is by the new one.
    for region in REGIONS {
        for file in [format!("{region}-0.key"), format!("{region}-0.pem")] {
            fs::copy(next.nodes.join(&file), certs.join(&file)).unwrap();
        }
        reloaded(&bed, region).await;
        assert!(believes(&bed, region, &new).await && !believes(&bed, region, &old).await, "{region}");
        all_linked(&bed).await;
    }
    // 3. All believe the new one alone. Links that were made before step 2 have shown a certificate of the old one.
    fs::write(certs.join("ca.pem"), &new).unwrap();
    for region in REGIONS {
        reloaded(&bed, region).await;
    }
    bed.logged(EAST, &["its certificate is not believed any more"]).await;
    all_linked(&bed).await;

    stop.store(true, Ordering::Relaxed);
    let mut counted = 0;
    for counter in counters {
        counted += counter.await.unwrap();
    }
    bed.counted(&REGIONS, "k", counted).await;
    bed.cluster.check().unwrap();
    for region in REGIONS {
        assert!(bed.lines(region, &["panick"]).is_empty());
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_used_change_nothing() {
    let bed = Bed::start(|options| options).await;
    all_linked(&bed).await;
    let certs = bed.cluster.folder().certs_dir();
    let foreign = tempfile::tempdir().unwrap();
    certificates(&Folders::within(foreign.path()), &Holder::all(bed.cluster.map()), false).unwrap();
    let [authority, certificate, key] = ["ca.pem", "eu-west-0.pem", "eu-west-0.key"].map(|name| certs.join(name));
    let foreign = |name: &str| fs::read(foreign.path().join(name)).unwrap();
    for (file, bytes, words) in [
        (&certificate, b"garbage".to_vec(), "eu-west-0.pem is not a certificate in PEM"),
        (&authority, Vec::new(), "ca.pem is not a certificate in PEM"),
        (&authority, foreign("ca.pem"), "does not prove that this node is node-0.eu-west.snowtide"),
        (&certificate, fs::read(certs.join("us-east-0.pem")).unwrap(), "does not prove that this node is"),
        (&certificate, foreign("eu-west-0.pem"), "does not prove that this node is"),
        // As between the copies of two files.
        (&key, foreign("eu-west-0.key"), "the certificate and its key cannot be used"),
    ] {
        let own = fs::read(file).unwrap();
        fs::write(file, bytes).unwrap();
        let refused = reload(&bed, WEST).await;
        assert!(refused.code != Some(0) && refused.stderr.contains(words), "{words}: {refused:?}");
        fs::write(file, own).unwrap();
    }
    fs::rename(&key, key.with_extension("gone")).unwrap();
    let refused = reload(&bed, WEST).await;
    assert!(refused.stderr.contains("cannot read") && refused.stderr.contains("eu-west-0.key"), "{refused:?}");
    fs::rename(key.with_extension("gone"), &key).unwrap();
    let told = reload(&bed, WEST).await;
    assert!(told.code == Some(0) && told.stdout.contains("nothing has changed"), "{told:?}");
    assert!(bed.lines(WEST, &["not believed any more"]).is_empty());
    bed.client(WEST).await.increment(NAMESPACE, "k", 7).await.unwrap();
    bed.counted(&[EAST, SOUTH], "k", 7).await;
}

#[tokio::test]
async fn a_node_whose_authority_the_others_believe_no_more_is_shut_out_at_once() {
    let bed = Bed::start(|options| options).await;
    all_linked(&bed).await;
    let certs = bed.cluster.folder().certs_dir();
    let next = Folders::beside(&certs.with_file_name("next"));
    certificates(&next, &Holder::all(bed.cluster.map()), false).unwrap();
    let old = fs::read(certs.join("ca.pem")).unwrap();
    // Two nodes are given new certificates, of another authority; the third keeps the old ones, as a thief would.
    for file in ["ca.pem", "us-east-0.pem", "us-east-0.key", "ap-south-0.pem", "ap-south-0.key"] {
        fs::copy(next.nodes.join(file), certs.join(file)).unwrap();
    }
    for region in [EAST, SOUTH] {
        reloaded(&bed, region).await;
        bed.logged(region, &["its certificate is not believed any more"]).await;
    }
    let thief = snowtide_client::Config::new(bed.quic(WEST).to_string()).ca_pem(&old).unwrap();
    Connection::open(thief).await.unwrap().increment(NAMESPACE, "stolen", 1_000_003).await.unwrap();
    bed.client(EAST).await.increment(NAMESPACE, "kept", 1).await.unwrap();
    bed.counted(&[SOUTH], "kept", 1).await;
    for region in [EAST, SOUTH] {
        bed.logged(region, &["WARN", "peer=\"eu-west/0\"", "a certificate is not believed"]).await;
        assert_eq!(bed.values(region, &["stolen".to_owned()]).await.unwrap(), [0]);
    }
}

/// A certificate for 127.0.0.1 that ends after so many days, and its key.
fn ending(dir: &Path, name: &str, days: i64) -> (PathBuf, PathBuf) {
    let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::new(vec!["127.0.0.1".into()]).unwrap());
    params.not_before = OffsetDateTime::now_utc() - Duration::days(100);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days) + Duration::hours(1);
    let (certificate, secret) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&secret, key.serialize_pem()).unwrap();
    (certificate, secret)
}

/// What Redis's own program says.
fn redis_cli(bed: &Bed, authority: &Path, arguments: &[&str]) -> String {
    let address = bed.cluster.endpoints()[0].redis.unwrap();
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let connection = ["-h", &ip, "-p", &port, "--tls", "--cacert", authority.to_str().unwrap()];
    let said = Command::new("redis-cli").args(connection).args(arguments).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))
}

#[tokio::test]
async fn the_door_of_redis_speaks_tls_with_a_certificate_that_can_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = ending(dir.path(), "door", 10);
    let file = dir.path().join("snowtide.toml");
    let text = format!("[redis.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    fs::write(&file, &text).unwrap();
    let bed = Bed::start(|options| Options { regions: Some(1), config_file: Some(file.clone()), ..options }).await;
    let before = dir.path().join("before.pem");
    fs::copy(&certificate, &before).unwrap();
    assert_eq!(redis_cli(&bed, &before, &["INCR", "a"]), "1\n");
    assert_eq!(redis_cli(&bed, &before, &["-3", "INCRBY", "a", "41"]), "42\n");
    assert!(redis_cli(&bed, &bed.cluster.folder().ca_file(), &["GET", "a"]).contains("certificate verify failed"));

    // It ends soon: the log, the metrics and the check of the configuration say so.
    bed.logged(EAST, &["WARN", "a certificate ends", "role=\"redis\"", "days=10"]).await;
    let metrics = http::get(bed.http(EAST), "/metrics").await.unwrap().body;
    for role in ["authority", "node", "redis"] {
        assert!(metrics.contains(&format!("snowtide_certificate_end_time_seconds{{role=\"{role}\"}} ")), "{metrics}");
    }
    let line = ["--config", file.to_str().unwrap(), "--regions-dir", "regions", "config", "check"];
    let checked = run(bed.cluster.folder().path(), &line, &[]).await;
    assert!(checked.code == Some(0) && checked.stdout.contains("certificates: "), "{checked:?}");
    assert!(checked.stderr.contains("warning: a certificate ends in 10 days: "), "{checked:?}");
    let checked = run(bed.cluster.folder().path(), &[&line[..], &["--json"]].concat(), &[]).await;
    let told: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(told["ok"], true);
    let roles: Vec<_> = told["certificates"].as_array().unwrap().iter().map(|one| one["role"].as_str()).collect();
    assert_eq!(roles.iter().filter(|role| **role == Some("redis")).count(), 1, "{told}");

    // One that has ended does not take the place of one that has not.
    let (ended, its_key) = ending(dir.path(), "ended", -2);
    fs::copy(&ended, &certificate).unwrap();
    fs::copy(&its_key, &key).unwrap();
    let refused = reload(&bed, EAST).await;
    assert!(refused.code != Some(0) && refused.stderr.contains("redis.tls: not valid now"), "{refused:?}");
    assert_eq!(redis_cli(&bed, &before, &["GET", "a"]), "\"42\"\n".replace('"', ""));

    let (renewed, its_key) = ending(dir.path(), "renewed", 1_000);
    fs::copy(&renewed, &certificate).unwrap();
    fs::copy(&its_key, &key).unwrap();
    let told = reload(&bed, EAST).await;
    assert!(told.stdout.contains("new: the certificate of redis.tls"), "{told:?}");
    assert_eq!(redis_cli(&bed, &renewed, &["GET", "a"]), "42\n");
    assert!(redis_cli(&bed, &before, &["GET", "a"]).contains("certificate verify failed"));

    // Whether a door speaks TLS at all is decided at the start.
    fs::write(&file, "").unwrap();
    let told = reload(&bed, EAST).await;
    assert!(told.stdout.contains("only after a restart: redis.tls.certificate, redis.tls.key"), "{told:?}");
    assert_eq!(redis_cli(&bed, &renewed, &["GET", "a"]), "42\n");
}

#[tokio::test]
async fn the_command_line_asks_nodes_whose_doors_speak_tls() {
    let mut bed = Bed::prepare(|options| Options { regions: Some(1), ..options });
    let file = |name: &str| bed.cluster.folder().certs_dir().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("us-east-0.pem"), file("us-east-0.key"));
    bed.cluster.set_of(EAST, &[("http.tls.certificate", &certificate), ("http.tls.key", &key)]);
    bed.cluster.spawn_node(EAST).unwrap();
    let config = bed.cluster.folder().config_file().to_str().unwrap().to_owned();
    let set = [format!("http.tls.certificate={certificate}"), format!("http.tls.key={key}")];
    let line = ["--config", &config, "--set", &set[0], "--set", &set[1], "cluster", "status", "--json"];
    eventually(DEADLINE, "it is seen to be ready", async || {
        let told = run(bed.cluster.folder().path(), &line, &[]).await;
        ensure(told.code == Some(0) && told.stdout.contains("\"ready\": true"), || format!("{told:?}"))
    })
    .await;
    // Somebody who stands for it is not believed.
    let dir = tempfile::tempdir().unwrap();
    let (stranger, _) = ending(dir.path(), "stranger", 100);
    let refused =
        run(bed.cluster.folder().path(), &[&line[..], &["--ca", stranger.to_str().unwrap()]].concat(), &[]).await;
    refused.refused(69, &["no node of the map answers"]);
    let plain = run(bed.cluster.folder().path(), &["--config", &config, "cluster", "status"], &[]).await;
    assert!(plain.stdout.contains("does not answer as a Snowtide node does"), "{plain:?}");
}

#[tokio::test]
async fn certificates_of_nodes_are_renewed_by_the_same_authority() {
    let bed = Bed::start(|options| options).await;
    all_linked(&bed).await;
    let (folder, certs) = (bed.cluster.folder().path(), bed.cluster.folder().certs_dir());
    let before = fs::read(certs.join("us-east-0.pem")).unwrap();
    let config = bed.cluster.folder().config_file();
    let line = ["--config", config.to_str().unwrap(), "certs", "--renew"];
    let made = run_program(&beside("snowtide-dev"), folder, &line, &[]).await;
    assert!(made.code == Some(0) && made.stdout.contains("made ") && made.stdout.contains("not for nodes"), "{made:?}");
    assert_ne!(fs::read(certs.join("us-east-0.pem")).unwrap(), before);
    assert!(!certs.join("ca.key").exists() && folder.join("certs-authority/ca.key").exists());
    for region in REGIONS {
        reloaded(&bed, region).await;
    }
    // Nobody is shut out by that.
    assert!(REGIONS.iter().all(|region| bed.lines(region, &["not believed"]).is_empty()));
    bed.client(WEST).await.increment(NAMESPACE, "k", 7).await.unwrap();
    bed.counted(&REGIONS, "k", 7).await;
    all_linked(&bed).await;
}
