//! `idempotency`: requests that are sent again, in memory, in the data directory and in a real Redis.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    super::harness::{Answer, Gateway, Redis, Seen, Upstream, eventually, pause},
    CONSUMERS, refused, with_policies,
};

/// A gateway before this upstream, whose route has these policies.
fn before(upstream: &Upstream, policies: &str, rest: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policies}], backends: [{{upstream: u}}]}}]
{rest}",
        upstream.address
    ))
}

/// Answers each request with a number of its own, after as long as it asks for.
fn numbering() -> (Upstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let upstream = Upstream::scripted(move |seen: &Seen| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(millis) = seen.header("x-wait").and_then(|text| text.parse().ok()) {
            pause(millis);
        }
        let body = format!("order {number}");
        Some(
            format!(
                "HTTP/1.1 201 Created\r\nlocation: /orders/{number}\r\nset-cookie: a={number}\r\nset-cookie: b=2\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    });
    (upstream, count)
}

fn post(gateway: &Gateway, target: &str, headers: &str, body: &str) -> Answer {
    let head = format!("POST {target} HTTP/1.1\nhost: a.test\ncontent-length: {}{headers}", body.len());
    gateway.send(&head, body.as_bytes())
}

fn counted(gateway: &Gateway, outcome: &str) -> Option<f64> {
    gateway.metric(&format!(
        "tidegate_idempotency_requests_total{{policy=\"routes/r/idempotency\",outcome=\"{outcome}\"}}"
    ))
}

/// What holds in every store.
fn replays(gateway: &Gateway, other: &Gateway, count: &AtomicUsize) {
    let key = "\nidempotency-key: \"k1\"";
    let first = post(gateway, "/orders", key, "a=1");
    assert_eq!((first.status, first.text().as_str()), (201, "order 1"));
    assert_eq!(first.header("idempotency-replayed"), None);
    for gateway in [gateway, other] {
        let again = post(gateway, "/orders", key, "a=1");
        assert_eq!((again.status, again.text().as_str()), (201, "order 1"), "{}", gateway.stderr());
        assert_eq!(again.header("location"), Some("/orders/1"));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let cookies = again.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        assert_eq!(cookies.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a=1", "b=2"]);
        for (target, body) in [("/orders", "a=2"), ("/orders?x", "a=1"), ("/others", "a=1")] {
            let mismatch = post(gateway, target, key, body);
            assert_eq!(mismatch.status, 422, "{target} {body}");
            assert_eq!(mismatch.problem().as_deref(), Some("idempotency-mismatch"));
        }
        let head = "PATCH /orders HTTP/1.1\nhost: a.test\ncontent-length: 3\nidempotency-key: k1";
        assert_eq!(gateway.send(head, b"a=1").status, 422);
    }
    assert_eq!(count.load(Ordering::SeqCst), 1, "the upstream was asked once");
    assert_eq!(post(other, "/orders", "\nidempotency-key: k2", "a=1").text(), "order 2");
    assert_eq!(post(gateway, "/orders", "", "a=1").text(), "order 3", "without a key each is its own");
    assert_eq!(post(gateway, "/orders", "", "a=1").text(), "order 4");
    let head = "PUT /orders HTTP/1.1\nhost: a.test\ncontent-length: 3\nidempotency-key: k1";
    assert_eq!(gateway.send(head, b"a=1").text(), "order 5", "another method is not meant");
    // Of many that come at once, one goes on.
    let statuses: Vec<(u16, String)> = std::thread::scope(|scope| {
        let begun: Vec<_> = (0..6)
            .map(|number| {
                let gateway = [gateway, other][number % 2];
                scope.spawn(move || {
                    let answer = post(gateway, "/orders", "\nidempotency-key: k3\nx-wait: 600", "a=1");
                    if answer.status == 409 {
                        assert_eq!(answer.header("retry-after"), Some("1"));
                        assert_eq!(answer.problem().as_deref(), Some("idempotency-conflict"));
                    }
                    (answer.status, answer.text())
                })
            })
            .collect();
        begun.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    let passed: Vec<_> = statuses.iter().filter(|(status, _)| *status == 201).collect();
    assert_eq!(passed, [&(201, "order 6".to_owned())], "{statuses:?}");
    assert_eq!(post(other, "/orders", "\nidempotency-key: k3\nx-wait: 600", "a=1").text(), "order 6");
}

#[test]
fn in_memory_the_first_wins_and_the_others_get_its_answer() {
    let (upstream, count) = numbering();
    let gateway = before(&upstream, "{idempotency: {}}", "");
    replays(&gateway, &gateway, &count);
    assert_eq!((counted(&gateway, "first"), counted(&gateway, "kept")), (Some(3.0), Some(3.0)));
    assert_eq!((counted(&gateway, "replayed"), counted(&gateway, "mismatch")), (Some(3.0), Some(8.0)));
    assert_eq!(counted(&gateway, "in_flight"), Some(5.0));
    let record = gateway.record("one that was answered from the store", |record| {
        record["stopped_by"] == "idempotency" && record["status"] == 201
    });
    assert!(record["upstream"].is_null(), "{record}");
    let record =
        gateway.record("a first one", |record| record["status"] == 201 && record["stopped_by"].is_null());
    assert_eq!(record["upstream"], "u", "{record}");
}

#[test]
fn in_the_data_directory_answers_outlive_the_process_and_a_killed_one_leaves_its_lease() {
    let (upstream, count) = numbering();
    let mut gateway = before(&upstream, "{idempotency: {store: sqlite, lease: 3s}}", "");
    replays(&gateway, &gateway, &count);
    gateway.restart("KILL");
    let again = post(&gateway, "/orders", "\nidempotency-key: k1", "a=1");
    assert_eq!((again.text().as_str(), again.header("idempotency-replayed")), ("order 1", Some("true")));
    assert_eq!(post(&gateway, "/orders", "\nidempotency-key: k1", "a=2").status, 422);
    // One that is on its way when the process is killed: nobody knows what became of it, until its lease is over.
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    let request =
        "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\nidempotency-key: k9\r\nx-wait: 5000\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    eventually("it is on its way", || count.load(Ordering::SeqCst) == 7);
    gateway.restart("KILL");
    assert_eq!(post(&gateway, "/", "\nidempotency-key: k9", "").status, 409);
    eventually("its lease is over", || post(&gateway, "/", "\nidempotency-key: k9", "").status == 201);
    assert_eq!(count.load(Ordering::SeqCst), 8);
}

#[test]
fn in_redis_all_gateways_have_one_first_and_when_it_hangs_the_choice_holds() {
    let redis = Redis::start();
    let (upstream, count) = numbering();
    let rest = format!("redis: {{addresses: [\"127.0.0.1:{}\"], timeout: 100ms}}\n", redis.port);
    let gateway = |more: &str| {
        let gateway = before(&upstream, &format!("{{idempotency: {{store: redis{more}}}}}"), &rest);
        eventually("a connection to redis", || gateway.metric("tidegate_redis_up ") == Some(1.0));
        gateway
    };
    let [one, two, open] = ["", "", ", whenAway: open"].map(gateway);
    replays(&one, &two, &count);
    redis.signal("STOP");
    let began = std::time::Instant::now();
    let closed = post(&one, "/orders", "\nidempotency-key: k8", "a=1");
    assert_eq!((closed.status, closed.header("retry-after")), (503, Some("1")));
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
    assert_eq!(post(&open, "/orders", "\nidempotency-key: k8", "a=1").status, 201);
    assert_eq!(post(&one, "/orders", "", "a=1").status, 201, "without a key nobody asks the store");
    assert_eq!(counted(&one, "away"), Some(1.0));
    redis.signal("CONT");
}

#[test]
fn a_key_that_redis_gives_too_late_is_free_again() {
    let redis = Redis::start();
    let (upstream, _count) = numbering();
    let gateway = |timeout: &str| {
        let rest = format!("redis: {{addresses: [\"127.0.0.1:{}\"], timeout: {timeout}}}\n", redis.port);
        let gateway = before(&upstream, "{idempotency: {store: redis}}", &rest);
        eventually("a connection to redis", || gateway.metric("tidegate_redis_up ") == Some(1.0));
        gateway
    };
    let [patient, hasty] = ["5s", "100ms"].map(gateway);
    assert_eq!(post(&patient, "/", "\nidempotency-key: known-script", "").status, 201);
    redis.signal("STOP");
    let late = post(&hasty, "/", "\nidempotency-key: late", "");
    let mut stream = TcpStream::connect(patient.address).expect("a connection");
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\nidempotency-key: left\r\n\r\n")
        .expect("sent");
    pause(300);
    drop(stream);
    pause(300);
    redis.signal("CONT");
    assert_eq!(late.status, 503);
    // Long before the lease of two minutes is over.
    for (gateway, key) in [(&patient, "left"), (&hasty, "late")] {
        let again = || post(gateway, "/", &format!("\nidempotency-key: {key}"), "").status;
        eventually("the key is free", || again() == 201);
    }
}

#[test]
fn a_client_that_leaves_does_not_leave_its_request_half_done() {
    let (upstream, count) = numbering();
    let gateway = before(&upstream, "{idempotency: {}}", "");
    let request = "POST /pay HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\nidempotency-key: k\r\nx-wait: 500\r\n\r\na=1";
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.write_all(request.as_bytes()).expect("sent");
    eventually("it is on its way", || count.load(Ordering::SeqCst) == 1);
    drop(stream);
    eventually("its answer is kept", || counted(&gateway, "kept") == Some(1.0));
    let again = post(&gateway, "/pay", "\nidempotency-key: k", "a=1");
    assert_eq!((again.status, again.text().as_str()), (201, "order 1"));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(count.load(Ordering::SeqCst), 1, "it was done once");
    let record = gateway.record("the one that left", |record| record["status"] == 499);
    assert!(record["failure"]["reason"] == "client-left", "{record}");
}

#[test]
fn what_goes_on_for_a_client_that_has_left_takes_its_place() {
    let (upstream, count) = numbering();
    let gateway = before(&upstream, "{concurrencyLimit: {limit: 1}}, {idempotency: {}}", "");
    let request =
        "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\nidempotency-key: k\r\nx-wait: 3000\r\n\r\n";
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.write_all(request.as_bytes()).expect("sent");
    eventually("it is on its way", || count.load(Ordering::SeqCst) == 1);
    drop(stream);
    gateway.record("the one that left", |record| record["status"] == 499);
    assert_eq!(post(&gateway, "/", "", "").status, 429, "the upstream works for it still");
    eventually("its place is free", || post(&gateway, "/", "", "").status == 201);
    let again = post(&gateway, "/", "\nidempotency-key: k", "");
    assert_eq!((again.text().as_str(), again.header("idempotency-replayed")), ("order 1", Some("true")));
}

#[test]
fn a_client_that_reads_slowly_does_not_hold_its_key_beyond_its_lease() {
    // More than the systems on both sides take without anybody reading it.
    const BYTES: usize = 24 * 1024 * 1024;
    let count = Arc::new(AtomicUsize::new(0));
    let counted_there = count.clone();
    let upstream = Upstream::scripted(move |_| {
        counted_there.fetch_add(1, Ordering::SeqCst);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
        Some([head.as_bytes(), vec![b'x'; BYTES].as_slice()].concat())
    });
    let gateway = before(&upstream, "{idempotency: {maxAnswerSize: 32MiB, lease: 1s}}", "");
    let mut slow = TcpStream::connect(gateway.address).expect("a connection");
    let request = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\nidempotency-key: k\r\n\r\na=1";
    slow.write_all(request.as_bytes()).expect("sent");
    eventually("its answer is kept", || counted(&gateway, "kept") == Some(1.0));
    pause(1_100);
    let again = post(&gateway, "/", "\nidempotency-key: k", "a=1");
    assert_eq!((again.status, again.body.len()), (200, BYTES));
    assert_eq!(count.load(Ordering::SeqCst), 1, "it was done once");
    // The first gets all of it, too.
    let (mut heard, mut bytes) = (0, vec![0; 1 << 20]);
    while heard < BYTES {
        let length = slow.read(&mut bytes).expect("more of it");
        assert!(length > 0, "after {heard}");
        heard += length;
    }
}

#[test]
fn an_answer_that_stands_still_is_not_waited_for_when_its_client_has_left() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counted_there = closed.clone();
    let upstream = Upstream::raw(move |mut reader, _| {
        if super::super::harness::read_request(&mut reader).is_none() {
            return;
        }
        let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        let _ = reader.get_mut().write_all(begin.as_bytes());
        // Says no more, until the connection ends.
        let _ = reader.read(&mut [0; 1]);
        counted_there.fetch_add(1, Ordering::SeqCst);
    });
    // One that is copied is waited for as long as the lease, and one that is too large for that not at all.
    let leases =
        [("{idempotency: {lease: 1s}}", "copied"), ("{idempotency: {maxAnswerSize: 3B}}", "too large")];
    for (number, (policy, what)) in leases.into_iter().enumerate() {
        let gateway = before(&upstream, policy, "");
        let mut stream = TcpStream::connect(gateway.address).expect("a connection");
        let request = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\nidempotency-key: k\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut heard = Vec::new();
        while !heard.ends_with(b"hello\r\n") {
            let mut bytes = [0; 1024];
            let length = stream.read(&mut bytes).expect("more of it");
            assert!(length > 0, "{what}: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&bytes[..length]);
        }
        assert_eq!(closed.load(Ordering::SeqCst), number, "{what}");
        drop(stream);
        eventually("the upstream is let go", || closed.load(Ordering::SeqCst) == number + 1);
    }
}

/// An upstream that does what the target says.
fn obeying() -> (Upstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let upstream = Upstream::scripted(move |seen: &Seen| {
        counted.fetch_add(1, Ordering::SeqCst);
        let text = match seen.target() {
            "/error" => "HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\nno".to_owned(),
            "/busy" => "HTTP/1.1 429 X\r\ncontent-length: 2\r\nretry-after: 1\r\n\r\nno".to_owned(),
            "/wrong" => "HTTP/1.1 400 X\r\ncontent-length: 5\r\n\r\nwrong".to_owned(),
            "/large" => format!("HTTP/1.1 200 X\r\ncontent-length: 5000\r\n\r\n{}", "x".repeat(5000)),
            "/stream" => {
                let chunk = format!("3e8\r\n{}\r\n", "y".repeat(1000));
                format!("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(5))
            }
            "/small" => {
                "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nsmall\r\n0\r\n\r\n".to_owned()
            }
            "/empty" => "HTTP/1.1 204 X\r\n\r\n".to_owned(),
            _ => return None,
        };
        Some(text.into_bytes())
    });
    (upstream, count)
}

#[test]
fn what_is_not_final_is_not_kept_and_what_is_too_large_passes_and_is_told() {
    let (upstream, count) = obeying();
    let gateway =
        before(&upstream, "{idempotency: {maxAnswerSize: 2KB, maxBodySize: 1KB, required: true}}", "");
    let asked = |path: &str| {
        let before = count.load(Ordering::SeqCst);
        let answers = [(); 2].map(|()| post(&gateway, path, &format!("\nidempotency-key: k{path}"), "a=1"));
        (answers, count.load(Ordering::SeqCst) - before)
    };
    // One that breaks off without an answer may be tried again for each request, for it has a key.
    for (path, status) in [("/error", 500), ("/busy", 429), ("/broken", 502)] {
        let (answers, times) = asked(path);
        assert_eq!((answers[0].status, answers[1].status), (status, status), "{path}");
        assert!(if path == "/broken" { times >= 2 } else { times == 2 }, "{path}: {times}");
    }
    for (path, status, text) in [("/wrong", 400, "wrong"), ("/small", 200, "small"), ("/empty", 204, "")] {
        let (answers, times) = asked(path);
        assert_eq!((answers[1].status, answers[1].text().as_str(), times), (status, text, 1), "{path}");
        assert_eq!(answers[1].header("idempotency-replayed"), Some("true"), "{path}");
    }
    for (path, told) in [("/large", Some("not-kept")), ("/stream", None)] {
        let (answers, times) = asked(path);
        assert_eq!((answers[0].status, answers[0].body.len(), times), (200, 5000, 1), "{path}");
        assert_eq!(answers[0].header("x-tidegate-idempotency"), told, "{path}");
        assert_eq!(answers[1].status, 409, "{path}");
        assert!(answers[1].text().contains("not of a kind that is kept"), "{}", answers[1].text());
    }
    assert_eq!((counted(&gateway, "too_large"), counted(&gateway, "unkept")), (Some(2.0), Some(6.0)));
    assert_eq!(post(&gateway, "/small", "\nidempotency-key: z", &"x".repeat(1100)).status, 413);
    let refused = post(&gateway, "/small", "", "a=1");
    assert_eq!((refused.status, refused.problem().as_deref()), (400, Some("invalid")));
    assert!(refused.text().contains("idempotency-key"), "{}", refused.text());
    for keys in [
        "\nidempotency-key: a\nidempotency-key: b".to_owned(),
        format!("\nidempotency-key: {}", "x".repeat(256)),
    ] {
        assert_eq!(post(&gateway, "/small", &keys, "a=1").status, 400);
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_kept() {
    let times = Arc::new(AtomicUsize::new(0));
    let counted_times = times.clone();
    let upstream = Upstream::raw(move |mut reader, _| {
        while super::super::harness::read_request(&mut reader).is_some() {
            let is_first = counted_times.fetch_add(1, Ordering::SeqCst) == 0;
            let text = if is_first {
                "HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhalf"
            } else {
                "HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\nwhole"
            };
            let _ = reader.get_mut().write_all(text.as_bytes());
            if is_first {
                return;
            }
        }
    });
    let gateway = before(&upstream, "{idempotency: {}}", "");
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    let request = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\nidempotency-key: k\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    assert!(String::from_utf8_lossy(&heard).ends_with("half"), "it never looks whole");
    for _ in 0..2 {
        assert_eq!(post(&gateway, "/", "\nidempotency-key: k", "").text(), "whole");
    }
    assert_eq!(times.load(Ordering::SeqCst), 2);
}

#[test]
fn nobody_gets_anothers_answer() {
    let (upstream, count) = numbering();
    let gateway = before(&upstream, "{keyAuth: {}}, {idempotency: {}}", CONSUMERS);
    let (gold, web) = ("gold-key-of-the-test", "web-key-of-the-test");
    let ask =
        |who: &str| post(&gateway, "/", &format!("\nidempotency-key: k\nx-api-key: {who}"), "a=1").text();
    assert_eq!([ask(gold), ask(web), ask(gold), ask(web)], ["order 1", "order 2", "order 1", "order 2"]);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (settings, words) in [
        ("{store: redis}", "there is no `redis`"),
        ("{whenAway: local}", "cannot be known here alone"),
        ("{ttl: 0s}", "more than nothing"),
        ("{methods: [post]}", "upper-case"),
    ] {
        refused(&with_policies(&format!("[{{idempotency: {settings}}}]")), &[words, "tidegate.yaml:6:"]);
    }
}

#[test]
fn what_a_consumer_of_the_upstreams_own_has_masked_is_masked_the_first_time_and_again() {
    let upstream = Upstream::scripted(|_| {
        let body = r#"{"email":"ann@example.com"}"#;
        let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
        Some(format!("HTTP/1.1 201 Created\r\n{head}\r\n\r\n{body}").into_bytes())
    });
    let gateway = Gateway::start(&format!(
        "consumers: [{{name: gold, keys: [gold-key-of-the-test], policies: [{{mask: {{fields: [email]}}}}]}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], policies: [{{keyAuth: {{}}}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{idempotency: {{}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    for replayed in [None, Some("true")] {
        let headers = "\nidempotency-key: \"k1\"\nx-api-key: gold-key-of-the-test";
        let answer = post(&gateway, "/orders", headers, "a=1");
        assert_eq!((answer.status, answer.text().as_str()), (201, r#"{"email":"[masked]"}"#));
        assert_eq!(answer.header("idempotency-replayed"), replayed);
    }
    assert_eq!(upstream.seen().len(), 1);
}
