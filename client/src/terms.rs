//! Terms: what a request asks beyond its operations, and what it is told beyond their results.

use std::time::Duration;

use snowtide_protocol::wire::OnTerms;
use snowtide_protocol::{Ack, BadToken, Code, Token, View};

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
#[must_use]
pub struct Terms {
    pub(crate) after: Token,
    pub(crate) wait: Option<Duration>,
    pub(crate) ack: Ack,
    pub(crate) wants_token: bool,
    pub(crate) wants_views: bool,
}

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

impl Terms {
    /// Asks for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answer only from a state that includes what this token names; may be used several times.
    pub fn after(mut self, token: &Token) -> Self {
        self.after.join(token);
        self
    }

    /// Wait so long for the token, and for acknowledgements; the node has a limit of its own. Without this a token must
    /// be held already, and acknowledgements are awaited for as long as the node is configured to.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Who has to hold the writes durably before the answer.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// Tell a token.
    pub fn with_token(mut self) -> Self {
        self.wants_token = true;
        self
    }

    /// Tell each counter by regions.
    pub fn with_regions(mut self) -> Self {
        self.wants_views = true;
        self
    }

    /// What waiting may add to the time that an answer takes.
    pub(crate) fn patience(&self) -> Duration {
        self.wait.unwrap_or_default()
    }
}

impl Answered {
    pub(crate) fn of(answer: OnTerms) -> Result<Self, BadToken> {
        let OnTerms { results, token, acknowledged_by, pending, views, repeated: _ } = answer;
        let token = token.map(|bytes| Token::from_bytes(&bytes)).transpose()?;
        Ok(Self { results, token, acknowledged_by, pending, views })
    }
}
