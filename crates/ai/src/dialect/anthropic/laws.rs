//! What every stream keeps, whatever a provider sends.

use std::collections::BTreeSet;

use crate::{
    canon::{Event, Part, Proof, ProofKind},
    dialect::{StreamReader, StreamWriter},
    stream::Frame,
};

/// Reads frames, and holds the events to the order that `canon::Event` promises; what is written of them is given
/// back.
pub(in crate::dialect) fn hold(
    reader: &mut dyn StreamReader,
    writer: &mut dyn StreamWriter,
    frames: Vec<Frame>,
) -> Vec<u8> {
    let mut events = Vec::new();
    frames.into_iter().for_each(|frame| reader.read(frame, &mut events));
    reader.end(&mut events);
    let (mut open, mut next) = (BTreeSet::new(), 0);
    let last = events.len() - 1;
    for (at, event) in events.iter().enumerate() {
        let ends = matches!(event, Event::End | Event::Error(_));
        assert_eq!(ends, at == last, "{events:#?}");
        match event {
            Event::Start { .. } => assert_eq!(at, 0, "{events:#?}"),
            Event::Open { part, .. } => {
                assert_eq!(*part, next, "{events:#?}");
                next += 1;
                open.insert(*part);
            }
            Event::Delta { part, .. } => assert!(open.contains(part), "{events:#?}"),
            Event::Close { part, .. } => assert!(open.remove(part), "{events:#?}"),
            Event::Finish { .. } => assert!(open.is_empty(), "{events:#?}"),
            _ => {}
        }
    }
    let mut out = Vec::new();
    events.into_iter().for_each(|event| writer.write(event, &mut out));
    out
}

/// Thoughts and calls with proofs of several vendors, as an answer has them.
pub(in crate::dialect) fn proven_parts() -> Vec<Part> {
    let proof = |issuer: &str, kind, value: &str| {
        Some(Proof {
            issuer: issuer.into(),
            kind,
            value: value.into(),
            id: (issuer == "openai").then(|| "rs_1".into()),
        })
    };
    let thinking = |text: &str, proof| Part::Thinking { text: text.into(), proof };
    let call = |id: &str, proof| Part::ToolCall {
        id: id.into(),
        name: "f".into(),
        arguments: "{}".into(),
        custom: false,
        proof,
        cache: None,
    };
    vec![
        thinking("a", proof("anthropic", ProofKind::Signature, "c2ln")),
        thinking("", proof("anthropic", ProofKind::Signature, "c2lnIQ==")),
        thinking("", proof("anthropic", ProofKind::Encrypted, "AAAA")),
        thinking("b", proof("openai", ProofKind::Encrypted, "gAAAA")),
        thinking("", proof("openai", ProofKind::Encrypted, "gAAAB")),
        Part::Text {
            text: "t".into(),
            citations: Vec::new(),
            cache: None,
            proof: proof("gemini", ProofKind::Mark, "bQ=="),
        },
        call("1", proof("gemini", ProofKind::Mark, "bWs=")),
        call("2", None),
        call("3", proof("gemini", ProofKind::Mark, "bWsy")),
    ]
}
