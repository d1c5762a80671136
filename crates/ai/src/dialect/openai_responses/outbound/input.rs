//! Writes what has been said: instructions, and a flat list of items.

use serde_json::{Map, Value, json};

use crate::{
    canon::{
        CacheMark, Error, ErrorKind, Feature, Losses, Message, Part, Proof, ProofKind, Request, Role, Source,
        unscoped,
    },
    dialect::openai_responses::{ISSUER, NAME, content, hands::Hand, thought},
    rules::Rules,
};

pub(super) fn write_input(
    request: &Request,
    rules: &Rules,
    body: &mut Map<String, Value>,
    losses: &mut Losses,
) -> Result<(), Error> {
    let mut messages = request.messages.as_slice();
    let mut first = 0;
    if let Some((Message { role: Role::System, name: None, parts }, rest)) = messages.split_first()
        && let [Part::Text { text, cache, .. }] = parts.as_slice()
    {
        note_cache(cache.as_ref(), 0, losses);
        body.insert("instructions".into(), text.as_str().into());
        messages = rest;
        first = 1;
    }
    let (stored, sound) = (request.store != Some(false), !rules.refuses(Feature::Audio));
    let hands = Hand::all_among(&request.tools);
    let mut input = Input { items: Vec::new(), stored, sound, hands, losses };
    for (index, message) in (first..).zip(messages) {
        input.message(index, message)?;
    }
    let mut items = input.items;
    items.iter_mut().for_each(shorten);
    body.insert("input".into(), items.into());
    Ok(())
}

/// What the model said is one text as a rule, and written as such: as a list it would have to have an id, which only
/// its provider gives.
fn shorten(item: &mut Value) {
    if item["type"] == "message"
        && item["role"] == "assistant"
        && let Some([piece]) = item["content"].as_array().map(Vec::as_slice)
        && piece["annotations"].as_array().is_some_and(Vec::is_empty)
    {
        item["content"] = piece["text"].clone();
    }
}

fn note_cache(cache: Option<&CacheMark>, index: usize, losses: &mut Losses) {
    if cache.is_some() {
        losses.feature_at(Feature::CacheMark, format_args!("messages[{index}]"));
    }
}

struct Input<'a> {
    items: Vec<Value>,
    /// Thoughts that the provider has stored may be named by their id.
    stored: bool,
    /// The model hears.
    sound: bool,
    /// What is called by items of its own.
    hands: Vec<Hand>,
    losses: &'a mut Losses,
}

