//! Writes messages, and the documents that stand beside them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    canon::{CacheMark, Error, ErrorKind, Feature, Losses, Message, Part, Role, Source},
    dialect::cohere::citation::citation_values,
};

/// How the prompt is written.
pub(super) struct Prompt {
    /// Thoughts before calls are a plan.
    pub(super) plans: bool,
    /// Documents stand beside the messages; else they are texts in them.
    pub(super) documents_apart: bool,
}

pub(super) fn write_messages(
    messages: &[Message],
    prompt: &Prompt,
    body: &mut Map<String, Value>,
    losses: &mut Losses,
) -> Result<(), Error> {
    let mut writer = Writer { prompt, messages: Vec::new(), documents: Vec::new(), citable: false, losses };
    // Instructions alone are what the user says.
    let alone = messages.iter().all(|message| matches!(message.role, Role::System | Role::Developer));
    for (index, message) in messages.iter().enumerate() {
        if message.name.is_some() {
            writer.note(Feature::SpeakerName, index);
        }
        match message.role {
            Role::System | Role::Developer if !alone => writer.said("system", message, index),
            Role::System | Role::Developer | Role::User => writer.said("user", message, index),
            Role::Assistant => writer.assistant(message, index),
            Role::Tool => writer.results(message, index)?,
        }
    }
    let Writer { messages, documents, citable, .. } = writer;
    body.insert("messages".into(), messages.into());
    if !documents.is_empty() {
        body.insert("documents".into(), documents.into());
        if !citable {
            body.insert("citation_options".into(), json!({"mode": "OFF"}));
        }
    }
    Ok(())
}

struct Writer<'a> {
    prompt: &'a Prompt,
    messages: Vec<Value>,
    documents: Vec<Value>,
    citable: bool,
    losses: &'a mut Losses,
}

