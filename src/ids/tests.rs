//! The source with real threads, a real clock, and stores that are slow, stuck or broken.

use std::collections::HashSet;
use std::sync::Condvar;

use snowtide_protocol::Code;

use super::*;
use crate::clock::offset::Offset;

const LONG: Duration = Duration::from_secs(120);

/// A store in memory, whose writes wait until it is open, and fail once it is broken.
struct Shelf {
    state: Mutex<ShelfState>,
    changed: Condvar,
}

#[derive(Clone, Copy)]
struct ShelfState {
    open: bool,
    broken: bool,
    calls: u32,
    ceiling: u64,
}

impl Shelf {
    fn new(open: bool, broken: bool) -> Arc<Self> {
        let state = ShelfState { open, broken, calls: 0, ceiling: 0 };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    fn state(&self) -> ShelfState {
        *self.state.lock().unwrap()
    }
}

/// Opens the shelf when the test ends, however it ends, so that no blocked thread holds the runtime up.
struct Opens(Arc<Shelf>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl CeilingStore for Shelf {
    fn persist(&self, ceiling: u64) -> Result<(), String> {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        state = self.changed.wait_while(state, |state| !state.open).unwrap();
        if state.broken {
            return Err("the disk is gone".into());
        }
        // The keeper of a source that was dropped may still be at its last write.
        state.ceiling = state.ceiling.max(ceiling);
        Ok(())
    }
}

fn config(sequence: u8, wait_max: Duration) -> config::Ids {
    config::Ids {
        epoch: "2025-01-01T00:00:00Z".into(),
        bits: config::IdBits { time: 53 - sequence, region: 5, node: 5, sequence },
        max_backstep: Duration::from_secs(1),
        max_leap: LONG * 30,
        claim_wait: Duration::from_secs(3),
        wait_max,
        max_absence: LONG * 720_000,
        quarantine: Duration::from_secs(10),
        exhaustion_warning: LONG,
    }
}

fn worker() -> WorkerId {
    WorkerId::new(1, 0).unwrap()
}

fn source(shelf: &Arc<Shelf>, config: &config::Ids) -> IdSource {
    let durable = shelf.state().ceiling;
    IdSource::new(layout_of(config).unwrap(), worker(), config, durable, shelf.clone(), |_| ()).unwrap()
}

fn claimed(shelf: &Arc<Shelf>, config: &config::Ids) -> IdSource {
    let source = source(shelf, config);
    source.claim(0);
    source
}

fn ids(runs: &[IdRun]) -> Vec<u64> {
    runs.iter().flat_map(|run| run.iter()).collect()
}

/// Waits, with a deadline, until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("the condition comes true before the deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_get_unique_ids_each_in_order_and_none_above_the_ceiling() {
    let shelf = Shelf::new(true, false);
    let source = claimed(&shelf, &config(12, LONG));
    let tasks = (0..16_u32).map(|task| {
        let (source, shelf) = (source.clone(), shelf.clone());
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for round in 0..100_u32 {
                let count = 1 + (task * 7_919 + round * 104_729) % if round % 10 == 0 { IDS_MAX } else { 50 };
                let got = ids(&source.mint(count).await.unwrap());
                assert_eq!(got.len(), usize::try_from(count).unwrap());
                let newest = source.decode(*got.last().unwrap()).unwrap();
                assert!(newest.timestamp_ms <= shelf.state().ceiling);
                mine.extend(got);
            }
            assert!(mine.is_sorted_by(|a, b| a < b));
            mine
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await.unwrap());
    }
    let distinct: HashSet<u64> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(source.minted(), u64::try_from(all.len()).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_increase_over_restarts_and_begin_above_what_peers_saw() {
    let shelf = Shelf::new(true, false);
    let config = config(12, LONG);
    let mut last = 0;
    for _ in 0..20 {
        let before = shelf.state().ceiling;
        let source = source(&shelf, &config);
        source.claim(before + 3);
        let minted = loop {
            match source.mint(5_000).await {
                Ok(runs) => break ids(&runs),
                Err(refusal) => assert_eq!(refusal.code, Code::ClockRegressed),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(minted[0] > last && source.decode(minted[0]).unwrap().timestamp_ms > before + 3);
        last = minted[4_999];
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_wait_for_a_slow_disk() {
    let shelf = Shelf::new(false, false);
    let _opens = Opens(shelf.clone());
    let source = claimed(&shelf, &config(12, LONG));
    let waiting = tokio::spawn({
        let source = source.clone();
        async move { source.mint(1).await }
    });
    until(|| shelf.state().calls == 1 && !source.shared.line.is_empty()).await;
    assert!(!waiting.is_finished());
    assert_eq!(source.minted(), 0);
    shelf.open();
    let minted = ids(&waiting.await.unwrap().unwrap());
    assert!(source.decode(minted[0]).unwrap().timestamp_ms <= shelf.state().ceiling);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_that_wait_are_served_in_the_order_in_which_they_came() {
    let shelf = Shelf::new(false, false);
    let _opens = Opens(shelf.clone());
    let source = claimed(&shelf, &config(12, LONG));
    let mut waiting = Vec::new();
    for place in 0..50_u32 {
        let source = source.clone();
        let shared = source.shared.clone();
        waiting.push(tokio::spawn(async move { source.mint(1 + place % 7).await }));
        // Who is in line is in its order: joining and queueing are one step of its task.
        let joined: u64 = (0..=place).map(|earlier| u64::from(1 + earlier % 7)).sum();
        until(|| shared.line.waiting() == joined).await;
    }
    shelf.open();
    let mut last = 0;
    for request in waiting {
        let minted = ids(&request.await.unwrap().unwrap());
        assert!(minted[0] > last, "an earlier request got later IDs");
        last = *minted.last().unwrap();
    }
    assert!(source.shared.line.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_is_told_as_such_and_mints_nothing() {
    let shelf = Shelf::new(true, false);
    let source = source(&shelf, &config(12, LONG));
    let far = (clock::wall_ms() - source.layout().epoch_ms()) + 3_600_000;
    source.claim_quarantined(far);
    until(|| shelf.state().ceiling == far).await;
    let refusal = source.mint(1).await.unwrap_err();
    assert_eq!(refusal.code, Code::Starting);
    assert!(refusal.detail.contains("ids.quarantine"), "{refusal}");
    assert_eq!(source.minted(), 0);
}

#[tokio::test]
async fn peers_clocks_are_kept_while_they_are_linked_and_only_believed_ones_count() {
    let source = claimed(&Shelf::new(true, false), &config(12, LONG));
    let (peer, offset) = (WorkerId::new(2, 0).unwrap(), Offset { us: -40_000_000, uncertainty_us: 10 });
    for believed in [false, true] {
        source.hear_clock(peer, PeerClock { offset, believed });
        assert_eq!(source.peer_clocks()[&peer], PeerClock { offset, believed });
    }
    assert!(source.read_clock().1, "a peer that is behind takes nothing from our clock");
    source.hear_clock(peer, PeerClock { offset: Offset { us: i64::MIN, uncertainty_us: u64::MAX }, believed: true });
    source.lose_clock(peer);
    assert!(source.peer_clocks().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_disk_is_named_once_waiting_is_over() {
    let shelf = Shelf::new(false, false);
    let _opens = Opens(shelf.clone());
    let source = claimed(&shelf, &config(12, Duration::from_millis(20)));
    let refusal = source.mint(1).await.unwrap_err();
    assert_eq!(refusal.code, Code::Overloaded, "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_fences_for_good_and_is_not_repeated() {
    let shelf = Shelf::new(true, true);
    let source = claimed(&shelf, &config(12, LONG));
    for _ in 0..3 {
        let refusal = source.mint(1).await.unwrap_err();
        assert_eq!(refusal.code, Code::Fenced);
        assert!(refusal.detail.contains("the disk is gone"), "{refusal}");
        source.claim(0);
    }
    assert!(source.fenced().borrow().as_deref().unwrap().contains("the disk is gone"));
    assert_eq!(shelf.state().calls, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_observer_hears_of_every_ceiling_after_it_is_durable() {
    let shelf = Shelf::new(true, false);
    let config = config(12, LONG);
    let heard = Arc::new(AtomicU64::new(0));
    let observer = {
        let (heard, shelf) = (heard.clone(), shelf.clone());
        move |ceiling| {
            assert!(shelf.state().ceiling >= ceiling);
            heard.store(ceiling, Ordering::SeqCst);
        }
    };
    let source = IdSource::new(layout_of(&config).unwrap(), worker(), &config, 0, shelf.clone(), observer).unwrap();
    source.claim(0);
    until(|| heard.load(Ordering::SeqCst) != 0).await;
    let first = heard.load(Ordering::SeqCst);
    until(|| {
        source.refresh();
        heard.load(Ordering::SeqCst) > first
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_hear_of_a_fence_and_of_a_drain() {
    for (stop, code) in [(IdSource::drain as fn(&IdSource), Code::Draining), (|ids| ids.fence("a twin"), Code::Fenced)]
    {
        let shelf = Shelf::new(false, false);
        let _opens = Opens(shelf.clone());
        let source = claimed(&shelf, &config(12, LONG));
        let waiting = tokio::spawn({
            let source = source.clone();
            async move { source.mint(1).await }
        });
        until(|| !source.shared.line.is_empty()).await;
        stop(&source);
        assert_eq!(waiting.await.unwrap().unwrap_err().code, code);
        assert_eq!(source.mint(1).await.unwrap_err().code, code);
    }
}

#[tokio::test]
async fn no_ids_before_the_claim_and_none_for_a_foolish_count() {
    let source = source(&Shelf::new(true, false), &config(12, LONG));
    assert_eq!(source.mint(1).await.unwrap_err().code, Code::Starting);
    assert_eq!(source.mint(0).await.unwrap_err().code, Code::InvalidRequest);
    assert_eq!(source.mint(IDS_MAX + 1).await.unwrap_err().code, Code::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_clock_yields_is_refused_as_exhausted() {
    let shelf = Shelf::new(true, false);
    let source = claimed(&shelf, &config(1, Duration::from_millis(500)));
    until(|| shelf.state().ceiling > 0).await;
    let refusal = source.mint(IDS_MAX).await.unwrap_err();
    assert_eq!(refusal.code, Code::SequenceExhausted, "{refusal}");
    let _place = source.shared.line.join(IDS_MAX).unwrap();
    assert_eq!(source.mint(1).await.unwrap_err().code, Code::SequenceExhausted);
}

#[tokio::test]
async fn numbers_from_the_far_future_are_no_ids() {
    let source = source(&Shelf::new(true, false), &config(12, LONG));
    assert_eq!(source.decode(1 << 63), Err(NotAnId::SignBit));
    assert!(matches!(source.decode(u64::MAX >> 1), Err(NotAnId::Future { .. })));
    assert!(source.decode(0).is_ok());
}

#[tokio::test]
async fn no_ceiling_is_believable_beyond_the_layout_or_beyond_all_clocks() {
    let source = IdSource::new(
        layout_of(&config(12, LONG)).unwrap(),
        WorkerId::new(1, 2).unwrap(),
        &config(12, LONG),
        0,
        Shelf::new(true, false),
        |_| {},
    );
    let source = source.unwrap();
    let now = clock::wall_ms() - source.layout().epoch_ms();
    let leap = millis(config(12, LONG).max_leap);
    let bound = source.ceiling_max();
    assert!((now + leap..now + leap + 60_000).contains(&bound), "{bound}");
    let offset = Offset { us: i64::MAX, uncertainty_us: 1 };
    source.hear_clock(WorkerId::new(2, 0).unwrap(), PeerClock { offset, believed: true });
    assert!(source.ceiling_max() <= source.layout().timestamp_ms_max());
}
