//! The life of HTTP/3 beside its listener's: new certificates, on and off, drains, and upgrades of the process.

use std::{io::Write, time::Duration};

use super::{
    FIXED, Front, ONE_WORKER,
    client::{Client, How, dial, read, request},
    listeners, rest,
};
use crate::harness::{Upstream, h2::run, pause, read_request};

/// An upstream whose answers take about `millis`.
fn slow(millis: u64) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let stream = reader.get_mut();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n");
            for _ in 0..20 {
                let _ = stream.write_all(&[b'x'; 10_000]);
                pause(millis / 20);
            }
        }
    })
}

fn shown(connection: &quinn::Connection) -> rustls::pki_types::CertificateDer<'static> {
    let shown = connection.peer_identity().expect("certificates");
    let shown = shown.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().expect("certificates");
    shown[0].clone()
}

#[test]
fn a_reload_brings_new_certificates_and_leaves_connections_alone() {
    let front = Front::start("true", "", FIXED);
    run(async {
        let mut old = front.client().await;
        assert_eq!(old.get("/").await.expect("an answer").text(), "inside");
        let fresh = front.authority.issue(&["a.test"]);
        fresh.write(front.gateway.folder.path(), "one");
        let after =
            front.gateway.reload(&format!("{}\n{FIXED}", listeners(front.gateway.address, "true", "")));
        assert_eq!(after["reloadsRefused"], 0, "{}", front.gateway.stderr());
        let new = front.client().await;
        assert!(shown(&new.connection) == fresh.cert, "the new one is shown");
        assert!(shown(&old.connection) != fresh.cert);
        assert_eq!(old.get("/").await.expect("an answer").text(), "inside");
    });
}

#[test]
fn a_reload_turns_it_off_and_on() {
    let front = Front::start("true", "", FIXED);
    let set = |http3: &str| {
        let text = format!(
            "{}\n{FIXED}shutdown: {{idleGrace: 50ms}}\n",
            listeners(front.gateway.address, http3, "")
        );
        let after = front.gateway.reload(&text);
        assert_eq!(after["reloadsRefused"], 0, "{}", front.gateway.stderr());
    };
    run(async {
        for _ in 0..2 {
            let mut client = front.client().await;
            assert_eq!(client.get("/").await.expect("an answer").text(), "inside");
            set("false");
            let how = How::plain(&front.authority);
            let error = dial(front.gateway.address, &how).await.expect_err("it is off");
            assert!(matches!(error, quinn::ConnectionError::ConnectionClosed(_)), "refused at once: {error}");
            // The connection that is there ends with the next request.
            let ended = async { while client.get("/").await.is_ok() {} };
            tokio::time::timeout(super::client::PATIENCE, ended).await.expect("it ends");
            set("true");
        }
        assert_eq!(front.client().await.get("/").await.expect("an answer").text(), "inside");
    });
}

#[test]
fn a_listener_that_moves_takes_http3_along() {
    let front = Front::start("true", "", FIXED);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], crate::harness::free_port()));
    front.gateway.reload(&format!("{}\n{FIXED}", listeners(address, "true", "")));
    run(async {
        let mut client = Client::connect(address, &front.authority).await;
        assert_eq!(client.get("/").await.expect("an answer").text(), "inside");
        assert!(dial(front.gateway.address, &How::plain(&front.authority)).await.is_err());
    });
}

#[test]
fn a_udp_port_that_somebody_else_has_refuses_the_configuration() {
    let front = Front::start("false", "", FIXED);
    let _taken = std::net::UdpSocket::bind(front.gateway.address).expect("the UDP port is free");
    let after = front.gateway.reload(&format!("{}\n{FIXED}", listeners(front.gateway.address, "true", "")));
    assert_eq!(after["reloadsRefused"], 1, "{after}");
    assert!(front.gateway.stderr().contains("(UDP)"), "{}", front.gateway.stderr());
}

