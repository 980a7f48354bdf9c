//! A region's share of a limit, as a policy names it.

/// The greatest weight of a region.
const WEIGHT_MAX: u32 = 1_000;

/// A region and its weight, as a policy names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegionShare<'a> {
    pub(super) region: &'a str,
    pub(super) weight: u32,
}

impl<'a> RegionShare<'a> {
    /// `None` if it is none.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let (region, weight) = text.split_once(':').unwrap_or((text, "1"));
        let digits = weight.bytes().all(|byte| byte.is_ascii_digit());
        let weight = weight.parse().ok().filter(|weight| digits && *weight <= WEIGHT_MAX)?;
        Some(Self { region, weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_region_and_a_small_number() {
        assert_eq!(RegionShare::read("eu"), Some(RegionShare { region: "eu", weight: 1 }));
        assert_eq!(RegionShare::read("eu:0"), Some(RegionShare { region: "eu", weight: 0 }));
        for text in ["eu:", "eu:-1", "eu:+1", "eu:1001", "eu:1:1", "eu:x"] {
            assert_eq!(RegionShare::read(text), None, "{text}");
        }
    }
}
