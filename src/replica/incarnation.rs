//! Who we are: the process, the incarnation under which it counts, and how far it may speak for it.

use crate::identity::{Boot, ReplicaId};
use crate::section::Milliseconds;
use crate::snowflake::Claim;

use super::event::Recovered;
use super::fork::OwnForks;
use super::proof::Standing;
use super::settings::Settings;

/// This process and its incarnation.
#[derive(Debug)]
pub(super) struct Incarnation {
    boot: Boot,
    /// Only the slots that bear its name are ever increased here (I2).
    id: Option<ReplicaId>,
    /// How far the start has come.
    pub(super) standing: Standing,
    /// An incarnation that is persisted and takes over once nothing of the former one is in hand.
    minted: Option<ReplicaId>,
    /// An incarnation is wanted for which the disk has no room.
    mint_waits: bool,
    pub(super) forks: OwnForks,
    /// Where our IDs may begin.
    pub(super) claim: Claim,
}

impl Incarnation {
    pub(super) fn new(settings: &Settings, recovered: &Recovered, now: u64) -> Self {
        Self {
            boot: recovered.boot,
            id: recovered.replica,
            standing: Standing::new(settings, recovered.replica, now),
            minted: None,
            mint_waits: false,
            forks: OwnForks::default(),
            claim: Claim::new(
                (settings.worker, recovered.ceiling),
                &recovered.peer_ceilings,
                settings.quarantine.ms(),
                settings.peers.keys().copied().collect(),
                now + settings.claim_wait.ms(),
            ),
        }
    }

    pub(super) fn boot(&self) -> Boot {
        self.boot
    }

    /// The replica id under which we count, once there is one.
    pub(super) fn id(&self) -> Option<ReplicaId> {
        self.id
    }

    /// Another one takes over; the former one.
    pub(super) fn replace(&mut self, id: ReplicaId) -> Option<ReplicaId> {
        self.id.replace(id)
    }

    pub(super) fn is_serving(&self) -> bool {
        self.standing.is_serving()
    }

    pub(super) fn is_reading(&self) -> bool {
        self.standing.is_reading()
    }

    /// One is persisted that cannot take over yet.
    pub(super) fn keep_minted(&mut self, id: ReplicaId) {
        self.minted = Some(id);
    }

    pub(super) fn take_minted(&mut self) -> Option<ReplicaId> {
        self.minted.take()
    }

    /// One is to be made once there is room for it.
    pub(super) fn await_room(&mut self) {
        self.mint_waits = true;
    }

    /// Whether one waits for room; asked when there is some.
    pub(super) fn take_waiting(&mut self) -> bool {
        std::mem::take(&mut self.mint_waits)
    }

    /// When the next of its timers is due.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.standing.deadline().into_iter().chain(self.claim.deadline()).min()
    }
}
