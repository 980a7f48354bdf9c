//! A wall clock that a test sets for real processes while they run, by libfaketime.
//!
//! Only the wall clock is faked; the monotonic one, on which all waiting rests, is the system's.

use std::fs;
use std::path::{Path, PathBuf};

use snowtide::clock;

/// Where Debian and Ubuntu install it.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// What the processes that were given [`Self::env`] take the time to be.
pub(crate) struct FakeClock {
    file: PathBuf,
    library: PathBuf,
    /// How far it is ahead of the system's.
    offset_ms: i64,
}

impl FakeClock {
    /// A clock that is right, kept in a file of this folder.
    pub(crate) fn new(dir: &Path) -> Self {
        let clock = Self { file: dir.join("faketime"), library: library(), offset_ms: 0 };
        clock.tell(&clock.relative());
        clock
    }

    /// For the environment of the processes.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file)),
            // The file is read at each look at the clock, so that a change takes effect at once.
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            // As older versions call it.
            ("DONT_FAKE_MONOTONIC", "1".into()),
            // Times of files stay true.
            ("NO_FAKE_STAT", "1".into()),
            ("TZ", "UTC".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Removes what the library leaves of a process that was killed: a semaphore and a page of shared memory.
    pub(crate) fn forget(pid: u32) {
        for name in [format!("sem.faketime_sem_{pid}"), format!("faketime_shm_{pid}")] {
            // Versions differ in what they make.
            let _ = fs::remove_file(Path::new("/dev/shm").join(name));
        }
    }

    /// Steps it, back or forth; it runs on from there.
    pub(crate) fn step(&mut self, by_ms: i64) {
        self.offset_ms += by_ms;
        self.tell(&self.relative());
    }

    /// Stops it at the next full second.
    pub(crate) fn freeze(&self) {
        let now = clock::wall_ms().saturating_add_signed(self.offset_ms);
        let second = i64::try_from(now / 1_000 + 1).unwrap();
        self.tell(&jiff::Timestamp::from_second(second).unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string());
    }

    /// Lets it run on as if it had never stopped.
    pub(crate) fn thaw(&self) {
        self.tell(&self.relative());
    }

    fn relative(&self) -> String {
        let (sign, ms) = (if self.offset_ms < 0 { '-' } else { '+' }, self.offset_ms.unsigned_abs());
        format!("{sign}{}.{:03}", ms / 1_000, ms % 1_000)
    }

    /// In one step, since the file may be read at any moment.
    fn tell(&self, time: &str) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{time}\n")).unwrap();
        fs::rename(&new, &self.file).unwrap();
    }
}

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let candidates = folders.chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")]);
    candidates.map(|folder| folder.join(LIBRARY)).find(|path| path.exists()).unwrap_or_else(|| {
        panic!("this test needs {LIBRARY}: run `make setup`, or `apt-get install faketime` on Debian and Ubuntu")
    })
}
