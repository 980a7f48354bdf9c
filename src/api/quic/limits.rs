//! Decisions that the requests of one read ask: parsed, decided together at the end of the read, and answered at once.

use snowtide_protocol::codec::Cursor;
use snowtide_protocol::limit::Decision;
use snowtide_protocol::wire::{
    AnswerRef, BATCH_OPERATIONS_MAX, BATCH_POLICIES_MAX, ResponseRef, WireCheck, WirePolicy,
};
use snowtide_protocol::{Code, frame};

use super::batch::{Rejected, at_most};
use super::written;
use crate::api::Refused;
use crate::api::gate::Decider;
use crate::clock;
use crate::limiter::{Checks, Chosen};
use crate::telemetry::{self, Verb};

/// Of one read.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    checks: Checks,
    /// Of each check that is asked, its place among the results.
    places: Vec<usize>,
    /// One for each check of every request; those that are asked are set when they are decided.
    results: Vec<Result<Decision, Code>>,
    /// Each request's id, and where its results end.
    requests: Vec<(u64, usize)>,
}

impl Decisions {
    /// Reads what follows the head of a request. What is refused leaves no trace.
    pub(super) fn read(
        &mut self,
        decider: &Decider,
        id: u64,
        (policies, checks): (u32, u32),
        mut cursor: Cursor<'_>,
    ) -> Result<(), Rejected> {
        at_most(policies, BATCH_POLICIES_MAX, "policies")?;
        at_most(checks, BATCH_OPERATIONS_MAX, "checks")?;
        let mut chosen = Vec::new();
        for _ in 0..policies {
            chosen.push(choose(decider, cursor.read()?));
        }
        let before = (self.checks.len(), self.results.len());
        let read = (0..checks).try_for_each(|place| self.check(decider, &chosen, place, cursor.read()?));
        match read.and_then(|()| Ok(cursor.finish()?)) {
            Ok(()) => self.requests.push((id, self.results.len())),
            Err(rejected) => {
                self.checks.truncate(before.0);
                self.places.truncate(before.0);
                self.results.truncate(before.1);
                return Err(rejected);
            }
        }
        Ok(())
    }

