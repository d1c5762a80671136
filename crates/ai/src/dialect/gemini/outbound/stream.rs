//! Reads a stream of `GenerateContentResponse` objects.
//!
//! Some models tell a reason to end with every piece, so that choices are finished when the stream is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    answer::call_id,
    citation::{Cited, citations_of, span},
    error::error_of,
};
use crate::{
    canon::{Delta, Error, ErrorKind, Event, Finish, Opening, Part, ProofKind, Usage},
    dialect::{
        StreamReader,
        gemini::{DIALECT, finish_of, part::read_media, probabilities_of, proof_of, tier_of, usage_of},
    },
    fields::Fields,
    stream::Frame,
    way::Way,
};

/// Most bytes of a text that are kept to count the places of citations in it.
const CITED_BYTES_MAX: usize = 1024 * 1024;

/// Most answers side by side that are followed.
const CHOICES_MAX: u64 = 128;

/// Reads pieces.
#[derive(Default)]
pub(in crate::dialect) struct Reader {
    id: String,
    started: bool,
    over: bool,
    usage: Option<Usage>,
    choices: BTreeMap<u32, Progress>,
}

#[derive(Default)]
struct Progress {
    parts: u32,
    open: Option<(u32, Kind)>,
    calls: u32,
    text: String,
    /// Bytes of the texts before the open one.
    before: usize,
    /// Citations wait for a text to stand on.
    citations: Vec<Cited>,
    reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

impl StreamReader for Reader {
    fn read(&mut self, frame: Frame, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        let Ok(chunk) = serde_json::from_slice::<Value>(&frame.data) else {
            return self
                .fail(Error::of_status(502, "the provider's stream holds an event that is not JSON"), out);
        };
        let first = chunk.get(0).unwrap_or(&chunk);
        if first.get("error").is_some_and(|error| !error.is_null()) {
            let code = first.at("/error/code").and_then(Value::as_u64);
            let status =
                code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
            return self.fail(error_of(status.unwrap_or(502), first), out);
        }
        self.start(first, out);
        for candidate in first.get("candidates").and_then(Value::as_array).into_iter().flatten() {
            self.candidate(candidate, out);
        }
        if let Some(feedback) = first.get("promptFeedback") {
            if feedback.get("blockReason").is_some() {
                self.choices.entry(0).or_default().reason.get_or_insert_with(|| "SAFETY".to_owned());
            }
            out.push(Event::Extra(vec![("promptFeedback".to_owned(), feedback.clone())]));
        }
        if let Some(usage) = first.get("usageMetadata") {
            let read = usage_of(usage);
            if read != self.usage {
                self.usage = read;
                out.extend(read.map(Event::Usage));
            }
            out.extend(tier_of(usage).map(|tier| Event::Tier(tier.to_owned())));
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if self.choices.is_empty() || self.choices.values().all(|progress| progress.reason.is_none()) {
            let message = "the provider's stream broke off before its end";
            return self.fail(Error { status: 502, ..Error::new(ErrorKind::Server, message) }, out);
        }
        self.over = true;
        for (choice, progress) in &mut self.choices {
            progress.finish(*choice, out);
        }
        out.push(Event::End);
    }
}

impl Reader {
    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Error(error));
    }

    fn start(&mut self, chunk: &Value, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            let text = |key: &str| chunk.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            self.id = text("responseId");
            out.push(Event::Start { id: self.id.clone(), model: text("modelVersion"), created: None });
        }
    }

    fn candidate(&mut self, candidate: &Value, out: &mut Vec<Event>) {
        let index = candidate.get("index").and_then(Value::as_u64).unwrap_or(0);
        let Some(choice) = u32::try_from(index).ok().filter(|_| index < CHOICES_MAX) else { return };
        let progress = self.choices.entry(choice).or_default();
        for part in candidate.at("/content/parts").and_then(Value::as_array).into_iter().flatten() {
            progress.part(choice, &self.id, part, out);
        }
        progress
            .citations
            .extend(citations_of(candidate.get("groundingMetadata"), candidate.get("citationMetadata")));
        progress.cite(choice, out);
        if let Some(probabilities) = candidate.get("logprobsResult") {
            let tokens = probabilities_of(probabilities);
            if !tokens.is_empty() {
                out.push(Event::LogProbabilities { choice, tokens });
            }
        }
        if let Some(reason) = candidate.get("finishReason").and_then(Value::as_str) {
            progress.reason = Some(reason.to_owned());
        }
    }
}

impl Progress {
    fn close(&mut self, choice: u32, out: &mut Vec<Event>) {
        if let Some((part, _)) = self.open.take() {
            out.push(Event::Close { choice, part });
        }
    }