#[test]
fn a_drain_lets_requests_end_and_says_goodbye() {
    let upstream = slow(1000);
    let mut front =
        Front::before(upstream.address, "true", "", "shutdown: {deadline: 15s, idleGrace: 100ms}");
    run(async {
        let mut client = front.client().await;
        let mut idle = front.client().await;
        let mut stream = client.begin(request("GET", "/")).await.expect("a stream");
        stream.finish().await.expect("sent");
        let head = stream.recv_response().await.expect("a head");
        front.gateway.signal("TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(dial(front.gateway.address, &How::plain(&front.authority)).await.is_err(), "nobody new");
        assert!(idle.get("/").await.is_err(), "nothing new");
        assert_eq!(idle.end().await, 0x100);
        assert_eq!(read(&mut stream, head).await.expect("all of it").body.len(), 200_000);
        assert_eq!(client.end().await, 0x100);
    });
    assert_eq!(front.gateway.wait().code(), Some(0));
}

/// A new connection with a request on it, whose answer has begun. Between the handshake and the request the process that the
/// connection is with may have said goodbye: then nothing has begun, and a client makes another connection.
async fn asked(front: &Front, path: &str) -> (Client, super::client::Stream, http::Response<()>) {
    for _ in 0..3 {
        let mut client = front.client().await;
        let mut stream = match client.begin(request("GET", path)).await {
            Ok(stream) => stream,
            Err(error) => {
                assert!(error.to_string().contains("closing"), "{error}");
                continue;
            }
        };
        // What was sent is answered, whatever begins meanwhile.
        stream.finish().await.expect("sent");
        let head = stream.recv_response().await.expect("a head");
        return (client, stream, head);
    }
    panic!("three processes in a row are about to end");
}

#[test]
fn an_upgrade_cuts_nothing_whatever_the_number_of_workers() {
    let upstream = slow(2000);
    let mut front =
        Front::before(upstream.address, "true", "", "shutdown: {deadline: 20s}\nruntime: {workers: 3}");
    for workers in [3, 1, 4] {
        let text = format!(
            "admin: {{address: \"{}\"}}\n{}\n{}",
            front.gateway.admin,
            listeners(front.gateway.address, "true", ""),
            rest(upstream.address, &format!("shutdown: {{deadline: 20s}}\nruntime: {{workers: {workers}}}"))
        );
        std::fs::write(front.gateway.folder.path().join("next.tmp"), text).expect("a file");
        std::fs::rename(front.gateway.folder.path().join("next.tmp"), front.gateway.config())
            .expect("a swap");
        run(async {
            // Long answers on connections of the old process, which the new one has to pass on to it.
            let mut open = Vec::new();
            for _ in 0..4 {
                open.push(asked(&front, "/old").await);
            }
            let mut next = front.gateway.again().arg("--upgrade").spawn().expect("the binary starts");
            // New connections are made all the while.
            let mut fresh = Vec::new();
            for _ in 0..10 {
                fresh.push(asked(&front, "/new").await);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            for (_client, mut stream, head) in open.into_iter().chain(fresh) {
                assert_eq!(read(&mut stream, head).await.expect("all of it").body.len(), 200_000);
            }
            assert!(next.try_wait().expect("a child").is_none(), "{}", front.gateway.stderr());
            front.gateway.replace(next);
        });
    }
}

#[test]
fn a_successor_that_fails_leaves_the_sockets_to_its_predecessor() {
    let front = Front::start("true", "", FIXED);
    let broken = front.gateway.folder.path().join("broken.yaml");
    // Its own admin endpoint cannot be had: it fails behind the taking over of the sockets.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let admin = taken.local_addr().expect("an address");
    let text =
        format!("admin: {{address: \"{admin}\"}}\n{}\n{FIXED}", listeners(front.gateway.address, "true", ""));
    std::fs::write(&broken, text).expect("a file");
    let mut next = front.gateway.again_with(&broken).arg("--upgrade").spawn().expect("the binary starts");
    assert!(!next.wait().expect("it ends").success());
    run(async {
        let mut client = front.client().await;
        assert_eq!(client.get("/").await.expect("an answer").text(), "inside");
    });
}

#[test]
fn one_worker_is_enough() {
    let upstream = slow(20);
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    run(async {
        assert_eq!(front.client().await.get("/").await.expect("an answer").body.len(), 200_000);
    });
}
