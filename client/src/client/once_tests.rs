//! Writes at nodes that count a stamped one once, and tokens that are carried.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use snowtide_protocol::wire::Turn;
use tokio::time::Instant;

use super::fake::{Does, Fake, client, client_of, lost, refuses, unclear};
use super::*;
use crate::Terms;
use crate::door::Stamp;

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_node_that_counts_once_is_asked_what_became_of_a_write() {
    let one = Fake::at("one", MS, true).does([unclear(), refuses(Code::Starting, Some(MS * 50)), Does::Answers(5)]);
    let two = Fake::new("two");
    let client = client(Retries::default(), &[&one, &two]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(5));
    assert_eq!(two.heard().len(), 0, "the other could not know");
    let stamps: Vec<_> = one.heard().iter().map(|heard| heard.stamp.unwrap()).collect();
    assert_eq!(stamps.iter().map(|stamp| stamp.again).collect::<Vec<_>>(), [false, true, true]);
    let names: HashSet<_> = stamps.iter().map(|stamp| (stamp.turn.session, stamp.turn.number)).collect();
    assert_eq!(names.len(), 1, "the same request all the time");
    // The next one has a name of its own.
    client.increment("n", "k", 1).await.unwrap();
    let next = one.heard()[3].stamp.unwrap();
    let Turn { session, number } = stamps[0].turn;
    assert_eq!((next.turn, next.again), (Turn { session, number: number + 1 }, false));
}

#[tokio::test(start_paused = true)]
async fn a_write_is_sent_over_a_new_connection_once_the_node_has_another_incarnation_of_its_data() {
    let one = Fake::at("one", MS, true).does([refuses(Code::IdempotencyMismatch, None), Does::Answers(5)]);
    let client = client(Retries::default(), &[&one]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(5));
    let stamps = stamps(&one);
    assert_eq!((one.dials(), stamps.len()), (2, 2));
    assert!(stamps.iter().all(|stamp| !stamp.again) && stamps[0].turn != stamps[1].turn, "{stamps:?}");
    // What may have been carried out is not sent as something new.
    one.does([unclear(), refuses(Code::IdempotencyMismatch, None)]);
    assert!(matches!(client.increment("n", "k", 1).await, Err(Error::Ambiguous { .. })));
}

