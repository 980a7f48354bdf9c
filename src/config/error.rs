//! Why a configuration was refused.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::origin::Origin;

/// Every problem that one load found; never empty. Nothing of the configuration is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `Ok` if there is no problem.
    pub(super) fn unless_none(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// In the order in which they were found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong, and where. Secrets are never part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// A file cannot be read.
    #[error("{}: cannot be read: {reason}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of descriptors cannot be followed; the reason names it.
    #[error("{reason}")]
    Descriptors {
        /// Which, where and why.
        reason: String,
    },
    /// A file is not TOML.
    #[error("{}:{line}:{column}: not valid TOML: {reason}", file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// Nobody reads this key.
    #[error("{origin}: {key} is not a key; {hint}")]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// Its whole path.
        key: String,
        /// The nearest key, or all that exist.
        hint: String,
    },
    /// A key has to be given, and is not.
    #[error("{origin}: {key} is missing; allowed: {allowed}")]
    Missing {
        /// Where it is missing.
        origin: Origin,
        /// Its whole path.
        key: String,
        /// What it may be.
        allowed: String,
    },
    /// A value is of the wrong kind, out of its range, or clashes with another.
    #[error("{origin}: {key} = {value}: {reason}")]
    Refused {
        /// Where it stands.
        origin: Origin,
        /// Its whole path.
        key: String,
        /// As TOML.
        value: String,
        /// What is allowed, and why this is not.
        reason: String,
    },
    /// There is no region at all.
    #[error("{}: {reason}; {}", dir.display(), first_region(dir))]
    NoRegions {
        /// Where they were looked for.
        dir: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The values are allowed one by one, but do not make a configuration.
    #[error("{0}")]
    Inconsistent(String),
}

/// How to write the first region file.
fn first_region(dir: &Path) -> String {
    format!(
        "create it with one file a region, the same set on every node, such as {}:\n\n\
         name = \"us-east\"\nid = 0\n\n[[node]]\nid = 0\nquic = \"127.0.0.1:7400\"\nhttp = \"127.0.0.1:8400\"\n",
        dir.join("us-east.toml").display()
    )
}
