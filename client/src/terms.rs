//! Terms: what a request asks beyond its operations, and what it is told beyond their results.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bincode::{Decode, Encode};

use crate::Code;
use crate::door::Stamp;
use crate::token::{BadToken, Token};
use crate::wire::{OnTerms, WireTerms};

/// What a request asks beyond its operations. Requests without terms are a little faster.
///
/// ```
/// # async fn example(client: &snowtide_client::Client) -> Result<(), snowtide_client::Error> {
/// use std::time::Duration;
/// use snowtide_client::{Ack, Terms};
///
/// // Durable in two regions, or a clear word that it is durable here only, after two seconds at most.
/// let terms = Terms::new().ack(Ack::Regions(2)).wait(Duration::from_secs(2)).with_token();
/// let written = client.add_on("default", "likes/42", 1, &terms).await?;
/// println!("{} after it, durable in {:?}", written.value, written.acknowledged_by);
///
/// // A later read, at any node, that includes it.
/// let after = Terms::new().after(&written.token.unwrap_or_default()).wait(Duration::from_secs(2));
/// assert!(client.get_on("default", "likes/42", &after).await?.value >= 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    after: Token,
    wait: Option<Duration>,
    ack: Ack,
    token: bool,
    view: bool,
}

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

/// One operation and what its terms asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The counter's value after the operation.
    pub value: i128,
    /// Covers everything that the answer shows, if it was asked for; `None` also if it would exceed the node's limit.
    pub token: Option<Token>,
    /// The regions that hold the write durably; empty for reads.
    pub acknowledged_by: Vec<String>,
    /// The write is durable at the node that answers, but the time was over before as many regions as asked for had it.
    /// They will. **Do not send it again**: it would count twice.
    pub pending: bool,
    /// The counter by regions, if that was asked for.
    pub view: Option<View>,
}

/// A batch and what its terms asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// One per operation, in order: the value after it, or why it was refused.
    pub results: Vec<Result<i128, Code>>,
    /// As in [`Counted`].
    pub token: Option<Token>,
    /// As in [`Counted`], for all writes of the batch.
    pub acknowledged_by: Vec<String>,
    /// As in [`Counted`].
    pub pending: bool,
    /// One per operation, if asked for.
    pub views: Vec<View>,
}

/// A counter by regions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct View {
    /// Each region's share; together they are the value.
    pub regions: Vec<Share>,
    /// The value that every node is known to show at least, as far as its logs go; `None` if that is not known yet.
    pub settled: Option<i128>,
    /// Regions of which some node is not known to hold all of the value.
    pub behind: Vec<String>,
}

/// One region's part of a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Share {
    /// Its name.
    pub region: String,
    /// What its nodes have added and subtracted.
    pub value: i128,
    /// How many milliseconds ago the region's nodes had last told how far they are, such that all of that is known here
    /// now. `None` if some node of it has not since the start of the node that answers.
    pub as_of_ms: Option<u64>,
}

impl Terms {
    /// Asks for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answer only from a state that includes what this token names; may be used several times.
    #[must_use]
    pub fn after(mut self, token: &Token) -> Self {
        self.after.join(token);
        self
    }

    /// Wait so long for the token, and for acknowledgements; the node has a limit of its own. Without this a token must
    /// be held already, and acknowledgements are awaited for as long as the node is configured to.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Who has to hold the writes durably before the answer.
    #[must_use]
    pub fn ack(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// Tell a token.
    #[must_use]
    pub fn with_token(mut self) -> Self {
        self.token = true;
        self
    }

    /// Tell each counter by regions.
    #[must_use]
    pub fn with_regions(mut self) -> Self {
        self.view = true;
        self
    }

    /// A time to wait was given.
    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some()
    }

    pub(crate) fn wants_token(&self) -> bool {
        self.token
    }

    #[cfg(feature = "http")]
    pub(crate) fn wants_views(&self) -> bool {
        self.view
    }

    #[cfg(feature = "http")]
    pub(crate) fn acknowledged_by(&self) -> Ack {
        self.ack
    }

    #[cfg(feature = "http")]
    pub(crate) fn token(&self) -> &Token {
        &self.after
    }

    /// What waiting may add to the time that an answer takes.
    pub(crate) fn patience(&self) -> Duration {
        self.wait.unwrap_or_default()
    }

    /// As it is sent; `token` is the encoded token.
    pub(crate) fn to_wire<'a>(&self, token: &'a [u8], stamp: Option<Stamp>) -> WireTerms<'a> {
        let wait_ms = self.wait.map(|wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
        let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        WireTerms {
            after: token,
            wait_ms,
            ack: self.ack,
            wants_token: self.token,
            wants_views: self.view,
            turn: stamp.map(|stamp| stamp.turn),
            incarnation: stamp.and_then(|stamp| stamp.incarnation),
            again_ms: stamp.filter(|stamp| stamp.again).map(|stamp| ms(stamp.age)),
        }
    }

    /// The token in bytes; none if it names nothing.
    pub(crate) fn token_bytes(&self) -> Vec<u8> {
        if self.after.is_empty() { Vec::new() } else { self.after.to_bytes() }
    }
}

impl Answered {
    pub(crate) fn of(answer: OnTerms) -> Result<Self, BadToken> {
        let OnTerms { results, token, acknowledged_by, pending, views, repeated: _ } = answer;
        let token = token.map(|bytes| Token::from_bytes(&bytes)).transpose()?;
        Ok(Self { results, token, acknowledged_by, pending, views })
    }
}

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
