//! Why a namespace is not served here (residency).

use std::sync::Arc;

/// Why a namespace is not served here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotServed {
    /// No node serves it: it is not configured.
    Unknown,
    /// These regions do; neither its counters nor their keys leave them.
    Elsewhere(Arc<[String]>),
}
