//! Loading: layers of values, the later over the earlier, then the inspection, then the map.
//!
//! The order: the built-in defaults, `config/default.toml` of the working directory, the file of `--config`, the
//! region files, the environment, flags. Tables merge key by key; single values and lists are replaced. One exception:
//! a file that names namespaces names all of them, and likewise policies of limits, so that a cluster need not keep the
//! built-in ones.
//!
//! Region files are the cluster's map. They share no key with the rest, and no variable or flag reaches into them: a
//! map that differs from node to node would be no map.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::value::{Map, Value};

use super::error::{ConfigError, Problem};
use super::inspect::{Inspection, nearest, origin, settings};
use super::layer::Layer;
use super::map::ClusterMap;
use super::origin::{Origin, Setting, literal};
use super::schema::CONFIG;
use super::{Config, default_file, envoy, regions, validate};
use crate::envoy::Domains;
use crate::section::shape::Shape;

/// Laid over the built-in defaults where it exists.
const DEFAULT_FILE: &str = "config/default.toml";
const ENV_PREFIX: &str = "SNOWTIDE_";
const ENV_SEPARATOR: &str = "__";
const NAMESPACES: &str = "namespace";
const LIMITS: &str = "limits";
const POLICIES: &str = "policy";
const TOKENS: &str = "api.tokens";
const TOKENS_FILE: &str = "api.tokens_file";

/// What to load from. The default is nothing but the built-in defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Read if it exists.
    pub default_file: Option<PathBuf>,
    /// Has to exist.
    pub file: Option<PathBuf>,
    /// Variables of the environment. Those that cannot mean a key are left alone.
    pub env: Vec<(String, String)>,
    /// Options of the command line; of two for one key the later counts.
    pub flags: Vec<Flag>,
}

/// An option of the command line that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it is typed, such as `--set`.
    pub name: String,
    /// The dotted key.
    pub key: String,
    /// The value, as text.
    pub value: String,
}

impl Sources {
    /// What a command reads: `config/default.toml` of the working directory, and this environment.
    pub fn of_process(env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let mut env: Vec<_> = env.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        env.sort();
        Self { default_file: Some(DEFAULT_FILE.into()), env, ..Self::default() }
    }

    /// Adds a flag, which overrides everything before it.
    pub fn flag(&mut self, name: &str, key: &str, value: &str) {
        self.flags.push(Flag { name: name.to_owned(), key: key.to_owned(), value: value.to_owned() });
    }
}

/// A whole configuration, every value allowed.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The region files.
    pub map: ClusterMap,
    /// Each value of `config` as written, and where it came from; sorted by key, secrets taken out.
    pub origins: Vec<Setting>,
    /// Which file each region of `map` stands in, in the same order.
    pub region_files: Vec<PathBuf>,
    /// What the files of `envoy.descriptors` say.
    pub domains: Domains,
}

/// Reads, merges and checks; `now_ms` since 1970 tells whether the epoch of the IDs has passed.
pub(super) fn load(sources: &Sources, now_ms: u64) -> Result<Loaded, ConfigError> {
    let mut figment = layers(sources)?.into_iter().fold(Figment::new(), Figment::merge);
    if let Some(tokens) = tokens_of_file(&figment)? {
        figment = figment.merge(tokens);
    }
    let values = figment.find_value("").map_err(|error| Problem::Inconsistent(error.to_string()))?;
    let mut problems = Inspection::run(&figment, &CONFIG, &values, &Origin::BuiltIn);
    // The map is read even if something else is wrong, so that one run names every problem.
    let map = values.find_ref("regions_dir").and_then(Value::as_str).map(|dir| regions::load(Path::new(dir)));
    let domains = values.find_ref("envoy.descriptors").and_then(Value::as_str).map(|dir| envoy::load(Path::new(dir)));
    let domains = domains.unwrap_or_else(|| Ok(Domains::default())).unwrap_or_else(|problem| {
        problems.push(problem);
        Domains::default()
    });
    let regions = map.unwrap_or_else(|| Ok(Vec::new())).unwrap_or_else(|error| {
        problems.extend(error.into_problems());
        Vec::new()
    });
    ConfigError::unless_none(problems)?;
    let config: Config = figment.extract().map_err(|error| Problem::Inconsistent(error.to_string()))?;
    let origins = settings(&figment, &CONFIG, &values);
    let (region_files, regions): (Vec<PathBuf>, Vec<_>) = regions.into_iter().unzip();
    let map = ClusterMap { regions };
    ConfigError::unless_none(validate::problems(&config, &map, &region_files, (&origins, &domains), now_ms))?;
    Ok(Loaded { config, map, origins, region_files, domains })
}

