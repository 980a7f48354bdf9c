//! The check of limits at the end: what was admitted is held to what may be.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::sending::Sent;
use super::setup::Setup;
use crate::faults::script::FaultRecord;
use crate::finding::Finding;
use crate::keys::Kind;
use crate::limits::bounds::Bounds;
use crate::limits::{Disturbance, Judged, Law, Over};

/// Nodes may not notice for so long that another is gone: the presence time of a node.
const PRESENCE: Duration = Duration::from_secs(1);

/// What came of the limits in a run.
pub struct Limited {
    /// How many nodes decide.
    pub nodes: u64,
    /// Times that a cost was charged.
    pub admitted: u64,
    /// Times that it was not.
    pub denied: u64,
    /// What the check says.
    pub judged: Judged,
}

/// Holds what was admitted to what may be; none if no decisions were asked.
pub(super) fn judge(setup: &Setup, sent: &Sent) -> Option<Limited> {
    let limits = &setup.plan.limits;
    if setup.workload.mix.share(Kind::Limit) <= 0.0 {
        return None;
    }
    let nodes = nodes(setup);
    let known = nodes.iter().max().map_or(1, |last| *last as u64 + 1);
    let count = limits.nodes.map_or(known, u64::from);
    let bounds =
        Bounds { numbers: limits.numbers.0, mode: limits.mode, nodes: count, delay: limits.delay, presence: PRESENCE };
    let begins = micros(sent.started.duration_since(UNIX_EPOCH).unwrap_or_default());
    let law = Law {
        bounds,
        clock_error_us: micros(limits.clock_error),
        nodes,
        disturbances: sent.faults.iter().flatten().filter_map(|fault| disturbance(fault, begins)).collect(),
        asked_us: (begins, begins.saturating_add(micros(Duration::from_secs_f64(sent.measured_s)))),
    };
    let entries = sent.record.books.entries();
    let judged = crate::limits::judge(&law, &entries);
    let named = |over: &Over| Finding::OverLimit {
        key: sent.record.names.key(over.key),
        policy: limits.numbers.to_string(),
        window: over.window,
        admitted: over.admitted,
        limit: over.bound.limit,
        slack: over.bound.slack,
    };
    judged.over.iter().map(named).for_each(|finding| sent.record.findings.push(finding));
    if entries.left_out > 0 {
        sent.record.findings.push(Finding::TooManyAdmissions { records_max: limits.records_max });
    }
    Some(Limited { nodes: count, admitted: entries.admitted, denied: entries.refused, judged })
}

/// The number of the node behind each target: two doors of one node count together.
fn nodes(setup: &Setup) -> Vec<usize> {
    let mut numbers = BTreeMap::new();
    let mut number = |origin: &super::Origin| {
        let next = numbers.len();
        *numbers.entry((origin.region.clone(), origin.node)).or_insert(next)
    };
    setup.origins.iter().map(&mut number).collect()
}

/// A fault that was carried out. The orders take their time, so nodes may see it a little before it is said to have begun.
fn disturbance(fault: &FaultRecord, begins_us: u64) -> Option<Disturbance> {
    let at = |seconds: f64| begins_us.saturating_add(micros(Duration::from_secs_f64(seconds.max(0.0))));
    let from_us = at(fault.began_s?).saturating_sub(micros(PRESENCE));
    let to_us = fault.ended_s.map_or(u64::MAX / 2, |ended| at(ended).saturating_add(micros(PRESENCE)));
    Some(Disturbance { from_us, to_us, is_restart: fault.fault.starts_with("kill ") })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_disturbs_from_before_it_began_until_nodes_have_noticed_its_end() {
        let fault = |name: &str, began_s, ended_s| FaultRecord {
            fault: name.into(),
            began_s,
            ended_s,
            ..FaultRecord::default()
        };
        let second = 1_000_000;
        let killed = disturbance(&fault("kill us-east", Some(3.0), Some(5.0)), 100 * second).unwrap();
        assert_eq!(killed, Disturbance { from_us: 102 * second, to_us: 106 * second, is_restart: true });
        let cut = disturbance(&fault("cut us-east", Some(3.0), None), 100 * second).unwrap();
        assert!(!cut.is_restart && cut.to_us > 1_000_000 * second, "it never ended");
        assert_eq!(disturbance(&fault("cut us-east", None, None), 0), None);
    }
}
