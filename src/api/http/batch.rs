//! Batches over HTTP: increments and reads of counters, each with its own verdict.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use serde::{Deserialize, Serialize};
use snowtide_protocol::Code;
use snowtide_protocol::json::JsonOperation;
use snowtide_protocol::wire::BATCH_OPERATIONS_MAX;
use utoipa::ToSchema;

use crate::api::{Named, Refused};
use crate::engine::Applied;
use crate::replica::{Operation, Outcome};

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
    operations: Vec<JsonOperation<'a>>,
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
    let plan = Plan::of(&json::parse(&body)?, |name| call.door.doors.namespaces.named(call.pass.grant(), name));
    let plan = plan.map_err(|(at, refused)| call.turned_away(within(at, refused)))?;
    drop(body);
    let Applied { outcomes, receipt } =
        if plan.operations.is_empty() { Applied::default() } else { call.apply(plan.operations).await? };
    let views = receipt::views(receipt.as_deref(), &call.door.doors.terms_codec);
    let results = results(&plan.steps, &outcomes, views)?;
    let (status, Acknowledged { ack, by: acknowledged_by }) =
        Acknowledged::of(&call.parameters, receipt.as_deref(), &call.door.doors.terms_codec);
    call.answer(status, &BatchResults { results, ack, acknowledged_by }, receipt.as_deref())
}

/// A batch as it goes to the engine: operations on namespaces that are not served here stay behind.
#[derive(Debug)]
pub(super) struct Plan {
    operations: Vec<Operation>,
    /// One per operation of the request.
    steps: Vec<Step>,
}

/// What became of one operation of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The engine gets it.
    Submitted,
    /// The engine does not get it: its namespace is not served here.
    Refused(Refused),
}

impl Plan {
    /// Of operations in the namespaces that `named` finds; or which of them the whole batch is refused for, and why.
    pub(super) fn of(
        request: &BatchRequest<'_>,
        named: impl Fn(&str) -> Named,
    ) -> Result<Self, (Option<usize>, Refused)> {
        let count = request.operations.len();
        if count > BATCH_OPERATIONS_MAX {
            let detail = format!("a batch has at most {BATCH_OPERATIONS_MAX} operations, this one {count}");
            return Err((None, Refused::new(Code::TooLarge, detail)));
        }
        let mut plan = Self { operations: Vec::with_capacity(count), steps: Vec::with_capacity(count) };
        for (at, operation) in request.operations.iter().enumerate() {
            plan.push(operation, &named).map_err(|refused| (Some(at), refused))?;
        }
        Ok(plan)
    }

    fn push(&mut self, operation: &JsonOperation<'_>, named: &impl Fn(&str) -> Named) -> Result<(), Refused> {
        match named(&operation.namespace).operation(&operation.key, operation.action) {
            Ok(operation) => {
                self.operations.push(operation);
                self.steps.push(Step::Submitted);
            }
            Err(refused) if refused.is_not_served() => self.steps.push(Step::Refused(refused)),
            Err(refused) => return Err(refused),
        }
        Ok(())
    }
}

/// The results in the request's order.
fn results(steps: &[Step], outcomes: &[Outcome], views: Vec<CounterView>) -> Result<Vec<BatchResult>, Refused> {
    if outcomes.len() != steps.iter().filter(|step| **step == Step::Submitted).count() {
        return Err(Refused::miscounted());
    }
    let (mut outcomes, mut views) = (outcomes.iter(), views.into_iter());
    let result = |step: &Step| match step {
        Step::Refused(refused) => Ok(BatchResult::refused(refused.clone())),
        Step::Submitted => {
            let outcome = outcomes.next().ok_or_else(Refused::miscounted)?;
            Ok(BatchResult::of(*outcome, views.next()))
        }
    };
    steps.iter().map(result).collect()
}

/// Says which operation of a batch a refusal is about, if it is about one.
fn within(at: Option<usize>, refused: Refused) -> Refused {
    let Some(at) = at else { return refused };
    Refused { detail: format!("operations[{at}]: {refused}").into(), ..refused }
}

impl BatchResult {
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
    use crate::identity::NamespaceId;

    fn plan(json: &str) -> Result<Plan, Problem> {
        let namespaces: Namespaces =
            [("default", 1), ("a b", 2)].map(|(name, id)| (name.to_owned(), NamespaceId(id))).into();
        let plan = Plan::of(&json::parse(json.as_bytes())?, |name| namespaces.named(&Grant::anyone(), name));
        plan.map_err(|(at, refused)| within(at, refused).into())
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
        let done = results(&plan.steps, &outcomes, Vec::new()).unwrap();
        let results_json = serde_json::to_value(done).unwrap();
        assert_eq!(results_json[0]["code"], "unknown_namespace");
        assert_eq!((&results_json[1]["status"], &results_json[1]["code"]), (&422.into(), &"counter_overflow".into()));
        assert_eq!(results_json[2], serde_json::json!({"status": 200, "value": "-1"}));
    }

    #[test]
    fn an_engine_that_miscounts_is_not_believed() {
        let plan = plan(r#"{"operations":[{"get":{"namespace":"default","key":"k"}}]}"#).unwrap();
        assert_eq!(results(&plan.steps, &[], Vec::new()).unwrap_err().code, Code::Internal);
        assert_eq!(results(&plan.steps, &[Outcome::Value(1); 2], Vec::new()).unwrap_err().code, Code::Internal);
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
