//! Watching a counter: its value as server-sent events (WHATWG HTML, 9.2).
//!
//! Promises that an `EventSource` comes back by itself from whatever passes by itself: a status other than 200 would end
//! it for good. So what is temporary (a drain, a restart, too many requests) is told to it as an event, named `refused`,
//! of a stream that ends; what the same request will always meet (a bad name, a wrong token) is told as a status.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use axum::response::IntoResponse;
use futures_util::{Stream, stream};
use snowtide_protocol::Action;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::Stage;
use crate::api::bearer::{Bearers, Pass};
use crate::config::Permission;
use crate::replica::Refusal;

use super::call::Call;
use super::counters::{CounterValue, counter};
use super::openapi::Failures;
use super::params;
use super::problem::Problem;
use super::socket::ClientSide;
use super::watchers::Watch;

pub(super) const WATCH_SUFFIX: &str = "/watch";
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// After a broken connection a client comes back this much later.
const RETRY_MS: u64 = 2_000;
/// At least so often something is sent, so that both ends learn of a broken connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Once the client's sending side is closed: most of those are gone, which only a failing write tells.
const KEEP_ALIVE_ENDED: Duration = Duration::from_secs(1);
/// Means nothing, but keeps what is between both ends open.
const COMMENT: &str = ":\n\n";
const EVENTS: &str = "text/event-stream";
/// nginx, and those who learned it from nginx, hold answers back until they are long, unless the answer says this.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One counter on its way to one client.
struct Feed {
    watch: Watch,
    namespace: String,
    key: String,
    last: i128,
    /// Sent before anything else.
    opening: Option<String>,
    stage: watch::Receiver<Stage>,
    closing: CancellationToken,
    bearers: Bearers,
    pass: Pass,
    keep_alive: Duration,
    /// Until its sending side is closed.
    client: Option<ClientSide>,
    /// Nothing more is sent.
    over: bool,
}

#[utoipa::path(
    get, path = "/v1/counters/{namespace}/{key}/watch", tag = "counters", operation_id = "watch",
    params(
        params::Counter,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that came; if the value is \
            still that one, it is not sent again", pattern = r"^-?\d{1,39}$"),
        ("ticket" = Option<String>, Query, description = "Of `POST /v1/watch-tickets`, for those who cannot send a token"),
    ),
    responses(
        (status = 200, description = "Server-sent events, until either end closes. The `data` of each is what reading the \
            counter answers, its `id` the value. To those who accept `text/event-stream`, what is temporary is told as an \
            event `refused` whose `data` is the problem document, and the stream ends", content_type = "text/event-stream", body = String,
            example = "id: 42\ndata: {\"namespace\":\"default\",\"key\":\"visits\",\"value\":\"42\"}\n\n"),
        Failures,
    ),
)]
/// Watches a counter.
///
/// The value comes at once, and again when it has changed: it is looked at every `http.watch_interval`, and when somebody
/// new asks for it, so values in between are not told.
/// Every value is durable at this node. Comments in between keep the connection open.
pub(super) async fn watch(call: Call) -> Result<Response<Body>, Problem> {
    let path = call.path().to_owned();
    let (namespace, key) = counter(&path, WATCH_SUFFIX)?;
    let counter = call.operation(&namespace, &key, Action::Get)?;
    let known = last_event(call.headers())?;
    let mut watch = call.door.watchers.watch(counter.namespace, counter.key)?;
    let value = watch.first().await?;
    let feed = Feed {
        watch,
        namespace: namespace.into_owned(),
        key: key.into_owned(),
        last: value,
        opening: None,
        stage: call.door.doors.stage.clone(),
        closing: call.door.closing.clone(),
        bearers: call.door.doors.bearers.clone(),
        pass: call.pass.clone(),
        keep_alive: KEEP_ALIVE.min(call.door.doors.config.http.idle_timeout / 3),
        client: call.client(),
        over: false,
    };
    let first = if known == Some(value) { ": nothing new\n\n".to_owned() } else { feed.event() };
    let feed = Feed { opening: Some(format!("retry: {RETRY_MS}\n{first}")), ..feed };
    let events = stream::unfold(feed, |mut feed| async {
        let text = feed.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), feed))
    });
    Ok(streamed(events))
}

