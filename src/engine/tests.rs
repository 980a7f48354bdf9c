//! Threads of clients, an engine and a real store.

use std::path::Path;
use std::time::Duration;

use snowtide_protocol::{Action, Key};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::*;
use crate::identity::NamespaceId;
use crate::store::Options;

const SPACE: NamespaceId = NamespaceId(7);
/// Nothing takes so long but an answer that never comes.
const NEVER: Duration = Duration::from_secs(60);

fn worker() -> WorkerId {
    WorkerId::new(1, 0).unwrap()
}

fn operation(key: &str, action: Action) -> Vec<Operation> {
    vec![Operation { namespace: SPACE, key: Key::new(key).unwrap(), action }]
}

async fn ask(engine: &EngineHandle, key: &str, action: Action) -> i128 {
    let applied = timeout(NEVER, engine.apply(operation(key, action), None)).await.unwrap().unwrap().unwrap();
    let [Outcome::Value(value)] = applied.outcomes[..] else { panic!("{:?}", applied.outcomes) };
    value
}

/// An engine that serves, with its store and its thread.
fn serving(path: &Path) -> (EngineHandle, Arc<Store>, JoinHandle<()>) {
    let (store, recovered) = Store::open(&Options::small(path, worker(), vec![SPACE])).unwrap();
    let (store, (handle, inlets)) = (Arc::new(store), queues(1_000, 100_000));
    let (news, mut told) = mpsc::unbounded_channel();
    let outlets = Outlets { send: Box::new(|_, _| ()), news };
    let thread = start(inlets, Settings::small(worker()), recovered, &store, outlets).unwrap();
    while !matches!(told.blocking_recv().unwrap(), News::Serving(_)) {}
    (handle, store, thread)
}

/// One thread with clients that each add one to a counter again and again; what it gathers, it gathers in rounds.
fn clients(engine: EngineHandle, gathers: Option<bool>, clients: usize, times: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let gathering = gathers.map(|may_sync| tokio::spawn(rounds::gather(may_sync)));
            let mut all = JoinSet::new();
            for client in 0..clients {
                let engine = engine.clone();
                all.spawn(async move {
                    let own = format!("{:?}-{client}", thread::current().id());
                    for before in 0..times {
                        let value = ask(&engine, &own, Action::Increment(1)).await;
                        assert_eq!(value, i128::try_from(before + 1).unwrap());
                        ask(&engine, "all", Action::Increment(1)).await;
                    }
                });
            }
            while let Some(done) = all.join_next().await {
                done.unwrap();
            }
            gathering.into_iter().for_each(|gathering| gathering.abort());
        });
    })
}

#[test]
fn whoever_drives_everything_that_is_asked_is_answered_once_and_nobody_holds_the_store_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, store, thread) = serving(folder.path());
    let kinds = [Some(true), Some(true), Some(false), None];
    let threads: Vec<_> = kinds.into_iter().map(|gathers| clients(engine.clone(), gathers, 20, 50)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let all = Builder::new_current_thread().enable_all().build().unwrap().block_on(ask(&engine, "all", Action::Get));
    assert_eq!(all, 4 * 20 * 50);
    engine.stop();
    thread.join().unwrap();
    assert_eq!(Arc::strong_count(&store), 1);
    assert!(engine.submit(operation("all", Action::Get), None).is_err());
}

#[test]
fn an_engine_that_ends_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _store, thread) = serving(folder.path());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::spawn(rounds::gather(true));
        yield_now().await;
        let asked = engine.submit(operation("a", Action::Increment(1)), None).unwrap();
        engine.stop();
        thread.join().unwrap();
        // It is in a round that no engine takes.
        assert!(timeout(NEVER, asked).await.unwrap().is_err());
    });
}
