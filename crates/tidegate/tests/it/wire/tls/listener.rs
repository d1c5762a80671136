//! A listener's TLS: which certificate, which version, which protocol, and what a reload does.

use std::{io::Write, net::SocketAddr};

use super::{
    super::super::harness::{Client, Gateway, Upstream, eventually, free_port, h2, run},
    *,
};

const TWO: &str = "certificates: [{certFile: one.crt, keyFile: one.key}, {certFile: two.crt, keyFile: two.key, default: true}]";

#[test]
fn the_certificate_is_chosen_by_name_wildcard_or_default() {
    let authority = Authority::new("ca");
    let (one, two) = (authority.issue(&["a.test", "*.b.test"]), authority.issue(&["c.test", "x.b.test"]));
    let gateway = gateway(TWO, FIXED, |folder| {
        one.write(folder, "one");
        two.write(folder, "two");
    });
    let config = client(authority.roots(), None, &[]);
    for (name, certificate) in
        [("a.test", &one), ("y.b.test", &one), ("x.b.test", &two), ("c.test", &two), ("A.Test", &one)]
    {
        let mut stream = dial(gateway.address, &config, name).expect(name);
        assert!(shown(&stream) == certificate.cert, "{name}");
        assert_eq!(ask(&mut stream, name, "/").expect("an answer").text(), "inside");
    }
    // A name that none covers gets the default, which the client then refuses; so does a client without SNI.
    for name in ["z.test", "a.b.b.test", "127.0.0.1"] {
        assert!(dial(gateway.address, &config, name).is_err(), "{name}");
        let mut config = client(RootCertStore::empty(), None, &[]);
        config.dangerous().set_certificate_verifier(Arc::new(Anyone::default()));
        let stream = dial(gateway.address, &config, name).expect(name);
        assert!(shown(&stream) == two.cert, "{name}");
    }
}

/// Trusts everyone: for looking at what is shown.
#[derive(Debug, Default)]
struct Anyone {
    /// What the last handshake had stapled to it.
    stapled: std::sync::Mutex<Vec<u8>>,
}

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        stapled: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.stapled.lock().expect("not poisoned") = stapled.to_vec();
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

const ONE: &str = "certificates: [{certFile: one.crt, keyFile: one.key}]";

fn one(tls: &str) -> (Authority, Gateway) {
    let authority = Authority::new("ca");
    let certificate = authority.issue(&["a.test"]);
    let gateway = gateway(tls, FIXED, |folder| certificate.write(folder, "one"));
    (authority, gateway)
}

#[test]
fn alpn_offers_both_versions_and_the_listener_may_offer_less() {
    let (authority, gateway) = one(ONE);
    for (offered, chosen) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let config = client(authority.roots(), None, offered);
        let stream = dial(gateway.address, &config, "a.test").expect("a connection");
        assert_eq!(stream.conn.alpn_protocol(), chosen.map(str::as_bytes), "{offered:?}");
    }
    h2::run(async {
        let config = client(authority.roots(), None, &["h2"]);
        let io = tokio::net::TcpStream::connect(gateway.address).await.expect("a connection");
        let name = ServerName::try_from("a.test").expect("a name");
        let io = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, io).await.expect("TLS");
        let client = h2::Client::over(io).await;
        let request = http::Request::get("https://a.test/").body(()).expect("a request");
        assert_eq!(client.fetch(request, b"", None).await.expect("an answer").text(), "inside");
    });
    let (authority, gateway) = one(&format!("{ONE}, alpn: [http/1.1]"));
    let config = client(authority.roots(), None, &["h2", "http/1.1"]);
    let stream = dial(gateway.address, &config, "a.test").expect("a connection");
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn old_versions_and_unwanted_suites_are_refused() {
    // A suite of TLS 1.2 is among them: it is `minVersion` alone that refuses that version.
    let suites = "[TLS_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]";
    let (authority, gateway) = one(&format!("{ONE}, minVersion: \"1.3\", cipherSuites: {suites}"));
    let with = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions);
        builder.expect("versions").with_root_certificates(authority.roots()).with_no_client_auth()
    };
    assert!(dial(gateway.address, &with(&[&rustls::version::TLS12]), "a.test").is_err());
    let stream = dial(gateway.address, &with(&[&rustls::version::TLS13]), "a.test").expect("TLS 1.3");
    let suite = stream.conn.negotiated_cipher_suite().expect("a suite").suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_256_GCM_SHA384);

    let mut other = rustls::crypto::aws_lc_rs::default_provider();
    other.cipher_suites.retain(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    let builder = ClientConfig::builder_with_provider(Arc::new(other)).with_safe_default_protocol_versions();
    let config = builder.expect("versions").with_root_certificates(authority.roots()).with_no_client_auth();
    assert!(dial(gateway.address, &config, "a.test").is_err(), "a suite that is not allowed");

    let folder = tempfile::tempdir().expect("a folder");
    authority.issue(&["a.test"]).write(folder.path(), "one");
    let text = format!(
        "listeners: [{{name: l, address: 127.0.0.1:1, tls: {{{ONE}, cipherSuites: [TLS_NULL]}}}}]\n{FIXED}"
    );
    std::fs::write(folder.path().join("t.yaml"), text).expect("a file");
    let (code, out, err) =
        run(&["validate", "--config", folder.path().join("t.yaml").to_str().expect("a path")]);
    assert!(code != 0 && format!("{out}{err}").contains("TLS_NULL"), "{code} {out} {err}");
}

