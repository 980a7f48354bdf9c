//! Nodes that must not speak with each other: each says why, on both sides, in one line a link; the others work on.

use std::fs;
use std::path::{Path, PathBuf};

use bincode::{Decode, Encode};
use snowtide::codec;
use snowtide::config::map::ClusterMap;
use snowtide::identity::{Boot, NamespaceId, ReplicaId, WorkerId};
use snowtide::tls;
use snowtide_dev::Options;
use snowtide_dev::certificates::{Folders, Holder, certificates};

use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, SOUTH, WEST, ensure, eventually, quic};

/// Refusals that are repeated are logged at this level only, which is how a test sees that there were further tries.
const FILTER: &str = "info,snowtide::peer=debug";

/// A cluster in which one region is set otherwise than the others.
fn odd_west(options: Options, settings: &[(&str, &str)]) -> Options {
    let mut options = options.set("log.filter", FILTER).set("incarnation.proof_timeout", "500ms");
    let own = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    options.settings_of.insert(WEST.to_owned(), own);
    options
}

/// Warnings of `at` about the peer `of` with these words.
fn warnings(bed: &Bed, at: &str, of: &str, words: &str) -> usize {
    let peer = format!("peer=\"{of}/0\"");
    bed.lines(at, &["WARN", words]).iter().filter(|line| line.contains(&peer) || of.is_empty()).count()
}

/// Both sides say why, once for each link, however often it is tried; the other two regions work on.
async fn refused_on_both_sides(bed: &mut Bed, words: &str) {
    for (at, of) in [(EAST, WEST), (SOUTH, WEST), (WEST, EAST), (WEST, SOUTH)] {
        eventually(DEADLINE, &format!("{at} refuses {of}: {words}"), async || {
            ensure(warnings(bed, at, of, words) > 0, || "no such line".to_owned())
        })
        .await;
    }
    // Further tries are seen, and not told again: a link of each direction has one line.
    eventually(DEADLINE, "the links are tried again", async || {
        let tries = |at| bed.lines(at, &["DEBUG", words]).len();
        ensure(tries(EAST) > 4 && tries(WEST) > 4, || format!("{} and {} times", tries(EAST), tries(WEST)))
    })
    .await;
    for (at, of) in [(EAST, WEST), (SOUTH, WEST), (WEST, EAST), (WEST, SOUTH)] {
        // Any other trouble with the link in between, as on a busy machine, lets it be told once more.
        let (lines, others) = (warnings(bed, at, of, words), warnings(bed, at, of, "") - warnings(bed, at, of, words));
        assert!(lines <= 2 + others, "{at} says {lines} times that it refuses {of}: {:#?}", bed.lines(at, &["WARN"]));
    }
    the_others_work(bed).await;
    bed.counted(&[WEST], "between", 0).await;
}

async fn the_others_work(bed: &mut Bed) {
    bed.client(EAST).await.increment(NAMESPACE, "between", 1_000_003).await.unwrap();
    bed.client(SOUTH).await.increment(NAMESPACE, "between", 1_000_033).await.unwrap();
    bed.counted(&[EAST, SOUTH], "between", 2_000_036).await;
    for region in [EAST, WEST, SOUTH] {
        bed.serves(region).await;
    }
}

#[tokio::test]
async fn a_node_of_another_cluster() {
    let mut bed = Bed::start(|options| odd_west(options, &[("cluster.id", "elsewhere")])).await;
    refused_on_both_sides(&mut bed, "another cluster").await;
    let line = bed.lines(EAST, &["WARN", "another cluster"]).remove(0);
    assert!(line.contains("snowtide-dev") && line.contains("elsewhere"), "both clusters are named: {line}");
}

#[tokio::test]
async fn a_node_with_another_layout_of_ids() {
    let settings = [("ids.bits.time", "42"), ("ids.bits.sequence", "11")];
    let mut bed = Bed::start(|options| odd_west(options, &settings)).await;
    refused_on_both_sides(&mut bed, "another ID layout").await;
}

#[tokio::test]
async fn a_node_with_another_cluster_secret() {
    let secret = "correct-horse-battery-staple";
    let mut bed = Bed::start(|options| odd_west(options, &[("cluster.secret", secret)])).await;
    refused_on_both_sides(&mut bed, "another cluster.secret").await;
    for region in [EAST, WEST, SOUTH] {
        assert!(!bed.log(region).contains(secret), "{}", bed.log(region));
    }
}

