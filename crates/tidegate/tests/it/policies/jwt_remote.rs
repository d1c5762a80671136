//! `jwt` with keys from an address: a real server on this machine, that answers, fails, and counts.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{
    super::harness::{Gateway, Upstream, eventually, free_port, pause},
    ask, refused,
    tokens::{Signer, claims, jwks},
    with_policies,
};

/// A server of a key set that a test may change; `None` answers 500.
fn server() -> (Upstream, Arc<Mutex<Option<String>>>) {
    let keys: Arc<Mutex<Option<String>>> = Arc::default();
    let served = keys.clone();
    let server = Upstream::scripted(move |_| {
        let answer = match &*served.lock().expect("not poisoned") {
            Some(keys) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len()),
            None => "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        Some(answer.into_bytes())
    });
    (server, keys)
}

fn gateway(server: &Upstream, times: &str) -> Gateway {
    Gateway::start(&format!(
        "routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - jwt: {{issuer: 'https://id.example.test', algorithms: [ES256], jwks: {{url: 'http://{}/keys?set=1'{times}}}}}
    respond: {{}}\n",
        server.address
    ))
}

fn token(signer: &Signer) -> String {
    signer.sign(&claims(|_| {}))
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    ask(gateway, "/", &format!("\nauthorization: Bearer {token}")).status
}

#[test]
fn keys_are_fetched_and_kept_and_fetched_again_at_their_interval() {
    let ((server, keys), old, new) = (server(), Signer::new("ES256", "old"), Signer::new("ES256", "new"));
    *keys.lock().expect("not poisoned") = Some(jwks(&[&old]));
    let gateway = gateway(&server, ", refresh: 1s, minRefresh: 1h");
    // One and the same token: its signature is verified once, and that holds no longer than its key.
    let kept = token(&old);
    for _ in 0..50 {
        assert_eq!(status(&gateway, &kept), 200);
    }
    assert_eq!(server.seen()[0].target(), "/keys?set=1");
    assert!(server.seen().len() <= 8, "{} fetches for 50 calls", server.seen().len());
    *keys.lock().expect("not poisoned") = Some(jwks(&[&new]));
    eventually("the old key's end", || status(&gateway, &kept) == 401);
    assert_eq!((status(&gateway, &token(&old)), status(&gateway, &token(&new))), (401, 200));
}

#[test]
fn a_server_that_is_down_keeps_the_old_keys() {
    let ((server, keys), signer) = (server(), Signer::new("ES256", "one"));
    *keys.lock().expect("not poisoned") = Some(jwks(&[&signer]));
    let gateway = gateway(&server, ", refresh: 300ms, minRefresh: 300ms, timeout: 500ms");
    assert_eq!(status(&gateway, &token(&signer)), 200);
    for broken in [None, Some("not keys".to_owned()), Some("{\"keys\": []}".to_owned())] {
        *keys.lock().expect("not poisoned") = broken;
        let before = server.seen().len();
        eventually("failed fetches", || server.seen().len() >= before + 2);
        assert_eq!(status(&gateway, &token(&signer)), 200);
    }
    assert!(gateway.stderr().contains("stays as it was"), "{}", gateway.stderr());
    drop(server);
    pause(700);
    assert_eq!(status(&gateway, &token(&signer)), 200, "nobody listens any more");
}

#[test]
fn unknown_keys_cause_one_fetch_per_interval() {
    let ((server, keys), known) = (server(), Signer::new("ES256", "known"));
    *keys.lock().expect("not poisoned") = Some(jwks(&[&known]));
    let gateway = gateway(&server, ", refresh: 1h, minRefresh: 2s");
    assert_eq!(status(&gateway, &token(&known)), 200);
    let flood = |count: usize| {
        for number in 0..count {
            let stranger = Signer::new("ES256", &format!("stranger-{number}"));
            assert_eq!(status(&gateway, &token(&stranger)), 401);
        }
    };
    flood(20);
    assert_eq!(server.seen().len(), 1, "the first fetch is not old enough for another one");
    pause(2_100);
    let start = std::time::Instant::now();
    flood(20);
    let fetches = server.seen().len();
    assert!(start.elapsed().as_millis() < 1_900, "the machine is too slow for this test");
    assert_eq!(fetches, 2, "twenty unknown keys cause one fetch");
    assert_eq!(status(&gateway, &token(&known)), 200);
}

