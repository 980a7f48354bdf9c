//! Bearer tokens: who may call, and what. Every front door asks here.
//!
//! Only digests of the configured tokens are kept, and every one of them is compared in full, so that the time of an
//! answer tells nothing about how much of a guess was right.
//!
//! Tokens may be replaced while connections live. What a connection has shown is a [`Pass`], and is looked at again before
//! each use: a token that was taken away opens nothing from then on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use ring::hmac;
use thiserror::Error;
use tokio::sync::watch;

use crate::config::{Permission, Token};

type Digest = [u8; 32];
/// Bytes of a seal.
pub const SEAL_BYTES: usize = 32;

/// The tokens that open the doors of this node; none at all means that anyone may do anything. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bearers(Arc<watch::Sender<Arc<Table>>>);

#[derive(Debug)]
struct Table(Vec<(Digest, Arc<Grant>)>);

/// What a caller may do, and who he is.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    name: String,
    /// `None` means everything.
    permissions: Option<BTreeSet<Permission>>,
    /// `None` means all.
    namespaces: Option<BTreeSet<String>>,
}

/// What a connection has shown, and what it may do for that.
#[derive(Clone, Debug)]
pub struct Pass {
    shown: Option<Digest>,
    table: Arc<Table>,
    grant: Arc<Grant>,
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Stranger {
    /// He has shown no token.
    #[error("this node asks for a bearer token")]
    Anonymous,
    /// He has shown one that is not configured, or not any more.
    #[error("this node does not know the bearer token")]
    Unknown,
}

/// What a token does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// The token's name.
    pub caller: String,
    /// What was wanted.
    pub permission: Permission,
    /// In which namespace, if it was in one.
    pub namespace: Option<String>,
}

/// The token of `Bearer <token>`, as it stands in a header (RFC 6750); the scheme's case does not matter (RFC 9110, 11.1).
pub(super) fn shown(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

impl Bearers {
    /// With these tokens.
    pub fn new(tokens: &[Token]) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(Table::new(tokens)))))
    }

    /// From now on these tokens open the doors, and no others.
    pub fn replace(&self, tokens: &[Token]) {
        self.0.send_replace(Arc::new(Table::new(tokens)));
    }

    /// No token is asked for.
    pub fn is_open(&self) -> bool {
        self.0.borrow().0.is_empty()
    }

    /// Lets a caller in who shows this token.
    pub fn admit(&self, shown: Option<&[u8]>) -> Result<Pass, Stranger> {
        let shown = shown.map(hashed);
        let table = Arc::clone(&self.0.borrow());
        Ok(Pass { shown, grant: table.find(shown.as_ref())?, table })
    }

    /// Lets a caller in who brings a seal on these bytes, as whoever made it by [`Pass::seal`].
    pub fn admit_sealed(&self, secret: &[u8], bytes: &[u8], seal: &[u8; SEAL_BYTES]) -> Result<Pass, Stranger> {
        let table = Arc::clone(&self.0.borrow());
        let sealed = |known: &Digest| hmac::verify(&seal_key(secret, known), bytes, seal).is_ok();
        let shown = table.0.iter().map(|(known, _)| *known).find(sealed);
        Ok(Pass { shown, grant: table.find(shown.as_ref())?, table })
    }

    /// Looks at a pass again, if tokens were replaced since.
    pub fn renew(&self, pass: &mut Pass) -> Result<(), Stranger> {
        let table = Arc::clone(&self.0.borrow());
        if !Arc::ptr_eq(&table, &pass.table) {
            pass.grant = table.find(pass.shown.as_ref())?;
            pass.table = table;
        }
        Ok(())
    }

    /// Waits until tokens were replaced since the pass was last looked at, and looks at it again.
    pub async fn renewed(&self, pass: &mut Pass) -> Result<(), Stranger> {
        // Cannot fail: the sender is ours.
        let _ = self.0.subscribe().wait_for(|table| !Arc::ptr_eq(table, &pass.table)).await;
        self.renew(pass)
    }
}

impl Table {
    fn new(tokens: &[Token]) -> Self {
        Self(tokens.iter().map(|token| (hashed(token.token.as_bytes()), Arc::new(Grant::of(token)))).collect())
    }

    fn find(&self, shown: Option<&Digest>) -> Result<Arc<Grant>, Stranger> {
        if self.0.is_empty() {
            return Ok(Arc::new(Grant::anyone()));
        }
        let shown = shown.ok_or(Stranger::Anonymous)?;
        let mut found = None;
        for (known, grant) in &self.0 {
            if equal(known, shown) {
                found = Some(grant);
            }
        }
        found.cloned().ok_or(Stranger::Unknown)
    }
}

impl Pass {
    /// A seal on these bytes that nobody can make who has not shown the same token. The `secret` keeps the token from being
    /// guessed from it.
    pub fn seal(&self, secret: &[u8], bytes: &[u8]) -> [u8; SEAL_BYTES] {
        let tag = hmac::sign(&seal_key(secret, &self.shown.unwrap_or_default()), bytes);
        tag.as_ref().try_into().unwrap_or_default()
    }

    /// What it is good for, as tokens stood when it was last looked at.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }
}

impl Grant {
    /// Everything, for whoever calls.
    pub fn anyone() -> Self {
        Self { name: String::new(), permissions: None, namespaces: None }
    }

    pub(super) fn of(token: &Token) -> Self {
        let namespaces: BTreeSet<_> = token.namespaces.iter().cloned().collect();
        Self {
            name: token.name.clone(),
            permissions: Some(token.access.iter().copied().collect()),
            namespaces: (!namespaces.is_empty()).then_some(namespaces),
        }
    }

