//! Broken configurations, each with its whole message; layers and origins; the documentation against the schema.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use proptest::prelude::*;
use tempfile::TempDir;

use super::address::{Address, Listen};
use super::load::load;
use super::schema::{CONFIG, REGION};
use super::*;
use crate::section::Kind;

/// 2026-01-01T00:00:00Z
const NOW_MS: u64 = 1_767_225_600_000;

/// A folder with a `regions` folder, a configuration file, an environment and flags.
struct Site {
    dir: TempDir,
    sources: Sources,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("regions")).unwrap();
        let mut site = Self { dir, sources: Sources::default() };
        site.write("regions/eu.toml", &region("eu", 1, 7410));
        site.write("regions/us.toml", &region("us", 0, 7400));
        let regions = site.path("regions").display().to_string();
        site.sources.flag("--regions-dir", "regions_dir", &regions);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// With this file for `--config`.
    fn file(mut self, text: &str) -> Self {
        self.write("prod.toml", text);
        self.sources.file = Some(self.path("prod.toml"));
        self
    }

    fn region_file(self, name: &str, text: &str) -> Self {
        self.write(&format!("regions/{name}"), text);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.sources.flag("--set", key, value);
        self
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.sources, NOW_MS)
    }

    #[track_caller]
    fn loads(&self) -> Loaded {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The whole message, with the folder's name taken out.
    #[track_caller]
    fn refusal(&self) -> String {
        let message = self.load().map(|loaded| loaded.config).unwrap_err().to_string();
        message.replace(&format!("{}/", self.dir.path().display()), "")
    }

    #[track_caller]
    fn refused(&self, message: &str) {
        assert_eq!(self.refusal(), message);
    }
}

fn region(name: &str, id: u8, port: u16) -> String {
    format!("name = \"{name}\"\nid = {id}\n{}", node(0, port))
}

fn node(id: u8, port: u16) -> String {
    let http = port + 1_000;
    format!("[[node]]\nid = {id}\nquic = \"127.0.0.1:{port}\"\nhttp = \"127.0.0.1:{http}\"\n")
}

// What is refused.

