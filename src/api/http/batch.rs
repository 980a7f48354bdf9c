//! Batches over HTTP: increments and reads of counters, each with its own verdict.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use serde::{Deserialize, Serialize};
use snowtide_protocol::Code;
use snowtide_protocol::json::{JsonCheck, JsonItem, JsonOperation, JsonPolicy};
use snowtide_protocol::limit::Decision;
use snowtide_protocol::wire::BATCH_OPERATIONS_MAX;
use utoipa::ToSchema;

use crate::api::gate::{Decider, Plan, weave};
use crate::api::{Named, Refused};
use crate::engine::Applied;
use crate::limiter::Checks;
use crate::replica::Outcome;

use super::call::Call;
use super::failures::Failures;
use super::json;
use super::operations::BatchOperation;
use super::params;
use super::problem::Problem;
use super::receipt::{self, AckState, Acknowledged, CounterView};

/// A batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest<'a> {
    /// Applied in order.
    #[serde(borrow)]
    #[schema(max_items = 10_000, value_type = Vec<BatchOperation>)]
    operations: Vec<JsonItem<'a>>,
}

/// The answers to a batch.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchResults {
    /// One per operation, in order.
    results: Vec<BatchResult>,
    /// Only if `ack` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<AckState>,
    /// The regions that hold all increments of the batch durably; only if `ack` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["eu-west"]))]
    acknowledged_by: Option<Vec<String>>,
}

/// The answer to one operation of a batch.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchResult {
    /// It was carried out.
    Done {
        /// 200.
        #[schema(example = 200)]
        status: u16,
        /// The counter's value after it.
        #[serde(serialize_with = "json::decimal")]
        #[schema(value_type = String, pattern = r"^-?\d+$", example = "42")]
        value: i128,
        /// Only with `view=regions`.
        #[serde(skip_serializing_if = "Option::is_none")]
        view: Option<CounterView>,
    },
    /// A limit was decided.
    Decided {
        /// 200.
        #[schema(example = 200)]
        status: u16,
        /// Whether the cost was charged.
        allowed: bool,
        /// Units in a window; with `gcra` units at once.
        #[schema(example = 100)]
        limit: u64,
        /// Units that could still be had at this node now.
        #[schema(example = 99)]
        remaining: u64,
        /// Milliseconds until the key is as if unused.
        #[schema(example = 42_000)]
        reset_ms: u64,
        /// Milliseconds until it is worth while to try the same again; 0 if it was allowed.
        #[schema(example = 0)]
        retry_after_ms: u64,
    },
    /// It was not; the others are unaffected.
    Refused {
        /// What the status would be, had it been asked alone.
        #[schema(example = 422)]
        status: u16,
        /// The word for it.
        #[schema(example = "counter_overflow")]
        code: &'static str,
        /// A sentence for people.
        detail: Cow<'static, str>,
        /// With `wrong_region`: the regions that serve the namespace.
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        #[schema(value_type = Vec<String>, required = false)]
        regions: Arc<[String]>,
    },
}

#[utoipa::path(
    post, path = "/v1/batch", tag = "counters", operation_id = "batch",
    params(params::Acknowledgement, params::View, params::State, params::Repetition),
    request_body(content = BatchRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "Each operation has its own status", body = BatchResults, headers(
            ("Snowtide-Token" = String, description = "Covers everything that this answer shows; in a namespace \
                of durability `interval` only if the request brings a token or asks for `ack` or `view`"),
            ("Idempotent-Replayed" = String, description = "`true` if the request was carried out before"),
            ("Preference-Applied" = String, description = "`wait=N`, if a wait was asked for and granted"),
        )),
        (status = 202, description = "As 200, but the increments are not yet in as many regions as `ack` asked for: do not \
            send them again", body = BatchResults),
        Failures,
    ),
)]
/// Applies up to 10 000 operations in order.
///
/// A batch that is refused as a whole has changed nothing. It is one request, not a transaction: other regions may
/// see some of its increments before others.
pub(super) async fn batch(mut call: Call) -> Result<Response<Body>, Problem> {
    call.door.gate.admit_counting()?;
    let body = call.body().await?;
    let mut checks = Checks::default();
    let plan = plan(&json::parse(&body)?, &call, &mut checks);
    let Plan { operations, left_out } = plan.map_err(|refused| call.turned_away(refused))?;
    drop(body);
    let Applied { outcomes, receipt } =
        if operations.is_empty() { Applied::default() } else { call.apply(operations).await? };
    let views = receipt::views(receipt.as_deref(), &call.door.doors.terms_codec);
    let decided = decide(&call.door.decider, &mut checks)?;
    let results = results(left_out, &decided, &outcomes, views);
    let (status, Acknowledged { ack, by: acknowledged_by }) =
        Acknowledged::of(&call.parameters, receipt.as_deref(), &call.door.doors.terms_codec);
    call.answer(status, &BatchResults { results, ack, acknowledged_by }, receipt.as_deref())
}

/// What the engine is not asked.
#[derive(Debug)]
pub(super) enum Beside {
    /// It is refused.
    Refused(Refused),
    /// It is a limit's business, as the check at this place.
    Check(usize),
}

