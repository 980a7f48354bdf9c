//! How the 63 bits of an ID are split: milliseconds, region, node, sequence, from the highest bit to the lowest.
//!
//! The highest bit of all is always zero, so that an ID is positive wherever 64-bit integers are signed. IDs of one
//! layout sort by time first. A layout is the same in the whole cluster; peers compare theirs when they meet.

use std::fmt;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::identity::WorkerId;

/// Bits that are split: all but the sign.
const SPLIT_BITS: u32 = 63;
/// A worker id has five bits of region and five of node, so a layout cannot use more.
const WORKER_PART_BITS_MAX: u8 = 5;
/// 2^38 ms are 8.7 years; a shorter life is a mistake.
const TIME_BITS_MIN: u8 = 38;
/// The last millisecond of the year 9999, in Unix time.
const EPOCH_MS_MAX: u64 = 253_402_300_799_999;

/// How many bits each part has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bits {
    /// Milliseconds since the epoch; at least 38.
    pub time: u8,
    /// Region; at most 5.
    pub region: u8,
    /// Node; at most 5.
    pub node: u8,
    /// Sequence within a millisecond; at least 1.
    pub sequence: u8,
}

/// A validated split and the moment where its time begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Layout {
    epoch_ms: u64,
    bits: Bits,
}

/// A layout as it is written, before it is checked.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    epoch_ms: u64,
    bits: Bits,
}

/// Why a split is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The parts do not fill the ID.
    #[error("the parts of an ID have {SPLIT_BITS} bits together, these have {0}")]
    Sum(u32),
    /// Too short a life.
    #[error("the time has at least {TIME_BITS_MIN} bits, this one {0}")]
    Time(u8),
    /// More regions than a worker id can name.
    #[error("the region has at most {WORKER_PART_BITS_MAX} bits, this one {0}")]
    Region(u8),
    /// More nodes than a worker id can name.
    #[error("the node has at most {WORKER_PART_BITS_MAX} bits, this one {0}")]
    Node(u8),
    /// One ID a millisecond and no more.
    #[error("the sequence has at least one bit")]
    Sequence,
    /// Beyond the calendar.
    #[error("the epoch lies after the year 9999 ({0} ms of Unix time)")]
    Epoch(u64),
}

/// An ID taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parts {
    /// Milliseconds since the epoch of the IDs.
    pub timestamp_ms: u64,
    /// The same moment in Unix time.
    pub unix_ms: u64,
    /// The region's number.
    pub region: u8,
    /// The node's number in it.
    pub node: u8,
    /// Which ID of this millisecond.
    pub sequence: u32,
}

/// The number is no ID of this layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnId {
    /// The highest bit is set; it never is in an ID.
    #[error("the highest bit is set, which it never is in an ID")]
    SignBit,
    /// No node whose clock can be believed has minted this yet.
    #[error("its timestamp lies {ahead_ms} ms in the future, so no node has minted it")]
    Future {
        /// By this much, in milliseconds.
        ahead_ms: u64,
    },
}

impl Layout {
    /// A split of 63 bits whose time begins at `epoch_ms`, in milliseconds of Unix time.
    pub fn new(epoch_ms: u64, bits: Bits) -> Result<Self, LayoutError> {
        let sum = [bits.time, bits.region, bits.node, bits.sequence].map(u32::from).iter().sum();
        match bits {
            Bits { region, .. } if region > WORKER_PART_BITS_MAX => Err(LayoutError::Region(region)),
            Bits { node, .. } if node > WORKER_PART_BITS_MAX => Err(LayoutError::Node(node)),
            Bits { time, .. } if time < TIME_BITS_MIN => Err(LayoutError::Time(time)),
            Bits { sequence: 0, .. } => Err(LayoutError::Sequence),
            _ if sum != SPLIT_BITS => Err(LayoutError::Sum(sum)),
            _ if epoch_ms > EPOCH_MS_MAX => Err(LayoutError::Epoch(epoch_ms)),
            _ => Ok(Self { epoch_ms, bits }),
        }
    }

    /// Where time begins, in milliseconds of Unix time.
    pub const fn epoch_ms(self) -> u64 {
        self.epoch_ms
    }

    /// The split.
    pub const fn bits(self) -> Bits {
        self.bits
    }

    /// The last timestamp that fits, in milliseconds since the epoch.
    pub const fn timestamp_ms_max(self) -> u64 {
        (1 << self.bits.time) - 1
    }

    /// The last moment at which an ID can be minted, in milliseconds of Unix time.
    pub const fn exhausted_unix_ms(self) -> u64 {
        self.epoch_ms + self.timestamp_ms_max()
    }

    /// How many IDs one worker has in each millisecond.
    pub const fn ids_per_ms(self) -> u32 {
        1 << self.bits.sequence
    }

    /// Whether the layout has room for both numbers of this worker.
    pub const fn admits(self, worker: WorkerId) -> bool {
        worker.region() >> self.bits.region == 0 && worker.node() >> self.bits.node == 0
    }

