//! Who holds a peer's place among the links that others dial.

use quinn::Connection;
use tokio_util::sync::CancellationToken;

use crate::identity::Boot;

/// The holder of a peer's place.
pub(super) struct Caller {
    pub(super) boot: Boot,
    pub(super) connection: Connection,
    /// Cancelled once nothing more of this link can reach the engine.
    pub(super) ended: CancellationToken,
}
