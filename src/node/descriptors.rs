//! File descriptors: how many this process may have open, and who gets them.
//!
//! Whoever reaches a door takes one with each connection. A store that cannot open a file any more has failed for good
//! (I9), so its share is put aside first, then that of the process itself; the doors have what is left. Nothing that a
//! client does reaches into another share.

use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::config::{Config, map};
use crate::{store, telemetry};

/// Standard streams, the runtime's own, listeners, the control socket, files that are read in passing, and connections
/// that are just being turned away, 32 of which are still listened to.
const OWN: usize = 96;
/// What RocksDB has open beside tables: write-ahead logs, its manifest and log, tables that are being written.
const STORE_BESIDES: usize = 64;
/// With fewer tables open RocksDB spends its time opening and closing them.
const STORE_FILES_MIN: usize = 128;
/// Of the limit, RocksDB's tables get one part in so many, as long as that is enough for them.
const STORE_PART: usize = 4;
/// A door that cannot have so many connections is of little use.
const DOOR_MIN: usize = 32;
/// Where a limit that is not one is refused (macOS), this one is allowed.
const SYSTEM_MAX: u64 = 10_240;

/// How the descriptors are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Tables that the store may have open.
    pub(super) store_files: i32,
    /// Connections of each door.
    doors: Wanted,
}

/// Connections over TCP: of the doors of HTTP, of the Redis protocol and of gRPC.
type Wanted = [usize; 3];

/// Not even a node with the fewest connections could work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {limit} files open, and a node needs {least} at least: raise the limit (ulimit -n, \
     or LimitNOFILE= in a unit of systemd)"
)]
pub(super) struct TooFewDescriptors {
    limit: usize,
    least: usize,
}

impl Descriptors {
    /// Raises the limit as far as it goes, and lowers the bounds of doors that do not fit it, with a warning.
    pub(super) fn share(config: &mut Config, place: &map::Node) -> Result<Self, TooFewDescriptors> {
        let limit = raised();
        let bounds = [
            Some(&mut config.http.connections_max),
            Some(&mut config.redis.connections_max).filter(|_| place.redis.is_some()),
            Some(&mut config.grpc.connections_max).filter(|_| place.grpc.is_some()),
        ];
        let wanted = bounds.each_ref().map(|bound| bound.as_ref().map_or(0, |bound| **bound));
        let shared = Self::of(limit, wanted)?;
        if shared.doors != wanted {
            let [http_connections_max, redis_connections_max, grpc_connections_max] = shared.doors;
            warn!(
                limit,
                needed = Self::needed(wanted),
                http_connections_max,
                redis_connections_max,
                grpc_connections_max,
                "this process may have too few files open for http.connections_max, redis.connections_max and \
                 grpc.connections_max: they are lowered; raise the limit (ulimit -n, or LimitNOFILE= in a unit of \
                 systemd), or lower them yourself"
            );
            bounds.into_iter().zip(shared.doors).for_each(|(bound, shared)| {
                if let Some(bound) = bound {
                    *bound = shared;
                }
            });
        }
        Ok(shared)
    }

    fn needed(doors: Wanted) -> usize {
        let store = usize::try_from(store::OPEN_FILES_MAX).unwrap_or(usize::MAX);
        [OWN, STORE_BESIDES, store].into_iter().chain(doors).fold(0, usize::saturating_add)
    }

    /// The store's share first; what the doors want is cut in proportion where it does not fit.
    fn of(limit: usize, wanted: Wanted) -> Result<Self, TooFewDescriptors> {
        let least_doors = wanted.map(|wanted| wanted.min(DOOR_MIN));
        let least = OWN + STORE_BESIDES + STORE_FILES_MIN + least_doors.iter().sum::<usize>();
        if limit < least {
            return Err(TooFewDescriptors { limit, least });
        }
        let files_max = usize::try_from(store::OPEN_FILES_MAX).unwrap_or(usize::MAX);
        let files = (limit / STORE_PART).clamp(STORE_FILES_MIN, files_max);
        let left = limit.saturating_sub(OWN + STORE_BESIDES + files);
        let all = wanted.iter().copied().fold(0, usize::saturating_add);
        let doors = if all <= left { wanted } else { cut(wanted, least_doors, left) };
        Ok(Self { store_files: i32::try_from(files).unwrap_or(store::OPEN_FILES_MAX), doors })
    }
}

