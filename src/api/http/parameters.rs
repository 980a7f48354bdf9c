//! What the headers and the query of a request ask: a token to be held, a time to wait, acknowledgements, views.
//!
//! Whoever asks for something that a request of its kind does not do is refused: they must not be led to believe that
//! it was done.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use snowtide_protocol::Ack;
use snowtide_protocol::id::Format;

use crate::api::idempotency::{self, Session};
use crate::api::terms::TermsCodec;
use crate::replica::Terms;
use crate::telemetry::Verb;

use super::problem::Problem;

/// Tokens come and go in this header.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("snowtide-token");
/// Told where an answer was given before (there is no standard; it is what Stripe's API calls it).
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SESSION: HeaderName = HeaderName::from_static("snowtide-session");
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Those by which requests ask something.
pub(super) const HEADERS: [HeaderName; 4] = [TOKEN, IDEMPOTENCY_KEY, SESSION, PREFER];

/// What a request asks beyond its operations.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// For the engine.
    pub(super) terms: Terms,
    /// Acknowledgements were asked for, be it only this node's.
    pub(super) ack: bool,
    /// How long it may wait, if it asked to and has something to wait for.
    pub(super) granted: Option<Duration>,
    /// The name under which the request may be repeated.
    pub(super) idempotency_key: Option<String>,
    /// The same, as a turn of a session.
    pub(super) session: Option<Session>,
    /// The form of the ID in the path, or of those to be told.
    pub(super) format: Option<Format>,
    /// The ends of a time range, as they were written.
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// What a page of counters is to hold, as it was written.
    pub(super) listing: Listing,
    /// A denial of a limit is to be an error.
    pub(super) respond_429: bool,
    /// Shown instead of a token; looked at before anything else.
    ticket: Option<String>,
}

/// A page of counters.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) prefix: Option<String>,
    pub(super) limit: Option<String>,
    pub(super) cursor: Option<String>,
}

impl Parameters {
    pub(super) fn of(parts: &Parts, verb: Verb, terms_codec: &TermsCodec) -> Result<Self, Problem> {
        let (idempotency_key, session) = (idempotency_key(&parts.headers, verb)?, session(&parts.headers, verb)?);
        if idempotency_key.is_some() && session.is_some() {
            return Err(Problem::invalid("a request has an Idempotency-Key or a Snowtide-Session, not both"));
        }
        let mut asked = Self { idempotency_key, session, ..Self::default() };
        let counts = may_write(verb) || may_read(verb);
        let has_token = parts.headers.contains_key(TOKEN);
        if has_token && !counts {
            return Err(Problem::invalid("the header Snowtide-Token is understood with counters only"));
        }
        for text in listed(&parts.headers, &TOKEN)? {
            let token = terms_codec.read(text).map_err(|error| Problem::invalid(format!("Snowtide-Token: {error}")))?;
            token.iter().for_each(|(namespace, replica, seq)| asked.terms.after.raise(namespace, replica, seq));
        }
        asked.query(parts.uri.query().unwrap_or_default(), verb)?;
        asked.terms.wants_token = counts;
        asked.terms.in_passing = !(has_token || asked.ack || asked.terms.wants_views);
        let wait = wait(&parts.headers)?;
        (asked.terms.wait_ms, asked.terms.ack_wait_ms) = terms_codec.waits_ms(wait);
        let waits = has_token || asked.terms.ack != Ack::Local;
        asked.granted = wait.filter(|_| waits).map(|wait| terms_codec.granted(wait));
        Ok(asked)
    }

