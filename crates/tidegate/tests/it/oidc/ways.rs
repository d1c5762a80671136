//! `anyOf`: keys, tokens and people on one route.

use super::{
    super::harness::{Gateway, Upstream},
    SECRET, World,
    browser::{Browser, NAVIGATION},
    telling,
};

const KEY: &str = "\nx-api-key: gold-key-of-the-test";

/// Keys, tokens that the provider is asked about, and people.
fn world(more: &str) -> World {
    let world = World::start("{}", "", "");
    let text = std::fs::read_to_string(world.gateway.config()).expect("the configuration");
    let text = text.split_once('\n').expect("lines").1.to_owned();
    let from = text.find("    policies: [{oidc").expect("the policy");
    let to = from + text[from..].find('\n').expect("a line");
    let provider = world.provider;
    let policies = format!(
        "    policies:
      - anyOf:
          policies:
            - keyAuth: {{}}
            - oauth2Introspection: {{issuer: 'http://{provider}', clientId: api, clientSecret: api-secret, claimsToHeaders: {{x-client: client_id}}}}
            - oidc: {{issuer: 'http://{provider}', clientId: public, secret: '{SECRET}', claimsToHeaders: {{x-user: sub}}}}
{more}"
    );
    let text = format!(
        "{}{policies}{}\nconsumers: [{{name: gold, keys: [gold-key-of-the-test]}}, {{name: guest}}]\n",
        &text[..from],
        &text[to..]
    );
    let live = world.gateway.reload(&text);
    assert_eq!(live["reloadsRefused"], 0, "{}", world.gateway.stderr());
    world
}

