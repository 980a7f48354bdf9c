//! How this cluster's IDs are written: what the front doors and the command line share of it.

use snowtide_protocol::id::IdScheme;

use crate::snowflake::Layout;

/// The scheme of the cluster of this name, with this layout.
pub fn scheme_of(cluster: &str, layout: Layout) -> IdScheme {
    IdScheme::new(cluster, layout.epoch_ms(), layout.bits().time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snowflake::Bits;

    proptest! {
        #[test]
        fn scheme_and_layout_agree_on_the_time(epoch_ms in 0..1_u64 << 47, sequence in 8..15_u8, id in 0..=u64::MAX >> 1) {
            let bits = Bits { time: 53 - sequence, region: 5, node: 5, sequence };
            let layout = Layout::new(epoch_ms, bits).unwrap();
            let scheme = scheme_of("snowtide-dev", layout);
            prop_assert_eq!(scheme.unix_ms(id), layout.decode(id).unwrap().unix_ms);
            prop_assert_eq!((scheme.epoch_ms(), scheme.end_ms()), (layout.epoch_ms(), layout.exhausted_unix_ms()));
        }
    }
}
