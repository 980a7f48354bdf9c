//! Seals: the proof that a node said what it says of another boot of its worker id (see [`Sighting`]).
//!
//! A seal is a signature by the key of the node's certificate, and that certificate, since whoever hears of it by way of
//! others is perhaps not linked with that node. It covers the cluster, both boots, and either nothing else, for what
//! travels in digests, or what only the two ends of one connection know, for a refusal: so no refusal can be repeated.

use std::collections::BTreeMap;

use bincode::Encode;
use quinn::Connection;

use crate::codec;
use crate::identity::{Boot, Peer};
use crate::replica::{Seal, Sighting};
use crate::tls::{self, Credentials, Signed};

use super::{Shared, lock};

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

/// Seals made and checked lately: digests repeat them every second.
#[derive(Default)]
pub(super) struct Remembered(BTreeMap<(Peer, Boot), Seal>);

impl Remembered {
    fn get(&self, by: Peer, of: Boot) -> Option<&Seal> {
        self.0.get(&(by, of))
    }

    fn put(&mut self, by: Peer, of: Boot, seal: Seal) {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert((by, of), seal);
    }
}

/// What this connection's two ends share; `None` if it is gone.
pub(super) fn binding(connection: &Connection) -> Option<Binding> {
    let mut binding = UNBOUND;
    connection.export_keying_material(&mut binding, b"EXPORTER-snowtide-duplicate", b"").ok()?;
    Some(binding)
}

/// What seals are made and checked with, and those that were lately.
pub(super) struct Sealer {
    credentials: Credentials,
    remembered: Remembered,
}

impl Sealer {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, remembered: Remembered::default() }
    }

    /// Remembers a seal, unless the credentials that it was made or checked with have been replaced meanwhile.
    fn remember(&mut self, credentials: &Credentials, by: Peer, of: Boot, seal: Seal) {
        if self.credentials.is(credentials) {
            self.remembered.put(by, of, seal);
        }
    }
}

impl Shared {
    /// Our word that we have heard of this boot. Empty if it is ourselves, of whom we say nothing.
    pub(super) fn seal(&self, of: Boot, binding: Binding) -> Seal {
        let by = Peer { worker: self.worker, boot: self.boot };
        if of == self.boot {
            return Seal::default();
        }
        let mut sealer = lock(&self.sealer);
        if binding == UNBOUND
            && let Some(seal) = sealer.remembered.get(by, of)
        {
            return seal.clone();
        }
        let credentials = sealer.credentials.clone();
        let seal = sealed(&credentials, &self.cluster, by, of, binding);
        if binding == UNBOUND {
            sealer.remember(&credentials, by, of, seal.clone());
        }
        seal
    }

    /// Whether `by` has said this, or why that is not proven.
    pub(super) fn verify(&self, sighting: &Sighting, binding: Binding) -> Result<(), String> {
        let Sighting { by, of, seal } = sighting;
        let credentials = {
            let sealer = lock(&self.sealer);
            if binding == UNBOUND && sealer.remembered.get(*by, *of) == Some(seal) {
                return Ok(());
            }
            sealer.credentials.clone()
        };
        if seal.0.len() > SEAL_BYTES_MAX || by.boot == *of {
            return Err("it is none that a node makes".to_owned());
        }
        let region = self.map.region_by_id(by.worker.region()).ok_or("its node is not in the map")?;
        let signed: Signed = codec::decode(&seal.0).map_err(|error| error.to_string())?;
        let name = tls::node_name(&region.name, by.worker.node());
        credentials.verify(&name, &message(&self.cluster, *by, *of, binding), &signed)?;
        if binding == UNBOUND {
            lock(&self.sealer).remember(&credentials, *by, *of, seal.clone());
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
