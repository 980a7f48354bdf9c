//! The audit log: what the operator of this machine had the node do, and whom the doors turned away.
//!
//! Its lines have the target `audit`. They say who (a user of this machine, or the name of a token and an address), what,
//! and how that ended; never a token. Each order of an operator has a line. Of callers that are turned away, each has one a
//! minute, which counts those before it that had none: so nobody fills the log, and nothing is forgotten in silence (I6).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::{info, warn};

use crate::clock::Stopwatch;

/// What the lines are known by.
pub const TARGET: &str = "audit";
/// A caller that is turned away has one line in this time.
const WINDOW_MS: u64 = 60_000;
/// Callers that are told apart. Those beyond are one together.
const CALLERS_MAX: usize = 1_024;
/// Characters of what a caller chooses himself.
const CHARS_MAX: usize = 200;

/// Somebody who was turned away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Caller {
    door: &'static str,
    /// Where from, and the name of a token; `None` for those beyond what can be told apart.
    who: Option<(String, String)>,
}

/// Who was turned away lately.
#[derive(Debug, Default)]
struct Recent(BTreeMap<Caller, Entry>);

#[derive(Debug)]
struct Entry {
    since_ms: u64,
    suppressed: u64,
}

impl Recent {
    /// Whether a line is due for this one, and how many before it had none.
    fn turned_away(&mut self, caller: &Caller, now_ms: u64) -> Option<u64> {
        if let Some(entry) = self.0.get_mut(caller) {
            if now_ms.saturating_sub(entry.since_ms) < WINDOW_MS {
                entry.suppressed = entry.suppressed.saturating_add(1);
                return None;
            }
            let suppressed = std::mem::take(&mut entry.suppressed);
            entry.since_ms = now_ms;
            return Some(suppressed);
        }
        let everybody_else = Caller { door: caller.door, who: None };
        if self.0.len() >= CALLERS_MAX && *caller != everybody_else {
            return self.turned_away(&everybody_else, now_ms);
        }
        self.0.insert(caller.clone(), Entry { since_ms: now_ms, suppressed: 0 });
        Some(0)
    }

    /// Forgets those whose time is over, and returns those of them that lines are missing of.
    fn over(&mut self, now_ms: u64) -> Vec<(Caller, u64)> {
        let mut missing = Vec::new();
        self.0.retain(|caller, entry| {
            let stays = now_ms.saturating_sub(entry.since_ms) < WINDOW_MS;
            if !stays && entry.suppressed > 0 {
                missing.push((caller.clone(), entry.suppressed));
            }
            stays
        });
        missing
    }
}

/// A door has turned somebody away who comes from an address, or is a user of this machine. `caller` is the name of the
/// token that was shown, or empty.
pub fn turned_away(door: &'static str, from: &dyn Display, caller: &str, why: &dyn Display) {
    let from = from.to_string();
    let key = Caller { door, who: Some((from.clone(), caller.to_owned())) };
    let due = recent().turned_away(&key, now_ms());
    if let Some(suppressed) = due {
        let why: String = why.to_string().chars().take(CHARS_MAX).collect();
        warn!(target: TARGET, door, caller, from, why, suppressed, "turned a caller away");
    }
}

/// Tells what had no line and will have none otherwise. To be called every second.
pub fn sweep() {
    let missing = recent().over(now_ms());
    for (Caller { door, who }, suppressed) in missing {
        let (from, caller) = who.unwrap_or_else(|| ("many".to_owned(), String::new()));
        warn!(target: TARGET, door, caller, from, suppressed, "turned a caller away so often more");
    }
}

/// An operator has ordered something.
pub fn ordered(by: &dyn Display, order: &dyn Display, outcome: Result<(), &str>) {
    match outcome {
        Ok(()) => info!(target: TARGET, %by, %order, result = "done", "an operator's order"),
        Err(why) => warn!(target: TARGET, %by, %order, result = "refused", why, "an operator's order"),
    }
}

fn recent() -> std::sync::MutexGuard<'static, Recent> {
    static RECENT: OnceLock<Mutex<Recent>> = OnceLock::new();
    RECENT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ms() -> u64 {
    static SINCE: OnceLock<Stopwatch> = OnceLock::new();
    SINCE.get_or_init(Stopwatch::start).elapsed_ms()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(last: u32) -> Caller {
        Caller { door: "http", who: Some((last.to_string(), String::new())) }
    }

    #[test]
    fn each_caller_has_a_line_a_minute_that_counts_those_before_it() {
        let mut recent = Recent::default();
        assert_eq!(recent.turned_away(&caller(1), 0), Some(0));
        assert_eq!((0..5).filter_map(|ms| recent.turned_away(&caller(1), ms)).count(), 0);
        assert_eq!(recent.turned_away(&caller(2), 3), Some(0), "another one");
        assert_eq!(recent.turned_away(&caller(1), WINDOW_MS), Some(5));
        assert_eq!(recent.turned_away(&caller(1), WINDOW_MS + 1), None);
        assert_eq!(recent.over(WINDOW_MS + 3), [], "one that has its line is forgotten");
        assert_eq!(recent.over(2 * WINDOW_MS), [(caller(1), 1)]);
        assert!(recent.0.is_empty());
    }

    #[test]
    fn many_callers_take_no_more_room_and_are_counted() {
        let mut recent = Recent::default();
        let told = (0..100_000).filter_map(|last| recent.turned_away(&caller(last), 0)).count();
        assert_eq!((told, recent.0.len()), (CALLERS_MAX + 1, CALLERS_MAX + 1));
        let missing = recent.over(WINDOW_MS);
        let suppressed = 100_000 - u64::try_from(told).unwrap();
        assert_eq!(missing, [(Caller { door: "http", who: None }, suppressed)]);
    }
}
