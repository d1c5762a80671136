//! Balancing: each algorithm's shares as callers see them, zones, reserves, slow start and panic.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{answers, endpoint_states, gateway, in_use, local, status};
use crate::harness::{Client, Gateway, Upstream, eventually, free_port, pause};

fn named(count: usize) -> Vec<Upstream> {
    (0..count).map(|at| Upstream::fixed(200, &at.to_string())).collect()
}

/// `endpoints` with something more about each.
fn endpoints(all: &[Upstream], more: &[&str]) -> String {
    let each: Vec<_> = all
        .iter()
        .zip(more.iter().chain(std::iter::repeat(&"")))
        .map(|(one, more)| format!("{{address: \"{}\"{more}}}", one.address))
        .collect();
    format!("endpoints: [{}]", each.join(", "))
}

#[test]
fn round_robin_gives_weight_two_exactly_twice_as_much() {
    let all = named(3);
    let gateway = gateway(&endpoints(&all, &["", ", weight: 2", ""]));
    let counts = answers(&gateway, 400);
    assert_eq!((counts["0"], counts["1"], counts["2"]), (100, 200, 100));
}

#[test]
fn random_goes_by_weight() {
    let all = named(2);
    let gateway =
        gateway(&format!("{}, loadBalancing: {{algorithm: random}}", endpoints(&all, &["", ", weight: 2"])));
    let counts = answers(&gateway, 900);
    assert!((520..=680).contains(&counts["1"]), "{counts:?}");
}

/// Which endpoint answers for each of these values of a header.
fn homes(gateway: &Gateway, keys: usize) -> BTreeMap<usize, String> {
    let mut client = Client::connect(gateway.address);
    (0..keys)
        .map(|key| {
            client.write(format!("GET / HTTP/1.1\r\nhost: a\r\nx-user: {key}\r\n\r\n"));
            (key, client.read().expect("an answer").text())
        })
        .collect()
}

#[test]
fn consistent_hashing_keeps_a_key_at_its_endpoint_and_moves_few_when_one_dies() {
    for (algorithm, stays) in [("ringHash", 1.0), ("maglev", 0.9)] {
        let mut all = named(4);
        let gateway = gateway(&format!(
            "{}, loadBalancing: {{algorithm: {algorithm}, hash: {{header: x-user}}}}, {CHECKED}",
            endpoints(&all, &[])
        ));
        let before = homes(&gateway, 200);
        assert_eq!(homes(&gateway, 200), before, "{algorithm}");
        let at = |name: &str| before.values().filter(|home| *home == name).count();
        assert!(
            (0..4).all(|name| at(&name.to_string()) > 15),
            "{algorithm}: all have their keys: {before:?}"
        );
        drop(all.remove(2));
        eventually("its end is seen", || in_use(&gateway).len() == 3);
        let after = homes(&gateway, 200);
        let others: Vec<_> = before.iter().filter(|(_, home)| *home != "2").collect();
        let kept = others.iter().filter(|(key, home)| after[*key] == **home).count();
        assert!(kept as f64 >= others.len() as f64 * stays, "{algorithm}: {kept} of {} stayed", others.len());
        assert!(after.values().all(|home| home != "2"), "{algorithm}");
    }
}

