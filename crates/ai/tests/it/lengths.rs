//! Long lists of a caller's cost what their bytes cost: nothing that a request repeats is looked up by walking what came
//! before it, for whoever repeats it a million times would stop a worker for minutes.

use std::time::{Duration, Instant};

use ai::{
    canon::{Losses, Proof, ProofKind},
    dialect::{Dialect, Spoken},
    fold,
    rules::{Rules, Target},
    sealed,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// How often things are repeated, and how many times as often for the comparison.
const SHORT: usize = 1500;
const TIMES: usize = 8;
/// What is in proportion takes `TIMES` as long, what is not the square of it. The pause is a busy machine's.
const AS_LONG: u32 = 3 * TIMES as u32;
const PAUSE: Duration = Duration::from_millis(60);

fn list(number: usize, of: impl Fn(usize) -> Value) -> Value {
    (0..number).map(of).collect()
}

fn once(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// What is dearer than its length.
fn check(what: &str, work: impl Fn(usize)) -> Option<String> {
    let short = (0..3).map(|_| once(|| work(SHORT))).min().expect("some");
    let is_dear = |long: &Duration| *long > short * AS_LONG + PAUSE;
    // A machine that was busy with something else is asked twice more.
    let mut long = Duration::MAX;
    for _ in 0..3 {
        long = long.min(once(|| work(SHORT * TIMES)));
        if !is_dear(&long) {
            return None;
        }
    }
    Some(format!("{what}: {long:?} for {TIMES} times what took {short:?}"))
}

fn tool(name: String) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {}}})
}

fn responses_tool(namespace: usize) -> Value {
    let inner = json!({"type": "function", "name": "f", "parameters": {}});
    json!({"type": "namespace", "name": format!("n{namespace}"), "description": "", "tools": [inner]})
}

/// A request with so many of what callers may repeat.
fn bodies(number: usize) -> Vec<(&'static str, Dialect, Value)> {
    let user = json!([{"role": "user", "content": "hi"}]);
    let function = |at: usize| json!({"type": "function", "function": {"name": format!("f{at}")}});
    let among =
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": list(number, function)}});
    let call = |at: usize| json!({"id": format!("c{at}"), "type": "function", "function": {"name": format!("f{at}"), "arguments": "{}"}});
    let sealed = |at: usize| {
        let value = format!("{at}");
        let proof = Proof { issuer: "anthropic".to_owned(), kind: ProofKind::Signature, value, id: None };
        proof.ride(&format!("c{at}"))
    };
    vec![
        (
            "unknown fields",
            Dialect::OpenAiChat,
            json!({"messages": list(number, |_| json!({"role": "user", "content": "a", "x": 1}))}),
        ),
        (
            "names of speakers",
            Dialect::OpenAiChat,
            json!({"messages": list(number, |_| json!({"role": "user", "content": "a", "name": "n"}))}),
        ),
        (
            "marks for the cache",
            Dialect::Anthropic,
            json!({"max_tokens": 9, "messages": list(number, |_| {
                json!({"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]})
            })}),
        ),
        (
            "foreign thoughts",
            Dialect::Anthropic,
            json!({"max_tokens": 9, "messages": list(number, |_| {
                json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "text", "text": "b"}]})
            })}),
        ),
        (
            "tools and allowed tools",
            Dialect::OpenAiChat,
            json!({"messages": user, "tools": list(number, |at| tool(format!("f{at}"))), "tool_choice": among}),
        ),
        (
            "vendors' tools and allowed tools",
            Dialect::OpenAiResponses,
            json!({"input": "hi", "tools": list(number, |at| json!({"type": "web_search", "x": at})), "tool_choice":
                {"type": "allowed_tools", "mode": "auto", "tools": list(number, |at| json!({"type": "function", "name": format!("f{at}")}))}}),
        ),
        (
            "namespaces",
            Dialect::OpenAiResponses,
            json!({"input": "hi", "tools": list(number, responses_tool)}),
        ),
        (
            "calls",
            Dialect::OpenAiChat,
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": list(number, call)}],
                "tools": list(number, |at| tool(format!("f{at}")))}),
        ),
        (
            "calls without tools",
            Dialect::OpenAiChat,
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": list(number, call)}]}),
        ),
        (
            "calls and results",
            Dialect::OpenAiChat,
            json!({"messages": std::iter::once(json!({"role": "assistant", "tool_calls": list(number, call)}))
                .chain((0..number).map(|at| json!({"role": "tool", "tool_call_id": format!("c{}", number - at - 1), "content": "r"})))
                .collect::<Value>()}),
        ),
        (
            "items",
            Dialect::OpenAiResponses,
            json!({"input": (0..number)
                .map(|at| json!({"type": "function_call", "call_id": format!("c{at}"), "name": format!("f{at}"), "arguments": "{}"}))
                .chain((0..number).map(|at| json!({"type": "function_call_output", "call_id": format!("c{at}"), "output": "r"})))
                .collect::<Value>()}),
        ),
        (
            "results",
            Dialect::Gemini,
            json!({"contents": [
                {"role": "model", "parts": list(number, |at| json!({"functionCall": {"name": format!("f{at}"), "args": {}}}))},
                {"role": "user", "parts": list(number, |at| json!({"functionResponse": {"name": format!("f{}", number - at - 1), "response": {}}}))},
            ]}),
        ),
        (
            "contents of one turn",
            Dialect::Gemini,
            json!({"contents": list(number, |_| json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}))}),
        ),
        (
            "proofs on calls",
            Dialect::OpenAiChat,
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": list(number, |at| {
                json!({"id": sealed(at), "type": "function", "function": {"name": "f", "arguments": "{}"}})
            })}]}),
        ),
        (
            "documents",
            Dialect::Bedrock,
            json!({"messages": [{"role": "user", "content": list(number, |at| {
                json!({"document": {"format": "txt", "name": format!("d{at}"), "source": {"bytes": "YQ=="}}})
            })}]}),
        ),
    ]
}

