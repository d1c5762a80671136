//! Who calls, where several policies may find out: one caller per call, whoever finds it.

use super::{
    super::harness::{Client, Gateway, Upstream},
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
fn a_key_among_subprotocols_that_nobody_has_judged_does_not_go_on() {
    let ways = "[{anyOf: {policies: [{basicAuth: {}}, {keyAuth: {headers: [authorization]}}]}}]";
    let (gateway, upstream) = guarded(ways, PEOPLE);
    let mut client = Client::connect(gateway.address);
    client.write(format!(
        "GET / HTTP/1.1\r\nhost: a.test{}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: chat, openai-insecure-api-key.made-up\r\n\r\n",
        EVE.replace('\n', "\r\n")
    ));
    assert_eq!(client.read().map(|answer| answer.status), Some(200));
    assert_eq!(last(&upstream).header("sec-websocket-protocol"), Some("chat"));
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

/// A gateway whose one route counts by a header, to an upstream whose own policies are given; `eve` has those given.
fn counting(policies: &str, of_upstream: &str, of_eve: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::echo();
    let people = PEOPLE.replace("{name: eve,", &format!("{{name: eve, policies: [{of_eve}],"));
    let gateway = Gateway::start(
        &format!(
            "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], policies: [{of_upstream}]}}]
routes:
  - {{name: open, match: [{{path: {{prefix: /open}}}}], backends: [{{upstream: plain}}]}}
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policies}], backends: [{{upstream: u}}]}}
{people}",
            upstream.address
        )
        .replace(
            "upstreams: [",
            &format!("upstreams: [{{name: plain, endpoints: [{{address: \"{}\"}}]}}, ", upstream.address),
        ),
    );
    (gateway, upstream)
}

const EVES_KEY: &str = "\nx-api-key: eve-key-of-the-test";
const WEBS_KEY: &str = "\nx-api-key: web-key-of-the-test";
const BY_WHO: &str = "{rateLimit: {limit: 2, window: 1h, key: {header: x-who}}}";

#[test]
fn what_an_upstreams_policies_say_of_the_caller_is_nobodys_word_before() {
    // The chain of an upstream comes after all others; what counts before it must not count by the client's own.
    let (gateway, upstream) = counting(&format!("{{keyAuth: {{}}}}, {BY_WHO}"), WHO, "");
    let statuses: Vec<u16> =
        (0..4).map(|at| ask(&gateway, "/", &format!("{EVES_KEY}\nx-who: u{at}")).status).collect();
    assert_eq!(statuses, [200, 200, 429, 429], "another name is no other limit");
    assert!(upstream.seen().iter().all(|seen| seen.header("x-who") == Some("eve")));
    // Where nothing says who calls, the name is one like any other.
    assert_eq!(ask(&gateway, "/open", "\nx-who: me").status, 200);
    assert_eq!(last(&upstream).header("x-who"), Some("me"));
}

#[test]
fn what_one_consumers_policies_set_no_other_caller_can_say() {
    // A plain value, too, says who calls, where only one consumer's policies set it.
    for value in ["{{ consumer.name }}", "eve"] {
        let set = format!("{{headers: {{request: {{set: {{x-who: '{value}'}}}}}}}}");
        let (gateway, upstream) = counting(&format!("{{keyAuth: {{}}}}, {BY_WHO}"), "", &set);
        assert_eq!(ask(&gateway, "/", &format!("{EVES_KEY}\nx-who: u")).status, 200);
        assert_eq!(last(&upstream).header("x-who"), Some("eve"));
        let statuses: Vec<u16> =
            (0..4).map(|at| ask(&gateway, "/", &format!("{WEBS_KEY}\nx-who: u{at}")).status).collect();
        assert_eq!(statuses, [200, 429, 429, 429], "all without the header are counted together");
        assert!(last(&upstream).header("x-who").is_none(), "{:?}", last(&upstream));
        // Nobody is found on this route, so that nobody's policies can ever run there.
        assert_eq!(ask(&gateway, "/open", "\nx-who: me").status, 200);
        assert_eq!(last(&upstream).header("x-who"), Some("me"));
    }
}

#[test]
fn what_http_itself_defines_stays_every_callers_own() {
    // One consumer's policies may set such a field; for everybody else it goes on saying what it says.
    for (name, value) in [("accept", "text/plain"), ("content-type", "text/plain"), ("user-agent", "odd")] {
        let set = format!("{{headers: {{request: {{set: {{{name}: '{value}'}}}}}}}}");
        let (gateway, upstream) = counting("{keyAuth: {}}", "", &set);
        assert_eq!(ask(&gateway, "/", &format!("{WEBS_KEY}\n{name}: application/json")).status, 200);
        assert_eq!(last(&upstream).header(name), Some("application/json"));
        assert_eq!(ask(&gateway, "/", &format!("{EVES_KEY}\n{name}: application/json")).status, 200);
        assert_eq!(last(&upstream).header(name), Some(value));
    }
}

#[test]
fn a_claim_of_a_verified_token_counts_its_callers_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let (signer, keys) = (Signer::new("ES256", "one"), folder.path().join("jwks.json"));
    std::fs::write(&keys, jwks(&[&signer])).expect("a file");
    let (gateway, _upstream) = guarded(
        &format!(
            "[{{jwt: {{issuer: 'https://id.example.test', algorithms: [ES256], jwks: {{file: '{}'}}}}}}, {{rateLimit: {{limit: 3, window: 1h, key: {{claim: org.id}}}}}}]",
            keys.display()
        ),
        "",
    );
    let of = |org: serde_json::Value, sub: &str| {
        let token = signer.sign(&claims(|claims| {
            claims["org"] = serde_json::json!({"id": org});
            claims["sub"] = sub.into();
        }));
        format!("\nauthorization: Bearer {token}")
    };
    let passed = |gateway: &Gateway, headers: &str| {
        (0..5).filter(|_| ask(gateway, "/", headers).status == 200).count()
    };
    // Two people of one organisation share, another has its own; a number is a value like a text.
    assert_eq!(passed(&gateway, &of("a".into(), "ann")), 3);
    assert_eq!(passed(&gateway, &of("a".into(), "bob")), 0);
    assert_eq!(passed(&gateway, &of("b".into(), "ann")), 3);
    assert_eq!(passed(&gateway, &of(7.into(), "ann")), 3);
    assert_eq!(passed(&gateway, &of(7.into(), "bob")), 0);
    // What a client says of itself beside its token counts for nothing.
    assert_eq!(passed(&gateway, &format!("{}\norg.id: c\nx-org: c", of("a".into(), "ann"))), 0);
}
