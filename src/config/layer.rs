//! One layer of values: what a file holds, or one variable or flag, all of one origin.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::error::Problem;
use super::origin::Origin;
use super::schema::CONFIG;
use crate::section::shape::{Shape, size_in_words};

/// The deepest key has three levels.
const DEPTH_MAX: usize = 16;
/// A longer file is refused unread.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One layer of values, all of one origin.
pub(super) struct Layer {
    pub(super) origin: Origin,
    pub(super) values: Dict,
}

impl Layer {
    /// A file.
    pub(super) fn of_file(file: &Path) -> Result<Self, Problem> {
        let text = read(file).map_err(|reason| Problem::Unreadable { file: file.to_owned(), reason })?;
        Self::of_file_text(file, &text)
    }

    /// A file whose text has been read.
    pub(super) fn of_file_text(file: &Path, text: &str) -> Result<Self, Problem> {
        Self::of_toml(Origin::File(file.to_owned()), file, text)
    }

    /// TOML; problems stand in `file`.
    pub(super) fn of_toml(origin: Origin, file: &Path, text: &str) -> Result<Self, Problem> {
        Ok(Self { values: parse(file, text)?, origin })
    }

    /// One value at a dotted key, as text. What is nested deeper than anything that could be allowed is not taken
    /// apart, so that it is refused and cannot exhaust the stack.
    pub(super) fn of_text(origin: Origin, key: &str, text: &str) -> Self {
        let verbatim = CONFIG.at(key).is_some_and(Shape::is_verbatim) || depth(text) > DEPTH_MAX;
        let value = if verbatim { Value::from(text) } else { parsed(text) };
        let values = if key.split('.').count() > DEPTH_MAX {
            Dict::from([(key.to_owned(), value)])
        } else {
            let nested = key.rsplit('.').fold(value, |value, key| Value::from(Map::from([(key, value)])));
            nested.into_dict().unwrap_or_default()
        };
        Self { origin, values }
    }
}

/// How many brackets are open at once.
fn depth(text: &str) -> usize {
    let step = |open: usize, c| match c {
        '[' | '{' => open + 1,
        ']' | '}' => open.saturating_sub(1),
        _ => open,
    };
    let opened = text.chars().scan(0, |open, c| {
        *open = step(*open, c);
        Some(*open)
    });
    opened.max().unwrap_or_default()
}

fn parsed(text: &str) -> Value {
    let Ok(value) = text.parse();
    value
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.origin.to_metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

fn read(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| error.to_string())?;
    opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is longer than {}", size_in_words(FILE_BYTES_MAX)));
    }
    Ok(text)
}

fn parse(file: &Path, text: &str) -> Result<Dict, Problem> {
    Toml::from_str(text).map_err(|error: <Toml as Format>::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Problem::Syntax {
            file: file.to_owned(),
            line: 1 + before.matches('\n').count(),
            column: 1 + before.chars().rev().take_while(|c| *c != '\n').count(),
            reason: error.message().lines().collect::<Vec<_>>().join(", "),
        }
    })
}
