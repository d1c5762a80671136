//! A server of tools for tests: small, exact, and it remembers what it saw.
//!
//! It keeps no state: a session's id says whose it is. Tools are what a test gives it; `slow` streams two events before
//! its answer and waits for leave in between, `broken` fails.

use std::{
    io::Write,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Seen, Upstream, read_request};

/// A gate that a test opens.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(super) fn open(&self) {
        *self.0.0.lock().expect("not poisoned") = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().expect("not poisoned");
        let _ = self.0.1.wait_timeout_while(open, Duration::from_secs(20), |open| !*open);
    }
}

/// A running server.
pub(crate) struct Server {
    pub(super) upstream: Upstream,
    /// Holds `slow` after its first event.
    pub(super) gate: Gate,
    /// What it lists; a test may change it.
    pub(super) tools: Arc<Mutex<Vec<Value>>>,
    sessions: Arc<AtomicUsize>,
}

/// A tool without anything special.
pub(super) fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("Does {name}."), "inputSchema": {"type": "object"}})
}

impl Server {
    /// A server with tools of these names.
    pub(crate) fn with(tools: &[&str]) -> Self {
        Self::of(tools.iter().map(|name| tool(name)).collect())
    }

    /// A server with these tools.
    pub(super) fn of(tools: Vec<Value>) -> Self {
        let tools = Arc::new(Mutex::new(tools));
        let gate = Gate::default();
        let sessions = Arc::new(AtomicUsize::new(0));
        let (listed, held, begun) = (tools.clone(), gate.clone(), sessions.clone());
        let upstream = Upstream::raw(move |mut reader, seen| {
            while let Some(request) = read_request(&mut reader) {
                seen.lock().expect("not poisoned").push(request.clone());
                let listed = listed.lock().expect("not poisoned").clone();
                if answer(&request, &listed, &held, &begun, reader.get_mut()).is_err() {
                    return;
                }
            }
        });
        Self { upstream, gate, tools, sessions }
    }

    /// Its endpoint.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.upstream.address)
    }

    /// How many sessions it began.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Messages of this method that it saw.
    pub(crate) fn saw(&self, method: &str) -> Vec<(Seen, Value)> {
        let all = self.upstream.seen().into_iter().filter_map(|seen| {
            let message: Value = serde_json::from_slice(&seen.body).ok()?;
            (message["method"] == method).then_some((seen, message))
        });
        all.collect()
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn event(message: &Value) -> String {
    chunk(&format!("event: message\ndata: {message}\n\n"))
}

fn answer(
    seen: &Seen,
    tools: &[Value],
    gate: &Gate,
    sessions: &AtomicUsize,
    to: &mut impl Write,
) -> std::io::Result<()> {
    if seen.line.starts_with("GET") {
        return to.write_all(http("405 No", "allow: POST\r\n", "").as_bytes());
    }
    if seen.line.starts_with("DELETE") {
        return to.write_all(http("200 OK", "", "").as_bytes());
    }
    let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let (id, params) = (message["id"].clone(), &message["params"]);
    let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    if id.is_null() || message["method"].is_null() {
        return to.write_all(http("202 Accepted", "", "").as_bytes());
    }
    let said = match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            let number = sessions.fetch_add(1, Ordering::Relaxed) + 1;
            let said = result(json!({
                "protocolVersion": params["protocolVersion"], "capabilities": {"tools": {"listChanged": true}},
                "serverInfo": {"name": "a server of the tests", "version": "1"},
            }));
            let session = format!("mcp-session-id: own-{number}\r\n");
            return to.write_all(http("200 OK", &session, &said.to_string()).as_bytes());
        }
        "tools/list" => result(json!({"tools": tools})),
        "tools/call" if params["name"] == "slow" => {
            to.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            )?;
            let progress = |part: u32| {
                let token = &params["_meta"]["progressToken"];
                let params = json!({"progressToken": token, "progress": part});
                event(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            };
            to.write_all(progress(1).as_bytes())?;
            gate.wait();
            to.write_all(progress(2).as_bytes())?;
            let said = result(json!({"content": [{"type": "text", "text": "late"}]}));
            to.write_all(event(&said).as_bytes())?;
            return to.write_all(b"0\r\n\r\n");
        }
        "tools/call" if tools.iter().any(|tool| tool["name"] == params["name"]) => result(
            json!({"content": [{"type": "text", "text": params["name"]}], "isError": params["name"] == "broken"}),
        ),
        "tools/call" => {
            let text = format!("unknown tool: {}", params["name"].as_str().unwrap_or_default());
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": text}})
        }
        other => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": format!("no {other}")}})
        }
    };
    to.write_all(http("200 OK", "", &said.to_string()).as_bytes())
}
