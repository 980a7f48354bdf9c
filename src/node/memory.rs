//! Memory: how much this machine has for the node, and who gets it.
//!
//! A control group may allow less than the machine has, and so may every group around it; the least of all counts. Whoever
//! takes more is ended by the kernel, so half of it is all that a node takes for its counters unless it is told.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use tracing::{info, warn};

use crate::config::{Config, MemoryShares};
use crate::section::shape::{GIB, KIB, size_in_words};

/// What is taken where the system does not say how much it has.
const UNKNOWN_BYTES: u64 = GIB;
/// Of what there is, a node takes one part in so many.
const PART: u64 = 2;

/// Shares out what is set, or else a part of what there is; lowers the default of `checkpoint.dirty_rows_max` where it must.
pub(super) fn share(config: &mut Config) -> anyhow::Result<MemoryShares> {
    let bytes = match config.tuning.memory.bytes_max.as_u64() {
        0 => by_default(available(Path::new("/"))),
        set => set,
    };
    let shares = MemoryShares::of(bytes);
    let dirty_rows_max = config.dirty_rows_max(&shares).map_err(anyhow::Error::msg);
    let asked = config.tuning.checkpoint.dirty_rows_max;
    config.tuning.checkpoint.dirty_rows_max =
        dirty_rows_max.with_context(|| format!("checkpoint.dirty_rows_max = {asked} is too much for this machine"))?;
    let MemoryShares { all, rows, store_cache, .. } = shares;
    info!(
        bytes = all,
        rows,
        store_cache,
        dirty_rows_max = config.tuning.checkpoint.dirty_rows_max,
        "memory for counters"
    );
    Ok(shares)
}

fn by_default(available: Option<u64>) -> u64 {
    available.map_or_else(
        || {
            let taken = size_in_words(UNKNOWN_BYTES);
            warn!("this system does not say how much memory it has: counters get {taken}; set memory.bytes_max");
            UNKNOWN_BYTES
        },
        |available| available / PART,
    )
}

/// The least of what the machine has and what this process's control groups allow, as the files below `root` tell; `None` if
/// none does.
fn available(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let allowed = groups.lines().flat_map(|line| limits(root, line)).min();
    machine(root).into_iter().chain(allowed).min()
}

/// What the machine has.
fn machine(root: &Path) -> Option<u64> {
    let told = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(KIB)
}

/// What a group allows, and those around it. A line names the hierarchy, its controllers and the group's path: version 2 has
/// neither number nor names.
fn limits(root: &Path, line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':');
    let (Some(hierarchy), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (mount, file) = if hierarchy == "0" && controllers.is_empty() {
        ("sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    let mount = root.join(mount);
    // A group that is not there is one of another namespace, where the container's own is the topmost.
    let within = inside(path);
    within.ancestors().filter_map(|group| limit(&mount.join(group).join(file))).collect()
}

/// The path below the mount; nothing where it leads out of it.
fn inside(path: &str) -> PathBuf {
    let parts = Path::new(path).components().filter(|part| *part != Component::RootDir);
    let parts: PathBuf = parts.collect();
    if parts.components().all(|part| matches!(part, Component::Normal(_))) { parts } else { PathBuf::new() }
}

/// `max`, and whatever else is no number, is no limit.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::section::shape::MIB;

    /// Files of a system, and what is available there.
    fn available_in(files: &[(&str, &str)]) -> Option<u64> {
        let root = TempDir::new().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        available(root.path())
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        4194304 kB\nMemFree:          123456 kB\n");

    #[test]
    fn half_of_the_machine_where_nothing_allows_less() {
        assert_eq!(available_in(&[MACHINE]), Some(4 * GIB));
        assert_eq!(by_default(Some(4 * GIB)), 2 * GIB);
        let free = [MACHINE, ("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "max\n")];
        assert_eq!(available_in(&free), Some(4 * GIB));
    }

    #[test]
    fn the_least_of_a_group_and_those_around_it() {
        let cgroup = ("proc/self/cgroup", "0::/kubepods/pod1/app\n");
        let own = ("sys/fs/cgroup/kubepods/pod1/app/memory.max", "1073741824\n");
        let around = ("sys/fs/cgroup/kubepods/memory.max", "536870912\n");
        let roomy = ("sys/fs/cgroup/kubepods/memory.max", "99999999999\n");
        assert_eq!(available_in(&[MACHINE, cgroup, own]), Some(GIB));
        assert_eq!(available_in(&[MACHINE, cgroup, own, around]), Some(512 * MIB));
        assert_eq!(available_in(&[MACHINE, cgroup, own, roomy]), Some(GIB));
        assert_eq!(available_in(&[cgroup, own]), Some(GIB));
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_topmost() {
        let top = ("sys/fs/cgroup/memory.max", "268435456\n");
        for path in ["0::/\n", "0::/docker/gone\n", "0::/../../other\n"] {
            assert_eq!(available_in(&[MACHINE, ("proc/self/cgroup", path), top]), Some(256 * MIB), "{path}");
        }
    }

    #[test]
    fn version_1_where_version_2_has_no_memory() {
        let cgroup = ("proc/self/cgroup", "5:cpu,cpuacct:/b\n4:memory:/a/b\n0::/c\n");
        let limit = ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "134217728\n");
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(available_in(&[MACHINE, cgroup, limit, none]), Some(128 * MIB));
        assert_eq!(available_in(&[MACHINE, cgroup, none]), Some(4 * GIB));
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        assert_eq!(available_in(&[]), None);
        assert_eq!(available_in(&[("proc/meminfo", "MemTotal: much\n"), ("proc/self/cgroup", "0\n\n::\n")]), None);
        assert_eq!(by_default(None), GIB);
    }

    #[test]
    fn what_an_operator_set_is_kept_and_too_many_changed_rows_are_refused() {
        let mut config = Config::builtin();
        config.tuning.memory.bytes_max = bytesize::ByteSize(100 * MIB);
        assert_eq!(share(&mut config).unwrap(), MemoryShares::of(100 * MIB));
        assert_eq!(config.tuning.checkpoint.dirty_rows_max, 102_400);
        config.tuning.checkpoint.dirty_rows_max = 102_401;
        let refused = format!("{:#}", share(&mut config).unwrap_err());
        assert!(refused.starts_with("checkpoint.dirty_rows_max = 102401 is too much"), "{refused}");
        assert!(refused.contains("at most 102400"), "{refused}");
    }
}
