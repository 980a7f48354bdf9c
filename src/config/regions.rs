//! Reading the map: one file a region, checked one by one and against each other.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use figment::Figment;

use super::error::{ConfigError, Problem};
use super::inspect::Inspection;
use super::layer::Layer;
use super::map::{ClusterMap, Region};
use super::origin::Origin;
use super::schema::REGION;

impl ClusterMap {
    /// Reads every `.toml` file of `dir`, but hidden ones and leftovers of editors and archivers.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        Ok(Self { regions: load(dir)?.into_iter().map(|(_, region)| region).collect() })
    }
}

/// Every region with its file, sorted by number.
pub(super) fn load(dir: &Path) -> Result<Vec<(PathBuf, Region)>, ConfigError> {
    let mut problems = Vec::new();
    let mut regions = Vec::new();
    for file in files(dir)? {
        match region(&file) {
            Ok(region) => regions.push((file, region)),
            Err(error) => problems.extend(error.into_problems()),
        }
    }
    problems.extend(clashes(&regions));
    ConfigError::unless_none(problems)?;
    regions.sort_by_key(|(_, region)| region.id);
    Ok(regions)
}

/// Whether an editor or an archiver left the file, as `._x.toml` or `#x.toml`: hidden files, and names with a character in
/// front that marks a leftover. Everything else is a region's, and refused where it is wrong.
pub(super) fn is_left_over(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().as_encoded_bytes();
    matches!(name.first(), Some(b'.' | b'#' | b'~'))
}

/// By name, so that messages come in the same order everywhere.
fn files(dir: &Path) -> Result<Vec<PathBuf>, Problem> {
    let absent = |reason: String| Problem::NoRegions { dir: dir.to_owned(), reason };
    let entries = fs::read_dir(dir).map_err(|error| absent(format!("the region files cannot be listed: {error}")))?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|error| absent(format!("the region files cannot be listed: {error}")))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml") && !is_left_over(path));
    paths.sort();
    if paths.is_empty() { Err(absent("no region file (*.toml) is here".into())) } else { Ok(paths) }
}

fn region(file: &Path) -> Result<Region, ConfigError> {
    region_of(file, Layer::of_file(file)?)
}

/// The region that a file's text means.
pub(super) fn region_of(file: &Path, layer: Layer) -> Result<Region, ConfigError> {
    let figment = Figment::from(layer);
    let values = figment.find_value("").map_err(|error| Problem::Inconsistent(error.to_string()))?;
    let problems = Inspection::run(&figment, &REGION, &values, &Origin::File(file.to_owned()));
    ConfigError::unless_none(problems)?;
    Ok(figment.extract().map_err(|error| Problem::Inconsistent(error.to_string()))?)
}

/// What two regions or nodes have both and may not.
fn clashes(regions: &[(PathBuf, Region)]) -> Vec<Problem> {
    let mut clashes = Clashes::default();
    for (file, region) in regions {
        let at = |key: &str| Place { file: file.clone(), key: key.to_owned() };
        clashes.claim(REGION_NAME, &region.name, at("name"), format!("{:?}", region.name));
        clashes.claim(REGION_NUMBER, &region.id, at("id"), region.id.to_string());
        for (index, node) in region.nodes.iter().enumerate() {
            let at = |key: &str| at(&format!("node[{index}].{key}"));
            // Keyed by file, not by number: a region number that is taken twice is one problem, not one a node.
            clashes.claim(NODE_NUMBER, &format!("{} of {}", node.id, file.display()), at("id"), node.id.to_string());
            clashes.claim(UDP, &node.quic.canonical(), at("quic"), format!("\"{}\"", node.quic));
            clashes.claim(TCP, &node.http.canonical(), at("http"), format!("\"{}\"", node.http));
            for (key, address) in [("redis", &node.redis), ("grpc", &node.grpc)] {
                let Some(address) = address else { continue };
                clashes.claim(TCP, &address.canonical(), at(key), format!("\"{address}\""));
            }
        }
    }
    clashes.problems
}

// What only one may have.
const REGION_NAME: &str = "a name that no other region has";
const REGION_NUMBER: &str = "a number that no other region has";
const NODE_NUMBER: &str = "a number that no other node of the region has";
const UDP: &str = "a UDP address that no other node has";
const TCP: &str = "a TCP address that no other node has";

struct Place {
    file: PathBuf,
    key: String,
}

#[derive(Default)]
struct Clashes {
    /// Who has it first, by what it is and its value.
    first: HashMap<(&'static str, String), Place>,
    problems: Vec<Problem>,
}

impl Clashes {
    /// `shown` is what stands at the place.
    fn claim(&mut self, allowed: &'static str, value: &impl ToString, place: Place, shown: String) {
        let claim = (allowed, value.to_string());
        let Some(first) = self.first.get(&claim) else {
            self.first.insert(claim, place);
            return;
        };
        let taken = if first.file == place.file {
            format!("{} of the same file", first.key)
        } else {
            format!("{} in {}", first.key, first.file.display())
        };
        self.problems.push(Problem::Refused {
            key: place.key,
            value: shown,
            reason: format!("{taken} is the same; allowed: {allowed}"),
            origin: Origin::File(place.file),
        });
    }
}