#[test]
fn nothing_is_fetched_because_a_token_says_so() {
    // RFC 8725 §3.10: `jku`, `x5u`, a `kid` or an issuer that is an address are the token's words, and lead nowhere.
    let ((server, keys), known, evil) =
        (server(), Signer::new("ES256", "known"), Signer::new("ES256", "evil"));
    *keys.lock().expect("not poisoned") = Some(jwks(&[&known]));
    let own = jwks(&[&evil]);
    let trap = Upstream::fixed(200, &own);
    let gateway = gateway(&server, ", refresh: 1h, minRefresh: 1h");
    assert_eq!(status(&gateway, &token(&known)), 200);
    let url = format!("http://{}/keys", trap.address);
    let good = claims(|_| {});
    for head in [
        json!({"kid": "evil", "jku": url}),
        json!({"kid": "evil", "x5u": url}),
        json!({"kid": url}),
        json!({"jku": url, "jwk": evil.jwk()}),
        json!({"kid": "known", "jku": url}),
    ] {
        assert_eq!(status(&gateway, &evil.sign_under(head.clone(), &good)), 401, "{head}");
    }
    let elsewhere = claims(|claims| claims["iss"] = json!(url));
    assert_eq!(status(&gateway, &evil.sign(&elsewhere)), 401);
    assert_eq!(status(&gateway, &known.sign(&elsewhere)), 401);
    // A good key's token may carry such words; they change nothing.
    assert_eq!(status(&gateway, &known.sign_under(json!({"kid": "known", "jku": url}), &good)), 200);
    pause(300);
    assert_eq!((trap.connections(), server.seen().len()), (0, 1));
}

#[test]
fn a_new_key_is_known_with_the_first_token_that_names_it() {
    let ((server, keys), old, new) = (server(), Signer::new("ES256", "old"), Signer::new("ES256", "new"));
    *keys.lock().expect("not poisoned") = Some(jwks(&[&old]));
    let gateway = gateway(&server, ", refresh: 1h, minRefresh: 200ms");
    assert_eq!(status(&gateway, &token(&old)), 200);
    *keys.lock().expect("not poisoned") = Some(jwks(&[&old, &new]));
    pause(300);
    assert_eq!(status(&gateway, &token(&new)), 200, "its call waits for the fetch that it causes");
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn without_any_keys_yet_nobody_is_let_in_and_the_fault_is_not_the_clients() {
    let (server, _keys) = server();
    let gateway = gateway(&server, "");
    let answer =
        ask(&gateway, "/", &format!("\nauthorization: Bearer {}", token(&Signer::new("ES256", "one"))));
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("unavailable")));
    assert_eq!(ask(&gateway, "/", "").status, 401, "who has no token is told so");
}

