//! `mirror`: copies beside the answers, and how they differ, with real upstreams on both sides.

use std::time::{Duration, Instant};

use super::{
    super::harness::{Answer, Client, Gateway, Seen, Upstream, eventually, pause},
    refused, with_policies,
};

fn before(own: &Upstream, other: &Upstream, settings: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: own, endpoints: [{{address: \"{}\"}}]}}, {{name: other, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{mirror: {{upstream: other{settings}}}}}], backends: [{{upstream: own}}]}}]\n",
        own.address, other.address
    ))
}

fn answering(body: &'static str, status: u16, kind: &'static str) -> Upstream {
    Upstream::scripted(move |_: &Seen| {
        Some(
            format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    })
}

fn post(gateway: &Gateway, target: &str, body: &str) -> Answer {
    let head = format!("POST {target} HTTP/1.1\nhost: a.test\nx-a: 1\ncontent-length: {}", body.len());
    gateway.send(&head, body.as_bytes())
}

fn copies(gateway: &Gateway, outcome: &str) -> Option<f64> {
    gateway.metric(&format!("tidegate_mirror_copies_total{{mirror=\"routes/r\",outcome=\"{outcome}\"}}"))
}

fn left_out(gateway: &Gateway, reason: &str) -> Option<f64> {
    gateway.metric(&format!("tidegate_mirror_left_out_total{{mirror=\"routes/r\",reason=\"{reason}\"}}"))
}

#[test]
fn clients_that_send_slowly_have_none_of_the_places() {
    let (own, other) = (answering("own", 200, "text/plain"), answering("own", 200, "text/plain"));
    let gateway = before(&own, &other, ", maxConcurrent: 2, maxBodySize: 100B, diff: {}");
    let slow = || {
        let mut client = Client::connect(gateway.address);
        client.write("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab");
        client
    };
    let mut clients: Vec<Client> = (0..6).map(|_| slow()).collect();
    // They are at their upstream by now, and their copies wait for the rest.
    pause(300);
    for turn in 0..4 {
        assert_eq!(post(&gateway, "/quick", "body").text(), "own");
        eventually("each quick one is copied", || other.seen().len() == turn + 1);
        eventually("and compared", || copies(&gateway, "same") == Some(turn as f64 + 1.0));
    }
    assert_eq!(copies(&gateway, "left_out"), Some(0.0));
    // One that leaves is nobody's request; what comes whole is copied when it does.
    drop(clients.pop());
    eventually("it is left out, and said why", || left_out(&gateway, "broken") == Some(1.0));
    for (number, client) in clients.iter_mut().enumerate() {
        client.write("cde");
        assert_eq!(client.read().expect("an answer").text(), "own");
        eventually("it is copied", || other.seen().len() == 5 + number);
    }
    assert!(other.seen().iter().skip(4).all(|seen| seen.body == b"abcde"));
    assert_eq!(post(&gateway, "/", &"x".repeat(101)).text(), "own");
    eventually("what is too large is told as that", || left_out(&gateway, "too-large") == Some(1.0));
    let told = gateway.admin_get("/api/v1/mirrors").json()["mirrors"][0].clone();
    assert_eq!((&told["leftOut"], &told["leftOutBy"]["broken"]), (&2.into(), &1.into()), "{told}");
}

#[test]
fn what_there_is_no_memory_for_is_left_out_and_told_as_that() {
    let (own, other) = (answering("own", 200, "text/plain"), answering("own", 200, "text/plain"));
    // Room for three bodies of 1 MiB, one head, and 8 MiB for the heads of others.
    let gateway = before(&own, &other, ", maxConcurrent: 1, maxBodySize: 1MiB");
    let most = 1 << 20;
    let mut slow: Vec<Client> = (0..12)
        .map(|_| {
            let mut client = Client::connect(gateway.address);
            client.write(format!("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: {most}\r\n\r\n"));
            client.write("x".repeat(most - 2));
            client
        })
        .collect();
    eventually("one has found no room", || left_out(&gateway, "memory") >= Some(1.0));
    let whole = other.seen().len();
    for client in &mut slow {
        client.write("yz");
        assert_eq!(client.read().expect("an answer").text(), "own");
        pause(50);
    }
    eventually("others are copied", || other.seen().len() >= whole + 8);
    assert!(other.seen().iter().all(|seen| seen.body.len() == most && seen.body.ends_with(b"xyz")));
    assert!(other.seen().len() < 12, "{}", other.seen().len());
}

#[test]
fn copies_are_the_request_and_never_touch_the_clients_answer() {
    let (own, other) = (answering("own", 200, "text/plain"), answering("other", 500, "text/plain"));
    let gateway = before(&own, &other, "");
    let answer = post(&gateway, "/a?b=c", "body");
    assert_eq!((answer.status, answer.text().as_str()), (200, "own"));
    let chunked = "POST /chunked HTTP/1.1\nhost: a.test\ntransfer-encoding: chunked";
    assert_eq!(gateway.send(chunked, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").text(), "own");
    eventually("two copies", || other.seen().len() == 2);
    let seen = other.seen().into_iter().find(|seen| seen.target() == "/a?b=c").expect("the first");
    assert_eq!(
        (&*seen.body, seen.header("x-a"), seen.header("x-tidegate-mirror")),
        (&b"body"[..], Some("1"), Some("true"))
    );
    assert!(own.seen().iter().all(|seen| seen.header("x-tidegate-mirror").is_none()));
    assert!(other.seen().iter().any(|seen| seen.body == b"abcde"));
    assert_eq!(gateway.metric("tidegate_mirror_sent_total{mirror=\"routes/r\"}"), Some(2.0));
    pause(200);
    assert_eq!(gateway.records(2).len(), 2, "what is not compared has no record");
}

#[test]
fn a_mirror_that_hangs_costs_clients_nothing_and_no_more_than_its_places() {
    let own = answering("own", 200, "text/plain");
    let hangs = Upstream::raw(|mut reader, seen| {
        while let Some(request) = super::super::harness::read_request(&mut reader) {
            seen.lock().expect("whole").push(request);
            pause(3000);
        }
    });
    let gateway = before(&own, &hangs, ", maxConcurrent: 3, timeout: 1s, diff: {}");
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(post(&gateway, "/", "body").text(), "own");
    }
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    eventually("seventeen are left out", || copies(&gateway, "left_out") == Some(17.0));
    assert_eq!(left_out(&gateway, "busy"), Some(17.0));
    eventually("three have failed", || copies(&gateway, "failed") == Some(3.0));
    assert_eq!(hangs.seen().len(), 3);
    assert_eq!(post(&gateway, "/", "body").text(), "own");
    eventually("there is a place again", || hangs.seen().len() == 4);
}

#[test]
fn some_are_copied_by_share_method_and_size() {
    let (own, other) = (answering("own", 200, "text/plain"), answering("own", 200, "text/plain"));
    let gateway = before(&own, &other, ", percent: 25, methods: [GET]");
    for _ in 0..400 {
        assert_eq!(gateway.get("/").status, 200);
        if own.seen().len() % 40 == 0 {
            assert_eq!(post(&gateway, "/post", "x").status, 200);
        }
    }
    pause(300);
    let seen = other.seen();
    assert!((60..=145).contains(&seen.len()), "{}", seen.len());
    assert!(seen.iter().all(|seen| seen.line.starts_with("GET ")));
    let gateway = before(&own, &other, ", maxBodySize: 100B");
    let count = other.seen().len();
    assert_eq!(post(&gateway, "/", &"x".repeat(101)).text(), "own");
    assert_eq!(post(&gateway, "/small", &"x".repeat(100)).text(), "own");
    eventually("the small one", || other.seen().len() == count + 1);
    eventually("the large one is left out", || copies(&gateway, "left_out") == Some(1.0));
}

#[test]
fn what_differs_is_counted_by_field_reported_and_recorded() {
    let own = answering(
        r#"{"id":"1","total":3,"items":[{"sku":"a","at":"now"},{"sku":"b","at":"now"}]}"#,
        200,
        "application/json",
    );
    let other = answering(
        r#"{"total":4,"items":[{"at":"then","sku":"a"},{"at":"then","sku":"c"}],"id":"2"}"#,
        201,
        "application/json; charset=utf-8",
    );
    let settings = ", diff: {headers: [content-type], ignore: [id, \"items[].at\"]}";
    let gateway = before(&own, &other, settings);
    for _ in 0..3 {
        assert_eq!(gateway.get("/orders/7").status, 200);
    }
    eventually("three are compared", || copies(&gateway, "different") == Some(3.0));
    let report = gateway.admin_get("/api/v1/mirrors").json()["mirrors"][0].clone();
    assert_eq!(
        (&report["name"], &report["sent"], &report["different"]),
        (&"routes/r".into(), &3.into(), &3.into())
    );
    let fields = report["fields"].as_object().expect("fields");
    let names: Vec<_> = fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["header:content-type", "json:items[].sku", "json:total", "status"], "{report}");
    assert_eq!(report["fields"]["json:total"], serde_json::json!({"count": 3, "own": "3", "other": "4"}));
    assert_eq!(report["routes"]["r"]["fields"], report["fields"], "{report}");
    assert_eq!(report["routes"]["r"]["different"], 3);
    for (kind, count) in [("status", 3.0), ("header", 3.0), ("json", 6.0), ("body", 0.0)] {
        let series = format!("tidegate_mirror_differences_total{{mirror=\"routes/r\",kind=\"{kind}\"}}");
        assert_eq!(gateway.metric(&series), Some(count), "{kind}");
    }
    let record = gateway.record("a comparison", |record| record["mirror"].is_object());
    assert_eq!(
        (&record["route"], &record["upstream"], &record["status"]),
        (&"r".into(), &"other".into(), &201.into())
    );
    assert_eq!((&record["mirror"]["own_status"], &record["mirror"]["status"]), (&200.into(), &201.into()));
    let differences = record["mirror"]["differences"].as_array().expect("a list");
    assert_eq!(differences.len(), 4, "{record}");
    assert!(
        differences.iter().any(|one| one["field"] == "json:items[].sku"
            && one["own"] == "\"b\""
            && one["other"] == "\"c\"")
    );
    // What clients got is recorded as ever, and what is the same is told as such.
    let gateway = before(&own, &own, settings);
    assert_eq!(gateway.get("/").status, 200);
    eventually("it is compared", || copies(&gateway, "same") == Some(1.0));
    assert_eq!(gateway.records(1).len(), 1);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (settings, words) in [
        ("{}", "expected an `upstream`"),
        ("{upstream: nowhere}", "no upstream `nowhere`"),
        ("{upstream: u, methods: [get]}", "upper-case"),
        ("{upstream: u, diff: {ignore: [\"a..b\"]}}", "is no path"),
    ] {
        refused(&with_policies(&format!("[{{mirror: {settings}}}]")), &[words, "tidegate.yaml:6:"]);
    }
}

#[test]
fn a_mirror_of_all_routes_tells_them_apart() {
    let own = answering(r#"{"a":1}"#, 200, "application/json");
    let other = answering(r#"{"a":2}"#, 200, "application/json");
    let gateway = Gateway::start(&format!(
        "upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}]}}
  - {{name: other, endpoints: [{{address: \"{}\"}}]}}
globalPolicies: [{{mirror: {{upstream: other, diff: {{}}}}}}]
routes:
  - {{name: one, match: [{{path: {{prefix: /one}}}}], backends: [{{upstream: u}}]}}
  - {{name: two, match: [{{path: {{prefix: /two}}}}], backends: [{{upstream: u}}]}}\n",
        own.address, other.address
    ));
    for path in ["/one", "/two/a", "/two/b"] {
        assert_eq!(gateway.get(path).status, 200);
    }
    let report = || gateway.admin_get("/api/v1/mirrors").json()["mirrors"][0].clone();
    eventually("three are compared", || report()["different"] == 3);
    let report = report();
    for (route, count) in [("one", 1), ("two", 2)] {
        let told = &report["routes"][route];
        let want = serde_json::json!({"same": 0, "different": count, "fields": {"json:a": {"count": count, "own": "1", "other": "2"}}});
        assert_eq!(*told, want, "{report}");
    }
}
