//! The names of requests that may be repeated.

use ring::digest::{Context, SHA256};

use crate::replica::{Once, Operation, Turn};

/// The longest idempotency key.
pub const KEY_BYTES_MAX: usize = 255;

/// The name that an idempotency key gives a request of `caller`, whoever that says it is: nobody gets another's answers.
pub fn name(caller: &[u8], key: &str, operations: &[Operation]) -> Once {
    let id = digest(&[caller, key.as_bytes()]);
    let mut asked = Context::new(&SHA256);
    for operation in operations {
        put(&mut asked, &snowtide_client::codec::encode(&(operation.namespace, &*operation.key, operation.action)));
    }
    Once { id, turn: Turn::Only(number(asked)) }
}

fn digest(parts: &[&[u8]]) -> u128 {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| put(&mut context, part));
    number(context)
}

/// With its length, so that no two lists of parts look the same.
fn put(context: &mut Context, part: &[u8]) {
    context.update(&part.len().to_le_bytes());
    context.update(part);
}

fn number(context: Context) -> u128 {
    let digest = context.finish();
    let half = digest.as_ref().first_chunk::<16>().copied().unwrap_or_default();
    u128::from_be_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::NamespaceId;
    use crate::replica::{Action, Key};

    fn add(by: i64) -> Vec<Operation> {
        let (namespace, key) = (NamespaceId(1), Key::new("k").unwrap());
        vec![Operation { namespace, key, action: Action::Increment(by) }]
    }

    #[test]
    fn a_name_tells_callers_keys_and_requests_apart() {
        let first = name(b"a", "key", &add(1));
        assert_eq!(name(b"a", "key", &add(1)), first);
        assert_ne!(name(b"b", "key", &add(1)).id, first.id);
        assert_ne!(name(b"", "akey", &add(1)).id, name(b"a", "key", &add(1)).id);
        let other = name(b"a", "key", &add(2));
        assert!(other.id == first.id && other.turn != first.turn);
        assert_ne!(name(b"a", "key", &[add(1), add(1)].concat()).turn, first.turn);
    }
}
