//! Retries and failover, with nodes that answer as each test says and a clock that stands still while anything works.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fake::{Does, Fake, client, client_of, lost, refuses, unclear};
use super::*;
use crate::door::Kind;

const MS: Duration = Duration::from_millis(1);

/// How many requests each of the nodes has heard.
fn heard<const N: usize>(fakes: [&Arc<Fake>; N]) -> [usize; N] {
    fakes.map(|fake| fake.heard().len())
}

#[tokio::test(start_paused = true)]
async fn the_first_node_is_asked_and_the_others_are_not_even_connected_to() {
    let (one, two) = (Fake::new("one"), Fake::new("two"));
    let client = client(Retries::default(), &[&one, &two]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!(client.site().map(|site| site.region), Some("one".into()));
    assert_eq!((heard([&one, &two]), two.dials()), ([1, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn the_nearest_node_is_asked_wherever_it_stands_in_the_list() {
    let fake = |name, ms: u32| Fake::at(name, MS * ms, false);
    let (far, near, middle) = (fake("far", 80), fake("near", 2), fake("middle", 30));
    let client = client_of(&Client::builder().nearest_first(), &[&far, &near, &middle]);
    client.get("n", "k").await.unwrap();
    // All have told their distance by now.
    tokio::time::sleep(MS * 100).await;
    client.get("n", "k").await.unwrap();
    assert_eq!(heard([&far, &near, &middle]), [0, 2, 0]);
    near.does([lost()]);
    near.reachable(false);
    client.get("n", "k").await.unwrap();
    assert_eq!(heard([&far, &near, &middle]), [0, 3, 1]);
    near.reachable(true);
    tokio::time::sleep(Duration::from_secs(20)).await;
    // This one notices that it may be tried again, and does not wait for that.
    client.get("n", "k").await.unwrap();
    tokio::time::sleep(MS * 100).await;
    client.get("n", "k").await.unwrap();
    assert_eq!(heard([&far, &near, &middle]), [0, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_was_surely_not_carried_out_goes_to_the_next_node_at_once() {
    for failure in [lost(), refuses(Code::Draining, None), refuses(Code::Throttled, Some(MS * 100))] {
        let (one, two) = (Fake::new("one").does([failure]), Fake::new("two").does([Does::Answers(7)]));
        let client = client(Retries::default(), &[&one, &two]);
        let began = Instant::now();
        assert_eq!(client.increment("n", "k", 1).await, Ok(7));
        assert_eq!(heard([&one, &two]), [1, 1]);
        assert_eq!(began.elapsed(), MS * 2, "nothing but to connect to both");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_connected_to_costs_no_try() {
    let (one, two) = (Fake::new("one"), Fake::new("two"));
    one.reachable(false);
    let client = client(Retries::none(), &[&one, &two]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!(heard([&one, &two]), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_of_a_write_is_told_and_never_sent_to_another_node() {
    let internal = refuses(Code::Internal, None);
    let timeout = refuses(Code::Timeout, None);
    let odd = Does::Fails(Error::Protocol("odd".into()));
    for failure in [unclear(), Does::Hangs, internal, timeout, odd] {
        let (one, two) = (Fake::new("one").does([failure.clone()]), Fake::new("two"));
        let client = client(Retries::default(), &[&one, &two]);
        let error = client.increment("n", "k", 1).await.unwrap_err();
        assert!(matches!(&error, Error::Ambiguous { reason } if reason.contains("one")), "{failure:?}: {error}");
        assert!(error.is_ambiguous() && !error.is_retryable());
        assert_eq!(heard([&one, &two]), [1, 0], "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_writes_nothing_is_tried_elsewhere_whatever_happened() {
    for failure in [unclear(), Does::Hangs, refuses(Code::Internal, None)] {
        let (one, two) = (Fake::new("one").does([failure.clone(), failure]), Fake::new("two"));
        let client = client(Retries::default(), &[&one, &two]);
        assert_eq!(client.get("n", "k").await, Ok(1));
        assert_eq!(client.ids(3).await, Ok(vec![1, 2, 3]));
        assert_eq!(two.heard().iter().map(|heard| heard.kind).collect::<Vec<_>>(), [Kind::Read, Kind::Mint]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_it_has_writes_counted_twice_rather_than_not_at_all() {
    let (one, two) = (Fake::new("one").does([unclear()]), Fake::new("two"));
    let client = client(Retries::default().at_least_once(), &[&one, &two]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!(heard([&one, &two]), [1, 1]);
    // What comes after does not make the first any clearer. It is connected again by then.
    client.get("n", "k").await.unwrap();
    tokio::time::sleep(MS * 5).await;
    two.does([refuses(Code::CounterOverflow, None)]);
    one.does([unclear()]);
    let error = client.increment("n", "k", 1).await.unwrap_err();
    assert!(error.is_ambiguous() && error.to_string().contains("counter_overflow"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_succeed_is_not_tried_again() {
    for code in [Code::CounterOverflow, Code::UnknownNamespace, Code::Forbidden] {
        let (one, two) = (Fake::new("one").does([refuses(code, None)]), Fake::new("two"));
        let client = client(Retries::default(), &[&one, &two]);
        let error = client.increment("n", "k", 1).await.unwrap_err();
        assert!(matches!(error, Error::Refused { code: told, .. } if told == code), "{error}");
        assert_eq!(heard([&one, &two]), [1, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_of_other_regions_is_looked_for_there() {
    let wrong = || refuses(Code::WrongRegion, None);
    let [one, two, three] = ["one", "two", "three"].map(Fake::new);
    one.does([wrong(), wrong()]);
    two.does([wrong(), wrong()]);
    three.does([Does::Answers(1), wrong()]);
    let client = client(Retries::none(), &[&one, &two, &three]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    let error = client.increment("n", "k", 1).await.unwrap_err();
    assert!(matches!(error, Error::Refused { code: Code::WrongRegion, .. }), "{error}");
    assert_eq!(heard([&one, &two, &three]), [2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_not_asked_before_the_time_that_it_named() {
    let one = Fake::new("one").does([refuses(Code::Throttled, Some(MS * 700))]);
    let client = client(Retries::default(), &[&one]);
    let (first, other) = tokio::join!(client.increment("n", "k", 1), async {
        // Another request, which has not been refused itself.
        tokio::time::sleep(MS * 10).await;
        client.increment("n", "k", 1).await
    });
    assert_eq!((first, other), (Ok(1), Ok(1)));
    let at: Vec<_> = one.heard().iter().map(|heard| heard.at).collect();
    assert_eq!(at.len(), 3);
    for later in &at[1..] {
        let waited = *later - at[0];
        assert!(waited >= MS * 700 && waited <= MS * 752, "and a jitter of up to 50 ms: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_about_requests_of_its_kind_and_some_about_that_request_only() {
    let one = Fake::new("one").does([refuses(Code::DiskLow, Some(MS * 500)), refuses(Code::TokenWaitExpired, None)]);
    let client = client(Retries::none(), &[&one]);
    assert!(client.increment("n", "k", 1).await.is_err());
    assert!(client.get("n", "k").await.is_err());
    assert_eq!(client.get("n", "k").await, Ok(1), "the token of one request is not that of another");
    let error = client.increment("n", "k", 1).await.unwrap_err();
    let Error::Refused { code: Code::DiskLow, retry_after: Some(left), .. } = error else { panic!("{error}") };
    assert!(left <= MS * 500 && left > MS * 490, "{left:?}");
    assert_eq!(one.heard().len(), 3, "without a second try, nothing is sent to a node that rests");
}

#[tokio::test(start_paused = true)]
async fn tries_are_as_many_as_allowed() {
    let refusals = || (0..9).map(|_| refuses(Code::Overloaded, Some(Duration::ZERO)));
    let (one, two) = (Fake::new("one").does(refusals()), Fake::new("two").does(refusals()));
    let client = client(Retries::default().attempts(5), &[&one, &two]);
    let error = client.increment("n", "k", 1).await.unwrap_err();
    assert!(matches!(error, Error::Refused { code: Code::Overloaded, .. }), "{error}");
    assert_eq!(heard([&one, &two]), [3, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_shared_and_spent_only_where_a_node_had_work() {
    let one = Fake::new("one").does((0..20).map(|_| refuses(Code::TokenWaitExpired, None)));
    let client = client(Retries::default().budget(3).attempts(3), &[&one]);
    for tries in [3, 2, 1, 1] {
        let before = one.heard().len();
        assert!(client.get("n", "k").await.is_err());
        assert_eq!(one.heard().len() - before, tries);
    }
    let two = Fake::new("two").does([lost(), lost()]);
    let client = fake::client(Retries::default().budget(0), &[&two]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(1), "a lost connection costs nothing");
}

#[tokio::test(start_paused = true)]
async fn all_tries_together_have_a_time_limit() {
    let (one, two) = (Fake::new("one").does([Does::Hangs]), Fake::new("two").does([Does::Hangs]));
    let builder = Client::builder().request_timeout(Duration::from_secs(3));
    let client = client_of(&builder.retries(Retries::default().within(Duration::from_secs(5))), &[&one, &two]);
    let began = Instant::now();
    let error = client.get("n", "k").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert_eq!(one.heard()[0].timeout, Duration::from_secs(3));
    assert_eq!(two.heard()[0].timeout, Duration::from_secs(2) - MS * 2, "what is left");
}

#[tokio::test(start_paused = true)]
async fn with_no_node_there_a_request_waits_for_one_and_then_says_why_not() {
    let (one, two) = (Fake::new("one"), Fake::new("two"));
    one.reachable(false);
    two.reachable(false);
    let client = client(Retries::default(), &[&one, &two]);
    let revived = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        two.reachable(true);
    };
    let (answer, ()) = tokio::join!(client.increment("n", "k", 1), revived);
    assert_eq!(answer, Ok(1));
    two.does([lost()]);
    two.reachable(false);
    let began = Instant::now();
    let error = client.increment("n", "k", 1).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(began.elapsed() <= Duration::from_secs(20));
    let dials = one.dials();
    assert!((5..60).contains(&dials), "it is left alone for longer and longer: {dials} dials in 24 s");
}

#[tokio::test(start_paused = true)]
async fn without_any_node_nothing_is_connected_and_the_reasons_are_told() {
    let (one, two) = (Fake::new("one"), Fake::new("two"));
    one.reachable(false);
    two.reachable(false);
    let none = client(Retries::default(), &[&one, &two]);
    let error = none.nodes.first().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("one: gone") && error.to_string().contains("two: gone"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_looks_for_a_node_comes_to_an_end_although_each_was_left_alone_long_enough_by_then() {
    let fake = |name| Fake::at(name, Duration::from_secs(5), false);
    let (one, two) = (fake("one"), fake("two"));
    one.reachable(false);
    two.reachable(false);
    let none = client(Retries::default(), &[&one, &two]);
    assert!(none.nodes.first().await.is_err());
    assert_eq!((one.dials(), two.dials()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_holds_a_request_up_for_a_quarter_of_a_second() {
    let fake = |name, seconds| Fake::at(name, Duration::from_secs(seconds), false);
    let (silent, mute, there, last) = (fake("silent", 5), fake("mute", 5), Fake::new("there"), Fake::new("last"));
    let client = client(Retries::default(), &[&silent, &mute, &there, &last]);
    let began = Instant::now();
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!(began.elapsed(), MS * 501, "two silent ones, and the way to the third");
    assert_eq!(heard([&silent, &mute, &there, &last]), [0, 0, 1, 0]);
    assert_eq!([&silent, &mute, &there, &last].map(|fake| fake.dials()), [1, 1, 1, 0]);
    // What was given first comes first again, once it has answered at last.
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.get("n", "k").await.unwrap();
    assert_eq!(heard([&silent, &mute, &there, &last]), [1, 0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_closed_sends_nothing_more() {
    let one = Fake::new("one");
    let client = client(Retries::default(), &[&one]);
    client.get("n", "k").await.unwrap();
    client.clone().close().await;
    let error = client.increment("n", "k", 1).await.unwrap_err();
    assert!(matches!(&error, Error::Disconnected { reason } if reason.contains("closed")), "{error}");
    assert_eq!(heard([&one]), [1]);
}

#[test]
fn a_client_that_cannot_work_is_refused_when_it_is_built() {
    let refused = |builder: Builder| builder.build().unwrap_err().to_string();
    assert!(refused(Client::builder()).contains("1 to 64"));
    assert!(refused(Client::builder().nodes((0..65).map(|n| format!("node{n}:1")))).contains("not 65"));
    assert!(refused(Client::builder().node("ftp://a:1")).contains("quic://host:port"));
    let retries = Retries::default().attempts(0);
    assert!(refused(Client::builder().node("a:1").retries(retries)).contains("1 to 100"));
    #[cfg(feature = "quic")]
    {
        assert!(refused(Client::builder().node("a:1")).contains("ca.pem"));
        assert!(refused(Client::builder().node("a").ca_pem("nonsense")).contains("CA bytes"));
        assert!(refused(Client::builder().node("a:1").ca_pem_file("/no/such/file")).contains("/no/such/file"));
    }
    #[cfg(not(feature = "quic"))]
    assert!(refused(Client::builder().node("a:1")).contains("feature `quic`"));
    #[cfg(feature = "http")]
    assert!(refused(Client::builder().node("http://a/path")).contains("http://host:port"));
    #[cfg(not(feature = "http"))]
    assert!(refused(Client::builder().node("http://a:1")).contains("feature `http`"));
}
