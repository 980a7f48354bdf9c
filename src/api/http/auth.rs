//! Bearer tokens over HTTP (RFC 6750).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use snowtide_protocol::Code;

use super::problem::Problem;
use crate::api::bearer::{self, Bearers, Pass, Stranger};

/// Lets a caller in.
pub(super) fn admit(bearers: &Bearers, headers: &HeaderMap) -> Result<Pass, Problem> {
    let shown = headers.get(AUTHORIZATION).and_then(|header| bearer::shown(header.as_bytes()));
    bearers.admit(shown).map_err(|stranger| match stranger {
        Stranger::Anonymous => {
            Problem::new(Code::Unauthenticated, "this node asks for a token: send `Authorization: Bearer <token>`")
                .challenged(r#"Bearer realm="snowtide""#)
        }
        Stranger::Unknown => Problem::new(Code::Unauthenticated, stranger.to_string())
            .challenged(r#"Bearer realm="snowtide", error="invalid_token""#),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Permission, Token};

    fn asked(header: &str) -> Result<String, Code> {
        let token = |token: &str| Token {
            name: token.to_owned(),
            token: token.to_owned(),
            access: vec![Permission::Read],
            namespaces: Vec::new(),
        };
        let bearers = Bearers::new(&[token("reader"), token("writer")]);
        let headers = if header.is_empty() {
            HeaderMap::new()
        } else {
            HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())])
        };
        admit(&bearers, &headers).map(|pass| pass.grant().name().to_owned()).map_err(|problem| problem.refused.code)
    }

    #[test]
    fn a_known_token_tells_who_calls_in_any_case_of_the_scheme() {
        assert_eq!(asked("Bearer reader").as_deref(), Ok("reader"));
        assert_eq!(asked("bEARER writer").as_deref(), Ok("writer"));
    }

    #[test]
    fn anything_else_is_unauthenticated() {
        for header in ["", "Bearer", "Bearer ", "Basic writer", "Bearer write", "Bearer writerr", "writer"] {
            assert_eq!(asked(header), Err(Code::Unauthenticated), "{header:?}");
        }
    }
}
