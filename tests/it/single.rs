//! One region with one node: it needs nobody, and its disk is enough (G1, G3, G5).

use snowtide_dev::Ending;

use crate::harness::{Bed, NAMESPACE};

const HOME: &str = "us-east";

#[tokio::test]
async fn one_node_serves_from_a_fresh_directory_and_keeps_everything_over_restarts() {
    let mut bed = Bed::start(|options| snowtide_dev::Options { regions: Some(1), ..options }).await;
    let (mut expected, mut last_id) = (0, 0);
    for (round, hard) in [false, true, true, false, true].into_iter().enumerate() {
        let client = bed.client(HOME).await;
        assert_eq!(client.get(NAMESPACE, "visits").await.unwrap(), expected, "round {round}");
        for by in [1_000_003, 1_000_033, 1_000_037] {
            expected += i128::from(by);
            assert_eq!(client.increment(NAMESPACE, "visits", by).await.unwrap(), expected);
        }
        expected -= 5;
        assert_eq!(client.decrement(NAMESPACE, "visits", 5).await.unwrap(), expected);
        for id in client.ids(100).await.unwrap() {
            assert!(id > last_id, "{id} after {last_id}");
            last_id = id;
        }
        if hard {
            bed.cluster.kill(HOME).await.unwrap();
        } else {
            assert_eq!(bed.cluster.terminate(HOME).await.unwrap(), Ending::Drained);
        }
        bed.start_node(HOME).await;
    }
    bed.serves(HOME).await;
}
