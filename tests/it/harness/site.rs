//! One run of the binary to its end: what it says and how it exits.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use super::{DEADLINE, executable};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `snowtide` in `dir` with an environment of its own. It is killed if it does not end by itself.
pub(crate) async fn run(dir: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    run_program(&executable(), dir, arguments, env).await
}

/// The same with another program.
pub(crate) async fn run_program(program: &Path, dir: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let child = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = timeout(DEADLINE, child).await.unwrap_or_else(|_elapsed| panic!("{arguments:?} does not end"));
    let output = ended.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

impl Ended {
    /// Checks the exit code, and that standard error holds each of these words.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}