#[tokio::test(start_paused = true)]
async fn no_request_overtakes_one_that_may_come_again_in_its_session() {
    let one = Fake::at("one", MS, true).does([unclear()]);
    let client = client(Retries::default(), &[&one]);
    let later = async {
        tokio::time::sleep(MS * 2).await;
        client.increment("n", "other", 1).await
    };
    let (first, second) = tokio::join!(client.increment("n", "k", 1), later);
    assert_eq!((first, second), (Ok(1), Ok(1)));
    let heard = one.heard();
    let doubtful = heard[0].stamp.unwrap();
    let again = heard.iter().position(|heard| heard.stamp.unwrap().again).unwrap();
    for between in &heard[1..again] {
        assert_ne!(between.stamp.unwrap().turn.session, doubtful.turn.session);
    }
    assert_eq!(heard[again].stamp.unwrap().turn, doubtful.turn);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_come_back_leaves_the_write_unknown() {
    let (one, two) = (Fake::at("one", MS, true), Fake::at("two", MS, true));
    let client = client(Retries::default().within(Duration::from_secs(3)), &[&one, &two]);
    client.get("n", "k").await.unwrap();
    one.does([unclear()]).reachable(false);
    let outcome = client.increment("n", "k", 1).await;
    assert!(matches!(outcome, Err(Error::Ambiguous { .. })), "{outcome:?}");
    assert_eq!(two.heard().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_node_at_the_same_address_is_no_witness() {
    let one = Fake::at("one", MS, true);
    let client = client(Retries::default(), &[&one]);
    client.get("n", "k").await.unwrap();
    one.does([unclear()]);
    one.replace();
    let outcome = client.increment("n", "k", 1).await;
    assert!(matches!(outcome, Err(Error::Ambiguous { .. })), "{outcome:?}");
    assert_eq!(one.heard().len(), 2, "the read and the write, which was not sent again");
}

#[tokio::test(start_paused = true)]
async fn only_writes_are_stamped_and_each_try_at_another_node_has_a_name_there() {
    let (one, two) = (Fake::new("one").does([lost()]), Fake::new("two"));
    let client = client(Retries::default(), &[&one, &two]);
    client.increment("n", "k", 1).await.unwrap();
    client.get("n", "k").await.unwrap();
    client.ids(1).await.unwrap();
    let (first, second) = (one.heard()[0].stamp.unwrap(), two.heard()[0].stamp.unwrap());
    assert_ne!(first.turn.session, second.turn.session);
    let unstamped = one.heard().iter().chain(&two.heard()).filter(|heard| heard.stamp.is_none()).count();
    assert_eq!(unstamped, 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_given_up_does_not_stand_in_the_way_of_the_next() {
    let one = Fake::at("one", MS, true).does([Does::Hangs]);
    let client = client(Retries::default(), &[&one]);
    let given_up = tokio::time::timeout(MS * 50, client.increment("n", "k", 1)).await;
    assert!(given_up.is_err());
    client.increment("n", "other", 1).await.unwrap();
    let sessions: Vec<_> = one.heard().iter().map(|heard| heard.stamp.unwrap().turn.session).collect();
    assert_eq!(sessions.len(), 2);
    assert_ne!(sessions[0], sessions[1], "the node may be at work on the first");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_session_is_in_use_takes_another() {
    let one = Fake::at("one", MS, true).does([refuses(Code::IdempotencyInFlight, Some(MS * 100)), Does::Answers(5)]);
    let client = client(Retries::default(), &[&one]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(5));
    let stamps: Vec<_> = one.heard().iter().map(|heard| heard.stamp.unwrap()).collect();
    assert_eq!(stamps.iter().map(|stamp| stamp.again).collect::<Vec<_>>(), [false, false]);
    assert_ne!(stamps[0].turn.session, stamps[1].turn.session);
}

/// Two nodes that count a stamped write once, and a client that would rather have one counted twice than not at all.
async fn rather_twice(first: impl IntoIterator<Item = Does>) -> (Arc<Fake>, Arc<Fake>, Client) {
    let (one, two) = (Fake::at("one", MS, true), Fake::at("two", MS, true));
    let client = client(Retries::default().at_least_once(), &[&one, &two]);
    client.get("n", "k").await.unwrap();
    one.does(first);
    (one, two, client)
}

fn stamps(fake: &Fake) -> Vec<Stamp> {
    fake.heard().iter().filter_map(|heard| heard.stamp).collect()
}

#[tokio::test(start_paused = true)]
async fn who_would_rather_count_twice_goes_on_elsewhere_once_the_witness_is_gone() {
    let (one, two, client) = rather_twice([unclear()]).await;
    one.reachable(false);
    let began = Instant::now();
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert!(began.elapsed() < MS * 100, "as soon as it cannot be reached: {:?}", began.elapsed());
    let (first, second) = (stamps(&one), stamps(&two));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0].turn.session, second[0].turn.session);
    assert!(!second[0].again, "another request, to that node");
}

#[tokio::test(start_paused = true)]
async fn a_witness_that_is_silent_has_half_of_the_time_that_is_left() {
    let (one, two, client) = rather_twice([Does::Hangs, Does::Hangs]).await;
    let began = Instant::now();
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!(stamps(&one).iter().map(|stamp| stamp.again).collect::<Vec<_>>(), [false, true]);
    assert_eq!(stamps(&two).iter().map(|stamp| stamp.again).collect::<Vec<_>>(), [false]);
    let half = Duration::from_secs(15);
    assert!(began.elapsed() >= half && began.elapsed() < half + MS * 10, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_witness_that_cannot_be_connected_to_has_no_more_than_that() {
    let one = Fake::at("one", Duration::from_secs(5), true);
    let two = Fake::at("two", MS, true);
    let retries = Retries::default().at_least_once().within(Duration::from_secs(4));
    let client = client(retries, &[&one, &two]);
    client.get("n", "k").await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    one.does([unclear()]);
    let asked = stamps(&two).len();
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!((stamps(&one).len(), stamps(&two).len()), (1, asked + 1));
}

#[tokio::test(start_paused = true)]
async fn a_witness_that_tells_is_believed_and_no_other_node_is_asked() {
    let (one, two, client) = rather_twice([unclear(), Does::Answers(5)]).await;
    assert_eq!(client.increment("n", "k", 1).await, Ok(5));
    let stamps = stamps(&one);
    assert_eq!((stamps.len(), stamps[0].turn, two.heard().len()), (2, stamps[1].turn, 0));
}

#[tokio::test(start_paused = true)]
async fn a_witness_that_comes_back_before_any_other_node_is_still_one() {
    let (one, two, client) = rather_twice([unclear(), Does::Answers(5)]).await;
    one.reachable(false);
    two.reachable(false);
    let back = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        one.reachable(true);
    };
    assert_eq!(tokio::join!(client.increment("n", "k", 1), back).0, Ok(5));
    let stamps = stamps(&one);
    assert_eq!((stamps.len(), stamps[0].turn, stamps[1].again), (2, stamps[1].turn, true));
}

#[tokio::test(start_paused = true)]
async fn a_witness_that_lost_its_disk_tells_nothing_and_others_are_asked_if_they_may_be() {
    let outdated = || refuses(Code::IdempotencyMismatch, None);
    let (one, two, client) = rather_twice([unclear(), outdated()]).await;
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!((stamps(&one).len(), stamps(&two).len()), (2, 1));
    let (one, two) = (Fake::at("one", MS, true).does([unclear(), outdated()]), Fake::at("two", MS, true));
    let careful = fake::client(Retries::default(), &[&one, &two]);
    let outcome = careful.increment("n", "k", 1).await;
    assert!(matches!(outcome, Err(Error::Ambiguous { .. })), "{outcome:?}");
    assert_eq!((stamps(&one).len(), stamps(&two).len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn of_two_attempts_the_second_is_for_another_node() {
    let (one, two) = (Fake::at("one", MS, true).does([unclear()]), Fake::at("two", MS, true));
    let client = client(Retries::default().at_least_once().attempts(2), &[&one, &two]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!((stamps(&one).len(), stamps(&two).len()), (1, 1));
}

fn in_flight(times: usize) -> impl Iterator<Item = Does> {
    (0..times).map(|_| refuses(Code::IdempotencyInFlight, Some(MS * 100)))
}

#[tokio::test(start_paused = true)]
async fn a_witness_that_is_at_work_on_a_write_is_waited_for_and_asked_as_often_as_it_says() {
    let one = Fake::at("one", MS, true).does([unclear()]).does(in_flight(30)).does([Does::Answers(5)]);
    let client = client(Retries::default().budget(0), &[&one]);
    assert_eq!(client.increment("n", "k", 1).await, Ok(5));
    let heard = one.heard();
    assert_eq!(heard.len(), 32);
    assert!(heard[1..].windows(2).all(|two| two[1].at - two[0].at >= MS * 100));
    one.does([unclear()]).does(in_flight(1_000));
    let began = Instant::now();
    let outcome = client.increment("n", "k", 1).await;
    assert!(matches!(outcome, Err(Error::Ambiguous { .. })), "{outcome:?}");
    assert!(began.elapsed() <= Duration::from_secs(20) && began.elapsed() > Duration::from_secs(19));
}

#[tokio::test(start_paused = true)]
async fn who_would_rather_count_twice_waits_for_that_half_of_the_time() {
    let (_, two, client) = rather_twice([unclear()].into_iter().chain(in_flight(1_000))).await;
    let began = Instant::now();
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert!(began.elapsed() <= Duration::from_secs(10) + MS * 10 && began.elapsed() > Duration::from_secs(9));
    assert_eq!(stamps(&two).len(), 1);
    let (one, two, client) = rather_twice([unclear()].into_iter().chain(in_flight(30))).await;
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!((stamps(&one).len(), stamps(&two).len()), (32, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_waited_for_as_long_as_the_node_says_by_its_request_alone() {
    let one = Fake::new("one").does([refuses(Code::TokenWaitExpired, Some(MS * 700))]);
    let client = client(Retries::default(), &[&one]);
    let began = Instant::now();
    let other = async {
        tokio::time::sleep(MS * 10).await;
        client.get("n", "k").await.map(|_| began.elapsed())
    };
    let (first, other) = tokio::join!(client.get("n", "k"), other);
    assert_eq!((first, other), (Ok(1), Ok(MS * 10)));
    assert!(one.heard()[2].at - one.heard()[0].at >= MS * 700);
}

fn token(seq: u64) -> Token {
    let mut token = Token::new();
    token.raise(1, 2, seq);
    token
}

#[tokio::test(start_paused = true)]
async fn tokens_are_carried_from_what_was_seen_to_what_is_read_next() {
    let (one, two) = (Fake::new("one"), Fake::new("two"));
    let client = client_of(&Client::builder().carry_tokens(MS * 300), &[&one, &two]);
    one.tells(Some(token(5)));
    assert_eq!(client.increment("n", "k", 1).await, Ok(1));
    assert_eq!(client.token(), Some(token(5)));
    one.does([refuses(Code::TokenWaitExpired, None)]);
    two.tells(Some(token(4)));
    assert_eq!(client.get("n", "k").await, Ok(1));
    let asked = |fake: &Arc<Fake>, at: usize| fake.heard()[at].terms.clone().unwrap();
    assert_eq!(asked(&one, 0), Terms::new().with_token(), "a write waits for nothing");
    let read = Terms::new().with_token().after(&token(5)).wait(MS * 300);
    assert_eq!((asked(&one, 1), asked(&two, 0)), (read.clone(), read));
    assert_eq!(client.token(), Some(token(5)), "never less than before");
    one.tells(None);
    client.get("n", "k").await.unwrap();
    assert_eq!(client.token(), Some(token(5)));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_ones_own_is_apart_and_others_can_be_taken_in() {
    let one = Fake::new("one");
    let client = client_of(&Client::builder().carry_tokens(MS), &[&one]);
    one.tells(Some(token(5)));
    client.get("n", "k").await.unwrap();
    let own = client.with_own_token();
    assert_eq!((own.token(), one.dials()), (Some(Token::new()), 1));
    own.observe(&token(7));
    assert_eq!((own.token(), client.token()), (Some(token(7)), Some(token(5))));
    // Who asks for the token is told it as without carrying, and only then.
    let told = own.get_on("n", "k", &Terms::new().with_token()).await.unwrap();
    assert_eq!(told.token, Some(token(5)));
    assert_eq!(own.get_on("n", "k", &Terms::new()).await.unwrap().token, None);
}
