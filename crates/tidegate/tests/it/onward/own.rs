//! `clientCredentials` against npm's `oidc-provider`: a token of the gateway's own, however many calls need it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    encoding::AsDer,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::telling;
use crate::harness::{
    Answer, Gateway, Peer, Upstream, eventually, free_port, get, identity_provider, pause, raw,
};

struct World {
    provider: SocketAddr,
    gateway: Gateway,
    upstream: Upstream,
    _peer: Peer,
}

/// What a test makes of the token that an upstream is shown.
type Judge = dyn Fn(&str) -> bool + Send + Sync;

/// An upstream that answers 401 to tokens that do not please.
fn judging(judge: Arc<Judge>) -> Upstream {
    Upstream::scripted(move |seen| {
        let token = seen.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
        let (status, body) = match judge(&token) {
            true => ("200 OK", format!("{} {}", seen.line, String::from_utf8_lossy(&seen.body))),
            false => ("401 No", "who are you".to_owned()),
        };
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    })
}

fn provider(options: &Value) -> (SocketAddr, Peer) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let arguments = [&address.port().to_string(), "http://127.0.0.1:1", &options.to_string()];
    let mut peer = Peer::start(identity_provider(include_str!("../oidc/provider.mjs"), &arguments));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    (address, peer)
}

impl World {
    /// `client` and `settings` are the policy's; `upstream` is where it stands, on the route otherwise.
    fn start(options: &Value, client: &str, settings: &str, upstream: Upstream, on_upstream: bool) -> Self {
        let (provider, peer) = provider(options);
        let client = client.replace("PROVIDER", &provider.to_string());
        let policy = format!(
            "[{{clientCredentials: {{tokenEndpoint: 'http://{provider}/token', client: {{{client}}}{settings}}}}}]"
        );
        let (of_upstream, of_route) =
            if on_upstream { (policy.as_str(), "[]") } else { ("[]", policy.as_str()) };
        let text = format!(
            "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], policies: {of_upstream}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {of_route}, backends: [{{upstream: u}}]}}]
",
            upstream.address
        );
        Self { provider, gateway: Gateway::start(&text), upstream, _peer: peer }
    }

    fn ask(&self, headers: &str) -> Answer {
        self.gateway.send(&format!("GET /x HTTP/1.1\nhost: a.test{headers}"), b"")
    }

    /// What the provider says of a token.
    fn introspected(&self, token: &str) -> Value {
        let form = format!("token={token}");
        // api:api-secret
        let head = format!(
            "POST /token/introspection HTTP/1.1\r\nhost: {}\r\nauthorization: Basic YXBpOmFwaS1zZWNyZXQ=\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{form}",
            self.provider,
            form.len()
        );
        Answer::parse(&raw(self.provider, head.as_bytes())).expect("an answer").json()
    }

    /// How often a token was asked for.
    fn asked(&self) -> u64 {
        get(self.provider, "/control").expect("the provider answers").json()["/token"].as_u64().unwrap_or(0)
    }

    fn count(&self, outcome: &str) -> f64 {
        let place = "tidegate_client_credentials_total{policy=";
        let text = self.gateway.metrics();
        let wanted = format!("outcome=\"{outcome}\"");
        let line = text.lines().find(|line| line.starts_with(place) && line.contains(&wanted));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
}

const MACHINE: &str = "id: machine, secret: machine-secret";

#[test]
fn however_many_calls_need_it_there_is_one_token_and_it_is_what_the_provider_gave() {
    let settings = ", scopes: ['orders:read']";
    let world = World::start(&json!({}), MACHINE, settings, telling(), false);
    let gateway = &world.gateway;
    let ask = || gateway.send("GET /x HTTP/1.1\nhost: a.test\nauthorization: Bearer of-the-client", b"");
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        calls.into_iter().map(|call| call.join().expect("an answer")).collect()
    });
    let token = world.upstream.seen()[0].header("authorization").expect("a token").to_owned();
    for (answer, seen) in answers.iter().zip(world.upstream.seen()) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(seen.header("authorization"), Some(token.as_str()));
        assert!(!answer.text().contains("of-the-client"));
    }
    let told = world.introspected(token.trim_start_matches("Bearer "));
    assert_eq!(
        (&told["active"], &told["client_id"], &told["scope"]),
        (&json!(true), &json!("machine"), &json!("orders:read"))
    );
    assert_eq!(world.asked(), 1);
    let text = std::fs::read_to_string(world.gateway.config()).expect("the configuration");
    world
        .gateway
        .reload(&format!("{}\nconsumers: [{{name: another}}]\n", text.split_once('\n').expect("lines").1));
    assert_eq!(world.ask("").status, 200);
    assert_eq!(world.asked(), 1, "a reload fetches nothing that is there");
    assert!(!world.gateway.stderr().contains(token.trim_start_matches("Bearer ")));
    let record = world.gateway.record("a call", |record| record["path"] == "/x");
    assert_eq!(record["onward"][0], json!({"policy": "clientCredentials", "outcome": "sent"}));
}

