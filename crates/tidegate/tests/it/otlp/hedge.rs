//! Tries that run side by side: each is a span of its own, and each upstream is given its own parent.

use std::io::Read;

use serde_json::{Value, json};

use super::{
    clients, ids,
    receiver::{PROTOCOLS, Receiver},
    server,
};
use crate::harness::{Gateway, Upstream, read_request};

/// An upstream that never answers, and notices that it is left alone.
fn silent() -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        if let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let _ = reader.get_mut().read(&mut [0]);
        }
    })
}

fn hedged(first: &Upstream, second: &Upstream, more: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams:
  - name: u
    endpoints: [{{address: \"{}\"}}, {{address: \"{}\"}}]
    loadBalancing: {{algorithm: roundRobin}}
    hedging: {{delay: 50ms}}
routes: [{{name: all, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
{more}",
        first.address, second.address
    ))
}

#[test]
fn a_hedged_try_is_a_span_of_its_own_whose_id_its_upstream_gets() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(protocol);
        let (slow, quick) = (silent(), Upstream::fixed(200, "quick"));
        let gateway = hedged(&slow, &quick, &receiver.telemetry(protocol, "interval: 100ms"));
        assert_eq!(gateway.get("/").text(), "quick");
        let spans = receiver.spans(3);
        let call = server(&spans, "all");
        assert_eq!((&call["status"], &call["attributes"]["tidegate.attempts"]), (&json!(0), &json!(2)));
        let told = ["tidegate.hedges", "tidegate.hedge_won"].map(|name| &call["attributes"][name]);
        assert_eq!(told, [&json!(1), &json!(true)]);

        let tries = clients(&spans, call);
        assert_eq!(tries.len(), 2);
        let facts = |at: usize, name: &str| tries[at]["attributes"].get(name).cloned().unwrap_or_default();
        let (port, end) = ("network.peer.port", |at: usize| tries[at]["end"].as_u64().expect("an end"));
        // The slow one lost, and that is nobody's fault.
        assert_eq!(facts(0, port), slow.address.port());
        assert_eq!((facts(0, "tidegate.overtaken"), facts(0, "tidegate.hedge")), (json!(true), Value::Null));
        assert_eq!((&tries[0]["status"], facts(0, "error.type")), (&json!(0), Value::Null));
        assert_eq!(facts(0, "http.response.status_code"), Value::Null);
        // The one beside it began meanwhile, and gave the answer.
        assert_eq!(facts(1, port), quick.address.port());
        assert_eq!((facts(1, "tidegate.overtaken"), facts(1, "tidegate.hedge")), (Value::Null, json!(true)));
        assert_eq!((facts(1, "http.response.status_code"), &tries[1]["status"]), (json!(200), &json!(0)));
        assert_eq!(facts(1, "http.request.resend_count"), 1);
        assert!(tries[1]["start"].as_u64() < Some(end(0)), "side by side: {tries:#?}");
        assert!(end(0) <= end(1) && Some(end(1)) <= call["end"].as_u64(), "{tries:#?}");

        for (upstream, tried) in [(&slow, tries[0]), (&quick, tries[1])] {
            let (trace, span) = ids(upstream.seen()[0].header("traceparent").expect("a parent"));
            assert_eq!((json!(trace), json!(span)), (call["trace"].clone(), tried["id"].clone()));
        }
    }
}

#[test]
fn a_first_try_that_still_wins_lasts_as_long_as_its_answer() {
    let receiver = Receiver::start("http/protobuf");
    let late = Upstream::scripted(|_| {
        crate::harness::pause(300);
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate".to_vec())
    });
    let silent = silent();
    let gateway = hedged(&late, &silent, &receiver.telemetry("http/protobuf", "interval: 100ms"));
    assert_eq!(gateway.get("/").text(), "late");
    let spans = receiver.spans(3);
    let call = server(&spans, "all");
    let tries = clients(&spans, call);
    let hedges = tries.iter().map(|tried| tried["attributes"].get("tidegate.overtaken").is_some());
    assert_eq!(hedges.collect::<Vec<_>>(), [false, true], "{tries:#?}");
    assert_eq!(tries[0]["attributes"]["http.response.status_code"], 200);
    assert!(tries[0]["end"].as_u64() >= tries[1]["end"].as_u64(), "{tries:#?}");
    assert_eq!(call["attributes"]["tidegate.hedge_won"], false);
}
