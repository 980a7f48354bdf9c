//! What nodes say to each other about limits.
//!
//! A stream from one node to another is one-way, in order, and whole until it ends: whatever cannot be sent ends it. It
//! begins with an opening. So whoever hears a beat has heard everything that was said before it.

use bincode::{Decode, Encode};

use crate::identity::Boot;

use super::fingerprint::Fingerprint;
use super::given::Given;
use super::key::KeyHash;
use super::workers::Workers;

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Who speaks; again when its policies have changed.
    Opening(Opening),
    /// Policies that came to the sender with requests: some that it named in its opening, or more.
    Brought(Vec<Brought>),
    /// The sender lives, and whom it heard.
    Beat(Beat),
    /// With whom the sender would count from now on.
    Naming(Naming),
    /// What the sender admitted, of keys of which much was not told.
    Totals(Vec<Told>),
    /// What a peer that began in this window needs to know of it: what the sender admitted.
    Table(Vec<Told>),
    /// What the receiver itself admitted before it began, as far as the sender was told.
    Yours(Vec<Told>),
    /// There is no more of the table.
    TableEnd,
}

/// How a stream begins.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Opening {
    /// Which start of the sender's process this is.
    pub boot: Boot,
    /// When it began to count, by its window time: it remembers nothing from before.
    pub began_ms: u64,
    /// The policies that it shares.
    pub fingerprints: Vec<Fingerprint>,
}

/// A policy that came with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Brought {
    /// By its numbers and by what the sender's configuration says of all such policies.
    pub fingerprint: Fingerprint,
    /// Its numbers, by which the receiver can take it in.
    pub given: Given,
}

/// Sent ten times in the time within which a node has to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Beat {
    /// Beats are numbered from the boot's nonce on, so that no boot takes an echo of another for one of its own.
    pub number: u64,
    /// The sender's window time.
    pub unix_ms: u64,
    /// The last beat that it heard of the receiver.
    pub echo: Option<Echo>,
}

/// A beat was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Echo {
    /// Its number.
    pub number: u64,
    /// How long ago.
    pub held_ms: u64,
}

/// With whom a node would count under one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Naming {
    /// The policy.
    pub fingerprint: Fingerprint,
    /// All that it hears and that hear it, itself among them.
    pub members: Workers,
    /// Since when these and no others, without a break, by its window time.
    pub since_ms: u64,
}

/// Totals of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Told {
    /// The policy.
    pub fingerprint: Fingerprint,
    /// By key and window.
    pub totals: Vec<Total>,
}

/// What a node admitted to one key in one window so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Total {
    /// The key.
    pub key: KeyHash,
    /// The window's number.
    pub window: u32,
    /// Units.
    pub units: u64,
}

/// What is wrong with a message. The stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Something came before the opening.
    #[error("the stream did not begin with an opening")]
    NotOpened,
    /// A newer boot of the sender is known.
    #[error("the sender's boot is not its last")]
    EarlierBoot,
    /// More than any node may have.
    #[error("more policies than there can be")]
    TooManyPolicies,
}
