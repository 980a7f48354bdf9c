//! Replies, as bytes of RESP2 or RESP3.

use std::io::Write;

/// The version of the protocol that a client has chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// What every client begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Version {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Appends replies of one version.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    bytes: &'a mut Vec<u8>,
    version: Version,
}

impl<'a> Reply<'a> {
    pub(super) fn to(bytes: &'a mut Vec<u8>, version: Version) -> Self {
        Self { bytes, version }
    }

    /// A word such as `OK`.
    pub(super) fn word(&mut self, word: &str) {
        self.head('+', word);
    }

    /// An error: its first word in capitals is its kind. What a client sent may be part of it.
    pub(super) fn error(&mut self, text: &str) {
        self.bytes.push(b'-');
        let printed = text.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte });
        self.bytes.extend(printed);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(super) fn integer(&mut self, value: i64) {
        self.head(':', value);
    }

    /// The value of a counter after a change.
    pub(super) fn changed(&mut self, value: i128) {
        match (i64::try_from(value), self.version) {
            (Ok(value), _) => self.integer(value),
            (Err(_), Version::Resp3) => self.head('(', value),
            (Err(_), Version::Resp2) => self.error(
                "ERR the counter is changed, but its value is beyond the 64 bits of an integer of RESP2: read it with GET",
            ),
        }
    }

    /// The value of a counter as text.
    pub(super) fn value(&mut self, value: i128) {
        // Longer than any i128.
        let mut digits = [0; 48];
        let mut rest = &mut digits[..];
        // Cannot fail, as it is longer.
        let _ = write!(rest, "{value}");
        let left = rest.len();
        let length = digits.len().saturating_sub(left);
        self.text(digits.get(..length).unwrap_or_default());
    }

    pub(super) fn text(&mut self, bytes: &[u8]) {
        self.head('$', bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Pairs of texts, as parts of a map.
    pub(super) fn texts<'t>(&mut self, pairs: impl IntoIterator<Item = (&'t str, &'t str)>) {
        for (name, value) in pairs {
            self.text(name.as_bytes());
            self.text(value.as_bytes());
        }
    }

    /// Text for people, of several lines.
    pub(super) fn prose(&mut self, text: &str) {
        match self.version {
            Version::Resp2 => self.text(text.as_bytes()),
            Version::Resp3 => {
                self.head('=', text.len().saturating_add(4));
                self.bytes.extend_from_slice(b"txt:");
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    pub(super) fn nothing(&mut self) {
        self.bytes.extend_from_slice(match self.version {
            Version::Resp2 => b"$-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// Nothing, where an array would stand.
    pub(super) fn no_array(&mut self) {
        self.bytes.extend_from_slice(match self.version {
            Version::Resp2 => b"*-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// A reply that was made before, for each version.
    pub(super) fn made(&mut self, [resp2, resp3]: &[Vec<u8>; 2]) {
        self.bytes.extend_from_slice(match self.version {
            Version::Resp2 => resp2,
            Version::Resp3 => resp3,
        });
    }

    /// So many replies follow.
    pub(super) fn array(&mut self, length: usize) {
        self.head('*', length);
    }

    /// So many replies follow, in no order that means anything.
    pub(super) fn set(&mut self, length: usize) {
        self.head(if self.version == Version::Resp3 { '~' } else { '*' }, length);
    }

    /// So many pairs of replies follow.
    pub(super) fn map(&mut self, pairs: usize) {
        match self.version {
            Version::Resp2 => self.array(pairs.saturating_mul(2)),
            Version::Resp3 => self.head('%', pairs),
        }
    }

    fn head(&mut self, kind: char, content: impl std::fmt::Display) {
        // Writing to a vector cannot fail.
        let _ = write!(self.bytes, "{kind}{content}\r\n");
    }
}

#[cfg(test)]
mod tests {
    use redis_protocol::resp2::decode::decode as decode2;
    use redis_protocol::resp2::types::OwnedFrame as Frame2;
    use redis_protocol::resp3::decode::complete::decode as decode3;
    use redis_protocol::resp3::types::OwnedFrame as Frame3;

    use super::*;

    fn bytes(version: Version, write: impl FnOnce(&mut Reply<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut Reply::to(&mut bytes, version));
        bytes
    }

    /// What a decoder that we did not write makes of a reply, all of it.
    fn resp2(write: impl FnOnce(&mut Reply<'_>)) -> Frame2 {
        let bytes = bytes(Version::Resp2, write);
        let (frame, length) = decode2(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        frame
    }

    fn resp3(write: impl FnOnce(&mut Reply<'_>)) -> Frame3 {
        let bytes = bytes(Version::Resp3, write);
        let (frame, length) = decode3(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        frame
    }

    #[test]
    fn a_decoder_of_others_reads_what_we_write() {
        assert_eq!(resp2(|reply| reply.word("OK")), Frame2::SimpleString(b"OK".to_vec()));
        assert_eq!(resp2(|reply| reply.error("ERR a\r\nb")), Frame2::Error("ERR a  b".into()));
        assert_eq!(resp2(|reply| reply.integer(i64::MIN)), Frame2::Integer(i64::MIN));
        assert_eq!(resp2(|reply| reply.text(b"\r\n")), Frame2::BulkString(b"\r\n".to_vec()));
        assert_eq!(resp2(|reply| reply.prose("a")), Frame2::BulkString(b"a".to_vec()));
        assert_eq!(resp2(|reply| reply.nothing()), Frame2::Null);
        assert_eq!(resp3(|reply| reply.nothing()), Frame3::Null);
        let pair = |reply: &mut Reply<'_>| {
            reply.map(1);
            reply.text(b"key");
            reply.array(0);
        };
        assert_eq!(resp2(pair), Frame2::Array(vec![Frame2::BulkString(b"key".to_vec()), Frame2::Array(vec![])]));
        let Frame3::Map { data, .. } = resp3(pair) else { panic!("not a map") };
        assert_eq!(data.len(), 1);
        assert!(matches!(resp3(|reply| reply.prose("a")), Frame3::VerbatimString { data, .. } if data == b"a"));
    }

    #[test]
    fn values_beyond_64_bits_are_told_as_far_as_the_version_can() {
        let beyond = i128::from(i64::MAX) + 1;
        assert_eq!(resp2(|reply| reply.changed(-7)), Frame2::Integer(-7));
        assert!(matches!(resp2(|reply| reply.changed(beyond)), Frame2::Error(text) if text.contains("GET")));
        let Frame3::BigNumber { data, .. } = resp3(|reply| reply.changed(beyond)) else { panic!("not a big number") };
        assert_eq!(data, b"9223372036854775808");
        for value in [0, beyond, i128::MIN, i128::MAX] {
            assert_eq!(resp2(|reply| reply.value(value)), Frame2::BulkString(value.to_string().into_bytes()));
        }
    }
}
