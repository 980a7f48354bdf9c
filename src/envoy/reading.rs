//! From files to the tree: every rule of the format, and what is refused.

use std::collections::BTreeSet;
use std::fmt;

use super::bounds::{DEPTH_MAX, DESCRIPTORS_MAX, FILE_BYTES_MAX, PATTERNS_MAX, TEXT_BYTES_MAX};
use super::document::{Descriptor as Written, Document, RateLimit};
use super::fault::Fault;
use super::pattern::{Pattern, WILDCARD};
use super::rule::{Rate, Rule, policy_name};
use super::tree::{Descriptor, Domains, Level, OfKey};
use super::unit::Unit;
use crate::limits::{Algorithm, POLICIES_MAX, PolicyError, WINDOW_MAX_MS};

impl Domains {
    /// Reads files, each with its name; refuses all of them if one cannot be followed.
    pub fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Fault> {
        let mut reading = Reading::default();
        for (file, text) in files {
            reading.file(file, text).map_err(|(at, what)| Fault { file: file.to_owned(), at, what })?;
        }
        Ok(reading.domains)
    }
}

/// Where in the document, and what is wrong.
type Wrong = (String, String);

fn wrong<T>(at: impl fmt::Display, what: impl fmt::Display) -> Result<T, Wrong> {
    Err((at.to_string(), what.to_string()))
}

/// What has been read.
#[derive(Default)]
struct Reading {
    domains: Domains,
    descriptors: usize,
    policies: BTreeSet<String>,
}

/// The keys and values around a descriptor, its own last.
type Path<'a> = Vec<(&'a str, Option<&'a str>)>;

impl Reading {
    fn file(&mut self, file: &str, text: &str) -> Result<(), Wrong> {
        if text.len() > FILE_BYTES_MAX {
            return wrong("", format_args!("a file has {FILE_BYTES_MAX} bytes at most: share its domain's limits out"));
        }
        let document = Document::parse(file, text).map_err(|fault| (fault.at, fault.what))?;
        let domain = text_of("domain", document.domain.as_deref())?;
        let Some(domain) = domain else { return wrong("domain", "missing: every file has one domain") };
        if self.domains.has(domain) {
            return wrong("domain", format_args!("{domain:?} has a file already: put all of a domain into one"));
        }
        let earlier = self.domains.rules.len();
        let level = self.level(domain, "descriptors", document.descriptors.as_deref(), &mut Path::new())?;
        check_replaced(self.domains.rules.get(earlier..).unwrap_or_default())?;
        self.domains.outermost.insert(domain.to_owned(), level);
        Ok(())
    }

    fn level<'a>(
        &mut self,
        domain: &str,
        at: &str,
        written: Option<&'a [Written]>,
        path: &mut Path<'a>,
    ) -> Result<Level, Wrong> {
        let mut level = Level::default();
        let written = written.unwrap_or_default();
        if !written.is_empty() && path.len() >= DEPTH_MAX {
            return wrong(at, format_args!("descriptors are {DEPTH_MAX} deep at most"));
        }
        for (index, written) in written.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let Some(key) = text_of(&format!("{at}.key"), written.key.as_deref())? else {
                return wrong(at, "a descriptor has a key");
            };
            let value = text_of(&format!("{at}.value"), written.value.as_deref())?;
            if key.contains(WILDCARD) {
                return wrong(format_args!("{at}.key"), format_args!("{key:?}: only values may have a {WILDCARD:?}"));
            }
            path.push((key, value));
            let descriptor = self.descriptor(domain, &at, written, path)?;
            path.pop();
            insert(level.0.entry(key.to_owned()).or_default(), &at, (key, value), descriptor)?;
        }
        Ok(level)
    }

    fn descriptor<'a>(
        &mut self,
        domain: &str,
        at: &str,
        written: &'a Written,
        path: &mut Path<'a>,
    ) -> Result<Descriptor, Wrong> {
        self.descriptors += 1;
        if self.descriptors > DESCRIPTORS_MAX {
            return wrong(at, format_args!("all files together have {DESCRIPTORS_MAX} descriptors at most"));
        }
        refuse_unsupported(at, written)?;
        let rule = match &written.rate_limit {
            Some(limit) => Some(self.rule(domain, at, (written, limit), path)?),
            None => None,
        };
        let within = format!("{at}.descriptors");
        let within = self.level(domain, &within, written.descriptors.as_deref(), path)?;
        Ok(Descriptor { rule, is_shared: written.share_threshold, within })
    }

    /// The place of a new rule.
    fn rule(
        &mut self,
        domain: &str,
        at: &str,
        (written, limit): (&Written, &RateLimit),
        path: &Path<'_>,
    ) -> Result<usize, Wrong> {
        let at = format!("{at}.rate_limit");
        let name = text_of(&format!("{at}.name"), limit.name.as_deref())?.unwrap_or_default().to_owned();
        let rule = Rule {
            policy: policy_name(domain, path),
            rate: rate(&at, limit)?,
            replaces: replaced(&at, limit, &name)?,
            name,
            is_shadow: written.shadow_mode,
            is_quota: written.quota_mode,
        };
        self.check(&at, &rule)?;
        self.domains.rules.push(rule);
        Ok(self.domains.rules.len() - 1)
    }

    fn check(&mut self, at: &str, rule: &Rule) -> Result<(), Wrong> {
        let Some(policy) = rule.policy(Algorithm::Fixed) else { return Ok(()) };
        match policy.check() {
            // Which nodes decide is not known here.
            Ok(()) | Err(PolicyError::Shares) => {}
            Err(PolicyError::Window) => {
                let days = WINDOW_MAX_MS / Unit::Day.ms();
                let what = format_args!("limits are counted over {days} days at most; give a rate per day or week");
                return wrong(format_args!("{at}.unit"), what);
            }
            Err(error) => return wrong(at, error),
        }
        if self.policies.len() >= POLICIES_MAX {
            return wrong(at, format_args!("all files together have {POLICIES_MAX} rate limits at most"));
        }
        if !self.policies.insert(rule.policy.clone()) {
            return wrong(at, format_args!("another rate limit would have the same name, {}", rule.policy));
        }
        Ok(())
    }
}

