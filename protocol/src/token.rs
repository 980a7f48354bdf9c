//! Tokens: what an answer has shown, so that a later request, anywhere, can wait until it is known there.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::codec::{self, DecodeError};

/// The first byte of every encoded token.
const VERSION: u8 = 1;

/// What answers have shown: for each namespace, how far the logs go whose changes were seen.
///
/// A node tells one with an answer; a request that carries it is answered only from a state that includes all of it.
/// [`Token::join`] makes one out of several. It is small, holds no secret, and is written as base64url without padding,
/// the same over HTTP (`Snowtide-Token`), QUIC and on the command line.
///
/// ```
/// # fn main() -> Result<(), snowtide_protocol::BadToken> {
/// let mut token: snowtide_protocol::Token = "AQA".parse()?;
/// token.join(&"AQA".parse()?);
/// assert_eq!(token.to_string(), "AQA"); // it names nothing: every node holds that
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token(BTreeMap<u64, BTreeMap<u64, u64>>);

/// The text or the bytes are no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadToken {
    /// Not base64url without padding.
    #[error("a token is base64url without padding: {0}")]
    Text(#[from] base64::DecodeError),
    /// Another version, or nothing at all.
    #[error("a token begins with the byte {VERSION}, which is its version{}", .0.map_or(String::new(), |byte| format!(", not with {byte}")))]
    Version(Option<u8>),
    /// Cut short, or with something behind its end.
    #[error("the token is damaged: {0}")]
    Malformed(#[from] DecodeError),
}

impl Token {
    /// Names nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what another one names: whoever holds the result holds both.
    pub fn join(&mut self, other: &Self) {
        other.iter().for_each(|(scope, replica, seq)| self.raise(scope, replica, seq));
    }

    /// It names nothing, so every node holds it.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// For servers: names at least `seq` of a replica's log in a scope, which is a namespace of a cluster.
    pub fn raise(&mut self, scope: u64, replica: u64, seq: u64) {
        let held = self.0.entry(scope).or_default().entry(replica).or_default();
        *held = seq.max(*held);
    }

    /// For servers: scope, replica and seq of everything that it names.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let logs = |(scope, logs): (&u64, &'_ BTreeMap<u64, u64>)| {
            let scope = *scope;
            logs.iter().map(|(replica, seq)| (scope, *replica, *seq)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(logs)
    }

    /// The token in bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        codec::encode_into(&self.0, &mut bytes);
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadToken> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Self(codec::decode(rest)?)),
            other => Err(BadToken::Version(other.map(|(version, _)| *version))),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        Self::from_bytes(&URL_SAFE_NO_PAD.decode(text)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> impl Strategy<Value = Token> {
        prop::collection::vec((0..3_u64, any::<u64>(), any::<u64>()), 0..20).prop_map(|marks| {
            let mut token = Token::new();
            marks.into_iter().for_each(|(scope, replica, seq)| token.raise(scope, replica, seq));
            token
        })
    }

    proptest! {
        #[test]
        fn a_token_survives_its_text_which_needs_no_quoting(token in token()) {
            let text = token.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{}", text);
            prop_assert_eq!(text.parse::<Token>().unwrap(), token);
        }

        #[test]
        fn a_join_names_the_furthest_of_both_whichever_comes_first(one in token(), other in token()) {
            let (mut joined, mut reversed) = (one.clone(), other.clone());
            joined.join(&other);
            reversed.join(&one);
            prop_assert_eq!(&joined, &reversed);
            let seq = |token: &Token, scope, replica| {
                token.iter().find(|(s, r, _)| (*s, *r) == (scope, replica)).map_or(0, |(.., seq)| seq)
            };
            for (scope, replica, held) in joined.iter() {
                prop_assert_eq!(held, seq(&one, scope, replica).max(seq(&other, scope, replica)));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = text.parse::<Token>();
            let _ = Token::from_bytes(&bytes);
        }
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said() {
        let mut token = Token::new();
        token.raise(7, 8, 9);
        let text = token.to_string();
        for (bad, words) in [
            ("", "begins with the byte 1"),
            ("AgA", "not with 2"),
            ("A?A", "base64url without padding"),
            ("AQA=", "base64url without padding"),
            (&text[..text.len() - 2], "damaged"),
            (&(text.clone() + "AAAA"), "damaged"),
        ] {
            let said = bad.parse::<Token>().unwrap_err().to_string();
            assert!(said.contains(words), "{bad:?}: {said}");
        }
    }
}
