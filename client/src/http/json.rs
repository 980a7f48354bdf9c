//! What a node answered, as JSON.

use serde::Deserialize;

use crate::error::Error;

/// Reads it.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| odd(&error.to_string()))
}

/// It does not fit what was asked.
pub(super) fn odd(what: &str) -> Error {
    Error::Protocol(format!("it answered {what}"))
}
