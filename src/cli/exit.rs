//! How a command ends: its exit code, after `sysexits.h` where that has a word for it, and what to do next.

use snowtide_client::{ConnectError, Error, InvalidArgument};
use snowtide_protocol::Code;

use super::Misuse;
use crate::config::ConfigError;
use crate::probe::ProbeError;
use crate::store::{OpenError, OpenRefusal};

/// For `--help`.
pub const CODES: &str = "\
Exit codes:
   0  done
   1  failed
   2  wrong usage or configuration
   3  denied by a limit
  65  a data directory or a backup is damaged
  69  no node can be reached; nothing was done
  74  no answer: whether a write counted is unknown
  75  refused for now; the same again later may work
  76  refused for good
  77  not allowed to this token";

/// How a command ends that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Nothing that has a word of its own.
    Failed = 1,
    /// The usage or the configuration is wrong.
    Misuse = 2,
    /// A limit denies it.
    OverLimit = 3,
    /// `EX_DATAERR`: what is on disk is damaged.
    Damaged = 65,
    /// `EX_UNAVAILABLE`: nobody answers, and nothing was done.
    Unavailable = 69,
    /// `EX_IOERR`: a write was sent, and nobody knows what became of it.
    Unknown = 74,
    /// `EX_TEMPFAIL`: not now.
    Later = 75,
    /// `EX_PROTOCOL`: not ever.
    Refused = 76,
    /// `EX_NOPERM`: not to this caller.
    Denied = 77,
}

/// An end that the command itself has decided on.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) text: String,
}

impl Ended {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
}

/// A cause of this kind, whether it was wrapped in words or in another error.
fn cause<T: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&T> {
    error.downcast_ref().or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
}

impl Exit {
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if let Some(ended) = cause::<Ended>(error) {
            return ended.exit;
        }
        let misused = cause::<InvalidArgument>(error).is_some() || cause::<Misuse>(error).is_some();
        if misused || cause::<ConfigError>(error).is_some() {
            return Self::Misuse;
        }
        if let Some(refused) = cause::<Error>(error) {
            return Self::of_request(refused);
        }
        match (cause::<ConnectError>(error), cause::<OpenError>(error)) {
            (Some(ConnectError::Refused { code, .. }), _) => Self::of_code(*code),
            (Some(ConnectError::Config(_)), _) => Self::Misuse,
            (Some(_), _) => Self::Unavailable,
            (None, Some(OpenError { refusal: OpenRefusal::Damaged { .. } | OpenRefusal::Hole { .. }, .. })) => {
                Self::Damaged
            }
            (None, Some(OpenError { refusal: OpenRefusal::Locked { .. }, .. })) => Self::Later,
            _ => Self::Failed,
        }
    }

    /// What an operation that was refused by itself ends with.
    pub(super) fn of_code(code: Code) -> Self {
        match code {
            Code::Unauthenticated | Code::Forbidden => Self::Denied,
            Code::Timeout | Code::Internal => Self::Unknown,
            code if code.is_retryable() => Self::Later,
            _ => Self::Refused,
        }
    }

    fn of_request(error: &Error) -> Self {
        match error {
            Error::InvalidArgument(_) => Self::Misuse,
            Error::Refused { code, .. } => Self::of_code(*code),
            error if error.is_ambiguous() => Self::Unknown,
            _ => Self::Unavailable,
        }
    }
}

/// What to do after this error, unless its own words say so.
pub(super) fn advice(error: &anyhow::Error) -> Option<String> {
    if let Some(failed) = cause::<Error>(error) {
        return advice_on_request(failed);
    }
    if let Some(ConnectError::Refused { code, .. }) = cause(error) {
        return Some(advice_on_code(*code).to_owned());
    }
    if let Some(ProbeError::Refused { .. }) = cause(error) {
        return Some("give a token of api.tokens, with --token or in SNOWTIDE_TOKEN".to_owned());
    }
    if let Some(OpenError { refusal: OpenRefusal::Locked { holder }, .. }) = cause(error) {
        let process = holder.map_or("PID".to_owned(), |process| process.to_string());
        return Some(format!("if that is a node, stop it: kill {process} (SIGTERM drains it)"));
    }
    None
}

fn advice_on_request(error: &Error) -> Option<String> {
    match error {
        Error::Refused { code, retry_after: Some(after), .. } if code.is_retryable() => {
            let after = humantime::format_duration(*after);
            Some(format!("{}; not before {after} have passed", advice_on_code(*code)))
        }
        Error::Refused { code, .. } => Some(advice_on_code(*code).to_owned()),
        // They say what is allowed.
        Error::InvalidArgument(_) => None,
        error if error.is_ambiguous() => Some(UNKNOWN.to_owned()),
        Error::Timeout { .. } | Error::Busy { .. } | Error::Disconnected { .. } | Error::Unreachable { .. } => {
            Some("nothing was changed; see how the nodes are: snowtide cluster status; then repeat this".to_owned())
        }
        _ => Some(UNKNOWN.to_owned()),
    }
}