#[test]
fn new_files_are_shown_to_new_connections_and_old_ones_live_on() {
    let authority = Authority::new("ca");
    let (old, new) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let gateway = gateway(ONE, FIXED, |folder| old.write(folder, "one"));
    let config = client(authority.roots(), None, &[]);
    let mut before = dial(gateway.address, &config, "a.test").expect("a connection");
    assert!(shown(&before) == old.cert);
    new.write(gateway.folder.path(), "one");
    eventually("the new certificate", || {
        let stream = dial(gateway.address, &config, "a.test").expect("a connection");
        shown(&stream) == new.cert
    });
    assert_eq!(ask(&mut before, "a.test", "/").expect("an answer").text(), "inside");
    // What cannot be used is refused, and what was there stays.
    std::fs::write(gateway.folder.path().join("one.crt"), "nonsense").expect("a file");
    eventually("the refusal", || gateway.readiness()["lastReload"] == "refused");
    let stream = dial(gateway.address, &config, "a.test").expect("a connection");
    assert!(shown(&stream) == new.cert);
    assert_eq!(ask(&mut before, "a.test", "/").expect("an answer").text(), "inside");
}

#[test]
fn an_ocsp_response_is_stapled_when_it_is_given_and_only_then() {
    let authority = Authority::new("ca");
    let certificate = authority.issue(&["a.test"]);
    let mut config = client(RootCertStore::empty(), None, &[]);
    let anyone = Arc::new(Anyone::default());
    config.dangerous().set_certificate_verifier(anyone.clone());
    let stapled = |gateway: &Gateway| {
        dial(gateway.address, &config, "a.test").expect("a connection");
        anyone.stapled.lock().expect("not poisoned").clone()
    };
    let plain = gateway(ONE, FIXED, |folder| certificate.write(folder, "one"));
    assert!(stapled(&plain).is_empty());
    let with = gateway(
        "certificates: [{certFile: one.crt, keyFile: one.key, ocspFile: one.ocsp}]",
        FIXED,
        |folder| {
            certificate.write(folder, "one");
            replace(&folder.join("one.ocsp"), b"first response");
        },
    );
    assert_eq!(stapled(&with), b"first response");
    replace(&with.folder.path().join("one.ocsp"), b"second response");
    eventually("the new response", || stapled(&with) == b"second response");
}

