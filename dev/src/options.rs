//! What a cluster is to be: how many regions, where, and what its nodes are told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::plan::Ports;

/// How nodes reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Links {
    /// Through relays in this process, so that regions can be cut off.
    #[default]
    Relay,
    /// Directly.
    Direct,
}

/// What a cluster is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The `snowtide` program.
    pub executable: PathBuf,
    /// Where everything is kept.
    pub folder: PathBuf,
    /// How many regions, 1 to [`crate::REGIONS_MAX`]; without it as many as the folder has, or three.
    pub regions: Option<u8>,
    /// How nodes reach each other.
    pub links: Links,
    /// Which ports, if the folder does not say.
    pub ports: Ports,
    /// Given to every node as `--set KEY=VALUE`.
    pub settings: Vec<(String, String)>,
    /// The same for the node of one region, after the others.
    pub settings_of: BTreeMap<String, Vec<(String, String)>>,
    /// Flags of `serve` for the node of one region.
    pub flags_of: BTreeMap<String, Vec<String>>,
    /// Given to every node besides what this process has.
    pub env: Vec<(String, String)>,
    /// A configuration file for every node.
    pub config_file: Option<PathBuf>,
    /// How long a node may take until it is ready.
    pub ready_within: Duration,
    /// How long a node may take to drain before it is killed.
    pub drain_within: Duration,
}

impl Options {
    /// Three regions behind relays, at any ports, unless the folder has a cluster already.
    pub fn new(executable: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self {
            executable: executable.into(),
            folder: folder.into(),
            ports: Ports::Any,
            ready_within: Duration::from_secs(30),
            drain_within: Duration::from_secs(15),
            ..Self::default()
        }
    }

    /// Sets a key of every node's configuration.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }
}
