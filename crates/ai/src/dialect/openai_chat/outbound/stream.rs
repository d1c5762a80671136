//! Reads a stream of chunks.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    answer::{arguments_of, citation_of, image_of, proof_of},
    error::error_of,
};
use crate::{
    canon::{Delta, Error, ErrorKind, Event, Opening},
    dialect::{
        StreamReader,
        openai_chat::{finish_of, probability_of, usage_of},
        openai_responses,
    },
    stream::Frame,
    way::Way,
};

/// Reads chunks. It remembers which parts are open: the dialect itself knows no parts but calls.
#[derive(Default)]
pub(in crate::dialect) struct Reader {
    started: bool,
    over: bool,
    finished: bool,
    choices: BTreeMap<u32, Progress>,
}

#[derive(Default)]
struct Progress {
    parts: u32,
    /// The part that is open, and what it is; calls are apart, for they may interleave.
    open: Option<(u32, Kind)>,
    calls: Vec<Call>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Refusal,
    Audio,
}

struct Call {
    index: Option<u64>,
    id: String,
    part: u32,
    closed: bool,
}

impl Progress {
    fn next(&mut self) -> u32 {
        self.parts += 1;
        self.parts - 1
    }

    fn close(&mut self, choice: u32, out: &mut Vec<Event>) {
        if let Some((part, _)) = self.open.take() {
            out.push(Event::Close { choice, part });
        }
    }

    fn close_calls(&mut self, choice: u32, out: &mut Vec<Event>) {
        for call in self.calls.iter_mut().filter(|call| !call.closed) {
            call.closed = true;
            out.push(Event::Close { choice, part: call.part });
        }
    }

    /// The part of a kind: the one that is open, or a new one.
    fn part(&mut self, choice: u32, kind: Kind, opening: Opening, out: &mut Vec<Event>) -> u32 {
        match self.open {
            Some((part, open)) if open == kind => part,
            _ => {
                self.close(choice, out);
                let part = self.next();
                self.open = Some((part, kind));
                out.push(Event::Open { choice, part, opening });
                part
            }
        }
    }
}

impl StreamReader for Reader {
    fn read(&mut self, frame: Frame, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if frame.data == b"[DONE]" {
            return self.end(out);
        }
        let Ok(chunk) = serde_json::from_slice::<Value>(&frame.data) else {
            return self
                .fail(Error::of_status(502, "the provider's stream holds an event that is not JSON"), out);
        };
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            let code = chunk.at("/error/code").and_then(Value::as_u64);
            let status =
                code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
            return self.fail(error_of(status.unwrap_or(502), &chunk), out);
        }
        self.start(&chunk, out);
        for choice in chunk.get("choices").and_then(Value::as_array).into_iter().flatten() {
            self.choice(choice, out);
        }
        // Of speech it is told as Responses tell it.
        let usage = |value| usage_of(value).or_else(|| openai_responses::usage_of(value));
        out.extend(chunk.get("usage").and_then(usage).map(Event::Usage));
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if !self.finished {
            let message = "the provider's stream broke off before its end";
            return self.fail(Error { status: 502, ..Error::new(ErrorKind::Server, message) }, out);
        }
        self.close_all(out);
        self.over = true;
        out.push(Event::End);
    }
}

impl Reader {
    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Error(error));
    }

    fn start(&mut self, chunk: &Value, out: &mut Vec<Event>) {
        let text = |key: &str| chunk.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if !std::mem::replace(&mut self.started, true) {
            let created = chunk.get("created").and_then(Value::as_u64);
            out.push(Event::Start { id: text("id"), model: text("model"), created });
        }
        if let Some(tier) = chunk.get("service_tier").and_then(Value::as_str) {
            out.push(Event::Tier(tier.to_owned()));
        }
    }

    fn close_all(&mut self, out: &mut Vec<Event>) {
        for (choice, progress) in &mut self.choices {
            progress.close(*choice, out);
            progress.close_calls(*choice, out);
        }
    }

    fn choice(&mut self, value: &Value, out: &mut Vec<Event>) {
        let choice = value.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
        let choice = choice.unwrap_or(0);
        let progress = self.choices.entry(choice).or_default();
        if let Some(delta) = value.get("delta") {
            read_delta(progress, choice, delta, out);
        }
        let tokens = value.at("/logprobs/content").and_then(Value::as_array);
        if let Some(tokens) = tokens {
            out.push(Event::LogProbabilities {
                choice,
                tokens: tokens.iter().filter_map(probability_of).collect(),
            });
        }
        if let Some(reason) = value.get("finish_reason").and_then(Value::as_str) {
            progress.close(choice, out);
            progress.close_calls(choice, out);
            self.finished = true;
            out.push(Event::Finish { choice, finish: finish_of(reason) });
        }
    }
}

