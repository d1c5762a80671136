//! `oauth2Introspection` against the same provider: tokens that say nothing themselves.

use std::net::SocketAddr;

use super::super::harness::{Answer, Gateway, Peer, Upstream, eventually, free_port, get, pause, raw};
use super::{browser::between, provider, telling};

struct Api {
    provider: SocketAddr,
    gateway: Gateway,
    _upstream: Upstream,
    _peer: Peer,
}

impl Api {
    fn start(options: &str, settings: &str, rest: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (provider, peer) = provider(address, options);
        let upstream = telling();
        let place = match settings.contains("issuer:") || settings.contains("url:") {
            true => String::new(),
            false => format!("issuer: 'http://{provider}', "),
        };
        let settings = settings.replace("PROVIDER", &provider.to_string());
        let text = format!(
            "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"{address}\"}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{oauth2Introspection: {{{place}clientId: api, clientSecret: api-secret{settings}}}}}]
    backends: [{{upstream: u}}]
{rest}",
            upstream.address
        );
        let gateway = Gateway::from_text(&text, address, |_| {});
        Self { provider, gateway, _upstream: upstream, _peer: peer }
    }

    fn ask(&self, headers: &str) -> Answer {
        self.gateway.send(&format!("GET /x HTTP/1.1\nhost: a.test{headers}"), b"")
    }

    fn with(&self, token: &str) -> Answer {
        self.ask(&format!("\nauthorization: Bearer {token}"))
    }

    /// A token of an application's own.
    fn token(&self, scope: &str) -> String {
        let form = format!("grant_type=client_credentials&scope={scope}");
        let told = self.post("/token", &form);
        told.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", told.text())).to_owned()
    }

    fn post(&self, path: &str, form: &str) -> Answer {
        // machine:machine-secret
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Basic bWFjaGluZTptYWNoaW5lLXNlY3JldA==\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{form}",
            self.provider,
            form.len()
        );
        Answer::parse(&raw(self.provider, head.as_bytes())).expect("an answer")
    }

    fn asked(&self) -> u64 {
        let answer = get(self.provider, "/control").expect("the provider answers");
        answer.json()["/token/introspection"].as_u64().unwrap_or(0)
    }
}

#[test]
fn a_good_token_lets_in_and_is_asked_about_once() {
    let api = Api::start(
        "{}",
        ", requiredScopes: ['orders:read'], claimsToHeaders: {x-client: client_id}, hideCredentials: true",
        "",
    );
    let token = api.token("orders:read%20orders:write");
    let url = format!("GET /x HTTP/1.1\nhost: a.test\nauthorization: Bearer {token}\nx-client: root");
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| api.gateway.send(&url, b""))).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.text();
        assert_eq!(between(&told, "x-client: ", "\n"), Some("machine"), "{told}");
        assert!(!told.contains(&token) && told.matches("x-client").count() == 1, "{told}");
    }
    assert_eq!(api.asked(), 1, "eight at once are one question");
    assert_eq!(api.with(&token).status, 200);
    assert_eq!(api.asked(), 1);
    let kept = api
        .gateway
        .metric("tidegate_introspection_total{policy=\"routes/r/oauth2Introspection\",outcome=\"kept\"}");
    assert!(kept.is_some_and(|count| count >= 1.0));
}

#[test]
fn what_is_no_good_is_refused_and_known_as_that() {
    let api = Api::start("{}", ", requiredScopes: ['orders:write']", "");
    let answer = api.with("made-up");
    assert_eq!((answer.status, answer.problem().as_deref()), (401, Some("unauthenticated")));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    for _ in 0..5 {
        assert_eq!(api.with("made-up").status, 401);
    }
    assert_eq!(api.asked(), 1);
    let narrow = api.with(&api.token("orders:read"));
    assert_eq!(narrow.status, 403);
    assert!(narrow.header("www-authenticate").is_some_and(|told| told.contains("insufficient_scope")));
    let asked = api.asked();
    for (headers, hint) in [
        ("", "a token is needed"),
        ("\nauthorization: Basic YTpi", "a token is needed"),
        ("\nauthorization: Bearer a\nauthorization: Bearer b", "more than once"),
        ("\nauthorization: Bearer ", "a token is needed"),
        ("\nauthorization: Bearer a b", "not valid"),
    ] {
        let answer = api.ask(headers);
        assert_eq!(answer.status, 401, "{headers}");
        assert!(answer.text().contains(hint), "{headers}: {}", answer.text());
    }
    let long = api.with(&"x".repeat(17_000));
    assert!(long.status == 401 || long.status == 431, "{}", long.status);
    assert_eq!(api.asked(), asked, "nobody is asked about what is no token");
}

#[test]
fn a_token_that_is_taken_back_or_has_ended_lets_nobody_in() {
    let api = Api::start(r#"{"machineTtl": 3}"#, ", ttl: 1s, leeway: 0s", "");
    let (one, other) = (api.token("orders:read"), api.token("orders:read"));
    assert_eq!((api.with(&one).status, api.with(&other).status), (200, 200));
    assert_eq!(api.post("/token/revocation", &format!("token={one}")).status, 200);
    assert_eq!(api.with(&one).status, 200, "what was said is kept for `ttl`");
    eventually("it is asked about again", || api.with(&one).status == 401);
    eventually("the other has ended", || api.with(&other).status == 401);
    let api = Api::start(r#"{"machineTtl": 2}"#, ", ttl: 1h, leeway: 0s", "");
    let token = api.token("orders:read");
    assert_eq!(api.with(&token).status, 200);
    pause(2_200);
    assert_eq!(api.with(&token).status, 401, "nothing is kept longer than the token lasts");
    let api = Api::start("{}", ", ttl: 0s", "");
    let token = api.token("orders:read");
    for _ in 0..3 {
        assert_eq!(api.with(&token).status, 200);
    }
    assert_eq!(api.asked(), 3);
}

#[test]
fn an_issuer_that_cannot_be_asked_lets_nobody_in_and_one_with_a_wrong_secret_neither() {
    let nobody = free_port();
    for (settings, rest) in [
        (format!(", url: 'http://127.0.0.1:{nobody}/introspect', timeout: 500ms"), ""),
        (", url: 'http://PROVIDER/nowhere'".to_owned(), ""),
        (", issuer: 'http://PROVIDER/other', timeout: 500ms".to_owned(), ""),
    ] {
        let api = Api::start("{}", &settings, rest);
        let answer = api.with("any");
        assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("unavailable")), "{settings}");
    }
    let api = Api::start("{}", ", url: 'http://PROVIDER/token/introspection'", "");
    assert_eq!(api.with(&api.token("orders:read")).status, 200, "by the address alone");
    let text = std::fs::read_to_string(api.gateway.config()).expect("the configuration");
    let text = text.split_once('\n').expect("lines").1.replace("api-secret", "wrong");
    api.gateway.reload(&text);
    assert_eq!(api.with("something-new").status, 503);
}

#[test]
fn people_are_found_by_what_is_said_of_them_and_audiences_count() {
    let api = Api::start(
        "{}",
        ", audiences: ['http://api.test']",
        "consumers: [{name: robots, jwt: [{claim: client_id, value: machine}]}]\n",
    );
    assert_eq!(api.with(&api.token("orders:read")).status, 401, "it names no audience");
    let api =
        Api::start("{}", "", "consumers: [{name: robots, jwt: [{claim: client_id, value: machine}]}]\n");
    assert_eq!(api.with(&api.token("orders:read")).status, 200);
    assert_eq!(api.gateway.record("the robot's", |r| r["path"] == "/x")["consumer"], "robots");
}
