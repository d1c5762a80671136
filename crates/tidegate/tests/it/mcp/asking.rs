//! Servers that ask back, and clients of the other kind: who has sessions is asked in the middle of its call, and who has
//! none is not asked at all.

use serde_json::{Value, json};

use super::{
    Client, GOLD, ask, gateway, last_of, revisions,
    sdk::{check, endpoint, report, with_third},
    server::tool,
};
use crate::harness::{Client as Connection, Gateway, Peer, Upstream, free_port, node};

const TOOLS: [&str; 6] = ["ask", "insist", "sixteen", "nonsense", "visit", "greet"];

/// A server of the revision without sessions, whose tools ask back.
fn asking() -> Upstream {
    Upstream::scripted(|seen| {
        let message: Value = serde_json::from_slice(&seen.body).ok()?;
        let params = &message["params"];
        let kept = |mut value: Value| {
            value["resultType"] = json!("complete");
            value["ttlMs"] = json!(0);
            value["cacheScope"] = json!("private");
            value
        };
        let result = match message["method"].as_str()? {
            "initialize" => {
                let error = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32022, "message": "no"}});
                return Some(answer("400 Bad", &error));
            }
            "server/discover" => kept(json!({"supportedVersions": ["2026-07-28"],
                                             "capabilities": {"tools": {}, "resources": {}}})),
            "tools/list" => kept(json!({"tools": TOOLS.map(tool)})),
            "resources/list" => kept(json!({"resources": []})),
            "resources/templates/list" => kept(json!({"resourceTemplates": []})),
            "resources/read" if params["inputResponses"]["form"].is_object() => {
                kept(json!({"contents": [{"uri": params["uri"], "text": "read"}]}))
            }
            "resources/read" => form("Which colour?", "read"),
            "tools/call" => called(params),
            _ => json!({"resultType": "complete"}),
        };
        Some(answer("200 OK", &json!({"jsonrpc": "2.0", "id": message["id"], "result": result})))
    })
}

/// A question that is a form.
fn form(text: &str, state: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"colour": {"type": "string"}}});
    let params = json!({"message": text, "requestedSchema": schema});
    json!({"resultType": "input_required", "requestState": state,
           "inputRequests": {"form": {"method": "elicitation/create", "params": params}}})
}

fn done(text: &str) -> Value {
    json!({"resultType": "complete", "content": [{"type": "text", "text": text}]})
}

/// What a tool answers in each round.
fn called(params: &Value) -> Value {
    let (given, state) = (&params["inputResponses"], params["requestState"].as_str());
    let ask = |method: &str, params: Value| {
        json!({"resultType": "input_required", "requestState": "s",
               "inputRequests": {"one": {"method": method, "params": params}}})
    };
    match (params["name"].as_str().unwrap_or_default(), state) {
        ("insist", _) => json!({"resultType": "input_required", "requestState": "again"}),
        ("sixteen", state) => match state.and_then(|state| state.parse().ok()).unwrap_or(0) {
            16 => done("after sixteen"),
            rounds => json!({"resultType": "input_required", "requestState": (rounds + 1).to_string()}),
        },
        ("nonsense", _) => ask("elicitation/create", json!([1])),
        ("visit", _) => {
            ask("elicitation/create", json!({"mode": "url", "url": "https://a.test", "message": "Go there"}))
        }
        ("greet", None) => form("Which colour?", "greet"),
        ("greet", Some(_)) => done(&format!("hello, {}", given["form"]["content"]["colour"])),
        (_, None) => {
            let word = json!({"messages": [{"role": "user", "content": {"type": "text", "text": "A word for new?"}}], "maxTokens": 10});
            let mut asked = form("Which colour?", "one");
            asked["inputRequests"]["word"] = json!({"method": "sampling/createMessage", "params": word});
            asked
        }
        (_, Some("one")) => {
            let state = json!([
                given["word"]["content"]["text"],
                given["form"]["action"],
                given["form"]["content"]["colour"]
            ]);
            json!({"resultType": "input_required", "requestState": state.to_string(),
                   "inputRequests": {"places": {"method": "roots/list", "params": {}}}})
        }
        (_, Some(state)) => {
            let known: Vec<String> = serde_json::from_str(state).unwrap_or_default();
            let [word, action, colour] = known.as_slice() else { return json!({"content": []}) };
            let roots = given["places"]["roots"].as_array().map_or(0, Vec::len);
            done(&format!("{word}; {action}ed with {colour}; {roots} root"))
        }
    }
}

