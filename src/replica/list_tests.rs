//! Walks over a namespace whose rows are on disk, in memory or both, and change under the walk.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use snowtide_protocol::{Action, Key};

use super::durability_tests::settings;
use super::*;
use crate::crdt::{Row, Slot, VersionVector};
use crate::identity::Boot;
use crate::merkle::{Hasher, Leaf, Place, Sum};

pub(super) const SPACE: NamespaceId = NamespaceId(1);
const LIMIT_MAX: usize = 20;

fn hasher() -> Hasher {
    Hasher::new([7; 192])
}

pub(super) fn key(number: u16) -> Key {
    Key::new(format!("{}/{number}", if number.is_multiple_of(3) { "even" } else { "odd" })).unwrap()
}

/// A replica, and a disk that does what it is told when it is told to.
pub(super) struct Bench {
    pub(super) replica: Replica,
    pub(super) now: u64,
    disk: BTreeMap<(Place, Key), Row>,
    /// What was given to the disk and is not done.
    pub(super) jobs: VecDeque<Job>,
    pub(super) answers: Vec<Result<Vec<Outcome>, Refusal>>,
    pub(super) notices: Vec<Notice>,
    pages: Vec<Result<Page, Refusal>>,
}

impl Bench {
    /// These counters are on disk, each at its number, and few fit into memory.
    fn new(stored: &BTreeSet<u16>) -> Self {
        Self::with_room_for(20, stored)
    }

    /// The same, with room for so many in memory.
    pub(super) fn with_room_for(rows: usize, stored: &BTreeSet<u16>) -> Self {
        let origin = ReplicaId::new(WorkerId::new(2, 0).unwrap(), 9);
        let row = |number: u16| Row::from_iter([(origin, Slot::of(number.into(), 1))]);
        let disk: BTreeMap<_, _> =
            stored.iter().map(|number| ((hasher().place(&key(*number)), key(*number)), row(*number))).collect();
        let mut leaves: BTreeMap<u16, Sum> = BTreeMap::new();
        for ((place, key), row) in &disk {
            let sum = leaves.entry(place.leaf().0).or_default();
            *sum = sum.plus(hasher().row(key, row));
        }
        let space = RecoveredSpace {
            namespace: SPACE,
            vector: VersionVector::default(),
            position: VersionVector::default(),
            reach: Vec::new(),
            census: stored.iter().fold(Census::default(), |mut census, number| {
                census.add(key(*number).len());
                census
            }),
            leaves: leaves.into_iter().map(|(leaf, sum)| (Leaf(leaf), sum)).collect(),
            dirty: Vec::new(),
            journal_bytes: 0,
        };
        let recovered = Recovered {
            replica: None,
            boot: Boot { counter: 1, nonce: 1 },
            ceiling: 0,
            before_quarantine: None,
            fence: None,
            peer_ceilings: Vec::new(),
            spaces: vec![space],
            unconfigured: Vec::new(),
            repaired: 0,
            answered: Vec::new(),
        };
        let mut settings = Settings { peers: BTreeMap::new(), ..settings() };
        settings.rows_bytes_max = rows * ROW_BYTES;
        settings.tuning.checkpoint.dirty_rows_max = 40;
        let replica = Replica::new(settings, recovered, 0);
        let (jobs, answers, notices, pages) = (VecDeque::new(), Vec::new(), Vec::new(), Vec::new());
        let mut bench = Self { replica, now: 0, disk, jobs, answers, notices, pages };
        bench.settle();
        let own = bench.replica.settings.worker;
        bench.happen(Event::Minted(ReplicaId::new(own, 5)));
        bench
    }

    pub(super) fn happen(&mut self, event: Event) {
        self.replica.handle(self.now, event);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(effect) = self.replica.poll() {
            match effect {
                Effect::Disk(job) => self.jobs.push_back(job),
                Effect::Listed { answer, .. } => self.pages.push(answer),
                Effect::Reply { answer, .. } => self.answers.push(answer),
                Effect::Notice(notice) => self.notices.push(notice),
                _ => {}
            }
        }
    }

    /// The disk does the first thing that it was given; false if there is none.
    pub(super) fn work(&mut self) -> bool {
        let Some(job) = self.jobs.pop_front() else { return false };
        let event = match job {
            Job::Commit(commit) => Event::Committed(commit.number),
            Job::Load { namespace, keys } => {
                let row = |key: &Key| self.disk.get(&(hasher().place(key), key.clone())).cloned().unwrap_or_default();
                Event::Loaded { namespace, rows: keys.iter().map(|key| (key.clone(), row(key))).collect() }
            }
            Job::LoadLeaves(asked) => Event::LeavesLoaded(self.leaves(&asked)),
            Job::Checkpoint(chunk) => {
                for (_, key, row) in chunk.rows {
                    self.disk.insert((hasher().place(&key), key), row);
                }
                Event::Checkpointed
            }
            _ => Event::Tick,
        };
        self.happen(event);
        true
    }

    /// As the store does it.
    pub(super) fn leaves(&self, asked: &LoadLeaves) -> LeavesLoaded {
        let within = |place: Place| asked.from <= place && place <= asked.upto && asked.leaves.contains(&place.leaf());
        let (mut rows, mut covered) = (Vec::new(), asked.upto);
        for ((place, key), row) in self.disk.iter().filter(|((place, _), _)| within(*place)) {
            if rows.len() >= asked.rows_max {
                break;
            }
            rows.push((key.clone(), row.clone()));
            if rows.len() >= asked.rows_max {
                covered = *place;
            }
        }
        LeavesLoaded { ticket: asked.ticket, rows, covered }
    }

