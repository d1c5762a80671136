//! A server with sessions whose tools ask in the middle of their calls, each in its own way, and which remembers what it
//! was told. `arguments.tool` says what a call does.

use std::{
    collections::HashMap,
    io::{BufReader, Write},
    net::TcpStream,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::server::tool;
use crate::harness::{Seen, Upstream, pause, read_request};

const TOOLS: [&str; 16] = [
    "ask",
    "two",
    "mixed",
    "beside",
    "forever",
    "slow",
    "stall",
    "pour",
    "busy",
    "deaf",
    "takes_back",
    "ends",
    "gone",
    "alone",
    "look",
    "pings",
];

/// How long a tool waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn blue() -> Value {
    json!({"action": "accept", "content": {"colour": "blue"}})
}

#[derive(Default)]
struct State {
    /// Answers to its questions, by their ids.
    answers: Mutex<HashMap<String, Value>>,
    answered: Condvar,
    next: AtomicUsize,
    streams: AtomicUsize,
    poured: AtomicUsize,
    /// Answers that were refused for a while.
    busy: AtomicUsize,
    /// Streams of sessions beside their calls.
    beside: Mutex<HashMap<String, TcpStream>>,
    /// What sessions can be asked.
    able: Mutex<HashMap<String, Value>>,
}

/// A running server.
pub(super) struct Asking {
    upstream: Upstream,
    state: Arc<State>,
}

impl Asking {
    pub(super) fn new() -> Self {
        let state = Arc::<State>::default();
        let own = state.clone();
        let upstream = Upstream::raw(move |mut reader, seen| {
            while let Some(request) = read_request(&mut reader) {
                seen.lock().expect("not poisoned").push(request.clone());
                if own.answer(&request, &mut reader).is_none() {
                    return;
                }
            }
        });
        Self { upstream, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.upstream.address)
    }

    /// Messages of this method that it saw.
    pub(super) fn saw(&self, method: &str) -> Vec<Value> {
        let all = self.upstream.seen().into_iter().filter_map(|seen| serde_json::from_slice(&seen.body).ok());
        all.filter(|message: &Value| message["method"] == method).collect()
    }

    pub(super) fn count(&self, method: &str) -> usize {
        self.saw(method).len()
    }

    /// The sessions in which this method was asked.
    pub(super) fn sessions_of(&self, method: &str) -> Vec<String> {
        let all = self.upstream.seen().into_iter().filter(|seen| {
            serde_json::from_slice::<Value>(&seen.body).is_ok_and(|message| message["method"] == method)
        });
        all.filter_map(|seen| seen.header("mcp-session-id").map(str::to_owned)).collect()
    }

    /// Answers that it was given, taken or not.
    pub(super) fn answers(&self) -> Vec<Value> {
        let all = self.upstream.seen().into_iter().filter_map(|seen| serde_json::from_slice(&seen.body).ok());
        all.filter(|message: &Value| message["method"].is_null() && !message["id"].is_null()).collect()
    }

    /// Streams beside calls that were opened.
    pub(super) fn streams(&self) -> usize {
        self.state.streams.load(Ordering::Relaxed)
    }

    /// Sessions that were ended.
    pub(super) fn ended(&self) -> usize {
        self.upstream.seen().iter().filter(|seen| seen.line.starts_with("DELETE")).count()
    }

