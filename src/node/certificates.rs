//! The certificates of this node: read at the start and at each reload, and looked at while they last.

use std::path::PathBuf;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tracing::warn;

use crate::clock;
use crate::config::{Config, DoorTls};
use crate::peer::Links;
use crate::quic::{Endpoint, Renewal};
use crate::tls::{Credentials, Expiry, Live, Role, Secured, exposed, key_file};

/// What one reading has found: all of it can be used, as far as it alone tells.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) credentials: Credentials,
    pub(super) http: Option<Secured>,
    pub(super) redis: Option<Secured>,
    pub(super) grpc: Option<Secured>,
}

/// What is in force.
pub(super) struct Certificates {
    region: String,
    node: u8,
    found: Found,
    doors: LiveDoors,
    endpoint: Endpoint,
    /// A node that only reads has none.
    links: Option<Links>,
    /// Until when all of them are valid.
    expiries: watch::Sender<Vec<Expiry>>,
}

/// The doors that speak TLS.
#[derive(Clone, Debug)]
pub(super) struct LiveDoors {
    pub(super) http: Option<Live>,
    pub(super) redis: Option<Live>,
    pub(super) grpc: Option<Live>,
}

/// What can be taken up at once, and what of it is new.
pub(super) struct Ready {
    found: Found,
    renewal: Option<Renewal>,
    pub(super) changed: Vec<String>,
}

impl Found {
    /// Reads everything, which takes a moment.
    pub(super) fn read(config: &Config, region: &str, node: u8) -> anyhow::Result<Self> {
        let door = |role, files: &DoorTls, protocols: &[&[u8]]| {
            let secured = Secured::load(role, &files.certificate, &files.key, protocols);
            secured.with_context(|| format!("[{}.tls] cannot be used", role.as_str()))
        };
        for key in exposed(key_files(config, region, node)) {
            let file = key.display();
            warn!(%file, "others than its owner can read a private key: take that from them (chmod 600)");
        }
        Ok(Self {
            credentials: Credentials::load(&config.tls.dir, region, node)?,
            http: door(Role::Http, &config.http.tls, &[b"h2", b"http/1.1"])?,
            redis: door(Role::Redis, &config.redis.tls, &[])?,
            grpc: door(Role::Grpc, &config.grpc.tls, &[b"h2"])?,
        })
    }

    fn live(&self) -> LiveDoors {
        let live = |secured: &Option<Secured>| secured.clone().map(Live::new);
        LiveDoors { http: live(&self.http), redis: live(&self.redis), grpc: live(&self.grpc) }
    }

    fn all(&self) -> Vec<Expiry> {
        let doors = [&self.http, &self.redis, &self.grpc].into_iter().flatten().flat_map(Secured::expiries);
        self.credentials.expiries().iter().chain(doors).cloned().collect()
    }
}

/// The private keys that this node uses.
fn key_files(config: &Config, region: &str, node: u8) -> Vec<PathBuf> {
    let own = config.tls.dir.join(key_file(region, node));
    let doors = [&config.http.tls, &config.redis.tls, &config.grpc.tls].into_iter().filter(|door| door.is_on());
    std::iter::once(own).chain(doors.map(|door| door.key.clone())).collect()
}

impl Certificates {
    /// Those of this node are in force.
    pub(super) fn new((region, node): (&str, u8), found: Found, endpoint: Endpoint, links: Option<Links>) -> Self {
        let doors = found.live();
        let expiries = watch::Sender::new(found.all());
        Self { region: region.to_owned(), node, found, doors, endpoint, links, expiries }
    }

    /// What doors show from their next connection on.
    pub(super) fn doors(&self) -> LiveDoors {
        self.doors.clone()
    }

    /// Until when all of them are valid.
    pub(super) fn expiries(&self) -> watch::Receiver<Vec<Expiry>> {
        self.expiries.subscribe()
    }

    /// Reads what this configuration names. Nothing has changed yet.
    pub(super) fn prepare(&self, config: &Config) -> anyhow::Result<Ready> {
        let found = Found::read(config, &self.region, self.node)?;
        let mut changed = Vec::new();
        let mut renewal = None;
        if !found.credentials.equals(&self.found.credentials) {
            renewal = Some(self.endpoint.renewal(found.credentials.clone())?);
            changed.push("the certificates of tls.dir".to_owned());
        }
        let doors = [
            ("http.tls", &found.http, &self.found.http, self.doors.http.is_some()),
            ("redis.tls", &found.redis, &self.found.redis, self.doors.redis.is_some()),
            ("grpc.tls", &found.grpc, &self.found.grpc, self.doors.grpc.is_some()),
        ];
        for (name, new, old, is_secured) in doors {
            let Some(new) = new.as_ref().filter(|_| is_secured) else { continue };
            if old.as_ref().is_none_or(|old| !old.equals(new)) {
                // At a start it is better than none. Here it would replace one that may be valid.
                if let Some(invalid) = new.expiries().iter().find(|expiry| !expiry.is_valid(clock::wall_ms())) {
                    bail!("{name}: not valid now: {invalid}");
                }
                changed.push(format!("the certificate of {name}"));
            }
        }
        Ok(Ready { found, renewal, changed })
    }

    /// Takes it up. Whoever is connected is judged by it; what is shown to clients is new from the next connection on.
    pub(super) fn adopt(&mut self, ready: Ready) {
        let Ready { found, renewal, .. } = ready;
        if let Some(renewal) = renewal {
            if let Some(links) = &self.links {
                links.renew(found.credentials.clone());
            }
            self.endpoint.renew(renewal);
            self.found.credentials = found.credentials;
        }
        let doors = [
            (&self.doors.http, found.http, &mut self.found.http),
            (&self.doors.redis, found.redis, &mut self.found.redis),
            (&self.doors.grpc, found.grpc, &mut self.found.grpc),
        ];
        for (live, new, shown) in doors {
            // Whether a door speaks TLS at all is decided at the start.
            if let (Some(live), Some(new)) = (live, new) {
                live.replace(new.clone());
                *shown = Some(new);
            }
        }
        let now = self.found.all();
        self.expiries.send_if_modified(|expiries| std::mem::replace(expiries, now.clone()) != now);
    }
}
