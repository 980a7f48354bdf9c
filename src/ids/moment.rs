//! Moments as people write them: RFC 3339, or milliseconds of Unix time; and ranges between two of them.

use jiff::Timestamp;
use snowtide_protocol::id::{BadRange, IdRange, IdScheme};

use crate::clock;

/// There are no IDs of such a range, or it is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// No moment.
    #[error("{name} is a moment by RFC 3339, such as 2025-06-01T00:00:00Z, or milliseconds of Unix time; not {text:?}")]
    Moment {
        /// Which end of the range.
        name: &'static str,
        /// What was given, cut.
        text: String,
    },
    /// No IDs.
    #[error("{0}")]
    Range(String),
}

/// A time range in whole milliseconds, and its IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// Where it begins, in milliseconds of Unix time.
    pub from_ms: u64,
    /// Before this it ends.
    pub to_ms: u64,
    /// The IDs.
    pub ids: IdRange,
}

impl TimeRange {
    /// The IDs of the time from `from` on until before `to`. An ID's time is a whole millisecond, so one that a moment
    /// cuts belongs to what is before the moment.
    pub fn read(scheme: IdScheme, from: &str, to: &str) -> Result<Self, RangeError> {
        let (from_ms, to_ms) = (moment("from", from)?, moment("to", to)?);
        let ids = scheme.range(from_ms, to_ms).map_err(|refused| RangeError::Range(in_words(refused)))?;
        Ok(Self { from_ms, to_ms, ids })
    }
}

/// The first whole millisecond that is not before the moment. Moments before 1970 are as good as that.
fn moment(name: &'static str, text: &str) -> Result<u64, RangeError> {
    let refused = || RangeError::Moment { name, text: text.chars().take(64).collect() };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| refused());
    }
    let moment: Timestamp = text.parse().map_err(|_| refused())?;
    let begun = i64::from(moment.subsec_nanosecond().rem_euclid(1_000_000) != 0);
    let floor = moment.as_nanosecond().div_euclid(1_000_000);
    let ms = i64::try_from(floor).ok().and_then(|floor| floor.checked_add(begun)).ok_or_else(refused)?;
    Ok(u64::try_from(ms).unwrap_or(0))
}

fn in_words(refused: BadRange) -> String {
    let when = |ms| clock::rfc3339(ms).unwrap_or_else(|| format!("{ms} ms of Unix time"));
    match refused {
        BadRange::Empty { from_ms, to_ms } => {
            format!("the range is empty: from is {}, and to, {}, is not later", when(from_ms), when(to_ms))
        }
        BadRange::BeforeEpoch { from_ms, epoch_ms } => {
            format!("from is {}, but the time of this cluster's IDs begins at {}", when(from_ms), when(epoch_ms))
        }
        BadRange::AfterEnd { to_ms, end_ms } => {
            format!("to is {}, but the time of this cluster's IDs ends with {}", when(to_ms), when(end_ms))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH_MS: u64 = 1_735_689_600_000;

    fn read(from: &str, to: &str) -> Result<TimeRange, String> {
        TimeRange::read(IdScheme::new("c", EPOCH_MS, 41), from, to).map_err(|error| error.to_string())
    }

    #[test]
    fn both_ways_to_write_a_moment_mean_the_same() {
        let expected = read("1735689601000", "1735689602000").unwrap();
        assert_eq!(expected.ids, IdRange { first: 1_000 << 22, last: (2_000 << 22) - 1 });
        for (from, to) in [
            ("2025-01-01T00:00:01Z", "2025-01-01T00:00:02Z"),
            ("2025-01-01T02:00:01.000+02:00", "2025-01-01T00:00:02.000000000Z"),
            ("2024-12-31T19:00:01-05:00", "1735689602000"),
        ] {
            assert_eq!(read(from, to).as_ref(), Ok(&expected), "{from} {to}");
        }
    }

    #[test]
    fn a_millisecond_that_is_cut_belongs_to_what_is_before() {
        let range = read("2025-01-01T00:00:00.0001Z", "2025-01-01T00:00:00.002000001Z").unwrap();
        assert_eq!((range.from_ms, range.to_ms), (EPOCH_MS + 1, EPOCH_MS + 3));
        assert!(read("2025-01-01T00:00:00.0001Z", "2025-01-01T00:00:00.0009Z").unwrap_err().contains("empty"));
    }

    #[test]
    fn what_is_wrong_with_a_range_is_said_in_its_own_terms() {
        let year = "2025-06-01T00:00:00Z";
        for (from, to, words) in [
            ("yesterday", year, "from is a moment by RFC 3339"),
            (year, "", "to is a moment by RFC 3339"),
            (year, "2025-06-01", "not \"2025-06-01\""),
            (year, "-1", "to is a moment"),
            (year, "99999999999999999999", "to is a moment"),
            (year, year, "the range is empty: from is 2025-06-01T00:00:00.000Z"),
            ("2024-12-31T23:59:59.999Z", year, "from is 2024-12-31T23:59:59.999Z, but"),
            ("2024-12-31T23:59:59.999Z", year, "begins at 2025-01-01T00:00:00.000Z"),
            ("1960-01-01T00:00:00Z", year, "from is 1970-01-01"),
            (year, "2094-09-07T15:47:35.553Z", "ends with 2094-09-07T15:47:35.551Z"),
            ("9999-01-01T00:00:00Z", "18446744073709551615", "to is 18446744073709551615 ms of Unix time"),
        ] {
            let refused = read(from, to).unwrap_err();
            assert!(refused.contains(words), "{from} {to}: {refused}");
        }
        assert!(read(year, "2094-09-07T15:47:35.552Z").is_ok());
    }
}
