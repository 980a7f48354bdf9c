//! `snowtide id`: mint IDs at a node; take IDs apart, and tell the bounds of a time range, without one.

mod decoded;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::json;
use snowtide_client::Connection;
use snowtide_protocol::id::{Format, IdScheme};

use super::output::print_more;
use super::reach::{self, Reach};
use super::{Global, Misuse, print, print_json};
use crate::clock::rfc3339;
use crate::config::Loaded;
use crate::config::map::ClusterMap;
use crate::ids::{TimeRange, layout_of, scheme_of};
use crate::snowflake::Layout;

use decoded::{Decoded, table};

/// As many as one request may ask for.
const IDS_PER_REQUEST: u32 = 10_000;
/// What one call of the command mints.
const IDS_MAX: u32 = 1_000_000;

/// Mint IDs, take them apart, or tell the bounds of a time range.
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
  snowtide id new -n 5 --format base32
  snowtide id decode 264905529122127872
  snowtide id new -n 3 --format uuid7 | xargs snowtide id decode --json
  snowtide id bounds --from 2025-06-01T00:00:00Z --to 2025-06-02T00:00:00Z";

#[derive(Debug, Subcommand)]
enum Action {
    /// Mint IDs, one a line, ascending.
    #[command(after_help = NEW_EXAMPLES)]
    New {
        /// How many.
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(IDS_MAX)))]
        count: u32,

        /// How they are written.
        #[arg(long, value_name = "FORM", default_value = "decimal", value_parser = format())]
        format: Format,

        #[command(flatten)]
        reach: Reach,
    },
    /// Take IDs apart: time, region, node, sequence, and for a single one all its forms. No node is asked; the layout is
    /// that of the configuration.
    #[command(after_help = DECODE_EXAMPLES)]
    Decode {
        /// IDs in any form. Digits that do not begin with 0 are decimal; anything else goes by its width: 36 characters
        /// are a UUID, 26 a ULID, 13 base32, 11 base62, and other digits decimal.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,

        /// The form that they are in, where it is not to be told from the text.
        #[arg(long, value_name = "FORM", value_parser = format())]
        format: Option<Format>,
    },
    /// Tell the smallest and the largest ID of a time range, for range scans, on two lines. No node is asked.
    #[command(after_help = BOUNDS_EXAMPLES)]
    Bounds {
        /// Where the range begins: RFC 3339, or milliseconds of Unix time.
        #[arg(long, value_name = "TIME")]
        from: String,

        /// Before this it ends.
        #[arg(long, value_name = "TIME")]
        to: String,

        /// How they are written. Those of uuid7 and ulid hold for any UUID of version 7 and any ULID of that time.
        #[arg(long, value_name = "FORM", default_value = "decimal", value_parser = format())]
        format: Format,
    },
}

const NEW_EXAMPLES: &str = "\
Examples:
  snowtide id new
  snowtide id new -n 1000 --at eu-west
  snowtide id new -n 5 --format base32
  snowtide id new --format uuid7 --json";

const DECODE_EXAMPLES: &str = "\
Examples:
  snowtide id decode 264905529122127872
  snowtide id decode 07B925KD5S000 --format base32
  snowtide id new -n 3 --format ulid | xargs snowtide id decode --json";

const BOUNDS_EXAMPLES: &str = "\
Examples:
  snowtide id bounds --from 2025-06-01T00:00:00Z --to 2025-06-02T00:00:00Z
  snowtide id bounds --from 1748736000000 --to 1748822400000 --format uuid7
  snowtide id bounds --from 2025-06-01T00:00:00+02:00 --to 1751320800000 --json";

impl Command {
    /// Does what was asked.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.action {
            Action::New { count, format, reach } => reach::block_on(new(global, count, format, reach)),
            Action::Decode { ids, format } => decode(global, &ids, format),
            Action::Bounds { from, to, format } => bounds(global, &from, &to, format),
        }
    }
}

async fn new(global: &Global, count: u32, format: Format, reach: Reach) -> anyhow::Result<()> {
    let client = reach.connect(global).await?;
    let mut ids = Vec::new();
    let used = |chunk: Vec<String>| {
        if !global.json {
            return print_more(&chunk.join("\n"));
        }
        ids.extend(chunk);
        Ok(())
    };
    mint(&client, count, format, used).await?;
    if global.json {
        let welcome = client.welcome();
        print_json(&json!({ "ids": ids, "region": welcome.region, "node": welcome.node }))?;
    }
    client.close().await;
    Ok(())
}

