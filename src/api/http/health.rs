//! Probes and metrics: open to everyone, outside `/v1`, and independent of the engine, but for
//! what the verbose answer adds.
//!
//! Liveness never depends on peers, nor on anything but that the process answers: a supervisor that restarted a node
//! because another one is gone would make an outage of a hiccup.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Stage;
use crate::replica::{Disk, Status};
use crate::telemetry;

use super::apart::{self, ForkView, NotExchangedView};
use super::call::Door;
use super::cluster::StageName;
use super::json;
use super::repairs::{self, RepairView};

/// How long the verbose answer waits for the engine.
const STATUS_WAIT: Duration = Duration::from_millis(500);
/// The content type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a node is ready, check by check.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    stage: StageName,
    /// Why it stopped itself, if it did, or why it takes no writes.
    reason: Option<String>,
    checks: [Check; 4],
    /// Repair sessions that are under way. A node that fetches what it lacks is ready meanwhile: it takes increments at
    /// once, and reads show what it has.
    repairs: Vec<RepairView>,
    /// Namespaces that are not exchanged with some peer. What is counted in them is not replicated to it.
    not_exchanged: Vec<NotExchangedView>,
    /// Logs in which two processes have counted under one replica id.
    forks: Vec<ForkView>,
}

/// One condition of readiness.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Check {
    #[schema(example = "recovered")]
    name: &'static str,
    ok: bool,
}

#[utoipa::path(
    get, path = "/livez", tag = "operations", operation_id = "livez", security(()),
    responses((status = 200, description = "The process answers", body = String, content_type = "text/plain")),
)]
/// Whether the process lives.
pub(super) async fn livez() -> &'static str {
    "ok"
}

#[utoipa::path(
    get, path = "/readyz", tag = "operations", operation_id = "readyz", security(()),
    params(("verbose" = Option<bool>, Query, description = "Answer with JSON, check by check")),
    responses(
        (status = 200, description = "Ready: `ok`, or the checks", content(
            (String = "text/plain", example = "ok"), (Readiness = "application/json"),
        )),
        (status = 503, description = "Not ready: the stage, or the checks", content(
            (String = "text/plain", example = "starting"), (Readiness = "application/json"),
        )),
    ),
)]
/// Whether the node has recovered and serves.
pub(super) async fn readyz(State(door): State<Arc<Door>>, RawQuery(query): RawQuery) -> Response<Body> {
    let mut readiness = Readiness::of(&door.doors.stage.borrow());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")));
    if verbose {
        // A busy engine is no reason to be late: what is not known in time is left out.
        let status = tokio::time::timeout(STATUS_WAIT, door.status()).await;
        let status = status.ok().and_then(Result::ok).flatten();
        readiness.repairs = repairs::views(&door.doors, status.as_ref());
        readiness.not_exchanged = apart::not_exchanged(&door.doors, status.as_ref());
        readiness.forks = apart::forks(&door.doors, status.as_ref());
        readiness.see_disk(status.as_ref());
    }
    let mut response = if verbose {
        json::answer(&readiness).unwrap_or_else(IntoResponse::into_response)
    } else {
        readiness.word().into_response()
    };
    *response.status_mut() = status;
    response
}

#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "metrics", security(()),
    responses((status = 200, description = "Prometheus text format", body = String, content_type = "text/plain")),
)]
/// Metrics for Prometheus.
pub(super) async fn metrics() -> Response<Body> {
    // No more memory than is charged for.
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], telemetry::render().into_boxed_str().into_string()).into_response()
}

impl Readiness {
    fn of(stage: &Stage) -> Self {
        let (name, reason) = StageName::of(stage);
        let check = |name, ok| Check { name, ok };
        Self {
            ready: name == StageName::Ready,
            stage: name,
            reason,
            checks: [
                check("recovered", name != StageName::Starting),
                check("accepting", name != StageName::Draining),
                check("unfenced", name != StageName::Fenced),
                check("room", true),
            ],
            repairs: Vec::new(),
            not_exchanged: Vec::new(),
            forks: Vec::new(),
        }
    }

    /// A node without room on its disk is ready all the same, for it answers reads.
    fn see_disk(&mut self, status: Option<&Status>) {
        let Some(disk) = status.map(|status| status.disk).filter(Disk::is_low) else { return };
        self.reason.get_or_insert_with(|| disk.to_string());
        self.checks.iter_mut().filter(|check| check.name == "room").for_each(|check| check.ok = false);
    }

    const fn word(&self) -> &'static str {
        match self.stage {
            StageName::Ready => "ok",
            StageName::Starting => "starting",
            StageName::Draining => "draining",
            StageName::Fenced => "fenced",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Headroom;

    #[test]
    fn a_node_without_room_is_ready_and_says_why_it_takes_no_writes() {
        let mut readiness = Readiness::of(&Stage::Ready);
        readiness.see_disk(Some(&Status::default()));
        assert_eq!((readiness.reason.as_deref(), readiness.checks[3].ok), (None, true));
        let disk = Disk { headroom: Headroom::Low, free_bytes: 5 << 20, needed_bytes: 6 << 20 };
        readiness.see_disk(Some(&Status { disk, ..Status::default() }));
        assert!(readiness.ready && !readiness.checks[3].ok);
        assert_eq!(
            readiness.reason.as_deref(),
            Some("the disk is nearly full (5.0 MiB free, 6.0 MiB needed): no writes")
        );
    }

    #[test]
    fn exactly_one_check_fails_in_each_stage_that_is_not_ready() {
        assert!(Readiness::of(&Stage::Ready).checks.iter().all(|check| check.ok));
        for (stage, failed) in
            [(Stage::Starting, "recovered"), (Stage::Draining, "accepting"), (Stage::Fenced("why".into()), "unfenced")]
        {
            let readiness = Readiness::of(&stage);
            assert!(!readiness.ready);
            let failing: Vec<_> = readiness.checks.iter().filter(|check| !check.ok).map(|check| check.name).collect();
            assert_eq!(failing, [failed]);
        }
    }
}
