//! Batches over HTTP: increments and reads of counters, each with its own verdict.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use serde::{Deserialize, Serialize};
use snowtide_protocol::wire::BATCH_OPERATIONS_MAX;
use snowtide_protocol::{Action, Code, Key};
use utoipa::ToSchema;

use crate::api::{Namespaces, NotServed};
use crate::config::Permission;
use crate::engine::Applied;
use crate::replica::{Operation, Outcome};
use crate::telemetry::{self, Door};

use super::call::Call;
use super::counters::{OVERFLOW, QUOTA, bad_key, miscounted};
use super::json::{self, By};
use super::openapi::Failures;
use super::params;
use super::problem::Problem;
use super::told::{self, AckState, Acknowledged, CounterView};

const NOT_SERVED: &str = "this node does not serve the namespace";
const NOT_HELD: &str = "this node's region does not hold the namespace";

/// A batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest<'a> {
    /// Applied in order.
    #[serde(borrow)]
    #[schema(max_items = 10_000)]
    operations: Vec<BatchOperation<'a>>,
}

/// One operation of a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum BatchOperation<'a> {
    /// Adds.
    #[serde(borrow, deserialize_with = "json::object")]
    Increment(BatchIncrement<'a>),
    /// Reads.
    #[serde(borrow, deserialize_with = "json::object")]
    Get(BatchGet<'a>),
}

/// An increment in a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchIncrement<'a> {
    #[serde(borrow)]
    #[schema(value_type = String, example = "default")]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 512, example = "visits")]
    key: Cow<'a, str>,
    /// Default 1.
    #[serde(default)]
    by: By,
}

/// A read in a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchGet<'a> {
    #[serde(borrow)]
    #[schema(value_type = String, example = "default")]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 512, example = "visits")]
    key: Cow<'a, str>,
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
        detail: &'static str,
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
    call.door.admit_counting()?;
    let body = call.body().await?;
    let plan = Plan::of(
        json::parse(&body)?,
        |permission, name| call.require_in(permission, name),
        &call.door.doors.namespaces,
    )?;
    drop(body);
    let Applied { outcomes, receipt } =
        if plan.operations.is_empty() { Applied::default() } else { call.apply(plan.operations).await? };
    let views = told::views(receipt.as_deref(), &call.door.doors.scribe);
    let (results, increments) = results(&plan.steps, &outcomes, views)?;
    telemetry::increments_acknowledged(Door::Http, increments);
    let (status, Acknowledged { ack, by: acknowledged_by }) =
        Acknowledged::of(&call.asked, receipt.as_deref(), &call.door.doors.scribe);
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
    /// The engine gets it, as an increment.
    Increment,
    /// The engine gets it, as a read.
    Get,
    /// The engine does not get it: its namespace is not served here.
    Refused(NotServed),
}

impl Plan {
    pub(super) fn of(
        request: BatchRequest<'_>,
        require: impl Fn(Permission, &str) -> Result<(), Problem>,
        namespaces: &Namespaces,
    ) -> Result<Self, Problem> {
        let count = request.operations.len();
        if count > BATCH_OPERATIONS_MAX {
            return Err(Problem::too_large(format!(
                "a batch has at most {BATCH_OPERATIONS_MAX} operations, this one {count}"
            )));
        }
        let mut plan = Self { operations: Vec::with_capacity(count), steps: Vec::with_capacity(count) };
        for (at, operation) in request.operations.into_iter().enumerate() {
            plan.push(operation, &require, namespaces).map_err(|problem| within(at, problem))?;
        }
        Ok(plan)
    }

    fn push(
        &mut self,
        operation: BatchOperation<'_>,
        require: &impl Fn(Permission, &str) -> Result<(), Problem>,
        namespaces: &Namespaces,
    ) -> Result<(), Problem> {
        let (namespace, key, action, step) = match operation {
            BatchOperation::Increment(BatchIncrement { namespace, key, by: By(by) }) => {
                (namespace, key, Action::Increment(by), Step::Increment)
            }
            BatchOperation::Get(BatchGet { namespace, key }) => (namespace, key, Action::Get, Step::Get),
        };
        let permission = if step == Step::Increment { Permission::Write } else { Permission::Read };
        require(permission, &namespace)?;
        let key = Key::of_client(key).map_err(bad_key)?;
        match namespaces.find(&namespace) {
            Ok(namespace) => {
                self.operations.push(Operation { namespace, key, action });
                self.steps.push(step);
            }
            Err(reason) => self.steps.push(Step::Refused(reason)),
        }
        Ok(())
    }
}

