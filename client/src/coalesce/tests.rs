//! Increments that are merged, at a node that answers as each test says.

use std::sync::Arc;
use std::time::Duration;

use snowtide_protocol::Code;
use tokio::time::Instant;

use super::*;
use crate::client::fake::{Does, Fake, client, client_of, refuses, unclear};
use crate::{Client, Retries};

const MS: Duration = Duration::from_millis(1);

fn coalescer(one: &Arc<Fake>, coalescing: Coalescing) -> Coalescer {
    client(Retries::none(), &[one]).coalescer(coalescing).unwrap()
}

/// How many operations each request had.
fn batches(fake: &Fake) -> Vec<usize> {
    fake.heard().iter().map(|heard| heard.operations).collect()
}

#[tokio::test(start_paused = true)]
async fn increments_wait_for_others_of_their_counter_but_no_longer_than_the_delay() {
    let one = Fake::new("one").does([Does::Answers(42)]);
    let coalescer = coalescer(&one, Coalescing::default().delay(MS * 5));
    let began = Instant::now();
    let mut tickets = Vec::new();
    for _ in 0..100 {
        tickets.push(coalescer.add("n", "k", 1).await.unwrap());
    }
    tickets.push(coalescer.add("n", "other", 1).await.unwrap());
    for ticket in tickets {
        assert_eq!(ticket.await, Ok(42));
    }
    assert_eq!(batches(&one), [2]);
    assert_eq!(one.heard()[0].at - began, MS * 6, "the delay, and to connect");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_leaves_at_once_and_who_finds_two_waits_for_room() {
    let one = Fake::new("one").does([Does::Hangs]);
    let limits = Coalescing::default().counters(2).delay(Duration::from_secs(60));
    let coalescer = coalescer(&one, limits);
    let began = Instant::now();
    let mut tickets = Vec::new();
    for key in ["a", "b", "c", "d", "e"] {
        tickets.push(coalescer.add("n", key, 1).await.unwrap());
    }
    assert_eq!(began.elapsed(), Duration::from_secs(10) + MS, "the fifth had to wait for the first batch");
    let mut outcomes = Vec::new();
    for ticket in tickets.drain(..4) {
        outcomes.push(ticket.await.is_ok());
    }
    assert_eq!(outcomes, [false, false, true, true]);
    let failure = coalescer.flush().await.unwrap_err();
    assert_eq!((failure.refused, failure.unknown), (0, 2));
    assert_eq!(batches(&one), [2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_the_delay_and_tells_what_was_not_counted_once() {
    let one = Fake::new("one").does([refuses(Code::Draining, None), unclear()]);
    let coalescer = coalescer(&one, Coalescing::default().delay(Duration::from_secs(60)));
    assert_eq!(coalescer.flush().await, Ok(()), "nothing to send");
    for _ in 0..3 {
        coalescer.add("n", "k", 1).await.unwrap();
    }
    let began = Instant::now();
    let refused = coalescer.flush().await.unwrap_err();
    assert_eq!((refused.refused, refused.unknown, began.elapsed()), (3, 0, MS));
    // The node is left alone for a while, so what is added meanwhile fails at once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    coalescer.add("n", "k", 1).await.unwrap();
    let unknown = coalescer.flush().await.unwrap_err();
    assert_eq!((unknown.refused, unknown.unknown), (0, 1));
    assert!(unknown.to_string().contains("of 1 it is unknown"), "{unknown}");
    coalescer.add("n", "k", 1).await.unwrap();
    assert_eq!(coalescer.flush().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn every_flush_that_waits_hears_of_a_loss() {
    let one = Fake::new("one").does([refuses(Code::Draining, None)]);
    let coalescer = coalescer(&one, Coalescing::default().delay(Duration::from_secs(60)));
    let add_and_flush = async |key| {
        coalescer.add("n", key, 1).await.unwrap();
        coalescer.flush().await
    };
    let (first, second) = tokio::join!(add_and_flush("a"), add_and_flush("b"));
    assert_eq!(batches(&one), [2]);
    assert_eq!(first, second);
    assert_eq!(first.unwrap_err().refused, 2);
    assert_eq!(coalescer.flush().await, Ok(()), "and who comes later does not");
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_is_sent_after_the_last_handle_is_gone() {
    let one = Fake::new("one");
    let coalescer = coalescer(&one, Coalescing::default().delay(Duration::from_secs(60)));
    let ticket = coalescer.add("n", "k", 1).await.unwrap();
    drop(coalescer);
    assert_eq!(ticket.await, Ok(1));
    assert_eq!(batches(&one), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_client_coalesces_what_it_adds_if_it_was_told_to() {
    let one = Fake::new("one");
    let plain = client_of(&Client::builder(), &[&one]);
    let client = plain.coalesced(Coalescing::default()).unwrap();
    let add = || client.increment("n", "k", 1);
    assert_eq!(tokio::join!(add(), add(), add()), (Ok(1), Ok(1), Ok(1)));
    client.get("n", "k").await.unwrap();
    assert_eq!(batches(&one), [1, 1], "three increments are one operation, and a read is a request");
    client.close().await;
    assert!(plain.increment("n", "k", 1).await.is_err(), "they share their connections");
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_before_anything_is_taken() {
    let one = Fake::new("one");
    let coalescer = coalescer(&one, Coalescing::default());
    assert!(matches!(coalescer.add("n", "", 1).await, Err(Error::InvalidArgument(_))));
    assert!(matches!(coalescer.add("", "k", 1).await, Err(Error::InvalidArgument(_))));
}

#[test]
fn with_its_runtime_a_coalescer_ends_and_says_so() {
    let one = Fake::new("one").does([Does::Hangs]);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (coalescer, flying, waiting) = runtime().block_on(async {
        let coalescer = coalescer(&one, Coalescing::default().counters(1));
        let flying = coalescer.add("n", "a", 1).await.unwrap();
        let waiting = coalescer.add("n", "b", 1).await.unwrap();
        while one.heard().is_empty() {
            tokio::task::yield_now().await;
        }
        (coalescer, flying, waiting)
    });
    runtime().block_on(async {
        assert!(flying.await.unwrap_err().is_ambiguous());
        assert!(waiting.await.unwrap_err().is_retryable());
        assert!(coalescer.add("n", "c", 1).await.unwrap_err().is_retryable());
        let failure = coalescer.flush().await.unwrap_err();
        assert_eq!((failure.refused, failure.unknown), (1, 1));
    });
}
