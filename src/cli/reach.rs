//! How commands reach a node: by its place on the map, by its address, or whichever answers first.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use snowtide_client::{ConnectError, Connection};
use tokio::task::JoinSet;

use super::exit::{self, Ended, Exit};
use super::{Global, Misuse};
use crate::config::Loaded;
use crate::config::map::{ClusterMap, Node, Region};
use crate::tls;

/// On the way to a node that lives, this is several round trips around the world.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Which node, and what it takes to be believed by it and to believe it.
#[derive(Clone, Debug, Default, Args)]
pub struct Reach {
    /// The node: a region of the map, a node of one, or an address; without it, whichever node answers first.
    #[arg(long, value_name = "REGION[/NODE]|HOST:PORT")]
    pub at: Option<String>,

    /// The certificate authority of the cluster, in PEM; without it, ca.pem in tls.dir.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// A bearer token, where the cluster asks for one.
    #[arg(long, env = "SNOWTIDE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// A node to try, and how to start it if nobody is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// `host:port`
    address: String,
    /// The name in the node's certificate, where the map tells it.
    certified: Option<String>,
    remedy: String,
}

impl Reach {
    /// Connects to the node that was meant.
    pub async fn connect(&self, global: &Global) -> anyhow::Result<Connection> {
        self.connect_for(global, None).await
    }

    /// The same; if no node was meant, only those of regions that hold the namespace are tried.
    pub async fn connect_for(&self, global: &Global, namespace: Option<&str>) -> anyhow::Result<Connection> {
        let (targets, ca) = self.targets(global, namespace)?;
        let pem = std::fs::read(&ca).with_context(|| {
            format!(
                "cannot read {}: name the cluster's authority with --ca, or make one: snowtide-dev certs",
                ca.display()
            )
        })?;
        let dial = |target: &Target| -> Result<_, ConnectError> {
            let config = snowtide_client::Config::new(&target.address).ca_pem(&pem)?.connect_timeout(CONNECT_TIMEOUT);
            let config = self.token.iter().fold(config, |config, token| config.token(token));
            Ok(target.certified.iter().fold(config, |config, name| config.server_name(name)))
        };
        let dialed: Result<Vec<_>, ConnectError> =
            targets.iter().map(|target| Ok((target.clone(), dial(target)?))).collect();
        first(dialed.with_context(|| format!("{} cannot be used", ca.display()))?).await
    }

    /// Whom to try, and whom to believe. An address with its own authority needs no configuration at all.
    fn targets(&self, global: &Global, namespace: Option<&str>) -> anyhow::Result<(Vec<Target>, PathBuf)> {
        let address = self.at.as_deref().filter(|at| at.contains(':')).map(Target::at_address);
        if let (Some(target), Some(ca)) = (&address, &self.ca) {
            return Ok((vec![target.clone()], ca.clone()));
        }
        let loaded = global.load()?;
        let ca = self.ca.clone().unwrap_or_else(|| loaded.config.tls.dir.join(tls::CA_FILE));
        let targets = match address {
            Some(target) => vec![target],
            None if self.at.is_none() => on_the_map(&holders(&loaded, namespace), None)?,
            None => on_the_map(&loaded.map, self.at.as_deref())?,
        };
        Ok((targets, ca))
    }
}

impl Target {
    fn at_address(address: &str) -> Self {
        let remedy = "is it the `quic` address of a node that runs?".to_owned();
        Self { address: address.to_owned(), certified: None, remedy }
    }

    fn on_the_map(region: &Region, node: &Node) -> Self {
        Self {
            address: node.quic.to_string(),
            certified: Some(tls::node_name(&region.name, node.id)),
            remedy: how_to_start(&region.name, node.id),
        }
    }

    fn complaint(&self, error: &ConnectError) -> String {
        match error {
            ConnectError::Unreachable { address, reason } => {
                format!("nothing answers at {address} ({reason}); {}", self.remedy)
            }
            ConnectError::Refused { code, .. } => format!("{error}; {}", exit::advice_on_code(*code)),
            other => other.to_string(),
        }
    }
}

