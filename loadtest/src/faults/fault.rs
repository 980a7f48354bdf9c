//! What is done to a region and when: `kill eu-west at 3s for 4s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The node ends at once, as by kill -9; then it is started again.
    Kill,
    /// The node stands still, as by SIGSTOP; then it goes on.
    Pause,
    /// Nothing passes between this region and the others; then it does again. Clients reach it all the while.
    Cut,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is done.
    pub kind: FaultKind,
    /// To whom.
    pub region: String,
    /// How long after the beginning of the measured part.
    pub at: Duration,
    /// Until it is made good.
    pub lasts: Duration,
}

/// No fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write kill, pause or cut, a region, when and for how long, such as `kill eu-west at 3s for 4s`")]
pub struct NotAFault;

impl FromStr for Fault {
    type Err = NotAFault;

    fn from_str(text: &str) -> Result<Self, NotAFault> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [kind, region, "at", at, "for", lasts] = words[..] else { return Err(NotAFault) };
        let kind = match kind {
            "kill" => FaultKind::Kill,
            "pause" => FaultKind::Pause,
            "cut" => FaultKind::Cut,
            _ => return Err(NotAFault),
        };
        let time = |text| humantime::parse_duration(text).map_err(|_| NotAFault);
        Ok(Self { kind, region: region.to_owned(), at: time(at)?, lasts: time(lasts)? })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.order(false))
    }
}

impl Fault {
    /// The order to the cluster that does it, or that makes it good.
    pub fn order(&self, ends: bool) -> String {
        let word = match (self.kind, ends) {
            (FaultKind::Kill, false) => "kill",
            (FaultKind::Kill, true) => "start",
            (FaultKind::Pause, false) => "pause",
            (FaultKind::Pause, true) => "resume",
            (FaultKind::Cut, false) => "cut",
            (FaultKind::Cut, true) => "heal",
        };
        format!("{word} {}", self.region)
    }

    /// When it is made good, after the beginning of the measured part.
    pub fn until(&self) -> Duration {
        self.at.saturating_add(self.lasts)
    }
}

/// One order to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// After the beginning of the measured part.
    pub at: Duration,
    /// The position of its fault.
    pub fault: usize,
    /// It is the fault's end.
    pub ends: bool,
}

/// All faults as steps, ascending by time.
pub fn steps(faults: &[Fault]) -> Vec<Step> {
    let both = |(fault, each): (usize, &Fault)| {
        [Step { at: each.at, fault, ends: false }, Step { at: each.until(), fault, ends: true }]
    };
    let mut steps: Vec<Step> = faults.iter().enumerate().flat_map(both).collect();
    steps.sort_unstable();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_sentence() {
        let fault: Fault = "kill eu-west at 3s for 1500ms".parse().unwrap();
        assert_eq!((fault.kind, fault.region.as_str()), (FaultKind::Kill, "eu-west"));
        assert_eq!((fault.at, fault.until()), (Duration::from_secs(3), Duration::from_millis(4_500)));
        for text in ["", "kill eu-west", "burn eu-west at 1s for 1s", "kill eu-west at 1 for 1s", "kill at 1s for 1s"] {
            assert_eq!(text.parse::<Fault>(), Err(NotAFault), "{text}");
        }
    }

    #[test]
    fn faults_may_overlap() {
        let faults = ["kill a at 1s for 4s", "cut b at 2s for 1s"].map(|text| text.parse().unwrap());
        let order: Vec<_> = steps(&faults).into_iter().map(|step| (step.fault, step.ends)).collect();
        assert_eq!(order, [(0, false), (1, false), (1, true), (0, true)]);
    }
}