/// A rate limit replaces others of its own domain: no request asks two.
fn check_replaced(rules: &[Rule]) -> Result<(), Wrong> {
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    match rules.iter().flat_map(|rule| &rule.replaces).find(|name| !names.contains(name.as_str())) {
        Some(name) => wrong("replaces", format_args!("no rate limit of this file has the name {name:?}")),
        None => Ok(()),
    }
}

/// Puts a descriptor beside the others of its key.
fn insert(
    of_key: &mut OfKey,
    at: &str,
    (key, value): (&str, Option<&str>),
    descriptor: Descriptor,
) -> Result<(), Wrong> {
    let is_new = match value.map(|value| (value, Pattern::parse(value))) {
        None => of_key.any.replace(Box::new(descriptor)).is_none(),
        Some((value, None)) => of_key.exact.insert(value.to_owned(), descriptor).is_none(),
        Some((value, Some(pattern))) => {
            let is_new = of_key.patterns.iter().all(|(other, ..)| other != value);
            of_key.patterns.push((value.to_owned(), pattern, descriptor));
            is_new
        }
    };
    let value = value.map_or_else(|| "no value".to_owned(), |value| format!("the value {value:?}"));
    if !is_new {
        return wrong(at, format_args!("another descriptor beside it has the key {key:?} and {value}, too"));
    }
    if of_key.patterns.len() > PATTERNS_MAX {
        return wrong(at, format_args!("a key has {PATTERNS_MAX} values with {WILDCARD:?} beside each other at most"));
    }
    Ok(())
}

/// What the reference knows and this node does not, and what would have no effect.
fn refuse_unsupported(at: &str, written: &Written) -> Result<(), Wrong> {
    let of_metrics = "metrics here never carry values of descriptors; take this line out";
    let idle = "has no effect without a rate_limit beside it; write it where the rate_limit is";
    let has_pattern = written.value.as_deref().is_some_and(|value| value.contains(WILDCARD));
    let refused = [
        (written.detailed_metric, "detailed_metric", of_metrics),
        (written.value_to_metric, "value_to_metric", of_metrics),
        (written.metadata.is_some(), "metadata", "answers here carry no metadata; take it out"),
        (written.shadow_mode && written.rate_limit.is_none(), "shadow_mode", idle),
        (written.quota_mode && written.rate_limit.is_none(), "quota_mode", idle),
        (
            written.share_threshold && !has_pattern,
            "share_threshold",
            "only values that have a '*' are counted together",
        ),
    ];
    match refused.iter().find(|(is_there, ..)| *is_there) {
        Some((_, key, what)) => wrong(format_args!("{at}.{key}"), what),
        None => Ok(()),
    }
}

fn rate(at: &str, limit: &RateLimit) -> Result<Rate, Wrong> {
    if limit.unlimited {
        let given = [("unit", limit.unit.is_some()), ("requests_per_unit", limit.requests_per_unit.is_some())];
        return match given.iter().find(|(_, is_given)| *is_given) {
            Some((key, _)) => wrong(format_args!("{at}.{key}"), "what is unlimited has none; take one of them out"),
            None => Ok(Rate::Unlimited),
        };
    }
    let Some(requests) = limit.requests_per_unit else {
        return wrong(at, "give requests_per_unit, 0 to refuse all requests, or unlimited: true");
    };
    match limit.unit.as_deref().map(|unit| (unit, Unit::parse(unit))) {
        Some((_, Some(unit))) => Ok(Rate::Limited { requests, unit }),
        Some((unit, None)) => {
            let known = Unit::ALL.map(Unit::as_str).join(", ");
            wrong(format_args!("{at}.unit"), format_args!("{unit:?} is no unit of time: {known}"))
        }
        None => wrong(at, "give a unit of time: second, minute, hour, day or week"),
    }
}

fn replaced(at: &str, limit: &RateLimit, own: &str) -> Result<Vec<String>, Wrong> {
    let mut names = Vec::new();
    for (index, replaced) in limit.replaces.iter().flatten().enumerate() {
        let at = format!("{at}.replaces[{index}]");
        match text_of(&format!("{at}.name"), replaced.name.as_deref())? {
            None => return wrong(at, "give the name of the rate limit that is replaced"),
            Some(name) if name == own => return wrong(at, "a rate limit does not replace itself"),
            Some(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// A text that is given: neither empty nor too long.
fn text_of<'a>(at: &str, text: Option<&'a str>) -> Result<Option<&'a str>, Wrong> {
    match text {
        Some("") => wrong(at, "empty: write something, or take it out"),
        Some(text) if text.len() > TEXT_BYTES_MAX => wrong(at, format_args!("it has {TEXT_BYTES_MAX} bytes at most")),
        text => Ok(text),
    }
}
