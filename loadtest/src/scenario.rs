//! Scenarios: loads with a name, in TOML. Keys are the names of the options, so that there is one list of them; what is
//! given on the command line is laid over the file, as everywhere in this project by figment.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::Value;
use serde::Serialize;

/// Those that the program brings along.
const BUILT_IN: [(&str, &str); 5] = [
    ("likes", include_str!("../scenarios/likes.toml")),
    ("views", include_str!("../scenarios/views.toml")),
    ("inserts", include_str!("../scenarios/inserts.toml")),
    ("failover", include_str!("../scenarios/failover.toml")),
    ("demo", include_str!("../scenarios/demo.toml")),
];
/// A key that is for people only.
const DESCRIPTION: &str = "description";
const SCENARIO: &str = "scenario";

/// What was given of one option.
#[derive(Serialize)]
#[serde(untagged)]
enum Given {
    Flag(bool),
    One(String),
    Many(Vec<String>),
}

/// The whole command line with the options of its scenario written out; `None` if it names no scenario. An error is a
/// sentence.
pub fn resolve(command: &Command, matches: &ArgMatches) -> Result<Option<Vec<OsString>>, String> {
    let (words, command, matches) = match matches.subcommand() {
        None => (vec![command.get_name()], command, matches),
        Some((name, of_it)) => match command.find_subcommand(name) {
            Some(subcommand) => (vec![command.get_name(), name], subcommand, of_it),
            None => return Ok(None),
        },
    };
    let Ok(Some(name)) = matches.try_get_one::<String>(SCENARIO) else { return Ok(None) };
    let layers = Figment::from(text_of(name)?).merge(Serialized::defaults(given(command, matches)));
    let options: BTreeMap<String, Value> =
        layers.extract().map_err(|error| format!("scenario {name} is no TOML of options: {error}"))?;
    let mut all: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    for (key, value) in options.into_iter().filter(|(key, _)| key != DESCRIPTION) {
        let option = command.get_arguments().find(|option| option.get_long() == Some(&key));
        let option = option.ok_or_else(|| match key.as_str() {
            "fault" => format!("scenario {name} is a drill: snowtide-loadtest drill --scenario {name}"),
            _ => format!("scenario {name}: there is no option --{key} here"),
        })?;
        write_out(option, &key, value, &mut all).map_err(|wrong| format!("scenario {name}: {key} {wrong}"))?;
    }
    Ok(Some(all))
}

fn text_of(name: &str) -> Result<figment::providers::Data<Toml>, String> {
    if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        return Ok(Toml::string(text));
    }
    let text = std::fs::read_to_string(name).map_err(|error| {
        let names = BUILT_IN.map(|(name, _)| name).join(", ");
        format!("scenario {name} is neither one of {names} nor a file that can be read: {error}")
    })?;
    Ok(Toml::string(&text))
}

/// The options of the command line, without defaults.
fn given(command: &Command, matches: &ArgMatches) -> BTreeMap<String, Given> {
    let was_given = |option: &&Arg| matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine);
    let entry = |option: &Arg| {
        let id = option.get_id().as_str();
        let raw = matches.get_raw(id).into_iter().flatten();
        let mut texts: Vec<String> = raw.map(|text| text.to_string_lossy().into_owned()).collect();
        let value = match option.get_action() {
            ArgAction::SetTrue => Given::Flag(true),
            ArgAction::Append => Given::Many(texts),
            _ => Given::One(texts.pop()?),
        };
        Some((option.get_long()?.to_owned(), value))
    };
    command.get_arguments().filter(was_given).filter_map(entry).collect()
}

fn write_out(option: &Arg, key: &str, value: Value, out: &mut Vec<OsString>) -> Result<(), String> {
    match (value, option.get_action()) {
        (Value::Bool(_, set), ArgAction::SetTrue) => {
            if set {
                out.push(format!("--{key}").into());
            }
            Ok(())
        }
        (Value::Array(_, values), ArgAction::Append) => values.into_iter().try_for_each(|value| {
            out.push(format!("--{key}={}", text(&value)?).into());
            Ok(())
        }),
        (value, ArgAction::Append | ArgAction::Set) => {
            out.push(format!("--{key}={}", text(&value)?).into());
            Ok(())
        }
        _ => Err("is a flag: write true or false".into()),
    }
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(_, text) => Ok(text.clone()),
        Value::Num(_, number) => {
            let whole = number.to_i128().map(|whole| whole.to_string());
            let whole = whole.or_else(|| number.to_u128().map(|whole| whole.to_string()));
            whole.or_else(|| number.to_f64().map(|number| number.to_string())).ok_or_else(|| "is no number".into())
        }
        _ => Err("must be text, a number, or a list of these where the option may be repeated".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn resolved(toml: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("own.toml");
        std::fs::write(&path, toml).unwrap();
        let path = path.display().to_string();
        let all = [&["snowtide-loadtest", "--scenario", &path], arguments].concat();
        let command = Cli::command();
        let matches = command.clone().try_get_matches_from(all).unwrap();
        let all = resolve(&command, &matches)?.unwrap();
        Ok(all.into_iter().map(|word| word.into_string().unwrap()).filter(|word| !word.contains("own.toml")).collect())
    }

    #[test]
    fn a_file_of_ones_own_is_laid_under_the_flags() {
        let toml = "description = 'x'\nrate = '5k'\nbatch = 10\nzipf-exponent = 1.5\nquiet = true\n\
            threshold = ['p50<1s', 'max<2s']\n";
        let all = resolved(toml, &["--batch", "20"]).unwrap();
        let expected = [
            "snowtide-loadtest",
            "--batch=20",
            "--quiet",
            "--rate=5k",
            "--threshold=p50<1s",
            "--threshold=max<2s",
            "--zipf-exponent=1.5",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn all_that_the_program_brings_along_make_sense() {
        for (name, _) in BUILT_IN {
            let load = ["snowtide-loadtest", "--scenario", name, "--target", "http://a:1"];
            let drill = ["snowtide-loadtest", "drill", "--scenario", name];
            let command = Cli::command();
            let words = if ["failover", "demo"].contains(&name) { &drill[..] } else { &load };
            let all = resolve(&command, &command.clone().try_get_matches_from(words).unwrap()).unwrap().unwrap();
            command.try_get_matches_from(all).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn what_is_no_option_is_named() {
        for (toml, word) in [
            ("speed = 1", "no option --speed"),
            ("quiet = 'yes'", "quiet is a flag"),
            ("rate = [1, 2]", "rate must be text"),
            ("rate =", "no TOML"),
        ] {
            let error = resolved(toml, &[]).unwrap_err();
            assert!(error.contains(word), "{toml}: {error}");
        }
    }

    #[test]
    fn without_a_scenario_nothing_changes() {
        let command = Cli::command();
        let matches = command.clone().try_get_matches_from(["snowtide-loadtest", "--rate", "5"]).unwrap();
        assert_eq!(resolve(&command, &matches), Ok(None));
    }
}
