//! Decisions on what descriptors meet.
//!
//! The protocol counts what is refused, too: whoever asks for more than is left has used up what was left. The law charges
//! only what it admits, so what is left is charged then. That is how Envoy counts what it knows only afterwards, such as the
//! tokens of a language model: it looks before (zero hits), and charges what there was behind.

use snowtide_protocol::limit::Decision;

use super::claim::{Claim, Limit};
use super::decides::{Asked, Decides};
use crate::api::Refused;

/// How a descriptor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) is_over: bool,
    /// Requests that could still be had here and now.
    pub(super) remaining: u64,
    /// Until more can be had; `None` where that never changes.
    pub(super) reset_ms: Option<u64>,
}

/// Decides on all claims that are limited; the others have no verdict.
pub(super) fn verdicts(decides: &impl Decides, claims: &[Claim<'_>]) -> Result<Vec<Option<Verdict>>, Refused> {
    let mut verdicts: Vec<_> = claims.iter().map(|claim| counted(claim).is_none().then(|| banned(claim))).collect();
    let counted: Vec<_> = claims.iter().filter_map(counted).collect();
    // What can never be had is not asked for.
    let first: Vec<_> =
        counted.iter().map(|limit| asked(limit, if can_never_be(limit) { 0 } else { limit.cost })).collect();
    let decisions = decide(decides, &first)?;
    let rest = |(limit, decision): (&&Limit<'_>, &Decision)| is_over(limit, decision) && decision.remaining > 0;
    let left = counted.iter().zip(&decisions).filter(|pair| rest((pair.0, pair.1)));
    let left: Vec<_> = left.map(|(limit, decision)| asked(limit, decision.remaining)).collect();
    // Somebody else may have it by now, which is as good.
    decide(decides, &left)?;
    let mut decided = counted.iter().zip(&decisions).map(|(limit, decision)| verdict(limit, decision));
    Ok(verdicts.iter_mut().map(|verdict| verdict.take().unwrap_or_else(|| decided.next())).collect())
}

/// What has to be counted of a claim.
fn counted<'c, 'a>(claim: &'c Claim<'a>) -> Option<&'c Limit<'a>> {
    match claim {
        Claim::Limited(limit) if limit.requests > 0 => Some(limit),
        _ => None,
    }
}

/// Of what is not counted: nothing of a limit of zero can be had.
fn banned(claim: &Claim<'_>) -> Option<Verdict> {
    matches!(claim, Claim::Limited(_)).then_some(Verdict { is_over: true, remaining: 0, reset_ms: None })
}

fn asked<'l>(limit: &'l Limit<'_>, cost: u64) -> Asked<'l> {
    Asked { by: limit.by, key: &limit.key, cost }
}

fn can_never_be(limit: &Limit<'_>) -> bool {
    limit.cost > limit.requests.into()
}

fn decide(decides: &impl Decides, asked: &[Asked<'_>]) -> Result<Vec<Decision>, Refused> {
    if asked.is_empty() { Ok(Vec::new()) } else { decides.decide_all(asked) }
}

fn is_over(limit: &Limit<'_>, decision: &Decision) -> bool {
    // A look is told that nothing is left, or else whoever charges behind would never be refused.
    !decision.admitted || can_never_be(limit) || (limit.cost == 0 && decision.remaining == 0)
}

fn verdict(limit: &Limit<'_>, decision: &Decision) -> Verdict {
    let is_over = is_over(limit, decision);
    let reset_ms = if decision.retry_after_ms > 0 { decision.retry_after_ms } else { decision.reset_ms };
    Verdict { is_over, remaining: if is_over { 0 } else { decision.remaining }, reset_ms: Some(reset_ms) }
}
