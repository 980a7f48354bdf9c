//! What a start brings into memory, and what it leaves alone.

use std::collections::BTreeSet;

use snowtide_protocol::Action;

use super::list_tests::{Bench, SPACE, key};
use super::*;

/// Longer than the pause between two readings.
const PAUSE_MS: u64 = 10;

impl Bench {
    /// Lets time pass and the disk work until neither brings anything more.
    fn warm(&mut self) {
        while self.work() || self.pause() {}
    }

    /// Time passes; whether the disk has something to do by that.
    fn pause(&mut self) -> bool {
        self.now += PAUSE_MS;
        self.happen(Event::Tick);
        !self.jobs.is_empty()
    }

    /// The readings that are under way.
    fn readings(&self) -> usize {
        self.jobs.iter().filter(|job| matches!(job, Job::LoadLeaves(_))).count()
    }

    /// The disk reads what was asked first, and its answer is on its way.
    fn read(&mut self) -> LeavesLoaded {
        match self.jobs.pop_front() {
            Some(Job::LoadLeaves(asked)) => self.leaves(&asked),
            other => panic!("{other:?} is no reading"),
        }
    }

    fn cached(&self) -> usize {
        self.replica.namespaces.cached()
    }

    fn has(&self, number: u16) -> bool {
        let rows = self.replica.namespaces.get(SPACE).unwrap().rows();
        rows.find(&key(number)).is_some()
    }

    fn get(&mut self, number: u16) -> Outcome {
        let operations = vec![Operation { namespace: SPACE, key: key(number), action: Action::Get }];
        self.happen(Event::Submit { ticket: 0, operations, terms: None });
        self.rest();
        self.answers.pop().unwrap().unwrap()[0]
    }
}

fn first(count: u16) -> BTreeSet<u16> {
    (0..count).collect()
}

#[test]
fn what_is_on_disk_comes_into_memory_and_that_is_told_once() {
    let mut bench = Bench::with_room_for(10_000, &first(3_000));
    bench.warm();
    assert_eq!(bench.cached(), 3_000);
    assert!(matches!(bench.notices[..], [Notice::Warm { rows: 3_000, ms }] if ms > 0), "{:?}", bench.notices);
    for number in [0, 7, 2_999] {
        assert_eq!(bench.get(number), Outcome::Value(i128::from(number) - 1));
        assert!(bench.jobs.is_empty(), "it was in memory");
    }
    bench.now += 1_000;
    bench.pause();
    assert!(bench.readings() == 0 && bench.notices.len() == 1, "it is over for good");
}

#[test]
fn nothing_on_disk_is_nothing_to_tell() {
    let mut bench = Bench::with_room_for(100, &BTreeSet::new());
    bench.warm();
    assert!(bench.notices.is_empty() && bench.cached() == 0);
}

#[test]
fn it_ends_where_memory_is_used_but_for_a_part() {
    let mut bench = Bench::with_room_for(800, &first(3_000));
    bench.warm();
    assert_eq!(bench.cached(), 700);
    assert_eq!(bench.notices.len(), 1);
    bench.add(5_000);
    bench.warm();
    assert_eq!(bench.cached(), 701, "and nothing had to leave");
}

#[test]
fn what_changes_while_its_leaf_is_read_is_not_replaced() {
    let mut bench = Bench::with_room_for(2, &first(10));
    let loaded = bench.read();
    let changed = (0..10).find(|number| loaded.rows[0].0 == key(*number)).unwrap();
    bench.add(changed);
    // All are written, and have to make room; this one would, too, if its leaf were not held.
    for number in 5_000..5_010 {
        bench.add(number);
        bench.rest();
        bench.now += 60_000;
        bench.happen(Event::Tick);
        bench.rest();
    }
    assert_eq!(bench.replica.checkpointing.dirty_rows, 0);
    assert!(bench.has(changed) && !bench.has(5_000));
    bench.happen(Event::LeavesLoaded(loaded));
    bench.warm();
    assert_eq!(bench.get(changed), Outcome::Value(changed.into()));
}

#[test]
fn a_row_that_is_being_loaded_is_left_to_whoever_waits_for_it() {
    let mut bench = Bench::with_room_for(100, &first(10));
    let loaded = bench.read();
    bench.add(3);
    bench.happen(Event::LeavesLoaded(loaded));
    assert_eq!(bench.cached(), 10);
    bench.rest();
    assert_eq!(bench.get(3), Outcome::Value(3));
}

#[test]
fn readings_come_one_at_a_time_after_a_pause_and_none_while_somebody_waits() {
    let mut bench = Bench::with_room_for(10_000, &first(3_000));
    assert_eq!(bench.readings(), 1);
    bench.pause();
    assert_eq!(bench.readings(), 1, "one at a time");
    bench.work();
    assert_eq!(bench.readings(), 0, "there is a pause");
    bench.add(5_000);
    assert!(matches!(bench.jobs.front(), Some(Job::Load { .. })));
    bench.pause();
    assert_eq!(bench.readings(), 0, "a client waits");
    assert!(bench.replica.deadline() > bench.now, "and nothing is due that cannot be done");
    bench.work();
    assert_eq!(bench.readings(), 1, "none waits any more");
}

#[test]
fn a_node_that_shuts_down_reads_nothing_more() {
    let mut bench = Bench::with_room_for(10_000, &first(3_000));
    bench.happen(Event::Drain);
    bench.warm();
    assert!(bench.cached() < 3_000 && bench.notices.is_empty());
}

#[test]
fn what_clients_used_stays_longer_than_what_nobody_did() {
    let mut bench = Bench::with_room_for(80, &first(1_000));
    bench.warm();
    let warm: Vec<u16> = (0..1_000).filter(|number| bench.has(*number)).collect();
    let (used, unused) = warm.split_at(20);
    used.iter().for_each(|number| {
        bench.get(*number);
    });
    // As many come as are over the bound; those that nobody used make room.
    for number in 2_000..2_030 {
        bench.get(number);
    }
    assert!(unused.iter().filter(|number| bench.has(**number)).count() < unused.len());
    assert!(used.iter().all(|number| bench.has(*number)));
}