/// Changes one region file in the copy of the map that `of` reads.
fn edit_map(bed: &Bed, of: &str, region: &str, from: &str, to: &str) {
    let path = bed.cluster.folder().node_regions_dir(of).join(format!("{region}.toml"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

#[tokio::test]
async fn a_node_that_gives_itself_another_region_number() {
    let mut bed = Bed::prepare(|options| odd_west(options, &[]));
    edit_map(&bed, WEST, WEST, "id = 1", "id = 9");
    bed.start_all().await;
    // It calls as worker 9/0, of which nobody has heard; the others call it worker 1/0, which it is not.
    for at in [EAST, SOUTH] {
        bed.logged(at, &["WARN", "node 9/0 is not in the refuser's map"]).await;
        bed.logged(at, &["WARN", WEST, "refused"]).await;
    }
    bed.logged(WEST, &["WARN", "peer=\"us-east/0\"", "refused"]).await;
    the_others_work(&mut bed).await;
    bed.counted(&[WEST], "between", 0).await;
}

#[tokio::test]
async fn an_address_that_leads_to_another_node() {
    let mut bed = Bed::prepare(|options| odd_west(options, &[]));
    let quic = |bed: &Bed, region: &str| {
        let map = ClusterMap::load(&bed.cluster.folder().node_regions_dir(WEST)).unwrap();
        map.region(region).unwrap().nodes[0].quic.to_string()
    };
    // The two peers of eu-west change places in its map, so each shows the certificate of the other.
    let (east, south) = (quic(&bed, EAST), quic(&bed, SOUTH));
    edit_map(&bed, WEST, EAST, &east, &south);
    edit_map(&bed, WEST, SOUTH, &south, &east);
    bed.start_all().await;
    bed.logged(WEST, &["WARN", "peer=\"us-east/0\"", "a certificate is not believed"]).await;
    bed.logged(WEST, &["WARN", "peer=\"ap-south/0\"", "a certificate is not believed"]).await;
    for at in [EAST, SOUTH] {
        bed.logged(at, &["WARN", "certificate"]).await;
    }
    the_others_work(&mut bed).await;
}

/// What a node reads of its certificates, put aside while another authority's lie in their place.
fn replace_certificates(certs: &Path, region: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let foreign = tempfile::tempdir().unwrap();
    let map = ClusterMap::load(&certs.with_file_name("regions")).unwrap();
    certificates(&Folders::within(foreign.path()), &Holder::all(&map), false).unwrap();
    let files = [tls::CA_FILE.to_owned(), tls::certificate_file(region, 0), tls::key_file(region, 0)];
    let swap = |name: String| {
        let (own, path) = (fs::read(certs.join(&name)).unwrap(), certs.join(&name));
        fs::copy(foreign.path().join(&name), &path).unwrap();
        (path, own)
    };
    files.map(swap).into()
}

#[tokio::test]
async fn a_node_with_a_certificate_of_another_authority() {
    let mut bed = Bed::prepare(|options| odd_west(options, &[]));
    for region in [EAST, SOUTH] {
        bed.start_node(region).await;
    }
    // All nodes read one folder, each only when it starts.
    let own = replace_certificates(&bed.cluster.folder().certs_dir(), WEST);
    bed.start_node(WEST).await;
    for (path, bytes) in own {
        fs::write(path, bytes).unwrap();
    }
    for at in [EAST, SOUTH] {
        bed.logged(at, &["WARN", "peer=\"eu-west/0\"", "a certificate is not believed"]).await;
        bed.logged(WEST, &["WARN", &format!("peer=\"{at}/0\""), "a certificate is not believed"]).await;
    }
    bed.client(EAST).await.increment(NAMESPACE, "between", 1_000_003).await.unwrap();
    bed.counted(&[EAST, SOUTH], "between", 1_000_003).await;
    bed.serves(EAST).await;
    bed.serves(SOUTH).await;
    assert!(bed.lines(WEST, &["panick"]).is_empty());
}

/// The greeting as it stands on the wire: a rogue knows the protocol, not our types.
#[derive(Clone, Encode, Decode)]
struct Hello {
    cluster: String,
    versions: (u16, u16),
    layout: String,
    secret: String,
    region: String,
    worker: WorkerId,
    replica: Option<ReplicaId>,
    boot: Boot,
    namespaces: Vec<(String, NamespaceId, Vec<String>)>,
    to: WorkerId,
}

fn hello(region: &str, number: u8, to: u8) -> Hello {
    Hello {
        cluster: "snowtide-dev".to_owned(),
        versions: (5, 5),
        layout: "".to_owned(),
        secret: "".to_owned(),
        region: region.to_owned(),
        worker: WorkerId::new(number, 0).unwrap(),
        replica: None,
        boot: Boot { counter: 99, nonce: 99 },
        namespaces: Vec::new(),
        to: WorkerId::new(to, 0).unwrap(),
    }
}

/// Says hello as the node of `identity`; returns the refusal's words.
async fn greet(bed: &Bed, identity: &str, hello: &Hello) -> String {
    let certs = bed.cluster.folder().certs_dir();
    let caller =
        quic::call(bed.quic(EAST), "node-0.us-east.snowtide", &certs, Some(identity), b"snowtide-peer/1").await;
    let caller = caller.unwrap();
    let (mut send, _receive) = caller.connection.open_bi().await.unwrap();
    let bytes = codec::encode(hello);
    send.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).await.unwrap();
    send.write_all(&bytes).await.unwrap();
    send.finish().unwrap();
    let (code, words) = caller.hung_up().await;
    assert_eq!(code, 2, "never with this caller: {words}");
    words
}

#[tokio::test]
async fn a_rogue_with_a_valid_certificate_that_claims_to_be_somebody_else() {
    let mut bed = Bed::start(|options| options).await;
    // The layout in words is the node's own business, and so is the secret: they are taken from its first refusals.
    let told = |refusal: String, before: &str| {
        let words = refusal.split(before).nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
        words.unwrap_or_else(|| panic!("{refusal}"))
    };
    let layout = told(greet(&bed, "eu-west-0", &hello(WEST, 1, 0)).await, "the refuser has \"");
    let hello = |region, number, to| Hello { layout: layout.clone(), ..hello(region, number, to) };
    let secret = told(greet(&bed, "eu-west-0", &hello(WEST, 1, 0)).await, "its fingerprint is \"");
    let hello = |region, number, to| Hello { secret: secret.clone(), ..hello(region, number, to) };

    let stolen = greet(&bed, "ap-south-0", &hello(WEST, 1, 0)).await;
    assert_eq!(stolen, "the certificate is not for node-0.eu-west.snowtide");
    let unknown = greet(&bed, "eu-west-0", &hello(WEST, 9, 0)).await;
    assert_eq!(unknown, "node 9/0 is not in the refuser's map of the cluster");
    let renamed = greet(&bed, "eu-west-0", &hello("atlantis", 1, 0)).await;
    assert!(renamed.contains("\"atlantis\"") && renamed.contains("\"eu-west\""), "{renamed}");
    let itself = greet(&bed, "us-east-0", &hello(EAST, 0, 0)).await;
    assert!(itself.contains("node 0/0 itself"), "{itself}");
    let lost = greet(&bed, "eu-west-0", &hello(WEST, 1, 2)).await;
    assert!(lost.contains("meant for node 2/0, but reached node 0/0"), "{lost}");
    let older = greet(&bed, "eu-west-0", &Hello { versions: (7, 9), ..hello(WEST, 1, 0) }).await;
    assert!(older.contains("no common protocol version"), "{older}");
    let foreign = Some(ReplicaId::new(WorkerId::new(2, 0).unwrap(), 1));
    let foreign = greet(&bed, "eu-west-0", &Hello { replica: foreign, ..hello(WEST, 1, 0) }).await;
    assert!(foreign.contains("another node's incarnation"), "{foreign}");
    for words in ["the certificate is not for", "node 9/0", "atlantis", "itself", "meant for", "version", "incarnation"]
    {
        let lines = bed.lines(EAST, &["WARN", words]);
        assert_eq!(lines.len(), 1, "one line for {words:?}: {lines:?}");
    }
    // The true eu-west has kept its place all the time.
    bed.client(WEST).await.increment(NAMESPACE, "true", 3).await.unwrap();
    bed.counted(&[EAST, SOUTH], "true", 3).await;
    bed.serves(EAST).await;
}
