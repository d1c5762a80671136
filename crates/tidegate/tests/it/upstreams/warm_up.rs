//! Warm-up: connections that are open before the first call needs them.

use std::io::Read;

use super::{
    endpoints, gateway, gateway_of_one_worker,
    http2_peer::{Peer, Reply},
    ok, status,
};
use crate::harness::{Upstream, eventually, pause};

#[test]
fn connections_are_open_ahead_of_traffic_and_used_by_it() {
    let peer = Peer::tls(&["http/1.1"], |_, _| Reply::After(0, "ok"));
    let gateway = gateway_of_one_worker(&format!(
        "endpoints: [{{address: \"{}\"}}], tls: {{verify: false}}, pool: {{warmUp: 3}}",
        peer.address
    ));
    eventually("three are ready, TLS included", || peer.handshakes() == 3);
    assert!(peer.seen().is_empty(), "nothing is asked on them");
    for _ in 0..10 {
        assert_eq!(gateway.get("/").text(), "ok");
    }
    pause(500);
    assert_eq!(peer.connections(), 3, "ten calls one after the other need no more than there are");
    let connect = gateway.records(10)[0]["connect_ms"].as_f64().expect("a number");
    assert!(connect < 5.0, "the first call waited {connect} ms for a connection");
}

#[test]
fn each_worker_warms_its_own_pool() {
    let upstream = Upstream::fixed(200, "ok");
    let _gateway = crate::harness::Gateway::start(&format!(
        "runtime: {{workers: 2}}\n{}",
        super::config(&format!("{}, pool: {{warmUp: 2}}", endpoints([&upstream])))
    ));
    eventually("two per worker", || upstream.connections() == 4);
    pause(600);
    assert_eq!(upstream.connections(), 4);
}

#[test]
fn what_is_lost_or_grows_old_is_opened_again() {
    // Closes what says nothing for 200 ms.
    let upstream = Upstream::raw(|reader, _| {
        let stream = reader.into_inner();
        let patience = Some(std::time::Duration::from_millis(200));
        stream.set_read_timeout(patience).expect("a timeout");
        let _ = (&stream).read(&mut [0]);
    });
    let _gateway = gateway_of_one_worker(&format!("{}, pool: {{warmUp: 2}}", endpoints([&upstream])));
    eventually("others take their place", || upstream.connections() >= 6);
    let aging = Upstream::fixed(200, "ok");
    let _other =
        gateway_of_one_worker(&format!("{}, pool: {{warmUp: 1, maxAge: 100ms}}", endpoints([&aging])));
    eventually("one after the other", || aging.connections() >= 4);
}

#[test]
fn one_http2_connection_is_warm_enough() {
    let peer = Peer::cleartext(|_, _| Reply::After(0, "ok"));
    let gateway = gateway_of_one_worker(&format!(
        "protocol: http2, endpoints: [{{address: \"{}\"}}], pool: {{warmUp: 4}}",
        peer.address
    ));
    eventually("it is open", || peer.open() == 1);
    assert_eq!(gateway.get("/").text(), "ok");
    pause(500);
    assert_eq!(peer.connections(), 1);
}

#[test]
fn unhealthy_endpoints_get_no_connections() {
    let health = Upstream::scripted(|_| status(500));
    let (ill, well) = (Upstream::scripted(|_| ok()), Upstream::scripted(|_| ok()));
    // The ill one is checked at another port, so that all its connections are those of warm-up.
    let check = |port: u16| {
        format!(
            "healthCheck: {{path: /, port: {port}, interval: 50ms, unhealthyThreshold: 1, healthyThreshold: 1}}"
        )
    };
    let ill_gateway = gateway(&format!(
        "{}, {}, pool: {{warmUp: 2, maxAge: 100ms}}",
        endpoints([&ill]),
        check(health.address.port())
    ));
    eventually("it is seen to be ill", || super::in_use(&ill_gateway).is_empty());
    pause(400);
    let before = ill.connections();
    pause(1_000);
    assert_eq!(ill.connections(), before, "no more since it is known");
    let _well_gateway = gateway(&format!(
        "{}, {}, pool: {{warmUp: 2, maxAge: 100ms}}",
        endpoints([&well]),
        check(well.address.port())
    ));
    eventually("a healthy one does", || well.connections() > 20);
}

#[test]
fn an_endpoint_that_refuses_is_left_alone_for_a_while() {
    let port = crate::harness::free_port();
    let gateway = gateway_of_one_worker(&format!(
        "endpoints: [{{address: \"127.0.0.1:{port}\"}}], pool: {{warmUp: 2}}"
    ));
    eventually("it is set aside before any call meets it", || super::in_use(&gateway).is_empty());
}
