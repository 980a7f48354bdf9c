//! Reading the same counters in every region.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use snowtide_client::{Batch, Connection};
use tokio::time::timeout;

use super::NAMESPACE;
use crate::cluster::Cluster;

/// Regions agree within this, or the demo says that they do not.
const AGREE_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A client at each region's node.
pub(super) struct Regions(Vec<(String, Connection)>);

/// What one region counts.
pub(super) type Values = BTreeMap<String, i128>;

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

    /// Every region with its client.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Connection)> {
        self.0.iter().map(|(region, client)| (region.as_str(), client))
    }

    /// What every region counts now.
    pub(super) async fn read(&self, keys: &[String]) -> anyhow::Result<Vec<(String, Values)>> {
        let mut batch = Batch::new();
        for key in keys {
            batch.get(NAMESPACE, key)?;
        }
        let mut all = Vec::new();
        for (region, client) in &self.0 {
            let values = client.batch(&batch).await.with_context(|| region.clone())?;
            let read = keys.iter().zip(values).map(|(key, value)| {
                let value = value.map_err(|code| anyhow::anyhow!("{region}: {key} was refused ({})", code.as_str()));
                Ok((key.clone(), value?))
            });
            all.push((region.clone(), read.collect::<anyhow::Result<_>>()?));
        }
        Ok(all)
    }

    /// Reads until the regions count as `wanted`, and returns the last reading.
    pub(super) async fn until(
        &self,
        keys: &[String],
        wanted: impl Fn(&[(String, Values)]) -> bool,
    ) -> anyhow::Result<Vec<(String, Values)>> {
        let mut last = Vec::new();
        let reading = async {
            loop {
                last = self.read(keys).await?;
                if wanted(&last) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match timeout(AGREE_WITHIN, reading).await {
            Ok(outcome) => outcome.map(|()| last),
            Err(_) => anyhow::bail!("NO AGREEMENT within {AGREE_WITHIN:?}: {}", differences(&last)),
        }
    }
}

/// Whether all regions count the same.
pub(super) fn agree(readings: &[(String, Values)]) -> bool {
    readings.windows(2).all(|pair| matches!(pair, [(_, one), (_, other)] if one == other))
}

/// The first counters on which regions differ, in words.
fn differences(readings: &[(String, Values)]) -> String {
    let keys = readings.first().map(|(_, values)| values.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let of = |key: &String| {
        let counts = readings.iter().map(|(region, values)| {
            let value = values.get(key).map_or_else(|| "nothing".to_owned(), ToString::to_string);
            format!("{region} {value}")
        });
        counts.collect::<Vec<_>>().join(", ")
    };
    let differ = |key: &&String| {
        !readings.windows(2).all(|pair| matches!(pair, [(_, one), (_, other)] if one.get(*key) == other.get(*key)))
    };
    let differing: Vec<_> = keys.iter().filter(differ).take(3).map(|key| format!("{key}: {}", of(key))).collect();
    if differing.is_empty() {
        "all regions count alike, but not what they should".to_owned()
    } else {
        differing.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(region: &str, a: i128, b: i128) -> (String, Values) {
        (region.to_owned(), [("a".to_owned(), a), ("b".to_owned(), b)].into())
    }

    #[test]
    fn regions_agree_if_every_counter_is_the_same() {
        assert!(agree(&[reading("eu", 1, 2), reading("us", 1, 2)]));
        assert!(!agree(&[reading("eu", 1, 2), reading("us", 1, 2), reading("ap", 1, 3)]));
    }

    #[test]
    fn a_difference_is_named() {
        assert_eq!(differences(&[reading("eu", 1, 2), reading("us", 1, 3)]), "b: eu 2, us 3");
        assert!(differences(&[reading("eu", 1, 2)]).starts_with("all regions count alike"));
    }
}