#[test]
fn what_callers_repeat_costs_what_its_bytes_cost() {
    let (rules, mut dear) = (Rules::default(), Vec::new());
    let spoken = Spoken { model: Some("m".to_owned()), stream: false };
    let written = |(what, caller, mut body): (&'static str, Dialect, Value)| {
        body["model"] = "m".into();
        (what, caller, body.to_string().into_bytes())
    };
    for (short, long) in bodies(SHORT).into_iter().zip(bodies(SHORT * TIMES)) {
        let ((what, caller, short), (_, _, long)) = (written(short), written(long));
        for target in Dialect::ALL {
            let what = format!("{what} of {} to {}", caller.name(), target.name());
            dear.extend(check(&what, |number| {
                let body = if number == SHORT { &short } else { &long };
                let request = caller.read_request(&spoken, body).expect("a request");
                // What one dialect refuses it refuses at once.
                let _ = target.write_request(&request, Target { model: "m", rules: &rules });
            }));
        }
    }
    assert!(dear.is_empty(), "{}", dear.join("\n"));
}

#[test]
fn what_is_taken_out_where_bytes_pass_costs_what_its_bytes_cost() {
    let turns = |role: &str, number: usize| {
        let of = |_| json!({"role": role, "content": "a"});
        json!({"messages": list(number, of)}).to_string().into_bytes()
    };
    let folded = check("system turns", |number| {
        let mut losses = Losses::default();
        fold::folded(&turns("system", number), &mut losses).expect("folded");
    });
    let sealed = check("sealed thoughts", |number| {
        let thought = |_| json!({"type": "thinking", "thinking": "a", "signature": "tg1.x.s."});
        let turn = |_| json!({"role": "assistant", "content": [thought(0), {"type": "text", "text": "b"}]});
        let body = json!({"messages": list(number, turn)}).to_string();
        sealed::unsealed(Dialect::Anthropic, body.as_bytes()).expect("a look");
    });
    assert_eq!((folded, sealed), (None, None));
}

/// Proofs that ride on one call, as many as are looked at.
const RIDERS: usize = 256;

/// So many thoughts, each with the proof of a thought without words, and a call on which proofs of others ride.
fn proofs_over_proofs(number: usize, rides: bool) -> Vec<u8> {
    let sealed = |kind: ProofKind, at: usize| {
        Proof { issuer: "anthropic".to_owned(), kind, value: at.to_string(), id: None }.seal()
    };
    let thought = |at: usize| {
        let proof = STANDARD.encode(sealed(ProofKind::Encrypted, at));
        json!({"thought": true, "text": "a", "thoughtSignature": proof})
    };
    let rider = |at: usize| {
        let kind = if at < RIDERS / 2 { ProofKind::Signature } else { ProofKind::Encrypted };
        sealed(kind, number + at)
    };
    let riders: Vec<String> = (0..RIDERS).map(rider).collect();
    let mut call = json!({"functionCall": {"name": "f", "args": {}}});
    if rides {
        call["thoughtSignature"] = STANDARD.encode(riders.join(".")).into();
    }
    let parts: Value = (0..number).map(thought).chain([call]).collect();
    json!({"contents": [{"role": "model", "parts": parts}]}).to_string().into_bytes()
}

#[test]
fn proofs_on_a_call_are_not_compared_with_each_other_at_every_thought() {
    let spoken = Spoken { model: Some("m".to_owned()), stream: false };
    let read = |body: &[u8]| Dialect::Gemini.read_request(&spoken, body).expect("a request");
    let [plain, ridden] = [false, true].map(|rides| proofs_over_proofs(3000, rides));
    let beside = (0..3).map(|_| once(|| drop(read(&plain)))).min().expect("some");
    let began = Instant::now();
    let request = read(&ridden);
    let took = began.elapsed();
    assert!(took < beside * 10 + 4 * PAUSE, "{took:?} beside {beside:?}");
    // None of them is any thought's, so all stand by themselves.
    assert_eq!(request.messages[0].parts.len(), 3000 + RIDERS + 1);
}
