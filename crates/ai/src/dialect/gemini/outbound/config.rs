//! Writes `generationConfig`.

use serde_json::{Map, Value, json};

use crate::{
    canon::{AudioOutput, Effort, Feature, Format, Losses, Modality, Reasoning, Request},
    rules::{ReasoningRule, Rules, nearest},
};

type Config = Map<String, Value>;

pub(super) fn write_config(request: &Request, rules: &Rules, losses: &mut Losses) -> Config {
    let mut config = Config::new();
    write_sampling(request, &mut config, losses);
    write_format(&request.format, &mut config);
    write_modalities(request, &mut config, losses);
    if let Some(reasoning) = &request.reasoning {
        write_thinking(reasoning, request.max_output_tokens, rules, &mut config, losses);
    }
    config
}

/// Writes a parameter, if there is one.
fn put(config: &mut Config, key: &str, value: Option<impl Into<Value>>) {
    config.extend(value.map(|value| (key.to_owned(), value.into())));
}

fn write_sampling(request: &Request, config: &mut Config, losses: &mut Losses) {
    let sampling = &request.sampling;
    put(config, "temperature", sampling.temperature);
    put(config, "topP", sampling.top_p);
    put(config, "topK", sampling.top_k);
    put(config, "candidateCount", request.choices.filter(|count| *count != 1));
    put(config, "maxOutputTokens", request.max_output_tokens);
    put(config, "stopSequences", Some(&sampling.stop).filter(|stop| !stop.is_empty()).cloned());
    // A seed is of 32 bits here.
    let seed = sampling.seed.and_then(|seed| i32::try_from(seed).ok());
    if seed.is_none() && sampling.seed.is_some() {
        losses.feature(Feature::Seed);
    }
    put(config, "seed", seed);
    put(config, "presencePenalty", sampling.presence_penalty);
    put(config, "frequencyPenalty", sampling.frequency_penalty);
    if !sampling.logit_bias.is_empty() {
        losses.feature(Feature::LogitBias);
    }
    put(config, "responseLogprobs", request.log_probabilities.map(|_| true));
    put(config, "logprobs", request.log_probabilities.filter(|top| *top > 0));
}

fn write_format(format: &Format, config: &mut Config) {
    let schema = match format {
        Format::Text => return,
        Format::Json => None,
        // A schema is always kept to, and has no name.
        Format::Schema { schema, description, .. } => {
            let mut schema = schema.clone();
            if let (Some(description), Value::Object(schema)) = (description, &mut schema) {
                schema.entry("description").or_insert_with(|| description.as_str().into());
            }
            Some(schema)
        }
    };
    put(config, "responseMimeType", Some("application/json"));
    put(config, "responseJsonSchema", schema);
}

fn write_modalities(request: &Request, config: &mut Config, losses: &mut Losses) {
    let words: Vec<&str> = request
        .modalities
        .iter()
        .map(|modality| match modality {
            Modality::Text => "TEXT",
            Modality::Audio => "AUDIO",
            Modality::Image => "IMAGE",
        })
        .collect();
    put(config, "responseModalities", (!words.is_empty()).then_some(words));
    let Some(AudioOutput { voice, format }) = &request.audio else { return };
    if format.as_deref().is_some_and(|format| format != "pcm16") {
        losses.feature(Feature::Modalities);
    }
    match voice {
        // Voices are named after stars and begin with a capital; what does not is another vendor's.
        Some(voice) if voice.starts_with(|first: char| first.is_uppercase()) => {
            let speech = json!({"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}});
            put(config, "speechConfig", Some(speech));
        }
        Some(_) => losses.feature(Feature::Modalities),
        None => {}
    }
}

/// `thinkingConfig`. Models know a budget or a level, and refuse both at once.
fn write_thinking(
    reasoning: &Reasoning,
    max_output_tokens: Option<u64>,
    rules: &Rules,
    config: &mut Config,
    losses: &mut Losses,
) {
    let off = reasoning.enabled == Some(false) || reasoning.effort == Some(Effort::None);
    let mut thinking = Config::new();
    match &rules.reasoning {
        ReasoningRule::None => {
            if !off {
                losses.feature(Feature::Reasoning);
            }
            return;
        }
        ReasoningRule::AsAsked => as_asked(reasoning, off, &mut thinking),
        ReasoningRule::Effort(known) => {
            let asked = reasoning.effort.or(reasoning.budget.map(Effort::of_budget));
            let wish = if off { Some(Effort::None) } else { asked };
            if let Some(effort) = wish.and_then(|wish| nearest(wish, known)) {
                thinking.insert("thinkingLevel".into(), effort.word().to_ascii_uppercase().into());
            }
        }
        ReasoningRule::Budget { least, most, can_be_off } => {
            let asked = reasoning.budget.or(reasoning.effort.map(Effort::budget));
            let budget = match asked {
                _ if off && *can_be_off => Some(0),
                _ if off => Some(*least),
                Some(budget) => Some(budget.clamp(*least, (*most).max(*least))),
                None => None,
            };
            // What the thoughts take, the answer lacks: of what nobody counted out, it keeps a quarter.
            let kept = |most: u64| if reasoning.budget.is_some() { 1 } else { (most / 4).max(1) };
            let room =
                max_output_tokens.map(|most| most.saturating_sub(kept(most))).filter(|room| room >= least);
            match budget {
                Some(budget) => {
                    let budget = room.map_or(budget, |room| budget.min(room));
                    thinking.insert("thinkingBudget".into(), budget.into());
                }
                None if reasoning.enabled == Some(true) => {
                    thinking.insert("thinkingBudget".into(), (-1).into());
                }
                None => {}
            }
        }
    }
    let visible = reasoning.visible.or(reasoning.summary.as_ref().map(|_| true));
    if let Some(visible) = visible.filter(|_| !off) {
        thinking.insert("includeThoughts".into(), visible.into());
    }
    if reasoning.summary.as_deref().is_some_and(|summary| summary != "auto") {
        losses.feature(Feature::ReasoningSummary);
    }
    if !thinking.is_empty() {
        config.insert("thinkingConfig".into(), thinking.into());
    }
}

fn as_asked(reasoning: &Reasoning, off: bool, thinking: &mut Config) {
    if off {
        thinking.insert("thinkingBudget".into(), 0.into());
        return;
    }
    let level = reasoning.effort.map(|effort| match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High | Effort::ExtraHigh | Effort::Max => "HIGH",
    });
    match (reasoning.budget, level) {
        (Some(budget), _) => {
            thinking.insert("thinkingBudget".into(), budget.into());
        }
        (None, Some(level)) => {
            thinking.insert("thinkingLevel".into(), level.into());
        }
        (None, None) if reasoning.enabled == Some(true) => {
            thinking.insert("thinkingBudget".into(), (-1).into());
        }
        (None, None) => {}
    }
}