impl From<Refused> for Beside {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What batches are planned by.
pub(super) trait Planner {
    fn named(&self, namespace: &str) -> Named;
    /// Refuses checks of limits altogether.
    fn admit_checks(&self) -> Result<(), Refused>;
    fn decider(&self) -> &Decider;
}

impl Planner for Call {
    fn named(&self, namespace: &str) -> Named {
        self.door.doors.namespaces.named(self.pass.grant(), namespace)
    }

    fn admit_checks(&self) -> Result<(), Refused> {
        if self.parameters.idempotency_key.is_some() || self.parameters.session.is_some() {
            let detail = "what limits decided is not remembered: a batch that may be repeated has none of them";
            return Err(Refused::invalid(detail));
        }
        self.door.decider.admit(self.pass.grant())
    }

    fn decider(&self) -> &Decider {
        &self.door.decider
    }
}

/// What the engine is asked, and what limits are.
pub(super) fn plan(
    request: &BatchRequest<'_>,
    planner: &impl Planner,
    checks: &mut Checks,
) -> Result<Plan<Beside>, Refused> {
    let count = request.operations.len();
    if count > BATCH_OPERATIONS_MAX {
        let detail = format!("a batch has at most {BATCH_OPERATIONS_MAX} operations, this one {count}");
        return Err(Refused::new(Code::TooLarge, detail));
    }
    let mut plan = Plan::default();
    if request.operations.iter().any(|item| matches!(item, JsonItem::Check(_))) {
        planner.admit_checks()?;
    }
    for (at, item) in request.operations.iter().enumerate() {
        let pushed = match item {
            JsonItem::Operation(JsonOperation { namespace, key, action }) => {
                plan.push(planner.named(namespace).operation(key, *action))
            }
            JsonItem::Check(check) => ask(planner.decider(), checks, check).map(|beside| plan.leave_out(beside)),
        };
        pushed.map_err(|refused| refused.about(format_args!("operations[{at}]")))?;
    }
    Ok(plan)
}

/// Asks one decision more, unless there is no such policy here; a bad key is the whole batch's fault.
fn ask(
    decider: &Decider,
    checks: &mut Checks,
    JsonCheck { policy, key, cost }: &JsonCheck<'_>,
) -> Result<Beside, Refused> {
    let chosen = match policy {
        JsonPolicy::Named(name) => decider.policy(name),
        JsonPolicy::Given(numbers) => decider.given(*numbers),
    };
    match chosen {
        Ok(chosen) => {
            decider.ask(checks, &chosen, key, *cost)?;
            Ok(Beside::Check(checks.len().saturating_sub(1)))
        }
        Err(refused) => Ok(Beside::Refused(refused)),
    }
}

/// What was decided on each check.
fn decide(decider: &Decider, checks: &mut Checks) -> Result<Vec<Result<Decision, Refused>>, Refused> {
    let mut decided = vec![Err(Refused::miscounted()); checks.len()];
    if !decided.is_empty() {
        decider.decide(checks, |at, answer| {
            let place = decided.get_mut(at);
            place.into_iter().for_each(|place| *place = answer.map_err(Refused::from));
        })?;
    }
    Ok(decided)
}

/// The results in the request's order.
fn results(
    left_out: Vec<(usize, Beside)>,
    decided: &[Result<Decision, Refused>],
    outcomes: &[Outcome],
    views: Vec<CounterView>,
) -> Vec<BatchResult> {
    let (mut views, mut results) = (views.into_iter(), Vec::new());
    let said = outcomes.iter().map(|outcome| BatchResult::of(*outcome, views.next()));
    let beside = |beside| match beside {
        Beside::Refused(refused) => BatchResult::refused(refused),
        Beside::Check(at) => match decided.get(at).cloned().unwrap_or_else(|| Err(Refused::miscounted())) {
            Ok(decision) => BatchResult::decided(decision),
            Err(refused) => BatchResult::refused(refused),
        },
    };
    weave(said, left_out.into_iter().map(|(place, other)| (place, beside(other))), &mut results);
    results
}

impl BatchResult {
    fn decided(Decision { admitted, limit, remaining, reset_ms, retry_after_ms }: Decision) -> Self {
        Self::Decided { status: 200, allowed: admitted, limit, remaining, reset_ms, retry_after_ms }
    }

    fn of(outcome: Outcome, view: Option<CounterView>) -> Self {
        match Refused::value_of(outcome) {
            Ok(value) => Self::Done { status: 200, value, view },
            Err(refused) => Self::refused(refused),
        }
    }

    fn refused(Refused { code, detail, regions }: Refused) -> Self {
        Self::Refused { status: code.http_status(), code: code.as_str(), detail, regions }
    }
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::{Action, Key};

    use super::*;
    use crate::api::Namespaces;
    use crate::api::bearer::Grant;
    use crate::api::known::KNOWN;
    use crate::identity::NamespaceId;
    use crate::replica::Operation;

    /// A node of these namespaces.
    struct Alone(Namespaces);

    impl Planner for Alone {
        fn named(&self, namespace: &str) -> Named {
            self.0.named(&Grant::anyone(), namespace)
        }

