//! Tickets: what stands in the URL of an `EventSource`, which can send no header, instead of a token.
//!
//! A ticket lets whoever has it watch one counter until it expires, as the token does that it was made with. So it may
//! stand in logs and histories: it opens nothing else, and no longer than `http.ticket_validity`. It is sealed and not
//! kept: every node that knows the token takes it, before and after a restart, and none does once the token is taken away.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use snowtide_protocol::Code;

use crate::api::bearer::{Bearers, Pass, SEAL_BYTES};

use super::problem::Problem;

/// What every ticket begins with, and what is sealed.
const VERSION: u8 = 1;
const SEALED: &[u8] = b"snowtide watch ticket 1";
/// As many characters as a ticket has.
const TICKET_LEN: usize = (1 + size_of::<u64>() + SEAL_BYTES).div_ceil(3) * 4 - 1;
/// For the counter of this name, as the token does that was shown for `pass`.
pub(super) fn make(pass: &Pass, secret: &[u8], expires_s: u64, namespace: &str, key: &str) -> String {
    write(expires_s, &pass.seal(secret, &sealed(expires_s, namespace, key)))
}

/// Lets in who has a ticket for this counter.
pub(super) fn admit(
    bearers: &Bearers,
    secret: &[u8],
    now_ms: u64,
    (namespace, key): (&str, &str),
    ticket: &str,
) -> Result<Pass, Problem> {
    let (expires_s, seal) = read(ticket).ok_or_else(|| refused("this is no ticket for watching a counter"))?;
    let pass = bearers.admit_sealed(secret, &sealed(expires_s, namespace, key), &seal);
    let pass = pass.map_err(|_| {
        refused("the ticket is for another counter, or was made with a token that this node does not know (any more)")
    })?;
    if now_ms >= expires_s.saturating_mul(1_000) {
        return Err(refused("the ticket has expired: make a new one"));
    }
    Ok(pass)
}

fn refused(why: &'static str) -> Problem {
    Problem::new(Code::Unauthenticated, why).challenged(r#"Bearer realm="snowtide", error="invalid_token""#)
}

/// Until when a ticket is good that is made now.
pub(super) fn expiry_s(now_ms: u64, validity: Duration) -> u64 {
    (now_ms / 1_000).saturating_add(validity.as_secs().max(1))
}

/// No two counters, and no two times, come to the same bytes.
fn sealed(expires_s: u64, namespace: &str, key: &str) -> Vec<u8> {
    let length = u64::try_from(namespace.len()).unwrap_or(u64::MAX);
    [SEALED, &expires_s.to_be_bytes(), &length.to_be_bytes(), namespace.as_bytes(), key.as_bytes()].concat()
}

fn write(expires_s: u64, seal: &[u8; SEAL_BYTES]) -> String {
    URL_SAFE_NO_PAD.encode([&[VERSION], &expires_s.to_be_bytes()[..], seal].concat())
}

fn read(ticket: &str) -> Option<(u64, [u8; SEAL_BYTES])> {
    let bytes = if ticket.len() <= TICKET_LEN { URL_SAFE_NO_PAD.decode(ticket).ok()? } else { return None };
    let (version, rest) = bytes.split_first()?;
    let (expires, seal) = rest.split_first_chunk()?;
    (*version == VERSION).then_some((u64::from_be_bytes(*expires), seal.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Permission, Token};

    const SECRET: &[u8] = b"secret";

    fn token(name: &str, namespaces: &[&str]) -> Token {
        let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
        Token { name: name.into(), token: format!("{name}-0123456789"), access: vec![Permission::Read], namespaces }
    }

    fn made(bearers: &Bearers, name: &str, expires_s: u64, counter: (&str, &str)) -> String {
        let pass = bearers.admit(Some(format!("{name}-0123456789").as_bytes())).unwrap();
        make(&pass, SECRET, expires_s, counter.0, counter.1)
    }

    #[test]
    fn a_ticket_is_good_for_its_counter_until_it_expires_and_at_every_node_that_knows_its_token() {
        let bearers = Bearers::new(&[token("one", &[]), token("other", &["shop"])]);
        let ticket = made(&bearers, "other", 100, ("shop", "a/b"));
        assert_eq!(ticket.len(), TICKET_LEN);
        let code = |bearers: &Bearers, secret: &[u8], now_ms, counter, ticket: &str| {
            let admitted = admit(bearers, secret, now_ms, counter, ticket);
            admitted.map(|pass| pass.grant().name().to_owned()).map_err(|problem| problem.refused.code)
        };
        let elsewhere = Bearers::new(&[token("third", &[]), token("other", &["shop"])]);
        for bearers in [&bearers, &elsewhere] {
            assert_eq!(code(bearers, SECRET, 99_999, ("shop", "a/b"), &ticket).as_deref(), Ok("other"));
            assert!(code(bearers, SECRET, 100_000, ("shop", "a/b"), &ticket).is_err());
        }
        let refused = Err(Code::Unauthenticated);
        for counter in [("shop", "a"), ("default", "a/b"), ("sho", "pa/b"), ("", "shopa/b")] {
            assert_eq!(code(&bearers, SECRET, 0, counter, &ticket), refused, "{counter:?}");
        }
        assert_eq!(code(&bearers, b"another", 0, ("shop", "a/b"), &ticket), refused);
        assert_eq!(code(&Bearers::new(&[token("one", &[])]), SECRET, 0, ("shop", "a/b"), &ticket), refused);
        let mut later = URL_SAFE_NO_PAD.decode(&ticket).unwrap();
        later[8] += 1;
        assert_eq!(code(&bearers, SECRET, 0, ("shop", "a/b"), &URL_SAFE_NO_PAD.encode(later)), refused);
        for text in ["", "x", "one-0123456789", &ticket[1..], &format!("{ticket}A"), &"A".repeat(10_000)] {
            assert_eq!(code(&bearers, SECRET, 0, ("shop", "a/b"), text), refused, "{text}");
        }
    }

    #[test]
    fn where_no_token_is_asked_for_any_ticket_is_good() {
        let open = Bearers::new(&[]);
        let pass = open.admit(None).unwrap();
        let ticket = make(&pass, SECRET, 100, "default", "k");
        assert!(admit(&open, SECRET, 0, ("default", "k"), &ticket).is_ok());
        // Tokens that come later do not make it one of theirs.
        let closed = Bearers::new(&[token("one", &[])]);
        assert!(admit(&closed, SECRET, 0, ("default", "k"), &ticket).is_err());
    }
}
