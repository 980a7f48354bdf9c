//! Bearer tokens: who may call, and what. Every front door asks here.
//!
//! Only digests of the configured tokens are kept, and every one of them is compared in full, so that the time of an
//! answer tells nothing about how much of a guess was right.

use ring::digest::{SHA256, digest};
use thiserror::Error;

use crate::config::{Access, Token};

const DIGEST_BYTES: usize = 32;

/// The tokens that open a door; none at all means that anyone may do anything.
pub(super) struct Bearers(Vec<([u8; DIGEST_BYTES], Access)>);

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Stranger {
    #[error("this node asks for a bearer token")]
    Anonymous,
    #[error("this node does not know the bearer token")]
    Unknown,
}

impl Bearers {
    pub(super) fn new(tokens: &[Token]) -> Self {
        Self(tokens.iter().map(|Token { token, access, .. }| (hashed(token.as_bytes()), *access)).collect())
    }

    /// No token is asked for.
    pub(super) fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// What the caller may do who shows this token.
    pub(super) fn access(&self, shown: Option<&[u8]>) -> Result<Access, Stranger> {
        if self.is_open() {
            return Ok(Access::Write);
        }
        let shown = hashed(shown.ok_or(Stranger::Anonymous)?);
        let mut found = None;
        for (known, access) in &self.0 {
            if equal(known, &shown) {
                found = found.max(Some(*access));
            }
        }
        found.ok_or(Stranger::Unknown)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_decide_what_is_allowed() {
        let token = |token: &str, access| Token { name: token.to_owned(), token: token.to_owned(), access };
        let bearers = Bearers::new(&[token("reader", Access::Read), token("writer", Access::Write)]);
        assert_eq!(bearers.access(Some(b"reader")), Ok(Access::Read));
        assert_eq!(bearers.access(Some(b"writer")), Ok(Access::Write));
        assert_eq!(bearers.access(None), Err(Stranger::Anonymous));
        for wrong in ["", "reade", "reader ", "Writer"] {
            assert_eq!(bearers.access(Some(wrong.as_bytes())), Err(Stranger::Unknown), "{wrong:?}");
        }
    }

    #[test]
    fn no_configured_token_means_an_open_door() {
        assert_eq!(Bearers::new(&[]).access(None), Ok(Access::Write));
        assert_eq!(Bearers::new(&[]).access(Some(b"anything")), Ok(Access::Write));
    }
}
