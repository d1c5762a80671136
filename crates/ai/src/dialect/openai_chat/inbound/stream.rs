//! Writes a stream: `chat.completion.chunk` objects as Server-Sent Events, and `[DONE]`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    answer::{annotation, call_value, detail, image_value},
    error::error_value,
};
use crate::{
    canon::{Delta, Event, Opening, Part, Proof, Riders, Usage},
    dialect::{
        StreamWriter, Telling,
        openai_chat::{finish_word, probability_value, usage_value},
    },
    stream::sse,
};

/// Writes chunks. What it must remember are calls that wait for their proof, and where parts stand.
pub(in crate::dialect) struct Writer {
    telling: Telling,
    usage: Option<Usage>,
    choices: BTreeMap<u32, Progress>,
    tier: Option<String>,
}

/// How far one of the answers side by side has come.
#[derive(Default)]
struct Progress {
    begun: bool,
    parts: BTreeMap<u32, State>,
    calls: u32,
    images: usize,
    details: usize,
    riders: Riders,
    is_refusal_told: bool,
}

/// What an open part is.
enum State {
    Text,
    Refusal,
    Thinking {
        proof: Option<Proof>,
    },
    /// A call that has not been told yet: its id may still get a rider.
    Waiting {
        id: String,
        name: String,
        custom: bool,
        proof: Option<Proof>,
    },
    Call {
        index: u32,
        custom: bool,
        told: bool,
    },
    Audio {
        id: Option<String>,
    },
}

impl Writer {
    pub(in crate::dialect) fn new(telling: Telling) -> Self {
        Self { telling, usage: None, choices: BTreeMap::new(), tier: None }
    }

    fn chunk(&self, choices: Value, out: &mut Vec<u8>) {
        let mut chunk = json!({
            "id": self.telling.id,
            "object": "chat.completion.chunk",
            "created": self.telling.created,
            "model": self.telling.model,
            "choices": choices,
        });
        if let Some(tier) = &self.tier {
            chunk["service_tier"] = tier.as_str().into();
        }
        if self.telling.include_usage {
            chunk["usage"] = Value::Null;
        }
        sse::write_json(None, &chunk, out);
    }

    fn delta(&mut self, choice: u32, mut delta: Value, out: &mut Vec<u8>) {
        let progress = self.choices.entry(choice).or_default();
        if !std::mem::replace(&mut progress.begun, true) {
            delta["role"] = "assistant".into();
            if delta.get("content").is_none() {
                delta["content"] = if delta.get("tool_calls").is_some() { Value::Null } else { "".into() };
            }
        }
        let choices = json!([{"index": choice, "delta": delta, "logprobs": null, "finish_reason": null}]);
        self.chunk(choices, out);
    }

    fn open(&mut self, choice: u32, part: u32, opening: Opening, out: &mut Vec<u8>) {
        let progress = self.choices.entry(choice).or_default();
        let state = match opening {
            Opening::Text => State::Text,
            Opening::Thinking => State::Thinking { proof: None },
            Opening::Refusal => State::Refusal,
            Opening::ToolCall { id, name, custom } => State::Waiting { id, name, custom, proof: None },
            Opening::Audio { id, .. } => State::Audio { id },
            Opening::Whole(whole) => {
                if let Part::Image { source, .. } = *whole
                    && let Some(image) = image_value(source, progress.images)
                {
                    progress.images += 1;
                    self.delta(choice, json!({"images": [image]}), out);
                }
                return;
            }
        };
        progress.parts.insert(part, state);
    }

    /// Tells a call that has waited for its proof.
    fn tell_call(&mut self, choice: u32, part: u32, out: &mut Vec<u8>) {
        let Some(progress) = self.choices.get_mut(&choice) else { return };
        if !matches!(progress.parts.get(&part), Some(State::Waiting { .. })) {
            return;
        }
        let Some(State::Waiting { id, name, custom, proof }) = progress.parts.remove(&part) else { return };
        let index = progress.calls;
        progress.calls += 1;
        progress.parts.insert(part, State::Call { index, custom, told: false });
        let id = progress.riders.mount(id, proof);
        let mut call = call_value(&id, &name, "", custom);
        call["index"] = index.into();
        if !custom {
            call["function"]["arguments"] = "".into();
        }
        self.delta(choice, json!({"tool_calls": [call]}), out);
    }

