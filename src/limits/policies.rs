//! Which policies a node has: those that were declared, and those that came with requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::given::{GIVEN_MAX, Given, GivenError, Template};
use super::message::{Brought, Message, Violation};
use super::policy::{POLICIES_MAX, Policy, PolicyError};
use super::rule::{Place, PolicyId, Rule};
use super::rules::Rules;
use super::sharing::Sharing;
use super::standing::View;
use super::table::Table;
use super::timeline::Moment;

use crate::identity::WorkerId;

/// Entries that one piece of a sweep looks at.
const PIECE: usize = 1_024;
/// Pieces in a tick.
const PIECES: usize = 8;
/// How often a node looks for policies that nobody uses, and reminds peers of those that they lack.
const LOOK_MS: u64 = 5_000;

impl Sharing {
    /// Takes other policies from now on. Keys of those that count as before are kept.
    pub(super) fn replace(
        &mut self,
        table: &Table,
        policies: Vec<Policy>,
        template: Option<Template>,
        mono_ms: u64,
    ) -> Result<(), PolicyError> {
        let new = self.wanted(policies, template.as_ref())?;
        self.make_places(table, new.len());
        let mut rules = Rules::clone(&self.rules);
        let continued = new.iter().filter_map(|rule| self.register.continued(&rules, rule)).map(|(place, _)| place);
        let continued: BTreeSet<Place> = continued.collect();
        let gone = self.rules.iter().map(|(place, _)| place).filter(|place| !continued.contains(place));
        gone.for_each(|place| self.register.retire(&mut rules, place));
        new.into_iter().for_each(|rule| self.put(&mut rules, rule, mono_ms));
        Arc::make_mut(&mut self.register.directory).template = template;
        self.arrange(table, rules);
        self.introduce_all();
        self.settle_at(table, mono_ms);
        Ok(())
    }

    /// The rules for these policies, and for those that requests have brought.
    fn wanted(&self, policies: Vec<Policy>, template: Option<&Template>) -> Result<Vec<Rule>, PolicyError> {
        if policies.len() > POLICIES_MAX {
            return Err(PolicyError::TooMany);
        }
        let names: BTreeSet<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
        if names.len() < policies.len() {
            return Err(PolicyError::Twice);
        }
        template.map_or(Ok(()), Template::check)?;
        let given = self.rules.iter().filter_map(|(_, held)| Some((held.rule.given?, template?)));
        let declared = policies.into_iter().map(|policy| Rule::new(policy, self.me.worker));
        declared.chain(given.map(|(given, template)| Rule::given(given, template, self.me.worker))).collect()
    }

    /// The policy of these numbers, which is taken in if the node does not have it.
    pub(super) fn give(&mut self, table: &Table, given: Given, mono_ms: u64) -> Result<PolicyId, GivenError> {
        if let Some(id) = self.register.directory.given(&given) {
            return Ok(id);
        }
        let rule = Rule::given(given, self.register.directory.takes(1)?, self.me.worker)?;
        self.take_in(table, vec![rule], mono_ms);
        self.register.directory.given(&given).ok_or(GivenError::Full)
    }

    /// A peer has policies that requests have brought. The node takes in those that it lacks, as far as there is room: so
    /// all count together when the window is over, wherever requests go.
    pub(super) fn learn(
        &mut self,
        table: &Table,
        from: WorkerId,
        brought: &[Brought],
        mono_ms: u64,
    ) -> Result<(), Violation> {
        self.settle_at(table, mono_ms);
        let link = self.links.get_mut(&from).and_then(|link| link.incoming.as_mut()).ok_or(Violation::NotOpened)?;
        link.fingerprints.extend(brought.iter().map(|brought| brought.fingerprint));
        if brought.len() > GIVEN_MAX || link.fingerprints.len() > POLICIES_MAX + GIVEN_MAX {
            return Err(Violation::TooManyPolicies);
        }
        let directory = &self.register.directory;
        let lacking: BTreeSet<Given> = brought.iter().map(|brought| brought.given).collect();
        let lacking = lacking.into_iter().filter(|given| given.is_normal() && directory.given(given).is_none());
        let rules = (1..).zip(lacking).map_while(|(many, given)| Some((directory.takes(many).ok()?, given)));
        let rules = rules.filter_map(|(template, given)| Rule::given(given, template, self.me.worker).ok()).collect();
        self.take_in(table, rules, mono_ms);
        Ok(())
    }

    fn take_in(&mut self, table: &Table, new: Vec<Rule>, mono_ms: u64) {
        if !new.is_empty() {
            self.make_places(table, new.len());
            let brought = brought(&new);
            let mut rules = Rules::clone(&self.rules);
            new.into_iter().for_each(|rule| self.put(&mut rules, rule, mono_ms));
            self.arrange(table, rules);
            if self.began_ms.is_some() && !brought.is_empty() {
                self.send_all(&Message::Brought(brought));
            }
        }
        self.settle_at(table, mono_ms);
    }

