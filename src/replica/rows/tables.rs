//! Which rows are in the table that a checkpoint is writing, and so not on the disk yet.

/// Counts the tables that checkpoints write, one after the other. A row remembers the last one that it went into; so a table
/// that ends has nothing to tell its rows, of which there are hundreds of thousands.
///
/// The numbers come again after 255 tables. A row that has rested for so long counts as under way until the next table ends,
/// which only keeps it in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    under_way: u8,
}

impl Tables {
    /// Of a row that has never gone into a table.
    pub(super) const NONE: u8 = 0;

    /// The table into which rows go now.
    pub(super) fn under_way(self) -> u8 {
        self.under_way
    }

    /// Whether a row that went into this table last may not be on the disk yet.
    pub(super) fn is_under_way(self, table: u8) -> bool {
        table == self.under_way
    }

    /// The table under way has ended, and the next begins.
    pub(super) fn next(&mut self) {
        self.under_way = self.under_way.checked_add(1).unwrap_or(Self::NONE + 1);
    }
}

impl Default for Tables {
    fn default() -> Self {
        Self { under_way: Self::NONE + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_under_way_until_its_table_ends() {
        let mut tables = Tables::default();
        for _ in 0..1_000 {
            let table = tables.under_way();
            assert!(tables.is_under_way(table) && !tables.is_under_way(Tables::NONE));
            tables.next();
            assert!(!tables.is_under_way(table));
        }
    }
}
