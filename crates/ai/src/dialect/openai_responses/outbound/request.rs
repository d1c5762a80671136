//! Writes a request to `/responses`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    input::write_input,
    tool::{add_tool, choice_value},
};
use crate::{
    canon::{Conversation, Error, Feature, Format, Losses, Modality, Request, ToolChoice, Verbosity, flat},
    dialect::{
        Outgoing,
        openai_responses::{tier_word, user_word},
    },
    rules::{Measure, ReasoningRule, Rules, Target},
};

pub(in crate::dialect) fn write_request(request: &Request, target: Target<'_>) -> Result<Outgoing, Error> {
    let mut losses = Losses::default();
    let mut body = Map::new();
    body.insert("model".into(), target.model.into());
    write_input(request, target.rules, &mut body, &mut losses)?;
    write_fields(request, target.rules, &mut body, &mut losses);
    if request.stream {
        body.insert("stream".into(), true.into());
    }
    losses.fields(&request.extra);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Ok(Outgoing { path: "/responses".to_owned(), headers: Vec::new(), body, losses })
}

/// The fields of a request but for what is said in it.
pub(in crate::dialect::openai_responses) fn request_fields(request: &Request) -> Map<String, Value> {
    let mut body = Map::new();
    write_fields(request, &Rules::default(), &mut body, &mut Losses::default());
    body
}

fn write_fields(request: &Request, rules: &Rules, body: &mut Map<String, Value>, losses: &mut Losses) {
    let mut writer = Writer { rules, body, losses };
    writer.tools(request);
    writer.sampling(request);
    writer.text(request);
    writer.reasoning(request);
    writer.log_probabilities(request);
    writer.rest(request);
}

struct Writer<'a> {
    rules: &'a Rules,
    body: &'a mut Map<String, Value>,
    losses: &'a mut Losses,
}

impl Writer<'_> {
    /// Writes a parameter, if there is one.
    fn put(&mut self, key: &str, value: Option<impl Into<Value>>) {
        self.body.extend(value.map(|value| (key.to_owned(), value.into())));
    }

    fn include(&mut self, what: &str) {
        let include = self.body.entry("include").or_insert_with(|| json!([]));
        if let Some(include) = include.as_array_mut() {
            include.push(what.into());
        }
    }

    fn tools(&mut self, request: &Request) {
        let (mut tools, mut namespaces) = (Vec::new(), HashMap::new());
        for tool in &request.tools {
            if tool.cache.is_some() {
                self.losses.feature_at(Feature::CacheMark, format_args!("tools.{}", flat(&tool.name)));
            }
            add_tool(tool, &mut tools, &mut namespaces);
        }
        let any = !tools.is_empty();
        if any {
            self.body.insert("tools".into(), tools.into());
        }
        self.put("parallel_tool_calls", request.parallel_tool_calls);
        match &request.tool_choice {
            None => {}
            // What must be called is not there.
            Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Among { .. }) if !any => {
                self.losses.feature(Feature::ToolChoice);
            }
            Some(choice) => self.put("tool_choice", choice_value(choice, &request.tools)),
        }
    }

    fn sampling(&mut self, request: &Request) {
        let sampling = &request.sampling;
        self.put("temperature", sampling.temperature);
        self.put("top_p", sampling.top_p);
        self.put("max_output_tokens", request.max_output_tokens);
        let absent = [
            (sampling.top_k.is_some(), Feature::TopK),
            (sampling.frequency_penalty.is_some(), Feature::FrequencyPenalty),
            (sampling.presence_penalty.is_some(), Feature::PresencePenalty),
            (sampling.seed.is_some(), Feature::Seed),
            (!sampling.stop.is_empty(), Feature::Stop),
            (!sampling.logit_bias.is_empty(), Feature::LogitBias),
            (request.choices.is_some_and(|choices| choices != 1), Feature::Choices),
            (request.modalities.iter().any(|modality| *modality != Modality::Text), Feature::Modalities),
            (request.audio.is_some(), Feature::Modalities),
        ];
        for (_, feature) in absent.into_iter().filter(|(wanted, _)| *wanted) {
            self.losses.feature(feature);
        }
    }

    fn text(&mut self, request: &Request) {
        let mut text = Map::new();
        let format = match &request.format {
            Format::Text => None,
            Format::Json => Some(json!({"type": "json_object"})),
            Format::Schema { name, description, schema, strict } => {
                let name = if name.is_empty() { "answer" } else { name };
                let mut format = json!({"type": "json_schema", "name": name, "schema": schema});
                if let Some(description) = description {
                    format["description"] = description.as_str().into();
                }
                if let Some(strict) = strict {
                    format["strict"] = (*strict).into();
                }
                Some(format)
            }
        };
        text.extend(format.map(|format| ("format".to_owned(), format)));
        let word = request.verbosity.map(|verbosity| match verbosity {
            Verbosity::Low => "low",
            Verbosity::Medium => "medium",
            Verbosity::High => "high",
        });
        text.extend(word.map(|word| ("verbosity".to_owned(), word.into())));
        if !text.is_empty() {
            self.body.insert("text".into(), text.into());
        }
    }

    fn reasoning(&mut self, request: &Request) {
        let Some(reasoning) = &request.reasoning else { return };
        let off = reasoning.is_off();
        let measure = Measure::of(reasoning, &self.rules.reasoning, self.losses);
        if self.rules.reasoning == ReasoningRule::None {
            return;
        }
        let mut value = Map::new();
        // The dialect knows words alone.
        if let Some(effort) = measure.effort {
            value.insert("effort".into(), effort.word().into());
        }
        if reasoning.visible == Some(true) {
            let word =
                reasoning.summary.as_deref().filter(|word| matches!(*word, "auto" | "concise" | "detailed"));
            value.insert("summary".into(), word.unwrap_or("auto").into());
        }
        if !value.is_empty() {
            self.body.insert("reasoning".into(), value.into());
        }
        // Whoever thinks wants the thoughts back in the next round, whether the caller can say so or not.
        if !off || reasoning.encrypted {
            self.include("reasoning.encrypted_content");
        }
    }

    fn log_probabilities(&mut self, request: &Request) {
        let Some(top) = request.log_probabilities else { return };
        self.include("message.output_text.logprobs");
        if top > 0 {
            self.body.insert("top_logprobs".into(), top.into());
        }
    }

    fn rest(&mut self, request: &Request) {
        match request.tier.as_deref() {
            Some(tier) if tier_word(tier) == tier => self.put("service_tier", Some(tier)),
            Some(_) => self.losses.feature(Feature::Tier),
            None => {}
        }
        self.put("safety_identifier", request.user.as_deref().map(user_word));
        let metadata = (!request.metadata.is_empty()).then(|| request.metadata.clone());
        self.put("metadata", metadata);
        self.put("prompt_cache_key", request.cache_key.clone());
        self.put("store", request.store);
        let (key, id) = match &request.conversation {
            None => return,
            Some(Conversation::After(id)) => ("previous_response_id", id),
            Some(Conversation::Stored(id)) => ("conversation", id),
        };
        self.put(key, Some(id.as_str()));
    }
}
