//! What a run must never show. One finding makes the run fail.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ledger::Expected;

/// Findings of one kind that are named; all are counted.
const NAMED_MAX: usize = 20;

/// Something that must not be. 64-bit and larger numbers are strings in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// An acknowledged increment is missing.
    Loss(Miscount),
    /// More was counted than was ever attempted.
    Excess(Miscount),
    /// A value during the run was above everything attempted so far.
    ReadAbove(Miscount),
    /// The regions did not agree in time; what each last answered.
    Disagreement {
        /// `namespace/key`.
        counter: String,
        /// Each target with its value.
        seen: Vec<(String, String)>,
    },
    /// An ID came twice.
    DuplicateId {
        /// The first such ID.
        id: String,
        /// How many in a row.
        count: u64,
        /// Who gave it.
        targets: (String, String),
    },
    /// An answer did not fit its request, so nothing in it could be checked.
    BadAnswer {
        /// Who answered.
        target: String,
        /// What was asked: `increment`, `id` or `read`.
        operation: Cow<'static, str>,
    },
    /// A target could not be read at the end, so nothing is known of it.
    Unreadable {
        /// Which.
        target: String,
        /// What it answered last.
        last_error: String,
    },
    /// More was admitted to a key than nodes may admit that do not know all of each other.
    OverLimit {
        /// The key.
        key: String,
        /// The policy.
        policy: String,
        /// The number of the window; none if it was a level, above what drained.
        window: Option<u64>,
        /// What was certainly admitted.
        admitted: u64,
        /// What the policy says.
        limit: u64,
        /// What may come on top.
        slack: u64,
    },
    /// There were more admissions than could be remembered, so not all of them were checked.
    TooManyAdmissions {
        /// The bound, `--limit-records-max`.
        records_max: usize,
    },
    /// The run was cut short because more IDs would have gone unchecked.
    TooManyIdRuns {
        /// The bound, `--id-runs-max`.
        runs_max: usize,
    },
}

/// A counter whose value is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miscount {
    /// `namespace/key`.
    pub counter: String,
    /// Who answered.
    pub target: String,
    /// The least it may be: what was acknowledged.
    pub least: String,
    /// The most it may be: what was attempted.
    pub most: String,
    /// What it is.
    pub seen: String,
}

impl Miscount {
    /// `counter` at `target` is `seen` and should have been as `expected`.
    pub fn new(counter: String, target: String, expected: Expected, seen: i128) -> Self {
        let [least, most, seen] = [expected.least, expected.most, seen].map(|value| value.to_string());
        Self { counter, target, least, most, seen }
    }
}

impl Finding {
    /// The word for [`Self::Unreadable`]: where there is nothing else, nothing was found to be wrong.
    pub const UNREADABLE: &str = "unreadable";

    /// The word for [`Self::OverLimit`]: where there is nothing else, no counter is wrong.
    pub const OVER_LIMIT: &str = "over_limit";

    /// The word in JSON and in counts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Loss(_) => "loss",
            Self::Excess(_) => "excess",
            Self::ReadAbove(_) => "read_above",
            Self::Disagreement { .. } => "disagreement",
            Self::DuplicateId { .. } => "duplicate_id",
            Self::BadAnswer { .. } => "bad_answer",
            Self::Unreadable { .. } => Self::UNREADABLE,
            Self::TooManyIdRuns { .. } => "too_many_id_runs",
            Self::OverLimit { .. } => Self::OVER_LIMIT,
            Self::TooManyAdmissions { .. } => "too_many_admissions",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(miscount) => write!(f, "LOSS {miscount}"),
            Self::Excess(miscount) => write!(f, "EXCESS {miscount}"),
            Self::ReadAbove(miscount) => write!(f, "READ ABOVE everything attempted so far: {miscount}"),
            Self::Disagreement { counter, seen } => {
                write!(f, "DISAGREEMENT about {counter}:")?;
                seen.iter().try_for_each(|(target, value)| write!(f, " {target} = {value}"))
            }
            Self::DuplicateId { id, count: 1, targets: (first, second) } => {
                write!(f, "DUPLICATE ID {id}, from {first} and from {second}")
            }
            Self::DuplicateId { id, count, targets: (first, second) } => {
                write!(f, "DUPLICATE IDs, {count} from {id} on, from {first} and from {second}")
            }
            Self::BadAnswer { target, operation } => {
                write!(f, "BAD ANSWER from {target} to a request of kind {operation}: it cannot be checked")
            }
            Self::Unreadable { target, last_error } => {
                write!(f, "UNREADABLE {target}: its counters are unknown, the last answer was `{last_error}`")
            }
            Self::OverLimit { key, policy, window, admitted, limit, slack } => {
                write!(f, "OVER THE LIMIT {policy}: {admitted} admitted to {key} ")?;
                match window {
                    Some(number) => write!(f, "in window {number}")?,
                    None => write!(f, "above what drained")?,
                }
                write!(f, ", at most {limit} and {slack} that nodes need not know of each other")
            }
            Self::TooManyAdmissions { records_max } => {
                write!(f, "TOO MANY ADMISSIONS to check all of them: more than {records_max} (--limit-records-max)")
            }
            Self::TooManyIdRuns { runs_max } => {
                write!(f, "TOO MANY IDs to check all of them: more than {runs_max} separate runs (--id-runs-max)")
            }
        }
    }
}

