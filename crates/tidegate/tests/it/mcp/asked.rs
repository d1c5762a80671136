//! Servers with sessions that ask in the middle of a call, and clients without sessions, which are asked by its answer and
//! make the call again: whose question reaches whom, and what becomes of the call otherwise.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    GOLD, WEB, ask, config, last_of,
    old::{Asking, blue},
    said,
};
use crate::harness::{Answer, Client as Connection, Gateway, eventually, node, pause, python};

const REVISION: &str = "2026-07-28";

/// Who makes a call.
#[derive(Clone)]
struct Who<'g> {
    gateway: &'g Gateway,
    key: &'static str,
    name: &'static str,
    able: Value,
}

impl<'g> Who<'g> {
    /// A client that can be asked everything.
    fn at(gateway: &'g Gateway) -> Self {
        let able = json!({"sampling": {}, "elicitation": {"form": {}}, "roots": {}});
        Self { gateway, key: GOLD, name: "test", able }
    }

    /// The bytes of a request and its headers.
    fn request(&self, method: &str, mut params: Value) -> (String, String) {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(REVISION);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = self.able.clone();
        params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": self.name, "version": "1"});
        let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default();
        let key = if self.key.is_empty() { String::new() } else { format!("\nx-api-key: {}", self.key) };
        let headers =
            format!("{key}\nmcp-protocol-version: {REVISION}\nmcp-method: {method}\nmcp-name: {name}");
        (headers, json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params}).to_string())
    }

    fn post(&self, method: &str, params: Value) -> Answer {
        let (headers, body) = self.request(method, params);
        ask(self.gateway, "POST", &headers, &body)
    }

    /// Calls a tool of the server `old`.
    fn call(&self, tool: &str) -> Value {
        last_of(&self.post("tools/call", named(tool)))
    }

    /// Comes back with answers: to what was asked of a call of this tool.
    fn back(&self, tool: &str, asked: &Value, responses: Value) -> Answer {
        let mut params = named(tool);
        params["requestState"] = asked["result"]["requestState"].clone();
        params["inputResponses"] = responses;
        self.post("tools/call", params)
    }

    /// A call whose answer is not waited for.
    fn begin(&self, params: Value) -> Connection {
        let (headers, body) = self.request("tools/call", params);
        let head = format!(
            "POST /mcp HTTP/1.1\nhost: {}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{headers}\n\n",
            self.gateway.address,
            body.len(),
        );
        let mut connection = Connection::connect(self.gateway.address);
        connection.write(format!("{}{body}", head.replace('\n', "\r\n")).into_bytes());
        connection
    }
}

fn named(tool: &str) -> Value {
    json!({"name": format!("old_{tool}"), "arguments": {"tool": tool}})
}

/// The questions of an answer, by their names.
fn questions(asked: &Value) -> Vec<(String, Value)> {
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let requests = asked["result"]["inputRequests"].as_object().unwrap_or_else(|| panic!("{asked}"));
    requests.iter().map(|(key, request)| (key.clone(), request.clone())).collect()
}

