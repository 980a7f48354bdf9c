//! A client that retries by itself while its node is killed again and again: every increment counts once (G6).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use snowtide::dev::Options;
use snowtide_client::{Client, Retries};

use crate::harness::{Bed, DEADLINE, NAMESPACE, ensure, eventually};

const HOME: &str = "us-east";
/// Each with a counter of its own and one increment after the other, so that it knows every answer beforehand.
const WORKERS: usize = 8;
/// `ONCE_KILLS=1000` takes a few minutes.
const KILLS: usize = 12;
/// Increments that are answered between a start and the next kill.
const PROGRESS: u64 = 40;

struct Progress {
    counted: AtomicU64,
    stop: AtomicBool,
}

async fn count(client: Client, worker: usize, progress: Arc<Progress>) -> i128 {
    let (key, mut counted) = (format!("once-{worker}"), 0);
    while !progress.stop.load(Ordering::Relaxed) {
        let value = client.increment(NAMESPACE, &key, 1).await.unwrap_or_else(|error| panic!("{key}: {error}"));
        counted += 1;
        assert_eq!(value, counted, "{key}");
        progress.counted.fetch_add(1, Ordering::Relaxed);
    }
    counted
}

#[tokio::test(flavor = "multi_thread")]
async fn every_increment_of_a_client_that_retries_through_kills_counts_once() {
    counts_once(|bed| bed.quic(HOME).to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_over_http() {
    counts_once(|bed| format!("http://{}", bed.http(HOME))).await;
}

async fn counts_once(door: impl FnOnce(&Bed) -> String) {
    let kills = std::env::var("ONCE_KILLS").map_or(KILLS, |text| text.parse().expect("ONCE_KILLS is a number"));
    let mut bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    // From its second start on, the disk is not new, and whoever asks again is not turned away for that.
    bed.cluster.kill(HOME).await.unwrap();
    bed.start_node(HOME).await;
    let retries = Retries::default().attempts(100).within(Duration::from_secs(60)).budget(1_000_000);
    let door = door(&bed);
    let builder = Client::builder().node(&door).ca_pem_file(bed.cluster.folder().ca_file());
    let client = builder.idle_timeout(Duration::from_secs(1)).retries(retries).build().unwrap();

    let progress = Arc::new(Progress { counted: AtomicU64::new(0), stop: AtomicBool::new(false) });
    let workers: Vec<_> =
        (0..WORKERS).map(|worker| tokio::spawn(count(client.clone(), worker, progress.clone()))).collect();
    for kill in 0..kills {
        let enough = progress.counted.load(Ordering::Relaxed) + PROGRESS;
        eventually(DEADLINE, "progress", async || {
            let counted = progress.counted.load(Ordering::Relaxed);
            ensure(counted >= enough, || format!("{counted} of {enough} after {kill} kills"))
        })
        .await;
        bed.cluster.kill(HOME).await.unwrap();
        bed.start_node(HOME).await;
    }
    progress.stop.store(true, Ordering::Relaxed);
    let mut sum = 0;
    for (worker, counting) in workers.into_iter().enumerate() {
        let counted = counting.await.unwrap();
        bed.counted(&[HOME], &format!("once-{worker}"), counted).await;
        sum += counted;
    }
    println!("{door}: {sum} increments over {kills} kills, each counted once");
}
