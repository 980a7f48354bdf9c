//! Everything that is decided before the first request.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::conserve::{self, Reader};
use crate::finding::Findings;
use crate::keys::Workload;
use crate::ledger::{Expected, Ledger};
use crate::plan::Plan;
use crate::target::{Dial, Link};

/// Everything that is decided before the first request.
pub struct Setup {
    /// What was asked for.
    pub plan: Plan,
    /// Decides which operations are sent.
    pub seed: u64,
    /// What all lanes send.
    pub workload: Workload,
    /// What every connection needs.
    pub dial: Arc<Dial>,
    /// One for each target, to check with.
    pub readers: Vec<Reader>,
    /// The targets by position.
    pub origins: Vec<Origin>,
}

/// Where figures come from: a target, or all of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The URL, or `all`.
    pub target: String,
    /// The region behind it; none for all.
    pub region: Option<String>,
    /// The node's number in its region.
    pub node: Option<u32>,
}

impl Origin {
    /// All targets together.
    pub fn all() -> Self {
        Self { target: "all".into(), region: None, node: None }
    }

    /// What people call it, whatever its port: `eu-west/0 quic`.
    pub fn name(&self) -> String {
        let protocol = self.target.split("://").next().unwrap_or_default();
        match (&self.region, self.node) {
            (Some(region), Some(node)) => format!("{region}/{node} {protocol}"),
            _ => self.target.clone(),
        }
    }
}

impl Setup {
    /// Connects to every target once, and asks who it is.
    pub(super) async fn connect(plan: &Plan) -> anyhow::Result<Self> {
        let Plan { network, operations, .. } = plan;
        let dial = Arc::new(network.dial(operations.names(), plan.limits.asking()));
        let (mut readers, mut origins) = (Vec::new(), Vec::new());
        for endpoint in &network.targets {
            let link = Link::open(endpoint, &dial, network.connect_timeout).await?;
            let site = link.site().clone();
            let origin =
                Origin { target: endpoint.to_string(), region: Some(site.region), node: Some(site.node.into()) };
            readers.push(Reader::new(origin.name(), link));
            origins.push(origin);
        }
        let workload = operations.workload().context("the exponent is out of range")?;
        let seed = operations.seed.unwrap_or_else(rand::random);
        Ok(Self { plan: plan.clone(), seed, workload, dial, readers, origins })
    }

    /// Fresh counters stand at zero; those under a prefix that was given are read first.
    pub(super) async fn open_ledger(&mut self) -> anyhow::Result<Ledger> {
        let count = self.plan.operations.keys;
        if self.plan.operations.key_prefix.is_none() {
            return Ok(Ledger::new(count));
        }
        let anything = Expected { least: i128::MIN, most: i128::MAX };
        let (keys, patience) = ((0..count).collect(), self.plan.checks.agree_timeout);
        let agreement =
            conserve::agree(&mut self.readers, keys, |_| anything, patience, &conserve::Progress::default()).await;
        if !agreement.settled {
            let findings = Findings::default();
            conserve::judge(&agreement, &self.readers, &self.dial.names, |_| anything, &findings);
            let first = findings.so_far().named.first().map(ToString::to_string).unwrap_or_default();
            bail!("the regions do not agree about the counters before the run: {first}");
        }
        let values = agreement.values.first().context("there are no targets")?;
        values
            .iter()
            .copied()
            .collect::<Option<Vec<_>>>()
            .map(Ledger::with_baseline)
            .context("counters without a value")
    }
}
