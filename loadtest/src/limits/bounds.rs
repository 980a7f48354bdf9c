//! What a policy is, and what nodes may admit by it at most.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use snowtide_client::{Algorithm, Numbers};

/// What a node may use of a limit before it tells the others, over all of them, in percent.
const UNTOLD_PERCENT: u64 = 5;

/// Numbers of a policy as they are written: `fixed:100/1s`, `sliding:100/1m`, `gcra:100/1m:20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written(pub Numbers);

/// No numbers of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write fixed, sliding or gcra, units and a window of 1s or more, such as sliding:100/1s, and for gcra how many units \
    may come at once, such as gcra:100/1m:20"
)]
pub struct NotNumbers;

impl FromStr for Written {
    type Err = NotNumbers;

    fn from_str(text: &str) -> Result<Self, NotNumbers> {
        let mut parts = text.split(':');
        let (Some(algorithm), Some(rate), burst, None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotNumbers);
        };
        let (limit, window) = rate.split_once('/').ok_or(NotNumbers)?;
        let algorithm: Algorithm = algorithm.parse().map_err(|_| NotNumbers)?;
        let limit: u64 = limit.parse().map_err(|_| NotNumbers)?;
        let window = humantime::parse_duration(window).map_err(|_| NotNumbers)?;
        let burst = burst.map(str::parse).transpose().map_err(|_| NotNumbers)?;
        let fits = limit > 0 && burst != Some(0) && window >= Duration::from_secs(1);
        let window_ms = u64::try_from(window.as_millis()).ok().filter(|_| fits).ok_or(NotNumbers)?;
        if burst.is_some() && algorithm != Algorithm::Gcra {
            return Err(NotNumbers);
        }
        Ok(Self(Numbers { algorithm, limit, window_ms, burst: burst.unwrap_or(limit) }))
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Numbers { algorithm, limit, window_ms, burst } = self.0;
        write!(f, "{algorithm}:{limit}/{}", humantime::format_duration(Duration::from_millis(window_ms)))?;
        if algorithm == Algorithm::Gcra { write!(f, ":{burst}") } else { Ok(()) }
    }
}

/// Whose use counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// That of all nodes, as far as it is known.
    Shared,
    /// Each node's own, against its share.
    Split,
    /// Each node's own, against the whole limit.
    Local,
}

/// What is known of the policy and of those who decide by it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The policy.
    pub numbers: Numbers,
    /// Whose use counts.
    pub mode: Mode,
    /// How many nodes decide.
    pub nodes: u64,
    /// How long it takes at most until a node knows what another has told.
    pub delay: Duration,
    /// How long a node may not notice that another is gone.
    pub presence: Duration,
}

/// What a sum may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What the policy says.
    pub limit: u64,
    /// What nodes may admit beyond it, since they do not know all of each other.
    pub slack: u64,
}

impl Bound {
    /// All of it.
    pub fn most(self) -> u64 {
        self.limit.saturating_add(self.slack)
    }
}

impl Bounds {
    /// How long nodes may not know of each other's use.
    pub fn unaware(&self, is_disturbed: bool) -> Duration {
        if is_disturbed { self.delay.saturating_add(self.presence) } else { self.delay }
    }

    /// What all nodes may admit in one window, where `bursts` are the most that each of them may have admitted while the others
    /// did not know, and so many restarts disturb it.
    pub fn window(&self, bursts: &[u64], restarts: u64) -> Bound {
        let Numbers { limit, .. } = self.numbers;
        let once: Vec<u64> = bursts.iter().map(|burst| self.untold().saturating_add(*burst).min(limit)).collect();
        match self.mode {
            Mode::Shared => {
                Bound { limit, slack: without_least(&once).saturating_add(self.restarted(&once, restarts)) }
            }
            Mode::Split => Bound { limit, slack: restarts.saturating_mul(self.share(limit)) },
            Mode::Local => Bound { limit: limit.saturating_mul(self.nodes), slack: restarts.saturating_mul(limit) },
        }
    }

    /// What all nodes may have above what drains: `ends` is how often they may have come to count together anew.
    pub fn level(&self, bursts: &[u64], ends: u64, restarts: u64) -> Bound {
        let Numbers { limit, window_ms, burst, .. } = self.numbers;
        let unaware_ms = u64::try_from(self.unaware(ends > 0).as_millis()).unwrap_or(u64::MAX);
        let in_delay = burst.saturating_add(limit.saturating_mul(unaware_ms).div_ceil(window_ms));
        let once: Vec<u64> = bursts.iter().map(|burst| self.untold().saturating_add((*burst).min(in_delay))).collect();
        match self.mode {
            Mode::Shared => {
                let slack = without_least(&once).saturating_mul(ends.saturating_add(1));
                Bound { limit: burst, slack: slack.saturating_add(self.restarted(&once, restarts)) }
            }
            Mode::Split => Bound { limit: burst, slack: restarts.saturating_mul(self.share(burst)) },
            Mode::Local => Bound { limit: burst.saturating_mul(self.nodes), slack: restarts.saturating_mul(burst) },
        }
    }

