//! What Gemini's dialect promises beside its golden files.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    canon::{Answer, Choice, Effort, Event, Part, events_of},
    dialect::{Dialect, Spoken, Telling},
    rules::{ReasoningRule, Rules, Target},
    stream::{Frame, FrameReader, Framing},
};

const KEYS: &[&str] = &[
    "candidates",
    "content",
    "parts",
    "text",
    "thought",
    "thoughtSignature",
    "functionCall",
    "functionResponse",
    "name",
    "id",
    "args",
    "response",
    "inlineData",
    "mimeType",
    "data",
    "fileData",
    "fileUri",
    "index",
    "finishReason",
    "groundingMetadata",
    "groundingChunks",
    "groundingSupports",
    "segment",
    "startIndex",
    "endIndex",
    "partIndex",
    "groundingChunkIndices",
    "web",
    "citationMetadata",
    "citations",
    "usageMetadata",
    "promptTokenCount",
    "error",
    "details",
    "@type",
    "contents",
    "role",
    "systemInstruction",
    "tools",
    "functionDeclarations",
    "parameters",
    "toolConfig",
    "generationConfig",
    "responseSchema",
    "thinkingConfig",
    "promptFeedback",
    "logprobsResult",
    "chosenCandidates",
    "system_instruction",
    "generation_config",
];
const WORDS: &[&str] = &[
    "model",
    "user",
    "STOP",
    "SAFETY",
    "text/plain",
    "type.googleapis.com/google.rpc.RetryInfo",
    "tg1.",
    "dGcxLg==",
];

fn spoken() -> Spoken {
    Spoken { model: Some("gemini-x".to_owned()), stream: false }
}

fn read(body: &Value) -> crate::canon::Request {
    Dialect::Gemini.read_request(&spoken(), body.to_string().as_bytes()).expect("a request")
}

fn written(body: &Value, rules: &Rules) -> Value {
    let target = Target { model: "gemini-x", rules };
    let outgoing = Dialect::Gemini.write_request(&read(body), target).expect("written");
    serde_json::from_slice(&outgoing.body).expect("JSON")
}

fn thought_of_another(value: &str) -> Proof {
    Proof { issuer: "anthropic".to_owned(), kind: ProofKind::Signature, value: value.to_owned(), id: None }
}

#[test]
fn base64_of_either_alphabet_is_told_in_the_standard_one() {
    for (given, want) in [("_-8", "/+8="), ("_-8=", "/+8="), ("/+8=", "/+8="), ("AAAA", "AAAA"), ("!", "!")] {
        assert_eq!(standard_base64(given.to_owned()), want);
    }
}

#[test]
fn a_thought_of_another_vendor_comes_back_from_a_caller_whose_sdk_changes_the_alphabet() {
    let proof = thought_of_another("Eq+/==");
    let told = signature_of(&proof);
    assert!(decode(&told).is_some(), "SDKs hold signatures as bytes");
    let by_sdk = told.replace('+', "-").replace('/', "_");
    assert_eq!(proof_of(by_sdk, ProofKind::Mark), proof);
}

#[test]
fn a_caller_who_keeps_calls_alone_brings_back_the_thought_before_them() {
    let call = Part::ToolCall {
        id: "toolu_1".into(),
        name: "f".into(),
        arguments: "{}".into(),
        custom: false,
        proof: None,
        cache: None,
    };
    let thinking = Part::Thinking { text: "hm".into(), proof: Some(thought_of_another("sig")) };
    let answer = Answer {
        choices: vec![Choice { parts: vec![thinking, call], ..Choice::default() }],
        ..Answer::default()
    };
    let told: Value =
        serde_json::from_slice(&Dialect::Gemini.write_answer(answer, &Telling::default())).expect("JSON");
    let mut content = told["candidates"][0]["content"].clone();
    content["parts"].as_array_mut().expect("parts").retain(|part| part.get("thought").is_none());
    let request = read(&json!({"contents": [{"role": "user", "parts": [{"text": "go"}]}, content]}));
    let hidden = Part::Thinking { text: String::new(), proof: Some(thought_of_another("sig")) };
    assert_eq!(request.messages[1].parts.first(), Some(&hidden));
}

