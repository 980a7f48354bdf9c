//! Files as they are written (YAML 1.2). The words are those of Envoy's reference rate limit service.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::{budget, options};

use super::bounds::{DEPTH_MAX, DESCRIPTORS_MAX};
use super::fault::Fault;

/// Lists and tables in each other: a descriptor is a table in a list, and its rate limit has two more.
const NESTED_MAX: usize = 2 * DEPTH_MAX + 4;
/// Nodes of one descriptor: each key and its value, a rate limit within, and some names of what that replaces.
const NODES_MAX: usize = 40 * DESCRIPTORS_MAX;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) domain: Option<String>,
    pub(super) descriptors: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Descriptor {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) descriptors: Option<Vec<Descriptor>>,
    #[serde(default)]
    pub(super) shadow_mode: bool,
    #[serde(default)]
    pub(super) quota_mode: bool,
    #[serde(default)]
    pub(super) share_threshold: bool,
    #[serde(default)]
    pub(super) detailed_metric: bool,
    #[serde(default)]
    pub(super) value_to_metric: bool,
    pub(super) metadata: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateLimit {
    pub(super) requests_per_unit: Option<u32>,
    pub(super) unit: Option<String>,
    #[serde(default)]
    pub(super) unlimited: bool,
    pub(super) name: Option<String>,
    pub(super) replaces: Option<Vec<Replaced>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replaced {
    pub(super) name: Option<String>,
}

impl Document {
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Fault> {
        let options = options! {
            with_snippet: false,
            budget: budget! { max_depth: NESTED_MAX, max_nodes: NODES_MAX, max_documents: 1, max_aliases: DESCRIPTORS_MAX },
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let what = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            Fault { file: file.to_owned(), at: String::new(), what }
        })
    }
}
