//! HTTP/2 connections that are lost while they are shared: by a goodbye with streams still open, and by a path that
//! swallows every byte.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    gateway_of_one_worker,
    http2_peer::{Peer, Reply},
    timed,
};
use crate::harness::{Client, eventually};

/// Passes bytes between a gateway and a peer, and can swallow all those of the connections that are open.
struct Relay {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Connections up to this number are swallowed.
    swallowed: Arc<AtomicUsize>,
}

impl Relay {
    fn to(peer: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connections, swallowed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, lost) = (connections.clone(), swallowed.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
                let Ok(other) = TcpStream::connect(peer) else { return };
                for (from, to) in [(&stream, &other), (&other, &stream)] {
                    let _ = from.set_nodelay(true);
                    let (mut from, mut to) = (from.try_clone().expect("one"), to.try_clone().expect("one"));
                    let lost = lost.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 16 * 1024];
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            if lost.load(Ordering::Relaxed) < number {
                                let _ = to.write_all(&buffer[..count]);
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Self { address, connections, swallowed }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn swallow(&self) {
        self.swallowed.store(self.connections(), Ordering::Relaxed);
    }
}

#[test]
fn after_a_goodbye_nothing_more_is_sent_there_while_an_old_stream_lives_on() {
    let peer = Peer::cleartext(|path, _| match path {
        "/slow" => Reply::After(3_000, "slow"),
        "/last" => Reply::Last("last"),
        _ => Reply::After(0, "ok"),
    });
    // No retry could help a request whose body is too large to be kept: it must not be lost in the first place.
    let gateway = gateway_of_one_worker(&format!(
        "protocol: http2, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 2, maxBodySize: 1KiB}}",
        peer.address
    ));
    let mut waiting = Client::connect(gateway.address);
    waiting.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("a stream is open", || peer.seen().len() == 1);
    assert_eq!(gateway.get("/last").text(), "last");
    let body = vec![b'x'; 100_000];
    for number in 0..6 {
        let answer = gateway.send("POST /more HTTP/1.1\nhost: a\ncontent-length: 100000", &body);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "request {number}");
    }
    assert_eq!(peer.connections(), 2, "one connection took the other's place");
    assert_eq!(waiting.read().expect("an answer").text(), "slow");
}

#[test]
fn a_connection_on_which_a_call_timed_out_unheard_is_not_used_again() {
    let peer = Peer::cleartext(|_, _| Reply::After(0, "ok"));
    let relay = Relay::to(peer.address);
    let gateway = gateway_of_one_worker(&format!(
        "protocol: http2, endpoints: [{{address: \"{}\"}}], timeouts: {{request: 700ms}}, retry: {{maxAttempts: 1}}",
        relay.address
    ));
    assert_eq!(gateway.get("/").status, 200);
    relay.swallow();
    assert_eq!(gateway.get("/").status, 504);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(relay.connections(), 2);
}

#[test]
fn a_connection_that_answers_no_ping_is_given_up_and_its_calls_go_elsewhere() {
    let peer = Peer::cleartext(|_, _| Reply::After(0, "ok"));
    let relay = Relay::to(peer.address);
    let gateway = gateway_of_one_worker(&format!(
        "protocol: http2, endpoints: [{{address: \"{}\"}}], timeouts: {{request: 5m}}",
        relay.address
    ));
    assert_eq!(gateway.get("/").status, 200);
    relay.swallow();
    let mut client = Client::connect(gateway.address);
    client.patience(Duration::from_secs(60));
    let (answer, took) = timed(|| client.get("/"));
    assert_eq!(answer.expect("an answer").text(), "ok");
    assert!(took < Duration::from_secs(50), "{took:?}");
    assert_eq!(relay.connections(), 2);
}
