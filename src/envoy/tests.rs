//! The format of the reference, file by file: what requests meet, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::limits::Algorithm;

const EDGE: &str = "
domain: edge
descriptors:
  - key: tenant
    rate_limit: {unit: minute, requests_per_unit: 20}
  - key: tenant
    value: gold
    rate_limit: {unit: minute, requests_per_unit: 30}
  - key: tenant
    value: free
  - key: tenant
    value: g*
    rate_limit: {unit: minute, requests_per_unit: 40}
  - key: tenant
    value: go*
    rate_limit: {unit: minute, requests_per_unit: 50}
  - key: path
    value: /api/*
    share_threshold: true
    descriptors:
      - key: user
        rate_limit: {unit: SECOND, requests_per_unit: 5, name: user}
      - key: user
        value: 404
        shadow_mode: true
        quota_mode: true
        rate_limit: {unit: day, requests_per_unit: 0, replaces: [{name: user}]}
    rate_limit: {unit: hour, requests_per_unit: 1000}
  - key: inside
    rate_limit:
      unlimited: true
";

fn domains(text: &str) -> Domains {
    Domains::read([("edge.yaml", text)]).unwrap()
}

fn fault(text: &str) -> String {
    Domains::read([("a.yaml", text)]).unwrap_err().to_string()
}

/// What is said of a file with this descriptor.
fn of(descriptor: &str) -> String {
    fault(&format!("domain: d\ndescriptors:\n  - {descriptor}\n"))
}

/// The policy that is met, and the key.
fn meet(domains: &Domains, entries: &[(&str, &str)]) -> Option<(String, Vec<u8>)> {
    match domains.meet("edge", entries.iter().copied()) {
        Met::Rule(rule, key) => Some((rule.policy.clone(), key)),
        Met::Nothing => None,
        Met::NoDomain => panic!("the domain is there"),
    }
}

fn policy(entries: &[(&str, &str)]) -> Option<String> {
    meet(&domains(EDGE), entries).map(|(policy, _)| policy)
}

#[test]
fn the_very_value_comes_before_patterns_and_those_before_the_key_alone() {
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(policy(&[("tenant", "gold")]), named("envoy/edge/tenant=gold"));
    assert_eq!(
        policy(&[("tenant", "goldfish")]),
        named("envoy/edge/tenant=g*"),
        "the first that fits, not the longest"
    );
    assert_eq!(policy(&[("tenant", "other")]), named("envoy/edge/tenant"));
    assert_eq!(policy(&[("tenant", "")]), named("envoy/edge/tenant"));
    assert_eq!(
        policy(&[("tenant", "free")]),
        None,
        "a descriptor without a rate limit keeps its value from all others"
    );
    assert_eq!(policy(&[("unknown", "gold")]), None);
}

#[test]
fn a_request_meets_the_limit_that_lies_as_deep_as_it_has_entries() {
    let deep = policy(&[("path", "/api/v1"), ("user", "7")]).unwrap();
    assert!(deep.starts_with("envoy/edge/path=/api/*/user~"), "{deep}");
    assert!(policy(&[("path", "/api/v1")]).unwrap().starts_with("envoy/edge/path=/api/*~"));
    assert_eq!(policy(&[("path", "/api/v1"), ("user", "7"), ("more", "1")]), None);
    assert_eq!(policy(&[("tenant", "gold"), ("more", "1")]), None);
    assert_eq!(policy(&[("path", "/other"), ("user", "7")]), None);
    assert_eq!(policy(&[]), None);
    assert_eq!(domains(EDGE).meet("core", [("tenant", "gold")]), Met::NoDomain);
}

#[test]
fn values_are_counted_apart_unless_they_share_their_pattern() {
    let domains = domains(EDGE);
    let key = |entries: &[(&str, &str)]| meet(&domains, entries).unwrap().1;
    assert_ne!(key(&[("tenant", "a")]), key(&[("tenant", "b")]));
    assert_eq!(key(&[("path", "/api/a")]), key(&[("path", "/api/b")]));
    assert_eq!(key(&[("path", "/api/a"), ("user", "7")]), key(&[("path", "/api/b"), ("user", "7")]));
    assert_ne!(key(&[("path", "/api/a"), ("user", "7")]), key(&[("path", "/api/a"), ("user", "8")]));
}

#[test]
fn a_rule_says_what_its_file_says() {
    let domains = domains(EDGE);
    let Met::Rule(rule, _) = domains.meet("edge", [("path", "/api/x"), ("user", "404")]) else { panic!("no rule") };
    assert_eq!(rule.rate, Rate::Limited { requests: 0, unit: Unit::Day });
    assert!(rule.is_shadow && rule.is_quota && rule.replaces == ["user"], "{rule:?}");
    assert_eq!(rule.policy(Algorithm::Fixed), None, "there is nothing to count");
    let Met::Rule(rule, _) = domains.meet("edge", [("inside", "x")]) else { panic!("no rule") };
    assert_eq!((rule.rate, rule.policy(Algorithm::Fixed)), (Rate::Unlimited, None));
    let Met::Rule(rule, _) = domains.meet("edge", [("path", "/api/x"), ("user", "1")]) else { panic!("no rule") };
    let policy = rule.policy(Algorithm::Sliding).unwrap();
    assert_eq!((policy.limit, policy.window_ms, &*rule.name), (5, 1_000, "user"));
    assert_eq!(domains.rules().len(), 8);
}

