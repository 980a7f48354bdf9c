//! What stands behind this door: whoever decides on limits.

use snowtide_protocol::Code;
use snowtide_protocol::limit::{Decision, Numbers};

use crate::api::Refused;
use crate::api::bearer::Grant;
use crate::api::gate::Decider;
use crate::limiter::Checks;

/// Who decides.
pub(super) trait Decides: Send + Sync + 'static {
    /// Refuses a caller who may not ask, and everybody while nothing is decided.
    fn admit(&self, grant: &Grant) -> Result<(), Refused>;

    /// Decides on all of a request, and charges each for itself. The answers are in order; where one of them cannot be
    /// given, there is none, though others may have been charged.
    fn decide_all(&self, asked: &[Asked<'_>]) -> Result<Vec<Decision>, Refused>;
}

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// By what.
    pub(super) by: By<'a>,
    /// The key under it.
    pub(super) key: &'a [u8],
    /// Zero looks.
    pub(super) cost: u64,
}

/// By what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By<'a> {
    /// The policy of this name.
    Policy(&'a str),
    /// Numbers that came with the request.
    Given(Numbers),
}

impl Decides for Decider {
    fn admit(&self, grant: &Grant) -> Result<(), Refused> {
        Decider::admit(self, grant)
    }

    fn decide_all(&self, asked: &[Asked<'_>]) -> Result<Vec<Decision>, Refused> {
        let mut checks = Checks::default();
        for Asked { by, key, cost } in asked {
            let chosen = match by {
                By::Policy(name) => self.policy(name).map_err(between)?,
                By::Given(numbers) => self.given(*numbers)?,
            };
            self.ask_of(&mut checks, &chosen, key, *cost);
        }
        let mut decided = vec![None; asked.len()];
        self.decide(&mut checks, |at, answer| {
            if let Some(place) = decided.get_mut(at) {
                *place = Some(answer.map_err(Refused::from));
            }
        })?;
        decided.into_iter().map(|answer| answer.unwrap_or_else(|| Err(Refused::miscounted()))).collect()
    }
}

/// Descriptors name policies that there are, but for the moment in which both are replaced.
fn between(refused: Refused) -> Refused {
    match refused.code {
        Code::UnknownPolicy => Refused::new(Code::Overloaded, "policies are being replaced; retry"),
        _ => refused,
    }
}
