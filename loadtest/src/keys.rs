//! What is asked: which kind of request, which counters, by how much. Pure: everything follows from a seed.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// The largest single increment. Increments vary from 1 to this, so that a lost one can be told by its size.
pub const INCREMENT_MAX: u32 = 1_000;

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Counters go up.
    Increment,
    /// IDs are minted.
    Id,
    /// Counters are read.
    Read,
    /// The node is asked whether it lives: as little as a request over HTTP can cost.
    Live,
    /// Keys are held to a limit.
    Limit,
}

/// As many as there are.
pub const KINDS: usize = Kind::ALL.len();

impl Kind {
    /// All of them, in the order of the mix.
    pub const ALL: [Self; 5] = [Self::Increment, Self::Id, Self::Read, Self::Live, Self::Limit];

    /// The name in reports and of files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Increment => "increment",
            Self::Id => "id",
            Self::Read => "read",
            Self::Live => "live",
            Self::Limit => "limit",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The position in [`Kind::ALL`].
    pub const fn position(self) -> usize {
        self as usize
    }
}

/// The shares of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    weights: [u32; KINDS],
}

impl Mix {
    /// Weights in the order of [`Kind::ALL`]; `None` if all are zero.
    pub fn new(weights: [u32; KINDS]) -> Option<Self> {
        weights.iter().any(|weight| *weight > 0).then_some(Self { weights })
    }

    /// The part of all operations that are of this kind, 0 to 1.
    pub fn share(self, kind: Kind) -> f64 {
        f64::from(self.weights[kind.position()]) / self.total() as f64
    }

    /// The weights in the order of [`Kind::ALL`].
    pub const fn weights(self) -> [u32; KINDS] {
        self.weights
    }

    /// The kinds that occur.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.weights[kind.position()] > 0)
    }

    /// Whose turn it is, if those that occur take turns.
    fn turn(self, number: u128) -> Kind {
        let count = self.kinds().count().max(1) as u128;
        let position = usize::try_from(number % count).unwrap_or_default();
        self.kinds().nth(position).unwrap_or(Kind::Increment)
    }

    fn total(self) -> u64 {
        self.weights.iter().map(|weight| u64::from(*weight)).sum()
    }

    fn pick(self, rng: &mut SmallRng) -> Kind {
        let mut point = rng.random_range(0..self.total());
        for kind in Kind::ALL {
            let weight = u64::from(self.weights[kind.position()]);
            if point < weight {
                return kind;
            }
            point -= weight;
        }
        Kind::Increment
    }
}

/// In front of the share of decisions.
const LIMITS: &str = "limits=";

impl FromStr for Mix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const HELP: &str = "write increments:ids:reads or increments:ids:reads:livez as whole numbers, limits=N for decisions, \
            or both, not all zero, such as 8:1:1 or 8:1:1,limits=5";
        let (others, limits) = match text.strip_prefix(LIMITS) {
            Some(limits) => ("0:0:0", limits),
            None => text
                .split_once(',')
                .map_or((text, "0"), |(others, rest)| (others, rest.strip_prefix(LIMITS).unwrap_or(""))),
        };
        let mut weights = others.split(':').map(str::parse).collect::<Result<Vec<u32>, _>>().map_err(|_| HELP)?;
        if weights.len() == KINDS - 2 {
            weights.push(0);
        }
        weights.push(limits.parse().map_err(|_| HELP)?);
        Self::new(weights.try_into().map_err(|_| HELP)?).ok_or(HELP)
    }
}

/// How often each counter comes up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// All alike.
    Uniform {
        /// How many counters there are, at least 1.
        keys: u32,
    },
    /// Counter number n in proportion to 1 / n^exponent.
    Zipf {
        /// How many counters there are, at least 1.
        keys: u32,
        /// The distribution over them.
        zipf: Zipf<f64>,
    },
}

impl Popularity {
    /// All alike.
    pub fn uniform(keys: u32) -> Self {
        Self::Uniform { keys: keys.max(1) }
    }

    /// Zipf's law; `None` if the exponent is negative or not a number.
    pub fn zipf(keys: u32, exponent: f64) -> Option<Self> {
        let keys = keys.max(1);
        let zipf = Zipf::new(f64::from(keys), exponent).ok()?;
        Some(Self::Zipf { keys, zipf })
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "samples lie in 1..=keys")]
    fn pick(&self, rng: &mut SmallRng) -> u32 {
        match self {
            Self::Uniform { keys } => rng.random_range(0..*keys),
            Self::Zipf { keys, zipf } => (zipf.sample(rng) as u32).clamp(1, *keys) - 1,
        }
    }
}

