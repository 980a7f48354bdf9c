//! The name of a counter: `key` in the namespace `default`, `namespace:key` in another.

use snowtide_protocol::{Action, Code};

use crate::api::bearer::Grant;
use crate::api::{Namespaces, NotServed, Refused};
use crate::replica::Operation;

/// Where names without a namespace are.
const DEFAULT: &str = "default";

/// What the engine is asked about the counter of this name. What stands before the first colon is a namespace if one of
/// that name is configured, whether it is served here or not; else the whole name is a key.
pub(super) fn operation(
    namespaces: &Namespaces,
    grant: &Grant,
    name: &[u8],
    action: Action,
) -> Result<Operation, Refused> {
    let not_text = |_| Refused::new(Code::InvalidRequest, "a key is UTF-8");
    let name = std::str::from_utf8(name).map_err(not_text)?;
    let is_known = |prefix: &str| namespaces.find(prefix) != Err(NotServed::Unknown);
    let (namespace, key) = name.split_once(':').filter(|(prefix, _)| is_known(prefix)).unwrap_or((DEFAULT, name));
    namespaces.named(grant, namespace).operation(key, action)
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::Key;

    use super::*;
    use crate::identity::NamespaceId;

    #[test]
    fn a_namespace_stands_before_the_first_colon_if_there_is_one_of_that_name() {
        let served = [("default".to_owned(), NamespaceId(1)), ("likes".to_owned(), NamespaceId(2))];
        let namespaces = Namespaces::from(served).with_elsewhere("orders", &["eu", "ap"]);
        let anyone = Grant::anyone();
        let find = |namespaces: &Namespaces, name: &[u8]| operation(namespaces, &anyone, name, Action::Get);
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
            let expected =
                Operation { namespace: NamespaceId(namespace), key: Key::new(key).unwrap(), action: Action::Get };
            assert_eq!(find(&namespaces, name.as_bytes()), Ok(expected));
        }
        let refused = |name: &[u8]| {
            let refused = find(&namespaces, name).unwrap_err();
            (refused.code, refused.detail.into_owned())
        };
        let elsewhere = "this node's region does not hold the namespace: ask a node of eu or ap".to_owned();
        assert_eq!(refused(b"orders:1"), (Code::WrongRegion, elsewhere));
        let length = |bytes| format!("a key is 1 to 512 bytes of UTF-8, this one has {bytes} bytes");
        assert_eq!(refused(b"likes:"), (Code::InvalidRequest, length(0)));
        assert_eq!(refused(b""), (Code::InvalidRequest, length(0)));
        assert_eq!(refused(&[b'k'; 513]), (Code::TooLarge, length(513)));
        assert_eq!(refused(b"\xff"), (Code::InvalidRequest, "a key is UTF-8".to_owned()));
        assert_eq!(find(&Namespaces::default(), b"a").unwrap_err().code, Code::UnknownNamespace);
    }
}
