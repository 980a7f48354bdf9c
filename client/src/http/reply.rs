//! Answers of the JSON API.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Deserialize;
use snowtide_protocol::wire::IdRun;
use snowtide_protocol::{Share, Token, View};

use super::{TOKEN, json, limits, problem};
use crate::answers::{counted, miscounted};
use crate::door::{Reply, Request, Site};
use crate::error::Error;
use crate::terms::Answered;

#[derive(Deserialize)]
struct ClusterBody {
    node: NodeBody,
}

#[derive(Deserialize)]
struct NodeBody {
    region: String,
    node: u8,
    replica: Option<String>,
}

#[derive(Deserialize)]
struct CounterBody<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    results: Vec<ResultBody<'a>>,
    #[serde(borrow)]
    ack: Option<Cow<'a, str>>,
    #[serde(default)]
    acknowledged_by: Vec<String>,
}

#[derive(Deserialize)]
struct ResultBody<'a> {
    status: u16,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    view: Option<ViewBody>,
}

#[derive(Deserialize)]
struct ViewBody {
    regions: Vec<ShareBody>,
    settled: Option<String>,
    behind: Vec<String>,
}

#[derive(Deserialize)]
struct ShareBody {
    region: String,
    value: String,
    as_of_ms: Option<u64>,
}

/// Who answers, and under which incarnation of its data.
pub(super) fn site(body: &[u8]) -> Result<(Site, Option<u64>), String> {
    let ClusterBody { node: NodeBody { region, node, replica } } =
        serde_json::from_slice(body).map_err(|error| format!("its answer is not what is expected: {error}"))?;
    let incarnation = replica.map(|digits| u64::from_str_radix(&digits, 16)).transpose();
    let incarnation = incarnation.map_err(|error| format!("its replica is no hexadecimal number: {error}"))?;
    Ok((Site { region, node }, incarnation))
}

/// What was asked for, or why not.
pub(super) fn read(request: &Request<'_>, response: &Response<Bytes>) -> Result<Reply, Error> {
    if !matches!(response.status(), StatusCode::OK | StatusCode::ACCEPTED) {
        return Err(problem::error(response));
    }
    match request {
        Request::Operation { .. } => {
            let body: CounterBody<'_> = json::read(response.body())?;
            number(&body.value).map(Reply::Value)
        }
        Request::Batch(batch, terms) => {
            let mut answered = several(response.body(), batch.len())?;
            if terms.is_some_and(|terms| terms.wants_token) {
                answered.token = token(response)?;
            }
            Ok(Reply::Batch(answered))
        }
        Request::Ids(count) => counted(runs(response.body())?, *count).map(Reply::Ids),
        Request::Limit(_) => limits::decision(response.body()).map(Reply::Limit),
        Request::Limits(batch) => limits::decisions(response.body(), batch.len()).map(Reply::Limits),
    }
}

fn several(body: &[u8], count: usize) -> Result<Answered, Error> {
    let body: BatchBody<'_> = json::read(body)?;
    if body.results.len() != count {
        return Err(miscounted(count));
    }
    let pending = body.ack.as_deref() == Some("pending");
    let mut answered = Answered { acknowledged_by: body.acknowledged_by, pending, ..Answered::default() };
    let has_views = body.results.iter().any(|result| result.view.is_some());
    for result in body.results {
        answered.results.push(match (result.status, &result.value) {
            (200, Some(value)) => Ok(number(value)?),
            (200, None) => return Err(json::odd("a result without a value")),
            (status, _) => Err(problem::code(status, result.code.as_deref())),
        });
        if has_views {
            answered.views.push(result.view.map_or_else(|| Ok(View::default()), view)?);
        }
    }
    Ok(answered)
}

fn view(ViewBody { regions, settled, behind }: ViewBody) -> Result<View, Error> {
    let share =
        |ShareBody { region, value, as_of_ms }: ShareBody| Ok(Share { region, value: number(&value)?, as_of_ms });
    let regions = regions.into_iter().map(share).collect::<Result<_, Error>>()?;
    Ok(View { regions, settled: settled.as_deref().map(number).transpose()?, behind })
}