const UNKNOWN: &str = "look at the counter before you repeat this: what was sent may have been counted";

/// What to do about a refusal by this word. Words of later releases are told what holds for all of their kind.
pub(super) fn advice_on_code(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "give a token of api.tokens, with --token or in SNOWTIDE_TOKEN",
        Code::Forbidden => "give a token that may do this, with --token or in SNOWTIDE_TOKEN",
        Code::UnknownPolicy => "name one that is configured: snowtide limit list; or give one: --limit, --window",
        Code::CostTooHigh => "ask for less: no node ever admits so much at once",
        Code::UnknownNamespace => "name one that is configured: snowtide config show lists namespace.*",
        Code::WrongRegion => "ask a region that holds the namespace, with --at",
        Code::TooLarge => "ask for less at a time",
        Code::CounterOverflow => "add less, or go on with another counter: this node's share of this one is used up",
        Code::QuotaExceeded => "raise keys_max or bytes_max of the namespace, or count in counters that exist",
        Code::Draining => "ask another node, with --at, or this one once it is started again",
        Code::Starting => "wait until the node is ready (snowtide cluster status), or ask another one with --at",
        Code::DiskLow => "make room on the disk of the node (disk.min_free), or ask another one with --at",
        Code::ClockRegressed | Code::ClockAhead => {
            "correct the clock of the node (snowtide cluster status shows how far it is off), or ask another one with --at"
        }
        Code::Fenced => "stop the other process that runs under this worker id, then restart the fenced node",
        Code::TokenWaitExpired => "wait longer with --wait, or ask the node that gave the token; nothing was done",
        Code::Timeout | Code::Internal => UNKNOWN,
        code if code.is_retryable() => "repeat this, nothing was changed",
        _ => "correct the request; --help tells what is allowed",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Context;

    use super::*;

    fn refused(code: Code) -> anyhow::Error {
        Error::Refused { code, detail: "x".into(), retry_after: None }.into()
    }

    #[test]
    fn every_exit_is_told_by_help() {
        use Exit::{Damaged, Denied, Failed, Later, Misuse, OverLimit, Refused, Unavailable, Unknown};
        for exit in [Failed, Misuse, OverLimit, Damaged, Unavailable, Unknown, Later, Refused, Denied] {
            let line = format!("\n{:>4}  ", exit as u8);
            assert!(CODES.contains(&line), "{exit:?}");
        }
    }

    #[test]
    fn every_refusal_has_an_exit_and_an_advice() {
        for code in Code::ALL {
            assert!(!advice(&refused(code)).unwrap().is_empty(), "{code}");
            assert_ne!(Exit::of(&refused(code)), Exit::Failed, "{code}");
        }
        assert_eq!(Exit::of(&refused(Code::Throttled)), Exit::Later);
        assert_eq!(Exit::of(&refused(Code::CounterOverflow)), Exit::Refused);
        assert_eq!(Exit::of(&refused(Code::Forbidden).context("node eu-west/0")), Exit::Denied);
        let later =
            Error::Refused { code: Code::Throttled, detail: "x".into(), retry_after: Some(Duration::from_secs(2)) };
        assert_eq!(advice(&later.into()).unwrap(), "repeat this, nothing was changed; not before 2s have passed");
    }

    #[test]
    fn an_unknown_outcome_is_told_from_no_node_at_all() {
        let exit = |error: Error| Exit::of(&anyhow::Error::from(error).context("node eu-west/0"));
        assert_eq!(exit(Error::Ambiguous { reason: "reset".into() }), Exit::Unknown);
        assert_eq!(exit(Error::Timeout { after: Duration::ZERO, may_have_written: true }), Exit::Unknown);
        assert_eq!(exit(Error::Timeout { after: Duration::ZERO, may_have_written: false }), Exit::Unavailable);
        assert_eq!(exit(Error::Disconnected { reason: "reset".into() }), Exit::Unavailable);
        let unreachable = ConnectError::Unreachable { address: "a:1".into(), reason: "refused".into() };
        assert_eq!(Exit::of(&unreachable.into()), Exit::Unavailable);
    }

    #[test]
    fn what_the_command_decided_counts_most() {
        let ended =
            Err::<(), _>(Ended::new(Exit::Damaged, "damaged: 000004.log")).context("the backup is not restored");
        let error = ended.unwrap_err();
        assert_eq!((Exit::of(&error), advice(&error)), (Exit::Damaged, None));
        assert_eq!(format!("{error:#}"), "the backup is not restored: damaged: 000004.log");
    }

    #[test]
    fn who_finds_a_directory_in_use_is_told_how_to_free_it() {
        let refusal = OpenRefusal::Locked { holder: Some(7) };
        let error = anyhow::Error::from(OpenError { path: "/data".into(), refusal }).context("no backup was made");
        assert_eq!(advice(&error).unwrap(), "if that is a node, stop it: kill 7 (SIGTERM drains it)");
        assert_eq!(Exit::of(&error), Exit::Later);
    }
}
