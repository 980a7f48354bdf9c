//! Acknowledgements: who holds a write durably before it is answered.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};

/// Who has to hold a write durably before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Ack {
    /// The node that answers.
    #[default]
    Local,
    /// So many distinct regions, the answering node's included.
    Regions(u8),
    /// Every region that holds the namespace.
    All,
}

/// The text names no acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed: local, all, or regions:k with k from 1 to 32")]
pub struct BadAck;

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Regions(regions) => write!(f, "regions:{regions}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Ack {
    type Err = BadAck;

    fn from_str(text: &str) -> Result<Self, BadAck> {
        match text {
            "local" => Ok(Self::Local),
            "all" => Ok(Self::All),
            _ => {
                let regions = text.strip_prefix("regions:").filter(|count| count.bytes().all(|b| b.is_ascii_digit()));
                let regions = regions.and_then(|count| count.parse().ok()).filter(|count| (1..=32).contains(count));
                regions.map(Self::Regions).ok_or(BadAck)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_written_as_it_is_read() {
        for ack in [Ack::Local, Ack::All, Ack::Regions(1), Ack::Regions(32)] {
            assert_eq!(ack.to_string().parse(), Ok(ack));
        }
        for bad in ["", "none", "regions", "regions:", "regions:0", "regions:33", "regions:+1", "regions: 1", "ALL"] {
            assert_eq!(bad.parse::<Ack>(), Err(BadAck), "{bad}");
        }
    }
}