/// One answer for all that is asked.
fn all(asked: &Value, answer: &Value) -> Value {
    questions(asked)
        .into_iter()
        .map(|(key, _)| (key, answer.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The error of an answer that must be one of the parameters.
fn wrong(answer: &Answer) -> String {
    let told = last_of(answer);
    assert_eq!((answer.status, &told["error"]["code"]), (400, &json!(-32602)), "{told}");
    told["error"]["message"].as_str().unwrap_or_default().to_owned()
}

/// A server that asks, and a gateway in front of it.
fn both(more: &str, of_server: &str) -> (Asking, Gateway) {
    let old = Asking::new();
    let gateway = super::gateway(&[("old", old.url(), of_server)], more);
    (old, gateway)
}

fn questions_counted(gateway: &Gateway, result: &str) -> f64 {
    let series = format!("tidegate_mcp_questions_total{{route=\"tools\",result=\"{result}\"}}");
    gateway.metric(&series).unwrap_or_else(|| panic!("no {series}"))
}

#[test]
fn a_client_without_sessions_is_asked_and_its_answer_ends_its_call() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let mut params = named("ask");
    params["_meta"]["progressToken"] = json!("mine");
    let first = client.post("tools/call", params).text();
    assert!(first.contains(r#""progressToken":"mine""#), "what comes before the question: {first}");
    let asked = client.call("ask");
    let (key, question) = questions(&asked).pop().expect("a question");
    assert_eq!((&asked["id"], &question["method"]), (&json!(5), &json!("elicitation/create")), "{asked}");
    assert_eq!(question["params"]["message"], "Which colour?", "{question}");
    assert!(question["params"]["_meta"].is_null() && question["id"].is_null(), "{question}");
    assert_eq!(gateway.metric("tidegate_mcp_parked_calls{route=\"tools\"}"), Some(2.0));
    let rest = client.back("ask", &asked, json!({key: blue()}));
    let told = last_of(&rest);
    assert_eq!((said(&told), &told["id"]), ("accepted blue", &json!(5)), "{told}");
    assert_eq!(told["result"]["resultType"], "complete", "{told}");
    assert_eq!(old.count("tools/call"), 2, "it was not called again");
    // The server was told what the client can be asked, by a session that is told of nothing else.
    let able = old.saw("initialize").into_iter().map(|hello| hello["params"]["capabilities"].clone());
    let able: Vec<Value> = able.filter(|able| *able != json!({})).collect();
    assert_eq!(able, [json!({"sampling": {}, "elicitation": {}, "roots": {}})]);
    assert_eq!((questions_counted(&gateway, "asked"), questions_counted(&gateway, "answered")), (2.0, 1.0));
    gateway.record("a call that asks", |record| {
        record["mcp"]["asked"] == true && record["mcp"]["is_error"] == false
    });
    let series = r#"tidegate_mcp_tool_calls_total{listener="public",route="tools",server="old",tool="other",result="asked"}"#;
    eventually("it is counted as one", || gateway.metric(series) == Some(2.0));
}

#[test]
fn signs_of_life_are_answered_before_and_while_a_client_is_asked() {
    let (_old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let asked = client.call("pings");
    assert_eq!(questions(&asked).len(), 1, "{asked}");
    assert_eq!(said(&last_of(&client.back("pings", &asked, all(&asked, &blue())))), "accepted blue");
    assert_eq!(questions_counted(&gateway, "refused"), 0.0);
}

#[test]
fn several_questions_are_one_round_and_later_ones_another() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let asked = client.call("two");
    let first = questions(&asked);
    assert_eq!(first.len(), 2, "{asked}");
    // One of two is not enough; the call waits as before.
    let one = json!({first[0].0.clone(): blue()});
    assert!(wrong(&client.back("two", &asked, one)).contains(&format!("lacks {}", first[1].0)));
    let again = last_of(&client.back("two", &asked, all(&asked, &blue())));
    assert_eq!(questions(&again)[0].1["method"], "roots/list", "{again}");
    assert_ne!(again["result"]["requestState"], asked["result"]["requestState"]);
    let roots = json!({"roots": [{"uri": "file:///a"}]});
    // The state of the first round is good for nothing any more.
    assert!(wrong(&client.back("two", &asked, all(&again, &roots))).contains("no call waits"));
    let told = last_of(&client.back("two", &again, all(&again, &roots)));
    assert_eq!(said(&told), "blue, blue; 1 root", "{told}");
    assert_eq!((old.count("tools/call"), old.answers().len()), (1, 3));
}

#[test]
fn a_state_is_good_for_one_call_of_one_client_and_once() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let (asked, other) = (client.call("ask"), client.call("ask"));
    let response = all(&asked, &blue());
    let state = asked["result"]["requestState"].as_str().expect("a state").to_owned();
    let web = Who { key: WEB, ..client.clone() };
    let renamed = Who { name: "another", ..client.clone() };
    let able = Who { able: json!({"elicitation": {}}), ..client.clone() };
    let anothers = "another call, or of another caller";
    for (who, what) in [(&web, "consumer"), (&renamed, "client"), (&able, "capabilities")] {
        assert!(wrong(&who.back("ask", &asked, response.clone())).contains(anothers), "{what}");
    }
    assert!(wrong(&client.back("two", &asked, response.clone())).contains(anothers), "another tool");
    let mut params = named("ask");
    params["arguments"]["more"] = json!(1);
    params["requestState"] = json!(state);
    params["inputResponses"] = response.clone();
    assert!(wrong(&client.post("tools/call", params)).contains(anothers), "other arguments");
    let params = json!({"uri": "memo://a", "requestState": state, "inputResponses": response});
    assert!(wrong(&client.post("resources/read", params)).contains(anothers), "another method");
    for forged in
        [format!("{state}A"), state[1..].to_owned(), state.replace(&state[20..24], "AAAA"), "1".to_owned()]
    {
        let mut asked = asked.clone();
        asked["result"]["requestState"] = json!(forged);
        assert!(
            wrong(&client.back("ask", &asked, response.clone())).contains("no question of this gateway's")
        );
    }
    let bare = json!({"name": "old_ask", "arguments": {"tool": "ask"}, "inputResponses": response});
    assert!(wrong(&client.post("tools/call", bare)).contains("no question of this gateway's"), "no state");
    for nonsense in [json!([1]), json!("yes"), json!({"question_1": 7})] {
        assert!(wrong(&client.back("ask", &asked, nonsense)).contains("must be an object"));
    }
    assert_eq!((old.answers().len(), old.count("tools/call")), (0, 2), "nothing of it reached the server");
    // It is none of the other call's, which waits as before.
    assert_eq!(said(&last_of(&client.back("ask", &asked, response.clone()))), "accepted blue");
    assert!(wrong(&client.back("ask", &asked, response)).contains("no call waits"), "again");
    let declined = all(&other, &json!({"action": "decline"}));
    assert_eq!(said(&last_of(&client.back("ask", &other, declined))), "declined null");
    assert_eq!(old.answers().len(), 2);
}

#[test]
fn a_client_without_sessions_is_asked_only_what_it_said_it_can_be() {
    let (old, gateway) = both("", "");
    for able in
        [json!({"sampling": {}, "roots": {}}), json!({"elicitation": {"url": {}}}), json!({"roots": {}})]
    {
        let client = Who { able: able.clone(), ..Who::at(&gateway) };
        let told = client.call("ask");
        assert!(said(&told).contains("-32601"), "{able}: {told}");
    }
    let client = Who { able: json!({}), ..Who::at(&gateway) };
    assert!(said(&client.call("ask")).contains("-32601"));
    // Nor is anybody where the operator wants it so, or the server has no room for it.
    for (more, of_server) in
        [("      questionTimeout: 0s\n", ""), ("", ", bulkhead: {maxConcurrentCalls: 3}")]
    {
        let (_old, gateway) = both(more, of_server);
        let told = Who::at(&gateway).call("ask");
        assert!(said(&told).contains("-32601"), "{more}{of_server}: {told}");
    }
    let client = Who { able: json!({"elicitation": {}}), ..Who::at(&gateway) };
    let asked = client.call("mixed");
    assert_eq!(questions(&asked).len(), 1, "the other of two was refused: {asked}");
    assert_eq!(said(&last_of(&client.back("mixed", &asked, all(&asked, &blue())))), "blue; -32601");
    assert_eq!(questions_counted(&gateway, "refused"), 4.0);
    assert_eq!(gateway.metric("tidegate_mcp_parked_calls{route=\"tools\"}"), Some(0.0));
    drop(old);
}

#[test]
fn what_a_server_asks_beside_its_calls_is_put_to_nobody() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let waiting = client.call("ask");
    let told = client.call("beside");
    assert!(said(&told).contains("-32601"), "it is told so at once: {told}");
    assert_eq!(said(&last_of(&client.back("ask", &waiting, all(&waiting, &blue())))), "accepted blue");
    assert_eq!(old.streams(), 1, "one stream for both calls");
}

#[test]
fn a_call_whose_client_does_not_come_back_is_cancelled() {
    let (old, gateway) = both("      questionTimeout: 1s\n", "");
    let client = Who::at(&gateway);
    let asked = client.call("ask");
    assert_eq!(old.count("notifications/cancelled"), 0);
    eventually("it is cancelled", || old.count("notifications/cancelled") == 1);
    let cancelled = &old.saw("notifications/cancelled")[0];
    assert_eq!(cancelled["params"]["requestId"], old.saw("tools/call")[0]["id"], "{cancelled}");
    assert_eq!(cancelled["params"]["reason"], "the client did not answer in time");
    pause(1500);
    let told = wrong(&client.back("ask", &asked, all(&asked, &blue())));
    assert!(told.contains("too old") || told.contains("no call waits"), "{told}");
    assert_eq!(old.answers().len(), 0);
    assert_eq!(questions_counted(&gateway, "expired"), 1.0);
    assert_eq!(gateway.metric("tidegate_mcp_parked_calls{route=\"tools\"}"), Some(0.0));
    // One round after another may take so long, but no call more than four times.
    let start = Instant::now();
    let mut asked = client.call("forever");
    while asked["result"]["resultType"] == "input_required" {
        pause(600);
        asked = last_of(&client.back("forever", &asked, all(&asked, &blue())));
    }
    let took = start.elapsed();
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(6), "{took:?}: {asked}");
}

#[test]
fn who_leaves_the_rest_of_its_call_cancels_it() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let mut params = named("slow");
    params["_meta"]["progressToken"] = json!("first");
    let asked = last_of(&client.post("tools/call", params.clone()));
    params["requestState"] = asked["result"]["requestState"].clone();
    params["inputResponses"] = all(&asked, &blue());
    params["_meta"]["progressToken"] = json!("rest");
    let mut rest = client.begin(params);
    while !rest.read_line().contains("progress") {}
    assert_eq!(old.count("notifications/cancelled"), 0);
    drop(rest);
    eventually("it is cancelled", || old.count("notifications/cancelled") == 1);
}