    pub(super) fn add(&mut self, number: u16) {
        let operations = vec![Operation { namespace: SPACE, key: key(number), action: Action::Increment(1) }];
        self.happen(Event::Submit { ticket: 0, operations, terms: None });
    }

    pub(super) fn rest(&mut self) {
        while self.work() {}
    }

    /// The next page of a walk; the disk does what it is asked, while `change` happens.
    fn page(&mut self, prefix: &str, after: Option<Key>, limit: usize, change: impl FnOnce(&mut Self)) -> Page {
        let list = List { namespace: SPACE, prefix: prefix.to_owned(), after, limit };
        self.happen(Event::List { ticket: 1, list });
        change(self);
        while self.pages.is_empty() {
            assert!(self.work(), "a page is awaited and nothing is left to do");
        }
        let page = self.pages.remove(0).unwrap();
        assert!(page.counters.len() <= limit);
        assert!(page.counters.iter().all(|(key, _)| key.starts_with(prefix)));
        page
    }

    fn walk(&mut self, prefix: &str, limit: usize, mut change: impl FnMut(&mut Self)) -> Vec<(Key, i128)> {
        let (mut counters, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(prefix, after, limit, &mut change);
            counters.extend(page.counters);
            after = page.next;
            if after.is_none() {
                return counters;
            }
        }
    }
}

#[test]
fn nothing_is_one_empty_page_and_an_unknown_namespace_too() {
    let mut bench = Bench::new(&BTreeSet::new());
    assert_eq!(bench.page("", None, 10, |_| {}), Page::default());
    let list = List { namespace: NamespaceId(99), prefix: String::new(), after: Some(key(1)), limit: 1 };
    bench.happen(Event::List { ticket: 1, list });
    assert_eq!(bench.pages, [Ok(Page::default())]);
}

#[test]
fn what_is_not_synced_is_not_listed_and_a_reading_does_not_miss_what_changes_meanwhile() {
    // Nothing comes into memory by itself.
    let mut bench = Bench::with_room_for(0, &BTreeSet::from([1]));
    bench.add(1);
    bench.add(2);
    // Both rows are loaded and changed, and the commit waits.
    while matches!(bench.jobs.front(), Some(Job::Load { .. })) {
        bench.work();
    }
    let commit = bench.jobs.pop_front().unwrap();
    assert!(matches!(commit, Job::Commit(_)), "{commit:?}");
    assert_eq!(bench.page("", None, 10, |_| {}).counters, [(key(1), 0)]);
    bench.jobs.push_front(commit);
    bench.rest();
    let counters = BTreeMap::from_iter(bench.walk("", 10, |_| {}));
    assert_eq!(counters, BTreeMap::from([(key(1), 1), (key(2), 1)]));
}

#[test]
fn a_node_that_shuts_down_lists_nothing() {
    let mut bench = Bench::new(&BTreeSet::from([1]));
    bench.happen(Event::Drain);
    bench.happen(Event::List {
        ticket: 1,
        list: List { namespace: SPACE, prefix: String::new(), after: None, limit: 1 },
    });
    assert_eq!(bench.pages, [Err(Refusal::Draining)]);
}

proptest! {
    /// Whatever is there throughout a walk is listed once, with a value between those before and after; nothing else is
    /// listed but what came meanwhile, once at most. Rows come, change, are written and leave memory under the walk.
    #[test]
    fn a_walk_lists_each_counter_once(
        stored in vec(0..400_u16, 0..200),
        added in vec(0..600_u16, 0..80),
        meanwhile in vec(0..600_u16, 0..80),
        limit in 1..LIMIT_MAX,
        prefix in prop::sample::select(vec!["", "even/", "odd/1", "none"]),
    ) {
        let stored: BTreeSet<u16> = stored.into_iter().collect();
        let mut bench = Bench::new(&stored);
        let mut before: BTreeMap<Key, i128> =
            stored.iter().map(|number| (key(*number), i128::from(*number) - 1)).collect();
        for number in &added {
            bench.add(*number);
            bench.rest();
            *before.entry(key(*number)).or_default() += 1;
        }
        let mut after = before.clone();
        let mut changes = meanwhile.into_iter();
        let listed = bench.walk(prefix, limit, |bench| {
            for number in changes.by_ref().take(3) {
                bench.add(number);
                *after.entry(key(number)).or_default() += 1;
            }
            bench.now += 4_000;
            bench.happen(Event::Tick);
            bench.work();
        });
        let keys: BTreeSet<&Key> = listed.iter().map(|(key, _)| key).collect();
        prop_assert_eq!(keys.len(), listed.len(), "a counter came twice: {:?}", listed);
        for key in before.keys().filter(|key| key.starts_with(prefix)) {
            prop_assert!(keys.contains(key), "{:?} was left out of {:?}", key, listed);
        }
        for (key, value) in &listed {
            let (least, most) = (before.get(key).copied().unwrap_or(i128::MIN), after.get(key).copied());
            prop_assert!(least <= *value && Some(*value) <= most, "{:?} is {}", key, value);
        }
    }
}
