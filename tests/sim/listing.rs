//! Clients that list counters by prefix, page by page, whatever happens to the nodes in between.

use rand::RngExt;
use rand::seq::IndexedRandom;
use snowtide::identity::NamespaceId;
use snowtide::replica::{Event, List, Operation, Page, Refusal, Ticket};
use snowtide_protocol::Action;

use super::checkers::lists::Walk;
use super::world::World;

/// Walks under way.
const WALKS_MAX: usize = 8;
/// A page is asked for at the node of the page before, or at any other.
const MOVE_CHANCE: f64 = 0.2;
/// The next page is asked for as soon as one has come.
const ON_CHANCE: f64 = 0.5;
const PREFIXES: [&str; 5] = ["", "counter-", "counter-1", "counter-7", "nothing"];
const LIMITS: [usize; 5] = [1, 1, 2, 7, LIMIT_MAX];
const LIMIT_MAX: usize = 1_000;
/// While nothing goes wrong; a disk may still be slow.
const SECONDS_MAX: u64 = 30;

/// A walk, and where it is.
pub struct Client {
    walk: Walk,
    node: usize,
    limit: usize,
    /// The page that was asked for, of which process.
    asked: Option<(Ticket, u32)>,
}

impl World {
    /// A page of some walk is asked for at this node.
    pub fn list(&mut self, node: usize) {
        let moves = self.rng.random_bool(MOVE_CHANCE);
        let fits = |client: &Client| {
            (moves || client.node == node) && self.nodes[node].served().contains(&client.walk.namespace)
        };
        let known = (0..self.walks.len()).find(|at| self.rests(*at) && fits(&self.walks[*at]));
        match known {
            Some(at) => self.ask_page(at, node),
            None if self.walks.len() < WALKS_MAX => {
                let served = self.nodes[node].served();
                let namespace = served[self.rng.random_range(0..served.len())];
                let prefix = PREFIXES.choose(&mut self.rng).copied().unwrap_or_default();
                self.begin_walk(node, namespace, prefix);
            }
            None => {}
        }
    }

    fn begin_walk(&mut self, node: usize, namespace: NamespaceId, prefix: &str) {
        let walk = self.checkers.lists.begin(node, namespace, prefix);
        self.walks.push(Client { walk, node, limit: 0, asked: None });
        self.ask_page(self.walks.len() - 1, node);
    }

    /// Nobody is making a page of it.
    fn rests(&self, at: usize) -> bool {
        let client = &self.walks[at];
        client.asked.is_none_or(|(_, start)| !self.nodes[client.node].runs(start))
    }

    fn ask_page(&mut self, at: usize, node: usize) {
        let hurried = self.expected.is_some();
        let limit = if hurried { LIMIT_MAX } else { LIMITS.choose(&mut self.rng).copied().unwrap_or(1) };
        self.tickets += 1;
        let client = &mut self.walks[at];
        if client.node != node {
            self.tally.note("walks that went on at another node");
        }
        (client.node, client.limit, client.asked) = (node, limit, Some((self.tickets, self.nodes[node].starts)));
        self.checkers.lists.ask(&mut client.walk, node);
        let Walk { namespace, prefix, after, .. } = &client.walk;
        let list = List { namespace: *namespace, prefix: prefix.clone(), after: after.clone(), limit };
        self.handle(node, Event::List { ticket: self.tickets, list });
    }

    /// A page has come, or why there is none.
    pub fn listed(&mut self, node: usize, ticket: Ticket, answer: Result<Page, Refusal>) {
        let asked = |client: &Client| client.asked.is_some_and(|(asked, _)| asked == ticket);
        let Some(at) = self.walks.iter().position(asked) else {
            self.findings.push(format!("node {node} made a page for ticket {ticket}, which nobody awaits"));
            return;
        };
        self.walks[at].asked = None;
        let Ok(page) = answer else { return self.tally.note("pages refused") };
        self.tally.pages += 1;
        let closed = self.checkers.doors.check(node, ticket);
        let Client { walk, limit, .. } = &mut self.walks[at];
        let (namespace, finding) = (walk.namespace, walk.take(node, *limit, &page));
        self.findings.extend(closed.into_iter().chain(finding));
        for (key, value) in page.counters {
            self.listed_value(node, Operation { namespace, key, action: Action::Get }, value);
        }
        if page.next.is_none() {
            self.tally.walks += 1;
            self.walks.swap_remove(at);
        } else if self.expected.is_some() || self.rng.random_bool(ON_CHANCE) {
            self.ask_page(at, node);
        }
    }

    /// What a page says of a counter is held to what any read is held to.
    fn listed_value(&mut self, node: usize, read: Operation, value: i128) {
        if !self.checkers.ledger.was_attempted(&read) {
            self.findings.push(format!("list: node {node} listed {read:?}, and nobody has counted it"));
        }
        self.judge_value(node, &read, value, true);
    }

    /// Every node lists everything, while nothing changes, and what else was begun is ended; false if it takes too long.
    pub fn list_all(&mut self) -> bool {
        self.walks.retain(|client| !self.nodes[client.node].retired);
        for node in (0..self.nodes.len()).filter(|node| !self.nodes[*node].retired).collect::<Vec<_>>() {
            for namespace in self.nodes[node].namespaces.clone() {
                self.begin_walk(node, namespace, "");
            }
            self.carry_out(node);
        }
        for _ in 0..SECONDS_MAX {
            self.run_until(self.now + 1_000);
            if self.walks.is_empty() || !self.findings.is_empty() {
                return true;
            }
            for at in (0..self.walks.len()).filter(|at| self.rests(*at)).collect::<Vec<_>>() {
                self.ask_page(at, self.walks[at].node);
            }
            (0..self.nodes.len()).for_each(|node| self.carry_out(node));
        }
        false
    }
}
