//! Patterns of values.

/// Stands for any characters, also for none.
pub(super) const WILDCARD: char = '*';

/// A value with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What stands before the first wildcard.
    start: String,
    /// What stands between two.
    middle: Vec<String>,
    /// What stands after the last.
    end: String,
}

impl Pattern {
    /// `None` if there is no wildcard in it.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (start, rest) = value.split_once(WILDCARD)?;
        let (middle, end) = rest.rsplit_once(WILDCARD).unwrap_or(("", rest));
        let middle = middle.split(WILDCARD).filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Some(Self { start: start.to_owned(), middle, end: end.to_owned() })
    }

    /// Whether a value fits.
    pub(super) fn fits(&self, value: &str) -> bool {
        let within = value.strip_prefix(self.start.as_str()).and_then(|rest| rest.strip_suffix(self.end.as_str()));
        let after = |rest: &'_ str, part: &String| rest.find(part.as_str()).map(|at| at + part.len());
        let mut rest = within;
        for part in &self.middle {
            rest = rest.and_then(|rest| rest.get(after(rest, part)?..));
        }
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, value: &str) -> bool {
        Pattern::parse(pattern).unwrap().fits(value)
    }

    /// The same by trying everything.
    fn fits_slowly(pattern: &[char], value: &[char]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            Some((&WILDCARD, rest)) => (0..=value.len()).any(|taken| fits_slowly(rest, &value[taken..])),
            Some((first, rest)) => value.first() == Some(first) && fits_slowly(rest, &value[1..]),
        }
    }

    #[test]
    fn wildcards_stand_anywhere_and_for_nothing_too() {
        assert_eq!(Pattern::parse("plain"), None);
        for (pattern, value, expected) in [
            ("foo*", "foo1", true),
            ("foo*", "foo", true),
            ("foo*", "fo", false),
            ("*foo", "a foo", true),
            ("bar*b", "barb", true),
            ("bar*b", "bar", false),
            ("bar*b", "xbarb", false),
            ("aba*aba", "aba", false),
            ("foo*bar*baz", "foo123bar456baz", true),
            ("foo*bar*baz", "foobarbaz", true),
            ("foo*bar*baz", "foobaz", false),
            ("/api/*/action", "/api/7/other", false),
            ("*", "", true),
            ("**", "é", true),
        ] {
            assert_eq!(fits(pattern, value), expected, "{pattern} {value}");
        }
    }

    proptest! {
        #[test]
        fn a_value_fits_if_some_text_for_each_wildcard_makes_it(pattern in "[ab*é]{0,8}", value in "[abé]{0,10}") {
            prop_assume!(pattern.contains(WILDCARD));
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(fits(&pattern, &value), fits_slowly(&chars(&pattern), &chars(&value)));
        }
    }
}