#[test]
fn the_oldest_of_too_many_calls_gives_way() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let first = client.call("ask");
    let web = Who { key: WEB, ..client.clone() };
    let webs = web.call("ask");
    let calls: Vec<Value> = (0..64).map(|_| client.call("ask")).collect();
    eventually("the oldest is cancelled", || old.count("notifications/cancelled") == 1);
    assert!(wrong(&client.back("ask", &first, all(&first, &blue()))).contains("gave way"));
    for (who, asked) in [(&client, &calls[0]), (&client, &calls[63]), (&web, &webs)] {
        assert_eq!(said(&last_of(&who.back("ask", asked, all(asked, &blue())))), "accepted blue");
    }
    assert_eq!(questions_counted(&gateway, "evicted"), 1.0);
    assert_eq!(old.count("notifications/cancelled"), 1);
}

#[test]
fn a_call_asks_sixteen_times_and_no_more() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let (mut asked, mut rounds) = (client.call("forever"), 0);
    while asked["result"]["resultType"] == "input_required" {
        rounds += 1;
        asked = last_of(&client.back("forever", &asked, all(&asked, &blue())));
    }
    assert_eq!(rounds, 16);
    assert!(said(&asked).contains("as often as it may"), "{asked}");
    assert_eq!(old.answers().len(), 17, "sixteen answers and one refusal");
}

