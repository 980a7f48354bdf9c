//! Reading the configuration again while the node serves: by SIGHUP, or by an operator's order.
//!
//! All of it is read and checked before anything is taken up: a configuration that is refused changes nothing. Of one that
//! is allowed, what can change while the node lives is taken up; what cannot is named, and waits for a restart.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, info, warn};

use crate::api::bearer::Bearers;
use crate::config::map::ClusterMap;
use crate::config::{Config, Loaded, Sources, differing};

/// What can change while the node lives: these keys, and those below them.
const LIVE: [&str; 2] = ["api.tokens", "log.filter"];
/// Stands for the region files among keys.
const MAP: &str = "the region files";

/// Takes a filter for what is logged, or says what is wrong with it.
pub type SetFilter = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What whoever starts a node gives it for reloads.
pub struct Reloads {
    /// What the configuration was loaded from.
    pub sources: Sources,
    /// What came of that, before bounds were lowered to what the machine has room for.
    pub configured: Config,
    /// Notified when it is to be loaded again.
    pub asked: Arc<Notify>,
    /// Has what is logged follow another filter.
    pub set_log_filter: SetFilter,
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
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloads(..)")
    }
}

impl Reloader {
    pub(super) fn new(reloads: Reloads, map: Arc<ClusterMap>, bearers: Bearers) -> Self {
        Self { config: reloads.configured.clone(), reloads, map, bearers }
    }

    /// Reloads whenever a signal or an operator asks for it.
    pub(super) async fn serve(mut self, mut asked: mpsc::Receiver<Asker>) {
        loop {
            let asker = tokio::select! {
                () = self.reloads.asked.notified() => None,
                Some(asker) = asked.recv() => Some(asker),
            };
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
            if let Some(asker) = asker {
                // Whoever has gone has no use for it.
                let _ = asker.send(outcome);
            }
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, String> {
        let sources = self.reloads.sources.clone();
        let loaded = tokio::task::spawn_blocking(move || Config::load(&sources).map_err(|error| error.to_string()));
        let Loaded { config, map, .. } = loaded.await.map_err(|ended| ended.to_string())??;
        let (mut changed, mut restart) = parted(differing(&self.config, &config));
        if map != *self.map {
            restart.push(MAP.to_owned());
        }
        if config.log.filter != self.config.log.filter {
            (self.reloads.set_log_filter)(&config.log.filter)?;
        }
        if config.api.tokens != self.config.api.tokens {
            self.bearers.replace(&config.api.tokens);
        }
        self.config.log.filter = config.log.filter;
        self.config.api.tokens = config.api.tokens;
        changed.dedup();
        Ok(Reloaded { changed, restart })
    }
}

/// Those that can change while the node lives, and the others.
fn parted(keys: Vec<String>) -> (Vec<String>, Vec<String>) {
    let below =
        |key: &str, live: &str| key.strip_prefix(live).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    keys.into_iter().partition(|key| LIVE.iter().any(|live| below(key, live)))
}

fn named(keys: &[String]) -> String {
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    /// A node's reloader, its file, and the filter that was set last.
    fn reloader() -> (Reloader, tempfile::TempDir, Arc<Mutex<String>>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("snowtide.toml");
        fs::write(&file, "").unwrap();
        let mut sources = Sources { file: Some(file), ..Sources::default() };
        sources.flag("--regions-dir", "regions_dir", "regions");
        let Loaded { config, map, .. } = Config::load(&sources).unwrap();
        let filter = Arc::new(Mutex::new(String::new()));
        let set_log_filter = {
            let filter = filter.clone();
            Box::new(move |wanted: &str| {
                *filter.lock().unwrap() = wanted.to_owned();
                Ok(())
            })
        };
        let reloads = Reloads { sources, configured: config.clone(), asked: Arc::default(), set_log_filter };
        let bearers = Bearers::new(&config.api.tokens);
        (Reloader::new(reloads, Arc::new(map), bearers), dir, filter)
    }

    #[tokio::test]
    async fn what_can_change_does_and_what_cannot_is_named() {
        let (mut reloader, dir, filter) = reloader();
        let write = |text: &str| fs::write(dir.path().join("snowtide.toml"), text).unwrap();
        assert_eq!(reloader.reload().await, Ok(Reloaded::default()));

        let tokens = format!("[[api.tokens]]\nname = \"a\"\ntoken = \"{TOKEN}\"\naccess = [\"read\"]\n");
        let text = format!("{tokens}[log]\nfilter = \"debug\"\n[gossip]\ninterval = \"50ms\"\n");
        write(&text);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let expected = Reloaded { changed: words(&["api.tokens", "log.filter"]), restart: words(&["gossip.interval"]) };
        assert_eq!(reloader.reload().await, Ok(expected.clone()));
        assert!(reloader.bearers.admit(None).is_err() && reloader.bearers.admit(Some(TOKEN.as_bytes())).is_ok());
        assert_eq!(*filter.lock().unwrap(), "debug");
        let again = Reloaded { changed: Vec::new(), ..expected };
        assert_eq!(reloader.reload().await, Ok(again), "what waits for a restart is named again");

        write(&text.replace("0123456789", "short").replace("\"debug\"", "\"trace\""));
        let refused = reloader.reload().await.unwrap_err();
        assert!(refused.contains("api.tokens[0].token = (redacted)") && !refused.contains("abcdef"), "{refused}");
        assert_eq!(*filter.lock().unwrap(), "debug", "nothing has changed");
        assert!(reloader.bearers.admit(Some(TOKEN.as_bytes())).is_ok());

        write("");
        let expected = Reloaded { changed: words(&["api.tokens", "log.filter"]), restart: Vec::new() };
        assert_eq!(reloader.reload().await, Ok(expected));
        assert!(reloader.bearers.admit(None).is_ok());
    }
}