/// One operation on a counter, which goes by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which counter, below the number of counters.
    pub key: u32,
    /// What to do.
    pub action: Action,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Adds 1 to [`INCREMENT_MAX`].
    Increment(u32),
    /// Reads.
    Read,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Operations on counters, all of one kind.
    Batch(Kind, Vec<Operation>),
    /// So many IDs.
    Ids(u32),
    /// Whether the node lives.
    Live,
    /// A decision on each of these keys, which go by their numbers.
    Limits(Vec<u32>),
}

impl Request {
    /// What it is measured under.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Batch(kind, _) => *kind,
            Self::Ids(_) => Kind::Id,
            Self::Live => Kind::Live,
            Self::Limits(_) => Kind::Limit,
        }
    }
}

/// What all lanes send.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The shares of the kinds.
    pub mix: Mix,
    /// The kinds take turns for so long each, instead of being mixed.
    pub turn: Option<Duration>,
    /// Operations in each request.
    pub batch: u32,
    /// How often each counter comes up.
    pub popularity: Popularity,
    /// This share of all operations on counters, 0 to 1, is on the first one; the others are as popular as they were.
    pub celebrity: f64,
}

/// One lane's endless line of requests; it follows from its seed.
pub struct Requests {
    rng: SmallRng,
    workload: Workload,
}

impl Requests {
    /// The requests of lane number `lane`.
    pub fn new(seed: u64, lane: u64, workload: Workload) -> Self {
        // Neighbouring seeds are spread by the generator's own seeding (SplitMix64).
        let rng = SmallRng::seed_from_u64(seed ^ lane.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self { rng, workload }
    }

    /// The request that is due so long after the start.
    pub fn next_at(&mut self, since: Duration) -> Request {
        let batch = self.workload.batch;
        match self.kind_at(since) {
            Kind::Id => Request::Ids(batch),
            Kind::Live => Request::Live,
            Kind::Limit => Request::Limits((0..batch).map(|_| self.key()).collect()),
            kind => Request::Batch(kind, (0..batch).map(|_| self.operation(kind)).collect()),
        }
    }

    /// The kind of the request that is due so long after the start; the request itself is skipped.
    pub fn kind_at(&mut self, since: Duration) -> Kind {
        match self.workload.turn {
            None => self.workload.mix.pick(&mut self.rng),
            Some(turn) => self.workload.mix.turn(since.as_nanos() / turn.as_nanos().max(1)),
        }
    }

    fn operation(&mut self, kind: Kind) -> Operation {
        let key = self.key();
        let action = match kind {
            Kind::Read => Action::Read,
            _ => Action::Increment(self.rng.random_range(1..=INCREMENT_MAX)),
        };
        Operation { key, action }
    }

    fn key(&mut self) -> u32 {
        let Workload { popularity, celebrity, .. } = &self.workload;
        // Without a celebrity nothing is drawn for it, so that seeds mean what they meant.
        let is_celebrity = *celebrity > 0.0 && self.rng.random_bool(*celebrity);
        if is_celebrity { 0 } else { popularity.pick(&mut self.rng) }
    }
}

/// The names of the counters: a prefix and the number.
#[derive(Clone, Debug)]
pub struct Names {
    /// Every counter lives in it.
    pub namespace: String,
    /// Comes before the number.
    pub prefix: String,
}

impl Names {
    /// The key of counter number `key`.
    pub fn key(&self, key: u32) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The key of counter number `key`, in place of what `name` held: no allocation once it has grown.
    pub fn key_into(&self, key: u32, name: &mut String) {
        name.clear();
        name.push_str(&self.prefix);
        let _infallible = write!(name, "{key}");
    }

