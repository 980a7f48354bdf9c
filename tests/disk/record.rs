//! Reading and writing the shim's record; its format is described in `shim.c`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One thing that happened. Files go by their inode's number, which another file may take over once it is free.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Create {
        inode: u64,
        path: String,
    },
    Write {
        inode: u64,
        at: usize,
        data: Vec<u8>,
    },
    Resize {
        inode: u64,
        length: usize,
    },
    /// What stands before it is what the sync covers.
    SyncBegins {
        inode: u64,
        number: u64,
    },
    SyncEnds {
        number: u64,
        path: String,
    },
    SyncFails {
        number: u64,
        path: String,
    },
    DirectorySyncBegins {
        number: u64,
    },
    DirectorySyncEnds {
        number: u64,
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    MakeDirectory {
        path: String,
    },
    /// A word of the workload.
    Note(String),
}

/// The whole record.
pub(crate) fn read(path: &Path) -> Vec<Entry> {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut entries) = (bytes.as_slice(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (entry, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        entries.push(parse(entry));
        rest = after;
    }
    entries
}

fn parse(bytes: &[u8]) -> Entry {
    let number = |range: std::ops::Range<usize>| u64::from_le_bytes(bytes[range].try_into().unwrap());
    let (a, b) = (number(1..9), number(9..17));
    let (path, data) = bytes[19..].split_at(u16::from_le_bytes(bytes[17..19].try_into().unwrap()).into());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (path, place) = (text(path), |number: u64| usize::try_from(number).unwrap());
    match bytes[0] {
        b'c' => Entry::Create { inode: a, path },
        b'w' => Entry::Write { inode: a, at: place(b), data: data.to_vec() },
        b't' => Entry::Resize { inode: a, length: place(b) },
        b'b' => Entry::SyncBegins { inode: a, number: b },
        b'e' => Entry::SyncEnds { number: b, path },
        b'f' => Entry::SyncFails { number: b, path },
        b'B' => Entry::DirectorySyncBegins { number: b },
        b'E' => Entry::DirectorySyncEnds { number: b, path },
        b'r' => Entry::Rename { from: path, to: text(data) },
        b'l' => Entry::Link { from: path, to: text(data) },
        b'u' | b'd' => Entry::Remove { path },
        b'm' => Entry::MakeDirectory { path },
        b'n' => Entry::Note(text(data)),
        kind => panic!("an entry of kind {kind}"),
    }
}

/// Writes words into a record, while the shim writes into it too.
pub(crate) struct Notes(File);

impl Notes {
    pub(crate) fn open(record: &Path) -> Self {
        Self(OpenOptions::new().create(true).append(true).open(record).unwrap())
    }

    pub(crate) fn write(&self, text: &str) {
        self.entry(b'n', 0, 0, "", text.as_bytes());
    }

    /// Writes down that everything below `root` was there before, and synced. Returns how many entries that takes.
    pub(crate) fn write_base(&self, root: &Path) -> usize {
        let (mut todo, mut entries) = (vec![root.to_path_buf()], 0);
        while let Some(directory) = todo.pop() {
            for found in std::fs::read_dir(&directory).unwrap() {
                let path = found.unwrap().path();
                let (name, inode) = (path.to_str().unwrap(), path.metadata().unwrap().ino());
                if path.is_dir() {
                    self.entry(b'm', 0, 0, name, b"");
                    todo.push(path);
                    entries += 1;
                } else {
                    self.entry(b'c', inode, 0, name, b"");
                    self.entry(b'w', inode, 0, "", &std::fs::read(&path).unwrap());
                    self.entry(b'b', inode, 0, name, b"");
                    self.entry(b'e', inode, 0, name, b"");
                    entries += 4;
                }
            }
        }
        self.entry(b'B', 0, 0, root.to_str().unwrap(), b"");
        self.entry(b'E', 0, 0, root.to_str().unwrap(), b"");
        entries + 2
    }

    fn entry(&self, kind: u8, a: u64, b: u64, path: &str, data: &[u8]) {
        let mut entry = u32::try_from(19 + path.len() + data.len()).unwrap().to_le_bytes().to_vec();
        entry.push(kind);
        entry.extend(a.to_le_bytes());
        entry.extend(b.to_le_bytes());
        entry.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
        entry.extend(path.as_bytes());
        entry.extend(data);
        // One write, so that it stands whole between the shim's.
        assert_eq!((&self.0).write(&entry).unwrap(), entry.len());
    }
}