    /// The part of a kind: the one that is open, or a new one.
    fn at(&mut self, choice: u32, kind: Kind, out: &mut Vec<Event>) -> u32 {
        match self.open {
            Some((part, open)) if open == kind => part,
            _ => {
                let opening = if kind == Kind::Text { Opening::Text } else { Opening::Thinking };
                let part = self.next(choice, opening, out);
                self.open = Some((part, kind));
                if kind == Kind::Text {
                    self.before += self.text.len();
                    self.text.clear();
                }
                part
            }
        }
    }

    fn next(&mut self, choice: u32, opening: Opening, out: &mut Vec<Event>) -> u32 {
        self.close(choice, out);
        let part = self.parts;
        self.parts += 1;
        out.push(Event::Open { choice, part, opening });
        part
    }

    fn part(&mut self, choice: u32, answer: &str, value: &Value, out: &mut Vec<Event>) {
        let thought = value.get("thought").and_then(Value::as_bool).unwrap_or(false);
        let kind = if thought { ProofKind::Signature } else { ProofKind::Mark };
        let signature = value.get("thoughtSignature").and_then(Value::as_str).filter(|text| !text.is_empty());
        let proof = signature.map(|text| Delta::Proof(Box::new(proof_of(text.to_owned(), kind))));
        if let Some(text) = value.get("text").and_then(Value::as_str) {
            self.said(choice, thought, text, proof, out);
        } else if let Some(call) = value.get("functionCall") {
            self.call(choice, answer, call, proof, out);
        } else if let Some(media) = media_of(value) {
            if let Some(proof) = proof {
                let part = self.next(choice, Opening::Thinking, out);
                out.push(Event::Delta { choice, part, delta: proof });
                out.push(Event::Close { choice, part });
            }
            self.whole(choice, media, out);
        } else if value.as_object().is_some_and(|value| !value.is_empty()) {
            self.whole(choice, Part::Vendor { dialect: DIALECT, value: value.clone() }, out);
        }
    }

    fn said(&mut self, choice: u32, thought: bool, text: &str, proof: Option<Delta>, out: &mut Vec<Event>) {
        if text.is_empty() && proof.is_none() {
            return;
        }
        let part = self.at(choice, if thought { Kind::Thinking } else { Kind::Text }, out);
        if !text.is_empty() {
            if !thought && self.text.len() + text.len() <= CITED_BYTES_MAX {
                self.text.push_str(text);
            }
            out.push(Event::Delta { choice, part, delta: Delta::Text(text.to_owned()) });
        }
        if let Some(proof) = proof {
            out.push(Event::Delta { choice, part, delta: proof });
            // A proof ends its piece: what follows is not covered. A text may still be cited.
            if thought {
                self.close(choice, out);
            }
        }
    }

    fn whole(&mut self, choice: u32, whole: Part, out: &mut Vec<Event>) {
        let part = self.next(choice, Opening::Whole(Box::new(whole)), out);
        out.push(Event::Close { choice, part });
    }

    fn call(&mut self, choice: u32, answer: &str, call: &Value, proof: Option<Delta>, out: &mut Vec<Event>) {
        let text = |key: &str| call.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(name) = text("name") else { return };
        self.calls += 1;
        let id = text("id").map_or_else(|| call_id(answer, choice.into(), self.calls), str::to_owned);
        let opening = Opening::ToolCall { id, name: name.to_owned(), custom: false };
        let part = self.next(choice, opening, out);
        out.extend(proof.map(|delta| Event::Delta { choice, part, delta }));
        let arguments =
            call.get("args").filter(|args| args.is_object()).map_or("{}".to_owned(), Value::to_string);
        out.push(Event::Delta { choice, part, delta: Delta::Text(arguments) });
        out.push(Event::Close { choice, part });
    }

    /// Tells the citations that wait, if a text is open to stand on.
    fn cite(&mut self, choice: u32, out: &mut Vec<Event>) {
        let Some((part, Kind::Text)) = self.open else { return };
        for Cited { mut citation, bytes, .. } in self.citations.drain(..) {
            let here = |byte: usize| byte.saturating_sub(self.before);
            citation.span = bytes.map(|(from, to)| span(&self.text, (here(from), here(to))));
            out.push(Event::Delta { choice, part, delta: Delta::Citation(Box::new(citation)) });
        }
    }

    fn finish(&mut self, choice: u32, out: &mut Vec<Event>) {
        if !self.citations.is_empty() {
            self.at(choice, Kind::Text, out);
            self.cite(choice, out);
        }
        self.close(choice, out);
        let finish = self.reason.take().map_or(Finish::Stop, |reason| finish_of(&reason, self.calls > 0));
        out.push(Event::Finish { choice, finish });
    }
}

/// Media, if that is what a part holds.
fn media_of(value: &Value) -> Option<Part> {
    read_media(&mut Fields::at(value.clone(), "part").ok()?).ok()?
}
