//! Merged requests and their answers, purely: what goes to the engine or the ID source as one comes back as one, and
//! is split into a frame for every request.

use std::collections::VecDeque;

use snowtide_protocol::wire::{AnswerRef, IdRun, ResponseRef};
use snowtide_protocol::{Code, View, frame};
use tokio::sync::OwnedSemaphorePermit;

use super::written;
use crate::api::Refused;
use crate::api::gate::weave;
use crate::api::terms::TermsCodec;
use crate::engine::Applied;
use crate::replica::{Operation, Outcome, Terms};

/// What an operation weighs in memory beside its bytes in the frame: itself, its key's allocation, its outcome.
const OPERATION_WEIGHT: usize = 96;

/// Batches of several requests, for the engine as one.
#[derive(Debug, Default)]
pub(super) struct Submission {
    pub(super) operations: Vec<Operation>,
    /// What else its only request asks, until the engine gets it.
    pub(super) terms: Option<Box<Terms>>,
    /// It was submitted on terms and is answered so.
    on_terms: bool,
    parts: Vec<Part>,
    weight: usize,
    places: Option<OwnedSemaphorePermit>,
}

/// One request of a submission.
#[derive(Debug)]
pub(super) struct Part {
    /// The request.
    pub(super) id: u64,
    /// How many of the submission's operations are its own.
    pub(super) operations: usize,
    /// Its operations that the submission leaves out, as [`Plan::left_out`](crate::api::gate::Plan).
    pub(super) left_out: Vec<(usize, Code)>,
}

/// Requests for IDs, for the ID source as one.
#[derive(Debug, Default)]
pub(super) struct IdBatch {
    parts: Vec<(u64, u32)>,
    total: u32,
    places: Option<OwnedSemaphorePermit>,
}

impl Part {
    fn left_out(&self) -> impl Iterator<Item = (usize, Result<i128, Code>)> {
        self.left_out.iter().map(|(place, code)| (*place, Err(*code)))
    }
}

impl Submission {
    /// Adds a request and takes its operations.
    pub(super) fn push(
        &mut self,
        part: Part,
        operations: &mut Vec<Operation>,
        frame_bytes: usize,
        place: OwnedSemaphorePermit,
    ) {
        let count = operations.len().saturating_add(part.left_out.len());
        let weight = count.saturating_mul(OPERATION_WEIGHT).saturating_add(frame_bytes);
        self.weight = self.weight.saturating_add(weight);
        self.parts.push(part);
        self.operations.append(operations);
        join(&mut self.places, place);
    }