#[test]
fn a_file_that_is_not_there() {
    let mut site = Site::new();
    site.sources.file = Some(site.path("absent.toml"));
    site.refused("absent.toml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn a_file_that_is_not_text() {
    let site = Site::new().file("");
    fs::write(site.path("prod.toml"), [0xff, 0xfe]).unwrap();
    site.refused("prod.toml: cannot be read: stream did not contain valid UTF-8");
}

#[test]
fn a_file_that_is_too_long() {
    let site = Site::new().file(&"#".repeat((1 << 20) + 1));
    site.refused("prod.toml: cannot be read: it is longer than 1MiB");
}

#[test]
fn a_file_that_is_not_toml() {
    Site::new().file("[commit]\nbytes_max = \"1MiB\n").refused("prod.toml:2:18: not valid TOML: invalid basic string");
    Site::new()
        .file("data_dir = \"a\"\ndata_dir = \"b\"\n")
        .refused("prod.toml:2:1: not valid TOML: duplicate key `data_dir` in document root");
}

#[test]
fn an_unknown_key() {
    Site::new()
        .file("[commit]\nbyte_max = \"1MiB\"\n")
        .refused("prod.toml: commit.byte_max is not a key; did you mean bytes_max?");
    Site::new().file("[comit]\nbytes_max = \"1MiB\"\n").refused("prod.toml: comit is not a key; did you mean commit?");
    Site::new()
        .file("[drain]\nsinkhole = 1\n")
        .refused("prod.toml: drain.sinkhole is not a key; the keys here are timeout");
    Site::new()
        .env("SNOWTIDE_GOSSIP__INTERVALL", "1ms")
        .refused("environment SNOWTIDE_GOSSIP__INTERVALL: gossip.intervall is not a key; did you mean interval?");
    Site::new()
        .env("SNOWTIDE_DATADIR", "/data")
        .refused("environment SNOWTIDE_DATADIR: datadir is not a key; did you mean data_dir?");
}

#[test]
fn a_value_of_the_wrong_kind() {
    Site::new()
        .file("[checkpoint]\ndirty_rows_max = \"many\"\n")
        .refused("prod.toml: checkpoint.dirty_rows_max = \"many\": allowed: a whole number from 100 to 1000000000");
    Site::new()
        .file("commit = 5\n")
        .refused("prod.toml: commit = 5: allowed: a table with the keys bytes_max, interval");
    Site::new()
        .file("[cluster]\nid = 7\n")
        .refused("prod.toml: cluster.id = 7: allowed: 1 to 64 letters, digits, dots, dashes and underscores");
}

#[test]
fn a_bad_duration() {
    let allowed = "allowed: a duration from 1ms to 10s";
    Site::new()
        .file("[gossip]\ninterval = \"fast\"\n")
        .refused(&format!("prod.toml: gossip.interval = \"fast\": {allowed}"));
    Site::new().set("gossip.interval", "20").refused(&format!("flag --set: gossip.interval = 20: {allowed}"));
    Site::new().set("gossip.interval", "0ms").refused(&format!("flag --set: gossip.interval = \"0ms\": {allowed}"));
    Site::new().set("gossip.interval", "11s").refused(&format!("flag --set: gossip.interval = \"11s\": {allowed}"));
}

#[test]
fn a_bad_size() {
    let allowed = "allowed: a size from 4KiB to 64MiB";
    Site::new()
        .env("SNOWTIDE_COMMIT__BYTES_MAX", "4 pages")
        .refused(&format!("environment SNOWTIDE_COMMIT__BYTES_MAX: commit.bytes_max = \"4 pages\": {allowed}"));
    Site::new().set("commit.bytes_max", "-1").refused(&format!("flag --set: commit.bytes_max = -1: {allowed}"));
    Site::new().set("commit.bytes_max", "0").refused(&format!("flag --set: commit.bytes_max = 0: {allowed}"));
}

#[test]
fn a_bound_of_zero() {
    Site::new()
        .file("[api]\nwaiting_max = 0\n")
        .refused("prod.toml: api.waiting_max = 0: allowed: a whole number from 1 to 1000000");
}

#[test]
fn two_regions_of_one_name_or_number() {
    Site::new().region_file("b.toml", &region("us", 2, 7500)).refused(
        "regions/us.toml: name = \"us\": name in regions/b.toml is the same; allowed: a name that no other region has",
    );
    Site::new().region_file("b.toml", &region("b", 1, 7500)).refused(
        "regions/eu.toml: id = 1: id in regions/b.toml is the same; allowed: a number that no other region has",
    );
}

#[test]
fn two_nodes_of_one_number() {
    let text = region("b", 2, 7500) + &node(0, 7501);
    Site::new().region_file("b.toml", &text).refused(
        "regions/b.toml: node[1].id = 0: node[0].id of the same file is the same; \
         allowed: a number that no other node of the region has",
    );
}

#[test]
fn two_nodes_at_one_address() {
    Site::new().region_file("b.toml", &region("b", 2, 7410)).refused(
        "regions/eu.toml: node[0].quic = \"127.0.0.1:7410\": node[0].quic in regions/b.toml is the same; \
         allowed: a UDP address that no other node has\n\
         regions/eu.toml: node[0].http = \"127.0.0.1:8410\": node[0].http in regions/b.toml is the same; \
         allowed: a TCP address that no other node has",
    );
}

#[test]
fn two_doors_at_one_address() {
    let text = region("b", 2, 7500) + "redis = \"127.0.0.1:8500\"\n";
    Site::new().region_file("b.toml", &text).refused(
        "regions/b.toml: node[0].redis = \"127.0.0.1:8500\": node[0].http of the same file is the same; \
         allowed: a TCP address that no other node has",
    );
    let text = region("b", 2, 7500) + "redis = \"127.0.0.1:6500\"\n";
    let map = Site::new().region_file("b.toml", &text).loads().map;
    let doors: Vec<_> = map.nodes().map(|(_, _, node)| node.redis.clone()).collect();
    assert_eq!(doors, [None, None, Address::parse("127.0.0.1:6500")], "without an address the door is closed");
}

#[test]
fn one_port_for_udp_and_tcp_is_no_clash() {
    let text = region("b", 2, 7500).replace("127.0.0.1:8500", "127.0.0.1:7500");
    Site::new().region_file("b.toml", &text).loads();
}

#[test]
fn an_address_that_nobody_can_reach() {
    let allowed = "allowed: an IP address or a name by which others reach it, and a port, such as \"127.0.0.1:7400\", \
                   \"[::1]:7400\" or \"node-0.example:7400\"";
    for address in ["0.0.0.0:7500", "[::]:7500", "127.0.0.1:0", "localhost", "127.0.0.1", "::1:7500", "a b:7500"] {
        let text = region("b", 2, 7500).replace("127.0.0.1:7500", address);
        Site::new()
            .region_file("b.toml", &text)
            .refused(&format!("regions/b.toml: node[0].quic = \"{address}\": {allowed}"));
    }
}

#[test]
fn two_nodes_by_one_name() {
    let named = |name: &str, id, host: &str| {
        region(name, id, 7500).replace("127.0.0.1:7500", &format!("{host}:7500")).replace("8500", &format!("85{id}0"))
    };
    let site = Site::new().region_file("b.toml", &named("b", 2, "node.example"));
    site.region_file("c.toml", &named("c", 3, "Node.Example.")).refused(
        "regions/c.toml: node[0].quic = \"Node.Example.:7500\": node[0].quic in regions/b.toml is the same; \
         allowed: a UDP address that no other node has",
    );
    let site = Site::new().region_file("b.toml", &named("b", 2, "node-2.example"));
    site.region_file("c.toml", &named("c", 3, "node-3.example")).loads();
}

#[test]
fn an_address_on_which_nothing_can_listen() {
    let allowed = "allowed: nothing, or an IP address of this machine, 0.0.0.0 or [::] for all of them, and a port, such as \
                   \"10.0.0.5:7400\" or \"[::]:7400\"";
    for door in ["quic", "http", "redis"] {
        for address in ["localhost:7400", "0.0.0.0", ":7400", "[::]:0", "224.0.0.1:7400"] {
            let site = Site::new().env(&format!("SNOWTIDE_{}__LISTEN", door.to_ascii_uppercase()), address);
            let name = door.to_ascii_uppercase();
            site.refused(&format!("environment SNOWTIDE_{name}__LISTEN: {door}.listen = \"{address}\": {allowed}"));
        }
    }
    let site = Site::new().env("SNOWTIDE_HTTP__LISTEN", "0.0.0.0:8400").env("SNOWTIDE_REDIS__LISTEN", "10.0.0.5:8400");
    site.refused(
        "environment SNOWTIDE_REDIS__LISTEN: redis.listen = \"10.0.0.5:8400\": http.listen = \"0.0.0.0:8400\" is there too; \
         allowed: another port or address",
    );
    let site = Site::new().env("SNOWTIDE_HTTP__LISTEN", "[::]:8400").env("SNOWTIDE_QUIC__LISTEN", "0.0.0.0:8400");
    assert!(site.loads().config.http.listen != Listen::default(), "one port for UDP and TCP is no clash");
}

#[test]
fn a_number_that_does_not_fit_five_bits() {
    let allowed = "allowed: a whole number from 0 to 31";
    let site = Site::new().region_file("b.toml", &region("b", 32, 7500));
    site.refused(&format!("regions/b.toml: id = 32: {allowed}"));
    let site = Site::new().region_file("b.toml", &(region("b", 2, 7500) + &node(32, 7501)));
    site.refused(&format!("regions/b.toml: node[1].id = 32: {allowed}"));
}

#[test]
fn a_bad_region_name() {
    let allowed = "allowed: 1 to 32 lower-case letters, digits and dashes, a letter first";
    for name in ["EU", "", "2-eu", "eu west", "eu/west", "é"] {
        let site = Site::new().region_file("b.toml", &region(name, 2, 7500));
        site.refused(&format!("regions/b.toml: name = \"{name}\": {allowed}"));
    }
}

#[test]
fn a_region_without_a_name_or_with_a_key_too_many() {
    Site::new().region_file("b.toml", "id = 2\nlatency = 5\n").refused(
        "regions/b.toml: latency is not a key; the keys here are name, id, location, node\n\
         regions/b.toml: name is missing; allowed: 1 to 32 lower-case letters, digits and dashes, a letter first",
    );
}

#[test]
fn a_region_file_that_is_not_toml() {
    Site::new()
        .region_file("b.toml", "name = b\n")
        .refused("regions/b.toml:1:8: not valid TOML: invalid string, expected `\"`, `'`");
}

#[test]
fn an_origin_that_no_browser_would_send() {
    let with = |origin: &str| Site::new().file(&format!("[http.cors]\norigins = [\"{origin}\"]\n"));
    for origin in
        ["*", "https://app.example.com", "http://127.0.0.1:3000", "http://[::1]:80 80", "http://localhost:8080"]
    {
        let loaded = with(origin).load();
        assert_eq!(loaded.is_ok(), !origin.contains(' '), "{origin}");
    }
    for origin in [
        "https://app.example.com/",
        "https://App.example.com",
        "https://a:b@example.com",
        "https://example.com:443",
        "ftp://example.com",
        "example.com",
        "https://*.example.com",
        "null",
        "",
    ] {
        let message = with(origin).refusal();
        assert!(message.contains("http.cors.origins[0] = ") && message.contains("allowed: an origin"), "{message}");
    }
}

#[test]
fn leftovers_of_editors_and_archivers_are_no_regions() {
    let copy = region("eu", 1, 7410);
    let mut site = Site::new();
    let names = ["._eu.toml", ".eu.toml", ".#eu.toml", "#eu.toml", "#eu.toml#", "~eu.toml", "~$eu.toml", "eu.toml~"];
    for name in names.into_iter().chain([".eu.toml.swp", "eu.toml.orig", "eu.toml.tmp", "4913"]) {
        for text in ["\0\u{5}\u{16}\u{7}not TOML", copy.as_str()] {
            site = site.region_file(name, text);
            assert_eq!(load(&site.sources, NOW_MS).unwrap().map.regions.len(), 2, "{name}");
        }
    }
    // What has an ordinary name is meant.
    site.region_file("eu copy.toml", &copy.replace("eu", "e!")).refused(
        "regions/eu copy.toml: name = \"e!\": allowed: 1 to 32 lower-case letters, digits and dashes, a letter first",
    );
}

#[test]
fn a_place_that_is_not_on_earth() {
    for place in ["[91.0, 0.0]", "[0.0, -180.5]", "[0.0]", "[nan, 0.0]", "\"here\""] {
        let text = region("b", 2, 7500).replace("id = 2\n", &format!("id = 2\nlocation = {place}\n"));
        let message = Site::new().region_file("b.toml", &text).refusal();
        assert!(message.starts_with("regions/b.toml: location = "), "{message}");
        let allowed = ": allowed: [latitude from -90 to 90, longitude from -180 to 180], in degrees";
        assert!(message.ends_with(allowed), "{message}");
    }
}

#[test]
fn no_region_at_all() {
    let advice = "create it with one file a region, the same set on every node, such as regions/us-east.toml:\n\n\
                  name = \"us-east\"\nid = 0\n\n[[node]]\nid = 0\nquic = \"127.0.0.1:7400\"\n\
                  http = \"127.0.0.1:8400\"\n";
    let site = Site::new();
    fs::remove_file(site.path("regions/us.toml")).unwrap();
    fs::rename(site.path("regions/eu.toml"), site.path("regions/eu.toml.bak")).unwrap();
    site.refused(&format!("regions: no region file (*.toml) is here; {advice}"));
    fs::remove_dir_all(site.path("regions")).unwrap();
    let reason = "the region files cannot be listed: No such file or directory (os error 2)";
    site.refused(&format!("regions: {reason}; {advice}"));
}

#[test]
fn a_bad_epoch() {
    let allowed = "allowed: a time since 1970 in quotes, by RFC 3339, such as \"2025-01-01T00:00:00Z\"; \
                   it must have passed, and its milliseconds until now must fit ids.bits.time";
    for epoch in ["\"yesterday\"", "\"2025-13-01T00:00:00Z\"", "\"1969-12-31T23:59:59Z\"", "2025-01-01T00:00:00Z"] {
        Site::new()
            .file(&format!("[ids]\nepoch = {epoch}\n"))
            .refused(&format!("prod.toml: ids.epoch = {epoch}: {allowed}"));
    }
    Site::new().file("[ids]\nepoch = \"2026-01-01T00:00:01Z\"\n").refused(
        "prod.toml: ids.epoch = \"2026-01-01T00:00:01Z\": it has not come yet by this machine's clock; \
         allowed: a time that has passed",
    );
    Site::new().set("ids.epoch", "1970-01-01T00:00:00Z").set("ids.bits.time", "39").set("ids.bits.sequence", "14").refused(
        "flag --set: ids.epoch = \"1970-01-01T00:00:00Z\": the milliseconds since then need more than ids.bits.time = 39 bits",
    );
}

#[test]
fn bits_that_make_no_id() {
    Site::new().file("[ids.bits]\ntime = 42\n").refused(
        "prod.toml: ids.bits.time = 42: with ids.bits.sequence = 12 and 10 bits of region and node, an ID has 64 bits, \
         not 63; allowed: time and sequence that make 53 together",
    );
    Site::new().file("[ids.bits]\nregion = 6\nnode = 6\n").refused(
        "prod.toml: ids.bits.node = 6: allowed: a whole number from 0 to 5\n\
         prod.toml: ids.bits.region = 6: allowed: a whole number from 0 to 5",
    );
}

#[test]
fn every_split_in_bounds_is_taken_and_lasts_until_its_bits_are_used_up() {
    let (mut taken, mut refused) = (0, 0);
    for (region, node, sequence) in [(1, 0, 12), (5, 5, 12), (5, 5, 8), (2, 3, 17), (1, 5, 8), (1, 0, 22), (4, 1, 15)] {
        for time in 38..=49_u32 {
            let file = format!(
                "[ids.bits]\ntime = {time}\nregion = {region}\nnode = {node}\nsequence = {sequence}\n[ids]\n\
                 epoch = \"2020-01-01T00:00:00Z\"\n"
            );
            let site = Site::new().file(&file);
            if (39..=48).contains(&time) && time + region + node + sequence == 63 {
                let end = site.loads().config.ids_end_ms();
                assert_eq!(end, 1_577_836_800_000 + (1 << time) - 1);
                taken += 1;
            } else {
                let message = site.refusal();
                assert!(message.contains("ids.bits.time"), "{message}");
                refused += 1;
            }
        }
    }
    assert_eq!((taken, refused), (5, 79));
}

#[test]
fn a_number_that_the_split_has_no_room_for() {
    Site::new()
        .file("[ids.bits]\ntime = 46\nregion = 0\n")
        .refused("regions/eu.toml: id = 1: ids.bits.region = 0 has no room for it; allowed: 0 to 0");
    Site::new()
        .file("[ids.bits]\ntime = 45\nnode = 1\n")
        .region_file("b.toml", &(region("b", 2, 7500) + &node(2, 7501)))
        .refused("regions/b.toml: node[1].id = 2: ids.bits.node = 1 has no room for it; allowed: 0 to 1");
}

#[test]
fn a_quarantine_that_is_over_before_a_former_holder_is_found() {
    Site::new().set("gossip.digest_interval", "2s").refused(
        "built-in: ids.quarantine = \"10s\": allowed: at least 13s, for ids.max_backstep, peer.idle_timeout and four \
         gossip.digest_interval",
    );
    Site::new().set("gossip.digest_interval", "2s").set("ids.quarantine", "13s").loads();
}

#[test]
fn a_frame_that_cannot_hold_a_record() {
    Site::new().file("[frame]\nbytes_max = \"6MiB\"\n").refused(
        "prod.toml: frame.bytes_max = \"6MiB\": allowed: at least 6208KiB, for commit.bytes_max (4MiB), \
         api.request_bytes_max (2MiB) and 64KiB around them",
    );
    Site::new().file("[frame]\nbytes_max = \"6208KiB\"\n").loads();
}

#[test]
fn more_dirty_rows_than_there_is_memory_for() {
    let small = || Site::new().set("memory.bytes_max", "100MiB");
    small().loads();
    small().set("checkpoint.dirty_rows_max", "102400").loads();
    small().set("checkpoint.dirty_rows_max", "102401").refused(
        "flag --set: checkpoint.dirty_rows_max = 102401: allowed: at most 102400, at 256 bytes each in the 25MiB that rows \
         get of memory (100MiB)",
    );
    Site::new().set("checkpoint.dirty_rows_max", "1000000000").loads();
}

#[test]
fn so_little_memory_that_rows_would_come_and_go() {
    Site::new()
        .set("memory.bytes_max", "1000KiB")
        .refused("flag --set: memory.bytes_max = \"1000KiB\": allowed: 0B, or at least 1MiB");
    Site::new().set("memory.bytes_max", "1MiB").loads();
    Site::new().set("memory.bytes_max", "0").loads();
}

#[test]
fn a_key_whose_place_another_has_taken() {
    let message = "cache is not a key; memory.bytes_max has taken its place";
    Site::new().file("[cache]\nrows_max = 5000\n").refused(&format!("prod.toml: {message}"));
    Site::new()
        .env("SNOWTIDE_CACHE__ROWS_MAX", "5000")
        .refused(&format!("environment SNOWTIDE_CACHE__ROWS_MAX: {message}"));
    Site::new().set("cache.loading_rows_max", "5000").refused(&format!("flag --set: {message}"));
}

#[test]
fn a_longest_pause_shorter_than_the_shortest() {
    assert_eq!(Config::builtin().peer.backoff_min, Duration::from_millis(50));
    Site::new()
        .set("peer.backoff_max", "49ms")
        .refused("flag --set: peer.backoff_max = \"49ms\": allowed: a duration from 50ms to 10m");
}

#[test]
fn what_was_a_key_once_is_refused_and_said_to_be_fixed() {
    Site::new()
        .file("[gossip]\nfetch_timeout = \"1s\"\n")
        .refused("prod.toml: gossip.fetch_timeout is not a key; what it set is fixed now");
    Site::new()
        .env("SNOWTIDE_PEER__BACKOFF_MIN", "1ms")
        .refused("environment SNOWTIDE_PEER__BACKOFF_MIN: peer.backoff_min is not a key; what it set is fixed now");
    for key in ["memory.loading_rows_max", "drain.checkpoint", "http.streams_max", "redis.queued_bytes_max"] {
        Site::new().set(key, "1").refused(&format!("flag --set: {key} is not a key; what it set is fixed now"));
    }
    let config = Config::builtin();
    let constants = (config.tuning.gossip.fetch_timeout, config.http.head_bytes_max, config.quic.streams_max);
    assert_eq!(constants, (Duration::from_secs(2), ByteSize::kib(64), 16));
    assert!(fixed(&CONFIG).iter().all(|key| !default_file().contains(&format!("\n{key} = "))));
}

/// What were keys of a table once, and of the tables in it.
fn fixed(shape: &Shape) -> Vec<&'static str> {
    let Shape::Table(fields) = shape else { return Vec::new() };
    let within = fields.iter().flat_map(|field| fixed(&field.shape));
    fields.iter().filter(|field| field.kind == Kind::Fixed).map(|field| field.key).chain(within).collect()
}

