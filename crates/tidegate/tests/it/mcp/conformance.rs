//! The protocol's own conformance suite: what it says of a server it says of the same server through the gateway.

use std::collections::BTreeMap;

use serde_json::Value;

use super::gateway;
use crate::harness::{Gateway, Peer, free_port, node_package, python};

/// Of each scenario the checks with how they ended.
type Said = BTreeMap<String, Vec<(String, String)>>;

/// What a run of the suite says.
fn run(url: &str, revision: &str, what: [&str; 2]) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().display().to_string();
    let mut command = node_package("@modelcontextprotocol/conformance/dist/index.js");
    command.args(["server", "--url", url, "--spec-version", revision, "-o", &output]).args(what);
    // Shorter than the silence that a peer is allowed.
    command.args(["--timeout", "25000"]);
    let _ = Peer::start(command).finish();
    let mut said = BTreeMap::new();
    for entry in walk(folder.path()) {
        let text = std::fs::read_to_string(&entry).expect("a file");
        let Ok(Value::Array(checks)) = serde_json::from_str(&text) else { continue };
        let parent = entry.parent().and_then(|parent| parent.file_name()).expect("a folder");
        // Folders are `server-SCENARIO-TIME`.
        let scenario = parent.to_string_lossy().split("-20").next().unwrap_or_default().to_owned();
        let mut ended: Vec<(String, String)> = checks
            .iter()
            .map(|check| (check["id"].to_string(), check["status"].to_string()))
            .filter(|(_, status)| status != "\"INFO\"")
            .collect();
        ended.sort();
        said.insert(scenario, ended);
    }
    said
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .filter(|path| path.file_name().is_some_and(|name| name == "checks.json"))
        .collect()
}

/// A gateway that lets everybody in: the suite has no key.
pub(super) fn open(url: &str, more: &str) -> Gateway {
    let text = format!(
        "routes: [{{name: tools, match: [{{path: {{prefix: /mcp}}}}], mcp: {{servers: [{{name: mock, url: \"{url}\", prefix: \"\"}}]{more}}}}}]\n"
    );
    Gateway::start(&text)
}

/// The suite of a revision, directly and through the gateway: it must say the same, and succeed this often at least.
fn same(revision: &str, what: [&str; 2], successes: usize) {
    let port = free_port();
    let mut peer = Peer::start(python(include_str!("mock.py"), &[&port.to_string()]));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    let url = format!("http://127.0.0.1:{port}/mcp");
    let gateway = open(&url, "");
    let direct = run(&url, revision, what);
    let through = run(&format!("http://{}/mcp", gateway.address), revision, what);
    let good = direct.values().flatten().filter(|(_, status)| status == "\"SUCCESS\"").count();
    assert!(good >= successes, "the mock itself succeeds {good} times: {direct:#?}");
    for (scenario, ended) in &direct {
        assert_eq!(through.get(scenario), Some(ended), "{scenario}\n{}", gateway.stderr());
    }
    assert_eq!(direct.len(), through.len());
}

/// All scenarios that the suite counts.
const ACTIVE: [&str; 2] = ["--suite", "active"];

#[test]
fn a_stream_that_broke_off_is_taken_up_again_through_the_gateway() {
    same("2025-11-25", ["--scenario", "server-sse-polling"], 3);
}

#[test]
fn schemas_of_2020_12_are_the_same_through_the_gateway() {
    same("2025-11-25", ["--scenario", "json-schema-2020-12"], 7);
}

#[test]
fn the_suite_of_2025_11_25_says_the_same_through_the_gateway() {
    same("2025-11-25", ACTIVE, 65);
}

#[test]
fn the_suite_of_2026_07_28_says_the_same_through_the_gateway() {
    same("2026-07-28", ACTIVE, 35);
}

#[test]
fn the_suite_of_2025_06_18_says_the_same_through_the_gateway() {
    same("2025-06-18", ACTIVE, 40);
}

#[test]
fn a_gateway_is_asked_for_its_own_address() {
    // What the suite cannot see: the route's servers are away, and the gateway says so as the protocol wants it.
    let gateway = gateway(&[("away", format!("http://127.0.0.1:{}/mcp", free_port()), "")], "");
    let params = serde_json::json!({"protocolVersion": "2025-11-25", "capabilities": {},
                                    "clientInfo": {"name": "t", "version": "1"}});
    let hello = serde_json::json!({"jsonrpc": "2.0", "id": "x", "method": "initialize", "params": params});
    let answer = super::ask(&gateway, "POST", &format!("\nx-api-key: {}", super::GOLD), &hello.to_string());
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.json()["id"], "x");
    assert_eq!(answer.json()["error"]["code"], -32603);
}