#[test]
fn a_host_that_another_certificate_is_for_is_misdirected() {
    let authority = Authority::new("ca");
    let (one, two) = (authority.issue(&["a.test", "*.a.test"]), authority.issue(&["c.test"]));
    let gateway = gateway(TWO, FIXED, |folder| {
        one.write(folder, "one");
        two.write(folder, "two");
    });
    let config = client(authority.roots(), None, &[]);
    let mut stream = dial(gateway.address, &config, "a.test").expect("a connection");
    for (host, status) in
        [("a.test", 200), ("x.a.test:443", 200), ("unknown.test", 200), ("C.test", 421), ("a.test", 200)]
    {
        let answer = ask(&mut stream, host, "/").expect("an answer");
        assert_eq!(answer.status, status, "{host}");
        if status == 421 {
            assert_eq!(answer.problem().as_deref(), Some("misdirected"));
        }
    }
}

#[test]
fn a_plain_listener_redirects_to_https() {
    let gateway = Gateway::with("redirectToHttps: {port: 8443, status: 307}", FIXED);
    let answer = gateway.send("GET /a?b=c HTTP/1.1\nhost: shop.test:8080", b"");
    assert_eq!((answer.status, answer.header("location")), (307, Some("https://shop.test:8443/a?b=c")));
    let gateway = Gateway::with("redirectToHttps: true", FIXED);
    let answer = gateway.send("POST /a HTTP/1.1\nhost: shop.test\ncontent-length: 2", b"ok");
    assert_eq!((answer.status, answer.header("location")), (308, Some("https://shop.test/a")));
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let answer = client.get("/x").await.expect("an answer");
        assert_eq!((answer.status, answer.header("location")), (308, Some("https://test.example/x")));
    });
}

#[test]
fn cleartext_on_a_tls_port_and_a_handshake_that_stops_are_cut_off() {
    let authority = Authority::new("ca");
    let certificate = authority.issue(&["a.test"]);
    let folder = tempfile::tempdir().expect("a folder");
    certificate.write(folder.path(), "one");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = format!(
        "listeners: [{{name: tls, address: \"{address}\", tls: {{{ONE}}}, limits: {{tlsTimeout: 500ms}}}}]\n{FIXED}"
    );
    let gateway = Gateway::in_folder(folder, &text, address, |_| {});
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(client.read().is_none());
    let mut stalled = TcpStream::connect(gateway.address).expect("a connection");
    stalled.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stalled.write_all(&[22, 3, 1]).expect("sent");
    let start = std::time::Instant::now();
    assert!(matches!(stalled.read(&mut [0; 10]), Ok(0) | Err(_)));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    eventually("no connection is left", || gateway.metric("tidegate_connections") == Some(0.0));
}

#[test]
fn a_client_that_reads_nothing_is_closed_though_there_is_no_room_for_a_goodbye() {
    let authority = Authority::new("ca");
    let certificate = authority.issue(&["a.test"]);
    let upstream = Upstream::fixed(200, &"x".repeat(32 << 20));
    let rest = format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    );
    let limits = format!("{ONE}}}, limits: {{bodyTimeout: 1s");
    let gateway = gateway(&limits, &rest, |folder| certificate.write(folder, "one"));
    let config = client(authority.roots(), None, &["http/1.1"]);
    let mut stream = dial(gateway.address, &config, "a.test").expect("a connection");
    write!(stream, "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").expect("sent");
    let open = || -> f64 {
        let of = |worker| gateway.metric(&format!("tidegate_worker_connections{{worker=\"{worker}\"}}"));
        (0..8).filter_map(of).sum()
    };
    eventually("the call is on", || !upstream.seen().is_empty() && open() == 1.0);
    eventually("the connection is given up", || open() == 0.0);
    drop(stream);
}

#[test]
fn tls_1_2_is_taken_unless_1_3_is_the_least() {
    let (authority, gateway) = one(ONE);
    let builder =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS12]);
    let config = builder.expect("versions").with_root_certificates(authority.roots()).with_no_client_auth();
    let mut stream = dial(gateway.address, &config, "a.test").expect("TLS 1.2");
    assert_eq!(stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    assert_eq!(ask(&mut stream, "a.test", "/").expect("an answer").text(), "inside");

    let (authority, gateway) = one(&format!("{ONE}, minVersion: \"1.3\""));
    let with = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions);
        builder.expect("versions").with_root_certificates(authority.roots()).with_no_client_auth()
    };
    assert!(dial(gateway.address, &with(&[&rustls::version::TLS12]), "a.test").is_err());
    let mut stream = dial(gateway.address, &with(&[&rustls::version::TLS13]), "a.test").expect("TLS 1.3");
    assert_eq!(ask(&mut stream, "a.test", "/").expect("an answer").text(), "inside");
}

