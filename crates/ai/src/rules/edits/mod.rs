//! Rules for a request that passes in its own dialect: what its target is known to refuse is taken out of the bytes, or
//! written otherwise, where it stands; everything else stays byte for byte. Each change is named in the loss report,
//! unless what goes says no more than nothing would.
//!
//! Parameters are looked at, at the top and in the objects that hold them ([`fields`]); messages and tools are not.

mod fields;
#[cfg(test)]
mod tests;
mod thinking;

use std::ops::Range;

use serde_json::{Value, json};

pub(crate) use self::fields::ruled;
use self::{
    fields::{Field, What, fields, said},
    thinking::Thought,
};
use super::{MaxTokensField, ReasoningRule, ReasoningStyle, Rules, nearest};
use crate::{
    canon::{Effort, Feature, Losses, Reasoning},
    dialect::{self, Dialect},
};

/// A piece of a body, and what stands there instead.
pub type Cut = (Range<usize>, String);

/// The changes that a target needs. `places` are those of the values of ruled fields, in their order. `is_interleaved` is
/// whether the caller asks to think between calls, where a budget is that of several answers.
pub(crate) fn edits(
    body: &[u8],
    places: &[(&'static str, Range<usize>)],
    dialect: Dialect,
    rules: &Rules,
    is_interleaved: bool,
    losses: &mut Losses,
) -> Vec<Cut> {
    let fields = fields(body, places, dialect);
    let mut editor = Editor {
        body,
        top: places,
        fields: &fields,
        dialect,
        rules,
        is_interleaved,
        losses,
        cuts: Vec::new(),
        gone: Vec::new(),
    };
    fields.iter().for_each(|field| editor.fit(field));
    let Editor { mut cuts, gone, .. } = editor;
    cuts.extend(without(body, gone).into_iter().map(|at| (at, String::new())));
    cuts
}

struct Editor<'e> {
    body: &'e [u8],
    /// The values at the top.
    top: &'e [(&'static str, Range<usize>)],
    fields: &'e [Field],
    dialect: Dialect,
    rules: &'e Rules,
    is_interleaved: bool,
    losses: &'e mut Losses,
    cuts: Vec<Cut>,
    /// Fields that go, each with where its object begins.
    gone: Vec<(usize, Range<usize>)>,
}

