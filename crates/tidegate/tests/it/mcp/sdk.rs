//! Official SDKs on both sides: servers and clients of Python's, clients of JavaScript's.

use serde_json::{Value, json};

use super::{GOLD, gateway};
use crate::harness::{Gateway, Peer, free_port, node, python};

/// A server made with Python's SDK; it is ready when this returns.
pub(super) fn everything(arguments: &[&str]) -> (Peer, String) {
    let port = free_port().to_string();
    let mut all = vec![port.as_str()];
    all.extend(arguments);
    let mut peer = Peer::start(python(include_str!("everything.py"), &all));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    (peer, format!("http://127.0.0.1:{port}/mcp"))
}

pub(super) fn report(gateway: &Gateway, peer: Peer) -> Value {
    let (is_well, out) = peer.finish();
    let line = out.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let report = serde_json::from_str(line);
    report.unwrap_or_else(|error| panic!("{error}, {is_well}: {out}\n{}", gateway.stderr()))
}

/// What every client must have seen of a `shop` and a `docs` behind one endpoint.
pub(super) fn check(report: &Value) {
    let has = |list: &str, name: &str| {
        let list = report[list].as_array().unwrap_or_else(|| panic!("{list}: {report}"));
        assert!(list.iter().any(|one| one == name), "{name} is missing: {report}");
    };
    has("tools", "shop_add");
    has("tools", "add");
    has("prompts", "shop_greet");
    has("prompts", "greet");
    has("resources", "memo://shop/today");
    has("resources", "memo://docs/today");
    assert_eq!(report["sum"], "5", "{report}");
    assert_eq!(report["memo"], "today of docs", "{report}");
    assert_eq!(report["memo_by_template"], "note 7 of shop", "{report}");
    assert_eq!(report["greeting"], "shop greets Ada", "{report}");
    assert_eq!(report["completed"], json!(["Ada", "Alan"]), "{report}");
    let progress = report["progress"].as_array().into_iter().flatten().filter_map(Value::as_f64);
    assert_eq!(progress.collect::<Vec<_>>(), [0.5, 1.0], "{report}");
}

/// Servers of two names; the second keeps its own.
fn both(arguments: &[&str]) -> (Vec<Peer>, Gateway) {
    with_third(arguments, None)
}

/// The same with a third server.
pub(super) fn with_third(arguments: &[&str], third: Option<(&str, String)>) -> (Vec<Peer>, Gateway) {
    let with = |name: &'static str| [&[name][..], arguments].concat();
    let (shop, shop_url) = everything(&with("shop"));
    let (docs, docs_url) = everything(&with("docs"));
    let mut servers = vec![("shop", shop_url, ""), ("docs", docs_url, ", prefix: \"\"")];
    servers.extend(third.map(|(name, url)| (name, url, "")));
    let gateway = gateway(&servers, "");
    (vec![shop, docs], gateway)
}

pub(super) fn endpoint(gateway: &Gateway) -> String {
    format!("http://{}/mcp", gateway.address)
}

/// What a client heard that wanted to hear of the shop's resource, and of changes of tools.
fn heard(report: &Value) {
    let updated = report["updated"].as_array().unwrap_or_else(|| panic!("{report}"));
    let of = |word: &str| updated.iter().filter(|one| *one == word).count();
    assert_eq!((of("memo://shop/today"), of("memo://docs/today")), (1, 0), "{report}");
    let changed = report["changed"].as_u64().unwrap_or_default() as usize + of("ToolsListChanged");
    assert!(changed > 0, "{report}");
}

#[test]
fn pythons_client_sees_two_servers_as_one() {
    let (_peers, gateway) = both(&[]);
    let peer = Peer::start(python(include_str!("client.py"), &[&endpoint(&gateway), GOLD, "legacy"]));
    let report = report(&gateway, peer);
    check(&report);
    assert_eq!(report["asked"], "a sampled word for shop; accepted with blue; 1 root", "{report}");
    assert_eq!(report["changed"], json!(["tools"]), "{report}");
    assert_eq!(report["logged"], json!(["a word of shop"]), "{report}");
}

#[test]
fn pythons_client_hears_of_the_resource_that_it_wants_to_hear_of() {
    let (_peers, gateway) = both(&[]);
    let peer = Peer::start(python(include_str!("client.py"), &[&endpoint(&gateway), GOLD, "subscribed"]));
    let report = report(&gateway, peer);
    check(&report);
    assert_eq!(report["updated"], json!(["memo://shop/today"]), "{report}");
    assert_eq!(report["changed"], json!(["tools"]), "{report}");
}

#[test]
fn pythons_client_sees_servers_that_answer_in_json() {
    let (_peers, gateway) = both(&["json"]);
    let peer = Peer::start(python(include_str!("client.py"), &[&endpoint(&gateway), GOLD, "simple"]));
    let report = report(&gateway, peer);
    assert_eq!(report["sum"], "5", "{report}");
    assert_eq!(report["memo_by_template"], "note 7 of shop", "{report}");
}

#[test]
fn pythons_client_of_the_revision_without_sessions_sees_two_servers_as_one() {
    let (_peers, gateway) = both(&[]);
    let peer = Peer::start(python(include_str!("client.py"), &[&endpoint(&gateway), GOLD, "modern"]));
    let report = report(&gateway, peer);
    check(&report);
    assert_eq!(report["revision"], "2026-07-28", "{report}");
    heard(&report);
}

#[test]
fn javascripts_client_sees_two_servers_as_one() {
    let (_peers, gateway) = both(&[]);
    let peer = Peer::start(node("client", include_str!("client.mjs"), &[&endpoint(&gateway), GOLD]));
    let report = report(&gateway, peer);
    check(&report);
    heard(&report);
    assert_eq!(report["asked"], "a sampled word for shop; accepted with blue; 1 root", "{report}");
}

#[test]
fn javascripts_client_of_the_revision_without_sessions_sees_two_servers_as_one() {
    let (_peers, gateway) = both(&[]);
    let program = node("client-modern", include_str!("client_modern.mjs"), &[&endpoint(&gateway), GOLD]);
    let report = report(&gateway, Peer::start(program));
    check(&report);
    assert_eq!(report["revision"], "2026-07-28", "{report}");
    heard(&report);
}