    /// Bytes that `pour` could write before it was answered.
    pub(super) fn poured(&self) -> usize {
        self.state.poured.load(Ordering::Relaxed)
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn events(messages: &[Value]) -> String {
    let all: String = messages.iter().map(|message| format!("event: message\ndata: {message}\n\n")).collect();
    format!("{:x}\r\n{all}\r\n", all.len())
}

/// One call, as its tool sees it.
struct Running<'a> {
    state: &'a State,
    to: &'a mut TcpStream,
    session: String,
    params: Value,
}

impl State {
    /// Answers a request; none closes the connection.
    fn answer(&self, seen: &Seen, reader: &mut BufReader<TcpStream>) -> Option<()> {
        let session = seen.header("mcp-session-id").unwrap_or_default().to_owned();
        if seen.line.starts_with("GET") {
            self.streams.fetch_add(1, Ordering::Relaxed);
            let own = reader.get_ref().try_clone().ok()?;
            self.beside.lock().expect("not poisoned").insert(session, own);
            return reader.get_mut().write_all(STREAM.as_bytes()).ok();
        }
        if seen.line.starts_with("DELETE") {
            return reader.get_mut().write_all(http("200 OK", "", "").as_bytes()).ok();
        }
        let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let (id, params) = (message["id"].clone(), message["params"].clone());
        let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
        let said = match message["method"].as_str() {
            None => {
                let status = self.takes(&message);
                return reader.get_mut().write_all(http(status, "", "").as_bytes()).ok();
            }
            Some(_) if id.is_null() => {
                return reader.get_mut().write_all(http("202 Accepted", "", "").as_bytes()).ok();
            }
            Some("server/discover") => {
                let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}});
                return reader.get_mut().write_all(http("400 Bad", "", &error.to_string()).as_bytes()).ok();
            }
            Some("initialize") => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let session = format!("s-{number}");
                self.able
                    .lock()
                    .expect("not poisoned")
                    .insert(session.clone(), params["capabilities"].clone());
                let said = result(json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}, "prompts": {}, "resources": {}},
                    "serverInfo": {"name": "old", "version": "1"},
                }));
                let head = format!("mcp-session-id: {session}\r\n");
                return reader.get_mut().write_all(http("200 OK", &head, &said.to_string()).as_bytes()).ok();
            }
            Some("tools/list") => result(json!({"tools": TOOLS.map(tool)})),
            Some("resources/list") => result(json!({"resources": []})),
            Some("resources/read") if params["uri"] == "memo://of/old" && self.is_asked(&session) => {
                let to = reader.get_mut();
                to.write_all(STREAM.as_bytes()).ok()?;
                let mut running = Running { state: self, to, session, params };
                let text = running.ask()?;
                running.ends(&result(json!({"contents": [{"uri": "memo://of/old", "text": text}]})));
                return None;
            }
            Some("prompts/get") => {
                let to = reader.get_mut();
                to.write_all(STREAM.as_bytes()).ok()?;
                let mut running = Running { state: self, to, session, params };
                let text = running.ask()?;
                let content = json!({"type": "text", "text": text});
                running.ends(&result(json!({"messages": [{"role": "user", "content": content}]})));
                return None;
            }
            Some("tools/call") => {
                let to = reader.get_mut();
                to.write_all(STREAM.as_bytes()).ok()?;
                let mut running = Running { state: self, to, session, params };
                let tool = running.params["arguments"]["tool"].as_str().unwrap_or_default().to_owned();
                let text = running.work(&tool)?;
                running.ends(&result(json!({"content": [{"type": "text", "text": text}]})));
                return None;
            }
            Some(other) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": format!("no {other}")}})
            }
        };
        reader.get_mut().write_all(http("200 OK", "", &said.to_string()).as_bytes()).ok()
    }

    fn is_asked(&self, session: &str) -> bool {
        self.able.lock().expect("not poisoned").get(session).is_some_and(|able| *able != json!({}))
    }

    /// Takes an answer; the status.
    fn takes(&self, message: &Value) -> &'static str {
        let id = message["id"].as_str().unwrap_or_default();
        if id.starts_with("busy") && self.busy.fetch_add(1, Ordering::Relaxed) == 0 {
            return "503 Later";
        }
        if id.starts_with("deaf") {
            return "400 No";
        }
        self.answers.lock().expect("not poisoned").insert(id.to_owned(), message.clone());
        self.answered.notify_all();
        "202 Accepted"
    }

    /// Waits for an answer: its result, or the code of its error.
    fn wait(&self, id: &str) -> Option<Value> {
        let answers = self.answers.lock().expect("not poisoned");
        let (mut answers, late) = self
            .answered
            .wait_timeout_while(answers, PATIENCE, |all| !all.contains_key(id))
            .expect("not poisoned");
        if late.timed_out() {
            return None;
        }
        answers.remove(id)
    }
}

