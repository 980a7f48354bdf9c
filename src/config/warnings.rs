//! What is allowed, and still worth a word: said at each start, and by `snowtide config check`.

use std::net::SocketAddr;

use super::Config;
use super::map::Node;

/// What to warn of where these nodes are served.
pub fn warnings<'a>(config: &Config, nodes: impl IntoIterator<Item = &'a Node>) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.api.tokens.is_empty() {
        let open: Vec<_> = nodes.into_iter().flat_map(|node| doors(config, node)).collect();
        if !open.is_empty() {
            warnings.push(format!(
                "api.tokens is empty: whoever reaches {} may read and count, and mint IDs",
                open.join(", ")
            ));
        }
    }
    if config.cluster.secret.is_empty() {
        warnings.push(
            "cluster.secret is empty: clients that choose keys can make repair slow; it cannot be changed once there is \
             data"
                .to_owned(),
        );
    }
    warnings
}

/// Where a node listens for others than this machine.
fn doors(config: &Config, node: &Node) -> Vec<String> {
    let redis = node.redis.as_ref().map(|redis| (config.redis.listen, redis, "tcp"));
    let grpc = node.grpc.as_ref().map(|grpc| (config.grpc.listen, grpc, "tcp"));
    let doors = [(config.quic.listen, &node.quic, "udp"), (config.http.listen, &node.http, "tcp")];
    let open = |listen: &[SocketAddr]| listen.iter().any(|address| !address.ip().to_canonical().is_loopback());
    let doors = doors
        .into_iter()
        .chain(redis)
        .chain(grpc)
        .map(|(listen, public, protocol)| (listen.candidates(public), protocol));
    let doors = doors.filter(|(listen, _)| open(listen));
    doors.filter_map(|(listen, protocol)| Some(format!("{}/{protocol}", listen.first()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::address::Address;
    use crate::config::{Permission, Token};

    fn node(ip: &str, redis: Option<&str>) -> Node {
        let at = |address: String| Address::from(address.parse::<SocketAddr>().unwrap());
        let redis = redis.map(|address| at(address.to_owned()));
        Node { id: 0, quic: at(format!("{ip}:1")), http: at(format!("{ip}:2")), redis, grpc: None }
    }

    #[test]
    fn a_door_to_the_network_without_tokens_and_an_empty_secret_are_worth_a_word() {
        let mut config = Config::builtin();
        config.cluster.secret = "0123456789abcdef".into();
        assert_eq!(warnings(&config, [&node("127.0.0.1", Some("[::1]:3"))]), Vec::<String>::new());
        for (there, named) in [
            (node("10.0.0.1", None), "10.0.0.1:1/udp, 10.0.0.1:2/tcp may"),
            (node("127.0.0.1", Some("[2001:db8::1]:3")), "reaches [2001:db8::1]:3/tcp may"),
            (node("[::ffff:10.0.0.1]", None), "[::ffff:10.0.0.1]:1/udp"),
        ] {
            let found = warnings(&config, [&there]);
            assert!(found.len() == 1 && found[0].contains(named), "{found:?}");
        }
        let (name, token) = ("a".to_owned(), "0123456789abcdef".to_owned());
        // Behind an address translator, or a proxy on the same machine.
        config.http.listen = "0.0.0.0:2".to_owned().try_into().unwrap();
        assert!(warnings(&config, [&node("127.0.0.1", None)])[0].contains("reaches 0.0.0.0:2/tcp may"));
        config.http.listen = "127.0.0.1:2".to_owned().try_into().unwrap();
        config.quic.listen = "127.0.0.1:1".to_owned().try_into().unwrap();
        assert_eq!(warnings(&config, [&node("10.0.0.1", None)]), Vec::<String>::new());
        config.http.listen = "".to_owned().try_into().unwrap();
        config.api.tokens.push(Token { name, token, access: vec![Permission::Read], namespaces: Vec::new() });
        assert_eq!(warnings(&config, [&node("10.0.0.1", None)]), Vec::<String>::new());
        config.cluster.secret.clear();
        assert!(warnings(&config, [])[0].starts_with("cluster.secret is empty"));
    }
}
