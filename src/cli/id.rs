//! `snowtide id`: mint IDs at a node, and take IDs apart without one.

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde_json::{Value, json};
use snowtide_client::Client;

use super::reach::{self, Reach};
use super::{Global, Misuse, print, print_json};
use crate::config::Loaded;
use crate::config::map::ClusterMap;
use crate::ids::layout_of;
use crate::snowflake::{Layout, Parts};

/// As many as one request may ask for.
const IDS_PER_REQUEST: u32 = 10_000;
/// What one call of the command mints.
const IDS_MAX: u32 = 1_000_000;

/// Mint IDs, or take them apart.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  snowtide id new
  snowtide id new -n 1000 --at eu-west
  snowtide id decode 264905529122127872
  snowtide id new -n 3 | xargs snowtide id decode --json";

#[derive(Debug, Subcommand)]
enum Action {
    /// Mint IDs, one a line, ascending.
    #[command(after_help = EXAMPLES)]
    New {
        /// How many.
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(IDS_MAX)))]
        count: u32,

        #[command(flatten)]
        reach: Reach,
    },
    /// Take IDs apart: time, region, node, sequence. No node is asked; the layout is that of the configuration.
    #[command(after_help = EXAMPLES)]
    Decode {
        /// IDs in decimal digits.
        #[arg(required = true, value_name = "ID", value_parser = decimal)]
        ids: Vec<u64>,
    },
}

impl Command {
    /// Does what was asked.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.action {
            Action::New { count, reach } => reach::block_on(new(global, count, reach)),
            Action::Decode { ids } => decode(global, &ids),
        }
    }
}