#[test]
fn the_gateway_proves_who_it_is_in_every_way_and_its_token_stands_where_it_is_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let der = AsDer::<aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'static>>::as_der(&pair.private_key())
        .expect("a key");
    let lines = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let file = folder.path().join("client.pem");
    std::fs::write(&file, format!("-----BEGIN EC PRIVATE KEY-----\n{lines}\n-----END EC PRIVATE KEY-----\n"))
        .expect("a key");
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y), "kid": "gate", "use": "sig", "alg": "ES256"});
    let signed = format!(
        "id: signed, auth: privateKeyJwt, key: {{file: '{}'}}, keyId: gate, assertionAudience: 'http://PROVIDER'",
        file.display()
    );
    for (client, id) in [
        (MACHINE, "machine"),
        ("id: poster, auth: post, secret: poster-secret", "poster"),
        (signed.as_str(), "signed"),
    ] {
        let options = json!({"keyClient": jwk});
        let world = World::start(&options, client, ", header: x-token", telling(), false);
        let answer = world.ask("\nx-token: forged\nauthorization: Bearer of-the-client");
        assert_eq!(answer.status, 200, "{id}: {} {}", answer.text(), world.gateway.stderr());
        let seen = world.upstream.seen().remove(0);
        let token = seen.header("x-token").expect("a token");
        assert_eq!(world.introspected(token)["client_id"], json!(id));
        assert_eq!(seen.header("authorization"), Some("Bearer of-the-client"), "what is elsewhere stays");
    }
}

#[test]
fn a_token_is_fetched_anew_before_it_ends() {
    let world = World::start(&json!({"machineTtl": 4}), MACHINE, "", telling(), false);
    for _ in 0..40 {
        let answer = world.ask("");
        assert_eq!(answer.status, 200);
        let token = world.upstream.seen().pop().expect("a request");
        let token = token.header("authorization").expect("a token").trim_start_matches("Bearer ").to_owned();
        assert_eq!(world.introspected(&token)["active"], json!(true), "no token that has ended is shown");
        pause(200);
    }
    assert!((2..=5).contains(&world.asked()), "{}", world.asked());
}