#[test]
fn a_reload_that_changes_nothing_about_the_keys_fetches_nothing() {
    let ((server, keys), signer) = (server(), Signer::new("ES256", "one"));
    *keys.lock().expect("not poisoned") = Some(jwks(&[&signer]));
    let gateway = gateway(&server, "");
    assert_eq!(status(&gateway, &token(&signer)), 200);
    let text = std::fs::read_to_string(gateway.config())
        .expect("a file")
        .replace("respond: {}", "respond: {body: two}");
    let text = text.split_once('\n').expect("the admin line").1.to_owned();
    gateway.reload(&text);
    let answer = ask(&gateway, "/", &format!("\nauthorization: Bearer {}", token(&signer)));
    assert_eq!((answer.status, answer.text().as_str()), (200, "two"));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_key_server_that_is_gone_from_the_configuration_is_asked_no_more() {
    let ((server, keys), signer) = (server(), Signer::new("ES256", "one"));
    *keys.lock().expect("not poisoned") = Some(jwks(&[&signer]));
    let gateway = gateway(&server, ", refresh: 200ms");
    eventually("fetches", || server.seen().len() > 2);
    gateway.reload(&format!(
        "listeners: [{{name: public, address: \"{}\"}}]\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{}}}}]\n",
        gateway.address
    ));
    eventually("silence", || {
        let before = server.seen().len();
        pause(800);
        server.seen().len() == before
    });
}

#[test]
fn keys_come_from_a_safe_address_alone() {
    for (url, words) in [
        ("http://id.example.test/keys", "over https, or over http from a loopback address"),
        ("ftp://127.0.0.1/keys", "jwt.jwks.url"),
        ("https://169.254.169.254/keys", "jwt"),
    ] {
        let policy = format!("[{{jwt: {{issuer: i, jwks: {{url: '{url}'}}}}}}]");
        refused(&with_policies(&policy), &[words, "tidegate.yaml:6:"]);
    }
    let port = free_port();
    let both = format!("[{{jwt: {{issuer: i, jwks: {{url: 'http://127.0.0.1:{port}/', file: a}}}}}}]");
    refused(&with_policies(&both), &["jwt.jwks", "found both"]);
}

/// A key set behind TLS for `localhost`, and the certificate of it in PEM.
fn secure_server(keys: String) -> (u16, String) {
    use std::io::{Read, Write};
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .expect("a configuration");
    let (port, config) = (free_port(), Arc::new(config));
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(config.clone()).expect("a session");
            let mut stream = rustls::StreamOwned::new(session, socket);
            if matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len());
                let _ = stream.flush();
            }
        }
    });
    (port, issued.cert.pem())
}

/// A gateway that fetches keys from here, and trusts what this file holds.
fn trusting(url: &str, trusted: &std::path::Path) -> Gateway {
    let port = free_port();
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{jwt: {{issuer: 'https://id.example.test', algorithms: [ES256], jwks: {{url: '{url}', minRefresh: 100ms}}}}}}]
    respond: {{}}\n"
    );
    Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |command| {
        command.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR");
    })
}

#[test]
fn keys_over_https_come_from_a_server_that_the_system_trusts_alone() {
    let signer = Signer::new("ES256", "one");
    let (port, pem) = secure_server(jwks(&[&signer]));
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (folder.path().join("own.pem"), folder.path().join("other.pem"));
    std::fs::write(&own, pem).expect("a file");
    std::fs::write(&other, secure_server(String::new()).1).expect("a file");
    let url = format!("https://localhost:{port}/keys");
    assert_eq!(status(&trusting(&url, &own), &token(&signer)), 200);
    let gateway = trusting(&url, &other);
    assert_eq!(status(&gateway, &token(&signer)), 503);
    assert!(gateway.stderr().contains("TLS"), "{}", gateway.stderr());
    // Its certificate is for another name.
    let gateway = trusting(&format!("https://127.0.0.1:{port}/keys"), &own);
    assert_eq!(status(&gateway, &token(&signer)), 503);
}

#[test]
fn a_redirect_is_not_followed() {
    let signer = Signer::new("ES256", "one");
    let trap = Upstream::fixed(200, &jwks(&[&signer]));
    let location = format!("http://{}/keys", trap.address);
    for status_line in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let answer = format!("HTTP/1.1 {status_line}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let server = Upstream::scripted(move |_| Some(answer.clone().into_bytes()));
        let gateway = gateway(&server, "");
        assert_eq!(status(&gateway, &token(&signer)), 503, "{status_line}");
        assert!(!server.seen().is_empty());
    }
    assert_eq!(trap.connections(), 0);
}