#[test]
fn hashing_takes_any_part_of_a_call() {
    let all = named(4);
    for (hash, ask) in [
        ("{cookie: user}", "GET /any HTTP/1.1\r\nhost: a\r\ncookie: x=1; user=KEY\r\n\r\n"),
        ("{query: user}", "GET /any?x=1&user=KEY HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("path", "GET /KEY HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let gateway =
            gateway(&format!("{}, loadBalancing: {{algorithm: maglev, hash: {hash}}}", endpoints(&all, &[])));
        let mut client = Client::connect(gateway.address);
        let mut homes = BTreeMap::<usize, Vec<String>>::new();
        for _ in 0..3 {
            for key in 0..40 {
                client.write(ask.replace("KEY", &key.to_string()));
                homes.entry(key).or_default().push(client.read().expect("an answer").text());
            }
        }
        assert!(homes.values().all(|texts| texts.iter().all(|text| *text == texts[0])), "{hash}: {homes:?}");
        let used: std::collections::BTreeSet<_> = homes.values().map(|texts| &texts[0]).collect();
        assert_eq!(used.len(), 4, "{hash}: keys spread over all");
    }
}

#[test]
fn least_request_avoids_the_busy_one() {
    let slow = Upstream::scripted(|_| {
        pause(60_000);
        None
    });
    let is_quick = Arc::new(AtomicBool::new(false));
    let gate = is_quick.clone();
    let quick = Upstream::scripted(move |_| {
        while !gate.load(Ordering::Relaxed) {
            pause(5);
        }
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nquick".to_vec())
    });
    let gateway = gateway(&format!(
        "{}, loadBalancing: {{algorithm: leastRequest}}, timeouts: {{request: 60s}}",
        super::endpoints([&slow, &quick])
    ));
    // While neither answers, both get their part of the calls.
    let mut busy: Vec<_> = (0..8).map(|_| Client::connect(gateway.address)).collect();
    busy.iter_mut().for_each(|client| client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    eventually("all are out", || slow.seen().len() + quick.seen().len() == 8);
    assert!(slow.seen().len() >= 2, "{} of 8 are out at the slow one", slow.seen().len());
    is_quick.store(true, Ordering::Relaxed);
    let at_slow = slow.seen().len();
    let in_flight =
        || endpoint_states(&gateway).iter().map(|one| one["inFlight"].clone()).collect::<Vec<_>>();
    eventually("the quick one is free", || in_flight() == [at_slow, 0]);
    // Calls that are out at the slow one keep others away from it; of those that follow one another, none is counted
    // more than once beside its successor.
    let counts = answers(&gateway, 60);
    assert_eq!(counts.get("quick"), Some(&60), "{counts:?}");
    assert_eq!(slow.seen().len(), at_slow);
}

#[test]
fn peak_ewma_avoids_the_slow_one() {
    let slow = Upstream::scripted(|_| {
        pause(150);
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow".to_vec())
    });
    let quick = Upstream::fixed(200, "quick");
    let gateway =
        gateway(&format!("{}, loadBalancing: {{algorithm: peakEwma}}", super::endpoints([&slow, &quick])));
    let counts = answers(&gateway, 100);
    assert!(counts.get("slow").is_none_or(|count| *count <= 10), "{counts:?}");
}

#[test]
fn peak_ewma_avoids_the_one_that_hangs() {
    let hung = Upstream::scripted(|_| {
        pause(60_000);
        None
    });
    // Slower than one that was never measured, to which balancing owes a try.
    let good = Upstream::scripted(|_| {
        pause(20);
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood".to_vec())
    });
    let gateway = gateway(&format!(
        "{}, loadBalancing: {{algorithm: peakEwma}}, timeouts: {{request: 500ms}}, retry: {{maxAttempts: 1}}",
        super::endpoints([&hung, &good])
    ));
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(gateway.address)).collect();
    let mut failed = 0;
    for _ in 0..20 {
        clients.iter_mut().for_each(|client| client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        for client in &mut clients {
            failed += usize::from(client.read().expect("an answer").status != 200);
        }
    }
    assert!(failed <= 12, "{failed} of 80 calls went to the one that hangs");
}

const CHECKED: &str =
    "healthCheck: {path: /, interval: 50ms, timeout: 1s, healthyThreshold: 1, unhealthyThreshold: 1}";

#[test]
fn the_own_zone_is_preferred_while_enough_of_it_is_healthy() {
    let mut all: Vec<Option<Upstream>> = named(5).into_iter().map(Some).collect();
    let each: Vec<_> = all
        .iter()
        .flatten()
        .zip(["near", "near", "near", "far", "far"])
        .map(|(one, zone)| format!("{{address: \"{}\", zone: {zone}}}", one.address))
        .collect();
    let gateway = gateway(&format!(
        "endpoints: [{}], loadBalancing: {{zone: near, preferSameZone: true}}, {CHECKED}",
        each.join(", ")
    ));
    let counts = answers(&gateway, 30);
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["0", "1", "2"], "{counts:?}");
    all[0] = None;
    eventually("one is gone", || in_use(&gateway).len() == 4);
    let counts = answers(&gateway, 30);
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["1", "2"], "two of three are enough: {counts:?}");
    all[1] = None;
    eventually("two are gone", || in_use(&gateway).len() == 3);
    let counts = answers(&gateway, 30);
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["2", "3", "4"], "one of three is not: {counts:?}");
}

