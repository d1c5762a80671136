//! `opa`, with OPA's own engine behind its Data API.

use std::{fs, net::SocketAddr, process::Command, time::Instant};

use serde_json::Value;

use super::{ask, basic};
use crate::harness::{Gateway, Peer, Upstream, free_port, get, peers_folder};

/// An agent with the policies of the test.
struct Agent {
    address: SocketAddr,
    _peer: Peer,
    _folder: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let python = peers_folder().join("rego/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/peers.sh", python.display());
        let folder = tempfile::tempdir().expect("a folder");
        let policy = folder.path().join("policy.rego");
        fs::write(&policy, include_str!("policy.rego")).expect("a file");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(python);
        command.arg("-u").arg("-c").arg(include_str!("opa.py")).arg(address.port().to_string()).arg(&policy);
        let mut peer = Peer::start(command);
        assert_eq!(peer.line().as_deref(), Some("ready"));
        Self { address, _peer: peer, _folder: folder }
    }

    fn control(&self, path: &str) -> Value {
        get(self.address, path).expect("an answer").json()
    }

    fn asked(&self) -> u64 {
        self.control("/")["asked"].as_u64().expect("a number")
    }
}

fn gateway(agent: &Agent, settings: &str, before: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
consumers: [{{name: gold, groups: [partners], basic: [{{username: ann, password: 'pass:word'}}]}}]
upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}]}}
  - {{name: agent, endpoints: [{{address: \"{}\"}}]}}
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{before}{{opa: {{upstream: agent, {settings}}}}}]
    backends: [{{upstream: u}}]
",
        upstream.address, agent.address
    ));
    (gateway, upstream)
}

#[test]
fn a_truth_value_decides_on_who_calls_what_is_asked_and_what_is_sent() {
    let agent = Agent::start();
    let (gateway, _upstream) =
        gateway(&agent, "decision: shop/allow, body: {maxSize: 1KiB}", "{basicAuth: {anonymous: gold}}, ");
    let answer = |path: &str, headers: &str| ask(&gateway, path, headers).status;
    assert_eq!(answer("/public/x", ""), 200);
    assert_eq!(answer("/private", ""), 403);
    assert_eq!(answer("/orders/gold", &basic("ann:pass:word")), 200);
    assert_eq!(answer("/orders/other", &basic("ann:pass:word")), 403);
    // A stand-in for nobody is nobody.
    assert_eq!(answer("/orders/gold", ""), 403);
    let post = |body: &str| {
        let head = format!(
            "POST /pay HTTP/1.1\nhost: a\ncontent-type: application/json\ncontent-length: {}",
            body.len()
        );
        gateway.send(&head, body.as_bytes()).status
    };
    assert_eq!(post(r#"{"amount": 99}"#), 200);
    assert_eq!(post(r#"{"amount": 100}"#), 403);
    assert_eq!(post(&format!(r#"{{"amount": 1, "x": "{}"}}"#, "x".repeat(2000))), 413);
    // The password itself stays here.
    let shown = agent.control("/")["input"].to_string();
    assert!(!shown.contains("Basic"), "{shown}");
    let count = |outcome: &str| {
        gateway
            .metric(&format!("tidegate_opa_total{{policy=\"routes/r/opa\",outcome=\"{outcome}\"}}"))
            .unwrap_or(0.0)
    };
    assert_eq!((count("allowed"), count("refused")), (3.0, 4.0));
}

#[test]
fn an_object_says_what_the_client_and_the_upstream_get_as_far_as_it_is_named() {
    let agent = Agent::start();
    let (gateway, upstream) = gateway(
        &agent,
        "decision: shop/decision, upstreamHeaders: [x-tier], refusalHeaders: [retry-after]",
        "",
    );
    let answer = ask(&gateway, "/a", "\nx-plan: gold\nx-tier: forged");
    assert_eq!(answer.status, 200);
    let seen = upstream.seen().pop().expect("a request");
    let tiers: Vec<_> = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-tier")).collect();
    assert!(tiers.len() == 1 && tiers[0].1 == "gold" && seen.header("x-else").is_none(), "{seen:?}");
    let answer = ask(&gateway, "/a", "\nx-plan: free");
    assert_eq!((answer.status, answer.text().as_str()), (402, r#"{"why":"pay first"}"#));
    assert_eq!((answer.header("retry-after"), answer.header("x-secret")), (Some("7"), None));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    // Nothing of the policies fits: nobody is let in.
    let answer = ask(&gateway, "/a", "\nx-tier: forged");
    assert_eq!((answer.status, answer.header("content-type")), (403, Some("application/problem+json")));
    assert_eq!(upstream.seen().len(), 1);
    let undefined = "tidegate_opa_total{policy=\"routes/r/opa\",outcome=\"undefined\"}";
    assert_eq!(gateway.metric(undefined), Some(1.0));
}

#[test]
fn policies_for_other_gateways_find_what_they_look_for() {
    let agent = Agent::start();
    for shape in ["envoy", "kong", "apisix"] {
        let (gateway, _upstream) = gateway(&agent, &format!("decision: shop/{shape}, shape: {shape}"), "");
        assert_eq!(
            ask(&gateway, "/orders/7?full=1", "\nx-plan: gold").status,
            200,
            "{shape}: {}",
            agent.control("/")
        );
        assert_eq!(ask(&gateway, "/orders/7?full=2", "\nx-plan: gold").status, 403, "{shape}");
    }
    let (gateway, _upstream) =
        gateway(&agent, "decision: shop/more, with: {tenant: \"request.headers['x-tenant']\"}", "");
    assert_eq!(ask(&gateway, "/", "\nx-tenant: a").status, 200);
    assert_eq!(ask(&gateway, "/", "\nx-tenant: b").status, 403);
    assert_eq!(ask(&gateway, "/", "").status, 403);
}

#[test]
fn decisions_are_kept_for_the_same_input_alone() {
    let agent = Agent::start();
    let (gateway, _upstream) = gateway(&agent, "decision: shop/allow, cache: {ttl: 1m, negativeTtl: 1m}", "");
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "/public/a", "").status, 200);
        assert_eq!(ask(&gateway, "/private", "").status, 403);
    }
    assert_eq!(agent.asked(), 2);
    assert_eq!(ask(&gateway, "/public/a?x=1", "").status, 200);
    assert_eq!(ask(&gateway, "/public/a", "\nx-a: 1").status, 200);
    assert_eq!(agent.asked(), 4);
    let kept = "tidegate_opa_total{policy=\"routes/r/opa\",outcome=\"kept\"}";
    assert_eq!(gateway.metric(kept), Some(4.0));
}

#[test]
fn an_agent_that_gives_no_answer_lets_nobody_in_unless_that_is_chosen() {
    let agent = Agent::start();
    let (closed, _upstream) = gateway(&agent, "decision: shop/allow, timeout: 300ms", "");
    agent.control("/slow");
    let began = Instant::now();
    let answer = ask(&closed, "/public", "");
    assert_eq!((answer.status, began.elapsed().as_secs()), (503, 0), "{}", answer.text());
    assert!(!answer.text().contains("300"), "nothing of the inside: {}", answer.text());
    agent.control("/fails");
    assert_eq!(ask(&closed, "/public", "").status, 503);
    let (open, _upstream) = gateway(&agent, "decision: shop/allow, onError: allow", "");
    assert_eq!(ask(&open, "/private", "").status, 200);
    agent.control("/");
    assert_eq!(ask(&open, "/private", "").status, 403);
}
