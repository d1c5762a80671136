//! Reads a stream of events. Each names the item, and the piece of it, that it is about.

use std::collections::BTreeMap;

use serde_json::Value;

mod items;

use self::items::Item;
use super::answer::{answer_of, created_of, failure};
use crate::{
    canon::{Error, ErrorKind, Event, Finish, Part, Proof, events_of},
    dialect::{
        StreamReader,
        openai_chat::outbound::error_of,
        openai_responses::{finish_of, usage_of},
    },
    stream::Frame,
    way::Way,
};

/// Most items of a response that are read; a provider that sends more has lost its senses.
const ITEMS_MAX: u64 = 65_536;

/// Reads events of one response.
#[derive(Default)]
pub(in crate::dialect) struct Reader {
    started: bool,
    over: bool,
    parts: u32,
    items: BTreeMap<u64, Item>,
    mark: Option<Proof>,
    /// A call or a refusal came, which the end does not say.
    said: Option<Finish>,
    probabilities: bool,
}

impl StreamReader for Reader {
    fn read(&mut self, frame: Frame, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if frame.data == b"[DONE]" {
            return self.end(out);
        }
        let Ok(event) = serde_json::from_slice::<Value>(&frame.data) else {
            return self
                .fail(Error::of_status(502, "the provider's stream holds an event that is not JSON"), out);
        };
        self.event(event, out);
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if !self.over {
            let message = "the provider's stream broke off before its end";
            self.fail(Error { status: 502, ..Error::new(ErrorKind::Server, message) }, out);
        }
    }
}

impl Reader {
    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Error(error));
    }

    fn start(&mut self, response: &Value, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            let text = |key: &str| response.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            out.push(Event::Start { id: text("id"), model: text("model"), created: created_of(response) });
        }
    }

    fn event(&mut self, mut event: Value, out: &mut Vec<Event>) {
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "response.created" | "response.in_progress" | "response.queued" => {
                self.start(event.get("response").unwrap_or(&Value::Null), out);
            }
            "response.completed" | "response.incomplete" | "response.cancelled" => {
                let response = event.get_mut("response").map(Value::take).unwrap_or_default();
                self.complete(response, out);
            }
            "response.failed" => self.fail(failure(event.get("response").unwrap_or(&Value::Null)), out),
            "error" => self.fail(stream_error(&event), out),
            "keepalive" => out.push(Event::Ping),
            _ if kind.is_empty() && event.get("error").is_some() => self.fail(stream_error(&event), out),
            _ => {
                self.start(&Value::Null, out);
                self.item_event(&kind, &event, out);
            }
        }
    }

    fn complete(&mut self, response: Value, out: &mut Vec<Event>) {
        self.start(&response, out);
        self.close_all(out);
        let finish = finish_of(&response, &[]);
        let usage = response.get("usage").and_then(usage_of);
        let tier = response.get("service_tier").and_then(Value::as_str).map(str::to_owned);
        match answer_of(response) {
            Ok(answer) => self.untold(answer, out),
            // Some providers leave out what the stream has told; not what went wrong.
            Err(error) if error.message.contains("`output` is required") => {}
            Err(error) => return self.fail(error, out),
        }
        let finish = match (finish, self.said.take()) {
            (None | Some(Finish::Stop), Some(said)) => said,
            (finish, _) => finish.unwrap_or(Finish::Stop),
        };
        out.push(Event::Finish { choice: 0, finish });
        out.extend(tier.map(Event::Tier));
        out.extend(usage.map(Event::Usage));
        self.over = true;
        out.push(Event::End);
    }

    /// What stands in the whole response alone: everything, when nothing was told piece by piece.
    fn untold(&mut self, answer: crate::canon::Answer, out: &mut Vec<Event>) {
        let nothing = self.parts == 0;
        for part in answer.choices.iter().flat_map(|choice| &choice.parts).filter(|_| nothing) {
            self.note(part);
        }
        let (probabilities, extra) = (self.probabilities, answer.extra.clone());
        out.extend(events_of(answer).into_iter().filter(|event| match event {
            Event::Open { .. } | Event::Delta { .. } | Event::Close { .. } => nothing,
            Event::LogProbabilities { .. } => !probabilities,
            _ => false,
        }));
        if !extra.is_empty() {
            out.push(Event::Extra(extra));
        }
    }

    /// Remembers what the end will not say.
    fn note(&mut self, part: &Part) {
        match part {
            Part::ToolCall { .. } => self.said = Some(Finish::ToolCalls),
            Part::Refusal { .. } => {
                self.said.get_or_insert(Finish::Refusal);
            }
            _ => {}
        }
    }
}

/// An error in the stream: flat, or nested as in a whole answer.
fn stream_error(event: &Value) -> Error {
    let code = event.get("code").or_else(|| event.at("/error/code")).and_then(Value::as_str);
    let status = match code {
        Some("rate_limit_exceeded" | "insufficient_quota") => 429,
        Some("context_length_exceeded" | "content_filter" | "invalid_prompt") => 400,
        Some("invalid_api_key") => 401,
        Some("permission_denied") => 403,
        Some("not_found") => 404,
        Some("overloaded") => 503,
        Some("timeout") => 504,
        _ => 502,
    };
    error_of(status, event)
}
