//! `snowtide config`: is the configuration allowed, and where does each value come from?

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Global, note, print, print_json};
use crate::clock;
use crate::config::map::Region;
use crate::config::{self, Config, ConfigError, Loaded, warnings};
use crate::tls::{self, Expiry, Role, Secured};

/// Check the configuration, or show it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  snowtide config check
  snowtide config check --config prod.toml --regions-dir /etc/snowtide/regions
  snowtide config show --origins
  snowtide config show --json --set gossip.interval=50ms
  snowtide config defaults";

#[derive(Debug, Subcommand)]
enum Action {
    /// Read everything and name every problem; exits with 2 if there is one. Tells when certificates end, and warns of
    /// what is allowed and unwise.
    Check,
    /// Print every value as TOML, secrets taken out, and the map as comments.
    Show {
        /// Tell where each value came from: built-in, a file, a variable or a flag.
        #[arg(long)]
        origins: bool,
    },
    /// Print every key with its default, what it does and what is allowed, as a configuration file.
    Defaults {
        /// As a page in Markdown.
        #[arg(long)]
        page: bool,
    },
}

impl Command {
    /// Does what was asked.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.action {
            Action::Check => check(global),
            Action::Defaults { page } => {
                let text = if page { config::page() } else { config::default_file() };
                print(text.trim_end())
            }
            Action::Show { origins } => {
                let loaded = global.load()?;
                global.print(|| as_json(&loaded), || as_toml(&loaded, origins).trim_end().to_owned())
            }
        }
    }
}

fn check(global: &Global) -> anyhow::Result<()> {
    let outcome = global.load();
    if global.json {
        print_json(&full_verdict(&outcome))?;
        outcome?;
        return Ok(());
    }
    let loaded = outcome?;
    let certificates = InPlace::look(&loaded);
    let told = [summary(&loaded)].into_iter().chain(certificates.first_end()).collect::<Vec<_>>();
    print(&told.join("\n"))?;
    for warning in certificates.warnings(&loaded.config, clock::wall_ms()).into_iter().chain(doubts(&loaded)) {
        note(&format!("warning: {warning}"));
    }
    Ok(())
}

/// What is allowed, and still worth a word.
fn doubts(loaded: &Loaded) -> Vec<String> {
    warnings(&loaded.config, loaded.map.nodes().map(|(.., node)| node))
}

/// The certificates that are where this configuration says: every node's, since a file may be for all of them.
struct InPlace {
    found: Vec<Expiry>,
    problems: Vec<String>,
}

impl InPlace {
    fn look(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        let (mut found, mut problems) = tls::in_directory(&config.tls.dir, &loaded.map);
        for (role, files) in [(Role::Http, &config.http.tls), (Role::Redis, &config.redis.tls)] {
            match Secured::load(role, &files.certificate, &files.key, &[]) {
                Ok(secured) => found.extend(secured.iter().flat_map(Secured::expiries).cloned()),
                Err(error) => problems.push(error.to_string()),
            }
        }
        Self { found, problems }
    }

    fn first_end(&self) -> Option<String> {
        let first = self.found.iter().min_by_key(|expiry| expiry.until_ms)?;
        Some(format!("certificates: {}, the first ends with {first}", self.found.len()))
    }

    fn warnings(&self, config: &Config, now_ms: u64) -> Vec<String> {
        let within = u64::try_from(config.tls.expiry_warning.as_millis()).unwrap_or(u64::MAX);
        let near = self.found.iter().filter(|expiry| expiry.left_ms(now_ms) <= within || !expiry.is_valid(now_ms));
        let near = near.map(|expiry| {
            let days = expiry.left_ms(now_ms) / (24 * 60 * 60 * 1_000);
            let state =
                if expiry.is_valid(now_ms) { format!("ends in {days} days") } else { "is not valid now".to_owned() };
            format!("a certificate {state}: {expiry}")
        });
        self.problems.iter().cloned().chain(near).collect()
    }

    fn as_json(&self) -> serde_json::Value {
        let one = |expiry: &Expiry| {
            json!({
                "role": expiry.role.as_str(),
                "file": expiry.file.display().to_string(),
                "subject": expiry.subject,
                "until": clock::in_words(expiry.until_ms),
            })
        };
        self.found.iter().map(one).collect()
    }
}

fn summary(loaded: &Loaded) -> String {
    let (regions, nodes) = (loaded.map.regions.len(), loaded.map.nodes().count());
    let namespaces: Vec<_> = loaded.config.namespace.keys().map(String::as_str).collect();
    format!(
        "ok: cluster {}, {regions} regions, {nodes} nodes, namespaces {}, IDs until {}",
        loaded.config.cluster.id,
        namespaces.join(", "),
        clock::in_words(loaded.config.ids_end_ms()),
    )
}

/// With what is found on this machine.
fn full_verdict(outcome: &Result<Loaded, ConfigError>) -> serde_json::Value {
    let mut verdict = verdict(outcome);
    if let (Ok(loaded), Some(members)) = (outcome, verdict.as_object_mut()) {
        let certificates = InPlace::look(loaded);
        let warnings = certificates.warnings(&loaded.config, clock::wall_ms()).into_iter().chain(doubts(loaded));
        members.insert("warnings".to_owned(), warnings.collect());
        members.insert("certificates".to_owned(), certificates.as_json());
    }
    verdict
}

