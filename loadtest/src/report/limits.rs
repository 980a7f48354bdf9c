//! What came of a limit, as programs and people read it.

use std::fmt;

use serde::Serialize;
use snowtide_client::Algorithm;

use crate::figures::float;
use crate::limits::bounds::Mode;
use crate::limits::{Closest, Fair};
use crate::run::Outcome;

/// What came of a limit.
#[derive(Clone, Debug, Serialize)]
pub struct LimitsReport {
    /// The policy's numbers, such as `gcra:100/1m:20`.
    pub policy: String,
    /// Whose use counted.
    pub mode: Mode,
    /// Nodes that decided.
    pub nodes: u64,
    /// Times that a cost was charged.
    pub admitted: u64,
    /// Times that it was not.
    pub denied: u64,
    /// What came closest to what may be, while nothing was done to the cluster.
    pub undisturbed: Closest,
    /// While something was; with `gcra`, over the whole run.
    pub disturbed: Closest,
    /// Whether limits were used up where they were asked for; none if nowhere was enough demand.
    pub fair: Option<Fair>,
    /// What is held to a bound: `windows`, or `spans` of time.
    pub judged: &'static str,
}

impl LimitsReport {
    /// Of this run; none if no decisions were asked.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let limits = &outcome.setup.plan.limits;
        let limited = outcome.limited.as_ref()?;
        let judged = if limits.numbers.0.algorithm == Algorithm::Gcra { "spans" } else { "windows" };
        Some(Self {
            policy: limits.numbers.to_string(),
            mode: limits.mode,
            nodes: limited.nodes,
            admitted: limited.admitted,
            denied: limited.denied,
            undisturbed: limited.judged.undisturbed,
            disturbed: limited.judged.disturbed,
            fair: limited.judged.fair,
            judged,
        })
    }

    /// The part of the limit that was admitted on average where it was asked for.
    pub fn used(&self) -> Option<f64> {
        let Fair { windows, admitted, limit, .. } = self.fair?;
        Some(float(admitted) / (float(windows) * float(limit)))
    }
}

impl fmt::Display for LimitsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, nodes, admitted, denied, undisturbed, disturbed, judged, .. } = self;
        write!(f, "limit {policy} at {nodes} nodes: {admitted} admitted, {denied} denied")?;
        for (when, closest) in [("", undisturbed), (" while the cluster was disturbed", disturbed)] {
            if closest.judged > 0 {
                let Closest { judged: count, admitted, bound } = closest;
                write!(f, "\n  closest to its bound{when}: {admitted} of {bound}, of {count} {judged} of keys")?;
            }
        }
        if let (Some(Fair { windows, least, limit, .. }), Some(used)) = (self.fair, self.used()) {
            write!(
                f,
                "\n  where there was demand: {used:.3} of the limit, {least} of {limit} at least, in {windows} windows"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_lines() {
        let closest = |judged| Closest { judged, admitted: 103, bound: 118 };
        let fair = Fair { windows: 4, least: 98, admitted: 396, limit: 100 };
        let report = LimitsReport {
            policy: "fixed:100/1s".into(),
            mode: Mode::Shared,
            nodes: 3,
            admitted: 5,
            denied: 50,
            undisturbed: closest(12),
            disturbed: closest(0),
            fair: Some(fair),
            judged: "windows",
        };
        let expected = "limit fixed:100/1s at 3 nodes: 5 admitted, 50 denied\n  \
            closest to its bound: 103 of 118, of 12 windows of keys\n  \
            where there was demand: 0.990 of the limit, 98 of 100 at least, in 4 windows";
        assert_eq!(report.to_string(), expected);
        let disturbed = LimitsReport { disturbed: closest(2), fair: None, ..report }.to_string();
        assert!(
            disturbed.ends_with("while the cluster was disturbed: 103 of 118, of 2 windows of keys"),
            "{disturbed}"
        );
    }
}
