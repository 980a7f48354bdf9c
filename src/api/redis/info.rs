//! What a node tells about itself: `HELLO`, `INFO`, `CONFIG GET` and `COMMAND`.

use std::fmt::Write;
use std::sync::LazyLock;

use super::reply::{Reply, Version};
use super::request::Words;
use super::table::{self, COMMANDS};

/// The version of Redis whose commands and replies these are: clients choose by it what they send.
const REDIS_VERSION: &str = "7.2.0";

/// What tools look for before they measure.
const SETTINGS: [(&str, &str); 3] = [("save", ""), ("appendonly", "yes"), ("appendfsync", "always")];

/// Long replies that are always the same, which anybody may ask for again and again: they are made once.
static ROWS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    made(|reply| {
        reply.array(COMMANDS.len());
        COMMANDS.iter().for_each(|spec| spec.tell(reply));
    })
});
static DOCS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    made(|reply| {
        reply.map(COMMANDS.len());
        COMMANDS.iter().for_each(|spec| spec.tell_docs(reply));
    })
});

/// What `INFO` tells.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub(super) port: u16,
    pub(super) uptime_s: u64,
    pub(super) clients: usize,
    pub(super) clients_max: usize,
    /// The node has not begun to serve.
    pub(super) loading: bool,
    pub(super) region: &'a str,
    pub(super) node: u8,
}

impl Facts<'_> {
    /// The sections of these names; all without any.
    pub(super) fn info(&self, names: Words<'_>) -> String {
        let wanted = |section: &str| {
            let all = ["all", "default", "everything"];
            let named = |name: &[u8], one: &str| name.eq_ignore_ascii_case(one.as_bytes());
            names.len() == 0 || names.iter().any(|name| named(name, section) || all.iter().any(|all| named(name, all)))
        };
        let Self { port, uptime_s, clients, clients_max, region, node, .. } = self;
        let version = env!("CARGO_PKG_VERSION");
        let sections = [
            (
                "Server",
                format!(
                    "redis_version:{REDIS_VERSION}\r\nsnowtide_version:{version}\r\nredis_mode:standalone\r\n\
                     process_id:{}\r\ntcp_port:{port}\r\nuptime_in_seconds:{uptime_s}\r\n",
                    std::process::id()
                ),
            ),
            ("Clients", format!("connected_clients:{clients}\r\nmaxclients:{clients_max}\r\n")),
            ("Persistence", format!("loading:{}\r\naof_enabled:1\r\n", u8::from(self.loading))),
            ("Replication", format!("role:master\r\nregion:{region}\r\nnode:{node}\r\n")),
        ];
        let mut text = String::new();
        for (name, lines) in sections.iter().filter(|(name, _)| wanted(name)) {
            let space = if text.is_empty() { "" } else { "\r\n" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{space}# {name}\r\n{lines}");
        }
        text
    }
}

/// The reply to `HELLO`.
pub(super) fn greet(reply: &mut Reply<'_>, version: i64, client: i64) {
    reply.map(7);
    reply.texts([("server", "redis"), ("version", REDIS_VERSION)]);
    for (name, value) in [("proto", version), ("id", client)] {
        reply.text(name.as_bytes());
        reply.integer(value);
    }
    reply.texts([("mode", "standalone"), ("role", "master")]);
    reply.text(b"modules");
    reply.array(0);
}

/// The reply to `CONFIG GET`; names that Snowtide has no word for have no value.
pub(super) fn settings(reply: &mut Reply<'_>, names: Words<'_>) {
    let asked = |name: &str| names.iter().any(|asked| asked == b"*" || asked.eq_ignore_ascii_case(name.as_bytes()));
    let found = || SETTINGS.into_iter().filter(|(name, _)| asked(name));
    reply.map(found().count());
    reply.texts(found());
}

/// The reply to `COMMAND`.
pub(super) fn commands(reply: &mut Reply<'_>) {
    reply.made(&ROWS);
}

/// The reply to `COMMAND INFO`: a row for each name, or nothing where there is no such command.
pub(super) fn rows(reply: &mut Reply<'_>, names: Words<'_>) {
    if names.len() == 0 {
        return commands(reply);
    }
    reply.array(names.len());
    for name in names.iter() {
        match table::find(name) {
            Some(spec) => spec.tell(reply),
            None => reply.no_array(),
        }
    }
}

/// The reply to `COMMAND DOCS`; names of no command are left out.
pub(super) fn docs(reply: &mut Reply<'_>, names: Words<'_>) {
    if names.len() == 0 {
        return reply.made(&DOCS);
    }
    let found = || names.iter().filter_map(table::find);
    reply.map(found().count());
    found().for_each(|spec| spec.tell_docs(reply));
}

fn made(tell: impl Fn(&mut Reply<'_>)) -> [Vec<u8>; 2] {
    [Version::Resp2, Version::Resp3].map(|version| {
        let mut bytes = Vec::new();
        tell(&mut Reply::to(&mut bytes, version));
        bytes
    })
}

/// The reply to `COMMAND LIST`.
pub(super) fn names(reply: &mut Reply<'_>) {
    reply.array(COMMANDS.len());
    COMMANDS.iter().for_each(|spec| reply.text(spec.name.as_bytes()));
}
