//! The generator against a model of everything that can befall it: clocks that step and drift, ceilings that lag,
//! crashes that forget all but the durable ceiling. Tests only.

use proptest::prelude::*;

use crate::identity::WorkerId;

use super::{Bits, Generator, Layout, Limits, Reading, Verdict};

const LIMITS: Limits = Limits { max_backstep_ms: 40, max_leap_ms: 1_000, max_absence_ms: 100_000, probation_ms: 50 };
const EPOCH_MS: u64 = 1_000_000;

/// What befalls the generator.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Both clocks run.
    Run(u64),
    /// The wall clock alone is set, forward or back.
    Set(i64),
    /// IDs are asked for, by a request that has waited for so many milliseconds.
    Ask { count: u32, waited_ms: u64 },
    /// A ceiling is asked for and becomes durable, and the generator is told.
    Extend,
    /// A ceiling becomes durable, but the process dies before the generator is told.
    DieExtending,
    /// The process dies and starts again; peers saw this share of the durable ceiling.
    Restart { peers_percent: u64 },
    /// A peer whose clock is right shows its ceiling.
    Witness,
    /// A peer's clock shows the same as ours.
    Hear,
    /// An operator confirms the clock.
    Confirm,
}

/// The world around the generator, and what must hold of it.
struct World {
    layout: Layout,
    generator: Generator,
    now: Reading,
    durable: u64,
    /// The highest timestamp that may no longer be used: that of the durable ceiling when the process started.
    floor: u64,
    last: Option<u64>,
    issued: u64,
    refused: u64,
}

fn worker() -> WorkerId {
    WorkerId::new(1, 1).unwrap()
}

