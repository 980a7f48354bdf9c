//! Whether this node serves, apart from the proof of its start: fenced, held back, draining, or without room on its disk.

use super::disk::Disk;
use super::drain::Drain;

/// What keeps the node from serving.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    fenced: Option<String>,
    draining: Option<Drain>,
    /// An operator has it refuse new work.
    held_back: bool,
    disk: Disk,
}

impl Readiness {
    /// Why the node has fenced itself, if it has.
    pub(super) fn why_fenced(&self) -> Option<&String> {
        self.fenced.as_ref()
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.is_some()
    }

    /// The node stops for good; true if it had not.
    pub(super) fn fence(&mut self, reason: &str) -> bool {
        let first = self.fenced.is_none();
        self.fenced.get_or_insert_with(|| reason.to_owned());
        first
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    pub(super) fn begin_drain(&mut self, drain: Drain) {
        self.draining = Some(drain);
    }

    /// The drain that is not over.
    pub(super) fn drain(&self) -> Option<&Drain> {
        self.draining.as_ref().filter(|drain| !drain.is_over())
    }

    pub(super) fn drain_mut(&mut self) -> Option<&mut Drain> {
        self.draining.as_mut().filter(|drain| !drain.is_over())
    }

    pub(super) fn is_held_back(&self) -> bool {
        self.held_back
    }

    pub(super) fn hold_back(&mut self, held_back: bool) {
        self.held_back = held_back;
    }

    pub(super) fn disk(&self) -> Disk {
        self.disk
    }

    pub(super) fn set_disk(&mut self, disk: Disk) {
        self.disk = disk;
    }
}
