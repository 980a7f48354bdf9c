//! What clients ask of counters, and the answers.

use bincode::{Decode, Encode};
use snowtide_protocol::{Action, Key};

use crate::identity::NamespaceId;

use super::token::Missing;

/// One operation on one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The counter's namespace.
    pub namespace: NamespaceId,
    /// The counter's key.
    pub key: Key,
    /// What to do with it.
    pub action: Action,
}

/// The answer to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// The counter's value, this operation included. Everything in it is durable here.
    Value(i128),
    /// A 64-bit total would overflow: the counter is unchanged.
    Overflow,
    /// This node does not serve the namespace: nothing was done.
    UnknownNamespace,
    /// The namespace holds as many counters as it may, and this would be a new one: nothing was done.
    QuotaExceeded,
}

/// Why a whole batch was refused. Nothing of it was applied, [`Refusal::Uncertain`] aside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue in front of the engine is full.
    #[error("too many requests are waiting at this node; retry after a moment")]
    Throttled,
    /// More changed rows wait for the checkpoint than `checkpoint.dirty_rows_max`, or more batches wait for rows.
    #[error("this node cannot write its changes to disk as fast as they come; retry after a moment")]
    Overloaded,
    /// The batch's token names something that was not held here in time.
    #[error(
        "the token goes up to commit {} of replica {} (node {}), of which this node holds {}; ask again, wait longer or \
         ask another node",
        .0.wanted, .0.replica, .0.replica.worker(), .0.known
    )]
    TokenNotHeld(Missing),
    /// `api.waiting_max` requests wait for tokens or for other regions already.
    #[error("too many requests wait for tokens or for other regions at this node; retry after a moment")]
    TooManyWaiting,
    /// The batch asks for the acknowledgement of more regions than there are.
    #[error("{wanted} regions are to acknowledge the write, and {held_by} hold the namespace")]
    TooFewRegions {
        /// As many as were asked for.
        wanted: u8,
        /// As many as hold the namespace.
        held_by: usize,
    },
    /// The same request is being carried out.
    #[error("a request with this idempotency key is being carried out; ask again for its answer")]
    UnderWay,
    /// Another request had this name.
    #[error("the idempotency key was used for another request; use a new one for each")]
    AnotherRequest,
    /// A later request of the session has been carried out, or the session may have been forgotten since.
    #[error("this node does not know any more whether the request was carried out")]
    Outdated,
    /// The session belongs to another incarnation of the node's data.
    #[error(
        "the session belongs to another incarnation of this node's data: if the request was sent before, nobody knows whether \
         it was carried out; begin a new session"
    )]
    AnotherIncarnation,
    /// The caller's share of `idempotency.bytes_max` is used up, or what there is for requests of its kind.
    #[error(
        "this node remembers as many requests of this caller as it may (idempotency.bytes_max is shared out among callers); \
         retry later, or without a key"
    )]
    TooManyNames,
    /// While it was carried out, another process was found to count under the same replica id (I3).
    #[error(
        "it is not known whether the request counts: while it was carried out, another process was found to count in the \
             name of this node"
    )]
    Uncertain,
    /// The start is not proven yet (I3).
    #[error("this node is starting: it waits until its peers confirm its history")]
    Starting,
    /// The node is taken out of service, or shuts down.
    #[error("this node is taken out of service; use another one")]
    Draining,
    /// The disk has no room for what is new.
    #[error("the disk under this node's data is nearly full; writes are refused until there is room")]
    DiskLow,
    /// The node has fenced itself, or its store is poisoned.
    #[error("this node has stopped itself: {0}")]
    Fenced(String),
}

/// A question for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Of which namespace.
    pub namespace: NamespaceId,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Where the page before ended; `None` for the first.
    pub after: Option<Key>,
    /// The most counters that it may hold; at least one.
    pub limit: usize,
}

/// A part of a namespace's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In no order that means anything, each with its durable value.
    pub counters: Vec<(Key, i128)>,
    /// Where the next page begins; `None` if there is none. A page may be short or empty and still have one.
    pub next: Option<Key>,
}
