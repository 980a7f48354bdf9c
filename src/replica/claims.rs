//! What a peer claims of others, judged before the replica hears of it: ID ceilings that no clock bears out, and sightings
//! that nobody has signed. What is refused is taken out of the message; the rest goes on.
//!
//! The replica has neither a clock nor keys (I7). Whoever receives for it brings both.

use crate::identity::WorkerId;

use super::message::{Digest, Message, Sighting};

/// After so many sightings without a proof, no more of this link are looked at: each look costs more than a lie.
const UNPROVEN_MAX: u32 = 16;

/// A claim that was taken out of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedClaim {
    /// The node that it was about.
    pub about: WorkerId,
    /// Why it is not believed.
    pub reason: String,
}

/// Of one link.
#[derive(Debug, Default)]
pub struct Sieve {
    unproven: u32,
}

impl Sieve {
    /// Takes out of a message to `own` what is not to be believed, and tells it: ceilings above `highest`, by all clocks that
    /// are known, and sightings that `verify` does not find proven.
    pub fn sift(
        &mut self,
        message: &mut Message,
        own: WorkerId,
        highest: impl FnOnce() -> u64,
        verify: impl Fn(&Sighting) -> Result<(), String>,
    ) -> Vec<RefusedClaim> {
        let mut refused = Vec::new();
        match message {
            Message::Digest(digest) => self.sift_digest(digest, highest(), verify, &mut refused),
            Message::Proof(proof) => {
                if let Err(claim) = judge_ceiling(own, proof.ceiling, highest()) {
                    proof.ceiling = 0;
                    refused.push(claim);
                }
            }
            _ => {}
        }
        refused
    }

    fn sift_digest(
        &mut self,
        digest: &mut Digest,
        highest: u64,
        verify: impl Fn(&Sighting) -> Result<(), String>,
        refused: &mut Vec<RefusedClaim>,
    ) {
        digest.ceilings.retain(|(about, ceiling)| keep(judge_ceiling(*about, *ceiling, highest), refused));
        digest.sightings.retain(|sighting| {
            if self.unproven >= UNPROVEN_MAX {
                return false;
            }
            let proven = verify(sighting);
            self.unproven += u32::from(proven.is_err());
            let claim = |reason| RefusedClaim {
                about: sighting.by.worker,
                reason: format!("that node has not said so: {reason}"),
            };
            keep(proven.map_err(claim), refused)
        });
    }
}

fn keep(verdict: Result<(), RefusedClaim>, refused: &mut Vec<RefusedClaim>) -> bool {
    let kept = verdict.is_ok();
    refused.extend(verdict.err());
    kept
}

/// Whether a ceiling of `about` is believable (I10). One that is not would keep that node from minting until then.
fn judge_ceiling(about: WorkerId, ceiling: u64, highest: u64) -> Result<(), RefusedClaim> {
    if ceiling <= highest {
        return Ok(());
    }
    let reason = format!("an ID ceiling of {ceiling} ms; by all clocks known here it is {highest} ms at most");
    Err(RefusedClaim { about, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Boot, Peer, ReplicaId};
    use crate::replica::{Proof, Seal};

    fn worker(node: u8) -> WorkerId {
        WorkerId::new(1, node).unwrap()
    }

    /// By node 2; the seal of a true one is not empty.
    fn sighting(number: u64, seal: &[u8]) -> Sighting {
        let boot = |counter| Boot { counter, nonce: number };
        Sighting { by: Peer { worker: worker(2), boot: boot(1) }, of: boot(2), seal: Seal(seal.into()) }
    }

    fn sift(sieve: &mut Sieve, message: &mut Message) -> Vec<RefusedClaim> {
        let verify = |sighting: &Sighting| if sighting.seal.0.is_empty() { Err("no seal".to_owned()) } else { Ok(()) };
        sieve.sift(message, worker(0), || 100, verify)
    }

    #[test]
    fn what_is_not_believed_is_taken_out_and_named_and_the_rest_stays() {
        let digest = Digest {
            ceilings: vec![(worker(0), 100), (worker(3), 101), (worker(1), u64::MAX), (worker(2), 0)],
            sightings: vec![sighting(1, b""), sighting(2, b"seal")],
            ..Digest::default()
        };
        let mut message = Message::Digest(digest.clone());
        let refused = sift(&mut Sieve::default(), &mut message);
        assert_eq!(refused.iter().map(|claim| claim.about).collect::<Vec<_>>(), [3, 1, 2].map(worker));
        let ceilings = vec![(worker(0), 100), (worker(2), 0)];
        assert_eq!(message, Message::Digest(Digest { ceilings, sightings: vec![sighting(2, b"seal")], ..digest }));
    }

    #[test]
    fn a_proof_keeps_what_it_says_of_the_log_when_its_ceiling_is_not_believed() {
        let (replica, boot) = (ReplicaId(7), Boot { counter: 1, nonce: 1 });
        let proof = |ceiling| {
            Message::Proof(Proof {
                replica,
                boot,
                marks: Vec::new(),
                reach: Vec::new(),
                ceiling,
                nodes: vec![worker(3)],
            })
        };
        let mut message = proof(101);
        assert_eq!(sift(&mut Sieve::default(), &mut message)[0].about, worker(0));
        assert_eq!(message, proof(0));
        let mut message = proof(100);
        assert_eq!((sift(&mut Sieve::default(), &mut message), message), (Vec::new(), proof(100)));
    }

    #[test]
    fn a_link_that_tells_lie_upon_lie_is_not_listened_to() {
        let mut sieve = Sieve::default();
        let told = |seal: &[u8]| Message::Digest(Digest { sightings: vec![sighting(1, seal)], ..Digest::default() });
        for _ in 0..UNPROVEN_MAX {
            assert_eq!(sift(&mut sieve, &mut told(b"")).len(), 1);
        }
        let mut message = told(b"seal");
        assert_eq!((sift(&mut sieve, &mut message), message), (Vec::new(), Message::Digest(Digest::default())));
    }
}
