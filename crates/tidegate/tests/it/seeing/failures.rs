//! The record of a failed call says whose fault it was, where, at which endpoint, after how many tries, and how long
//! each phase took.

use serde_json::Value;

use crate::harness::{Client, Gateway, Upstream, eventually, free_port, pause};

struct World {
    gateway: Gateway,
    dead: u16,
    upstreams: Vec<Upstream>,
}

fn world() -> World {
    let dead = free_port();
    let upstreams = vec![
        Upstream::scripted(|_| {
            pause(1_500);
            None
        }),
        Upstream::scripted(|_| None),
        Upstream::scripted(|_| Some(b"HTTP/1.1 nonsense\r\n\r\n".to_vec())),
        Upstream::raw(|mut reader, _| {
            if crate::harness::read_request(&mut reader).is_some() {
                let _ = std::io::Write::write_all(
                    reader.get_mut(),
                    b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
                );
            }
        }),
    ];
    let at = |index: usize| upstreams[index].address;
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams:
  - {{name: dead, endpoints: [{{address: \"127.0.0.1:{dead}\"}}], retry: {{maxAttempts: 2}}}}
  - {{name: slow, endpoints: [{{address: \"{}\"}}], timeouts: {{request: 300ms}}, retry: {{maxAttempts: 1}}}}
  - {{name: closing, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}}}
  - {{name: broken, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}}}
  - {{name: cut, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}}}
  - {{name: tripped, endpoints: [{{address: \"127.0.0.1:{dead}\"}}], retry: {{maxAttempts: 1}}, circuitBreaker: {{minimumNumberOfCalls: 1, waitDurationInOpenState: 1h}}}}
routes:
  - {{name: dead, match: [{{path: {{prefix: /dead}}}}], backends: [{{upstream: dead}}]}}
  - {{name: slow, match: [{{path: {{prefix: /slow}}}}], backends: [{{upstream: slow}}]}}
  - {{name: closing, match: [{{path: {{prefix: /closing}}}}], backends: [{{upstream: closing}}]}}
  - {{name: broken, match: [{{path: {{prefix: /broken}}}}], backends: [{{upstream: broken}}]}}
  - {{name: cut, match: [{{path: {{prefix: /cut}}}}], backends: [{{upstream: cut}}]}}
  - {{name: tripped, match: [{{path: {{prefix: /tripped}}}}], backends: [{{upstream: tripped}}]}}
  - {{name: closed, match: [{{path: {{prefix: /closed}}}}], policies: [keyAuth: {{}}], respond: {{}}}}
",
        at(0),
        at(1),
        at(2),
        at(3)
    ));
    World { gateway, dead, upstreams }
}

impl World {
    /// The record of a request whose target is this.
    fn record(&self, target: &str) -> Value {
        let before = self.gateway.stdout().lines().count();
        let mut client = Client::connect(self.gateway.address);
        client.write(format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
        let _ = client.read();
        self.gateway.records(before + 1).pop().expect("a record")
    }
}

fn check(record: &Value, status: u16, side: &str, stage: &str, reason: &str) {
    let failure = &record["failure"];
    let found = (
        record["status"].as_u64(),
        failure["side"].as_str(),
        failure["stage"].as_str(),
        failure["reason"].as_str(),
    );
    assert_eq!(found, (Some(u64::from(status)), Some(side), Some(stage), Some(reason)), "{record}");
    assert!(record["duration_ms"].as_f64().is_some_and(|took| took > 0.0), "{record}");
    assert!(record["attempts"].is_u64(), "{record}");
}

/// Whether exactly these phases have a time, each within the whole.
fn phases(record: &Value, wanted: &[&str]) {
    let total = record["duration_ms"].as_f64().expect("a duration");
    for phase in ["policies_ms", "connect_ms", "upstream_first_byte_ms", "head_ms"] {
        let took = record[phase].as_f64();
        assert_eq!(took.is_some(), wanted.contains(&phase), "{phase} of {record}");
        assert!(took.is_none_or(|took| took <= total), "{phase} of {record}");
    }
}

#[test]
fn failures_of_an_upstream_name_the_endpoint_the_stage_and_each_phase() {
    let world = world();
    let endpoint = |index: usize| world.upstreams[index].address.to_string();
    let asked = ["policies_ms", "connect_ms", "upstream_first_byte_ms", "head_ms"];

    let record = world.record("/dead");
    check(&record, 502, "upstream", "connect", "connect-failed");
    phases(&record, &["policies_ms", "connect_ms", "head_ms"]);
    assert_eq!(
        (&record["endpoint"], &record["attempts"]),
        (&format!("127.0.0.1:{}", world.dead).into(), &2.into())
    );
    assert_eq!(record["failed_tries"][0]["reason"], "connect-failed");

    let record = world.record("/slow");
    check(&record, 504, "upstream", "first-byte", "upstream-timeout");
    phases(&record, &asked);
    assert!(record["upstream_first_byte_ms"].as_f64() >= Some(250.0), "the wait is told: {record}");
    assert_eq!(record["endpoint"], endpoint(0));

    let record = world.record("/closing");
    check(&record, 502, "upstream", "first-byte", "upstream-reset");
    phases(&record, &asked);
    assert_eq!(record["endpoint"], endpoint(1));

    let record = world.record("/broken");
    check(&record, 502, "upstream", "first-byte", "bad-upstream-answer");
    assert_eq!(record["endpoint"], endpoint(2));

    let record = world.record("/cut");
    check(&record, 200, "upstream", "body", "upstream-reset");
    phases(&record, &asked);
    assert_eq!((&record["endpoint"], &record["response_bytes"]), (&endpoint(3).into(), &3.into()));

    world.record("/tripped");
    let record = world.record("/tripped");
    check(&record, 503, "gateway", "pick", "circuit-open");
    phases(&record, &["policies_ms", "head_ms"]);
    assert_eq!((&record["attempts"], &record["upstream"]), (&0.into(), &"tripped".into()));
}

#[test]
fn a_call_whose_client_leaves_says_how_far_its_try_had_come() {
    let world = world();
    let mut client = Client::connect(world.gateway.address);
    client.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the upstream is asked", || !world.upstreams[0].seen().is_empty());
    drop(client);
    let record = world.gateway.records(1).remove(0);
    check(&record, 499, "client", "first-byte", "client-left");
    phases(&record, &["policies_ms", "connect_ms"]);
    assert_eq!(
        (&record["endpoint"], &record["attempts"]),
        (&world.upstreams[0].address.to_string().into(), &1.into())
    );
}

#[test]
fn tries_before_the_last_are_told_with_their_endpoints_and_times() {
    let busy = Upstream::fixed(503, "busy");
    let dead = free_port();
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams:
  - name: u
    endpoints: [{{address: \"{}\"}}, {{address: \"127.0.0.1:{dead}\"}}]
    retry: {{maxAttempts: 3, on: [\"503\", connectFailure], backoff: {{initial: 1ms}}}}
routes: [{{name: all, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
",
        busy.address
    ));
    assert_eq!(gateway.get("/").status, 503);
    let record = gateway.records(1).remove(0);
    assert_eq!(record["attempts"], 3, "{record}");
    let tries = record["failed_tries"].as_array().expect("tries before the last");
    assert_eq!(tries.len(), 2, "{record}");
    for tried in tries {
        let is_dead = tried["endpoint"] == format!("127.0.0.1:{dead}");
        let (reason, status) = if is_dead { ("connect-failed", Value::Null) } else { ("status", 503.into()) };
        assert!(is_dead || tried["endpoint"] == busy.address.to_string(), "{record}");
        assert_eq!((&tried["reason"], &tried["status"]), (&reason.into(), &status), "{record}");
        assert!(tried["duration_ms"].as_f64() <= record["duration_ms"].as_f64(), "{record}");
    }
}

#[test]
fn refusals_say_at_which_stage_they_were_made() {
    let world = world();
    let record = world.record("/closed");
    check(&record, 401, "client", "policy", "unauthenticated");
    phases(&record, &["policies_ms", "head_ms"]);
    assert_eq!((&record["stopped_by"], &record["route"]), (&"keyAuth".into(), &"closed".into()));

    let record = world.record("/nothing");
    check(&record, 404, "client", "router", "no-route");
    phases(&record, &["head_ms"]);
    assert_eq!(record.get("route"), None);

    let record = world.record("/a%00b");
    check(&record, 400, "client", "guard", "bad-path");

    let record = world.record("/a b");
    check(&record, 400, "client", "listener", "bad-request");
}
