//! What was asked of a limit, and what was answered.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What was charged to a key, or may have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The number of the key.
    pub key: u32,
    /// The position of the target that was asked.
    pub target: u16,
    /// It was admitted; otherwise nobody knows.
    pub is_known: bool,
    /// How much.
    pub cost: u32,
    /// When it was asked, in microseconds of Unix time.
    pub sent_us: u64,
    /// When the answer was there, or was given up.
    pub done_us: u64,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The cost was charged.
    Admitted,
    /// It was not.
    Denied,
    /// There is no answer that tells.
    Unknown,
}

/// Unix time that does not jump: that of one moment, and what has passed since.
#[derive(Clone, Copy, Debug)]
pub struct UnixTime {
    at: Instant,
    unix_us: u64,
}

impl UnixTime {
    /// From now on.
    pub fn from_now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { at: Instant::now(), unix_us: u64::try_from(now.as_micros()).unwrap_or(u64::MAX) }
    }

    /// A moment in microseconds.
    pub fn of(&self, moment: Instant) -> u64 {
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (later, earlier) = (moment.saturating_duration_since(self.at), self.at.saturating_duration_since(moment));
        self.unix_us.saturating_add(micros(later)).saturating_sub(micros(earlier))
    }
}

/// Everything that was asked, in sums where that is enough.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Entries {
    /// What was charged or may have been, as it came.
    pub charges: Vec<Charge>,
    /// What was denied, by key and by the window into which the middle between request and answer falls.
    pub denied: BTreeMap<u32, BTreeMap<u64, u64>>,
    /// How often a cost was charged.
    pub admitted: u64,
    /// How often it was not.
    pub refused: u64,
    /// Charges for which there was no room.
    pub left_out: u64,
    /// Windows of keys in `denied`.
    windows: u64,
}

/// The same, shared by all lanes.
#[derive(Debug)]
pub struct Books {
    entries: Mutex<Entries>,
    records_max: usize,
    window_us: u64,
}

impl Books {
    /// Empty ones for windows of this length, with room for so many charges.
    pub fn new(window_ms: u64, records_max: usize) -> Self {
        Self { entries: Mutex::default(), records_max, window_us: window_ms.max(1).saturating_mul(1_000) }
    }

    /// Takes down what became of checks.
    pub fn take(&self, charges: impl IntoIterator<Item = (Charge, Fate)>) {
        let mut entries = self.entries();
        for (charge, fate) in charges {
            match fate {
                Fate::Denied => entries.deny(&charge, self.window_us, self.records_max),
                Fate::Admitted | Fate::Unknown => {
                    let is_known = fate == Fate::Admitted;
                    entries.admitted += u64::from(is_known);
                    entries.charge(Charge { is_known, ..charge }, self.records_max);
                }
            }
        }
    }

    /// Adds what another process took down.
    pub fn absorb(&self, theirs: Entries) {
        let mut entries = self.entries();
        theirs.charges.into_iter().for_each(|charge| entries.charge(charge, self.records_max));
        for (key, windows) in theirs.denied {
            let known = entries.denied.entry(key).or_default();
            windows.into_iter().for_each(|(window, cost)| *known.entry(window).or_default() += cost);
        }
        entries.admitted += theirs.admitted;
        entries.refused += theirs.refused;
        entries.left_out += theirs.left_out;
    }

    /// Everything, for who is alone with it.
    pub fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything.
    pub fn into_entries(self) -> Entries {
        self.entries.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn charge(&mut self, charge: Charge, records_max: usize) {
        if self.charges.len() < records_max {
            self.charges.push(charge);
        } else {
            self.left_out += 1;
        }
    }

    /// Without room, some denials are not in the sums; then fewer windows are known to have had enough demand.
    fn deny(&mut self, charge: &Charge, window_us: u64, records_max: usize) {
        self.refused += 1;
        let window = charge.sent_us.midpoint(charge.done_us) / window_us;
        let windows = self.denied.entry(charge.key).or_default();
        if let Some(cost) = windows.get_mut(&window) {
            *cost += u64::from(charge.cost);
        } else if self.windows < records_max as u64 {
            windows.insert(window, charge.cost.into());
            self.windows += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(key: u32, sent_us: u64, done_us: u64) -> Charge {
        Charge { key, target: 0, is_known: true, cost: 2, sent_us, done_us }
    }

    #[test]
    fn each_check_is_taken_down_by_its_fate() {
        let books = Books::new(1_000, 10);
        let all = [
            (charge(1, 0, 10), Fate::Admitted),
            (charge(1, 5, 30), Fate::Unknown),
            (charge(1, 900_000, 1_200_000), Fate::Denied),
            (charge(1, 1_300_000, 1_400_000), Fate::Denied),
        ];
        books.take(all);
        let entries = books.into_entries();
        assert_eq!(entries.charges.iter().map(|charge| charge.is_known).collect::<Vec<_>>(), [true, false]);
        assert_eq!((entries.admitted, entries.refused), (1, 2));
        assert_eq!(entries.denied[&1], BTreeMap::from([(1, 4)]));
    }

    #[test]
    fn without_room_that_is_said_and_others_books_are_added() {
        let books = Books::new(1_000, 2);
        books.take([(charge(1, 0, 1), Fate::Admitted), (charge(2, 0, 1), Fate::Admitted)]);
        assert_eq!(books.entries().left_out, 0);
        books.take([(charge(3, 0, 1), Fate::Admitted)]);
        let sum = Books::new(1_000, 100);
        sum.take([(charge(1, 0, 1), Fate::Denied)]);
        let theirs = serde_json::to_string(&*books.entries()).unwrap();
        sum.absorb(serde_json::from_str(&theirs).unwrap());
        let entries = sum.into_entries();
        assert_eq!((entries.charges.len(), entries.admitted, entries.refused, entries.left_out), (2, 3, 1, 1));
    }
}
