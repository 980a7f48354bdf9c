//! The first words on a link, and the verdict on them. Pure: the same rules judge at both ends.
//!
//! The dialer opens a bidirectional stream and sends [`Hello`]; the acceptor answers [`HelloReply`]. Both are frames as
//! in [`super::frame`]. Their form belongs to the protocol's name (`snowtide-peer/1`) and never changes under it; what
//! follows is spoken in the version that both agreed on.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use rustls::pki_types::CertificateDer;

use crate::config::Namespace;
use crate::config::map::ClusterMap;
use crate::identity::{Boot, NamespaceId, ReplicaId, WorkerId};
use crate::replica::Seal;
use crate::tls;

/// The lowest and the highest version of the messages that this binary speaks.
pub(super) const VERSIONS: (u16, u16) = (5, 5);
/// A longer greeting is refused before it is read. Enough for 1 000 namespaces in 32 regions.
pub(super) const HELLO_BYTES_MAX: usize = 1 << 20;

/// Who is speaking, and whom it believes to be speaking to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Hello {
    /// The cluster's id.
    pub(super) cluster: String,
    /// The lowest and the highest version that the speaker knows.
    pub(super) versions: (u16, u16),
    /// The layout of IDs, as a text to be compared.
    pub(super) layout: String,
    /// The fingerprint of the cluster's secret.
    pub(super) secret: String,
    /// The name of the speaker's region.
    pub(super) region: String,
    /// The speaker.
    pub(super) worker: WorkerId,
    /// Its incarnation, once it has one.
    pub(super) replica: Option<ReplicaId>,
    /// This start of it.
    pub(super) boot: Boot,
    /// Every namespace that it knows, served or not: a definition that one end has not got differs, too.
    pub(super) namespaces: Vec<Space>,
    /// Whom it means to reach.
    pub(super) to: WorkerId,
}

/// A namespace as its speaker understands it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Space {
    /// Its name.
    pub(super) name: String,
    /// Its number.
    pub(super) id: NamespaceId,
    /// The names of the regions that hold it, sorted; none means all that there are, whatever the speaker's map has today.
    pub(super) regions: Vec<String>,
    /// What an acknowledgement waits for, in the word of the configuration.
    pub(super) durability: String,
}

impl Space {
    /// Whether the region of this name holds it.
    pub(super) fn is_held_by(&self, region: &str) -> bool {
        self.regions.is_empty() || self.regions.iter().any(|name| name == region)
    }

    /// What differs, and how, from the same name elsewhere; nothing if both mean the same.
    fn difference(&self, theirs: &Self) -> Option<String> {
        let named = |space: &Self| if space.regions.is_empty() { "all".to_owned() } else { space.regions.join(", ") };
        let regions = || format!("regions are {} here, {} there", named(self), named(theirs));
        let durability = || format!("durability is {} here, {} there", self.durability, theirs.durability);
        let aspects = [
            (self.regions != theirs.regions).then(regions),
            (self.durability != theirs.durability).then(durability),
            (self.id != theirs.id).then(|| format!("its number is {:?} here, {:?} there", self.id, theirs.id)),
        ];
        let aspects: Vec<String> = aspects.into_iter().flatten().collect();
        (!aspects.is_empty()).then(|| aspects.join("; "))
    }
}

/// The acceptor's answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum HelloReply {
    /// Messages may follow.
    Welcome(Hello),
    /// The link ends here.
    Refused(Refusal),
}

/// Why there is no link. It crosses the wire, so it speaks of the refuser and the refused, not of us and them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub(super) enum Refusal {
    #[error("another cluster: the refuser is in {refuser:?}, the refused in {refused:?}")]
    Cluster { refuser: String, refused: String },
    #[error("another ID layout: the refuser has {refuser:?}, the refused {refused:?}")]
    Layout { refuser: String, refused: String },
    #[error("another cluster.secret: its fingerprint is {refuser:?} at the refuser, {refused:?} at the refused")]
    Secret { refuser: String, refused: String },
    #[error(
        "no common protocol version: the refuser speaks {} to {}, the refused {} to {}",
        refuser.0, refuser.1, refused.0, refused.1
    )]
    Version { refuser: (u16, u16), refused: (u16, u16) },
    #[error("node {0} is not in the refuser's map of the cluster")]
    UnknownWorker(WorkerId),
    #[error("node {worker} calls its region {refused:?}, the refuser's map has {refuser:?}")]
    Region { worker: WorkerId, refuser: String, refused: String },
    #[error("the refuser is node {0} itself: an address in the map leads to the wrong node")]
    Itself(WorkerId),
    #[error("meant for node {meant}, but reached node {reached}: an address in the map leads to the wrong node")]
    Misdirected { meant: WorkerId, reached: WorkerId },
    #[error("node {worker} has data of node {replica}: it may not go on with another node's incarnation")]
    ForeignReplica { worker: WorkerId, replica: WorkerId },
    #[error("the certificate is not for {0}")]
    Certificate(String),
    #[error(
        "duplicate worker: another live process is node {worker}, linked since before (its boot {}, the refused {})",
        live.counter, refused.counter
    )]
    Duplicate {
        worker: WorkerId,
        live: Boot,
        refused: Boot,
        /// The live one's word that it has heard of the refused one, for this connection alone. Without it the refused
        /// one does not believe the refuser.
        seal: Seal,
    },
    #[error("busy with an earlier call of node {0}: try again")]
    Busy(WorkerId),
}

