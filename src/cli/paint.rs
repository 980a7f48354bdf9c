//! Colour: only where somebody sees it, and nobody has asked for none.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use clap::{ColorChoice, ValueEnum};

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is a dumb one.
    #[default]
    Auto,
    /// Also into a pipe, whatever `NO_COLOR` says.
    Always,
    /// Not at all.
    Never,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Dim,
    Strong,
}

static CHOSEN: OnceLock<Color> = OnceLock::new();

/// For the rest of this process.
pub(super) fn choose(color: Color) {
    // Only tests choose twice, and they ask for nothing.
    let _ = CHOSEN.set(color);
}

/// Whether standard output is coloured.
pub(super) fn on_stdout() -> bool {
    wanted(io::stdout().is_terminal())
}

/// Whether standard error is coloured.
pub(super) fn on_stderr() -> bool {
    wanted(io::stderr().is_terminal())
}

/// A table whose cells may be in tones.
pub(super) fn table<const N: usize>(header: [&str; N]) -> comfy_table::Table {
    let mut table = super::table(header);
    if on_stdout() {
        table.enforce_styling();
    }
    table
}

fn wanted(terminal: bool) -> bool {
    let chosen = CHOSEN.get().copied().unwrap_or_default();
    decide(chosen, terminal, std::env::var_os("NO_COLOR").as_deref(), std::env::var_os("TERM").as_deref())
}

/// `NO_COLOR` counts if it is not empty (no-color.org).
fn decide(color: Color, terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb"),
    }
}

/// What the flag `--color` says, before anything is parsed: help and complaints about flags are coloured, too.
pub(super) fn flag(arguments: &[OsString]) -> Color {
    let mut arguments = arguments.iter().skip(1).map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--color") {
            _ if argument == "--" => break,
            Some("") => arguments.next().map(std::borrow::Cow::into_owned),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        if let Some(Ok(color)) = value.map(|value| Color::from_str(&value, true)) {
            return color;
        }
    }
    Color::Auto
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

impl Tone {
    /// The text in this tone, if there is colour.
    pub(super) fn paint(self, text: &str, coloured: bool) -> String {
        let code = match self {
            _ if !coloured || text.is_empty() => return text.to_owned(),
            Self::Plain => return text.to_owned(),
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31;1",
            Self::Dim => "2",
            Self::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The tone of a table's cell.
    pub(super) fn cell(self, text: impl ToString) -> comfy_table::Cell {
        use comfy_table::{Attribute, Cell, Color};
        let cell = Cell::new(text);
        match self {
            Self::Plain => cell,
            Self::Good => cell.fg(Color::Green),
            Self::Warning => cell.fg(Color::Yellow),
            Self::Bad => cell.fg(Color::Red).add_attribute(Attribute::Bold),
            Self::Dim => cell.add_attribute(Attribute::Dim),
            Self::Strong => cell.add_attribute(Attribute::Bold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_and_can_be_switched_off_and_on() {
        let auto = |terminal, no_color: Option<&str>, term: Option<&str>| {
            decide(Color::Auto, terminal, no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert!(auto(true, None, Some("xterm")) && auto(true, Some(""), None));
        assert!(!auto(false, None, None) && !auto(true, Some("1"), None) && !auto(true, None, Some("dumb")));
        assert!(decide(Color::Always, false, Some(OsStr::new("1")), None));
        assert!(!decide(Color::Never, true, None, None));
    }

    #[test]
    fn the_flag_is_found_before_anything_is_parsed() {
        let flag = |line: &[&str]| flag(&line.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(flag(&["snowtide", "id", "--color", "never", "new"]), Color::Never);
        assert_eq!(flag(&["snowtide", "--color=always"]), Color::Always);
        for line in [&["snowtide"][..], &["--color=always"], &["snowtide", "--color", "red"], &["snowtide", "--color"]]
        {
            assert_eq!(flag(line), Color::Auto, "{line:?}");
        }
        assert_eq!(flag(&["snowtide", "--", "--color=always"]), Color::Auto);
    }

    #[test]
    fn without_colour_nothing_is_added() {
        assert_eq!(Tone::Bad.paint("down", false), "down");
        assert_eq!(Tone::Bad.paint("down", true), "\x1b[31;1mdown\x1b[0m");
        assert_eq!(Tone::Good.paint("", true), "");
    }
}
