//! What a run must never show. One finding makes the run fail.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Findings of one kind that are named; all are counted.
const NAMED_MAX: u64 = 20;

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

impl Finding {
    /// The word in JSON and in counts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Loss(_) => "loss",
            Self::Excess(_) => "excess",
            Self::ReadAbove(_) => "read_above",
            Self::Disagreement { .. } => "disagreement",
            Self::DuplicateId { .. } => "duplicate_id",
            Self::BadAnswer { .. } => "bad_answer",
            Self::Unreadable { .. } => "unreadable",
            Self::TooManyIdRuns { .. } => "too_many_id_runs",
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

/// All findings of a run: the first of each kind, and how many there were.
#[derive(Default)]
pub struct Findings {
    inner: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    named: Vec<Finding>,
    counts: BTreeMap<&'static str, u64>,
}

impl Findings {
    /// Takes one down.
    pub fn push(&self, finding: Finding) {
        let mut log = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let count = log.counts.entry(finding.kind()).or_default();
        *count = count.saturating_add(1);
        if *count <= NAMED_MAX {
            log.named.push(finding);
        }
    }

    /// Takes down what another process has found.
    pub fn absorb(&self, named: &[Finding], counts: &BTreeMap<String, u64>) {
        for (kind, count) in counts {
            let mut of_kind = named.iter().filter(|finding| finding.kind() == kind).peekable();
            let Some(kind) = of_kind.peek().map(|finding| finding.kind()) else { continue };
            let more = count.saturating_sub(of_kind.map(|finding| self.push(finding.clone())).count() as u64);
            let mut log = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let known = log.counts.entry(kind).or_default();
            *known = known.saturating_add(more);
        }
    }

    /// The first of each kind, and how many of each kind there were.
    pub fn parts(&self) -> (Vec<Finding>, BTreeMap<&'static str, u64>) {
        let log = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (log.named.clone(), log.counts.clone())
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
        let (named, counts) = findings.parts();
        assert_eq!(named.len(), 21);
        assert_eq!((counts["too_many_id_runs"], counts["unreadable"]), (100, 1));
    }

    #[test]
    fn what_other_processes_found_is_named_and_counted() {
        let theirs = Findings::default();
        for runs_max in 0..100 {
            theirs.push(Finding::TooManyIdRuns { runs_max });
        }
        let (named, counts) = theirs.parts();
        let counts = counts.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect();
        let ours = Findings::default();
        ours.absorb(&named, &counts);
        let (named, counts) = ours.parts();
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