    /// The ID of these parts, the time in milliseconds since the epoch; `None` if one of them does not fit.
    pub fn compose(self, timestamp_ms: u64, worker: WorkerId, sequence: u32) -> Option<u64> {
        if timestamp_ms > self.timestamp_ms_max() || sequence >= self.ids_per_ms() || !self.admits(worker) {
            return None;
        }
        let prefix = (timestamp_ms << self.bits.region) | u64::from(worker.region());
        let prefix = (prefix << self.bits.node) | u64::from(worker.node());
        Some((prefix << self.bits.sequence) | u64::from(sequence))
    }

    /// Takes an ID apart. Every number without the highest bit has the parts of an ID; see [`Self::decode_as_of`].
    pub fn decode(self, id: u64) -> Result<Parts, NotAnId> {
        if id >> SPLIT_BITS != 0 {
            return Err(NotAnId::SignBit);
        }
        let mut rest = id;
        let sequence = lowest(&mut rest, self.bits.sequence);
        let node = lowest(&mut rest, self.bits.node);
        let region = lowest(&mut rest, self.bits.region);
        Ok(Parts {
            timestamp_ms: rest,
            unix_ms: self.epoch_ms + rest,
            region: narrow(region),
            node: narrow(node),
            sequence: narrow(sequence),
        })
    }

    /// [`Self::decode`], and refuses what lies more than `slack_ms` after `now_unix_ms`.
    pub fn decode_as_of(self, id: u64, now_unix_ms: u64, slack_ms: u64) -> Result<Parts, NotAnId> {
        let parts = self.decode(id)?;
        match parts.unix_ms.saturating_sub(now_unix_ms) {
            ahead_ms if ahead_ms > slack_ms => Err(NotAnId::Future { ahead_ms }),
            _ => Ok(parts),
        }
    }
}

/// Cuts the lowest `bits` off.
fn lowest(rest: &mut u64, bits: u8) -> u64 {
    let part = *rest & ((1 << bits) - 1);
    *rest >>= bits;
    part
}

