//! What values must be together, once each is allowed by itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use snowtide_protocol::limit::Algorithm;

use super::address::overlap;
use super::error::Problem;
use super::map::ClusterMap;
use super::origin::{Origin, Setting};
use super::schema::NAMESPACE_NAME;
use super::share::RegionShare;
use super::{Config, IdBits, LimitPolicy, MemoryShares, Token};
use crate::envoy::Domains;
use crate::identity::NamespaceId;
use crate::limits::POLICIES_MAX;
use crate::section::shape::{MIB, size_in_words as size};

/// An ID is a positive 64-bit number.
const ID_BITS: u32 = 63;
/// One connection may hold a part of the budget, which has to hold the largest request.
const REQUESTS_IN_BUDGET: u64 = 8;
/// With less, rows would come and go with every operation.
const MEMORY_BYTES_MIN: u64 = MIB;
/// Room in a frame for what surrounds the records: the head of the message, the origin, both ends.
pub(super) const FRAME_OVERHEAD_BYTES: u64 = 64 << 10;

/// Every problem of a configuration whose values are allowed one by one.
pub(super) fn problems(
    config: &Config,
    map: &ClusterMap,
    region_files: &[PathBuf],
    (origins, domains): (&[Setting], &Domains),
    now_ms: u64,
) -> Vec<Problem> {
    let mut checks = Checks { config, map, origins, domains, problems: Vec::new() };
    checks.id_bits();
    checks.numbers(region_files);
    checks.epoch(now_ms);
    checks.quarantine();
    checks.frame();
    checks.client_bytes();
    checks.memory();
    checks.tokens();
    checks.ack_wait();
    checks.door_tls();
    checks.listen();
    checks.namespaces();
    checks.namespace_ids();
    checks.policies();
    checks.problems
}

struct Checks<'a> {
    config: &'a Config,
    map: &'a ClusterMap,
    origins: &'a [Setting],
    domains: &'a Domains,
    problems: Vec<Problem>,
}

