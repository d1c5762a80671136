//! Reads the input of a request: one text, or items.

use serde_json::Value;

use super::item::read_content;
use crate::{
    canon::{Error, Extra, Message, Part, Proof, Role, Tool, scoped},
    dialect::openai_responses::{
        NAME,
        hands::Hand,
        inbound::tool::read_tools,
        thought::{self, Thought},
    },
    fields::Fields,
};

/// What an input holds.
#[derive(Default)]
pub(super) struct Said {
    pub(super) messages: Vec<Message>,
    /// The place of each: that of its first item.
    pub(super) places: Vec<String>,
    /// Tools that are named on the way (Codex names all of its tools so).
    pub(super) tools: Vec<Tool>,
}

pub(super) fn read_input(fields: &mut Fields, extra: &mut Extra) -> Result<Said, Error> {
    if fields.peek_text("input").is_some() {
        let text = fields.text("input")?.unwrap_or_default();
        let messages = vec![Message::text(Role::User, text)];
        return Ok(Said { messages, places: vec!["input".to_owned()], tools: Vec::new() });
    }
    let mut input = Input::default();
    let mut places = Vec::new();
    for (index, item) in fields.objects("input")?.into_iter().enumerate() {
        input.item(item, extra)?;
        places.resize(input.messages.len(), format!("input[{index}]"));
    }
    input.settle();
    Ok(Said { messages: input.messages, places, tools: input.tools })
}

/// Messages so far, and the mark that the next call gets.
#[derive(Default)]
struct Input {
    messages: Vec<Message>,
    mark: Option<Proof>,
    tools: Vec<Tool>,
}

impl Input {
    fn item(&mut self, mut item: Fields, extra: &mut Extra) -> Result<(), Error> {
        let kind = match item.peek_text("type") {
            Some(kind) => kind.to_owned(),
            None if item.has("type") => {
                return Err(item.text("type").err().unwrap_or_else(|| item.missing("type")));
            }
            None if item.has("role") => "message".to_owned(),
            None if item.has("id") => "item_reference".to_owned(),
            None => return Err(item.missing("type")),
        };
        let is_called = matches!(kind.as_str(), "function_call" | "custom_tool_call");
        if !is_called && kind != "reasoning" && Hand::called(&kind).is_none() {
            self.settle();
        }
        match kind.as_str() {
            "message" => self.message(item, extra),
            "reasoning" => {
                self.thought(thought::read(&item.into_value()));
                Ok(())
            }
            "function_call" | "custom_tool_call" => self.call(item, kind == "custom_tool_call", extra),
            "function_call_output" | "custom_tool_call_output" => {
                self.result(item, kind == "custom_tool_call_output", extra)
            }
            "additional_tools" => {
                self.tools.append(&mut read_tools(&mut item, extra)?);
                item.take("type");
                item.take("role");
                item.take("id");
                item.rest(extra);
                Ok(())
            }
            other => {
                match (Hand::called(other), Hand::answered(other)) {
                    (Some(hand), _) => self.hand_called(hand, item)?,
                    (_, Some(hand)) => self.hand_answered(hand, item, extra)?,
                    (None, None) => self.said(vec![Part::Vendor { dialect: NAME, value: item.into_value() }]),
                }
                Ok(())
            }
        }
    }

    /// A call of a tool that OpenAI knows and the caller runs.
    fn hand_called(&mut self, hand: Hand, mut item: Fields) -> Result<(), Error> {
        let own = item.text("id")?;
        let id = item.text("call_id")?.or(own).ok_or_else(|| item.missing("call_id"))?;
        let value = item.into_value();
        let (proof, arguments) = (self.mark.take(), hand.arguments(&value));
        let name = hand.word().to_owned();
        self.said(vec![Part::ToolCall { id, name, arguments, custom: false, proof, cache: None }]);
        Ok(())
    }

