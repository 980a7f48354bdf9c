//! Watching a counter: its value as server-sent events (WHATWG HTML, 9.2).

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use futures_util::stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::Stage;
use crate::api::bearer::{Bearers, Pass};
use crate::config::Permission;
use crate::replica::Action;

use super::call::Call;
use super::counters::{CounterValue, counter, operation};
use super::openapi::Failures;
use super::params;
use super::problem::Problem;
use super::watchers::Watch;

const WATCH_SUFFIX: &str = "/watch";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// After a broken connection a client comes back this much later.
const RETRY_MS: u64 = 2_000;
/// At least so often something is sent, so that both ends learn of a broken connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

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
}

#[utoipa::path(
    get, path = "/v1/counters/{namespace}/{key}/watch", tag = "counters", operation_id = "watch",
    params(
        params::Counter,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that came; if the value is \
            still that one, it is not sent again", pattern = r"^-?\d{1,39}$"),
    ),
    responses(
        (status = 200, description = "Server-sent events, until either end closes. The `data` of each is what reading the \
            counter answers, its `id` the value", content_type = "text/event-stream", body = String,
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
    call.require_in(Permission::Read, &namespace)?;
    call.door.admit_counting()?;
    let counter = operation(&call.door.doors.namespaces, &namespace, &key, Action::Get)?;
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
    };
    let first = if known == Some(value) { ": nothing new\n\n".to_owned() } else { feed.event() };
    let feed = Feed { opening: Some(format!("retry: {RETRY_MS}\n{first}")), ..feed };
    let events = stream::unfold(feed, |mut feed| async {
        let text = feed.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), feed))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The value that the client was told last.
fn last_event(headers: &HeaderMap) -> Result<Option<i128>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let value = id.to_str().ok().and_then(|id| id.parse().ok());
    value.map(Some).ok_or_else(|| Problem::invalid("Last-Event-ID: this is no id of an event of a counter"))
}

impl Feed {
    /// What to send next; `None` once the node shuts down or has stopped itself, or the caller may not watch any more.
    async fn next(&mut self) -> Option<String> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        tokio::select! {
            biased;
            () = self.closing.cancelled() => None,
            () = closed(&mut self.stage) => None,
            () = shut_out(&self.bearers, &mut self.pass, &self.namespace) => None,
            value = self.watch.other_than(self.last) => {
                self.last = value?;
                Some(self.event())
            }
            () = tokio::time::sleep(self.keep_alive) => Some(":\n\n".to_owned()),
        }
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

/// Returns once counters are not served any more.
async fn closed(stage: &mut watch::Receiver<Stage>) {
    if stage.wait_for(|stage| stage.refusal().is_some()).await.is_err() {
        // Nobody changes it any more, so counters are served as long as the door is open.
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
