//! Writes a stream: a `GenerateContentResponse` for each piece, as Server-Sent Events or, for callers who do not ask
//! for those, as the elements of a JSON array.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    answer::{Grounding, Rider, call_value, signed, whole_value},
    error::error_value,
};
use crate::{
    canon::{Citation, Delta, Event, Finish, Opening, Part, Proof, Source, TokenProbability, Usage},
    dialect::{
        StreamWriter, Telling,
        gemini::{finish_word, probabilities_value, usage_value},
    },
    stream::{json_array, sse},
};

/// Most bytes of a text that are kept to count the places of citations in it.
const CITED_BYTES_MAX: usize = 1024 * 1024;

/// Writes pieces. Calls come whole in this dialect, so their arguments are gathered; and the end of the answer waits for
/// the usage, for it stands beside it.
pub(in crate::dialect) struct Writer {
    telling: Telling,
    array: bool,
    begun: bool,
    usage: Option<Usage>,
    tier: Option<String>,
    choices: BTreeMap<u32, Progress>,
}

#[derive(Default)]
struct Progress {
    parts: BTreeMap<u32, State>,
    rider: Rider,
    grounding: Grounding,
    finish: Option<Finish>,
}

enum State {
    Text { text: String, citations: Vec<Citation>, proof: Option<Proof> },
    Thinking { proof: Option<Proof> },
    Call { id: String, name: String, custom: bool, arguments: String, proof: Option<Proof> },
    Audio { media_type: String },
}

impl Writer {
    /// Server-Sent Events (`alt=sse`).
    pub(in crate::dialect) fn new(telling: Telling) -> Self {
        Self { telling, array: false, begun: false, usage: None, tier: None, choices: BTreeMap::new() }
    }

    /// A JSON array.
    pub(in crate::dialect) fn array(telling: Telling) -> Self {
        Self { array: true, ..Self::new(telling) }
    }

    fn send(&mut self, value: &Value, out: &mut Vec<u8>) {
        let first = !std::mem::replace(&mut self.begun, true);
        if self.array {
            json_array::write_json(first, value, out);
        } else {
            sse::write_json(None, value, out);
        }
    }

    fn chunk(&mut self, candidates: Value, out: &mut Vec<u8>) {
        let mut chunk = json!({"candidates": candidates});
        if let Some(usage) = &self.usage {
            chunk["usageMetadata"] = usage_value(usage, self.tier.as_deref());
        }
        chunk["modelVersion"] = self.telling.model.as_str().into();
        chunk["responseId"] = self.telling.id.as_str().into();
        self.send(&chunk, out);
    }

    fn part(&mut self, choice: u32, part: Value, out: &mut Vec<u8>) {
        self.chunk(json!([{"content": {"parts": [part], "role": "model"}, "index": choice}]), out);
    }

    fn open(&mut self, choice: u32, part: u32, opening: Opening, out: &mut Vec<u8>) {
        let state = match opening {
            Opening::Text | Opening::Refusal => {
                State::Text { text: String::new(), citations: Vec::new(), proof: None }
            }
            Opening::Thinking => State::Thinking { proof: None },
            Opening::ToolCall { id, name, custom } => {
                State::Call { id, name, custom, arguments: String::new(), proof: None }
            }
            Opening::Audio { media_type, .. } => State::Audio { media_type },
            Opening::Whole(whole) => {
                if let Some(value) = whole_value(*whole) {
                    self.part(choice, value, out);
                }
                return;
            }
        };
        self.choices.entry(choice).or_default().parts.insert(part, state);
    }

    fn add(&mut self, choice: u32, part: u32, delta: Delta, out: &mut Vec<u8>) {
        let state = self.choices.entry(choice).or_default().parts.get_mut(&part);
        let mut is_said = false;
        let piece = match (state, delta) {
            (Some(State::Text { text, .. }), Delta::Text(more)) => {
                is_said = true;
                if text.len() + more.len() <= CITED_BYTES_MAX {
                    text.push_str(&more);
                }
                json!({"text": more})
            }
            (Some(State::Text { citations, .. }), Delta::Citation(citation)) => {
                citations.push(*citation);
                return;
            }
            (Some(State::Thinking { .. }), Delta::Text(more)) => json!({"text": more, "thought": true}),
            (Some(State::Call { arguments, .. }), Delta::Text(more)) => {
                arguments.push_str(&more);
                return;
            }
            (
                Some(State::Text { proof, .. } | State::Thinking { proof } | State::Call { proof, .. }),
                Delta::Proof(new),
            ) => {
                return Proof::grow(proof, *new);
            }
            (Some(State::Audio { media_type }), Delta::Audio(data)) => {
                let source = Source::Inline { media_type: media_type.clone(), data };
                match whole_value(Part::Audio { source, transcript: None, id: None }) {
                    Some(value) => value,
                    None => return,
                }
            }
            _ => return,
        };
        if is_said {
            self.choices.entry(choice).or_default().rider.said();
        }
        self.part(choice, piece, out);
    }

    fn close(&mut self, choice: u32, part: u32, out: &mut Vec<u8>) {
        let Some(progress) = self.choices.get_mut(&choice) else { return };
        let piece = match progress.parts.remove(&part) {
            Some(State::Text { text, citations, proof }) => {
                citations.iter().for_each(|citation| progress.grounding.add(citation, 0, &text));
                let Some(proof) = proof else { return };
                signed(json!({"text": ""}), Some(&proof))
            }
            Some(State::Thinking { proof: Some(proof) }) => {
                progress.rider.thought(Some(&proof));
                signed(json!({"text": "", "thought": true}), Some(&proof))
            }
            Some(State::Call { id, name, custom, arguments, proof }) => {
                progress.rider.seat(call_value(&id, &name, &arguments, custom), proof.as_ref())
            }
            Some(State::Thinking { proof: None } | State::Audio { .. }) | None => return,
        };
        self.part(choice, piece, out);
    }

    fn probabilities(&mut self, choice: u32, tokens: &[TokenProbability], out: &mut Vec<u8>) {
        self.chunk(json!([{"index": choice, "logprobsResult": probabilities_value(tokens)}]), out);
    }

    /// The last pieces, with reasons and usage.
    fn end(&mut self, out: &mut Vec<u8>) {
        let finished: Vec<Value> = std::mem::take(&mut self.choices)
            .into_iter()
            .filter_map(|(index, progress)| {
                let reason = progress.finish.as_ref().map(finish_word)?;
                let mut value =
                    json!({"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": reason, "index": index});
                if let Some(metadata) = progress.grounding.value() {
                    value["groundingMetadata"] = metadata;
                }
                Some(value)
            })
            .collect();
        self.chunk(finished.into(), out);
        if self.array {
            json_array::end(false, out);
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, .. } => {
                if !id.is_empty() {
                    self.telling.id = id;
                }
            }
            Event::Open { choice, part, opening } => self.open(choice, part, opening, out),
            Event::Delta { choice, part, delta } => self.add(choice, part, delta, out),
            Event::Close { choice, part } => self.close(choice, part, out),
            Event::LogProbabilities { choice, tokens } => self.probabilities(choice, &tokens, out),
            Event::Finish { choice, finish } => self.choices.entry(choice).or_default().finish = Some(finish),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Extra(_) => {}
            // White space is the only sign of life that is read over in both framings: Google's SDKs take a comment
            // of an event stream for a piece of JSON.
            Event::Ping => out.push(b'\n'),
            Event::Error(error) => {
                self.send(&error_value(&error), out);
                if self.array {
                    json_array::end(false, out);
                }
            }
            Event::End => self.end(out),
        }
    }
}
