//! TLS told apart by the name that it begins with: passed through, ended here, or HTTP.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::{connect, free, rest, shouting};
use crate::{
    harness::{Gateway, Upstream, eventually, pause},
    wire::tls::{Authority, Secure, ask, client, dial, shown},
};

/// A server of TLS by Python's OpenSSL, which says which name it was asked for.
const SERVER: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.set_alpn_protocols(["spoken-there"])
names = {}
def asked(sock, name, _): names[sock] = name
context.sni_callback = asked
listener = socket.create_server(("127.0.0.1", int(sys.argv[3])))
print("ready", flush=True)
def serve(plain):
    sock = None
    try:
        sock = context.wrap_socket(plain, server_side=True)
        data = sock.recv(4096)
        sock.sendall(f"{sock.selected_alpn_protocol()} {data.decode().upper()}".encode())
        sock.unwrap()
    except OSError: pass
    finally:
        names.clear()
        (sock or plain).close()
while True:
    plain, _ = listener.accept()
    threading.Thread(target=serve, args=(plain,), daemon=True).start()
"#;

struct Scene {
    gateway: Gateway,
    authority: Authority,
    theirs: Authority,
    mixed: SocketAddr,
    plain: SocketAddr,
    /// Whoever says nothing there is closed soon.
    short: SocketAddr,
    wrapped: SocketAddr,
    _peer: crate::harness::Peer,
    _upstreams: [Upstream; 2],
}

