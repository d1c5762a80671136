//! Agents (A2A) behind the gateway, over sockets: `sdk` official SDKs of both versions on both sides, `owners` whose a task
//! is, `cards` how often an agent is asked for its card,
//! `rest` the binding beside JSON-RPC, `load` what is refused before it serves.

mod cards;
mod load;
mod owners;
mod rest;
mod sdk;

use serde_json::{Value, json};

use super::harness::{Answer, Gateway, Upstream};

/// The keys of the two consumers.
const GOLD: &str = "gold-key-of-the-test";
const WEB: &str = "web-key-of-the-test";

/// A configuration with an `a2a` route at `/a2a`: its agents as name and address, and further settings of the handler.
fn config(agents: &[(&str, String)], more: &str) -> String {
    let agents: Vec<String> =
        agents.iter().map(|(name, url)| format!("        - {{name: {name}, url: \"{url}\"}}\n")).collect();
    format!(
        "consumers:\n  - {{name: gold, keys: [{GOLD}]}}\n  - {{name: web, keys: [{WEB}]}}
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: agents
    match: [{{path: {{prefix: /a2a}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}]
    a2a:
{more}      agents:\n{}",
        agents.concat()
    )
}

/// Sends a message as it is.
fn post(gateway: &Gateway, key: &str, path: &str, body: &str) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\nhost: {}\nx-api-key: {key}\nauthorization: Bearer callers-own-token\ncontent-type: application/json\ncontent-length: {}",
        gateway.address,
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}

/// Sends a request and gives the answer.
fn ask(gateway: &Gateway, key: &str, method: &str, params: Value) -> Value {
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    post(gateway, key, "/a2a/echo", &message.to_string()).json()
}

/// An agent that answers a message with a task `task-1` in `ctx-1`, and tells in the task's metadata what it was sent.
fn scripted() -> Upstream {
    Upstream::scripted(|seen| {
        let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let context = message["params"]["message"]["contextId"].as_str().unwrap_or("ctx-1");
        let task = |id: &str, context: &str| {
            json!({"kind": "task", "id": id, "contextId": context, "status": {"state": "working"},
                   "metadata": {"sent": message["params"]}})
        };
        let result = match message["method"].as_str().unwrap_or_default() {
            "message/send" => task("task-1", context),
            "SendMessage" => json!({"task": task("task-1", context)}),
            "ListTasks" => {
                let own = message["params"]["contextId"].as_str().unwrap_or_default();
                json!({"tasks": [task("task-1", own), task("task-2", "ctx-of-another")], "totalSize": 2, "nextPageToken": ""})
            }
            _ => task(message["params"]["id"].as_str().unwrap_or("task-1"), "ctx-1"),
        };
        let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Some(format!("{head}{body}").into_bytes())
    })
}
