//! Rate limits, as requests meet them.

use crate::limits::{Algorithm, NAME_BYTES_MAX, Policy};
use xxhash_rust::xxh3::xxh3_64;

use super::unit::Unit;

/// What a file says of one rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name of its policy, the same on every node that has the same files.
    pub policy: String,
    /// How much.
    pub rate: Rate,
    /// The name that it has in its file; empty if it has none.
    pub name: String,
    /// Rate limits of these names do not count where this one does.
    pub replaces: Vec<String>,
    /// It is counted, and nobody is refused for it.
    pub is_shadow: bool,
    /// A request is refused for limits such as this only if all of them are used up.
    pub is_quota: bool,
}

/// How much may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Whatever is asked.
    Unlimited,
    /// So much in a unit; nothing at all if it is zero.
    Limited {
        /// Requests.
        requests: u32,
        /// Counted in this.
        unit: Unit,
    },
}

impl Rule {
    /// The policy that it is decided by, local and of no node yet; none where nothing has to be counted.
    pub fn policy(&self, algorithm: Algorithm) -> Option<Policy> {
        match self.rate {
            Rate::Limited { requests: requests @ 1.., unit } => {
                Some(Policy::new(&self.policy, algorithm, requests.into(), unit.ms()))
            }
            Rate::Limited { .. } | Rate::Unlimited => None,
        }
    }
}

/// The name of a policy: `envoy/domain/key=value/key`, and the hash of the whole in place of what is too long or could be
/// read in two ways.
pub(super) fn policy_name(domain: &str, path: &[(&str, Option<&str>)]) -> String {
    const SEPARATORS: [char; 3] = ['/', '=', '~'];
    const HASH_CHARS: usize = 17;
    let steps = path.iter().map(|(key, value)| match value {
        Some(value) => format!("/{key}={value}"),
        None => format!("/{key}"),
    });
    let text = format!("envoy/{domain}{}", steps.collect::<String>());
    let words =
        || std::iter::once(domain).chain(path.iter().flat_map(|(key, value)| [*key, value.unwrap_or_default()]));
    if text.len() <= NAME_BYTES_MAX && !words().any(|word| word.contains(SEPARATORS)) {
        return text;
    }
    let mut whole = Vec::new();
    words().for_each(|word| push(&mut whole, word));
    let shown = (0..=NAME_BYTES_MAX - HASH_CHARS).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    format!("{shown}~{:016x}", xxh3_64(&whole))
}

/// A text behind its length, so that no two lists of texts are the same bytes.
pub(super) fn push(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_a_limit_stands_and_fit_a_policy() {
        assert_eq!(policy_name("edge", &[("path", Some("v1")), ("user", None)]), "envoy/edge/path=v1/user");
        let long = "é".repeat(60);
        let paths: [&[(&str, Option<&str>)]; 6] = [
            &[("path", Some("/a")), ("b", None)],
            &[("path", Some("")), ("a/b", None)],
            &[(&long, Some("1"))],
            &[(&long, Some("2"))],
            &[("a", Some("b"))],
            &[("a=b", None)],
        ];
        let names: std::collections::BTreeSet<_> = paths.map(|path| policy_name("edge", path)).into();
        assert_eq!(names.len(), paths.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX && name.starts_with("envoy/edge/")), "{names:?}");
    }
}
