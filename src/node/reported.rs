//! What was reported of peers: one that does the same again and again is reported once, or it would fill the log.

use std::collections::BTreeSet;

use crate::identity::WorkerId;

/// Things that are remembered of one peer; whatever else it does is counted and not told.
const OF_ONE_PEER_MAX: usize = 32;

#[derive(Default)]
pub(super) struct Reported(BTreeSet<(WorkerId, String)>);

impl Reported {
    /// Whether this is to be reported.
    pub(super) fn is_news(&mut self, peer: WorkerId, what: &str) -> bool {
        let of_peer = self.0.iter().filter(|(reported, _)| *reported == peer).count();
        of_peer < OF_ONE_PEER_MAX && self.0.insert((peer, what.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_news_once_and_no_peer_fills_the_log() {
        let (one, other) = (WorkerId::new(1, 0).unwrap(), WorkerId::new(2, 0).unwrap());
        let mut reported = Reported::default();
        assert!(reported.is_news(one, "a") && !reported.is_news(one, "a") && reported.is_news(one, "b"));
        let told = (0..1_000).filter(|number| reported.is_news(one, &number.to_string())).count();
        assert_eq!(told, OF_ONE_PEER_MAX - 2);
        assert!(reported.is_news(other, "a"));
    }
}
