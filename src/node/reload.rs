//! Reading the configuration again while the node serves: by SIGHUP, or by an operator's order.
//!
//! All of it is read and checked before anything is taken up: a configuration that is refused changes nothing. Of one that
//! is allowed, what can change while the node lives is taken up; what cannot is named, and waits for a restart.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::api::Doors;
use crate::api::bearer::Bearers;
use crate::api::grpc::LiveDescriptors;
use crate::audit;
use crate::clock;
use crate::config::map::ClusterMap;
use crate::config::{Config, DoorTls, Loaded, Sources, differing};
use crate::limiter::{Limiter, template};

use super::certificates::{Certificates, Ready};
use super::limits;

/// What can change while the node lives: these keys, and those below them.
const LIVE: [&str; 10] = [
    "api.tokens",
    "api.tokens_file",
    "envoy",
    "grpc.tls",
    "http.tls",
    "limits.given",
    "limits.policy",
    "log.filter",
    "redis.tls",
    "tls.dir",
];
/// Between two reloads by signals. However many come meanwhile, they are one.
const PAUSE: Duration = Duration::from_secs(1);
/// Stands for the region files among keys.
const MAP: &str = "the region files";
/// Stands for what they say.
const DESCRIPTORS: &str = "the files of envoy.descriptors";

/// Takes a filter for what is logged, or says what is wrong.
pub type Relog = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What whoever starts a node gives it for reloads.
#[derive(Clone)]
pub struct Reloads {
    /// What the configuration was loaded from.
    pub sources: Sources,
    /// What came of that, before bounds were lowered to what the machine has room for.
    pub configured: Config,
    /// Notified when it is to be loaded again.
    pub asked: Arc<Notify>,
    /// Has what is logged follow another filter, and opens files of logs again.
    pub relog: Relog,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reloaded {
    /// Taken up.
    pub(super) changed: Vec<String>,
    /// Changed in the files, and in force from the next start on.
    pub(super) restart: Vec<String>,
}

/// Somebody who waits for a reload to be over: he is told why nothing has changed, if nothing has.
pub(super) type Asker = oneshot::Sender<Result<Reloaded, String>>;

/// Who reloads, one at a time.
pub(super) struct Reloader {
    reloads: Reloads,
    /// As of the start; what can change is as it was taken up last.
    config: Config,
    map: Arc<ClusterMap>,
    bearers: Bearers,
    limiter: Limiter,
    descriptors: LiveDescriptors,
    certificates: Certificates,
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloads(..)")
    }
}

impl Reloader {
    pub(super) fn new(reloads: Reloads, doors: &Doors, certificates: Certificates) -> Self {
        let Doors { map, bearers, limiter, descriptors, .. } = doors.clone();
        Self { config: reloads.configured.clone(), reloads, map, bearers, limiter, descriptors, certificates }
    }

    /// The configuration of which all is in force, or comes into force with a restart.
    pub(super) fn into_config(self) -> Config {
        self.config
    }

