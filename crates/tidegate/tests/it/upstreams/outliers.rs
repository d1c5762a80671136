//! Passive outlier ejection: endpoints that fail live traffic are set aside for a while.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{answers, endpoint_states, endpoints, gateway, in_use, ok, status};
use crate::harness::{Client, Upstream, eventually, pause};

#[test]
fn endpoints_that_fail_live_traffic_are_ejected() {
    let good = Upstream::fixed(200, "good");
    let bad = Upstream::fixed(500, "bad");
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{}\"}}, {{address: \"{}\"}}], retry: {{maxAttempts: 1}},
        outlierDetection: {{consecutive5xx: 3, baseEjectionTime: 1s, maxEjectionPercent: 50}}",
        good.address, bad.address
    ));
    let mut client = Client::connect(gateway.address);
    let failures = (0..100).filter(|_| client.get("/").expect("an answer").status == 500).count();
    assert_eq!(failures, 3);
    pause(1_200);
    let failures = (0..40).filter(|_| client.get("/").expect("an answer").status == 500).count();
    assert_eq!(failures, 3, "it is tried again after its time");
}

#[test]
fn each_ejection_is_longer_than_the_one_before() {
    let (good, bad) = (Upstream::fixed(200, "good"), Upstream::fixed(500, "bad"));
    let gateway = gateway(&format!(
        "{}, retry: {{maxAttempts: 1}},
        outlierDetection: {{consecutive5xx: 2, baseEjectionTime: 700ms, maxEjectionTime: 60s, maxEjectionPercent: 50}}",
        endpoints([&good, &bad])
    ));
    let mut lengths = Vec::new();
    for number in 1..=3 {
        eventually("it is ejected", || {
            answers(&gateway, 4);
            let states = endpoint_states(&gateway);
            let left = states[1]["ejectedSeconds"].as_f64();
            if let Some(left) = left.filter(|_| states[1]["ejections"] == number) {
                lengths.push(left);
            }
            lengths.len() == number
        });
        eventually("its time is over", || in_use(&gateway).len() == 2);
    }
    assert!(lengths[0] <= 0.7 && lengths[1] > 0.7 && lengths[2] > 1.4, "{lengths:?} grow with the base time");
}

#[test]
fn no_more_are_ejected_than_the_cap_allows() {
    let all: Vec<_> = (0..4).map(|_| Upstream::fixed(500, "bad")).collect();
    let gateway = gateway(&format!(
        "{}, retry: {{maxAttempts: 1}}, outlierDetection: {{consecutive5xx: 2, baseEjectionTime: 60s, maxEjectionPercent: 50}}",
        endpoints(&all)
    ));
    answers(&gateway, 100);
    assert_eq!(in_use(&gateway).len(), 2);
}

#[test]
fn one_that_does_clearly_worse_than_its_peers_is_ejected() {
    let all: Vec<_> = (0..5)
        .map(|number| {
            let count = std::sync::atomic::AtomicUsize::new(0);
            Upstream::scripted(move |_| {
                // Every second answer of the last one fails: never a row of failures.
                let fails = number == 4 && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
                if fails { status(500) } else { ok() }
            })
        })
        .collect();
    let gateway = gateway(&format!(
        "{}, retry: {{maxAttempts: 1}},
        outlierDetection: {{interval: 200ms, baseEjectionTime: 60s, successRateRequestVolume: 4, successRateMinimumHosts: 5, maxEjectionPercent: 20}}",
        endpoints(&all)
    ));
    eventually("it is ejected", || {
        answers(&gateway, 50);
        in_use(&gateway).len() == 4
    });
    assert!(!in_use(&gateway).contains(&all[4].address.to_string()));
}

#[test]
fn rows_of_gateway_failures_and_of_broken_connections_eject_too() {
    let good = Upstream::fixed(200, "good");
    for (settings, broken) in [
        ("consecutiveGatewayFailure: 2, consecutive5xx: 0", Upstream::fixed(502, "")),
        (
            "consecutiveLocalOriginFailure: 2, consecutive5xx: 0, consecutiveGatewayFailure: 0",
            Upstream::scripted(|_| None),
        ),
    ] {
        let gateway = gateway(&format!(
            "{}, retry: {{maxAttempts: 1}}, outlierDetection: {{{settings}, baseEjectionTime: 60s}}",
            endpoints([&good, &broken])
        ));
        let mut client = Client::connect(gateway.address);
        let failures = (0..40).filter(|_| client.get("/").expect("an answer").status != 200).count();
        assert_eq!(failures, 2, "{settings}");
    }
}