#[test]
fn a_token_that_an_upstream_refuses_is_had_anew_and_the_request_comes_once_more() {
    for on_upstream in [false, true] {
        let bad: Arc<Mutex<Vec<String>>> = Arc::default();
        let refused = bad.clone();
        let upstream = judging(Arc::new(move |token| {
            !refused.lock().expect("not poisoned").contains(&token.to_owned())
        }));
        let world = World::start(&json!({}), MACHINE, ", maxReplaySize: 1KiB", upstream, on_upstream);
        let spoil = || {
            // One that is younger is not fetched anew.
            pause(1_100);
            let token = world
                .upstream
                .seen()
                .pop()
                .expect("a request")
                .header("authorization")
                .expect("a token")
                .to_owned();
            bad.lock().expect("not poisoned").push(token.trim_start_matches("Bearer ").to_owned());
        };
        assert_eq!(world.ask("").status, 200);
        spoil();
        let answer = world.ask("");
        if on_upstream {
            assert_eq!(answer.status, 401, "policies of the upstream have seen it");
            eventually("the next has another", || world.ask("").status == 200);
            assert_eq!(world.asked(), 2);
            continue;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        spoil();
        let post = |body: &[u8]| {
            world
                .gateway
                .send(&format!("POST /y HTTP/1.1\nhost: a.test\ncontent-length: {}", body.len()), body)
        };
        let answer = post(b"all of it");
        assert_eq!((answer.status, answer.text().as_str()), (200, "POST /y HTTP/1.1 all of it"));
        spoil();
        let before = world.upstream.seen().len();
        assert_eq!(post(&[b'x'; 2_000]).status, 401, "more than is kept is not sent again");
        assert_eq!(world.upstream.seen().len(), before + 1);
        assert_eq!(post(&[b'x'; 2_000]).status, 200, "the next has another token");
        assert_eq!((world.asked(), world.count("renewed")), (4, 3.0));
        // All tokens are bad: each call is refused, and the provider is not stormed.
        spoil();
        let all = bad.clone();
        let asked = world.asked();
        for _ in 0..30 {
            assert!(world.ask("").status != 0);
            let seen = world.upstream.seen().pop().expect("a request");
            all.lock().expect("not poisoned").push(
                seen.header("authorization").expect("a token").trim_start_matches("Bearer ").to_owned(),
            );
        }
        assert!(world.asked() - asked <= 4, "{}", world.asked() - asked);
    }
}

#[test]
fn while_no_token_can_be_had_calls_are_told_so_and_the_token_server_is_not_stormed() {
    for (settings, status) in [(", timeout: 500ms", 503), (", timeout: 500ms, withoutToken: badGateway", 502)]
    {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let broken = Upstream::scripted(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Some(b"HTTP/1.1 500 No\r\ncontent-length: 6\r\n\r\nsecret".to_vec())
        });
        let upstream = telling();
        let text = format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}],
  policies: [{{clientCredentials: {{tokenEndpoint: 'http://{}/token', client: {{{MACHINE}}}{settings}}}}}]}}]
",
            upstream.address, broken.address
        );
        let gateway = Gateway::start(&text);
        for _ in 0..30 {
            let answer = gateway.get("/x");
            assert_eq!(
                (answer.status, answer.problem().as_deref()),
                (status, Some("no-token")),
                "{}",
                answer.text()
            );
            assert!(!answer.text().contains(&broken.address.port().to_string()), "{}", answer.text());
            assert!(!answer.text().contains("secret"));
        }
        assert!(asked.load(Ordering::Relaxed) <= 3, "{}", asked.load(Ordering::Relaxed));
        assert!(upstream.seen().is_empty());
    }
}

#[test]
fn what_a_client_lacks_refuses_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tidegate.yaml");
    for (settings, want) in [
        ("tokenEndpoint: 'http://id.example.test/token', client: {id: a, secret: b}", "over https"),
        ("tokenEndpoint: 'https://id.example.test/token', client: {id: a}", "needs a `secret`"),
        (
            "tokenEndpoint: 'https://id.example.test/token', client: {id: a, auth: privateKeyJwt}",
            "needs a `key`",
        ),
        (
            "tokenEndpoint: 'https://id.example.test/token', client: {id: a, auth: none, secret: b}",
            "no use for it",
        ),
        (
            "tokenEndpoint: 'https://id.example.test/token', client: {id: a, secret: b}, parameters: {scope: x}",
            "setting of its own",
        ),
        (
            "tokenEndpoint: 'https://id.example.test/token', client: {id: a, auth: privateKeyJwt, key: hush}",
            "no private key",
        ),
        (
            "tokenEndpoint: 'https://id.example.test/token', client: {id: a, secret: b}, header: host",
            "no header for a token",
        ),
    ] {
        let text = format!(
            "listeners: [{{name: l, address: \"127.0.0.1:8080\"}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{clientCredentials: {{{settings}}}}}], respond: {{}}}}]
"
        );
        std::fs::write(&config, text).expect("a configuration");
        let (code, out, err) = crate::harness::run(&["validate", "--config", &config.display().to_string()]);
        let told = format!("{out}{err}");
        assert!(code != 0 && told.contains(want), "{settings}: {told}");
        assert!(!told.contains("hush"), "{told}");
    }
}