    /// What such a tool gave. Tools that a search found can be called from here on.
    fn hand_answered(&mut self, hand: Hand, mut item: Fields, extra: &mut Extra) -> Result<(), Error> {
        let own = item.text("id")?;
        let id = item.text("call_id")?.or(own).ok_or_else(|| item.missing("call_id"))?;
        let tools = item.peek("tools").cloned();
        if hand == Hand::ToolSearch {
            self.tools.append(&mut read_tools(&mut item, extra)?);
        }
        let mut value = item.into_value();
        if let Some(tools) = tools {
            value["tools"] = tools;
        }
        let (text, is_error) = hand.said(&value);
        // What a search found is told as any result where it is written again.
        let name = (hand != Hand::ToolSearch).then(|| hand.word().to_owned());
        let content = vec![Part::text(text)];
        let part = Part::ToolResult { id, name, content, is_error, custom: false, cache: None };
        self.turn(Role::Tool).push(part);
        Ok(())
    }

    /// Adds to what the model said: its items in a row are one message.
    fn said(&mut self, parts: Vec<Part>) {
        self.turn(Role::Assistant).extend(parts);
    }

    /// The parts of the last message, when it is of this role; else of a new one.
    fn turn(&mut self, role: Role) -> &mut Vec<Part> {
        if self.messages.last().is_none_or(|last| last.role != role) {
            self.messages.push(Message { role, name: None, parts: Vec::new() });
        }
        let at = self.messages.len().saturating_sub(1);
        &mut self.messages[at].parts
    }

    fn thought(&mut self, thought: Thought) {
        self.settle();
        let mut mark = self.mark.take();
        thought::add(thought, self.turn(Role::Assistant), &mut mark);
        self.mark = mark;
    }

    /// A mark whose call did not come stands alone, as hidden thoughts do.
    fn settle(&mut self) {
        if let Some(proof) = self.mark.take() {
            self.said(vec![Part::Thinking { text: String::new(), proof: Some(proof) }]);
        }
    }

    fn message(&mut self, mut item: Fields, extra: &mut Extra) -> Result<(), Error> {
        let role = item.required_text("role")?;
        let role = match role.as_str() {
            "system" => Role::System,
            "developer" => Role::Developer,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => return Err(item.unknown("role", other, "system, developer, user or assistant")),
        };
        if !item.has("content") {
            return Err(item.missing("content"));
        }
        let parts = read_content(&mut item, "content", extra)?;
        // Ids and states of items are of no use to another answer.
        item.take("type");
        item.take("id");
        item.take("status");
        item.rest(extra);
        match role {
            Role::Assistant => self.said(parts),
            role => self.messages.push(Message { role, name: None, parts }),
        }
        Ok(())
    }

    fn call(&mut self, mut item: Fields, custom: bool, extra: &mut Extra) -> Result<(), Error> {
        let key = if custom { "input" } else { "arguments" };
        let id = item.required_text("call_id")?;
        let namespace = item.text("namespace")?;
        let name = scoped(namespace.as_deref(), &item.required_text("name")?);
        let arguments = item.text(key)?.unwrap_or_default();
        item.take("type");
        item.take("id");
        item.take("status");
        item.rest(extra);
        let proof = self.mark.take();
        self.said(vec![Part::ToolCall { id, name, arguments, custom, proof, cache: None }]);
        Ok(())
    }

    fn result(&mut self, mut item: Fields, custom: bool, extra: &mut Extra) -> Result<(), Error> {
        let id = item.required_text("call_id")?;
        let namespace = item.text("namespace")?;
        let name = item.text("name")?.map(|name| scoped(namespace.as_deref(), &name));
        // Some agents write what a tool gave as it is, not as text.
        let content = match item.take("output") {
            Some(Value::String(text)) => vec![Part::text(text)],
            Some(list @ Value::Array(_)) => {
                item.put("output", list);
                read_content(&mut item, "output", extra)?
            }
            Some(other) => vec![Part::text(other.to_string())],
            None => Vec::new(),
        };
        item.take("type");
        item.take("id");
        item.take("status");
        item.rest(extra);
        let part = Part::ToolResult { id, name, content, is_error: false, custom, cache: None };
        self.turn(Role::Tool).push(part);
        Ok(())
    }
}
