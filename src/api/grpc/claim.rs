//! What each descriptor of a request meets, before anything is decided.

use snowtide_protocol::Code;
use snowtide_protocol::limit::{Algorithm, Numbers};

use super::decides::By;
use super::live::InForce;
use super::messages::{Descriptor, Override, RateLimitRequest, UnitCode};
use crate::api::Refused;
use crate::envoy::{Met, Rate, Rule, Unit};
use crate::limits::{self, Policy, PolicyError};

/// Descriptors of one request.
const DESCRIPTORS_MAX: usize = 128;

/// What one descriptor meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim<'a> {
    /// No limit, or one that another replaces.
    Free,
    /// One that is never used up.
    Unlimited,
    /// One that may be.
    Limited(Limit<'a>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit<'a> {
    pub(super) by: By<'a>,
    pub(super) key: Vec<u8>,
    pub(super) cost: u64,
    /// In a unit; zero refuses everything.
    pub(super) requests: u32,
    pub(super) unit: Unit,
    /// What it is called in its file; empty without a name.
    pub(super) name: &'a str,
    pub(super) is_shadow: bool,
    pub(super) is_quota: bool,
}

/// What all of a request's descriptors meet, in their order.
pub(super) fn claims<'a>(in_force: &'a InForce, request: &RateLimitRequest) -> Result<Vec<Claim<'a>>, Refused> {
    if in_force.domains.is_empty() {
        return Err(Refused::new(Code::NotFound, "this node has no descriptors: set envoy.descriptors"));
    }
    if request.domain.is_empty() {
        return Err(invalid("the domain is empty"));
    }
    if !(1..=DESCRIPTORS_MAX).contains(&request.descriptors.len()) {
        return Err(invalid(&format!("a request has 1 to {DESCRIPTORS_MAX} descriptors")));
    }
    let met = request.descriptors.iter().map(|descriptor| meet(in_force, request, descriptor));
    let (mut claims, rules): (Vec<_>, Vec<_>) = met.collect::<Result<Vec<_>, Refused>>()?.into_iter().unzip();
    for name in rules.iter().flatten().flat_map(|rule| &rule.replaces) {
        let replaced = claims.iter_mut().filter(|claim| matches!(claim, Claim::Limited(limit) if limit.name == name));
        replaced.for_each(|claim| *claim = Claim::Free);
    }
    Ok(claims)
}

fn meet<'a>(
    in_force: &'a InForce,
    request: &RateLimitRequest,
    descriptor: &Descriptor,
) -> Result<(Claim<'a>, Option<&'a Rule>), Refused> {
    if descriptor.is_negative_hits {
        return Err(invalid("hits are not given back here: is_negative_hits must be false"));
    }
    let domains = &in_force.domains;
    let cost = descriptor.hits_addend.unwrap_or(u64::from(request.hits_addend).max(1));
    let entries = || descriptor.entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()));
    if let Some(given) = descriptor.limit.filter(|_| domains.has(&request.domain)) {
        let words = entries().flat_map(|(key, value)| [key, value]);
        let key = lengthened(std::iter::once(request.domain.as_str()).chain(words));
        return Ok((Claim::Limited(overriding((in_force.algorithm, given), key, cost)?), None));
    }
    let Met::Rule(rule, key) = domains.meet(&request.domain, entries()) else { return Ok((Claim::Free, None)) };
    let claim = match rule.rate {
        Rate::Unlimited => Claim::Unlimited,
        Rate::Limited { requests, unit } => Claim::Limited(Limit {
            by: By::Policy(&rule.policy),
            key,
            cost,
            requests,
            unit,
            name: &rule.name,
            is_shadow: rule.is_shadow,
            is_quota: rule.is_quota,
        }),
    };
    Ok((claim, Some(rule)))
}

/// Whether numbers that came with a request make a limit is found out here, once for all who decide.
fn overriding((algorithm, given): (Algorithm, Override), key: Vec<u8>, cost: u64) -> Result<Limit<'static>, Refused> {
    let requests = given.requests_per_unit;
    let unit = UnitCode::try_from(given.unit).ok().and_then(unit_of);
    let unit = unit.ok_or_else(|| invalid(&format!("a limit has no unit of number {}", given.unit)))?;
    let policy = Policy::new("given", limits::Algorithm::Fixed, u64::from(requests).max(1), unit.ms());
    match policy.check() {
        // Which nodes decide is not this door's affair.
        Ok(()) | Err(PolicyError::Shares) => {}
        Err(error) => return Err(invalid(&format!("a limit of {requests} in a {unit} cannot be: {error}"))),
    }
    let (limit, window_ms) = (requests.into(), unit.ms());
    let by = By::Given(Numbers { algorithm, limit, window_ms, burst: limit });
    Ok(Limit { by, key, cost, requests, unit, name: "", is_shadow: false, is_quota: false })
}

/// Each text behind its length, so that no two lists are the same bytes.
fn lengthened<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u8> {
    words.fold(Vec::new(), |mut bytes, word| {
        bytes.extend_from_slice(&u32::try_from(word.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(word.as_bytes());
        bytes
    })
}

fn unit_of(code: UnitCode) -> Option<Unit> {
    Unit::ALL.into_iter().find(|unit| code_of(*unit) == code)
}

/// As the protocol numbers it.
pub(super) fn code_of(unit: Unit) -> UnitCode {
    match unit {
        Unit::Second => UnitCode::Second,
        Unit::Minute => UnitCode::Minute,
        Unit::Hour => UnitCode::Hour,
        Unit::Day => UnitCode::Day,
        Unit::Week => UnitCode::Week,
        Unit::Month => UnitCode::Month,
        Unit::Year => UnitCode::Year,
    }
}

fn invalid(detail: &str) -> Refused {
    Refused::invalid(detail.to_owned())
}
