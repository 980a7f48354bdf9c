//! The replica: all replicated state of one node, as a pure state machine.

pub mod effect;
pub mod event;
pub mod message;
pub mod operation;
pub mod record;
pub mod status;

pub use effect::{CheckpointChunk, Commit, Effect, Notice};
pub use event::{Event, JournalRead, Recovered, RecoveredSpace, Ticket};
pub use message::{Digest, Message, Proof, Refused};
pub use operation::{Action, KEY_BYTES_MAX, Key, KeyLength, Operation, Outcome, Refusal};
pub use record::{Change, Payload, Record, coalesce};
pub use status::{PeerStatus, Status};