        fn admit_checks(&self) -> Result<(), Refused> {
            Ok(())
        }

        fn decider(&self) -> &Decider {
            &KNOWN.decider
        }
    }

    fn plan_with(json: &str, checks: &mut Checks) -> Result<Plan<Beside>, Problem> {
        let namespaces = [("default", 1), ("a b", 2)].map(|(name, id)| (name.to_owned(), NamespaceId(id))).into();
        Ok(super::plan(&json::parse(json.as_bytes())?, &Alone(namespaces), checks)?)
    }

    fn plan(json: &str) -> Result<Plan<Beside>, Problem> {
        plan_with(json, &mut Checks::default())
    }

    #[test]
    fn limits_are_decided_beside_counters_each_in_its_place() {
        let mut checks = Checks::default();
        let plan = plan_with(
            r#"{"operations":[{"limit":{"policy":"few","key":"batch","cost":2}},
                {"get":{"namespace":"default","key":"k"}},
                {"limit":{"policy":"none","key":"batch"}},
                {"limit":{"policy":"few","key":"batch","cost":2}},
                {"limit":{"policy":"few","key":"batch","cost":4}}]}"#,
            &mut checks,
        )
        .unwrap();
        assert_eq!(plan.operations.len(), 1);
        let decided = decide(&KNOWN.decider, &mut checks).unwrap();
        let done = results(plan.left_out, &decided, &[Outcome::Value(7)], Vec::new());
        let json = serde_json::to_value(done).unwrap();
        assert_eq!(
            (&json[0]["allowed"], &json[0]["remaining"], &json[0]["limit"]),
            (&true.into(), &1.into(), &3.into())
        );
        assert_eq!(json[1], serde_json::json!({"status": 200, "value": "7"}));
        assert_eq!((&json[2]["status"], &json[2]["code"]), (&404.into(), &"unknown_policy".into()));
        assert_eq!((&json[3]["allowed"], &json[3]["remaining"]), (&false.into(), &1.into()));
        assert_eq!((&json[4]["status"], &json[4]["code"]), (&422.into(), &"cost_too_high".into()));
    }

    #[test]
    fn a_batch_keeps_its_order_and_leaves_foreign_namespaces_behind() {
        let plan = plan(
            r#"{"operations":[{"get":{"namespace":"nowhere","key":"k"}},
                {"increment":{"namespace":"default","key":"k","by":"3"}},
                {"get":{"namespace":"a b","key":"\u0041"}}]}"#,
        )
        .unwrap();
        let key = |key: &str| Key::new(key).unwrap();
        assert_eq!(
            plan.operations,
            [
                Operation { namespace: NamespaceId(1), key: key("k"), action: Action::Increment(3) },
                Operation { namespace: NamespaceId(2), key: key("A"), action: Action::Get },
            ]
        );
        let outcomes = [Outcome::Overflow, Outcome::Value(-1)];
        let done = results(plan.left_out, &[], &outcomes, Vec::new());
        let results_json = serde_json::to_value(done).unwrap();
        assert_eq!(results_json[0]["code"], "unknown_namespace");
        assert_eq!((&results_json[1]["status"], &results_json[1]["code"]), (&422.into(), &"counter_overflow".into()));
        assert_eq!(results_json[2], serde_json::json!({"status": 200, "value": "-1"}));
    }

    #[test]
    fn a_malformed_batch_is_refused_whole_and_says_where() {
        let long = format!(r#"{{"operations":[{{"get":{{"namespace":"default","key":"{}"}}}}]}}"#, "x".repeat(513));
        let problem = plan(&long).unwrap_err();
        assert_eq!(problem.refused.code, Code::TooLarge);
        assert!(problem.refused.detail.starts_with("operations[0]: "), "{}", problem.refused.detail);
        for json in [
            "",
            "{}",
            r#"{"operations":[{}]}"#,
            r#"{"operations":[{"delete":{"namespace":"default","key":"k"}}]}"#,
            r#"{"operations":[{"get":{"namespace":"default","key":"k","by":1}}]}"#,
            r#"{"operations":[{"get":{"namespace":"default","key":"k"},"increment":{}}]}"#,
            r#"{"operations":[],"atomic":true}"#,
            r#"{"operations":[{"increment":["default","k","5"]}]}"#,
            r#"{"operations":[{"get":["default","k"]}]}"#,
            r#"[[{"get":{"namespace":"default","key":"k"}}]]"#,
            r#"{"operations":[]} {}"#,
        ] {
            assert_eq!(plan(json).unwrap_err().refused.code, Code::InvalidRequest, "{json}");
        }
    }

    #[test]
    fn a_batch_has_at_most_ten_thousand_operations() {
        let batch = |count: usize| {
            let operation = r#"{"get":{"namespace":"default","key":"k"}}"#;
            plan(&format!(r#"{{"operations":[{}]}}"#, vec![operation; count].join(",")))
        };
        assert_eq!(batch(10_000).unwrap().operations.len(), 10_000);
        assert_eq!(batch(10_001).unwrap_err().refused.code, Code::TooLarge);
        assert!(batch(0).unwrap().operations.is_empty());
    }
}
