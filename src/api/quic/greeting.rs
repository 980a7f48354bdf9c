//! The first frames: which version, which token, what it allows.

use ring::digest::{SHA256, digest};
use snowtide_client::Code;
use snowtide_client::wire::{Hello, VERSION, Welcome, WireError};

use super::{Backend, Door, error};
use crate::config::{Access, Token};

/// Welcomes the client, or says why not.
pub(super) fn greet<B: Backend>(door: &Door<B>, hello: &Hello) -> Result<(Welcome, Access), WireError> {
    let (lowest, highest) = hello.versions;
    if !(lowest..=highest).contains(&VERSION) {
        let detail = format!("this node speaks version {VERSION} of the frames, the client {lowest} to {highest}");
        return Err(error(Code::InvalidRequest, detail));
    }
    let access = access(&door.tokens, hello.token.as_deref())?;
    let welcome = Welcome {
        version: VERSION,
        region: door.region.to_string(),
        node: door.node,
        frame_bytes_max: u32::try_from(door.limits.frame_bytes_max).unwrap_or(u32::MAX),
        requests_max: door.limits.requests_max,
    };
    Ok((welcome, access))
}

/// What the token allows; without configured tokens everyone may do everything.
fn access(tokens: &[Token], given: Option<&str>) -> Result<Access, WireError> {
    if tokens.is_empty() {
        return Ok(Access::Write);
    }
    let Some(given) = given else { return Err(error(Code::Unauthenticated, "this node asks for a bearer token")) };
    // No early exit, so that the time taken tells nothing about the tokens.
    let mut found = None;
    for token in tokens {
        if same(given, &token.token) {
            found = found.max(Some(token.access));
        }
    }
    found.ok_or_else(|| error(Code::Unauthenticated, "this node does not know the bearer token"))
}

/// Compares digests, in which a guess cannot be improved byte by byte, and looks at every byte of them.
fn same(given: &str, expected: &str) -> bool {
    let (given, expected) = (digest(&SHA256, given.as_bytes()), digest(&SHA256, expected.as_bytes()));
    let difference = given.as_ref().iter().zip(expected.as_ref()).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(token: &str, access: Access) -> Token {
        Token { name: token.into(), token: token.into(), access }
    }

    #[test]
    fn tokens_decide_what_is_allowed() {
        let tokens = [token("reader", Access::Read), token("writer", Access::Write)];
        assert_eq!(access(&[], None), Ok(Access::Write));
        assert_eq!(access(&[], Some("anything")), Ok(Access::Write));
        assert_eq!(access(&tokens, Some("reader")), Ok(Access::Read));
        assert_eq!(access(&tokens, Some("writer")), Ok(Access::Write));
        for wrong in [None, Some(""), Some("reade"), Some("reader "), Some("Writer")] {
            assert_eq!(access(&tokens, wrong).unwrap_err().code, Code::Unauthenticated, "{wrong:?}");
        }
    }
}
