//! Decisions of limits as the JSON API wants and tells them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use snowtide_protocol::Code;
use snowtide_protocol::json::{JsonCheck, JsonItem, JsonPolicy};
use snowtide_protocol::limit::{Decision, Numbers};
use snowtide_protocol::wire::WirePolicy;

use super::{json, problem};
use crate::answers::undecided;
use crate::error::Error;
use crate::limits::{Check, LimitBatch, Policy};

/// Stands in the path for the policy in the body.
const GIVEN: &str = "_";

/// The body of one check.
#[derive(Serialize)]
struct OneBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Numbers>,
    cost: u64,
}

/// The body of many.
#[derive(Serialize)]
struct SeveralBody<'a> {
    operations: Vec<JsonItem<'a>>,
}

#[derive(Deserialize)]
struct DecisionBody {
    allowed: bool,
    limit: u64,
    remaining: u64,
    reset_ms: u64,
    retry_after_ms: u64,
}

#[derive(Deserialize)]
struct ResultsBody<'a> {
    #[serde(borrow)]
    results: Vec<ResultBody<'a>>,
}

/// A decision, or why there is none.
#[derive(Deserialize)]
#[serde(untagged)]
enum ResultBody<'a> {
    Decided(DecisionBody),
    Refused {
        status: u16,
        #[serde(borrow)]
        code: Option<Cow<'a, str>>,
    },
}

/// What stands in the path for a policy.
pub(super) fn name<'a>(Policy(policy): Policy<'a>) -> &'a str {
    match policy {
        WirePolicy::Named(name) => name,
        WirePolicy::Given(_) => GIVEN,
    }
}

/// What is posted for one check; nothing for one that the path says all about: a look at a policy that has a name.
pub(super) fn one(check: Check<'_>) -> Result<Option<Vec<u8>>, Error> {
    let policy = match check.policy.0 {
        WirePolicy::Named(_) if check.cost == 0 => return Ok(None),
        WirePolicy::Named(_) => None,
        WirePolicy::Given(numbers) => Some(numbers),
    };
    written(&OneBody { policy, cost: check.cost }).map(Some)
}

/// What is posted for many.
pub(super) fn several(batch: &LimitBatch) -> Result<Vec<u8>, Error> {
    let operation = |Check { policy, key, cost }| {
        let policy = match policy {
            Policy(WirePolicy::Named(name)) => JsonPolicy::Named(name.into()),
            Policy(WirePolicy::Given(numbers)) => JsonPolicy::Given(numbers),
        };
        JsonItem::Check(JsonCheck { policy, key: key.into(), cost })
    };
    written(&SeveralBody { operations: batch.checks().map(operation).collect() })
}

/// The answer to one check.
pub(super) fn decision(body: &[u8]) -> Result<Decision, Error> {
    json::read(body).map(DecisionBody::decision)
}

/// The answer to many.
pub(super) fn decisions(body: &[u8], count: usize) -> Result<Vec<Result<Decision, Code>>, Error> {
    let ResultsBody { results } = json::read(body)?;
    if results.len() != count {
        return Err(undecided(count));
    }
    let decided = results.into_iter().map(|result| match result {
        ResultBody::Decided(body) => Ok(Ok(body.decision())),
        ResultBody::Refused { status: 200, .. } => Err(json::odd("a result without a decision")),
        ResultBody::Refused { status, code } => Ok(Err(problem::code(status, code.as_deref()))),
    });
    decided.collect()
}

fn written(body: &impl Serialize) -> Result<Vec<u8>, Error> {
    // Nothing of it was sent.
    serde_json::to_vec(body).map_err(|error| Error::Disconnected { reason: error.to_string() })
}

impl DecisionBody {
    fn decision(self) -> Decision {
        let Self { allowed: admitted, limit, remaining, reset_ms, retry_after_ms } = self;
        Decision { admitted, limit, remaining, reset_ms, retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::limit::Algorithm;

    use super::*;

    const GCRA: Numbers = Numbers { algorithm: Algorithm::Gcra, limit: 30, window_ms: 60_000, burst: 16 };

    fn body(policy: Policy<'_>, cost: u64) -> Option<String> {
        one(Check { policy, key: "k", cost }).unwrap().map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn a_check_says_what_its_path_does_not() {
        assert_eq!(body("default".into(), 3).unwrap(), r#"{"cost":3}"#);
        assert_eq!(body("default".into(), 0), None);
        let given = r#"{"policy":{"algorithm":"gcra","limit":30,"window_ms":60000,"burst":16},"cost":0}"#;
        assert_eq!(body(GCRA.into(), 0).unwrap(), given);
        // Only a level has a burst.
        let fixed = Numbers { algorithm: Algorithm::Fixed, ..GCRA };
        assert!(!body(fixed.into(), 1).unwrap().contains("burst"));
        assert_eq!((name("default".into()), name(GCRA.into())), ("default", "_"));
    }

    #[test]
    fn a_batch_has_its_checks_in_order() {
        let mut batch = LimitBatch::new();
        batch.check("default", "a\"b", 2).unwrap().peek(GCRA, "c").unwrap();
        let expected = r#"{"operations":[{"limit":{"policy":"default","key":"a\"b","cost":2}},{"limit":{"policy":{"algorithm":"gcra","limit":30,"window_ms":60000,"burst":16},"key":"c","cost":0}}]}"#;
        assert_eq!(String::from_utf8(several(&batch).unwrap()).unwrap(), expected);
    }

    #[test]
    fn what_is_decided_and_what_is_not_are_told_apart() {
        let one = r#"{"allowed":false,"limit":100,"remaining":7,"reset_ms":42000,"retry_after_ms":12}"#;
        let denied = Decision { admitted: false, limit: 100, remaining: 7, reset_ms: 42_000, retry_after_ms: 12 };
        assert_eq!(decision(one.as_bytes()), Ok(denied));
        let several = r#"{"results":[{"status":200,"allowed":false,"limit":100,"remaining":7,"reset_ms":42000,
            "retry_after_ms":12},{"status":404,"code":"unknown_policy","detail":"x"}]}"#;
        assert_eq!(decisions(several.as_bytes(), 2), Ok(vec![Ok(denied), Err(Code::UnknownPolicy)]));
        assert!(decisions(several.as_bytes(), 1).is_err(), "another number of them");
        for odd in ["{}", r#"{"results":[{"status":200}]}"#, ""] {
            assert!(matches!(decisions(odd.as_bytes(), 1), Err(Error::Protocol(_))), "{odd}");
        }
    }
}
