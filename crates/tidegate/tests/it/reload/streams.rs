//! What is in flight goes on over a reload, even when the reload takes its route and its upstream away.

use std::io::{Read, Write};

use bytes::Bytes;

use super::super::harness::{Client, Gateway, Upstream, free_port, pause, read_request};

/// A configuration in which everything leads elsewhere.
fn elsewhere(gateway: &Gateway) -> String {
    format!(
        "listeners: [{{name: public, address: \"{}\"}}]\nroutes: [{{name: other, match: [{{path: {{prefix: /}}}}], respond: {{body: other}}}}]\n",
        gateway.address
    )
}

fn gateway(address: std::net::SocketAddr, protocol: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{address}\"}}]{protocol}, timeouts: {{request: 2s}}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n"
    ))
}

#[test]
fn a_websocket_lives_on() {
    let upstream = Upstream::raw(|mut reader, _| {
        let _ = read_request(&mut reader);
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let _ = reader.get_mut().write_all(answer);
        let mut bytes = [0; 4];
        while reader.read_exact(&mut bytes).is_ok() && reader.get_mut().write_all(&bytes).is_ok() {}
    });
    let gateway = gateway(upstream.address, "");
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    assert_eq!(client.read().expect("an answer").status, 101);
    client.write("ping");
    assert_eq!(client.read_bytes(4), b"ping");
    for _ in 0..3 {
        gateway.reload(&elsewhere(&gateway));
        client.write("pong");
        assert_eq!(client.read_bytes(4), b"pong");
        gateway.reload(&elsewhere(&gateway).replace("other", "more"));
    }
    assert_eq!(gateway.get("/").text(), "more");
}

#[test]
fn events_go_on() {
    let upstream = Upstream::raw(|mut reader, _| {
        let _ = read_request(&mut reader);
        let stream = reader.get_mut();
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        for _ in 0..30 {
            if stream.write_all(b"6\r\ndata\n\n\r\n").is_err() {
                return;
            }
            pause(100);
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    let gateway = gateway(upstream.address, "");
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    while !client.read_line().trim().is_empty() {}
    assert_eq!(client.read_line(), "6\r\n");
    assert_eq!(client.read_line(), "data\n");
    gateway.reload(&elsewhere(&gateway));
    assert_eq!(gateway.get("/").text(), "other");
    let mut events = 1;
    loop {
        let line = client.read_line();
        assert!(!line.is_empty(), "cut after {events} events");
        events += usize::from(line == "data\n");
        if line == "0\r\n" {
            break;
        }
    }
    assert_eq!(events, 30, "longer than any request timeout, and whole");
}

/// A gRPC service that sends back every message, and ends with its status when the client does.
fn echoing_service() -> std::net::SocketAddr {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listener = std::net::TcpListener::bind(address).expect("a port");
    listener.set_nonblocking(true).expect("a mode");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.expect("a handshake");
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(echo(request.into_body(), respond));
                    }
                });
            }
        });
    });
    address
}

async fn echo(mut body: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>) {
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
    let Ok(mut send) = respond.send_response(head, false) else { return };
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        if send.send_data(data, false).is_err() {
            return;
        }
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let _ = send.send_trailers(trailers);
}

#[test]
fn a_grpc_stream_goes_on_to_its_status() {
    let gateway = gateway(echoing_service(), ", protocol: grpc");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.address).await.expect("a connection");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(connection);
        let request =
            http::Request::post("http://a.test/demo.Greeter/Chat").header("content-type", "application/grpc");
        let request = request.header("te", "trailers").body(()).expect("a request");
        let (answer, mut send) = client.send_request(request, false).expect("a stream");
        let message = |text: &'static [u8]| {
            Bytes::from([&[0, 0, 0, 0, u8::try_from(text.len()).expect("short")], text].concat())
        };
        send.send_data(message(b"one"), false).expect("data goes out");
        let mut body = answer.await.expect("an answer").into_body();
        let first = body.data().await.expect("a message").expect("data");
        assert_eq!(first, message(b"one"));
        gateway.reload(&elsewhere(&gateway));
        send.send_data(message(b"two"), true).expect("data goes out");
        let second = body.data().await.expect("a message").expect("data");
        assert_eq!(second, message(b"two"));
        let trailers = body.trailers().await.expect("an end").expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
    });
}
