//! The rows themselves, each under a name that stays.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::RowId;
use super::cell::Cell;

/// Cells of a page: what is allocated at a time.
const PAGE: usize = 1 << 14;

/// Cells in pages: however many there are, none ever moves, which would take as long as they are many.
#[derive(Default)]
pub(super) struct Cells {
    pages: Vec<Slab<Cell>>,
    /// Pages with room.
    open: Vec<usize>,
    len: usize,
    /// All names are below.
    bound: RowId,
}

impl Cells {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All names are below.
    pub(super) fn bound(&self) -> RowId {
        self.bound
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.pages.iter().flatten().map(|(_, cell)| cell)
    }

    pub(super) fn get(&self, id: RowId) -> Option<&Cell> {
        self.pages.get(id / PAGE)?.get(id % PAGE)
    }

    pub(super) fn get_mut(&mut self, id: RowId) -> Option<&mut Cell> {
        self.pages.get_mut(id / PAGE)?.get_mut(id % PAGE)
    }

    pub(super) fn insert(&mut self, cell: Cell) -> RowId {
        let number = self.open.last().copied().unwrap_or_else(|| self.add_page());
        let page = &mut self.pages[number];
        let id = number * PAGE + page.insert(cell);
        if page.len() == PAGE {
            self.open.pop();
        }
        self.len += 1;
        self.bound = self.bound.max(id + 1);
        id
    }

    fn add_page(&mut self) -> usize {
        self.pages.push(Slab::with_capacity(PAGE));
        let number = self.pages.len() - 1;
        self.open.push(number);
        number
    }

    pub(super) fn remove(&mut self, id: RowId) -> Cell {
        let (number, page) = (id / PAGE, &mut self.pages[id / PAGE]);
        if page.len() == PAGE {
            self.open.push(number);
        }
        self.len -= 1;
        page.remove(id % PAGE)
    }
}

impl Index<RowId> for Cells {
    type Output = Cell;

    fn index(&self, id: RowId) -> &Cell {
        &self.pages[id / PAGE][id % PAGE]
    }
}

impl IndexMut<RowId> for Cells {
    fn index_mut(&mut self, id: RowId) -> &mut Cell {
        &mut self.pages[id / PAGE][id % PAGE]
    }
}
