//! The PROXY protocol: read from trusted balancers in both versions, and written for upstreams.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually, h2, raw, read_request},
    front_with,
};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n";
const ASK: &[u8] =
    b"GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 10.9.9.9\r\nconnection: close\r\n\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 (§2.2): command, family, addresses.
fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = (addresses.len() as u16).to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, addresses].concat()
}

fn v2_ipv4() -> Vec<u8> {
    let addresses =
        [&[203, 0, 113, 9][..], &[198, 51, 100, 1], &4711u16.to_be_bytes(), &443u16.to_be_bytes()];
    // A TLV that nobody knows follows the addresses.
    v2(1, 0x11, &[&addresses.concat()[..], &[0xee, 0, 2, 1, 2]].concat())
}

fn v2_ipv6() -> Vec<u8> {
    let ip: Ipv6Addr = "2001:db8::9".parse().expect("an address");
    let addresses =
        [&ip.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &4711u16.to_be_bytes(), &443u16.to_be_bytes()];
    v2(1, 0x21, &addresses.concat())
}

fn gateway(listener: &str, upstream: &Upstream, more: &str) -> Gateway {
    Gateway::with(
        listener,
        &format!(
            "accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]{more}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
",
            upstream.address
        ),
    )
}

/// What the upstream is told of the client, after these bytes and a request; none when there was no answer.
fn client_seen(gateway: &Gateway, upstream: &Upstream, header: &[u8]) -> Option<String> {
    let before = upstream.seen().len();
    let answer = Answer::parse(&raw(gateway.address, &[header, ASK].concat()))?;
    assert_eq!(answer.status, 200);
    let seen = upstream.seen();
    assert_eq!(seen.len(), before + 1);
    Some(seen[before].header("x-forwarded-for").expect("an address").to_owned())
}

#[test]
fn both_versions_tell_who_the_client_is() {
    let upstream = Upstream::echo();
    let gateway = gateway("proxyProtocol: require, trustedProxies: [127.0.0.0/8]", &upstream, "");
    let unknown = "PROXY UNKNOWN\r\n".as_bytes();
    for (header, client) in [
        (V1, "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 ::1 4711 443\r\n", "2001:db8::9"),
        (&v2_ipv4(), "203.0.113.9"),
        (&v2_ipv6(), "2001:db8::9"),
        // The balancer speaks for itself, as in its health checks; it is trusted, and so is what it forwards.
        (unknown, "10.9.9.9, 127.0.0.1"),
        (&v2(0, 0, &[]), "10.9.9.9, 127.0.0.1"),
    ] {
        let seen = client_seen(&gateway, &upstream, header);
        assert_eq!(seen.as_deref(), Some(client), "{}", String::from_utf8_lossy(header));
    }
    let clients: Vec<_> = gateway.records(6).iter().map(|record| record["client_ip"].clone()).collect();
    for client in ["203.0.113.9", "2001:db8::9", "10.9.9.9"] {
        assert_eq!(clients.iter().filter(|known| **known == client).count(), 2, "{client}: {clients:?}");
    }
}