#[test]
fn reserves_are_used_only_when_no_other_is_healthy() {
    let mut all: Vec<Option<Upstream>> = named(3).into_iter().map(Some).collect();
    let each: Vec<_> = all
        .iter()
        .flatten()
        .zip(["", "", ", backup: true"])
        .map(|(one, more)| format!("{{address: \"{}\"{more}}}", one.address))
        .collect();
    let gateway = gateway(&format!("endpoints: [{}], {CHECKED}", each.join(", ")));
    assert_eq!(answers(&gateway, 20).keys().collect::<Vec<_>>(), ["0", "1"]);
    all[0] = None;
    eventually("one is gone", || in_use(&gateway).len() == 2);
    assert_eq!(answers(&gateway, 20).keys().collect::<Vec<_>>(), ["1"]);
    all[1] = None;
    eventually("both are gone", || in_use(&gateway).len() == 1);
    assert_eq!(answers(&gateway, 20).keys().collect::<Vec<_>>(), ["2"]);
}

#[test]
fn reserves_leave_the_traffic_to_one_healthy_endpoint_of_three() {
    let mut all: Vec<Option<Upstream>> = named(4).into_iter().map(Some).collect();
    let each: Vec<_> = all
        .iter()
        .flatten()
        .zip(["", "", "", ", backup: true"])
        .map(|(one, more)| format!("{{address: \"{}\"{more}}}", one.address))
        .collect();
    let gateway = gateway(&format!("endpoints: [{}], {CHECKED}", each.join(", ")));
    (all[0], all[1]) = (None, None);
    eventually("two are gone", || in_use(&gateway).len() == 2);
    assert_eq!(answers(&gateway, 20).keys().collect::<Vec<_>>(), ["2"], "below the panic threshold");
}