impl World {
    /// Four IDs a millisecond, so that exhaustion is common.
    fn new() -> Self {
        let layout = Layout::new(EPOCH_MS, Bits { time: 59, region: 1, node: 1, sequence: 2 }).unwrap();
        let generator = Generator::new(layout, worker(), LIMITS, 0).unwrap();
        let now = Reading { wall_ms: EPOCH_MS + 10_000, mono_ms: 0 };
        let mut world = Self { layout, generator, now, durable: 0, floor: 0, last: None, issued: 0, refused: 0 };
        world.generator.claim(now, 0);
        world
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Run(ms) => {
                self.now = Reading { wall_ms: self.now.wall_ms + ms, mono_ms: self.now.mono_ms + ms };
            }
            Step::Set(by) => self.now.wall_ms = self.now.wall_ms.saturating_add_signed(by),
            Step::Ask { count, waited_ms } => self.ask(count, waited_ms),
            Step::Extend => {
                if self.persist() {
                    self.generator.raise_ceiling(self.durable);
                }
            }
            Step::DieExtending => {
                self.persist();
                self.restart(0);
            }
            Step::Restart { peers_percent } => self.restart(self.durable * peers_percent / 100),
            Step::Witness => {
                let ceiling = self.now.wall_ms.saturating_sub(EPOCH_MS);
                self.generator.witness(self.now, WorkerId::new(0, 0).unwrap(), ceiling);
            }
            Step::Hear => self.generator.hear_clock(self.now, self.now.wall_ms),
            Step::Confirm => self.generator.confirm_clock(self.now),
        }
    }

    fn persist(&mut self) -> bool {
        let Some(ceiling) = self.generator.ceiling_possible(self.now) else { return false };
        assert!(ceiling > self.durable, "ceilings rise");
        let lead = (ceiling + EPOCH_MS).saturating_sub(self.now.wall_ms);
        assert!(lead <= LIMITS.max_backstep_ms, "the ceiling leads the clock by {lead} ms");
        self.durable = ceiling;
        true
    }

    fn restart(&mut self, peers_ceiling: u64) {
        self.generator = Generator::new(self.layout, worker(), LIMITS, self.durable).unwrap();
        self.floor = self.durable.max(peers_ceiling);
        self.now.mono_ms = 0;
        self.generator.claim(self.now, peers_ceiling);
    }

    fn ask(&mut self, count: u32, waited_ms: u64) {
        let mut runs = Vec::new();
        let since = self.now.wall_ms.saturating_sub(waited_ms);
        let verdict = self.generator.allocate(self.now, since, count, &mut runs);
        let issued: u32 = runs.iter().map(|run| run.count).sum();
        assert!(issued <= count, "more than asked for");
        assert_eq!(verdict == Verdict::Done, issued == count, "{verdict:?} after {issued} of {count}");
        for id in runs.iter().flat_map(|run| (0..u64::from(run.count)).map(|offset| run.first + offset)) {
            self.check(id, since);
        }
        self.issued += u64::from(issued);
        self.refused += u64::from(verdict != Verdict::Done);
    }

    fn check(&mut self, id: u64, since: u64) {
        let parts = self.layout.decode(id).unwrap();
        assert!(self.last.is_none_or(|last| last < id), "IDs strictly increase, over restarts too");
        assert!(parts.timestamp_ms <= self.durable, "no ID above the durable ceiling (I10)");
        assert!(parts.timestamp_ms > self.floor, "after a start, IDs begin above the last ceiling");
        assert!(parts.unix_ms <= self.now.wall_ms + LIMITS.max_backstep_ms, "no ID further ahead than the backstep");
        assert!(parts.unix_ms >= since.min(self.now.wall_ms), "no ID from before its request");
        assert_eq!((parts.region, parts.node), (1, 1));
        self.last = Some(id);
    }

    /// Whatever happened: once the clock runs on from the highest time that was ever used, and somebody vouches for
    /// it, IDs are issued again.
    fn recovers(&mut self) {
        self.generator.confirm_clock(self.now);
        let behind = (self.durable.max(self.floor) + EPOCH_MS).saturating_sub(self.now.wall_ms);
        self.step(Step::Run(behind + 1));
        let before = self.issued;
        for _ in 0..4 {
            self.step(Step::Extend);
            self.step(Step::Run(1));
            self.ask(1, 0);
        }
        assert!(self.issued > before, "the generator has recovered");
    }
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..30_u64).prop_map(Step::Run),
        1 => (-60..60_i64).prop_map(Step::Set),
        1 => (-3_000..3_000_i64).prop_map(Step::Set),
        6 => (1..40_u32, 0..20_u64).prop_map(|(count, waited_ms)| Step::Ask { count, waited_ms }),
        4 => Just(Step::Extend),
        1 => Just(Step::DieExtending),
        1 => (0..=100_u64).prop_map(|peers_percent| Step::Restart { peers_percent }),
        1 => Just(Step::Witness),
        1 => Just(Step::Hear),
        1 => Just(Step::Confirm),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn ids_stay_unique_ordered_and_below_the_ceiling_whatever_happens(
        steps in proptest::collection::vec(steps(), 1..200),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.recovers();
    }
}

/// Every history of six steps over the steps that matter most.
#[test]
fn all_short_histories_keep_the_laws() {
    const ALPHABET: [Step; 7] = [
        Step::Run(1),
        Step::Set(-30),
        Step::Set(2_000),
        Step::Ask { count: 5, waited_ms: 1 },
        Step::Extend,
        Step::DieExtending,
        Step::Restart { peers_percent: 100 },
    ];
    const LENGTH: u32 = 6;
    let (mut issued, mut refused) = (0, 0);
    for history in 0..ALPHABET.len().pow(LENGTH) {
        let mut world = World::new();
        let mut rest = history;
        for _ in 0..LENGTH {
            world.step(ALPHABET[rest % ALPHABET.len()]);
            rest /= ALPHABET.len();
        }
        world.recovers();
        issued += world.issued;
        refused += world.refused;
    }
    assert!(issued > 100_000 && refused > 10_000, "the histories exercise both: {issued} issued, {refused} refused");
}
