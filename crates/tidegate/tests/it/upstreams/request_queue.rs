//! Calls that are held while an upstream is on its way up: scaled to zero, restarting, or saying so itself.

use std::{
    io::Write,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{config, endpoints, gateway, local, ok, state};
use crate::harness::{Client, Gateway, Seen, Upstream, dns::NameServer, eventually, free_port, pause};

fn queue(gateway: &Gateway) -> serde_json::Value {
    state(gateway)["requestQueue"].clone()
}

fn cold(port: u16, settings: &str) -> Gateway {
    gateway(&format!("endpoints: [{{address: \"127.0.0.1:{port}\"}}], requestQueue: {{{settings}}}"))
}

fn send(gateway: &Gateway, request: &str) -> Client {
    let mut client = Client::connect(gateway.address);
    client.write(request);
    client
}

fn waiting(gateway: &Gateway, count: usize) {
    eventually("they are held", || {
        let queue = queue(gateway);
        // The first of them may be trying at the moment.
        queue["held"] == count && queue["state"] == "COLD"
    });
}

/// Answers as many calls as it is allowed to, and lets the others wait.
#[derive(Default)]
struct Valve {
    allowed: Mutex<usize>,
    changed: Condvar,
}

impl Valve {
    fn allow(&self, more: usize) {
        *self.allowed.lock().expect("not poisoned") += more;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let allowed = self.allowed.lock().expect("not poisoned");
        let mut allowed = self.changed.wait_while(allowed, |allowed| *allowed == 0).expect("not poisoned");
        *allowed -= 1;
    }
}

#[test]
fn calls_wait_for_an_upstream_that_starts_and_come_to_it_in_order() {
    const CALLS: usize = 12;
    const EVERY: Duration = Duration::from_millis(500);
    let port = free_port();
    let gateway = cold(port, "probeInterval: 500ms");
    let mut clients = Vec::new();
    for number in 0..CALLS {
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        clients.push(send(
            &gateway,
            &format!("{method} /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"),
        ));
        waiting(&gateway, number + 1);
    }
    let valve = Arc::<Valve>::default();
    let gate = valve.clone();
    let upstream = Upstream::on(local(port), move |_| {
        gate.pass();
        ok()
    });
    // Two that are let go together come in either order, on connections of their own: so it is who has come that counts.
    let came = || {
        let number = |seen: &Seen| seen.target().trim_start_matches('/').parse::<usize>().expect("a number");
        let mut numbers: Vec<usize> = upstream.seen().iter().map(number).collect();
        numbers.sort_unstable();
        numbers
    };
    eventually("the first comes", || !came().is_empty());
    pause(3 * 500);
    assert_eq!(came(), [0], "while it is not known whether the upstream is there, one tries");
    let began = Instant::now();
    for answered in 1..=CALLS {
        valve.allow(1);
        let least = CALLS.min(1 + 2 * answered);
        eventually("two more come for each one that is answered, and nobody before his turn", || {
            let came = came();
            came.len() >= least && came == (0..came.len()).collect::<Vec<_>>()
        });
        // Time lets somebody go as well, though no more than one each time.
        let ticks = 1 + usize::try_from(began.elapsed().as_nanos() / EVERY.as_nanos()).expect("few");
        let came = came();
        assert!(came.len() <= least + ticks, "{came:?} after {answered} answers and {ticks} ticks");
    }
    for client in &mut clients {
        assert_eq!(client.read().map(|answer| answer.status), Some(200));
    }
    let seen = upstream.seen();
    assert_eq!(seen.len(), CALLS, "each was sent once");
    assert!(seen.iter().all(|seen| seen.body == b"body"));
    eventually("nobody is held", || queue(&gateway)["state"] == "OPEN");
    let queue = queue(&gateway);
    assert_eq!(
        (&queue["held"], &queue["released"], &queue["waiting"]),
        (&CALLS.into(), &CALLS.into(), &0.into()),
        "{queue}"
    );
    for (series, value) in [
        ("tidegate_upstream_queue_calls_total{upstream=\"u\",outcome=\"released\"}", 12.0),
        ("tidegate_upstream_queue_state{upstream=\"u\",state=\"OPEN\"}", 1.0),
        ("tidegate_upstream_queue_waiting{upstream=\"u\"}", 0.0),
    ] {
        assert_eq!(gateway.metric(series), Some(value), "{series}");
    }
    let record = gateway.record("one that was held", |record| record["path"] == "/0");
    assert!(record["held_ms"].as_f64().is_some_and(|held| held > 50.0), "{record}");
    valve.allow(1);
    assert_eq!(gateway.get("/after").status, 200);
}

#[test]
fn clients_that_come_and_leave_cost_a_cold_upstream_nothing_each() {
    let gateway = cold(free_port(), "probeInterval: 30s");
    for number in 0..20 {
        let client = send(&gateway, &format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
        waiting(&gateway, number + 1);
        drop(client);
        eventually("nobody is held", || queue(&gateway)["state"] == "OPEN");
    }
    let said = gateway.stderr().matches("calls are held").count();
    assert_eq!(said, 1, "one line, and one who asks from time to time: {}", gateway.stderr());
}

#[test]
fn those_who_find_no_room_and_those_who_wait_in_vain_are_told_when_to_come_again() {
    let gateway = cold(free_port(), "maxWaiting: 2, maxWait: 700ms, retryAfter: 9s, probeInterval: 50ms");
    let began = Instant::now();
    let mut held: Vec<Client> =
        (0..2).map(|number| send(&gateway, &format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"))).collect();
    waiting(&gateway, 2);
    let mut refused: Vec<Client> =
        (0..4).map(|_| send(&gateway, "GET /more HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    for client in held.iter_mut().chain(&mut refused) {
        let answer = client.read().expect("an answer");
        assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("upstream-starting")));
        assert_eq!(answer.header("retry-after"), Some("9"));
    }
    assert!(began.elapsed() >= Duration::from_millis(690), "{:?}", began.elapsed());
    let queue = queue(&gateway);
    // The first may be trying, so that there is room for one more at times.
    assert!(queue["full"].as_u64() >= Some(3) && queue["timedOut"].as_u64() >= Some(2), "{queue}");
}

#[test]
fn somebody_is_told_once_when_calls_begin_to_wait() {
    let port = free_port();
    let hook = Upstream::scripted(|_| ok());
    let settings = format!(
        "activate: {{url: \"http://{}/wake?x=1\", authorization: 'Bearer wake-token-of-the-test'}}, probeInterval: 100ms",
        hook.address
    );
    let gateway = cold(port, &settings);
    assert!(hook.seen().is_empty());
    let mut clients: Vec<Client> =
        (0..5).map(|_| send(&gateway, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    eventually("it is called", || hook.seen().len() == 1);
    let seen = hook.seen().remove(0);
    assert_eq!((seen.line.as_str(), &*seen.body), ("POST /wake?x=1 HTTP/1.1", &br#"{"upstream":"u"}"#[..]));
    assert_eq!(seen.header("authorization"), Some("Bearer wake-token-of-the-test"));
    pause(400);
    let _upstream = Upstream::on(local(port), |_| ok());
    assert!(clients.iter_mut().all(|client| client.read().is_some_and(|answer| answer.status == 200)));
    assert_eq!(hook.seen().len(), 1);
    eventually("it is counted", || queue(&gateway)["activations"] == 1);
    assert!(!gateway.stderr().contains("wake-token"), "{}", gateway.stderr());
}

#[test]
fn an_address_that_fails_is_called_again_and_then_left_alone() {
    let hook = Upstream::scripted(|_| Some(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n".to_vec()));
    let settings = format!("activate: {{url: \"http://{}/\"}}, maxWait: 5s", hook.address);
    let gateway = cold(free_port(), &settings);
    let _client = send(&gateway, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it has failed", || queue(&gateway)["failedActivations"] == 1);
    assert_eq!(hook.seen().len(), 3);
}

#[test]
fn an_upstream_may_say_itself_that_it_starts() {
    let is_up = Arc::new(AtomicBool::new(false));
    let switch = is_up.clone();
    let upstream = Upstream::scripted(move |_| match switch.load(Ordering::Relaxed) {
        true => ok(),
        false => Some(b"HTTP/1.1 503 X\r\nx-starting: yes\r\ncontent-length: 4\r\n\r\nwait".to_vec()),
    });
    let gateway = gateway(&format!(
        "{}, requestQueue: {{starting: {{header: x-starting, value: 'yes'}}, probeInterval: 100ms}}",
        endpoints([&upstream])
    ));
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n";
    let answer = send(&gateway, &format!("{post}\r\nx")).read().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (503, "wait"), "it may have been done");
    let mut held = [
        send(&gateway, "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nput"),
        send(&gateway, &format!("{post}idempotency-key: k\r\n\r\nx")),
    ];
    waiting(&gateway, 2);
    is_up.store(true, Ordering::Relaxed);
    for client in &mut held {
        assert_eq!(client.read().map(|answer| answer.status), Some(200));
    }
    let bodies: Vec<Vec<u8>> = upstream.seen().into_iter().rev().take(2).map(|seen| seen.body).collect();
    assert!(bodies.contains(&b"put".to_vec()) && bodies.contains(&b"x".to_vec()));
}

#[test]
fn bodies_stay_with_their_clients_while_they_wait() {
    let port = free_port();
    let gateway = cold(port, "probeInterval: 100ms, maxWait: 20s");
    gateway.metrics();
    let before = gateway.rss();
    let length = 64 * 1024 * 1024;
    let address = gateway.address;
    let writer = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        let mut stream = client.stream().try_clone().expect("a socket");
        let _ = write!(stream, "POST /large HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        let chunk = vec![b'z'; 64 * 1024];
        for _ in 0..length / chunk.len() {
            stream.write_all(&chunk).expect("it goes out in the end");
        }
        client.read().map(|answer| answer.status)
    });
    waiting(&gateway, 1);
    pause(500);
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes more");
    let upstream = Upstream::on(local(port), |_| ok());
    assert_eq!(writer.join().expect("no panic"), Some(200));
    assert_eq!(upstream.seen()[0].body.len(), length);
}

#[test]
fn who_leaves_is_not_sent() {
    let port = free_port();
    let gateway = cold(port, "probeInterval: 100ms");
    let leaver = send(&gateway, "GET /leaves HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut stays = send(&gateway, "GET /stays HTTP/1.1\r\nhost: a\r\n\r\n");
    waiting(&gateway, 2);
    drop(leaver);
    eventually("its record", || gateway.records(1).iter().any(|record| record["status"] == 499));
    let upstream = Upstream::on(local(port), |_| ok());
    assert_eq!(stays.read().map(|answer| answer.status), Some(200));
    assert!(upstream.seen().iter().all(|seen: &Seen| seen.target() == "/stays"));
    eventually("nobody is held", || queue(&gateway)["state"] == "OPEN");
}

#[test]
fn one_dead_endpoint_of_several_holds_nobody() {
    let upstream = Upstream::scripted(|_| ok());
    let dead: Vec<String> = (0..3).map(|_| format!("{{address: \"127.0.0.1:{}\"}}", free_port())).collect();
    let gateway = gateway(&format!(
        "endpoints: [{}, {{address: \"{}\"}}], requestQueue: {{probeInterval: 2s}}, retry: {{maxAttempts: 2}}",
        dead.join(", "),
        upstream.address
    ));
    let began = Instant::now();
    for _ in 0..8 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert!(began.elapsed() < Duration::from_millis(1800), "{:?}", began.elapsed());
}

#[test]
fn a_name_without_addresses_holds_calls_until_it_has_one() {
    let server = NameServer::start();
    let port = free_port();
    server.addresses("up.test", 1, &[]);
    let text = format!(
        "runtime: {{dnsServers: [\"{}\"]}}\n{}",
        server.address,
        config(&format!(
            "discovery: {{dns: {{name: up.test, port: {port}, minRefresh: 1s}}}}, requestQueue: {{probeInterval: 100ms}}"
        ))
    );
    let gateway = Gateway::start(&text);
    let mut client = send(&gateway, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    waiting(&gateway, 1);
    let _upstream = Upstream::on(local(port), |_| ok());
    server.addresses("up.test", 1, &["127.0.0.1"]);
    assert_eq!(client.read().map(|answer| answer.status), Some(200));
}

#[test]
fn calls_wait_until_checks_say_that_an_endpoint_is_well() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let switch = is_ready.clone();
    let upstream = Upstream::scripted(move |seen| match seen.target() {
        "/ready" if !switch.load(Ordering::Relaxed) => {
            Some(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".to_vec())
        }
        _ => ok(),
    });
    let gateway = gateway(&format!(
        "{}, healthCheck: {{path: /ready, interval: 100ms, healthyThreshold: 1, unhealthyThreshold: 1}},
        requestQueue: {{probeInterval: 100ms}}",
        endpoints([&upstream])
    ));
    eventually("it is not well", || state(&gateway)["endpoints"][0]["healthy"] == false);
    let mut client = send(&gateway, "GET /call HTTP/1.1\r\nhost: a\r\n\r\n");
    waiting(&gateway, 1);
    pause(300);
    assert!(
        upstream.seen().iter().all(|seen| seen.target() == "/ready"),
        "no endpoint that is ill gets a call"
    );
    is_ready.store(true, Ordering::Relaxed);
    assert_eq!(client.read().map(|answer| answer.status), Some(200));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |settings: &str, words: &[&str]| {
        let text = format!(
            "listeners: [{{name: p, address: \"127.0.0.1:8080\"}}]\n{}",
            config(&format!("endpoints: [{{address: \"127.0.0.1:1\"}}], requestQueue: {settings}"))
        );
        crate::policies::refused(&text, words);
    };
    refused("{maxWait: 0s}", &["requestQueue.maxWait"]);
    refused("{maxWait: 1h}", &["ten minutes"]);
    refused("{probeInterval: 1ms}", &["50ms"]);
    refused("{activate: {url: 'ftp://host/'}}", &["activate.url"]);
    refused("{activate: {url: 'http://192.0.2.1/'}}", &["loopback"]);
    refused("{activate: {url: 'https://169.254.169.254/'}}", &["link-local"]);
}