#[test]
fn below_the_panic_threshold_all_share_the_load() {
    // Three fail their checks but answer calls; one is healthy.
    let fails_checks = |at: usize| {
        Upstream::scripted(move |seen| {
            if seen.target() == "/health" {
                return status(503);
            }
            Some(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{at}").into_bytes())
        })
    };
    let mut all: Vec<_> = (0..3).map(fails_checks).collect();
    all.push(Upstream::fixed(200, "3"));
    let settings = |threshold: &str| {
        format!(
            "{}, loadBalancing: {{{threshold}}},
            healthCheck: {{path: /health, interval: 50ms, healthyThreshold: 1, unhealthyThreshold: 1}}",
            endpoints(&all, &[])
        )
    };
    let panicking = gateway(&settings(""));
    eventually("three are ill", || in_use(&panicking).len() == 1);
    assert_eq!(answers(&panicking, 40).len(), 4, "one of four cannot carry it all");
    let calm = gateway(&settings("panicThreshold: 20"));
    eventually("three are ill", || in_use(&calm).len() == 1);
    assert_eq!(answers(&calm, 40).keys().collect::<Vec<_>>(), ["3"]);
}

#[test]
fn half_of_the_endpoints_are_enough_not_to_panic() {
    let all = named(2);
    let (dead, other_dead) = (local(free_port()), local(free_port()));
    let gateway = gateway(&format!(
        "endpoints: [{{address: \"{}\"}}, {{address: \"{}\"}}, {{address: \"{dead}\"}}, {{address: \"{other_dead}\"}}], retry: {{maxAttempts: 1}}, {CHECKED}",
        all[0].address, all[1].address
    ));
    eventually("two are gone", || in_use(&gateway).len() == 2);
    let counts = answers(&gateway, 40);
    assert_eq!((counts.get("0"), counts.get("1")), (Some(&20), Some(&20)), "{counts:?}");
}

#[test]
fn a_new_endpoint_and_one_that_comes_back_grow_to_their_share() {
    for (algorithm, draws) in [("roundRobin", 1.0), ("peakEwma", 2.0)] {
        grows(algorithm, draws);
    }
}

/// `draws`: how often one more endpoint is looked at for a call, each time with the chance that it has grown to.
fn grows(algorithm: &str, draws: f64) {
    const SLOW_START_SECONDS: f64 = 120.0;
    let all = named(2);
    let port = free_port();
    let third =
        || Upstream::on(local(port), |_| Some(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnew".to_vec()));
    let listener = free_port();
    let text = |with_third: bool| {
        let more = if with_third { format!(", {{address: \"127.0.0.1:{port}\"}}") } else { String::new() };
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:{listener}\"}}]\n{}",
            super::config(&format!(
                "endpoints: [{{address: \"{}\"}}, {{address: \"{}\"}}{more}], loadBalancing: {{algorithm: {algorithm}, slowStart: {SLOW_START_SECONDS}s}}, retry: {{maxAttempts: 1}}, {CHECKED}",
                all[0].address, all[1].address
            ))
        )
    };
    // What it may have had by now, since it was there: its chance has grown with the time that has passed. Of 300 calls
    // it may have had none where its failures are remembered (peakEwma); that fades with time.
    let grown = |since: Instant, what: &str| {
        let mut counts = answers_of(listener, 300);
        eventually("the third is called", || {
            let is_called = counts.contains_key("new");
            if !is_called {
                counts = answers_of(listener, 300);
            }
            is_called
        });
        let warmth = (since.elapsed().as_secs_f64() / SLOW_START_SECONDS).clamp(0.1, 1.0);
        let share = draws * warmth / (2.0 + warmth);
        let most = 300.0 * share + 5.0 * (300.0 * share * (1.0 - share)).sqrt();
        let new = counts.get("new").copied().unwrap_or(0);
        assert!(new as f64 <= most, "{algorithm}, {what}: {new} of 300, {most} at most");
        assert!(most < 100.0, "a third is what it would have without growing; this machine is too slow");
        counts
    };
    let server = third();
    let gateway = Gateway::from_text(&text(false), local(listener), |_| {});
    let since = Instant::now();
    gateway.reload(&text(true));
    let counts = grown(since, "new");
    if algorithm == "roundRobin" {
        // Those that were there at the start have their full share at once.
        let (one, other) = (counts["0"] as i64, counts["1"] as i64);
        assert!((one - other).abs() <= 36, "{counts:?}");
    }
    drop(server);
    eventually("it is gone", || in_use(&gateway).len() == 2);
    let since = Instant::now();
    let _server = third();
    eventually("it is back", || in_use(&gateway).len() == 3);
    grown(since, "back");
}

/// How often each text is answered to so many requests on one connection.
fn answers_of(port: u16, count: usize) -> BTreeMap<String, usize> {
    let mut client = Client::connect(local(port));
    let mut texts = BTreeMap::new();
    for _ in 0..count {
        *texts.entry(client.get("/").expect("an answer").text()).or_default() += 1;
    }
    texts
}

#[test]
fn hashing_goes_by_the_consumer_and_by_the_clients_true_address() {
    let all = named(4);
    let consumers: Vec<_> =
        (0..40).map(|at| format!("{{name: c{at}, keys: [key-{at}-of-the-test]}}")).collect();
    for (hash, who) in
        [("consumer", "x-api-key: key-WHO-of-the-test"), ("clientAddress", "x-forwarded-for: 192.0.2.WHO")]
    {
        for algorithm in ["maglev", "ringHash"] {
            let gateway = Gateway::with(
                "trustedProxies: [127.0.0.1/32]",
                &format!(
                    "consumers: [{}]
upstreams: [{{name: u, {}, loadBalancing: {{algorithm: {algorithm}, hash: {hash}}}}}]
routes: [{{name: r, policies: [{{keyAuth: {{anonymous: c0}}}}], backends: [{{upstream: u}}]}}]\n",
                    consumers.join(", "),
                    endpoints(&all, &[])
                ),
            );
            let mut client = Client::connect(gateway.address);
            let mut home = |at: usize, path: &str| {
                let who = who.replace("WHO", &at.to_string());
                client.write(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{who}\r\n\r\n"));
                let answer = client.read().expect("an answer");
                assert_eq!(answer.status, 200);
                answer.text()
            };
            let first: Vec<_> = (0..40).map(|at| home(at, "/")).collect();
            for round in 0..3 {
                let again: Vec<_> = (0..40).map(|at| home(at, &format!("/{round}/{at}"))).collect();
                assert_eq!(again, first, "{algorithm} by {hash}: everyone stays at home");
            }
            let used: std::collections::BTreeSet<_> = first.iter().collect();
            assert_eq!(used.len(), 4, "{algorithm} by {hash}: they spread over all: {first:?}");
        }
    }
}
