//! Terms between clients and the replica: tokens, acknowledgements and views are written in the words of clients, and theirs are
//! read.
//!
//! A client's token speaks of scopes: numbers that stand for a namespace of this cluster, so that a token of another
//! cluster is told apart. The replica's speaks of namespaces, and its regions are numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use snowtide_protocol::wire::OnTerms;
use snowtide_protocol::{self as protocol, Code};
use xxhash_rust::xxh3::Xxh3;

use crate::config::Config;
use crate::config::map::ClusterMap;
use crate::identity::{NamespaceId, ReplicaId};
use crate::replica::{Receipt, Token, View};

/// What it takes to translate.
#[derive(Debug)]
pub struct TermsCodec {
    /// Every namespace of the configuration, whether it is served here or not.
    namespaces: BTreeMap<u64, NamespaceId>,
    scopes: BTreeMap<NamespaceId, u64>,
    regions: BTreeMap<u8, String>,
    token_bytes_max: usize,
    wait_max: Duration,
    ack_wait: Duration,
}

impl TermsCodec {
    /// For one node.
    pub fn new(config: &Config, map: &ClusterMap) -> Self {
        let scope = |name: &String| (scope_of(&config.cluster.id, name), NamespaceId::of(name));
        let namespaces: BTreeMap<u64, NamespaceId> = config.namespace.keys().map(scope).collect();
        Self {
            scopes: namespaces.iter().map(|(scope, namespace)| (*namespace, *scope)).collect(),
            namespaces,
            regions: map.regions.iter().map(|region| (region.id, region.name.clone())).collect(),
            token_bytes_max: usize::try_from(config.api.token_bytes_max.as_u64()).unwrap_or(usize::MAX),
            wait_max: config.api.wait_max,
            ack_wait: config.api.ack_wait,
        }
    }

    /// Reads a token in its written form.
    pub fn read(&self, text: &str) -> Result<Token, String> {
        self.fits(text.len())?;
        self.known(&text.parse().map_err(|error: protocol::BadToken| error.to_string())?)
    }

    /// Reads a token in bytes; empty bytes are none.
    pub fn read_bytes(&self, bytes: &[u8]) -> Result<Token, String> {
        if bytes.is_empty() {
            return Ok(Token::default());
        }
        self.fits(written_len(bytes.len()))?;
        self.known(&protocol::Token::from_bytes(bytes).map_err(|error| error.to_string())?)
    }

    fn fits(&self, length: usize) -> Result<(), String> {
        let max = self.token_bytes_max;
        let detail = || format!("a token has at most {max} characters (api.token_bytes_max), this one {length}");
        if length <= max { Ok(()) } else { Err(detail()) }
    }

    fn known(&self, token: &protocol::Token) -> Result<Token, String> {
        let mark = |(scope, replica, seq)| {
            let namespace = self.namespaces.get(&scope);
            namespace.map(|namespace| (*namespace, ReplicaId(replica), seq)).ok_or_else(|| {
                "the token is another cluster's, or names a namespace that this cluster does not have".to_owned()
            })
        };
        token.iter().map(mark).collect()
    }

    /// A token as a client gets it; `None` if it is longer than this node would take back.
    pub fn write(&self, token: &Token) -> Option<protocol::Token> {
        let mut written = protocol::Token::new();
        for (namespace, replica, seq) in token.iter() {
            written.raise(*self.scopes.get(&namespace)?, replica.0, seq);
        }
        (written_len(written.to_bytes().len()) <= self.token_bytes_max).then_some(written)
    }

    /// The number that stands for a namespace in what this cluster gives out; `None` if it is not configured.
    pub fn scope(&self, namespace: NamespaceId) -> Option<u64> {
        self.scopes.get(&namespace).copied()
    }

    /// How long a request that asks to wait may do so.
    pub fn granted(&self, wait: Duration) -> Duration {
        wait.min(self.wait_max)
    }

    /// How many milliseconds a request that is ready to wait so long may wait for its token, and how many for other regions.
    pub fn waits_ms(&self, wait: Option<Duration>) -> (u64, u64) {
        let ms = |wait: Duration| u64::try_from(self.granted(wait).as_millis()).unwrap_or(u64::MAX);
        (wait.map_or(0, ms), ms(wait.unwrap_or(self.ack_wait)))
    }

