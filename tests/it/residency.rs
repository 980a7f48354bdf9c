//! Namespaces that not every region holds, and those that not every node means the same by.

use std::fs;
use std::path::Path;

use snowtide_client::{Batch, Error};
use snowtide_protocol::Code;

use crate::harness::site::run;
use crate::harness::{Bed, EAST, NAMESPACE, SOUTH, WEST, ensure, eventually, http};

const LOCAL: &str = "orders";
/// Nothing else on these disks looks like this.
const KEY: &str = "resident-key-5a17";

/// Whether any file of a data directory holds these bytes.
fn is_on_disk(data: &Path, words: &str) -> bool {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let holds = |path| fs::read(path).unwrap().windows(words.len()).any(|bytes| bytes == words.as_bytes());
    files.into_iter().any(holds)
}

#[tokio::test]
async fn a_namespace_never_leaves_its_regions() {
    let held = format!("[{EAST}, {WEST}]");
    let mut bed = Bed::start(|options| {
        // Everything is logged, so that a key that is logged anywhere is found.
        options.set(&format!("namespace.{LOCAL}.regions"), &held).set("log.filter", "trace,h2=info,quinn=info")
    })
    .await;
    bed.client(EAST).await.increment(LOCAL, KEY, 1_000_003).await.unwrap();
    bed.client(WEST).await.increment(LOCAL, KEY, 1_000_033).await.unwrap();
    let west = bed.client(WEST).await;
    eventually(crate::harness::DEADLINE, "both regions count", async || {
        let value = west.get(LOCAL, KEY).await.map_err(|error| error.to_string())?;
        ensure(value == 2_000_036, || value.to_string())
    })
    .await;
    refused_outside(&bed).await;

    // What all hold is exchanged with the third, so it has heard everything that it is ever told.
    bed.client(WEST).await.increment(NAMESPACE, "everywhere", 7).await.unwrap();
    bed.counted(&[EAST, SOUTH], "everywhere", 7).await;
    assert!(
        is_on_disk(&bed.cluster.folder().data_dir(EAST), KEY) && is_on_disk(&bed.cluster.folder().data_dir(WEST), KEY)
    );
    assert!(!is_on_disk(&bed.cluster.folder().data_dir(SOUTH), KEY));
    assert!(!bed.log(SOUTH).contains(KEY), "{:?}", bed.lines(SOUTH, &[KEY]));
    let metrics = http::get(bed.http(EAST), "/metrics").await.unwrap();
    // Quotas are told by namespace, so its name may stand there, and none of its keys.
    assert!(!metrics.body.contains(KEY), "{metrics:?}");
    bed.serves(SOUTH).await;
}

/// The third region refuses over HTTP, over QUIC and on the command line, and says who serves it.
async fn refused_outside(bed: &Bed) {
    let path = format!("/v1/counters/{LOCAL}/{KEY}");
    let answer = http::get(bed.http(SOUTH), &path).await.unwrap();
    answer.is_problem(421, "wrong_region");
    assert_eq!(answer.json()["regions"], serde_json::json!([EAST, WEST]));
    let south = bed.client(SOUTH).await;
    let refused = south.increment(LOCAL, KEY, 1).await;
    assert!(matches!(refused, Err(Error::Refused { code: Code::WrongRegion, .. })), "{refused:?}");
    let mut both = Batch::new();
    both.get(LOCAL, KEY).unwrap().get(NAMESPACE, "nothing").unwrap();
    assert_eq!(south.batch(&both).await.unwrap(), [Err(Code::WrongRegion), Ok(0)]);

    let folder = bed.cluster.folder();
    let (config, setting) = (folder.config_file(), format!("namespace.{LOCAL}.regions=[{EAST}, {WEST}]"));
    let snowtide = async |arguments: &[&str]| {
        let common = ["--config", config.to_str().unwrap(), "--set", &setting];
        run(folder.path(), &[&common[..], arguments].concat(), &[]).await
    };
    let there = snowtide(&["counter", "incr", KEY, "--namespace", LOCAL, "--at", SOUTH]).await;
    there.refused(76, &["wrong_region", "is held by us-east, eu-west only; try --at us-east"]);
    let anywhere = snowtide(&["counter", "get", KEY, "--namespace", LOCAL]).await;
    assert_eq!((anywhere.code, anywhere.stdout.trim()), (Some(0), "2000036"), "{anywhere:?}");
}

#[tokio::test]
async fn a_namespace_that_differs_is_not_exchanged_and_both_sides_say_what_differs() {
    let (regions, durability) = (format!("namespace.{LOCAL}.regions"), "namespace.likes.durability");
    let mut bed = Bed::start(|options| {
        let mut options = options.set(&regions, &format!("[{EAST}, {WEST}]")).set(durability, "fsync");
        let own = [(regions.clone(), format!("[{WEST}]")), (durability.to_owned(), "interval".to_owned())];
        options.settings_of.insert(WEST.to_owned(), own.into());
        options.set("incarnation.proof_timeout", "500ms")
    })
    .await;
    let said = [
        (EAST, WEST, "orders: regions are eu-west, us-east here, eu-west there"),
        (WEST, EAST, "orders: regions are eu-west here, eu-west, us-east there"),
        (EAST, WEST, "likes: durability is fsync here, interval there"),
        (WEST, EAST, "likes: durability is interval here, fsync there"),
        (SOUTH, WEST, "likes: durability is fsync here, interval there"),
    ];
    for (at, of, words) in said {
        let peer = format!("peer=\"{of}/0\"");
        bed.logged(at, &["WARN", &peer, words]).await;
        assert_eq!(bed.lines(at, &["WARN", &peer, words]).len(), 1, "once for a peer: {:?}", bed.lines(at, &["WARN"]));
    }
    // The link and what both mean the same by are fine; and two that agree exchange what the third does not.
    for region in [EAST, WEST] {
        bed.client(region).await.increment(LOCAL, KEY, 5).await.unwrap();
        bed.client(region).await.increment("likes", KEY, 7).await.unwrap();
    }
    let south = bed.client(SOUTH).await;
    eventually(crate::harness::DEADLINE, "two regions exchange likes", async || {
        let value = south.get("likes", KEY).await.map_err(|error| error.to_string())?;
        ensure(value == 7, || value.to_string())
    })
    .await;
    bed.client(WEST).await.increment(NAMESPACE, "between", 9).await.unwrap();
    bed.counted(&[EAST, SOUTH], "between", 9).await;
    for region in [EAST, WEST] {
        let client = bed.client(region).await;
        assert_eq!(
            (client.get(LOCAL, KEY).await.unwrap(), client.get("likes", KEY).await.unwrap()),
            (5, 7),
            "{region}"
        );
    }

    // Once it is mended at the one that was wrong, everything is exchanged.
    bed.cluster.kill(WEST).await.unwrap();
    bed.cluster.set_of(WEST, &[]);
    bed.start_node(WEST).await;
    let east = bed.client(EAST).await;
    eventually(crate::harness::DEADLINE, "all is exchanged", async || {
        let orders = east.get(LOCAL, KEY).await.map_err(|error| error.to_string())?;
        let likes = east.get("likes", KEY).await.map_err(|error| error.to_string())?;
        ensure((orders, likes) == (10, 14), || format!("{orders} and {likes}"))
    })
    .await;
}
