//! TLS towards upstreams: whom the gateway trusts, what it shows, which name it asks for and which version it speaks.

use std::{
    net::TcpListener,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use rustls::{ServerConfig, ServerConnection, server::WebPkiClientVerifier};

use super::{
    super::super::harness::{Gateway, Upstream, free_port, h2, pause},
    *,
};

/// What an upstream saw of a connection.
#[derive(Debug, Default, Clone)]
struct Handshake {
    sni: Option<String>,
    client: Option<CertificateDer<'static>>,
    alpn: Option<Vec<u8>>,
    line: String,
}

/// An HTTPS upstream that answers with its SNI.
fn secure(config: ServerConfig) -> (SocketAddr, mpsc::Receiver<Handshake>) {
    let listener = TcpListener::bind(("127.0.0.1", free_port())).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel();
    let tell = Arc::new(Mutex::new(tell));
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let (config, tell) = (config.clone(), tell.clone());
            std::thread::spawn(move || {
                let mut session = ServerConnection::new(config).expect("a session");
                while session.is_handshaking() {
                    if session.complete_io(&mut socket).is_err() {
                        return;
                    }
                }
                let mut seen = Handshake {
                    sni: session.server_name().map(str::to_owned),
                    client: session.peer_certificates().map(|all| all[0].clone().into_owned()),
                    alpn: session.alpn_protocol().map(<[u8]>::to_vec),
                    line: String::new(),
                };
                let mut stream = std::io::BufReader::new(StreamOwned::new(session, socket));
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        match std::io::BufRead::read_line(&mut stream, &mut head) {
                            Ok(1..) => {}
                            _ => return,
                        }
                    }
                    seen.line = head.lines().next().unwrap_or_default().to_owned();
                    let upgrade = head.to_ascii_lowercase().contains("upgrade: websocket");
                    let _ = tell.lock().expect("not poisoned").send(seen.clone());
                    let answer: &[u8] = match upgrade {
                        true => b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
                        false => b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecure",
                    };
                    if stream.get_mut().write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, told)
}

fn server(identity: &Issued, clients: Option<&Authority>, alpn: &[&str]) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.expect("versions");
    let builder = match clients {
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider());
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(vec![identity.cert.clone()], identity.private_key()).expect("a certificate");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// A gateway to one upstream by TLS.
fn front(endpoint: &str, tls: &str, more: &str, files: impl FnOnce(&Path)) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    files(folder.path());
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = format!(
        "listeners: [{{name: public, address: \"{address}\"}}]
accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, endpoints: [{{address: \"{endpoint}\"}}], tls: {{{tls}}}{more}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
"
    );
    Gateway::in_folder(folder, &text, address, |_| {})
}

fn write_ca(authority: &Authority) -> impl FnOnce(&Path) {
    let pem = authority.0.pem();
    move |folder| replace(&folder.join("ca.crt"), pem.as_bytes())
}

#[test]
fn an_upstream_is_trusted_by_its_authority_and_its_name_alone() {
    let (authority, others) = (Authority::new("ca"), Authority::new("others"));
    let (address, told) = secure(server(&authority.issue(&["u.test", "127.0.0.1"]), None, &[]));
    let by_name = address.to_string();
    // Its authority, and the name that the endpoint has.
    let gateway = front(&by_name, "caFile: ca.crt", "", write_ca(&authority));
    assert_eq!(gateway.get("/a").text(), "secure");
    let seen = told.recv().expect("a request");
    assert_eq!((seen.sni, seen.line.as_str()), (None, "GET /a HTTP/1.1"));
    // Another name, which is asked for and verified.
    let gateway = front(&by_name, "caFile: ca.crt, serverName: u.test", "", write_ca(&authority));
    assert_eq!(gateway.get("/").text(), "secure");
    assert_eq!(told.recv().expect("a request").sni.as_deref(), Some("u.test"));
    for (what, tls, trusted) in [
        ("a name that it does not bear", "caFile: ca.crt, serverName: other.test", &authority),
        ("another authority", "caFile: ca.crt", &others),
    ] {
        let gateway = front(&by_name, tls, "", write_ca(trusted));
        let answer = gateway.get("/");
        assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("connect-failed")), "{what}");
        let record = gateway.records(1).remove(0);
        assert_eq!(record["failure"]["stage"], "tls", "{what}: {record}");
        assert!(!answer.text().contains("certificate"), "{what}: {}", answer.text());
    }
    assert!(told.try_recv().is_err(), "nothing of a request was sent");
    let gateway = front(&by_name, "verify: false, serverName: other.test", "", |_| {});
    assert_eq!(gateway.get("/").text(), "secure");
}

/// The endpoint that was tried first says why it failed, too, though another was tried after it.
#[test]
fn why_tls_failed_is_told_in_words_and_with_every_try() {
    let issued = Authority::alone(&["127.0.0.1"]);
    let (address, _told) = secure(server(&issued, None, &[]));
    let away = free_port();
    let both = format!("{address}\"}}, {{address: \"127.0.0.1:{away}");
    let own = |folder: &Path| issued.write(folder, "ca");
    let policy = ", retry: {maxAttempts: 2}";
    let gateway = front(&both, "caFile: ca.crt", policy, own);
    let mut words = Vec::new();
    for _ in 0..2 {
        assert_eq!(gateway.get("/").status, 502);
    }
    for record in gateway.records(2) {
        let tries = record["failed_tries"].as_array().cloned().unwrap_or_default();
        assert_eq!(tries.len(), 1, "{record}");
        words.push(tries[0]["detail"].as_str().unwrap_or_default().to_owned());
        words.push(record["failure"]["detail"].as_str().unwrap_or_default().to_owned());
    }
    let of = |part: &str| words.iter().filter(|text| text.contains(part)).count();
    assert_eq!((of("marked as an authority's (CA:TRUE)"), of("refused")), (2, 2), "{words:?}");
    let gateway = front(&address.to_string(), "", "", |_| {});
    assert_eq!(gateway.get("/").status, 502);
    let told = gateway.records(1).remove(0)["failure"]["detail"].to_string();
    assert!(told.contains("CA:TRUE") || told.contains("not trusted"), "{told}");
}

#[test]
fn the_gateway_shows_its_certificate_and_new_files_are_used() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let (old, new) = (clients.issue(&["gateway.test"]), clients.issue(&["gateway.test"]));
    let (address, told) = secure(server(&authority.issue(&["127.0.0.1"]), Some(&clients), &[]));
    let tls = "caFile: ca.crt, certFile: own.crt, keyFile: own.key";
    let gateway = front(&address.to_string(), tls, "", |folder| {
        write_ca(&authority)(folder);
        old.write(folder, "own");
    });
    assert_eq!(gateway.get("/").text(), "secure");
    assert!(told.recv().expect("a request").client.as_ref() == Some(&old.cert));
    new.write(gateway.folder.path(), "own");
    super::super::super::harness::eventually("the new certificate", || {
        assert_eq!(gateway.get("/").status, 200);
        told.recv().expect("a request").client.as_ref() == Some(&new.cert)
    });
    let gateway = front(&address.to_string(), "caFile: ca.crt", "", write_ca(&authority));
    assert_eq!(gateway.get("/").status, 502, "without a certificate it is not let in");
}

