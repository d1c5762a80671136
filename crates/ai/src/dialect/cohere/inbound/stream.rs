//! Writes a stream: events of the message, its blocks of content, calls and citations.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{answer::call_value, error::error_value};
use crate::{
    canon::{Delta, Event, Finish, Opening, Proof, Riders, TokenProbability, Usage},
    dialect::{
        StreamWriter, Telling,
        cohere::{citation::citation_values, finish_word, probability_value, usage_value},
    },
    stream::sse,
};

/// Most bytes of a text that are kept to tell the words of its citations.
const CITED_BYTES_MAX: usize = 1024 * 1024;

/// Writes events. Of answers side by side it tells the first.
pub(in crate::dialect) struct Writer {
    telling: Telling,
    usage: Option<Usage>,
    finish: Option<Finish>,
    parts: BTreeMap<u32, State>,
    contents: usize,
    calls: u32,
    citations: u32,
    riders: Riders,
}

enum State {
    Text {
        index: usize,
        text: String,
    },
    Thinking {
        index: Option<usize>,
        proof: Option<Proof>,
    },
    /// A call that has not been told yet: its id may still get a rider.
    Waiting {
        id: String,
        name: String,
        proof: Option<Proof>,
    },
    Call {
        index: u32,
        empty: bool,
    },
}

impl Writer {
    pub(in crate::dialect) fn new(telling: Telling) -> Self {
        Self {
            telling,
            usage: None,
            finish: None,
            parts: BTreeMap::new(),
            contents: 0,
            calls: 0,
            citations: 0,
            riders: Riders::default(),
        }
    }

    fn start_content(&mut self, kind: &str, out: &mut Vec<u8>) -> usize {
        let index = self.contents;
        self.contents += 1;
        let mut content = json!({"type": kind});
        content[kind] = "".into();
        send("content-start", json!({"index": index, "delta": {"message": {"content": content}}}), out);
        index
    }

    fn open(&mut self, part: u32, opening: Opening, out: &mut Vec<u8>) {
        let state = match opening {
            Opening::Text | Opening::Refusal => {
                State::Text { index: self.start_content("text", out), text: String::new() }
            }
            // Thoughts without words are not told.
            Opening::Thinking => State::Thinking { index: None, proof: None },
            Opening::ToolCall { id, name, .. } => State::Waiting { id, name, proof: None },
            Opening::Audio { .. } | Opening::Whole(_) => return,
        };
        self.parts.insert(part, state);
    }

    /// Tells a call that has waited for its proof.
    fn tell_call(&mut self, part: u32, out: &mut Vec<u8>) {
        if !matches!(self.parts.get(&part), Some(State::Waiting { .. })) {
            return;
        }
        let Some(State::Waiting { id, name, proof }) = self.parts.remove(&part) else { return };
        let index = self.calls;
        self.calls += 1;
        self.parts.insert(part, State::Call { index, empty: true });
        let id = self.riders.mount(id, proof);
        let call = call_value(&id, &name, "");
        send("tool-call-start", json!({"index": index, "delta": {"message": {"tool_calls": call}}}), out);
    }

    fn add(&mut self, part: u32, delta: Delta, out: &mut Vec<u8>) {
        if matches!(delta, Delta::Text(_)) {
            self.tell_call(part, out);
            self.begin_thoughts(part, out);
        }
        match (self.parts.get_mut(&part), delta) {
            (Some(State::Text { index, text }), Delta::Text(more)) => {
                if !more.is_empty() {
                    self.riders.said();
                }
                if text.len() + more.len() <= CITED_BYTES_MAX {
                    text.push_str(&more);
                }
                send(
                    "content-delta",
                    json!({"index": *index, "delta": {"message": {"content": {"text": more}}}}),
                    out,
                );
            }
            (Some(State::Text { index, text }), Delta::Citation(citation)) => {
                let values = citation_values(&[*citation], text, *index);
                values.into_iter().for_each(|value| self.cite(value, out));
            }
            (Some(State::Thinking { index: Some(index), .. }), Delta::Text(more)) => {
                let delta = json!({"message": {"content": {"thinking": more}}});
                send("content-delta", json!({"index": *index, "delta": delta}), out);
            }
            (Some(State::Thinking { proof, .. } | State::Waiting { proof, .. }), Delta::Proof(new)) => {
                Proof::grow(proof, *new)
            }
            (Some(State::Call { index, empty }), Delta::Text(more)) => {
                *empty = false;
                send_arguments(*index, &more, out);
            }
            _ => {}
        }
    }