#[test]
fn a_header_that_is_required_must_come_and_be_well_formed() {
    let upstream = Upstream::echo();
    let gateway = gateway("proxyProtocol: require, trustedProxies: [127.0.0.0/8]", &upstream, "");
    let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200], b"\r\n"].concat();
    let huge = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    for header in [
        b"".as_slice(),
        b"PROXY TCP4 203.0.113.9 198.51.100.1 4711\r\n",
        b"PROXY TCP4 203.0.113.999 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 99999 443\r\n",
        b"PROXY TCP4 203.0.113.9  198.51.100.1 4711 443\r\n",
        b"PROXY TCP6 203.0.113.9 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\n",
        &long,
        &v2(1, 0x11, &[1, 2, 3]),
        &v2(7, 0x11, &[0; 12]),
        &huge,
    ] {
        assert!(raw(gateway.address, &[header, ASK].concat()).is_empty(), "{header:?}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_accepting_listener_takes_both_and_an_untrusted_peer_is_not_believed() {
    let upstream = Upstream::echo();
    let accepting = gateway("proxyProtocol: accept, trustedProxies: [127.0.0.0/8]", &upstream, "");
    assert_eq!(client_seen(&accepting, &upstream, V1).as_deref(), Some("203.0.113.9"));
    assert_eq!(client_seen(&accepting, &upstream, b"").as_deref(), Some("10.9.9.9, 127.0.0.1"));
    // HTTP/2 behind the header, in one segment with it.
    h2::run(async {
        let mut io = tokio::net::TcpStream::connect(accepting.address).await.expect("a connection");
        tokio::io::AsyncWriteExt::write_all(&mut io, &v2_ipv4()).await.expect("sent");
        let client = h2::Client::over(io).await;
        assert_eq!(client.get("/").await.expect("an answer").status, 200);
    });
    assert_eq!(upstream.seen().pop().expect("a request").header("x-forwarded-for"), Some("203.0.113.9"));

    let wary = gateway("proxyProtocol: accept, trustedProxies: [192.0.2.0/24]", &upstream, "");
    let answer = Answer::parse(&raw(wary.address, &[V1, ASK].concat()));
    assert_eq!(answer.expect("an answer").status, 400, "to a stranger it is no header but a bad request");
    assert_eq!(client_seen(&wary, &upstream, b"").as_deref(), Some("127.0.0.1"));
    let strict = gateway("proxyProtocol: require, trustedProxies: [192.0.2.0/24]", &upstream, "");
    assert!(raw(strict.address, &[V1, ASK].concat()).is_empty());
    let off = gateway("trustedProxies: [127.0.0.0/8]", &upstream, "");
    let answer = Answer::parse(&raw(off.address, &[V1, ASK].concat()));
    assert_eq!(answer.expect("an answer").status, 400);
}

/// An upstream that takes a PROXY header first and tells what it was.
fn behind(
    length: impl Fn(&[u8]) -> Option<usize> + Send + Sync + 'static,
) -> (Upstream, mpsc::Receiver<Vec<u8>>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::raw(move |mut reader, seen| {
        let mut header = Vec::new();
        let mut byte = [0];
        while length(&header) != Some(header.len()) {
            if !reader.read(&mut byte).is_ok_and(|count| count == 1) {
                return;
            }
            header.push(byte[0]);
        }
        let _ = tell.lock().expect("not poisoned").send(header);
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    (upstream, told)
}

#[test]
fn upstreams_are_told_in_the_version_that_they_want_and_each_client_for_itself() {
    let (upstream, told) = behind(|header| header.ends_with(b"\r\n").then_some(header.len()));
    let one = gateway("", &upstream, ", proxyProtocol: v1");
    let mut client = Client::connect(one.address);
    let port = client.stream().local_addr().expect("an address").port();
    assert_eq!(client.get("/").expect("an answer").text(), "ok");
    let header = String::from_utf8(told.recv().expect("a header")).expect("text");
    assert!(header.starts_with("PROXY TCP4 127.0.0.1 ") && header.contains(&format!(" {port} ")), "{header}");
    // Another client is another connection: it speaks for itself.
    assert_eq!(Client::connect(one.address).get("/").expect("an answer").text(), "ok");
    let other = String::from_utf8(told.recv().expect("a header")).expect("text");
    assert_ne!(header, other);

    let (upstream, told) = behind(|header| {
        let length = header.get(14..16)?;
        Some(16 + usize::from(u16::from_be_bytes([length[0], length[1]])))
    });
    let two = gateway("", &upstream, ", proxyProtocol: v2");
    let mut client = Client::connect(two.address);
    let port = client.stream().local_addr().expect("an address").port();
    assert_eq!(client.get("/").expect("an answer").text(), "ok");
    let header = told.recv().expect("a header");
    assert_eq!(&header[..14], &[SIGNATURE, &[0x21, 0x11]].concat()[..]);
    assert_eq!(&header[16..20], &Ipv4Addr::LOCALHOST.octets());
    assert_eq!(&header[24..26], &port.to_be_bytes());
}

#[test]
fn a_connection_that_speaks_for_one_client_ends_with_its_call() {
    for protocol in ["http1", "http2"] {
        let (open, counted) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (now, all) = (open.clone(), counted.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let is_http2 = protocol == "http2";
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                all.fetch_add(1, Ordering::Relaxed);
                let open = now.clone();
                open.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    speak(stream, is_http2);
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        let gateway = front_with("", address, &format!("protocol: {protocol}, proxyProtocol: v1"), "");
        for _ in 0..5 {
            assert_eq!(gateway.get("/").text(), "ok", "{protocol}");
        }
        assert_eq!(counted.load(Ordering::Relaxed), 5);
        eventually("none is kept", || open.load(Ordering::Relaxed) == 0);
    }
}

/// Reads a PROXY header, and then answers in either version until the other side closes.
fn speak(stream: std::net::TcpStream, is_http2: bool) {
    let mut byte = [0];
    while (&stream).read(&mut byte).is_ok_and(|count| count == 1) && byte[0] != b'\n' {}
    if !is_http2 {
        let mut reader = std::io::BufReader::new(stream);
        while read_request(&mut reader).is_some() {
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
        return;
    }
    h2::run(async {
        stream.set_nonblocking(true).expect("non-blocking");
        let io = tokio::net::TcpStream::from_std(stream).expect("a stream");
        let mut connection = ::h2::server::handshake(io).await.expect("HTTP/2");
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut body = respond.send_response(http::Response::new(()), false).expect("sent");
            let _ = body.send_data(bytes::Bytes::from_static(b"ok"), true);
        }
    });
}
