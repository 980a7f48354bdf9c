//! Decisions of limits, as every door asks for them: which policy is meant, who may ask, and in which words nothing is
//! decided.

use snowtide_protocol::limit::{Decision, Numbers};
use snowtide_protocol::{Code, key};
use tokio::sync::watch;

use super::{Refused, Stage};
use crate::api::Doors;
use crate::api::bearer::Grant;
use crate::config::Permission;
use crate::limiter::{Checks, Chosen, Limiter};
use crate::limits;

/// Refusals show so much of a name at most, and so many names.
const SHOWN_CHARS_MAX: usize = 64;
const SHOWN_NAMES_MAX: usize = 8;

/// Decides for a door; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::api) struct Decider {
    limiter: Limiter,
    stage: watch::Receiver<Stage>,
}

impl Decider {
    /// Of a node.
    pub(in crate::api) fn of(doors: &Doors) -> Self {
        Self::new(doors.limiter.clone(), doors.stage.clone())
    }

    pub(in crate::api) fn new(limiter: Limiter, stage: watch::Receiver<Stage>) -> Self {
        Self { limiter, stage }
    }

    /// Refuses a caller who may not ask limits, and everybody at a stage at which nothing is decided. Limits need no proof
    /// of the counters' history.
    pub(in crate::api) fn admit(&self, grant: &Grant) -> Result<(), Refused> {
        grant.require(Permission::Limits).map_err(|forbidden| Refused::from(&forbidden))?;
        self.stage.borrow().admit_minting()
    }

    /// The policy of this name, if this node decides by it.
    pub(in crate::api) fn policy<'a>(&self, name: &'a str) -> Result<Chosen<'a>, Refused> {
        let chosen = self.limiter.named(name).ok_or_else(|| self.unknown(name))?;
        match self.limiter.elsewhere(name) {
            Some(regions) => {
                let detail = format!("other regions decide by this policy: ask a node of {}", regions.join(" or "));
                Err(Refused { regions, ..Refused::new(Code::WrongRegion, detail) })
            }
            None => Ok(chosen),
        }
    }

    /// The policy that a request brings along.
    pub(in crate::api) fn given(&self, numbers: Numbers) -> Result<Chosen<'static>, Refused> {
        Ok(self.limiter.given(numbers)?)
    }

    /// Asks one decision more.
    pub(in crate::api) fn ask(
        &self,
        checks: &mut Checks,
        chosen: &Chosen<'_>,
        key: &str,
        cost: u64,
    ) -> Result<(), Refused> {
        key::check(key)?;
        self.ask_of(checks, chosen, key.as_bytes(), cost);
        Ok(())
    }

    /// The same of a key that no client has written.
    pub(in crate::api) fn ask_of(&self, checks: &mut Checks, chosen: &Chosen<'_>, key: &[u8], cost: u64) {
        self.limiter.ask(checks, chosen, key, cost);
    }

    /// Decides on all that is asked; `answer` is told the place of each.
    pub(in crate::api) fn decide(
        &self,
        checks: &mut Checks,
        answer: impl FnMut(usize, Result<Decision, limits::Refusal>),
    ) -> Result<(), Refused> {
        Ok(self.limiter.decide(checks, answer)?)
    }

    /// The same for one decision.
    pub(in crate::api) fn decide_one(&self, chosen: &Chosen<'_>, key: &str, cost: u64) -> Result<Decision, Refused> {
        let mut checks = Checks::default();
        self.ask(&mut checks, chosen, key, cost)?;
        let mut decided = None;
        self.decide(&mut checks, |_, answer| decided = Some(answer))?;
        Ok(decided.ok_or_else(Refused::miscounted)??)
    }

    /// All policies, and how each stands.
    pub(in crate::api) fn list(&self) -> Vec<limits::Listed> {
        self.limiter.list()
    }

    fn unknown(&self, name: &str) -> Refused {
        let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
        let declared = self.limiter.declared();
        let known: Vec<&str> = declared.keys().take(SHOWN_NAMES_MAX).map(String::as_str).collect();
        let more = if declared.len() > SHOWN_NAMES_MAX { ", …" } else { "" };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Refused::new(Code::UnknownPolicy, format!("there is no policy {shown:?}; this node has {known}{more}"))
    }
}
