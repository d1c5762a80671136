//! Who calls, where several policies may find out: one caller per call, whoever finds it.

use super::{
    ask, guarded, last,
    tokens::{Signer, claims, jwks},
};

/// `eve` has a password and a key, `web` has a key, and `guest` has nothing to show.
const PEOPLE: &str = "consumers:
  - {name: eve, basic: [{username: eve, password: secret}], keys: [eve-key-of-the-test]}
  - {name: web, keys: [web-key-of-the-test]}
  - {name: guest}
";
/// `eve:secret`.
const EVE: &str = "\nauthorization: Basic ZXZlOnNlY3JldA==";
const WHO: &str = "{headers: {request: {set: {x-who: '{{ consumer.name }}'}}}}";

#[test]
fn who_is_somebody_stays_who_they_are_where_nobody_is_anonymous() {
    for policies in [
        "{basicAuth: {}}, {keyAuth: {anonymous: guest}}",
        "{basicAuth: {anonymous: guest}}, {keyAuth: {anonymous: guest}}",
        "{keyAuth: {anonymous: guest}}, {basicAuth: {anonymous: guest}}",
        "{keyAuth: {anonymous: guest}}, {basicAuth: {}}",
    ] {
        let (gateway, upstream) = guarded(&format!("[{policies}, {WHO}]"), PEOPLE);
        assert_eq!(ask(&gateway, "/", EVE).status, 200, "{policies}");
        assert_eq!(last(&upstream).header("x-who"), Some("eve"), "{policies}");
        super::logged(&gateway, "eve");
        let (gateway, upstream) = guarded(&format!("[{policies}, {{acl: {{deny: [eve]}}}}]"), PEOPLE);
        assert_eq!(ask(&gateway, "/", EVE).status, 403, "{policies}");
        assert!(upstream.seen().is_empty(), "{policies}");
    }
}

#[test]
fn the_credentials_of_two_consumers_are_refused() {
    let (gateway, upstream) = guarded("[{basicAuth: {}}, {keyAuth: {anonymous: guest}}]", PEOPLE);
    assert_eq!(ask(&gateway, "/", &format!("{EVE}\nx-api-key: eve-key-of-the-test")).status, 200);
    let both = ask(&gateway, "/", &format!("{EVE}\nx-api-key: web-key-of-the-test"));
    assert_eq!((both.status, both.problem().as_deref()), (401, Some("unauthenticated")), "{}", both.text());
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn the_policies_of_a_consumer_run_once_it_is_sure_who_calls() {
    let mark = |who: &str| {
        format!("{{headers: {{request: {{set: {{x-{who}: y}}}}, response: {{set: {{x-{who}: y}}}}}}}}")
    };
    let people = PEOPLE
        .replace(
            "{name: guest}",
            &format!(
                "{{name: guest, policies: [{{ipRestriction: {{deny: [127.0.0.1]}}}}, {}]}}",
                mark("guest")
            ),
        )
        .replace("{name: eve,", &format!("{{name: eve, policies: [{}],", mark("eve")));
    let (gateway, upstream) =
        guarded("[{keyAuth: {anonymous: guest}}, {basicAuth: {anonymous: guest}}]", &people);
    assert_eq!(ask(&gateway, "/", "").status, 403, "what the guest may not");
    let answer = ask(&gateway, "/", EVE);
    assert_eq!(answer.status, 200);
    assert_eq!((answer.header("x-eve"), answer.header("x-guest")), (Some("y"), None));
    assert_eq!((last(&upstream).header("x-eve"), last(&upstream).header("x-guest")), (Some("y"), None));
}

#[test]
fn a_token_of_no_consumer_is_somebody_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (signer, keys) = (Signer::new("ES256", "one"), folder.path().join("jwks.json"));
    std::fs::write(&keys, jwks(&[&signer])).expect("a file");
    let jwt = format!(
        "{{jwt: {{issuer: https://id.example.test, audiences: [shop], algorithms: [ES256], jwks: {{file: '{}'}}, anonymous: guest}}}}",
        keys.display()
    );
    let token = format!("\nauthorization: Bearer {}", signer.sign(&claims(|_| {})));
    for policies in [
        format!("{jwt}, {{keyAuth: {{anonymous: guest}}}}"),
        format!("{{keyAuth: {{anonymous: guest}}}}, {jwt}"),
    ] {
        let (gateway, upstream) = guarded(&format!("[{policies}, {WHO}]"), PEOPLE);
        assert_eq!(ask(&gateway, "/", "").status, 200);
        assert_eq!(last(&upstream).header("x-who"), Some("guest"));
        assert_eq!(ask(&gateway, "/", &token).status, 200);
        assert_eq!(last(&upstream).header("x-who"), None, "{policies}");
    }
}
