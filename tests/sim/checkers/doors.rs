//! I3, and the promise of a drain: a node that has fenced itself, is drained by an operator or shuts down serves nothing
//! that is asked of it from then on.

use std::collections::BTreeMap;

use snowtide::replica::Ticket;

/// Why a node serves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closed {
    Fenced,
    Drained,
    Leaving,
}

/// The last request before each closing of a process.
#[derive(Default)]
pub struct Doors(BTreeMap<(usize, Closed), Ticket>);

impl Doors {
    pub fn close(&mut self, node: usize, why: Closed, last: Ticket) {
        self.0.entry((node, why)).or_insert(last);
    }

    pub fn open(&mut self, node: usize, why: Closed) {
        self.0.remove(&(node, why));
    }

    /// A new process knows nothing of what closed the one before.
    pub fn started(&mut self, node: usize) {
        self.0.retain(|(at, _), _| *at != node);
    }

    /// A request is served.
    pub fn check(&self, node: usize, ticket: Ticket) -> Option<String> {
        let closed = self.0.iter().find(|((at, _), last)| *at == node && ticket > **last);
        closed.map(|((_, why), _)| format!("{why:?}: node {node} served ticket {ticket}, which came after that"))
    }
}
