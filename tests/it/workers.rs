//! Worker ids: taken from the host's name, and kept clear of when somebody had them before (G5, I10).

use std::fs;
use std::path::Path;
use std::process::Stdio;

use snowtide_dev::Options;
use tokio::process::{Child, Command};

use crate::harness::site::{Ended, run};
use crate::harness::{Bed, DEADLINE, EAST, SOUTH, WEST, ensure, eventually, executable, http};

/// One region whose node is started by hand.
fn site() -> Bed {
    Bed::prepare(|options| Options { regions: Some(1), ..options })
}

fn arguments<'a>(config: &'a Path, data: &'a Path, rest: &[&'a str]) -> Vec<&'a str> {
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    [&["--config", config, "serve", "--region", EAST, "--data-dir", data], rest].concat()
}

#[tokio::test]
async fn a_pod_takes_its_number_from_its_ordinal() {
    let bed = site();
    let folder = bed.cluster.folder();
    let (config, data) = (folder.config_file(), folder.data_dir(EAST));
    for rest in [&["--node", "auto", "--host-name", "snowtide-0"][..], &["--set", "node=auto"]] {
        let process: Child = Command::new(executable())
            .args(arguments(&config, &data, rest))
            .env("SNOWTIDE_HOST_NAME", "snowtide-0.snowtide.prod.svc.cluster.local")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually(DEADLINE, "the node is ready", async || {
            let answer = http::get(bed.http(EAST), "/readyz").await.map_err(|error| error.to_string())?;
            ensure(answer.status == 200, || answer.body)
        })
        .await;
        let view = http::get(bed.http(EAST), "/v1/cluster").await.unwrap().json();
        assert_eq!((&view["node"]["region"], &view["node"]["node"]), (&EAST.into(), &0.into()));
        let mut process = process;
        process.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_host_without_an_ordinal_or_off_the_map_does_not_start() {
    let bed = site();
    let folder = bed.cluster.folder();
    let (config, data) = (folder.config_file(), folder.data_dir(EAST));
    let start = async |rest: &[&str]| -> Ended { run(folder.path(), &arguments(&config, &data, rest), &[]).await };
    let auto = async |host: &str| start(&["--node", "auto", "--host-name", host]).await;
    auto("snowtide").await.refused(2, &["\"snowtide\" has none", "--node", "--host-name", "as in snowtide-3"]);
    auto("snowtide-32").await.refused(2, &["\"snowtide-32\" has one above 31"]);
    auto("snowtide-00").await.refused(2, &["has one with a leading zero"]);
    auto("snowtide-7").await.refused(1, &["region us-east has no node 7; its file lists 0"]);
    start(&["--node", "first"])
        .await
        .refused(2, &["flag --node: node = \"first\": allowed: \"auto\", or a whole number"]);
    assert!(!data.exists(), "nothing was started");
}

/// Peers write down what they saw, so not even a restart of all of them lets a new disk repeat an ID.
#[tokio::test]
async fn a_worker_id_with_a_new_disk_is_kept_clear_of_what_peers_saw_before_they_were_restarted() {
    let mut bed = Bed::start(|options| options.set("log.filter", "snowtide=debug,info")).await;
    let client = bed.client(WEST).await;
    eventually(DEADLINE, "IDs are minted", async || client.ids(100).await).await;
    for peer in [EAST, SOUTH] {
        bed.logged(peer, &["DEBUG", "wrote down how far other nodes' IDs have come", "workers=2"]).await;
    }
    for region in [EAST, WEST, SOUTH] {
        bed.cluster.kill(region).await.unwrap();
    }
    fs::remove_dir_all(bed.cluster.folder().data_dir(WEST)).unwrap();
    bed.start_all().await;

    let line = bed.logged(WEST, &["WARN", "they are kept clear of", "ceiling="]).await;
    let digits: String = line.split("ceiling=").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    let ceiling: u64 = digits.parse().unwrap();
    let client = bed.client(WEST).await;
    let ids = eventually(DEADLINE, "the quarantine ends", async || client.ids(10).await).await;
    assert!(ids.iter().all(|id| id >> 22 > ceiling), "{ids:?} begin above {ceiling}");
    // Its peers knew it: they are in no quarantine, and neither is it after a restart on its own disk.
    for region in [EAST, SOUTH] {
        assert!(bed.lines(region, &["they are kept clear of"]).is_empty());
    }
    bed.cluster.kill(WEST).await.unwrap();
    bed.start_node(WEST).await;
    bed.serves(WEST).await;
    assert_eq!(bed.lines(WEST, &["they are kept clear of"]).len(), 1);
}
