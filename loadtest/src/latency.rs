//! Latencies as HdrHistogram counts them: in microseconds, 1 to an hour, to three digits. Between processes they travel in its
//! own compact form (V2), in base64 where the carrier is text.

use std::ops::Deref;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as Unpacker, Serializer as _, V2Serializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

const MICROS_MAX: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// How many operations had which latency. All have the same bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyHistogram(Histogram<u64>);

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("these bounds are valid"))
    }
}

impl Deref for LatencyHistogram {
    type Target = Histogram<u64>;

    fn deref(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl LatencyHistogram {
    /// So many operations had this latency: at least a microsecond, since histograms know no zero.
    pub fn record(&mut self, latency: Duration, operations: u64) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        self.0.saturating_record_n(micros, operations);
    }

    /// Adds another. Histograms are added, percentiles never averaged.
    pub fn add(&mut self, other: &Self) {
        let _infallible = self.0.add(&other.0);
    }

    /// In HdrHistogram's V2 form.
    pub fn pack(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to memory does not fail, and every count is below what the form can hold.
        let _infallible = V2Serializer::new().serialize(&self.0, &mut bytes);
        bytes
    }

    /// The histogram in `bytes`; `None` if there is none.
    pub fn unpack(mut bytes: &[u8]) -> Option<Self> {
        Unpacker::new().deserialize(&mut bytes).ok().map(Self)
    }
}

impl Serialize for LatencyHistogram {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let bytes = self.pack();
        if bytes.is_empty() { Err(S::Error::custom("too large")) } else { out.serialize_str(&STANDARD.encode(bytes)) }
    }
}

impl<'de> Deserialize<'de> for LatencyHistogram {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)?;
        Self::unpack(&bytes).ok_or_else(|| D::Error::custom("no histogram"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let mut histogram = LatencyHistogram::default();
        [1, 2_000, 3_600_000_000].iter().for_each(|micros| histogram.record(Duration::from_micros(*micros), 7));
        assert_eq!(LatencyHistogram::unpack(&histogram.pack()).unwrap(), histogram);
        let empty = LatencyHistogram::default();
        assert_eq!(LatencyHistogram::unpack(&empty.pack()).unwrap(), empty);
    }

    #[test]
    fn anything_else_is_no_histogram() {
        for bytes in [&b""[..], b"not a histogram at all"] {
            assert!(LatencyHistogram::unpack(bytes).is_none());
        }
    }
}
