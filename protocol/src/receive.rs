//! Bytes as they arrive, until they are taken, in order and in one piece.
//!
//! Little lies in memory of the allocator. What outgrows that lies in a mapping of its own: only pages that bytes have
//! reached take memory, and all of them go back to the system at once. So many long messages of which half has come take
//! what has come, however they grew and whoever held them before.

use memmap2::MmapMut;

/// What lies in memory of the allocator at most.
pub const SHORT_BYTES: usize = 64 << 10;
/// The least that is asked of the allocator.
const LEAST_BYTES: usize = 512;

/// Bytes that have arrived, and room for more.
#[derive(Debug, Default)]
pub struct ReceiveBuffer {
    memory: Memory,
    start: usize,
    end: usize,
    /// Nothing behind was ever written to.
    touched: usize,
}

#[derive(Debug)]
enum Memory {
    Short(Vec<u8>),
    Long(MmapMut),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Short(Vec::new())
    }
}

impl Memory {
    /// At least so many bytes; the allocator's as well if the system has no mapping to give.
    fn of(bytes: usize) -> Self {
        let bytes = bytes.max(LEAST_BYTES).checked_next_power_of_two().unwrap_or(bytes);
        let mapping = (bytes > SHORT_BYTES).then(|| MmapMut::map_anon(bytes).ok()).flatten();
        match mapping {
            Some(mapping) => {
                // Neighbours would share a page of 2 MiB, which takes memory for both as long as one lives.
                #[cfg(target_os = "linux")]
                let _ = mapping.advise(memmap2::Advice::NoHugePage);
                Self::Long(mapping)
            }
            None => Self::Short(vec![0; bytes]),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

impl ReceiveBuffer {
    /// What has arrived and is not taken yet.
    pub fn unread(&self) -> &[u8] {
        self.memory.bytes().get(self.start..self.end).unwrap_or_default()
    }

    /// Whether everything has been taken.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many have arrived and are not taken yet.
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Takes the first so many bytes. They stay where they are until room is asked for.
    pub fn take(&mut self, count: usize) -> &[u8] {
        let start = self.start;
        self.start = start.saturating_add(count).min(self.end);
        self.memory.bytes().get(start..self.start).unwrap_or_default()
    }

    /// Room for `count` bytes; say with [`Self::filled`] how many have come.
    pub fn room(&mut self, count: usize) -> &mut [u8] {
        self.make_room(count);
        let end = self.end.saturating_add(count);
        self.memory.bytes_mut().get_mut(self.end..end).unwrap_or_default()
    }

    /// So many bytes have come into [`Self::room`].
    pub fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.memory.bytes().len());
        self.touched = self.touched.max(self.end);
    }

    /// What it takes in memory once `count` more bytes have come.
    pub fn bytes_with(&self, count: usize) -> usize {
        let wanted = self.len().saturating_add(count);
        match &self.memory {
            Memory::Long(_) if wanted > SHORT_BYTES => self.touched.max(wanted),
            Memory::Short(bytes) if wanted <= bytes.len() && bytes.len() <= SHORT_BYTES => bytes.len(),
            _ if wanted <= SHORT_BYTES => wanted.max(LEAST_BYTES).next_power_of_two(),
            _ => wanted,
        }
    }

    /// Moves what is unread to the front of memory that has room for so many more: of what there is, or of other memory.
    fn make_room(&mut self, count: usize) {
        let wanted = self.len().saturating_add(count);
        let size = self.memory.bytes().len();
        let shrinks = size > SHORT_BYTES && wanted <= SHORT_BYTES;
        if wanted > size || shrinks {
            let mut memory = Memory::of(wanted);
            let unread = self.unread();
            if let Some(front) = memory.bytes_mut().get_mut(..unread.len()) {
                front.copy_from_slice(unread);
            }
            self.memory = memory;
            self.touched = self.len();
        } else if self.start > 0 {
            self.memory.bytes_mut().copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, self.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_come_out_as_they_came_in_however_they_are_cut(
            steps in prop::collection::vec((1usize..200_000, 0usize..200_000), 1..30),
        ) {
            let (mut buffer, mut next, mut taken) = (ReceiveBuffer::default(), 0u32, 0u32);
            for (arrive, take) in steps {
                let foreseen = buffer.bytes_with(arrive);
                for to in buffer.room(arrive) {
                    *to = next.to_le_bytes()[0];
                    next += 1;
                }
                buffer.filled(arrive);
                prop_assert!(buffer.bytes_with(0) <= foreseen);
                let take = take.min(buffer.len());
                for byte in &buffer.unread()[..take] {
                    prop_assert_eq!(*byte, taken.to_le_bytes()[0]);
                    taken += 1;
                }
                buffer.take(take);
                prop_assert_eq!(buffer.len(), (next - taken) as usize);
            }
        }
    }

    #[test]
    fn room_that_nothing_came_into_takes_no_memory_and_a_long_message_leaves_none() {
        let mut buffer = ReceiveBuffer::default();
        assert_eq!(buffer.room(8 << 20).len(), 8 << 20);
        buffer.filled(100);
        assert_eq!(buffer.bytes_with(200_000), 200_100);
        buffer.take(50);
        buffer.room(4);
        buffer.filled(4);
        assert_eq!((buffer.len(), buffer.bytes_with(0)), (54, 512));
        buffer.room(SHORT_BYTES);
        buffer.filled(SHORT_BYTES);
        assert_eq!(buffer.bytes_with(0), 54 + SHORT_BYTES);
        buffer.take(SHORT_BYTES);
        buffer.room(10);
        assert_eq!(buffer.bytes_with(10), 512);
    }
}