/// What to do about a node that is down.
pub(super) fn how_to_start(region: &str, node: u8) -> String {
    format!("start it: snowtide serve --region {region} --node {node}")
}

/// The map, without the regions that do not hold the namespace. One that is not configured may be known to the nodes.
fn holders(loaded: &Loaded, namespace: Option<&str>) -> ClusterMap {
    let mut map = loaded.map.clone();
    if let Some(namespace) = namespace.and_then(|name| loaded.config.namespace.get(name)) {
        map.regions.retain(|region| namespace.is_held_by(&region.name));
    }
    map
}

/// What to do when a node says that its region does not hold the namespace.
pub fn elsewhere(global: &Global, namespace: &str) -> String {
    let held = global.load().ok().and_then(|loaded| Some(loaded.config.namespace.get(namespace)?.regions.clone()));
    match held.as_deref() {
        Some([first, ..]) => {
            let regions = held.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("namespace {namespace:?} is held by {regions} only; try --at {first}")
        }
        _ => format!("namespace {namespace:?} is held by other regions only; name one with --at"),
    }
}

/// The nodes that are meant: one, those of a region, or all.
fn on_the_map(map: &ClusterMap, at: Option<&str>) -> Result<Vec<Target>, Misuse> {
    let (name, number) = match at.and_then(|at| at.split_once('/')) {
        Some((name, number)) => (Some(name), Some(number)),
        None => (at, None),
    };
    if let Some(name) = name.filter(|name| map.region(name).is_none()) {
        let known: Vec<_> = map.regions.iter().map(|region| region.name.as_str()).collect();
        return Err(Misuse(format!("--at {name}: no such region on the map; there are {}", known.join(", "))));
    }
    let meant = |region: &Region, node: &Node| {
        name.is_none_or(|name| name == region.name) && number.is_none_or(|number| number == node.id.to_string())
    };
    let nodes = map.nodes().filter(|(_, region, node)| meant(region, node));
    let targets: Vec<_> = nodes.map(|(_, region, node)| Target::on_the_map(region, node)).collect();
    if targets.is_empty() {
        let place = at.unwrap_or("the map");
        return Err(Misuse(format!("{place} has no such node; `snowtide config show` prints the map")));
    }
    Ok(targets)
}

/// Tries all at once; the first that answers is the nearest.
async fn first(dialed: Vec<(Target, snowtide_client::Config)>) -> anyhow::Result<Connection> {
    let alone = dialed.len() == 1;
    let mut attempts: JoinSet<Result<Connection, (String, Exit)>> = dialed
        .into_iter()
        .map(|(target, config)| async move {
            Connection::open(config).await.map_err(|error| {
                let complaint = target.complaint(&error);
                (complaint, Exit::of(&error.into()))
            })
        })
        .collect();
    let mut complaints = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt.context("an attempt to connect ended by itself")? {
            Ok(client) => return Ok(client),
            Err(complaint) => complaints.push(complaint),
        }
    }
    complaints.sort_by(|one, other| one.0.cmp(&other.0));
    let advice =
        if alone { "" } else { "no node of the map can be reached; start all on this machine: snowtide-dev up\n  " };
    // Who refuses says more than who is not there.
    let exit = complaints.iter().map(|(_, exit)| *exit).find(|exit| *exit != Exit::Unavailable);
    let complaints: Vec<_> = complaints.into_iter().map(|(complaint, _)| complaint).collect();
    Err(Ended::new(exit.unwrap_or(Exit::Unavailable), format!("{advice}{}", complaints.join("\n  "))).into())
}

