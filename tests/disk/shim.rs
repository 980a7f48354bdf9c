//! Building the recorder (`shim.c`), and the environment in which a process is recorded.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Below this directory of a folder, everything is recorded.
pub(crate) const ROOT: &str = "disk";
const RECORD: &str = "record";
/// In a folder that is kept: where the recorded directory was, which the record's paths begin with.
const WAS: &str = "root";

/// A folder with a recorded directory and its record.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) root: PathBuf,
    pub(crate) record: PathBuf,
}

impl Recording {
    /// In `folder`, whose recorded directory is made if it is not there.
    pub(crate) fn new(folder: &Path) -> Self {
        let root = folder.join(ROOT);
        std::fs::create_dir_all(&root).unwrap();
        Self { root, record: folder.join(RECORD) }
    }

    /// Copies the record to where it stays; returns the folder, for [`Self::kept`].
    pub(crate) fn keep(&self, name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&self.record, folder.join(RECORD)).unwrap();
        std::fs::write(folder.join(WAS), self.root.to_str().unwrap()).unwrap();
        folder
    }

    /// One that was kept. Its directory is no more; what was on it follows from the record.
    pub(crate) fn kept(folder: &Path) -> Self {
        let was = std::fs::read_to_string(folder.join(WAS)).unwrap();
        Self { root: was.into(), record: folder.join(RECORD) }
    }

    /// What a process needs in its environment; its `fail`th sync fails.
    pub(crate) fn environment(&self, fail: Option<usize>) -> Vec<(String, String)> {
        let text = |path: &Path| OsString::from(path).into_string().unwrap();
        let mut variables = vec![
            ("LD_PRELOAD".to_owned(), text(library())),
            ("DISK_ROOT".to_owned(), text(&self.root)),
            ("DISK_RECORD".to_owned(), text(&self.record)),
        ];
        variables.extend(fail.map(|number| ("DISK_FAIL".to_owned(), number.to_string())));
        variables
    }
}

/// The library, compiled once by the C compiler that the build needs anyway.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/shim.c");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-shim-{}.so", std::process::id()));
        let compiler = std::env::var("CC").unwrap_or_else(|_| "clang".into());
        let outcome = Command::new(&compiler)
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(&target)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .output();
        let output = outcome.unwrap_or_else(|error| panic!("{compiler}: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target
    })
}

/// Removes the library.
pub(crate) fn clean() {
    let _ = std::fs::remove_file(library());
}
