//! Reads the sources of every crate of a workspace from a folder. It writes nothing and follows no links.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::source::{Package, Text};

/// The crates of the workspace at `root`, each with its sources in order of their paths.
pub fn read(root: &Path) -> anyhow::Result<Vec<Package>> {
    let folders = folders(root)?;
    folders.iter().map(|folder| package(root, folder)).collect()
}

/// The folders of the workspace's crates, the root's own first.
fn folders(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let manifest = manifest(root)?;
    let members = manifest.get("workspace").and_then(|workspace| workspace.get("members")).and_then(|m| m.as_array());
    let members = members.into_iter().flatten().filter_map(|member| member.as_str()).map(|member| root.join(member));
    let own = manifest.get("package").map(|_| root.to_path_buf());
    Ok(own.into_iter().chain(members).collect())
}

fn manifest(folder: &Path) -> anyhow::Result<toml::Table> {
    let path = folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not valid TOML", path.display()))
}

fn package(root: &Path, folder: &Path) -> anyhow::Result<Package> {
    let manifest = manifest(folder)?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(|name| name.as_str());
    let name = name.with_context(|| format!("{} names no package", folder.join("Cargo.toml").display()))?;
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let texts = files.iter().map(|file| text(root, folder, file)).collect::<anyhow::Result<_>>()?;
    Ok(Package { name: name.to_owned(), texts })
}

/// Adds the Rust files below `folder`, except those of other crates and those in folders that cargo or git made.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        let name = entry.file_name();
        // Cargo marks what it makes; a module may be called target, too.
        let is_made = path.join("CACHEDIR.TAG").exists() || name.to_string_lossy().starts_with('.');
        if kind.is_dir() && !is_made && !path.join("Cargo.toml").exists() {
            collect(&path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn text(root: &Path, folder: &Path, file: &Path) -> anyhow::Result<Text> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let relative = |to: &Path| file.strip_prefix(to).unwrap_or(file).to_string_lossy().into_owned();
    Ok(Text { path: relative(root), within: relative(folder), text })
}
