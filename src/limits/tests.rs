//! Nodes by themselves and in pairs: what is refused, what is shared, what is kept, and who goes when there is no room.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::identity::Boot;

const WALL_MS: u64 = 1_800_000_000_000;

fn worker(region: u8) -> WorkerId {
    WorkerId::new(region, 0).unwrap()
}

fn peer(region: u8, counter: u64) -> Peer {
    Peer { worker: worker(region), boot: Boot { counter, nonce: counter * 1_000 + u64::from(region) } }
}

fn policy(name: &str, algorithm: Algorithm, limit: u64) -> Policy {
    Policy::new(name, algorithm, limit, 10_000).shared_by([(worker(0), 1), (worker(1), 1)])
}

fn node(region: u8, boot: u64, room: Room, policies: Vec<Policy>) -> Limits {
    begun_at(0, peer(region, boot), room, policies)
}

fn begun_at(mono_ms: u64, me: Peer, room: Room, policies: Vec<Policy>) -> Limits {
    let limits = Limits::new(me, room, Pace::default(), 2);
    limits.tick(Reading { mono_ms, wall_ms: Some(WALL_MS + mono_ms) });
    limits.replace(policies, None, mono_ms).unwrap();
    limits
}

fn room(keys_max: u32, when_full: WhenFull) -> Room {
    Room { keys_max, shards: 1, when_full }
}

fn alone(policies: Vec<Policy>) -> Limits {
    node(0, 1, room(64, WhenFull::Evict), policies)
}

