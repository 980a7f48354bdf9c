//! An ID taken apart, in words.

use serde_json::{Map, Value, json};
use snowtide_protocol::id::{BadId, Format, IdScheme};

use crate::cli::{self, Misuse};
use crate::clock::rfc3339;
use crate::config::map::ClusterMap;
use crate::snowflake::{Layout, Parts};

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
        let time = rfc3339(parts.unix_ms).ok_or_else(|| misuse("its time is beyond the year 9999".to_owned()))?;
        let region = map.region_by_id(parts.region).map(|region| region.name.clone());
        Ok(Self { id, parts, time, region })
    }

    /// Field names as in `GET /v1/ids/{id}`.
    pub(super) fn as_json(&self, scheme: IdScheme) -> Result<Value, BadId> {
        let forms: Map<_, _> =
            self.forms(scheme)?.into_iter().map(|(format, text)| (format.to_string(), text.into())).collect();
        Ok(json!({
            "id": self.id.to_string(),
            "timestamp": self.time,
            "unix_ms": self.parts.unix_ms.to_string(),
            "region": self.region,
            "region_id": self.parts.region,
            "node": self.parts.node,
            "sequence": self.parts.sequence,
            "forms": forms,
        }))
    }

    /// A line for each thing there is to tell.
    pub(super) fn sheet(&self, scheme: IdScheme) -> Result<String, BadId> {
        let [_, time, region, node, sequence] = self.cells();
        let parts = [("time", time), ("region", region), ("node", node), ("sequence", sequence)];
        let parts = parts.map(|(name, value)| format!("{name:<9} {value}"));
        let forms = self.forms(scheme)?.map(|(format, text)| format!("{:<9} {text}", format.as_str()));
        Ok(parts.into_iter().chain(forms).collect::<Vec<_>>().join("\n"))
    }

    fn forms(&self, scheme: IdScheme) -> Result<[(Format, String); 5], BadId> {
        let mut forms = Format::ALL.map(|format| (format, String::new()));
        for (format, text) in &mut forms {
            *text = scheme.write(self.id, *format)?.to_string();
        }
        Ok(forms)
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
    let mut table = cli::table(["ID", "time", "region", "node", "sequence"]);
    table.add_rows(decoded.iter().map(Decoded::cells));
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::map::Region;
    use crate::identity::WorkerId;
    use crate::ids::{layout_of, scheme_of};

    fn layout() -> Layout {
        layout_of(&Config::builtin().ids).unwrap()
    }

    fn scheme() -> IdScheme {
        scheme_of("snowtide-dev", layout())
    }

    fn decoded(region: u8) -> Decoded {
        let id = layout().compose(1_234, WorkerId::new(region, 3).unwrap(), 7).unwrap();
        let eu = Region { name: "eu-west".into(), id: 1, location: None, nodes: Vec::new() };
        Decoded::of(id, layout(), &ClusterMap { regions: vec![eu] }).unwrap()
    }

    #[test]
    fn a_decoded_id_has_the_fields_of_the_http_door() {
        let decoded = decoded(1);
        let json = decoded.as_json(scheme()).unwrap();
        let expected = json!({
            "id": decoded.id.to_string(),
            "timestamp": "2025-01-01T00:00:01.234Z",
            "unix_ms": "1735689601234",
            "region": "eu-west",
            "region_id": 1,
            "node": 3,
            "sequence": 7,
            "forms": {
                "decimal": decoded.id.to_string(),
                "base32": scheme().write(decoded.id, Format::Base32).unwrap().as_str(),
                "base62": scheme().write(decoded.id, Format::Base62).unwrap().as_str(),
                "uuid7": scheme().write(decoded.id, Format::Uuid7).unwrap().as_str(),
                "ulid": scheme().write(decoded.id, Format::Ulid).unwrap().as_str(),
            },
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_single_id_is_shown_with_its_forms() {
        let sheet = decoded(1).sheet(scheme()).unwrap();
        let lines: Vec<_> = sheet.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(
            lines[..4],
            [
                vec!["time", "2025-01-01T00:00:01.234Z"],
                vec!["region", "eu-west", "(1)"],
                vec!["node", "3"],
                vec!["sequence", "7"],
            ]
        );
        let forms: Vec<_> = lines[4..].iter().map(|line| line[0]).collect();
        assert_eq!(forms, Format::ALL.map(Format::as_str));
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
