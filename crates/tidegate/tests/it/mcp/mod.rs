//! Servers of tools behind one endpoint, over sockets: what is federated, who comes in, how sessions live, and official
//! SDKs on both sides.

mod alone;
mod asked;
mod asking;
mod conformance;
mod door;
mod federation;
mod hostile;
mod local;
mod oauth;
mod old;
mod revisions;
mod rules;
mod sdk;
pub(super) mod server;
mod sessions;
mod stdio;
mod telemetry;
mod tokens;

use serde_json::{Value, json};

use super::harness::{Answer, Gateway};

/// The keys of the two consumers.
const GOLD: &str = "gold-key-of-the-test";
const WEB: &str = "web-key-of-the-test";

/// A configuration with an `mcp` route at `/mcp`: its servers, and further settings of the handler.
fn config(servers: &[(&str, String, &str)], more: &str) -> String {
    let servers: Vec<String> = servers
        .iter()
        .map(|(name, url, more)| format!("        - {{name: {name}, url: \"{url}\"{more}}}\n"))
        .collect();
    format!(
        "consumers:\n  - {{name: gold, keys: [{GOLD}]}}\n  - {{name: web, keys: [{WEB}]}}
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: tools
    match: [{{path: {{prefix: /mcp}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}]
    mcp:
{more}      servers:\n{}",
        servers.concat()
    )
}

/// A gateway with such a route.
fn gateway(servers: &[(&str, String, &str)], more: &str) -> Gateway {
    Gateway::start(&config(servers, more))
}

/// A request to the endpoint: method, further header lines, a body.
fn ask(gateway: &Gateway, method: &str, headers: &str, body: &str) -> Answer {
    let host = gateway.address;
    let head = format!(
        "{method} /mcp HTTP/1.1\nhost: {host}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{headers}",
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}

/// The one message of an answer, or the last of its events.
fn last_of(answer: &Answer) -> Value {
    let text = answer.text();
    let data = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {} {text}", answer.status))
}

/// A client of the protocol that says exactly what a test wants.
struct Client<'g> {
    gateway: &'g Gateway,
    key: &'static str,
    session: String,
}

impl<'g> Client<'g> {
    /// Begins a session.
    fn begin(gateway: &'g Gateway, key: &'static str) -> Self {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
                            "clientInfo": {"name": "test", "version": "1"}});
        let mut client = Self { gateway, key, session: String::new() };
        let answer =
            client.post(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        client.session = answer.header("mcp-session-id").expect("a session").to_owned();
        let told = client.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        assert_eq!(told.status, 202);
        client
    }

    /// Another client with the same session.
    fn with<'h>(&self, gateway: &'h Gateway, key: &'static str) -> Client<'h> {
        Client { gateway, key, session: self.session.clone() }
    }

    fn headers(&self) -> String {
        let session = if self.session.is_empty() {
            String::new()
        } else {
            format!("\nmcp-session-id: {}", self.session)
        };
        format!("\nx-api-key: {}{session}\nmcp-protocol-version: 2025-06-18", self.key)
    }

    fn post(&self, message: &Value) -> Answer {
        ask(self.gateway, "POST", &self.headers(), &message.to_string())
    }

    /// A request and its answer.
    fn request(&self, method: &str, params: Value) -> Value {
        last_of(&self.post(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})))
    }

    /// Calls a tool.
    fn call(&self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// The names of all tools, in their order.
    fn tools(&self) -> Vec<String> {
        let listed = self.request("tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
        tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
    }
}

/// The text that a tool answered.
fn said(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}