    fn begin_thoughts(&mut self, part: u32, out: &mut Vec<u8>) {
        if !matches!(self.parts.get(&part), Some(State::Thinking { index: None, .. })) {
            return;
        }
        let begun = self.start_content("thinking", out);
        if let Some(State::Thinking { index, .. }) = self.parts.get_mut(&part) {
            *index = Some(begun);
        }
    }

    fn cite(&mut self, citation: Value, out: &mut Vec<u8>) {
        let index = self.citations;
        self.citations += 1;
        send("citation-start", json!({"index": index, "delta": {"message": {"citations": citation}}}), out);
        send("citation-end", json!({"index": index}), out);
    }

    fn close(&mut self, part: u32, out: &mut Vec<u8>) {
        self.tell_call(part, out);
        match self.parts.remove(&part) {
            Some(State::Text { index, .. }) => send("content-end", json!({"index": index}), out),
            Some(State::Thinking { index, proof }) => {
                proof.into_iter().for_each(|proof| self.riders.wait(proof));
                if let Some(index) = index {
                    send("content-end", json!({"index": index}), out);
                }
            }
            Some(State::Call { index, empty }) => {
                if empty {
                    send_arguments(index, "{}", out);
                }
                send("tool-call-end", json!({"index": index}), out);
            }
            Some(State::Waiting { .. }) | None => {}
        }
    }

    /// Log probabilities stand beside a piece of text.
    fn probabilities(&mut self, tokens: &[TokenProbability], out: &mut Vec<u8>) {
        let open = self.parts.values().find_map(|state| match state {
            State::Text { index, .. } => Some(*index),
            _ => None,
        });
        let index = open.unwrap_or(self.contents.saturating_sub(1));
        for token in tokens {
            let delta = json!({"message": {"content": {"text": ""}}});
            send(
                "content-delta",
                json!({"index": index, "delta": delta, "logprobs": probability_value(token)}),
                out,
            );
        }
    }

    fn end(&mut self, mut delta: Value, out: &mut Vec<u8>) {
        if let Some(usage) = &self.usage {
            delta["usage"] = usage_value(usage);
        }
        send("message-end", json!({"id": self.telling.id, "delta": delta}), out);
    }
}

fn send_arguments(index: u32, arguments: &str, out: &mut Vec<u8>) {
    let delta = json!({"message": {"tool_calls": {"function": {"arguments": arguments}}}});
    send("tool-call-delta", json!({"index": index, "delta": delta}), out);
}

fn send(kind: &str, mut value: Value, out: &mut Vec<u8>) {
    value["type"] = kind.into();
    sse::write_json(Some(kind), &value, out);
}

impl StreamWriter for Writer {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, .. } => {
                if !id.is_empty() {
                    self.telling.id = id;
                }
                let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
                send("message-start", json!({"id": self.telling.id, "delta": {"message": message}}), out);
            }
            Event::Open { choice: 0, part, opening } => self.open(part, opening, out),
            Event::Delta { choice: 0, part, delta } => self.add(part, delta, out),
            Event::Close { choice: 0, part } => self.close(part, out),
            Event::LogProbabilities { choice: 0, tokens } => self.probabilities(&tokens, out),
            Event::Finish { choice: 0, finish } => self.finish = Some(finish),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Error(error) => {
                let mut delta = json!({"finish_reason": "ERROR", "error": error.message});
                delta["details"] = error_value(&error);
                self.end(delta, out);
            }
            Event::End => {
                let reason = finish_word(self.finish.as_ref().unwrap_or(&Finish::Stop));
                self.end(json!({"finish_reason": reason}), out);
            }
            Event::Open { .. }
            | Event::Delta { .. }
            | Event::Close { .. }
            | Event::LogProbabilities { .. }
            | Event::Finish { .. }
            | Event::Tier(_)
            | Event::Extra(_) => {}
        }
    }
}