    /// The counter as people write it.
    pub fn full(&self, key: u32) -> String {
        format!("{}/{}", self.namespace, self.key(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Iterator for Requests {
        type Item = Request;

        fn next(&mut self) -> Option<Request> {
            Some(self.next_at(Duration::ZERO))
        }
    }

    fn workload(weights: [u32; KINDS], popularity: Popularity) -> Workload {
        Workload { mix: Mix::new(weights).unwrap(), turn: None, batch: 10, popularity, celebrity: 0.0 }
    }

    fn requests(seed: u64, weights: [u32; KINDS], popularity: Popularity) -> Requests {
        Requests::new(seed, 0, workload(weights, popularity))
    }

    #[test]
    fn a_celebrity_has_its_share() {
        let workload = Workload { celebrity: 0.5, ..workload([1, 0, 0, 0, 0], Popularity::uniform(1_000)) };
        let line = Requests::new(1, 0, workload);
        let first = keys(line, 1_000).iter().filter(|key| **key == 0).count();
        assert!((4_700..5_300).contains(&first), "{first} of 10 000");
    }

    fn keys(line: Requests, count: usize) -> Vec<u32> {
        let operations = line.take(count).flat_map(|request| match request {
            Request::Batch(_, operations) => operations,
            _ => Vec::new(),
        });
        operations.map(|operation| operation.key).collect()
    }

    #[test]
    fn a_seed_decides_everything() {
        let line = |seed| requests(seed, [8, 1, 1, 0, 0], Popularity::uniform(100)).take(100).collect::<Vec<_>>();
        assert_eq!(line(7), line(7));
        assert_ne!(line(7), line(8));
    }

    #[test]
    fn lanes_differ() {
        let line = |lane| Requests::new(7, lane, workload([1, 0, 0, 0, 0], Popularity::uniform(1_000))).next();
        assert_ne!(line(0), line(1));
    }

    #[test]
    fn the_mix_is_kept() {
        let count = |kind| {
            let line = requests(1, [8, 1, 1, 0, 0], Popularity::uniform(10)).take(10_000);
            line.filter(|request| request.kind() == kind).count()
        };
        assert!((7_700..8_300).contains(&count(Kind::Increment)));
        assert!((850..1_150).contains(&count(Kind::Id)));
        assert!((850..1_150).contains(&count(Kind::Read)));
    }

    #[test]
    fn a_kind_of_no_weight_never_comes() {
        assert!(
            requests(1, [0, 3, 0, 0, 0], Popularity::uniform(10)).take(1_000).all(|request| request.kind() == Kind::Id)
        );
        assert!(Mix::new([0, 0, 0, 0, 0]).is_none());
    }

    #[test]
    fn kinds_can_take_turns() {
        let turn = Some(Duration::from_millis(100));
        let workload = Workload { turn, ..workload([0, 1, 0, 7, 0], Popularity::uniform(10)) };
        let mut line = Requests::new(1, 0, workload);
        let kinds = [0, 99, 100, 199, 200].map(|ms| line.next_at(Duration::from_millis(ms)).kind());
        assert_eq!(kinds, [Kind::Id, Kind::Id, Kind::Live, Kind::Live, Kind::Id]);
    }

    #[test]
    fn mixes_have_three_parts_or_four_and_a_share_of_decisions() {
        assert_eq!("limits=2".parse(), Ok(Mix::new([0, 0, 0, 0, 2]).unwrap()));
        assert_eq!("8:1:1,limits=5".parse(), Ok(Mix::new([8, 1, 1, 0, 5]).unwrap()));
        assert_eq!("0:1:0:1,limits=1".parse(), Ok(Mix::new([0, 1, 0, 1, 1]).unwrap()));
        assert_eq!("8:1:1".parse(), Ok(Mix::new([8, 1, 1, 0, 0]).unwrap()));
        assert_eq!("0:1:0:1".parse(), Ok(Mix::new([0, 1, 0, 1, 0]).unwrap()));
        for text in
            ["", "8", "8:1", "1:1:1:1:1", "0:0:0", "0:0:0:0", "-1:1:1", "a:b:c", "limits=", "8:1:1,5", "8:1:1,limits=a"]
        {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }

    #[test]
    fn uniform_reaches_every_key_alike() {
        let mut counts = [0_u32; 10];
        for key in keys(requests(3, [1, 0, 0, 0, 0], Popularity::uniform(10)), 1_000) {
            counts[key as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn zipf_prefers_the_first_and_stays_inside() {
        let picked = keys(requests(3, [1, 0, 0, 0, 0], Popularity::zipf(1_000, 0.99).unwrap()), 2_000);
        assert!(picked.iter().all(|key| *key < 1_000));
        let of = |key| picked.iter().filter(|picked| **picked == key).count();
        assert!(of(0) > 10 * of(100).max(1), "{} and {}", of(0), of(100));
        assert!(Popularity::zipf(10, -1.0).is_none());
        assert!(Popularity::zipf(10, f64::NAN).is_none());
    }

    #[test]
    fn increments_stay_in_range_and_reads_read() {
        for request in requests(3, [1, 0, 1, 0, 0], Popularity::uniform(10)).take(1_000) {
            let Request::Batch(kind, operations) = request else { panic!("no IDs were asked for") };
            assert_eq!(operations.len(), 10);
            let fits = |operation: &Operation| match operation.action {
                Action::Increment(by) => kind == Kind::Increment && (1..=INCREMENT_MAX).contains(&by),
                Action::Read => kind == Kind::Read,
            };
            assert!(operations.iter().all(fits));
        }
    }

    #[test]
    fn names_are_prefix_and_number() {
        let names = Names { namespace: "default".into(), prefix: "lt-1-".into() };
        assert_eq!(names.key(u32::MAX), "lt-1-4294967295");
        assert_eq!(names.full(0), "default/lt-1-0");
        let mut name = "something else".to_owned();
        names.key_into(5, &mut name);
        assert_eq!(name, "lt-1-5");
    }
}