    fn add(&mut self, choice: u32, part: u32, added: Delta, out: &mut Vec<u8>) {
        let progress = self.choices.entry(choice).or_default();
        let state = progress.parts.get_mut(&part);
        if let (Some(State::Waiting { .. }), Delta::Text(_)) = (&state, &added) {
            self.tell_call(choice, part, out);
            return self.add(choice, part, added, out);
        }
        if let (Some(State::Text | State::Refusal), Delta::Text(text)) = (&state, &added)
            && !text.is_empty()
        {
            progress.riders.said();
        }
        let delta = match (state, added) {
            (Some(State::Text), Delta::Text(text)) => json!({"content": text}),
            (Some(State::Text), Delta::Citation(citation)) => match annotation(&citation, 0) {
                Some(annotation) => json!({"annotations": [annotation]}),
                None => return,
            },
            (Some(State::Refusal), Delta::Text(text)) => {
                progress.is_refusal_told |= !text.is_empty();
                json!({"refusal": text})
            }
            (Some(State::Thinking { .. }), Delta::Text(text)) => json!({"reasoning_content": text}),
            (Some(State::Thinking { proof, .. } | State::Waiting { proof, .. }), Delta::Proof(new)) => {
                return Proof::grow(proof, *new);
            }
            (Some(State::Call { index, custom: true, .. }), Delta::Text(text)) => {
                json!({"tool_calls": [{"index": *index, "custom": {"input": text}}]})
            }
            (Some(State::Call { index, custom: false, told }), Delta::Text(text)) => {
                *told = true;
                json!({"tool_calls": [{"index": *index, "function": {"arguments": text}}]})
            }
            (Some(State::Audio { id }), Delta::Audio(data)) => json!({"audio": {"id": id, "data": data}}),
            (Some(State::Audio { id }), Delta::Transcript(text)) => {
                json!({"audio": {"id": id, "transcript": text}})
            }
            _ => return,
        };
        self.delta(choice, delta, out);
    }

    fn close(&mut self, choice: u32, part: u32, out: &mut Vec<u8>) {
        self.tell_call(choice, part, out);
        let Some(progress) = self.choices.get_mut(&choice) else { return };
        let delta = match progress.parts.remove(&part) {
            Some(State::Thinking { proof: Some(proof) }) => {
                // The text has been told already; a caller joins it with this by its place.
                let value = detail("", &proof, progress.details);
                progress.details += 1;
                progress.riders.wait(proof);
                json!({"reasoning_details": [value]})
            }
            // Callers read the arguments as JSON, also where there are none.
            Some(State::Call { index, custom: false, told: false }) => {
                json!({"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]})
            }
            _ => return,
        };
        self.delta(choice, delta, out);
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, created, .. } => {
                if !id.is_empty() {
                    self.telling.id = id;
                }
                self.telling.created = created.unwrap_or(self.telling.created);
                self.delta(0, json!({}), out);
            }
            Event::Open { choice, part, opening } => self.open(choice, part, opening, out),
            Event::Delta { choice, part, delta } => self.add(choice, part, delta, out),
            Event::Close { choice, part } => self.close(choice, part, out),
            Event::LogProbabilities { choice, tokens } => {
                let content: Vec<Value> = tokens.iter().map(probability_value).collect();
                let choices = json!([{"index": choice, "delta": {}, "logprobs": {"content": content, "refusal": null}, "finish_reason": null}]);
                self.chunk(choices, out);
            }
            Event::Finish { choice, finish } => {
                let is_refusal_told = self.choices.get(&choice).is_some_and(|one| one.is_refusal_told);
                let reason = finish_word(&finish, is_refusal_told);
                let choices =
                    json!([{"index": choice, "delta": {}, "logprobs": null, "finish_reason": reason}]);
                self.chunk(choices, out);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Extra(_) => {}
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Error(error) => sse::write_json(None, &error_value(&error), out),
            Event::End => {
                if let (true, Some(usage)) = (self.telling.include_usage, &self.usage) {
                    let chunk = json!({
                        "id": self.telling.id,
                        "object": "chat.completion.chunk",
                        "created": self.telling.created,
                        "model": self.telling.model,
                        "choices": [],
                        "usage": usage_value(usage),
                    });
                    sse::write_json(None, &chunk, out);
                }
                sse::write(None, b"[DONE]", out);
            }
        }
    }
}
