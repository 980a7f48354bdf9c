//! Which keys of two configurations differ.

use serde_json::Value;

use super::Config;

/// The keys whose values differ, sorted. A list is one value; a table that only one has is named as far as it is the only one.
pub fn differing(one: &Config, other: &Config) -> Vec<String> {
    // A configuration that was loaded can be written; one that cannot differs in nothing that can be named.
    let [one, other] = [one, other].map(|config| serde_json::to_value(config).unwrap_or_default());
    let mut keys = Vec::new();
    compare("", Some(&one), Some(&other), &mut keys);
    keys.sort();
    keys
}

fn compare(key: &str, one: Option<&Value>, other: Option<&Value>, keys: &mut Vec<String>) {
    match (one, other) {
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
            let only_theirs = theirs.keys().filter(|name| !ours.contains_key(*name));
            for name in ours.keys().chain(only_theirs) {
                let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                compare(&below, ours.get(name), theirs.get(name), keys);
            }
        }
        (one, other) if one != other => keys.push(key.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Namespace, Permission, Token};

    #[test]
    fn keys_are_named_by_their_path_and_equal_ones_are_not() {
        let one = Config::builtin();
        assert_eq!(differing(&one, &one), Vec::<String>::new());
        let mut other = one.clone();
        other.log.filter = "debug".into();
        other.http.tls.key = "key.pem".into();
        other.namespace.insert("likes".into(), Namespace::default());
        let (name, token) = ("a".to_owned(), "t".to_owned());
        other.api.tokens.push(Token { name, token, access: vec![Permission::Read], namespaces: Vec::new() });
        let keys = ["api.tokens", "http.tls.key", "log.filter", "namespace.likes"];
        assert_eq!(differing(&one, &other), keys);
        assert_eq!(differing(&other, &one), keys);
    }
}
