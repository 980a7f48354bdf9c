//! Where a value came from, and how values are shown.

use std::fmt;
use std::path::PathBuf;

use figment::value::{Num, Value};
use figment::{Metadata, Source};
use serde::{Serialize, Serializer};

const ENVIRONMENT: &str = "environment";
const FLAG: &str = "flag";
/// How the TOML parser marks a date that stands without quotes.
const BARE_DATE: &str = "$__toml_private_datetime";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The defaults, compiled in.
    BuiltIn,
    /// A file.
    File(PathBuf),
    /// A variable of the environment, by its name.
    Env(String),
    /// An option of the command line, by its name.
    Flag(String),
}

impl Origin {
    /// As figment carries it along with each value.
    pub(super) fn to_metadata(&self) -> Metadata {
        match self {
            Self::BuiltIn => Metadata::named(self.to_string()),
            Self::File(path) => Metadata::from("file", path.as_path()),
            Self::Env(name) => Metadata::from(ENVIRONMENT, name.as_str()),
            Self::Flag(name) => Metadata::from(FLAG, name.as_str()),
        }
    }

    /// The inverse.
    pub(super) fn of(metadata: Option<&Metadata>) -> Self {
        let Some(metadata) = metadata else { return Self::BuiltIn };
        match (&metadata.source, metadata.name.as_ref()) {
            (Some(Source::File(path)), _) => Self::File(path.clone()),
            (Some(Source::Custom(name)), ENVIRONMENT) => Self::Env(name.clone()),
            (Some(Source::Custom(name)), FLAG) => Self::Flag(name.clone()),
            _ => Self::BuiltIn,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File(path) => path.display().fmt(f),
            Self::Env(name) => write!(f, "{ENVIRONMENT} {name}"),
            Self::Flag(name) => write!(f, "{FLAG} {name}"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One value and where it came from. Secrets are already taken out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Its whole path, such as `commit.bytes_max`.
    pub key: String,
    /// As it was written.
    pub value: Value,
    /// The last layer that set it.
    pub origin: Origin,
}

impl Setting {
    /// The value as TOML.
    pub fn literal(&self) -> String {
        literal(&self.value)
    }
}

/// A value as TOML, on one line.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::String(_, text) => quoted(text),
        Value::Char(_, letter) => quoted(&letter.to_string()),
        Value::Bool(_, yes) => yes.to_string(),
        Value::Num(_, num) => number(*num),
        Value::Empty(..) => "nothing".into(),
        Value::Array(_, items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Dict(_, dict) if dict.is_empty() => "{}".into(),
        Value::Dict(_, dict) => match dict.get(BARE_DATE) {
            Some(Value::String(_, date)) => date.clone(),
            _ => {
                let pairs: Vec<_> = dict.iter().map(|(key, value)| format!("{key} = {}", literal(value))).collect();
                format!("{{ {} }}", pairs.join(", "))
            }
        },
    }
}

/// A JSON string is a TOML basic string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn number(num: Num) -> String {
    match (num.to_u128(), num.to_i128(), num.to_f64()) {
        (Some(whole), ..) => whole.to_string(),
        (_, Some(whole), _) => whole.to_string(),
        (.., Some(real)) => format!("{real:?}"),
        _ => "a number".into(),
    }
}
