//! A counter by regions.

use bincode::{Decode, Encode};

/// A counter by regions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct View {
    /// Each region's share; together they are the value.
    pub regions: Vec<Share>,
    /// The value that every node is known to show at least, as far as its logs go; `None` if that is not known yet.
    pub settled: Option<i128>,
    /// Regions of which some node is not known to hold all of the value.
    pub behind: Vec<String>,
}

/// One region's part of a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Share {
    /// Its name.
    pub region: String,
    /// What its nodes have added and subtracted.
    pub value: i128,
    /// How many milliseconds ago the region's nodes had last told how far they are, such that all of that is known here
    /// now. `None` if some node of it has not since the start of the node that answers.
    pub as_of_ms: Option<u64>,
}
