//! The control socket: what the operator of a machine tells a node that runs there, by its data directory.
//!
//! Its name is no file, so that nothing is left behind that would be copied with the data, but an abstract one (unix(7)),
//! made of the device and the number of the directory. A conversation is one order and one answer, a line of JSON each.
//! Orders may be repeated. Only the user of the node and root are heard.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nix::unistd::geteuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::audit;

/// Of an order and of an answer.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// For each half of a conversation.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Refuse new work until further notice.
    Drain,
    /// Tell how far a drain is.
    Look,
    /// Serve again.
    Resume,
    /// Forget what peers have told of ID ceilings.
    ForgetCeilings,
    /// Be fenced no more from the next start on.
    ClearFence,
    /// Read the configuration and the certificates again.
    Reload,
}

impl Order {
    /// As the command line calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Look => "look",
            Self::Resume => "resume",
            Self::ForgetCeilings => "forget-ceilings",
            Self::ClearFence => "clear-fence",
            Self::Reload => "reload",
        }
    }
}

/// What it says to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// New work is refused; some of what was accepted is not held elsewhere yet.
    Draining,
    /// New work is refused, and this region holds everything; `None` if there is no other.
    Drained {
        /// Its name.
        held_by: Option<String>,
    },
    /// It serves, or will once it has started.
    Resumed,
    /// What peers had told of ID ceilings is forgotten.
    ForgotCeilings {
        /// IDs were refused because of it.
        quarantine_ended: bool,
    },
    /// The next start is not fenced.
    FenceCleared {
        /// Why it had fenced itself.
        reason: String,
    },
    /// The configuration and the certificates were read again, and all of them can be used.
    Reloaded {
        /// What is in force now and was not before.
        changed: Vec<String>,
        /// What has changed there, and comes into force with the next start.
        restart: Vec<String>,
    },
    /// It cannot be done, and why.
    Refused(String),
}

/// A node's end of the socket, until it is dropped.
#[derive(Debug)]
pub struct Control(UnixListener);

impl Control {
    /// Binds, in the name of a data directory that this process has to itself.
    pub fn bind(data_dir: &Path) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::bind_addr(&address(&fs::metadata(data_dir)?)?)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self)
    }

    /// The next order of somebody who may give it.
    pub async fn hear(&self) -> Heard {
        loop {
            let Ok((stream, _)) = self.0.accept().await else {
                // Out of file descriptors, most likely.
                tokio::time::sleep(TIMEOUT).await;
                continue;
            };
            if let Ok(Ok(Some(heard))) = timeout(TIMEOUT, Heard::from(stream)).await {
                return heard;
            }
        }
    }
}

/// An order, and who waits for the answer.
#[derive(Debug)]
pub struct Heard {
    /// The order.
    pub order: Order,
    /// The number of the user who gives it.
    pub user: u32,
    stream: UnixStream,
}

impl Heard {
    async fn from(mut stream: UnixStream) -> io::Result<Option<Self>> {
        let user = stream.peer_cred()?.uid();
        if user != 0 && user != geteuid().as_raw() {
            let why = "only the user that runs the node, and root, are heard";
            audit::turned_away("control", &format_args!("user {user}"), "", &why);
            let refusal = Answer::Refused(why.to_owned());
            return write(&mut stream, &refusal).await.map(|()| None);
        }
        Ok(Some(Self { order: read(&mut stream).await?, user, stream }))
    }

    /// Answers. Whoever broke off has no use for it.
    pub async fn answer(mut self, answer: &Answer) {
        let _ = timeout(TIMEOUT, write(&mut self.stream, answer)).await;
    }
}

#[cfg(target_os = "linux")]
fn address(data_dir: &Metadata) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(format!("snowtide/control/{}-{}", data_dir.dev(), data_dir.ino()))
}

#[cfg(not(target_os = "linux"))]
fn address(_: &Metadata) -> io::Result<SocketAddr> {
    Err(ErrorKind::Unsupported.into())
}

/// Tells the node that has `data_dir` open. Nobody there is [`ErrorKind::NotFound`] or [`ErrorKind::ConnectionRefused`].
pub async fn tell(data_dir: &Path, order: Order) -> io::Result<Answer> {
    let data_dir = fs::metadata(data_dir)?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address(&data_dir)?)?;
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    // Anybody may take the name before a node does.
    if ![0, geteuid().as_raw(), data_dir.uid()].contains(&stream.peer_cred()?.uid()) {
        return Err(ErrorKind::PermissionDenied.into());
    }
    let conversation = async {
        write(&mut stream, &order).await?;
        read(&mut stream).await
    };
    timeout(TIMEOUT, conversation).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

async fn read<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    if line.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(serde_json::from_str(&line)?) }
}

async fn write(stream: &mut UnixStream, value: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(value)? + "\n";
    stream.write_all(line.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_are_obeyed_in_turn_and_nobody_is_there_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tell(dir.path(), Order::Drain).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(tell(Path::new("/nowhere"), Order::Drain).await.unwrap_err().kind(), ErrorKind::NotFound);

        let control = Control::bind(dir.path()).unwrap();
        let node = tokio::spawn(async move {
            loop {
                let heard = control.hear().await;
                let answer = match heard.order {
                    Order::Drain | Order::Look => Answer::Drained { held_by: Some("mars".into()) },
                    _ => Answer::Refused("no".into()),
                };
                heard.answer(&answer).await;
            }
        });
        let held = Answer::Drained { held_by: Some("mars".into()) };
        assert_eq!(tell(dir.path(), Order::Drain).await.unwrap(), held);
        assert_eq!(tell(dir.path(), Order::Resume).await.unwrap(), Answer::Refused("no".into()));

        for nonsense in ["\n", "{}\n", "\"fly\"\n", &"x".repeat(2_000_000)] {
            let address = address(&fs::metadata(dir.path()).unwrap()).unwrap();
            let stream = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut stream = UnixStream::from_std(stream).unwrap();
            let _ = stream.write_all(nonsense.as_bytes()).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert_eq!(rest, b"", "{nonsense:.9}");
        }
        assert_eq!(tell(dir.path(), Order::Drain).await.unwrap(), held, "it goes on");
        node.abort();
        let _ = node.await;
        assert_eq!(tell(dir.path(), Order::Drain).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