#[test]
fn a_call_of_the_current_turn_is_marked_where_models_demand_it() {
    let round = |name: &str| {
        [
            json!({"role": "model", "parts": [
                {"functionCall": {"name": name, "args": {}}},
                {"functionCall": {"name": name, "args": {}}},
            ]}),
            json!({"role": "user", "parts": [
                {"functionResponse": {"name": name, "response": {"output": "1"}}},
                {"functionResponse": {"name": name, "response": {"output": "2"}}},
            ]}),
        ]
    };
    let user = json!({"role": "user", "parts": [{"text": "go"}]});
    let mut contents = vec![user.clone()];
    contents.extend(round("old"));
    contents.push(user);
    contents.extend(round("new"));
    let body = json!({"contents": contents});
    let levels =
        Rules { reasoning: ReasoningRule::Effort(vec![Effort::Low, Effort::High]), ..Rules::default() };
    let by_level = written(&body, &levels);
    let mark = |content: usize, part: usize| {
        by_level["contents"][content]["parts"][part].get("thoughtSignature").cloned()
    };
    assert_eq!(mark(4, 0), Some("skip_thought_signature_validator".into()));
    assert_eq!([mark(4, 1), mark(1, 0), mark(1, 1)], [None, None, None]);
    let unknown = written(&body, &Rules::default());
    assert!(!unknown.to_string().contains("thoughtSignature"));
}