fn streamed(events: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// Whether the client is an `EventSource`, or does as one.
pub(super) fn takes_events(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(ACCEPT).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    ranges.any(is_of_events)
}

/// Whether this media range names events.
pub(super) fn is_of_events(range: &[u8]) -> bool {
    let name = range.split(|byte| *byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(EVENTS.as_bytes())
}

/// What a client that takes events is told instead of its first event.
pub(super) fn refused(problem: Problem) -> Response<Body> {
    let is_temporary = matches!(problem.code.http_status(), 429 | 500..507);
    if !is_temporary {
        return problem.into_response();
    }
    let text = refusal(&problem);
    let mut response = streamed(stream::once(async { Ok(Bytes::from(text)) }));
    problem.mark(&mut response);
    response
}

/// An event that says why there is no other, and when to come back.
fn refusal(problem: &Problem) -> String {
    let retry_ms = problem.retry_after_ms().map_or(RETRY_MS, |ms| RETRY_MS.max(ms.into()));
    let document = problem.body();
    format!("retry: {retry_ms}\nevent: refused\ndata: {}\n\n", String::from_utf8_lossy(&document))
}

/// The value that the client was told last.
fn last_event(headers: &HeaderMap) -> Result<Option<i128>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let value = id.to_str().ok().and_then(|id| id.parse().ok());
    value.map(Some).ok_or_else(|| Problem::invalid("Last-Event-ID: this is no id of an event of a counter"))
}

impl Feed {
    /// What to send next; the last thing is why there will be nothing more, unless the caller may not watch any more.
    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Some(self.end(Refusal::Draining)),
            refusal = closed(&mut self.stage) => Some(self.end(refusal)),
            () = shut_out(&self.bearers, &mut self.pass, &self.namespace) => None,
            value = self.watch.other_than(self.last) => {
                self.last = value?;
                Some(self.event())
            }
            () = ended(self.client.as_ref()) => {
                self.client = None;
                self.keep_alive = self.keep_alive.min(KEEP_ALIVE_ENDED);
                Some(COMMENT.to_owned())
            }
            () = tokio::time::sleep(self.keep_alive) => Some(COMMENT.to_owned()),
        }
    }

    fn end(&mut self, why: Refusal) -> String {
        self.over = true;
        refusal(&why.into())
    }

    fn event(&self) -> String {
        let value = CounterValue::new(&self.namespace, &self.key, self.last);
        // Strings: there is nothing in it that JSON could refuse, and JSON has no line breaks.
        let data = serde_json::to_string(&value).unwrap_or_default();
        format!("id: {}\ndata: {data}\n\n", self.last)
    }
}

/// Returns once tokens were replaced and the caller's allows this no more.
async fn shut_out(bearers: &Bearers, pass: &mut Pass, namespace: &str) {
    while bearers.renewed(pass).await.is_ok() && pass.grant().require_in(Permission::Read, namespace).is_ok() {}
}

/// Returns why once counters are not served any more.
async fn closed(stage: &mut watch::Receiver<Stage>) -> Refusal {
    match stage.wait_for(|stage| stage.refusal().is_some()).await.ok().and_then(|stage| stage.refusal()) {
        Some(refusal) => refusal,
        // Nobody changes it any more, so counters are served as long as the door is open.
        None => pending().await,
    }
}

/// Returns once the client has closed its sending side; never if that is known already.
async fn ended(client: Option<&ClientSide>) {
    match client {
        Some(client) => client.ended().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {

    use snowtide_protocol::Code;

    use super::*;

    #[test]
    fn an_event_source_is_known_by_what_it_accepts() {
        let takes =
            |accept: &'static str| takes_events(&[(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect());
        for accept in ["text/event-stream", "Text/Event-Stream;q=0.9", "application/json, text/event-stream ,*/*"] {
            assert!(takes(accept), "{accept}");
        }
        for accept in ["*/*", "text/*", "application/json", "", "text/event-stream2"] {
            assert!(!takes(accept), "{accept}");
        }
        assert!(!takes_events(&HeaderMap::new()));
    }

    #[test]
    fn what_passes_by_itself_is_told_as_an_event_and_the_rest_as_a_status() {
        for code in Code::ALL {
            let response = refused(Problem::new(code, "why"));
            let passes = code.is_retryable() && code != Code::IdempotencyInFlight;
            let passes = passes || matches!(code, Code::Timeout | Code::Internal);
            assert_eq!(response.status() == 200, passes, "{code}");
        }
        let text = refusal(&Problem::new(Code::Throttled, "two\nlines"));
        assert!(text.starts_with("retry: 2000\nevent: refused\ndata: {") && text.ends_with("}\n\n"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(refusal(&Problem::new(Code::DiskLow, "why")).starts_with("retry: 30000\n"));
    }

    #[test]
    fn the_last_event_is_known_by_its_value() {
        let last =
            |id: &'static str| last_event(&[(LAST_EVENT_ID, HeaderValue::from_static(id))].into_iter().collect());
        assert_eq!((last_event(&HeaderMap::new()), last("-7")), (Ok(None), Ok(Some(-7))));
        assert_eq!(last("170141183460469231731687303715884105727"), Ok(Some(i128::MAX)));
        for id in ["", "x", "1.0", "170141183460469231731687303715884105728"] {
            assert!(last(id).is_err(), "{id}");
        }
    }
}
