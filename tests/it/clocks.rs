//! Clocks and the IDs that they carry: what nodes know of each other's, until when IDs last, and what is answered when a
//! clock yields no more of them.

use serde_json::Value;
use snowtide_client::Error;
use snowtide_dev::Options;
use snowtide_protocol::Code;

use crate::harness::site::run;
use crate::harness::{Bed, DEADLINE, EAST, SOUTH, WEST, ensure, eventually, http};

async fn peers(bed: &Bed, region: &str) -> Vec<Value> {
    let view = http::get(bed.http(region), "/v1/cluster").await.unwrap().json();
    view["peers"].as_array().unwrap().clone()
}

/// All processes of a test share one clock, so the true offset is known: there is none.
#[tokio::test]
async fn nodes_measure_how_far_their_clocks_are_apart() {
    // The end of the IDs is warned of as if it were near.
    let mut bed = Bed::start(|options| options.set("ids.exhaustion_warning", "30000d")).await;
    bed.logged(EAST, &["WARN", "ids.bits.time will be used up", "2094-09-07T15:47:35.551Z"]).await;
    for region in [EAST, WEST, SOUTH] {
        let peers = eventually(DEADLINE, &format!("{region} has measured both clocks"), async || {
            let peers = peers(&bed, region).await;
            let measured = peers.iter().filter(|peer| peer["clock_offset_seconds"].is_number()).count();
            ensure(measured == 2, || format!("{peers:?}")).map(|()| peers)
        })
        .await;
        for peer in peers {
            let (offset, uncertainty) = (&peer["clock_offset_seconds"], &peer["clock_uncertainty_seconds"]);
            let (offset, uncertainty) = (offset.as_f64().unwrap(), uncertainty.as_f64().unwrap());
            assert!(offset.abs() <= uncertainty, "{offset} ± {uncertainty}");
        }
    }
    let told = eventually(DEADLINE, "the metrics tell", async || {
        let text = http::get(bed.http(EAST), "/metrics").await.map_err(|error| error.to_string())?.body;
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        let offset = line("snowtide_peer_clock_offset_seconds{peer=\"eu-west/0\"}").ok_or("no offset")?;
        ensure(!offset.contains("NaN"), || offset)?;
        line("snowtide_clock_believed 1").ok_or("not believed")?;
        line("snowtide_peer_clock_uncertainty_seconds{peer=\"ap-south/0\"}").ok_or("no uncertainty".to_owned())
    })
    .await;
    assert!(!told.contains("NaN"), "{told}");

    let config = bed.cluster.folder().config_file();
    let status = ["--config", config.to_str().unwrap(), "cluster", "status"];
    let told = run(bed.cluster.folder().path(), &status, &[]).await;
    assert_eq!(told.stdout.matches(", clock ").count(), 6, "{told:?}");
    assert!(told.stdout.contains("until 2094-09-07T15:47:35.551Z"), "{told:?}");

    bed.cluster.kill(SOUTH).await.unwrap();
    eventually(DEADLINE, "the clock of a node that is gone is forgotten", async || {
        let peers = peers(&bed, EAST).await;
        let known: Vec<bool> = peers.iter().map(|peer| peer["clock_offset_seconds"].is_number()).collect();
        ensure(known == [true, false], || format!("{peers:?}"))
    })
    .await;
}

/// 256 IDs a millisecond, and no patience: a large request is refused whatever the machine's speed.
#[tokio::test]
async fn more_ids_than_the_clock_yields_are_refused_with_the_time_to_come_back() {
    let shape = |options: Options| {
        let options = options.set("ids.bits.time", "45").set("ids.bits.sequence", "8").set("ids.wait_max", "1ms");
        Options { regions: Some(1), ..options }
    };
    let bed = Bed::start(shape).await;
    let answer = eventually(DEADLINE, "IDs are exhausted", async || {
        let answer = http::post(bed.http(EAST), "/v1/ids", r#"{"count": 10000}"#).await.unwrap();
        ensure(answer.body.contains("sequence_exhausted"), || answer.body.clone()).map(|()| answer)
    })
    .await;
    answer.is_problem(503, "sequence_exhausted");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let client = bed.client(EAST).await;
    let refused = client.ids(10_000).await.unwrap_err();
    assert!(
        matches!(refused, Error::Refused { code: Code::SequenceExhausted, retry_after: Some(_), .. }),
        "{refused:?}"
    );
    // What fits is served, in the split that was configured.
    let id = eventually(DEADLINE, "a few are minted", async || client.ids(2).await).await;
    assert_eq!((id[0] >> 8) & 1023, 0, "region 0, node 0");
    assert!(id[0] < id[1]);
}
