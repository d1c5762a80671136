//! `mtls`: who calls by a certificate, what upstreams are told of it, and whose word about certificates is taken.

use std::io::Write;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use super::telling;
use crate::{
    harness::{Answer, Gateway, Upstream, free_port},
    policies::tokens::{Signer, claims, jwks},
    wire::tls::{Authority, Issued, client, dial},
};

struct World {
    gateway: Gateway,
    _upstream: Upstream,
    authority: Authority,
    clients: Authority,
}

impl World {
    fn start(policies: &str, rest: &str) -> Self {
        let (authority, clients) = (Authority::new("ca"), Authority::new("clients, Inc"));
        let folder = tempfile::tempdir().expect("a folder");
        authority.issue(&["a.test"]).write(folder.path(), "one");
        std::fs::write(folder.path().join("clients.crt"), clients.0.pem()).expect("a file");
        let upstream = telling();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = format!(
            "accessLog: [{{kind: stdout}}]
listeners: [{{name: tls, address: \"{address}\", tls: {{certificates: [{{certFile: one.crt, keyFile: one.key}}], clientAuth: {{mode: optional, caFile: clients.crt}}}}}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
consumers:
  - {{name: gold, keys: [gold-key-of-the-test]}}
  - {{name: cart, jwt: [{{claim: uri, value: 'spiffe://prod.test/cart', issuer: 'CN=clients\\, Inc'}}]}}
  - {{name: x.partner.test}}
  - {{name: nobody}}
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    backends: [{{upstream: u}}]
    policies: {policies}
{rest}",
            upstream.address
        );
        let gateway = Gateway::in_folder(folder, &text, address, |_| {});
        Self { gateway, _upstream: upstream, authority, clients }
    }

    /// The answer to a client with a certificate, or without.
    fn visit(&self, identity: Option<&Issued>, headers: &str) -> Answer {
        let config = client(self.authority.roots(), identity, &[]);
        let mut stream = dial(self.gateway.address, &config, "a.test").expect("a connection");
        let headers = headers.replace('\n', "\r\n");
        write!(stream, "GET /x HTTP/1.1\r\nhost: a.test{headers}\r\n\r\n").expect("sent");
        Answer::read(&mut std::io::BufReader::new(&mut stream), false).expect("an answer")
    }
}

fn line<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn headers_about_certificates_come_from_trusted_proxies_alone_whatever_the_route() {
    let forged = "\nx-forwarded-client-cert: Hash=forged\nclient-cert: :Zm9yZ2Vk:\nclient_cert: forged\nclient-cert-chain: :Zm9yZ2Vk:";
    for (trusted, is_there) in [("[]", false), ("[127.0.0.0/8]", true)] {
        let upstream = telling();
        let gateway = Gateway::start(&format!(
            "trustedProxies: {trusted}
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
",
            upstream.address
        ));
        let text = gateway.send(&format!("GET / HTTP/1.1\nhost: a.test{forged}"), b"").text();
        for name in ["x-forwarded-client-cert", "client-cert", "client-cert-chain"] {
            assert_eq!(line(&text, name).is_some(), is_there, "{name}: {text}");
        }
        assert_eq!(line(&text, "client_cert"), None, "{text}");
    }
}

#[test]
fn a_certificate_is_somebodys_by_what_it_says() {
    let policies = "
      - mtls:
          identities:
            - {uri: 'spiffe://prod.test/*', issuer: 'CN=clients\\, Inc', name: prod}
            - {dns: '*.gold.test', consumer: gold}
            - {commonName: other, issuer: 'CN=another'}
          claimsToHeaders: {x-who: sub, x-issuer: issuer, x-uri: uri}
      - headers: {request: {set: {x-consumer: '{{ consumer.name }}', x-serial: '{{ jwt.serial }}'}}}";
    let world = World::start(policies, "");
    let cart = world.clients.issue(&["cart", "spiffe://prod.test/cart"]);
    let answer = world.visit(Some(&cart), "\nx-who: root");
    let text = answer.text();
    assert_eq!(answer.status, 200, "{text}");
    assert_eq!(line(&text, "x-who"), Some("prod"), "{text}");
    assert_eq!(line(&text, "x-issuer"), Some("CN=clients\\, Inc"));
    assert_eq!(line(&text, "x-uri"), Some("spiffe://prod.test/cart"));
    assert_eq!(line(&text, "x-consumer"), Some("cart"), "by the consumer's own entry");
    assert!(line(&text, "x-serial").is_some());
    let gold = world.clients.issue(&["a.gold.test"]);
    assert_eq!(line(&world.visit(Some(&gold), "").text(), "x-consumer"), Some("gold"));
    for names in [&["a.b.gold.test"][..], &["gold.test"], &["other"], &["x", "spiffe://prod.testing/cart"]] {
        let answer = world.visit(Some(&world.clients.issue(names)), "");
        assert_eq!((answer.status, answer.problem().as_deref()), (403, Some("forbidden")), "{names:?}");
    }
    let none = world.visit(None, "");
    assert_eq!((none.status, none.problem().as_deref()), (401, Some("unauthenticated")));
    assert!(none.text().contains("a client certificate is needed"));
    let record = world.gateway.record("the cart's", |record| record["consumer"] == "cart");
    assert_eq!(record["status"], 200);
    let count = |outcome: &str| {
        world
            .gateway
            .metric(&format!("tidegate_mtls_total{{policy=\"routes/r/mtls\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((count("known"), count("refused"), count("missing")), (Some(2.0), Some(4.0), Some(1.0)));
}

#[test]
fn a_token_that_is_bound_to_a_certificate_is_good_on_its_connections_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (signer, keys) = (Signer::new("ES256", "one"), folder.path().join("jwks.json"));
    std::fs::write(&keys, jwks(&[&signer])).expect("a file");
    let world = World::start(
        &format!(
            "[{{jwt: {{issuer: https://id.example.test, audiences: [shop], algorithms: [ES256], jwks: {{file: '{}'}}}}}}]",
            keys.display()
        ),
        "",
    );
    let (own, other) = (world.clients.issue(&["cart"]), world.clients.issue(&["cart"]));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &own.cert);
    let thumbprint = URL_SAFE_NO_PAD.encode(digest);
    let bearer = |proof: serde_json::Value| {
        let token = signer.sign(&claims(|claims| claims["cnf"] = proof));
        format!("\nauthorization: Bearer {token}")
    };
    let bound = bearer(serde_json::json!({"x5t#S256": thumbprint}));
    for (identity, status) in [(Some(&own), 200), (Some(&other), 401), (None, 401)] {
        assert_eq!(world.visit(identity, &bound).status, status);
    }
    // What else it is bound to nobody looks at.
    let further = bearer(serde_json::json!({"x5t#S256": thumbprint, "jkt": "x"}));
    assert_eq!(world.visit(Some(&own), &further).status, 401);
    assert_eq!(world.visit(None, &bearer(serde_json::Value::Null)).status, 200);
}

#[test]
fn a_claim_names_the_consumer_and_fingerprints_and_strangers_are_told_apart() {
    let world = World::start(
        "[{mtls: {consumerClaim: dns, claimsToHeaders: {x-print: fingerprint}}}, {acl: {allow: [x.partner.test]}}]",
        "",
    );
    let good = world.clients.issue(&["x.partner.test"]);
    let answer = world.visit(Some(&good), "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &good.cert);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    assert_eq!(line(&answer.text(), "x-print"), Some(&*hex.replace(':', "").to_lowercase()));
    assert_eq!(
        world.visit(Some(&world.clients.issue(&["y.partner.test"])), "").status,
        401,
        "it names nobody"
    );
    // The same names, another certificate.
    let world =
        World::start(&format!("[{{mtls: {{identities: [{{fingerprint: '{hex}', consumer: gold}}]}}}}]"), "");
    assert_eq!(world.visit(Some(&world.clients.issue(&["x.partner.test"])), "").status, 403);
    let world = World::start("[{mtls: {anonymous: nobody}}, {acl: {deny: [nobody]}}]", "");
    assert_eq!(world.visit(None, "").status, 403);
    assert_eq!(world.visit(Some(&world.clients.issue(&["any"])), "").status, 200);
}

#[test]
fn upstreams_are_told_of_the_certificate_and_never_what_a_client_makes_up() {
    let policies =
        "[{mtls: {forward: {xfcc: [subject, uri, dns, cert], clientCert: true, clientCertChain: true}}}]";
    let world = World::start(policies, "");
    let identity = world.clients.issue(&["a.test", "spiffe://prod.test/a", "b.test"]);
    let forged = "\nx-forwarded-client-cert: Hash=forged\nclient-cert: :Zm9yZ2Vk:\nclient-cert-chain: :Zm9yZ2Vk:\nX-Forwarded-Client-Cert: forged";
    let text = world.visit(Some(&identity), forged).text();
    assert!(!text.contains("forged") && !text.contains("Zm9yZ2Vk"), "{text}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &identity.cert);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let xfcc = line(&text, "x-forwarded-client-cert").expect("a header");
    assert!(xfcc.starts_with(&format!("Hash={hex};Cert=")), "{xfcc}");
    for part in ["%0A", ";Subject=\"CN=a.test\";", ";URI=spiffe://prod.test/a;", ";DNS=a.test;DNS=b.test"] {
        assert!(xfcc.contains(part), "{part}: {xfcc}");
    }
    assert_eq!(line(&text, "client-cert"), Some(&*format!(":{}:", STANDARD.encode(&identity.cert))));
    assert_eq!(line(&text, "client-cert-chain"), None, "it came alone");
    // Without `forward` nothing is told, and what the client says is removed all the same.
    for (policies, has_one) in [("[{mtls: {}}]", true), ("[{mtls: {anonymous: nobody}}]", false)] {
        let world = World::start(policies, "");
        let own = world.clients.issue(&["a.test"]);
        let text = world.visit(has_one.then_some(&own), forged).text();
        assert!(!text.contains("forged") && !text.contains("client-cert"), "{text}");
    }
}

#[test]
fn it_is_one_of_several_ways() {
    let policies = "
      - anyOf:
          policies:
            - mtls: {identities: [{dns: a.test, name: by-certificate}], forward: {xfcc: [dns]}}
            - keyAuth: {header: x-api-key}
      - headers: {request: {set: {x-who: '{{ jwt.sub }}', x-consumer: '{{ consumer.name }}'}}}";
    let world = World::start(policies, "");
    let (good, other) = (world.clients.issue(&["a.test"]), world.clients.issue(&["b.test"]));
    let text = world.visit(Some(&good), "\nx-api-key: gold-key-of-the-test").text();
    assert_eq!((line(&text, "x-who"), line(&text, "x-consumer")), (Some("by-certificate"), None), "{text}");
    assert!(!text.contains("gold-key"), "what was shown for another way does not go on: {text}");
    for identity in [None, Some(&other)] {
        let text = world
            .visit(identity, "\nx-api-key: gold-key-of-the-test\nx-forwarded-client-cert: Hash=forged")
            .text();
        assert_eq!((line(&text, "x-who"), line(&text, "x-consumer")), (None, Some("gold")), "{text}");
        assert!(!text.contains("x-forwarded-client-cert"), "{text}");
    }
    assert_eq!(world.visit(None, "").status, 401);
    assert_eq!(world.visit(Some(&other), "").status, 403);
}

/// A gateway without TLS, which trusts the network of the tests or does not.
fn behind(trusted: &str, header: &str) -> (Gateway, Upstream) {
    let upstream = telling();
    let text = format!(
        "trustedProxies: [{trusted}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - mtls: {{trustedHeader: {header}, claimsToHeaders: {{x-who: sub, x-print: fingerprint}}, forward: {{xfcc: [uri], clientCert: true}}}}
    backends: [{{upstream: u}}]
",
        upstream.address
    );
    (Gateway::start(&text), upstream)
}

#[test]
fn the_word_of_a_trusted_proxy_is_taken_and_nobody_elses() {
    let identity = Authority::new("far").issue(&["far.test", "spiffe://far.test/a"]);
    let whole = format!(":{}:", STANDARD.encode(&identity.cert));
    let ask = |gateway: &Gateway, headers: &str| {
        gateway.send(&format!("GET /x HTTP/1.1\nhost: a.test{headers}"), b"")
    };
    let (gateway, _upstream) = behind("127.0.0.0/8", "clientCert");
    let text = ask(&gateway, &format!("\nclient-cert: {whole}\nx-forwarded-client-cert: Hash=forged")).text();
    assert_eq!(line(&text, "x-who"), Some("spiffe://far.test/a"), "{text}");
    assert_eq!(line(&text, "client-cert"), Some(&*whole));
    assert!(
        !text.contains("forged")
            && line(&text, "x-forwarded-client-cert")
                .is_some_and(|xfcc| xfcc.ends_with(";URI=spiffe://far.test/a")),
        "{text}"
    );
    for headers in [
        "\nclient-cert: nonsense".to_owned(),
        "\nclient-cert: :bm9uZQ==:".to_owned(),
        format!("\nclient-cert: {whole}\nclient-cert: {whole}"),
        "\nx-forwarded-client-cert: Hash=aa;URI=spiffe://far.test/a".to_owned(),
        String::new(),
    ] {
        assert_eq!(ask(&gateway, &headers).status, 401, "{headers}");
    }
    let (gateway, _upstream) = behind("127.0.0.0/8", "xfcc");
    let xfcc = "\nx-forwarded-client-cert: Hash=11;URI=forged,By=spiffe://front;Hash=22;Subject=\"CN=a\";URI=spiffe://far.test/b";
    let text = ask(&gateway, xfcc).text();
    assert_eq!(
        (line(&text, "x-who"), line(&text, "x-print")),
        (Some("spiffe://far.test/b"), Some("22")),
        "{text}"
    );
    assert_eq!(line(&text, "x-forwarded-client-cert"), Some("Hash=22;URI=spiffe://far.test/b"));
    for header in ["xfcc", "clientCert"] {
        let (gateway, upstream) = behind("192.0.2.0/24", header);
        let told = format!("{xfcc}\nclient-cert: {whole}");
        assert_eq!(ask(&gateway, &told).status, 401, "{header}: not from whoever comes");
        assert!(upstream.seen().is_empty());
    }
}

#[test]
fn a_settings_mistake_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tidegate.yaml");
    for (settings, want) in [
        ("identities: [{consumer: gold}]", "fits every certificate"),
        ("identities: [{dns: a, consumer: nobody-known}]", "there is no consumer"),
        ("identities: [{fingerprint: abc}]", "64 hexadecimal digits"),
        ("identities: [{uri: '*'}]", "before the `*`"),
        ("others: allow", "there are no others"),
        ("claimsToHeaders: {client-cert: sub}", "own to set"),
    ] {
        let text = format!(
            "listeners: [{{name: l, address: \"127.0.0.1:8080\"}}]
consumers: [{{name: gold}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{mtls: {{{settings}}}}}], respond: {{}}}}]
"
        );
        std::fs::write(&config, text).expect("a configuration");
        let (code, out, err) = crate::harness::run(&["validate", "--config", &config.display().to_string()]);
        assert!(code != 0 && format!("{out}{err}").contains(want), "{settings}: {out}{err}");
    }
}