fn answer(status: &str, value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
    format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

fn url(upstream: &Upstream) -> String {
    format!("http://{}/mcp", upstream.address)
}

/// The calls that a server of [`asking`] got.
fn calls(upstream: &Upstream) -> Vec<Value> {
    let calls = upstream.seen().into_iter().filter(|seen| seen.header("mcp-method") == Some("tools/call"));
    calls.map(|seen| serde_json::from_slice(&seen.body).expect("JSON")).collect()
}

/// A session of a client with these capabilities.
fn begin<'g>(gateway: &'g Gateway, revision: &'static str, capabilities: &Value) -> Asked<'g> {
    let mut client = Asked { gateway, revision, session: String::new() };
    let params = json!({"protocolVersion": revision, "capabilities": capabilities,
                        "clientInfo": {"name": "test", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let answer = ask(gateway, "POST", &client.headers(), &hello.to_string());
    let session = answer.header("mcp-session-id").expect("a session");
    client.session = format!("\nmcp-session-id: {session}");
    client.tell(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    client
}

/// A client with sessions that is asked.
struct Asked<'g> {
    gateway: &'g Gateway,
    revision: &'static str,
    session: String,
}

impl Asked<'_> {
    fn headers(&self) -> String {
        format!("\nx-api-key: {GOLD}{}\nmcp-protocol-version: {}", self.session, self.revision)
    }

    /// Sends what is not answered; the status.
    fn tell(&self, message: &Value) -> u16 {
        ask(self.gateway, "POST", &self.headers(), &message.to_string()).status
    }

    /// Makes a request with id 7 whose messages are read one by one.
    fn begin(&self, method: &str, params: &Value) -> Connection {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
        let head = format!(
            "POST /mcp HTTP/1.1\nhost: {}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{}\n\n",
            self.gateway.address,
            body.len(),
            self.headers()
        );
        let mut connection = Connection::connect(self.gateway.address);
        connection.write(format!("{}{body}", head.replace('\n', "\r\n")).into_bytes());
        connection
    }

    fn call(&self, tool: &str) -> Connection {
        self.begin("tools/call", &json!({"name": tool, "arguments": {}}))
    }

    /// Answers a question; the status.
    fn answer(&self, question: &Value, key: &str, value: &Value) -> u16 {
        self.tell(&json!({"jsonrpc": "2.0", "id": question["id"], key: value}))
    }
}

/// The next message of a stream.
fn next(connection: &mut Connection) -> Value {
    loop {
        let line = connection.read_line();
        assert!(!line.is_empty(), "the stream has ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        }
    }
}

fn blue() -> Value {
    json!({"action": "accept", "content": {"colour": "blue"}})
}

fn message(error: &Value) -> &str {
    error["error"]["message"].as_str().unwrap_or_else(|| panic!("{error}"))
}

#[test]
fn javascripts_client_is_asked_for_a_server_without_sessions_in_the_middle_of_its_call() {
    let new = asking();
    let (_peers, gateway) = with_third(&[], Some(("new", url(&new))));
    let arguments = [&*endpoint(&gateway), GOLD, "new_ask"];
    let peer = Peer::start(node("client-asked", include_str!("client.mjs"), &arguments));
    let report = report(&gateway, peer);
    check(&report);
    assert_eq!(report["asked_by"], "a sampled word for new; accepted with blue; 1 root", "{report}");
    // Each round is the same call again, with who makes it and what was said.
    let calls = calls(&new);
    assert_eq!(calls.len(), 3, "{calls:?}");
    for call in &calls {
        assert_eq!(call["params"]["name"], "ask", "{call}");
        assert!(
            call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]["sampling"].is_object()
        );
    }
    assert_eq!(calls[1]["params"]["requestState"], "one");
}

#[test]
fn a_question_is_answered_by_the_session_that_was_asked_and_once() {
    let new = asking();
    let gateway = gateway(&[("new", url(&new), "")], "");
    let able = json!({"elicitation": {}});
    let (one, other) = (begin(&gateway, "2025-06-18", &able), begin(&gateway, "2025-06-18", &able));
    let (mut of_one, mut of_other) = (one.call("new_greet"), other.call("new_greet"));
    let (question, others) = (next(&mut of_one), next(&mut of_other));
    assert_eq!(question["params"]["message"], "Which colour?", "{question}");
    // Another client of the same key, with a call of the same id, answers its own question alone.
    assert_eq!(other.answer(&question, "result", &json!({"action": "decline"})), 400);
    assert_eq!(calls(&new).len(), 2);
    assert_eq!(one.answer(&question, "result", &blue()), 202);
    let told = next(&mut of_one);
    assert_eq!((super::said(&told), &told["id"]), ("hello, \"blue\"", &json!(7)));
    assert_eq!(one.answer(&question, "result", &blue()), 400, "it was answered");
    let red = json!({"action": "accept", "content": {"colour": "red"}});
    assert_eq!(other.answer(&others, "result", &red), 202);
    assert_eq!(super::said(&next(&mut of_other)), "hello, \"red\"");
    assert_eq!(calls(&new).len(), 4, "nothing else reached the server");
}

#[test]
fn a_client_is_asked_only_what_it_said_it_can_be() {
    let new = asking();
    let gateway = gateway(&[("new", url(&new), "")], "");
    for (capabilities, tool) in [
        (json!({}), "new_greet"),
        (json!({"sampling": {}, "roots": {}}), "new_greet"),
        // One of two questions is too many: the other is not put, either.
        (json!({"elicitation": {}}), "new_ask"),
        (json!({"elicitation": {"url": {}}}), "new_greet"),
        (json!({"elicitation": {"form": {}}}), "new_visit"),
    ] {
        let before = calls(&new).len();
        let client = begin(&gateway, "2025-11-25", &capabilities);
        let refused = next(&mut client.call(tool));
        assert!(message(&refused).contains("cannot be asked"), "{capabilities}: {refused}");
        assert_eq!(calls(&new).len(), before + 1, "{capabilities}");
    }
    let client = begin(&gateway, "2025-11-25", &json!({"elicitation": {"form": {}}}));
    let refused = next(&mut client.call("new_nonsense"));
    assert!(message(&refused).contains("is none"), "a question that is no message: {refused}");
    let client = begin(&gateway, "2025-11-25", &json!({"elicitation": {"url": {}}}));
    assert_eq!(next(&mut client.call("new_visit"))["params"]["url"], "https://a.test");
}

#[test]
fn whose_call_is_cancelled_is_asked_no_more_and_the_server_not_called_again() {
    let new = asking();
    let gateway = gateway(&[("new", url(&new), "")], "");
    let client = begin(&gateway, "2025-06-18", &json!({"elicitation": {}}));
    let mut call = client.call("new_greet");
    let question = next(&mut call);
    let params = json!({"requestId": 7, "reason": "of the test"});
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
    assert_eq!(client.tell(&cancelled), 202);
    let taken_back = next(&mut call);
    assert_eq!(taken_back["method"], "notifications/cancelled", "{taken_back}");
    assert_eq!(taken_back["params"]["requestId"], question["id"]);
    assert!(message(&next(&mut call)).contains("cancelled"));
    assert_eq!(client.answer(&question, "result", &blue()), 400, "it is too late");
    assert_eq!(calls(&new).len(), 1);
}

#[test]
fn who_refuses_one_question_need_not_answer_the_other() {
    let new = asking();
    let gateway = gateway(&[("new", url(&new), "")], "");
    let client = begin(&gateway, "2025-06-18", &json!({"elicitation": {}, "sampling": {}}));
    let mut call = client.call("new_ask");
    let (one, other) = (next(&mut call), next(&mut call));
    assert_eq!(client.answer(&one, "error", &json!({"code": -1, "message": "I would not"})), 202);
    assert_eq!(next(&mut call)["params"]["requestId"], other["id"]);
    let ended = next(&mut call);
    assert_eq!((message(&ended), &ended["id"]), ("I would not", &json!(7)));
    assert_eq!(calls(&new).len(), 1);
}

#[test]
fn whose_session_is_ended_or_who_leaves_is_asked_no_more() {
    let new = asking();
    let gateway = gateway(&[("new", url(&new), "")], "");
    let able = json!({"elicitation": {}});
    let client = begin(&gateway, "2025-06-18", &able);
    let mut call = client.call("new_greet");
    let question = next(&mut call);
    assert_eq!(ask(&gateway, "DELETE", &client.headers(), "").status, 204);
    assert_eq!(next(&mut call)["params"]["requestId"], question["id"]);
    assert!(message(&next(&mut call)).contains("cancelled"));
    assert_eq!(calls(&new).len(), 1);
    // Who leaves takes its questions along: else there were too many open by now.
    let client = begin(&gateway, "2025-06-18", &able);
    for _ in 0..80 {
        assert_eq!(next(&mut client.call("new_greet"))["method"], "elicitation/create");
    }
}

#[test]
fn nobody_is_asked_in_a_batch() {
    let new = asking();
    let gateway = gateway(&[("new", url(&new), "")], "");
    let client = begin(&gateway, "2025-03-26", &json!({"elicitation": {}}));
    let params = json!({"name": "new_greet", "arguments": {}});
    let batch = json!([{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}]);
    let answered = last_of(&ask(&gateway, "POST", &client.headers(), &batch.to_string()));
    assert!(message(&answered[0]).contains("in a batch"), "{answered}");
    assert_eq!(calls(&new).len(), 1);
}

#[test]
fn one_of_several_servers_asks_as_a_single_one_does() {
    let (one, two) = (asking(), asking());
    let gateway = gateway(&[("one", url(&one), ""), ("two", url(&two), "")], "");
    let client = begin(&gateway, "2025-06-18", &json!({"elicitation": {}}));
    let mut read = client.begin("resources/read", &json!({"uri": "memo://of/nobody"}));
    let question = next(&mut read);
    assert_eq!(question["method"], "elicitation/create", "{question}");
    assert_eq!(client.answer(&question, "result", &blue()), 202);
    let told = next(&mut read);
    assert_eq!(told["result"]["contents"][0]["text"], "read", "{told}");
}

#[test]
fn a_server_asks_sixteen_times_and_no_more() {
    let new = asking();
    let gateway = gateway(&[("new", url(&new), "")], "");
    let client = Client::begin(&gateway, GOLD);
    assert_eq!(super::said(&client.call("new_sixteen", json!({}))), "after sixteen");
    assert_eq!(calls(&new).len(), 17);
    let refused = client.call("new_insist", json!({}));
    assert!(message(&refused).contains("more than 16 times"), "{refused}");
    assert_eq!(calls(&new).len(), 34, "the call, and sixteen times again");
}

/// A server of JavaScript's SDK that has sessions, and its gateway.
fn asker() -> (Peer, Gateway) {
    let port = free_port().to_string();
    let mut peer = Peer::start(node("asker", include_str!("asker.mjs"), &[&port]));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    let gateway = gateway(&[("old", format!("http://127.0.0.1:{port}/mcp"), "")], "");
    (peer, gateway)
}

#[test]
fn a_server_with_sessions_learns_at_once_that_a_client_without_cannot_be_asked() {
    let (_peer, gateway) = asker();
    let call = |tool: &str| {
        let params = json!({"name": tool, "arguments": {}});
        last_of(&revisions::stateless(&gateway, "tools/call", params, ""))
    };
    // In the stream of the call; on its own, which it knows before it asks; and, with a stream open, in spite of that.
    let told = call("old_ask");
    assert!(super::said(&told).contains("not asked back"), "{told}");
    let told = call("old_ask_by_itself");
    assert!(super::said(&told).contains("does not support"), "{told}");
    let mut stream = revisions::listening(&gateway);
    assert_eq!(next(&mut stream)["method"], "notifications/subscriptions/acknowledged");
    let told = call("old_ask_beside");
    assert!(super::said(&told).contains("not asked back"), "{told}");
}
