//! `[envoy]`: which limits requests of Envoy's meet, and the files that say so.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use snowtide_protocol::limit::Algorithm;

use super::error::Problem;
use super::limits::{self, LimitMode, LimitPolicy};
use super::map::ClusterMap;
use super::regions::is_left_over;
use super::schema::FILE;
use crate::envoy::{Domains, FILE_BYTES_MAX};
use crate::limits::Policy;
use crate::section::section;
use crate::section::shape::Shape;

/// Files of descriptors.
const FILES_MAX: usize = 256;

section! {
    /// `[envoy]`
    pub struct Envoy {
        /// Where the descriptors of Envoy's rate limit service are: every *.yaml and *.yml in this folder is one domain,
        /// in the format of envoyproxy/ratelimit. They are to be the same on every node. Each rate limit in them becomes
        /// a policy. They are read again at each reload. Empty: there are none, and every request is refused.
        pub descriptors: PathBuf = "", FILE;

        /// How they are counted. "fixed": so many in each second, minute, hour, day or week, as envoyproxy/ratelimit
        /// counts them. "sliding": in any such time, which lets nobody have twice as much around the turn of two.
        pub algorithm: Algorithm = "fixed", Shape::OneOf(&["fixed", "sliding"]);

        /// Whose requests count. "shared": those at all nodes. "split": each node's own, against its share. "local": each
        /// node's own, against the whole limit.
        pub mode: LimitMode = "shared", Shape::OneOf(&["shared", "split", "local"]);

        /// Whether answers have the headers RateLimit-Limit, RateLimit-Remaining and RateLimit-Reset of the limit that is
        /// nearest, for Envoy to pass on.
        pub headers: bool = false, Shape::Switch;

        /// Whether nobody is refused, whatever is used up. Descriptors still tell how they stand, and metrics count what
        /// would have been refused: for trying limits out, or moving here.
        pub shadow_mode: bool = false, Shape::Switch;
    }
}

impl Envoy {
    /// A policy for each rate limit of the descriptors, as all nodes of the map decide by it.
    pub fn policies(&self, map: &ClusterMap, domains: &Domains) -> Vec<Policy> {
        let whose = LimitPolicy { mode: self.mode, ..LimitPolicy::default() };
        let (weights, algorithm) = (whose.weights(map), limits::algorithm(self.algorithm));
        let policies = domains.rules().iter().filter_map(|rule| rule.policy(algorithm));
        policies.map(|policy| Policy { mode: self.mode.into(), weights: weights.clone(), ..policy }).collect()
    }
}

/// What the files of this folder say; nothing if none is named.
pub(super) fn load(folder: &Path) -> Result<Domains, Problem> {
    if folder.as_os_str().is_empty() {
        return Ok(Domains::default());
    }
    let files = files(folder)?;
    let texts: Vec<_> =
        files.iter().map(|file| Ok((file.display().to_string(), text(file)?))).collect::<Result<_, _>>()?;
    let named = texts.iter().map(|(file, text)| (file.as_str(), text.as_str()));
    Domains::read(named).map_err(|fault| Problem::Descriptors { reason: fault.to_string() })
}

/// By name, so that policies come in the same order everywhere.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable = |reason: String| Problem::Unreadable { file: folder.to_owned(), reason };
    let entries = fs::read_dir(folder).map_err(|error| unreadable(error.to_string()))?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|error| unreadable(error.to_string()))?;
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    paths.retain(|path| is_yaml(path) && !is_left_over(path));
    paths.sort();
    match paths.len() {
        0 => Err(unreadable("no file of descriptors (*.yaml, *.yml) is here".to_owned())),
        1..=FILES_MAX => Ok(paths),
        _ => Err(unreadable(format!("{FILES_MAX} files of descriptors may be here at most"))),
    }
}

/// Not more of it than one may have: what is longer is refused by its length.
fn text(file: &Path) -> Result<String, Problem> {
    let unreadable = |error: std::io::Error| Problem::Unreadable { file: file.to_owned(), reason: error.to_string() };
    let mut text = String::new();
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file).and_then(|file| file.take(most).read_to_string(&mut text)).map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_a_domain_and_leftovers_are_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert!(load(folder.path()).unwrap_err().to_string().contains("no file of descriptors"));
        write("a.yaml", "domain: a");
        write("b.yml", "domain: b");
        write("._b.yml", "nonsense");
        write("notes.txt", "nonsense");
        let domains = load(folder.path()).unwrap();
        assert!(domains.has("a") && domains.has("b"));
        write("c.yaml", "domain: b");
        let refused = load(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("c.yaml: domain: \"b\" has a file already"), "{refused}");
        write("c.yaml", &" ".repeat(FILE_BYTES_MAX + 1));
        assert!(load(folder.path()).unwrap_err().to_string().contains("bytes at most"));
        fs::write(folder.path().join("c.yaml"), b"domain: \xff").unwrap();
        assert!(load(folder.path()).unwrap_err().to_string().contains("c.yaml: cannot be read"));
    }

    #[test]
    fn a_folder_that_is_not_named_has_nothing_and_one_that_is_missing_is_refused() {
        assert_eq!(load(Path::new("")).unwrap(), Domains::default());
        assert!(matches!(load(Path::new("/nowhere")), Err(Problem::Unreadable { .. })));
    }
}