fn scene() -> Scene {
    let (authority, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let folder = tempfile::tempdir().expect("a folder");
    authority.issue(&["web.test", "inside.test", "inside.plain.test"]).write(folder.path(), "one");
    theirs.issue(&["through.test", "a.wild.test"]).write(folder.path(), "their");
    let there = free();
    let (crt, key) = (folder.path().join("their.crt"), folder.path().join("their.key"));
    let port = there.port().to_string();
    let arguments = [&crt.display().to_string(), &key.display().to_string(), &port];
    let mut peer =
        crate::harness::Peer::start(crate::harness::python(SERVER, &arguments.map(String::as_str)));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    let upstreams = [shouting(), Upstream::fixed(200, "http")];
    std::fs::write(folder.path().join("theirs.pem"), theirs.pem()).expect("a file");
    let [mixed, plain, short, wrapped] = [free(), free(), free(), free()];
    let text = format!(
        "runtime: {{workers: 1}}
accessLog: [{{kind: stdout, format: json}}]
listeners:
  - {{name: mixed, address: \"{mixed}\", tls: {{certificates: [{{certFile: one.crt, keyFile: one.key}}]}}, limits: {{tlsTimeout: 20s}}}}
  - {{name: plain, address: \"{plain}\", protocol: tcp, tls: {{certificates: [{{certFile: one.crt, keyFile: one.key}}]}}, limits: {{tlsTimeout: 20s}}}}
  - {{name: short, address: \"{short}\", protocol: tcp, limits: {{tlsTimeout: 500ms}}}}
  - {{name: wrapped, address: \"{wrapped}\", protocol: tcp}}
upstreams:
  - {{name: wrapping, tls: {{caFile: theirs.pem, serverName: through.test}}, endpoints: [{{address: \"{there}\"}}]}}
  - {{name: there, endpoints: [{{address: \"{there}\"}}]}}
  - {{name: shouting, endpoints: [{{address: \"{}\"}}]}}
  - {{name: http, endpoints: [{{address: \"{}\"}}]}}
streamRoutes:
  - {{name: through, listeners: [mixed, plain, short], serverNames: [through.test, \"*.wild.test\"], backends: [{{upstream: there}}]}}
  - {{name: inside, listeners: [mixed], serverNames: [inside.test], tls: terminate, backends: [{{upstream: shouting}}]}}
  - {{name: inside-plain, listeners: [plain], serverNames: [inside.plain.test], tls: terminate, backends: [{{upstream: shouting}}]}}
  - {{name: wrapped, listeners: [wrapped], backends: [{{upstream: wrapping}}]}}
routes: [{{name: web, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: http}}]}}]
",
        upstreams[0].address, upstreams[1].address
    );
    let gateway = Gateway::in_folder(folder, &text, mixed, |_| {});
    Scene { gateway, authority, theirs, mixed, plain, short, wrapped, _peer: peer, _upstreams: upstreams }
}

fn said(stream: &mut Secure, text: &str) -> String {
    stream.write_all(text.as_bytes()).expect("sent");
    let mut all = vec![0; 4096];
    let count = stream.read(&mut all).expect("an answer");
    String::from_utf8_lossy(&all[..count]).into_owned()
}

#[test]
fn names_go_through_untouched_end_here_or_are_http_on_one_listener() {
    let scene = scene();
    let theirs = client(scene.theirs.roots(), None, &["spoken-there"]);
    for (address, name) in
        [(scene.mixed, "through.test"), (scene.mixed, "A.Wild.test"), (scene.plain, "through.test")]
    {
        let mut stream = dial(address, &theirs, name).expect(name);
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"spoken-there"[..]), "what is agreed on is theirs");
        assert_eq!(said(&mut stream, "hello"), "spoken-there HELLO", "{name}");
    }
    let ours = client(scene.authority.roots(), None, &["anything"]);
    for (address, name) in [(scene.mixed, "inside.test"), (scene.plain, "inside.plain.test")] {
        let mut stream = dial(address, &ours, name).expect(name);
        assert_eq!(said(&mut stream, "hello"), "HELLO", "{name}");
    }
    let ours = client(scene.authority.roots(), None, &["http/1.1"]);
    let mut stream = dial(scene.mixed, &ours, "web.test").expect("a connection");
    assert_eq!(ask(&mut stream, "web.test", "/").expect("an answer").text(), "http");
    assert!(!shown(&stream).is_empty());
    let through = scene.gateway.record("what went through", |record| record["route"] == "through");
    assert_eq!((&through["protocol"], &through["server_name"]), (&"tls".into(), &"through.test".into()));
    drop(stream);
    let inside = scene.gateway.metric("tidegate_stream_bytes_total{route=\"inside\",direction=\"sent\"}");
    assert_eq!(inside, Some(5.0), "what is inside is counted, and no TLS");
}

#[test]
fn plain_bytes_go_inside_of_tls_to_an_upstream_that_wants_it() {
    let scene = scene();
    let mut stream = connect(scene.wrapped);
    stream.write_all(b"hello").expect("sent");
    assert_eq!(rest(&mut stream), "None HELLO", "nothing is agreed on by ALPN");
    drop(stream);
    let record = scene.gateway.record("what was wrapped", |record| record["route"] == "wrapped");
    assert_eq!((&record["protocol"], record["response_bytes"].as_u64()), (&"tcp".into(), Some(10)));
}

#[test]
fn openssl_and_curl_get_there_and_a_name_of_nobodys_gets_an_alert() {
    let scene = scene();
    let openssl = |address: SocketAddr, name: &str| {
        let asked = if name.is_empty() { vec!["-noservername"] } else { vec!["-servername", name] };
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &address.to_string(), "-quiet"])
            .args(asked)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl runs");
        let mut input = child.stdin.take().expect("an input");
        let _ = input.write_all(b"hello");
        let output = child.wait_with_output().expect("it ends");
        drop(input);
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (told, _) = openssl(scene.plain, "b.wild.test");
    assert!(told.contains("HELLO"), "{told}");
    let (_, said) = openssl(scene.plain, "nobody.test");
    assert!(said.contains("unrecognized name"), "{said}");
    scene.gateway.record("a name of nobody's", |record| {
        record["ended"] == "no-route" && record["server_name"] == "nobody.test"
    });
    let (_, said) = openssl(scene.plain, "");
    assert!(said.contains("unrecognized name"), "{said}");
    scene.gateway.record("TLS without a name", |record| {
        record["ended"] == "no-route" && record["server_name"].is_null() && record["protocol"] == "tls"
    });
    let to = format!("web.test:{}:127.0.0.1", scene.mixed.port());
    let url = format!("https://web.test:{}/", scene.mixed.port());
    let output = Command::new("curl")
        .args(["-sk", "--max-time", "10", "--resolve", &to, &url])
        .output()
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "http");
}

#[test]
fn a_hello_in_single_bytes_is_waited_for_and_one_that_never_ends_is_not() {
    let scene = scene();
    let mut hello = Vec::new();
    let config = client(scene.theirs.roots(), None, &["spoken-there"]);
    let name = rustls::pki_types::ServerName::try_from("through.test").expect("a name");
    let mut session = rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a session");
    session.write_tls(&mut hello).expect("a hello");
    assert!(hello.len() > 200, "{}", hello.len());
    let mut stream = connect(scene.mixed);
    for (number, byte) in hello.chunks(1).enumerate() {
        stream.write_all(byte).expect("sent");
        // So that not all of them are read at once.
        if number % 8 == 0 {
            pause(1);
        }
    }
    while session.is_handshaking() {
        session.complete_io(&mut stream).expect("a handshake");
    }
    let mut silent = connect(scene.short);
    silent.write_all(&hello[..50]).expect("sent");
    assert_eq!(rest(&mut silent), "", "it is closed after its time");
    eventually("it is counted", || {
        scene.gateway.metric("tidegate_tls_handshake_failures_total{listener=\"short\"}") >= Some(1.0)
    });
}
