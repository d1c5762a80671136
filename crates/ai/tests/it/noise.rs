//! Any bytes may come from callers and providers: no reader panics, and every stream comes to an end.

use ai::{
    canon::Event,
    dialect::Dialect,
    stream::{Frame, FrameReader},
};
use proptest::{collection::vec, prelude::*};
use serde_json::Value;

use crate::fixtures::{Fixture, fixtures, framed, spoken};

/// What a broken piece of JSON holds instead.
const STRANGE: [&str; 8] = ["null", "true", "-1", "1e300", "\"\"", "[]", "{}", "[[{\"type\":null}]]"];

/// Replaces one value somewhere in a document by a strange one, or takes it out.
fn disturb(value: &mut Value, path: &[u8], strange: u8) {
    let Some((step, rest)) = path.split_first() else {
        *value = serde_json::from_str(STRANGE[usize::from(strange) % STRANGE.len()]).expect("JSON");
        return;
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = usize::from(*step) % items.len();
            disturb(&mut items[at], rest, strange);
        }
        Value::Object(fields) if !fields.is_empty() => {
            let at = usize::from(*step) % fields.len();
            let key = fields.keys().nth(at).expect("within").clone();
            if rest.is_empty() && strange.is_multiple_of(3) {
                fields.shift_remove(&key);
            } else if let Some(field) = fields.get_mut(&key) {
                disturb(field, rest, strange);
            }
        }
        other => disturb(other, &[], strange),
    }
}

fn disturbed(text: &str, path: &[u8], strange: u8) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(text).expect("a fixture is JSON");
    disturb(&mut value, path, strange);
    serde_json::to_vec(&value).expect("JSON")
}

fn some(dialect: Dialect, kind: &str, which: u8) -> Fixture {
    let mut all = fixtures(dialect, kind);
    let at = usize::from(which) % all.len();
    all.swap_remove(at)
}

fn read_stream(dialect: Dialect, frames: Vec<Frame>) -> Vec<Event> {
    let mut reader = dialect.stream_reader();
    let mut events = Vec::new();
    frames.into_iter().for_each(|frame| reader.read(frame, &mut events));
    reader.end(&mut events);
    events
}

fn ends_once(events: &[Event]) -> bool {
    let last = events.iter().position(|event| matches!(event, Event::End | Event::Error(_)));
    last.is_some_and(|last| last + 1 == events.len())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::with_cases(512) })]

    #[test]
    fn disturbed_documents_are_read_or_refused(which: u8, path in vec(any::<u8>(), 1..7), strange: u8) {
        for dialect in Dialect::ALL {
            let fixture = some(dialect, "requests", which);
            let (said, body) = spoken(&fixture.text);
            let body = disturbed(&String::from_utf8(body).expect("text"), &path, strange);
            let _ = dialect.read_request(&said, &body);
            let _ = dialect.read_answer(&disturbed(&some(dialect, "answers", which).text, &path, strange));
            let _ = dialect.read_error(500, &disturbed(&some(dialect, "errors", which).text, &path, strange));
        }
    }

    #[test]
    fn disturbed_streams_end_once(which: u8, frame: u8, path in vec(any::<u8>(), 1..7), strange: u8) {
        for dialect in Dialect::ALL {
            let fixture = some(dialect, "streams", which);
            let mut frames = Vec::new();
            let mut splitter = FrameReader::new(dialect.provider_framing());
            splitter.push(&framed(&fixture.text, dialect.provider_framing()), &mut frames).expect("well framed");
            let at = usize::from(frame) % frames.len();
            if let Ok(mut value) = serde_json::from_slice::<Value>(&frames[at].data) {
                disturb(&mut value, &path, strange);
                frames[at].data = serde_json::to_vec(&value).expect("JSON");
            }
            let events = read_stream(dialect, frames);
            prop_assert!(ends_once(&events), "{} {}: {events:#?}", dialect.name(), fixture.name);
        }
    }

    #[test]
    fn noise_is_refused(bytes in vec(any::<u8>(), 0..400)) {
        for dialect in Dialect::ALL {
            let _ = dialect.read_request(&Default::default(), &bytes);
            let _ = dialect.read_answer(&bytes);
            let _ = dialect.read_error(502, &bytes);
            let frame = |data: &[u8]| Frame { data: data.to_vec(), ..Frame::default() };
            let events = read_stream(dialect, bytes.chunks(40).map(frame).collect());
            prop_assert!(ends_once(&events), "{}: {events:#?}", dialect.name());
            let mut frames = Vec::new();
            let _ = FrameReader::new(dialect.provider_framing()).push(&bytes, &mut frames);
        }
    }
}