/// What each door has at least, and of what is left then, each in proportion to what it wants beyond.
fn cut(wanted: Wanted, least: Wanted, left: usize) -> Wanted {
    let rest = left.saturating_sub(least.iter().sum()) as u128;
    let beyond = |(wanted, least): (usize, usize)| wanted.saturating_sub(least) as u128;
    let all: u128 = wanted.into_iter().zip(least).map(beyond).sum();
    let mut doors = least;
    for (door, (wanted, least)) in doors.iter_mut().zip(wanted.into_iter().zip(least)) {
        let part = rest * beyond((wanted, least)) / all.max(1);
        *door += usize::try_from(part).unwrap_or_default();
    }
    doors
}

/// The limit, after it was raised as far as this user may.
fn raised() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    for higher in [hard, hard.min(SYSTEM_MAX)] {
        if higher > soft && setrlimit(Resource::RLIMIT_NOFILE, higher, hard).is_ok() {
            break;
        }
    }
    limit().unwrap_or(usize::MAX)
}

/// How many files this process may have open; `None` if the system does not say.
pub(super) fn limit() -> Option<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(usize::try_from(soft).unwrap_or(usize::MAX))
}

/// How many it has open.
pub(super) fn open() -> io::Result<usize> {
    let listed = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd"))?;
    // One of them is the list itself.
    Ok(listed.count().saturating_sub(1))
}

/// Tells the metrics how many there are and may be.
pub(super) fn measure() {
    telemetry::descriptors_counted(open().ok(), limit());
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Wanted = [4_096, 1_024, 1_024];
    const LEAST: usize = OWN + STORE_BESIDES + STORE_FILES_MIN + 3 * DOOR_MIN;

    #[test]
    fn what_fits_is_left_as_it_is() {
        let needed = Descriptors::needed(DEFAULTS);
        assert_eq!(Descriptors::of(needed, DEFAULTS), Ok(Descriptors { store_files: 512, doors: DEFAULTS }));
        assert_eq!(Descriptors::of(usize::MAX, [1, 0, 0]), Ok(Descriptors { store_files: 512, doors: [1, 0, 0] }));
        assert_ne!(Descriptors::of(needed - 1, DEFAULTS).unwrap().doors[0], 4_096);
    }

    #[test]
    fn the_store_has_its_share_whatever_the_doors_want() {
        for limit in LEAST..10_000 {
            for wanted in [DEFAULTS, [1_000_000, 1, 1], [1, 1_000_000, 40], [usize::MAX; 3], [1_000_000, 0, 0]] {
                let shared = Descriptors::of(limit, wanted).unwrap();
                let store = usize::try_from(shared.store_files).unwrap();
                let doors: usize = shared.doors.iter().sum();
                assert!(store >= STORE_FILES_MIN && store + STORE_BESIDES + OWN + doors <= limit);
                for (shared, wanted) in shared.doors.into_iter().zip(wanted) {
                    assert!((wanted.min(DOOR_MIN)..=wanted).contains(&shared), "{shared} of {wanted}");
                }
            }
        }
        assert_eq!(Descriptors::of(1_024, DEFAULTS), Ok(Descriptors { store_files: 256, doors: [376, 115, 115] }));
    }

    #[test]
    fn too_few_are_refused_with_what_to_do() {
        let refused = Descriptors::of(LEAST - 1, DEFAULTS).unwrap_err();
        assert_eq!(refused, TooFewDescriptors { limit: LEAST - 1, least: LEAST });
        assert!(refused.to_string().contains("ulimit -n"), "{refused}");
        assert!(Descriptors::of(LEAST - 1, [DEFAULTS[0], 0, 0]).is_ok(), "one door needs fewer");
    }

    #[test]
    fn open_files_are_counted() {
        let before = open().unwrap();
        let _file = fs::File::open("/dev/null").unwrap();
        assert!(open().unwrap() > before.saturating_sub(64), "other tests open and close files meanwhile");
        assert!(limit().unwrap() > 0);
    }
}
