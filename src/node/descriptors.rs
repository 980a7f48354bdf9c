//! File descriptors: how many this process may have open, and who gets them.
//!
//! Whoever reaches a door takes one with each connection. A store that cannot open a file any more has failed for good
//! (I9), so its share is put aside first, then that of the process itself; the doors have what is left. Nothing that a
//! client does reaches into another share.

use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::config::Config;
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
    /// Connections of the HTTP door.
    http: usize,
    /// Connections of the Redis door.
    redis: usize,
}

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
    pub(super) fn share(config: &mut Config, has_redis: bool) -> Result<Self, TooFewDescriptors> {
        let limit = raised();
        let wanted = (config.http.connections_max, if has_redis { config.redis.connections_max } else { 0 });
        let shared = Self::of(limit, wanted)?;
        if (shared.http, shared.redis) != wanted {
            warn!(
                limit,
                needed = Self::needed(wanted),
                http_connections_max = shared.http,
                redis_connections_max = shared.redis,
                "this process may have too few files open for http.connections_max and redis.connections_max: they are \
                 lowered; raise the limit (ulimit -n, or LimitNOFILE= in a unit of systemd), or lower them yourself"
            );
            config.http.connections_max = shared.http;
            if has_redis {
                config.redis.connections_max = shared.redis;
            }
        }
        Ok(shared)
    }

    fn needed((http, redis): (usize, usize)) -> usize {
        let store = usize::try_from(store::OPEN_FILES_MAX).unwrap_or(usize::MAX);
        [OWN, STORE_BESIDES, store, http, redis].into_iter().fold(0, usize::saturating_add)
    }

    /// The store's share first; what the doors want is cut in proportion where it does not fit.
    fn of(limit: usize, (http, redis): (usize, usize)) -> Result<Self, TooFewDescriptors> {
        let least_doors = (http.min(DOOR_MIN), redis.min(DOOR_MIN));
        let least = OWN + STORE_BESIDES + STORE_FILES_MIN + least_doors.0 + least_doors.1;
        if limit < least {
            return Err(TooFewDescriptors { limit, least });
        }
        let files_max = usize::try_from(store::OPEN_FILES_MAX).unwrap_or(usize::MAX);
        let files = (limit / STORE_PART).clamp(STORE_FILES_MIN, files_max);
        let left = limit.saturating_sub(OWN + STORE_BESIDES + files);
        let wanted = http.saturating_add(redis);
        let (http, redis) = if wanted <= left {
            (http, redis)
        } else {
            let part = left.saturating_mul(http) / wanted.max(1);
            let http = part.clamp(least_doors.0, left.saturating_sub(least_doors.1).max(least_doors.0));
            (http, left.saturating_sub(http).min(redis))
        };
        Ok(Self { store_files: i32::try_from(files).unwrap_or(store::OPEN_FILES_MAX), http, redis })
    }
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

    const DEFAULTS: (usize, usize) = (4_096, 1_024);
    const LEAST: usize = OWN + STORE_BESIDES + STORE_FILES_MIN + 2 * DOOR_MIN;

    #[test]
    fn what_fits_is_left_as_it_is() {
        let needed = Descriptors::needed(DEFAULTS);
        assert_eq!(Descriptors::of(needed, DEFAULTS), Ok(Descriptors { store_files: 512, http: 4_096, redis: 1_024 }));
        assert_eq!(Descriptors::of(usize::MAX, (1, 0)), Ok(Descriptors { store_files: 512, http: 1, redis: 0 }));
        assert_ne!(Descriptors::of(needed - 1, DEFAULTS).unwrap().http, 4_096);
    }

    #[test]
    fn the_store_has_its_share_whatever_the_doors_want() {
        for limit in LEAST..10_000 {
            for wanted in [DEFAULTS, (1_000_000, 1), (1, 1_000_000), (usize::MAX, usize::MAX), (1_000_000, 0)] {
                let shared = Descriptors::of(limit, wanted).unwrap();
                let store = usize::try_from(shared.store_files).unwrap();
                assert!(store >= STORE_FILES_MIN && store + STORE_BESIDES + OWN + shared.http + shared.redis <= limit);
                assert!(shared.http >= wanted.0.min(DOOR_MIN) && shared.redis >= wanted.1.min(DOOR_MIN), "{shared:?}");
                assert!(shared.http <= wanted.0 && shared.redis <= wanted.1, "{shared:?}");
            }
        }
        assert_eq!(Descriptors::of(1_024, DEFAULTS), Ok(Descriptors { store_files: 256, http: 486, redis: 122 }));
    }

    #[test]
    fn too_few_are_refused_with_what_to_do() {
        let refused = Descriptors::of(LEAST - 1, DEFAULTS).unwrap_err();
        assert_eq!(refused, TooFewDescriptors { limit: LEAST - 1, least: LEAST });
        assert!(refused.to_string().contains("ulimit -n"), "{refused}");
        assert!(Descriptors::of(LEAST - 1, (DEFAULTS.0, 0)).is_ok(), "one door needs fewer");
    }

    #[test]
    fn open_files_are_counted() {
        let before = open().unwrap();
        let _file = fs::File::open("/dev/null").unwrap();
        assert!(open().unwrap() > before.saturating_sub(64), "other tests open and close files meanwhile");
        assert!(limit().unwrap() > 0);
    }
}
