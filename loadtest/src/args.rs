//! The options of a load.

mod parse;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::keys::{Kind, Mix, Names, Popularity};
use crate::part::Part;
use crate::schedule::{Arrivals, Rate};
use crate::target::{Dial, Door, Endpoint};
use crate::threshold::Threshold;

/// Operations in one request, a limit of both front doors.
pub const BATCH_MAX: u32 = 10_000;
/// Connections over all targets.
pub const LANES_MAX: usize = 4_096;
const TARGETS_MAX: usize = 1_024;

pub(crate) const EXAMPLES: &str = "\
Examples:
  Three regions over QUIC, 200 000 operations a second for half a minute:
    snowtide-loadtest --ca certs/ca.pem --rate 200k --batch 100 --duration 30s \\
      --target quic://127.0.0.1:7400 --target quic://127.0.0.1:7410 \\
      --target quic://127.0.0.1:7420

  One node over HTTP, single increments on a few hot counters, with files:
    snowtide-loadtest --target http://127.0.0.1:8410 --connections 32 \\
      --rate 5000 --mix 1:0:0 --dist zipf --keys 100000 \\
      --hgrm out/ --json out/summary.json

  How many IDs one node can mint (a closed loop; its latencies say little):
    snowtide-loadtest --ca certs/ca.pem --target quic://127.0.0.1:7410 \\
      --rate max --mix 0:1:0 --batch 10000

  Random gaps, bounds that must be kept, and one page with charts:
    snowtide-loadtest --target http://127.0.0.1:8410 --rate 5000 \\
      --arrivals poisson --html report.html \\
      --threshold 'increment.p99<5ms' --threshold 'errors<0.1%'

  A load by name, with another rate:
    snowtide-loadtest --scenario likes --rate 200k --ca certs/ca.pem \\
      --target quic://127.0.0.1:7410

  What an ID over HTTP costs beside a request that does nothing, by turns:
    snowtide-loadtest --target http://127.0.0.1:8410 --rate max \\
      --mix 0:1:0:1 --turns 100ms

Latencies are counted from the time at which a request was meant to be sent, so a stall shows in everything behind it. \
    At the end every counter is read in every target and compared with what was acknowledged and what was attempted.

Exit codes:
   0  nothing was lost, invented or given twice, and every --threshold was kept
   1  findings
   2  bad usage, or a target cannot be reached
  99  no findings, but a --threshold was crossed";

/// A load.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to send, quic://HOST:PORT or http://HOST:PORT; give it once for each node.
    #[arg(long = "target", value_name = "URL")]
    pub targets: Vec<Endpoint>,

    /// A load by name or from a file: likes, views, inserts, or for a drill failover and demo; or TOML whose keys are the
    /// names of these options. What is given beside it counts more.
    #[arg(long, value_name = "NAME|FILE")]
    pub scenario: Option<String>,

    /// Operations a second over all targets, such as 500, 200k or 1.5M; `max` sends as fast as answers come back.
    #[arg(long, default_value = "1000", value_parser = parse::rate)]
    pub rate: Rate,

    /// How requests are spread over time.
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    pub arrivals: Arrivals,

    /// How long to measure.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub duration: Duration,

    /// How long to send before measuring. Left out of the figures, not of the conservation check.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub warmup: Duration,

    /// Connections to each target. Over HTTP each carries one request at a time.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub connections: u32,

    /// Requests that may be unanswered on one QUIC connection. Beyond it requests are sent late, none is skipped.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub in_flight: u32,

    /// Operations in each request; for IDs, how many each request asks for.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(BATCH_MAX)))]
    pub batch: u32,

    /// How many counters.
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

    /// Shares of increments, IDs and reads, and over HTTP of `GET /livez`, the cheapest request there is.
    #[arg(long, default_value = "8:1:1", value_name = "I:D:R[:L]", value_parser = parse::mix)]
    pub mix: Mix,

    /// The kinds of the mix take turns, each for so long, instead of being mixed; their shares count for nothing then.
    /// So their rates can be compared under the same conditions.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub turns: Option<Duration>,

    /// Processes that send, each its part over --connections of its own, where one is not enough. Values are then
    /// compared at the end only, not at every answer.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub processes: u32,

    /// The certificate authority of the cluster, in PEM; needed for QUIC.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// A bearer token.
    #[arg(long, env = "SNOWTIDE_LOADTEST_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// The namespace of the counters.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub namespace: String,

    /// The beginning of every counter's name. New for each run unless given; if given, the counters are read first,
    /// and nobody else may change them during the run.
    #[arg(long, value_name = "TEXT", value_parser = parse::prefix)]
    pub key_prefix: Option<String>,

    /// Decides which operations are sent; the same seed sends the same ones. Random unless given.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// After this an unanswered request counts as unknown, neither done nor refused. Also how long requests that are
    /// late may still be sent after the end.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,

    /// After so long without a word a QUIC connection is given up and made anew.
    #[arg(long, default_value = "4s", value_parser = humantime::parse_duration)]
    pub silence: Duration,

    /// How long to try to connect at the start.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub connect_timeout: Duration,

    /// How long to wait at the end until all regions agree.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub agree_timeout: Duration,

    /// Separate runs of IDs to remember for finding duplicates, at up to 40 bytes each; needing more ends the run
    /// with a finding.
    #[arg(long, default_value_t = 8 << 20, value_name = "N")]
    pub id_runs_max: usize,

    /// A bound that the run must keep, such as increment.p99<5ms, increment@eu-west.max<1s, errors<0.1% or id.rate>10k;
    /// may be repeated. Metrics are p50, p99, p99.9 and so on, max, mean, rate and errors.
    #[arg(long = "threshold", value_name = "BOUND")]
    pub thresholds: Vec<Threshold>,

    /// Write percentile files in the format of HdrHistogram here, one for each kind of operation and each target.
    #[arg(long, value_name = "DIR")]
    pub hgrm: Option<PathBuf>,

    /// Write the interval log of HdrHistogram here: a histogram of each slice of the run, kind and target.
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,

    /// Write one page with charts here, for any browser; it needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write everything for programs here; `-` for standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// No progress, no table: findings and the last line only.
    #[arg(long, short)]
    pub quiet: bool,

    /// This process is one of --processes.
    #[arg(long, hide = true, value_name = "NUMBER/OF")]
    pub part: Option<Part>,

    /// All of these options as they were given, for further processes.
    #[arg(skip)]
    pub given: Vec<OsString>,
}