    fn query(&mut self, query: &str, verb: Verb) -> Result<(), Problem> {
        let (mut ack, mut view) = (false, false);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, value) = (form_decoded(name)?, form_decoded(value)?);
            let seen = match (&*name, verb) {
                ("ack", _) if may_write(verb) => {
                    self.terms.ack = value.parse().map_err(|error| Problem::invalid(format!("ack: {error}")))?;
                    self.ack = true;
                    std::mem::replace(&mut ack, true)
                }
                ("view", _) if may_read(verb) && value == "regions" => {
                    self.terms.wants_views = true;
                    std::mem::replace(&mut view, true)
                }
                ("format", Verb::DecodeId | Verb::IdBounds) => {
                    let format = value.parse().map_err(|error| Problem::invalid(format!("format: {error}")))?;
                    self.format.replace(format).is_some()
                }
                ("from", Verb::IdBounds) => self.from.replace(value).is_some(),
                ("to", Verb::IdBounds) => self.to.replace(value).is_some(),
                ("prefix", Verb::List) => self.listing.prefix.replace(value).is_some(),
                ("limit", Verb::List) => self.listing.limit.replace(value).is_some(),
                ("cursor", Verb::List) => self.listing.cursor.replace(value).is_some(),
                ("ticket", Verb::Watch) => self.ticket.replace(value).is_some(),
                ("respond", Verb::Limit) if value == "429" => std::mem::replace(&mut self.respond_429, true),
                ("respond", Verb::Limit) => return Err(Problem::invalid("respond: allowed: 429")),
                ("view", _) if may_read(verb) => return Err(Problem::invalid("view: allowed: regions")),
                _ => return Err(unsupported(&name)),
            };
            if seen {
                return Err(Problem::invalid(format!("the query parameter {name} comes twice")));
            }
        }
        Ok(())
    }

    /// Tells how long was granted (RFC 7240, section 3).
    pub(super) fn applied(&self, headers: &mut HeaderMap) {
        let applied = self.granted.map(|granted| HeaderValue::try_from(format!("wait={}", granted.as_secs())));
        if let Some(Ok(applied)) = applied {
            headers.insert(PREFERENCE_APPLIED, applied);
        }
    }
}

/// A name or a value of the query, as forms write them (application/x-www-form-urlencoded, WHATWG URL, 5.1), and so every
/// client that is handed parameters: a `+` is a space there, which it is not in a path.
fn form_decoded(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_| Problem::invalid("the query is not UTF-8 once its percent-encoding is undone"))
}

/// The ticket in a query, if there is one.
pub(super) fn ticket(query: Option<&str>) -> Option<String> {
    let ticket = query?.split('&').find_map(|parameter| parameter.strip_prefix("ticket="))?;
    form_decoded(ticket).ok()
}

/// Whether a request of this kind may change counters.
fn may_write(verb: Verb) -> bool {
    matches!(verb, Verb::Batch) || matches!(verb, Verb::One(action) if action.is_write())
}

/// Whether one may read counters, each as it is.
fn may_read(verb: Verb) -> bool {
    matches!(verb, Verb::Batch) || matches!(verb, Verb::One(action) if !action.is_write())
}

fn unsupported(name: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    Problem::invalid(format!("the query parameter {name:?} is not supported here"))
}

/// A header by which writes may be repeated.
fn of_writes<'a>(headers: &'a HeaderMap, name: &str, verb: Verb) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if !may_write(verb) {
        return Err(Problem::invalid(format!("the header {name} is understood with increments and batches only")));
    }
    if values.next().is_some() {
        return Err(Problem::invalid(format!("the header {name} comes once")));
    }
    Ok(Some(value.to_str().unwrap_or_default()))
}

/// A string in quotes (draft-ietf-httpapi-idempotency-key-header), or bare, as many clients send it.
fn idempotency_key(headers: &HeaderMap, verb: Verb) -> Result<Option<String>, Problem> {
    let Some(text) = of_writes(headers, "Idempotency-Key", verb)?.map(str::trim) else { return Ok(None) };
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let max = idempotency::KEY_BYTES_MAX;
    if (1..=max).contains(&text.len()) {
        return Ok(Some(text.to_owned()));
    }
    Err(Problem::invalid(format!("the header Idempotency-Key has 1 to {max} visible characters")))
}

/// A place in a session of one request after another.
fn session(headers: &HeaderMap, verb: Verb) -> Result<Option<Session>, Problem> {
    let session = of_writes(headers, "Snowtide-Session", verb)?.map(str::parse).transpose();
    session.map_err(|error| Problem::invalid(format!("Snowtide-Session: {error}")))
}

/// The members of a header that is a list; it may come in several fields.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Vec<&'a str>, Problem> {
    let mut members = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| Problem::invalid(format!("the header {name} is not plain text")))?;
        members.extend(text.split(',').map(str::trim).filter(|member| !member.is_empty()));
    }
    Ok(members)
}