impl Input<'_> {
    fn lose(&mut self, feature: Feature, index: usize) {
        self.losses.feature_at(feature, format_args!("messages[{index}]"));
    }

    fn message(&mut self, index: usize, message: &Message) -> Result<(), Error> {
        if message.name.is_some() {
            self.lose(Feature::SpeakerName, index);
        }
        match message.role {
            Role::System => self.said("system", index, &message.parts),
            Role::Developer => self.said("developer", index, &message.parts),
            Role::User => self.said("user", index, &message.parts),
            Role::Assistant => self.assistant(index, &message.parts),
            Role::Tool => return self.results(index, &message.parts),
        }
        Ok(())
    }

    fn said(&mut self, role: &str, index: usize, parts: &[Part]) {
        let content: Vec<Value> = parts.iter().filter_map(|part| self.piece(part, index)).collect();
        // A message of nothing is refused.
        if !content.is_empty() {
            self.items.push(json!({"type": "message", "role": role, "content": content}));
        }
    }

    /// A piece of what the caller said.
    fn piece(&mut self, part: &Part, index: usize) -> Option<Value> {
        match part {
            Part::Text { text, cache, proof: _, citations: _ } => {
                note_cache(cache.as_ref(), index, self.losses);
                Some(json!({"type": "input_text", "text": text}))
            }
            Part::Image { source, detail, cache } => {
                note_cache(cache.as_ref(), index, self.losses);
                self.image(source, detail.as_deref(), index)
            }
            Part::Document { source, name, context, citable, cache } => {
                note_cache(cache.as_ref(), index, self.losses);
                if context.is_some() {
                    self.lose(Feature::DocumentContext, index);
                }
                if *citable {
                    self.lose(Feature::Citations, index);
                }
                Some(self.document(source, name.as_deref(), index))
            }
            Part::Audio { source, .. } => self.audio(source, index),
            Part::Video { .. } => {
                self.lose(Feature::Video, index);
                None
            }
            Part::Refusal { text } => Some(json!({"type": "input_text", "text": text})),
            // Items are no pieces of a message; thoughts and calls are the model's, results a tool's.
            Part::Vendor { .. } | Part::Thinking { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => {
                self.lose(Feature::VendorPart, index);
                None
            }
        }
    }

    fn image(&mut self, source: &Source, detail: Option<&str>, index: usize) -> Option<Value> {
        let mut image = json!({"type": "input_image", "detail": detail.unwrap_or("auto")});
        match source {
            Source::Inline { media_type, data } => {
                image["image_url"] = format!("data:{media_type};base64,{data}").into();
            }
            Source::Url { url, .. } if is_web(url) => image["image_url"] = url.as_str().into(),
            Source::File { id } => image["file_id"] = id.as_str().into(),
            Source::Url { .. } | Source::Text { .. } => {
                self.lose(Feature::Image, index);
                return None;
            }
        }
        Some(image)
    }

    fn document(&mut self, source: &Source, name: Option<&str>, index: usize) -> Value {
        let mut file = json!({"type": "input_file"});
        match source {
            Source::Inline { media_type, data } => {
                let made = if media_type == "application/pdf" { "document.pdf" } else { "document" };
                file["filename"] = name.unwrap_or(made).into();
                file["file_data"] = format!("data:{media_type};base64,{data}").into();
            }
            // A stored file has its name, and one at an address too.
            Source::File { id } => {
                file["file_id"] = id.as_str().into();
                if name.is_some() {
                    self.lose(Feature::DocumentContext, index);
                }
            }
            Source::Url { url, .. } => {
                file["file_url"] = url.as_str().into();
                if name.is_some() {
                    self.lose(Feature::DocumentContext, index);
                }
            }
            // A document of plain text is a text with its title.
            Source::Text { text } => {
                let text = name.map_or(text.clone(), |name| format!("{name}\n\n{text}"));
                return json!({"type": "input_text", "text": text});
            }
        }
        file
    }

    fn audio(&mut self, source: &Source, index: usize) -> Option<Value> {
        if let Source::Inline { media_type, data } = source
            && let Some(format) = content::audio_format(media_type)
            && self.sound
        {
            return Some(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}));
        }
        self.lose(Feature::Audio, index);
        None
    }

    fn assistant(&mut self, index: usize, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Text { text, citations, cache, proof } => {
                    note_cache(cache.as_ref(), index, self.losses);
                    self.note_mark(proof.as_ref(), index);
                    let annotations: Vec<Value> = citations.iter().filter_map(content::annotation).collect();
                    if annotations.len() < citations.len() || citations.iter().any(|one| one.quote.is_some())
                    {
                        self.lose(Feature::Citations, index);
                    }
                    self.say(json!({"type": "output_text", "text": text, "annotations": annotations}));
                }
                Part::Refusal { text } => self.say(json!({"type": "refusal", "refusal": text})),
                Part::Thinking { text, proof } => self.thought(index, text, proof.as_ref()),
                Part::ToolCall { id, name, arguments, custom, proof, cache } => {
                    note_cache(cache.as_ref(), index, self.losses);
                    self.note_mark(proof.as_ref(), index);
                    self.call(id, name, arguments, *custom);
                }
                Part::Vendor { dialect: NAME, value } => self.items.push(value.clone()),
                Part::Image { .. } => self.lose(Feature::Image, index),
                Part::Audio { transcript, .. } => {
                    self.lose(Feature::Audio, index);
                    if let Some(text) = transcript {
                        self.say(json!({"type": "output_text", "text": text, "annotations": []}));
                    }
                }
                Part::Document { .. } => self.lose(Feature::Document, index),
                Part::Video { .. } => self.lose(Feature::Video, index),
                Part::Vendor { .. } | Part::ToolResult { .. } => self.lose(Feature::VendorPart, index),
            }
        }
    }

    /// Marks on texts and calls are another vendor's: this one has none.
    fn note_mark(&mut self, proof: Option<&Proof>, index: usize) {
        if proof.is_some() {
            self.lose(Feature::ForeignThoughts, index);
        }
    }

    /// Adds a piece to the model's message that stands last, or to a new one.
    fn say(&mut self, piece: Value) {
        let last =
            self.items.last_mut().filter(|last| last["type"] == "message" && last["role"] == "assistant");
        match last.and_then(|last| last["content"].as_array_mut()) {
            Some(content) => content.push(piece),
            None => self.items.push(json!({"type": "message", "role": "assistant", "content": [piece]})),
        }
    }

    /// Thoughts go back to the vendor that gave them alone, and only with their proof: it refuses all others.
    fn thought(&mut self, index: usize, text: &str, proof: Option<&Proof>) {
        let own = proof.filter(|proof| proof.issuer == ISSUER && proof.kind == ProofKind::Encrypted);
        let Some(proof) = own.filter(|proof| self.stored || !proof.value.is_empty()) else {
            if proof.is_some() || !text.is_empty() {
                self.lose(Feature::ForeignThoughts, index);
            }
            return;
        };
        let id = proof.id.as_deref().unwrap_or_default();
        let mut item = thought::item(id, text, thought::encrypted(proof));
        if id.is_empty() {
            item.shift_remove("id");
        }
        self.items.push(item.into());
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str, custom: bool) {
        if let Some(hand) = self.hand(name) {
            return self.items.push(hand.call(None, id, arguments, "completed"));
        }
        let (namespace, name) = unscoped(name);
        let mut item = match custom {
            true => json!({"type": "custom_tool_call", "call_id": id, "name": name, "input": arguments}),
            false => {
                json!({"type": "function_call", "call_id": id, "name": name, "arguments": content::arguments(arguments)})
            }
        };
        if let Some(namespace) = namespace {
            item["namespace"] = namespace.into();
        }
        self.items.push(item);
    }

    /// The tool that is called by an item of its own. What a search finds stands in its answer, which is not made again.
    fn hand(&self, name: &str) -> Option<Hand> {
        self.hands.iter().copied().find(|hand| hand.word() == name && *hand != Hand::ToolSearch)
    }

    fn results(&mut self, index: usize, parts: &[Part]) -> Result<(), Error> {
        for part in parts {
            let Part::ToolResult { id, name, content, is_error, custom, cache } = part else {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("messages[{index}] must hold results alone"),
                ));
            };
            note_cache(cache.as_ref(), index, self.losses);
            if let Some(hand) = name.as_deref().and_then(|name| self.hand(name)) {
                self.items.push(hand.answer(id, content, *is_error));
                continue;
            }
            let kind = if *custom { "custom_tool_call_output" } else { "function_call_output" };
            // There is no mark for a failure; the model reads it.
            if *is_error {
                self.lose(Feature::ToolError, index);
            }
            let mark = if *is_error { "Error: " } else { "" };
            let output: Value = match content.as_slice() {
                [] => mark.into(),
                [Part::Text { text, cache, .. }] => {
                    note_cache(cache.as_ref(), index, self.losses);
                    format!("{mark}{text}").into()
                }
                many => {
                    let mut pieces: Vec<Value> =
                        many.iter().filter_map(|part| self.piece(part, index)).collect();
                    if *is_error {
                        pieces.insert(0, json!({"type": "input_text", "text": "Error:"}));
                    }
                    pieces.into()
                }
            };
            self.items.push(json!({"type": kind, "call_id": id, "output": output}));
        }
        Ok(())
    }
}

/// Whether an address is one that the provider fetches from.
fn is_web(url: &str) -> bool {
    ["https://", "http://", "data:"].iter().any(|scheme| url.starts_with(scheme))
}
