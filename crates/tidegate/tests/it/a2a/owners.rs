//! Whose a task is, and messages that are made to be read in two ways.

use serde_json::{Value, json};

use super::{GOLD, WEB, ask, config, post, scripted};
use crate::harness::{Gateway, Upstream};

fn gateway(agent: &Upstream, more: &str) -> Gateway {
    Gateway::start(&config(&[("echo", format!("http://{}/", agent.address))], more))
}

fn sent(agent: &Upstream) -> Value {
    let last = agent.seen().pop().expect("a request");
    serde_json::from_slice(&last.body).expect("JSON")
}

#[test]
fn an_id_is_of_use_to_whoever_made_it_alone() {
    let (agent, other) = (scripted(), scripted());
    let url = |agent: &Upstream| format!("http://{}/", agent.address);
    let gateway = Gateway::start(&config(&[("echo", url(&agent)), ("other", url(&other))], ""));
    let task = ask(&gateway, GOLD, "message/send", json!({"message": {"parts": []}}));
    let (id, context) = (task["result"]["id"].clone(), task["result"]["contextId"].clone());
    assert_ne!((&id, &context), (&json!("task-1"), &json!("ctx-1")), "{task}");
    let got = ask(&gateway, GOLD, "tasks/get", json!({"id": id}));
    assert_eq!(got["result"]["id"], id, "{got}");
    assert_eq!(sent(&agent)["params"]["id"], "task-1");
    let before = agent.seen().len();
    for (method, params) in [
        ("tasks/get", json!({"id": id})),
        ("GetTask", json!({"id": id})),
        ("tasks/cancel", json!({"id": id})),
        ("tasks/resubscribe", json!({"id": id})),
        ("tasks/pushNotificationConfig/list", json!({"id": id})),
        ("message/send", json!({"message": {"taskId": id, "parts": []}})),
        ("message/stream", json!({"message": {"referenceTaskIds": [id], "parts": []}})),
    ] {
        let foreign = ask(&gateway, WEB, method, params.clone());
        assert_eq!(foreign["error"]["code"], -32001, "{method}: {foreign}");
        let raw = serde_json::from_str(&params.to_string().replace(id.as_str().expect("text"), "task-1"));
        let raw = ask(&gateway, GOLD, method, raw.expect("JSON"));
        assert_eq!(raw["error"]["code"], -32001, "{method}: {raw}");
    }
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": id}}).to_string();
    let answer = post(&gateway, GOLD, "/a2a/other", &message).json();
    assert_eq!(answer["error"]["code"], -32001, "of another agent: {answer}");
    assert_eq!(agent.seen().len() + other.seen().len(), before, "nothing of it reaches an agent");
    // Of another's context a name is made that only this caller has.
    ask(&gateway, WEB, "message/send", json!({"message": {"contextId": context, "parts": []}}));
    assert_ne!(sent(&agent)["params"]["message"]["contextId"], "ctx-1");
    ask(&gateway, WEB, "message/send", json!({"message": {"contextId": "ctx-1", "parts": []}}));
    assert_ne!(sent(&agent)["params"]["message"]["contextId"], "ctx-1");
    ask(&gateway, GOLD, "message/send", json!({"message": {"contextId": context, "parts": []}}));
    assert_eq!(sent(&agent)["params"]["message"]["contextId"], "ctx-1");
    let listed = ask(&gateway, GOLD, "ListTasks", json!({"contextId": context}));
    assert_eq!(listed["result"]["tasks"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!((&listed["result"]["tasks"][0]["id"], &listed["result"]["totalSize"]), (&id, &json!(1)));
}

#[test]
fn credentials_are_the_gateways_own() {
    let agent = scripted();
    let text = config(&[], "").replace(
        "agents:\n",
        &format!("agents: [{{name: echo, url: \"http://{}/rpc\", headers: {{authorization: Bearer-of-the-agent}}}}]\n", agent.address),
    );
    let gateway = Gateway::start(&text);
    let body =
        json!({"jsonrpc": "2.0", "id": "x", "method": "message/send", "params": {"message": {}}}).to_string();
    let head = format!(
        "POST /a2a/echo HTTP/1.1\nhost: {}\nx-api-key: {GOLD}\nauthorization: Bearer callers-own-token\ncookie: a=b\na2a-version: 1.0\na2a-extensions: urn:x\ncontent-type: application/json\ncontent-length: {}",
        gateway.address,
        body.len()
    );
    assert_eq!(gateway.send(&head, body.as_bytes()).json()["id"], "x");
    let seen = agent.seen().pop().expect("a request");
    assert_eq!((seen.target(), seen.header("authorization")), ("/rpc", Some("Bearer-of-the-agent")));
    assert_eq!((seen.header("a2a-version"), seen.header("a2a-extensions")), (Some("1.0"), Some("urn:x")));
    let all = format!("{seen:?}");
    assert!(!all.contains("callers-own") && !all.contains(GOLD) && !all.contains("cookie"), "{all}");
}

#[test]
fn what_could_be_read_in_two_ways_reaches_no_agent() {
    let agent = scripted();
    let gateway = gateway(&agent, "      maxBodySize: 64KiB\n");
    let message =
        |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"message/send","params":{params}}}"#);
    for (body, code) in [
        (message(r#"{"message":{"parts":[{"data":{"a":1,"a":2}}]}}"#), -32600),
        (message(r#"{"message":{},"message":{"taskId":"task-1"}}"#), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"message/send","method":"tasks/get","params":{"id":"task-1"}}"#.into(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"message/send","Method":"tasks/get","params":{"message":{}}}"#.into(), -32600),
        (message(r#"{"message":{"task_id":"task-1"}}"#), -32602),
        (message(r#"{"message":{"TASKID":"task-1"}}"#), -32602),
        (message(r#"{"message":{"context_id":"ctx-1"}}"#), -32602),
        (message("[]"), -32602),
        (format!("[{}]", message(r#"{"message":{}}"#)), -32600),
        (r#"{"jsonrpc":"2.0","id":{"a":1},"method":"message/send","params":{}}"#.into(), -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"message/send","params":{}}"#.into(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tasks/everything","params":{}}"#.into(), -32601),
        ("{".into(), -32700),
        (format!("{}{}", "[".repeat(5000), "]".repeat(5000)), -32600),
    ] {
        let answer = post(&gateway, GOLD, "/a2a/echo", &body);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (200, &json!(code)), "{body}: {}", answer.text());
    }
    let large = message(&format!(r#"{{"message":{{"parts":["{}"]}}}}"#, "x".repeat(70_000)));
    assert_eq!(post(&gateway, GOLD, "/a2a/echo", &large).status, 413);
    assert!(agent.seen().is_empty());
    let push =
        r#"{"message":{},"configuration":{"pushNotificationConfig":{"url":"http://169.254.169.254/"}}}"#;
    let refused = post(&gateway, GOLD, "/a2a/echo", &message(push)).json();
    assert_eq!(refused["error"]["code"], -32003, "{refused}");
    assert!(agent.seen().is_empty());
}

#[test]
fn rules_hold_for_both_names_of_a_method() {
    let agent = scripted();
    let more = "      rules:
        - {methods: [CancelTask], allow: \"consumer.name == 'gold'\"}
        - {methods: [SendMessage], allow: \"!('deploy' in arguments.message.parts)\", rateLimit: {limit: 2, window: 1h, key: consumer}}
";
    let gateway = gateway(&agent, more);
    let params = json!({"message": {"parts": []}});
    let id = ask(&gateway, WEB, "message/send", params.clone())["result"]["id"].clone();
    for method in ["tasks/cancel", "CancelTask"] {
        let refused = ask(&gateway, WEB, method, json!({"id": id}));
        assert_eq!(refused["error"]["code"], -32000, "{method}: {refused}");
    }
    let refused = ask(&gateway, WEB, "SendMessage", json!({"message": {"parts": ["deploy"]}}));
    assert_eq!(refused["error"]["code"], -32000, "{refused}");
    assert!(ask(&gateway, WEB, "SendMessage", params.clone())["result"]["task"].is_object());
    let message = json!({"jsonrpc": "2.0", "id": 9, "method": "message/send", "params": params}).to_string();
    let limited = post(&gateway, WEB, "/a2a/echo", &message);
    assert_eq!((limited.status, &limited.json()["id"]), (429, &json!(9)), "{}", limited.text());
    assert!(limited.header("retry-after").is_some());
    assert_eq!(post(&gateway, GOLD, "/a2a/echo", &message).status, 200, "another consumer's are others");
    assert_eq!(agent.seen().len(), 3);
}

#[test]
fn an_agent_that_fails_is_told_as_an_error_of_the_protocol() {
    for (answer, status) in [
        ("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", 502),
        ("HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]", 502),
        ("HTTP/1.1 200 X\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi", 502),
        ("HTTP/1.1 401 X\r\ncontent-length: 0\r\n\r\n", 502),
    ] {
        let agent = Upstream::scripted(move |_| Some(answer.as_bytes().to_vec()));
        let gateway = gateway(&agent, "");
        let message = json!({"jsonrpc": "2.0", "id": 3, "method": "message/send", "params": {"message": {}}})
            .to_string();
        let told = post(&gateway, GOLD, "/a2a/echo", &message);
        assert_eq!((told.status, &told.json()["id"]), (status, &json!(3)), "{}", told.text());
        assert_eq!(told.json()["error"]["code"], -32603, "{}", told.text());
    }
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 20\r\n\r\ndata: {\"hello\": 1}\n\n";
    let agent = Upstream::scripted(move |_| Some(stream.as_bytes().to_vec()));
    let gateway = gateway(&agent, "");
    let message =
        json!({"jsonrpc": "2.0", "id": 4, "method": "message/stream", "params": {"message": {}}}).to_string();
    let told = post(&gateway, GOLD, "/a2a/echo", &message).text();
    assert!(told.contains("-32603") && told.contains("no answer"), "{told}");
}

#[test]
fn what_a_rule_reads_has_one_spelling() {
    let agent = scripted();
    let more = "      rules: [{allow: \"!('amount' in arguments.message.metadata) || arguments.message.metadata.amount < 10\"}]\n";
    let gateway = gateway(&agent, more);
    let send = |metadata: Value| {
        ask(&gateway, GOLD, "SendMessage", json!({"message": {"parts": [], "metadata": metadata}}))
    };
    assert!(send(json!({"amount": 5}))["result"].is_object());
    assert_eq!(send(json!({"amount": 50}))["error"]["code"], -32000);
    let before = agent.seen().len();
    for metadata in
        [json!({"Amount": 50}), json!({"amount": 5, "AMOUNT": 50}), json!({"deep": [{"aMount": 50}]})]
    {
        let refused = send(metadata.clone());
        assert_eq!(refused["error"]["code"], -32602, "{metadata}: {refused}");
        assert!(refused.to_string().contains("spelled otherwise"), "{refused}");
    }
    assert_eq!(agent.seen().len(), before, "nothing of it reaches the agent");
    assert!(send(json!({"colour": "red"}))["result"].is_object());
}

#[test]
fn a_rule_behind_brackets_and_macros_has_one_spelling_too() {
    let agent = scripted();
    let more = "      rules: [{allow: \"arguments.message.parts[0].data.amount < 100 && arguments.message.parts.all(part, part.data.kind != 'gift')\"}]\n";
    let gateway = gateway(&agent, more);
    let send = |data: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{{"message":{{"parts":[{{"data":{data}}}]}}}}}}"#
        );
        serde_json::from_str::<Value>(&post(&gateway, GOLD, "/a2a/echo", &body).text()).expect("JSON")
    };
    assert!(send(r#"{"amount":5,"kind":"loan"}"#)["result"].is_object());
    let before = agent.seen().len();
    for (data, code) in [
        (r#"{"amount":5,"Amount":500,"kind":"loan"}"#, -32602),
        (r#"{"amount":5,"amount":500,"kind":"loan"}"#, -32600),
        (r#"{"amount":5,"kind":"loan","KIND":"gift"}"#, -32602),
        (r#"{"amount":5,"Kind":"gift"}"#, -32602),
    ] {
        assert_eq!(send(data)["error"]["code"], code, "{data}");
    }
    assert_eq!(agent.seen().len(), before, "nothing of it reaches the agent");
}

#[test]
fn policies_of_the_answer_see_the_clients_request() {
    let agent = scripted();
    let text = config(&[("echo", format!("http://{}/", agent.address))], "").replace(
        "policies: [{keyAuth",
        "policies: [{compress: {}}, {headers: {response: {set: {x-path: \"{{ request.path }}\"}}}}, {keyAuth",
    );
    let gateway = Gateway::start(&text);
    let params = json!({"message": {"parts": [{"text": "a long tale ".repeat(500)}]}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}).to_string();
    let head = format!(
        "POST /a2a/echo HTTP/1.1\nhost: {}\nx-api-key: {GOLD}\naccept-encoding: gzip\ncontent-type: application/json\ncontent-length: {}",
        gateway.address,
        body.len()
    );
    let answer = gateway.send(&head, body.as_bytes());
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(answer.header("x-path"), Some("/a2a/echo"));
}