/// The preference `wait` in whole seconds (RFC 7240, section 4.3). Preferences are separated by commas, their parameters
/// by semicolons; names have no case; of several, the first counts. Other preferences are not ours.
fn wait(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    for preference in headers.get_all(&PREFER).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let preference = preference.split(|byte| *byte == b';').next().unwrap_or_default();
        let mut halves = preference.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii();
        if !name.eq_ignore_ascii_case(b"wait") {
            continue;
        }
        let value = halves.next().unwrap_or_default().trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let seconds = std::str::from_utf8(value).ok().filter(|_| digits);
        // So many digits that they do not fit are more than any limit.
        let seconds = seconds.map(|digits| digits.parse().unwrap_or(u64::from(u32::MAX)));
        let seconds = seconds.ok_or_else(|| Problem::invalid("Prefer: wait takes whole seconds, such as wait=5"))?;
        return Ok(Some(Duration::from_secs(seconds)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use axum::http::request::Builder;
    use snowtide_protocol::{Action, Code};

    use super::*;
    use crate::api::http::tests::map;
    use crate::config::Config;

    const GET: Verb = Verb::One(Action::Get);
    const INCREMENT: Verb = Verb::One(Action::Increment(1));

    fn asked(verb: Verb, request: Builder) -> Result<Parameters, String> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Parameters::of(&parts, verb, &TermsCodec::new(&Config::builtin(), &map())).map_err(|problem| {
            assert_eq!(problem.refused.code, Code::InvalidRequest);
            problem.refused.detail.into_owned()
        })
    }

    fn session(request: Builder) -> Builder {
        request.header("Snowtide-Session", "01234567-89ab-cdef-0123-456789abcdef; turn=1")
    }

    fn get(query: &str) -> Builder {
        Request::get(format!("/v1/counters/a/b{query}"))
    }

    #[test]
    fn what_a_request_does_not_do_is_refused_by_name() {
        assert!(asked(GET, get("?")).is_ok());
        for (verb, request, word) in [
            (GET, get("").header("Idempotency-Key", "x"), "Idempotency-Key"),
            (INCREMENT, get("").header("Idempotency-Key", "\"\""), "1 to 255"),
            (INCREMENT, get("").header("Idempotency-Key", "x".repeat(256)), "1 to 255"),
            (INCREMENT, get("").header("Idempotency-Key", "a").header("Idempotency-Key", "b"), "comes once"),
            (GET, get("").header("Snowtide-Session", "x"), "Snowtide-Session is understood"),
            (Verb::Batch, get("").header("Snowtide-Session", "x"), "a random UUID"),
            (Verb::Batch, session(get("")).header("Idempotency-Key", "x"), "not both"),
            (Verb::Batch, session(session(get(""))), "comes once"),
            (Verb::Cluster, get("").header("Snowtide-Token", "AQA"), "counters only"),
            (Verb::MintIds, get("?ack=all"), "\"ack\""),
            (GET, get("?ack=all"), "\"ack\""),
            (INCREMENT, get("?view=regions"), "\"view\""),
            (GET, get("?x"), "\"x\""),
            (GET, get("?prefix=x"), "\"prefix\""),
            (GET, get("?ticket=x"), "\"ticket\""),
            (Verb::Watch, get("?ticket=x&ticket=x"), "twice"),
            (Verb::List, get("?view=regions"), "\"view\""),
            (Verb::List, get("?prefix=%ff"), "UTF-8"),
            (Verb::List, get("?limit=1&limit=2"), "twice"),
            (GET, get("?view=all"), "regions"),
            (Verb::MintIds, get("?format=ulid"), "\"format\""),
            (Verb::DecodeId, get("?from=1"), "\"from\""),
            (Verb::DecodeId, get("?format=hex"), "format: allowed: decimal, base32"),
            (Verb::IdBounds, get("?from=1&to=2&from=1"), "from comes twice"),
            (GET, get("?view=regions&view=regions"), "twice"),
            (INCREMENT, get("?ack=regions:0"), "regions:k"),
            (INCREMENT, get("?ack"), "regions:k"),
        ] {
            let refused = asked(verb, request).unwrap_err();
            assert!(refused.contains(word), "{word}: {refused}");
        }
    }

    #[test]
    fn acknowledgements_and_views_are_asked_in_the_query() {
        let increment = asked(INCREMENT, get("?ack=regions%3A2")).unwrap();
        assert_eq!((increment.terms.ack, increment.ack), (Ack::Regions(2), true));
        let batch = asked(Verb::Batch, get("?view=regions&ack=all")).unwrap();
        assert_eq!((batch.terms.ack, batch.terms.wants_views), (Ack::All, true));
        assert!(!asked(INCREMENT, get("")).unwrap().ack);
    }

    #[test]
    fn the_query_is_decoded_as_a_form_names_and_values_alike() {
        for (query, prefix) in [
            ("prefix=pre+fix", "pre fix"),
            ("prefix=pre%20fix", "pre fix"),
            ("prefix=pre%2Bfix", "pre+fix"),
            ("%70refix=%2b%2B+", "++ "),
            ("prefix=%", "%"),
            ("&&prefix=a=b&", "a=b"),
        ] {
            let listing = asked(Verb::List, get(&format!("?{query}"))).unwrap().listing;
            assert_eq!(listing.prefix.as_deref(), Some(prefix), "{query}");
        }
        let bounds = asked(Verb::IdBounds, get("?from=2025-01-01T02:00:00+02:00&to=2025-01-01+00:00:00Z")).unwrap();
        assert_eq!(bounds.from.as_deref(), Some("2025-01-01T02:00:00 02:00"));
        assert_eq!(bounds.to.as_deref(), Some("2025-01-01 00:00:00Z"));
        assert_eq!(asked(INCREMENT, get("?ack=regions%3a2")).unwrap().terms.ack, Ack::Regions(2));
    }

    #[test]
    fn a_form_and_a_range_are_asked_in_the_query() {
        let bounds = asked(Verb::IdBounds, get("?from=2025-01-01T02:00:00%2B02:00&to=5&format=ulid")).unwrap();
        assert_eq!((bounds.from.as_deref(), bounds.to.as_deref()), (Some("2025-01-01T02:00:00+02:00"), Some("5")));
        assert_eq!(bounds.format, Some(Format::Ulid));
        assert_eq!(asked(Verb::DecodeId, get("")).unwrap().format, None);
    }

    #[test]
    fn waiting_is_a_preference_in_whole_seconds() {
        let wait = |value: &'static str| wait(&[(PREFER, HeaderValue::from_static(value))].into_iter().collect());
        let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
        for value in ["wait=5", "WAIT=5", "respond-async, wait=5", " wait = \"5\" ; x=1", "wait=5, wait=9"] {
            assert_eq!(wait(value), seconds(5), "{value}");
        }
        assert_eq!(wait("wait=99999999999999999999999"), seconds(u64::from(u32::MAX)));
        for value in ["return=minimal", "waiting=1", "handling=\"wait\""] {
            assert_eq!(wait(value), Ok(None), "{value}");
        }
        for value in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=soon"] {
            assert!(wait(value).unwrap_err().refused.detail.contains("whole seconds"), "{value}");
        }
    }

    #[test]
    fn a_wait_is_granted_if_there_is_something_to_wait_for() {
        let granted = |verb, request: Builder| asked(verb, request.header("Prefer", "wait=60")).unwrap().granted;
        let most = Some(Config::builtin().api.wait_max);
        assert_eq!(granted(GET, get("")), None);
        assert_eq!(granted(GET, get("").header("Snowtide-Token", "AQA")), most);
        assert_eq!(granted(INCREMENT, get("?ack=all")), most);
        assert_eq!(granted(INCREMENT, get("?ack=local")), None);
    }

    #[test]
    fn a_token_is_told_in_passing_unless_something_is_asked_for() {
        let in_passing = |verb, request| asked(verb, request).unwrap().terms.in_passing;
        assert!(in_passing(GET, get("")) && in_passing(INCREMENT, get("").header("Prefer", "wait=1")));
        assert!(!in_passing(INCREMENT, get("?ack=local")));
        assert!(!in_passing(GET, get("?view=regions")));
        assert!(!in_passing(GET, get("").header("Snowtide-Token", "AQA")));
    }

    #[test]
    fn several_tokens_are_joined_and_a_bad_one_is_refused() {
        let token = |scope: &str, seq| {
            let terms_codec = TermsCodec::new(&Config::builtin(), &map());
            let namespace = crate::identity::NamespaceId::of(scope);
            let token = [(namespace, crate::identity::ReplicaId(seq), seq)].into_iter().collect();
            terms_codec.write(&token).unwrap().to_string()
        };
        let (one, two, three) = (token("default", 1), token("default", 2), token("default", 3));
        let request = get("").header("Snowtide-Token", format!("{one}, {two}")).header("Snowtide-Token", three);
        assert_eq!(asked(GET, request).unwrap().terms.after.iter().count(), 3);
        for bad in ["x", "AgA", "!"] {
            let refused = asked(GET, get("").header("Snowtide-Token", bad)).unwrap_err();
            assert!(refused.starts_with("Snowtide-Token: "), "{refused}");
        }
    }
}
