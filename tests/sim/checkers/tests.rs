//! Checkers that never object show nothing: each is shown something wrong.

use snowtide::crdt::Slot;
use snowtide::identity::{NamespaceId, ReplicaId, WorkerId};
use snowtide::replica::{Operation, Page};
use snowtide::snowflake::Run;
use snowtide_protocol::{Action, Key};

use super::doors::{Closed, Doors};
use super::handovers::Handovers;
use super::ids::Ids;
use super::ledger::{Ledger, Rows};
use super::lists::{Lists, Walk};
use super::reads::Reads;
use super::vouching::Vouching;
use crate::ids::layout;

const SPACE: NamespaceId = NamespaceId(1);
const REPLICA: ReplicaId = ReplicaId(7);

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn add(by: i64) -> Operation {
    Operation { namespace: SPACE, key: key("counter-1"), action: Action::Increment(by) }
}

fn rows(added: u64) -> Rows {
    let row = [(REPLICA, Slot::of(added, 0))].into_iter().collect();
    Rows::from([((SPACE, key("counter-1")), row)])
}

/// 1, 20 and 300 are acknowledged, 4 000 is attempted.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for by in [1, 20, 300, 4_000] {
        ledger.attempted(REPLICA, &[add(by)]);
    }
    [1, 20, 300].iter().for_each(|by| ledger.acknowledged(REPLICA, &add(*by)));
    ledger
}

#[test]
fn the_ledger_takes_what_was_acknowledged_with_or_without_what_was_attempted() {
    assert_eq!(ledger().check(&rows(321)), None);
    assert_eq!(ledger().check(&rows(4_321)), None);
}

#[test]
fn the_ledger_names_what_is_lost_and_what_is_too_much() {
    let lost = ledger().check(&rows(301)).unwrap();
    assert!(lost.contains("acknowledgement 2 of 3 is lost"), "{lost}");
    let doubled = ledger().check(&rows(4_322)).unwrap();
    assert!(doubled.contains("more than the 4321 that were attempted"), "{doubled}");
    let unheard = Ledger::default().check(&rows(1)).unwrap();
    assert!(unheard.contains("without a client"), "{unheard}");
}

#[test]
fn the_ledger_excuses_only_what_a_lost_disk_held_alone() {
    let mut ledger = ledger();
    ledger.excuse(&rows(321), &rows(301));
    assert_eq!(ledger.check(&rows(301)), None);
    assert!(ledger.check(&rows(300)).is_some());
}

#[test]
fn the_ledger_demands_of_two_histories_what_was_acknowledged_before_they_parted() {
    let mut ledger = ledger();
    ledger.forked(REPLICA);
    ledger.acknowledged(REPLICA, &add(4_000));
    assert_eq!(ledger.check(&rows(321)), None);
    assert!(ledger.check(&rows(320)).is_some());
    assert!(ledger.check(&rows(4_322)).unwrap().contains("more than the 4321 that were attempted"));
}

#[test]
fn refused_increments_were_not_attempted() {
    let mut ledger = ledger();
    ledger.refused(REPLICA, &[add(4_000)]);
    assert!(ledger.check(&rows(4_321)).is_some());
    assert!(ledger.check_value(0, &add(1), 322).is_some());
    assert_eq!(ledger.check_value(0, &add(1), 321), None);
}

#[test]
fn reads_that_go_back_are_noticed_at_the_same_node() {
    let mut reads = Reads::default();
    assert_eq!(reads.check(0, &add(1), 5), None);
    assert_eq!(reads.check(1, &add(1), 4), None);
    assert!(reads.check(0, &add(1), 4).is_some());
    reads.forget(0);
    assert_eq!(reads.check(0, &add(1), 1), None);
}

/// Node 0 has shown these three.
fn walk(prefix: &str) -> (Lists, Walk) {
    let mut lists = Lists::default();
    ["a/1", "a/2", "b/1"].iter().for_each(|name| lists.shown(0, (SPACE, key(name))));
    let walk = lists.begin(0, SPACE, prefix);
    (lists, walk)
}

fn page(names: &[&str], next: Option<&str>) -> Page {
    Page { counters: names.iter().map(|name| (key(name), 1)).collect(), next: next.map(key) }
}

#[test]
fn a_walk_that_misses_a_lasting_counter_is_noticed_at_its_end() {
    let (_, mut walk) = walk("a/");
    assert_eq!(walk.take(0, 2, &page(&["a/1", "a/3"], Some("b/1"))), None);
    let missed = walk.take(0, 2, &page(&[], None)).unwrap();
    assert!(missed.contains("missed \"a/2\""), "{missed}");
}