    /// Sets the terms of its only request.
    pub(super) fn put_on(&mut self, terms: Box<Terms>) {
        self.terms = Some(terms);
        self.on_terms = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes of memory, roughly, until it is answered.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// A frame for every request, and the places that they held.
    pub(super) fn answer(
        self,
        answer: Result<Applied, Refused>,
        terms_codec: &TermsCodec,
    ) -> (Vec<u8>, Option<OwnedSemaphorePermit>) {
        let mut bytes = Vec::new();
        match answer {
            Ok(applied) => match &self.parts[..] {
                [part] if self.on_terms => tell(part, applied, terms_codec, &mut bytes),
                parts => split(parts, &applied.outcomes, &mut bytes),
            },
            Err(refusal) => refuse(self.parts.iter().map(|part| part.id), &refusal, &mut bytes),
        }
        (bytes, self.places)
    }
}

impl IdBatch {
    /// Adds a request.
    pub(super) fn push(&mut self, id: u64, count: u32, place: OwnedSemaphorePermit) {
        self.parts.push((id, count));
        self.total = self.total.saturating_add(count);
        join(&mut self.places, place);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many IDs are needed.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// A frame for every request, and the places that they held.
    pub(super) fn answer(self, answer: Result<Vec<IdRun>, Refused>) -> (Vec<u8>, Option<OwnedSemaphorePermit>) {
        let mut bytes = Vec::new();
        match answer.map(VecDeque::from) {
            Ok(mut runs) if runs.iter().map(|run| u64::from(run.count)).sum::<u64>() == u64::from(self.total) => {
                for (id, count) in self.parts {
                    let answer = Ok(AnswerRef::Ids(&take_ids(&mut runs, count)));
                    frame::append(&ResponseRef { id, answer }, &mut bytes);
                }
            }
            Ok(_) => {
                let refusal = Refused::miscounted();
                refuse(self.parts.iter().map(|(id, _)| *id), &refusal, &mut bytes);
            }
            Err(refusal) => refuse(self.parts.iter().map(|(id, _)| *id), &refusal, &mut bytes),
        }
        (bytes, self.places)
    }
}

/// Answers the only request of a submission on terms.
fn tell(part: &Part, Applied { outcomes, receipt }: Applied, terms_codec: &TermsCodec, bytes: &mut Vec<u8>) {
    let mut results = Vec::with_capacity(outcomes.len());
    weave(outcomes.into_iter().map(result_of), part.left_out(), &mut results);
    let mut answer = terms_codec.on_terms(results, &receipt.unwrap_or_default());
    if !answer.views.is_empty() {
        // Places ascend, so each is where it will be in the end.
        let places = part.left_out.iter().map(|(place, _)| *place);
        places.for_each(|place| answer.views.insert(place.min(answer.views.len()), View::default()));
    }
    frame::append(&ResponseRef { id: part.id, answer: Ok(AnswerRef::OnTerms(&answer)) }, bytes);
}

/// Deals the outcomes out, in order.
fn split(parts: &[Part], outcomes: &[Outcome], bytes: &mut Vec<u8>) {
    let mut outcomes = outcomes.iter();
    let mut results: Vec<Result<i128, Code>> = Vec::new();
    for part in parts {
        results.clear();
        let own = outcomes.by_ref().take(part.operations).copied().map(result_of);
        weave(own, part.left_out(), &mut results);
        frame::append(&ResponseRef { id: part.id, answer: Ok(AnswerRef::Batch(&results)) }, bytes);
    }
}

fn result_of(outcome: Outcome) -> Result<i128, Code> {
    Refused::value_of(outcome).map_err(|refused| refused.code)
}

/// The first `count` IDs of `runs`.
fn take_ids(runs: &mut VecDeque<IdRun>, count: u32) -> Vec<IdRun> {
    let mut taken = Vec::new();
    let mut missing = count;
    while missing > 0 {
        let Some(run) = runs.pop_front() else { break };
        let here = run.count.min(missing);
        taken.push(IdRun { first: run.first, count: here });
        missing = missing.saturating_sub(here);
        if run.count > here {
            let first = run.first.saturating_add(u64::from(here));
            runs.push_front(IdRun { first, count: run.count.saturating_sub(here) });
        }
    }
    taken
}

fn refuse(ids: impl Iterator<Item = u64>, refused: &Refused, bytes: &mut Vec<u8>) {
    let refused = written(refused);
    for id in ids {
        frame::append(&ResponseRef { id, answer: Err(&refused) }, bytes);
    }
}

fn join(places: &mut Option<OwnedSemaphorePermit>, place: OwnedSemaphorePermit) {
    match places {
        Some(held) => held.merge(place),
        None => *places = Some(place),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_split_without_losing_or_repeating_an_id(
            lengths in prop::collection::vec(1u32..50, 1..10),
            counts in prop::collection::vec(1u32..30, 1..20),
        ) {
            let mut first = 1;
            let mut runs = VecDeque::new();
            for count in lengths {
                runs.push_back(IdRun { first, count });
                first += u64::from(count) + 7;
            }
            let all: Vec<u64> = runs.iter().flat_map(|run| run.iter()).collect();
            let mut dealt = Vec::new();
            for count in counts {
                let taken = take_ids(&mut runs, count);
                let ids: Vec<u64> = taken.iter().flat_map(|run| run.iter()).collect();
                prop_assert!(ids.len() == usize::try_from(count).unwrap() || runs.is_empty());
                dealt.extend(ids);
            }
            dealt.extend(runs.iter().flat_map(|run| run.iter()));
            prop_assert_eq!(dealt, all);
        }
    }
}