/// What a listener says to a ClientHello of this version and with this one cipher suite, without extensions but those
/// that every client of elliptic curves sends: the kind of the record, and a fatal alert's description.
fn greeted(gateway: &Gateway, version: [u8; 2], suite: [u8; 2]) -> (u8, Option<u8>) {
    let extensions =
        [&[0, 10, 0, 4, 0, 2, 0, 23][..], &[0, 11, 0, 2, 1, 0], &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4]].concat();
    let hello = [
        &version[..],
        &[7; 32],
        &[0, 0, 2],
        &suite,
        &[1, 0],
        &(extensions.len() as u16).to_be_bytes(),
        &extensions,
    ]
    .concat();
    let message = [&[1, 0][..], &(hello.len() as u16).to_be_bytes(), &hello].concat();
    let record = [&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat();
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(&record).expect("sent");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("an answer");
    (answer[0], (answer[0] == 21 && answer[5] == 2).then_some(answer[6]))
}

#[test]
fn tls_1_1_and_suites_without_secrecy_are_refused() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const PROTOCOL_VERSION: u8 = 70;
    const HANDSHAKE_FAILURE: u8 = 40;
    let (_authority, gateway) = one(ONE);
    // The same words in TLS 1.2, with a suite that is allowed, are a handshake: ECDHE_ECDSA with AES-128-GCM.
    assert_eq!(greeted(&gateway, [3, 3], [0xc0, 0x2b]), (HANDSHAKE, None));
    for version in [[3, 2], [3, 1], [3, 0]] {
        let refused = greeted(&gateway, version, [0xc0, 0x2b]);
        assert_eq!(refused, (ALERT, Some(PROTOCOL_VERSION)), "{version:?}");
    }
    // CBC, RC4, RSA key exchange, none at all.
    for suite in [[0xc0, 0x09], [0xc0, 0x07], [0x00, 0x9c], [0x00, 0x2f], [0x00, 0x00]] {
        let refused = greeted(&gateway, [3, 3], suite);
        assert_eq!(refused, (ALERT, Some(HANDSHAKE_FAILURE)), "{suite:?}");
    }
    // What a listener leaves out of the others is refused, too, in TLS 1.2 as in 1.3.
    let (_authority, gateway) =
        one(&format!("{ONE}, cipherSuites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]"));
    assert_eq!(greeted(&gateway, [3, 3], [0xc0, 0x2c]), (HANDSHAKE, None));
    assert_eq!(greeted(&gateway, [3, 3], [0xc0, 0x2b]), (ALERT, Some(HANDSHAKE_FAILURE)));
}

#[test]
fn where_http_2_is_off_tls_does_not_offer_it() {
    let (authority, gateway) = one(&format!("{ONE}}}, http2: false, limits: {{headerTimeout: 10s"));
    for (offered, chosen) in [(&["h2", "http/1.1"][..], Some("http/1.1")), (&["http/1.1"], Some("http/1.1"))]
    {
        let config = client(authority.roots(), None, offered);
        let mut stream = dial(gateway.address, &config, "a.test").expect("a connection");
        assert_eq!(stream.conn.alpn_protocol(), chosen.map(str::as_bytes), "{offered:?}");
        assert_eq!(ask(&mut stream, "a.test", "/").expect("an answer").text(), "inside");
    }
    let config = client(authority.roots(), None, &["h2"]);
    assert!(dial(gateway.address, &config, "a.test").is_err(), "nothing in common");
    // Without ALPN, the preface of prior knowledge is no request.
    let config = client(authority.roots(), None, &[]);
    let mut stream = dial(gateway.address, &config, "a.test").expect("a connection");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
    let answer = Answer::read(&mut std::io::BufReader::new(&mut stream), false).expect("an answer");
    assert!([400, 505].contains(&answer.status), "{answer:?}");
}
