//! Two processes on one worker id: a copied data directory, started while the original runs, before it, or with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use snowtide::control::{self, Answer, Order};
use snowtide_client::{Config, Connection};
use snowtide_protocol::wire::IDS_MAX;
use tokio::task::JoinSet;

use super::clones::{self, Twin};
use super::harness::{Bed, DEADLINE, EAST, SOUTH, WEST, ensure, eventually};
use super::ledger::{Ledger, Stream};
use super::{Outcome, PACE};

/// Mints from one of the two until the round is over.
async fn mint(config: Config, ledger: Arc<Mutex<Ledger>>, over: Arc<AtomicBool>) {
    let mut stream = Stream::default();
    while !over.load(Ordering::Relaxed) {
        if let Ok(client) = Connection::open(config.clone()).await {
            while !over.load(Ordering::Relaxed) && !client.is_closed() {
                match client.id_runs(IDS_MAX).await {
                    Ok(runs) => ledger.lock().unwrap().note(&mut stream, &runs),
                    Err(_) => tokio::time::sleep(PACE).await,
                }
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Where the round before has fenced the node and not its twin, an operator has seen to it that the twin is gone.
async fn clear_fence(bed: &Bed) {
    if clones::stage(bed.http(WEST)).await.as_deref() == Ok("fenced") {
        let answer = control::tell(&bed.cluster.folder().data_dir(WEST), Order::ClearFence).await.unwrap();
        assert!(matches!(answer, Answer::FenceCleared { .. }), "{answer:?}");
    }
}

/// So many times: the node is killed, its data copied, and both are started, in turn one or the other first. Both mint
/// as soon as they are let, until one of them is fenced and the other has gone on. Both call the same peers.
pub(crate) async fn twins(rounds: usize) -> Outcome {
    let mut bed = Bed::start(clones::swift).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let swift = |config: Config| config.connect_timeout(Duration::from_secs(1)).idle_timeout(Duration::from_secs(2));
    for round in 0..rounds {
        clear_fence(&bed).await;
        bed.cluster.kill(WEST).await.unwrap();
        let mut twin = Twin::new();
        clones::copy(&bed.cluster.folder().data_dir(WEST), &twin.data_dir());
        let peers = [(EAST, bed.quic(EAST)), (SOUTH, bed.quic(SOUTH))];
        if round % 2 == 0 {
            bed.start_node(WEST).await;
            twin.start(&bed, &peers);
        } else {
            twin.start(&bed, &peers);
            bed.cluster.spawn_node(WEST).unwrap();
        }
        let over = Arc::new(AtomicBool::new(false));
        let mut minters = JoinSet::new();
        for config in [bed.cluster.client_config(WEST).unwrap(), twin.config(&bed)] {
            minters.spawn(mint(swift(config), ledger.clone(), over.clone()));
        }
        let fenced = async || {
            let stages = [clones::stage(bed.http(WEST)).await, clones::stage(twin.http).await];
            stages.iter().filter(|stage| stage.as_deref() == Ok("fenced")).count()
        };
        eventually(DEADLINE, "one of the two is fenced", async || {
            ensure(fenced().await > 0, || "neither is".to_owned())
        })
        .await;
        let before = ledger.lock().unwrap().ids();
        eventually(DEADLINE, "the other mints, or is fenced, too", async || {
            let now = ledger.lock().unwrap().ids();
            ensure(now > before || fenced().await == 2, || format!("{before} IDs are now {now}"))
        })
        .await;
        over.store(true, Ordering::Relaxed);
        while let Some(ended) = minters.join_next().await {
            ended.unwrap();
        }
    }
    let ledger = ledger.lock().unwrap();
    Outcome {
        harms: rounds,
        ids: ledger.ids(),
        duplicates: ledger.duplicates(),
        stretches: ledger.stretches(),
        findings: ledger.findings().to_vec(),
    }
}
