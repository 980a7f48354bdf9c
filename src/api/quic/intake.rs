//! From frames to submissions, purely: parses and validates the requests of one socket read and merges them.
//!
//! Requests that came in together go to the engine together, so that deeply pipelined single operations cost as little
//! as batches. What only reads goes apart from what writes: a read need not wait for the disk, and a full disk refuses
//! writes only. A request on terms goes alone, because it may wait. Requests keep their order within each kind; between unanswered requests none is promised.
//!
//! A frame that cannot be parsed is an error for the whole connection. Anything else that is wrong with a request is
//! answered, and nothing of that request is submitted.

use std::sync::Arc;
use std::time::Duration;

use snowtide_protocol::codec::{Cursor, DecodeError};
use snowtide_protocol::wire::{Ask, BATCH_OPERATIONS_MAX, IDS_MAX, RequestHead, ResponseRef, Turn, WireTerms};
use snowtide_protocol::{Ack, BadAck, Code, frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::{IdBatch, Part, Submission};
use super::batch::{Batch, Rejected};
use super::limits::Decisions;
use super::written;
use crate::api::bearer::Grant;
use crate::api::gate::{Decider, Plan};
use crate::api::idempotency;
use crate::api::terms::TermsCodec;
use crate::api::{Namespaces, Refused, Stage};
use crate::config::Permission;
use crate::identity::{REGIONS_MAX, ReplicaId};
use crate::replica::{Refusal, Terms};

/// Takes in the frames of one read.
pub(super) struct Intake<'a> {
    namespaces: &'a Namespaces,
    terms_codec: &'a TermsCodec,
    grant: &'a Grant,
    decider: &'a Decider,
    closed: Closed,
    /// Unanswered requests that the connection may still have.
    places: &'a Arc<Semaphore>,
    /// Operations that the engine has room for.
    room: usize,
    writes: Submission,
    reads: Submission,
    ids: IdBatch,
    decisions: Decisions,
    taken: Taken,
    /// The batch at hand; kept for its memory.
    batch: Batch,
}

/// What is refused of all requests, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct Closed {
    counting: Option<Refused>,
    minting: Option<Refused>,
}

/// What a read amounts to.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// For the engine, in this order.
    pub(super) submissions: Vec<Submission>,
    /// For the ID source.
    pub(super) ids: Vec<IdBatch>,
    /// Frames that can be sent at once: refusals and decisions.
    pub(super) answers: Vec<u8>,
    /// The first thing that the caller's token does not allow, for the audit log.
    pub(super) forbidden: Option<String>,
}

impl Closed {
    /// What a node refuses at this stage.
    pub(super) fn at(stage: &Stage) -> Self {
        Self { counting: stage.admit_counting().err(), minting: stage.admit_minting().err() }
    }

