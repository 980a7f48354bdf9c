//! Into what pieces checkpoints are cut.

/// Their sizes, more or less: a leaf is never divided.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    /// Rows in one part: few enough that making it does not hold up the engine.
    pub part_rows: usize,
    /// Rows in one table. The more there are, the fewer tables the store has to look into and to merge; but none of them may
    /// leave memory before its table ends.
    pub table_rows: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { part_rows: 1_024, table_rows: 262_144 }
    }
}
