//! Who calls: what a connection has said about itself, and what it may do.

use super::command::Fault;
use super::info;
use super::reply::{Reply, Version};
use super::request::Words;
use crate::api::bearer::{Bearers, Grant, Pass};

/// The longest name that a connection gives itself.
const NAME_BYTES_MAX: usize = 256;

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you \
                           sure your configuration is correct?";
const HELLO_FIRST: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                           <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
                           RESP protocol version at the same time";

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Caller {
    id: i64,
    version: Version,
    /// `None` as long as it has not shown a token that is asked for.
    pass: Option<Pass>,
    name: Vec<u8>,
}

impl Caller {
    pub(super) fn new(id: i64, bearers: &Bearers) -> Self {
        Self { id, version: Version::default(), pass: bearers.admit(None).ok(), name: Vec::new() }
    }

    pub(super) fn id(&self) -> i64 {
        self.id
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// What it may do; `None` as long as it has to show a token first.
    pub(super) fn grant(&self) -> Option<&Grant> {
        self.pass.as_ref().map(Pass::grant)
    }

    /// Tokens may have been replaced.
    pub(super) fn renew(&mut self, bearers: &Bearers) {
        if self.pass.as_mut().is_some_and(|pass| bearers.renew(pass).is_err()) {
            self.pass = None;
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// `RESET`
    pub(super) fn reset(&mut self, bearers: &Bearers) {
        *self = Self::new(self.id, bearers);
    }

    /// `AUTH`: the password is a token. Who shows a wrong one keeps what he had.
    pub(super) fn authenticate(&mut self, bearers: &Bearers, password: &[u8]) -> Result<(), Fault> {
        self.pass = Some(known(bearers, password)?);
        Ok(())
    }

    /// `CLIENT SETNAME`
    pub(super) fn set_name(&mut self, name: &[u8]) -> Result<(), Fault> {
        self.name = checked(name)?.to_vec();
        Ok(())
    }

    /// `HELLO`: all of it or, with an error, nothing.
    pub(super) fn hello(&mut self, bearers: &Bearers, version: Option<&[u8]>, options: Words<'_>) -> Result<(), Fault> {
        let version = version.map_or(Ok(self.version), wanted)?;
        let (mut pass, mut name) = (None, None);
        let mut words = options.iter();
        while let Some(option) = words.next() {
            if option.eq_ignore_ascii_case(b"auth") {
                let (Some(_user), Some(password)) = (words.next(), words.next()) else { return Err(unknown(option)) };
                pass = Some(known(bearers, password)?);
            } else if option.eq_ignore_ascii_case(b"setname") {
                name = Some(checked(words.next().ok_or_else(|| unknown(option))?)?.to_vec());
            } else {
                return Err(unknown(option));
            }
        }
        let pass = pass.or_else(|| self.pass.take()).ok_or(HELLO_FIRST)?;
        (self.version, self.pass) = (version, Some(pass));
        self.name = name.unwrap_or_else(|| std::mem::take(&mut self.name));
        Ok(())
    }

    /// The reply to a `HELLO` that was understood.
    pub(super) fn greet(&self, reply: &mut Reply<'_>) {
        info::greet(reply, self.version.number(), self.id);
    }
}

fn known(bearers: &Bearers, password: &[u8]) -> Result<Pass, Fault> {
    if bearers.is_open() {
        return Err(NO_PASSWORD.into());
    }
    bearers.admit(Some(password)).map_err(|_| WRONG_PASSWORD.into())
}

fn wanted(version: &[u8]) -> Result<Version, Fault> {
    match version {
        b"2" => Ok(Version::Resp2),
        b"3" => Ok(Version::Resp3),
        other if !other.is_empty() && other.iter().all(u8::is_ascii_digit) => {
            Err("NOPROTO unsupported protocol version".into())
        }
        _ => Err("ERR Protocol version is not an integer or out of range".into()),
    }
}

fn checked(name: &[u8]) -> Result<&[u8], Fault> {
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("ERR Client names have at most {NAME_BYTES_MAX} bytes.").into());
    }
    let printable = name.iter().all(u8::is_ascii_graphic);
    printable
        .then_some(name)
        .ok_or(Fault::Borrowed("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn unknown(option: &[u8]) -> Fault {
    let shown = option.get(..32).unwrap_or(option);
    format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(shown)).into()
}