/// The results in the request's order, and how many increments took place.
fn results(steps: &[Step], outcomes: &[Outcome], views: Vec<CounterView>) -> Result<(Vec<BatchResult>, u64), Problem> {
    if outcomes.len() != steps.iter().filter(|step| !matches!(step, Step::Refused(_))).count() {
        return Err(miscounted());
    }
    let mut outcomes = outcomes.iter().copied();
    let mut views = views.into_iter();
    let mut increments: u64 = 0;
    let mut results = Vec::with_capacity(steps.len());
    for step in steps {
        if let Step::Refused(reason) = step {
            results.push(BatchResult::not_served(reason));
            continue;
        }
        let outcome = outcomes.next().unwrap_or(Outcome::UnknownNamespace);
        if *step == Step::Increment && matches!(outcome, Outcome::Value(_)) {
            increments = increments.saturating_add(1);
        }
        results.push(BatchResult::of(outcome, views.next()));
    }
    Ok((results, increments))
}

/// Says which operation of a batch a problem is about.
fn within(at: usize, problem: Problem) -> Problem {
    Problem { detail: format!("operations[{at}]: {}", problem.detail).into(), ..problem }
}

impl BatchResult {
    fn of(outcome: Outcome, view: Option<CounterView>) -> Self {
        match outcome {
            Outcome::Value(value) => Self::Done { status: 200, value, view },
            Outcome::Overflow => Self::refused(Code::CounterOverflow, OVERFLOW, Arc::default()),
            Outcome::QuotaExceeded => Self::refused(Code::QuotaExceeded, QUOTA, Arc::default()),
            Outcome::UnknownNamespace => Self::not_served(&NotServed::Unknown),
        }
    }

    fn refused(code: Code, detail: &'static str, regions: Arc<[String]>) -> Self {
        Self::Refused { status: code.http_status(), code: code.as_str(), detail, regions }
    }

    fn not_served(reason: &NotServed) -> Self {
        match reason {
            NotServed::Unknown => Self::refused(reason.code(), NOT_SERVED, Arc::default()),
            NotServed::Elsewhere(regions) => Self::refused(reason.code(), NOT_HELD, Arc::clone(regions)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::identity::NamespaceId;

    use super::*;

    fn plan(json: &str) -> Result<Plan, Problem> {
        let namespaces = [("default", 1), ("a b", 2)].map(|(name, id)| (name.to_owned(), NamespaceId(id))).into();
        Plan::of(json::parse(json.as_bytes())?, |_, _| Ok(()), &namespaces)
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
        let (done, increments) = results(&plan.steps, &outcomes, Vec::new()).unwrap();
        let results_json = serde_json::to_value(done).unwrap();
        assert_eq!(results_json[0]["code"], "unknown_namespace");
        assert_eq!((&results_json[1]["status"], &results_json[1]["code"]), (&422.into(), &"counter_overflow".into()));
        assert_eq!(results_json[2], serde_json::json!({"status": 200, "value": "-1"}));
        assert_eq!(increments, 0, "a refused increment does not count");
        let (_, increments) = results(&plan.steps, &[Outcome::Value(3), Outcome::Value(3)], Vec::new()).unwrap();
        assert_eq!(increments, 1, "nor does a read");
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
        assert_eq!(problem.code, Code::TooLarge);
        assert!(problem.detail.starts_with("operations[0]: "), "{}", problem.detail);
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
            assert_eq!(plan(json).unwrap_err().code, Code::InvalidRequest, "{json}");
        }
    }

    #[test]
    fn a_batch_has_at_most_ten_thousand_operations() {
        let batch = |count: usize| {
            let operation = r#"{"get":{"namespace":"default","key":"k"}}"#;
            plan(&format!(r#"{{"operations":[{}]}}"#, vec![operation; count].join(",")))
        };
        assert_eq!(batch(10_000).unwrap().operations.len(), 10_000);
        assert_eq!(batch(10_001).unwrap_err().code, Code::TooLarge);
        assert!(batch(0).unwrap().operations.is_empty());
    }
}
