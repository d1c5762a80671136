//! Servers that are programs of this machine: Python's SDK over standard input and output, and what becomes of
//! processes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    Client, GOLD, WEB, ask, last_of,
    revisions::{listening, stateless},
    said,
    sdk::{check, endpoint, report},
};
use crate::harness::{Gateway, Peer, eventually, node, pause, python};

/// The Python of the peers.
fn python_path() -> String {
    let path = std::path::absolute(PathBuf::from(python("", &[]).get_program())).expect("a path");
    path.display().to_string()
}

/// A configuration with servers that are programs: a name, arguments after Python's path, further settings.
fn config(servers: &[(&str, Vec<String>, &str)], more: &str) -> String {
    let python = python_path();
    let servers: Vec<String> = servers
        .iter()
        .map(|(name, arguments, more)| {
            let command = serde_json::to_string(&[&[python.clone()][..], arguments].concat()).expect("JSON");
            format!("        - {{name: {name}, command: {command}{more}}}\n")
        })
        .collect();
    format!(
        "runtime: {{allowedCommands: [{python}]}}
consumers:\n  - {{name: gold, keys: [{GOLD}]}}\n  - {{name: web, keys: [{WEB}]}}
routes:
  - name: tools
    match: [{{path: {{prefix: /mcp}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}]
    mcp:
{more}      servers:\n{}",
        servers.concat()
    )
}

/// A folder with a program.
fn folder(program: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("server.py");
    std::fs::write(&path, program).expect("a file");
    (folder, path.display().to_string())
}

/// A gateway with one server of lines.
fn lines(more: &str, of_route: &str) -> (tempfile::TempDir, Gateway) {
    let (folder, path) = folder(include_str!("lines.py"));
    let gateway = Gateway::start(&config(&[("one", vec![path, "one".to_owned()], more)], of_route));
    (folder, gateway)
}

/// Whether there is such a process, and be it one that nobody waits for.
fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

fn text(client: &Client<'_>, tool: &str) -> String {
    said(&client.call(tool, json!({}))).to_owned()
}

fn delete(gateway: &Gateway, client: &Client<'_>) -> u16 {
    ask(gateway, "DELETE", &client.headers(), "").status
}

/// The stream of a session, past its head.
fn listen(gateway: &Gateway, client: &Client<'_>) -> crate::harness::Client {
    let head = format!(
        "GET /mcp HTTP/1.1\nhost: {}\naccept: text/event-stream{}\n\n",
        gateway.address,
        client.headers()
    );
    let mut connection = crate::harness::Client::connect(gateway.address);
    connection.write(head.replace('\n', "\r\n").into_bytes());
    while !connection.read_line().contains("text/event-stream") {}
    connection
}

/// All that a stream says up to a line with this.
fn until(stream: &mut crate::harness::Client, last: &str) -> String {
    let mut told = String::new();
    while !told.contains(last) {
        told.push_str(&stream.read_line());
    }
    told
}

/// A connection on which a tool is called, whose answer is not read.
fn unread(gateway: &Gateway, client: &Client<'_>, params: &Value) -> crate::harness::Client {
    let body = json!({"jsonrpc": "2.0", "id": "u", "method": "tools/call", "params": params}).to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\nhost: {}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{}\n\n",
        gateway.address,
        body.len(),
        client.headers()
    );
    let mut connection = crate::harness::Client::connect(gateway.address);
    connection.write(format!("{}{body}", head.replace('\n', "\r\n")).into_bytes());
    connection
}

/// Two servers of Python's SDK.
fn both() -> (tempfile::TempDir, Gateway) {
    let (folder, path) = folder(include_str!("everything.py"));
    let of = |name: &str| vec!["-u".to_owned(), path.clone(), "stdio".to_owned(), name.to_owned()];
    let gateway =
        Gateway::start(&config(&[("shop", of("shop"), ""), ("docs", of("docs"), ", prefix: \"\"")], ""));
    (folder, gateway)
}

#[test]
fn pythons_client_uses_programs_of_pythons_sdk() {
    let (_folder, gateway) = both();
    let peer = Peer::start(python(include_str!("client.py"), &[&endpoint(&gateway), GOLD, "legacy"]));
    let report = report(&gateway, peer);
    check(&report);
    assert_eq!(report["asked"], "a sampled word for shop; accepted with blue; 1 root", "{report}");
    assert_eq!(report["changed"], json!(["tools"]), "{report}");
    assert_eq!(report["logged"], json!(["a word of shop"]), "{report}");
}

#[test]
fn javascripts_client_uses_programs_of_pythons_sdk() {
    let (_folder, gateway) = both();
    let peer = Peer::start(node("client-stdio", include_str!("client.mjs"), &[&endpoint(&gateway), GOLD]));
    let report = report(&gateway, peer);
    check(&report);
    assert_eq!(report["asked"], "a sampled word for shop; accepted with blue; 1 root", "{report}");
}

#[test]
fn each_session_has_a_process_that_ends_with_it_and_takes_along_what_it_started() {
    let (_folder, gateway) = lines(", process: {env: {WORD: told}}", "");
    let (one, two) = (Client::begin(&gateway, GOLD), Client::begin(&gateway, GOLD));
    let pids = [text(&one, "one_pid"), text(&two, "one_pid")];
    assert_ne!(pids[0], pids[1]);
    assert_eq!(text(&one, "one_pid"), pids[0], "it stays the same");
    let child = text(&one, "one_spawn");
    let environment: Value = serde_json::from_str(&text(&one, "one_env")).expect("JSON");
    assert_eq!(environment["WORD"], "told");
    for name in ["PATH", "HOME", "TIDEGATE_PEERS", "USER"] {
        assert!(environment[name].is_null(), "{name} is nothing to it: {environment}");
    }
    assert!(is_there(&pids[0]) && is_there(&child));
    assert_eq!(delete(&gateway, &one), 204);
    eventually("all of the first are gone", || !is_there(&pids[0]) && !is_there(&child));
    assert_eq!(text(&two, "one_pid"), pids[1]);
    assert!(gateway.stderr().contains("one: one has begun"), "{}", gateway.stderr());
}

#[test]
fn a_process_that_died_is_followed_by_another_after_a_pause() {
    let (_folder, gateway) = lines("", "");
    let client = Client::begin(&gateway, GOLD);
    let pid = text(&client, "one_pid");
    let died = client.call("one_die", json!({}));
    assert!(died["error"].is_object(), "{died}");
    eventually("it is waited for", || !is_there(&pid));
    let soon = client.call("one_pid", json!({}));
    assert!(soon["error"].is_object(), "it ended too soon to be started at once: {soon}");
    eventually("another takes its place", || {
        let answer = client.call("one_pid", json!({}));
        answer["result"]["content"][0]["text"].as_str().is_some_and(|now| now != pid)
    });
    let flooded = client.call("one_flood", json!({}));
    assert!(flooded["error"].is_object(), "a line is bounded: {flooded}");
}

#[test]
fn who_listens_has_a_new_process_when_the_old_one_died() {
    let (_folder, gateway) = lines("", "");
    let client = Client::begin(&gateway, GOLD);
    let _stream = listen(&gateway, &client);
    client.call("one_die", json!({}));
    eventually("another begins unasked", || gateway.stderr().matches("one: one has begun").count() == 2);
}

#[test]
fn no_process_outlives_the_gateway_or_its_place_in_the_configuration() {
    let (_folder, mut gateway) = lines("", "");
    let client = Client::begin(&gateway, GOLD);
    let (pid, child) = (text(&client, "one_pid"), text(&client, "one_spawn"));
    let listener = format!("listeners:\n  - {{name: public, address: \"{}\"}}\n", gateway.address);
    let (_other, path) = folder(include_str!("lines.py"));
    let with = |name: &str, more: &str| {
        format!("{listener}{}", config(&[(name, vec![path.clone(), name.to_owned()], "")], more))
    };
    gateway.reload(&with("two", ""));
    eventually("those of the old configuration are gone", || !is_there(&pid) && !is_there(&child));
    let client = Client::begin(&gateway, GOLD);
    let (pid, child) = (text(&client, "two_pid"), text(&client, "two_spawn"));
    gateway.reload(&with("two", "      maxBodySize: 2MiB\n"));
    assert_eq!(text(&client, "two_pid"), pid, "what stays in the configuration goes on");
    gateway.signal("TERM");
    gateway.wait();
    // Whoever inherits the second may take a moment to wait for it.
    eventually("both are gone", || !is_there(&pid) && !is_there(&child));
}

#[test]
fn processes_are_bounded_and_those_of_idle_sessions_end() {
    let (_folder, gateway) = lines(", process: {max: 1}", "      idleTimeout: 2s\n");
    let client = Client::begin(&gateway, GOLD);
    let pid = text(&client, "one_pid");
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
    let begin = || ask(&gateway, "POST", &format!("\nx-api-key: {GOLD}"), &hello).status;
    assert_eq!(begin(), 503);
    eventually("it is of no use", || !is_there(&pid));
    assert_eq!(begin(), 200);
}

#[test]
fn whoever_makes_a_program_fail_waits_alone() {
    let (_folder, gateway) = lines("", "");
    let crasher = Client::begin(&gateway, GOLD);
    for _ in 0..3 {
        assert!(crasher.call("one_die", json!({}))["error"].is_object());
        eventually("its own pause ends", || crasher.call("one_pid", json!({}))["error"].is_null());
    }
    assert!(crasher.call("one_die", json!({}))["error"].is_object());
    eventually("it is noticed", || crasher.call("one_pid", json!({}))["error"].is_object());
    // The pause is four seconds by now.
    let other = Client::begin(&gateway, WEB);
    assert!(!text(&other, "one_pid").is_empty());
    let (_folder, gateway) = lines(", process: {shared: true}", "");
    let (crasher, other) = (Client::begin(&gateway, GOLD), Client::begin(&gateway, WEB));
    let pid = text(&other, "one_pid");
    assert!(crasher.call("one_die", json!({}))["error"].is_object());
    eventually("it is gone", || !is_there(&pid));
    assert_ne!(text(&other, "one_pid"), pid, "the other has it started again at once");
    let refused = crasher.call("one_die", json!({}));
    assert!(refused["error"].is_object() && !text(&other, "one_pid").is_empty(), "{refused}");
}

#[test]
fn processes_are_shared_out_by_consumer() {
    let (_folder, gateway) = lines(", process: {max: 3}", "");
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
    let begin = |key: &str| ask(&gateway, "POST", &format!("\nx-api-key: {key}"), &hello);
    let (_one, two) = (Client::begin(&gateway, GOLD), Client::begin(&gateway, GOLD));
    let refused = begin(GOLD);
    assert_eq!(refused.status, 429, "half of three, and no less");
    assert!(refused.text().contains("this caller has as many processes"), "{}", refused.text());
    let _other = Client::begin(&gateway, WEB);
    assert_eq!(begin(WEB).status, 503, "there are three");
    assert_eq!(delete(&gateway, &two), 204);
    eventually("there is room again", || begin(GOLD).status == 200);
}

#[test]
fn what_waits_for_a_program_is_bounded_by_bytes_for_each_consumer() {
    let (_folder, gateway) = lines(", process: {shared: true, maxQueueSize: 1MiB}", "");
    let (one, two) = (Client::begin(&gateway, GOLD), Client::begin(&gateway, WEB));
    let _dozing = unread(&gateway, &one, &json!({"name": "one_doze"}));
    pause(300);
    let large = json!({"name": "one_pid", "arguments": {"x": "x".repeat(700 * 1024)}});
    let _waits = unread(&gateway, &one, &large);
    pause(300);
    let refused = one.post(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": large}));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("too much of this caller's waits"), "{}", refused.text());
    let other = two.post(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": large}));
    assert_eq!(other.status, 200, "another has room of its own: {}", other.text());
    let again = one.post(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": large}));
    assert_eq!(again.status, 200, "what was read makes room: {}", again.text());
}

#[test]
fn what_a_program_says_to_whoever_does_not_read_is_bounded_by_bytes() {
    let (_folder, gateway) = lines(", process: {maxQueueSize: 1MiB}", "");
    let client = Client::begin(&gateway, GOLD);
    let params = json!({"name": "one_heap", "_meta": {"progressToken": "mine"}});
    let mut connection = unread(&gateway, &client, &params);
    // All has been said when the next call is answered.
    assert!(!text(&client, "one_pid").is_empty());
    let told = connection.read().expect("an answer").text();
    assert!(told.contains("notifications/progress"), "it begins");
    assert!(!told.contains(r#""result""#) && told.len() < 60 << 20, "{} bytes were kept", told.len());
}

#[test]
fn a_program_that_talks_to_itself_is_idle() {
    let (_folder, gateway) = lines("", "      idleTimeout: 2s\n");
    let client = Client::begin(&gateway, GOLD);
    let pid = text(&client, "one_pid");
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "one_chatter"}});
    assert!(client.post(&call).text().contains(r#""id":7"#), "it talks while it answers");
    eventually("it is of no use", || !is_there(&pid));
}

#[test]
fn a_process_can_be_shared_and_tells_nobody_what_is_anothers() {
    let (_folder, gateway) = lines(", process: {shared: true, max: 1}", "");
    let (one, two) = (Client::begin(&gateway, GOLD), Client::begin(&gateway, WEB));
    let pid = text(&one, "one_pid");
    assert_eq!(text(&two, "one_pid"), pid);
    assert!(text(&one, "one_ask").contains("-32601"), "nobody is asked back");
    let params = json!({"name": "one_work", "_meta": {"progressToken": "mine"}});
    let told =
        two.post(&json!({"jsonrpc": "2.0", "id": "w", "method": "tools/call", "params": params})).text();
    assert_eq!(told.matches(r#""progressToken":"mine""#).count(), 2, "{told}");
    assert!(told.contains(r#""id":"w""#), "{told}");
    // Both listen while the second has things done for it; that lists have changed is for both, and comes last.
    let mut streams = [listen(&gateway, &one), listen(&gateway, &two)];
    for tool in ["one_work", "one_log", "one_change"] {
        let params = json!({"name": tool, "_meta": {"progressToken": "mine"}});
        two.post(&json!({"jsonrpc": "2.0", "id": "w", "method": "tools/call", "params": params}));
    }
    for stream in &mut streams {
        let told = until(stream, "list_changed");
        let of_others = ["notifications/progress", "for one alone", r#""result""#];
        assert!(!of_others.iter().any(|other| told.contains(other)), "{told}");
    }
    assert_eq!(delete(&gateway, &one), 204);
    assert_eq!(text(&two, "one_pid"), pid, "it is not the first one's alone");
}

#[test]
fn a_client_that_leaves_cancels_its_call_at_the_process() {
    let (_folder, gateway) = lines("", "");
    let client = Client::begin(&gateway, GOLD);
    let connection = unread(&gateway, &client, &json!({"name": "one_silent"}));
    // What comes after it in the same process shows that it has arrived.
    text(&client, "one_pid");
    assert!(!gateway.stderr().contains("told to cancel"));
    drop(connection);
    eventually("the process is told", || gateway.stderr().contains("one: one was told to cancel"));
}

#[test]
fn only_what_the_operator_lists_is_run() {
    let (_folder, gateway) = lines("", "");
    let listener = format!("listeners:\n  - {{name: public, address: \"{}\"}}\n", gateway.address);
    let text = config(&[("one", vec!["x".to_owned()], "")], "");
    for (wrong, says) in [
        (text.replace("allowedCommands: [", "allowedCommands: [/bin/true, /no"), "may not be run here"),
        (text.replace("command: [\"/", "command: [\""), "absolute path"),
        (
            text.replace(", command", ", url: \"http://127.0.0.1:1/\", command"),
            "expected one of `url`, `command`",
        ),
    ] {
        gateway.reload(&format!("{listener}{wrong}"));
        assert!(gateway.stderr().contains(says), "{says}: {}", gateway.stderr());
    }
    let client = Client::begin(&gateway, GOLD);
    assert!(!client.tools().is_empty(), "what runs goes on");
}

#[test]
fn a_program_that_asks_whom_nobody_can_be_asked_for_is_told_so_at_once() {
    let (_folder, gateway) = lines("", "");
    let call = || {
        let params = json!({"name": "one_ask", "arguments": {}});
        last_of(&stateless(&gateway, "tools/call", params, ""))
    };
    let told = call();
    assert!(said(&told).contains("-32601"), "in its call: {told}");
    // A stream of one client's is no place for what another's call has the program ask.
    let mut stream = listening(&gateway);
    while !stream.read_line().contains("acknowledged") {}
    let told = call();
    assert!(said(&told).contains("-32601"), "beside its call: {told}");
}
