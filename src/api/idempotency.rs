//! The names of requests that may be repeated: each belongs to a caller, who is the name of the token that he has shown. So it
//! does not matter how he writes it, or which of two tokens of that name; and nobody gets another's answers.

use std::str::FromStr;

use ring::digest::{Context, SHA256};

use crate::identity::ReplicaId;
use crate::replica::{Caller, Operation, RequestId, Turn};

/// The longest idempotency key.
pub const KEY_BYTES_MAX: usize = 255;

/// A request's place in a session: `UUID; turn=N`, with `; at=REGION/NODE` if no other node may take it, `; replica=ID` if no
/// other incarnation of its data may, and `; again=SECONDS` if it may have been sent before, for the first time so long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    id: u128,
    turn: u64,
    /// The node that it is for.
    pub at: Option<String>,
    /// The incarnation of the node's data that it is for.
    pub replica: Option<ReplicaId>,
    /// It is perhaps a repetition, first sent so many milliseconds ago; [`u64::MAX`] if that is not said.
    pub again: Option<u64>,
}

/// What a header has to be that is no [`Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "allowed: a random UUID, then `; turn=N` with a number from 1 on, then perhaps `; at=REGION/NODE`, `; replica=ID` (16 \
     hexadecimal digits) and `; again=SECONDS`"
)]
pub struct BadSession;

impl Session {
    /// The name of the request.
    pub fn name(&self, caller: &str, operations: &[Operation]) -> RequestId {
        turn(caller, self.id, self.turn, asked(operations))
    }
}

impl FromStr for Session {
    type Err = BadSession;

    fn from_str(text: &str) -> Result<Self, BadSession> {
        let mut parts = text.split(';').map(str::trim);
        let id = parts.next().and_then(uuid).ok_or(BadSession)?;
        let (mut turn, mut at, mut replica, mut again) = (None, None, None, None);
        for part in parts {
            let new = match part.split_once('=') {
                Some(("turn", number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                    turn.replace(number.parse().map_err(|_| BadSession)?).is_none()
                }
                Some(("at", node)) if !node.is_empty() => at.replace(node.to_owned()).is_none(),
                Some(("replica", digits)) => replica.replace(incarnation(digits).ok_or(BadSession)?).is_none(),
                Some(("again", number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                    let seconds: u64 = number.parse().map_err(|_| BadSession)?;
                    again.replace(seconds.saturating_mul(1_000)).is_none()
                }
                None if part == "again" => again.replace(u64::MAX).is_none(),
                _ => false,
            };
            if !new {
                return Err(BadSession);
            }
        }
        let turn = turn.filter(|turn| *turn > 0).ok_or(BadSession)?;
        Ok(Self { id, turn, at, replica, again })
    }
}

/// As [`ReplicaId`] is shown.
fn incarnation(digits: &str) -> Option<ReplicaId> {
    let whole = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| u64::from_str_radix(digits, 16).ok().map(ReplicaId))?
}

/// 8-4-4-4-12 digits (RFC 9562, section 4).
fn uuid(text: &str) -> Option<u128> {
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    let digits = groups.concat();
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u128::from_str_radix(&digits, 16).ok())?
}

/// The name that an idempotency key gives a request.
pub fn name(caller: &str, key: &str, operations: &[Operation]) -> RequestId {
    let id = digest(&[caller.as_bytes(), key.as_bytes()]);
    RequestId { caller: known(caller), id, turn: Turn::Only(asked(operations)) }
}

/// The name of a session's request; `asked` is 0 where the caller is known to number its requests well.
pub fn turn(caller: &str, session: u128, number: u64, asked: u128) -> RequestId {
    let id = digest(&[caller.as_bytes(), b"session", &session.to_be_bytes()]);
    RequestId { caller: known(caller), id, turn: Turn::Next { number, content: asked } }
}

/// What stands for a caller in the table.
#[allow(clippy::cast_possible_truncation)] // half of a hash is as good
fn known(caller: &str) -> Caller {
    Caller(digest(&[b"caller", caller.as_bytes()]) as u64)
}

