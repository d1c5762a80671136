//! HTTP/2 upstreams: calls share connections, and what was refused was never done.

use super::{
    endpoint_states, gateway_of_one_worker,
    http2_peer::{Peer, Reply},
};
use crate::harness::{Client, eventually, pause};

#[test]
fn calls_that_come_together_share_one_connection_from_the_first_on() {
    for (peer, settings) in [
        (Peer::cleartext(|_, _| Reply::After(300, "ok")), "protocol: http2"),
        (Peer::tls(&["h2"], |_, _| Reply::After(300, "ok")), "protocol: http2, tls: {verify: false}"),
    ] {
        let gateway =
            gateway_of_one_worker(&format!("{settings}, endpoints: [{{address: \"{}\"}}]", peer.address));
        let mut clients: Vec<_> = (0..20).map(|_| Client::connect(gateway.address)).collect();
        clients.iter_mut().for_each(|client| client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        for client in &mut clients {
            assert_eq!(client.read().expect("an answer").text(), "ok");
        }
        assert_eq!(peer.connections(), 1, "{settings}");
    }
}

#[test]
fn what_alpn_chose_once_is_shared_too() {
    let peer = Peer::tls(&["h2", "http/1.1"], |_, _| Reply::After(200, "ok"));
    let gateway = gateway_of_one_worker(&format!(
        "tls: {{verify: false}}, endpoints: [{{address: \"{}\"}}]",
        peer.address
    ));
    assert_eq!(gateway.get("/").text(), "ok");
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(gateway.address)).collect();
    clients.iter_mut().for_each(|client| client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    for client in &mut clients {
        assert_eq!(client.read().expect("an answer").text(), "ok");
    }
    assert_eq!(peer.connections(), 1);
}

#[test]
fn a_refused_stream_was_never_done_and_is_repeated_whatever_the_method() {
    let peer =
        Peer::cleartext(|_, number| if number % 2 == 0 { Reply::Refuse } else { Reply::After(0, "ok") });
    let gateway = gateway_of_one_worker(&format!(
        "protocol: http2, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 2, budget: {{percent: 0, minPerSecond: 0}}}}",
        peer.address
    ));
    for _ in 0..5 {
        let answer = gateway.send("POST / HTTP/1.1\nhost: a\ncontent-length: 1", b"x");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    assert_eq!(peer.seen().len(), 10);
}

#[test]
fn a_connection_that_says_goodbye_is_replaced_without_a_loss() {
    let peer =
        Peer::cleartext(|_, number| if number % 5 == 4 { Reply::Last("ok") } else { Reply::After(0, "ok") });
    let gateway =
        gateway_of_one_worker(&format!("protocol: http2, endpoints: [{{address: \"{}\"}}]", peer.address));
    let mut client = Client::connect(gateway.address);
    for number in 0..40 {
        assert_eq!(client.get("/").expect("an answer").status, 200, "request {number}");
        // What follows at once may still meet the old connection, before its goodbye is read.
        pause(number % 3);
    }
    assert!((5..=12).contains(&peer.connections()), "{}", peer.connections());
}

#[test]
fn the_bounds_of_connections_hold_for_shared_ones() {
    let peer = Peer::cleartext(|_, _| Reply::After(0, "ok"));
    let ask = |pool: &str, wait: u64| {
        let gateway = gateway_of_one_worker(&format!(
            "protocol: http2, endpoints: [{{address: \"{}\"}}], pool: {{{pool}}}",
            peer.address
        ));
        let before = peer.connections();
        for _ in 0..10 {
            assert_eq!(gateway.get("/").text(), "ok");
            pause(wait);
        }
        peer.connections() - before
    };
    assert_eq!(ask("", 0), 1);
    assert_eq!(ask("maxRequests: 2", 0), 5);
    assert!(ask("maxAge: 100ms", 40) >= 3);
}

#[test]
fn a_client_that_leaves_has_its_stream_reset_and_the_connection_lives_on() {
    let peer = Peer::cleartext(|path, _| Reply::After(if path == "/slow" { 20_000 } else { 0 }, "ok"));
    let gateway =
        gateway_of_one_worker(&format!("protocol: http2, endpoints: [{{address: \"{}\"}}]", peer.address));
    let mut leaver = Client::connect(gateway.address);
    leaver.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the call is out", || peer.seen().len() == 1);
    drop(leaver);
    eventually("its stream is reset", || peer.cancelled() == 1);
    assert_eq!(gateway.get("/").text(), "ok");
    assert_eq!(peer.connections(), 1);
    eventually("nothing is in flight", || endpoint_states(&gateway)[0]["inFlight"] == 0);
}

#[test]
fn where_http2_has_gone_connections_open_side_by_side_again() {
    // ALPN chose HTTP/2 once; what stands at the address then speaks HTTP/1.1 alone.
    let both = Peer::tls(&["h2", "http/1.1"], |_, _| Reply::After(0, "ok"));
    let gateway = gateway_of_one_worker(&format!(
        "tls: {{verify: false}}, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}, timeouts: {{request: 60s, connect: 60s, tls: 60s}}",
        both.address
    ));
    assert_eq!(gateway.get("/").text(), "ok");
    let address = both.address;
    drop(both);
    eventually("the port is free", || std::net::TcpListener::bind(address).is_ok());
    let old = Peer::tls_on(address, &["http/1.1"], |_, _| Reply::After(0, "ok"));
    eventually("the endpoint is taken back", || gateway.get("/").text() == "ok");
    // No handshake goes on before eleven connections are there, and no call ends, whose connection another could take:
    // one is kept from before, and if one call opened for all, nobody else would come.
    old.gather(old.connections() + 11);
    let mut clients: Vec<_> = (0..12).map(|_| Client::connect(gateway.address)).collect();
    clients.iter_mut().for_each(|client| client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.read().expect("an answer").text(), "ok"));
}
