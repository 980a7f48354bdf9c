//! Bearer tokens over HTTP (RFC 6750).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use snowtide_client::Code;

use super::problem::Problem;
use crate::api::bearer::{Bearers, Stranger};
use crate::config::Access;

/// What the caller may do.
pub(super) fn access(bearers: &Bearers, headers: &HeaderMap) -> Result<Access, Problem> {
    let shown = headers.get(AUTHORIZATION).and_then(|header| bearer(header.as_bytes()));
    bearers.access(shown).map_err(|stranger| match stranger {
        Stranger::Anonymous => {
            Problem::new(Code::Unauthenticated, "this node asks for a token: send `Authorization: Bearer <token>`")
                .challenged(r#"Bearer realm="snowtide""#)
        }
        Stranger::Unknown => Problem::new(Code::Unauthenticated, stranger.to_string())
            .challenged(r#"Bearer realm="snowtide", error="invalid_token""#),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Token;

    fn bearers() -> Bearers {
        let token = |token: &str, access| Token { name: token.to_owned(), token: token.to_owned(), access };
        Bearers::new(&[token("reader", Access::Read), token("writer", Access::Write)])
    }

    fn asked(header: &str) -> Result<Access, Code> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
        access(&bearers(), &headers).map_err(|problem| problem.code)
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
        assert_eq!(access(&bearers(), &HeaderMap::new()).unwrap_err().code, Code::Unauthenticated);
    }

    #[test]
    fn reading_does_not_allow_writing() {
        assert_eq!(require(Access::Read, Access::Write).unwrap_err().code, Code::Forbidden);
        assert_eq!(require(Access::Read, Access::Read), Ok(()));
        assert_eq!(require(Access::Write, Access::Read), Ok(()));
    }
}