/// The parts of an answer as a caller gets them, whole or piece by piece.
fn parts_told(answer: &Answer, is_stream: bool) -> Vec<Value> {
    let parts =
        |answer: &Value| answer["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default();
    if !is_stream {
        let told = Dialect::Gemini.write_answer(answer.clone(), &Telling::default());
        return parts(&serde_json::from_slice(&told).expect("JSON"));
    }
    let mut writer = Dialect::Gemini.stream_writer(Telling::default());
    let (mut out, mut frames) = (Vec::new(), Vec::new());
    events_of(answer.clone()).into_iter().for_each(|event| writer.write(event, &mut out));
    FrameReader::new(Framing::Sse).push(&out, &mut frames).expect("well framed");
    let piece = |frame: Frame| parts(&serde_json::from_slice(&frame.data).expect("JSON"));
    let is_something = |part: &Value| {
        part.get("text").is_none_or(|text| text != "") || part.get("thoughtSignature").is_some()
    };
    frames.into_iter().flat_map(piece).filter(is_something).collect()
}

#[test]
fn every_proof_of_the_thoughts_before_a_call_rides_on_it() {
    let thought = |text: &str, kind: ProofKind, value: &str| {
        let proof = Proof { issuer: "anthropic".into(), kind, value: value.into(), id: None };
        Part::Thinking { text: text.into(), proof: Some(proof) }
    };
    let signed = |text: &str| thought(text, ProofKind::Signature, "c2ln");
    let redacted = |value: &str| thought("", ProofKind::Encrypted, value);
    let call = |id: &str| Part::ToolCall {
        id: id.into(),
        name: "f".into(),
        arguments: "{}".into(),
        custom: false,
        proof: None,
        cache: None,
    };
    let all = |_: &mut Value| true;
    let no_thoughts = |part: &mut Value| part.get("thought").is_none();
    let no_proofs = |part: &mut Value| {
        if part.get("thought").is_some() {
            part.as_object_mut().expect("a part").shift_remove("thoughtSignature");
        }
        true
    };
    type Keeps = fn(&mut Value) -> bool;
    let kept: [(&str, Keeps, &str); 3] =
        [("all", all, "hm"), ("no thoughts", no_thoughts, ""), ("no proofs", no_proofs, "hm")];
    for (answer, is_behind) in [
        (vec![signed("hm"), redacted("R1"), Part::text("said"), call("1"), redacted("R2"), call("2")], false),
        (vec![Part::text("said"), signed("hm"), redacted("R1"), call("1"), redacted("R2"), call("2")], true),
    ] {
        let whole =
            Answer { choices: vec![Choice { parts: answer, ..Choice::default() }], ..Answer::default() };
        for (what, keeps, text) in kept {
            for is_stream in [false, true] {
                let mut parts = parts_told(&whole, is_stream);
                parts.retain_mut(keeps);
                let request = read(&json!({"contents": [{"role": "model", "parts": parts}]}));
                let mut want = vec![signed(text), redacted("R1")];
                want.insert(if is_behind { 0 } else { 2 }, Part::text("said"));
                want.extend([call("1"), redacted("R2"), call("2")]);
                assert_eq!(request.messages[0].parts, want, "{what}, stream {is_stream}, behind {is_behind}");
            }
        }
    }
    // An SDK that lays the proof of a part without words over the one before it, of one such part and of two.
    let other = thought("ho", ProofKind::Signature, "b3RoZXI");
    for whole in [
        vec![signed("hm"), redacted("R1"), Part::text("said"), call("1")],
        vec![signed("hm"), redacted("R1"), other, redacted("R2"), Part::text("said"), call("1")],
    ] {
        let choices = vec![Choice { parts: whole.clone(), ..Choice::default() }];
        let mut parts = parts_told(&Answer { choices, ..Answer::default() }, false);
        while let Some(at) = parts.iter().position(|part| part["text"] == "") {
            let wordless = parts.remove(at);
            parts[at - 1]["thoughtSignature"] = wordless["thoughtSignature"].clone();
        }
        assert!(parts.len() < whole.len(), "a part without words");
        let request = read(&json!({"contents": [{"role": "model", "parts": parts}]}));
        assert_eq!(request.messages[0].parts, whole);
    }
    // To Gemini's own servers none of it goes.
    let body = json!({"contents": [{"role": "model", "parts": parts_told(&Answer {
        choices: vec![Choice { parts: vec![signed("hm"), redacted("R1"), call("1")], ..Choice::default() }],
        ..Answer::default()
    }, false)}]});
    let (out, losses) =
        crate::sealed::unsealed(Dialect::Gemini, body.to_string().as_bytes()).expect("sealed");
    assert!(!String::from_utf8_lossy(&out).contains("thoughtSignature") && !losses.is_empty());
}

#[test]
fn instructions_alone_are_what_the_user_says() {
    let body = json!({"systemInstruction": {"parts": [{"text": "Tell a joke."}]}, "contents": []});
    let want = json!({"contents": [{"role": "user", "parts": [{"text": "Tell a joke."}]}]});
    assert_eq!(written(&body, &Rules::default()), want);
}

#[test]
fn a_budget_stays_below_the_most_tokens_of_the_answer() {
    let rules = Rules {
        reasoning: ReasoningRule::Budget { least: 128, most: 32_768, can_be_off: false },
        ..Rules::default()
    };
    let budget = |thinking: Value| {
        let body = json!({
            "contents": [{"parts": [{"text": "go"}]}],
            "generationConfig": {"maxOutputTokens": 4000, "thinkingConfig": thinking},
        });
        written(&body, &rules)["generationConfig"]["thinkingConfig"]["thinkingBudget"].clone()
    };
    assert_eq!(budget(json!({"thinkingBudget": 8000})), json!(3999));
    assert_eq!(budget(json!({"thinkingLevel": "HIGH"})), json!(3000));
    assert_eq!(budget(json!({"thinkingBudget": 0})), json!(128));
    assert_eq!(budget(json!({"thinkingBudget": -1})), json!(-1));
}

#[test]
fn a_model_s_name_leads_nowhere_else() {
    let rules = Rules::default();
    for (model, fits) in
        [("gemini-x", true), ("models/a", true), ("a/../b", false), ("a?b", false), ("", false)]
    {
        let request = read(&json!({"contents": [{"parts": [{"text": "go"}]}]}));
        let outgoing = Dialect::Gemini.write_request(&request, Target { model, rules: &rules });
        assert_eq!(outgoing.is_ok(), fits, "{model}");
    }
}

#[test]
fn a_stream_as_an_array_has_the_pieces_of_one_of_events() {
    let answer = Answer {
        choices: vec![Choice { parts: vec![Part::text("one"), Part::text("two")], ..Choice::default() }],
        ..Answer::default()
    };
    let pieces = |framing: Framing| {
        let mut writer = match framing {
            Framing::JsonArray => Dialect::Gemini
                .stream_writer(Telling { framing: Some(Framing::JsonArray), ..Telling::default() }),
            _ => Dialect::Gemini.stream_writer(Telling::default()),
        };
        let mut out = Vec::new();
        writer.write(Event::Ping, &mut out);
        for event in events_of(answer.clone()) {
            writer.write(event, &mut out);
            writer.write(Event::Ping, &mut Vec::new());
        }
        let mut frames = Vec::new();
        FrameReader::new(framing).push(&out, &mut frames).expect("well framed");
        frames.into_iter().map(|frame| frame.data).collect::<Vec<_>>()
    };
    assert_eq!(pieces(Framing::JsonArray), pieces(Framing::Sse));
}

/// JSON of the dialect's own words in any order.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let field = (prop::sample::select(KEYS), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            prop::collection::vec(field, 0..8)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_is_too_strange(bodies in prop::collection::vec(any_json(), 1..6)) {
        let mut reader = Dialect::Gemini.stream_reader();
        let mut events = Vec::new();
        for body in &bodies {
            let bytes = serde_json::to_vec(body).expect("JSON");
            if let Ok(request) = Dialect::Gemini.read_request(&spoken(), &bytes) {
                let rules = Rules::default();
                let _ = Dialect::Gemini.write_request(&request, Target { model: "m", rules: &rules });
            }
            if let Ok(answer) = Dialect::Gemini.read_answer(&bytes) {
                Dialect::Gemini.write_answer(answer, &Telling::default());
            }
            Dialect::Gemini.read_error(500, &bytes);
            reader.read(Frame { data: bytes, ..Frame::default() }, &mut events);
        }
        reader.end(&mut events);
        prop_assert!(matches!(events.last(), Some(Event::End | Event::Error(_))));
        let last = events.len() - 1;
        prop_assert!(events[..last].iter().all(|event| !matches!(event, Event::End | Event::Error(_))));
        let mut writer = Dialect::Gemini.stream_writer(Telling::default());
        events.into_iter().for_each(|event| writer.write(event, &mut Vec::new()));
    }
}