fn key(number: u64) -> KeyHash {
    KeyHash::of(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn decide(limits: &Limits, mono_ms: u64, name: &str, number: u64, cost: u64) -> Result<Decision, Refusal> {
    let policy = limits.find(name).unwrap();
    limits.decide(limits.moment(mono_ms).unwrap(), Request { policy, key: key(number), cost })
}

fn admits(limits: &Limits, mono_ms: u64, name: &str, cost: u64) -> bool {
    decide(limits, mono_ms, name, 1, cost).unwrap().admitted
}

/// Two nodes over a network that takes no time, from `from_ms` until `to_ms`.
fn talk(nodes: [&Limits; 2], from_ms: u64, to_ms: u64) {
    for mono_ms in (from_ms..to_ms).step_by(20) {
        for node in nodes {
            node.tick(Reading { mono_ms, wall_ms: Some(WALL_MS + mono_ms) });
        }
        for (from, node) in (0u8..).zip(nodes) {
            while let Some((to, message)) = node.poll() {
                let message = crate::codec::decode(&crate::codec::encode(&message)).unwrap();
                nodes[usize::from(to.region())].receive(worker(from), message, mono_ms).unwrap();
            }
        }
    }
}

fn linked(policies: &[Policy]) -> [Limits; 2] {
    let nodes = [0, 1].map(|region| node(region, 1, room(64, WhenFull::Evict), policies.to_vec()));
    nodes[0].opened(peer(1, 1), 0);
    nodes[1].opened(peer(0, 1), 0);
    nodes
}

#[test]
fn what_can_never_be_is_refused_and_charges_nothing() {
    let limits =
        alone(vec![policy("a", Algorithm::Fixed, 10), Policy { burst: 4, ..policy("g", Algorithm::Gcra, 10) }]);
    assert_eq!(decide(&limits, 0, "a", 1, 11), Err(Refusal::Never { max: 10 }));
    assert_eq!(decide(&limits, 0, "a", 1, u64::MAX), Err(Refusal::Never { max: 10 }));
    assert_eq!(decide(&limits, 0, "g", 2, 5), Err(Refusal::Never { max: 4 }));
    assert_eq!(limits.fill(), Fill::default());
    let absurd = vec![policy("b", Algorithm::Fixed, 1), policy("c", Algorithm::Fixed, 0)];
    assert_eq!(limits.replace(absurd, None, 0), Err(PolicyError::Limit));
    assert!(limits.find("a").is_some() && limits.find("b").is_none(), "all are taken, or none");
}

#[test]
fn a_node_that_is_alone_has_its_share_and_looking_costs_nothing() {
    let limits = alone(vec![
        policy("a", Algorithm::Fixed, 10),
        Policy { mode: Mode::Local, ..policy("l", Algorithm::Fixed, 10) },
    ]);
    assert_eq!(decide(&limits, 0, "a", 1, 0).unwrap().remaining, 5);
    assert_eq!(limits.fill().keys, 0);
    let decision = decide(&limits, 0, "a", 1, 3).unwrap();
    assert!(decision.admitted && decision.remaining == 2 && decision.limit == 10 && decision.reset_ms == 10_000);
    let denied = decide(&limits, 4_000, "a", 1, 3).unwrap();
    assert!(!denied.admitted && denied.remaining == 2 && denied.retry_after_ms == 6_000);
    assert!(admits(&limits, 10_000, "a", 5));
    assert_eq!(decide(&limits, 0, "l", 2, 10).unwrap().remaining, 0);
}

#[test]
fn a_level_drains_and_tells_when_to_come_again() {
    let limits = alone(vec![Policy { burst: 4, ..policy("g", Algorithm::Gcra, 10) }]);
    assert!(admits(&limits, 0, "g", 2));
    let denied = decide(&limits, 1_000, "g", 1, 1).unwrap();
    assert!(!denied.admitted && denied.retry_after_ms == 1_000, "its share is one unit in two seconds: {denied:?}");
    assert!(admits(&limits, 2_000, "g", 1));
    assert!(!admits(&limits, 3_999, "g", 1));
    assert!(admits(&limits, 4_000, "g", 1));
}

#[test]
fn a_sliding_window_forgets_bit_by_bit_and_says_when() {
    let limits = alone(vec![policy("s", Algorithm::Sliding, 20)]);
    assert!(admits(&limits, 20_000, "s", 10), "the window that it began in is forgotten");
    let denied = decide(&limits, 32_000, "s", 1, 5).unwrap();
    assert!(!denied.admitted && denied.retry_after_ms == 3_000, "{denied:?}");
    assert!(admits(&limits, 35_000, "s", 5) && !admits(&limits, 35_000, "s", 1));
}

#[test]
fn two_nodes_count_together_from_the_next_window_on() {
    let [one, other] = linked(&[policy("a", Algorithm::Fixed, 100)]);
    talk([&one, &other], 0, 10_000);
    assert!(!admits(&one, 9_000, "a", 60), "a side counts with the window after that in which it formed");
    talk([&one, &other], 10_000, 11_000);
    assert!(admits(&one, 11_000, "a", 60));
    talk([&one, &other], 11_000, 11_040);
    let decision = decide(&other, 11_040, "a", 1, 0).unwrap();
    assert_eq!(decision.remaining, 40);
    assert!(admits(&other, 11_040, "a", 40) && !admits(&other, 11_040, "a", 1));
}

#[test]
fn when_a_side_ends_each_takes_its_share_of_the_rest_once() {
    let [one, other] = linked(&[policy("a", Algorithm::Fixed, 100)]);
    talk([&one, &other], 0, 11_000);
    assert!(admits(&one, 11_000, "a", 60));
    talk([&one, &other], 11_000, 11_100);
    // Nothing is heard for a second: presence runs out by itself.
    for node in [&one, &other] {
        assert_eq!(decide(node, 12_500, "a", 1, 0).unwrap().remaining, 20);
        assert!(admits(node, 12_500, "a", 20) && !admits(node, 12_500, "a", 1));
    }
    talk([&one, &other], 12_500, 19_900);
    assert!(!admits(&one, 19_900, "a", 1), "flaps add nothing");
    talk([&one, &other], 19_900, 21_000);
    assert_eq!(decide(&one, 21_000, "a", 1, 0).unwrap().remaining, 100);
}

#[test]
fn a_node_that_begins_anew_is_told_what_it_did_before() {
    let [one, other] = linked(&[policy("a", Algorithm::Fixed, 100)]);
    talk([&one, &other], 0, 11_000);
    assert!(admits(&one, 11_000, "a", 60));
    talk([&one, &other], 11_000, 11_040);
    let again = begun_at(11_040, peer(0, 2), room(64, WhenFull::Evict), vec![policy("a", Algorithm::Fixed, 100)]);
    other.ended(worker(0), 11_040);
    other.opened(peer(0, 2), 11_040);
    again.opened(peer(1, 1), 11_040);
    talk([&again, &other], 11_040, 11_500);
    assert!(again.has_table(worker(1)));
    assert_eq!(decide(&again, 11_500, "a", 1, 0).unwrap().remaining, 20, "half of what is left");
}

#[test]
fn a_policy_that_differs_parts_and_keeps_what_was_used() {
    let [one, other] = linked(&[policy("a", Algorithm::Fixed, 100)]);
    talk([&one, &other], 0, 11_000);
    let id = one.find("a").unwrap();
    assert_eq!(one.side(id).len(), 2);
    assert!(admits(&one, 11_000, "a", 60));
    talk([&one, &other], 11_000, 11_040);
    one.replace(vec![policy("b", Algorithm::Fixed, 9), policy("a", Algorithm::Fixed, 200)], None, 11_040).unwrap();
    talk([&one, &other], 11_040, 11_100);
    assert_eq!(one.side(one.find("a").unwrap()).len(), 1);
    assert_eq!(other.side(other.find("a").unwrap()).len(), 1);
    assert_eq!(decide(&one, 11_100, "a", 1, 0).unwrap().remaining, 70, "half of what is left of the new limit");
    assert_eq!(decide(&other, 11_100, "a", 1, 0).unwrap().remaining, 20, "half of what was left of the old one");
}

#[test]
fn a_peer_is_held_to_the_form_of_a_stream() {
    let limits = alone(vec![policy("a", Algorithm::Fixed, 100)]);
    let beat = Message::Beat(Beat { number: 1, unix_ms: WALL_MS, echo: None });
    let opening = |counter, many| {
        let fingerprints = vec![Fingerprint::of(&policy("x", Algorithm::Fixed, 1)); many];
        Message::Opening(Opening { boot: peer(1, counter).boot, began_ms: 0, fingerprints })
    };
    assert_eq!(limits.receive(worker(1), beat.clone(), 0), Err(Violation::NotOpened));
    assert_eq!(limits.receive(worker(1), opening(2, POLICIES_MAX + GIVEN_MAX + 1), 0), Err(Violation::TooManyPolicies));
    assert_eq!(limits.receive(worker(1), opening(2, 1), 0), Ok(()));
    assert_eq!(limits.receive(worker(1), beat.clone(), 0), Ok(()));
    assert_eq!(limits.receive(worker(1), opening(1, 1), 0), Err(Violation::EarlierBoot));
    limits.ended(worker(1), 0);
    assert_eq!(limits.receive(worker(1), beat, 0), Err(Violation::NotOpened));
}

fn template(policies_max: usize) -> Option<Template> {
    let weights = policy("t", Algorithm::Fixed, 1).weights;
    Some(Template { mode: Mode::Shared, weights, policies_max })
}

fn decide_given(limits: &Limits, mono_ms: u64, given: Given, cost: u64) -> Result<Decision, Refusal> {
    let policy = limits.given(&given, mono_ms).unwrap();
    limits.decide(limits.moment(mono_ms).unwrap(), Request { policy, key: key(1), cost })
}

#[test]
fn policies_come_with_requests_if_there_is_a_template_and_room() {
    let limits = alone(vec![policy("a", Algorithm::Fixed, 10)]);
    let given = Given::fixed(10, 10_000);
    assert_eq!(limits.given(&given, 0), Err(GivenError::NotTaken));
    limits.replace(vec![policy("a", Algorithm::Fixed, 10)], template(2), 0).unwrap();
    let id = limits.given(&given, 0).unwrap();
    assert_eq!(limits.given(&given, 0), Ok(id));
    assert_ne!(limits.given(&Given::sliding(10, 10_000), 0).unwrap(), id);
    assert_eq!(limits.given(&Given::sliding(11, 10_000), 0), Err(GivenError::Full));
    limits.replace(Vec::new(), template(3), 0).unwrap();
    assert_eq!(limits.given(&Given::gcra(0, 10_000, 1), 0), Err(GivenError::Absurd(PolicyError::Limit)));
    assert_eq!(limits.given(&given, 0), Ok(id), "those that came with requests stay");
    limits.replace(Vec::new(), None, 0).unwrap();
    assert_eq!(limits.given(&given, 0), Err(GivenError::NotTaken));
    let gone = Request { policy: id, key: key(1), cost: 1 };
    assert_eq!(limits.decide(limits.moment(0).unwrap(), gone), Err(Refusal::Changed));
}

#[test]
fn policies_that_nobody_uses_make_room_and_leave_nothing_to_those_that_come() {
    let limits = alone(Vec::new());
    limits.replace(Vec::new(), template(8), 0).unwrap();
    let given = |limit| Given::fixed(limit, 10_000);
    assert!(decide_given(&limits, 0, given(10), 5).unwrap().admitted);
    let first = limits.given(&given(10), 0).unwrap();
    (11..18).for_each(|limit| _ = limits.given(&given(limit), 0).unwrap());
    assert_eq!(limits.given(&given(18), 0), Err(GivenError::Full));
    let later = |mono_ms| limits.tick(Reading { mono_ms, wall_ms: Some(WALL_MS + mono_ms) });
    assert!(decide_given(&limits, 30_000, given(17), 1).unwrap().admitted);
    later(59_000);
    assert_eq!(limits.given(&given(18), 59_000), Err(GivenError::Full), "not for a minute");
    later(65_000);
    assert_eq!(limits.list(65_000).len(), 6, "a quarter makes room");
    let old = Request { policy: first, key: key(1), cost: 1 };
    assert_eq!(limits.decide(limits.moment(65_000).unwrap(), old), Err(Refusal::Changed));
    let kept = limits.list(65_000).into_iter().map(|listed| listed.policy.limit).collect::<Vec<_>>();
    assert!(kept.contains(&17) && !kept.contains(&10), "those unused for longest go: {kept:?}");
    later(65_020);
    assert_eq!(limits.fill().keys, 1, "with their keys");
    for limit in [18, 20] {
        let decision = decide_given(&limits, 65_020, given(limit), 0).unwrap();
        assert_eq!(decision.remaining, limit / 2, "nothing was used by it");
    }
}

#[test]
fn a_policy_that_comes_to_one_node_is_counted_together_from_the_next_window_on() {
    let [one, other] = linked(&[]);
    for node in [&one, &other] {
        node.replace(Vec::new(), template(8), 0).unwrap();
    }
    talk([&one, &other], 0, 1_000);
    let given = Given::fixed(100, 10_000);
    assert!(decide_given(&one, 1_000, given, 50).unwrap().admitted);
    talk([&one, &other], 1_000, 1_100);
    assert_eq!(other.list(1_100).len(), 1, "the other has heard of it");
    assert_eq!(decide_given(&other, 1_100, given, 0).unwrap().remaining, 25, "for this window, half of what is left");
    talk([&one, &other], 1_100, 11_000);
    assert!(decide_given(&one, 11_000, given, 60).unwrap().admitted);
    talk([&one, &other], 11_000, 11_040);
    assert_eq!(decide_given(&other, 11_040, given, 0).unwrap().remaining, 40);
}

#[test]
fn a_node_that_begins_anew_hears_of_policies_and_of_what_it_admitted_by_them() {
    let [one, other] = linked(&[]);
    for node in [&one, &other] {
        node.replace(Vec::new(), template(8), 0).unwrap();
    }
    let given = Given::fixed(100, 10_000);
    _ = one.given(&given, 0).unwrap();
    talk([&one, &other], 0, 11_000);
    assert!(decide_given(&one, 11_000, given, 60).unwrap().admitted);
    talk([&one, &other], 11_000, 11_040);
    let again = begun_at(11_040, peer(0, 2), room(64, WhenFull::Evict), Vec::new());
    again.replace(Vec::new(), template(8), 11_040).unwrap();
    other.ended(worker(0), 11_040);
    other.opened(peer(0, 2), 11_040);
    again.opened(peer(1, 1), 11_040);
    talk([&again, &other], 11_040, 11_500);
    assert_eq!(decide_given(&again, 11_500, given, 0).unwrap().remaining, 20, "half of what is left");
}

#[test]
fn an_id_holds_for_as_long_as_its_keys_are_counted_on() {
    let limits = alone(vec![policy("a", Algorithm::Fixed, 10), policy("b", Algorithm::Fixed, 10)]);
    let (now, [a, b]) = (limits.moment(0).unwrap(), ["a", "b"].map(|name| limits.find(name).unwrap()));
    let ask = |policy| limits.decide(now, Request { policy, key: key(1), cost: 0 });
    let slower = Policy { window_ms: 20_000, ..policy("b", Algorithm::Fixed, 10) };
    limits.replace(vec![slower, policy("a", Algorithm::Fixed, 20)], None, 0).unwrap();
    assert_eq!(limits.find("a"), Some(a));
    assert_eq!(ask(a).unwrap().limit, 20);
    assert_eq!(ask(b), Err(Refusal::Changed), "it counts anew");
    assert_eq!(ask(limits.find("b").unwrap()).unwrap().reset_ms, 20_000);
    let twice = vec![policy("c", Algorithm::Fixed, 1), policy("c", Algorithm::Gcra, 1)];
    assert_eq!(limits.replace(twice, None, 0), Err(PolicyError::Twice));
}

#[test]
fn a_list_says_who_is_parted_and_why_and_what_was_decided() {
    let [one, other] = linked(&[policy("a", Algorithm::Fixed, 100)]);
    let listed = |node: &Limits, mono_ms| node.list(mono_ms).remove(0);
    assert_eq!(listed(&one, 0).parted, [(worker(1), Parted::NotHeard)]);
    assert!(listed(&one, 0).without_table.contains(worker(1)));
    talk([&one, &other], 0, 11_000);
    assert!(admits(&one, 11_000, "a", 60) && !admits(&one, 11_000, "a", 60));
    let told = listed(&one, 11_000);
    assert_eq!((told.parted, told.side.len(), told.without_table.len()), (Vec::new(), 2, 0));
    assert_eq!((told.usage.decisions, told.usage.admitted, told.usage.denied), (2, 60, 1));
    assert_eq!(listed(&one, 11_000).overshoot_max(1_000, 20), 25, "5 are not told, 20 are on their way");
    assert_eq!(listed(&one, 11_000).overshoot_max(1_000_000, 20), 100, "a node admits no more than there is");
    one.replace(vec![policy("a", Algorithm::Fixed, 200)], None, 11_000).unwrap();
    talk([&one, &other], 11_000, 11_500);
    assert_eq!(listed(&other, 11_500).parted, [(worker(0), Parted::OtherPolicy)]);
    assert_eq!(listed(&one, 12_999).parted, [(worker(1), Parted::NotHeard)]);
    one.closed(worker(1), 13_000);
    assert_eq!(listed(&one, 13_000).parted, [(worker(1), Parted::NoLink)]);
}

#[test]
fn a_fenced_node_decides_nothing() {
    let limits = alone(vec![policy("a", Algorithm::Fixed, 100)]);
    limits.fence();
    assert_eq!(decide(&limits, 0, "a", 1, 1), Err(Refusal::Fenced));
}

#[test]
fn a_round_is_decided_like_its_requests_one_by_one() {
    let policies = || vec![policy("a", Algorithm::Fixed, 12), policy("s", Algorithm::Sliding, 12)];
    let many = Room { keys_max: 256, shards: 8, when_full: WhenFull::Evict };
    let (one, other) = (node(0, 1, many, policies()), node(0, 1, many, policies()));
    let ids = ["a", "s"].map(|name| one.find(name).unwrap());
    let requests: Vec<Request> = (0..200u64)
        .map(|at| Request { policy: ids[usize::try_from(at % 2).unwrap()], key: key(at % 14), cost: at % 3 })
        .collect();
    let now = one.moment(0).unwrap();
    let single: Vec<_> = requests.iter().map(|request| one.decide(now, *request)).collect();
    let mut round = vec![None; requests.len()];
    other.decide_all(now, &mut Round::default(), &requests, |at, decided| round[at] = Some(decided));
    assert_eq!(round.into_iter().map(Option::unwrap).collect::<Vec<_>>(), single);
}

#[test]
fn when_there_is_no_room_the_least_used_of_the_largest_goes_or_new_keys_are_denied() {
    let policies = || vec![policy("a", Algorithm::Fixed, 1_000), policy("b", Algorithm::Fixed, 1_000)];
    let limits = node(0, 1, room(16, WhenFull::Evict), policies());
    for number in 0..8 {
        decide(&limits, 0, "b", 1_000 + number, 100).unwrap();
    }
    decide(&limits, 0, "a", 0, 50).unwrap();
    (1..500).for_each(|number| _ = decide(&limits, 0, "a", number, 1).unwrap());
    assert_eq!(limits.fill().keys, 16);
    assert_eq!(decide(&limits, 0, "a", 0, 0).unwrap().remaining, 450, "it had the most use");
    for number in 0..8 {
        assert_eq!(decide(&limits, 0, "b", 1_000 + number, 0).unwrap().remaining, 400, "another policy's flood");
    }
    let limits = node(0, 1, room(16, WhenFull::Deny), policies());
    let full = (0..500).filter(|number| decide(&limits, 0, "a", *number, 1) == Err(Refusal::Full)).count();
    assert_eq!(full, 484);
    assert!(decide(&limits, 0, "b", 1_000, 1).unwrap().admitted, "the other policy still has its part of the room");
    assert!(decide(&limits, 30_000, "a", 900, 1).unwrap().admitted, "what is out of use makes room");
}

#[test]
fn keys_that_are_only_heard_of_have_a_quarter() {
    let [one, other] = linked(&[policy("a", Algorithm::Fixed, 100)]);
    talk([&one, &other], 0, 1_000);
    for number in 0..60 {
        decide(&one, 1_000, "a", number, 10).unwrap();
    }
    talk([&one, &other], 1_000, 1_100);
    assert_eq!(other.fill().heard, 16);
    let rest = (0..48).filter(|number| decide(&other, 1_100, "a", 1_000 + number, 1).is_ok()).count();
    assert_eq!((rest, other.fill().evicted), (48, 44), "own keys need no others to go");
}

#[test]
fn threads_that_decide_at_once_admit_no_more_than_there_is() {
    let limits = node(
        0,
        1,
        Room { keys_max: 64, shards: 4, when_full: WhenFull::Evict },
        vec![policy("a", Algorithm::Fixed, 2_000)],
    );
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for at in 0..4_000u64 {
                    let decision = decide(&limits, 0, "a", at % 2, 1).unwrap();
                    admitted.fetch_add(u64::from(decision.admitted), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 2_000, "half of the limit, of two keys");
}
