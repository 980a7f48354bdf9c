//! The name of a counter: `key` in the namespace `default`, `namespace:key` in another.

use snowtide_protocol::{BadKey, Key};
use thiserror::Error;

use crate::api::bearer::{Forbidden, Grant};
use crate::api::{Namespaces, NotServed};
use crate::config::Permission;
use crate::identity::NamespaceId;

/// Where names without a namespace are.
const DEFAULT: &str = "default";

/// A name is no counter's here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum BadName {
    #[error("ERR invalid_request: a key is UTF-8")]
    NotText,
    #[error("ERR invalid_request: {0}")]
    Key(#[from] BadKey),
    #[error("ERR {code}: {0}", code = .0.code().as_str())]
    NotServed(NotServed),
    #[error("NOPERM {0}")]
    Forbidden(#[from] Forbidden),
}

/// The counter of this name, if the caller may do this to it. What stands before the first colon is a namespace if one of
/// that name is configured, whether it is served here or not; else the whole name is a key.
pub(super) fn find(
    namespaces: &Namespaces,
    grant: &Grant,
    permission: Permission,
    name: &[u8],
) -> Result<(NamespaceId, Key), BadName> {
    let name = std::str::from_utf8(name).map_err(|_| BadName::NotText)?;
    let named = name.split_once(':').map(|(prefix, key)| (prefix, namespaces.find(prefix), key));
    let (within, namespace, key) = match named {
        Some((prefix, served @ (Ok(_) | Err(NotServed::Elsewhere(_))), key)) => (prefix, served, key),
        Some((_, Err(NotServed::Unknown), _)) | None => (DEFAULT, namespaces.find(DEFAULT), name),
    };
    grant.require_in(permission, within)?;
    Ok((namespace.map_err(BadName::NotServed)?, Key::of_client(key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_stands_before_the_first_colon_if_there_is_one_of_that_name() {
        let served = [("default".to_owned(), NamespaceId(1)), ("likes".to_owned(), NamespaceId(2))];
        let namespaces = Namespaces::from(served).with_elsewhere("orders", &["eu", "ap"]);
        let anyone = Grant::anyone();
        let find = |namespaces: &Namespaces, name: &[u8]| find(namespaces, &anyone, Permission::Read, name);
        for (name, namespace, key) in [
            ("a", 1, "a"),
            ("counter:__rand_int__", 1, "counter:__rand_int__"),
            ("default:a", 1, "a"),
            ("likes:a:b", 2, "a:b"),
            ("likes", 1, "likes"),
            ("Likes:a", 1, "Likes:a"),
            (":a", 1, ":a"),
            ("a:likes:b", 1, "a:likes:b"),
        ] {
            assert_eq!(find(&namespaces, name.as_bytes()), Ok((NamespaceId(namespace), Key::new(key).unwrap())));
        }
        let refused = |name: &[u8]| find(&namespaces, name).unwrap_err().to_string();
        assert_eq!(
            refused(b"orders:1"),
            "ERR wrong_region: this node's region does not hold the namespace: ask a node of eu or ap"
        );
        assert_eq!(refused(b"likes:"), "ERR invalid_request: a key is 1 to 512 bytes of UTF-8, this one has 0 bytes");
        assert_eq!(refused(b""), "ERR invalid_request: a key is 1 to 512 bytes of UTF-8, this one has 0 bytes");
        assert_eq!(
            refused(&[b'k'; 513]),
            "ERR invalid_request: a key is 1 to 512 bytes of UTF-8, this one has 513 bytes"
        );
        assert_eq!(refused(b"\xff"), "ERR invalid_request: a key is UTF-8");
        assert_eq!(find(&Namespaces::default(), b"a"), Err(BadName::NotServed(NotServed::Unknown)));
    }
}