#[test]
fn a_server_is_silent_while_its_client_is_asked_and_no_longer() {
    let (old, gateway) = both("", ", timeouts: {idle: 1s}");
    let client = Who::at(&gateway);
    let asked = client.call("ask");
    pause(2500);
    assert_eq!(said(&last_of(&client.back("ask", &asked, all(&asked, &blue())))), "accepted blue");
    // Afterwards its own time-out counts again.
    let asked = client.call("stall");
    let told = last_of(&client.back("stall", &asked, all(&asked, &blue())));
    assert!(told["error"]["message"].as_str().is_some_and(|text| text.contains("broke off")), "{told}");
    drop(old);
}

#[test]
fn what_a_server_says_while_its_client_is_asked_is_kept_within_bounds() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let mut params = named("pour");
    params["_meta"]["progressToken"] = json!("poured");
    let asked = last_of(&client.post("tools/call", params.clone()));
    pause(500);
    let before = gateway.rss();
    pause(1000);
    let poured = old.poured();
    assert!(poured < 20 << 20, "the server is held up: {poured} bytes");
    assert!(gateway.rss() < before + (8 << 20), "and the gateway does not grow");
    params["requestState"] = asked["result"]["requestState"].clone();
    params["inputResponses"] = all(&asked, &blue());
    let rest = client.post("tools/call", params).text();
    assert_eq!(rest.matches(r#""progressToken":"poured""#).count(), 400, "nothing is lost");
    assert!(rest.contains("poured all"), "{}", &rest[rest.len() - 300..]);
}

#[test]
fn what_a_server_says_to_an_answer_is_heard() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    // It cannot just now: the same state is good once more.
    let asked = client.call("busy");
    let unreached = client.back("busy", &asked, all(&asked, &blue()));
    assert_eq!(unreached.status, 502, "{}", unreached.text());
    assert!(unreached.text().contains("can be given again"), "{}", unreached.text());
    assert_eq!(said(&last_of(&client.back("busy", &asked, all(&asked, &blue())))), "accepted blue");
    assert_eq!(old.count("notifications/cancelled"), 0);
    let asked = client.call("deaf");
    let told = last_of(&client.back("deaf", &asked, all(&asked, &blue())));
    assert!(told["error"]["message"].as_str().is_some_and(|text| text.contains("would not take")), "{told}");
    eventually("the call is cancelled", || old.count("notifications/cancelled") == 1);
    assert!(wrong(&client.back("deaf", &asked, all(&asked, &blue()))).contains("no call waits"));
}

