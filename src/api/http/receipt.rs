//! What answers tell beyond values: who has acknowledged a write, and what a counter is made of.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::terms::TermsCodec;
use crate::replica::{Receipt, View};

use super::json;
use super::parameters::Parameters;

/// How far a write has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum AckState {
    /// As many regions as parameters for hold it durably.
    Done,
    /// It is durable at this node and counts, but the time was over before as many regions as parameters for had it. They
    /// will: do not send it again.
    Pending,
}

/// Who holds a write durably; both are there only if `ack` was parameters for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) ack: Option<AckState>,
    pub(super) by: Option<Vec<String>>,
}

/// A counter by regions.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct CounterView {
    /// Each region's share; together they are the value.
    regions: Vec<RegionShare>,
    /// The value that every node is known to show at least, as far as its logs go. `null` if that is not known yet: to
    /// be parameters again, since a node follows the counters that are asked about.
    #[serde(serialize_with = "json::decimal_or_null")]
    #[schema(value_type = Option<String>, pattern = r"^-?\d+$", example = "40")]
    settled: Option<i128>,
    /// Regions of which some node is not known to hold all of the value.
    behind: Vec<String>,
}

/// One region's part of a counter.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RegionShare {
    #[schema(example = "eu-west")]
    region: String,
    /// What its nodes have added and subtracted, as far as this node knows.
    #[serde(serialize_with = "json::decimal")]
    #[schema(value_type = String, pattern = r"^-?\d+$", example = "30")]
    value: i128,
    /// How many milliseconds ago the region's nodes had last told how far they are, such that all of that is known here
    /// now; of several nodes, the one that is longest ago. 0 for this node's region if it has no other node. `null` if
    /// some node of the region has not told since this one started.
    as_of_ms: Option<u64>,
}

impl Acknowledged {
    /// With the status that goes with it: 202 says that the write counts, and that not all has happened that was parameters.
    pub(super) fn of(
        parameters: &Parameters,
        receipt: Option<&Receipt>,
        terms_codec: &TermsCodec,
    ) -> (StatusCode, Self) {
        let Some(receipt) = receipt.filter(|_| parameters.ack) else { return (StatusCode::OK, Self::default()) };
        let by = Some(terms_codec.names(&receipt.acknowledged_by));
        let (status, ack) =
            if receipt.pending { (StatusCode::ACCEPTED, AckState::Pending) } else { (StatusCode::OK, AckState::Done) };
        (status, Self { ack: Some(ack), by })
    }
}

impl CounterView {
    pub(super) fn of(view: &View, terms_codec: &TermsCodec) -> Self {
        let snowtide_protocol::View { regions, settled, behind } = terms_codec.view(view);
        let share = |share: snowtide_protocol::Share| RegionShare {
            region: share.region,
            value: share.value,
            as_of_ms: share.as_of_ms,
        };
        Self { regions: regions.into_iter().map(share).collect(), settled, behind }
    }
}

/// The views of a receipt, one per operation that the engine got, if they were parameters for.
pub(super) fn views(receipt: Option<&Receipt>, terms_codec: &TermsCodec) -> Vec<CounterView> {
    receipt.into_iter().flat_map(|receipt| &receipt.views).map(|view| CounterView::of(view, terms_codec)).collect()
}
