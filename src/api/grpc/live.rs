//! What is in force: descriptors, and how requests are answered by them.

use std::sync::{Arc, Mutex, PoisonError};

use snowtide_protocol::limit::Algorithm;

use crate::config::Envoy;
use crate::envoy::Domains;

/// What is in force; one for all clones.
#[derive(Clone, Debug)]
pub struct LiveDescriptors(Arc<Mutex<Arc<InForce>>>);

/// By what a request is answered.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) domains: Domains,
    /// How limits are counted that a request brings along.
    pub(super) algorithm: Algorithm,
    /// Answers have headers for whoever asked Envoy.
    pub(super) headers: bool,
    /// Nobody is refused, whatever is used up.
    pub(super) shadow: bool,
}

impl LiveDescriptors {
    /// These, answered as this section says.
    pub fn new(domains: Domains, config: &Envoy) -> Self {
        Self(Arc::new(Mutex::new(InForce::of(domains, config))))
    }

    /// From now on these. Returns whether the descriptors are others.
    pub fn replace(&self, domains: Domains, config: &Envoy) -> bool {
        let new = InForce::of(domains, config);
        let mut in_force = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let differ = new.domains != in_force.domains;
        *in_force = new;
        differ
    }

    /// By what a request is answered that comes now.
    pub(super) fn current(&self) -> Arc<InForce> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl InForce {
    fn of(domains: Domains, config: &Envoy) -> Arc<Self> {
        let Envoy { algorithm, headers, shadow_mode: shadow, .. } = *config;
        Arc::new(Self { domains, algorithm, headers, shadow })
    }
}