#[test]
fn a_cluster_secret_that_is_too_short_or_was_redacted() {
    let message = "flag --set: cluster.secret = (redacted): allowed: nothing, or 16 to 256 letters, digits and -._~+/=";
    for secret in ["short", "(redacted)", "with a blank in it"] {
        Site::new().set("cluster.secret", secret).refused(message);
    }
    Site::new().set("cluster.secret", "correct-horse-battery").loads();
}

#[test]
fn an_empty_cluster_id() {
    let message = "cluster.id = \"\": allowed: 1 to 64 letters, digits, dots, dashes and underscores";
    Site::new().file("[cluster]\nid = \"\"\n").refused(&format!("prod.toml: {message}"));
    Site::new().env("SNOWTIDE_CLUSTER__ID", "").refused(&format!("environment SNOWTIDE_CLUSTER__ID: {message}"));
}

#[test]
fn a_namespace_in_a_region_that_does_not_exist() {
    Site::new().file("[namespace.orders]\nregions = [\"eu\", \"mars\"]\n").refused(
        "prod.toml: namespace.orders.regions = [\"eu\", \"mars\"]: no region is named \"mars\"; allowed: some of us, eu",
    );
}

#[test]
fn a_bad_namespace_name() {
    let allowed = "allowed as a name: 1 to 64 lower-case letters, digits, dashes and underscores";
    let long = "n".repeat(65);
    for name in ["", "Orders", "a/b", "a.b", &long] {
        Site::new()
            .file(&format!("[namespace.\"{name}\"]\nregions = []\n"))
            .refused(&format!("prod.toml: namespace = \"{name}\": {allowed}"));
    }
}