fn asked(operations: &[Operation]) -> u128 {
    let mut context = Context::new(&SHA256);
    for operation in operations {
        put(&mut context, &snowtide_protocol::codec::encode(&(operation.namespace, &*operation.key, operation.action)));
    }
    number(context)
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

    use snowtide_protocol::{Action, Key};

    use super::*;
    use crate::identity::NamespaceId;

    fn add(by: i64) -> Vec<Operation> {
        let (namespace, key) = (NamespaceId(1), Key::new("k").unwrap());
        vec![Operation { namespace, key, action: Action::Increment(by) }]
    }

    #[test]
    fn a_name_tells_callers_keys_and_requests_apart() {
        let first = name("a", "key", &add(1));
        assert_eq!(name("a", "key", &add(1)), first);
        assert_ne!(name("b", "key", &add(1)).id, first.id);
        assert_ne!(name("", "akey", &add(1)).id, name("a", "key", &add(1)).id);
        let other = name("a", "key", &add(2));
        assert!(other.id == first.id && other.turn != first.turn);
        assert_ne!(name("a", "key", &[add(1), add(1)].concat()).turn, first.turn);
    }

    const UUID: &str = "01234567-89ab-CDEF-0123-456789abcdef";

    #[test]
    fn a_session_is_read_as_it_is_written_and_anything_else_refused() {
        let session: Session = format!("{UUID}; turn=7").parse().unwrap();
        let expected =
            Session { id: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, turn: 7, at: None, replica: None, again: None };
        assert_eq!(session, expected);
        let again: Session = format!(" {UUID};turn=7 ; at=eu-west/0;again").parse().unwrap();
        assert_eq!((again.at.as_deref(), again.again), (Some("eu-west/0"), Some(u64::MAX)));
        let whole: Session =
            format!("{UUID}; turn=7; at=eu-west/0; replica=0021C5b94e6bdbc5; again=60").parse().unwrap();
        let replica = Some(ReplicaId(0x0021_c5b9_4e6b_dbc5));
        assert_eq!(whole, Session { again: Some(60_000), replica, ..again });
        for bad in [
            "",
            "x; turn=1",
            "0123456789abcdef0123456789abcdef; turn=1",
            "+1234567-89ab-cdef-0123-456789abcdef; turn=1",
        ] {
            assert_eq!(bad.parse::<Session>(), Err(BadSession), "{bad}");
        }
        for bad in [
            "",
            "; turn=0",
            "; turn=",
            "; turn=+1",
            "; turn=-1",
            "; turn=18446744073709551616",
            "; again",
            "; turn=1; x",
            "; turn=1; again; again",
            "; turn=1; turn=2",
            "; turn=1; at=",
            "; turn=1; again=",
            "; turn=1; again=-1",
            "; turn=1; again=1.5",
            "; turn=1; again; again=1",
            "; turn=1; replica=",
            "; turn=1; replica=0021c5b94e6bdbc",
            "; turn=1; replica=+021c5b94e6bdbc5",
            "; turn=1; replica=0021c5b94e6bdbc5; replica=0021c5b94e6bdbc5",
        ] {
            assert_eq!(format!("{UUID}{bad}").parse::<Session>(), Err(BadSession), "{bad}");
        }
    }

    #[test]
    fn turns_of_a_session_share_a_name_and_nobody_elses() {
        let session = |turn: u64| format!("{UUID}; turn={turn}").parse::<Session>().unwrap();
        let (first, second) = (session(1).name("a", &add(1)), session(2).name("a", &add(1)));
        let next = |request: RequestId| match request.turn {
            Turn::Next { number, content } => (number, content),
            Turn::Only(_) => panic!("{request:?}"),
        };
        assert_eq!((first.id, next(first).1), (second.id, next(second).1));
        assert_eq!((next(first).0, next(second).0), (1, 2));
        assert_ne!(session(1).name("a", &add(2)).turn, first.turn, "another request");
        assert_ne!(session(1).name("b", &add(1)).id, first.id);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_session_by_accident_or_ends_the_process(text in ".{0,80}") {
            if let Ok(session) = text.parse::<Session>() {
                proptest::prop_assert!(session.turn > 0 && text.contains("turn="));
            }
        }
    }
}
