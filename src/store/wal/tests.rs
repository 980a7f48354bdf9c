//! Logs written by hand, and broken in every way.

use proptest::prelude::*;

use super::scan::{HEADER_BYTES, mask};
use super::*;

/// Writes batches as RocksDB does.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    sequence: u64,
    /// Where each batch begins.
    batches: Vec<usize>,
}

impl Log {
    fn of(lengths: &[usize]) -> Self {
        let mut log = Self::default();
        lengths.iter().for_each(|length| log.batch(*length));
        log
    }

    fn batch(&mut self, length: usize) {
        self.sequence += 1;
        let payload: Vec<u8> = self.sequence.to_le_bytes().into_iter().chain((0..251u8).cycle().take(length)).collect();
        let (mut rest, mut first) = (payload.as_slice(), true);
        loop {
            let room = BLOCK_BYTES - self.bytes.len() % BLOCK_BYTES;
            if room < HEADER_BYTES {
                self.bytes.resize(self.bytes.len() + room, 0);
                continue;
            }
            if first {
                self.batches.push(self.bytes.len());
            }
            let (fragment, after) = rest.split_at(rest.len().min(room - HEADER_BYTES));
            let kind = match (first, after.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            let covered = [&[kind], fragment].concat();
            self.bytes.extend(mask(crc32c::crc32c(&covered)).to_le_bytes());
            self.bytes.extend(u16::try_from(fragment.len()).unwrap().to_le_bytes());
            self.bytes.extend(covered);
            (rest, first) = (after, false);
            if rest.is_empty() {
                return;
            }
        }
    }

    fn findings(&self) -> Findings {
        scan(self.bytes.as_slice()).unwrap()
    }
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![0..200usize, 0..200usize, 30_000..100_000usize], 1..12)
}

#[test]
fn a_log_of_rocksdb_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let database = rocksdb::DB::open_default(dir.path()).unwrap();
    for number in 0..100u32 {
        database.put(number.to_le_bytes(), vec![7; usize::try_from(number).unwrap() * 500]).unwrap();
    }
    let log = find(dir.path()).unwrap().pop().unwrap();
    let length = fs::metadata(&log).unwrap().len();
    let findings = scan(File::open(&log).unwrap()).unwrap();
    assert_eq!(findings, Findings { whole: length, begun: true, damage: None, beyond: None });
    assert!(length > 2_000_000);
}

#[test]
fn a_torn_tail_is_cut_off_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::of(&[100, 50_000, 100_000]);
    let (last, path) = (log.batches[2], dir.path().join("000007.log"));
    for length in [last + 1, last + 20, last + 50_000, log.bytes.len() - 1] {
        fs::write(&path, &log.bytes[..length]).unwrap();
        settle(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), &log.bytes[..last]);
    }
}

#[test]
fn a_batch_of_which_only_the_end_survived_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::of(&[100, 100_000]);
    let (last, path) = (log.batches[1], dir.path().join("000007.log"));
    log.bytes[last..last + 8192].fill(0);
    fs::write(&path, &log.bytes).unwrap();
    settle(dir.path()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), &log.bytes[..last]);
}

#[test]
fn a_flipped_bit_in_the_last_batch_is_turned_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::of(&[100, 300, 90_000]);
    let path = dir.path().join("000007.log");
    // In its header, in its first fragment, in its last one.
    for at in [log.batches[2] + 3, log.batches[2] + 5, log.batches[2] + 1000, log.bytes.len() - 2] {
        let mut broken = log.bytes.clone();
        broken[at] ^= 16;
        fs::write(&path, broken).unwrap();
        assert_eq!(settle(dir.path()).unwrap(), [Repair::Mended(path.clone(), at as u64)]);
        assert_eq!(fs::read(&path).unwrap(), log.bytes);
    }
}

#[test]
fn damage_before_a_later_log_is_rot() {
    let dir = tempfile::tempdir().unwrap();
    let (older, newer) = (Log::of(&[100, 200]), Log::of(&[10]));
    assert_eq!(older.batches, [0, 115]);
    fs::write(dir.path().join("000009.log"), &older.bytes[..older.bytes.len() - 3]).unwrap();
    fs::write(dir.path().join("000010.log"), &newer.bytes).unwrap();
    let message = settle(dir.path()).unwrap_err().to_string();
    let expected = "the write-ahead log 000009.log is corrupt at byte 115, and what was written later is intact in \
                    000010.log. Nothing was repaired";
    assert!(message.contains(expected), "{message}");
    fs::write(dir.path().join("000010.log"), "").unwrap();
    settle(dir.path()).unwrap();
}

proptest! {
    #[test]
    fn what_is_whole_is_found_whole(lengths in lengths()) {
        let log = Log::of(&lengths);
        let whole = log.bytes.len() as u64;
        prop_assert_eq!(log.findings(), Findings { whole, begun: true, damage: None, beyond: None });
    }

    #[test]
    fn a_flipped_bit_before_the_last_batch_is_always_rot(
        lengths in lengths(), at in any::<prop::sample::Index>(), bit in 0..8u32,
    ) {
        let mut log = Log::of(&lengths);
        log.batch(50);
        let last = *log.batches.last().unwrap();
        let at = at.index(last);
        log.bytes[at] ^= 1 << bit;
        let found = log.findings();
        // The zeros that fill up a block mean nothing.
        if found.damage.is_some() {
            prop_assert!(found.beyond.is_some_and(|beyond| beyond > at as u64), "{:?}", found);
        } else {
            prop_assert_eq!(found.whole, log.bytes.len() as u64);
        }
    }

    #[test]
    fn whatever_is_left_of_the_last_batch_is_a_torn_tail(
        lengths in lengths(), lost in prop::collection::vec(any::<bool>(), 26), cut in any::<prop::sample::Index>(),
    ) {
        let mut log = Log::of(&lengths);
        log.batch(90_000);
        let last = *log.batches.last().unwrap();
        log.bytes.truncate(last + 1 + cut.index(log.bytes.len() - last - 1));
        // Pages that were not written hold zeros.
        for (page, _) in lost.iter().enumerate().filter(|(_, lost)| **lost) {
            let from = (last / 4096 + page) * 4096;
            let to = (from + 4096).min(log.bytes.len());
            log.bytes.get_mut(from.max(last)..to).into_iter().for_each(|bytes| bytes.fill(0));
        }
        let found = log.findings();
        // The zeros that fill up the block before may go with it.
        prop_assert!((0..HEADER_BYTES as u64).contains(&(last as u64 - found.whole)), "{:?}", found);
        prop_assert!(found.damage.is_some() && found.beyond.is_none(), "{:?}", found);
    }

    #[test]
    fn arbitrary_bytes_get_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..70_000)) {
        let found = scan(bytes.as_slice()).unwrap();
        prop_assert!(found.whole <= bytes.len() as u64);
    }
}