#[test]
fn no_namespace_at_all() {
    Site::new().file("namespace = {}\n").refused(
        "prod.toml: namespace = {}: allowed: at least one table [namespace.<name>]; \
         a name is 1 to 64 lower-case letters, digits, dashes and underscores",
    );
}

#[test]
fn two_namespaces_of_one_number() {
    let mut names = HashMap::new();
    let (first, second) = (0..1_000_000)
        .find_map(|n| {
            let name = format!("n{n}");
            names.insert(NamespaceId::of(&name), name.clone()).map(|first| (first, name))
        })
        .unwrap();
    let (low, high) = if first < second { (&first, &second) } else { (&second, &first) };
    Site::new().file(&format!("[namespace.{first}]\nregions = []\n[namespace.{second}]\nregions = []\n")).refused(
        &format!(
            "prod.toml: namespace = \"{high}\": \"{low}\" hashes to the same number; \
             allowed: any other name for one of them"
        ),
    );
}

#[test]
fn tokens_may_stand_in_a_file_of_their_own() {
    let tokens = "[[tokens]]\nname = \"ci\"\ntoken = \"0123456789abcdef\"\naccess = [\"read\"]\n";
    let site = |text: &str| {
        let site = Site::new();
        site.write("tokens.toml", text);
        let file = site.path("tokens.toml").display().to_string();
        site.set("api.tokens_file", &file)
    };
    let loaded = site(tokens).loads();
    assert_eq!(loaded.config.api.tokens[0].name, "ci");
    let setting = loaded.origins.iter().find(|setting| setting.key == "api.tokens").unwrap();
    assert!(setting.origin.to_string().ends_with("tokens.toml"), "{}", setting.origin);
    assert!(site("").loads().config.api.tokens.is_empty());
    assert!(
        site(&tokens.replace("0123456789abcdef", "short")).refusal().starts_with("tokens.toml: api.tokens[0].token")
    );
    site("[log]\nfilter = \"debug\"\n")
        .refused("tokens.toml: log is not a key; this file holds tables [[tokens]] and nothing else");
    site("tokens = 7").refused(
        "tokens.toml: api.tokens = (redacted): allowed: a list, each item a table with the keys name, token, access, namespaces",
    );
    assert!(site("[[tokens]\n").refusal().starts_with("tokens.toml:1:"));
    let both = site(tokens).file(&tokens.replace("[[tokens]]", "[[api.tokens]]"));
    assert!(both.refusal().contains("api.tokens are given, too; allowed: one of both"), "{}", both.refusal());
    let absent = Site::new().set("api.tokens_file", "/nowhere/tokens.toml");
    assert!(absent.refusal().starts_with("/nowhere/tokens.toml: cannot be read"), "{}", absent.refusal());
}

