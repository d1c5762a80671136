//! Realtime over a WebSocket: through OpenAI's SDK and plain clients, to a server that speaks as OpenAI's does.

use serde_json::Value;

use super::{KEY, post};
use crate::harness::{Answer, Client, Gateway, Peer, Upstream, free_port, python};

pub(super) fn gateway(providers: &[(&str, String)], policies: &str, route: &str) -> Gateway {
    gateway_of(providers, policies, route, "", "")
}

/// The same with further settings of each provider, and of the whole.
pub(super) fn gateway_of(
    providers: &[(&str, String)],
    policies: &str,
    route: &str,
    provider: &str,
    more: &str,
) -> Gateway {
    let list: Vec<String> = providers
        .iter()
        .map(|(name, base)| {
            format!("    - {{name: {name}, kind: openai, baseUrl: \"{base}\", keys: [the-key-of-{name}]{provider}}}\n")
        })
        .collect();
    let targets: Vec<String> = providers
        .iter()
        .map(|(name, _)| format!("{{provider: {name}, model: gpt-realtime, weight: 1}}"))
        .collect();
    // The first is asked first.
    let targets = targets.join(", ").replace("weight: 1}, ", "weight: 1, when: \"true\"}, ");
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}], models: [rt]}}]\naccessLog: [{{kind: stdout, format: json}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{headers: [x-api-key, authorization]}}}}{policies}]\n    ai: {{stripPrefix: /ai{route}}}\nai:\n  providers:\n{}  models:\n    - {{name: rt, targets: [{targets}]}}\n    - {{name: other, targets: [{targets}]}}\n{more}",
        list.concat()
    ))
}

pub(super) fn server() -> (Peer, String) {
    let port = free_port();
    let mut server = Peer::start(python(include_str!("realtime_server.py"), &[&port.to_string()]));
    assert_eq!(server.line().as_deref(), Some("ready"));
    (server, format!("http://127.0.0.1:{port}/v1"))
}

/// What a handshake is answered with.
pub(super) fn ask(gateway: &Gateway, query: &str, upgrade: bool) -> Answer {
    let switch = "\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let mut client = Client::connect(gateway.address);
    client.write(format!(
        "GET /ai/v1/realtime{query} HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}{}\r\n\r\n",
        if upgrade { switch } else { "" }
    ));
    client.read().expect("an answer")
}

