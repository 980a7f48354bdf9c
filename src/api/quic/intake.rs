//! From frames to submissions, purely: parses and validates the requests of one socket read and merges them.
//!
//! Requests that came in together go to the engine together, so that deeply pipelined single operations cost as little
//! as batches. What only reads goes apart from what writes: a read need not wait for the disk, and a full disk refuses
//! writes only. Requests keep their order within each kind; between unanswered requests none is promised.
//!
//! A frame that cannot be parsed is an error for the whole connection. Anything else that is wrong with a request is
//! answered, and nothing of that request is submitted.

use std::collections::BTreeMap;
use std::sync::Arc;

use snowtide_client::Code;
use snowtide_client::codec::{Cursor, DecodeError};
use snowtide_client::frame;
use snowtide_client::wire::{Ask, BATCH_OPERATIONS_MAX, IDS_MAX, RequestHead, ResponseRef, WireError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::{IdBatch, Part, Submission};
use super::batch::{Batch, Rejected};
use super::error;
use crate::config::Access;
use crate::identity::NamespaceId;

/// Takes in the frames of one read.
pub(super) struct Intake<'a> {
    namespaces: &'a BTreeMap<String, NamespaceId>,
    access: Access,
    /// Everything is refused with this, if the node does not serve.
    refusal: Option<WireError>,
    /// Unanswered requests that the connection may still have.
    places: &'a Arc<Semaphore>,
    writes: Submission,
    reads: Submission,
    ids: IdBatch,
    taken: Taken,
    /// The batch at hand; kept for its memory.
    batch: Batch,
}

/// What a read amounts to.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// For the engine, in this order.
    pub(super) submissions: Vec<Submission>,
    /// For the ID source.
    pub(super) ids: Vec<IdBatch>,
    /// Frames that can be sent at once.
    pub(super) refusals: Vec<u8>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        namespaces: &'a BTreeMap<String, NamespaceId>,
        access: Access,
        refusal: Option<WireError>,
        places: &'a Arc<Semaphore>,
    ) -> Self {
        Self {
            namespaces,
            access,
            refusal,
            places,
            writes: Submission::default(),
            reads: Submission::default(),
            ids: IdBatch::default(),
            taken: Taken::default(),
            batch: Batch::default(),
        }
    }

    /// Takes one request frame.
    pub(super) fn take(&mut self, frame: &[u8]) -> Result<(), DecodeError> {
        let mut cursor = Cursor::new(frame);
        let RequestHead { id, ask } = cursor.read()?;
        let rejected = match self.admit() {
            Err(refusal) => Some(refusal),
            Ok(place) => match self.validate(id, ask, cursor, frame.len(), place) {
                Ok(()) => None,
                Err(Rejected::Refused(refusal)) => Some(refusal),
                Err(Rejected::Malformed(error)) => return Err(error),
            },
        };
        if let Some(refusal) = rejected {
            frame::append(&ResponseRef { id, answer: Err(&refusal) }, &mut self.taken.refusals);
        }
        Ok(())
    }

    /// The end of the read.
    pub(super) fn finish(mut self) -> Taken {
        self.taken.submissions.extend([self.writes, self.reads].into_iter().filter(|some| !some.is_empty()));
        self.taken.ids.extend(Some(self.ids).filter(|some| !some.is_empty()));
        self.taken
    }

    /// Refuses early, before anything is parsed: overload must cost little.
    fn admit(&self) -> Result<OwnedSemaphorePermit, WireError> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        Arc::clone(self.places)
            .try_acquire_owned()
            .map_err(|_| error(Code::Throttled, "too many unanswered requests on this connection"))
    }

    fn validate(
        &mut self,
        id: u64,
        ask: Ask,
        cursor: Cursor<'_>,
        frame_bytes: usize,
        place: OwnedSemaphorePermit,
    ) -> Result<(), Rejected> {
        match ask {
            Ask::Ids(count) => {
                cursor.finish()?;
                self.take_ids(id, count, place).map_err(Rejected::Refused)
            }
            Ask::Batch { namespaces, operations } => {
                self.batch.read(self.namespaces, namespaces, operations, cursor)?;
                self.take_batch(id, frame_bytes, place).map_err(Rejected::Refused)
            }
        }
    }

    fn take_batch(&mut self, id: u64, frame_bytes: usize, place: OwnedSemaphorePermit) -> Result<(), WireError> {
        if self.batch.writes && self.access < Access::Write {
            return Err(error(Code::Forbidden, "this token allows reading only"));
        }
        let group = if self.batch.writes { &mut self.writes } else { &mut self.reads };
        if group.operations.len().saturating_add(self.batch.operations.len()) > BATCH_OPERATIONS_MAX {
            self.taken.submissions.push(std::mem::take(group));
        }
        let part =
            Part { id, operations: self.batch.operations.len(), unknown: std::mem::take(&mut self.batch.unknown) };
        group.push(part, &mut self.batch.operations, frame_bytes, place);
        Ok(())
    }

    fn take_ids(&mut self, id: u64, count: u32, place: OwnedSemaphorePermit) -> Result<(), WireError> {
        if self.access < Access::Write {
            return Err(error(Code::Forbidden, "this token allows reading only"));
        }
        if !(1..=IDS_MAX).contains(&count) {
            return Err(error(Code::InvalidRequest, format_args!("one request mints 1 to {IDS_MAX} ids, not {count}")));
        }
        if self.ids.total().saturating_add(count) > IDS_MAX {
            self.taken.ids.push(std::mem::take(&mut self.ids));
        }
        self.ids.push(id, count, place);
        Ok(())
    }
}