    /// How fast a level drains at most, in units a microsecond.
    pub fn drains_per_us(&self) -> f64 {
        let Numbers { limit, window_ms, .. } = self.numbers;
        let rate = limit as f64 / (window_ms as f64 * 1_000.0);
        match self.mode {
            Mode::Shared => rate * (1.0 + UNTOLD_PERCENT as f64 / 100.0),
            Mode::Split => rate,
            Mode::Local => rate * self.nodes as f64,
        }
    }

    /// A boot that ends takes with it what it did not tell, and the next one has its share before it is told anything.
    fn restarted(&self, once: &[u64], restarts: u64) -> u64 {
        let most = once.iter().max().copied().unwrap_or(0);
        let share = self.share(self.numbers.limit.max(self.numbers.burst));
        restarts.saturating_mul(most.saturating_add(share))
    }

    /// What one node may use before it tells.
    fn untold(&self) -> u64 {
        let Numbers { limit, burst, .. } = self.numbers;
        (limit.min(burst) * UNTOLD_PERCENT / 100 / self.nodes.saturating_sub(1).max(1)).max(1)
    }

    /// Nodes share alike.
    fn share(&self, whole: u64) -> u64 {
        whole.div_ceil(self.nodes.max(1))
    }
}

/// The last to admit knows of itself.
fn without_least(once: &[u64]) -> u64 {
    once.iter().sum::<u64>().saturating_sub(once.iter().min().copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(written: &str, mode: Mode) -> Bounds {
        let Written(numbers) = written.parse().unwrap();
        let (delay, presence) = (Duration::from_millis(100), Duration::from_secs(1));
        Bounds { numbers, mode, nodes: 3, delay, presence }
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for text in ["fixed:100/1s", "sliding:7/1m", "gcra:100/1m:20"] {
            assert_eq!(text.parse::<Written>().unwrap().to_string(), text);
        }
        assert_eq!("gcra:5/1s".parse::<Written>().unwrap().0.burst, 5);
        for text in
            ["", "100/1s", "fixed:0/1s", "fixed:1/1ms", "fixed:1/1s:2", "gcra:1/1s:0", "gcra:1/1s:1:1", "odd:1/1s"]
        {
            assert_eq!(text.parse::<Written>(), Err(NotNumbers), "{text}");
        }
    }

    #[test]
    fn a_window_has_the_limit_and_what_all_but_one_did_not_know() {
        let shared = bounds("fixed:100/1s", Mode::Shared);
        // 2 units of 100 are not told by each of three nodes; nobody admits more than there is.
        assert_eq!(shared.window(&[10, 20, 30], 0), Bound { limit: 100, slack: 22 + 32 });
        assert_eq!(shared.window(&[500, 500], 0), Bound { limit: 100, slack: 100 });
        assert_eq!(shared.window(&[10], 0).most(), 100, "one alone knows all");
        // A restart: once more what the others did not know, and a share.
        assert_eq!(shared.window(&[10, 20], 1).slack, 22 + (22 + 34));
        assert_eq!(bounds("fixed:100/1s", Mode::Split).window(&[10, 20, 30], 0).most(), 100);
        assert_eq!(bounds("fixed:100/1s", Mode::Local).window(&[10, 20, 30], 1).most(), 400);
    }

    #[test]
    fn a_level_has_the_burst_and_drains_a_little_faster_where_it_is_shared() {
        let shared = bounds("gcra:100/1s:20", Mode::Shared);
        assert_eq!(shared.level(&[5, 9, 1_000], 0, 0), Bound { limit: 20, slack: 10 + 31 });
        assert_eq!(shared.level(&[5, 9, 0], 1, 0).slack, 2 * (6 + 10));
        assert!((shared.drains_per_us() * 1e6 - 105.0).abs() < 1e-6);
        let split = bounds("gcra:100/1s:20", Mode::Split);
        assert_eq!((split.level(&[5, 9], 3, 0).most(), split.level(&[5, 9], 0, 1).most()), (20, 27));
    }
}
