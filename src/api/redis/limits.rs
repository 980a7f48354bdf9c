//! Limits as clients of Redis know them: `CL.THROTTLE` of the module redis-cell, and `INCREX` of Redis 8.8 and Valkey 9.2,
//! as far as it is a limit: so many in a window that begins with its first.
//!
//! Both bring their numbers along, which are part of the key.

use std::borrow::Cow;

use snowtide_protocol::limit::{Algorithm, Decision, Numbers};

use super::reply::Reply;
use super::request::Words;
use crate::api::Refused;
use crate::api::gate::Decider;

/// Periods of `CL.THROTTLE` and `EX` are in seconds.
const SECOND_MS: u64 = 1_000;

/// The text of an error.
type Fault = Cow<'static, str>;

/// One decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check<'a> {
    key: &'a [u8],
    numbers: Numbers,
    cost: u64,
    form: Form,
}

/// How it is replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Whether it is limited, the most that may come at once, what is left of it, seconds until a retry makes sense or -1,
    /// and seconds until the key is as if unused.
    Throttle,
    /// The value, and what was added.
    Increx,
}

/// `CL.THROTTLE key max_burst count period [quantity]`
pub(super) fn throttle(words: Words<'_>) -> Result<Check<'_>, Fault> {
    if words.len() > 6 {
        return Err("ERR wrong number of arguments for 'cl.throttle' command".into());
    }
    let number = |at: usize| whole(words.get(at).unwrap_or_default());
    let (burst, limit, period) = (number(2)?, number(3)?, number(4)?);
    let cost = if words.len() > 5 { number(5)? } else { 1 };
    let (burst, window_ms) = (burst.saturating_add(1), period.saturating_mul(SECOND_MS));
    let numbers = Numbers { algorithm: Algorithm::Gcra, limit, window_ms, burst };
    Ok(Check { key: words.get(1).unwrap_or_default(), numbers, cost, form: Form::Throttle })
}

/// `INCREX key [BYINT n] UBOUND limit EX seconds|PX milliseconds ENX`, options in any order.
pub(super) fn increx(words: Words<'_>) -> Result<Check<'_>, Fault> {
    let (mut cost, mut limit, mut window_ms, mut enx) = (None, None, None, false);
    let mut at = 2;
    while let Some(option) = words.get(at) {
        let value = || words.get(at.saturating_add(1)).ok_or(Fault::Borrowed("ERR syntax error")).and_then(whole);
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let twice = if is("enx") {
            std::mem::replace(&mut enx, true)
        } else if is("byint") {
            cost.replace(value()?).is_some()
        } else if is("ubound") {
            limit.replace(value()?).is_some()
        } else if is("ex") {
            window_ms.replace(value()?.saturating_mul(SECOND_MS)).is_some()
        } else if is("px") {
            window_ms.replace(value()?).is_some()
        } else {
            return Err(unserved(option));
        };
        if twice {
            return Err("ERR syntax error".into());
        }
        at = at.saturating_add(if is("enx") { 1 } else { 2 });
    }
    let (Some(limit), Some(window_ms), true) = (limit, window_ms, enx) else {
        return Err(
            "ERR INCREX is served as a limit: it needs UBOUND, EX or PX, and ENX; INCRBY counts without one".into()
        );
    };
    let numbers = Numbers { algorithm: Algorithm::Fixed, limit, window_ms, burst: limit };
    let key = words.get(1).unwrap_or_default();
    Ok(Check { key, numbers, cost: cost.unwrap_or(1), form: Form::Increx })
}

fn unserved(option: &[u8]) -> Fault {
    const OPTIONS: [&str; 8] = ["byfloat", "lbound", "saturate", "exat", "pxat", "persist", "nx", "xx"];
    match OPTIONS.into_iter().find(|name| option.eq_ignore_ascii_case(name.as_bytes())) {
        Some(name) => {
            let name = name.to_ascii_uppercase();
            format!("ERR INCREX is served as a limit, without {name}: INCREX key [BYINT n] UBOUND n EX s|PX ms ENX")
                .into()
        }
        None => "ERR syntax error".into(),
    }
}

fn whole(word: &[u8]) -> Result<u64, Fault> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(word).ok().filter(|_| digits).and_then(|digits| digits.parse().ok());
    number.ok_or(Fault::Borrowed("ERR value is not an integer or out of range"))
}

impl Check<'_> {
    /// Decides, and replies.
    pub(super) fn answer(self, decider: &Decider, reply: &mut Reply<'_>) -> Result<(), Refused> {
        let key = std::str::from_utf8(self.key).map_err(|_| Refused::invalid("a key is UTF-8"))?;
        let chosen = decider.given(self.numbers)?;
        match self.form {
            Form::Throttle => {
                let never = self.cost > self.numbers.burst;
                // What is beyond the burst is denied for ever, which redis-cell tells by a retry after -1.
                let decision = decider.decide_one(&chosen, key, if never { 0 } else { self.cost })?;
                throttled(decision, never, reply);
            }
            Form::Increx => {
                let decision = decider.decide_one(&chosen, key, self.cost)?;
                let value = decision.limit.saturating_sub(decision.remaining);
                let added = if decision.admitted { self.cost } else { 0 };
                reply.array(2);
                [value, added].into_iter().for_each(|number| reply.integer(signed(number)));
            }
        }
        Ok(())
    }
}

fn throttled(decision: Decision, never: bool, reply: &mut Reply<'_>) {
    let seconds = |ms: u64| signed(ms.div_ceil(SECOND_MS));
    let allowed = decision.admitted && !never;
    let retry = if allowed || never { -1 } else { seconds(decision.retry_after_ms) };
    let numbers =
        [i64::from(!allowed), signed(decision.limit), signed(decision.remaining), retry, seconds(decision.reset_ms)];
    reply.array(numbers.len());
    numbers.into_iter().for_each(|number| reply.integer(number));
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