#[test]
fn anchors_and_documents_without_descriptors_are_read() {
    let text = "domain: edge\ndescriptors:\n  - {key: a, rate_limit: &r {unit: day, requests_per_unit: 1}}\n  - {key: b, rate_limit: *r}\n";
    assert_eq!(domains(text).rules().len(), 2);
    for text in ["domain: edge", "domain: edge\ndescriptors:\n", "domain: edge\ndescriptors: []\n"] {
        assert!(domains(text).has("edge") && domains(text).rules().is_empty(), "{text}");
    }
}

#[test]
fn what_a_file_cannot_have_is_refused_with_the_place_and_the_remedy() {
    let limited = |limit: &str| of(&format!("{{key: a, rate_limit: {{{limit}}}}}"));
    for (said, expected) in [
        (fault("descriptors: []"), "a.yaml: domain: missing: every file has one domain"),
        (fault("domain: ''"), "a.yaml: domain: empty: write something, or take it out"),
        (of("value: x"), "a.yaml: descriptors[0]: a descriptor has a key"),
        (of("{key: ''}"), "a.yaml: descriptors[0].key: empty: write something, or take it out"),
        (of("{key: a, value: ''}"), "a.yaml: descriptors[0].value: empty: write something, or take it out"),
        (of("{key: 'a*'}"), "a.yaml: descriptors[0].key: \"a*\": only values may have a '*'"),
        (
            limited("unit: fortnight, requests_per_unit: 1"),
            "a.yaml: descriptors[0].rate_limit.unit: \"fortnight\" is no unit of time: second, minute, hour, day, week, month, year",
        ),
        (
            limited("unit: month, requests_per_unit: 1"),
            "a.yaml: descriptors[0].rate_limit.unit: limits are counted over 24 days at most; give a rate per day or week",
        ),
        (
            limited("requests_per_unit: 1"),
            "a.yaml: descriptors[0].rate_limit: give a unit of time: second, minute, hour, day or week",
        ),
        (
            limited("unit: day"),
            "a.yaml: descriptors[0].rate_limit: give requests_per_unit, 0 to refuse all requests, or unlimited: true",
        ),
        (
            limited("unit: day, unlimited: true"),
            "a.yaml: descriptors[0].rate_limit.unit: what is unlimited has none; take one of them out",
        ),
        (
            limited("unit: week, requests_per_unit: 4000000000"),
            "a.yaml: descriptors[0].rate_limit: limit and burst, times the window in milliseconds, are at most",
        ),
        (
            limited("unit: day, requests_per_unit: 1, name: n, replaces: [{name: n}]"),
            "a.yaml: descriptors[0].rate_limit.replaces[0]: a rate limit does not replace itself",
        ),
        (
            limited("unit: day, requests_per_unit: 1, replaces: [{}]"),
            "a.yaml: descriptors[0].rate_limit.replaces[0]: give the name of the rate limit that is replaced",
        ),
        (
            limited("unit: day, requests_per_unit: 1, replaces: [{name: m}]"),
            "a.yaml: replaces: no rate limit of this file has the name \"m\"",
        ),
    ] {
        assert!(said.starts_with(expected), "{said}\n{expected}");
    }
}

#[test]
fn what_has_no_counterpart_here_or_no_effect_there_is_refused() {
    for (said, expected) in [
        (
            of("{key: a, detailed_metric: true}"),
            "a.yaml: descriptors[0].detailed_metric: metrics here never carry values of descriptors; take this line out",
        ),
        (
            of("{key: a, metadata: {b: [1]}}"),
            "a.yaml: descriptors[0].metadata: answers here carry no metadata; take it out",
        ),
        (
            of("{key: a, shadow_mode: true}"),
            "a.yaml: descriptors[0].shadow_mode: has no effect without a rate_limit beside it",
        ),
        (
            of("{key: a, value: b, share_threshold: true}"),
            "a.yaml: descriptors[0].share_threshold: only values that have a '*' are counted together",
        ),
        (
            fault("domain: d\ndescriptors: [{key: a, descriptors: [{key: b, value: c}, {key: b, value: c}]}]"),
            "a.yaml: descriptors[0].descriptors[1]: another descriptor beside it has the key \"b\" and the value \"c\", too",
        ),
        (
            fault("domain: d\ndescriptors: [{key: a}, {key: a}]"),
            "a.yaml: descriptors[1]: another descriptor beside it has the key \"a\" and no value, too",
        ),
    ] {
        assert!(said.starts_with(expected), "{said}\n{expected}");
    }
}

