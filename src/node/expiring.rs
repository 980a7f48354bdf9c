//! The end of certificates: shown in metrics, and warned of while there is time to renew them.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, warn};

use crate::clock;
use crate::section::Milliseconds;
use crate::telemetry;
use crate::tls::{Expiry, Role};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const HOUR_MS: u64 = 60 * 60 * 1_000;

/// What was told of certificates that end, and when.
pub(super) struct Expiring {
    expiries: watch::Receiver<Vec<Expiry>>,
    warning_ms: u64,
    /// Of the process's own time.
    told_at: Option<u64>,
}

impl Expiring {
    pub(super) fn new(mut expiries: watch::Receiver<Vec<Expiry>>, warning: Duration) -> Self {
        expiries.mark_changed();
        Self { expiries, warning_ms: warning.ms(), told_at: None }
    }

    /// Warns if it is time to.
    pub(super) fn look(&mut self, wall_ms: u64, elapsed_ms: u64) {
        if self.expiries.has_changed().unwrap_or_default() {
            measure(&self.expiries.borrow_and_update());
            self.told_at = None;
        }
        for expiry in self.due(wall_ms, elapsed_ms) {
            tell(&expiry, wall_ms);
        }
    }

    /// Those to tell of: once a day, and once an hour when the first has less than a day left or is over.
    fn due(&mut self, wall_ms: u64, elapsed_ms: u64) -> Vec<Expiry> {
        let is_near = |expiry: &&Expiry| is_near(expiry, wall_ms, self.warning_ms);
        let near: Vec<_> = self.expiries.borrow().iter().filter(is_near).cloned().collect();
        let repeat_ms = if near.iter().any(|expiry| expiry.left_ms(wall_ms) < DAY_MS) { HOUR_MS } else { DAY_MS };
        if near.is_empty() || self.told_at.is_some_and(|told| elapsed_ms.saturating_sub(told) < repeat_ms) {
            return Vec::new();
        }
        self.told_at = Some(elapsed_ms);
        near
    }
}

/// Whether a certificate ends soon, has ended, or has not begun.
fn is_near(expiry: &Expiry, wall_ms: u64, warning_ms: u64) -> bool {
    expiry.left_ms(wall_ms) <= warning_ms || !expiry.is_valid(wall_ms)
}

fn tell(expiry: &Expiry, wall_ms: u64) {
    let (role, subject, file) = (expiry.role.as_str(), &expiry.subject, expiry.file.display());
    let (until, days) = (clock::in_words(expiry.until_ms), expiry.left_ms(wall_ms) / DAY_MS);
    if expiry.is_valid(wall_ms) {
        warn!(role, subject, %file, until, days, "a certificate ends: put a new one in its place, then reload (SIGHUP)");
    } else {
        error!(role, subject, %file, until, "a certificate is not valid now: whoever asks for it is not believed");
    }
}

/// The soonest end of each role.
fn measure(expiries: &[Expiry]) {
    for role in Role::ALL {
        let ends = expiries.iter().filter(|expiry| expiry.role == role).map(|expiry| expiry.until_ms);
        if let Some(end) = ends.min() {
            telemetry::certificate_ends(role.as_str(), end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_of_when_it_is_near_then_daily_and_in_the_end_hourly() {
        let expiry =
            |role, until_ms| Expiry { role, file: "a.pem".into(), subject: String::new(), from_ms: 10, until_ms };
        let known = vec![expiry(Role::Authority, 1_000 * DAY_MS), expiry(Role::Node, 40 * DAY_MS)];
        let (_sender, expiries) = watch::channel(known);
        let mut expiring = Expiring::new(expiries, Duration::from_millis(30 * DAY_MS));
        let mut due = |wall_ms, elapsed_ms| {
            let roles: Vec<_> = expiring.due(wall_ms, elapsed_ms).into_iter().map(|expiry| expiry.role).collect();
            roles
        };
        assert_eq!(due(10 * DAY_MS - 1, 0), []);
        assert_eq!(due(10 * DAY_MS, 1), [Role::Node]);
        assert_eq!(due(11 * DAY_MS, DAY_MS), []);
        assert_eq!(due(11 * DAY_MS, DAY_MS + 1), [Role::Node]);
        assert_eq!(due(39 * DAY_MS + 1, DAY_MS + HOUR_MS), []);
        assert_eq!(due(39 * DAY_MS + 1, DAY_MS + HOUR_MS + 1), [Role::Node], "hourly in the last day");
        assert_eq!(due(50 * DAY_MS, 2 * DAY_MS), [Role::Node], "past the end, too");
        assert_eq!(due(0, 3 * DAY_MS).len(), 2, "those that are not valid yet, too");
    }
}
