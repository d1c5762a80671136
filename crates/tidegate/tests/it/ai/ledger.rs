//! Every way that a call can end, in any order and at once: what the ledger says is what the providers' tokens cost, to the
//! picodollar, and nothing stays held.

use std::{
    io::Write as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{
    KEY, Named,
    budgets::{INPUT, OUTPUT},
    config, post,
};
use crate::harness::{Answer, Client, Gateway, Redis, Upstream, eventually, free_port, pause, read_request};

/// Picodollars of a token of a vector's text.
const VECTOR: u128 = 20_000;
/// Tokens that a text has to who makes vectors of it.
const TEXT: u128 = 5;

/// What is kept is what was asked for without chance.
const ZERO: &str = r#","temperature":0"#;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    Stream,
    /// The client leaves after the provider has told all of its usage, in the middle of the stream.
    Leaves,
    /// The provider refuses, for good.
    Wrong,
    /// The first target fails, the second answers.
    Fallback,
    /// Nobody is there.
    Away,
    /// A rule refuses the request.
    GuardedBefore,
    /// A rule refuses the answer, which the provider has made.
    GuardedAfter,
    /// It is in the cache from its second time on.
    Cached,
    /// The same as a stream.
    CachedStream,
    /// Something like it is in the cache: a vector of its text was asked for.
    Similar,
    /// Another model is asked the same, on nobody's budget.
    Shadowed,
    /// The model refuses to be asked so.
    Refused,
    /// The first target takes the request, tells of the prompt and is silent; the second answers.
    Silent,
    /// A filter cuts the first answer, which is paid; the second is given.
    Cut,
    /// The first target takes the connection and never comes to the request; the second answers.
    Deaf,
}

const WAYS: [Way; 16] = [
    Way::Whole,
    Way::Stream,
    Way::Leaves,
    Way::Wrong,
    Way::Fallback,
    Way::Away,
    Way::GuardedBefore,
    Way::GuardedAfter,
    Way::Cached,
    Way::CachedStream,
    Way::Similar,
    Way::Shadowed,
    Way::Refused,
    Way::Silent,
    Way::Cut,
    Way::Deaf,
];

/// Answers with the tokens that the prompt tells, as `in=3 out=4`; each vector is of [`TEXT`] tokens.
fn provider() -> Upstream {
    Upstream::raw(|mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request.clone());
            let said: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let stream = reader.get_mut();
            if request.target().ends_with("/embeddings") {
                // What begins alike means the same.
                let is_one = said["input"].to_string().contains("sunrise");
                let vector = if is_one { json!([1.0, 0.0]) } else { json!([0.0, 1.0]) };
                let text = json!({"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": vector}],
                                  "usage": {"prompt_tokens": TEXT, "total_tokens": TEXT}});
                write_json(stream, 200, &text);
                continue;
            }
            let prompt = said["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
            let usage = usage(&prompt);
            if prompt.contains("wrong") {
                write_json(
                    stream,
                    400,
                    &json!({"error": {"message": "odd", "type": "invalid_request_error"}}),
                );
            } else if request.target().starts_with("/mute") {
                let told = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}],
                    "usage": {"prompt_tokens": usage["prompt_tokens"], "completion_tokens": 0, "total_tokens": usage["prompt_tokens"]}});
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let _ = write!(stream, "{head}data: {told}\n\n");
                while stream.write_all(b": here\n\n").is_ok() {
                    pause(5);
                }
                return;
            } else if request.target().starts_with("/cut") {
                let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
                    "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}]});
                write_json(stream, 200, &answer);
            } else if said["stream"] == true {
                let delta = |delta: Value| {
                    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                                                  "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
                };
                let told = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage});
                let mut end = delta(json!({}));
                end["choices"][0]["finish_reason"] = json!("stop");
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let _ = write!(
                    stream,
                    "{head}data: {}\n\ndata: {end}\n\ndata: {told}\n\n",
                    delta(json!({"content": "tide"}))
                );
                let _ = stream.flush();
                if prompt.contains("leaves") {
                    // It goes on until nobody listens any more.
                    while stream.write_all(b": here\n\n").is_ok() {
                        pause(5);
                    }
                }
                let _ = stream.write_all(b"data: [DONE]\n\n");
                return;
            } else {
                let text = if prompt.contains("rival") { "Acme Corp is better" } else { "tide" };
                let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
                    "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
                write_json(stream, 200, &answer);
            }
        }
    })
}

