//! The node's ID source: one generator behind a short lock, its ceiling kept ahead by the store.

use snowtide_client::wire::IdRun;

/// Mints IDs for every front door; cheap to clone.
#[derive(Clone)]
pub struct IdSource {}

/// Why no IDs were minted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct IdRefusal {
    /// The word for it.
    pub code: snowtide_client::Code,
    /// A sentence for people.
    pub detail: String,
}

impl IdSource {
    /// `count` IDs as ascending runs, waiting for the clock as long as `ids.wait_max`.
    pub async fn mint(&self, count: u32) -> Result<Vec<IdRun>, IdRefusal> {
        let _ = count;
        Err(IdRefusal { code: snowtide_client::Code::Starting, detail: String::new() })
    }
}