async fn new(global: &Global, count: u32, reach: Reach) -> anyhow::Result<()> {
    let client = reach.connect(global).await?;
    if global.json {
        let mut ids = Vec::new();
        mint(&client, count, |chunk| {
            ids.extend(chunk.iter().map(ToString::to_string));
            Ok(())
        })
        .await?;
        let welcome = client.welcome();
        print_json(&json!({ "ids": ids, "region": welcome.region, "node": welcome.node }))?;
    } else {
        mint(&client, count, |chunk| print(&chunk.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
            .await?;
    }
    client.close().await;
    Ok(())
}

/// Asks for `count` in as many requests as it takes; what has come is used even if a later request fails.
async fn mint(client: &Client, count: u32, mut used: impl FnMut(&[u64]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut left = count;
    while left > 0 {
        let chunk = left.min(IDS_PER_REQUEST);
        used(&client.ids(chunk).await?)?;
        left = left.saturating_sub(chunk);
    }
    Ok(())
}

fn decode(global: &Global, ids: &[u64]) -> anyhow::Result<()> {
    let Loaded { config, map, .. } = global.load()?;
    let layout = layout_of(&config.ids)?;
    let decoded: Result<Vec<_>, _> = ids.iter().map(|id| Decoded::of(*id, layout, &map)).collect();
    let decoded = decoded?;
    if global.json {
        print_json(&json!({ "ids": decoded.iter().map(Decoded::as_json).collect::<Vec<_>>() }))
    } else {
        print(&table(&decoded))
    }
}

/// An ID taken apart, in words.
#[derive(Debug)]
pub(super) struct Decoded {
    id: u64,
    parts: Parts,
    /// RFC 3339, milliseconds, UTC.
    time: String,
    /// `None` if the map does not know the number.
    region: Option<String>,
}

impl Decoded {
    /// Takes `id` apart. Whether it was ever minted cannot be told from it.
    pub(super) fn of(id: u64, layout: Layout, map: &ClusterMap) -> Result<Self, Misuse> {
        let misuse = |reason: String| Misuse(format!("{id} is no ID of this cluster: {reason}"));
        let parts = layout.decode(id).map_err(|error| misuse(error.to_string()))?;
        let time = i64::try_from(parts.unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let time = time.ok_or_else(|| misuse("its time is beyond the year 9999".to_owned()))?;
        let region = map.region_by_id(parts.region).map(|region| region.name.clone());
        Ok(Self { id, parts, time: format!("{time:.3}"), region })
    }

    /// Field names as in `GET /v1/ids/{id}`.
    fn as_json(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "timestamp": self.time,
            "unix_ms": self.parts.unix_ms.to_string(),
            "region": self.region,
            "region_id": self.parts.region,
            "node": self.parts.node,
            "sequence": self.parts.sequence,
        })
    }

    fn cells(&self) -> [String; 5] {
        let region = self.region.as_deref().unwrap_or("(not on the map)");
        [
            self.id.to_string(),
            self.time.clone(),
            format!("{region} ({})", self.parts.region),
            self.parts.node.to_string(),
            self.parts.sequence.to_string(),
        ]
    }
}

/// One line an ID.
pub(super) fn table(decoded: &[Decoded]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["ID", "time", "region", "node", "sequence"]);
    table.add_rows(decoded.iter().map(Decoded::cells));
    table.trim_fmt()
}

/// Digits only: `+5` is no ID, though it would parse.
fn decimal(text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let id: Option<u64> = if digits { text.parse().ok() } else { None };
    id.filter(|id| *id >> 63 == 0).ok_or_else(|| "an ID is a number of 63 bits in decimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;
    use crate::config::map::Region;
    use crate::identity::WorkerId;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        command: Command,
    }

    fn parse(line: &[&str]) -> Result<Action, clap::Error> {
        Line::try_parse_from(["id"].iter().chain(line)).map(|line| line.command.action)
    }

    fn decoded(region: u8) -> Decoded {
        let layout = layout_of(&Config::builtin().ids).unwrap();
        let id = layout.compose(1_234, WorkerId::new(region, 3).unwrap(), 7).unwrap();
        let eu = Region { name: "eu-west".into(), id: 1, location: None, nodes: Vec::new() };
        Decoded::of(id, layout, &ClusterMap { regions: vec![eu] }).unwrap()
    }

    #[test]
    fn one_id_is_minted_unless_a_number_is_given() {
        assert!(matches!(parse(&["new"]).unwrap(), Action::New { count: 1, .. }));
        assert!(matches!(parse(&["new", "-n", "1000000"]).unwrap(), Action::New { count: 1_000_000, .. }));
        for refused in ["0", "1000001", "-1", "x"] {
            assert!(parse(&["new", "-n", refused]).is_err(), "{refused}");
        }
    }

    #[test]
    fn only_numbers_of_63_bits_are_ids() {
        let Action::Decode { ids } = parse(&["decode", "0", "9223372036854775807"]).unwrap() else { panic!() };
        assert_eq!(ids, [0, u64::MAX >> 1]);
        for refused in ["+5", "9223372036854775808", "5.0", "0x10", ""] {
            assert!(parse(&["decode", refused]).is_err(), "{refused}");
        }
        assert!(parse(&["decode"]).is_err());
    }

    #[test]
    fn a_decoded_id_has_the_fields_of_the_http_door() {
        let decoded = decoded(1);
        let expected = json!({
            "id": decoded.id.to_string(),
            "timestamp": "2025-01-01T00:00:01.234Z",
            "unix_ms": "1735689601234",
            "region": "eu-west",
            "region_id": 1,
            "node": 3,
            "sequence": 7,
        });
        assert_eq!(decoded.as_json(), expected);
    }

    #[test]
    fn a_decoded_id_is_one_line_with_names() {
        let line = |region| {
            let table = table(&[decoded(region)]);
            let line = table.lines().find(|line| line.contains("2025")).unwrap();
            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line(1), "2025-01-01T00:00:01.234Z eu-west (1) 3 7");
        assert_eq!(line(2), "2025-01-01T00:00:01.234Z (not on the map) (2) 3 7");
    }
}
