//! The same for answers, whole and streamed, and for what callers send back of them.

use ai::{
    canon::{Answer, Assembler, Choice, Event, Feature, Finish, Loss, Part, Proof, ProofKind, events_of},
    dialect::{Dialect, Spoken},
    stream::FrameReader,
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{atoms::words_of, draw::Draw};
use crate::{answers::shown, fixtures::telling};

/// What a caller of Gemini says who wants events.
const EVENTS: Option<&str> = Some("alt=sse");

/// What every dialect can say of an answer.
#[derive(Debug, PartialEq)]
struct Gist {
    words: Vec<String>,
    calls: Vec<(String, String, Value)>,
    finish: Option<Finish>,
    usage: (u64, u64, u64),
}

fn gist(answer: &Answer) -> Gist {
    let none = Choice::default();
    let choice = answer.choices.first().unwrap_or(&none);
    let texts = choice.parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } | Part::Refusal { text } => Some(text.as_str()),
        _ => None,
    });
    let mut words: Vec<String> = texts.flat_map(words_of).collect();
    // A refusal has a place of its own, or stands among the texts.
    words.sort();
    let calls = choice.parts.iter().filter_map(|part| match part {
        Part::ToolCall { id, name, arguments, .. } => {
            let arguments = serde_json::from_str(arguments).unwrap_or(Value::from(arguments.as_str()));
            // A free text stands in an object where a dialect knows no custom tools.
            let arguments = match arguments.as_object().map(|object| object.iter().collect::<Vec<_>>()) {
                Some(fields) if fields.len() == 1 && fields[0].1.is_string() => fields[0].1.clone(),
                _ => arguments,
            };
            Some((Proof::dismount(id).0.to_owned(), name.clone(), arguments))
        }
        _ => None,
    });
    Gist {
        words,
        calls: calls.collect(),
        finish: choice.finish.clone().map(|finish| match finish {
            // An answer that declines is complete, or filtered: dialects differ.
            Finish::Refusal | Finish::ContentFilter => Finish::Stop,
            other => other,
        }),
        // Some dialects always tell it.
        usage: answer.usage.map_or((0, 0, 0), |usage| (usage.input, usage.output, usage.cache_read)),
    }
}

/// The tokens of sound, where a dialect tells them apart.
fn heard(dialect: Dialect, answer: &Answer) -> (u64, u64) {
    let tells = matches!(dialect, Dialect::OpenAiChat | Dialect::Gemini);
    answer.usage.filter(|_| tells).map_or((0, 0), |usage| (usage.input_audio, usage.output_audio))
}

/// Thoughts and what was written to caches, where a dialect tells them apart.
fn kinds_of_tokens(dialect: Dialect, answer: &Answer) -> (u64, u64) {
    let thinks = matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Gemini);
    let writes = matches!(dialect, Dialect::Anthropic | Dialect::Bedrock);
    answer.usage.map_or((0, 0), |usage| {
        (if thinks { usage.reasoning } else { 0 }, if writes { usage.cache_write } else { 0 })
    })
}

/// What is there no more and is not named. Pictures and sound in streams come in pieces, which count as one.
fn missed(dialect: Dialect, answer: &Answer, back: &Answer) -> Vec<String> {
    let losses = dialect.unshown(answer);
    let is_named = |features: &[Feature]| {
        losses.iter().any(|loss| matches!(loss, Loss::Feature(feature, _) if features.contains(feature)))
    };
    let counts = shown(answer).into_iter().zip(shown(back));
    let missed = counts.filter(|((told, features), (seen, _))| seen < told && !is_named(features));
    missed.map(|((told, features), (seen, _))| format!("{told} of {features:?}, seen {seen}")).collect()
}

