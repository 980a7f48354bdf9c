//! IDs that the client fetches in advance, from a real node that is killed meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use snowtide_client::{Client, Ids, Prefetch};
use snowtide_dev::Options;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{Bed, DEADLINE, EAST};

const TASKS: usize = 4;
/// Many blocks' worth for each task.
const EACH: usize = 5_000;
const BLOCK: u32 = 200;
/// Who is refused tries again this often.
const PACE: Duration = Duration::from_millis(5);

/// Takes from it until it has so many, trying again while there is no node.
async fn take(ids: Ids, count: usize) -> Vec<u64> {
    let mut taken = Vec::with_capacity(count);
    let all = async {
        while taken.len() < count {
            match ids.next_id().await {
                Ok(id) => taken.push(id),
                Err(_) => tokio::time::sleep(PACE).await,
            }
        }
    };
    timeout(DEADLINE, all).await.expect("the node mints again");
    taken
}

async fn take_at_once(ids: &Ids) -> Vec<Vec<u64>> {
    let mut tasks = JoinSet::new();
    (0..TASKS).for_each(|_| drop(tasks.spawn(take(ids.clone(), EACH))));
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_in_advance_are_unique_and_increase_through_the_kill_of_their_node() {
    let mut bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    let builder = Client::builder().node(bed.quic(EAST).to_string()).ca_pem_file(bed.cluster.folder().ca_file());
    let client = builder.idle_timeout(Duration::from_secs(1)).build().unwrap();
    let ids = client.prefetch(Prefetch::default().block(BLOCK).low_water(BLOCK / 2)).unwrap();
    let before = take_at_once(&ids).await;

    bed.cluster.kill(EAST).await.unwrap();
    // What was fetched is still good, and then there is no more until the node is back.
    let rest = tokio::spawn(take(ids.clone(), 3 * BLOCK as usize));
    bed.start_node(EAST).await;
    let mut all = before;
    all.push(rest.await.unwrap());
    all.extend(take_at_once(&ids).await);

    for taken in &all {
        assert!(taken.is_sorted_by(|one, next| one < next), "each task's IDs increase");
    }
    let count = all.iter().map(Vec::len).sum::<usize>();
    let distinct: HashSet<u64> = all.into_iter().flatten().collect();
    assert_eq!((distinct.len(), count), (count, 2 * TASKS * EACH + 3 * BLOCK as usize));
}