fn write_json(stream: &mut std::net::TcpStream, status: u16, value: &Value) {
    let text = value.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    let _ = stream.write_all(format!("{head}{text}").as_bytes());
}

fn usage(prompt: &str) -> Value {
    let number = |name: &str| -> u64 {
        let rest = prompt.split(name).nth(1).unwrap_or("0");
        rest.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let (input, output) = (number("in="), number("out="));
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

/// `store` is where budgets are counted, if not here.
fn gateway(mock: &Upstream, broken: &Upstream, store: Option<&Redis>) -> Gateway {
    let base = |upstream: &Upstream| format!("http://{}/v1", upstream.address);
    let at = |place: &str| format!("http://{}/{place}/v1", mock.address);
    let providers = [
        ("p0", "openai", base(mock)),
        ("broken", "openai", base(broken)),
        ("away", "openai", format!("http://127.0.0.1:{}/v1", free_port())),
        ("mute", "openai", at("mute")),
        ("cut", "openai", at("cut")),
        // Connections stay in its backlog: nobody answers the beginning of TLS.
        ("deaf", "openai", format!("https://{}/v1", deaf())),
    ];
    let models: [Named<'_>; 8] = [
        ("unheard", &[("deaf", "gpt-4o", 1), ("p0", "gpt-4o", 0)]),
        ("silent", &[("mute", "gpt-4o", 1), ("p0", "gpt-4o", 0)]),
        ("filtered", &[("cut", "gpt-4o", 1), ("p0", "gpt-4o", 0)]),
        ("smart", &[("p0", "gpt-4o", 1)]),
        ("second", &[("broken", "gpt-4o", 1), ("p0", "gpt-4o", 0)]),
        ("nobody", &[("away", "gpt-4o", 1)]),
        ("shadowed", &[("p0", "gpt-4o", 1)]),
        ("vectors", &[("p0", "text-embedding-3-small", 1)]),
    ];
    let mut text = config(&providers, &models, "");
    text = text.replace(
        "    - name: \"shadowed\"\n",
        "    - name: shadowed\n      shadow: [{provider: p0, model: gpt-4o}]\n",
    );
    for (name, more) in [
        ("silent", "firstToken: 150ms"),
        ("unheard", "firstToken: 150ms"),
        ("filtered", "fallbackOn: [contentFilter]"),
    ] {
        text = text
            .replace(&format!("    - name: \"{name}\"\n"), &format!("    - name: {name}\n      {more}\n"));
    }
    let shared = if store.is_some() { ", store: redis" } else { "" };
    let route = |name: &str, policy: &str| {
        format!(
            "  - name: {name}\n    match: [{{path: {{prefix: /{name}}}}}]\n    policies: [{{keyAuth: {{}}}}, {policy}{{budget: {{amount: 1000, key: consumer, name: b{shared}}}}}]\n    ai: {{stripPrefix: /{name}}}\n"
        )
    };
    let routes = [
        route("plain", ""),
        route(
            "guarded",
            "{guardrails: {rules: [{name: in, words: [secret plan], on: request}, {name: out, words: [Acme Corp], on: answer}]}}, ",
        ),
        route("cached", "{aiCache: {}}, "),
        route("alike", "{aiCache: {semantic: {model: vectors, threshold: 0.9, timeout: 10s}}}, "),
    ];
    text = text.replace("routes:\n", &format!("routes:\n{}", routes.concat()));
    let paid = ["p0", "broken", "away", "mute", "cut", "deaf"];
    let prices =
        paid.map(|name| format!("{{provider: {name}, model: gpt-4o, input: 2.5, output: 10}}, ")).concat();
    text += &format!("  prices: [{prices}{{provider: p0, model: text-embedding-3-small, input: 0.02}}]\n");
    if let Some(redis) = store {
        text += &format!("redis: {{addresses: [\"127.0.0.1:{}\"]}}\n", redis.port);
    }
    Gateway::start(&text)
}

/// An address at which connections are taken and nothing is ever said, for as long as the tests run.
fn deaf() -> std::net::SocketAddr {
    static DEAF: std::sync::OnceLock<std::net::TcpListener> = std::sync::OnceLock::new();
    let listener = DEAF.get_or_init(|| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    listener.local_addr().expect("an address")
}

fn body(model: &str, stream: bool, prompt: &str, more: &str) -> String {
    format!(
        r#"{{"model":"{model}","max_tokens":900,"stream":{stream}{more},"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
    )
}

fn ask(gateway: &Gateway, route: &str, body: &str) -> Answer {
    post(gateway, &format!("/{route}/v1/chat/completions"), "", body)
}

/// Has a call end in a way, and says what it cost. `number` makes it another than all before.
fn call(gateway: &Gateway, way: Way, number: u64) -> u128 {
    let (input, output) = (100 + number * 7 % 50, 10 + number * 3 % 40);
    let cost = u128::from(input) * INPUT + u128::from(output) * OUTPUT;
    let prompt = |word: &str| format!("{word} {number} in={input} out={output} .");
    let is = |answer: &Answer, status: u16| {
        assert_eq!(answer.status, status, "{way:?} {number}: {}", answer.text())
    };
    match way {
        Way::Whole => {
            is(&ask(gateway, "plain", &body("smart", false, &prompt("whole"), "")), 200);
            cost
        }
        Way::Stream => {
            let answer = ask(gateway, "plain", &body("smart", true, &prompt("stream"), ""));
            assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
            cost
        }
        Way::Leaves => {
            let text = body("smart", true, &prompt("leaves"), r#","stream_options":{"include_usage":true}"#);
            let mut client = Client::connect(gateway.address);
            client.write(
                format!(
                    "POST /plain/v1/chat/completions HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n{text}",
                    text.len()
                )
                .into_bytes(),
            );
            let mut said = String::new();
            // What comes behind the usage: where the pieces of a text are parted nobody knows.
            while !said.contains(": here") {
                assert!(said.len() < 10_000, "{said}");
                let line = client.read_line();
                assert!(!line.is_empty(), "it ended after {said}");
                said += &line;
            }
            cost
        }
        Way::Wrong => {
            is(&ask(gateway, "plain", &body("smart", false, &prompt("wrong"), "")), 400);
            0
        }
        Way::Fallback => {
            is(&ask(gateway, "plain", &body("second", false, &prompt("fallback"), "")), 200);
            cost
        }
        Way::Away => {
            is(&ask(gateway, "plain", &body("nobody", false, &prompt("away"), "")), 502);
            0
        }
        Way::GuardedBefore => {
            let answer = ask(gateway, "guarded", &body("smart", false, &prompt("the secret plan"), ""));
            is(&answer, 400);
            0
        }
        Way::GuardedAfter => {
            let answer = ask(gateway, "guarded", &body("smart", false, &prompt("rival"), ""));
            is(&answer, 400);
            assert!(!answer.text().contains("Acme"), "{}", answer.text());
            cost
        }
        Way::Cached | Way::CachedStream => {
            let stream = way == Way::CachedStream;
            let text = body("smart", stream, &prompt(if stream { "kept stream" } else { "kept" }), ZERO);
            for want in ["miss", "hit"] {
                let answer = ask(gateway, "cached", &text);
                is(&answer, 200);
                assert_eq!(answer.header("x-tidegate-cache"), Some(want), "{way:?} {}", answer.text());
            }
            cost
        }
        Way::Similar => {
            // All of them mean the same, so that all but the first are found; each asks for a vector.
            let answer = ask(gateway, "alike", &body("smart", false, &prompt("sunrise"), ZERO));
            is(&answer, 200);
            let was_hit = answer.header("x-tidegate-cache").is_some_and(|told| told.contains("hit"));
            TEXT * VECTOR + if was_hit { 0 } else { cost }
        }
        Way::Shadowed => {
            is(&ask(gateway, "plain", &body("shadowed", false, &prompt("shadowed"), "")), 200);
            cost
        }
        Way::Silent => {
            let answer = ask(gateway, "plain", &body("silent", true, &prompt("silent"), ""));
            assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
            cost + u128::from(input) * INPUT
        }
        Way::Deaf => {
            let answer = ask(gateway, "plain", &body("unheard", true, &prompt("unheard"), ""));
            assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
            cost
        }
        Way::Cut => {
            let answer = ask(gateway, "plain", &body("filtered", false, &prompt("cut"), ""));
            is(&answer, 200);
            assert_eq!(answer.header("x-tidegate-provider"), Some("p0"), "{}", answer.text());
            2 * cost
        }
        Way::Refused => {
            is(&ask(gateway, "plain", &body("no-such-model", false, &prompt("refused"), "")), 404);
            0
        }
    }
}

/// What all budgets of the gateway have spent, and what they hold, in picodollars.
fn taken(gateway: &Gateway) -> (u128, u128) {
    let told = gateway.admin_get("/api/v1/budgets").json();
    let pico = |amount: &Value| {
        let text = amount.as_str().unwrap_or_else(|| panic!("no amount: {told}"));
        let (dollars, places) = text.split_once('.').expect("a point");
        format!("{dollars}{places:0<12}").parse::<u128>().expect("a number")
    };
    let accounts = told["budgets"]
        .as_array()
        .expect("budgets")
        .iter()
        .flat_map(|budget| budget["accounts"].as_array().cloned().unwrap_or_default());
    // What is held in Redis is not told here: it is looked for there.
    let held = |one: &Value| one.get("held").map_or(0, pico);
    accounts.fold((0, 0), |(all, all_held), one| (all + pico(&one["spent"]), all_held + held(&one)))
}

fn settles(gateway: &Gateway, what: &str, want: u128) {
    let end = Instant::now() + Duration::from_secs(20);
    let mut last = taken(gateway);
    while last != (want, 0) && Instant::now() < end {
        pause(10);
        last = taken(gateway);
    }
    assert_eq!(last, (want, 0), "{what}: what is spent, and held");
}

#[test]
fn each_way_by_itself_costs_what_it_cost_and_holds_nothing() {
    let (mock, broken) = (provider(), Upstream::fixed(500, r#"{"error":{"message":"no"}}"#));
    by_itself(&gateway(&mock, &broken, None));
}

#[test]
fn each_way_by_itself_costs_what_it_cost_in_redis_and_holds_nothing_there() {
    let (mock, broken) = (provider(), Upstream::fixed(500, r#"{"error":{"message":"no"}}"#));
    let redis = Redis::start();
    let gateway = gateway(&mock, &broken, Some(&redis));
    eventually("a connection to redis", || gateway.metric("tidegate_redis_up ") == Some(1.0));
    by_itself(&gateway);
    let away = gateway.metric("tidegate_redis_fallbacks_total{how=\"local\"}");
    assert_eq!(away.unwrap_or_default(), 0.0, "all was counted there");
    let told = redis.ask("KEYS tidegate:*");
    let keys = told.lines().map(str::trim).filter(|line| line.starts_with("tidegate:"));
    let keys: Vec<String> = keys.map(|key| format!("\"{}\"", key.replace('"', "\\\""))).collect();
    let hashes: Vec<_> =
        keys.iter().filter(|key| redis.ask(&format!("TYPE {key}")).contains("hash")).collect();
    assert!(!hashes.is_empty(), "{told}");
    for key in hashes {
        let held = redis.ask(&format!("HMGET {key} hh hl"));
        let numbers: Vec<&str> = held.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
        assert!(numbers.iter().all(|number| *number == "0"), "{key}: {held}");
        let fields = redis.ask(&format!("HKEYS {key}"));
        assert!(!fields.lines().any(|field| field.starts_with("h:")), "{key}: {fields}");
    }
}

fn by_itself(gateway: &Gateway) {
    let mut spent = 0;
    for (number, way) in WAYS.into_iter().enumerate() {
        for round in 0..2 {
            spent += call(gateway, way, number as u64 * 2 + round);
            settles(gateway, &format!("{way:?}"), spent);
        }
    }
    // The shadows' own calls are known, and on no budget.
    let shadows = |record: &Value| record["ai"]["operation"] == "shadow";
    gateway.record("a shadow", shadows);
}

#[test]
fn all_ways_in_any_order_and_at_once_are_settled_to_the_picodollar() {
    let (mock, broken) = (provider(), Upstream::fixed(500, r#"{"error":{"message":"no"}}"#));
    let gateway = gateway(&mock, &broken, None);
    // One that failed is given back as TIDEGATE_LEDGER_SEED.
    let seed = match std::env::var("TIDEGATE_LEDGER_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_nanos() as u64,
    };
    let spent: u128 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6_u64)
            .map(|thread| {
                let gateway = &gateway;
                scope.spawn(move || {
                    // xorshift: any order will do, and the seed is told where it fails.
                    let mut state = seed ^ (thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                    (0..40)
                        .map(|round| {
                            state ^= state << 13;
                            state ^= state >> 7;
                            state ^= state << 17;
                            let way = WAYS[(state % WAYS.len() as u64) as usize];
                            call(gateway, way, 1000 + thread * 100 + round)
                        })
                        .sum::<u128>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panic!("seed {seed}"))).sum()
    });
    settles(&gateway, &format!("seed {seed}"), spent);
}
