//! The public suite http-cache-tests, its own origin behind the gateway and its own client before it.
//!
//! A test that passed and passes no longer is a regression, by name. What does not pass has its reason here and in
//! docs/cache.md.

use std::collections::BTreeMap;

use super::super::super::harness::{Gateway, Peer, cache_tests, free_port};

/// Tests with an outcome that counts, of which the rest must pass; the reasons are in docs/cache.md.
const REQUIRED: usize = 165;
const OPTIMAL: usize = 95;

/// What fails with the defaults, by reason.
const FAILS: &[(&str, &[&str])] = &[
    (
        "an upstream that breaks off is a 502, which the suite takes for an answer from the cache",
        &[
            "stale-close-must-revalidate",
            "stale-close-proxy-revalidate",
            "stale-close-no-cache",
            "stale-close-s-maxage=2",
        ],
    ),
    ("an `Age` that is a list says nothing certain", &["age-parse-prefix"]),
    (
        "answers that set cookies are not kept without `setCookie`",
        &["headers-store-Set-Cookie", "304-etag-update-response-Set-Cookie", "other-set-cookie"],
    ),
    ("an unknown transfer coding is no answer with one meaning", &["headers-store-Transfer-Encoding"]),
    ("a 304 with another strong tag is about another answer", &["304-etag-update-response-ETag"]),
    ("answers to POST are not kept", &["method-POST"]),
    (
        "languages in another order are another request",
        &["vary-normalise-lang-order", "vary-normalise-lang-select"],
    ),
    ("the answer's date is later than what the client has", &["conditional-lm-fresh-no-lm"]),
    (
        "parts are not kept",
        &[
            "partial-store-partial-reuse-partial",
            "partial-store-partial-reuse-partial-byterange",
            "partial-store-partial-reuse-partial-absent",
            "partial-store-partial-reuse-partial-suffix",
            "partial-store-partial-complete",
        ],
    ),
];

/// What fails beside these while nothing is guessed.
const HEURISTIC: &[&str] = &[
    "heuristic-200-cached",
    "heuristic-203-cached",
    "heuristic-204-cached",
    "heuristic-404-cached",
    "heuristic-405-cached",
    "heuristic-410-cached",
    "heuristic-414-cached",
    "heuristic-501-cached",
    "heuristic-599-cached",
];

#[derive(serde::Deserialize)]
struct Told {
    kind: String,
    passed: bool,
    why: String,
}

fn told(settings: &str) -> BTreeMap<String, Told> {
    let origin = free_port();
    // A second try of the gateway's own would be a request that the suite did not make.
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:{origin}\"}}], retry: {{maxAttempts: 1}}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{cache: {settings}}}], backends: [{{upstream: u}}]}}]\n"
    ));
    let base = format!("http://{}", gateway.address);
    let suite = Peer::start(cache_tests(include_str!("suite.mjs"), &[&origin.to_string(), &base]));
    let (ended_well, text) = suite.finish();
    assert!(ended_well, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn check(settings: &str, beside: &[&str]) {
    let told = told(settings);
    let of_kind = |kind: &str| told.values().filter(|one| one.kind == kind).count();
    assert_eq!((of_kind("required"), of_kind("optimal")), (REQUIRED, OPTIMAL), "it is another suite");
    let fails = |name: &str| FAILS.iter().any(|(_, names)| names.contains(&name)) || beside.contains(&name);
    let counted = told.iter().filter(|(_, one)| one.kind != "check");
    let (mut regressions, mut better) = (Vec::new(), Vec::new());
    for (name, one) in counted {
        match (one.passed, fails(name)) {
            (false, false) => regressions.push(format!("{} {name}: {}", one.kind, one.why)),
            (true, true) => better.push(name.as_str()),
            _ => {}
        }
    }
    assert!(regressions.is_empty(), "these passed before:\n{}", regressions.join("\n"));
    assert!(better.is_empty(), "these pass now, and are to be counted on: {better:?}");
}

#[test]
fn with_defaults_no_test_of_the_public_suite_fails_that_passed() {
    check("{}", HEURISTIC);
}

#[test]
fn with_a_tier_on_disk_the_public_suite_has_the_same_outcome() {
    check("{disk: {}}", HEURISTIC);
}

#[test]
fn with_guesses_more_of_the_public_suite_passes() {
    check("{heuristic: {}}", &[]);
}