fn read_delta(progress: &mut Progress, choice: u32, delta: &Value, out: &mut Vec<Event>) {
    let text = |key: &str| delta.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let said = |part: u32, text: &str| Event::Delta { choice, part, delta: Delta::Text(text.to_owned()) };
    if let Some(thought) = text("reasoning_content").or_else(|| text("reasoning")) {
        let part = progress.part(choice, Kind::Thinking, Opening::Thinking, out);
        out.push(said(part, thought));
    }
    for proof in list(delta, "reasoning_details").filter_map(proof_of) {
        let part = progress.part(choice, Kind::Thinking, Opening::Thinking, out);
        out.push(Event::Delta { choice, part, delta: Delta::Proof(Box::new(proof)) });
    }
    if let Some(more) = text("content") {
        let part = progress.part(choice, Kind::Text, Opening::Text, out);
        out.push(said(part, more));
    }
    for citation in list(delta, "annotations").filter_map(citation_of) {
        let part = progress.part(choice, Kind::Text, Opening::Text, out);
        out.push(Event::Delta { choice, part, delta: Delta::Citation(Box::new(citation)) });
    }
    if let Some(more) = text("refusal") {
        let part = progress.part(choice, Kind::Refusal, Opening::Refusal, out);
        out.push(said(part, more));
    }
    if let Some(audio) = delta.get("audio").filter(|audio| audio.is_object()) {
        read_audio(progress, choice, audio, out);
    }
    for image in list(delta, "images").filter_map(image_of) {
        progress.close(choice, out);
        let part = progress.next();
        out.push(Event::Open { choice, part, opening: Opening::Whole(Box::new(image)) });
        out.push(Event::Close { choice, part });
    }
    for call in list(delta, "tool_calls") {
        read_call(progress, choice, call, out);
    }
}

fn list<'a>(delta: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    delta.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn read_audio(progress: &mut Progress, choice: u32, audio: &Value, out: &mut Vec<Event>) {
    let text = |key: &str| audio.get(key).and_then(Value::as_str).map(str::to_owned);
    let opening = Opening::Audio { id: text("id"), media_type: "audio/pcm".to_owned() };
    let part = progress.part(choice, Kind::Audio, opening, out);
    let transcript = text("transcript").filter(|text| !text.is_empty()).map(Delta::Transcript);
    let data = text("data").filter(|text| !text.is_empty()).map(Delta::Audio);
    out.extend(transcript.into_iter().chain(data).map(|delta| Event::Delta { choice, part, delta }));
}

fn read_call(progress: &mut Progress, choice: u32, call: &Value, out: &mut Vec<Event>) {
    let index = call.get("index").and_then(Value::as_u64);
    let id = call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
    let custom = call.get("custom").is_some_and(Value::is_object);
    let inner = call.get(if custom { "custom" } else { "function" });
    let name =
        inner.and_then(|inner| inner.get("name")).and_then(Value::as_str).filter(|name| !name.is_empty());
    // Some providers give every call the index 0, or none: then a new id is a new call.
    let known = match (index, id) {
        (_, Some(id)) if progress.calls.iter().any(|call| call.id == id) => {
            progress.calls.iter().find(|call| call.id == id)
        }
        (_, Some(_)) if name.is_some() => None,
        (Some(_), _) => progress.calls.iter().rev().find(|call| call.index == index),
        (None, _) => progress.calls.last(),
    };
    let part = match known {
        Some(call) => call.part,
        None => {
            progress.close(choice, out);
            let part = progress.next();
            let id = id.map_or_else(|| format!("call_{choice}_{part}"), str::to_owned);
            progress.calls.push(Call { index, id: id.clone(), part, closed: false });
            let opening = Opening::ToolCall { id, name: name.unwrap_or_default().to_owned(), custom };
            out.push(Event::Open { choice, part, opening });
            part
        }
    };
    let key = if custom { "input" } else { "arguments" };
    let arguments =
        arguments_of(inner.and_then(|inner| inner.get(key)).filter(|value| !value.is_null()).cloned());
    if !arguments.is_empty() {
        out.push(Event::Delta { choice, part, delta: Delta::Text(arguments) });
    }
}
