//! The cluster: starts node processes, breaks what is between them, and stops them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;
use snowtide::config::address::Address;
use snowtide::config::map::{ClusterMap, Node, Region};
use snowtide::identity::WorkerId;
use snowtide::probe::Probe;
use tokio::time::timeout;

use crate::certificates::{Folders, Holder, certificates};
use crate::error::DevError;
use crate::files::{self, ANYBODY};
use crate::folder::{Folder, Lock};
use crate::options::{Links, Options};
use crate::plan;
use crate::process::{Ending, Launch, Process};
use crate::relay::{Passed, Relay, Way};
use crate::wires::{Cuts, Wires};

/// In a new folder.
const REGIONS: usize = 3;
/// Every cluster on one machine has one node a region.
const NODE: u8 = 0;
/// How often a starting node is asked whether it is ready.
const POLL: Duration = Duration::from_millis(10);

/// Where to find one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its region.
    pub region: String,
    /// Its number in the region.
    pub node: u8,
    /// For QUIC clients.
    pub quic: SocketAddr,
    /// For HTTP clients.
    pub http: SocketAddr,
    /// For clients of the Redis protocol, if it speaks it.
    pub redis: Option<SocketAddr>,
    /// For Envoy, if it has the rate limit service.
    pub grpc: Option<SocketAddr>,
    /// Its process, if it runs.
    pub pid: Option<u32>,
    /// Its log file.
    pub log: PathBuf,
    /// It is cut off from all other regions.
    pub cut_off: bool,
}

/// A cluster of one node a region. Its nodes are killed when this is dropped; [`Self::stop_all`] drains them.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    folder: Folder,
    map: ClusterMap,
    wires: Option<Wires>,
    processes: BTreeMap<String, Process>,
    probe: Probe,
    _lock: Lock,
}

impl Cluster {
    /// Prepares the cluster and starts all its nodes. Must be called within a Tokio runtime.
    pub async fn start(options: Options) -> Result<Self, DevError> {
        let mut cluster = Self::prepare(options)?;
        cluster.start_all(|_| {}).await?;
        Ok(cluster)
    }

    /// Writes what nodes and clients read, and starts the relays, but no node. Must be called within a Tokio runtime.
    pub fn prepare(options: Options) -> Result<Self, DevError> {
        let folder = Folder::open(&options.folder)?;
        let lock = folder.lock()?;
        let kept = folder.kept_map()?;
        let mut taken: BTreeSet<_> = plan::addresses(&kept).map(Address::port).collect();
        let (asked, kept_count) = (options.regions.map(usize::from), kept.regions.len());
        let count = asked.unwrap_or(if kept_count == 0 { REGIONS } else { kept_count });
        if kept_count > count {
            return Err(DevError::Shrunk { folder: folder.path().to_owned(), kept: kept_count, asked: count });
        }
        let map = plan::map(count, kept, |index| options.ports.pick(index, &mut taken)).ok_or(DevError::NoPorts)?;
        folder.write_for_clients(&map)?;
        certificates(&Folders::beside(&folder.certs_dir()), &Holder::all(&map), false)?;
        let wires = match options.links {
            Links::Relay => Some(Wires::start(&map).map_err(DevError::Relay)?),
            Links::Direct => None,
        };
        for (worker, region, _) in map.nodes() {
            let seen = wires.as_ref().map_or_else(|| map.clone(), |wires| wires.map_of(worker, &map));
            folder.write_for_node(&region.name, &seen)?;
        }
        let (processes, probe) = (BTreeMap::new(), Probe::anonymous());
        Ok(Self { options, folder, map, wires, processes, probe, _lock: lock })
    }

    /// Starts every node that does not run, and waits until all are ready, telling of each when it is.
    pub async fn start_all(&mut self, ready: impl FnMut(&str)) -> Result<(), DevError> {
        let missing: Vec<_> =
            self.regions().filter(|region| !self.processes.contains_key(*region)).map(str::to_owned).collect();
        missing.iter().try_for_each(|region| self.spawn_node(region))?;
        self.until_ready(missing, ready).await
    }

    /// Starts a node that was killed or terminated, and waits until it is ready.
    pub async fn start_node(&mut self, region: &str) -> Result<(), DevError> {
        self.spawn_node(region)?;
        self.until_ready(vec![region.to_owned()], |_| {}).await
    }

    /// Starts a node and does not wait for it.
    pub fn spawn_node(&mut self, region: &str) -> Result<(), DevError> {
        self.number(region)?;
        if self.processes.contains_key(region) {
            return Err(DevError::Running(region.to_owned()));
        }
        let launch = self.launch(region);
        files::make_dir(&launch.dir, ANYBODY)?;
        let executable = launch.executable.clone();
        let process = launch.start().map_err(|source| DevError::Spawn { executable, source })?;
        self.processes.insert(region.to_owned(), process);
        Ok(())
    }

