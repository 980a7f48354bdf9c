//! One node process.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// How to start a node.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) executable: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// Its working directory, so that it reads no configuration of the directory that we were started in.
    pub(super) dir: PathBuf,
    /// Where its output goes, after what is there.
    pub(super) log: PathBuf,
}

/// A process that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// The node drains when this closes, so that it ends even if we end without a word.
    _lifeline: Option<ChildStdin>,
}

/// How a node that was told to stop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It drained and ended by itself.
    Drained,
    /// It ended by itself, but not with success.
    Failed(ExitStatus),
    /// It was killed.
    Killed,
}

impl Launch {
    /// Starts the process. Must be called within a Tokio runtime.
    pub(super) fn start(&self) -> io::Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut child = Command::new(&self.executable)
            .args(&self.arguments)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A process group of its own, so that a terminal's Ctrl-C reaches us alone and we decide what it means.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let _lifeline = child.stdin.take();
        Ok(Process { child, _lifeline })
    }
}

impl Process {
    /// `None` if it has ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), String> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(|| "it has ended".to_owned())?;
        signal::kill(Pid::from_raw(id), signal).map_err(|error| error.to_string())
    }

    /// SIGKILL, and waits until it is gone.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// SIGTERM; what has not drained within `bound` is killed.
    pub(super) async fn drain(&mut self, bound: Duration) -> Ending {
        // If it cannot be signalled, it has ended already, and waiting tells how.
        let _ = self.signal(Signal::SIGTERM);
        match timeout(bound, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ending::Drained,
            Ok(Ok(status)) => Ending::Failed(status),
            _ => {
                // Nothing is left to try if even this fails; dropping tries once more.
                let _ = self.child.kill().await;
                Ending::Killed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shell(script: &str, dir: &Path) -> Process {
        let launch = Launch {
            executable: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            env: vec![("GREETING".into(), "hello".into())],
            dir: dir.to_owned(),
            log: dir.join("log"),
        };
        launch.start().unwrap()
    }

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Waits until the process has said that it is ready to be told to stop.
    async fn until_logged(dir: &Path, word: &str) {
        let logged = async {
            while !std::fs::read_to_string(dir.join("log")).is_ok_and(|log| log.contains(word)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, logged).await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_drains_is_told_from_one_that_fails_and_one_that_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let mut drains = shell("trap 'exit 0' TERM; echo $GREETING; read x", dir.path());
        until_logged(dir.path(), "hello").await;
        assert_eq!(drains.drain(DEADLINE).await, Ending::Drained);
        let mut fails = shell("trap 'exit 3' TERM; echo second; read x", dir.path());
        until_logged(dir.path(), "second").await;
        assert!(matches!(fails.drain(DEADLINE).await, Ending::Failed(status) if status.code() == Some(3)));
        let mut hangs =
            shell("trap '' TERM; echo third; while read x; do :; done; while :; do sleep 1; done", dir.path());
        until_logged(dir.path(), "third").await;
        assert_eq!(hangs.drain(Duration::from_millis(50)).await, Ending::Killed);
    }

    #[tokio::test]
    async fn a_process_sees_its_standard_input_close_when_it_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("read x; echo closed", dir.path());
        drop(process._lifeline.take());
        until_logged(dir.path(), "closed").await;
    }

    #[tokio::test]
    async fn the_end_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("exit 7", dir.path());
        let status = timeout(DEADLINE, process.child.wait()).await.unwrap().unwrap();
        assert_eq!((status.code(), process.ended()), (Some(7), Some(status)));
        assert!(process.id().is_none());
        assert!(process.signal(Signal::SIGTERM).is_err());
    }
}
