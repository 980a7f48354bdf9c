//! `[http]`, `[quic]`, `[redis]`, `[grpc]`: the front doors, each by itself.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use super::address::Listen;
use super::schema::{FILE, LISTEN, ORIGIN};
use crate::section::section;
use crate::section::shape::{DAY, HOUR, MINUTE, SECOND, Shape, count, duration};

section! {
    /// `[http]`
    pub struct Http {
        /// Where this node listens (TCP). Empty: at the address of the region file where that is an IP address; where
        /// it is a name, at its port of all addresses of the machine. Set it where others reach the node by an address
        /// that the machine does not have, such as that of an address translator in front.
        pub listen: Listen = "", LISTEN;

        /// Open connections. At the bound, those that have been idle the longest are closed for new ones; if none has
        /// been idle for a second and a half, new ones are answered 503 overloaded and closed. Each takes a file
        /// descriptor: a start raises the limit of this process as far as it may, puts aside what the store needs, and
        /// where the rest is too little for this key and redis.connections_max, lowers both with a warning (metric
        /// snowtide_connections_max).
        pub connections_max: usize = 4096, count(1, 1_000_000);

        /// How long the head of a request may take. When it is over, the connection is closed.
        #[serde(with = "humantime_serde")]
        pub header_timeout: Duration = "10s", duration(100, 5 * MINUTE);

        /// How long a connection may do nothing: neither ask nor take anything. When it is over, it is closed. Nor may
        /// any part of an answer lie longer than that without being taken.
        #[serde(with = "humantime_serde")]
        pub idle_timeout: Duration = "60s", duration(100, HOUR);

        /// Clients that watch a counter (GET /v1/counters/{namespace}/{key}/watch). One more is refused with 503
        /// overloaded. However many are allowed here, they take no more than a fourth of api.client_bytes_max, 32KiB
        /// each.
        pub watchers_max: usize = 256, count(1, 10_000);

        /// How often the counters that somebody watches are looked at, all of them in one batch; one that somebody new
        /// asks for is looked at once more as soon as they ask.
        #[serde(with = "humantime_serde")]
        pub watch_interval: Duration = "250ms", duration(10, MINUTE);

        /// How long a ticket (POST /v1/watch-tickets) lets its holder begin to watch its counter. It stands in URLs,
        /// which are logged. A page whose stream breaks after that has to ask for another one.
        #[serde(with = "humantime_serde")]
        pub ticket_validity: Duration = "10m", duration(10 * SECOND, DAY);

        /// Which web pages may read what this door answers.
        pub cors: HttpCors;

        /// Who this door is.
        pub tls: DoorTls;
    }
    fixed {
        /// The largest head of a request, its path and its headers. A larger one is answered 431 and, over HTTP/1.1,
        /// the connection is closed.
        pub head_bytes_max: ByteSize = ByteSize::kib(64), by "Http::head_bytes_max";

        /// Requests at once on one HTTP/2 connection. At the bound, the protocol makes the client wait before it sends
        /// another. For as many as there ever were at once, a connection takes 4KiB each of `api.client_bytes_max`,
        /// until it is closed.
        pub streams_max: u32 = 32, by "Http::streams_max";

        /// Pages of counters that are being made at once. One more is refused with 429 throttled.
        pub listings_max: usize = 16, by "Http::listings_max";
    }
}

section! {
    /// `[http.cors]`
    pub struct HttpCors {
        /// The origins of web pages that browsers let read what this door answers, as in ["https://app.example.com"];
        /// "*" means all. None: nothing is said to browsers, and they let only pages of the door's own origin read. It
        /// opens nothing to callers that a token does not. An origin has a port only if it is not the scheme's own, and
        /// no path, not even a slash.
        pub origins: Vec<String> = [], Shape::List(&ORIGIN);
    }
}

section! {
    /// `[http.tls]`, `[redis.tls]` and `[grpc.tls]`
    pub struct DoorTls {
        /// The certificate by which clients know this node, with those between it and their authority, in PEM. Empty:
        /// no TLS at this door. With it, nothing else is spoken there: TLS 1.3, and over HTTP, HTTP/2 or HTTP/1.1 by
        /// ALPN. `snowtide cluster` asks nodes over TLS if HTTP has one, and believes ca.pem of tls.dir, or the file of
        /// --ca.
        pub certificate: PathBuf = "", FILE;

        /// Its private key, in PEM. Given if and only if the certificate is.
        pub key: PathBuf = "", FILE;
    }
}

