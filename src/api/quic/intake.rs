//! From frames to submissions, purely: parses and validates the requests of one socket read and merges them.
//!
//! Requests that came in together go to the engine together, so that deeply pipelined single operations cost as little
//! as batches. What only reads goes apart from what writes: a read need not wait for the disk, and a full disk refuses
//! writes only. Requests keep their order within each kind; between unanswered requests none is promised.
//!
//! A frame that cannot be parsed is an error for the whole connection. Anything else that is wrong with a request is
//! answered, and nothing of that request is submitted.

use std::sync::Arc;

use snowtide_client::Code;
use snowtide_client::codec::{Cursor, DecodeError};
use snowtide_client::frame;
use snowtide_client::wire::{Ask, BATCH_OPERATIONS_MAX, IDS_MAX, RequestHead, ResponseRef, WireError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::{IdBatch, Part, Submission};
use super::batch::{Batch, Rejected};
use super::error;
use crate::api::Namespaces;
use crate::config::Access;

/// Takes in the frames of one read.
pub(super) struct Intake<'a> {
    namespaces: &'a Namespaces,
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
        namespaces: &'a Namespaces,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snowtide_client::codec;
    use snowtide_client::frame::FrameBuffer;
    use snowtide_client::wire::{Answer, BATCH_NAMESPACES_MAX, IdRun, Response, WireAction, WireOperation};

    use super::*;
    use crate::api::Stage;
    use crate::api::quic::refusal_at;
    use crate::identity::NamespaceId;
    use crate::replica::{Action, Outcome};

    const PLACES: usize = 100;

    /// A request frame, without its length.
    fn batch(id: u64, names: &[&str], operations: &[(u32, &str, WireAction)]) -> Vec<u8> {
        let count = |length: usize| u32::try_from(length).unwrap();
        let ask = Ask::Batch { namespaces: count(names.len()), operations: count(operations.len()) };
        let mut frame = codec::encode(&RequestHead { id, ask });
        names.iter().for_each(|name| codec::encode_into(*name, &mut frame));
        for &(namespace, key, action) in operations {
            codec::encode_into(&WireOperation { namespace, key, action }, &mut frame);
        }
        frame
    }

    fn ids(id: u64, count: u32) -> Vec<u8> {
        codec::encode(&RequestHead { id, ask: Ask::Ids(count) })
    }

    fn add(id: u64, key: &str, by: i64) -> Vec<u8> {
        batch(id, &["here"], &[(0, key, WireAction::Increment(by))])
    }

    /// What comes of `frames` with all places free; they stay taken as long as what is returned.
    fn take_as(access: Access, stage: &Stage, places: usize, frames: &[Vec<u8>]) -> Result<Taken, DecodeError> {
        let served = Namespaces::from([("here".to_owned(), NamespaceId(1)), ("too".to_owned(), NamespaceId(2))]);
        let served = served.with_elsewhere("away", &["far"]);
        let places = Arc::new(Semaphore::new(places));
        let mut intake = Intake::new(&served, access, refusal_at(stage), &places);
        for frame in frames {
            intake.take(frame)?;
        }
        Ok(intake.finish())
    }

    fn take(frames: &[Vec<u8>]) -> Taken {
        take_as(Access::Write, &Stage::Ready, PLACES, frames).unwrap()
    }

    fn responses(bytes: &[u8]) -> Vec<Response> {
        let mut buffer = FrameBuffer::new(bytes.len());
        let mut found = Vec::new();
        for chunk in bytes.chunks(1_000) {
            buffer.room()[..chunk.len()].copy_from_slice(chunk);
            buffer.filled(chunk.len());
            while let Some(frame) = buffer.next_frame().unwrap() {
                found.push(codec::decode(frame).unwrap());
            }
        }
        found
    }

    /// The id and the code of every refusal.
    fn refusals(taken: &Taken) -> Vec<(u64, Code)> {
        responses(&taken.refusals)
            .into_iter()
            .map(|response| (response.id, response.answer.unwrap_err().code))
            .collect()
    }

    #[test]
    fn what_came_together_is_submitted_together_reads_apart_from_writes() {
        let get = batch(3, &["here"], &[(0, "a", WireAction::Get)]);
        let both = batch(4, &["too", "here"], &[(0, "b", WireAction::Get), (1, "c", WireAction::Increment(-4))]);
        let taken = take(&[add(1, "a", 1), ids(2, 5), get, both, add(5, "a", 6), ids(6, 7)]);
        let asked: Vec<Vec<(u32, &str, Action)>> = taken
            .submissions
            .iter()
            .map(|some| some.operations.iter().map(|one| (one.namespace.0, &*one.key, one.action)).collect())
            .collect();
        let writes = vec![
            (1, "a", Action::Increment(1)),
            (2, "b", Action::Get),
            (1, "c", Action::Increment(-4)),
            (1, "a", Action::Increment(6)),
        ];
        assert_eq!(asked, [writes, vec![(1, "a", Action::Get)]]);
        assert_eq!(taken.ids.iter().map(IdBatch::total).collect::<Vec<_>>(), [12]);
        assert!(taken.refusals.is_empty());
    }

    #[test]
    fn the_outcomes_of_a_submission_go_back_to_their_requests() {
        let frames = [
            add(1, "a", 1),
            batch(2, &["gone", "here"], &[(0, "x", WireAction::Get), (1, "b", WireAction::Increment(2))]),
            batch(3, &["away"], &[(0, "x", WireAction::Increment(1))]),
            add(4, "c", 3),
        ];
        let mut taken = take(&frames);
        let submission = taken.submissions.pop().unwrap();
        assert!(taken.submissions.is_empty());
        assert_eq!(submission.operations.len(), 3);
        let (frames, places) = submission.answer(Ok(&[Outcome::Value(10), Outcome::Value(-20), Outcome::Overflow]));
        let unknown = Err(Code::UnknownNamespace);
        let expected = [
            (1, vec![Ok(10)]),
            (2, vec![unknown, Ok(-20)]),
            (3, vec![Err(Code::WrongRegion)]),
            (4, vec![Err(Code::CounterOverflow)]),
        ];
        let expected = expected.map(|(id, results)| Response { id, answer: Ok(Answer::Batch(results)) });
        assert_eq!(responses(&frames), expected);
        assert_eq!(places.unwrap().num_permits(), 4);
    }

    #[test]
    fn a_refusal_or_a_wrong_number_of_outcomes_reaches_every_request() {
        for answer in [Ok(&[][..]), Err(error(Code::Internal, "broken"))] {
            let submission = take(&[add(1, "a", 1), add(2, "a", 1)]).submissions.pop().unwrap();
            let (frames, _) = submission.answer(answer);
            let codes: Vec<_> = responses(&frames).iter().map(|one| one.answer.clone().unwrap_err().code).collect();
            assert_eq!(codes, [Code::Internal, Code::Internal]);
        }
    }

    #[test]
    fn ids_minted_together_are_dealt_out() {
        let batch = take(&[ids(1, 2), ids(2, 3)]).ids.pop().unwrap();
        let (frames, _) = batch.answer(Ok(vec![IdRun { first: 10, count: 3 }, IdRun { first: 20, count: 2 }]));
        let run = |first, count| IdRun { first, count };
        let expected = [(1, vec![run(10, 2)]), (2, vec![run(12, 1), run(20, 2)])];
        assert_eq!(responses(&frames), expected.map(|(id, runs)| Response { id, answer: Ok(Answer::Ids(runs)) }));
    }

    #[test]
    fn merging_stops_at_the_limits_of_one_batch() {
        let half = vec![(0, "k", WireAction::Increment(1)); BATCH_OPERATIONS_MAX / 2];
        let frames: Vec<_> = (0..5).map(|id| batch(id, &["here"], &half)).collect();
        let sizes: Vec<_> = take(&frames).submissions.iter().map(|some| some.operations.len()).collect();
        assert_eq!(sizes, [BATCH_OPERATIONS_MAX, BATCH_OPERATIONS_MAX, BATCH_OPERATIONS_MAX / 2]);
        let totals: Vec<_> = take(&[ids(1, IDS_MAX), ids(2, 1)]).ids.iter().map(IdBatch::total).collect();
        assert_eq!(totals, [IDS_MAX, 1]);
    }

    #[test]
    fn a_bad_request_is_answered_and_nothing_of_it_is_submitted() {
        let long = "k".repeat(513);
        let get = WireAction::Get;
        let names: Vec<&str> = vec!["here"; BATCH_NAMESPACES_MAX + 1];
        let many = vec![(0, "k", get); BATCH_OPERATIONS_MAX + 1];
        let cases = [
            (batch(1, &["here"], &[(0, "fine", get), (0, "", get)]), Code::InvalidRequest),
            (batch(1, &["here"], &[(0, &long, get)]), Code::InvalidRequest),
            (batch(1, &["here"], &[(1, "k", get)]), Code::InvalidRequest),
            (batch(1, &[], &[(0, "k", get)]), Code::InvalidRequest),
            (batch(1, &names, &[]), Code::TooLarge),
            (batch(1, &["here"], &many), Code::TooLarge),
            (ids(1, 0), Code::InvalidRequest),
            (ids(1, IDS_MAX + 1), Code::InvalidRequest),
        ];
        for (frame, code) in cases {
            let taken = take(&[frame, add(2, "a", 1)]);
            assert_eq!(refusals(&taken), [(1, code)]);
            assert_eq!(taken.submissions.len(), 1);
            assert_eq!(taken.submissions[0].operations.len(), 1, "the next request is not disturbed");
        }
    }

    #[test]
    fn a_reader_may_read_only() {
        let get = batch(3, &["here"], &[(0, "a", WireAction::Get)]);
        let taken = take_as(Access::Read, &Stage::Ready, PLACES, &[add(1, "a", 1), ids(2, 1), get]).unwrap();
        assert_eq!(refusals(&taken), [(1, Code::Forbidden), (2, Code::Forbidden)]);
        assert_eq!(taken.submissions.len(), 1);
    }

    #[test]
    fn one_request_more_than_there_are_places_is_throttled() {
        let taken = take_as(Access::Write, &Stage::Ready, 2, &[add(1, "a", 1), ids(2, 1), add(3, "a", 1)]).unwrap();
        assert_eq!(refusals(&taken), [(3, Code::Throttled)]);
        assert!(responses(&taken.refusals)[0].answer.clone().unwrap_err().retry_after_ms.is_some());
    }

    #[test]
    fn a_node_that_does_not_serve_says_why() {
        let stages = [
            (Stage::Starting, Code::Starting),
            (Stage::Draining, Code::Draining),
            (Stage::Fenced("a clone lives".into()), Code::Fenced),
        ];
        for (stage, code) in stages {
            let taken = take_as(Access::Write, &stage, PLACES, &[add(1, "a", 1), ids(2, 1)]).unwrap();
            assert_eq!(refusals(&taken), [(1, code), (2, code)]);
            assert!(taken.submissions.is_empty() && taken.ids.is_empty());
        }
    }

    #[test]
    fn malformed_truncated_and_trailing_frames_end_the_connection() {
        let whole = add(1, "key", 1);
        let mut trailing = whole.clone();
        trailing.push(0);
        let mut trailing_ids = ids(1, 1);
        trailing_ids.push(0);
        let mut not_text = whole.clone();
        *not_text.iter_mut().find(|byte| **byte == b'y').unwrap() = 0xff;
        let cut = whole[..whole.len() - 1].to_vec();
        for bad in [vec![], vec![0, 9], cut, trailing, trailing_ids, not_text] {
            assert!(take_as(Access::Write, &Stage::Ready, PLACES, &[bad]).is_err());
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let _ = take_as(Access::Write, &Stage::Ready, PLACES, &frames);
        }

        #[test]
        fn a_flipped_byte_never_panics(at in any::<prop::sample::Index>(), to: u8) {
            let mut frame = batch(7, &["here", "gone"], &[
                (0, "a", WireAction::Increment(5)), (1, "b", WireAction::Get), (0, "c", WireAction::Increment(-5)),
            ]);
            let at = at.index(frame.len());
            frame[at] = to;
            let _ = take_as(Access::Write, &Stage::Ready, PLACES, &[frame]);
        }
    }
}
