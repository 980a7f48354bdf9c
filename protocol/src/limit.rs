//! Limits: what a request asks of a rate limit, and what a node decides.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The longest name of a policy that is configured.
pub const POLICY_BYTES_MAX: usize = 64;

/// How use is counted against a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// So many units in each window of the clock (fixed window counter).
    Fixed,
    /// The same, where the window before counts for as much as of it lies within the last window's length (sliding window
    /// counter).
    Sliding,
    /// A level that drains at `limit` units in a window and holds `burst` (generic cell rate algorithm, ITU-T I.371).
    Gcra,
}

/// The numbers of a policy that a request brings along. As JSON, `algorithm` is `"sliding"` and `burst` as many as `limit`
/// where they are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(into = "Members", try_from = "Members")]
pub struct Numbers {
    /// How use is counted.
    pub algorithm: Algorithm,
    /// Units in a window.
    pub limit: u64,
    /// Length of a window in milliseconds.
    pub window_ms: u64,
    /// Units that may come at once; of [`Algorithm::Gcra`] only, else the same as the limit.
    pub burst: u64,
}

/// Numbers as JSON has them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    #[serde(default = "sliding")]
    algorithm: Algorithm,
    limit: u64,
    window_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u64>,
}

const fn sliding() -> Algorithm {
    Algorithm::Sliding
}

/// Only a level has a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("burst: the algorithm {0} has none")]
pub struct NoBurst(Algorithm);

impl From<Numbers> for Members {
    fn from(Numbers { algorithm, limit, window_ms, burst }: Numbers) -> Self {
        Self { algorithm, limit, window_ms, burst: (algorithm == Algorithm::Gcra).then_some(burst) }
    }
}

impl TryFrom<Members> for Numbers {
    type Error = NoBurst;

    fn try_from(Members { algorithm, limit, window_ms, burst }: Members) -> Result<Self, NoBurst> {
        match (algorithm, burst) {
            (Algorithm::Fixed | Algorithm::Sliding, Some(_)) => Err(NoBurst(algorithm)),
            (_, burst) => Ok(Self { algorithm, limit, window_ms, burst: burst.unwrap_or(limit) }),
        }
    }
}

/// What a node decides on one request of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Decision {
    /// Whether the cost was charged. A cost of zero looks: it is always admitted.
    pub admitted: bool,
    /// Units in a window; with [`Algorithm::Gcra`] units at once.
    pub limit: u64,
    /// Units that could still be had at this node now.
    pub remaining: u64,
    /// Until the key is as if unused, as far as this node can tell.
    pub reset_ms: u64,
    /// Until it is worth while to try the same again; zero if it was admitted.
    pub retry_after_ms: u64,
}

/// It is no algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an algorithm is \"fixed\", \"sliding\" or \"gcra\"")]
pub struct BadAlgorithm;

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fixed, Self::Sliding, Self::Gcra];

    /// Its name, wherever it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Sliding => "sliding",
            Self::Gcra => "gcra",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = BadAlgorithm;

    fn from_str(text: &str) -> Result<Self, BadAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(BadAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_json_and_only_a_level_has_a_burst() {
        let sliding = Numbers { algorithm: Algorithm::Sliding, limit: 5, window_ms: 1_000, burst: 5 };
        let read = |json: &str| serde_json::from_str::<Numbers>(json).map_err(|error| error.to_string());
        assert_eq!(read(r#"{"limit":5,"window_ms":1000}"#), Ok(sliding));
        for numbers in [sliding, Numbers { algorithm: Algorithm::Gcra, burst: 7, ..sliding }] {
            assert_eq!(read(&serde_json::to_string(&numbers).unwrap()), Ok(numbers));
        }
        assert!(read(r#"{"limit":5,"window_ms":1000,"burst":7}"#).unwrap_err().contains("sliding has none"));
        assert!(read(r#"{"limit":5,"window":1000}"#).unwrap_err().contains("unknown field `window`"));
    }

    #[test]
    fn algorithms_are_read_as_they_are_written() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        assert_eq!("Fixed".parse::<Algorithm>(), Err(BadAlgorithm));
    }
}
