//! What a replicated counter cannot do: the commands of Redis that are refused, why, and what to do instead.

/// Commands that are refused for one reason, in lower case, and the reason.
const REFUSED: [(&str, &str); 11] = [
    (
        "set setex psetex setnx mset msetnx getset getdel getex append setrange",
        "a counter is changed in several regions at once and cannot be set: change it by INCRBY or DECRBY, or \
         count from 0 under another key",
    ),
    (
        "incrbyfloat hincrby hincrbyfloat zincrby",
        "counters are whole numbers, each under a key of its own: use INCRBY, in a smaller unit if need be",
    ),
    (
        "del unlink rename renamenx copy move restore",
        "a counter that was deleted would come back from a region that had not heard of it: use another key, or \
         subtract its value",
    ),
    (
        "expire pexpire expireat pexpireat persist ttl pttl expiretime pexpiretime",
        "counters do not expire: put the period into the key, such as hits:2026-01-31",
    ),
    (
        "strlen getrange substr getbit setbit bitcount bitpos bitop bitfield lcs",
        "a counter is a number, not a string: use GET",
    ),
    (
        "watch unwatch",
        "other regions change a counter meanwhile, so nothing can depend on its not being changed; counters are \
         only added to, and increments commute: send them without it",
    ),
    (
        "eval evalsha eval_ro evalsha_ro script fcall fcall_ro function",
        "increments of several regions commute, so there are no scripts: send commands in one pipeline, each \
         counts exactly once",
    ),
    (
        "subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe publish spublish pubsub monitor",
        "there are no channels here: read counters with MGET",
    ),
    (
        "keys scan randomkey dbsize type object sort sort_ro dump touch",
        "counters are not listed or described, they are found by their keys: use GET, MGET or EXISTS",
    ),
    (
        "flushall flushdb swapdb",
        "counters of other regions cannot be thrown away from here: stop all nodes and remove their data \
         directories",
    ),
    (
        "wait waitaof save bgsave bgrewriteaof lastsave shutdown replicaof slaveof cluster failover debug acl",
        "a node of Snowtide is not run by this protocol: every answer to a write has waited for its sync; more is \
         asked over HTTP and by the command line of snowtide",
    ),
];

/// Why this command is refused, if it is one that Redis has and a counter cannot have.
pub(super) fn why(name: &[u8]) -> Option<&'static str> {
    let named = |names: &str| names.split(' ').any(|one| name.eq_ignore_ascii_case(one.as_bytes()));
    REFUSED.iter().find(|(names, _)| named(names)).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::redis::table::COMMANDS;

    #[test]
    fn every_name_is_in_lower_case_and_refused_once_and_not_served() {
        let names: Vec<&str> = REFUSED.iter().flat_map(|(names, _)| names.split(' ')).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for name in names {
            assert_eq!(name, name.to_ascii_lowercase());
            assert!(COMMANDS.iter().all(|command| command.name != name), "{name} is served");
            assert!(why(name.to_ascii_uppercase().as_bytes()).is_some());
        }
        assert_eq!(why(b"nonsense"), None);
    }
}
