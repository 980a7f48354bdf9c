//! `snowtide-dev certs`: a development authority, and a certificate for each node of the map.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use snowtide::cli::{Global, print, print_json};

use crate::certificates::{Folders, Holder, Made, certificates};

/// Make a development authority, and a certificate for each node of the map.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// Where to; without it, tls.dir of the configuration.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Where the authority's key is kept, which nodes are not given; without it, a folder of the same name with -authority
    /// behind.
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,

    /// Make new certificates for all nodes of the map, by the same authority.
    #[arg(long)]
    renew: bool,
}

const EXAMPLES: &str = "\
Examples:
  snowtide-dev certs
  snowtide-dev certs --dir certs --regions-dir regions

  snowtide-dev certs --dir certs --renew

What exists is kept: run it again after a node was added to the map. Certificates of nodes end after two years. To renew \
    them, run it with --renew, give each node its two files again, and have it take them up: \
    snowtide cluster reload, or SIGHUP. Nodes are given ca.pem and their own two files, never the authority's key.";

impl Command {
    /// Does what was asked.
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let loaded = global.load()?;
        let dir = self.dir.unwrap_or(loaded.config.tls.dir);
        let mut folders = Folders::beside(&dir);
        if let Some(authority) = self.authority {
            folders.authority = authority;
        }
        let made = certificates(&folders, &Holder::all(&loaded.map), self.renew)?;
        if global.json { print_json(&made) } else { print(summary(&made).trim_end()) }
    }
}

fn summary(made: &Made) -> String {
    let authority = if made.authority_is_new { "made" } else { "kept" };
    let key = if made.key_was_moved { "moved" } else { authority };
    let mut text = format!("{authority} {} (the authority)\n", made.authority.display());
    let _ = writeln!(text, "{key} {} (its key: not for nodes)", made.key.display());
    for (word, paths) in [("made", &made.made), ("kept", &made.kept)] {
        for path in paths {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{word} {}", path.display());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_told_from_what_was_kept() {
        let made = Made {
            authority: "certs/ca.pem".into(),
            authority_is_new: false,
            key: "certs-authority/ca.key".into(),
            key_was_moved: false,
            made: vec!["certs/eu-west-1.pem".into()],
            kept: vec!["certs/eu-west-0.pem".into()],
        };
        let expected = "kept certs/ca.pem (the authority)\nkept certs-authority/ca.key (its key: not for nodes)\n\
                        made certs/eu-west-1.pem\nkept certs/eu-west-0.pem\n";
        assert_eq!(summary(&made), expected);
        let json = serde_json::to_value(&made).unwrap();
        assert_eq!(
            (&json["made"][0], &json["authority_key"]),
            (&"certs/eu-west-1.pem".into(), &"certs-authority/ca.key".into())
        );
    }
}
