//! Streams of every dialect, told in every other, however their bytes are split.

use ai::{
    canon::{Answer, Assembler, Event},
    dialect::Dialect,
    stream::{Frame, FrameReader, Framing},
};

use crate::fixtures::{fixtures, framed, golden, section, telling};

fn events(dialect: Dialect, pieces: &[&[u8]]) -> Vec<Event> {
    let mut frames = FrameReader::new(dialect.provider_framing());
    let mut reader = dialect.stream_reader();
    let (mut whole, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        frames.push(piece, &mut whole).expect("well framed");
        for frame in whole.drain(..) {
            reader.read(frame, &mut out);
        }
    }
    frames.finish(&mut whole);
    for frame in whole.drain(..) {
        reader.read(frame, &mut out);
    }
    reader.end(&mut out);
    out
}

fn assembled(events: Vec<Event>) -> Result<Answer, ai::canon::Error> {
    let mut assembler = Assembler::default();
    events.into_iter().for_each(|event| assembler.push(event));
    assembler.finish()
}

#[test]
fn any_split_of_a_stream_tells_the_same() {
    for dialect in Dialect::ALL {
        for fixture in fixtures(dialect, "streams") {
            let bytes = framed(&fixture.text, dialect.provider_framing());
            let whole = events(dialect, &[&bytes]);
            for at in 0..bytes.len() {
                let (a, b) = bytes.split_at(at);
                assert_eq!(
                    events(dialect, &[a, b]),
                    whole,
                    "{} {} split at {at}",
                    dialect.name(),
                    fixture.name
                );
            }
        }
    }
}

#[test]
fn a_stream_that_comes_byte_by_byte_is_told_in_every_dialect_as_the_whole_is() {
    for from in Dialect::ALL {
        for fixture in fixtures(from, "streams") {
            let bytes = framed(&fixture.text, from.provider_framing());
            let whole = events(from, &[&bytes]);
            for to in Dialect::ALL {
                let (mut frames, mut reader) =
                    (FrameReader::new(from.provider_framing()), from.stream_reader());
                let (mut writer, mut out) = (to.stream_writer(telling()), Vec::new());
                let mut tell =
                    |told: Vec<Event>| told.into_iter().for_each(|event| writer.write(event, &mut out));
                let (mut complete, mut told) = (Vec::new(), Vec::new());
                for byte in bytes.chunks(1) {
                    frames.push(byte, &mut complete).expect("well framed");
                    complete.drain(..).for_each(|frame| reader.read(frame, &mut told));
                    tell(std::mem::take(&mut told));
                }
                frames.finish(&mut complete);
                complete.drain(..).for_each(|frame| reader.read(frame, &mut told));
                reader.end(&mut told);
                tell(told);
                let (mut writer, mut wanted) = (to.stream_writer(telling()), Vec::new());
                whole.iter().cloned().for_each(|event| writer.write(event, &mut wanted));
                let at = format!("{} {} told in {}", from.name(), fixture.name, to.name());
                assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&wanted), "{at}");
            }
        }
    }
}

/// What an order of events must keep: `canon::Event` says it.
#[test]
fn every_stream_keeps_the_order_of_events() {
    for dialect in Dialect::ALL {
        for fixture in fixtures(dialect, "streams") {
            let bytes = framed(&fixture.text, dialect.provider_framing());
            let told = events(dialect, &[&bytes]);
            let at = format!("{} {}", dialect.name(), fixture.name);
            assert!(matches!(told.first(), Some(Event::Start { .. } | Event::Error(_))), "{at}: {told:#?}");
            assert!(matches!(told.last(), Some(Event::End | Event::Error(_))), "{at}: {told:#?}");
            let mut open = std::collections::BTreeSet::new();
            let mut next = std::collections::BTreeMap::new();
            for event in &told {
                match event {
                    Event::Open { choice, part, .. } => {
                        let expected = next.entry(*choice).or_insert(0);
                        assert_eq!(part, expected, "{at}: parts count from 0");
                        *expected += 1;
                        open.insert((*choice, *part));
                    }
                    Event::Delta { choice, part, .. } => {
                        assert!(open.contains(&(*choice, *part)), "{at}: a delta of a part that is not open");
                    }
                    Event::Close { choice, part } => {
                        assert!(open.remove(&(*choice, *part)), "{at}: closed twice, or never opened");
                    }
                    Event::Finish { choice, .. } => {
                        assert!(open.iter().all(|(of, _)| of != choice), "{at}: finished with parts open");
                    }
                    _ => {}
                }
            }
            assert!(
                open.is_empty() || matches!(told.last(), Some(Event::Error(_))),
                "{at}: left open {open:?}"
            );
        }
    }
}

/// A stream as text for a golden file: AWS frames are shown as lines.
fn shown(bytes: Vec<u8>, framing: Framing) -> String {
    if framing != Framing::EventStream {
        return String::from_utf8(bytes).expect("text");
    }
    let mut frames: Vec<Frame> = Vec::new();
    FrameReader::new(framing).push(&bytes, &mut frames).expect("well framed");
    let line = |frame: Frame| format!("{} {}\n", frame.event, String::from_utf8_lossy(&frame.data));
    frames.into_iter().map(line).collect()
}

#[test]
fn every_stream_is_told_in_every_dialect() {
    for from in Dialect::ALL {
        for fixture in fixtures(from, "streams") {
            let bytes = framed(&fixture.text, from.provider_framing());
            let told = events(from, &[&bytes]);
            let mut all = String::new();
            for to in Dialect::ALL {
                let mut writer = to.stream_writer(telling());
                let mut out = Vec::new();
                told.iter().cloned().for_each(|event| writer.write(event, &mut out));
                section(&mut all, to, &shown(out.clone(), to.caller_framing(Some("alt=sse"))));
                // What is told is a stream of that dialect: it is read back, and spends and ends alike.
                let back = assembled(events(to, &[&out]));
                let want = assembled(told.clone());
                let summary = |answer: Result<Answer, ai::canon::Error>| {
                    answer.map(|answer| answer.usage.map(|usage| (usage.input, usage.output))).map_err(|_| ())
                };
                assert_eq!(
                    summary(back),
                    summary(want),
                    "{} {} told in {}",
                    from.name(),
                    fixture.name,
                    to.name()
                );
            }
            golden(&format!("streams/{}/{}.txt", from.name(), fixture.name), &all);
        }
    }
}