impl Editor<'_> {
    fn fit(&mut self, field: &Field) {
        match field.what {
            What::Plain(feature) => self.plain(field, feature),
            What::Most => self.most(field),
            What::Stop => self.stop(field),
            What::Format | What::Schema => self.format(field),
            What::Choice => self.choice(field),
            What::Effort => self.effort(field),
            What::Thinking => self.thinking(field),
            What::Switch | What::Budget => self.switch(field),
            // The usage is told of its own accord, or not at all.
            What::Options if self.rules.no_stream_options => self.take(field, None),
            What::Options => {}
            What::Include => self.include(field),
        }
    }

    /// What a field says; nothing where that is `null`.
    fn said(&self, field: &Field) -> Option<Value> {
        said(self.body, &field.at)
    }

    /// Whether there is a field of a kind that says something.
    fn has(&self, what: What) -> bool {
        self.fields.iter().any(|field| field.what == what && self.said(field).is_some())
    }

    fn has_name(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name && self.said(field).is_some())
    }

    /// Takes a field out; one whose name is not written as it is stays.
    fn take(&mut self, field: &Field, lost: Option<Feature>) {
        let Some(key) = &field.key else { return };
        self.losses.features(lost);
        self.gone.push((field.begin, key.start..field.at.end));
    }

    fn put(&mut self, field: &Field, value: &Value, lost: Option<Feature>) {
        self.losses.features(lost);
        self.cuts.push((field.at.clone(), value.to_string()));
    }

    fn plain(&mut self, field: &Field, feature: Feature) {
        let rules = self.rules;
        let is_one_of_two = feature == Feature::TopP
            && rules.temperature_or_top_p
            && self.has(What::Plain(Feature::Temperature));
        if !is_one_of_two && !rules.refuses(feature) {
            return;
        }
        if let Some(said) = self.said(field) {
            self.take(field, Some(feature).filter(|_| !is_as_ever(feature, &said)));
        }
    }

    fn most(&mut self, field: &Field) {
        let is_old = field.name == "max_tokens" && self.dialect == Dialect::OpenAiChat;
        let Some(asked) = self.said(field) else { return };
        if is_old
            && demands_new_name(self.rules)
            && !self.has_name("max_completion_tokens")
            && let Some(key) = &field.key
        {
            self.cuts.push((key.clone(), "\"max_completion_tokens\"".to_owned()));
        }
        if let (Some(most), Some(asked)) = (self.rules.max_output_tokens, asked.as_u64())
            && asked > most
        {
            self.put(field, &most.into(), Some(Feature::MaxOutputTokens));
        }
    }

    fn stop(&mut self, field: &Field) {
        let rules = self.rules;
        if rules.refuses(Feature::Stop) {
            if let Some(said) = self.said(field) {
                let is_nothing = said.as_array().is_some_and(Vec::is_empty);
                self.take(field, Some(Feature::Stop).filter(|_| !is_nothing));
            }
            return;
        }
        let Some(most) = rules.stop_sequences else { return };
        if let Some(Value::Array(mut all)) = self.said(field)
            && all.len() > most
        {
            all.truncate(most);
            self.put(field, &all.into(), Some(Feature::Stop));
        }
    }

    /// A model that tells no log probabilities refuses to be asked for them here, too.
    fn include(&mut self, field: &Field) {
        if !self.rules.refuses(Feature::LogProbabilities) {
            return;
        }
        let Some(Value::Array(mut all)) = self.said(field) else { return };
        let before = all.len();
        all.retain(|word| word != "message.output_text.logprobs");
        if all.is_empty() && before > 0 {
            self.take(field, Some(Feature::LogProbabilities));
        } else if all.len() < before {
            self.put(field, &all.into(), Some(Feature::LogProbabilities));
        }
    }

    /// JSON by a schema becomes JSON where the target knows no schemas, and text where it knows neither.
    fn format(&mut self, field: &Field) {
        let (no_schema, no_json) =
            (self.rules.refuses(Feature::JsonSchema), self.rules.refuses(Feature::JsonMode));
        if !no_schema && !no_json {
            return;
        }
        let Some(said) = self.said(field) else { return };
        let lost = match asked_form(field.what, self.dialect, &said) {
            Form::Text => return,
            Form::Json if no_json => Feature::JsonMode,
            Form::Schema if no_schema => Feature::JsonSchema,
            Form::Json | Form::Schema => return,
        };
        let json = json!({"type": "json_object"});
        match self.dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Cohere
                if lost == Feature::JsonSchema && !no_json =>
            {
                self.put(field, &json, Some(lost));
            }
            // Of Gemini's the media type stays, which asks for JSON; the others know no JSON without a schema.
            _ => self.take(field, Some(lost)),
        }
    }

    fn choice(&mut self, field: &Field) {
        let rules = self.rules;
        if !rules.no_forced_tools && !rules.refuses(Feature::ToolChoice) {
            return;
        }
        let Some(said) = self.said(field) else { return };
        if rules.refuses(Feature::ToolChoice) {
            let is_usual = said == "auto" || said.get("type").is_some_and(|kind| kind == "auto");
            self.take(field, Some(Feature::ToolChoice).filter(|_| !is_usual));
        } else if let Some(free) = unforced(self.dialect, said) {
            self.put(field, &free, Some(Feature::ToolChoice));
        }
    }

    fn effort(&mut self, field: &Field) {
        let rules = self.rules;
        if rules.reasoning == ReasoningRule::AsAsked {
            return;
        }
        let Some(word) = self.said(field) else { return };
        let Some(asked) = word.as_str().and_then(Effort::from_word) else { return };
        if self.dialect == Dialect::OpenAiChat && rules.reasoning_style != ReasoningStyle::Reasoning {
            return self.effort_of_chat(field, asked);
        }
        match &rules.reasoning {
            // The whole object goes.
            ReasoningRule::None if self.dialect == Dialect::OpenAiResponses => {}
            ReasoningRule::None | ReasoningRule::Budget { .. }
                if self.dialect != Dialect::OpenAiResponses =>
            {
                self.take(field, Some(Feature::Reasoning).filter(|_| asked != Effort::None));
            }
            ReasoningRule::Effort(known) => {
                if let Some(next) = nearest(asked, known).filter(|next| *next != asked) {
                    self.put(field, &next.word().into(), Some(Feature::Reasoning));
                }
            }
            ReasoningRule::AsAsked | ReasoningRule::None | ReasoningRule::Budget { .. } => {}
        }
    }

    /// Many clients know OpenAI's word alone: it is said as the provider has it.
    fn effort_of_chat(&mut self, field: &Field, asked: Effort) {
        let Some(key) = &field.key else { return };
        let (mut told, mut lost) = (serde_json::Map::new(), Losses::default());
        let wish = Reasoning { effort: Some(asked), ..Reasoning::default() };
        dialect::write_reasoning(&wish, self.rules, &mut told, &mut lost);
        if told.get(field.name).is_some_and(|word| word == asked.word()) {
            return;
        }
        // What the caller says in the provider's own words holds.
        told.retain(|name, _| name == field.name || !self.has_top(name));
        self.losses.extend(lost);
        if told.is_empty() {
            self.gone.push((field.begin, key.start..field.at.end));
        } else {
            let pairs = told.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())));
            self.cuts.push((key.start..field.at.end, pairs.collect::<Vec<_>>().join(",")));
        }
    }

    fn thinking(&mut self, field: &Field) {
        let Some(said) = self.said(field) else { return };
        let rules = self.rules;
        let thought = match self.dialect {
            Dialect::Anthropic | Dialect::Bedrock => {
                thinking::of_claude(&said, rules, self.asked(), self.is_interleaved)
            }
            Dialect::Gemini => thinking::of_gemini(&said, rules),
            Dialect::Cohere => thinking::of_cohere(&said, rules, self.asked()),
            Dialect::OpenAiResponses => thinking::of_responses(&said, rules),
            Dialect::OpenAiChat => thinking::of_chat(field.name, &said, rules),
        };
        match thought {
            Thought::Stays => {}
            Thought::Goes(is_lost) => self.take(field, Some(Feature::Reasoning).filter(|_| is_lost)),
            Thought::Becomes(value) => self.put(field, &value, Some(Feature::Reasoning)),
            Thought::Measured(value, effort) => {
                let effort =
                    effort.filter(|_| self.dialect == Dialect::Anthropic && !self.has_top("output_config"));
                let told =
                    effort.map(|effort| format!(r#","output_config":{{"effort":"{}"}}"#, effort.word()));
                self.losses.feature(Feature::Reasoning);
                self.cuts.push((field.at.clone(), format!("{value}{}", told.unwrap_or_default())));
            }
        }
    }

    /// Whether the body has a field of this name at its top.
    fn has_top(&self, name: &str) -> bool {
        self.top.iter().any(|(known, _)| *known == name)
    }

    /// The most tokens of the answer, as the target is told them.
    fn asked(&self) -> Option<u64> {
        let all = self.fields.iter().filter(|field| field.what == What::Most);
        let asked = all.filter_map(|field| self.said(field)?.as_u64()).max()?;
        Some(self.rules.max_output_tokens.map_or(asked, |most| most.min(asked)))
    }

    /// `enable_thinking` and `thinking_budget`, as Qwen has them.
    fn switch(&mut self, field: &Field) {
        let rules = self.rules;
        if rules.reasoning_style != ReasoningStyle::EnableThinking {
            return;
        }
        let Some(said) = self.said(field) else { return };
        match (&rules.reasoning, field.what, said.as_u64()) {
            (ReasoningRule::None, What::Switch, _) if said != true => {}
            (ReasoningRule::None, ..) => self.take(field, Some(Feature::Reasoning)),
            (ReasoningRule::Budget { can_be_off: false, .. }, What::Switch, _) if said == false => {
                self.take(field, Some(Feature::Reasoning));
            }
            (ReasoningRule::Budget { least, most, .. }, What::Budget, Some(asked)) => {
                let budget = asked.clamp(*least, (*most).max(*least));
                if budget != asked {
                    self.put(field, &budget.into(), Some(Feature::Reasoning));
                }
            }
            _ => {}
        }
    }
}

/// OpenAI's reasoning models refuse `max_tokens`; others that prefer the new name take the old one.
fn demands_new_name(rules: &Rules) -> bool {
    rules.max_tokens_field == MaxTokensField::MaxCompletionTokens
        && matches!(rules.reasoning, ReasoningRule::Effort(_))
}

/// Whether a value says what would be meant if nothing were said.
fn is_as_ever(feature: Feature, said: &Value) -> bool {
    match feature {
        Feature::Temperature | Feature::TopP | Feature::Choices => said.as_f64() == Some(1.0),
        Feature::FrequencyPenalty | Feature::PresencePenalty => said.as_f64() == Some(0.0),
        Feature::Store | Feature::LogProbabilities => *said == Value::Bool(false),
        Feature::ParallelToolCalls => *said == Value::Bool(true),
        Feature::Tier => matches!(said.as_str(), Some("auto" | "default")),
        Feature::LogitBias | Feature::Metadata => said.as_object().is_some_and(serde_json::Map::is_empty),
        Feature::Modalities => *said == json!(["text"]),
        _ => false,
    }
}

/// The form of an answer.
enum Form {
    Text,
    Json,
    Schema,
}

fn asked_form(what: What, dialect: Dialect, said: &Value) -> Form {
    let kind = said.get("type").and_then(Value::as_str).unwrap_or_default();
    match dialect {
        Dialect::Gemini if what == What::Schema => Form::Schema,
        Dialect::Gemini if said == "application/json" => Form::Json,
        Dialect::Cohere if kind == "json_object" && said.get("json_schema").is_some() => Form::Schema,
        _ => match kind {
            "json_schema" => Form::Schema,
            "json_object" => Form::Json,
            _ => Form::Text,
        },
    }
}

/// A choice of tools that forces none; nothing where it forces none already.
fn unforced(dialect: Dialect, mut said: Value) -> Option<Value> {
    let kind = said.get("type").and_then(Value::as_str).unwrap_or_default();
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => match kind {
            "allowed_tools" => {
                let way = if dialect == Dialect::OpenAiChat { "/allowed_tools/mode" } else { "/mode" };
                let mode = said.pointer_mut(way).filter(|mode| *mode == "required")?;
                *mode = "auto".into();
                Some(said)
            }
            "" => (said == "required").then(|| "auto".into()),
            _ => Some("auto".into()),
        },
        Dialect::Anthropic => {
            let is_forced = matches!(kind, "any" | "tool");
            let fields = said.as_object_mut().filter(|_| is_forced)?;
            fields.shift_remove("name");
            fields.insert("type".to_owned(), "auto".into());
            Some(said)
        }
        Dialect::Bedrock => {
            let is_forced = ["any", "tool"].iter().any(|kind| said.get(kind).is_some());
            is_forced.then(|| json!({"auto": {}}))
        }
        Dialect::Gemini | Dialect::Cohere => None,
    }
}

/// Fields with the commas that go with them: the one before, and for those at the very beginning of their object the one
/// behind.
fn without(body: &[u8], mut fields: Vec<(usize, Range<usize>)>) -> Vec<Range<usize>> {
    let blank = |at: Range<usize>| body.get(at).is_some_and(|between| between.trim_ascii().is_empty());
    fields.sort_by_key(|(begin, field)| (*begin, field.start));
    let (mut object, mut lead) = (0, 0);
    let mut out = Vec::with_capacity(fields.len());
    for (begin, field) in fields {
        if object != begin {
            (object, lead) = (begin, begin);
        }
        if blank(lead..field.start) {
            let behind = body.get(field.end..).unwrap_or_default();
            let space = behind.len() - behind.trim_ascii_start().len();
            let end = field.end + if behind.get(space) == Some(&b',') { space + 1 } else { 0 };
            lead = end;
            out.push(field.start..end);
        } else {
            let before = body.get(..field.start).unwrap_or_default().trim_ascii_end();
            let start = if before.ends_with(b",") { before.len() - 1 } else { field.start };
            out.push(start..field.end);
        }
    }
    out
}