#[test]
fn conversations_in_sound_pass_and_are_paid_for_answer_by_answer() {
    let (mut server, base) = server();
    let down = Upstream::fixed(503, "{}");
    // An answer costs 150 × 4 + 50 × 32 + 40 × 16 + 60 × 64 millionths of a dollar: 0.00668.
    let policies = ", {budget: {amount: 0.5, per: month, name: monthly}}, {guardrails: {rules: [{name: personal, on: request, mode: mask, personalData: [email]}, {name: medicine, on: request, words: [dose]}]}}";
    let gateway = gateway(&[("down", format!("http://{}/v1", down.address)), ("up", base)], policies, "");
    let address = format!("http://{}/ai", gateway.address);
    let (well, text) = Peer::start(python(include_str!("realtime.py"), &[&address, KEY])).finish();
    assert!(well, "{text}");
    let want = [
        "sdk session.created",
        "sdk Speak of tides.",
        "sdk When is high water?",
        "sdk ['response.created', 'response.output_text.delta', 'response.output_audio.delta', 'response.done'] 300",
        "sdk 4",
        "masked Write to <EMAIL_1>",
        "blocked error guardrail_blocked e8",
        "sdk still there?",
        "browser realtime session.created",
        "browser invalid_event",
        "browser {'a': 'é'}",
        "browser True",
        "browser invalid_event",
        "browser 4321 as asked",
        "spent error insufficient_quota mine 1008",
    ];
    let lines: Vec<&str> = text.lines().collect();
    for (line, want) in lines.iter().zip(want) {
        assert_eq!(*line, want, "{text}");
    }
    // Each answer may cost 500 × 64 and 32 for each token that it reads, about 0.042; 0.0134 are spent before.
    let turns: u64 =
        lines[want.len()].strip_prefix("turns ").and_then(|turns| turns.parse().ok()).expect("turns");
    assert!((64..=69).contains(&turns), "{turns}");

    let request = server.line().expect("a handshake");
    let request: Value = serde_json::from_str(request.strip_prefix("request ").expect("it")).expect("JSON");
    assert_eq!(request["path"], "/v1/realtime?model=gpt-realtime");
    let headers = request["headers"].to_string();
    assert!(headers.contains(r#"["authorization","Bearer the-key-of-up"]"#), "{headers}");
    assert!(headers.contains(r#"["openai-beta","realtime=v1"]"#), "{headers}");
    assert!(!headers.contains(KEY) && !headers.contains("extensions"), "{headers}");
    let mut closed = Vec::new();
    let mut seen = String::new();
    while closed.len() < 3 {
        let line = server.line().expect("a line");
        if let Some(code) = line.strip_prefix("closed ") {
            closed.push(code.to_owned());
        }
        seen.push_str(&line);
    }
    assert_eq!(closed, ["1000", "4321", "1001"]);
    assert!(
        !seen.contains("ann@example.com") && !seen.contains("forbidden dose") && !seen.contains(KEY),
        "{seen}"
    );

    let records = gateway.records(3);
    // Those of several workers come in any order: the conversation of two answers, the one that was refused, the long one.
    let mut ai: Vec<&Value> = records.iter().map(|record| &record["ai"]).collect();
    ai.sort_by_key(|ai| match ai["turns"].as_u64() {
        Some(2) => 0,
        None => 1,
        Some(_) => 2,
    });
    assert_eq!(
        (&ai[0]["operation"], &ai[0]["provider"], ai[0]["turns"].as_u64()),
        (&"realtime".into(), &"up".into(), Some(2))
    );
    assert_eq!((ai[0]["input_tokens"].as_u64(), ai[0]["output_tokens"].as_u64()), (Some(400), Some(200)));
    assert!(ai[0]["cost_usd"].to_string().contains("0.01336"), "{}", ai[0]);
    let rules = ai[0]["guardrails"].to_string();
    assert!(rules.contains("personal") && rules.contains("medicine"), "{rules}");
    assert_eq!(ai[1]["turns"].as_u64(), None);
    assert_eq!(ai[2]["turns"].as_u64(), Some(turns));
    assert!(!down.seen().is_empty(), "the next target was asked after the first one failed");
}

#[test]
fn conversations_end_in_time_and_within_their_bounds() {
    let (_server, base) = server();
    let route = ", realtime: {maxDuration: 2s, idleTimeout: 1s, maxMessageSize: 4KiB}";
    let gateway = gateway(&[("up", base)], "", route);
    let script = r#"
import json, sys, time
from websockets.sync.client import connect
from websockets.exceptions import ConnectionClosed
address, key = sys.argv[1:]
def end(then):
    began = time.time()
    with connect(address, additional_headers={"x-api-key": key}) as connection:
        last = None
        try:
            while True:
                then(connection)
                last = json.loads(connection.recv())
        except ConnectionClosed as closed:
            code = last["error"]["code"] if last and last["type"] == "error" else None
            print(code, closed.rcvd.code, round(time.time() - began, 1))
end(lambda connection: None)
def talk(connection):
    time.sleep(0.2)
    try:
        connection.send('{"type":"conversation.item.create","item":{}}')
    except ConnectionClosed:
        pass
end(talk)
end(lambda connection: connection.send(b"x" * 5000))
"#;
    let address = format!("ws://{}/ai/v1/realtime?model=rt", gateway.address);
    let (well, text) = Peer::start(python(script, &[&address, KEY])).finish();
    assert!(well, "{text}");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let took = |line: &[&str]| line[2].parse::<f64>().expect("seconds");
    assert_eq!(lines[0][..2], ["session_idle", "1001"], "{text}");
    assert!((0.9..1.9).contains(&took(&lines[0])), "{text}");
    assert_eq!(lines[1][..2], ["session_expired", "1001"], "{text}");
    assert!((1.9..3.5).contains(&took(&lines[1])), "{text}");
    assert_eq!(lines[2][..2], ["None", "1009"], "{text}");
}

#[test]
fn what_cannot_be_opened_says_why() {
    let upstream = Upstream::fixed(401, r#"{"error":{"message":"no such key"}}"#);
    let provider = ("up", format!("http://{}/v1", upstream.address));
    let one = gateway(std::slice::from_ref(&provider), "", "");
    assert_eq!(ask(&one, "?model=rt", false).status, 426);
    assert_eq!(ask(&one, "", true).status, 400);
    assert_eq!(ask(&one, "?model=nobody", true).status, 404);
    assert_eq!(ask(&one, "?model=other", true).status, 403);
    let secrets = post(&one, "/ai/v1/realtime/client_secrets", "", "{}");
    assert_eq!(secrets.status, 501);
    assert!(secrets.text().contains("your own key"), "{}", secrets.text());
    assert!(upstream.seen().is_empty());
    // The provider refuses the gateway's own key, and nobody is told more.
    let refused = ask(&one, "?model=rt", true);
    assert_eq!(refused.status, 502);
    assert!(!refused.text().contains("no such key"), "{}", refused.text());
    let judged = ", {guardrails: {rules: [{name: rivals, on: answer, words: [Acme]}]}}";
    let two = gateway(&[provider], judged, "");
    let refused = ask(&two, "?model=rt", true);
    assert_eq!(refused.status, 501);
    assert!(refused.text().contains("read answers"), "{}", refused.text());
}

#[test]
fn there_is_one_model_however_its_name_is_written() {
    let (mut server, base) = server();
    let gateway = gateway(&[("up", base)], "", "");
    assert_eq!(
        ask(&gateway, "?model=rt&%6Dodel=other-dear&Model=dear&k%65y=mine&intent=talk", true).status,
        101
    );
    let line = server.line().expect("a request");
    let request: Value = serde_json::from_str(line.trim_start_matches("request ")).expect("JSON");
    assert_eq!(request["path"], "/v1/realtime?model=gpt-realtime&intent=talk");
    let plain = Upstream::fixed(200, "{}");
    let gateway = self::gateway(&[("plain", format!("http://{}/v1", plain.address))], "", "");
    let answer = ask(&gateway, "?model=rt", true);
    assert_eq!(answer.status, 502, "{}", answer.text());
}

#[test]
fn providers_that_a_conversation_went_on_from_are_in_its_record() {
    let (busy, broken) = (Upstream::fixed(503, "{}"), Upstream::fixed(500, "{}"));
    let away = format!("http://127.0.0.1:{}/v1", crate::harness::free_port());
    let base = |upstream: &Upstream| format!("http://{}/v1", upstream.address);
    let all = [("one", base(&busy)), ("two", away), ("three", base(&broken))];
    let gateway = gateway(&all, "", "");
    assert!(ask(&gateway, "?model=rt", true).status >= 500);
    let record = gateway.record("the call", |record| record["ai"]["operation"] == "realtime");
    let tries = record["failed_tries"].as_array().expect("tries");
    let told: Vec<_> = tries.iter().map(|one| (one["upstream"].as_str(), one["status"].as_u64())).collect();
    assert!(told.contains(&(Some("ai:one"), Some(503))), "{record}");
    assert!(
        told.iter().any(|(upstream, status)| *upstream == Some("ai:two") && status.is_none()),
        "{record}"
    );
    assert_eq!(record["upstream"], "ai:three", "{record}");
}
