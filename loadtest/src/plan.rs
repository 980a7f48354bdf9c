//! What a run is asked: the options of a load, in groups.

mod limits;
mod network;
mod operations;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::ensure;

pub use limits::Limits;
pub use network::Network;
pub use operations::{Distribution, Operations};

use crate::keys::Kind;
use crate::schedule::{Arrivals, Rate};
use crate::threshold::Threshold;

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

  Decisions of a limit of 100 a second, ten times as many as it admits:
    snowtide-loadtest --ca certs/ca.pem --rate 3000 --mix limits=1 --keys 3 \\
      --limit gcra:100/1s:20 --target quic://127.0.0.1:7400 \\
      --target quic://127.0.0.1:7410 --target quic://127.0.0.1:7420

  What an ID over HTTP costs beside a request that does nothing, by turns:
    snowtide-loadtest --target http://127.0.0.1:8410 --rate max \\
      --mix 0:1:0:1 --turns 100ms

Latencies are counted from the time at which a request was meant to be sent, so a stall shows in everything behind it. \
    At the end every counter is read in every target and compared with what was acknowledged and what was attempted, and what a \
    limit admitted with what nodes may admit that do not know all of each other.

Exit codes:
   0  nothing was lost, invented, given twice or over a limit, and every
      --threshold was kept
   1  findings
   2  bad usage, or a target cannot be reached
  99  no findings, but a --threshold was crossed";

/// A load.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// A load by name or from a file: likes, views, inserts, gateway, or for a drill failover, limits and demo; or TOML whose keys are the
    /// names of these options. What is given beside it counts more.
    #[arg(long, value_name = "NAME|FILE")]
    pub scenario: Option<String>,

    /// Where it is sent.
    #[command(flatten, next_help_heading = "Where to send")]
    pub network: Network,

    /// How fast.
    #[command(flatten, next_help_heading = "How fast, and how long")]
    pub pace: Pace,

    /// What.
    #[command(flatten, next_help_heading = "What to send")]
    pub operations: Operations,

    /// Which decisions.
    #[command(flatten, next_help_heading = "Which decisions to ask")]
    pub limits: Limits,

    /// What must hold.
    #[command(flatten, next_help_heading = "What to check")]
    pub checks: Checks,

    /// How it is told.
    #[command(flatten, next_help_heading = "What to write")]
    pub output: Output,

    /// This process is one of --processes.
    #[arg(long, hide = true, value_name = "NUMBER/OF")]
    pub part: Option<Part>,

    /// All of these options as they were given, for further processes.
    #[arg(skip)]
    pub given: Vec<OsString>,
}

/// How fast a load is sent, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Pace {
    /// Operations a second over all targets, such as 500, 200k or 1.5M; `max` sends as fast as answers come back.
    #[arg(long, default_value = "1000")]
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
}

/// What must hold.
#[derive(Clone, Debug, clap::Args)]
pub struct Checks {
    /// A bound that the run must keep, such as increment.p99<5ms, increment@eu-west.max<1s, errors<0.1% or id.rate>10k;
    /// may be repeated. Metrics are p50, p99, p99.9 and so on, max, mean, rate and errors.
    #[arg(long = "threshold", value_name = "BOUND")]
    pub thresholds: Vec<Threshold>,

    /// How long to wait at the end for the regions to agree, counted anew whenever a target answers or a counter moves.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub agree_timeout: Duration,

    /// Separate runs of IDs to remember for finding duplicates, at up to 40 bytes each; needing more ends the run
    /// with a finding.
    #[arg(long, default_value_t = 8 << 20, value_name = "N")]
    pub id_runs_max: usize,
}

/// How a run is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Output {
    /// Write one page with charts here, for any browser; it needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write everything for programs here; `-` for standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write percentile files in the format of HdrHistogram here, one for each kind of operation and each target.
    #[arg(long, value_name = "DIR")]
    pub hgrm: Option<PathBuf>,

    /// Write the interval log of HdrHistogram here: a histogram of each slice of the run, kind and target.
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,

    /// No progress, no table: findings and the last line only.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Which part of the load a process sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    pub number: u32,
    /// Of so many.
    pub of: u32,
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let numbers = text.split_once('/').map(|(number, of)| (number.parse(), of.parse()));
        match numbers {
            Some((Ok(number), Ok(of))) if number < of => Ok(Self { number, of }),
            _ => Err("write NUMBER/OF"),
        }
    }
}

impl Plan {
    /// What one option alone cannot tell: a sentence if the options do not fit together.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { network, pace, operations, limits, checks, .. } = self;
        network.check()?;
        operations.check()?;
        limits.check()?;
        ensure!(
            pace.rate != Rate::Max || pace.arrivals == Arrivals::Constant,
            "--arrivals says when to send, and --rate max sends whenever an answer has come"
        );
        for (option, time) in [
            ("turns", operations.turns),
            ("duration", Some(pace.duration)),
            ("silence", Some(network.silence)),
            ("timeout", Some(network.timeout)),
        ] {
            ensure!(time.is_none_or(|time| !time.is_zero()), "--{option} must be longer than nothing");
        }
        let occurs = |kind: Kind| operations.mix.share(kind) > 0.0;
        ensure!(!(network.has_quic() && occurs(Kind::Live)), "--mix can ask whether a node lives over HTTP only");
        for kind in checks.thresholds.iter().filter_map(|threshold| threshold.kind) {
            ensure!(occurs(kind), "--threshold: by --mix there are no operations of kind {}", kind.name());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn parse(arguments: &[&str]) -> Result<Plan, clap::Error> {
        let all = [&["snowtide-loadtest", "--target", "http://127.0.0.1:8410"], arguments].concat();
        Cli::try_parse_from(all).map(|cli| cli.load)
    }

    #[test]
    fn defaults_fit_together() {
        let plan = parse(&[]).unwrap();
        plan.check().unwrap();
        assert_eq!(plan.network.window(&plan.network.targets[0]), 1);
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
            let error = parse(arguments).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(word), "{arguments:?}: {error}");
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

    #[test]
    fn a_part_is_one_of_several() {
        assert_eq!("1/3".parse(), Ok(Part { number: 1, of: 3 }));
        for text in ["3/3", "1", "-1/3", "a/b", ""] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }
}
