//! Which policy has which place among the rules, and where doors look it up.
//!
//! A policy keeps its place for as long as its keys are counted on. The place of one that is gone is given to another only
//! after all keys were swept, so no key is ever counted under a policy that is not its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::fingerprint::Fingerprint;
use super::given::{GIVEN_MAX, Given, GivenError, Template};
use super::policy::POLICIES_MAX;
use super::rule::{Place, PolicyId, Rule};
use super::rules::{Held, Rules};
use super::standing::View;

/// Places in all: enough for every policy to be replaced at once by others.
const PLACES_MAX: usize = 2 * (POLICIES_MAX + GIVEN_MAX);

/// Where doors look policies up, without a lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    names: HashMap<String, PolicyId>,
    given: HashMap<Given, PolicyId>,
    pub(super) template: Option<Template>,
}

#[derive(Debug, Default)]
pub(super) struct Register {
    pub(super) directory: Arc<Directory>,
    fingerprints: BTreeMap<Fingerprint, Place>,
    /// When policies that requests brought were taken in, in monotonic time.
    taken_ms: BTreeMap<Given, u64>,
    places: u16,
    serial: u32,
    free: Vec<Place>,
    /// Of policies that are gone; keys may still be there.
    retired: Vec<Place>,
    sweep: Option<Sweep>,
}

/// One pass through all keys, after which some places are free.
#[derive(Debug)]
struct Sweep {
    places: Vec<Place>,
    /// The shard, and the place in it.
    cursor: (u32, usize),
}

impl Directory {
    /// The policy that was declared under this name.
    pub(super) fn find(&self, name: &str) -> Option<PolicyId> {
        self.names.get(name).copied()
    }

    /// The policy that has these numbers.
    pub(super) fn given(&self, given: &Given) -> Option<PolicyId> {
        self.given.get(given).copied()
    }

    /// By what a policy is taken from a request, if there is room for so many more.
    pub(super) fn takes(&self, more: usize) -> Result<&Template, GivenError> {
        let template = self.template.as_ref().ok_or(GivenError::NotTaken)?;
        if self.given.len() + more <= template.policies_max.min(GIVEN_MAX) {
            Ok(template)
        } else {
            Err(GivenError::Full)
        }
    }

    /// How many came with requests.
    pub(super) fn given_len(&self) -> usize {
        self.given.len()
    }

    fn of(&self, rule: &Rule) -> Option<PolicyId> {
        rule.given.map_or_else(|| self.find(&rule.policy.name), |given| self.given(&given))
    }
}

impl Register {
    /// The policy whose keys count on under this rule.
    pub(super) fn continued<'a>(&self, rules: &'a Rules, rule: &Rule) -> Option<(Place, &'a Held)> {
        let place = self.directory.of(rule)?.place;
        rules.held(place).filter(|held| rule.continues(&held.rule)).map(|held| (place, held))
    }

    pub(super) fn by_fingerprint(&self, fingerprint: Fingerprint) -> Option<Place> {
        self.fingerprints.get(&fingerprint).copied()
    }

    /// Puts a rule at the place of the one that it continues, or else at a free one.
    pub(super) fn put(&mut self, rules: &mut Rules, rule: Rule, view: View, mono_ms: u64) -> Place {
        let continued = self.continued(rules, &rule).map(|(place, held)| (place, held.serial, held.rule.fingerprint));
        let (place, serial) = match continued {
            Some((place, serial, fingerprint)) => {
                self.fingerprints.remove(&fingerprint);
                (place, serial)
            }
            None => self.take_place(),
        };
        let (id, directory) = (PolicyId { place, serial }, Arc::make_mut(&mut self.directory));
        match rule.given {
            Some(given) => {
                directory.given.insert(given, id);
                self.taken_ms.entry(given).or_insert(mono_ms);
            }
            None => _ = directory.names.insert(rule.policy.name.clone(), id),
        }
        self.fingerprints.insert(rule.fingerprint, place);
        rules.put(place, Some(Held { rule: Arc::new(rule), view, serial }));
        place
    }

    /// A policy is gone.
    pub(super) fn retire(&mut self, rules: &mut Rules, place: Place) {
        let Some(held) = rules.held(place) else { return };
        let directory = Arc::make_mut(&mut self.directory);
        match held.rule.given {
            Some(given) => {
                directory.given.remove(&given);
                self.taken_ms.remove(&given);
            }
            None => _ = directory.names.remove(&held.rule.policy.name),
        }
        self.fingerprints.remove(&held.rule.fingerprint);
        rules.put(place, None);
        self.retired.push(place);
    }

    /// Since when a rule is here that a request brought, in monotonic time; zero if it was declared.
    pub(super) fn taken_ms(&self, rule: &Rule) -> u64 {
        rule.given.and_then(|given| self.taken_ms.get(&given)).copied().unwrap_or(0)
    }

    /// Whether there are not so many places more without a sweep.
    pub(super) fn is_short(&self, of: usize) -> bool {
        self.free.len() + PLACES_MAX.saturating_sub(self.places.into()) < of
    }

    fn take_place(&mut self) -> (Place, u32) {
        self.serial = self.serial.wrapping_add(1);
        let place = self.free.pop().unwrap_or_else(|| {
            self.places += 1;
            Place(self.places - 1)
        });
        (place, self.serial)
    }

    /// Where the sweep goes on. One begins if policies have gone since the last.
    pub(super) fn sweeps(&mut self) -> Option<(u32, usize)> {
        if self.sweep.is_none() && !self.retired.is_empty() {
            self.sweep = Some(Sweep { places: std::mem::take(&mut self.retired), cursor: (0, 0) });
        }
        self.sweep.as_ref().map(|sweep| sweep.cursor)
    }

    /// The sweep has come so far, or to its end; then these places are free.
    pub(super) fn swept(&mut self, next: Option<(u32, usize)>) -> Vec<Place> {
        match (next, &mut self.sweep) {
            (Some(next), Some(sweep)) => {
                sweep.cursor = next;
                Vec::new()
            }
            _ => {
                let places = self.sweep.take().map_or_else(Vec::new, |sweep| sweep.places);
                self.free.extend(&places);
                places
            }
        }
    }
}