    /// Reloads whenever a signal or an operator asks for it.
    pub(super) async fn serve(&mut self, mut asked: mpsc::Receiver<Asker>) {
        let mut next_signal = Instant::from_std(clock::monotonic());
        loop {
            let signalled = async {
                sleep_until(next_signal).await;
                self.reloads.asked.notified().await;
            };
            let asker = tokio::select! {
                () = signalled => None,
                Some(asker) = asked.recv() => Some(asker),
            };
            if asker.is_none() {
                next_signal = Instant::from_std(clock::monotonic()) + PAUSE;
            }
            let outcome = self.reload().await;
            match &outcome {
                Ok(Reloaded { changed, restart }) => {
                    info!(changed = named(changed), "reloaded");
                    if !restart.is_empty() {
                        warn!(keys = named(restart), "changed in the configuration, and in force only after a restart");
                    }
                }
                Err(reason) => error!(reason, "not reloaded: nothing has changed"),
            }
            match asker {
                // Whoever has gone has no use for it.
                Some(asker) => drop(asker.send(outcome)),
                None => audit::ordered(&"SIGHUP", &"reload", outcome.as_ref().map(drop).map_err(String::as_str)),
            }
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, String> {
        let sources = self.reloads.sources.clone();
        let loaded = tokio::task::spawn_blocking(move || Config::load(&sources).map_err(|error| error.to_string()));
        let Loaded { config, map, domains, .. } = loaded.await.map_err(|ended| ended.to_string())??;
        let ready = self.certificates.prepare(&config).map_err(|error| format!("{error:#}"))?;
        (self.reloads.relog)(&config.log.filter)?;
        // By the map that is in force.
        let (declared, template) =
            (limits::declared(&config, &self.map, &domains), template(&config.limits, &self.map));
        self.limiter.replace(declared, template).map_err(|error| error.to_string())?;
        let read_anew = self.descriptors.replace(domains, &config.envoy);
        let mut reloaded = self.take_up(config, &map, ready);
        reloaded.changed.extend(read_anew.then(|| DESCRIPTORS.to_owned()));
        Ok(reloaded)
    }

    /// Nothing can fail any more.
    fn take_up(&mut self, config: Config, map: &ClusterMap, ready: Ready) -> Reloaded {
        let (mut changed, mut restart) = parted(&self.config, &config);
        if *map != *self.map {
            restart.push(MAP.to_owned());
        }
        changed.extend(ready.changed.iter().cloned());
        self.certificates.adopt(ready);
        self.bearers.replace(&config.api.tokens);
        self.config.limits.policy = config.limits.policy;
        self.config.limits.given = config.limits.given;
        self.config.envoy = config.envoy;
        self.config.log.filter = config.log.filter;
        self.config.api.tokens = config.api.tokens;
        self.config.api.tokens_file = config.api.tokens_file;
        self.config.tls.dir = config.tls.dir;
        let doors = [
            (&mut self.config.http.tls, config.http.tls),
            (&mut self.config.redis.tls, config.redis.tls),
            (&mut self.config.grpc.tls, config.grpc.tls),
        ];
        for (now, new) in doors {
            if now.is_on() == new.is_on() {
                *now = new;
            }
        }
        Reloaded { changed, restart }
    }
}

/// What differs and can change while the node lives, and what else differs.
fn parted(old: &Config, new: &Config) -> (Vec<String>, Vec<String>) {
    let below =
        |key: &str, live: &str| key.strip_prefix(live).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    // Whether a door speaks TLS at all is decided at the start.
    let turned = |old: &DoorTls, new: &DoorTls| old.is_on() != new.is_on();
    let turned = [
        ("http.tls", turned(&old.http.tls, &new.http.tls)),
        ("redis.tls", turned(&old.redis.tls, &new.redis.tls)),
        ("grpc.tls", turned(&old.grpc.tls, &new.grpc.tls)),
    ];
    differing(old, new).into_iter().partition(|key| {
        LIVE.iter().any(|live| below(key, live)) && !turned.iter().any(|(door, turned)| *turned && below(key, door))
    })
}

fn named(keys: &[String]) -> String {
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_change_while_the_node_lives_is_told_from_what_cannot() {
        let old = Config::builtin();
        let mut new = old.clone();
        new.log.filter = "debug".into();
        new.tls.dir = "elsewhere".into();
        new.tuning.gossip.interval *= 2;
        let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        assert_eq!(parted(&old, &new), (keys(&["log.filter", "tls.dir"]), keys(&["gossip.interval"])));
        // A door that spoke without TLS goes on to.
        let mut secured = old.clone();
        secured.http.tls = DoorTls { certificate: "a.pem".into(), key: "a.key".into() };
        assert_eq!(parted(&old, &secured), (vec![], keys(&["http.tls.certificate", "http.tls.key"])));
        let mut renewed = secured.clone();
        renewed.http.tls.key = "b.key".into();
        assert_eq!(parted(&secured, &renewed), (keys(&["http.tls.key"]), vec![]));
    }
}
