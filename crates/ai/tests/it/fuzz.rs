//! Any bytes in every dialect's readers: what the fuzz targets run, and a short run of each.
//!
//! A target is a dialect. The first byte of its input says which reader gets the rest: `0` that of callers' requests,
//! `1` of whole answers, `2` of streams, `3` of errors, `4` of streams that are an array.
//! Beside them: forms, batches, events of Realtime, sounds, what vendors have in words of their own, embeddings, and what
//! guardrails make of bodies.
#![allow(unreachable_pub, reason = "`fuzz/` exports them")]

use std::sync::{Arc, LazyLock};

use ai::{
    canon::{Error, Event, Losses, events_of},
    dialect::{Dialect, Spoken, Telling},
    guard::{
        self,
        detect::Kind,
        patterns::Wanted,
        rule::{Action, Check, Rule},
        screen::Screen,
    },
    peek::Peek,
    rules::{Rules, Target},
    stream::{FrameReader, Framing},
    words::Words,
};
use serde_json::Value;

/// OpenAI Chat Completions.
pub fn openai_chat(bytes: &[u8]) {
    run(Dialect::OpenAiChat, bytes);
}

/// OpenAI Responses.
pub fn openai_responses(bytes: &[u8]) {
    run(Dialect::OpenAiResponses, bytes);
}

/// Anthropic Messages.
pub fn anthropic(bytes: &[u8]) {
    run(Dialect::Anthropic, bytes);
}

/// Gemini.
pub fn gemini(bytes: &[u8]) {
    run(Dialect::Gemini, bytes);
}

/// Bedrock Converse.
pub fn bedrock(bytes: &[u8]) {
    run(Dialect::Bedrock, bytes);
}

/// Cohere Chat.
pub fn cohere(bytes: &[u8]) {
    run(Dialect::Cohere, bytes);
}

fn run(dialect: Dialect, bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        b'0' => request(dialect, bytes),
        b'1' => answer(dialect, bytes),
        b'2' => stream(dialect, dialect.provider_framing(), bytes),
        b'4' => stream(dialect, Framing::JsonArray, bytes),
        _ => error(&dialect.read_error(500, bytes)),
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok()
}

/// What is read is written in every dialect as JSON, or refused; and what an earlier turn left in it comes out of a
/// body that is one still.
fn request(dialect: Dialect, bytes: &[u8]) {
    if let (Some((out, _)), true) = (ai::sealed::unsealed(dialect, bytes), is_json(bytes)) {
        assert!(is_json(&out), "what is unsealed is no JSON");
    }
    // A number that no reader can hold passes as it is.
    if let (Ok(peek), true) = (Peek::of(bytes), is_json(bytes)) {
        assert!(is_json(&peek.with_model_and_usage(bytes, "m\"")), "another model makes it no JSON");
        FITTED
            .iter()
            .for_each(|(rules, is_interleaved)| fitted(dialect, bytes, &peek, rules, *is_interleaved));
    }
    let spoken = Spoken { model: Some("m".to_owned()), stream: false };
    let request = match dialect.read_request(&spoken, bytes) {
        Ok(request) => request,
        Err(refused) => return error(&refused),
    };
    let _ = dialect.echo(&request);
    for to in Dialect::ALL {
        match to.write_request(&request, Target { model: "m", rules: &Rules::default() }) {
            Ok(written) => assert!(is_json(&written.body)),
            Err(refused) => error(&refused),
        }
    }
}

