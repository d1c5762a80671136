//! Real servers that speak 2026-07-28 alone, over HTTP and as programs, behind clients of every revision.

use serde_json::{Value, json};

use super::{
    Client, GOLD, WEB, gateway,
    revisions::{listening, stateless},
    said,
    sdk::{check, endpoint, report},
};
use crate::harness::{Gateway, Peer, eventually, free_port, node, python};

/// A server over HTTP; it is ready when this returns.
fn over_http(name: &str) -> (Peer, String) {
    let port = free_port().to_string();
    let mut peer = Peer::start(node(&format!("alone-{name}"), include_str!("alone.mjs"), &[&port, name]));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    (peer, format!("http://127.0.0.1:{port}/mcp"))
}

/// A gateway with programs of these names, and further settings of each.
fn as_programs(names: &[&str], more: &str) -> Gateway {
    let mut allowed = String::new();
    let servers: Vec<String> = names
        .iter()
        .map(|name| {
            let command = node(&format!("alone-{name}"), include_str!("alone.mjs"), &["stdio", name]);
            let absolute =
                |part: &std::ffi::OsStr| std::path::absolute(part).expect("a path").display().to_string();
            let program = absolute(command.get_program());
            let mut arguments = command.get_args();
            let place = absolute(arguments.next().expect("the program's text"));
            let rest = arguments.map(|one| one.to_string_lossy().into_owned());
            let command: Vec<String> = [program.clone(), place].into_iter().chain(rest).collect();
            allowed = program;
            format!("        - {{name: {name}, command: {}{more}}}\n", json!(command))
        })
        .collect();
    Gateway::start(&format!(
        "runtime: {{allowedCommands: [{allowed}]}}
consumers:\n  - {{name: gold, keys: [{GOLD}]}}\n  - {{name: web, keys: [{WEB}]}}
routes:
  - name: tools
    match: [{{path: {{prefix: /mcp}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}]
    mcp:
      servers:\n{}",
        servers.concat().replace("name: docs,", "name: docs, prefix: \"\",")
    ))
}

/// What official clients of both kinds see of a `shop` and a `docs`.
fn seen_by_all(gateway: &Gateway) {
    for (mode, revision) in [("alone", "2025-11-25"), ("modern", "2026-07-28")] {
        let peer = Peer::start(python(include_str!("client.py"), &[&endpoint(gateway), GOLD, mode]));
        let report = report(gateway, peer);
        check(&report);
        assert_eq!(report["revision"], revision, "{report}");
        if mode == "alone" {
            assert_eq!(report["asked"], "a sampled word for shop; accepted with blue; 1 root", "{report}");
            assert_eq!(report["changed"], json!(["tools"]), "{report}");
        } else {
            let updated = report["updated"].as_array().unwrap_or_else(|| panic!("{report}"));
            assert!(updated.iter().any(|one| one == "ToolsListChanged"), "{report}");
        }
    }
}

#[test]
fn clients_of_both_kinds_reach_servers_that_know_no_sessions() {
    let ((_shop, shop), (_docs, docs)) = (over_http("shop"), over_http("docs"));
    let gateway = gateway(&[("shop", shop, ""), ("docs", docs, ", prefix: \"\"")], "");
    seen_by_all(&gateway);
}

#[test]
fn clients_of_both_kinds_reach_programs_that_know_no_sessions() {
    seen_by_all(&as_programs(&["shop", "docs"], ""));
}

fn told(answer: &crate::harness::Answer) -> Value {
    super::last_of(answer)
}

#[test]
fn a_program_that_knows_no_sessions_is_each_sessions_own_and_hears_who_left() {
    let gateway = as_programs(&["shop"], "");
    let (gold, web) = (Client::begin(&gateway, GOLD), Client::begin(&gateway, WEB));
    let pid = |client: &Client<'_>| said(&client.call("shop_pid", json!({}))).to_owned();
    let (one, other) = (pid(&gold), pid(&web));
    assert_ne!(one, other);
    assert_eq!(pid(&gold), one);
    // Who has no sessions has a process for all its calls.
    let call =
        |tool: &str| told(&stateless(&gateway, "tools/call", json!({"name": tool, "arguments": {}}), ""));
    let own = said(&call("shop_pid")).to_owned();
    assert_eq!(said(&call("shop_pid")), own);
    assert!(own != one && own != other);
    assert_eq!(said(&gold.call("shop_who", json!({}))), r#"[{"name":"test","version":"1"},{}]"#);
    // What nobody waits for any more is cancelled.
    let wait = json!({"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": {"name": "shop_wait"}});
    let mut connection = crate::harness::Client::connect(gateway.address);
    let (body, headers) = (wait.to_string(), gold.headers());
    let head = format!(
        "POST /mcp HTTP/1.1\nhost: {}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{headers}\n\n",
        gateway.address,
        body.len()
    );
    connection.write(format!("{}{body}", head.replace('\n', "\r\n")).into_bytes());
    crate::harness::pause(300);
    drop(connection);
    eventually("the program is told", || gateway.stderr().contains("shop was told to cancel"));
    // One that died is begun anew, and a session's end is its process's.
    assert!(
        std::process::Command::new("kill").args(["-9", &one]).status().is_ok_and(|status| status.success())
    );
    let again = std::cell::RefCell::new(String::new());
    eventually("a process that goes on", || {
        let answer = gold.call("shop_pid", json!({}));
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        again.replace(text.to_owned());
        !text.is_empty() && text != one
    });
    super::ask(&gateway, "DELETE", &gold.headers(), "");
    let again = again.into_inner();
    eventually("the end of its process", || !std::path::Path::new("/proc").join(&again).exists());
    assert_eq!(pid(&web), other);
}

#[test]
fn a_shared_program_that_knows_no_sessions_is_told_of_nobody() {
    let gateway = as_programs(&["shop"], ", process: {shared: true}");
    let (gold, web) = (Client::begin(&gateway, GOLD), Client::begin(&gateway, WEB));
    let call = |client: &Client<'_>, tool: &str| said(&client.call(tool, json!({}))).to_owned();
    assert_eq!(call(&gold, "shop_pid"), call(&web, "shop_pid"));
    let who: Value = serde_json::from_str(&call(&gold, "shop_who")).expect("JSON");
    assert_eq!((&who[0]["name"], &who[1]), (&json!("tidegate"), &json!({})), "{who}");
    let answer = told(&stateless(&gateway, "tools/call", json!({"name": "shop_who", "arguments": {}}), ""));
    let who: Value = serde_json::from_str(said(&answer)).expect("JSON");
    assert_eq!((&who[0]["name"], &who[1]), (&json!("tidegate"), &json!({})), "{who}");
    // All hear of changes who want to, each under the number of its own.
    let mut heard = listening(&gateway);
    let until = |heard: &mut crate::harness::Client, word: &str| {
        for _ in 0..20 {
            let line = heard.read_line();
            if line.contains(word) {
                return line;
            }
        }
        panic!("no {word}");
    };
    until(&mut heard, "acknowledged");
    call(&web, "shop_change");
    let line = until(&mut heard, "notifications/tools/list_changed");
    assert!(line.contains("\"io.modelcontextprotocol/subscriptionId\":6"), "{line}");
}