#[test]
fn alpn_decides_the_version_unless_the_upstream_says_one() {
    let authority = Authority::new("ca");
    let config = server(&authority.issue(&["127.0.0.1"]), None, &["h2", "http/1.1"]);
    let (h2_address, _) = secure_h2(config);
    let gateway = front(&h2_address.to_string(), "caFile: ca.crt", "", write_ca(&authority));
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.header("x-version")), (200, Some("HTTP/2.0")));
    let (address, told) = secure(server(&authority.issue(&["127.0.0.1"]), None, &["h2", "http/1.1"]));
    let gateway = front(&address.to_string(), "caFile: ca.crt", ", protocol: http1", write_ca(&authority));
    assert_eq!(gateway.get("/").text(), "secure");
    assert_eq!(told.recv().expect("a request").alpn.as_deref(), Some(&b"http/1.1"[..]));
    let (address, _told) = secure(server(&authority.issue(&["127.0.0.1"]), None, &["http/1.1"]));
    let gateway = front(&address.to_string(), "caFile: ca.crt", "", write_ca(&authority));
    assert_eq!(gateway.get("/").text(), "secure");
}

/// An HTTP/2 upstream behind TLS, and how often it was connected to.
fn secure_h2(config: ServerConfig) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", free_port())).expect("a free port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("non-blocking");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            while let Ok((io, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(io) = acceptor.accept(io).await else { return };
                    let mut builder = ::h2::server::Builder::new();
                    builder.enable_connect_protocol();
                    let Ok(mut connection) = builder.handshake::<_, bytes::Bytes>(io).await else { return };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let version = format!("{:?}", request.version());
                        let response = http::Response::builder().header("x-version", version).body(());
                        let _ = respond.send_response(response.expect("an answer"), true);
                    }
                });
            }
        });
    });
    (address, connections)
}

