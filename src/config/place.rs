//! Which node of its region a process is: a number, or the ordinal at the end of its host's name.

use serde::{Deserialize, Serialize};

use crate::identity::REGIONS_MAX;
use crate::section::shape::Shape;

/// The word that stands for the ordinal of the host's name.
const AUTO: &str = "auto";

/// What `node` may be.
pub(super) const NODE_NUMBER: Shape = Shape::TextOrCount {
    allowed: "\"auto\", or a whole number from 0 to 31",
    accepts: |text| NodeNumber::parse(text).is_some(),
};
const _: () = assert!(REGIONS_MAX == 32);

/// `node`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum NodeNumber {
    /// The ordinal at the end of the host's name, as the pods of a StatefulSet have it: `snowtide-3` is node 3.
    Auto,
    /// This one.
    Fixed(u8),
}

/// As it is written in a file, or in the environment and after a flag, where everything is text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u8),
    Text(String),
}

/// A host's name tells no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node = \"auto\" takes the number at the end of the host's name, as in snowtide-3, and {host:?} {why}; give the \
     number with --node, or the pod's name with --host-name"
)]
pub struct NoOrdinal {
    host: String,
    why: &'static str,
}

impl NodeNumber {
    /// What `text` means: a number that a node may have, or the word.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text {
            AUTO => Some(Self::Auto),
            _ if digits => text.parse().ok().filter(|number| *number < REGIONS_MAX).map(Self::Fixed),
            _ => None,
        }
    }

    /// The number; `host` is asked for the host's name only where it is needed.
    pub fn resolve(self, host: impl FnOnce() -> String) -> Result<u8, NoOrdinal> {
        match self {
            Self::Fixed(number) => Ok(number),
            Self::Auto => ordinal(host()),
        }
    }
}

/// The digits behind the last dash of a name's first label. Leading zeros are refused: `snowtide-07` and `snowtide-7`
/// would be two hosts and one node.
fn ordinal(host: String) -> Result<u8, NoOrdinal> {
    let label = host.split('.').next().unwrap_or_default();
    let digits = label.rsplit_once('-').map(|(_, digits)| digits).unwrap_or_default();
    let why = match NodeNumber::parse(digits) {
        Some(NodeNumber::Fixed(_)) if digits.len() > 1 && digits.starts_with('0') => "has one with a leading zero",
        Some(NodeNumber::Fixed(number)) => return Ok(number),
        None if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => "has one above 31",
        _ => "has none",
    };
    Err(NoOrdinal { host, why })
}

impl TryFrom<Written> for NodeNumber {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let text = match written {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        Self::parse(&text).ok_or_else(|| format!("{text:?} is neither a node's number nor \"auto\""))
    }
}

impl From<NodeNumber> for Written {
    fn from(number: NodeNumber) -> Self {
        match number {
            NodeNumber::Auto => Self::Text(AUTO.to_owned()),
            NodeNumber::Fixed(number) => Self::Number(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(host: &str) -> Result<u8, String> {
        NodeNumber::Auto.resolve(|| host.to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_ordinal_of_a_pod_is_the_number() {
        for (host, number) in [
            ("snowtide-3", 3),
            ("snowtide-0", 0),
            ("snowtide-eu-31", 31),
            ("snowtide-2.snowtide.prod.svc.cluster.local", 2),
            ("-7", 7),
        ] {
            assert_eq!(auto(host), Ok(number), "{host}");
        }
    }

    #[test]
    fn a_name_without_an_ordinal_is_refused_with_the_remedy() {
        for host in ["", "snowtide", "snowtide-", "snowtide3", "snowtide-3a", "3", "web.pod-4", "snowtide--", "a-+3"] {
            let message = auto(host).unwrap_err();
            assert!(message.contains(&format!("{host:?} has none; give the number with --node")), "{message}");
        }
        assert!(auto("snowtide-32").unwrap_err().contains("has one above 31"));
        assert!(auto("snowtide-99999999999999999999").unwrap_err().contains("has one above 31"));
        assert!(auto("snowtide-07").unwrap_err().contains("has one with a leading zero"));
        assert!(auto("snowtide-auto").unwrap_err().contains("has none"));
    }

    #[test]
    fn a_number_that_is_given_asks_no_host() {
        assert_eq!(NodeNumber::Fixed(5).resolve(|| panic!("nobody asks")), Ok(5));
    }
}
