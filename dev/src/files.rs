//! Files of a cluster on one machine, each written whole or not at all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::DevError;

/// What everybody may do whom the process's own mask does not keep out.
pub(super) const ANYBODY: u32 = 0o777;

/// Makes a directory and those above it.
pub(super) fn make_dir(path: &Path, mode: u32) -> Result<(), DevError> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(DevError::file(path))
}

pub(super) fn read(path: &Path) -> Result<String, DevError> {
    fs::read_to_string(path).map_err(DevError::file(path))
}

/// Writes beside the target and renames, so that a half-written file is never taken for a whole one.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), DevError> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside); // left by a run that was cut off, perhaps with another mode
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes())).and_then(|()| fs::rename(&beside, path));
    written.map_err(DevError::file(path))
}
