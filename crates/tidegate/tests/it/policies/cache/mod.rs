//! `cache`: what is given again, to whom and for how long, and what never is.

mod address;
mod content;
mod disk;
mod operators;
mod shared;
mod streamed;
mod suite;
mod together;
mod who;

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually, pause},
    CONSUMERS, ask,
};

/// A gateway with a cache before an upstream, and a log of calls.
fn cached(upstream: &Upstream, settings: &str) -> Gateway {
    behind(upstream, &format!("[{{cache: {settings}}}]"), "")
}

/// The same with all policies of the route and further resources.
fn behind(upstream: &Upstream, policies: &str, rest: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {policies}, backends: [{{upstream: u}}]}}]
{rest}",
        upstream.address
    ))
}

/// An answer of these header lines, `\n` between, and this body.
fn answer(fields: &str, body: &str) -> Option<Vec<u8>> {
    let fields = fields.replace('\n', "\r\n");
    Some(format!("HTTP/1.1 200 OK\r\n{fields}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

/// An upstream that counts: each of its answers has the number of the request in its body.
fn counting(fields: &'static str) -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::scripted(move |_| {
        let count = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        answer(fields, &format!("answer {count}"))
    })
}

/// What `Cache-Status` says of an answer.
fn status(answer: &Answer) -> &str {
    answer.header("cache-status").unwrap_or_default()
}

#[test]
fn fresh_answers_are_given_again_with_their_age_and_head_asks_for_the_same() {
    let upstream = counting("cache-control: max-age=60\netag: \"1\"\nx-kept: yes");
    let gateway = cached(&upstream, "{}");
    let first = ask(&gateway, "/a", "");
    assert_eq!(
        (status(&first), first.text().as_str()),
        ("tidegate; fwd=uri-miss; ttl=60; stored", "answer 1")
    );
    pause(1_100);
    let again = ask(&gateway, "/a", "");
    assert_eq!((again.text().as_str(), again.header("x-kept")), ("answer 1", Some("yes")));
    assert!(matches!(again.header("age"), Some("1" | "2")), "{:?}", again.headers);
    assert!(status(&again).starts_with("tidegate; hit; ttl=5"), "{}", status(&again));
    assert_eq!(again.header("date"), first.header("date"));
    let mut client = Client::connect(gateway.address);
    client.write("HEAD /a HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let head = client.read_head().expect("an answer");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("8"), 0));
    assert_eq!(client.get("/b").expect("an answer").text(), "answer 2", "the connection goes on");
    let known = ask(&gateway, "/a", "\nif-none-match: \"0\", W/\"1\"");
    assert_eq!((known.status, known.header("etag"), known.body.len()), (304, Some("\"1\""), 0));
    assert_eq!(upstream.seen().len(), 2);
    let records = gateway.records(5);
    let mut told: Vec<&str> = records.iter().filter_map(|record| record["cache"].as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["hit", "hit", "hit", "miss", "miss"]);
}

#[test]
fn a_stale_answer_is_asked_about_and_a_304_does_not_change_what_describes_it() {
    let upstream = Upstream::scripted(|seen| {
        match seen.header("if-none-match") {
        Some("\"1\"") => Some(
            b"HTTP/1.1 304 X\r\ncache-control: max-age=60\r\nx-new: yes\r\ncontent-length: 3\r\ncontent-encoding: br\r\n\r\n".to_vec(),
        ),
        _ => answer("cache-control: max-age=1\netag: \"1\"\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT", "the whole"),
    }
    });
    let gateway = cached(&upstream, "{}");
    ask(&gateway, "/a", "");
    pause(1_200);
    let again = ask(&gateway, "/a", "");
    assert_eq!((again.status, again.text().as_str(), again.header("x-new")), (200, "the whole", Some("yes")));
    assert_eq!((again.header("content-length"), again.header("content-encoding")), (Some("9"), None));
    assert!(status(&again).starts_with("tidegate; fwd=stale; fwd-status=304; ttl="), "{}", status(&again));
    assert!(status(&ask(&gateway, "/a", "")).contains("hit"));
    let asked = upstream.seen().pop().expect("a request");
    assert_eq!(asked.header("if-modified-since"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn one_callers_answers_never_reach_another() {
    // It answers with whom it was asked for.
    let upstream = Upstream::scripted(|seen| {
        let control = if seen.target() == "/public" { "public, max-age=60" } else { "max-age=60" };
        answer(&format!("cache-control: {control}"), seen.header("x-consumer").unwrap_or("nobody"))
    });
    let policies = |cache: &str| {
        format!(
            "[{{keyAuth: {{}}}}, {{headers: {{request: {{set: {{x-consumer: '{{{{ consumer.name }}}}'}}}}}}}}, {{cache: {cache}}}]"
        )
    };
    let as_gold = "\nx-api-key: gold-key-of-the-test";
    let as_web = "\nx-api-key: web-key-of-the-test";
    let gateway = behind(&upstream, &policies("{}"), CONSUMERS);
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "/own", as_gold).text(), "gold");
        assert_eq!(ask(&gateway, "/own", as_web).text(), "web");
    }
    assert_eq!(upstream.seen().len(), 4, "nothing of it was kept");
    assert_eq!(ask(&gateway, "/public", as_gold).text(), "gold");
    assert_eq!(ask(&gateway, "/public", as_web).text(), "gold", "the upstream says that it is for all");
    assert_eq!(ask(&gateway, "/public", "").status, 401);
    let gateway = behind(&upstream, &policies("{key: {consumer: true}}"), CONSUMERS);
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "/own", as_gold).text(), "gold");
        assert_eq!(ask(&gateway, "/own", as_web).text(), "web");
    }
    assert_eq!(upstream.seen().len(), 7, "each has answers of its own");
}

