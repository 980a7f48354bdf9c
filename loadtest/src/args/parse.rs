//! Values of the options that are more than a word or a number.

use crate::keys::{KINDS, Mix};
use crate::schedule::{MILLI, Rate};

const PREFIX_BYTES_MAX: usize = 500;

pub(super) fn rate(text: &str) -> Result<Rate, String> {
    const HELP: &str = "write a number of operations a second such as 500, 200k or 1.5M, or max";
    if text == "max" {
        return Ok(Rate::Max);
    }
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    let per_second = digits.parse::<f64>().map_err(|_| HELP.to_owned())? * factor;
    #[expect(clippy::cast_precision_loss, reason = "a thousand is exact")]
    let milli = (per_second * MILLI as f64).round();
    if !(1.0..=1e15).contains(&milli) {
        return Err("a rate is 0.001 to 10^12 operations a second".into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
    Ok(Rate::Milli(milli as u64))
}

pub(super) fn mix(text: &str) -> Result<Mix, String> {
    const HELP: &str = "write increments:ids:reads or increments:ids:reads:livez as whole numbers, not all zero, \
        such as 8:1:1";
    let weights: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
    let mut weights = weights.map_err(|_| HELP)?;
    if weights.len() == KINDS - 1 {
        weights.push(0);
    }
    let weights: [u32; KINDS] = weights.try_into().map_err(|_| HELP)?;
    Mix::new(weights).ok_or_else(|| HELP.into())
}

pub(super) fn prefix(text: &str) -> Result<String, String> {
    match text.len() {
        0..=PREFIX_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(format!("at most {PREFIX_BYTES_MAX} bytes, this has {bytes}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_suffixes() {
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(rate("200k"), Ok(Rate::Milli(200_000_000)));
        assert_eq!(rate("1.5M"), Ok(Rate::Milli(1_500_000_000)));
        assert_eq!(rate("0.5"), Ok(Rate::Milli(500)));
        for text in ["", "k", "0", "-1", "NaN", "inf", "1e30", "10x", "MAX"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mixes_have_three_parts_or_four() {
        assert_eq!(mix("8:1:1"), Ok(Mix::new([8, 1, 1, 0]).unwrap()));
        assert_eq!(mix("0:1:0:1"), Ok(Mix::new([0, 1, 0, 1]).unwrap()));
        for text in ["", "8", "8:1", "1:1:1:1:1", "0:0:0", "0:0:0:0", "-1:1:1", "a:b:c"] {
            assert!(mix(text).is_err(), "{text}");
        }
    }
}