    /// The receipt with results, as a QUIC client gets it.
    pub fn on_terms(&self, results: Vec<Result<i128, Code>>, receipt: &Receipt) -> OnTerms {
        let token = receipt.token.as_ref().and_then(|token| self.write(token)).map(|token| token.to_bytes());
        let views = receipt.views.iter().map(|view| self.view(view)).collect();
        OnTerms {
            results,
            token,
            acknowledged_by: self.names(&receipt.acknowledged_by),
            pending: receipt.pending,
            views,
            repeated: receipt.repeated,
        }
    }

    /// A view with the regions' names.
    pub fn view(&self, view: &View) -> protocol::View {
        let share = |share: &crate::replica::Share| protocol::Share {
            region: self.name(share.region),
            value: share.value,
            as_of_ms: share.as_of_ms,
        };
        protocol::View {
            regions: view.regions.iter().map(share).collect(),
            settled: view.settled,
            behind: self.names(&view.behind),
        }
    }

    /// The regions' names, by number.
    pub fn names<'a>(&self, regions: impl IntoIterator<Item = &'a u8>) -> Vec<String> {
        regions.into_iter().map(|region| self.name(*region)).collect()
    }

    /// A region that has left the map is shown by its number.
    fn name(&self, region: u8) -> String {
        self.regions.get(&region).cloned().unwrap_or_else(|| format!("region-{region}"))
    }
}

/// The number that stands for a namespace of a cluster in tokens.
fn scope_of(cluster: &str, namespace: &str) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(cluster.as_bytes());
    // A byte that is in neither name.
    hasher.update(&[0]);
    hasher.update(namespace.as_bytes());
    hasher.digest()
}

/// Characters of base64 without padding.
fn written_len(bytes: usize) -> usize {
    bytes.saturating_mul(4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(cluster: &str) -> TermsCodec {
        let mut config = Config::builtin();
        config.cluster.id = cluster.to_owned();
        TermsCodec::new(&config, &ClusterMap { regions: Vec::new() })
    }

    fn token(marks: u64) -> Token {
        (0..marks).map(|replica| (NamespaceId::of("default"), ReplicaId(u64::MAX - replica), u64::MAX)).collect()
    }

    #[test]
    fn a_token_comes_back_as_it_was_given_out() {
        let codec = codec("one");
        for token in [Token::default(), token(1), token(20)] {
            let written = codec.write(&token).unwrap();
            assert_eq!(codec.read(&written.to_string()).unwrap(), token);
            assert_eq!(codec.read_bytes(&written.to_bytes()).unwrap(), token);
        }
        assert_eq!(codec.read_bytes(&[]).unwrap(), Token::default());
    }

    #[test]
    fn another_clusters_token_is_told_apart() {
        let written = codec("one").write(&token(1)).unwrap().to_string();
        assert!(codec("two").read(&written).unwrap_err().contains("another cluster"));
    }

    #[test]
    fn no_token_is_taken_or_given_out_that_is_longer_than_allowed() {
        let mut config = Config::builtin();
        config.api.token_bytes_max = bytesize::ByteSize(256);
        let narrow = TermsCodec::new(&config, &ClusterMap { regions: Vec::new() });
        assert!(narrow.write(&token(5)).is_some());
        assert_eq!(narrow.write(&token(50)), None);
        let wide = TermsCodec::new(&Config::builtin(), &ClusterMap { regions: Vec::new() }).write(&token(50)).unwrap();
        for refused in [narrow.read(&wide.to_string()), narrow.read_bytes(&wide.to_bytes())] {
            assert!(refused.unwrap_err().contains("api.token_bytes_max"));
        }
    }

    #[test]
    fn waiting_is_cut_to_what_is_allowed_and_acknowledgements_have_a_wait_of_their_own() {
        let codec = codec("one");
        assert_eq!(codec.waits_ms(Some(Duration::from_secs(1_000_000))), (10_000, 10_000));
        assert_eq!(codec.waits_ms(None), (0, 2_000));
    }
}