/// Asks for `count` in as many requests as it takes; what has come is used even if a later request fails.
async fn mint(
    client: &Connection,
    count: u32,
    format: Format,
    mut used: impl FnMut(Vec<String>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let scheme = client.id_scheme();
    let mut left = count;
    while left > 0 {
        let chunk = left.min(IDS_PER_REQUEST);
        let ids = client.ids(chunk).await?;
        let written: Result<_, _> =
            ids.into_iter().map(|id| scheme.write(id, format).map(|text| text.to_string())).collect();
        used(written?)?;
        left = left.saturating_sub(chunk);
    }
    Ok(())
}

fn decode(global: &Global, texts: &[String], format: Option<Format>) -> anyhow::Result<()> {
    let Loaded { config, map, .. } = global.load()?;
    let layout = layout_of(&config.ids)?;
    let scheme = scheme_of(&config.cluster.id, layout);
    let read = |text: &String| {
        let id = read(scheme, text, format)?;
        Decoded::of(id, layout, &map)
    };
    let decoded: Vec<_> = texts.iter().map(read).collect::<Result<_, Misuse>>()?;
    if global.json {
        let decoded: Vec<_> = decoded.iter().map(|decoded| decoded.as_json(scheme)).collect::<Result<_, _>>()?;
        return print_json(&json!({ "ids": decoded }));
    }
    match &decoded[..] {
        [only] => print(&only.sheet(scheme)?),
        several => print(&table(several)),
    }
}

/// IDs taken apart, one line each: for programs that show them beside something else.
pub fn table_of(ids: &[u64], layout: Layout, map: &ClusterMap) -> Result<String, Misuse> {
    let decoded: Vec<_> = ids.iter().map(|id| Decoded::of(*id, layout, map)).collect::<Result<_, _>>()?;
    Ok(table(&decoded))
}

fn bounds(global: &Global, from: &str, to: &str, format: Format) -> anyhow::Result<()> {
    let Loaded { config, .. } = global.load()?;
    let scheme = scheme_of(&config.cluster.id, layout_of(&config.ids)?);
    let range = TimeRange::read(scheme, from, to).map_err(|error| Misuse(error.to_string()))?;
    let (first, last) = scheme.write_range(range.ids, format)?;
    let (from, to) = (rfc3339(range.from_ms), rfc3339(range.to_ms));
    global.print(
        || json!({ "first": first.as_str(), "last": last.as_str(), "format": format.as_str(), "from": from, "to": to }),
        || format!("{first}\n{last}"),
    )
}

fn read(scheme: IdScheme, text: &str, format: Option<Format>) -> Result<u64, Misuse> {
    let read = match format {
        Some(format) => scheme.read_as(text, format),
        None => scheme.read(text).map(|(id, _)| id),
    };
    read.map_err(|error| Misuse(format!("{text:?}: {error}")))
}

/// A form by its name.
fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::as_str)).try_map(|name| name.parse::<Format>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        command: Command,
    }

    fn parse(line: &[&str]) -> Result<Action, clap::Error> {
        Line::try_parse_from(["id"].iter().chain(line)).map(|line| line.command.action)
    }

    #[test]
    fn one_decimal_id_is_minted_unless_more_is_asked() {
        assert!(matches!(parse(&["new"]).unwrap(), Action::New { count: 1, format: Format::Decimal, .. }));
        assert!(matches!(parse(&["new", "-n", "1000000"]).unwrap(), Action::New { count: 1_000_000, .. }));
        for refused in ["0", "1000001", "-1", "x"] {
            assert!(parse(&["new", "-n", refused]).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_form_is_one_of_those_that_help_lists() {
        for format in Format::ALL {
            let Action::New { format: parsed, .. } = parse(&["new", "--format", format.as_str()]).unwrap() else {
                panic!()
            };
            assert_eq!(parsed, format);
        }
        let refused = parse(&["new", "--format", "hex"]).unwrap_err().to_string();
        assert!(refused.contains("decimal, base32, base62, uuid7, ulid"), "{refused}");
        assert!(matches!(parse(&["decode", "x"]).unwrap(), Action::Decode { format: None, .. }));
    }

    #[test]
    fn a_range_has_two_ends() {
        assert!(parse(&["bounds", "--from", "1", "--to", "2"]).is_ok());
        assert!(parse(&["bounds", "--from", "1"]).is_err());
        assert!(parse(&["bounds", "--to", "1"]).is_err());
        assert!(parse(&["decode"]).is_err());
    }

    #[test]
    fn what_is_no_id_is_misuse_and_says_why() {
        let config = Config::builtin();
        let scheme = scheme_of(&config.cluster.id, layout_of(&config.ids).unwrap());
        assert_eq!(read(scheme, "0", None).unwrap(), 0);
        assert_eq!(read(scheme, "9223372036854775807", None).unwrap(), u64::MAX >> 1);
        assert_eq!(read(scheme, "1000000000000", Some(Format::Base32)).unwrap(), 1 << 60);
        for refused in ["+5", "9223372036854775808", "5.0", "0x10", "", "zzzzzzzzzzz"] {
            let said = read(scheme, refused, None).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{refused:?}: ")), "{said}");
        }
    }
}
