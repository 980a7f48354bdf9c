//! A limiter of a node alone, for tests and fuzzing.

use crate::identity::{Boot, Peer, WorkerId};
use crate::limits::{Algorithm, GIVEN_MAX, KeyHasher, Mode, Policy, Room, SECRET_BYTES, Template, WhenFull};

use super::{Declared, Limiter, Settings};

/// When it begins, in milliseconds of Unix time: a whole hour.
const BEGAN_MS: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;

impl Limiter {
    /// As [`Self::of`], as node 0 of region 0.
    pub(crate) fn alone() -> Self {
        Self::of(Peer { worker: WorkerId::default(), boot: Boot { counter: 1, nonce: 7 } })
    }

    /// Of this node, with the policies `default`, 100 a minute, `few`, 3 an hour, `burst`, a level of 5 that
    /// drains 60 an hour, and `elsewhere`, which is the business of region `far`, number 31.
    pub(crate) fn of(me: Peer) -> Self {
        let here = || [(me.worker, 1)];
        let policy =
            |name, algorithm, limit, window_ms| Policy::new(name, algorithm, limit, window_ms).shared_by(here());
        let policies = [
            policy("default", Algorithm::Sliding, 100, 60_000),
            policy("few", Algorithm::Fixed, 3, HOUR_MS),
            Policy { burst: 5, ..policy("burst", Algorithm::Gcra, 60, HOUR_MS) },
            Policy::new("elsewhere", Algorithm::Fixed, 3, HOUR_MS)
                .shared_by(WorkerId::new(31, 0).map(|worker| (worker, 1))),
        ];
        let far = |policy: &Policy| if policy.name == "elsewhere" { vec!["far".to_owned()] } else { Vec::new() };
        let declared = policies.map(|policy| Declared { regions: far(&policy).into(), policy }).to_vec();
        let limiter = Self::new(Settings {
            me,
            room: Room { keys_max: 10_000, shards: 4, when_full: WhenFull::Evict },
            peers: 1,
            hasher: KeyHasher::new([7; SECRET_BYTES]),
        });
        // None of them is absurd.
        let template = Template { mode: Mode::Local, weights: here().into(), policies_max: GIVEN_MAX };
        let _ = limiter.replace(declared, Some(template));
        limiter.tick(Some(BEGAN_MS));
        limiter
    }
}
