//! Writes a request to `/responses`.

use serde_json::{Map, Value, json};

use super::{
    input::write_input,
    tool::{choice_value, tool_value},
};
use crate::{
    canon::{
        Conversation, Effort, Error, Feature, Format, Losses, Modality, Reasoning, Request, ToolChoice,
        Verbosity,
    },
    dialect::{Outgoing, openai_responses::tier_word},
    rules::{ReasoningRule, Rules, Target, nearest},
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
    /// Writes a parameter, or reports it where the target refuses it.
    fn put(&mut self, key: &str, value: Option<impl Into<Value>>, feature: Feature) {
        let Some(value) = value else { return };
        if self.rules.refuses(feature) {
            self.losses.feature(feature);
        } else {
            self.body.insert(key.into(), value.into());
        }
    }

    fn include(&mut self, what: &str) {
        let include = self.body.entry("include").or_insert_with(|| json!([]));
        if let Some(include) = include.as_array_mut() {
            include.push(what.into());
        }
    }

    fn tools(&mut self, request: &Request) {
        let mut tools = Vec::new();
        for tool in &request.tools {
            if tool.cache.is_some() {
                self.losses.feature_at(Feature::CacheMark, format_args!("tools.{}", tool.name));
            }
            match tool_value(tool) {
                Some(value) => tools.push(value),
                None => self.losses.feature_at(Feature::VendorTool, format_args!("tools.{}", tool.name)),
            }
        }
        let any = !tools.is_empty();
        if any {
            self.body.insert("tools".into(), tools.into());
        }
        self.put("parallel_tool_calls", request.parallel_tool_calls, Feature::ParallelToolCalls);
        match &request.tool_choice {
            None => {}
            // What must be called is not there.
            Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Among { .. }) if !any => {
                self.losses.feature(Feature::ToolChoice);
            }
            Some(choice) => {
                self.put("tool_choice", choice_value(choice, &request.tools), Feature::ToolChoice)
            }
        }
    }

    fn sampling(&mut self, request: &Request) {
        let sampling = &request.sampling;
        self.put("temperature", sampling.temperature, Feature::Temperature);
        self.put("top_p", sampling.top_p, Feature::TopP);
        if let Some(asked) = request.max_output_tokens {
            let most = self.rules.max_output_tokens.unwrap_or(u64::MAX);
            if asked > most {
                self.losses.feature(Feature::MaxOutputTokens);
            }
            self.body.insert("max_output_tokens".into(), asked.min(most).into());
        }
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
        let (format, feature) = match &request.format {
            Format::Text => (None, Feature::JsonMode),
            Format::Json => (Some(json!({"type": "json_object"})), Feature::JsonMode),
            Format::Schema { name, description, schema, strict } => {
                let name = if name.is_empty() { "answer" } else { name };
                let mut format = json!({"type": "json_schema", "name": name, "schema": schema});
                if let Some(description) = description {
                    format["description"] = description.as_str().into();
                }
                if let Some(strict) = strict {
                    format["strict"] = (*strict).into();
                }
                (Some(format), Feature::JsonSchema)
            }
        };
        match format {
            Some(_) if self.rules.refuses(feature) => self.losses.feature(feature),
            Some(format) => {
                text.insert("format".into(), format);
            }
            None => {}
        }
        match request.verbosity {
            Some(_) if self.rules.refuses(Feature::Verbosity) => self.losses.feature(Feature::Verbosity),
            Some(verbosity) => {
                let word = match verbosity {
                    Verbosity::Low => "low",
                    Verbosity::Medium => "medium",
                    Verbosity::High => "high",
                };
                text.insert("verbosity".into(), word.into());
            }
            None => {}
        }
        if !text.is_empty() {
            self.body.insert("text".into(), text.into());
        }
    }

    fn reasoning(&mut self, request: &Request) {
        let Some(reasoning) = &request.reasoning else { return };
        let off = reasoning.enabled == Some(false);
        if self.rules.reasoning == ReasoningRule::None || self.rules.refuses(Feature::Reasoning) {
            if !off {
                self.losses.feature(Feature::Reasoning);
            }
            return;
        }
        let mut value = Map::new();
        if let Some(effort) = effort_of(reasoning, &self.rules.reasoning) {
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
        if self.rules.refuses(Feature::LogProbabilities) {
            return self.losses.feature(Feature::LogProbabilities);
        }
        self.include("message.output_text.logprobs");
        if top > 0 {
            self.body.insert("top_logprobs".into(), top.into());
        }
    }

    fn rest(&mut self, request: &Request) {
        match request.tier.as_deref().map(tier_of) {
            Some(Some(tier)) => self.put("service_tier", Some(tier), Feature::Tier),
            Some(None) => self.losses.feature(Feature::Tier),
            None => {}
        }
        self.put("safety_identifier", request.user.clone(), Feature::User);
        let metadata = (!request.metadata.is_empty()).then(|| request.metadata.clone());
        self.put("metadata", metadata, Feature::Metadata);
        self.put("prompt_cache_key", request.cache_key.clone(), Feature::CacheKey);
        self.put("store", request.store, Feature::Store);
        let (key, id) = match &request.conversation {
            None => return,
            Some(Conversation::After(id)) => ("previous_response_id", id),
            Some(Conversation::Stored(id)) => ("conversation", id),
        };
        self.put(key, Some(id.as_str()), Feature::Conversation);
    }
}

/// How much to think: the dialect knows words alone.
fn effort_of(reasoning: &Reasoning, rule: &ReasoningRule) -> Option<Effort> {
    let off = reasoning.enabled == Some(false);
    let wish =
        if off { Effort::None } else { reasoning.effort.or(reasoning.budget.map(Effort::of_budget))? };
    match rule {
        ReasoningRule::Effort(known) => nearest(wish, known),
        _ => Some(wish),
    }
}

/// The class of service in this dialect's words, if it has one for it.
fn tier_of(tier: &str) -> Option<&str> {
    match tier {
        "standard" | "standard_only" => Some("default"),
        known if tier_word(known) == known => Some(known),
        _ => None,
    }
}
