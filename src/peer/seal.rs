//! Seals: the proof that a node said what it says of another boot of its worker id (see [`Sighting`]).
//!
//! A seal is a signature by the key of the node's certificate, and that certificate, since whoever hears of it by way of
//! others is perhaps not linked with that node. It covers the cluster, both boots, and either nothing else, for what
//! travels in digests, or what only the two ends of one connection know, for a refusal: so no refusal can be repeated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bincode::Encode;
use quinn::Connection;

use crate::codec;
use crate::config::map::ClusterMap;
use crate::identity::{Boot, Peer};
use crate::replica::{Seal, Sighting};
use crate::tls::{self, Credentials, Signed};

use super::lock;

/// What a signature is for. No other message that a node signs begins like this.
const PURPOSE: &[u8] = b"snowtide: a boot names another boot of its worker id\0";
/// A longer one is no seal: room for a chain of certificates.
pub(super) const SEAL_BYTES_MAX: usize = 16 << 10;
/// Seals that are remembered, made or checked.
const REMEMBERED_MAX: usize = 64;

/// What the ends of one connection share and nobody else knows (RFC 8446, 7.5); zeros where no connection is meant.
pub(super) type Binding = [u8; 32];
pub(super) const UNBOUND: Binding = [0; 32];

/// What is sealed.
#[derive(Encode)]
struct Said<'a> {
    cluster: &'a str,
    by: Peer,
    of: Boot,
    binding: Binding,
}

/// What this connection's two ends share; `None` if it is gone.
pub(super) fn binding(connection: &Connection) -> Option<Binding> {
    let mut binding = UNBOUND;
    connection.export_keying_material(&mut binding, b"EXPORTER-snowtide-duplicate", b"").ok()?;
    Some(binding)
}

/// Makes this node's seals, and checks those of others.
pub(super) struct Sealer {
    cluster: String,
    own: Peer,
    map: Arc<ClusterMap>,
    state: Mutex<State>,
}

/// Behind a lock, because certificates may be replaced while links live.
struct State {
    credentials: Credentials,
    /// Seals of digests that were made and checked lately, with these credentials: digests repeat them every second.
    remembered: BTreeMap<(Peer, Boot), Seal>,
}

impl State {
    fn new(credentials: Credentials) -> Self {
        Self { credentials, remembered: BTreeMap::new() }
    }

    /// Remembers a seal, unless the credentials that it was made or checked with have been replaced meanwhile.
    fn remember(&mut self, credentials: &Credentials, by: Peer, of: Boot, seal: Seal) {
        if self.credentials.is(credentials) {
            if self.remembered.len() >= REMEMBERED_MAX {
                self.remembered.clear();
            }
            self.remembered.insert((by, of), seal);
        }
    }
}

impl Sealer {
    pub(super) fn new(cluster: String, own: Peer, map: Arc<ClusterMap>, credentials: Credentials) -> Self {
        Self { cluster, own, map, state: Mutex::new(State::new(credentials)) }
    }

    /// From now on it signs with these credentials, and believes nothing that was checked with others.
    pub(super) fn renew(&self, credentials: Credentials) {
        *lock(&self.state) = State::new(credentials);
    }

    /// Our word that we have heard of this boot. Empty if it is ourselves, of whom we say nothing.
    pub(super) fn seal(&self, of: Boot, binding: Binding) -> Seal {
        let by = self.own;
        if of == by.boot {
            return Seal::default();
        }
        let mut state = lock(&self.state);
        if binding == UNBOUND
            && let Some(seal) = state.remembered.get(&(by, of))
        {
            return seal.clone();
        }
        let credentials = state.credentials.clone();
        let seal = sealed(&credentials, &self.cluster, by, of, binding);
        if binding == UNBOUND {
            state.remember(&credentials, by, of, seal.clone());
        }
        seal
    }

    /// Whether `by` has said this, or why that is not proven.
    pub(super) fn verify(&self, sighting: &Sighting, binding: Binding) -> Result<(), String> {
        let Sighting { by, of, seal } = sighting;
        let credentials = {
            let state = lock(&self.state);
            if binding == UNBOUND && state.remembered.get(&(*by, *of)) == Some(seal) {
                return Ok(());
            }
            state.credentials.clone()
        };
        if seal.0.len() > SEAL_BYTES_MAX || by.boot == *of {
            return Err("it is none that a node makes".to_owned());
        }
        let region = self.map.region_by_id(by.worker.region()).ok_or("its node is not in the map")?;
        let signed: Signed = codec::decode(&seal.0).map_err(|error| error.to_string())?;
        let name = tls::node_name(&region.name, by.worker.node());
        credentials.verify(&name, &message(&self.cluster, *by, *of, binding), &signed)?;
        if binding == UNBOUND {
            lock(&self.state).remember(&credentials, *by, *of, seal.clone());
        }
        Ok(())
    }
}

pub(super) fn sealed(credentials: &Credentials, cluster: &str, by: Peer, of: Boot, binding: Binding) -> Seal {
    let signed = credentials.sign(&message(cluster, by, of, binding));
    signed.map_or_else(Seal::default, |signed| Seal(codec::encode(&signed)))
}

fn message(cluster: &str, by: Peer, of: Boot, binding: Binding) -> Vec<u8> {
    let mut message = PURPOSE.to_vec();
    codec::encode_into(&Said { cluster, by, of, binding }, &mut message);
    message
}