impl Running<'_> {
    fn write(&mut self, text: &str) -> Option<()> {
        self.to.write_all(text.as_bytes()).ok()
    }

    /// The end of a call, with trailers.
    fn ends(&mut self, answer: &Value) {
        let _ = self.write(&events(std::slice::from_ref(answer)));
        let _ = self.write("0\r\nx-trailer: 1\r\n\r\n");
    }

    fn question(&self, what: &str, method: &str, params: Value) -> (String, Value) {
        let id = format!("{what}-{}", self.state.next.fetch_add(1, Ordering::Relaxed));
        let mut params = params;
        params["_meta"] = json!({"progressToken": 7});
        (id.clone(), json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
    }

    fn form(&self, what: &str) -> (String, Value) {
        let schema = json!({"type": "object", "properties": {"colour": {"type": "string"}}});
        self.question(
            what,
            "elicitation/create",
            json!({"message": "Which colour?", "requestedSchema": schema}),
        )
    }

    fn progress(&self, part: usize) -> Value {
        let token = &self.params["_meta"]["progressToken"];
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": part}})
    }

    /// The words for an answer.
    fn words(&self, id: &str) -> Option<String> {
        let answer = self.state.wait(id)?;
        let (result, error) = (&answer["result"], &answer["error"]);
        if error.is_object() {
            return Some(format!("{} {}", error["code"], error["message"]));
        }
        let colour = result["content"]["colour"].as_str().unwrap_or("null");
        Some(format!("{}ed {colour}", result["action"].as_str().unwrap_or_default()))
    }

    fn ask(&mut self) -> Option<String> {
        let (id, question) = self.form("ask");
        self.write(&events(&[question]))?;
        self.words(&id).map(|words| words.replace("declineed", "declined"))
    }

    fn colour(&self, id: &str) -> Option<String> {
        let answer = self.state.wait(id)?;
        let code = answer["error"]["code"].as_i64().map(|code| code.to_string());
        code.or_else(|| answer["result"]["content"]["colour"].as_str().map(str::to_owned))
    }

    /// What a tool does: the text of its answer.
    fn work(&mut self, tool: &str) -> Option<String> {
        match tool {
            "ask" => {
                let before = self.progress(1);
                self.write(&events(&[before]))?;
                self.ask()
            }
            "two" => {
                let ((one, first), (two, second)) = (self.form("two"), self.form("two"));
                self.write(&events(&[first, second]))?;
                let (one, two) = (self.colour(&one)?, self.colour(&two)?);
                let (id, roots) = self.question("roots", "roots/list", json!({}));
                self.write(&events(&[roots]))?;
                let count = self.state.wait(&id)?["result"]["roots"].as_array().map_or(0, Vec::len);
                Some(format!("{one}, {two}; {count} root"))
            }
            "mixed" => {
                let (one, first) = self.form("mixed");
                let (two, second) =
                    self.question("mixed", "sampling/createMessage", json!({"messages": [], "maxTokens": 1}));
                self.write(&events(&[first, second]))?;
                Some(format!("{}; {}", self.colour(&one)?, self.colour(&two)?))
            }
            "beside" => {
                let (id, question) = self.form("beside");
                let mut all = self.state.beside.lock().expect("not poisoned");
                all.get_mut(&self.session)?.write_all(events(&[question]).as_bytes()).ok()?;
                drop(all);
                self.words(&id)
            }
            "forever" => loop {
                let words = self.ask()?;
                if words.starts_with('-') {
                    return Some(words);
                }
            },
            "slow" => {
                let words = self.ask()?;
                let progress = self.progress(2);
                self.write(&events(&[progress]))?;
                for _ in 0..100 {
                    pause(100);
                    self.write("4\r\n: x\n\r\n")?;
                }
                Some(words)
            }
            "stall" => {
                let words = self.ask()?;
                pause(5000);
                Some(words)
            }
            "pings" => {
                let (before, ping) = self.question("ping", "ping", json!({}));
                self.write(&events(&[ping]))?;
                let (id, question) = self.form("pings");
                let (between, ping) = self.question("ping", "ping", json!({}));
                self.state.wait(&before)?["result"].as_object()?;
                self.write(&events(&[question]))?;
                pause(100);
                self.write(&events(&[ping]))?;
                self.state.wait(&between)?["result"].as_object()?;
                self.words(&id)
            }
            "pour" => self.pour(),
            "busy" | "deaf" => {
                let (id, question) = self.form(tool);
                self.write(&events(&[question]))?;
                self.words(&id)
            }
            "takes_back" | "ends" | "gone" | "alone" => {
                let (id, question) = self.form(tool);
                let taken_back = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
                match tool {
                    "alone" => {
                        self.write(&events(&[question, taken_back]))?;
                        return Some("went on alone".to_owned());
                    }
                    _ => self.write(&events(&[question]))?,
                }
                pause(150);
                if tool == "gone" {
                    self.write("0\r\n\r\n")?;
                    return None;
                }
                if tool == "takes_back" {
                    self.write(&events(&[taken_back]))?;
                    pause(50);
                }
                Some("went on alone".to_owned())
            }
            _ => Some("looked".to_owned()),
        }
    }

    /// Says much while it waits for an answer.
    fn pour(&mut self) -> Option<String> {
        let (id, question) = self.form("pour");
        self.write(&events(&[question]))?;
        for part in 0..400 {
            let mut progress = self.progress(part);
            progress["params"]["message"] = json!("x".repeat(100 * 1024));
            let text = events(&[progress]);
            self.write(&text)?;
            self.state.poured.fetch_add(text.len(), Ordering::Relaxed);
        }
        self.words(&id).map(|_| "poured all".to_owned())
    }
}