#[test]
fn requests_say_what_they_take() {
    let upstream = counting("cache-control: max-age=60");
    let gateway = cached(&upstream, "{}");
    let missing = ask(&gateway, "/a", "\ncache-control: only-if-cached");
    assert_eq!((missing.status, missing.problem().as_deref()), (504, Some("not-cached")));
    assert_eq!(ask(&gateway, "/a", "").text(), "answer 1");
    assert_eq!(ask(&gateway, "/a", "\ncache-control: only-if-cached").text(), "answer 1");
    assert_eq!(ask(&gateway, "/a", "\ncache-control: min-fresh=3600").text(), "answer 2");
    let fresh = ask(&gateway, "/a", "\ncache-control: no-cache");
    assert_eq!(
        (fresh.text().as_str(), status(&fresh)),
        ("answer 3", "tidegate; fwd=request; fwd-status=200; ttl=60; stored")
    );
    assert_eq!(ask(&gateway, "/a", "\npragma: no-cache").text(), "answer 4");
    assert_eq!(ask(&gateway, "/b", "\ncache-control: no-store").text(), "answer 5");
    assert_eq!(ask(&gateway, "/b", "").text(), "answer 6", "it was not kept");
    let deaf = cached(&upstream, "{requestDirectives: false}");
    assert_eq!(ask(&deaf, "/a", "").text(), "answer 7");
    assert_eq!(ask(&deaf, "/a", "\ncache-control: no-cache").text(), "answer 7");
}

#[test]
fn an_unsafe_request_makes_answers_void_and_other_methods_pass() {
    let upstream = counting("cache-control: max-age=60\ncontent-location: /named");
    let gateway = cached(&upstream, "{}");
    let get = |path: &str| ask(&gateway, path, "").text();
    assert_eq!(
        (get("/a"), get("/named"), get("/c")),
        ("answer 1".into(), "answer 2".into(), "answer 3".into())
    );
    let sent = gateway.send("POST /a HTTP/1.1\nhost: a.test\ncontent-length: 0", b"");
    assert_eq!((sent.text().as_str(), status(&sent)), ("answer 4", "tidegate; fwd=method"));
    assert_eq!(
        (get("/a"), get("/named"), get("/c")),
        ("answer 5".into(), "answer 6".into(), "answer 3".into())
    );
    for method in ["OPTIONS", "REPORT", "PROPFIND", "M-SEARCH"] {
        let before = upstream.seen().len();
        gateway.send(&format!("{method} /d HTTP/1.1\nhost: a.test\ncontent-length: 0"), b"");
        assert_eq!(upstream.seen().len(), before + 1);
        assert!(upstream.seen()[before].line.starts_with(method));
    }
}

#[test]
fn targeted_fields_and_settings_decide_how_long() {
    for (settings, fields, want) in [
        ("{}", "cdn-cache-control: max-age=60\ncache-control: no-store", true),
        ("{targets: []}", "cdn-cache-control: max-age=60\ncache-control: no-store", false),
        ("{targets: [edge-control]}", "edge-control: max-age=60", true),
        ("{}", "x-nothing: said", false),
        ("{defaultTtl: 1m}", "x-nothing: said", true),
        ("{}", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT", false),
        ("{heuristic: {}}", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT", true),
        ("{}", "cache-control: max-age=60\nset-cookie: session=1", false),
        ("{setCookie: strip}", "cache-control: max-age=60\nset-cookie: session=1", true),
        ("{maxBodySize: 5B}", "cache-control: max-age=60", false),
    ] {
        let upstream = counting(fields);
        let gateway = cached(&upstream, settings);
        let first = ask(&gateway, "/a", "");
        let again = ask(&gateway, "/a", "");
        assert_eq!(status(&again).contains("hit"), want, "{settings} {fields}: {}", status(&again));
        assert_eq!(first.header("set-cookie").is_some(), fields.contains("set-cookie"));
        assert!(!want || again.header("set-cookie").is_none());
    }
}

#[test]
fn a_time_without_a_unit_is_told_how_to_write_it() {
    super::refused(&super::with_policies("[{cache: {defaultTtl: 60}}]"), &["a duration", "write `60s`"]);
}
