//! A disk: what would be on it if the power failed now.
//!
//! The rules are those of a journalling file system such as ext4 or XFS, with every freedom that POSIX leaves it:
//! - What a file was given is on the disk once a sync of it that *began* later has ended. Before that, any part may be.
//! - That a file exists, or has another name, is on the disk once its *directory* was synced; syncing the file does not
//!   do that. Changes of names happen in their order: what survives of those not synced is a prefix.
//! - What survives of unsynced data of one file is, by the kind of the cut: nothing, everything, a prefix torn within a
//!   write at a sector, or some pages and not others, with zeros or the old content in between.
//! - A sync that has failed has dropped what it should have written (as Linux does), and a later one that succeeds says
//!   nothing about it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::record::Entry;

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// Which syncs the disk only pretends to carry out, to prove that a check would see a missing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// All.
    Everything,
    /// Those of files whose name ends so.
    Files(&'static str),
    /// Those of files whose name begins so.
    Named(&'static str),
    /// Those of directories.
    Directories,
}

impl Lie {
    fn about(self, path: &str, directory: bool) -> bool {
        match self {
            Self::None => false,
            Self::Everything => true,
            Self::Files(ending) => !directory && path.ends_with(ending),
            Self::Named(beginning) => {
                !directory && path.rsplit('/').next().is_some_and(|name| name.starts_with(beginning))
            }
            Self::Directories => directory,
        }
    }
}

/// What survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Nothing,
    Everything,
    Prefixes,
    Pages,
}

pub(crate) const CUTS: [Cut; 4] = [Cut::Nothing, Cut::Everything, Cut::Prefixes, Cut::Pages];

/// Names to what they stand for: `None` for a directory.
type Names = BTreeMap<String, Option<usize>>;
/// The content of a disk: paths to content, `None` for a directory.
pub(crate) type Image = BTreeMap<String, Option<Vec<u8>>>;

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Resize(usize),
}

#[derive(Clone, Debug)]
enum Naming {
    Put(String, Option<usize>),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    synced: Vec<u8>,
    /// Not synced yet, oldest first, each with its place in the record.
    pending: Vec<(usize, Change)>,
}

#[derive(Clone, Copy, Debug)]
struct Sync {
    began: usize,
    inode: Option<usize>,
}

pub(crate) struct Disk {
    lie: Lie,
    /// Entries replayed.
    at: usize,
    inodes: Vec<Inode>,
    live: HashMap<u64, usize>,
    syncs: HashMap<u64, Sync>,
    /// As the process sees them.
    names: Names,
    /// As the disk holds them.
    synced_names: Names,
    pending_names: Vec<(usize, Naming)>,
}

impl Disk {
    /// A disk that holds `image`, all of it synced; what the record says of its files is found by their names.
    pub(crate) fn new(lie: Lie) -> Self {
        Self {
            lie,
            at: 0,
            inodes: Vec::new(),
            live: HashMap::new(),
            syncs: HashMap::new(),
            names: Names::new(),
            synced_names: Names::new(),
            pending_names: Vec::new(),
        }
    }

    /// One more entry has happened.
    pub(crate) fn replay(&mut self, entry: &Entry) {
        self.at += 1;
        match entry {
            Entry::Create { inode, path } => {
                self.inodes.push(Inode::default());
                let file = self.inodes.len() - 1;
                self.live.insert(*inode, file);
                self.name(Naming::Put(path.clone(), Some(file)));
            }
            Entry::Write { inode, at, data } => self.change(*inode, Change::Write { at: *at, data: data.clone() }),
            Entry::Resize { inode, length } => self.change(*inode, Change::Resize(*length)),
            Entry::SyncBegins { inode, number } => {
                let inode = self.live.get(inode).copied();
                self.syncs.insert(*number, Sync { began: self.at, inode });
            }
            Entry::DirectorySyncBegins { number } => {
                self.syncs.insert(*number, Sync { began: self.at, inode: None });
            }
            Entry::SyncEnds { number, path } => self.synced(*number, path, true),
            Entry::DirectorySyncEnds { number, path } => self.directory_synced(*number, path),
            Entry::SyncFails { number, .. } => self.failed(*number),
            Entry::Rename { from, to } => self.name(Naming::Rename(from.clone(), to.clone())),
            Entry::Link { from, to } => self.name(Naming::Put(to.clone(), self.names[from])),
            Entry::Remove { path } => self.name(Naming::Remove(path.clone())),
            Entry::MakeDirectory { path } => self.name(Naming::Put(path.clone(), None)),
            Entry::Note(_) => {}
        }
    }

    fn change(&mut self, inode: u64, change: Change) {
        let file = self.live[&inode];
        self.inodes[file].pending.push((self.at, change));
    }

    fn name(&mut self, naming: Naming) {
        rename(&mut self.names, &naming);
        self.pending_names.push((self.at, naming));
    }

