//! Which decisions a load asks, and what it holds them to.

use std::time::Duration;

use anyhow::ensure;
use snowtide_client::Algorithm;

use crate::limits::bounds::{Mode, Written};
use crate::target::Asking;

/// Which decisions a load asks, and what it holds them to.
#[derive(Clone, Debug, clap::Args)]
pub struct Limits {
    /// The numbers of the policy: fixed, sliding or gcra, units and window, and for gcra how many units may come at once, such
    /// as gcra:100/1m:20. Requests bring them along, unless there is a --limit-policy.
    #[arg(long = "limit", default_value = "sliding:100/1s", value_name = "NUMBERS")]
    pub numbers: Written,

    /// Ask by this policy of the nodes' configuration, which has the numbers of --limit.
    #[arg(long = "limit-policy", value_name = "NAME")]
    pub policy: Option<String>,

    /// Whose use counts, by the nodes' configuration.
    #[arg(long = "limit-mode", value_enum, default_value_t = Mode::Shared)]
    pub mode: Mode,

    /// What each decision is asked to charge.
    #[arg(long = "limit-cost", default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub cost: u32,

    /// How many nodes decide, asked by this load or not; without it, as many as are behind the targets.
    #[arg(long = "limit-nodes", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub nodes: Option<u32>,

    /// How long it takes at most until a node knows what another admitted: `limits.interval`, the way, and what waits.
    #[arg(long = "limit-delay", default_value = "100ms", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub delay: Duration,

    /// By how much clocks may differ from the one here: what falls into a window only if they do not is not held to its bound.
    #[arg(long = "limit-clock-error", default_value = "20ms", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub clock_error: Duration,

    /// Admissions to remember, at 40 bytes each; needing more is a finding.
    #[arg(long = "limit-records-max", default_value_t = 8 << 20, value_name = "N")]
    pub records_max: usize,
}

impl Limits {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let numbers = self.numbers.0;
        let most = if numbers.algorithm == Algorithm::Gcra { numbers.burst } else { numbers.limit };
        ensure!(
            u64::from(self.cost) <= most,
            "--limit-cost {} is above what --limit can ever admit, {most}",
            self.cost
        );
        ensure!(self.policy.as_deref() != Some(""), "--limit-policy needs a name");
        let window = Duration::from_millis(numbers.window_ms);
        ensure!(self.clock_error < window / 4, "--limit-clock-error must be less than a quarter of the window");
        Ok(())
    }

    /// What every decision is asked by.
    pub fn asking(&self) -> Asking {
        Asking { policy: self.policy.clone(), numbers: self.numbers.0, cost: self.cost }
    }
}
