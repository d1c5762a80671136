//! Official SDKs on both sides: agents and clients of 1.0 and of 0.3, unchanged, with the gateway between them.

use serde_json::{Value, json};

use super::{GOLD, WEB, config};
use crate::harness::{Gateway, Peer, agents, eventually, free_port, get, node, pause};

/// An agent made with the SDK; it is ready when this returns.
fn agent(is_old: bool) -> (Peer, String) {
    let port = free_port().to_string();
    let script = if is_old { include_str!("agent_old.py") } else { include_str!("agent.py") };
    let mut peer = Peer::start(agents(is_old, script, &[&port]));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    (peer, format!("http://127.0.0.1:{port}/"))
}

fn report(gateway: &Gateway, is_old: bool, binding: &str) -> Value {
    let url = format!("http://{}/a2a/echo", gateway.address);
    let script = if is_old { include_str!("client_old.py") } else { include_str!("client.py") };
    let (is_well, out) = Peer::start(agents(is_old, script, &[&url, GOLD, WEB, binding])).finish();
    let line = out.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let report = serde_json::from_str(line);
    report.unwrap_or_else(|error| panic!("{error}, {is_well}: {out}\n{}", gateway.stderr()))
}

/// An agent made with JavaScript's SDK.
fn agent_of_javascript() -> (Peer, String) {
    let port = free_port().to_string();
    let mut peer = Peer::start(node("a2a-agent", include_str!("agent.mjs"), &[&port]));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    (peer, format!("http://127.0.0.1:{port}/"))
}

/// What JavaScript's client saw by one of the bindings.
fn report_of_javascript(gateway: &Gateway, binding: &str) -> Value {
    let url = format!("http://{}/a2a/echo", gateway.address);
    let client = node("a2a-client", include_str!("client.mjs"), &[&url, GOLD, WEB, binding]);
    let (is_well, out) = Peer::start(client).finish();
    let line = out.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let report = serde_json::from_str(line);
    report.unwrap_or_else(|error| panic!("{error}, {is_well}: {out}\n{}", gateway.stderr()))
}

/// All ids of tasks, and all of contexts, that stand anywhere in a value.
fn ids(value: &Value, tasks: &mut Vec<String>, contexts: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value.as_str()) {
                    ("taskId", Some(id)) => tasks.push(id.to_owned()),
                    ("contextId", Some(id)) => contexts.push(id.to_owned()),
                    _ => ids(value, tasks, contexts),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| ids(item, tasks, contexts)),
        _ => {}
    }
}

/// One id stands for one task wherever it is, and it is not the agent's own, which is a UUID.
fn is_one(value: &Value, task: &str, context: &str) {
    let (mut tasks, mut contexts) = (Vec::new(), Vec::new());
    ids(value, &mut tasks, &mut contexts);
    assert!(!tasks.is_empty() && tasks.iter().all(|id| id == task), "{task}: {value}");
    assert!(!contexts.is_empty() && contexts.iter().all(|id| id == context), "{context}: {value}");
    assert!(task.len() > 80, "{task} is the agent's own");
}

#[test]
fn clients_and_agents_of_1_0_speak_through_the_gateway() {
    let (_peer, url) = agent(false);
    for binding in ["JSONRPC", "HTTP+JSON"] {
        let gateway = Gateway::start(&config(&[("echo", url.clone())], ""));
        new(&report(&gateway, false, binding), &gateway, &url);
    }
}

