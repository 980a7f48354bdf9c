//! The audit log, and what a node warns of when it starts.

use snowtide_client::{Connection, Error};
use snowtide_dev::Options;

use crate::harness::site::run;
use crate::harness::{Bed, EAST, NAMESPACE, http};

const TOKEN: &str = "reader-0123456789abcdef";

#[tokio::test]
async fn what_operators_ordered_and_whom_doors_turned_away_is_written_down_and_no_token_is() {
    let dir = tempfile::tempdir().unwrap();
    let (config, audit) = (dir.path().join("snowtide.toml"), dir.path().join("audit.log"));
    let text = format!(
        "[[api.tokens]]\nname = \"reader\"\ntoken = \"{TOKEN}\"\naccess = [\"read\"]\n[log]\naudit_file = {audit:?}\n"
    );
    std::fs::write(&config, text).unwrap();
    let bed = Bed::start(|options| Options { regions: Some(1), config_file: Some(config), ..options }).await;

    // Over and over: each has one line.
    for _ in 0..50 {
        let answer = http::get(bed.http(EAST), "/v1/counters/default/k").await.unwrap();
        answer.is_problem(401, "unauthenticated");
    }
    let guess =
        "GET /v1/cluster HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer guess-0123456789\r\n\r\n";
    http::raw_answer(bed.http(EAST), guess.as_bytes()).await.is_problem(401, "unauthenticated");
    let reader = Connection::open(bed.cluster.client_config(EAST).unwrap().token(TOKEN)).await.unwrap();
    for _ in 0..50 {
        assert!(matches!(reader.increment(NAMESPACE, "k", 1).await, Err(Error::Refused { .. })));
    }
    let data = bed.cluster.folder().data_dir(EAST);
    for order in ["reload", "clear-fence"] {
        run(dir.path(), &["cluster", order, "--data-dir", data.to_str().unwrap()], &[]).await;
    }
    for words in [
        &["audit: ", "turned a caller away", "door=\"http\"", "from=\"127.0.0.1\"", "suppressed=0"][..],
        &["audit: ", "turned a caller away", "door=\"quic\"", "caller=\"reader\"", "does not allow"],
        &["audit: ", "an operator's order", "order=reload", "result=\"done\"", "by=user "],
        &["audit: ", "an operator's order", "order=clear-fence", "result=\"refused\"", "it is not fenced"],
    ] {
        bed.logged(EAST, words).await;
    }
    assert_eq!(bed.lines(EAST, &["turned a caller away"]).len(), 2, "one for each");
    let written = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{written}");
    assert!(lines.iter().all(|line| line["target"] == "audit"), "{written}");
    for secret in [TOKEN, "guess-0123456789"] {
        assert!(!written.contains(secret) && !bed.log(EAST).contains(secret));
    }
}

#[tokio::test]
async fn a_node_that_must_have_data_does_not_begin_anew() {
    let mut bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    bed.logged(EAST, &["WARN", "cluster.secret is empty"]).await;
    bed.client(EAST).await.increment(NAMESPACE, "k", 7).await.unwrap();
    bed.cluster.terminate(EAST).await.unwrap();
    bed.cluster.set_of(EAST, &[("store.must_exist", "true")]);
    bed.start_node(EAST).await;
    bed.counted(&[EAST], "k", 7).await;
    bed.cluster.terminate(EAST).await.unwrap();

    // The mount is missing: there is an empty directory, or none.
    let (data, away) = (bed.cluster.folder().data_dir(EAST), bed.cluster.folder().path().join("away"));
    std::fs::rename(&data, &away).unwrap();
    for make in [false, true] {
        if make {
            std::fs::create_dir(&data).unwrap();
        }
        let refused = bed.cluster.start_node(EAST).await.unwrap_err().to_string();
        assert!(refused.contains("store.must_exist is set: is its disk mounted?"), "{refused}");
        assert_eq!(data.exists(), make, "nothing is made");
    }
    std::fs::remove_dir(&data).unwrap();
    std::fs::rename(&away, &data).unwrap();
    bed.start_node(EAST).await;
    bed.counted(&[EAST], "k", 7).await;
}