#[test]
fn a_good_check_ends_an_ejection_early() {
    let bad = Arc::new(AtomicBool::new(true));
    let switch = bad.clone();
    let upstream = Upstream::scripted(move |seen| {
        if seen.target() != "/health" && switch.load(Ordering::Relaxed) { status(500) } else { ok() }
    });
    let other = Upstream::fixed(200, "other");
    let gateway = gateway(&format!(
        "{}, retry: {{maxAttempts: 1}}, outlierDetection: {{consecutive5xx: 2, baseEjectionTime: 60s}},
        healthCheck: {{path: /health, interval: 500ms}}",
        endpoints([&upstream, &other])
    ));
    eventually("it is ejected", || {
        answers(&gateway, 2);
        in_use(&gateway).len() == 1
    });
    bad.store(false, Ordering::Relaxed);
    eventually("it is back", || in_use(&gateway).len() == 2);
}

#[test]
fn one_fault_is_one_ejection_however_many_calls_it_meets() {
    let gate = Arc::new(AtomicBool::new(false));
    let (held, good) = (gate.clone(), Upstream::fixed(200, "good"));
    let bad = Upstream::scripted(move |_| {
        eventually("all are out", || held.load(Ordering::Relaxed));
        status(500)
    });
    let gateway = gateway(&format!(
        "{}, retry: {{maxAttempts: 1}}, loadBalancing: {{panicThreshold: 0}},
        outlierDetection: {{consecutive5xx: 3, baseEjectionTime: 20s, maxEjectionTime: 10m, maxEjectionPercent: 100}}",
        endpoints([&good, &bad])
    ));
    let mut clients: Vec<_> = (0..40).map(|_| Client::connect(gateway.address)).collect();
    clients.iter_mut().for_each(|client| client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    eventually("half of them wait", || bad.seen().len() == 20);
    gate.store(true, Ordering::Relaxed);
    clients.iter_mut().for_each(|client| assert!(client.read().is_some()));
    let state = &endpoint_states(&gateway)[1];
    assert_eq!(state["ejections"], 1, "{state}");
    assert!(state["ejectedSeconds"].as_f64().is_some_and(|left| left <= 20.0), "{state}");
}

#[test]
fn one_that_fails_more_than_the_set_share_is_ejected_and_one_that_fails_less_is_not() {
    let all: Vec<_> = [4, 4, 4, 1, 3]
        .into_iter()
        .map(|of_four| {
            let count = std::sync::atomic::AtomicUsize::new(0);
            // So many of four answers are good; never two bad ones in a row decide, for rows are turned off.
            Upstream::scripted(move |_| {
                if count.fetch_add(1, Ordering::Relaxed) % 4 < of_four { ok() } else { status(500) }
            })
        })
        .collect();
    let setup = |threshold: &str| {
        gateway(&format!(
            "{}, retry: {{maxAttempts: 1}}, outlierDetection: {{interval: 200ms, baseEjectionTime: 5m,
            successRateRequestVolume: 4, successRateMinimumHosts: 5, successRateStdevFactor: 0, consecutive5xx: 0,
            consecutiveGatewayFailure: 0{threshold}, maxEjectionPercent: 100}}",
            endpoints(&all)
        ))
    };
    let gateway = setup(", failurePercentageThreshold: 60");
    eventually("it is ejected", || {
        answers(&gateway, 50);
        in_use(&gateway).len() < 5
    });
    let rest: Vec<_> = [0, 1, 2, 4].map(|at: usize| all[at].address.to_string()).into();
    // Four are too few to be compared any further, so this is how it stays.
    assert_eq!(in_use(&gateway), rest);
    // Without the threshold nobody is.
    let gateway = setup("");
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < 700 {
        answers(&gateway, 50);
    }
    assert_eq!(in_use(&gateway).len(), 5);
}
