//! Decisions: which nodes are asked again, and what may be charged twice.

use std::time::Duration;

use snowtide_protocol::limit::{Algorithm, Numbers};

use super::fake::{Does, Fake, client, lost, refuses, unclear};
use super::*;
use crate::LimitBatch;
use crate::door::Kind;

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_decision_is_asked_without_a_session() {
    let one = Fake::at("one", MS, true).does([Does::Answers(5), Does::Answers(0)]);
    let client = client(Retries::default(), &[&one]);
    let decision = client.limit("default", "alice").cost(2).check().await.unwrap();
    assert!(decision.admitted && decision.remaining == 5, "{decision:?}");
    let given = Numbers { algorithm: Algorithm::Fixed, limit: 1, window_ms: 1_000, burst: 1 };
    assert!(!client.limit(given, "alice").check().await.unwrap().admitted);
    let mut batch = LimitBatch::new();
    batch.check("default", "alice", 1).unwrap().peek(given, "bob").unwrap();
    assert_eq!(client.limits(&batch).await.unwrap().len(), 2);
    let heard = one.heard();
    assert!(heard.iter().all(|heard| heard.kind == Kind::Limit && heard.stamp.is_none()), "{heard:?}");
    assert_eq!(heard.iter().map(|heard| heard.operations).collect::<Vec<_>>(), [1, 1, 2]);
    // Nothing is asked of anybody.
    assert_eq!(client.limits(&LimitBatch::new()).await, Ok(Vec::new()));
    assert!(matches!(client.limit("", "alice").check().await, Err(Error::InvalidArgument(_))));
    assert!(matches!(client.limit("default", "").check().await, Err(Error::InvalidArgument(_))));
    assert_eq!(one.heard().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_surely_not_charged_is_asked_elsewhere() {
    for failure in [lost(), refuses(Code::Draining, None), refuses(Code::WrongRegion, None)] {
        let (one, two) = (Fake::new("one").does([failure]), Fake::new("two"));
        let client = client(Retries::default(), &[&one, &two]);
        assert!(client.limit("default", "alice").check().await.unwrap().admitted);
        assert_eq!((one.heard().len(), two.heard().len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_charged_is_not_asked_again_unless_that_is_allowed() {
    for (retries, asked) in [(Retries::default(), 0), (Retries::default().at_least_once(), 1)] {
        let (one, two) = (Fake::at("one", MS, true).does([unclear()]), Fake::at("two", MS, true));
        let client = client(retries, &[&one, &two]);
        let outcome = client.limit("default", "alice").check().await;
        assert_eq!((outcome.is_ok(), two.heard().len()), (asked == 1, asked), "{outcome:?}");
        assert!(outcome.is_ok_and(|decision| decision.admitted) || asked == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn to_look_charges_nothing_and_is_asked_again() {
    let timeout = Error::Timeout { after: MS, may_have_written: false };
    let (one, two) = (Fake::new("one").does([Does::Fails(timeout), lost()]), Fake::new("two"));
    let client = client(Retries::default(), &[&one, &two]);
    assert!(client.limit("default", "alice").peek().await.unwrap().admitted);
    let mut batch = LimitBatch::new();
    batch.peek("default", "alice").unwrap();
    assert!(client.limits(&batch).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_node_without_room_for_a_key_is_asked_about_others_meanwhile() {
    let one = Fake::new("one").does([refuses(Code::LimitsFull, Some(MS * 1_000)), Does::Answers(4)]);
    let client = client(Retries::none(), &[&one]);
    let full = client.limit("default", "new").check().await;
    assert!(matches!(full, Err(Error::Refused { code: Code::LimitsFull, .. })), "{full:?}");
    assert_eq!(client.limit("default", "known").check().await.unwrap().remaining, 4);
}
