//! Reading one counter in every region.

use std::time::Duration;

use anyhow::{Context, ensure};
use snowtide_client::Connection;

use super::NAMESPACE;
use super::poll::poll;
use crate::cluster::Cluster;

/// Regions agree within this, or the demo says that they do not.
const AGREE_WITHIN: Duration = Duration::from_secs(30);

/// A client at each region's node.
pub(super) struct Regions(Vec<(String, Connection)>);

/// What each region counts.
pub(super) type Values = Vec<(String, i128)>;

impl Regions {
    /// Connects to every node.
    pub(super) async fn connect(cluster: &Cluster) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for region in cluster.regions() {
            let client = Connection::open(cluster.client_config(region)?).await.with_context(|| region.to_owned())?;
            clients.push((region.to_owned(), client));
        }
        Ok(Self(clients))
    }

    /// The client at this region.
    pub(super) fn at(&self, region: &str) -> anyhow::Result<&Connection> {
        let client = self.0.iter().find(|(name, _)| name == region).map(|(_, client)| client);
        client.with_context(|| format!("there is no region {region}"))
    }

    /// The client at each region, with the region's position.
    pub(super) fn clients(&self) -> impl Iterator<Item = (u16, &Connection)> {
        (0_u16..).zip(self.0.iter().map(|(_, client)| client))
    }

    /// Reads until every region counts what it is `wanted` to, and returns that.
    pub(super) async fn until(&self, key: &str, wanted: impl Fn(&str) -> i128) -> anyhow::Result<Values> {
        let mut last = Vec::new();
        let agreed = poll(AGREE_WITHIN, async || {
            last = self.read(key).await?;
            Ok(last.iter().all(|(region, value)| *value == wanted(region)).then_some(()))
        });
        let agreed = agreed.await?;
        ensure!(agreed.is_some(), in_vain(&last, wanted));
        Ok(last)
    }

    async fn read(&self, key: &str) -> anyhow::Result<Values> {
        let mut values = Vec::new();
        for (region, client) in &self.0 {
            let value = client.get(NAMESPACE, key).await.with_context(|| region.clone())?;
            values.push((region.clone(), value));
        }
        Ok(values)
    }
}

/// What is wrong in each region that does not count what it should, in words.
fn in_vain(values: &Values, wanted: impl Fn(&str) -> i128) -> String {
    let wrong = values.iter().filter(|(region, value)| *value != wanted(region));
    let wrong: Vec<_> = wrong.map(|(region, value)| format!("{region} {value}, not {}", wanted(region))).collect();
    format!("NO AGREEMENT within {AGREE_WITHIN:?}: {}", wrong.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_that_counts_something_else_is_named_with_what_it_should_count() {
        let values = vec![("us-east".to_owned(), 23), ("eu-west".to_owned(), 22)];
        assert_eq!(in_vain(&values, |_| 23), "NO AGREEMENT within 30s: eu-west 22, not 23");
    }
}
