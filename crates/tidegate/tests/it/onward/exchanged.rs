//! `oauth2TokenExchange` against a small token server that keeps to RFC 8693.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::telling;
use crate::{
    harness::{Answer, Gateway, Seen, Upstream, pause},
    policies::tokens::{Signer, claims, jwks},
};

const TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A token server: it knows one client, takes tokens for a token alone, and gives one for the audience that is wanted.
#[derive(Default)]
struct Server {
    /// What was asked, each as its fields.
    asked: Mutex<Vec<HashMap<String, String>>>,
    /// Subject tokens for which nothing is given.
    refused: Mutex<HashSet<String>>,
    is_down: Mutex<bool>,
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().expect("a digit"), bytes.next().expect("a digit")];
                u8::from_str_radix(std::str::from_utf8(&digits).expect("text"), 16).expect("a number")
            }
            other => other,
        });
    }
    String::from_utf8(out).expect("text")
}

impl Server {
    fn answer(&self, seen: &Seen) -> (u16, Value) {
        let body = String::from_utf8(seen.body.clone()).expect("text");
        let fields: HashMap<String, String> = body
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect();
        let number = {
            let mut asked = self.asked.lock().expect("not poisoned");
            asked.push(fields.clone());
            asked.len()
        };
        // Long enough for others to come meanwhile.
        pause(150);
        if *self.is_down.lock().expect("not poisoned") {
            return (503, json!({}));
        }
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let wrong = |error: &str| (400, json!({"error": error}));
        // gate:gate-secret
        if seen.header("authorization") != Some("Basic Z2F0ZTpnYXRlLXNlY3JldA==") {
            return (401, json!({"error": "invalid_client"}));
        }
        if field("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" {
            return wrong("unsupported_grant_type");
        }
        if field("subject_token").is_empty() || field("subject_token_type") != TYPE {
            return wrong("invalid_request");
        }
        if self.refused.lock().expect("not poisoned").contains(field("subject_token")) {
            return wrong("invalid_grant");
        }
        let token = format!("given-{number}-{}", field("audience"));
        let life = if field("audience") == "short" { 4 } else { 3600 };
        (
            200,
            json!({"access_token": token, "issued_token_type": TYPE, "token_type": "Bearer", "expires_in": life}),
        )
    }

    fn start() -> (Arc<Self>, Upstream) {
        let server = Arc::new(Self::default());
        let serving = server.clone();
        let upstream = Upstream::scripted(move |seen| {
            let (status, text) = serving.answer(seen);
            let text = text.to_string();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n");
            Some(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
        });
        (server, upstream)
    }

    fn count(&self) -> usize {
        self.asked.lock().expect("not poisoned").len()
    }
}

struct World {
    server: Arc<Server>,
    tokens: Upstream,
    upstream: Upstream,
    gateway: Gateway,
    signer: Signer,
    _folder: tempfile::TempDir,
}

impl World {
    fn start(settings: &str, upstream: Upstream) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (signer, keys) = (Signer::new("ES256", "one"), folder.path().join("jwks.json"));
        std::fs::write(&keys, jwks(&[&signer])).expect("a file");
        let (server, tokens) = Server::start();
        let text = format!(
            "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
consumers: [{{name: gold, keys: [gold-key-of-the-test]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - anyOf:
          policies:
            - jwt: {{issuer: https://id.example.test, audiences: [shop], algorithms: [ES256], hideCredentials: true, jwks: {{file: '{}'}}}}
            - keyAuth: {{header: x-api-key}}
      - oauth2TokenExchange: {{tokenEndpoint: 'http://{}/token', client: {{id: gate, secret: gate-secret}}{settings}}}
    backends: [{{upstream: u}}]
",
            upstream.address,
            keys.display(),
            tokens.address
        );
        Self { server, tokens, gateway: Gateway::start(&text), upstream, signer, _folder: folder }
    }

    fn token(&self, who: &str) -> String {
        self.signer.sign(&claims(|claims| claims["sub"] = json!(who)))
    }

    fn ask(&self, headers: &str) -> Answer {
        self.gateway.send(&format!("GET /x HTTP/1.1\nhost: a.test{headers}"), b"")
    }

    fn with(&self, token: &str) -> Answer {
        self.ask(&format!("\nauthorization: Bearer {token}"))
    }
}

#[test]
fn the_callers_token_is_exchanged_once_and_goes_to_the_token_server_alone() {
    let world = World::start(
        ", audience: orders, scopes: ['a', 'b c'], resources: ['https://one.test/', 'https://two.test/'], parameters: {extra: 'x&y'}",
        telling(),
    );
    let ann = world.token("ann");
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| world.with(&ann))).collect();
        for call in calls {
            let answer = call.join().expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.text().contains("authorization: Bearer given-1-orders\n"), "{}", answer.text());
            assert!(!answer.text().contains(&ann));
        }
    });
    assert_eq!(world.server.count(), 1);
    let asked = world.server.asked.lock().expect("not poisoned")[0].clone();
    for (name, want) in [
        ("subject_token", ann.as_str()),
        ("subject_token_type", TYPE),
        ("requested_token_type", TYPE),
        ("scope", "a b c"),
        ("audience", "orders"),
        ("extra", "x&y"),
    ] {
        assert_eq!(asked.get(name).map(String::as_str), Some(want), "{name}");
    }
    let raw = String::from_utf8(world.tokens.seen()[0].body.clone()).expect("text");
    assert_eq!(raw.matches("resource=").count(), 2, "{raw}");
    let bob = world.token("bob");
    assert!(world.with(&bob).text().contains("given-2-orders"), "another caller has another token");
    assert!(world.with(&ann).text().contains("given-1-orders"));
    assert!(!world.gateway.stderr().contains(&ann) && !world.gateway.stdout().contains("given-"));
    let record = world.gateway.record("ann's", |record| record["onward"][0]["outcome"] == "exchanged");
    assert_eq!(record["onward"][0]["policy"], "oauth2TokenExchange");
}

#[test]
fn nothing_is_exchanged_that_no_policy_has_found_good_and_callers_without_a_token_are_refused() {
    let world = World::start("", telling());
    for headers in [
        // Known by a key: what stands in `Authorization` nobody has judged.
        "\nx-api-key: gold-key-of-the-test".to_owned(),
        "\nx-api-key: gold-key-of-the-test\nauthorization: Bearer made.up.token".to_owned(),
    ] {
        let answer = world.ask(&headers);
        assert_eq!(answer.status, 401, "{headers}: {}", answer.text());
    }
    assert_eq!((world.server.count(), world.upstream.seen().len()), (0, 0));
    let world = World::start(", unknown: pass", telling());
    let answer = world.ask("\nx-api-key: gold-key-of-the-test\nauthorization: Bearer made.up.token");
    assert_eq!(answer.status, 200);
    assert!(
        !answer.text().contains("made.up") && !answer.text().contains("authorization"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_caller_who_is_given_nothing_is_refused_and_a_server_that_is_away_is_told_as_that() {
    for (settings, status) in [("", 503), (", withoutToken: badGateway", 502)] {
        let world = World::start(settings, telling());
        let eve = world.token("eve");
        world.server.refused.lock().expect("not poisoned").insert(eve.clone());
        for _ in 0..5 {
            let answer = world.with(&eve);
            assert_eq!(
                (answer.status, answer.problem().as_deref()),
                (403, Some("forbidden")),
                "{}",
                answer.text()
            );
        }
        assert_eq!(world.server.count(), 1, "what is refused is not asked again for a moment");
        *world.server.is_down.lock().expect("not poisoned") = true;
        let ann = world.token("ann");
        for _ in 0..5 {
            let answer = world.with(&ann);
            assert_eq!(
                (answer.status, answer.problem().as_deref()),
                (status, Some("no-token")),
                "{}",
                answer.text()
            );
        }
        assert_eq!(world.server.count(), 2);
        assert!(world.upstream.seen().is_empty());
        *world.server.is_down.lock().expect("not poisoned") = false;
        pause(2_100);
        assert_eq!(world.with(&ann).status, 200);
    }
}

#[test]
fn a_token_is_exchanged_anew_before_it_ends_and_holds_while_the_server_is_away() {
    let world = World::start(", audience: short", telling());
    let ann = world.token("ann");
    assert!(world.with(&ann).text().contains("given-1-short"));
    pause(3_100);
    assert!(world.with(&ann).text().contains("given-2-short"), "a quarter of its time is left");
    *world.server.is_down.lock().expect("not poisoned") = true;
    pause(3_100);
    assert!(world.with(&ann).text().contains("given-2-short"), "no other is to be had, and it still holds");
    pause(1_100);
    assert_eq!(world.with(&ann).status, 503, "one that has ended is of no use");
}

#[test]
fn a_token_that_the_upstream_refuses_is_exchanged_anew_for_its_caller_alone() {
    let bad: Arc<Mutex<HashSet<String>>> = Arc::default();
    let refused = bad.clone();
    let upstream = Upstream::scripted(move |seen| {
        let token = seen.header("authorization").unwrap_or_default().to_owned();
        let status = match refused.lock().expect("not poisoned").contains(&token) {
            true => "401 No",
            false => "200 OK",
        };
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{token}", token.len()).into_bytes())
    });
    let world = World::start(", audience: orders", upstream);
    let (ann, bob) = (world.token("ann"), world.token("bob"));
    assert_eq!(world.with(&ann).text(), "Bearer given-1-orders");
    assert_eq!(world.with(&bob).text(), "Bearer given-2-orders");
    pause(1_100);
    bad.lock().expect("not poisoned").insert("Bearer given-1-orders".to_owned());
    let answer = world.with(&ann);
    assert_eq!((answer.status, answer.text().as_str()), (200, "Bearer given-3-orders"));
    assert_eq!(world.with(&bob).text(), "Bearer given-2-orders");
    assert_eq!(world.server.count(), 3);
    let renewed = world
        .gateway
        .metric("tidegate_token_exchange_total{policy=\"routes/r/oauth2TokenExchange\",outcome=\"renewed\"}");
    assert_eq!(renewed, Some(1.0));
}

#[test]
fn tokens_that_an_issuer_was_asked_about_are_exchanged_as_well() {
    // The issuer says of every token that it is good.
    let issuer = Upstream::scripted(|_| {
        let text = json!({"active": true, "sub": "ann", "client_id": "c"}).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        Some(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
    });
    let (server, tokens) = Server::start();
    let upstream = telling();
    let text = format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - oauth2Introspection: {{url: 'http://{}/introspect', clientId: a, clientSecret: b, source: {{cookie: t}}, hideCredentials: true}}
      - oauth2TokenExchange: {{tokenEndpoint: 'http://{}/token', client: {{id: gate, secret: gate-secret}}, header: x-token}}
    backends: [{{upstream: u}}]
",
        upstream.address, issuer.address, tokens.address
    );
    let gateway = Gateway::start(&text);
    let answer = gateway.send("GET /x HTTP/1.1\nhost: a.test\ncookie: t=opaque-of-ann", b"");
    assert!(answer.text().contains("x-token: given-1-\n"), "{}", answer.text());
    assert!(!answer.text().contains("opaque-of-ann"));
    assert_eq!(server.asked.lock().expect("not poisoned")[0]["subject_token"], "opaque-of-ann");
}
