//! Endpoints that are dead, die, or are restarted one after the other: nobody notices.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::{gateway, in_use, local, ok};
use crate::harness::{Client, Upstream, eventually, free_port, pause};

#[test]
fn one_dead_endpoint_of_four_costs_no_request() {
    let alive: Vec<_> = (0..3).map(|_| Upstream::fixed(200, "ok")).collect();
    let dead = local(free_port());
    let addresses: Vec<_> = alive
        .iter()
        .map(|one| one.address)
        .chain([dead])
        .map(|one| format!("{{address: \"{one}\"}}"))
        .collect();
    let gateway = gateway(&format!("endpoints: [{}], retry: {{maxAttempts: 2}}", addresses.join(", ")));
    for _ in 0..200 {
        assert_eq!(gateway.get("/").status, 200);
    }
    // Writes, too: nothing was sent where nobody listens.
    for _ in 0..20 {
        assert_eq!(gateway.send("POST / HTTP/1.1\nhost: a\ncontent-length: 1", b"x").status, 200);
    }
    let tries: f64 = gateway.metric("tidegate_retries_total{upstream=\"u\"}").unwrap_or(0.0);
    assert!(tries <= 4.0, "the dead one was tried {tries} times");
}

#[test]
fn an_outage_is_noticed_and_its_end_too() {
    let port = free_port();
    let other = Upstream::fixed(200, "other");
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"127.0.0.1:{port}\"}}, {{address: \"{}\"}}],
        healthCheck: {{path: /, interval: 100ms, timeout: 100ms, healthyThreshold: 1, unhealthyThreshold: 1}}",
        other.address
    ));
    let healthy = || in_use(&gateway).len();
    eventually("the dead one is seen", || healthy() == 1);
    assert!((0..20).all(|_| gateway.get("/").text() == "other"));
    let _back = Upstream::on(local(port), |_| ok());
    eventually("the live one is seen", || healthy() == 2);
    let texts: Vec<_> = (0..20).map(|_| gateway.get("/").text()).collect();
    assert!(texts.contains(&"ok".to_owned()), "{texts:?}");
}

#[test]
fn rolling_restarts_of_all_endpoints_lose_nothing() {
    let ports: Vec<_> = (0..3).map(|_| free_port()).collect();
    let mut servers: Vec<_> = ports.iter().map(|port| Some(Upstream::on(local(*port), |_| ok()))).collect();
    let endpoints: Vec<_> = ports.iter().map(|port| format!("{{address: \"127.0.0.1:{port}\"}}")).collect();
    let gateway = gateway(&format!(
        "endpoints: [{}], healthCheck: {{path: /, interval: 50ms, timeout: 200ms, healthyThreshold: 1, unhealthyThreshold: 1}}, retry: {{maxAttempts: 3}}",
        endpoints.join(", ")
    ));
    let (stop, failed, total) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let load = {
        let (stop, failed, total, address) = (stop.clone(), failed.clone(), total.clone(), gateway.address);
        std::thread::spawn(move || {
            let mut client = Client::connect(address);
            while !stop.load(Ordering::Relaxed) {
                let good = client.get("/").is_some_and(|answer| answer.status == 200);
                failed.fetch_add(usize::from(!good), Ordering::Relaxed);
                total.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    for (server, port) in servers.iter_mut().zip(&ports) {
        pause(200);
        drop(server.take());
        pause(300);
        *server = Some(Upstream::on(local(*port), |_| ok()));
        pause(300);
    }
    stop.store(true, Ordering::Relaxed);
    load.join().expect("load");
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", total.load(Ordering::Relaxed));
    assert!(total.load(Ordering::Relaxed) > 200);
}
