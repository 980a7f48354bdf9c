//! Bearer tokens (RFC 6750): who may call, and what.
//!
//! Only digests of the configured tokens are kept, and every one of them is compared in full, so that the time of an
//! answer tells nothing about how much of a guess was right.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};
use snowtide_client::Code;

use crate::config::{Access, Token};

use super::problem::Problem;

const DIGEST_BYTES: usize = 32;

/// The tokens that open this door; none at all means that anyone may do anything.
pub(super) struct Tokens(Vec<([u8; DIGEST_BYTES], Access)>);

impl Tokens {
    pub(super) fn new(tokens: &[Token]) -> Self {
        Self(tokens.iter().map(|Token { token, access, .. }| (hashed(token.as_bytes()), *access)).collect())
    }

    /// What the caller may do.
    pub(super) fn access(&self, headers: &HeaderMap) -> Result<Access, Problem> {
        if self.0.is_empty() {
            return Ok(Access::Write);
        }
        let header = headers.get(AUTHORIZATION).ok_or_else(anonymous)?;
        let presented = hashed(bearer(header.as_bytes()).ok_or_else(anonymous)?);
        let mut found = None;
        for (known, access) in &self.0 {
            if equal(known, &presented) {
                found = found.max(Some(*access));
            }
        }
        found.ok_or_else(unknown)
    }
}

/// Refuses a caller whose token does not reach as far as `needed`.
pub(super) fn require(held: Access, needed: Access) -> Result<(), Problem> {
    if held >= needed {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "this token may read, but neither increment nor mint IDs")
        .challenged(r#"Bearer realm="snowtide", error="insufficient_scope""#))
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

fn hashed(token: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut bytes = [0; DIGEST_BYTES];
    for (byte, hashed) in bytes.iter_mut().zip(digest(&SHA256, token).as_ref()) {
        *byte = *hashed;
    }
    bytes
}

/// Compares all bytes, wherever the first difference is.
fn equal(one: &[u8; DIGEST_BYTES], other: &[u8; DIGEST_BYTES]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

fn anonymous() -> Problem {
    Problem::new(Code::Unauthenticated, "this node asks for a token: send `Authorization: Bearer <token>`")
        .challenged(r#"Bearer realm="snowtide""#)
}

fn unknown() -> Problem {
    Problem::new(Code::Unauthenticated, "this node does not know the token")
        .challenged(r#"Bearer realm="snowtide", error="invalid_token""#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        let token = |token: &str, access| Token { name: token.to_owned(), token: token.to_owned(), access };
        Tokens::new(&[token("reader", Access::Read), token("writer", Access::Write)])
    }

    fn asked(header: &str) -> Result<Access, Code> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
        tokens().access(&headers).map_err(|problem| problem.code)
    }

    #[test]
    fn no_configured_token_means_an_open_door() {
        assert_eq!(Tokens::new(&[]).access(&HeaderMap::new()), Ok(Access::Write));
    }

    #[test]
    fn a_known_token_gives_its_access_in_any_case_of_the_scheme() {
        assert_eq!(asked("Bearer reader"), Ok(Access::Read));
        assert_eq!(asked("bEARER writer"), Ok(Access::Write));
    }

    #[test]
    fn anything_else_is_unauthenticated() {
        for header in ["", "Bearer", "Bearer ", "Basic writer", "Bearer write", "Bearer writerr", "writer"] {
            assert_eq!(asked(header), Err(Code::Unauthenticated), "{header:?}");
        }
        assert_eq!(tokens().access(&HeaderMap::new()).unwrap_err().code, Code::Unauthenticated);
    }

    #[test]
    fn reading_does_not_allow_writing() {
        assert_eq!(require(Access::Read, Access::Write).unwrap_err().code, Code::Forbidden);
        assert_eq!(require(Access::Read, Access::Read), Ok(()));
        assert_eq!(require(Access::Write, Access::Read), Ok(()));
    }
}
