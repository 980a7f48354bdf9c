//! The forms by name.

use std::fmt;
use std::str::FromStr;

/// How an ID is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Decimal digits, without leading zeros.
    #[default]
    Decimal,
    /// Crockford's base32, upper case, 13 characters.
    Base32,
    /// Digits, then upper-case, then lower-case letters: 11 characters.
    Base62,
    /// A UUID of version 7 (RFC 9562), in lower-case hexadecimal digits.
    Uuid7,
    /// A ULID: 26 characters of Crockford's base32.
    Ulid,
}

/// There is no such form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed: decimal, base32, base62, uuid7 or ulid")]
pub struct BadFormat;

impl Format {
    /// Every form there is.
    pub const ALL: [Self; 5] = [Self::Decimal, Self::Base32, Self::Base62, Self::Uuid7, Self::Ulid];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decimal => "decimal",
            Self::Base32 => "base32",
            Self::Base62 => "base62",
            Self::Uuid7 => "uuid7",
            Self::Ulid => "ulid",
        }
    }

    /// How many characters it has, if always as many.
    pub const fn width(self) -> Option<usize> {
        match self {
            Self::Decimal => None,
            Self::Base32 => Some(13),
            Self::Base62 => Some(11),
            Self::Uuid7 => Some(36),
            Self::Ulid => Some(26),
        }
    }

    /// The form that a text must be in, by two rules: digits that do not begin with 0 are decimal, and so is any number
    /// of digits that is no width of another form; anything else goes by its width.
    ///
    /// So the only texts of another form that are taken for decimal ones are those of base32 and base62 without a letter
    /// and without a leading zero. They are one in a million of the base32 ones, and only of IDs from 2^60 on.
    pub fn of(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && !text.starts_with('0') {
            return Some(Self::Decimal);
        }
        let by_width = Self::ALL.into_iter().find(|format| format.width() == Some(text.len()));
        by_width.or(digits.then_some(Self::Decimal))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = BadFormat;

    fn from_str(name: &str) -> Result<Self, BadFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == name).ok_or(BadFormat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_form_and_no_other_text_does() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        for other in ["", "Base32", "base64", "uuid", " ulid"] {
            assert_eq!(other.parse::<Format>(), Err(BadFormat), "{other:?}");
        }
    }

    #[test]
    fn a_text_is_of_one_form_only() {
        for (text, format) in [
            ("0", Some(Format::Decimal)),
            ("42", Some(Format::Decimal)),
            ("007", Some(Format::Decimal)),
            ("1234567890123", Some(Format::Decimal)),
            ("12345678901", Some(Format::Decimal)),
            ("0234567890123", Some(Format::Base32)),
            ("1234567890I23", Some(Format::Base32)),
            ("02345678901", Some(Format::Base62)),
            ("0000000000Z", Some(Format::Base62)),
            ("01234567890123456789012345", Some(Format::Ulid)),
            ("00000000-0000-0000-0000-000000000000", Some(Format::Uuid7)),
            ("", None),
            ("+5", None),
            ("x", None),
        ] {
            assert_eq!(Format::of(text), format, "{text:?}");
        }
    }
}