impl fmt::Display for Miscount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counter, target, least, most, seen } = self;
        write!(f, "{counter} at {target} is {seen}, expected ")?;
        if least == most { write!(f, "{least}") } else { write!(f, "{least} to {most}") }
    }
}

/// All findings of a run, shared by those who find.
#[derive(Default)]
pub struct Findings {
    log: Mutex<Log>,
}

/// The first findings of each kind, and how many there were.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Log {
    /// The first of each kind.
    pub named: Vec<Finding>,
    /// How many of each kind there were.
    pub counts: BTreeMap<Cow<'static, str>, u64>,
}

impl Findings {
    /// Takes one down.
    pub fn push(&self, finding: Finding) {
        let counts = BTreeMap::from([(finding.kind().into(), 1)]);
        self.absorb(Log { named: vec![finding], counts });
    }

    /// Takes down what another process has found.
    pub fn absorb(&self, theirs: Log) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        for finding in theirs.named {
            if log.named.iter().filter(|named| named.kind() == finding.kind()).count() < NAMED_MAX {
                log.named.push(finding);
            }
        }
        for (kind, count) in theirs.counts {
            let known = log.counts.entry(kind).or_default();
            *known = known.saturating_add(count);
        }
    }

    /// Up to now.
    pub fn so_far(&self) -> Log {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_of_one_kind_do_not_crowd_out_another() {
        let findings = Findings::default();
        for runs_max in 0..100 {
            findings.push(Finding::TooManyIdRuns { runs_max });
        }
        findings.push(Finding::Unreadable { target: "a".into(), last_error: "b".into() });
        let Log { named, counts } = findings.so_far();
        assert_eq!(named.len(), 21);
        assert_eq!((counts["too_many_id_runs"], counts["unreadable"]), (100, 1));
    }

    #[test]
    fn what_other_processes_found_is_named_and_counted() {
        let theirs = Findings::default();
        for runs_max in 0..100 {
            theirs.push(Finding::TooManyIdRuns { runs_max });
        }
        let ours = Findings::default();
        ours.absorb(serde_json::from_value(serde_json::to_value(theirs.so_far()).unwrap()).unwrap());
        let Log { named, counts } = ours.so_far();
        assert_eq!((named.len(), counts["too_many_id_runs"]), (20, 100));
    }

    #[test]
    fn a_finding_says_where_what_and_by_how_much() {
        let miscount = |most: &str| Miscount {
            counter: "default/k7".into(),
            target: "eu-west/0 quic".into(),
            least: "10".into(),
            most: most.into(),
            seen: "9".into(),
        };
        let text = Finding::Loss(miscount("12")).to_string();
        assert_eq!(text, "LOSS default/k7 at eu-west/0 quic is 9, expected 10 to 12");
        assert!(Finding::Excess(miscount("10")).to_string().ends_with("expected 10"));
        let json = serde_json::to_value(Finding::Loss(miscount("12"))).unwrap();
        assert_eq!((&json["kind"], &json["seen"]), (&"loss".into(), &"9".into()));
    }
}
