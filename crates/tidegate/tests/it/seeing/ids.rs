//! Request ids and W3C trace context, in and out.

use std::collections::HashSet;

use crate::harness::{Gateway, Seen, Upstream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn start(upstream: &Upstream, trusted: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]\ntrustedProxies: [{trusted}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ))
}

/// Sends a request with these headers; the id in the answer, and what the upstream saw.
fn ask(gateway: &Gateway, upstream: &Upstream, headers: &str) -> (String, Seen) {
    let answer = gateway.send(&format!("GET / HTTP/1.1\nhost: a{headers}"), b"");
    assert_eq!(answer.status, 200);
    let id = answer.header("x-request-id").expect("an id").to_owned();
    (id, upstream.seen().pop().expect("a request"))
}

#[test]
fn a_request_id_of_a_trusted_peer_is_kept_everywhere() {
    let upstream = Upstream::echo();
    let gateway = start(&upstream, "127.0.0.0/8");
    let (id, seen) = ask(&gateway, &upstream, "\nx-request-id: from-the-edge-1");
    assert_eq!((&*id, seen.header("x-request-id")), ("from-the-edge-1", Some("from-the-edge-1")));
    assert_eq!(gateway.records(1)[0]["request_id"], "from-the-edge-1");
    for bad in [
        "\nx-request-id: has space",
        "\nx-request-id: a\nx-request-id: b",
        "\nx-request-id:",
        &format!("\nx-request-id: {}", "a".repeat(129)),
    ] {
        let (id, seen) = ask(&gateway, &upstream, bad);
        assert_eq!(id.len(), 32, "{bad:?} is none: {id}");
        assert_eq!(seen.header("x-request-id"), Some(&*id));
    }
}

#[test]
fn everyone_elses_request_id_is_replaced_by_a_new_one() {
    let upstream = Upstream::echo();
    let gateway = start(&upstream, "");
    let mut ids = HashSet::new();
    for _ in 0..50 {
        let (id, seen) = ask(&gateway, &upstream, "\nx-request-id: forged");
        assert_eq!(seen.header("x-request-id"), Some(&*id));
        assert_eq!(
            seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-request-id")).count(),
            1
        );
        assert!(ids.insert(id), "an id twice");
    }
    assert!(!ids.contains("forged"));
    let logged: HashSet<_> = gateway
        .records(50)
        .iter()
        .map(|line| line["request_id"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(logged, ids);
}

#[test]
fn a_callers_trace_goes_on_with_a_span_of_ours() {
    let upstream = Upstream::echo();
    let gateway = start(&upstream, "");
    let state = "\ntracestate: vendor=1\ntracestate: other=2";
    for flags in ["00", "01"] {
        let (_, seen) = ask(&gateway, &upstream, &format!("\ntraceparent: 00-{TRACE}-{SPAN}-{flags}{state}"));
        let sent = seen.header("traceparent").expect("a parent");
        let parts: Vec<_> = sent.split('-').collect();
        assert_eq!((parts.len(), parts[0], parts[1], parts[3]), (4, "00", TRACE, flags), "{sent}");
        assert!(parts[2] != SPAN && parts[2].len() == 16, "{sent}");
        let states: Vec<_> = seen
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("tracestate"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(states, ["vendor=1", "other=2"]);
    }
    for line in gateway.records(2) {
        assert_eq!(line["trace_id"], TRACE);
        assert_ne!(line["span_id"], SPAN);
    }
}

#[test]
fn what_is_no_trace_begins_a_new_one() {
    let upstream = Upstream::echo();
    let gateway = start(&upstream, "");
    let mut traces = HashSet::new();
    for bad in [
        String::new(),
        "\ntraceparent: nonsense".to_owned(),
        format!("\ntraceparent: ff-{TRACE}-{SPAN}-01"),
        format!("\ntraceparent: 00-{}-{SPAN}-01", "0".repeat(32)),
        format!("\ntraceparent: 00-{TRACE}-{SPAN}-01\ntraceparent: 00-{TRACE}-{SPAN}-01"),
    ] {
        let (_, seen) = ask(&gateway, &upstream, &format!("{bad}\ntracestate: vendor=1"));
        let sent = seen.header("traceparent").expect("a parent").to_owned();
        let parts: Vec<_> = sent.split('-').collect();
        assert!(parts[1] != TRACE && traces.insert(parts[1].to_owned()), "{bad:?}: {sent}");
        // Services that trace by their caller's decision would all fall silent behind a gateway that does not.
        assert_eq!(parts[3], "01", "{sent}");
        assert_eq!(seen.header("tracestate"), None, "it belonged to the trace that is none");
        let line = gateway.records(traces.len()).pop().expect("a record");
        assert_eq!((line["trace_id"].as_str(), line["span_id"].as_str()), (Some(parts[1]), Some(parts[2])));
    }
}