impl Checks<'_> {
    fn id_bits(&mut self) {
        let IdBits { time, region, node, sequence } = self.config.ids.bits;
        let worker = u32::from(region) + u32::from(node);
        let sum = u32::from(time) + worker + u32::from(sequence);
        if sum != ID_BITS {
            let rest = ID_BITS.saturating_sub(worker);
            self.refuse(
                "ids.bits.time",
                format!(
                    "with ids.bits.sequence = {sequence} and {worker} bits of region and node, an ID has {sum} bits, \
                     not {ID_BITS}; allowed: time and sequence that make {rest} together"
                ),
            );
        }
    }

    /// Every number of the map has room in an ID.
    fn numbers(&mut self, region_files: &[PathBuf]) {
        let IdBits { region: region_bits, node: node_bits, .. } = self.config.ids.bits;
        for (region, file) in self.map.regions.iter().zip(region_files) {
            self.number(file, "id".into(), region.id, "region", region_bits);
            for (index, node) in region.nodes.iter().enumerate() {
                self.number(file, format!("node[{index}].id"), node.id, "node", node_bits);
            }
        }
    }

    fn number(&mut self, file: &Path, key: String, number: u8, part: &str, bits: u8) {
        let fit = 1_u64.checked_shl(bits.into()).unwrap_or(u64::MAX);
        if u64::from(number) >= fit {
            self.problems.push(Problem::Refused {
                origin: Origin::File(file.to_owned()),
                key,
                value: number.to_string(),
                reason: format!("ids.bits.{part} = {bits} has no room for it; allowed: 0 to {}", fit - 1),
            });
        }
    }

    fn epoch(&mut self, now_ms: u64) {
        let Some(epoch) = self.config.ids.epoch_ms() else { return };
        let span = 1_u64.checked_shl(self.config.ids.bits.time.into()).unwrap_or(u64::MAX);
        match now_ms.checked_sub(epoch) {
            None => {
                let reason = "it has not come yet by this machine's clock; allowed: a time that has passed";
                self.refuse("ids.epoch", reason);
            }
            Some(age) if age >= span => {
                let time = self.config.ids.bits.time;
                let reason = format!("the milliseconds since then need more than ids.bits.time = {time} bits");
                self.refuse("ids.epoch", reason);
            }
            Some(_) => {}
        }
    }

    fn quarantine(&mut self) {
        let Config { ids, peer, tuning, .. } = self.config;
        let digests = tuning.gossip.digest_interval.saturating_mul(4);
        let least = ids.max_backstep.saturating_add(peer.idle_timeout).saturating_add(digests);
        if ids.quarantine < least {
            let least = humantime::format_duration(least);
            let parts = "ids.max_backstep, peer.idle_timeout and four gossip.digest_interval";
            self.refuse("ids.quarantine", format!("allowed: at least {least}, for {parts}"));
        }
    }

    fn frame(&mut self) {
        let (commit, request) = (self.config.tuning.commit.bytes_max, self.config.api.request_bytes_max);
        // One request may come on top of a commit that is nearly full, and a record cannot be cut.
        let least = commit.as_u64().saturating_add(request.as_u64()).saturating_add(FRAME_OVERHEAD_BYTES);
        if self.config.frame.bytes_max < ByteSize(least) {
            self.refuse(
                "frame.bytes_max",
                format!(
                    "allowed: at least {}, for commit.bytes_max ({}), api.request_bytes_max ({}) and {} around them",
                    size(least),
                    size(commit.as_u64()),
                    size(request.as_u64()),
                    size(FRAME_OVERHEAD_BYTES)
                ),
            );
        }
    }

    fn client_bytes(&mut self) {
        let request = self.config.api.request_bytes_max.as_u64();
        let least = request.saturating_mul(REQUESTS_IN_BUDGET);
        if self.config.api.client_bytes_max < ByteSize(least) {
            let (request, least) = (size(request), size(least));
            self.refuse(
                "api.client_bytes_max",
                format!("allowed: at least {least}, {REQUESTS_IN_BUDGET} times api.request_bytes_max ({request})"),
            );
        }
    }

    /// What follows from the machine's memory is known at the start.
    fn memory(&mut self) {
        let bytes = self.config.tuning.memory.bytes_max.as_u64();
        if bytes == 0 {
            return;
        }
        if bytes < MEMORY_BYTES_MIN {
            self.refuse("memory.bytes_max", format!("allowed: 0B, or at least {}", size(MEMORY_BYTES_MIN)));
        } else if let Err(reason) = self.config.dirty_rows_max(&MemoryShares::of(bytes)) {
            self.refuse("checkpoint.dirty_rows_max", reason);
        }
    }

    fn ack_wait(&mut self) {
        if self.config.api.ack_wait > self.config.api.wait_max {
            let longest = humantime::format_duration(self.config.api.wait_max);
            self.refuse("api.ack_wait", format!("allowed: at most api.wait_max ({longest})"));
        }
    }

    fn door_tls(&mut self) {
        let Config { http, redis, grpc, .. } = self.config;
        for (door, tls) in [("http", &http.tls), ("redis", &redis.tls), ("grpc", &grpc.tls)] {
            let (missing, given) = match (tls.is_on(), tls.key.as_os_str().is_empty()) {
                (false, false) => ("certificate", "key"),
                (true, true) => ("key", "certificate"),
                _ => continue,
            };
            let reason = format!("{door}.tls.{given} is given; allowed: both or neither");
            self.refuse(&format!("{door}.tls.{missing}"), reason);
        }
    }

    /// TCP sockets are not shared; UDP has one door.
    fn listen(&mut self) {
        let Config { http, redis, grpc, .. } = self.config;
        let doors = [("http", http.listen), ("redis", redis.listen), ("grpc", grpc.listen)];
        for (index, (door, listen)) in doors.iter().enumerate() {
            let Some(address) = listen.fixed() else { continue };
            let earlier = doors.iter().take(index).filter_map(|(door, listen)| Some((door, listen.fixed()?)));
            if let Some((other, at)) = earlier.into_iter().find(|(_, other)| overlap(*other, address)) {
                let reason = format!("{other}.listen = \"{at}\" is there too; allowed: another port or address");
                self.refuse(&format!("{door}.listen"), reason);
            }
        }
    }

    fn tokens(&mut self) {
        let (mut secrets, mut names) = (HashMap::new(), HashMap::new());
        for (index, token) in self.config.api.tokens.iter().enumerate() {
            if let Some(first) = secrets.insert(&token.token, index) {
                let reason = format!("api.tokens[{first}].token is the same; allowed: each token once");
                self.refuse_token(index, "token", "(redacted)".into(), reason);
            }
            let allows = |token: &Token| (token.access.clone(), token.namespaces.clone());
            let (first, same) = names.entry(&token.name).or_insert_with(|| (index, allows(token)));
            if *same != allows(token) {
                let reason =
                    format!("api.tokens[{first}] has this name, too, and allows something else; allowed: the same");
                self.refuse_token(index, "name", format!("{:?}", token.name), reason);
            }
            if token.access.is_empty() {
                self.refuse_token(index, "access", "[]".into(), "it allows nothing; allowed: at least one".into());
            }
            let unknown = token.namespaces.iter().find(|name| !self.config.namespace.contains_key(*name));
            if let Some(unknown) = unknown {
                let known: Vec<_> = self.config.namespace.keys().map(String::as_str).collect();
                let reason = format!("there is no such namespace; allowed: some of {}", known.join(", "));
                self.refuse_token(index, "namespaces", format!("{unknown:?}"), reason);
            }
        }
    }

    fn refuse_token(&mut self, index: usize, key: &str, value: String, reason: String) {
        let (origin, key) = (self.origin("api.tokens"), format!("api.tokens[{index}].{key}"));
        self.problems.push(Problem::Refused { origin, key, value, reason });
    }

    fn namespaces(&mut self) {
        if self.config.namespace.is_empty() {
            self.refuse(
                "namespace",
                format!("allowed: at least one table [namespace.<name>]; a name is {NAMESPACE_NAME}"),
            );
        }
        for (name, namespace) in &self.config.namespace {
            let unknown = namespace.regions.iter().find(|region| self.map.region(region).is_none());
            if let Some(unknown) = unknown {
                let known: Vec<_> = self.map.regions.iter().map(|region| region.name.as_str()).collect();
                self.refuse(
                    &format!("namespace.{name}.regions"),
                    format!("no region is named {unknown:?}; allowed: some of {}", known.join(", ")),
                );
            }
        }
    }

    /// A namespace's number is a hash of its name, and two logs under one number would be one.
    fn namespace_ids(&mut self) {
        let mut names = BTreeMap::new();
        for name in self.config.namespace.keys() {
            if let Some(first) = names.insert(NamespaceId::of(name), name) {
                self.problems.push(Problem::Refused {
                    origin: self.origin(&format!("namespace.{name}")),
                    key: "namespace".into(),
                    value: format!("{name:?}"),
                    reason: format!("{first:?} hashes to the same number; allowed: any other name for one of them"),
                });
            }
        }
    }

    fn policies(&mut self) {
        let of_envoy = self.config.envoy.policies(self.map, self.domains).len();
        if self.config.limits.policy.len() > POLICIES_MAX {
            self.refuse("limits.policy", format!("allowed: at most {POLICIES_MAX} policies"));
        } else if self.config.limits.policy.len().saturating_add(of_envoy) > POLICIES_MAX {
            let most = format!("allowed: at most {POLICIES_MAX} policies, those of limits.policy among them");
            self.refuse("envoy.descriptors", format!("{most}; its files have {of_envoy} rate limits"));
        }
        for (name, policy) in &self.config.limits.policy {
            let key = format!("limits.policy.{name}");
            self.policy_regions(&format!("{key}.regions"), policy);
            if policy.burst > 0 && policy.algorithm != Algorithm::Gcra {
                let reason = format!("{key}.algorithm = \"{}\" has none; allowed: 0", policy.algorithm);
                self.refuse(&format!("{key}.burst"), reason);
            }
            if let Err(error) = policy.policy(name, self.map).check()
                && !self.map.regions.is_empty()
            {
                self.refuse(&key, error.to_string());
            }
        }
    }

    fn policy_regions(&mut self, key: &str, policy: &LimitPolicy) {
        let mut seen = BTreeSet::new();
        for RegionShare { region, .. } in policy.regions.iter().filter_map(|text| RegionShare::read(text)) {
            if self.map.region(region).is_none() {
                let known: Vec<_> = self.map.regions.iter().map(|region| region.name.as_str()).collect();
                let known = known.join(", ");
                self.refuse(key, format!("no region is named {region:?}; allowed: some of {known}"));
            }
            if !seen.insert(region) {
                self.refuse(key, format!("{region:?} is there twice; allowed: each region once"));
            }
        }
    }

    fn refuse(&mut self, key: &str, reason: impl Into<String>) {
        let value = self.setting(key).map(Setting::literal).unwrap_or_default();
        let origin = self.origin(key);
        self.problems.push(Problem::Refused { origin, key: key.to_owned(), value, reason: reason.into() });
    }

    fn origin(&self, key: &str) -> Origin {
        self.setting(key).map_or(Origin::BuiltIn, |setting| setting.origin.clone())
    }

    /// At the key, or the first below it, or the table above that was left empty.
    fn setting(&self, key: &str) -> Option<&Setting> {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.origins.iter().find(|setting| within(&setting.key, key) || within(key, &setting.key))
    }
}
