//! All policies as one node decides by them, each at its place, with how it stands with the others.

use std::sync::Arc;

use super::rule::{Place, PolicyId, Rule};
use super::standing::View;

/// A rule at its place.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) rule: Arc<Rule>,
    pub(super) view: View,
    /// Another for each rule that the node ever had; the same for as long as keys are counted on.
    pub(super) serial: u32,
}

/// What shards look at.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    held: Vec<Option<Held>>,
}

impl Rules {
    /// The rule at a place, and how the node stands.
    pub(super) fn get(&self, place: Place) -> Option<(&Rule, &View)> {
        self.held(place).map(|held| (&*held.rule, &held.view))
    }

    /// The same of a policy, unless another has its place by now.
    pub(super) fn resolve(&self, id: PolicyId) -> Option<(&Rule, &View)> {
        self.held(id.place).filter(|held| held.serial == id.serial).map(|held| (&*held.rule, &held.view))
    }

    pub(super) fn held(&self, place: Place) -> Option<&Held> {
        self.held.get(usize::from(place.0)).and_then(Option::as_ref)
    }

    /// All rules, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Held)> {
        (0..).map(Place).zip(&self.held).filter_map(|(place, held)| Some((place, held.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Place, &mut Held)> {
        (0..).map(Place).zip(&mut self.held).filter_map(|(place, held)| Some((place, held.as_mut()?)))
    }

    pub(super) fn set_view(&mut self, place: Place, view: View) {
        if let Some(Some(held)) = self.held.get_mut(usize::from(place.0)) {
            held.view = view;
        }
    }

    /// Places, taken or not.
    pub(super) fn places(&self) -> usize {
        self.held.len()
    }

    /// Among how many the room is shared out: all policies that came with requests are one.
    pub(super) fn parts(&self) -> usize {
        let given = self.iter().filter(|(_, held)| held.rule.given.is_some()).count();
        self.iter().count() - given + usize::from(given > 0)
    }

    /// Puts a rule at a place, or leaves it empty.
    pub(super) fn put(&mut self, place: Place, held: Option<Held>) {
        let at = usize::from(place.0);
        if at >= self.held.len() {
            self.held.resize(at + 1, None);
        }
        if let Some(there) = self.held.get_mut(at) {
            *there = held;
        }
    }
}