fn verdict(outcome: &Result<Loaded, ConfigError>) -> serde_json::Value {
    match outcome {
        Ok(loaded) => json!({
            "ok": true,
            "cluster": loaded.config.cluster.id,
            "regions": loaded.map.regions.len(),
            "nodes": loaded.map.nodes().count(),
            "namespaces": loaded.config.namespace.keys().collect::<Vec<_>>(),
            "ids_last": clock::in_words(loaded.config.ids_end_ms()),
        }),
        Err(refused) => {
            let problems: Vec<_> = refused.problems().iter().map(ToString::to_string).collect();
            json!({ "ok": false, "problems": problems })
        }
    }
}

fn as_json(loaded: &Loaded) -> serde_json::Value {
    let files = loaded.region_files.iter().map(|file| file.display().to_string());
    let regions = loaded.map.regions.iter().zip(files);
    let regions: Vec<_> = regions.map(|(region, file)| json!({ "file": file, "region": region })).collect();
    json!({ "settings": loaded.origins, "regions": regions })
}

/// The settings can be read back as TOML: dotted keys are keys. The map cannot stand among them, so it is a comment.
fn as_toml(loaded: &Loaded, origins: bool) -> String {
    let settings = loaded.origins.iter().map(|setting| {
        let line = format!("{} = {}", setting.key, setting.literal());
        (line, setting.origin.to_string())
    });
    let files = loaded.region_files.iter().map(|file| file.display().to_string());
    let regions = loaded.map.regions.iter().zip(files);
    let map = regions.flat_map(|(region, file)| on_the_map(region).into_iter().map(move |line| (line, file.clone())));
    let lines: Vec<_> = settings.chain(map).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or_default();
    lines.iter().fold(String::new(), |mut text, (line, origin)| {
        // Writing to a string cannot fail.
        let _ = if origins { writeln!(text, "{line:width$}  # {origin}") } else { writeln!(text, "{line}") };
        text
    })
}

fn on_the_map(region: &Region) -> Vec<String> {
    let Region { name, id, location, nodes } = region;
    let place = location.map(|[latitude, longitude]| format!(" at {latitude}, {longitude}")).unwrap_or_default();
    let head = format!("# region {name}, number {id}{place}");
    let nodes = nodes.iter().map(|node| {
        let redis = node.redis.as_ref().map(|redis| format!(", redis {redis}")).unwrap_or_default();
        format!("# node {name}/{}: quic {}, http {}{redis}", node.id, node.quic, node.http)
    });
    std::iter::once(head).chain(nodes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn loaded(set: &[(&str, &str)]) -> Loaded {
        let mut sources = Sources::default();
        set.iter().for_each(|(key, value)| sources.flag("--set", key, value));
        Config::load(&sources).unwrap()
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        let first = loaded(&[("gossip.interval", "50ms"), ("namespace.orders.regions", "[eu-west]")]);
        let dir = tempfile::tempdir().unwrap();
        for origins in [false, true] {
            let file = dir.path().join("shown.toml");
            std::fs::write(&file, as_toml(&first, origins)).unwrap();
            let again = Config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
            assert_eq!(again.config, first.config);
        }
    }

    #[test]
    fn each_value_is_shown_with_its_origin_and_each_region_with_its_file() {
        let shown = as_toml(&loaded(&[("gossip.interval", "50ms")]), true);
        let line = |start: &str| {
            let line = shown.lines().find(|line| line.starts_with(start)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("gossip.interval"), "gossip.interval = \"50ms\" # flag --set");
        assert_eq!(line("gossip.digest_interval"), "gossip.digest_interval = \"1s\" # built-in");
        assert_eq!(
            line("# node eu-west/0"),
            "# node eu-west/0: quic 127.0.0.1:7410, http 127.0.0.1:8410, redis 127.0.0.1:6410 # regions/eu-west.toml"
        );
    }

    #[test]
    fn tokens_are_never_shown() {
        let secret = "c2VjcmV0LXNlY3JldA==";
        let tokens = format!("[{{name=\"ci\",token=\"{secret}\",access=[\"read\"]}}]");
        let loaded = loaded(&[("api.tokens", &tokens)]);
        assert_eq!(loaded.config.api.tokens[0].token, secret);
        for shown in [as_toml(&loaded, true), as_json(&loaded).to_string()] {
            assert!(!shown.contains(secret), "{shown}");
            assert!(shown.contains("(redacted)"), "{shown}");
        }
    }

    #[test]
    fn the_cluster_secret_is_never_shown_but_its_absence_is() {
        let secret = "correct-horse-battery";
        let set = loaded(&[("cluster.secret", secret)]);
        assert_eq!(set.config.cluster.secret, secret);
        for shown in [as_toml(&set, true), as_json(&set).to_string()] {
            assert!(!shown.contains(secret) && shown.contains("(redacted)"), "{shown}");
        }
        assert!(as_toml(&loaded(&[]), false).contains("cluster.secret = \"\"\n"));
    }

    #[test]
    fn the_summary_counts() {
        let summary = summary(&loaded(&[]));
        let counted = "ok: cluster snowtide-dev, 3 regions, 3 nodes, namespaces default";
        assert_eq!(summary, format!("{counted}, IDs until 2094-09-07T15:47:35.551Z"));
    }

    #[test]
    fn a_refusal_in_json_lists_its_problems() {
        let mut sources = Sources::default();
        sources.flag("--set", "log.format", "xml");
        let verdict = verdict(&Config::load(&sources));
        let problem = "flag --set: log.format = \"xml\": allowed: \"text\" or \"json\"";
        assert_eq!(verdict, json!({ "ok": false, "problems": [problem] }));
    }
}