/// Of a part that the layout has bounded to the bits of its type.
fn narrow<T: TryFrom<u64> + Default>(part: u64) -> T {
    T::try_from(part).unwrap_or_default()
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bits { time, region, node, sequence } = self.bits;
        write!(f, "{time} time + {region} region + {node} node + {sequence} sequence bits since {} ms", self.epoch_ms)
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<Unchecked> for Layout {
    type Error = LayoutError;

    fn try_from(Unchecked { epoch_ms, bits }: Unchecked) -> Result<Self, LayoutError> {
        Self::new(epoch_ms, bits)
    }
}

impl From<Layout> for Unchecked {
    fn from(Layout { epoch_ms, bits }: Layout) -> Self {
        Self { epoch_ms, bits }
    }
}

// Written by hand, because a peer's bytes must not become a layout whose shifts overflow (I8).
impl<C> Decode<C> for Layout {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        let (epoch_ms, bits) = Decode::decode(decoder)?;
        Self::new(epoch_ms, bits)
            .map_err(|refused| bincode::error::DecodeError::OtherString(format!("no ID layout: {refused}")))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Layout {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        Decode::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    /// 2025-01-01T00:00:00Z.
    const EPOCH_MS: u64 = 1_735_689_600_000;
    const DEFAULT: Bits = Bits { time: 41, region: 5, node: 5, sequence: 12 };

    fn default_layout() -> Layout {
        Layout::new(EPOCH_MS, DEFAULT).unwrap()
    }

    fn layouts() -> impl Strategy<Value = Layout> {
        (0..=EPOCH_MS_MAX, 0..=5_u8, 0..=5_u8, 1..=15_u8).prop_map(|(epoch_ms, region, node, sequence)| {
            Layout::new(epoch_ms, Bits { time: 63 - region - node - sequence, region, node, sequence }).unwrap()
        })
    }

    /// A layout, and parts that fit it, as fractions of their range.
    fn composed() -> impl Strategy<Value = (Layout, u64, WorkerId, u32)> {
        (layouts(), any::<u64>(), any::<(u8, u8)>(), any::<u32>()).prop_map(
            |(layout, time, (region, node), sequence)| {
                let Bits { region: region_bits, node: node_bits, .. } = layout.bits();
                let worker = WorkerId::new(region % (1 << region_bits), node % (1 << node_bits)).unwrap();
                (layout, time & layout.timestamp_ms_max(), worker, sequence % layout.ids_per_ms())
            },
        )
    }

    #[test]
    fn the_default_layout_is_the_documented_one() {
        let layout = default_layout();
        assert_eq!(layout.ids_per_ms(), 4096);
        let id = layout.compose(1, WorkerId::new(1, 2).unwrap(), 3).unwrap();
        assert_eq!(id, (1 << 22) | (1 << 17) | (2 << 12) | 3);
        // 2094-09-07T15:47:35.551Z
        assert_eq!(layout.exhausted_unix_ms(), 3_934_712_855_551);
    }

    #[test]
    fn a_split_that_does_not_fill_or_overfills_an_id_is_refused() {
        let refused = |bits| Layout::new(EPOCH_MS, bits).unwrap_err();
        assert_eq!(refused(Bits { time: 42, ..DEFAULT }), LayoutError::Sum(64));
        assert_eq!(refused(Bits { sequence: 11, ..DEFAULT }), LayoutError::Sum(62));
        assert_eq!(refused(Bits { region: 6, node: 4, ..DEFAULT }), LayoutError::Region(6));
        assert_eq!(refused(Bits { region: 4, node: 6, ..DEFAULT }), LayoutError::Node(6));
        assert_eq!(refused(Bits { time: 37, sequence: 16, ..DEFAULT }), LayoutError::Time(37));
        assert_eq!(refused(Bits { time: 53, sequence: 0, ..DEFAULT }), LayoutError::Sequence);
        assert_eq!(refused(Bits { time: 255, region: 255, node: 255, sequence: 255 }), LayoutError::Region(255));
        assert_eq!(Layout::new(u64::MAX, DEFAULT), Err(LayoutError::Epoch(u64::MAX)));
    }

    #[test]
    fn parts_that_do_not_fit_make_no_id() {
        let layout = default_layout();
        let worker = WorkerId::new(31, 31).unwrap();
        assert!(layout.compose(layout.timestamp_ms_max(), worker, 4095).is_some_and(|id| id == u64::MAX >> 1));
        assert_eq!(layout.compose(layout.timestamp_ms_max() + 1, worker, 0), None);
        assert_eq!(layout.compose(0, worker, 4096), None);
        let narrow = Layout::new(0, Bits { time: 50, region: 0, node: 1, sequence: 12 }).unwrap();
        assert_eq!(narrow.compose(0, WorkerId::new(1, 0).unwrap(), 0), None);
        assert_eq!(narrow.compose(0, WorkerId::new(0, 2).unwrap(), 0), None);
    }

    #[test]
    fn numbers_that_no_node_can_have_minted_are_told_apart() {
        let layout = default_layout();
        assert_eq!(layout.decode(1 << 63), Err(NotAnId::SignBit));
        assert_eq!(layout.decode(u64::MAX), Err(NotAnId::SignBit));
        let id = layout.compose(1_000, WorkerId::new(0, 0).unwrap(), 0).unwrap();
        assert!(layout.decode_as_of(id, EPOCH_MS, 1_000).is_ok());
        assert_eq!(layout.decode_as_of(id, EPOCH_MS, 999), Err(NotAnId::Future { ahead_ms: 1_000 }));
        assert!(layout.decode_as_of(id, u64::MAX, 0).is_ok());
    }

    #[test]
    fn a_peers_bytes_never_become_an_unsound_layout() {
        let bytes = codec::encode(&(EPOCH_MS, Bits { time: 200, ..DEFAULT }));
        let refused = codec::decode::<Layout>(&bytes).unwrap_err();
        assert!(refused.to_string().contains("63 bits together"), "{refused}");
        let json = r#"{"epoch_ms":0,"bits":{"time":63,"region":5,"node":5,"sequence":12}}"#;
        assert!(serde_json::from_str::<Layout>(json).is_err());
    }

    proptest! {
        #[test]
        fn an_id_gives_back_its_parts((layout, timestamp_ms, worker, sequence) in composed()) {
            let id = layout.compose(timestamp_ms, worker, sequence).unwrap();
            prop_assert_eq!(id >> 63, 0);
            prop_assert_eq!(layout.decode(id).unwrap(), Parts {
                timestamp_ms,
                unix_ms: layout.epoch_ms() + timestamp_ms,
                region: worker.region(),
                node: worker.node(),
                sequence,
            });
        }

        #[test]
        fn ids_of_one_worker_sort_by_time_and_then_sequence(
            (layout, time, worker, sequence) in composed(), (later_time, later) in any::<(u64, u32)>(),
        ) {
            let (other_time, other) = (later_time & layout.timestamp_ms_max(), later % layout.ids_per_ms());
            let ids = (layout.compose(time, worker, sequence), layout.compose(other_time, worker, other));
            prop_assert_eq!(ids.0.cmp(&ids.1), (time, sequence).cmp(&(other_time, other)));
        }

        #[test]
        fn every_positive_number_decodes_and_composes_back(layout in layouts(), id in 0..=u64::MAX >> 1) {
            let parts = layout.decode(id).unwrap();
            let worker = WorkerId::new(parts.region, parts.node).unwrap();
            prop_assert_eq!(layout.compose(parts.timestamp_ms, worker, parts.sequence), Some(id));
        }

        #[test]
        fn a_layout_survives_both_encodings(layout in layouts()) {
            prop_assert_eq!(codec::decode::<Layout>(&codec::encode(&layout)).unwrap(), layout);
            let json = serde_json::to_string(&layout).unwrap();
            prop_assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), layout);
        }

        #[test]
        fn arbitrary_bytes_get_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            if let Ok(layout) = codec::decode::<Layout>(&bytes) {
                prop_assert!(layout.decode(7).is_ok());
            }
        }
    }
}
