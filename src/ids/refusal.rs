//! Why no IDs were minted, in a word for programs and a sentence for people.

use std::time::Duration;

use snowtide_protocol::Code;
use snowtide_protocol::wire::IDS_MAX;

use crate::snowflake::Verdict;

/// Why no IDs were minted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct IdRefusal {
    /// The word for it.
    pub code: Code,
    /// A sentence for people.
    pub detail: String,
}

impl IdRefusal {
    pub(super) fn count(count: u32) -> Self {
        let detail = format!("a request is for 1 to {IDS_MAX} IDs, this one for {count}");
        Self { code: Code::InvalidRequest, detail }
    }

    pub(super) fn disk_low() -> Self {
        let detail =
            "the disk under this node's data is full: its next ID ceiling cannot be written until there is room";
        Self { code: Code::DiskLow, detail: detail.into() }
    }

    /// The refusal that stands for a verdict, once waiting is over.
    pub(super) fn of(verdict: Verdict, fenced: Option<&str>, wait_max: Duration) -> Self {
        let wait_max = humantime::format_duration(wait_max);
        let (code, detail) = match verdict {
            Verdict::Done => (Code::Internal, "no IDs were minted, and nothing says why".into()),
            Verdict::Wait { .. } => (
                Code::SequenceExhausted,
                format!("more IDs are asked of this node than its clock yields within ids.wait_max ({wait_max})"),
            ),
            Verdict::NeedsCeiling => (
                Code::Overloaded,
                format!("the disk did not confirm the next ID ceiling within ids.wait_max ({wait_max})"),
            ),
            Verdict::ClockRegressed { behind_ms } => (
                Code::ClockRegressed,
                format!(
                    "this node's clock is {behind_ms} ms behind its last ID ceiling or ID; IDs go on by themselves once it has caught up"
                ),
            ),
            Verdict::ClockAhead { ahead_ms } => (
                Code::ClockAhead,
                format!(
                    "this node's clock is {ahead_ms} ms ahead of what is believable; correct it, or, if it is right and no \
                     peer confirms it, restart the node with --confirm-clock"
                ),
            ),
            Verdict::TimeExhausted => {
                (Code::ClockAhead, "this node's clock is past the last moment that the ID layout can express".into())
            }
            Verdict::Quarantined { left_ms } => (
                Code::Starting,
                format!(
                    "this node's worker id was used before, by data that this node does not have; its IDs begin in \
                     {left_ms} ms (ids.quarantine); if a peer has lied, see snowtide cluster forget-ceilings --help"
                ),
            ),
            Verdict::Unclaimed => {
                (Code::Starting, "this node is starting: it waits until its peers say which IDs they saw of it".into())
            }
            Verdict::Draining => (Code::Draining, "this node is taken out of service; use another one".into()),
            Verdict::Fenced => {
                let reason = fenced.unwrap_or("an earlier failure left its ID generator in an unknown state");
                (Code::Fenced, format!("this node has stopped itself: {reason}"))
            }
        };
        Self { code, detail }
    }
}
