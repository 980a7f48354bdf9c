//! What was asked for, as programs and people read it.

use serde::Serialize;

use crate::keys::KINDS;
use crate::plan::{Distribution, Plan};
use crate::run::Setup;
use crate::schedule::{Arrivals, Rate};

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Where the other settings came from.
    pub scenario: Option<String>,
    /// How fast, and how long.
    #[serde(flatten)]
    pub pace: PaceSettings,
    /// Over what.
    #[serde(flatten)]
    pub network: NetworkSettings,
    /// What.
    #[serde(flatten)]
    pub operations: OperationSettings,
}

/// How fast, and how long.
#[derive(Clone, Debug, Serialize)]
pub struct PaceSettings {
    /// Operations a second over all targets; none in a closed loop.
    pub rate_per_s: Option<f64>,
    /// `constant` or `poisson`; none in a closed loop.
    pub arrivals: Option<Arrivals>,
    /// Latencies run from intended times.
    pub open_loop: bool,
    /// Measured.
    pub duration_s: f64,
    /// Before that.
    pub warmup_s: f64,
}

/// Over what.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkSettings {
    /// Processes that sent.
    pub processes: u32,
    /// To each target.
    pub connections: u32,
    /// On each QUIC connection.
    pub in_flight: u32,
}

/// Which operations.
#[derive(Clone, Debug, Serialize)]
pub struct OperationSettings {
    /// Increments, IDs, reads, questions whether the node lives, decisions.
    pub mix: [u32; KINDS],
    /// The kinds took turns for so long each; none if they were mixed.
    pub turns_s: Option<f64>,
    /// Operations in each request.
    pub batch: u32,
    /// Counters.
    pub keys: u32,
    /// `uniform` or `zipf`.
    pub distribution: Distribution,
    /// With `zipf`.
    pub zipf_exponent: Option<f64>,
    /// The share of operations that were on the first counter, besides its usual share.
    pub celebrity: Option<f64>,
    /// Repeats the operations.
    pub seed: String,
    /// Where the counters live.
    pub namespace: String,
    /// How their names begin.
    pub key_prefix: String,
}

impl Settings {
    /// Of this run.
    pub fn of(setup: &Setup) -> Self {
        let Plan { scenario, pace, network, operations, .. } = &setup.plan;
        let open_loop = pace.rate != Rate::Max;
        Self {
            scenario: scenario.clone(),
            pace: PaceSettings {
                rate_per_s: pace.rate.per_second(),
                arrivals: open_loop.then_some(pace.arrivals),
                open_loop,
                duration_s: pace.duration.as_secs_f64(),
                warmup_s: pace.warmup.as_secs_f64(),
            },
            network: NetworkSettings {
                processes: network.processes,
                connections: network.connections,
                in_flight: network.in_flight,
            },
            operations: OperationSettings {
                mix: operations.mix.weights(),
                turns_s: operations.turns.map(|turn| turn.as_secs_f64()),
                batch: operations.batch,
                keys: operations.keys,
                distribution: operations.dist,
                zipf_exponent: (operations.dist == Distribution::Zipf).then_some(operations.zipf_exponent),
                celebrity: (operations.celebrity > 0.0).then_some(operations.celebrity),
                seed: setup.seed.to_string(),
                namespace: setup.dial.names.namespace.clone(),
                key_prefix: setup.dial.names.prefix.clone(),
            },
        }
    }
}
