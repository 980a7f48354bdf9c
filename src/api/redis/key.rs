//! The name of a counter: `key` in the namespace `default`, `namespace:key` in another.

use thiserror::Error;

use crate::api::{Namespaces, NotServed};
use crate::identity::NamespaceId;
use crate::replica::{BadKey, Key};

/// Where names without a namespace are.
const DEFAULT: &str = "default";

/// A name is no counter's here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum BadName {
    #[error("invalid_request: a key is UTF-8")]
    NotText,
    #[error("invalid_request: {0}")]
    Key(#[from] BadKey),
    #[error("{code}: {0}", code = .0.code().as_str())]
    NotServed(NotServed),
}

/// The counter of this name. What stands before the first colon is a namespace if one of that name is configured, whether
/// it is served here or not; else the whole name is a key.
pub(super) fn find(namespaces: &Namespaces, name: &[u8]) -> Result<(NamespaceId, Key), BadName> {
    let name = std::str::from_utf8(name).map_err(|_| BadName::NotText)?;
    let named = name.split_once(':').map(|(prefix, key)| (namespaces.find(prefix), key));
    let (namespace, key) = match named {
        Some((Ok(namespace), key)) => (Ok(namespace), key),
        Some((Err(elsewhere @ NotServed::Elsewhere(_)), key)) => (Err(elsewhere), key),
        Some((Err(NotServed::Unknown), _)) | None => (namespaces.find(DEFAULT), name),
    };
    Ok((namespace.map_err(BadName::NotServed)?, Key::of_client(key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_stands_before_the_first_colon_if_there_is_one_of_that_name() {
        let served = [("default".to_owned(), NamespaceId(1)), ("likes".to_owned(), NamespaceId(2))];
        let namespaces = Namespaces::from(served).with_elsewhere("orders", &["eu", "ap"]);
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
            "wrong_region: this node's region does not hold the namespace: ask a node of eu or ap"
        );
        assert_eq!(refused(b"likes:"), "invalid_request: a key is 1 to 512 bytes of UTF-8, this one has 0 bytes");
        assert_eq!(refused(b""), "invalid_request: a key is 1 to 512 bytes of UTF-8, this one has 0 bytes");
        assert_eq!(refused(&[b'k'; 513]), "invalid_request: a key is 1 to 512 bytes of UTF-8, this one has 513 bytes");
        for name in [&b"."[..], b"..", b"likes:.", b"default:.."] {
            assert!(refused(name).starts_with("invalid_request: a key is not \".\" or \"..\""));
        }
        for name in [&b"..."[..], b"a/../b", b".a", b"./"] {
            assert!(find(&namespaces, name).is_ok());
        }
        assert_eq!(refused(b"\xff"), "invalid_request: a key is UTF-8");
        assert_eq!(find(&Namespaces::default(), b"a"), Err(BadName::NotServed(NotServed::Unknown)));
    }
}