    /// Puts a rule at its place. How the node stands is kept if nothing has changed.
    fn put(&mut self, rules: &mut Rules, rule: Rule, mono_ms: u64) {
        let now = self.timeline.at(mono_ms);
        let old = self.register.continued(rules, &rule).map(|(_, held)| (held.rule.fingerprint, held.view));
        let kept = old.filter(|(fingerprint, _)| *fingerprint == rule.fingerprint).map(|(_, view)| view);
        let epoch = old.map_or(0, |(_, view)| view.epoch);
        let begun =
            || now.map_or_else(View::default, |now| View::begin(&rule, rule.windows.number(now.unix_ms), epoch));
        let view = kept.unwrap_or_else(begun);
        let place = self.register.put(rules, rule, view, mono_ms);
        if kept.is_none() {
            self.name_alone(place, now);
        }
    }

    fn arrange(&mut self, table: &Table, rules: Rules) {
        self.rules = Arc::new(rules);
        table.arrange(&self.rules);
    }

    /// Makes sure that there are so many places, if it takes a look at every key.
    fn make_places(&mut self, table: &Table, many: usize) {
        while self.register.is_short(many) && self.sweep(table, usize::MAX) {}
    }

    /// Lets policies go that nobody has used for long, if there is not much room for others; takes out keys of those that
    /// are gone; and reminds peers of those that they lack.
    pub(super) fn tidy(&mut self, table: &Table, now: Moment) {
        if now.mono_ms >= self.look_due_ms {
            self.look_due_ms = now.mono_ms.saturating_add(LOOK_MS);
            self.retire_unused(table, now);
            self.remind(table, now);
        }
        let mut pieces = 0..PIECES;
        while pieces.next().is_some() && self.sweep(table, PIECE) {}
    }

    /// Goes on with a sweep, if there is one.
    fn sweep(&mut self, table: &Table, many: usize) -> bool {
        let Some(cursor) = self.register.sweeps() else { return false };
        let free = self.register.swept(table.sweep(cursor, many));
        free.into_iter().for_each(|place| self.telling.forget(place));
        true
    }

    fn retire_unused(&mut self, table: &Table, now: Moment) {
        let directory = &self.register.directory;
        let Some(template) = &directory.template else { return };
        let (held, most) = (directory.given_len(), template.policies_max.min(GIVEN_MAX));
        if held <= most - most / 8 {
            return;
        }
        let given = self.rules.iter().filter(|(_, held)| held.rule.given.is_some());
        let mut unused: Vec<(u64, Place)> = given
            .filter_map(|(place, held)| {
                let usage = table.usage(place);
                let used_ms = usage.decided_ms.max(usage.heard_ms).unwrap_or(0).max(self.register.taken_ms(&held.rule));
                let is_unused = now.mono_ms.saturating_sub(used_ms) >= held.rule.forgets_ms();
                is_unused.then_some((used_ms, place))
            })
            .collect();
        unused.sort_unstable();
        let goes = unused.into_iter().take(held.saturating_sub(most - most / 4));
        let goes: Vec<Place> = goes.map(|(_, place)| place).collect();
        if goes.is_empty() {
            return;
        }
        let mut rules = Rules::clone(&self.rules);
        goes.into_iter().for_each(|place| self.register.retire(&mut rules, place));
        self.arrange(table, rules);
        self.introduce_all();
    }

    /// Tells peers of policies that requests use here and that they do not have: they may have let them go, or had no room.
    fn remind(&mut self, table: &Table, now: Moment) {
        let told = self.rules.iter().filter(|(_, held)| held.rule.given.is_some() && held.rule.is_told());
        let is_used =
            |place| table.usage(place).decided_ms.is_some_and(|ms| now.mono_ms - ms.min(now.mono_ms) < LOOK_MS);
        let used: Vec<_> = told.filter(|(place, _)| is_used(*place)).map(|(_, held)| held.rule.clone()).collect();
        for (worker, link) in self.links.iter().filter(|(_, link)| link.is_open) {
            let Some(incoming) = &link.incoming else { continue };
            let lacks = used.iter().filter(|rule| !incoming.fingerprints.contains(&rule.fingerprint));
            let brought = brought(lacks.map(|rule| &**rule));
            if !brought.is_empty() {
                self.outbox.push_back((*worker, Message::Brought(brought)));
            }
        }
    }
}

/// What peers are told of these rules.
pub(super) fn brought<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Vec<Brought> {
    let told = rules.into_iter().filter(|rule| rule.is_told());
    told.filter_map(|rule| Some(Brought { fingerprint: rule.fingerprint, given: rule.given? })).collect()
}
