//! IDs in every form, from a real node, by the command line and over HTTP: all lead back to one another.

use std::path::Path;

use serde_json::Value;
use snowtide_dev::Options;
use snowtide_protocol::id::Format;

use crate::harness::site::run;
use crate::harness::{Bed, DEADLINE, EAST, eventually, http};

/// What a command of `snowtide id` prints, line by line.
async fn id(dir: &Path, config: &str, arguments: &[&str]) -> Vec<String> {
    let arguments: Vec<_> = ["--config", config, "id"].iter().chain(arguments).copied().collect();
    let ended = run(dir, &arguments, &[]).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.stdout.lines().map(str::to_owned).collect()
}

async fn id_json(dir: &Path, config: &str, arguments: &[&str]) -> Value {
    let arguments: Vec<_> = arguments.iter().chain(&["--json"]).copied().collect();
    serde_json::from_str(&id(dir, config, &arguments).await.join("\n")).unwrap()
}

#[tokio::test]
async fn ids_of_every_form_are_minted_decoded_and_found_within_their_bounds() {
    let bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    let (client, address, dir) = (bed.client(EAST).await, bed.http(EAST), tempfile::tempdir().unwrap());
    eventually(DEADLINE, "the node mints", async || client.ids(1).await).await;
    let config = bed.cluster.folder().config_file();
    let (dir, config) = (dir.path(), config.to_str().unwrap());
    let mut last = 0;
    for format in Format::ALL {
        let name = format.as_str();
        let texts = id(dir, config, &["new", "-n", "3", "--format", name, "--at", EAST]).await;
        let arguments: Vec<_> = ["decode"].into_iter().chain(texts.iter().map(String::as_str)).collect();
        let decoded = id_json(dir, config, &arguments).await;
        let decoded = decoded["ids"].as_array().unwrap();
        assert_eq!((texts.len(), decoded.len()), (3, 3), "{texts:?}");
        for (text, decoded) in texts.iter().zip(decoded) {
            assert_eq!((&decoded["forms"][name], &decoded["region"]), (&text.as_str().into(), &EAST.into()));
            let number: u64 = decoded["id"].as_str().unwrap().parse().unwrap();
            assert!(number > last, "{number} after {last}");
            last = number;

            let answer = http::get(address, &format!("/v1/ids/{text}")).await.unwrap().json();
            assert_eq!((&answer["format"], &answer["forms"]), (&name.into(), &decoded["forms"]));
            assert_eq!(answer["timestamp"], decoded["timestamp"]);

            let from: u64 = decoded["unix_ms"].as_str().unwrap().parse().unwrap();
            let (from, to) = (from.to_string(), (from + 1).to_string());
            let bounds = id(dir, config, &["bounds", "--from", &from, "--to", &to, "--format", name]).await;
            let path = format!("/v1/ids/bounds?from={from}&to={to}&format={name}");
            let told = http::get(address, &path).await.unwrap().json();
            assert_eq!([&told["first"], &told["last"]], [bounds[0].as_str(), bounds[1].as_str()]);
            let within = match format {
                Format::Decimal => (bounds[0].parse::<u64>().unwrap()..=bounds[1].parse().unwrap()).contains(&number),
                _ => (&bounds[0]..=&bounds[1]).contains(&text),
            };
            assert!(within, "{text} is not within {bounds:?}");
        }
    }
    let sheet = id(dir, config, &["decode", &last.to_string()]).await;
    assert!(sheet.iter().any(|line| line.starts_with("uuid7 ")), "{sheet:?}");
    let foreign = ["--config", config, "id", "decode", "0197c5d3-2240-7104-8000-5bd1e995a3f0"];
    run(dir, &foreign, &[]).await.refused(2, &["not made by this cluster"]);
    let early = ["--config", config, "id", "bounds", "--from", "0", "--to", "1"];
    run(dir, &early, &[]).await.refused(2, &["from is 1970-01-01", "begins at 2025-01-01"]);
}