fn streamed(dialect: Dialect, answer: Answer) -> Result<Answer, String> {
    let mut writer = dialect.stream_writer(telling());
    let mut bytes = Vec::new();
    events_of(answer).into_iter().for_each(|event| writer.write(event, &mut bytes));
    let (mut frames, mut events) = (Vec::new(), Vec::new());
    let mut reader = dialect.stream_reader();
    let mut splitter = FrameReader::new(dialect.caller_framing(EVENTS));
    splitter.push(&bytes, &mut frames).map_err(|error| error.to_string())?;
    splitter.finish(&mut frames);
    frames.into_iter().for_each(|frame| reader.read(frame, &mut events));
    reader.end(&mut events);
    let last = events.last();
    if last != Some(&Event::End) {
        return Err(format!("it does not end: {last:?}\n{}", String::from_utf8_lossy(&bytes)));
    }
    let mut assembler = Assembler::default();
    events.into_iter().for_each(|event| assembler.push(event));
    assembler.finish().map_err(|error| error.to_string())
}

/// The request in which a caller sends an answer back, as the SDKs of its dialect do.
fn sent_back(dialect: Dialect, told: &Value) -> Option<(Spoken, Value)> {
    let path = Spoken { model: Some("a-model".to_owned()), stream: false };
    let at = |pointer: &str| told.pointer(pointer).cloned();
    let body = match dialect {
        Dialect::OpenAiChat => json!({"model": "m", "messages": [at("/choices/0/message")?]}),
        Dialect::OpenAiResponses => json!({"model": "m", "input": at("/output")?}),
        Dialect::Anthropic => {
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": at("/content")?}]})
        }
        Dialect::Gemini => json!({"contents": [at("/candidates/0/content")?]}),
        Dialect::Bedrock => json!({"messages": [at("/output/message")?]}),
        Dialect::Cohere => json!({"model": "m", "messages": [at("/message")?]}),
    };
    Some((path, body))
}

/// A piece of a tool round, as its provider looks at it.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// A thought with its proof.
    Thought(String, ProofKind, String),
    /// Something said.
    Said,
    /// A call, with its mark.
    Call(String, Option<String>),
}

/// What a tool round needs, in its order: the proofs of thoughts, what was said between them, and calls with their
/// marks. `as_one` says that the dialect has one place for all that is said, before the calls.
fn round<'a>(parts: impl IntoIterator<Item = &'a Part>, as_one: bool) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for part in parts {
        let step = match part {
            Part::Thinking { proof: Some(proof), .. } => {
                Step::Thought(proof.issuer.clone(), proof.kind, proof.value.clone())
            }
            Part::ToolCall { id, proof, .. } => {
                Step::Call(id.clone(), proof.as_ref().map(|proof| proof.value.clone()))
            }
            Part::Text { text, .. } | Part::Refusal { text } if !text.is_empty() => Step::Said,
            _ => continue,
        };
        if !(step == Step::Said && steps.last() == Some(&Step::Said)) {
            steps.push(step);
        }
    }
    if as_one && let Some(first) = steps.iter().position(|step| *step == Step::Said) {
        let before = steps.iter().position(|step| matches!(step, Step::Call(..))).unwrap_or(steps.len());
        steps.insert(first.min(before), Step::Said);
        let mut kept = false;
        steps.retain(|step| *step != Step::Said || !std::mem::replace(&mut kept, true));
    }
    steps
}

fn kept(dialect: Dialect, answer: &Answer, told: &Value) -> Result<(), TestCaseError> {
    let calls = answer.choices[0].parts.iter().filter(|part| matches!(part, Part::ToolCall { .. })).count();
    let Some((path, body)) = sent_back(dialect, told).filter(|_| calls > 0) else { return Ok(()) };
    let bytes = serde_json::to_vec(&body).expect("JSON");
    let request = dialect.read_request(&path, &bytes);
    prop_assert!(request.is_ok(), "{}: {request:?} of {body:#}", dialect.name());
    let request = request.expect("asserted");
    let as_one = matches!(dialect, Dialect::OpenAiChat | Dialect::Cohere);
    let back = round(request.messages.iter().flat_map(|message| &message.parts), as_one);
    let want = round(&answer.choices[0].parts, as_one);
    prop_assert!(back == want, "{}: {want:?} came back as {back:?} in {body:#}", dialect.name());
    Ok(())
}

