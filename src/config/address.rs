//! Addresses: where others reach a node, by IP address or by name, and where it listens.
//!
//! What others use and where a node listens are two things: a name stands for an address that changes, and an address
//! translator in front holds one that the machine does not have. So the map names the first, for everybody, and
//! `quic.listen`, `http.listen` and `redis.listen` the second, for one process. Nothing is looked up here.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// RFC 1035, 2.3.4.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Where others reach a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A name that is looked up anew at each use, and a port.
    Name {
        /// As it is written.
        host: String,
        /// Not 0.
        port: u16,
    },
}

impl Address {
    /// What `host:port` means; `None` if nobody could reach a node there.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() != 0 && is_reachable(address.ip())).then_some(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port_of(port)?;
        is_name(host).then(|| Self::Name { host: host.to_owned(), port })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }

    /// The IP address or the name, without brackets.
    pub fn host(&self) -> Cow<'_, str> {
        match self {
            Self::Ip(address) => address.ip().to_string().into(),
            Self::Name { host, .. } => host.trim_end_matches('.').into(),
        }
    }

    /// The IP address, where none has to be looked up.
    pub fn fixed(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Name { .. } => None,
        }
    }

    /// The same for all ways to write one address.
    pub(super) fn canonical(&self) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port())),
            Self::Name { port, .. } => Self::Name { host: self.host().to_ascii_lowercase(), port: *port },
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no address that others can reach"))
    }
}

/// Where a node listens: what was set, or what follows from the address that others use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(Option<SocketAddr>);

impl Listen {
    /// Nothing, or an IP address, of all interfaces perhaps, and a port.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(None));
        }
        let address: SocketAddr = text.parse().ok()?;
        let ip = address.ip().to_canonical();
        (address.port() != 0 && (ip.is_unspecified() || is_reachable(ip))).then_some(Self(Some(address)))
    }

    /// What was set.
    pub(super) fn fixed(self) -> Option<SocketAddr> {
        self.0
    }

    /// Where to listen for those who call at `public`: the first of these that the machine has. That is what was set;
    /// or the public address itself, if it is an IP address; or for a name all addresses of the machine, of IPv6 and
    /// IPv4 or, where there is no IPv6, of IPv4.
    pub fn candidates(self, public: &Address) -> Vec<SocketAddr> {
        match (self.0, public) {
            (Some(address), _) => vec![address],
            (None, Address::Ip(address)) => vec![*address],
            (None, Address::Name { port, .. }) => {
                vec![(Ipv6Addr::UNSPECIFIED, *port).into(), (Ipv4Addr::UNSPECIFIED, *port).into()]
            }
        }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.0.map(|address| address.to_string()).unwrap_or_default()
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no address to listen on"))
    }
}

/// Whether two sockets of one protocol cannot listen at both.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// Whether one node could be meant: not all, not many.
fn is_reachable(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Digits only: a sign is not part of a port.
fn port_of(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// A host's name as resolvers take it (RFC 1123, 2.1; underscores as they are found in the field), perhaps with a dot at
/// its end. One that ends in a number is none: resolvers would take it for an IPv4 address.
fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let digits = |text: &str, radix| text.chars().all(|digit| digit.is_digit(radix));
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = digits(last, 10) || hex.is_some_and(|rest| digits(rest, 16));
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_or_a_name_and_a_port() {
        for text in [
            "127.0.0.1:7400",
            "[::1]:7400",
            "[fe80::1%2]:7400",
            "localhost:7400",
            "snowtide-0.snowtide.default.svc.cluster.local:7400",
            "snowtide-0.snowtide.default.svc.cluster.local.:7400",
            "node_1.example:1",
            "3com.example:65535",
            "0.example:1",
        ] {
            let address = Address::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(address.to_string(), text, "what is written is what is shown");
            assert_eq!(Address::try_from(String::from(address.clone())), Ok(address));
        }
    }

    #[test]
    fn what_nobody_could_reach_is_no_address() {
        let long = format!("{}:1", "a.".repeat(128));
        let label = format!("{}.example:1", "a".repeat(64));
        for text in [
            "",
            ":",
            ":7400",
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "localhost:+1",
            "localhost: 1",
            "127.0.0.1",
            "127.0.0.1:0",
            "0.0.0.0:7400",
            "[::]:7400",
            "[::ffff:0.0.0.0]:7400",
            "::1:7400",
            "[::1]",
            "[::1]:0",
            "224.0.0.1:7400",
            "[ff02::1]:7400",
            "255.255.255.255:7400",
            "256.0.0.1:7400",
            "1.2.3:7400",
            "7400:7400",
            "0x7f000001:7400",
            "host.0x7F:1",
            "a..b:1",
            ".a:1",
            "-a:1",
            "a-:1",
            "a b:1",
            "ä.example:1",
            "a/b:1",
            "http://a:1",
            "user@a:1",
            "[name]:1",
            ".:1",
            &long,
            &label,
        ] {
            assert_eq!(Address::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn one_address_written_in_two_ways_is_one() {
        let canonical = |text: &str| Address::parse(text).unwrap().canonical();
        assert_eq!(canonical("Node.Example.:1"), canonical("node.example:1"));
        assert_eq!(canonical("[::ffff:10.0.0.1]:1"), canonical("10.0.0.1:1"));
        assert_ne!(canonical("node.example:1"), canonical("node.example:2"));
    }

    #[test]
    fn a_node_listens_where_it_is_told_or_at_its_own_address_or_everywhere() {
        let listen = |set: &str, public: &str| -> Vec<String> {
            let candidates = Listen::parse(set).unwrap().candidates(&Address::parse(public).unwrap());
            candidates.iter().map(ToString::to_string).collect()
        };
        assert_eq!(listen("", "10.0.0.1:7400"), ["10.0.0.1:7400"]);
        assert_eq!(listen("", "node.example:7400"), ["[::]:7400", "0.0.0.0:7400"]);
        assert_eq!(listen("0.0.0.0:7000", "203.0.113.7:7400"), ["0.0.0.0:7000"]);
        assert_eq!(listen("[::1]:7000", "node.example:7400"), ["[::1]:7000"]);
        for wrong in ["0.0.0.0", "0.0.0.0:0", ":7400", "7400", "localhost:7400", "224.0.0.1:7400", " "] {
            assert_eq!(Listen::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sockets_overlap_at_one_port_of_one_address_or_of_all() {
        let both = |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
        assert!(both("10.0.0.1:1", "10.0.0.1:1") && both("10.0.0.1:1", "[::ffff:10.0.0.1]:1"));
        assert!(both("0.0.0.0:1", "10.0.0.1:1") && both("10.0.0.1:1", "[::]:1"));
        assert!(!both("10.0.0.1:1", "10.0.0.2:1") && !both("0.0.0.0:1", "0.0.0.0:2"));
    }
}