fn token(response: &Response<Bytes>) -> Result<Option<Token>, Error> {
    let Some(header) = response.headers().get(TOKEN) else { return Ok(None) };
    let text = header.to_str().map_err(|_| json::odd("a token that is no text"))?;
    text.parse().map(Some).map_err(|error| json::odd(&format!("{error}")))
}

/// IDs of eight bytes each; neighbours become a run.
fn runs(body: &[u8]) -> Result<Vec<IdRun>, Error> {
    let (ids, rest) = body.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(json::odd("ids that are cut short"));
    }
    let mut runs: Vec<IdRun> = Vec::new();
    for id in ids.iter().map(|id| u64::from_be_bytes(*id)) {
        match runs.last_mut() {
            Some(run) if run.first.checked_add(u64::from(run.count)) == Some(id) => {
                run.count = run.count.saturating_add(1);
            }
            _ => runs.push(IdRun { first: id, count: 1 }),
        }
    }
    Ok(runs)
}

fn number(text: &str) -> Result<i128, Error> {
    text.parse().map_err(|_| json::odd("a value that is no number"))
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::Code;

    use super::*;
    use crate::{Batch, Terms};

    fn answer(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(body.to_owned().into()).unwrap()
    }

    fn batch(operations: usize) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..operations {
            batch.get("n", "k").unwrap();
        }
        batch
    }

    #[test]
    fn results_are_told_one_by_one() {
        let body = r#"{"results":[{"status":200,"value":"-170141183460469231731687303715884105728"},
            {"status":422,"code":"counter_overflow","detail":"no"},{"status":418,"code":"teapot"}]}"#;
        let results = vec![Ok(i128::MIN), Err(Code::CounterOverflow), Err(Code::InvalidRequest)];
        let expected = Answered { results, ..Answered::default() };
        assert_eq!(read(&Request::Batch(&batch(3), None), &answer(200, body)), Ok(Reply::Batch(expected)));
        for (operations, body) in [(2, r#"{"results":[]}"#), (1, r#"{"results":[{"status":200}]}"#), (0, "{}"), (0, "")]
        {
            let refused = read(&Request::Batch(&batch(operations), None), &answer(200, body)).unwrap_err();
            assert!(matches!(refused, Error::Protocol(_)), "{body}: {refused}");
        }
    }

    #[test]
    fn an_answer_on_terms_has_its_token_views_and_acknowledgements() {
        let body = r#"{"results":[{"status":200,"value":"5","view":{"regions":[{"region":"eu","value":"5",
            "as_of_ms":null}],"settled":"4","behind":["us"]}}],"ack":"pending","acknowledged_by":["eu"]}"#;
        let mut answer = answer(202, body);
        answer.headers_mut().insert(TOKEN, http::HeaderValue::from_static("AQA"));
        let (batch, terms) = (batch(1), Terms::new().with_token().with_regions());
        let Ok(Reply::Batch(told)) = read(&Request::Batch(&batch, Some(&terms)), &answer) else {
            panic!("an answer on terms")
        };
        assert_eq!((told.results, told.token), (vec![Ok(5)], Some(Token::new())));
        assert_eq!((told.pending, told.acknowledged_by), (true, vec!["eu".to_owned()]));
        let regions = vec![Share { region: "eu".into(), value: 5, as_of_ms: None }];
        assert_eq!(told.views, [View { regions, settled: Some(4), behind: vec!["us".into()] }]);
    }

    #[test]
    fn ids_are_bytes_and_neighbours_a_run() {
        let body: Vec<u8> = [7_u64, 8, u64::MAX, 3].into_iter().flat_map(u64::to_be_bytes).collect();
        let run = |first, count| IdRun { first, count };
        assert_eq!(runs(&body).unwrap(), [run(7, 2), run(u64::MAX, 1), run(3, 1)]);
        assert!(runs(&body[1..]).is_err());
    }
}