/// A caller who keeps of an answer what its SDK has a field for: texts and calls. All proofs ride on the calls' ids.
fn kept_by_ids(dialect: Dialect, answer: &Answer, told: &Value) -> Result<(), TestCaseError> {
    if !matches!(dialect, Dialect::OpenAiChat | Dialect::Cohere) {
        return Ok(());
    }
    let mut told = told.clone();
    let message = if dialect == Dialect::Cohere { "/message" } else { "/choices/0/message" };
    if let Some(message) = told.pointer_mut(message).and_then(Value::as_object_mut) {
        message.retain(|key, _| matches!(key.as_str(), "role" | "content" | "refusal" | "tool_calls"));
        if let Some(content) = message.get_mut("content").and_then(Value::as_array_mut) {
            content.retain(|piece| piece["type"] != "thinking");
        }
    }
    kept(dialect, answer, &told)
}

fn check(dialect: Dialect, numbers: &[u8]) -> Result<(), TestCaseError> {
    let answer = Draw::new(numbers).answer();
    let want = gist(&answer);
    let bytes = dialect.write_answer(answer.clone(), &telling());
    let told: Value =
        serde_json::from_slice(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let back = dialect.read_answer(&bytes);
    prop_assert!(back.is_ok(), "{}: {back:?} of {told:#}", dialect.name());
    let back = back.expect("asserted");
    prop_assert_eq!(
        missed(dialect, &answer, &back),
        Vec::<String>::new(),
        "{} whole: {:#}",
        dialect.name(),
        told
    );
    let tokens = kinds_of_tokens(dialect, &answer);
    prop_assert_eq!(kinds_of_tokens(dialect, &back), tokens, "{} whole: {:#}", dialect.name(), told);
    prop_assert_eq!(heard(dialect, &back), heard(dialect, &answer), "{} whole: {:#}", dialect.name(), told);
    let back = gist(&back);
    prop_assert!(back == want, "{} whole:\n{back:?}\nwant {want:?}\nin {told:#}", dialect.name());
    kept(dialect, &answer, &told)?;
    kept_by_ids(dialect, &answer, &told)?;
    let sound = heard(dialect, &answer);
    match streamed(dialect, answer.clone()) {
        Ok(streamed) => {
            prop_assert_eq!(
                missed(dialect, &answer, &streamed),
                Vec::<String>::new(),
                "{} streamed",
                dialect.name()
            );
            prop_assert_eq!(kinds_of_tokens(dialect, &streamed), tokens, "{} streamed", dialect.name());
            prop_assert_eq!(heard(dialect, &streamed), sound, "{} streamed", dialect.name());
            let streamed = gist(&streamed);
            prop_assert!(streamed == want, "{} streamed:\n{streamed:?}\nwant {want:?}", dialect.name());
        }
        Err(why) => prop_assert!(false, "{} streamed: {why}", dialect.name()),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn chat_tells_answers(numbers in vec(any::<u8>(), 0..80)) {
        check(Dialect::OpenAiChat, &numbers)?;
    }

    #[test]
    fn responses_tells_answers(numbers in vec(any::<u8>(), 0..80)) {
        check(Dialect::OpenAiResponses, &numbers)?;
    }

    #[test]
    fn anthropic_tells_answers(numbers in vec(any::<u8>(), 0..80)) {
        check(Dialect::Anthropic, &numbers)?;
    }

    #[test]
    fn gemini_tells_answers(numbers in vec(any::<u8>(), 0..80)) {
        check(Dialect::Gemini, &numbers)?;
    }

    #[test]
    fn bedrock_tells_answers(numbers in vec(any::<u8>(), 0..80)) {
        check(Dialect::Bedrock, &numbers)?;
    }

    #[test]
    fn cohere_tells_answers(numbers in vec(any::<u8>(), 0..80)) {
        check(Dialect::Cohere, &numbers)?;
    }
}
