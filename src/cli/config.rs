//! `snowtide config`: is the configuration allowed, and where does each value come from?

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Global, note, print, print_json};
use crate::clock;
use crate::config::map::Region;
use crate::config::{self, ConfigError, Loaded};
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
    let found = outcome.as_ref().ok().map(Found::of);
    if global.json {
        print_json(&verdict(&outcome, found.as_ref()))?;
        outcome?;
        return Ok(());
    }
    let lines = [summary(&outcome?)].into_iter().chain(found.iter().filter_map(Found::first_end));
    print(&lines.collect::<Vec<_>>().join("\n"))?;
    for warning in found.iter().flat_map(|found| &found.warnings) {
        note(&format!("warning: {warning}"));
    }
    Ok(())
}

/// What is found on this machine where this configuration says, and what is worth a word about it and about what is allowed.
struct Found {
    /// Every node's certificates, since a file may be for all of them.
    certificates: Vec<Expiry>,
    warnings: Vec<String>,
}

impl Found {
    fn of(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        let (mut certificates, mut warnings) = tls::in_directory(&config.tls.dir, &loaded.map);
        let doors = [(Role::Http, &config.http.tls), (Role::Redis, &config.redis.tls), (Role::Grpc, &config.grpc.tls)];
        for (role, files) in doors {
            match Secured::load(role, &files.certificate, &files.key, &[]) {
                Ok(secured) => certificates.extend(secured.iter().flat_map(Secured::expiries).cloned()),
                Err(error) => warnings.push(error.to_string()),
            }
        }
        let within_ms = u64::try_from(config.tls.expiry_warning.as_millis()).unwrap_or(u64::MAX);
        warnings.extend(certificates.iter().filter_map(|expiry| ending(expiry, within_ms, clock::wall_ms())));
        warnings.extend(config::warnings(config, loaded.map.nodes().map(|(.., node)| node)));
        Self { certificates, warnings }
    }

    fn first_end(&self) -> Option<String> {
        let first = self.certificates.iter().min_by_key(|expiry| expiry.until_ms)?;
        Some(format!("certificates: {}, the first ends with {first}", self.certificates.len()))
    }

    fn certificates_as_json(&self) -> Value {
        let one = |expiry: &Expiry| {
            json!({
                "role": expiry.role.as_str(),
                "file": expiry.file.display().to_string(),
                "subject": expiry.subject,
                "until": clock::in_words(expiry.until_ms),
            })
        };
        self.certificates.iter().map(one).collect()
    }
}

/// That a certificate ends soon, or is not valid now.
fn ending(expiry: &Expiry, within_ms: u64, now_ms: u64) -> Option<String> {
    let days = expiry.left_ms(now_ms) / (24 * 60 * 60 * 1_000);
    match (expiry.is_valid(now_ms), expiry.left_ms(now_ms) <= within_ms) {
        (false, _) => Some(format!("a certificate is not valid now: {expiry}")),
        (true, true) => Some(format!("a certificate ends in {days} days: {expiry}")),
        (true, false) => None,
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

fn verdict(outcome: &Result<Loaded, ConfigError>, found: Option<&Found>) -> Value {
    match outcome {
        Ok(loaded) => json!({
            "ok": true,
            "cluster": loaded.config.cluster.id,
            "regions": loaded.map.regions.len(),
            "nodes": loaded.map.nodes().count(),
            "namespaces": loaded.config.namespace.keys().collect::<Vec<_>>(),
            "ids_last": clock::in_words(loaded.config.ids_end_ms()),
            "warnings": found.map(|found| &found.warnings),
            "certificates": found.map(Found::certificates_as_json),
        }),
        Err(refused) => {
            let problems: Vec<_> = refused.problems().iter().map(ToString::to_string).collect();
            json!({ "ok": false, "problems": problems })
        }
    }
}

fn as_json(loaded: &Loaded) -> Value {
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
        let grpc = node.grpc.as_ref().map(|grpc| format!(", grpc {grpc}")).unwrap_or_default();
        format!("# node {name}/{}: quic {}, http {}{redis}{grpc}", node.id, node.quic, node.http)
    });
    std::iter::once(head).chain(nodes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

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
            "# node eu-west/0: quic 127.0.0.1:7410, http 127.0.0.1:8410, redis 127.0.0.1:6410, grpc 127.0.0.1:9410 # regions/eu-west.toml"
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
        let verdict = verdict(&Config::load(&sources), None);
        let problem = "flag --set: log.format = \"xml\": allowed: \"text\" or \"json\"";
        assert_eq!(verdict, json!({ "ok": false, "problems": [problem] }));
    }
}