#[test]
fn what_a_node_that_is_asked_may_lack_need_not_be_listed() {
    let (mut lists, mut walk) = walk("");
    lists.shown(1, (SPACE, key("a/2")));
    lists.ask(&mut walk, 1);
    assert_eq!(walk.take(1, 9, &page(&["a/2"], None)), None);
    let mut walk = lists.begin(1, SPACE, "");
    lists.forget(1);
    lists.ask(&mut walk, 1);
    assert_eq!(walk.take(1, 9, &page(&[], None)), None);
}

#[test]
fn pages_with_what_was_listed_or_not_asked_for_or_no_end_are_noticed() {
    let taken = |limit, pages: &[Page]| {
        let (_, mut walk) = walk("a/");
        pages.iter().find_map(|page| walk.take(0, limit, page)).unwrap_or_default()
    };
    assert!(taken(9, &[page(&["a/1"], Some("a/1")), page(&["a/2", "a/1"], None)]).contains("twice"));
    assert!(taken(9, &[page(&["b/1"], Some("b/1"))]).contains("was asked for"));
    assert!(taken(1, &[page(&["a/1", "a/2"], None)]).contains("on a page of 1"));
    assert!(taken(9, &[page(&["a/1"], Some("b/1")), page(&["a/2"], Some("b/1"))]).contains("ended two pages"));
}

#[test]
fn a_drained_node_that_serves_is_noticed_until_it_is_put_back() {
    let mut doors = Doors::default();
    doors.close(0, Closed::Drained, 7);
    assert_eq!((doors.check(0, 7), doors.check(1, 8)), (None, None));
    assert!(doors.check(0, 8).unwrap().starts_with("Drained"));
    doors.open(0, Closed::Drained);
    assert_eq!(doors.check(0, 8), None);
    doors.close(0, Closed::Fenced, 8);
    assert!(doors.check(0, 9).is_some());
    doors.started(0);
    assert_eq!(doors.check(0, 9), None);
}

#[test]
fn a_region_that_lacks_what_was_acknowledged_is_noticed() {
    let mut handovers = Handovers::default();
    [1, 20, 300].iter().for_each(|by| handovers.acknowledged(0, REPLICA, &add(*by)));
    assert_eq!(handovers.check(0, 1, &[rows(320), rows(321)]), None);
    assert!(handovers.check(0, 1, &[rows(320), Rows::new()]).unwrap().contains("region 1"));
    handovers.forget(0);
    assert_eq!(handovers.check(0, 1, &[Rows::new()]), None);
}

#[test]
fn ids_that_repeat_or_lie_above_the_ceiling_are_noticed() {
    let worker = WorkerId::new(1, 1).unwrap();
    let run = |timestamp, count| Run { first: layout().compose(timestamp, worker, 5).unwrap(), count };
    let mut ids = Ids::default();
    assert_eq!(ids.started(0, worker, 100), None);
    assert!(ids.issued(0, run(100, 1), layout()).unwrap().contains("before its peers were asked"));
    ids.heard(0, 90);
    assert!(ids.check_claim(0, 80).unwrap().starts_with("I10"));
    assert_eq!(ids.check_claim(0, 100), None);
    assert!(ids.issued(0, run(101, 1), layout()).unwrap().starts_with("I10"));
    assert_eq!(ids.issued(0, run(100, 10), layout()), None);
    assert!(ids.issued(0, run(100, 1), layout()).unwrap().contains("after"));
    assert_eq!(ids.started(1, worker, 100), None);
    assert_eq!(ids.check_claim(1, 100), None);
    assert!(ids.issued(1, Run { first: run(100, 1).first + 9, count: 1 }, layout()).unwrap().contains("had issued"));
    assert!(ids.started(0, worker, 99).is_some());
}

#[test]
fn who_vouches_for_what_it_gave_up_is_noticed_until_a_new_process_starts() {
    let mut vouching = Vouching::default();
    assert_eq!(vouching.check(0, REPLICA, &add(1)), None);
    vouching.given_up(0, REPLICA);
    assert!(vouching.check(0, REPLICA, &add(1)).unwrap().starts_with("G1"));
    assert_eq!(vouching.check(1, REPLICA, &add(1)), None);
    vouching.started(0);
    assert_eq!(vouching.check(0, REPLICA, &add(1)), None);
}