    fn synced(&mut self, number: u64, path: &str, keep: bool) {
        let Some(Sync { began, inode: Some(file) }) = self.syncs.remove(&number) else { return };
        if keep && self.lie.about(path, false) {
            return;
        }
        let Inode { synced, pending } = &mut self.inodes[file];
        let covered = pending.partition_point(|(at, _)| *at < began);
        for (_, change) in pending.drain(..covered) {
            if keep {
                apply(synced, &change);
            }
        }
    }

    fn directory_synced(&mut self, number: u64, path: &str) {
        let Some(Sync { began, .. }) = self.syncs.remove(&number) else { return };
        if self.lie.about(path, true) {
            return;
        }
        let covered = self.pending_names.partition_point(|(at, _)| *at < began);
        for (_, naming) in self.pending_names.drain(..covered) {
            rename(&mut self.synced_names, &naming);
        }
    }

    /// The data is gone from the disk's point of view, although the process can still read it.
    fn failed(&mut self, number: u64) {
        self.synced(number, "", false);
    }

    /// What is on the disk after a power cut here.
    pub(crate) fn cut(&self, cut: Cut, seed: u64) -> Image {
        let mut random = StdRng::seed_from_u64(seed);
        let mut names = self.synced_names.clone();
        let survive = match cut {
            Cut::Nothing => 0,
            Cut::Everything => self.pending_names.len(),
            Cut::Prefixes | Cut::Pages => random.random_range(0..=self.pending_names.len()),
        };
        self.pending_names[..survive].iter().for_each(|(_, naming)| rename(&mut names, naming));
        let mut content = |file: usize| content(&self.inodes[file], cut, &mut random);
        names.into_iter().map(|(path, file)| (path, file.map(&mut content))).collect()
    }
}

fn rename(names: &mut Names, naming: &Naming) {
    match naming {
        Naming::Put(path, file) => {
            names.insert(path.clone(), *file);
        }
        Naming::Rename(from, to) => {
            let file = names.remove(from).expect("only what exists is renamed");
            names.insert(to.clone(), file);
        }
        Naming::Remove(path) => {
            names.remove(path);
        }
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Resize(length) => content.resize(*length, 0),
        Change::Write { at, data } => {
            let end = at + data.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*at..end].copy_from_slice(data);
        }
    }
}

fn content(inode: &Inode, cut: Cut, random: &mut StdRng) -> Vec<u8> {
    let mut content = inode.synced.clone();
    let pending = &inode.pending;
    let whole = match cut {
        Cut::Nothing => 0,
        Cut::Everything => pending.len(),
        Cut::Prefixes | Cut::Pages => random.random_range(0..=pending.len()),
    };
    pending[..whole].iter().for_each(|(_, change)| apply(&mut content, change));
    match (cut, pending.get(whole)) {
        (Cut::Prefixes, Some((_, Change::Write { at, data }))) => {
            let sectors = random.random_range(0..=data.len() / SECTOR);
            let kept = ((at / SECTOR + sectors) * SECTOR).saturating_sub(*at).min(data.len());
            if kept > 0 {
                apply(&mut content, &Change::Write { at: *at, data: data[..kept].to_vec() });
            }
        }
        (Cut::Pages, _) => lose_pages(&inode.synced, &mut content, random),
        _ => {}
    }
    content
}

/// Puts back the old content of about half of the pages that differ.
fn lose_pages(old: &[u8], content: &mut [u8], random: &mut StdRng) {
    for (number, page) in content.chunks_mut(PAGE).enumerate() {
        let before = old.get(number * PAGE..).unwrap_or_default();
        let before = &before[..before.len().min(page.len())];
        let differs = !page.starts_with(before) || page[before.len()..].iter().any(|byte| *byte != 0);
        if differs && random.random_bool(0.5) {
            page[..before.len()].copy_from_slice(before);
            page[before.len()..].fill(0);
        }
    }
}

/// Writes an image of what was below `root` to `target`.
pub(crate) fn write(image: &Image, root: &Path, target: &Path) {
    for (path, content) in image {
        let place = target.join(Path::new(path).strip_prefix(root).unwrap());
        match content {
            None => std::fs::create_dir_all(place).unwrap(),
            Some(bytes) => std::fs::write(place, bytes).unwrap(),
        }
    }
}

/// That nothing was overlooked: with everything kept, the model must hold exactly what is in the directory.
pub(crate) fn compare(image: &Image, root: &Path) {
    let mut found = Image::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_str().unwrap().to_owned();
            if path.is_dir() {
                found.insert(name, None);
                todo.push(path);
            } else {
                found.insert(name, Some(std::fs::read(&path).unwrap()));
            }
        }
    }
    let names = |image: &Image| image.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(image), names(&found), "the model has other files than the directory");
    for (path, content) in image {
        assert!(found[path] == *content, "{path} in the model is not what it is in the directory");
    }
}