#[test]
fn bad_tokens_are_refused_and_never_shown() {
    let allowed = "allowed: 16 to 256 letters, digits and -._~+/=";
    let token = |secret: &str| format!("[[api.tokens]]\nname = \"ci\"\ntoken = \"{secret}\"\naccess = [\"read\"]\n");
    for secret in ["", "short", "a-redacted-(redacted)", &"x".repeat(257)] {
        Site::new().file(&token(secret)).refused(&format!("prod.toml: api.tokens[0].token = (redacted): {allowed}"));
    }
    let secret = "0123456789abcdef";
    Site::new().file(&(token(secret) + &token(secret))).refused(
        "prod.toml: api.tokens[1].token = (redacted): api.tokens[0].token is the same; allowed: each token once",
    );
    Site::new().file(&format!("[api]\ntokens = \"{secret}\"\n")).refused(
        "prod.toml: api.tokens = (redacted): allowed: a list, each item a table with the keys name, token, access, namespaces",
    );
    Site::new().file("[[api.tokens]]\nname = \"ci\"\naccess = [\"all\"]\n").refused(
        "prod.toml: api.tokens[0].access[0] = \"all\": allowed: \"read\" or \"write\" or \"ids\" or \"limits\" or \"admin\"\n\
         prod.toml: api.tokens[0].token is missing; allowed: 16 to 256 letters, digits and -._~+/=",
    );
    let scoped = |name: &str, secret: &str, scope: &str| {
        format!("[[api.tokens]]\nname = \"{name}\"\ntoken = \"{secret}\"\n{scope}\n")
    };
    for name in ["", " ci", "c\\ti"] {
        let message = Site::new().file(&scoped(name, secret, "access = [\"read\"]")).refusal();
        assert!(message.ends_with("allowed: 1 to 64 printable characters, no space at either end"), "{message}");
    }
    Site::new()
        .file(&scoped("ci", secret, "access = []"))
        .refused("prod.toml: api.tokens[0].access = []: it allows nothing; allowed: at least one");
    Site::new().file(&scoped("ci", secret, "access = [\"read\"]\nnamespaces = [\"nowhere\"]")).refused(
        "prod.toml: api.tokens[0].namespaces = \"nowhere\": there is no such namespace; allowed: some of default",
    );
    let another = secret.to_uppercase();
    let (read, write) = ("access = [\"read\"]", "access = [\"write\"]");
    Site::new().file(&(scoped("ci", secret, read) + &scoped("ci", &another, write))).refused(
        "prod.toml: api.tokens[1].name = \"ci\": api.tokens[0] has this name, too, and allows something else; \
         allowed: the same",
    );
    let both = Site::new().file(&(scoped("ci", secret, read) + &scoped("ci", &another, read))).loads();
    assert_eq!(both.config.api.tokens.len(), 2, "so that one can replace the other");
}

