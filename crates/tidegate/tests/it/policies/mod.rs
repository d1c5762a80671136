//! Each policy over sockets: what it lets through, what it refuses, and that each of its settings has its effect.

mod acl;
mod anti_replay;
mod attachment;
mod bandwidth;
mod basic_auth;
mod bot_detection;
mod cache;
mod compress;
mod concurrency_limit;
mod cors;
mod csrf;
mod decompress;
mod deprecation;
mod etag;
mod fault_injection;
mod geo;
mod headers;
mod idempotency;
mod identity;
mod ip_reputation;
mod ip_restriction;
mod jwt;
mod jwt_keys;
mod jwt_remote;
mod key_auth;
mod load_shed;
mod mask;
mod mirror;
mod mocks;
mod normalize_errors;
mod priority;
mod quota;
mod rate_limit;
mod rate_limit_shared;
mod redis_moves;
mod request_limits;
mod rewrite;
mod security_headers;
mod sign_ins_shared;
pub(crate) mod strangler;
mod switching;
pub(super) mod tokens;
mod transform;
mod validate;
mod waf;
mod waf_verdicts;
mod web_socket;

use super::harness::{Answer, Gateway, Seen, Upstream};

/// Two consumers with everything to show: `gold` (of `partners`) and `web`.
const CONSUMERS: &str = "consumers:
  - {name: gold, groups: [partners], keys: [gold-key-of-the-test], basic: [{username: ann, password: 'pass:word'}]}
  - {name: web, keys: [web-key-of-the-test]}
";

/// A gateway with one route under these policies, to an upstream that answers with the target that it saw.
fn guarded(policies: &str, rest: &str) -> (Gateway, Upstream) {
    routed(&format!("match: [{{path: {{prefix: /}}}}], policies: {policies}"), rest)
}

/// The same with the rest of the route given, too.
fn routed(route: &str, rest: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: r, {route}, backends: [{{upstream: u}}]}}
{rest}",
        upstream.address
    ));
    (gateway, upstream)
}

/// A GET with further header lines, each with a `\n` in front.
fn ask(gateway: &Gateway, target: &str, headers: &str) -> Answer {
    gateway.send(&format!("GET {target} HTTP/1.1\nhost: a.test{headers}"), b"")
}

/// The last request that an upstream saw.
fn last(upstream: &Upstream) -> Seen {
    upstream.seen().pop().expect("a request")
}

/// That a configuration is refused, and that all of these words say why, over the ends of lines too.
pub(super) fn refused(text: &str, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    std::fs::write(&path, text).expect("a file");
    let (code, _, problems) = super::harness::run(&["validate", "-c", &path.display().to_string()]);
    assert_eq!(code, 3, "{text}\n{problems}");
    let joined =
        |text: &str| text.split(|sign: char| sign.is_whitespace() || sign == '│').collect::<String>();
    let said = joined(&problems);
    for word in words {
        assert!(said.contains(&joined(word)), "lacks {word:?}:\n{problems}");
    }
}

/// A configuration whose one route has these policies.
fn with_policies(policies: &str) -> String {
    format!(
        "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]\n{CONSUMERS}routes:\n  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: {policies}, respond: {{}}}}\n"
    )
}

/// That a call of this consumer is in the access log, whose lines come from several workers.
fn logged(gateway: &Gateway, consumer: &str) {
    super::harness::eventually(consumer, || {
        gateway.records(1).iter().any(|record| record["consumer"] == consumer)
    });
}