#[test]
fn words_that_nobody_knows_and_documents_that_are_none_are_refused() {
    for (text, expected) in [
        ("domain: d\ndescriptors: [{key: a, ratelimit: {}}]", "ratelimit"),
        ("domain: d\ndescriptors: [{key: a, rate_limit: {requestsperunit: 1}}]", "requestsperunit"),
        ("domain: d\nlimits: []", "limits"),
        ("domain: d\ndescriptors: [a, b]", "line 2"),
        ("domain: d\ndomain: e", "line 2"),
        ("0.25: d", "0.25"),
        ("domain: [d", "line"),
        ("domain: d\n---\ndomain: e\n", "document"),
        ("domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: -1}}]", "line 2"),
        ("domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 5000000000}}]", "line 2"),
        ("", "a.yaml"),
    ] {
        let said = fault(text);
        assert!(said.starts_with("a.yaml: ") && said.contains(expected) && !said.contains('\n'), "{text}: {said}");
    }
}

#[test]
fn a_domain_has_one_file() {
    let twice = Domains::read([("a.yaml", "domain: d"), ("b.yaml", "domain: d")]).unwrap_err().to_string();
    assert_eq!(twice, "b.yaml: domain: \"d\" has a file already: put all of a domain into one");
    assert!(Domains::read([("a.yaml", "domain: d"), ("b.yaml", "domain: e")]).unwrap().has("e"));
}

#[test]
fn files_are_bounded_in_every_direction() {
    let nested = |depth: usize| {
        let inner = (1..depth).fold("{key: a}".to_owned(), |inner, _| format!("{{key: a, descriptors: [{inner}]}}"));
        Domains::read([("a.yaml", format!("domain: d\ndescriptors: [{inner}]").as_str())])
    };
    assert!(nested(DEPTH_MAX).is_ok());
    assert!(nested(DEPTH_MAX + 1).is_err() && nested(10_000).is_err());
    let list = |count: usize, each: &dyn Fn(usize) -> String| {
        let lines = (0..count).map(|number| format!("  - {{key: a, value: v{number}{}}}\n", each(number)));
        Domains::read([("a.yaml", format!("domain: d\ndescriptors:\n{}", lines.collect::<String>()).as_str())])
    };
    let nothing = |_: usize| String::new();
    assert!(list(DESCRIPTORS_MAX, &nothing).is_ok());
    assert!(list(DESCRIPTORS_MAX + 1, &nothing).unwrap_err().to_string().contains("16384 descriptors at most"));
    let limit = |_: usize| ", rate_limit: {unit: day, requests_per_unit: 1}".to_owned();
    assert!(list(1_024, &limit).is_ok());
    assert!(list(1_025, &limit).unwrap_err().to_string().contains("1024 rate limits at most"));
    let pattern = |_: usize| "*".to_owned();
    assert!(list(PATTERNS_MAX, &pattern).is_ok());
    assert!(list(PATTERNS_MAX + 1, &pattern).unwrap_err().to_string().contains("256 values with '*'"));
    let long = fault(&format!("domain: {}", "d".repeat(TEXT_BYTES_MAX + 1)));
    assert_eq!(long, "a.yaml: domain: it has 512 bytes at most");
    let large = fault(&format!("domain: d\n#{}", " ".repeat(FILE_BYTES_MAX)));
    assert!(large.contains("1048576 bytes at most"), "{large}");
    let bomb = "domain: &a d\ndescriptors:\n".to_owned() + &"  - {key: *a}\n".repeat(DESCRIPTORS_MAX + 1);
    assert!(Domains::read([("a.yaml", bomb.as_str())]).is_err());
}

proptest! {
    #[test]
    fn no_text_ends_the_process(text in "[a-z:\\-\\[\\]{}*&!|>'\" \n#]{0,200}") {
        let _ = Domains::read([("a.yaml", text.as_str())]);
    }

    #[test]
    fn two_requests_share_a_key_only_if_all_their_values_are_the_same(
        one in prop::collection::vec("[ab]{0,3}", 2), other in prop::collection::vec("[ab]{0,3}", 2)
    ) {
        let text = "domain: edge\ndescriptors: [{key: a, descriptors: [{key: b, rate_limit: {unit: day, requests_per_unit: 1}}]}]";
        let domains = domains(text);
        let key = |values: &[String]| meet(&domains, &[("a", &values[0]), ("b", &values[1])]).unwrap();
        prop_assert_eq!(key(&one) == key(&other), one == other);
    }
}

#[test]
fn the_file_of_the_page_for_operators_is_one() {
    const PAGE: &str = include_str!("../../docs/envoy.md");
    let block = PAGE.split("```").find_map(|block| block.strip_prefix("yaml\n# /etc/snowtide/descriptors/")).unwrap();
    let (file, text) = block.split_once('\n').unwrap();
    let domains = Domains::read([(file, text)]).unwrap();
    assert_eq!(domains.rules().len(), 4);
    assert!(matches!(domains.meet("edge", [("path", "/search/x")]), Met::Rule(..)));
}
