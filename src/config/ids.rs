//! `[ids]`: what IDs are made of, and which clock is believed.

use std::time::Duration;

use super::schema::{EPOCH, epoch_ms};
use crate::section::section;
use crate::section::shape::{DAY, HOUR, MINUTE, SECOND, count, duration};

section! {
    /// `[ids]`
    pub struct Ids {
        /// Time zero of every ID. It must be the same in the whole cluster and must never change: an earlier one makes
        /// IDs jump ahead, a later one can issue IDs twice.
        pub epoch: String = "2025-01-01T00:00:00Z", EPOCH;

        /// How far this machine's clock may go back while IDs are still issued, from the last timestamp on. Further
        /// back, IDs are refused with 503 clock_regressed until the clock has caught up. It is also how far ahead of
        /// the clock the durable ceiling may be, hence how long a restarted node may have to wait before its first ID.
        #[serde(with = "humantime_serde")]
        pub max_backstep: Duration = "1s", duration(10, MINUTE);

        /// How far the clock may be past the durable ceiling and every peer. Further ahead it is not believed: IDs are
        /// refused with 503 clock_ahead until peers or an operator confirm the time, so that one bad clock cannot burn
        /// years of the epoch.
        #[serde(with = "humantime_serde")]
        pub max_leap: Duration = "1h", duration(MINUTE, 365 * DAY);

        /// How long a start waits for peers to tell the highest ceiling that they saw for this node. When it is over,
        /// IDs are issued on what this node's own disk says. More is safer after a lost disk, less is faster when peers
        /// are down.
        #[serde(with = "humantime_serde")]
        pub claim_wait: Duration = "3s", duration(10, MINUTE);

        /// How long a request for IDs may wait: for the clock when the IDs of a millisecond are used up, and then it is
        /// refused with 503 sequence_exhausted; or for the disk to confirm the next ceiling, and then with 503
        /// overloaded. It can be retried.
        #[serde(with = "humantime_serde")]
        pub wait_max: Duration = "1s", duration(1, 10 * SECOND);

        /// How long all nodes together may have been switched off. Where a start finds its clock far past every
        /// ceiling, that may be right after a long pause, or wrong by years. Peers whose clocks are believed settle it.
        /// Without them, the clock is believed up to this far past the highest ceiling that is known; further ahead,
        /// IDs are refused with 503 clock_ahead until a peer confirms the time, the clock is set right, or the node is
        /// started with --confirm-clock.
        #[serde(with = "humantime_serde")]
        pub max_absence: Duration = "365d", duration(HOUR, 3_650 * DAY);

        /// A worker id (region and node number) that gets a new data directory, after a lost disk or because the number
        /// is given to another machine, first keeps quiet: its IDs begin this far above the highest ceiling that peers
        /// saw of it, and once the clock is there. Peers write down what they saw at least three times as often. Until
        /// then IDs are refused with 503 starting. It cannot be less than ids.max_backstep, peer.idle_timeout and four
        /// gossip.digest_interval together: by then a former holder that still lives is found, and one that does not is
        /// past.
        #[serde(with = "humantime_serde")]
        pub quarantine: Duration = "10s", duration(3 * SECOND, DAY);

        /// From so long before the milliseconds of ids.bits.time are used up, the log warns of it, at each start and
        /// once a day.
        #[serde(with = "humantime_serde")]
        pub exhaustion_warning: Duration = "730d", duration(DAY, 36_500 * DAY);

        /// The split of an ID's 63 bits, the same in the whole cluster and for good. Nodes with another split are
        /// refused. All four make 63. Every split within these bounds works; `snowtide config check` tells until when
        /// its IDs last.
        pub bits: IdBits;
    }
}

section! {
    /// `[ids.bits]`
    #[derive(Copy)]
    pub struct IdBits {
        /// Milliseconds since the epoch: 41 bits last 69 years. When they are used up, IDs are refused.
        pub time: u8 = 41, count(39, 48);

        /// The region's number. With 5 bits region files may use 0 to 31, with fewer accordingly fewer.
        pub region: u8 = 5, count(0, 5);

        /// The node's number in its region, likewise.
        pub node: u8 = 5, count(0, 5);

        /// IDs of one node within one millisecond: 12 bits are 4096, hence 4 096 000 a second. When they are used up,
        /// requests wait for the next millisecond (ids.wait_max).
        pub sequence: u8 = 12, count(8, 22);
    }
}

impl Ids {
    /// Time zero in milliseconds since 1970; `None` if the epoch is no time.
    pub(super) fn epoch_ms(&self) -> Option<u64> {
        epoch_ms(&self.epoch)
    }
}