#[test]
fn each_way_lets_in_and_what_was_shown_for_another_does_not_go_on() {
    let world = world("");
    let mut script = Browser::default();
    let url = world.url("/x");
    // A key, beside a token and a session that nobody has judged.
    let beside = format!(
        "{KEY}\nauthorization: Bearer made-up\ncookie: __Host-tidegate-session=made-up; a=b\nx-user: root"
    );
    let answer = script.send("GET", &url, &beside, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.text();
    for absent in ["made-up", "x-user", "gold-key"] {
        assert!(!told.contains(absent), "{absent}: {told}");
    }
    assert!(told.contains("cookie: a=b\n"), "{told}");
    // A wrong key, and then a good session.
    let mut browser = world.signed_in("ann");
    let answer = browser.send("GET", &url, "\nx-api-key: wrong", "");
    assert!(answer.status == 200 && answer.text().contains("x-user: ann\n"), "{}", answer.text());
    assert!(!answer.text().contains("wrong"), "{}", answer.text());
    let by = |way: &str| {
        world
            .gateway
            .metric(&format!("tidegate_any_of_total{{policy=\"routes/r/anyOf\",outcome=\"{way}\"}}"))
            .unwrap_or(0.0)
    };
    assert_eq!(by("1"), 1.0);
    assert!(by("3") >= 2.0 && by("answered") >= 1.0);
}

#[test]
fn who_fits_nowhere_learns_of_all_ways_and_a_browser_is_sent_to_sign_in() {
    let world = world("");
    let mut script = Browser::default();
    let answer = script.fetch(&world.url("/x"));
    assert_eq!((answer.status, answer.problem().as_deref()), (401, Some("unauthenticated")));
    let challenges: Vec<&str> = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(challenges.len(), 3, "{challenges:?}");
    for (challenge, begin) in challenges.iter().zip(["ApiKey", "Bearer", "Session"]) {
        assert!(challenge.starts_with(begin), "{challenges:?}");
    }
    for part in ["an API key is needed", "a token is needed", "nobody is signed in"] {
        assert!(answer.text().contains(part), "{}", answer.text());
    }
    assert_eq!(script.send("GET", &world.url("/x"), "\nx-api-key: wrong", "").status, 401);
    assert_eq!(script.send("GET", &world.url("/x"), NAVIGATION, "").status, 303);
    let record = world.gateway.record("a refusal", |r| r["status"] == 401);
    assert_eq!(record["stopped_by"], "anyOf");
}

#[test]
fn who_shows_nothing_may_count_as_somebody_and_who_shows_something_wrong_does_not() {
    let world = world("          anonymous: guest\n");
    let mut script = Browser::default();
    assert_eq!(script.fetch(&world.url("/x")).status, 200);
    assert_eq!(world.gateway.record("the guest's", |r| r["path"] == "/x")["consumer"], "guest");
    assert_eq!(script.send("GET", &world.url("/y"), "\nx-api-key: wrong", "").status, 401);
    assert_eq!(script.send("GET", &world.url("/y"), "\nauthorization: Bearer wrong", "").status, 401);
}

/// A gateway with these ways in, to an upstream that remembers what it saw.
fn ways(policies: &str, judge: &Upstream) -> (Gateway, Upstream) {
    let upstream = telling();
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
consumers: [{{name: gold, keys: [gold-key-of-the-test]}}]
upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}]}}
  - {{name: judge, endpoints: [{{address: \"{}\"}}]}}
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{anyOf: {{policies: [{policies}]}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address, judge.address
    ));
    (gateway, upstream)
}

#[test]
fn a_way_that_has_read_the_body_and_fails_gives_all_of_it_back() {
    let judge = Upstream::fixed(200, "");
    let github = "hmac: {style: github, secrets: [a-secret-of-the-test], maxBodySize: 1KiB}";
    let rfc = "hmac: {keys: [{id: k, secret: a-secret-of-the-test}], maxBodySize: 1KiB}";
    let wrong = format!("\nx-hub-signature-256: sha256={}", "0".repeat(64));
    let signed = "\nsignature-input: sig1=(\"@method\");created=1;keyid=\"k\"\nsignature: sig1=:AAAA:";
    let by_key = "keyAuth: {}";
    let by_judge = "extAuth: {upstream: judge, body: {maxSize: 1MiB}}";
    for (hmac, shown) in [(github, wrong.as_str()), (rfc, signed)] {
        for (other, key) in [(by_key, KEY), (by_judge, "")] {
            let (gateway, upstream) = ways(&format!("{{{hmac}}}, {{{other}}}"), &judge);
            for length in [1, 1_000, 1_024, 1_025, 300_000] {
                let body: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
                let head = format!("POST /x HTTP/1.1\nhost: a{shown}{key}\ncontent-length: {length}");
                let answer = gateway.send(&head, &body);
                assert_eq!(answer.status, 200, "{hmac} {other} {length}: {}", answer.text());
                assert!(upstream.seen().pop().expect("a request").body == body, "{hmac} {other} {length}");
                if other == by_judge {
                    assert!(judge.seen().pop().expect("a question").body == body, "{hmac} {length}");
                }
            }
        }
    }
}

#[test]
fn what_was_shown_for_a_signature_or_a_service_does_not_go_on_with_a_key() {
    let judge = Upstream::fixed(403, "");
    for (style, shown) in [
        ("style: github, secrets: [s]", &["x-hub-signature-256"][..]),
        ("style: stripe, secrets: [s]", &["stripe-signature"]),
        ("style: slack, secrets: [s]", &["x-slack-signature", "x-slack-request-timestamp"]),
        ("keys: [{id: k, secret: s}]", &["signature-input", "signature"]),
    ] {
        let service =
            "extAuth: {upstream: judge, requestHeaders: [x-token, cookie], upstreamHeaders: [x-user]}";
        let (gateway, upstream) =
            ways(&format!("{{keyAuth: {{}}}}, {{hmac: {{{style}}}}}, {{{service}}}"), &judge);
        let lines: String = shown.iter().map(|name| format!("\n{name}: made-up")).collect();
        let head = format!(
            "GET /x HTTP/1.1\nhost: a{KEY}{lines}\nx-token: made-up\ncookie: a=made-up\nx-user: made-up\nx-other: stays"
        );
        assert_eq!(gateway.send(&head, b"").status, 200, "{style}");
        let seen = upstream.seen().pop().expect("a request");
        assert!(!seen.headers.iter().any(|(_, value)| value.contains("made-up")), "{style}: {seen:?}");
        assert_eq!(seen.header("x-other"), Some("stays"));
    }
}

#[test]
fn who_shows_a_malformed_signature_is_no_guest() {
    let upstream = telling();
    for (style, shown) in [
        ("style: github, secrets: [s]", "x-hub-signature-256: sha1=00"),
        ("style: stripe, secrets: [s]", "stripe-signature: nonsense"),
        ("style: slack, secrets: [s]", "x-slack-signature: v0=00"),
        ("keys: [{id: k, secret: s}]", "signature: sig1=:AAAA:"),
    ] {
        let gateway = Gateway::start(&format!(
            "consumers: [{{name: guest}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{anyOf: {{policies: [{{hmac: {{{style}}}}}, {{keyAuth: {{}}}}], anonymous: guest}}}}], backends: [{{upstream: u}}]}}]\n",
            upstream.address
        ));
        assert_eq!(gateway.send("GET /x HTTP/1.1\nhost: a", b"").status, 200, "{style}");
        assert_eq!(gateway.send(&format!("GET /x HTTP/1.1\nhost: a\n{shown}"), b"").status, 401, "{style}");
    }
}
