//! HTTP and JSON, the second binding of 1.0: the same rules, limits and owners, and answers as the protocol's REST has them.

use serde_json::{Value, json};

use super::{GOLD, WEB, config, scripted};
use crate::harness::{Answer, Gateway, Upstream};

fn gateway(agent: &Upstream, more: &str) -> Gateway {
    Gateway::start(&config(&[("echo", format!("http://{}/", agent.address))], more))
}

fn ask(gateway: &Gateway, key: &str, line: &str, body: &str) -> Answer {
    let head = format!(
        "{line} HTTP/1.1\nhost: {}\nx-api-key: {key}\na2a-version: 1.0\ncontent-type: application/json\ncontent-length: {}",
        gateway.address,
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}

/// Why something was refused, in the protocol's words.
fn reason(answer: &Answer) -> (u16, String) {
    let told = answer.json();
    assert_eq!(told["error"]["code"], answer.status, "{told}");
    let reason = told["error"]["details"][0]["reason"].as_str().unwrap_or_else(|| panic!("{told}"));
    (answer.status, reason.to_owned())
}

fn sent(agent: &Upstream) -> Value {
    serde_json::from_slice(&agent.seen().pop().expect("a request").body).expect("JSON")
}

#[test]
fn a_task_is_its_owners_alone_whatever_the_binding() {
    let agent = scripted();
    let gateway = gateway(&agent, "");
    let answer = ask(&gateway, GOLD, "POST /a2a/echo/message:send", r#"{"message":{"parts":[]}}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let task = &answer.json()["task"];
    let id = task["id"].as_str().expect("an id");
    assert!(id.len() > 30 && task["contextId"] != "ctx-1", "{task}");
    assert_eq!(sent(&agent)["method"], "SendMessage");
    assert_eq!(agent.seen().pop().expect("a request").header("a2a-version"), Some("1.0"));
    // With the older prefix, too, and in JSON-RPC it is the same task.
    for line in [
        format!("GET /a2a/echo/tasks/{id}?historyLength=3"),
        format!("GET /a2a/echo/v1/tasks/{id}?historyLength=3"),
    ] {
        let got = ask(&gateway, GOLD, &line, "");
        assert_eq!((got.status, &got.json()["id"]), (200, &json!(id)), "{}", got.text());
        assert_eq!(sent(&agent)["params"], json!({"id": "task-1", "historyLength": 3}));
    }
    let got = super::ask(&gateway, GOLD, "GetTask", json!({"id": id}));
    assert_eq!(got["result"]["id"], id, "{got}");
    let before = agent.seen().len();
    for (line, body) in [
        (format!("GET /a2a/echo/tasks/{id}"), String::new()),
        (format!("POST /a2a/echo/tasks/{id}:cancel"), "{}".to_owned()),
        (format!("POST /a2a/echo/tasks/{id}:subscribe"), String::new()),
        (format!("GET /a2a/echo/tasks/{id}/pushNotificationConfigs"), String::new()),
        (format!("DELETE /a2a/echo/tasks/{id}/pushNotificationConfigs/c"), String::new()),
        (
            "POST /a2a/echo/message:send".to_owned(),
            json!({"message": {"taskId": id, "parts": []}}).to_string(),
        ),
        (
            "POST /a2a/echo/message:stream".to_owned(),
            json!({"message": {"taskId": id, "parts": []}}).to_string(),
        ),
    ] {
        let foreign = ask(&gateway, WEB, &line, &body);
        assert_eq!(reason(&foreign), (404, "TASK_NOT_FOUND".to_owned()), "{line}");
        let raw = ask(&gateway, GOLD, &line.replace(id, "task-1"), &body.replace(id, "task-1"));
        assert_eq!(reason(&raw), (404, "TASK_NOT_FOUND".to_owned()), "{line}");
    }
    assert_eq!(agent.seen().len(), before, "nothing of it reaches the agent");
    let context = task["contextId"].as_str().expect("a context");
    let listed =
        ask(&gateway, GOLD, &format!("GET /a2a/echo/tasks?contextId={context}&pageSize=5"), "").json();
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(sent(&agent)["params"], json!({"contextId": "ctx-1", "pageSize": 5}));
    let is_first = |one: &Value| one["a2a"]["method"] == "SendMessage" && one["status"] == 200;
    let record = gateway.record("the first message", is_first);
    assert_eq!((&record["a2a"]["task"], &record["consumer"]), (&json!(id), &json!("gold")), "{record}");
}

#[test]
fn rules_and_limits_are_those_of_json_rpc() {
    let agent = scripted();
    let more = "      maxBodySize: 64KiB
      rules:
        - {methods: [CancelTask], allow: \"consumer.name == 'gold'\"}
        - {methods: [SendMessage], rateLimit: {limit: 2, window: 1h, key: consumer}}
";
    let gateway = gateway(&agent, more);
    let send = |key: &str| ask(&gateway, key, "POST /a2a/echo/message:send", r#"{"message":{"parts":[]}}"#);
    let id = send(WEB).json()["task"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(ask(&gateway, WEB, &format!("POST /a2a/echo/tasks/{id}:cancel"), "").status, 403);
    // One limit counts both bindings.
    let other = super::ask(&gateway, WEB, "SendMessage", json!({"message": {"parts": []}}));
    assert!(other["result"].is_object(), "{other}");
    let limited = send(WEB);
    assert!(limited.status == 429 && limited.header("retry-after").is_some(), "{}", limited.text());
    let large = format!(r#"{{"message":{{"parts":["{}"]}}}}"#, "x".repeat(70_000));
    assert_eq!(ask(&gateway, GOLD, "POST /a2a/echo/message:send", &large).status, 413);
    assert_eq!(ask(&gateway, "no-such-key", "POST /a2a/echo/message:send", "{}").status, 401);
    let before = agent.seen().len();
    for (line, body) in [
        ("POST /a2a/echo/message:send", r#"{"message":{},"message":{"taskId":"task-1"}}"#),
        ("POST /a2a/echo/message:send", r#"{"message":{"task_id":"task-1"}}"#),
        ("POST /a2a/echo/message:send", "{"),
        ("GET /a2a/echo/tasks", ""),
        ("GET /a2a/echo/tasks?context_id=x", ""),
        ("GET /a2a/echo/tasks?contextId=x&contextId=y", ""),
    ] {
        assert_eq!(
            reason(&ask(&gateway, GOLD, line, body)),
            (400, "INVALID_PARAMS".to_owned()),
            "{line} {body}"
        );
    }
    let old = format!(
        "GET /a2a/echo/tasks/x HTTP/1.1\nhost: {}\nx-api-key: {GOLD}\na2a-version: 0.3",
        gateway.address
    );
    assert_eq!(reason(&gateway.send(&old, b"")), (400, "VERSION_NOT_SUPPORTED".to_owned()));
    assert_eq!(ask(&gateway, GOLD, "GET /a2a/echo/message:send", "").status, 405);
    assert_eq!(agent.seen().len(), before, "nothing of it reaches the agent");
}
