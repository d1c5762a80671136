//! Few long HTTP/2 connections do not pile up on one worker.

use super::super::harness::{Client, Gateway, eventually, h2};

const WORKERS: usize = 4;

/// Open connections of each worker.
fn spread(gateway: &Gateway) -> Vec<u64> {
    let count = |worker: usize| {
        let series = format!("tidegate_worker_connections{{worker=\"{worker}\"}}");
        gateway.metric(&series).expect("a gauge for each worker") as u64
    };
    (0..WORKERS).map(count).collect()
}

#[test]
fn long_connections_are_spread_evenly_over_the_workers() {
    let gateway = Gateway::start(&format!(
        "runtime: {{workers: {WORKERS}}}\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{}}}}]\n"
    ));
    h2::run(async {
        let mut held = Vec::new();
        for _ in 0..16 {
            let client = h2::Client::connect(gateway.address).await;
            assert_eq!(client.get("/").await.expect("an answer").status, 200);
            held.push(client);
        }
        let counts = spread(&gateway);
        assert_eq!(counts.iter().sum::<u64>(), 16, "{counts:?}");
        // By chance alone a worker has seven or more of sixteen in one of three runs.
        assert!(counts.iter().all(|count| (2..=6).contains(count)), "{counts:?}");
        // They work where they were handed to.
        for client in &held {
            assert_eq!(client.get("/").await.expect("an answer").status, 200);
        }
    });
    eventually("all places are free again", || spread(&gateway).iter().sum::<u64>() == 0);
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(gateway.address)).collect();
    assert!(clients.iter_mut().all(|client| client.get("/").is_some_and(|answer| answer.status == 200)));
    assert!(spread(&gateway).iter().all(|count| (1..=3).contains(count)), "{:?}", spread(&gateway));
}

#[test]
fn a_worker_with_more_than_its_share_hands_a_new_connection_on() {
    let gateway = Gateway::start(&format!(
        "runtime: {{workers: {WORKERS}}}\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{}}}}]\n"
    ));
    // The kernel alone would leave them that even once in a few rounds; in all of them, at each step, never.
    for round in 0..6 {
        let mut held = Vec::new();
        for step in 0..24 {
            let mut client = Client::connect(gateway.address);
            assert_eq!(client.get("/").expect("an answer").status, 200);
            held.push(client);
            let counts = spread(&gateway);
            assert_eq!(counts.iter().sum::<u64>(), step + 1, "each counts once: {counts:?}");
            let (most, least) = (counts.iter().max(), counts.iter().min());
            let apart = most.expect("a worker") - least.expect("a worker");
            assert!(apart <= 2, "round {round}, step {step}: {counts:?}");
        }
        // They are served for good where they were handed to.
        assert!(held.iter_mut().all(|client| client.get("/").is_some_and(|answer| answer.status == 200)));
        drop(held);
        eventually("all places are free again", || spread(&gateway).iter().sum::<u64>() == 0);
    }
}