#[test]
fn a_server_that_wants_no_answer_any_more_gets_none() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    for (tool, want) in [("takes_back", "went on alone"), ("ends", "went on alone")] {
        let asked = client.call(tool);
        pause(300);
        assert_eq!(said(&last_of(&client.back(tool, &asked, all(&asked, &blue())))), want, "{tool}");
    }
    let asked = client.call("gone");
    pause(300);
    let told = last_of(&client.back("gone", &asked, all(&asked, &blue())));
    assert!(told["error"]["message"].as_str().is_some_and(|text| text.contains("ended before")), "{told}");
    assert_eq!(old.answers().len(), 0);
    assert_eq!(said(&client.call("alone")), "went on alone", "it asks and answers at once");
}

#[test]
fn another_process_knows_no_call_and_says_so() {
    let old = Asking::new();
    let with = |key: &str| super::gateway(&[("old", old.url(), "")], &format!("      sessionKey: {key}\n"));
    let (one, beside, other) =
        (with("a-key-of-the-tests"), with("a-key-of-the-tests"), with("another-of-the-tests"));
    let asked = Who::at(&one).call("ask");
    let response = all(&asked, &blue());
    let told = wrong(&Who::at(&beside).back("ask", &asked, response.clone()));
    assert!(told.contains("restarted, or another one asked"), "{told}");
    let told = wrong(&Who::at(&other).back("ask", &asked, response.clone()));
    assert!(told.contains("by another gateway"), "{told}");
    assert_eq!((old.answers().len(), old.count("tools/call")), (0, 1), "nothing was called again");
    assert_eq!(said(&last_of(&Who::at(&one).back("ask", &asked, response))), "accepted blue");
}

#[test]
fn one_gateway_asks_through_another() {
    let old = Asking::new();
    for keys in [["a-key-of-the-tests"; 2], ["a-key-of-the-tests", "another-of-the-tests"]] {
        let key = |key: &str| format!("      sessionKey: {key}\n");
        let inner = super::gateway(&[("old", old.url(), "")], &key(keys[0]));
        let more = format!(", prefix: \"\", headers: {{x-api-key: {GOLD}}}");
        let outer = super::gateway(&[("old", format!("http://{}/mcp", inner.address), &more)], &key(keys[1]));
        let client = Who::at(&outer);
        let asked = client.call("ask");
        assert_eq!(
            said(&last_of(&client.back("ask", &asked, all(&asked, &blue())))),
            "accepted blue",
            "{keys:?}"
        );
    }
}