/// Models that differ in what they refuse, and whether their callers ask to think between calls.
static FITTED: LazyLock<Vec<(Rules, bool)>> = LazyLock::new(|| {
    let models = [
        ("openai", "o3"),
        ("openai", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-5-5"),
        ("gemini", "gemini-2.5-pro"),
        ("gemini", "gemini-3.8-flash"),
        ("zhipu", "glm-4.7"),
        ("qwen", "qwen-plus"),
        ("deepseek", "deepseek-v4-pro"),
        ("cohere", "command-a-reasoning-08-2025"),
    ];
    let rules = models.iter().map(|(provider, model)| ai::catalogue::rules(provider, model));
    rules.flat_map(|rules| [(rules.clone(), false), (rules, true)]).collect()
});

/// A body that passes stays JSON when it is fitted to a model, and fits then.
fn fitted(dialect: Dialect, bytes: &[u8], peek: &Peek, rules: &Rules, is_interleaved: bool) {
    let cuts = peek.edits(bytes, dialect, rules, is_interleaved, &mut Losses::default());
    if cuts.is_empty() {
        return;
    }
    let out = peek.edited(bytes, None, false, cuts);
    assert!(is_json(&out), "what is fitted is no JSON: {}", out.escape_ascii());
    if let Ok(again) = Peek::of(&out) {
        let more = again.edits(&out, dialect, rules, is_interleaved, &mut Losses::default());
        assert!(more.is_empty(), "{more:?} of {}", out.escape_ascii());
    }
}

/// What is read is told in every dialect, whole and as a stream.
fn answer(dialect: Dialect, bytes: &[u8]) {
    let _ = dialect.peek_usage(bytes);
    let answer = match dialect.read_answer(bytes) {
        Ok(answer) => answer,
        Err(refused) => return error(&refused),
    };
    for to in Dialect::ALL {
        assert!(is_json(&to.write_answer(answer.clone(), &Telling::default())));
    }
    tell(&events_of(answer));
}

/// A stream ends once, wherever its bytes are split, and is told in every dialect.
fn stream(dialect: Dialect, framing: Framing, bytes: &[u8]) {
    let read = |pieces: &[&[u8]]| {
        let (mut frames, mut events) = (Vec::new(), Vec::new());
        let (mut splitter, mut reader) = (FrameReader::new(framing), dialect.stream_reader());
        let is_framed = pieces.iter().all(|piece| splitter.push(piece, &mut frames).is_ok());
        splitter.finish(&mut frames);
        frames.into_iter().for_each(|frame| reader.read(frame, &mut events));
        reader.end(&mut events);
        (is_framed, events)
    };
    let (is_framed, events) = read(&[bytes]);
    let last = events.iter().position(|event| matches!(event, Event::End | Event::Error(_)));
    assert_eq!(last.map(|last| last + 1), Some(events.len()), "{events:#?}");
    if is_framed {
        let (left, right) = bytes.split_at(bytes.len() / 2);
        assert_eq!(read(&[left, right]), (true, events.clone()), "split in the middle");
    }
    tell(&events);
}

/// Another model in a form is the model of that form, and everything else stays.
pub fn form(bytes: &[u8]) {
    const KIND: &str = "multipart/form-data; boundary=b";
    let _ = ai::batch::Upload::of(KIND, bytes);
    let Ok(peek) = Peek::of_form(KIND, bytes) else { return };
    assert!(peek.is_form());
    if let Some(file) = peek.file() {
        assert!(bytes.get(file).is_some(), "the file is not in the form");
    }
    if peek.model.is_some() {
        let written = peek.with_model(bytes, "other");
        let other = Peek::of_form(KIND, &written).expect("a form still");
        assert_eq!((other.model.as_deref(), other.stream), (Some("other"), peek.stream));
    }
}

/// Requests of a batch stand in its document, in their order, and others in their places make one again.
pub fn batch(bytes: &[u8]) {
    let _ = (ai::batch::usage(Dialect::OpenAiChat, bytes), ai::batch::model(bytes));
    for read in [ai::batch::lines, ai::batch::items] {
        let Ok(requests) = read(bytes) else { continue };
        let ends = requests.iter().flat_map(|request| [request.body.start, request.body.end]);
        assert!(ends.is_sorted() && requests.iter().all(|request| bytes.get(request.body.clone()).is_some()));
        let bodies = vec![b"{\"model\":\"other\"}".to_vec(); requests.len()];
        let written = ai::batch::with(bytes, &requests, &bodies);
        let again = read(&written).expect("a batch still");
        let is_other = |request: &ai::batch::Request| written[request.body.clone()] == *bodies[0];
        assert!(again.len() == requests.len() && again.iter().all(is_other));
    }
}

/// Events of Realtime are read whatever they hold.
pub fn realtime(bytes: &[u8]) {
    use ai::realtime::{Event, answer_of, done, error, error_about, heard, longest, said};
    let Some(event) = Event::of(bytes) else { return };
    let _ = (heard(&event, bytes), said(&event, bytes), longest(&event, bytes), done(bytes).usage);
    let text = [answer_of(bytes), error_about(bytes)].into_iter().flatten().collect::<String>();
    assert!(is_json(&error(&event.kind, &text, &text, event.id.as_deref())));
}

/// Sounds are as long as they can be, and no longer for what they say of themselves.
pub fn sound(bytes: &[u8]) {
    let _ = ai::sound::rate(bytes);
    if let Some(length) = ai::sound::length(bytes) {
        assert!(length.seconds <= length.most, "{length:?}");
    }
}

/// What is asked for beside conversations is written in every vendor's words, or refused, and whatever a vendor answers is
/// told or refused. The first byte says which operation it is, the second whether the rest is a request or an answer.
pub fn words(bytes: &[u8]) {
    use ai::endpoint::Operation::{ImageEdits, Images, Rerank, Speech, Transcriptions, Translations};
    const KIND: &str = "multipart/form-data; boundary=b";
    let [operation, side, bytes @ ..] = bytes else { return };
    let (operation, usual): (_, &[u8]) = match operation {
        b'0' => (Speech, br#"{"input":"a","voice":"Kore"}"#),
        b'1' => (Transcriptions, HEARD.as_bytes()),
        b'2' => (Translations, HEARD.as_bytes()),
        b'3' => (Images, br#"{"prompt":"a"}"#),
        b'4' => (ImageEdits, EDITED.as_bytes()),
        _ => (Rerank, br#"{"query":"q","documents":["a","b"],"return_documents":true}"#),
    };
    let form = matches!(operation, Transcriptions | Translations | ImageEdits).then_some(KIND);
    let voices = std::collections::BTreeMap::new();
    if *side == b'0' {
        let asked = match ai::words::read(operation, form, bytes) {
            Ok(asked) => asked,
            Err(refused) => return error(&refused),
        };
        for words in Words::ALL {
            let to = ai::words::To { words, model: "aura-2", voices: &voices };
            match asked.write(&to, &mut ai::canon::Losses::default()) {
                Ok(written) if written.kind == "application/json" => assert!(is_json(&written.body)),
                Ok(written) if written.kind.starts_with("multipart/") => {
                    assert!(Peek::of_form(&written.kind, &written.body).is_ok(), "it is no form");
                }
                Ok(_) => {}
                Err(refused) => error(&refused),
            }
        }
        return;
    }
    let asked = ai::words::read(operation, form, usual).expect("the usual request");
    for words in Words::ALL {
        error(&words.read_error(500, bytes));
        for kind in ["application/json", "image/png"] {
            let came = ai::words::Came { kind, finish: None, body: bytes };
            match asked.tell(words, &came, 1) {
                Ok(told) if told.kind == "application/json" => assert!(is_json(&told.body)),
                Ok(_) => {}
                Err(refused) => error(&refused),
            }
        }
    }
}

/// Forms that ask for what a sound says, with its times, and for another picture.
const HEARD: &str = "--b\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nRIFF\r\n--b\r\n\
    content-disposition: form-data; name=\"response_format\"\r\n\r\nvtt\r\n--b--\r\n";
const EDITED: &str = "--b\r\ncontent-disposition: form-data; name=\"image\"\r\ncontent-type: image/png\r\n\r\nx\r\n--b\r\n\
    content-disposition: form-data; name=\"prompt\"\r\n\r\na\r\n--b--\r\n";

/// Embeddings. The first byte says what the rest is: `0` to `2` a request of OpenAI's, Gemini's or Cohere's, which says
/// the same when it was written for a provider and is read again; `3` to `6` an answer of these and of Bedrock's; else
/// one of Gemini's requests that passes as it is and stays JSON, with the model named wherever it must be.
pub fn embed(bytes: &[u8]) {
    const SPOKEN: [Dialect; 4] = [Dialect::OpenAiChat, Dialect::Gemini, Dialect::Cohere, Dialect::Bedrock];
    let Some((side, bytes)) = bytes.split_first() else { return };
    let at = usize::from(side.wrapping_sub(b'0'));
    match at {
        0..=2 => {
            let asked = match ai::embed::read(SPOKEN[at], bytes) {
                Ok(asked) => asked,
                Err(refused) => return error(&refused),
            };
            for to in SPOKEN {
                for model in ["embed-v4.0", "cohere.embed-english-v3", "amazon.titan-embed-text-v2:0"] {
                    let mut losses = Losses::default();
                    let written = match ai::embed::write(&asked, to, model, &mut losses) {
                        Ok(written) => written,
                        Err(refused) => {
                            error(&refused);
                            continue;
                        }
                    };
                    assert!(is_json(&written.body), "what is written is no JSON");
                    if to == Dialect::Bedrock {
                        continue;
                    }
                    let back = ai::embed::read(to, &written.body).expect("what is written can be read");
                    let again = ai::embed::write(&back, to, model, &mut losses).expect("and written again");
                    assert_eq!((&again.path, &again.body), (&written.path, &written.body));
                }
            }
        }
        3..=6 => {
            for asked in [r#"{"input":"a"}"#, r#"{"input":["a","b"],"encoding_format":"base64"}"#] {
                let asked = ai::embed::read(Dialect::OpenAiChat, asked.as_bytes()).expect("a request");
                for to in &SPOKEN[..3] {
                    match ai::embed::tell(&asked, SPOKEN[at - 3], *to, "m", bytes) {
                        Ok(told) => assert!(is_json(&told), "what is told is no JSON"),
                        Err(refused) => error(&refused),
                    }
                }
            }
        }
        _ => {
            let Ok((path, mut cuts)) = ai::embed::pass(bytes, "a-model") else { return };
            let Ok(mut text) = String::from_utf8(bytes.to_vec()) else { return };
            cuts.sort_by_key(|(place, _)| std::cmp::Reverse((place.start, place.end)));
            for (place, with) in cuts {
                text.replace_range(place, &with);
            }
            let Ok(Value::Object(body)) = serde_json::from_str(&text) else {
                assert!(
                    !matches!(serde_json::from_slice(bytes), Ok(Value::Object(_))),
                    "it is no JSON any more"
                );
                return;
            };
            let requests = body.get("requests").and_then(Value::as_array).into_iter().flatten();
            for one in requests.filter_map(Value::as_object) {
                assert_eq!(one["model"], "models/a-model", "{path}");
            }
        }
    }
}

/// What guardrails hide in a body leaves it JSON and comes back; and what they call clear at a glance they find nothing
/// in when they read it. The first byte says whether it is a request or an answer.
pub fn guard(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let mut screen = Screen::new(RULES.clone(), false);
    if *kind == b'0' {
        let Ok(edited) = screen.request(bytes) else { return };
        let (Some(edited), true) = (edited, is_json(bytes)) else { return };
        assert!(is_json(&edited), "{}", String::from_utf8_lossy(&edited));
        let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
        let own = texts(&value(bytes));
        // What looks like a placeholder where nobody reads stays what it is, and comes back nowhere.
        if own.iter().all(|text| !text.contains('<')) {
            screen.turn();
            // A number that is hidden is a text from then on.
            assert_eq!(texts(&unmasked(value(&edited), &screen)), own);
        }
        return;
    }
    screen.turn();
    if screen.clears(bytes) {
        for dialect in Dialect::ALL {
            let Ok(mut answer) = dialect.read_answer(bytes) else { continue };
            screen.answer(&mut answer);
            assert!(screen.fired().is_empty(), "{:?}", screen.fired());
        }
    }
}

static RULES: LazyLock<Arc<guard::rule::Rules>> = LazyLock::new(|| {
    let rule = |name: &str, check, action| Rule {
        name: name.into(),
        check,
        action,
        on_request: true,
        on_answer: true,
    };
    let phrases = ["Acme Corp", "blue whale"].map(|text| Wanted::Phrase(text.into())).to_vec();
    let all = vec![
        rule("personal", Check::Kinds(Kind::ALL.to_vec()), Action::Mask),
        rule("rivals", Check::Patterns(phrases, 1), Action::Mask),
    ];
    Arc::new(guard::rule::Rules::compile(all, 256).expect("good rules"))
});

fn unmasked(value: Value, screen: &Screen) -> Value {
    match value {
        Value::String(text) => screen.unmask(&text).into(),
        Value::Array(list) => list.into_iter().map(|value| unmasked(value, screen)).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (screen.unmask(&name), unmasked(value, screen))).collect()
        }
        other => other,
    }
}

/// All that a value says, in any order.
fn texts(value: &Value) -> Vec<String> {
    let mut all = match value {
        // So is what is said in a text that is JSON.
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Array(_) | Value::Object(_))) => texts(&inner),
            _ => vec![text.clone()],
        },
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| std::iter::once(name.clone()).chain(texts(value)))
            .collect(),
        other => vec![other.to_string()],
    };
    all.sort();
    all
}

fn tell(events: &[Event]) {
    for to in Dialect::ALL {
        let mut writer = to.stream_writer(Telling::default());
        let mut out = Vec::new();
        events.iter().cloned().for_each(|event| writer.write(event, &mut out));
    }
}

fn error(error: &Error) {
    for to in Dialect::ALL {
        assert!(is_json(&to.write_error(error)));
    }
}

#[cfg(test)]
mod short {
    macro_rules! short {
        ($($name:ident),+) => { $(
            #[test]
            fn $name() {
                mutate::fuzz(stringify!($name), super::$name);
            }
        )+ };
    }
    short!(
        openai_chat,
        openai_responses,
        anthropic,
        gemini,
        bedrock,
        cohere,
        form,
        batch,
        realtime,
        sound,
        words,
        embed,
        guard
    );
}
