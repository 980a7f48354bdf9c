//! Checkers: each watches one promise from outside, and shares nothing with the code under test.

pub mod bounds;
pub mod doors;
pub mod durable;
pub mod forks;
pub mod handovers;
pub mod ids;
pub mod ledger;
pub mod lists;
pub mod reads;
pub mod state;
mod tests;
pub mod tokens;
pub mod vouching;

#[derive(Default)]
pub struct Checkers {
    pub ledger: ledger::Ledger,
    pub reads: reads::Reads,
    pub ids: ids::Ids,
    pub tokens: tokens::Tokens,
    pub durable: durable::Durable,
    pub doors: doors::Doors,
    pub handovers: handovers::Handovers,
    pub lists: lists::Lists,
    pub forks: forks::Forks,
    pub vouching: vouching::Vouching,
}

impl Checkers {
    /// The disk of `node` is no longer what it was: what rests on it cannot be held against it.
    pub fn disk_lost(&mut self, node: usize) {
        self.reads.forget(node);
        self.tokens.disk_lost(node);
        self.ids.disk_lost(node);
        self.handovers.forget(node);
        self.lists.forget(node);
    }
}
