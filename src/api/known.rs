//! What a node of the built-in configuration knows, for fuzzing its front doors.

use std::sync::LazyLock;

use tokio::sync::watch;

use super::bearer::Bearers;
use super::gate::Decider;
use super::terms::TermsCodec;
use super::{Namespaces, Stage};
use crate::config::Config;
use crate::config::map::{ClusterMap, Region};
use crate::limiter::Limiter;

/// What a node of the built-in configuration knows.
pub(super) struct Known {
    pub(super) namespaces: Namespaces,
    pub(super) terms_codec: TermsCodec,
    pub(super) bearers: Bearers,
    pub(super) decider: Decider,
}

pub(super) static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let region = Region { name: "us-east".to_owned(), id: 0, location: None, nodes: Vec::new() };
    let (config, map) = (Config::builtin(), ClusterMap { regions: vec![region] });
    Known {
        namespaces: Namespaces::new(&config, &map, 0),
        terms_codec: TermsCodec::new(&config, &map),
        bearers: Bearers::new(&[]),
        decider: Decider::new(Limiter::alone(), watch::channel(Stage::Ready).1),
    }
});
