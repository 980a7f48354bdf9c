//! `grpc.health.v1.Health`, as load balancers ask it.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::api::Stage;

/// Of the node, of the service, and of the service as its reference implementation calls itself.
const SERVICES: [&str; 3] = ["", "envoy.service.ratelimit.v3.RateLimitService", "ratelimit"];

/// Reports what the node is good for, until the shutdown. Then whoever watches is let go: no connection ends before its
/// streams have.
pub(super) async fn report(
    mut reporter: HealthReporter,
    mut stage: watch::Receiver<Stage>,
    shutdown: CancellationToken,
) {
    loop {
        let is_ready = *stage.borrow_and_update() == Stage::Ready;
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        tokio::select! {
            changed = stage.changed() => if changed.is_err() { break },
            () = shutdown.cancelled() => break,
        }
    }
    shutdown.cancelled().await;
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}
