//! Watching a counter: its value as server-sent events (WHATWG HTML, 9.2).
//!
//! Promises that an `EventSource` comes back by itself from whatever passes by itself: a status other than 200 would end
//! it for good. So what is temporary (a drain, a restart, too many requests) is told to it as an event, named `refused`,
//! of a stream that ends; what the same request will always meet (a bad name, a wrong token) is told as a status.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, Response};
use futures_util::stream;
use snowtide_protocol::Action;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::bearer::{Bearers, Pass};
use crate::api::{Refused, Stage};
use crate::config::Permission;
use crate::replica::Refusal;

use super::call::Call;
use super::counters::CounterValue;
use super::events::{self, RETRY_MS};
use super::failures::Failures;
use super::params;
use super::paths::{self, WATCH_SUFFIX};
use super::problem::Problem;
use super::socket::ClientSide;
use super::watchers::Watch;

pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// At least so often something is sent, so that both ends learn of a broken connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Once the client's sending side is closed: most of those are gone, which only a failing write tells.
const KEEP_ALIVE_ENDED: Duration = Duration::from_secs(1);
/// Means nothing, but keeps what is between both ends open.
const COMMENT: &str = ":\n\n";

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
    let (namespace, key) = paths::counter(&path, WATCH_SUFFIX)?;
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
    Ok(events::streamed(events))
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
            () = self.closing.cancelled() => Some(self.end(Refusal::Draining.into())),
            refused = closed(&mut self.stage) => Some(self.end(refused)),
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

    fn end(&mut self, why: Refused) -> String {
        self.over = true;
        events::refusal(&why.into())
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
async fn closed(stage: &mut watch::Receiver<Stage>) -> Refused {
    let closed = stage.wait_for(|stage| stage.admit_counting().is_err()).await;
    match closed.ok().and_then(|stage| stage.admit_counting().err()) {
        Some(refused) => refused,
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
    use axum::http::HeaderValue;

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
