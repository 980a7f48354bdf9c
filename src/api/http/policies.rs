//! The policies of a node's limits, and how each stands with the other nodes.

use axum::body::Body;
use axum::http::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Doors;
use crate::config::LimitMode;
use crate::limits::{Listed, Mode};

use super::call::Call;
use super::failures::Failures;
use super::json;
use super::limits::AlgorithmName;
use super::problem::Problem;

/// All policies of a node.
#[derive(Serialize, ToSchema)]
pub(super) struct PolicyList {
    policies: Vec<ListedPolicy>,
}

/// One policy, and how it stands at this node.
#[derive(Serialize, ToSchema)]
pub(super) struct ListedPolicy {
    /// As requests name it; of one that a request brought along, its numbers.
    #[schema(example = "default")]
    name: String,
    /// A request brought it along.
    given: bool,
    #[schema(value_type = AlgorithmName)]
    algorithm: &'static str,
    /// Units in a window.
    #[schema(example = 100)]
    limit: u64,
    #[schema(example = 60_000)]
    window_ms: u64,
    /// Units that may come at once; of `gcra` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    burst: Option<u64>,
    /// Whose use counts: `shared`, `split` or `local`.
    #[schema(example = "shared")]
    mode: String,
    /// With which nodes this one counts, or would from the next window on, itself among them.
    #[schema(example = json!(["eu-west/0", "us-east/0"]))]
    side: Vec<String>,
    /// Nodes that decide by it as well and do not count together with this one.
    parted: Vec<PartedNode>,
    /// Decisions of this node since its start, those that only look among them.
    decisions: u64,
    /// Units that it admitted.
    admitted: u64,
    /// Decisions that denied.
    denied: u64,
}

/// A node that counts apart.
#[derive(Serialize, ToSchema)]
pub(super) struct PartedNode {
    #[schema(example = "ap-south/0")]
    node: String,
    /// Why.
    #[schema(example = "nothing is heard of it")]
    reason: String,
}

#[utoipa::path(
    get, path = "/v1/limits", tag = "limits", operation_id = "list_policies",
    responses((status = 200, description = "Those that are configured first", body = PolicyList), Failures),
)]
/// Lists the policies of limits, and how each stands.
pub(super) async fn list(call: Call) -> Result<Response<Body>, Problem> {
    let decider = &call.door.decider;
    decider.admit(call.pass.grant()).map_err(|refused| call.turned_away(refused))?;
    let mut policies: Vec<_> =
        decider.list().into_iter().map(|listed| ListedPolicy::of(listed, &call.door.doors)).collect();
    policies.sort_by(|one, other| (one.given, &one.name).cmp(&(other.given, &other.name)));
    json::answer(&PolicyList { policies })
}

impl ListedPolicy {
    fn of(listed: Listed, doors: &Doors) -> Self {
        let Listed { policy, is_given, side, parted, usage, .. } = listed;
        let mode = match policy.mode {
            Mode::Shared => LimitMode::Shared,
            Mode::Split => LimitMode::Split,
            Mode::Local => LimitMode::Local,
        };
        let (algorithm, burst) = match policy.algorithm {
            crate::limits::Algorithm::Fixed => ("fixed", None),
            crate::limits::Algorithm::Sliding => ("sliding", None),
            crate::limits::Algorithm::Gcra => ("gcra", Some(policy.burst)),
        };
        let members = policy.weights.keys().filter(|worker| side.contains(**worker));
        Self {
            given: is_given,
            algorithm,
            limit: policy.limit,
            window_ms: policy.window_ms,
            burst,
            mode: mode.to_string(),
            side: members.map(|worker| doors.map.name(*worker)).collect(),
            parted: parted
                .into_iter()
                .map(|(worker, why)| PartedNode { node: doors.map.name(worker), reason: why.to_string() })
                .collect(),
            decisions: usage.decisions,
            admitted: usage.admitted,
            denied: usage.denied,
            name: policy.name,
        }
    }
}