impl DoorTls {
    /// Whether the door speaks TLS.
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }
}

section! {
    /// `[quic]`
    pub struct Quic {
        /// Where this node listens for peers and clients (UDP). Empty: at the address of the region file where that is
        /// an IP address; where it is a name, at its port of all addresses of the machine. Set it where others reach
        /// the node by an address that the machine does not have, such as that of an address translator in front.
        pub listen: Listen = "", LISTEN;

        /// Open connections of clients; peers have places of their own. At the bound, those that have been idle the
        /// longest are closed for new ones; if none has been idle for a second and a half, new ones are refused.
        pub connections_max: usize = 1024, count(1, 100_000);

        /// How long a connection may do nothing. When it is over, it is closed.
        #[serde(with = "humantime_serde")]
        pub idle_timeout: Duration = "30s", duration(100, HOUR);
    }
    fixed {
        /// Requests of one connection that are not answered yet. At the bound, its next ones are not read until an
        /// answer is sent, which slows the client by flow control.
        pub requests_max: u32 = 1_024, by "Quic::requests_max";

        /// Open streams of one connection. At the bound, QUIC makes the client wait before it opens another.
        pub streams_max: u32 = 16, by "Quic::streams_max";
    }
}

section! {
    /// `[redis]`
    pub struct Redis {
        /// Where this node listens (TCP). Empty: at the address of the region file where that is an IP address; where
        /// it is a name, at its port of all addresses of the machine. Set it where others reach the node by an address
        /// that the machine does not have, such as that of an address translator in front. Without `redis` in the
        /// region file it does not listen at all.
        pub listen: Listen = "", LISTEN;

        /// Open connections of the Redis protocol. At the bound, those that have been idle the longest are closed for
        /// new ones; if none has been idle for a second and a half, new ones are answered "ERR max number of clients
        /// reached" and closed. As with http.connections_max, a start lowers it where this process may have too few
        /// files open.
        pub connections_max: usize = 1024, count(1, 1_000_000);

        /// How long a connection may ask nothing. When it is over, it is closed.
        #[serde(with = "humantime_serde")]
        pub idle_timeout: Duration = "5m", duration(100, DAY);

        /// Words of one command, its name included; its bytes are bounded by api.request_bytes_max. A longer command is
        /// refused before it is read, and the connection is closed. The default lets MGET take as many keys as one
        /// batch may have.
        pub arguments_max: usize = 10001, count(16, 10_001);

        /// Who this door is.
        pub tls: DoorTls;
    }
    fixed {
        /// What the commands between MULTI and EXEC of all connections hold in memory together; of one connection, 2
        /// MiB at most. They count towards `api.client_bytes_max` as well. One more command is refused with "TRYAGAIN
        /// overloaded", and its transaction with it.
        pub queued_bytes_max: ByteSize = ByteSize::mib(64), by "Redis::queued_bytes_max";
    }
}

section! {
    /// `[grpc]`
    pub struct Grpc {
        /// Where this node listens (TCP) for Envoy's rate limit service. Empty: at the address of the region file where
        /// that is an IP address; where it is a name, at its port of all addresses of the machine. Set it where others
        /// reach the node by an address that the machine does not have, such as that of an address translator in front.
        /// Without `grpc` in the region file it does not listen at all.
        pub listen: Listen = "", LISTEN;

        /// Open connections of gRPC. At the bound, those that have been idle the longest are closed for new ones; if none
        /// has been idle for a second and a half, new ones are closed. A proxy has one for each of its threads. As with
        /// http.connections_max, a start lowers it where this process may have too few files open.
        pub connections_max: usize = 1024, count(1, 1_000_000);

        /// How long a connection may ask nothing. When it is over, it is closed, and its client opens another when it has
        /// something to ask.
        #[serde(with = "humantime_serde")]
        pub idle_timeout: Duration = "5m", duration(100, DAY);

        /// Calls at once on one connection. At the bound, the protocol makes the client wait before it sends another. For
        /// as many as there ever were at once, a connection takes 4KiB each of api.client_bytes_max, until it is closed.
        pub calls_max: u32 = 128, count(1, 10_000);

        /// Who this door is.
        pub tls: DoorTls;
    }
}