#[test]
fn a_websocket_goes_by_http_1_also_where_http_2_is_offered() {
    let authority = Authority::new("ca");
    let (address, told) = secure(server(&authority.issue(&["127.0.0.1"]), None, &["h2", "http/1.1"]));
    let gateway = front(&address.to_string(), "caFile: ca.crt", "", write_ca(&authority));
    let mut client = super::super::super::harness::Client::connect(gateway.address);
    client.write("GET /chat HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    assert!(client.read_line().starts_with("HTTP/1.1 101"));
    while client.read_line() != "\r\n" {}
    assert_eq!(client.read_bytes(5), b"hello");
    assert_eq!(told.recv().expect("a request").alpn.as_deref(), Some(&b"http/1.1"[..]));
}

#[test]
fn a_handshake_that_takes_too_long_is_504() {
    let authority = Authority::new("ca");
    let silent = Upstream::raw(|_reader, _| pause(5_000));
    let more = ", timeouts: {tls: 300ms}, retry: {maxAttempts: 1}";
    let gateway = front(&silent.address.to_string(), "caFile: ca.crt", more, write_ca(&authority));
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
    assert_eq!(gateway.records(1)[0]["failure"]["stage"], "tls");
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        assert_eq!(client.get("/").await.expect("an answer").status, 504);
    });
}

#[test]
fn another_authority_in_the_same_file_counts_for_the_next_call() {
    let (authority, others) = (Authority::new("ca"), Authority::new("others"));
    let (address, _told) = secure(server(&authority.issue(&["127.0.0.1"]), None, &[]));
    let more = ", retry: {maxAttempts: 1}, outlierDetection: {maxEjectionPercent: 0}";
    let gateway = front(&address.to_string(), "caFile: ca.crt", more, write_ca(&others));
    assert_eq!(gateway.get("/").status, 502);
    let file = gateway.folder.path().join("ca.crt");
    // The configuration itself is not touched.
    replace(&file, authority.0.pem().as_bytes());
    super::super::super::harness::eventually("the new authority", || gateway.get("/").status == 200);
    replace(&file, others.0.pem().as_bytes());
    super::super::super::harness::eventually("kept connections are not used either", || {
        gateway.get("/").status == 502
    });
}

#[test]
fn a_websocket_goes_by_http_2_where_nothing_else_is_spoken() {
    let authority = Authority::new("ca");
    let (address, connections) = secure_h2(server(&authority.issue(&["127.0.0.1"]), None, &["h2"]));
    let gateway = front(&address.to_string(), "caFile: ca.crt", "", write_ca(&authority));
    let workers = std::thread::available_parallelism().expect("a number of cores").get();
    for _ in 0..8 * workers {
        let mut client = super::super::super::harness::Client::connect(gateway.address);
        client.write("GET /chat HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        let answer = client.read().expect("an answer");
        assert_eq!((answer.status, answer.header("x-version")), (101, Some("HTTP/2.0")), "{answer:?}");
        assert!(client.is_closed(), "the upstream has ended it");
    }
    assert_eq!(gateway.get("/").status, 200);
    // Each worker has its own connection, and has at most once offered HTTP/1.1 before.
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections <= 2 * workers, "{connections}");
}