/// What both ends can do together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    /// The namespaces that both serve, and of which both mean the same.
    pub(super) namespaces: BTreeSet<NamespaceId>,
    /// Those that are not exchanged although one end serves them by its own account, and why; for the log.
    pub(super) differing: Vec<String>,
}

/// Judges what the other end says. `ours.to` is the node that we mean to speak to.
pub(super) fn examine(
    ours: &Hello,
    theirs: &Hello,
    map: &ClusterMap,
    certificate: &CertificateDer<'_>,
) -> Result<Agreement, Refusal> {
    same_cluster(ours, theirs)?;
    let mapped = map.region_by_id(theirs.worker.region()).filter(|_| map.node(theirs.worker).is_some());
    let region = mapped.ok_or(Refusal::UnknownWorker(theirs.worker))?;
    if region.name != theirs.region {
        return Err(Refusal::Region {
            worker: theirs.worker,
            refuser: region.name.clone(),
            refused: theirs.region.clone(),
        });
    }
    right_ends(ours, theirs)?;
    if let Some(replica) = theirs.replica.map(ReplicaId::worker).filter(|replica| *replica != theirs.worker) {
        return Err(Refusal::ForeignReplica { worker: theirs.worker, replica });
    }
    let name = tls::node_name(&theirs.region, theirs.worker.node());
    if !tls::certificate_names(certificate, &name) {
        return Err(Refusal::Certificate(name));
    }
    Ok(agree(ours, theirs))
}

fn same_cluster(ours: &Hello, theirs: &Hello) -> Result<(), Refusal> {
    if ours.cluster != theirs.cluster {
        return Err(Refusal::Cluster { refuser: ours.cluster.clone(), refused: theirs.cluster.clone() });
    }
    if ours.layout != theirs.layout {
        return Err(Refusal::Layout { refuser: ours.layout.clone(), refused: theirs.layout.clone() });
    }
    if ours.secret != theirs.secret {
        return Err(Refusal::Secret { refuser: ours.secret.clone(), refused: theirs.secret.clone() });
    }
    let (lowest, highest) = theirs.versions;
    if lowest > highest || lowest > ours.versions.1 || highest < ours.versions.0 {
        return Err(Refusal::Version { refuser: ours.versions, refused: theirs.versions });
    }
    Ok(())
}

fn right_ends(ours: &Hello, theirs: &Hello) -> Result<(), Refusal> {
    if theirs.worker == ours.worker {
        return Err(Refusal::Itself(ours.worker));
    }
    if theirs.to != ours.worker {
        return Err(Refusal::Misdirected { meant: theirs.to, reached: ours.worker });
    }
    if ours.to != theirs.worker {
        return Err(Refusal::Misdirected { meant: ours.to, reached: theirs.worker });
    }
    Ok(())
}

fn by_name(hello: &Hello) -> BTreeMap<&str, &Space> {
    hello.namespaces.iter().map(|space| (space.name.as_str(), space)).collect()
}

fn agree(ours: &Hello, theirs: &Hello) -> Agreement {
    let (here, there) = (by_name(ours), by_name(theirs));
    let mut agreement = Agreement { namespaces: BTreeSet::new(), differing: Vec::new() };
    for (name, space) in &here {
        match there.get(name).map(|same| space.difference(same)) {
            Some(None) if space.is_held_by(&ours.region) && space.is_held_by(&theirs.region) => {
                agreement.namespaces.insert(space.id);
            }
            Some(None) => {}
            Some(Some(difference)) => agreement.differing.push(format!("{name}: {difference}")),
            None => agreement.differing.push(format!("{name}: it is not configured there")),
        }
    }
    let missing = there.keys().filter(|name| !here.contains_key(*name));
    agreement.differing.extend(missing.map(|name| format!("{name}: it is not configured here")));
    agreement
}

/// All namespaces. An empty list of regions means all, and is left as it is: nodes whose maps differ mean the same by it.
pub(super) fn spaces(namespaces: &BTreeMap<String, Namespace>) -> Vec<Space> {
    let space = |(name, namespace): (&String, &Namespace)| {
        let mut regions = namespace.regions.clone();
        regions.sort();
        regions.dedup();
        let durability = namespace.durability.to_string();
        Space { name: name.clone(), id: NamespaceId::of(name), regions, durability }
    };
    namespaces.iter().map(space).collect()
}

/// Whether both regions hold one of the namespaces.
pub(super) fn shares(spaces: &[Space], one: &str, other: &str) -> bool {
    spaces.iter().any(|space| space.is_held_by(one) && space.is_held_by(other))
}
