//! Histograms between processes: HdrHistogram's own compact form (V2), in base64 where the carrier is text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as Unpacker, Serializer as _, V2Serializer};
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _, ser::Error as _};

/// In HdrHistogram's V2 form.
pub fn pack(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail, and every count is below what the form can hold.
    let _infallible = V2Serializer::new().serialize(histogram, &mut bytes);
    bytes
}

/// The histogram in `bytes`; `None` if there is none.
pub fn unpack(mut bytes: &[u8]) -> Option<Histogram<u64>> {
    Unpacker::new().deserialize(&mut bytes).ok()
}

/// For Serde.
pub fn serialize<S: Serializer>(histogram: &Histogram<u64>, out: S) -> Result<S::Ok, S::Error> {
    let bytes = pack(histogram);
    if bytes.is_empty() { Err(S::Error::custom("too large")) } else { out.serialize_str(&STANDARD.encode(bytes)) }
}

/// For Serde.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
    let text = String::deserialize(from)?;
    let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
    unpack(&bytes).ok_or_else(|| D::Error::custom("no histogram"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::empty_histogram;

    #[test]
    fn what_is_packed_comes_back() {
        let mut histogram = empty_histogram();
        [1, 2_000, 3_600_000_000].iter().for_each(|value| histogram.saturating_record_n(*value, 7));
        assert_eq!(unpack(&pack(&histogram)).unwrap(), histogram);
        assert_eq!(unpack(&pack(&empty_histogram())).unwrap(), empty_histogram());
    }

    #[test]
    fn anything_else_is_no_histogram() {
        assert!(unpack(b"").is_none() && unpack(b"not a histogram at all").is_none());
    }
}
