//! The descriptors of all domains, and what a request meets there.

use std::collections::BTreeMap;

use super::pattern::Pattern;
use super::rule::{Rule, push};

/// All domains, with the rules of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    pub(super) outermost: BTreeMap<String, Level>,
    pub(super) rules: Vec<Rule>,
}

/// Descriptors beside each other, by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Level(pub(super) BTreeMap<String, OfKey>);

/// Descriptors of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfKey {
    pub(super) exact: BTreeMap<String, Descriptor>,
    /// In the order of the file.
    pub(super) patterns: Vec<(String, Pattern, Descriptor)>,
    pub(super) any: Option<Box<Descriptor>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Its place among the rules.
    pub(super) rule: Option<usize>,
    /// Values that fit its pattern are counted together.
    pub(super) is_shared: bool,
    pub(super) within: Level,
}

/// What a list of entries meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met<'a> {
    /// There is no such domain.
    NoDomain,
    /// No rate limit.
    Nothing,
    /// One, and the key that is counted under its policy.
    Rule(&'a Rule, Vec<u8>),
}

impl Domains {
    /// Every rate limit there is, in the order of the files.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether there is no domain at all.
    pub fn is_empty(&self) -> bool {
        self.outermost.is_empty()
    }

    /// Whether there is a domain of this name.
    pub fn has(&self, domain: &str) -> bool {
        self.outermost.contains_key(domain)
    }

    /// What these entries meet, each a key with a value.
    pub fn meet<'e>(&self, domain: &str, entries: impl IntoIterator<Item = (&'e str, &'e str)>) -> Met<'_> {
        let Some(mut level) = self.outermost.get(domain) else { return Met::NoDomain };
        let (mut last, mut key) = (None, Vec::new());
        for (name, value) in entries {
            let Some(descriptor) = level.0.get(name).and_then(|of_key| of_key.choose(value)) else {
                return Met::Nothing;
            };
            push(&mut key, if descriptor.is_shared { "" } else { value });
            level = &descriptor.within;
            last = descriptor.rule;
        }
        last.and_then(|rule| self.rules.get(rule)).map_or(Met::Nothing, |rule| Met::Rule(rule, key))
    }
}

impl OfKey {
    fn choose(&self, value: &str) -> Option<&Descriptor> {
        let fitting = || self.patterns.iter().find(|(_, pattern, _)| pattern.fits(value)).map(|(.., chosen)| chosen);
        self.exact.get(value).or_else(fitting).or(self.any.as_deref())
    }
}
