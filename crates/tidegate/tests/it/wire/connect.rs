//! CONNECT where it is enabled: routed by host, judged by policies, and a tunnel once the upstream agrees.

use std::io::{Read, Write};

use super::super::harness::{Client, Gateway, Upstream, h2, read_request};

fn setup() -> (Gateway, Upstream) {
    // A forward proxy that echoes what comes through its tunnels.
    let upstream = Upstream::raw(|mut reader, seen| {
        let Some(request) = read_request(&mut reader) else { return };
        let refused = request.target().starts_with("denied");
        seen.lock().expect("not poisoned").push(request);
        let stream = reader.get_mut();
        if refused {
            let _ = stream.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno");
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello ");
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(&buffer[..count]);
        }
    });
    let gateway = Gateway::with(
        "connect: true",
        &format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
consumers: [{{name: c, keys: [the-key-of-the-test]}}]
routes:
  - {{name: guarded, hosts: [guarded.test], policies: [{{keyAuth: {{}}}}], backends: [{{upstream: u}}]}}
  - {{name: tunnels, hosts: [\"*.test\"], match: [{{methods: [CONNECT]}}], backends: [{{upstream: u}}]}}
",
            upstream.address
        ),
    );
    (gateway, upstream)
}

#[test]
fn a_tunnel_begins_with_the_upstreams_2xx() {
    let (gateway, upstream) = setup();
    let mut client = Client::connect(gateway.address);
    client.write("CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n");
    assert!(client.read_line().starts_with("HTTP/1.1 200"));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push_str(&client.read_line());
    }
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(client.read_bytes(6), b"hello ");
    client.write("through");
    assert_eq!(client.read_bytes(7), b"through");
    assert_eq!(upstream.seen()[0].line, "CONNECT a.test:443 HTTP/1.1");
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let mut send = client.send.clone().ready().await.expect("ready");
        let request = http::Request::connect("a.test:443").body(()).expect("a request");
        let (response, mut stream) = send.send_request(request, false).expect("sent");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 200);
        stream.send_data("through".into(), true).expect("sent");
        let (bytes, _) = h2::collect(&mut response.into_body()).await.expect("a body");
        assert_eq!(bytes, b"hello through");
    });
}

#[test]
fn without_the_upstreams_agreement_or_ours_there_is_no_tunnel() {
    let (gateway, upstream) = setup();
    let ask = |target: &str| {
        let mut client = Client::connect(gateway.address);
        client.write(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n"));
        client.read().expect("an answer").status
    };
    assert_eq!(ask("denied.test:443"), 403);
    assert_eq!(ask("guarded.test:443"), 401);
    assert_eq!(ask("elsewhere.example:443"), 404);
    assert_eq!(upstream.seen().len(), 1);
}
