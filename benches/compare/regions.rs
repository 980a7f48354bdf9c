//! Three regions, 80 ms apart: how soon an acknowledged increment is seen everywhere, and what it costs on the wire.

use std::time::Duration;

use snowtide::clock;
use snowtide_client::{Connection, Terms};
use snowtide_dev::{Cluster, Options};
use tokio::task::JoinSet;

use crate::book::{Book, Goal};
use crate::drive::{self, NAMESPACE};
use crate::{snowtide, tools};

const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];
const ONE_WAY: Duration = Duration::from_millis(40);
/// While the load lasts, whatever becomes of those before.
const PROBES: usize = 380;
const PROBE_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn measure(book: &mut Book) {
    for rate in ["30k", "100k"] {
        tools::say(&format!("regions: three, 80 ms apart, {rate}/s"));
        at_rate(book, rate).await;
    }
}

/// `rate` is offered over all regions. Each node of a machine with few processors waits for its turn on them, all the longer the
/// more is offered: so the smaller rate tells of Snowtide, and the larger one of the machine, too.
async fn at_rate(book: &mut Book, rate: &str) {
    let dir = tempfile::tempdir().unwrap();
    let cluster = drive::start(Options { regions: Some(3), ..Options::new(snowtide(), dir.path()) }).await;
    cluster.delay(ONE_WAY).unwrap();
    let ca = cluster.folder().ca_file().display().to_string();
    let urls: Vec<String> = cluster.endpoints().iter().map(|node| tools::url("quic", node.quic)).collect();
    let mut arguments = vec!["--ca", &ca, "--mix", "1:0:0", "--dist", "zipf", "--keys", "1000000", "--batch", "100"];
    arguments.extend(["--rate", rate, "--warmup", "0s", "--duration", "23s"]);
    urls.iter().for_each(|url| arguments.extend(["--target", url]));

    let before = cluster.passed().bytes;
    let (load, visible) = tokio::join!(tools::loadtest(&arguments), probe(&cluster));
    let acknowledged = tools::total(&load, "increment")["acknowledged"].as_f64().unwrap();
    let bytes = (cluster.passed().bytes - before) as f64;
    let at = |part: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // of small numbers
        let index = ((visible.len() - 1) as f64 * part) as usize;
        visible[index].as_secs_f64() * 1e3
    };
    let done = tools::rate(&load, "increment");
    let of = |what: &str| format!("three regions 80 ms apart, {rate}/s offered: {what}");
    book.note(&of("done"), "/s", Goal::None, done);
    book.note(&of("from acknowledged to visible everywhere, p50"), "ms", Goal::None, at(0.5));
    book.note(&of("from acknowledged to visible everywhere, p99"), "ms", Goal::AtMost(85.0), at(0.99));
    // Each increment goes to two other regions.
    book.note(&of("bytes an increment to each other region, Zipf"), "B", Goal::AtMost(2.0), bytes / acknowledged / 2.0);
    crate::doors::stop(cluster).await;
}

/// How long after its acknowledgement each probe was answered by the other regions, ascending.
async fn probe(cluster: &Cluster) -> Vec<Duration> {
    let mut clients = Vec::new();
    for region in REGIONS {
        clients.push(drive::client(cluster, region).await);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut probes, mut ticks) = (JoinSet::new(), tokio::time::interval(PROBE_EVERY));
    for index in 0..PROBES {
        ticks.tick().await;
        let clients = clients.clone();
        probes.spawn(async move { visible(&clients, index).await });
    }
    let mut took = probes.join_all().await;
    took.sort_unstable();
    took
}

async fn visible(clients: &[Connection], index: usize) -> Duration {
    let (key, from) = (format!("probe:{index}"), index % clients.len());
    let counted = clients[from].add_on(NAMESPACE, &key, 1, &Terms::new().with_token()).await.unwrap();
    let acknowledged = clock::monotonic();
    let terms = Terms::new().after(&counted.token.unwrap()).wait(Duration::from_secs(10));
    let others = clients.iter().enumerate().filter(|(other, _)| *other != from);
    let mut last = Duration::ZERO;
    let reads: Vec<_> = others
        .map(|(_, client)| {
            let (client, key, terms) = (client.clone(), key.clone(), terms.clone());
            tokio::spawn(async move {
                assert_eq!(client.get_on(NAMESPACE, &key, &terms).await.unwrap().value, 1);
                acknowledged.elapsed()
            })
        })
        .collect();
    for read in reads {
        last = last.max(read.await.unwrap());
    }
    last
}
