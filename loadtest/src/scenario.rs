//! Scenarios: loads with a name, in TOML. Keys are the names of the options, so that there is one list of them; what is
//! given on the command line counts more.

use std::borrow::Cow;
use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

/// Those that the program brings along.
const BUILT_IN: [(&str, &str); 7] = [
    ("likes", include_str!("../scenarios/likes.toml")),
    ("views", include_str!("../scenarios/views.toml")),
    ("inserts", include_str!("../scenarios/inserts.toml")),
    ("gateway", include_str!("../scenarios/gateway.toml")),
    ("failover", include_str!("../scenarios/failover.toml")),
    ("limits", include_str!("../scenarios/limits.toml")),
    ("demo", include_str!("../scenarios/demo.toml")),
];
/// A key that is for people only.
const DESCRIPTION: &str = "description";
const SCENARIO: &str = "scenario";

/// The command line `given` with the options of its scenario in front of those that were given, and without what was given
/// of the same; `None` if it names no scenario. An error is a sentence.
pub fn resolve(
    command: &Command,
    matches: &ArgMatches,
    mut given: Vec<OsString>,
) -> Result<Option<Vec<OsString>>, String> {
    // A subcommand stands in front of all options.
    let subcommand =
        matches.subcommand().and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches, 2)));
    let (command, matches, names) = subcommand.unwrap_or((command, matches, 1));
    let Ok(Some(scenario)) = matches.try_get_one::<String>(SCENARIO) else { return Ok(None) };
    let options: Table =
        text_of(scenario)?.parse().map_err(|error| format!("scenario {scenario} is no TOML of options: {error}"))?;
    let mut written = Vec::new();
    for (key, value) in options.iter().filter(|(key, _)| *key != DESCRIPTION) {
        let option = command.get_arguments().find(|option| option.get_long() == Some(key));
        let option = option.ok_or_else(|| match key.as_str() {
            "fault" => format!("scenario {scenario} is a drill: snowtide-loadtest drill --scenario {scenario}"),
            _ => format!("scenario {scenario}: there is no option --{key} here"),
        })?;
        let texts = texts(option, value).map_err(|wrong| format!("scenario {scenario}: {key} {wrong}"))?;
        if matches.value_source(option.get_id().as_str()) != Some(ValueSource::CommandLine) {
            written.extend(texts.into_iter().map(OsString::from));
        }
    }
    given.splice(names..names, written);
    Ok(Some(given))
}

fn text_of(name: &str) -> Result<Cow<'static, str>, String> {
    if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        return Ok(Cow::Borrowed(text));
    }
    std::fs::read_to_string(name).map(Cow::Owned).map_err(|error| {
        let names = BUILT_IN.map(|(name, _)| name).join(", ");
        format!("scenario {name} is neither one of {names} nor a file that can be read: {error}")
    })
}

/// The option as on a command line, as often as the value says.
fn texts(option: &Arg, value: &Value) -> Result<Vec<String>, &'static str> {
    let long = option.get_long().unwrap_or_default();
    let with = |value: &Value| Ok(format!("--{long}={}", text(value)?));
    match (value, option.get_action()) {
        (Value::Boolean(set), ArgAction::SetTrue) => Ok(set.then(|| format!("--{long}")).into_iter().collect()),
        (Value::Array(values), ArgAction::Append) => values.iter().map(with).collect(),
        (value, ArgAction::Append | ArgAction::Set) => Ok(vec![with(value)?]),
        _ => Err("is a flag: write true or false"),
    }
}

fn text(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => Err("must be text, a number, or a list of these where the option may be repeated"),
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
        let matches = command.clone().try_get_matches_from(&all).unwrap();
        let all = resolve(&command, &matches, all.iter().map(OsString::from).collect())?.unwrap();
        Ok(all.into_iter().map(|word| word.into_string().unwrap()).filter(|word| !word.contains("own.toml")).collect())
    }

    #[test]
    fn a_file_of_ones_own_is_laid_under_the_flags() {
        let toml = "description = 'x'\nrate = '5k'\nbatch = 10\nzipf-exponent = 1.5\nquiet = true\n\
            threshold = ['p50<1s', 'max<2s']\n";
        let all = resolved(toml, &["--batch", "20"]).unwrap();
        let expected = [
            "snowtide-loadtest",
            "--quiet",
            "--rate=5k",
            "--threshold=p50<1s",
            "--threshold=max<2s",
            "--zipf-exponent=1.5",
            "--scenario",
            "--batch",
            "20",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn all_that_the_program_brings_along_make_sense() {
        for (name, _) in BUILT_IN {
            let load = ["snowtide-loadtest", "--scenario", name, "--target", "http://a:1"];
            let drill = ["snowtide-loadtest", "drill", "--scenario", name];
            let command = Cli::command();
            let words = if ["failover", "limits", "demo"].contains(&name) { &drill[..] } else { &load };
            let matches = command.clone().try_get_matches_from(words).unwrap();
            let all = resolve(&command, &matches, words.iter().map(OsString::from).collect()).unwrap().unwrap();
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
        assert_eq!(resolve(&command, &matches, Vec::new()), Ok(None));
    }
}
