//! A plain HTTP/1.1 caller: what it sends is what the test says, byte for byte.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any limit that the tests configure.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that this is a whole problem document with this code.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(
            (problem["code"].as_str(), problem["status"].as_u64()),
            (Some(code), Some(status.into())),
            "{self:?}"
        );
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{self:?}");
        assert!(problem["retryable"].is_boolean() && problem["type"].is_string() && problem["title"].is_string());
    }
}

/// Sends a request and reads the answer to its end.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<Answer> {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    let text = raw(address, request.as_bytes()).await?;
    Answer::parse(&text).ok_or_else(|| io::Error::other(format!("not an answer: {text:?}")))
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    ask(address, "GET", path, "").await
}

pub(crate) async fn post(address: SocketAddr, path: &str, body: &str) -> io::Result<Answer> {
    ask(address, "POST", path, body).await
}

/// Sends these bytes and reads until the other end closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> io::Result<String> {
    let conversation = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer).await {
            // A node that refuses a body closes without reading it, which may reset the connection behind its answer.
            Err(error) if answer.is_empty() => Err(error),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    };
    timeout(PATIENCE, conversation).await.map_err(|_elapsed| io::Error::other("the connection stays open"))?
}

/// The same, for an answer that must come.
pub(crate) async fn raw_answer(address: SocketAddr, bytes: &[u8]) -> Answer {
    let text = raw(address, bytes).await.unwrap();
    Answer::parse(&text).unwrap_or_else(|| panic!("not an answer: {text:?}"))
}