/// Runs a command that talks to nodes, on this thread.
pub fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the input and output of this process")?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> ClusterMap {
        let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port)).into();
        let region = |name: &str, id: u8, nodes: &[u8]| Region {
            name: name.into(),
            id,
            location: None,
            nodes: nodes
                .iter()
                .map(|node| Node {
                    id: *node,
                    quic: at(7400 + u16::from(id) * 10 + u16::from(*node)),
                    http: at(8400 + u16::from(id) * 10 + u16::from(*node)),
                    redis: None,
                    grpc: None,
                })
                .collect(),
        };
        ClusterMap { regions: vec![region("us-east", 0, &[0]), region("eu-west", 1, &[0, 1]), region("old", 2, &[])] }
    }

    fn addresses(at: Option<&str>) -> Vec<String> {
        on_the_map(&map(), at).unwrap().into_iter().map(|target| target.address).collect()
    }

    #[test]
    fn a_place_is_a_node_a_region_or_the_whole_map() {
        assert_eq!(addresses(Some("eu-west/1")), ["127.0.0.1:7411"]);
        assert_eq!(addresses(Some("eu-west")), ["127.0.0.1:7410", "127.0.0.1:7411"]);
        assert_eq!(addresses(None), ["127.0.0.1:7400", "127.0.0.1:7410", "127.0.0.1:7411"]);
    }

    #[test]
    fn a_node_of_the_map_must_prove_its_own_name() {
        let targets = on_the_map(&map(), Some("us-east")).unwrap();
        assert_eq!(targets[0].certified.as_deref(), Some("node-0.us-east.snowtide"));
        assert_eq!(targets[0].remedy, "start it: snowtide serve --region us-east --node 0");
    }

    #[test]
    fn a_place_that_is_not_on_the_map_is_misuse_and_says_what_is() {
        let refused = |at| on_the_map(&map(), Some(at)).unwrap_err().to_string();
        assert_eq!(refused("eu-north"), "--at eu-north: no such region on the map; there are us-east, eu-west, old");
        for at in ["eu-west/2", "eu-west/", "eu-west/x", "old"] {
            assert_eq!(refused(at), format!("{at} has no such node; `snowtide config show` prints the map"));
        }
    }

    #[test]
    fn an_address_with_an_authority_needs_no_configuration() {
        let global = Global { regions_dir: Some("/nowhere".into()), ..Global::default() };
        let reach = Reach { at: Some("localhost:7410".into()), ca: Some("my-ca.pem".into()), token: None };
        let (targets, ca) = reach.targets(&global, None).unwrap();
        assert_eq!((targets[0].address.as_str(), ca), ("localhost:7410", PathBuf::from("my-ca.pem")));
        assert!(Reach { ca: None, ..reach }.targets(&global, None).is_err());
    }

    #[test]
    fn a_namespace_is_asked_for_where_it_is_held() {
        let mut global = Global::default();
        global.set.push(("namespace.orders.regions".into(), "[eu-west, ap-south]".into()));
        let addresses = |reach: &Reach, namespace| -> Vec<String> {
            let (targets, _) = reach.targets(&global, Some(namespace)).unwrap();
            targets.into_iter().map(|target| target.address).collect()
        };
        let anywhere = Reach::default();
        assert_eq!(addresses(&anywhere, "orders"), ["127.0.0.1:7410", "127.0.0.1:7420"]);
        assert_eq!(addresses(&anywhere, "default").len(), 3);
        assert_eq!(addresses(&anywhere, "unknown").len(), 3);
        let there = Reach { at: Some("us-east".into()), ..Reach::default() };
        assert_eq!(addresses(&there, "orders"), ["127.0.0.1:7400"], "who was named is asked");
        let advice = elsewhere(&global, "orders");
        assert_eq!(advice, "namespace \"orders\" is held by eu-west, ap-south only; try --at eu-west");
    }

    #[tokio::test]
    async fn a_missing_authority_is_named_with_what_to_do() {
        let reach = Reach { at: Some("localhost:7410".into()), ca: Some("/nowhere/ca.pem".into()), token: None };
        let error = reach.connect(&Global::default()).await.unwrap_err();
        let expected =
            "cannot read /nowhere/ca.pem: name the cluster's authority with --ca, or make one: snowtide-dev certs";
        assert_eq!(error.to_string(), expected);
    }
}