#[test]
fn a_bad_log_filter() {
    Site::new().set("log.filter", "snowtide=loud").refused(
        "flag --set: log.filter = \"snowtide=loud\": allowed: a filter such as \"info\" or \"snowtide=debug,info\"",
    );
}

#[test]
fn every_problem_is_named_at_once() {
    let site = Site::new().file("[log]\nformat = \"xml\"\n[drain]\ntimeout = \"never\"\n");
    let site = site.region_file("b.toml", &region("B", 2, 7500)).env("SNOWTIDE_DISK__MIN_FREE", "none");
    assert_eq!(site.load().map(|_| ()).unwrap_err().problems().len(), 4);
}

#[test]
fn what_is_nested_too_deeply_is_refused_and_harmless() {
    let deep = 50_000;
    let brackets = "[".repeat(deep);
    Site::new()
        .set("api.waiting_max", &brackets)
        .refused(&format!("flag --set: api.waiting_max = \"{brackets}\": allowed: a whole number from 1 to 1000000"));
    let key = format!("log{}", ".a".repeat(deep));
    assert!(Site::new().set(&key, "1").refusal().starts_with("flag --set: log.a.a.a"));
    for text in [format!("{key} = 1\n"), format!("[{key}]\n"), format!("log = {brackets}")] {
        assert!(Site::new().file(&text).refusal().starts_with("prod.toml"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// I8: whatever stands in files, the environment and flags, the answer is a verdict.
    #[test]
    fn no_input_panics(file in "(\\PC|\n){0,200}", region in "(\\PC|\n){0,200}", value in "\\PC{0,40}", key in "[a-z_.]{0,30}") {
        let site = Site::new().file(&file).region_file("b.toml", &region).set(&key, &value);
        let site = KEYS.iter().fold(site, |site, key| site.env(key, &value));
        let _ = site.load();
    }
}

const KEYS: [&str; 6] = [
    "SNOWTIDE_IDS__EPOCH",
    "SNOWTIDE_GOSSIP__INTERVAL",
    "SNOWTIDE_COMMIT__BYTES_MAX",
    "SNOWTIDE_LOG__FILTER",
    "SNOWTIDE_API__TOKENS",
    "SNOWTIDE_NAMESPACE__DEFAULT__REGIONS",
];

// Layers and origins.

fn origin_of(loaded: &Loaded, key: &str) -> Origin {
    loaded.origins.iter().find(|setting| setting.key == key).unwrap().origin.clone()
}

#[test]
fn each_layer_lies_over_the_one_before_and_leaves_its_mark() {
    let mut site = Site::new();
    site.write(
        "default.toml",
        "[http]\nwatchers_max = 2\nwatch_interval = \"2s\"\nidle_timeout = \"2s\"\nheader_timeout = \"2s\"\n",
    );
    site.sources.default_file = Some(site.path("default.toml"));
    let site = site.file("[http]\nwatch_interval = \"3s\"\nidle_timeout = \"3s\"\nheader_timeout = \"3s\"\n");
    let site = site.env("SNOWTIDE_HTTP__IDLE_TIMEOUT", "4s").env("SNOWTIDE_HTTP__HEADER_TIMEOUT", "40s");
    let site = site.set("http.header_timeout", "5s");
    let loaded = site.loads();
    let http = &loaded.config.http;
    assert_eq!(http.connections_max, 4096);
    assert_eq!(http.watchers_max, 2);
    assert_eq!(http.watch_interval, Duration::from_secs(3));
    assert_eq!(http.idle_timeout, Duration::from_secs(4));
    assert_eq!(http.header_timeout, Duration::from_secs(5));
    assert_eq!(origin_of(&loaded, "http.connections_max"), Origin::BuiltIn);
    assert_eq!(origin_of(&loaded, "http.watchers_max"), Origin::File(site.path("default.toml")));
    assert_eq!(origin_of(&loaded, "http.watch_interval"), Origin::File(site.path("prod.toml")));
    assert_eq!(origin_of(&loaded, "http.idle_timeout"), Origin::Env("SNOWTIDE_HTTP__IDLE_TIMEOUT".into()));
    assert_eq!(origin_of(&loaded, "http.header_timeout"), Origin::Flag("--set".into()));
    assert_eq!(origin_of(&loaded, "regions_dir"), Origin::Flag("--regions-dir".into()));
}

#[test]
fn the_later_of_two_flags_wins() {
    let loaded = Site::new().set("drain.timeout", "1s").set("drain.timeout", "2s").loads();
    assert_eq!(loaded.config.tuning.drain.timeout, Duration::from_secs(2));
}

#[test]
fn a_default_file_that_is_absent_is_no_problem() {
    let mut site = Site::new();
    site.sources.default_file = Some(site.path("absent.toml"));
    assert_eq!(site.loads().config.tuning, Config::builtin().tuning);
}

#[test]
fn text_in_the_environment_stays_text_and_lists_are_lists() {
    let site = Site::new().env("SNOWTIDE_CLUSTER__ID", "42").env("SNOWTIDE_DATA_DIR", "true");
    let site = site.env("SNOWTIDE_NAMESPACE__ORDERS__REGIONS", "[us, eu]").env("SNOWTIDE_API__WAITING_MAX", "3000");
    let config = site.loads().config;
    assert_eq!(config.cluster.id, "42");
    assert_eq!(config.data_dir, PathBuf::from("true"));
    assert_eq!(config.api.waiting_max, 3_000);
    assert_eq!(config.namespace["orders"].regions, ["us", "eu"]);
    assert!(config.namespace.contains_key("default"));
}

#[test]
fn variables_of_others_are_left_alone() {
    let site = Site::new().env("SNOWTIDE_PORT", "tcp://10.0.0.1:80").env("SNOWTIDE_SERVICE_HOST", "10.0.0.1");
    site.env("SNOWTIDE_TOKEN", "secret").env("SNOWTIDEX", "1").env("PATH", "/bin").loads();
}

#[test]
fn a_file_that_names_namespaces_names_all_of_them() {
    let loaded = Site::new().file("[namespace.orders]\nregions = [\"eu\"]\n[namespace.likes]\n").loads();
    assert_eq!(loaded.config.namespace.keys().collect::<Vec<_>>(), ["likes", "orders"]);
    let of = |region| loaded.config.served_namespaces(&loaded.map, region);
    assert_eq!(of(0), BTreeMap::from([("likes".to_owned(), NamespaceId::of("likes"))]));
    assert_eq!(of(1).into_keys().collect::<Vec<_>>(), ["likes", "orders"]);
    assert_eq!(of(9), BTreeMap::new());
}

#[test]
fn the_map_is_sorted_by_number_and_knows_its_files() {
    let loaded = Site::new().region_file("notes.md", "not a region").loads();
    let names: Vec<_> = loaded.map.regions.iter().map(|region| region.name.as_str()).collect();
    assert_eq!(names, ["us", "eu"]);
    assert_eq!(loaded.region_files.len(), 2);
    assert!(loaded.region_files[0].ends_with("us.toml"));
}

#[test]
fn a_region_may_stand_without_nodes_to_keep_its_number() {
    let loaded = Site::new().region_file("old.toml", "name = \"old\"\nid = 7\nlocation = [0, -12.5]\n").loads();
    let old = loaded.map.region("old").unwrap();
    assert_eq!((old.nodes.len(), old.location), (0, Some([0.0, -12.5])));
}

#[test]
fn a_node_is_a_number_or_the_word_in_every_layer() {
    let node = |site: Site| site.loads().config.node;
    assert_eq!(node(Site::new()), NodeNumber::Fixed(0));
    assert_eq!(node(Site::new().file("node = 3\n")), NodeNumber::Fixed(3));
    assert_eq!(node(Site::new().file("node = \"auto\"\n")), NodeNumber::Auto);
    assert_eq!(node(Site::new().file("node = \"auto\"\n").env("SNOWTIDE_NODE", "31")), NodeNumber::Fixed(31));
    assert_eq!(node(Site::new().set("node", "auto")), NodeNumber::Auto);
    for wrong in ["32", "-1", "first", "", "1.0"] {
        let message = format!("flag --set: node = \"{wrong}\": allowed: \"auto\", or a whole number from 0 to 31");
        Site::new().set("node", wrong).refused(&message);
    }
}

// The defaults and their documentation.

#[test]
fn the_defaults_load_with_the_sample_regions() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Sources { default_file: Some(root.join("config/default.toml")), ..Sources::default() };
    sources.flag("--regions-dir", "regions_dir", &root.join("regions").display().to_string());
    let loaded = load(&sources, NOW_MS).unwrap();
    let names: Vec<_> = loaded.map.regions.iter().map(|region| region.name.as_str()).collect();
    assert_eq!(names, ["us-east", "eu-west", "ap-south"]);
    let config = Config::builtin();
    assert_eq!(config.ids_epoch_ms(), 1_735_689_600_000);
    assert_eq!(config.tuning.commit.bytes_max, ByteSize::mib(4));
    assert_eq!(config.served_namespaces(&loaded.map, 2).len(), 1);
    assert_eq!(config, Config::default());
}

#[test]
fn what_is_declared_is_what_is_read() {
    let defaults: serde_json::Value = toml_of(&default_file());
    let config = serde_json::to_value(Config::builtin()).unwrap();
    assert_eq!(keys(&defaults, ""), keys(&config, ""));
    assert_eq!(Config::builtin().namespace["default"], Namespace::default());
}

#[test]
fn the_file_and_the_page_of_the_defaults_follow_from_the_declarations() {
    for (file, text) in [("config/default.toml", default_file()), ("docs/settings.md", page())] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("UPDATE_DEFAULTS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{file} is not what the declarations say: UPDATE_DEFAULTS=1 writes it");
    }
}

fn toml_of(text: &str) -> serde_json::Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

fn keys(value: &serde_json::Value, path: &str) -> Vec<String> {
    let Some(table) = value.as_object() else { return vec![path.to_owned()] };
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let mut keys: Vec<_> = table.iter().flat_map(|(key, value)| keys(value, &join(key))).collect();
    keys.sort();
    keys
}

/// The comment above each key of a TOML file, on one line; the key with the tables it stands in.
fn comments(text: &str) -> BTreeMap<String, String> {
    let (mut table, mut comment, mut found) = (String::new(), String::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(words) = line.strip_prefix('#') {
            comment = format!("{comment} {}", words.trim());
        } else if line.starts_with('[') {
            table = format!("{}.", line.trim_matches(['[', ']']));
            found.insert(table.trim_end_matches('.').to_owned(), std::mem::take(&mut comment));
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.insert(format!("{table}{key}"), std::mem::take(&mut comment));
        } else {
            comment.clear();
        }
    }
    found
}

#[test]
fn every_key_is_explained_and_told_with_what_is_allowed() {
    let (file, page) = (default_file(), page());
    let documented = comments(&file);
    let every = keys(&toml_of(&file), "");
    assert_eq!(every.len(), 98);
    for key in every {
        let (text, allowed) = documented[&key].split_once(" Allowed: ").unwrap_or_else(|| panic!("{key}"));
        assert!(!text.is_empty() && allowed.ends_with('.'), "{key}: {text}");
        let name = key.rsplit('.').next().unwrap();
        assert!(page.contains(&format!("\n- `{name} = ")), "{key}");
    }
    let namespaces = format!(" Allowed: {}.", CONFIG.child("namespace").unwrap());
    assert!(documented["namespace.default"].ends_with(&namespaces));
}

#[test]
fn every_key_of_a_region_file_is_documented() {
    let documented = comments(include_str!("../../regions/us-east.toml"));
    let allowed = |shape: &Shape| format!(" Allowed: {shape}.");
    for (key, comment) in documented.iter().filter(|(key, _)| *key != "node") {
        let shape = match key.strip_prefix("node.") {
            Some(key) => match REGION.child("node").unwrap() {
                Shape::List(node) => node.child(key).unwrap(),
                _ => panic!("nodes are a list"),
            },
            None => REGION.child(key).unwrap(),
        };
        assert!(comment.ends_with(&allowed(shape)), "{key}: {comment}");
    }
    let keys: Vec<_> = documented.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["id", "location", "name", "node", "node.grpc", "node.http", "node.id", "node.quic", "node.redis"]
    );
}