    /// Who the caller is: the name of the token. Empty if no token is asked for, which no token's name is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it allows what belongs to no namespace.
    pub fn require(&self, permission: Permission) -> Result<(), Forbidden> {
        match &self.permissions {
            Some(permissions) if !permissions.contains(&permission) => Err(self.forbids(permission, None)),
            _ => Ok(()),
        }
    }

    /// Whether it allows this in a namespace, whether there is one of that name or not.
    pub fn require_in(&self, permission: Permission, namespace: &str) -> Result<(), Forbidden> {
        let permitted = self.permissions.as_ref().is_none_or(|permissions| permissions.contains(&permission));
        let within = self.namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(namespace));
        if permitted && within { Ok(()) } else { Err(self.forbids(permission, Some(namespace))) }
    }

    fn forbids(&self, permission: Permission, namespace: Option<&str>) -> Forbidden {
        Forbidden { caller: self.name.clone(), permission, namespace: namespace.map(shortened) }
    }
}

impl std::error::Error for Forbidden {}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, permission, namespace } = self;
        write!(f, "the token {caller:?} does not allow {:?}", permission.as_str())?;
        namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " in the namespace {namespace:?}"))
    }
}

/// What a caller calls a namespace need not be one.
fn shortened(name: &str) -> String {
    const CHARS_MAX: usize = 64;
    name.chars().take(CHARS_MAX).collect()
}

fn seal_key(secret: &[u8], token: &Digest) -> hmac::Key {
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), token);
    hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
}

fn hashed(token: &[u8]) -> Digest {
    digest(&SHA256, token).as_ref().try_into().unwrap_or_default()
}

/// Compares all bytes, wherever the first difference is.
fn equal(one: &Digest, other: &Digest) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use Permission::{Admin, Ids, Read, Write};

    fn token(name: &str, access: &[Permission], namespaces: &[&str]) -> Token {
        let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
        Token { name: name.to_owned(), token: format!("{name}-token"), access: access.to_vec(), namespaces }
    }

    #[test]
    fn a_token_is_known_whole_or_not_at_all() {
        let bearers = Bearers::new(&[token("reader", &[Read], &[]), token("writer", &[Write], &[])]);
        assert_eq!(bearers.admit(Some(b"reader-token")).unwrap().grant().name(), "reader");
        assert_eq!(bearers.admit(None).unwrap_err(), Stranger::Anonymous);
        for wrong in ["", "reader-toke", "reader-token ", "Reader-token", "reader"] {
            assert_eq!(bearers.admit(Some(wrong.as_bytes())).unwrap_err(), Stranger::Unknown, "{wrong:?}");
        }
    }

    #[test]
    fn no_configured_token_means_an_open_door() {
        for shown in [None, Some(&b"anything"[..])] {
            let pass = Bearers::new(&[]).admit(shown).unwrap();
            assert_eq!((pass.grant(), pass.grant().name()), (&Grant::anyone(), ""));
            assert_eq!(pass.grant().require(Admin), Ok(()));
            assert_eq!(pass.grant().require_in(Write, "any"), Ok(()));
        }
    }

    #[test]
    fn a_grant_allows_what_it_names_and_nothing_else() {
        let all = Grant::of(&token("all", &[Read, Write], &[]));
        assert_eq!([Read, Write].map(|permission| all.require_in(permission, "any").is_ok()), [true; 2]);
        assert_eq!([Ids, Admin].map(|permission| all.require(permission).is_ok()), [false; 2]);

        let one = Grant::of(&token("one", &[Write, Ids], &["orders"]));
        assert_eq!(one.require_in(Write, "orders"), Ok(()));
        assert_eq!(one.require(Ids), Ok(()), "IDs belong to no namespace");
        let refused = one.require_in(Read, "orders").unwrap_err().to_string();
        assert_eq!(refused, r#"the token "one" does not allow "read" in the namespace "orders""#);
        for namespace in ["", "order", "orders ", "default"] {
            assert!(one.require_in(Write, namespace).is_err(), "{namespace:?}");
        }
        assert_eq!(one.require(Admin).unwrap_err().to_string(), r#"the token "one" does not allow "admin""#);
        assert_eq!(one.require_in(Write, &"x".repeat(1_000)).unwrap_err().namespace.unwrap().len(), 64);
    }

    #[test]
    fn what_was_shown_is_looked_at_again_when_tokens_are_replaced() {
        let bearers = Bearers::new(&[token("a", &[Read], &[]), token("b", &[Read], &[])]);
        let mut passes = [&b"a-token"[..], b"b-token"].map(|shown| bearers.admit(Some(shown)).unwrap());
        bearers.replace(&[token("b", &[Write], &[])]);
        assert_eq!(bearers.renew(&mut passes[0]), Err(Stranger::Unknown));
        assert_eq!(bearers.renew(&mut passes[0]), Err(Stranger::Unknown), "it stays so");
        assert_eq!(bearers.renew(&mut passes[1]), Ok(()));
        assert!(passes[1].grant().require_in(Read, "x").is_err() && passes[1].grant().require_in(Write, "x").is_ok());
    }

    #[tokio::test]
    async fn whoever_waits_learns_that_an_open_door_was_closed() {
        let bearers = Bearers::new(&[]);
        let mut pass = bearers.admit(None).unwrap();
        let waiting = tokio::spawn({
            let bearers = bearers.clone();
            async move { bearers.renewed(&mut pass).await }
        });
        bearers.replace(&[token("a", &[Read], &[])]);
        assert_eq!(waiting.await.unwrap(), Err(Stranger::Anonymous));
    }
}