    /// Everything is refused.
    pub(super) fn entirely(refused: &Refused) -> Self {
        Self { counting: Some(refused.clone()), minting: Some(refused.clone()) }
    }
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        namespaces: &'a Namespaces,
        terms_codec: &'a TermsCodec,
        grant: &'a Grant,
        decider: &'a Decider,
        closed: Closed,
        places: &'a Arc<Semaphore>,
        room: usize,
    ) -> Self {
        Self {
            namespaces,
            terms_codec,
            grant,
            decider,
            closed,
            places,
            room,
            writes: Submission::default(),
            reads: Submission::default(),
            ids: IdBatch::default(),
            decisions: Decisions::default(),
            taken: Taken::default(),
            batch: Batch::default(),
        }
    }

    /// Takes one request frame.
    pub(super) fn take(&mut self, frame: &[u8]) -> Result<(), DecodeError> {
        let mut cursor = Cursor::new(frame);
        let RequestHead { id, ask } = cursor.read()?;
        let admitted = self.admit(ask).map_err(Rejected::from);
        let taken = admitted.and_then(|place| self.validate(id, ask, cursor, frame.len(), place));
        if let Err(Rejected::Malformed(error)) = taken {
            return Err(error);
        }
        if let Err(Rejected::Refused(refusal)) = taken {
            if refusal.code == Code::Forbidden {
                self.taken.forbidden.get_or_insert_with(|| refusal.detail.clone().into_owned());
            }
            frame::append(&ResponseRef { id, answer: Err(&written(&refusal)) }, &mut self.taken.answers);
        }
        Ok(())
    }

    /// The end of the read.
    pub(super) fn finish(mut self) -> Taken {
        self.taken.submissions.extend([self.writes, self.reads].into_iter().filter(|some| !some.is_empty()));
        self.taken.ids.extend(Some(self.ids).filter(|some| !some.is_empty()));
        self.decisions.answer(self.decider, &mut self.taken.answers);
        self.taken
    }

    /// Refuses early, before anything is parsed: overload must cost little.
    fn admit(&mut self, ask: Ask) -> Result<OwnedSemaphorePermit, Refused> {
        let closed = match ask {
            Ask::Ids(_) | Ask::Limits { .. } => &self.closed.minting,
            Ask::Batch { .. } | Ask::OnTerms { .. } => &self.closed.counting,
        };
        if let Some(refused) = closed {
            return Err(refused.clone());
        }
        let place = Arc::clone(self.places)
            .try_acquire_owned()
            .map_err(|_| Refused::new(Code::Throttled, "too many unanswered requests on this connection"))?;
        if let Ask::Batch { operations, .. } | Ask::OnTerms { operations, .. } = ask {
            let left = usize::try_from(operations).ok().and_then(|operations| self.room.checked_sub(operations));
            self.room = left.ok_or(Refusal::Throttled)?;
        }
        Ok(place)
    }

    fn validate(
        &mut self,
        id: u64,
        ask: Ask,
        mut cursor: Cursor<'_>,
        frame_bytes: usize,
        place: OwnedSemaphorePermit,
    ) -> Result<(), Rejected> {
        match ask {
            Ask::Ids(count) => {
                cursor.finish()?;
                Ok(self.take_ids(id, count, place)?)
            }
            Ask::Batch { namespaces, operations } => {
                self.batch.read(self.namespaces, self.grant, namespaces, operations, cursor)?;
                self.take_batch(id, None, frame_bytes, place);
                Ok(())
            }
            Ask::Limits { policies, checks } => {
                self.decider.admit(self.grant)?;
                self.decisions.read(self.decider, id, (policies, checks), cursor)
            }
            Ask::OnTerms { namespaces, operations } => {
                let terms = cursor.read()?;
                self.batch.read(self.namespaces, self.grant, namespaces, operations, cursor)?;
                let terms = self.terms(&terms)?;
                self.take_batch(id, Some(terms), frame_bytes, place);
                Ok(())
            }
        }
    }

    fn terms(&self, terms: &WireTerms<'_>) -> Result<Box<Terms>, Refused> {
        let invalid = |detail: &dyn std::fmt::Display| Refused::new(Code::InvalidRequest, detail.to_string());
        if matches!(terms.ack, Ack::Regions(regions) if !(1..=REGIONS_MAX).contains(&regions)) {
            return Err(invalid(&BadAck));
        }
        let after = self.terms_codec.read_bytes(terms.after).map_err(|detail| invalid(&detail))?;
        let wait = terms.wait_ms.map(|ms| Duration::from_millis(u64::from(ms)));
        let (wait_ms, ack_wait_ms) = self.terms_codec.waits_ms(wait);
        let name = |Turn { session, number }| idempotency::turn(self.grant.name(), session, number, 0);
        Ok(Box::new(Terms {
            after,
            wait_ms,
            ack: terms.ack,
            ack_wait_ms,
            wants_token: terms.wants_token,
            in_passing: false,
            wants_views: terms.wants_views,
            request_id: terms.turn.map(name),
            incarnation: terms.incarnation.map(ReplicaId),
            again: terms.again_ms,
        }))
    }

    fn take_batch(&mut self, id: u64, terms: Option<Box<Terms>>, frame_bytes: usize, place: OwnedSemaphorePermit) {
        let Plan { operations, left_out } = &mut self.batch.plan;
        let writes = operations.iter().any(|operation| operation.action.is_write());
        let group = if writes { &mut self.writes } else { &mut self.reads };
        let full = group.operations.len().saturating_add(operations.len()) > BATCH_OPERATIONS_MAX;
        if !group.is_empty() && (full || terms.is_some()) {
            self.taken.submissions.push(std::mem::take(group));
        }
        let part = Part { id, operations: operations.len(), left_out: std::mem::take(left_out) };
        group.push(part, operations, frame_bytes, place);
        if let Some(terms) = terms {
            group.put_on(terms);
            self.taken.submissions.push(std::mem::take(group));
        }
    }

    fn take_ids(&mut self, id: u64, count: u32, place: OwnedSemaphorePermit) -> Result<(), Refused> {
        self.grant.require(Permission::Ids).map_err(|forbidden| Refused::from(&forbidden))?;
        if !(1..=IDS_MAX).contains(&count) {
            let detail = format!("one request mints 1 to {IDS_MAX} ids, not {count}");
            return Err(Refused::new(Code::InvalidRequest, detail));
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
    use snowtide_protocol::frame::FrameBuffer;
    use snowtide_protocol::wire::{Answer, BATCH_NAMESPACES_MAX, IdRun, Response, WireOperation};
    use snowtide_protocol::{Action, codec};

    use super::*;
    use crate::api::known::KNOWN;
    use crate::config::map::ClusterMap;
    use crate::config::{Config, Token};
    use crate::engine::Applied;
    use crate::identity::NamespaceId;
    use crate::replica::{self, Outcome};

    const PLACES: usize = 100;
    const ROOM: usize = 100_000;

    fn terms_codec() -> TermsCodec {
        TermsCodec::new(&Config::builtin(), &ClusterMap::default())
    }

    /// As `batch`, on terms.
    fn on_terms(id: u64, terms: &WireTerms<'_>, operations: &[(u32, &str, Action)]) -> Vec<u8> {
        let ask = Ask::OnTerms { namespaces: 1, operations: u32::try_from(operations.len()).unwrap() };
        let mut frame = codec::encode(&RequestHead { id, ask });
        codec::encode_into(terms, &mut frame);
        codec::encode_into("here", &mut frame);
        for &(namespace, key, action) in operations {
            codec::encode_into(&WireOperation { namespace, key, action }, &mut frame);
        }
        frame
    }

    /// A request frame, without its length.
    fn batch(id: u64, names: &[&str], operations: &[(u32, &str, Action)]) -> Vec<u8> {
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
        batch(id, &["here"], &[(0, key, Action::Increment(by))])
    }

    /// What comes of `frames` with all places free; they stay taken as long as what is returned.
    fn take_as(grant: &Grant, stage: &Stage, places: usize, frames: &[Vec<u8>]) -> Result<Taken, DecodeError> {
        let served = Namespaces::from([("here".to_owned(), NamespaceId(1)), ("too".to_owned(), NamespaceId(2))]);
        let served = served.with_elsewhere("away", &["far"]);
        let places = Arc::new(Semaphore::new(places));
        let terms_codec = terms_codec();
        let mut intake = Intake::new(&served, &terms_codec, grant, &KNOWN.decider, Closed::at(stage), &places, ROOM);
        for frame in frames {
            intake.take(frame)?;
        }
        Ok(intake.finish())
    }

    fn take(frames: &[Vec<u8>]) -> Taken {
        take_as(&Grant::anyone(), &Stage::Ready, PLACES, frames).unwrap()
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
        responses(&taken.answers).into_iter().map(|response| (response.id, response.answer.unwrap_err().code)).collect()
    }

    #[test]
    fn what_came_together_is_submitted_together_reads_apart_from_writes() {
        let get = batch(3, &["here"], &[(0, "a", Action::Get)]);
        let both = batch(4, &["too", "here"], &[(0, "b", Action::Get), (1, "c", Action::Increment(-4))]);
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
        assert!(taken.answers.is_empty());
    }

    #[test]
    fn the_outcomes_of_a_submission_go_back_to_their_requests() {
        let frames = [
            add(1, "a", 1),
            batch(2, &["gone", "here"], &[(0, "x", Action::Get), (1, "b", Action::Increment(2))]),
            batch(3, &["away", "here"], &[(0, "x", Action::Increment(1)), (1, "d", Action::Increment(4))]),
            add(4, "c", 3),
        ];
        let mut taken = take(&frames);
        let submission = taken.submissions.pop().unwrap();
        assert!(taken.submissions.is_empty());
        assert_eq!(submission.operations.len(), 4);
        let outcomes = vec![Outcome::Value(10), Outcome::Value(-20), Outcome::Value(4), Outcome::Overflow];
        let (frames, places) = submission.answer(Ok(Applied { outcomes, receipt: None }), &terms_codec());
        let unknown = Err(Code::UnknownNamespace);
        let expected = [
            (1, vec![Ok(10)]),
            (2, vec![unknown, Ok(-20)]),
            (3, vec![Err(Code::WrongRegion), Ok(4)]),
            (4, vec![Err(Code::CounterOverflow)]),
        ];
        let expected = expected.map(|(id, results)| Response { id, answer: Ok(Answer::Batch(results)) });
        assert_eq!(responses(&frames), expected);
        assert_eq!(places.unwrap().num_permits(), 4);
    }

    #[test]
    fn a_request_of_which_nothing_is_served_needs_no_disk() {
        let away = batch(2, &["away"], &[(0, "x", Action::Increment(1))]);
        let mut submissions = take(&[add(1, "a", 1), away]).submissions;
        let submission = submissions.pop().unwrap();
        assert_eq!((submissions.len(), submission.operations.len()), (1, 0));
        let (frames, _) = submission.answer(Ok(Applied::default()), &terms_codec());
        let answer = Ok(Answer::Batch(vec![Err(Code::WrongRegion)]));
        assert_eq!(responses(&frames), [Response { id: 2, answer }]);
    }

    #[test]
    fn a_refusal_reaches_every_request() {
        let submission = take(&[add(1, "a", 1), add(2, "a", 1)]).submissions.pop().unwrap();
        let (frames, _) = submission.answer(Err(Refused::stopped()), &terms_codec());
        let codes: Vec<_> = responses(&frames).iter().map(|one| one.answer.clone().unwrap_err().code).collect();
        assert_eq!(codes, [Code::Internal, Code::Internal]);
    }

    #[test]
    fn a_request_on_terms_goes_alone_and_in_its_place() {
        let increment = [(0, "a", Action::Increment(1))];
        let terms = WireTerms { ack: Ack::Regions(2), wants_token: true, ..WireTerms::default() };
        let frames = [add(1, "a", 1), on_terms(2, &terms, &increment), add(3, "a", 1), add(4, "a", 1)];
        let submissions = take(&frames).submissions;
        let shape: Vec<_> = submissions.iter().map(|some| (some.operations.len(), some.terms.is_some())).collect();
        assert_eq!(shape, [(1, false), (1, true), (2, false)]);
        let terms = submissions[1].terms.as_deref().unwrap();
        assert_eq!((terms.ack, terms.ack_wait_ms), (Ack::Regions(2), 2_000));
    }

    #[test]
    fn the_answer_to_a_request_on_terms_tells_what_was_asked() {
        let get = [(0, "a", Action::Get)];
        let submission = take(&[on_terms(5, &WireTerms::default(), &get)]).submissions.pop().unwrap();
        let namespace = NamespaceId::of("default");
        let token = [(namespace, ReplicaId(7), 8)].into_iter().collect();
        let receipt = replica::Receipt {
            repeated: false,
            token: Some(token),
            acknowledged_by: [3].into(),
            pending: true,
            views: Vec::new(),
        };
        let applied = Applied { outcomes: vec![Outcome::Value(4)], receipt: Some(Box::new(receipt)) };
        let (frames, _) = submission.answer(Ok(applied), &terms_codec());
        let [Response { id: 5, answer: Ok(Answer::OnTerms(told)) }] = &responses(&frames)[..] else { panic!() };
        assert_eq!((&told.results[..], told.pending), (&[Ok(4)][..], true));
        assert_eq!(told.acknowledged_by, ["region-3"]);
        let token = snowtide_protocol::Token::from_bytes(told.token.as_deref().unwrap()).unwrap();
        assert_eq!(token.iter().map(|(_, replica, seq)| (replica, seq)).collect::<Vec<_>>(), [(7, 8)]);
    }

    #[test]
    fn bad_terms_are_answered_and_nothing_is_submitted() {
        let get = [(0, "a", Action::Get)];
        let ack = |regions| WireTerms { ack: Ack::Regions(regions), ..WireTerms::default() };
        let long = [1; 9_000];
        for terms in [
            ack(0),
            ack(33),
            WireTerms { after: &[2], ..WireTerms::default() },
            WireTerms { after: &[1, 9], ..WireTerms::default() },
            WireTerms { after: &long, ..WireTerms::default() },
        ] {
            let taken = take(&[on_terms(1, &terms, &get)]);
            assert_eq!(refusals(&taken), [(1, Code::InvalidRequest)], "{terms:?}");
            assert!(taken.submissions.is_empty());
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
        let half = vec![(0, "k", Action::Increment(1)); BATCH_OPERATIONS_MAX / 2];
        let frames: Vec<_> = (0..5).map(|id| batch(id, &["here"], &half)).collect();
        let sizes: Vec<_> = take(&frames).submissions.iter().map(|some| some.operations.len()).collect();
        assert_eq!(sizes, [BATCH_OPERATIONS_MAX, BATCH_OPERATIONS_MAX, BATCH_OPERATIONS_MAX / 2]);
        let totals: Vec<_> = take(&[ids(1, IDS_MAX), ids(2, 1)]).ids.iter().map(IdBatch::total).collect();
        assert_eq!(totals, [IDS_MAX, 1]);
    }

    #[test]
    fn a_bad_request_is_answered_and_nothing_of_it_is_submitted() {
        let long = "k".repeat(513);
        let get = Action::Get;
        let names: Vec<&str> = vec!["here"; BATCH_NAMESPACES_MAX + 1];
        let many = vec![(0, "k", get); BATCH_OPERATIONS_MAX + 1];
        let cases = [
            (batch(1, &["here"], &[(0, "fine", get), (0, "", get)]), Code::InvalidRequest),
            (batch(1, &["here"], &[(0, &long, get)]), Code::TooLarge),
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
        let get = batch(3, &["here"], &[(0, "a", Action::Get)]);
        let grant = granted(&[Permission::Read], &[]);
        let taken = take_as(&grant, &Stage::Ready, PLACES, &[add(1, "a", 1), ids(2, 1), get]).unwrap();
        assert_eq!(refusals(&taken), [(1, Code::Forbidden), (2, Code::Forbidden)]);
        assert_eq!(taken.submissions.len(), 1);
    }

    fn granted(access: &[Permission], namespaces: &[&str]) -> Grant {
        let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
        Grant::of(&Token { name: "a".into(), token: "t".into(), access: access.to_vec(), namespaces })
    }

    #[test]
    fn a_batch_is_refused_whole_if_its_token_does_not_allow_one_operation() {
        let grant = granted(&[Permission::Read, Permission::Write], &["here"]);
        let allowed = batch(1, &["here"], &[(0, "a", Action::Get), (0, "a", Action::Increment(1))]);
        // Named but not used, which is no reason to refuse.
        let named = batch(2, &["too", "here"], &[(1, "a", Action::Get)]);
        let beyond = batch(3, &["here", "too"], &[(0, "a", Action::Increment(1)), (1, "a", Action::Get)]);
        // Nothing is told of whether there is such a namespace.
        let away = batch(4, &["away"], &[(0, "a", Action::Get)]);
        let unknown = batch(5, &["unknown"], &[(0, "a", Action::Get)]);
        let frames = [allowed, named, beyond, away, unknown, ids(6, 1)];
        let taken = take_as(&grant, &Stage::Ready, PLACES, &frames).unwrap();
        assert_eq!(refusals(&taken), [3, 4, 5, 6].map(|id| (id, Code::Forbidden)));
        assert_eq!(taken.submissions.iter().map(|some| some.operations.len()).sum::<usize>(), 3);
        let minting = granted(&[Permission::Ids], &["here"]);
        let taken = take_as(&minting, &Stage::Ready, PLACES, &[ids(1, 1), add(2, "a", 1)]).unwrap();
        assert_eq!((taken.ids.len(), refusals(&taken)), (1, vec![(2, Code::Forbidden)]));
    }

    #[test]
    fn one_request_more_than_there_are_places_is_throttled() {
        let taken = take_as(&Grant::anyone(), &Stage::Ready, 2, &[add(1, "a", 1), ids(2, 1), add(3, "a", 1)]).unwrap();
        assert_eq!(refusals(&taken), [(3, Code::Throttled)]);
        assert!(responses(&taken.answers)[0].answer.clone().unwrap_err().retry_after_ms.is_some());
    }

    #[test]
    fn what_the_engine_has_no_room_for_is_throttled_before_it_is_looked_into() {
        let most = vec![(0, "k", Action::Increment(1)); BATCH_OPERATIONS_MAX];
        let mut frames: Vec<_> = (0..11).map(|id| batch(id, &["here"], &most)).collect();
        let mut broken = batch(11, &["here"], &most);
        broken.push(0);
        frames.extend([broken, ids(12, 1)]);
        let taken = take(&frames);
        assert_eq!(refusals(&taken), [(10, Code::Throttled), (11, Code::Throttled)]);
        assert_eq!((taken.submissions.len(), taken.ids.len()), (10, 1), "the rest is not disturbed");
    }

    #[test]
    fn a_node_that_does_not_serve_says_why() {
        let stages = [
            (Stage::Draining, Code::Draining),
            (Stage::Drained, Code::Draining),
            (Stage::Fenced("a clone lives".into()), Code::Fenced),
        ];
        for (stage, code) in stages {
            let taken = take_as(&Grant::anyone(), &stage, PLACES, &[add(1, "a", 1), ids(2, 1)]).unwrap();
            assert_eq!(refusals(&taken), [(1, code), (2, code)]);
            assert!(taken.submissions.is_empty() && taken.ids.is_empty());
        }
        let taken = take_as(&Grant::anyone(), &Stage::Starting, PLACES, &[add(1, "a", 1), ids(2, 1)]).unwrap();
        assert_eq!((refusals(&taken), taken.ids.len()), (vec![(1, Code::Starting)], 1), "IDs need no proof");
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
            assert!(take_as(&Grant::anyone(), &Stage::Ready, PLACES, &[bad]).is_err());
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let _ = take_as(&Grant::anyone(), &Stage::Ready, PLACES, &frames);
        }

        #[test]
        fn a_flipped_byte_never_panics(at in any::<prop::sample::Index>(), to: u8) {
            let mut frame = batch(7, &["here", "gone"], &[
                (0, "a", Action::Increment(5)), (1, "b", Action::Get), (0, "c", Action::Increment(-5)),
            ]);
            let at = at.index(frame.len());
            frame[at] = to;
            let _ = take_as(&Grant::anyone(), &Stage::Ready, PLACES, &[frame]);
        }
    }
}
