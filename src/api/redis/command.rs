//! Commands: what a client has asked for, once its words are understood (`table.rs`).

use std::borrow::Cow;

use snowtide_protocol::Action;

use super::answer::Shape;
use super::limits::Check;
use super::request::Words;

/// A command that can be carried out, unless its keys or its caller's rights stand against it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command<'a> {
    /// Have this done to the counters of these names, and make a reply of this shape of their values.
    Operate(Words<'a>, Action, Shape),
    /// Decide by a limit.
    Decide(Check<'a>),
    Ping(Option<&'a [u8]>),
    Echo(&'a [u8]),
    /// The version that is wanted, and the options.
    Hello(Option<&'a [u8]>, Words<'a>),
    /// The password: a bearer token. The user does not matter.
    Auth(&'a [u8]),
    SetName(&'a [u8]),
    GetName,
    SetInfo,
    Id,
    Commands,
    /// Rows of these names; all without any.
    Rows(Words<'a>),
    Count,
    /// What commands of these names do; all without any.
    Docs(Words<'a>),
    Names,
    ConfigGet(Words<'a>),
    Info(Words<'a>),
    Select,
    Multi,
    Exec,
    Discard,
    Quit,
    Reset,
}

/// The text of an error.
pub(super) type Fault = Cow<'static, str>;

impl Command<'_> {
    /// The engine's operations of it.
    pub(super) fn operations(&self) -> usize {
        match self {
            Self::Operate(keys, ..) => keys.len(),
            _ => 0,
        }
    }

    /// Bytes of the longest reply, where that is not about as long as the command itself.
    pub(super) fn reply_bytes(&self) -> usize {
        match self {
            Self::Commands | Self::Rows(_) | Self::Docs(_) => 64 << 10,
            Self::Ping(_) | Self::Echo(_) | Self::Hello(..) | Self::ConfigGet(_) | Self::Info(_) | Self::Names => {
                2 << 10
            }
            _ => 128,
        }
    }

    /// It is carried out within a transaction, too, and not gathered.
    pub(super) fn is_of_transactions(&self) -> bool {
        matches!(self, Self::Multi | Self::Exec | Self::Discard | Self::Quit | Self::Reset)
    }

    /// Who has not said who it is may do this.
    pub(super) fn opens(&self) -> bool {
        matches!(self, Self::Hello(..) | Self::Auth(_) | Self::Quit | Self::Reset)
    }
}
