//! A written ID, without an allocation.

use std::fmt;
use std::io::Write;
use std::ops::Deref;

/// The longest form is the UUID.
const WIDTH_MAX: usize = 36;

/// An ID in some form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text {
    bytes: [u8; WIDTH_MAX],
    len: usize,
}

impl Text {
    /// A number in decimal digits.
    pub(super) fn decimal(number: u64) -> Self {
        let mut bytes = [0; WIDTH_MAX];
        let mut rest = &mut bytes[..];
        // No number of 64 bits has more than 20 digits.
        let _ = write!(rest, "{number}");
        let len = WIDTH_MAX.saturating_sub(rest.len());
        Self { bytes, len }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Only digits, letters and dashes are ever written.
        self.bytes.get(..self.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl<const N: usize> From<[u8; N]> for Text {
    fn from(written: [u8; N]) -> Self {
        let mut bytes = [0; WIDTH_MAX];
        let len = N.min(WIDTH_MAX);
        bytes[..len].copy_from_slice(&written[..len]);
        Self { bytes, len }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