/// How popular the counters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// A few are used by far the most.
    Zipf,
}

impl Args {
    /// What one option alone cannot tell: a sentence if the options do not fit together.
    pub fn check(&self) -> Result<(), String> {
        let lanes = self.targets.len().saturating_mul(self.connections as usize);
        let quic = self.targets.iter().any(|target| target.door == Door::Quic);
        match () {
            () if self.targets.is_empty() => {
                Err("nowhere to send: give --target quic://HOST:PORT, once for each".into())
            }
            () if !(0.0..=1.0).contains(&self.celebrity) => Err("--celebrity must be a share from 0 to 1".into()),
            () if self.rate == Rate::Max && self.arrivals != Arrivals::Constant => {
                Err("--arrivals says when to send, and --rate max sends whenever an answer has come".into())
            }
            () if self.targets.len() > TARGETS_MAX || lanes > LANES_MAX => {
                Err(format!("{lanes} connections in all are more than {LANES_MAX}: fewer --connections or --target"))
            }
            () if quic && self.ca.is_none() => {
                Err("QUIC targets need --ca FILE, the cluster's authority in PEM".into())
            }
            () if quic && self.mix.share(Kind::Live) > 0.0 => {
                Err("--mix can ask whether a node lives over HTTP only".into())
            }
            () if self.unmeasured().is_some() => Err(format!(
                "--threshold: by --mix there are no operations of kind {}",
                self.unmeasured().map_or("all", Kind::name)
            )),
            () if self.turns.is_some_and(|turn| turn.is_zero()) => Err("--turns must be longer than nothing".into()),
            () if self.duration.is_zero() => Err("--duration must be longer than nothing".into()),
            () if self.silence.is_zero() => Err("--silence must be longer than nothing".into()),
            () if self.timeout.is_zero() => Err("--timeout must be longer than nothing".into()),
            () if self.popularity().is_none() => Err("--zipf-exponent must be a number from 0 up".into()),
            () => Ok(()),
        }
    }

    /// A kind that a threshold is about and that does not occur.
    fn unmeasured(&self) -> Option<Kind> {
        let absent = |kind: &Kind| self.mix.share(*kind) == 0.0;
        self.thresholds.iter().filter_map(|threshold| threshold.kind).find(absent)
    }

    /// As the options say; `None` if the exponent is out of range.
    pub fn popularity(&self) -> Option<Popularity> {
        match self.dist {
            Distribution::Uniform => Some(Popularity::uniform(self.keys)),
            Distribution::Zipf => {
                Some(self.zipf_exponent).filter(|s| s.is_finite()).and_then(|s| Popularity::zipf(self.keys, s))
            }
        }
    }

    /// What every connection needs; the counters' names begin with `prefix`.
    pub fn dial(&self, prefix: &str) -> Dial {
        Dial {
            ca: self.ca.clone(),
            token: self.token.clone(),
            names: Names { namespace: self.namespace.clone(), prefix: prefix.to_owned() },
            timeout: self.timeout,
            silence: self.silence,
        }
    }

    /// Requests that may be unanswered on one connection to this target.
    pub fn window(&self, target: &Endpoint) -> u32 {
        match target.door {
            Door::Quic => self.in_flight,
            Door::Http => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let all = [&["snowtide-loadtest", "--target", "http://127.0.0.1:8410"], arguments].concat();
        Cli::try_parse_from(all).map(|cli| cli.load)
    }

    #[test]
    fn defaults_fit_together() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.check(), Ok(()));
        assert_eq!(args.window(&args.targets[0]), 1);
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_a_sentence() {
        for (arguments, word) in [
            (&["--target", "quic://127.0.0.1:7410"][..], "--ca"),
            (&["--duration", "0s"], "--duration"),
            (&["--turns", "0s"], "--turns"),
            (&["--target", "quic://127.0.0.1:7410", "--ca", "ca.pem", "--mix", "0:1:0:1"], "HTTP"),
            (&["--timeout", "0s"], "--timeout"),
            (&["--celebrity", "1.5"], "--celebrity"),
            (&["--rate", "max", "--arrivals", "poisson"], "--arrivals"),
            (&["--mix", "1:0:0", "--threshold", "id.p99<5ms"], "kind id"),
            (&["--dist", "zipf", "--zipf-exponent=-1"], "--zipf-exponent"),
            (&["--dist", "zipf", "--zipf-exponent", "inf"], "--zipf-exponent"),
        ] {
            assert!(parse(arguments).unwrap().check().unwrap_err().contains(word), "{arguments:?}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_the_parser() {
        for arguments in [
            ["--batch", "0"],
            ["--batch", "10001"],
            ["--connections", "0"],
            ["--keys", "0"],
            ["--target", "x"],
            ["--threshold", "p99"],
        ] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
    }
}
