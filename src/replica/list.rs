//! Listing: the counters of a namespace whose keys begin alike, page by page.
//!
//! Rows stand in the order of a hash, on disk and here, so a page is a stretch of that order: a walk reads the whole
//! namespace whatever the prefix is, and its pages tell of the rows in their stretch that match. Leaves are read as
//! repair reads them, so a row that is there throughout the walk is seen once, and only what is synced (I1).
//!
//! A page ends with a key; the next begins behind it. No node keeps anything of a walk, and each node can go on with it.

use crate::merkle::{Leaf, Place};

use super::Replica;
use super::effect::{Effect, LoadLeaves};
use super::event::Ticket;
use super::leaf_reads::{Listed, Purpose};
use super::operation::{List, Page, Refusal};

/// Rows that a page looks at, about: few enough that making one does not hold up the engine.
const ROWS_MAX: usize = 2_048;
/// Leaves that are read for a page; each holds a row at least.
const LEAVES_MAX: usize = 512;

impl Replica {
    /// Makes a page; answered by one `Effect::Listed`.
    pub(super) fn list(&mut self, ticket: Ticket, list: List) {
        match self.refusal(false) {
            Some(refusal) => self.listed(ticket, Err(refusal)),
            None => {
                let after = list.after.as_ref().map(|key| self.settings.hasher.place(key));
                let limit = list.limit.max(1);
                self.list_from(ticket, List { limit, ..list }, after.unwrap_or(Place(0)));
            }
        }
    }

    /// Reads on from a place.
    fn list_from(&mut self, ticket: Ticket, list: List, from: Place) {
        let (leaves, rows_max) = self.leaves_to_list(&list, from);
        let Some(upto) = leaves.last().map(|leaf| leaf.places().1) else {
            return self.listed(ticket, Ok(Page::default()));
        };
        let asked = LoadLeaves { rows_max, ..self.loads.leaves.step(list.namespace, leaves, from, upto) };
        self.read_leaves(asked, Purpose::List { ticket, list });
    }

    /// The next leaves that hold rows, and how many rows of theirs to read: as many as fill a page, or as may be looked
    /// at for one.
    fn leaves_to_list(&self, list: &List, from: Place) -> (Vec<Leaf>, usize) {
        // One more tells that there is more, and one was told on the page before.
        let enough = list.limit.saturating_add(2);
        let rows_max = if list.prefix.is_empty() { enough.min(ROWS_MAX) } else { ROWS_MAX };
        let Some(held) = self.namespaces.get(list.namespace) else { return (Vec::new(), rows_max) };
        let (mut leaves, mut cached) = (Vec::new(), 0);
        for leaf in held.leaves_from(from.leaf()) {
            if leaves.len() >= LEAVES_MAX.min(rows_max) || cached >= rows_max {
                break;
            }
            cached += held.rows().of_leaf(leaf).count();
            leaves.push(leaf);
        }
        (leaves, rows_max)
    }

    /// The rows of `asked` are there, up to the place `covered`.
    pub(super) fn give_page(
        &mut self,
        ticket: Ticket,
        list: List,
        asked: &LoadLeaves,
        listing: Vec<Listed>,
        covered: Place,
    ) {
        let before = |listed: &Listed| {
            list.after.as_ref().is_some_and(|after| listed.place == asked.from && listed.key <= *after)
        };
        let mut page = Page::default();
        let (mut last, mut cut) = (None, false);
        for listed in listing.into_iter().filter(|listed| !before(listed)) {
            if page.counters.len() == list.limit {
                cut = true;
                break;
            }
            if listed.key.starts_with(&list.prefix) {
                page.counters.push((listed.key.clone(), listed.row.value()));
            }
            last = Some(listed.key);
        }
        if !cut {
            let Some(rest) = covered.0.checked_add(1).map(Place) else { return self.listed(ticket, Ok(page)) };
            let held = self.namespaces.get(list.namespace);
            if held.is_none_or(|held| held.leaves_from(rest.leaf()).next().is_none()) {
                return self.listed(ticket, Ok(page));
            }
            if last.is_none() {
                // Nothing but the end of the page before was here.
                return self.list_from(ticket, List { after: None, ..list }, rest);
            }
        }
        page.next = last;
        self.listed(ticket, Ok(page));
    }

    fn listed(&mut self, ticket: Ticket, answer: Result<Page, Refusal>) {
        self.effects.push_back(Effect::Listed { ticket, answer });
    }
}