/// What a client of 1.0 must have seen.
fn new(report: &Value, gateway: &Gateway, url: &str) {
    let address = format!("http://{}/a2a/echo", gateway.address);
    let card = &report["card"];
    let interfaces = card["supportedInterfaces"].as_array().expect("interfaces");
    assert!(interfaces.iter().all(|one| one["url"] == address && one["protocolBinding"] != "GRPC"), "{card}");
    let key = json!({"apiKeySecurityScheme": {"location": "header", "name": "x-api-key"}});
    assert_eq!(card["securitySchemes"], json!({"key-x-api-key": key}), "{card}");
    assert!(!card.to_string().contains(url) && card["capabilities"]["pushNotifications"] == false, "{card}");

    let events = report["events"].as_array().expect("events");
    let task = &events[0]["task"];
    let (id, context) = (task["id"].as_str().expect("an id"), task["contextId"].as_str().expect("a context"));
    is_one(&report["events"], id, context);
    let words: Vec<&str> = events
        .iter()
        .filter_map(|event| event["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str())
        .collect();
    assert_eq!(words, ["one", "two", "three"], "{report}");
    assert_eq!(report["got"]["id"], id);
    assert_eq!(report["got"]["status"]["state"], "TASK_STATE_COMPLETED", "{report}");
    is_one(&report["got"], id, context);
    // A context that the client named keeps its name.
    let asked = &report["sent"].as_array().and_then(|all| all.last()).expect("a task")["task"];
    assert_eq!(
        (&asked["contextId"], &asked["status"]["state"]),
        (&json!("my-own-talk"), &json!("TASK_STATE_INPUT_REQUIRED"))
    );
    let again = &report["again"].as_array().and_then(|all| all.last()).expect("a task")["task"];
    assert_eq!(
        (&again["id"], &again["status"]["state"]),
        (&asked["id"], &json!("TASK_STATE_COMPLETED")),
        "{report}"
    );
    assert_eq!(report["cancelled"]["status"]["state"], "TASK_STATE_CANCELED", "{report}");
    assert_eq!(report["cancelled"]["id"], report["slow"]);
    let followed = report["followed"].as_array().expect("events");
    assert!(
        followed.iter().any(|event| event["statusUpdate"]["status"]["state"] == "TASK_STATE_CANCELED"),
        "{report}"
    );
    assert_eq!(report["listed"], json!([id]), "{report}");
    assert_eq!(report["list_all"], "InvalidParamsError", "{report}");
    for foreign in ["foreign_get", "foreign_cancel", "foreign_send"] {
        assert_eq!(report[foreign], "TaskNotFoundError", "{foreign}: {report}");
    }
    assert_eq!(report["foreign_list"], json!([]), "{report}");
    let streamed = gateway.record("the stream", |one| one["a2a"]["method"] == "SendStreamingMessage");
    assert_eq!(
        (&streamed["a2a"]["agent"], &streamed["a2a"]["task"]),
        (&json!("echo"), &json!(id)),
        "{streamed}"
    );
    assert_eq!((&streamed["a2a"]["events"], &streamed["consumer"]), (&json!(events.len()), &json!("gold")));
    let is_foreign = |one: &Value| one["consumer"] == "web" && one["a2a"]["method"] == "GetTask";
    assert_eq!(gateway.record("the stranger", is_foreign)["a2a"]["error_code"], -32001);
}

/// What JavaScript's client must have seen.
fn of_javascript(report: &Value) {
    let events = report["events"].as_array().expect("events");
    let task = &events[0]["task"];
    let (id, context) = (task["id"].as_str().expect("an id"), task["contextId"].as_str().expect("a context"));
    is_one(&report["events"], id, context);
    let words: Vec<&str> = events
        .iter()
        .filter_map(|event| event["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str())
        .collect();
    assert_eq!(words, ["one", "two", "three"], "{report}");
    assert_eq!(report["got"]["id"], id);
    assert_eq!(report["got"]["status"]["state"], "TASK_STATE_COMPLETED", "{report}");
    assert_eq!(
        (&report["sent"]["contextId"], &report["sent"]["status"]["state"]),
        (&json!("my-own-talk"), &json!("TASK_STATE_INPUT_REQUIRED")),
        "{report}"
    );
    assert_eq!(
        (&report["again"]["id"], &report["again"]["status"]["state"]),
        (&report["sent"]["id"], &json!("TASK_STATE_COMPLETED")),
        "{report}"
    );
    assert_eq!(report["cancelled"]["status"]["state"], "TASK_STATE_CANCELED", "{report}");
    assert_eq!(report["cancelled"]["id"], report["slow"]);
    let followed = report["followed"].as_array().expect("events");
    assert!(
        followed.iter().any(|event| event["statusUpdate"]["status"]["state"] == "TASK_STATE_CANCELED"),
        "{report}"
    );
    assert_eq!(report["listed"], json!([id]), "{report}");
    assert!(report["list_all"].is_string(), "{report}");
    for foreign in ["foreign_get", "foreign_cancel", "foreign_send", "foreign_stream"] {
        assert_eq!(report[foreign], "TaskNotFoundError", "{foreign}: {report}");
    }
    assert_eq!(report["foreign_list"], json!([]), "{report}");
}

#[test]
fn javascripts_client_speaks_with_agents_of_both_sdks() {
    for (_peer, url) in [agent(false), agent_of_javascript()] {
        let gateway = Gateway::start(&config(&[("echo", url)], ""));
        for binding in ["JSONRPC", "HTTP+JSON"] {
            let report = report_of_javascript(&gateway, binding);
            of_javascript(&report);
            let asked = report["asked"].as_array().expect("requests");
            let is_rest =
                |one: &Value| one.as_str().is_some_and(|one| one.ends_with("/a2a/echo/message:send"));
            assert_eq!(asked.iter().any(is_rest), binding == "HTTP+JSON", "{asked:?}");
        }
    }
}

/// What a client of 0.3 must have seen.
fn old(report: &Value, gateway: &Gateway) {
    let address = format!("http://{}/a2a/echo", gateway.address);
    let card = &report["card"];
    assert_eq!((&card["url"], &card["preferredTransport"]), (&json!(address), &json!("JSONRPC")), "{card}");
    let key = &card["securitySchemes"]["key-x-api-key"];
    assert_eq!(
        (&key["type"], &key["in"], &key["name"]),
        (&json!("apiKey"), &json!("header"), &json!("x-api-key"))
    );
    let task = &report["task"];
    let (id, context) = (task["id"].as_str().expect("an id"), task["contextId"].as_str().expect("a context"));
    is_one(&report["updates"], id, context);
    is_one(&report["got"], id, context);
    assert_eq!(report["got"]["status"]["state"], "completed", "{report}");
    assert_eq!(report["got"]["artifacts"].as_array().map(Vec::len), Some(3), "{report}");
    assert_eq!(report["asked"]["contextId"], "my-own-talk", "{report}");
    assert_eq!(report["again"]["id"], report["asked"]["id"], "{report}");
    assert_eq!(report["again"]["status"]["state"], "completed", "{report}");
    assert_eq!(report["cancelled"]["status"]["state"], "canceled", "{report}");
    // Taken up again in its midst, a stream goes on to its end.
    let resumed = report["resumed"].as_array().expect("events");
    let last = resumed.last().expect("an event");
    assert!(resumed.len() > 3 && last["status"]["state"] == "completed", "{report}");
    assert_eq!(last["taskId"], report["long"], "{report}");
    for foreign in ["foreign_get", "foreign_cancel"] {
        assert!(
            report[foreign].as_str().is_some_and(|text| text.contains("Task not found")),
            "{foreign}: {report}"
        );
    }
}

#[test]
fn clients_and_agents_of_0_3_speak_through_the_gateway() {
    let (_peer, url) = agent(true);
    let gateway = Gateway::start(&config(&[("echo", url)], ""));
    let report = report(&gateway, true, "JSONRPC");
    old(&report, &gateway);
    assert_eq!(report["extended"]["description"], "Says more to those it knows.", "{report}");
    assert_eq!(report["extended"]["url"], report["card"]["url"], "{report}");
}

#[test]
fn a_client_of_0_3_speaks_with_an_agent_that_knows_both() {
    let (_peer, url) = agent(false);
    let gateway = Gateway::start(&config(&[("echo", url)], ""));
    let report = report(&gateway, true, "JSONRPC");
    old(&report, &gateway);
    let followed = report["followed"].as_array().expect("events");
    assert!(followed.iter().any(|event| event["status"]["state"] == "canceled"), "{report}");
}

#[test]
fn events_flow_one_by_one_and_tasks_outlive_a_client_and_the_gateway() {
    let (_peer, url) = agent(true);
    let folder = tempfile::tempdir().expect("a folder");
    let more = "      idKey: a-secret-of-the-test\n";
    let text = config(&[("echo", url)], more);
    let gateway = Gateway::start(&text);
    let message = json!({"role": "user", "messageId": "m", "kind": "message", "parts": [{"kind": "text", "text": "slow"}]});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/stream", "params": {"message": message}})
        .to_string();
    let mut socket = crate::harness::Client::connect(gateway.address);
    socket.write(format!(
        "POST /a2a HTTP/1.1\r\nhost: {}\r\nx-api-key: {GOLD}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        gateway.address,
        body.len()
    ));
    let head = socket.read_head().expect("a head");
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    // The agent works for a minute; its first events are here long before.
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains("I begin") {
        let count = socket.read_some(&mut buffer);
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    let line = seen.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event");
    let event: Value = serde_json::from_str(line).expect("JSON");
    let id = event["result"]["id"].as_str().expect("an id").to_owned();
    drop(socket);
    eventually("the stream is recorded", || {
        gateway.stdout().lines().any(|line| line.contains("SendStreamingMessage"))
    });
    drop(gateway);
    let gateway = Gateway::start(&text);
    let state =
        || super::ask(&gateway, GOLD, "tasks/get", json!({"id": id}))["result"]["status"]["state"].clone();
    assert_eq!(state(), "working", "who leaves cancels nothing");
    let cancelled = super::ask(&gateway, GOLD, "tasks/cancel", json!({"id": id}));
    assert_eq!(cancelled["result"]["status"]["state"], "canceled", "{cancelled}");
    pause(10);
    drop(folder);
}

#[test]
fn cards_are_for_whom_the_operator_says() {
    let (_peer, url) = agent(true);
    let closed = Gateway::start(&config(&[("echo", url.clone()), ("other", url.clone())], ""));
    let path = "/a2a/echo/.well-known/agent-card.json";
    assert_eq!(get(closed.address, path).expect("an answer").status, 401);
    let more = "      publicCards: true\n      publicUrl: https://api.example.com/a2a\n";
    let open = Gateway::start(&config(&[("echo", url.clone()), ("other", url)], more));
    for path in [path, "/a2a/echo/.well-known/agent.json"] {
        let card = get(open.address, path).expect("an answer");
        assert_eq!(card.status, 200, "{}", card.text());
        assert_eq!(card.json()["url"], "https://api.example.com/a2a/echo");
    }
    assert_eq!(
        get(open.address, "/a2a/.well-known/agent-card.json").expect("an answer").status,
        401,
        "of which agent?"
    );
    let head = format!("POST {path} HTTP/1.1\nhost: {}\ncontent-length: 0", open.address);
    assert_eq!(open.send(&head, b"").status, 401, "the card alone is open");
    assert_eq!(super::post(&open, "no-such-key", "/a2a/echo", "{}").status, 401);
}