    fn check(
        &mut self,
        decider: &Decider,
        chosen: &[Result<Chosen<'_>, Code>],
        place: u32,
        WireCheck { policy, key, cost }: WireCheck<'_>,
    ) -> Result<(), Rejected> {
        let about = |refused: Refused| refused.about(format_args!("check {place}"));
        let named = usize::try_from(policy).ok().and_then(|at| chosen.get(at)).ok_or_else(|| {
            let detail = format!("policy {policy} of {} in the batch", chosen.len());
            about(Refused::new(Code::InvalidRequest, detail))
        })?;
        let result = match named {
            Ok(chosen) => {
                decider.ask(&mut self.checks, chosen, key, cost).map_err(about)?;
                self.places.push(self.results.len());
                Err(Code::Internal)
            }
            Err(code) => Err(*code),
        };
        self.results.push(result);
        Ok(())
    }

    /// Decides on all, and appends the answers.
    pub(super) fn answer(mut self, decider: &Decider, frames: &mut Vec<u8>) {
        if self.requests.is_empty() {
            return;
        }
        let began = clock::monotonic();
        let (places, results) = (&self.places, &mut self.results);
        let decided = decider.decide(&mut self.checks, |at, answer| {
            let result = places.get(at).and_then(|place| results.get_mut(*place));
            result.into_iter().for_each(|result| *result = answer.map_err(|refusal| Refused::from(refusal).code));
        });
        let refused = decided.as_ref().err().map(|refused| refused.code);
        let seconds = clock::monotonic().duration_since(began).as_secs_f64();
        let mut rest = self.results.as_slice();
        let mut from = 0;
        for (id, end) in self.requests {
            let (results, others) = rest.split_at_checked(end.saturating_sub(from)).unwrap_or_default();
            (rest, from) = (others, end);
            telemetry::request_answered(telemetry::Door::Quic, Verb::Limits, refused, seconds);
            let answer = decided.as_ref().map(|()| AnswerRef::Limits(results)).map_err(written);
            let answer = answer.as_ref().map(|answer| *answer);
            frame::append(&ResponseRef { id, answer }, frames);
        }
    }
}

fn choose<'a>(decider: &Decider, policy: WirePolicy<'a>) -> Result<Chosen<'a>, Code> {
    let chosen = match policy {
        WirePolicy::Named(name) => decider.policy(name),
        WirePolicy::Given(numbers) => decider.given(numbers),
    };
    chosen.map_err(|refused| refused.code)
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::codec;
    use snowtide_protocol::frame::FrameBuffer;
    use snowtide_protocol::wire::{Answer, Response};

    use super::*;
    use crate::api::known::KNOWN;

    fn request(policies: &[WirePolicy<'_>], checks: &[WireCheck<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        policies.iter().for_each(|policy| codec::encode_into(policy, &mut bytes));
        checks.iter().for_each(|check| codec::encode_into(check, &mut bytes));
        bytes
    }

    fn read(decisions: &mut Decisions, id: u64, counts: (u32, u32), bytes: &[u8]) -> Result<(), Rejected> {
        decisions.read(&KNOWN.decider, id, counts, Cursor::new(bytes))
    }

    fn answers(decisions: Decisions) -> Vec<Response> {
        let mut frames = Vec::new();
        decisions.answer(&KNOWN.decider, &mut frames);
        let (mut buffer, mut found) = (FrameBuffer::new(frames.len()), Vec::new());
        for chunk in frames.chunks(1_000) {
            buffer.room()[..chunk.len()].copy_from_slice(chunk);
            buffer.filled(chunk.len());
            while let Some(frame) = buffer.next_frame().unwrap() {
                found.push(codec::decode(frame).unwrap());
            }
        }
        found
    }

    #[test]
    fn requests_of_one_read_are_decided_together_and_each_gets_its_own_answer() {
        let mut decisions = Decisions::default();
        let check = |policy, key, cost| WireCheck { policy, key, cost };
        let policies = [WirePolicy::Named("few"), WirePolicy::Named("none"), WirePolicy::Named("elsewhere")];
        let first = [check(0, "quic/a", 2), check(1, "quic/a", 1), check(2, "quic/a", 1), check(0, "quic/b", 3)];
        read(&mut decisions, 1, (3, 4), &request(&policies, &first)).unwrap();
        let bad = [check(0, "quic/a", 1), check(0, "..", 1)];
        let refused = read(&mut decisions, 2, (1, 2), &request(&policies[..1], &bad)).unwrap_err();
        assert!(matches!(refused, Rejected::Refused(refused) if refused.detail.starts_with("check 1: ")));
        let second = [check(0, "quic/a", 1), check(0, "quic/a", 1), check(0, "quic/b", 4)];
        read(&mut decisions, 3, (1, 3), &request(&policies[..1], &second)).unwrap();
        let told = |Response { id, answer }| {
            let Ok(Answer::Limits(results)) = answer else { panic!("{answer:?}") };
            (id, results.into_iter().map(|result| result.map(|d| (d.admitted, d.remaining))).collect::<Vec<_>>())
        };
        let found: Vec<_> = answers(decisions).into_iter().map(told).collect();
        let first = vec![Ok((true, 1)), Err(Code::UnknownPolicy), Err(Code::WrongRegion), Ok((true, 0))];
        let second = vec![Ok((true, 0)), Ok((false, 0)), Err(Code::CostTooHigh)];
        assert_eq!(found, [(1, first), (3, second)], "what was refused as a whole has charged nothing");
    }

    #[test]
    fn counts_are_looked_at_before_what_they_count() {
        let code = |counts| match read(&mut Decisions::default(), 1, counts, &[]).unwrap_err() {
            Rejected::Refused(refused) => Some(refused.code),
            Rejected::Malformed(_) => None,
        };
        assert_eq!(code((257, 0)), Some(Code::TooLarge));
        assert_eq!(code((0, 10_001)), Some(Code::TooLarge));
        assert_eq!(code((1, 1)), None);
        let out_of_range = request(&[], &[WireCheck { policy: 0, key: "k", cost: 1 }]);
        let refused = read(&mut Decisions::default(), 1, (0, 1), &out_of_range).unwrap_err();
        assert!(matches!(refused, Rejected::Refused(refused) if refused.code == Code::InvalidRequest));
    }
}
