//! Which operations a load consists of.

use std::time::Duration;

use anyhow::ensure;
use clap::ValueEnum;
use serde::Serialize;

use crate::keys::{Mix, Names, Popularity, Workload};

/// Operations in one request, a limit of both front doors.
const BATCH_MAX: u32 = 10_000;
const PREFIX_BYTES_MAX: usize = 500;

/// Which operations a load consists of.
#[derive(Clone, Debug, clap::Args)]
pub struct Operations {
    /// Shares of increments, IDs and reads, over HTTP of `GET /livez`, the cheapest request there is, and of decisions of a
    /// limit; limits=N alone asks nothing but these.
    #[arg(long, default_value = "8:1:1", value_name = "I:D:R[:L][,limits=N]")]
    pub mix: Mix,

    /// The kinds of the mix take turns, each for so long, instead of being mixed; their shares count for nothing then.
    /// So their rates can be compared under the same conditions.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub turns: Option<Duration>,

    /// Operations in each request; for IDs, how many each request asks for.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(BATCH_MAX)))]
    pub batch: u32,

    /// How many counters, and keys that are limited.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub keys: u32,

    /// How popular the counters are.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub dist: Distribution,

    /// With --dist zipf: counter number n is used in proportion to 1/n^S.
    #[arg(long, default_value_t = 0.99, value_name = "S")]
    pub zipf_exponent: f64,

    /// This share of the operations on counters, 0 to 1, is on one of them alone; the others go by --dist.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub celebrity: f64,

    /// The namespace of the counters.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub namespace: String,

    /// The beginning of every counter's name. New for each run unless given; if given, the counters are read first,
    /// and nobody else may change them during the run.
    #[arg(long, value_name = "TEXT", value_parser = prefix)]
    pub key_prefix: Option<String>,

    /// Decides which operations are sent; the same seed sends the same ones. Random unless given.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// How popular the counters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// A few are used by far the most.
    Zipf,
}

impl Operations {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!((0.0..=1.0).contains(&self.celebrity), "--celebrity must be a share from 0 to 1");
        ensure!(self.popularity().is_some(), "--zipf-exponent must be a number from 0 up");
        Ok(())
    }

    /// What all lanes send; `None` if the exponent is out of range.
    pub fn workload(&self) -> Option<Workload> {
        let Self { mix, turns, batch, celebrity, .. } = *self;
        Some(Workload { mix, turn: turns, batch, popularity: self.popularity()?, celebrity })
    }

    fn popularity(&self) -> Option<Popularity> {
        match self.dist {
            Distribution::Uniform => Some(Popularity::uniform(self.keys)),
            Distribution::Zipf if !self.zipf_exponent.is_finite() => None,
            Distribution::Zipf => Popularity::zipf(self.keys, self.zipf_exponent),
        }
    }

    /// The names of the counters, new ones unless a prefix was given.
    pub fn names(&self) -> Names {
        let prefix = self.key_prefix.clone().unwrap_or_else(|| format!("lt-{:08x}-", rand::random::<u32>()));
        Names { namespace: self.namespace.clone(), prefix }
    }
}

fn prefix(text: &str) -> Result<String, String> {
    match text.len() {
        0..=PREFIX_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(format!("at most {PREFIX_BYTES_MAX} bytes, this has {bytes}")),
    }
}