    /// Sets what only this region's node is told, from its next start on, in place of what it was told before.
    pub fn set_of(&mut self, region: &str, settings: &[(&str, &str)]) {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.options.settings_of.insert(region.to_owned(), settings);
    }

    /// Sets the flags of `serve` for this region's node, from its next start on, in place of those before.
    pub fn flag_of(&mut self, region: &str, flags: &[&str]) {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self.options.flags_of.insert(region.to_owned(), flags);
    }

    /// Kills a node with SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self, region: &str) -> Result<(), DevError> {
        let mut process = self.take(region)?;
        let killed = process.kill().await;
        killed.map_err(|error| DevError::Signal { region: region.to_owned(), reason: error.to_string() })
    }

    /// Drains a node with SIGTERM; kills it if that takes too long.
    pub async fn terminate(&mut self, region: &str) -> Result<Ending, DevError> {
        let bound = self.options.drain_within;
        Ok(self.take(region)?.drain(bound).await)
    }

    /// Sends a node a signal, such as SIGSTOP and SIGCONT.
    pub fn signal(&self, region: &str, signal: Signal) -> Result<(), DevError> {
        self.number(region)?;
        let process = self.processes.get(region).ok_or_else(|| DevError::NotRunning(region.to_owned()))?;
        process.signal(signal).map_err(|reason| DevError::Signal { region: region.to_owned(), reason })
    }

    /// Drains all nodes at once. Returns how each ended that ran.
    pub async fn stop_all(&mut self) -> Vec<(String, Ending)> {
        let bound = self.options.drain_within;
        let mut stopping = tokio::task::JoinSet::new();
        for (region, mut process) in std::mem::take(&mut self.processes) {
            stopping.spawn(async move { (region, process.drain(bound).await) });
        }
        let mut endings = stopping.join_all().await;
        endings.sort_by(|(one, _), (other, _)| one.cmp(other));
        endings
    }

    /// Cuts a region off from all others: datagrams between their nodes are lost, those of clients are not.
    pub fn cut(&mut self, region: &str) -> Result<(), DevError> {
        let number = self.number(region)?;
        self.rewire(|cuts| cuts.cut(number))
    }

    /// Heals every cut of this region.
    pub fn heal(&mut self, region: &str) -> Result<(), DevError> {
        let number = self.number(region)?;
        self.rewire(|cuts| cuts.heal(number))
    }

    /// Cuts two regions off from each other alone.
    pub fn cut_between(&mut self, one: &str, other: &str) -> Result<(), DevError> {
        let (one, other) = (self.number(one)?, self.number(other)?);
        self.rewire(|cuts| cuts.cut_between(one, other))
    }

    /// Heals such a cut.
    pub fn heal_between(&mut self, one: &str, other: &str) -> Result<(), DevError> {
        let (one, other) = (self.number(one)?, self.number(other)?);
        self.rewire(|cuts| cuts.heal_between(one, other))
    }

    /// The relays that a region's node dials through or is dialed through, to delay and to lose.
    pub fn relays(&self, region: &str) -> Result<Vec<&Relay>, DevError> {
        let number = self.number(region)?;
        let wires = self.wires.as_ref().ok_or(DevError::DirectLinks)?;
        let touches = |worker: WorkerId| worker.region() == number;
        let relays = wires.relays().filter(|(dialer, acceptor, _)| touches(*dialer) || touches(*acceptor));
        Ok(relays.map(|(_, _, relay)| relay).collect())
    }

    /// Holds everything between two regions back for so long, each way, however often nodes start again.
    pub fn delay(&self, delay: Duration) -> Result<(), DevError> {
        let wires = self.wires.as_ref().ok_or(DevError::DirectLinks)?;
        let relays = wires.relays().filter(|(dialer, acceptor, _)| dialer.region() != acceptor.region());
        relays.for_each(|(_, _, relay)| relay.delay(Way::Both, delay));
        Ok(())
    }

    /// What became of the datagrams between all nodes; nothing if the links are direct.
    pub fn passed(&self) -> Passed {
        let relays = self.wires.iter().flat_map(Wires::relays);
        relays.map(|(_, _, relay)| relay.passed()).fold(Passed::default(), Passed::and)
    }

    /// An error if a node has ended though nobody told it to; that node then counts as stopped.
    pub fn check(&mut self) -> Result<(), DevError> {
        let ended = self.processes.iter_mut().find_map(|(region, process)| Some((region.clone(), process.ended()?)));
        let Some((region, status)) = ended else { return Ok(()) };
        self.processes.remove(&region);
        let (log, tail) = (self.folder.log_file(&region), self.folder.log_tail(&region));
        Err(DevError::Died { region, status, log, tail })
    }

    /// Where to find each node, by region number.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let cut_off = |region| self.wires.as_ref().is_some_and(|wires| wires.is_cut_off(region));
        let endpoint = |(_, region, node): (WorkerId, &Region, &Node)| {
            Some(Endpoint {
                region: region.name.clone(),
                node: node.id,
                quic: node.quic.fixed()?,
                http: node.http.fixed()?,
                redis: node.redis.as_ref().and_then(Address::fixed),
                grpc: node.grpc.as_ref().and_then(Address::fixed),
                pid: self.processes.get(&region.name).and_then(Process::id),
                log: self.folder.log_file(&region.name),
                cut_off: cut_off(region.id),
            })
        };
        self.map.nodes().filter_map(endpoint).collect()
    }

    /// How a client reaches a region's node.
    pub fn client_config(&self, region: &str) -> Result<snowtide_client::Config, DevError> {
        let address = self.address(region)?.0;
        let path = self.folder.ca_file();
        let pem = std::fs::read(&path).map_err(DevError::file(&path))?;
        let config = snowtide_client::Config::new(address.to_string()).ca_pem(&pem);
        config.map_err(std::io::Error::other).map_err(DevError::file(&path))
    }

    /// The map with the addresses that clients use.
    pub fn map(&self) -> &ClusterMap {
        &self.map
    }

    /// Where everything is kept.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The regions' names, by number.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.map.regions.iter().map(|region| region.name.as_str())
    }

    /// Asks the nodes of these regions in turn, until each is ready.
    async fn until_ready(&mut self, mut waiting: Vec<String>, mut ready: impl FnMut(&str)) -> Result<(), DevError> {
        let within = self.options.ready_within;
        let all = async {
            while let Some(region) = waiting.first() {
                self.check()?;
                // A node that does not answer yet is not ready yet.
                if self.probe.is_ready(self.address(region)?.1).await.unwrap_or(false) {
                    ready(region);
                    waiting.remove(0);
                } else {
                    waiting.rotate_left(1);
                    tokio::time::sleep(POLL).await;
                }
            }
            Ok(())
        };
        let outcome = timeout(within, all).await;
        match (outcome, waiting.first()) {
            (Ok(outcome), _) => outcome,
            (Err(_), None) => Ok(()),
            (Err(_), Some(region)) => Err(DevError::NotReady {
                after: within,
                log: self.folder.log_file(region),
                tail: self.folder.log_tail(region),
                region: region.clone(),
            }),
        }
    }

    fn launch(&self, region: &str) -> Launch {
        let text = |path: &Path| path.display().to_string();
        let own = [
            ("regions_dir".to_owned(), text(&self.folder.node_regions_dir(region))),
            ("data_dir".to_owned(), text(&self.folder.data_dir(region))),
            ("tls.dir".to_owned(), text(&self.folder.certs_dir())),
        ];
        let special = self.options.settings_of.get(region).into_iter().flatten();
        let settings = self.options.settings.iter().chain(special).chain(&own);
        let mut arguments: Vec<_> =
            settings.flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect();
        arguments.extend(self.options.config_file.iter().flat_map(|file| ["--config".to_owned(), text(file)]));
        let node = NODE.to_string();
        arguments.extend(["serve", "--region", region, "--node", &node, "--exit-with-stdin"].map(str::to_owned));
        arguments.extend(self.options.flags_of.get(region).into_iter().flatten().cloned());
        Launch {
            executable: self.options.executable.clone(),
            arguments,
            env: self.options.env.clone(),
            dir: self.folder.node_dir(region),
            log: self.folder.log_file(region),
        }
    }

    fn rewire(&mut self, change: impl FnOnce(&mut Cuts)) -> Result<(), DevError> {
        self.wires.as_mut().ok_or(DevError::DirectLinks)?.change(change);
        Ok(())
    }

    fn take(&mut self, region: &str) -> Result<Process, DevError> {
        self.number(region)?;
        self.processes.remove(region).ok_or_else(|| DevError::NotRunning(region.to_owned()))
    }

    fn number(&self, region: &str) -> Result<u8, DevError> {
        self.map.region(region).map(|region| region.id).ok_or_else(|| self.unknown(region))
    }

    /// The node's addresses: QUIC, HTTP.
    fn address(&self, region: &str) -> Result<(SocketAddr, SocketAddr), DevError> {
        let node = self.map.region(region).and_then(|region| region.nodes.first());
        let addresses = node.and_then(|node| Some((node.quic.fixed()?, node.http.fixed()?)));
        addresses.ok_or_else(|| self.unknown(region))
    }

    fn unknown(&self, region: &str) -> DevError {
        let known: Vec<_> = self.regions().collect();
        DevError::UnknownRegion { name: region.to_owned(), known: known.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(executable: &str, dir: &Path) -> Options {
        Options { ready_within: Duration::from_secs(20), ..Options::new(executable, dir) }
    }

    #[tokio::test]
    async fn a_second_start_finds_the_same_addresses_and_authority() {
        let dir = tempfile::tempdir().unwrap();
        let first = Cluster::prepare(options("snowtide", dir.path())).unwrap();
        let (before, ca) = (first.map.clone(), std::fs::read(first.folder.ca_file()).unwrap());
        drop(first);
        let second = Cluster::prepare(options("snowtide", dir.path())).unwrap();
        assert_eq!(second.map, before);
        assert_eq!(std::fs::read(second.folder.ca_file()).unwrap(), ca);
    }

    #[tokio::test]
    async fn regions_are_never_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        drop(Cluster::prepare(options("snowtide", dir.path())).unwrap());
        let fewer = Options { regions: Some(2), ..options("snowtide", dir.path()) };
        let refused = Cluster::prepare(fewer).unwrap_err();
        assert!(matches!(refused, DevError::Shrunk { kept: 3, asked: 2, .. }), "{refused}");
    }

    #[tokio::test]
    async fn each_node_reads_a_map_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::prepare(options("snowtide", dir.path())).unwrap();
        let seen = ClusterMap::load(&cluster.folder.node_regions_dir("eu-west")).unwrap();
        for (worker, region, node) in cluster.map.nodes() {
            let same = seen.node(worker).unwrap().1.quic == node.quic;
            assert_eq!(same, region.name == "eu-west");
        }
        drop(cluster);
        let direct = Options { links: Links::Direct, ..options("snowtide", dir.path()) };
        let mut cluster = Cluster::prepare(direct).unwrap();
        assert_eq!(ClusterMap::load(&cluster.folder.node_regions_dir("eu-west")).unwrap(), cluster.map);
        assert!(matches!(cluster.cut("eu-west"), Err(DevError::DirectLinks)));
    }

    #[tokio::test]
    async fn a_node_that_ends_by_itself_is_reported_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cluster::start(options("/bin/ls", dir.path())).await.unwrap_err();
        let DevError::Died { status, tail, .. } = error else { panic!("{error}") };
        assert_eq!(status.code(), Some(2));
        assert!(tail.contains("--set"), "{tail}");
    }

    #[tokio::test]
    async fn a_region_that_is_not_there_is_refused_with_those_that_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Cluster::prepare(options("snowtide", dir.path())).unwrap();
        let error = cluster.cut("eu-north").unwrap_err();
        assert_eq!(error.to_string(), "there is no region eu-north; there are us-east, eu-west, ap-south");
        assert!(matches!(cluster.kill("eu-west").await, Err(DevError::NotRunning(_))));
    }

    #[tokio::test]
    async fn a_cut_is_shown_with_the_endpoints() {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Cluster::prepare(options("snowtide", dir.path())).unwrap();
        let cut_off = |cluster: &Cluster| cluster.endpoints().iter().map(|node| node.cut_off).collect::<Vec<_>>();
        cluster.cut("eu-west").unwrap();
        assert_eq!(cut_off(&cluster), [false, true, false]);
        cluster.heal("eu-west").unwrap();
        assert_eq!(cut_off(&cluster), [false, false, false]);
        assert_eq!(cluster.relays("eu-west").unwrap().len(), 4);
    }

    #[tokio::test]
    async fn a_node_is_started_with_the_settings_of_all_then_its_own_then_its_places() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options("snowtide", dir.path()).set("gossip.interval", "5ms");
        options.settings_of.insert("eu-west".into(), vec![("log.filter".into(), "debug".into())]);
        let cluster = Cluster::prepare(options).unwrap();
        let arguments = cluster.launch("eu-west").arguments;
        assert_eq!(arguments[..4], ["--set", "gossip.interval=5ms", "--set", "log.filter=debug"]);
        assert_eq!(
            arguments[arguments.len() - 6..],
            ["serve", "--region", "eu-west", "--node", "0", "--exit-with-stdin"]
        );
        assert!(!cluster.launch("us-east").arguments.contains(&"log.filter=debug".to_owned()));
    }
}
