//! One counter that is counted up by one, again and again and one after another, until its node dies: at most one increment
//! of it is without an answer, so that its value afterwards is known to one, however much else the node was asked.

use std::time::Duration;

use anyhow::ensure;
use snowtide_client::{Connection, Error};
use tokio_util::task::AbortOnDropHandle;

use super::NAMESPACE;
use super::regions::Regions;
use crate::cluster::Cluster;

/// The counter.
const KEY: &str = "witness";
/// A dead node is given up soon, long before a client in a real network would.
const SILENCE: Duration = Duration::from_secs(2);
/// After a refusal.
const PAUSE: Duration = Duration::from_millis(10);

/// Counts at a region's node until that dies.
pub(super) struct Witness {
    region: String,
    counting: AbortOnDropHandle<Counted>,
}

/// What was asked of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    acknowledged: i128,
    /// One more was sent, and nobody knows what became of it.
    unanswered: bool,
}

impl Witness {
    /// Begins to count. Must be called within a Tokio runtime.
    pub(super) async fn start(cluster: &Cluster, region: &str) -> anyhow::Result<Self> {
        let client = Connection::open(cluster.client_config(region)?.idle_timeout(SILENCE)).await?;
        let counting = AbortOnDropHandle::new(tokio::spawn(count(client)));
        Ok(Self { region: region.to_owned(), counting })
    }

    /// Compares what every region counts with what was acknowledged before the node died, once it is back. Returns that in
    /// words.
    pub(super) async fn testify(self, cluster: &Cluster) -> anyhow::Result<String> {
        let (region, counted) = (&self.region, self.counting.await?);
        let regions = Regions::connect(cluster).await?;
        let value = regions.at(region)?.get(NAMESPACE, KEY).await?;
        let in_words = counted.judge(region, value)?;
        regions.until(KEY, |_| value).await?;
        Ok(in_words)
    }
}

async fn count(client: Connection) -> Counted {
    let mut acknowledged = 0;
    loop {
        match client.increment(NAMESPACE, KEY, 1).await {
            Ok(_) => acknowledged += 1,
            // The node may be asked for more than it takes while the load begins.
            Err(error @ (Error::Refused { .. } | Error::Busy { .. })) if error.is_retryable() => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Counted { acknowledged, unanswered: error.is_ambiguous() },
        }
    }
}

impl Counted {
    fn judge(self, region: &str, value: i128) -> anyhow::Result<String> {
        let Self { acknowledged, unanswered } = self;
        let most = acknowledged + i128::from(unanswered);
        ensure!(value >= acknowledged, "LOST: {region} counts {value} on {KEY}, and {acknowledged} were acknowledged");
        ensure!(value <= most, "INVENTED: {region} counts {value} on {KEY}, where {acknowledged} were acknowledged");
        let last = match (unanswered, value > acknowledged) {
            (false, _) => "",
            (true, true) => "; one more got no answer, and is counted",
            (true, false) => "; one more got no answer, and is not counted",
        };
        Ok(format!("{region} acknowledged {acknowledged} increments of {KEY} before it died; all are there{last}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_before_the_death_has_to_be_there_and_nothing_else_but_what_got_no_answer() {
        let counted = Counted { acknowledged: 7, unanswered: true };
        let said = |counted: Counted, value| counted.judge("us-east", value).map_err(|finding| finding.to_string());
        let all = "us-east acknowledged 7 increments of witness before it died; all are there";
        assert_eq!(said(counted, 7).unwrap(), format!("{all}; one more got no answer, and is not counted."));
        assert_eq!(said(counted, 8).unwrap(), format!("{all}; one more got no answer, and is counted."));
        assert!(said(counted, 6).unwrap_err().starts_with("LOST: us-east counts 6 on witness"));
        assert!(said(counted, 9).unwrap_err().starts_with("INVENTED: "));
        assert!(said(Counted { unanswered: false, ..counted }, 8).is_err());
    }
}