/// The built-in defaults alone.
pub(super) fn builtin() -> Result<Config, ConfigError> {
    Ok(Figment::from(defaults()?).extract().map_err(|error| Problem::Inconsistent(error.to_string()))?)
}

fn defaults() -> Result<Layer, Problem> {
    Layer::of_toml(Origin::BuiltIn, Path::new(DEFAULT_FILE), &default_file())
}

/// From the lowest to the highest.
fn layers(sources: &Sources) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = vec![defaults()?];
    let mut problems = Vec::new();
    let default_file = sources.default_file.iter().filter(|file| file.exists());
    for file in default_file.chain(&sources.file) {
        match Layer::of_file(file) {
            Ok(layer) => lay_over(&mut layers, layer),
            Err(problem) => problems.push(problem),
        }
    }
    ConfigError::unless_none(problems)?;
    let variables = sources.env.iter().filter_map(|(name, value)| Some((name, key_of(name)?, value)));
    layers.extend(variables.map(|(name, key, value)| Layer::of_text(Origin::Env(name.clone()), &key, value)));
    layers.extend(
        sources.flags.iter().map(|flag| Layer::of_text(Origin::Flag(flag.name.clone()), &flag.key, &flag.value)),
    );
    Ok(layers)
}

/// What the file of `api.tokens_file` holds, as one more layer.
fn tokens_of_file(figment: &Figment) -> Result<Option<Layer>, ConfigError> {
    let Ok(named) = figment.find_value(TOKENS_FILE) else { return Ok(None) };
    let Some(file) = named.as_str().filter(|file| !file.is_empty()).map(Path::new) else { return Ok(None) };
    let among_the_rest = figment.find_value(TOKENS).ok().and_then(|tokens| Some(!tokens.as_array()?.is_empty()));
    if among_the_rest == Some(true) {
        let (origin, key) = (origin(figment, &named), TOKENS_FILE.to_owned());
        let reason = format!("{TOKENS} are given, too; allowed: one of both");
        return Err(Problem::Refused { origin, key, value: literal(&named), reason }.into());
    }
    let Layer { origin, mut values } = Layer::of_file(file)?;
    let tokens = values.remove("tokens").unwrap_or_else(|| Value::from(Vec::<Value>::new()));
    if let Some(key) = values.into_keys().next() {
        let hint = "this file holds tables [[tokens]] and nothing else".to_owned();
        return Err(Problem::UnknownKey { origin, key, hint }.into());
    }
    let api = Value::from(Map::from([("tokens", tokens)]));
    Ok(Some(Layer { origin, values: Map::from([("api".to_owned(), api)]) }))
}

fn lay_over(layers: &mut Vec<Layer>, layer: Layer) {
    if layer.values.contains_key(NAMESPACES) {
        for below in layers.iter_mut() {
            below.values.remove(NAMESPACES);
        }
    }
    if layer.values.get(LIMITS).and_then(|limits| limits.find_ref(POLICIES)).is_some() {
        for below in layers.iter_mut() {
            if let Some(Value::Dict(_, limits)) = below.values.get_mut(LIMITS) {
                limits.remove(POLICIES);
            }
        }
    }
    layers.push(layer);
}

/// The key that a variable means. `None` for those that belong to somebody else: orchestrators set variables such as
/// `SNOWTIDE_PORT` for a service of our name, so without a double underscore only (nearly) a key without a table is one.
fn key_of(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix(ENV_PREFIX)?;
    let key = rest.replace(ENV_SEPARATOR, ".").to_ascii_lowercase();
    let plain = |name| CONFIG.child(name).is_some_and(Shape::is_verbatim);
    (rest.contains(ENV_SEPARATOR) || nearest(&CONFIG, &key).is_some_and(plain)).then_some(key)
}