impl Writer<'_> {
    fn note(&mut self, feature: Feature, index: usize) {
        self.losses.feature_at(feature, format_args!("messages[{index}]"));
    }

    fn note_cache(&mut self, cache: Option<&CacheMark>, index: usize) {
        if cache.is_some() {
            self.note(Feature::CacheMark, index);
        }
    }

    fn said(&mut self, role: &str, message: &Message, index: usize) {
        let apart = self.prompt.documents_apart && message.role == Role::User;
        let content: Vec<Value> =
            message.parts.iter().filter_map(|part| self.part(part, apart, index)).collect();
        // A message that held documents alone still has its turn.
        let documents = apart && message.parts.iter().any(|part| matches!(part, Part::Document { .. }));
        if let Some(content) = content_value(content).or(documents.then(|| " ".into())) {
            self.messages.push(json!({"role": role, "content": content}));
        }
    }

    fn part(&mut self, part: &Part, apart: bool, index: usize) -> Option<Value> {
        match part {
            Part::Text { text, cache, .. } => {
                self.note_cache(cache.as_ref(), index);
                (!text.is_empty()).then(|| text_value(text))
            }
            Part::Refusal { text } => (!text.is_empty()).then(|| text_value(text)),
            Part::Image { source, detail, cache } => {
                self.note_cache(cache.as_ref(), index);
                let url = match source {
                    Source::Inline { media_type, data } => format!("data:{media_type};base64,{data}"),
                    Source::Url { url, .. } => url.clone(),
                    Source::File { .. } | Source::Text { .. } => {
                        self.note(Feature::File, index);
                        return None;
                    }
                };
                let mut image = json!({"url": url});
                if let Some(detail) = detail {
                    image["detail"] = detail.as_str().into();
                }
                Some(json!({"type": "image_url", "image_url": image}))
            }
            Part::Document { source, name, context, citable, cache } => {
                self.note_cache(cache.as_ref(), index);
                let Some(text) = text_of(source) else {
                    self.note(
                        if matches!(source, Source::File { .. }) { Feature::File } else { Feature::Document },
                        index,
                    );
                    return None;
                };
                if apart {
                    self.citable |= citable;
                    self.documents.push(document(&text, name.as_deref(), context.as_deref()));
                    return None;
                }
                if *citable {
                    self.note(Feature::Citations, index);
                }
                let title =
                    name.iter().chain(context).fold(String::new(), |title, line| title + line + "\n\n");
                Some(text_value(&(title + &text)))
            }
            Part::Audio { .. } => {
                self.note(Feature::Audio, index);
                None
            }
            Part::Video { .. } => {
                self.note(Feature::Video, index);
                None
            }
            Part::Vendor { .. } => {
                self.note(Feature::VendorPart, index);
                None
            }
            // Thoughts and calls are an assistant's, results a tool's: the readers of requests see to that.
            Part::Thinking { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => None,
        }
    }

    fn assistant(&mut self, message: &Message, index: usize) {
        let (mut content, mut calls, mut citations) = (Vec::new(), Vec::new(), Vec::new());
        let mut plan = String::new();
        let plans =
            self.prompt.plans && message.parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
        for part in &message.parts {
            match part {
                // A thought that is sealed alone says nothing here.
                Part::Thinking { text, proof } if text.is_empty() => {
                    if proof.is_some() {
                        self.note(Feature::ForeignThoughts, index);
                    }
                }
                Part::Thinking { text, .. } if plans => plan.push_str(text),
                Part::Thinking { text, .. } => content.push(json!({"type": "thinking", "thinking": text})),
                Part::ToolCall { id, name, arguments, custom, cache, .. } => {
                    self.note_cache(cache.as_ref(), index);
                    let arguments = match (arguments.as_str(), custom) {
                        (text, true) => json!({"input": text}).to_string(),
                        ("", false) => "{}".to_owned(),
                        (text, false) => text.to_owned(),
                    };
                    let function = json!({"name": name, "arguments": arguments});
                    calls.push(json!({"id": id, "type": "function", "function": function}));
                }
                Part::Text { text, citations: cited, .. } => {
                    citations.extend(citation_values(cited, text, content.len()));
                    content.extend(self.part(part, false, index));
                }
                Part::Image { .. } => self.note(Feature::Image, index),
                other => content.extend(self.part(other, false, index)),
            }
        }
        let mut value = json!({"role": "assistant"});
        let content = content_value(content);
        if content.is_none() && calls.is_empty() {
            return;
        }
        if let Some(content) = content {
            value["content"] = content;
        }
        if !plan.is_empty() {
            value["tool_plan"] = plan.into();
        }
        for (key, list) in [("tool_calls", calls), ("citations", citations)] {
            if !list.is_empty() {
                value[key] = list.into();
            }
        }
        self.messages.push(value);
    }

    /// Every result is a message of its own, of texts and documents: pictures in it follow in a user's message.
    fn results(&mut self, message: &Message, index: usize) -> Result<(), Error> {
        let mut beside = Vec::new();
        for part in &message.parts {
            let Part::ToolResult { id, content, is_error, cache, .. } = part else {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("messages[{index}] must hold results alone"),
                ));
            };
            self.note_cache(cache.as_ref(), index);
            let mut written = Vec::new();
            for part in content {
                match part {
                    Part::Document { source, name, context, .. } if text_of(source).is_some() => {
                        let text = text_of(source).unwrap_or_default();
                        let document = document(&text, name.as_deref(), context.as_deref());
                        written.push(json!({"type": "document", "document": document}));
                    }
                    Part::Image { .. } => beside.extend(self.part(part, false, index)),
                    other => written.extend(self.part(other, false, index)),
                }
            }
            // There is no mark for a failure; the model reads it.
            if *is_error {
                written.insert(0, text_value("Error:"));
            }
            let content = content_value(written).unwrap_or_else(|| "".into());
            self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
        }
        if !beside.is_empty() {
            self.messages.push(json!({"role": "user", "content": beside}));
        }
        Ok(())
    }
}

fn text_value(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// One text alone is written as such.
fn content_value(mut parts: Vec<Value>) -> Option<Value> {
    match parts.as_mut_slice() {
        [] => None,
        [only] if only["type"] == "text" => Some(only["text"].take()),
        _ => Some(parts.into()),
    }
}

/// The text of a document, if that is what it is.
fn text_of(source: &Source) -> Option<String> {
    match source {
        Source::Text { text } => Some(text.clone()),
        Source::Inline { media_type, data }
            if media_type.starts_with("text/") || media_type == "application/json" =>
        {
            String::from_utf8(STANDARD.decode(data).ok()?).ok()
        }
        Source::Inline { .. } | Source::Url { .. } | Source::File { .. } => None,
    }
}

fn document(text: &str, title: Option<&str>, context: Option<&str>) -> Value {
    let mut data = Map::new();
    for (key, value) in [("title", title), ("context", context), ("text", Some(text))] {
        data.extend(value.map(|value| (key.to_owned(), value.into())));
    }
    json!({"data": data})
}