#[test]
fn whoever_comes_back_is_judged_again() {
    let (old, gateway) = both("", "");
    let client = Who::at(&gateway);
    let asked = client.call("ask");
    let text = std::fs::read_to_string(gateway.config()).expect("the configuration");
    let lines = text.lines().filter(|line| !line.starts_with("admin:"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let closed = text.replace("    mcp:\n", "    mcp:\n      tools: [{name: old_ask, allow: \"false\"}]\n");
    assert_ne!(closed, text);
    gateway.reload(&closed);
    let refused = last_of(&client.back("ask", &asked, all(&asked, &blue())));
    assert!(
        refused["error"]["message"].as_str().is_some_and(|text| text.contains("may not call")),
        "{refused}"
    );
    assert_eq!(old.answers().len(), 0);
    gateway.reload(&text);
    assert_eq!(
        said(&last_of(&client.back("ask", &asked, all(&asked, &blue())))),
        "accepted blue",
        "over reloads"
    );
}

#[test]
fn prompts_and_resources_ask_as_tools_do() {
    let (old, other) = (Asking::new(), Asking::new());
    let gateway = super::gateway(&[("other", other.url(), ""), ("old", old.url(), "")], "");
    let client = Who::at(&gateway);
    for (method, params, path) in [
        ("prompts/get", json!({"name": "old_ask"}), "/result/messages/0/content/text"),
        ("resources/read", json!({"uri": "memo://of/old"}), "/result/contents/0/text"),
    ] {
        let asked = last_of(&client.post(method, params.clone()));
        let mut again = params;
        again["requestState"] = asked["result"]["requestState"].clone();
        again["inputResponses"] = all(&asked, &blue());
        let told = last_of(&client.post(method, again));
        assert_eq!(told.pointer(path), Some(&json!("accepted blue")), "{method}: {told}");
    }
    assert_eq!(other.answers().len(), 0, "whom it was not that asked");
}

#[test]
fn strangers_are_asked_each_in_a_session_of_its_own() {
    let old = Asking::new();
    let text =
        config(&[("old", old.url(), "")], "").replace("    policies: [{keyAuth: {header: x-api-key}}]\n", "");
    let gateway = Gateway::start(&text);
    let client = Who { key: "", ..Who::at(&gateway) };
    let (one, two) = (client.call("ask"), client.call("ask"));
    for asked in [&two, &one] {
        assert_eq!(said(&last_of(&client.back("ask", asked, all(asked, &blue())))), "accepted blue");
    }
    eventually("both sessions are ended", || old.ended() >= 2);
    let used: Vec<String> = old.sessions_of("tools/call");
    assert_ne!(used[0], used[1]);
}

#[test]
fn a_client_that_says_now_this_and_now_that_has_few_sessions() {
    let (old, gateway) = both("", "");
    let all = [
        json!({"roots": {}}),
        json!({"sampling": {}}),
        json!({"elicitation": {}}),
        json!({"sampling": {"tools": {}}}),
        json!({"sampling": {}, "roots": {}}),
        json!({"elicitation": {}, "roots": {}}),
        json!({"elicitation": {"url": {}}}),
    ];
    for able in &all {
        let client = Who { able: able.clone(), ..Who::at(&gateway) };
        assert_eq!(said(&client.call("look")), "looked");
    }
    // Streams beside calls stay for a while; a session that has one is in use. The others are not asked.
    assert_eq!(old.count("initialize"), 5, "four that are asked, and one for all others");
}

#[test]
fn whichever_worker_a_client_comes_back_to_its_call_is_found() {
    let old = Asking::new();
    let text = config(&[("old", old.url(), "")], "");
    let gateway = Gateway::start(&format!("runtime: {{workers: 4}}\n{text}"));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let client = Who::at(&gateway);
            let asked: Vec<Value> = (0..6).map(|_| client.call("ask")).collect();
            asked
                .into_iter()
                .map(|asked| said(&last_of(&client.back("ask", &asked, all(&asked, &blue())))).to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(workers.iter().flatten().all(|said| said == "accepted blue"), "{workers:?}");
    assert_eq!(questions_counted(&gateway, "answered"), 48.0);
}

#[test]
fn sdks_clients_without_sessions_are_asked_by_servers_with_sessions() {
    use super::sdk::{endpoint, everything, report};
    use crate::harness::Peer;
    let (_shop, url) = everything(&["shop", "sessions"]);
    let gateway = super::gateway(&[("shop", url, "")], "");
    let arguments = [&*endpoint(&gateway), GOLD, "asked"];
    for peer in [
        python(include_str!("client.py"), &arguments),
        node("client-modern-asked", include_str!("client_modern.mjs"), &arguments),
    ] {
        let report = report(&gateway, Peer::start(peer));
        assert_eq!(report["revision"], REVISION, "{report}");
        assert_eq!(report["asked"], "a sampled word for shop; accepted with blue; 1 root", "{report}");
    }
    assert_eq!(questions_counted(&gateway, "answered"), 6.0, "three rounds of each");
}
