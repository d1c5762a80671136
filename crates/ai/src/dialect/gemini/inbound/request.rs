//! Reads a request to `generateContent`. The model, and whether it streams, stand in the path.

use serde_json::{Map, Value};

use super::{
    message::read_messages,
    tool::{read_tool_choice, read_tools},
};
use crate::{
    canon::{AudioOutput, Effort, Error, Extra, Format, Modality, Reasoning, Request, Sampling},
    dialect::{Spoken, gemini::schema::json_schema},
    fields::Fields,
};

pub(in crate::dialect) fn read_request(spoken: &Spoken, body: &[u8]) -> Result<Request, Error> {
    let mut fields = Fields::document(body)?.in_both_spellings();
    let mut extra = Extra::new();
    let named = fields.text("model")?;
    let model = spoken.model.clone().or(named).ok_or_else(|| fields.missing("model"))?;
    let mut request = Request {
        model: model.strip_prefix("models/").unwrap_or(&model).to_owned(),
        stream: spoken.stream,
        metadata: fields.map("labels")?,
        store: fields.flag("store")?,
        tier: fields.text("serviceTier")?.and_then(tier_of),
        // Usage is told with every answer and every piece of one.
        include_usage: true,
        ..Request::default()
    };
    read_messages(&mut fields, &mut request, &mut extra)?;
    request.tools = read_tools(&mut fields, &mut extra)?;
    request.tool_choice = read_tool_choice(&mut fields, &mut request.tools, &mut extra)?;
    if let Some(config) = fields.object("generationConfig")? {
        read_config(config, &mut request, &mut extra)?;
    }
    fields.rest(&mut extra);
    request.extra = extra;
    Ok(request)
}

/// `serviceTier` in the words of most dialects.
fn tier_of(word: String) -> Option<String> {
    match word.to_ascii_lowercase().as_str() {
        "" | "unspecified" => None,
        "standard" => Some("default".to_owned()),
        other => Some(other.to_owned()),
    }
}

fn read_config(mut config: Fields, request: &mut Request, extra: &mut Extra) -> Result<(), Error> {
    request.sampling = Sampling {
        temperature: config.number("temperature")?,
        top_p: config.number("topP")?,
        top_k: config.count("topK")?,
        frequency_penalty: config.number("frequencyPenalty")?,
        presence_penalty: config.number("presencePenalty")?,
        seed: config.integer("seed")?,
        stop: config.texts("stopSequences")?,
        logit_bias: Map::new(),
    };
    request.choices = config.count("candidateCount")?.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    request.max_output_tokens = config.count("maxOutputTokens")?;
    let wanted = config.flag("responseLogprobs")?.unwrap_or(false);
    let top = config.count("logprobs")?;
    request.log_probabilities =
        (wanted || top.is_some()).then(|| u32::try_from(top.unwrap_or(0)).unwrap_or(u32::MAX));
    request.format = read_format(&mut config)?;
    request.modalities = read_modalities(&mut config)?;
    request.audio = read_speech(&mut config, extra)?;
    request.reasoning = read_thinking(&mut config, extra)?;
    config.rest(extra);
    Ok(())
}

fn read_format(config: &mut Fields) -> Result<Format, Error> {
    let open_api = config.take("responseSchema").map(json_schema);
    let schema = config.take("responseJsonSchema").or(open_api);
    let mime = config.text("responseMimeType")?;
    Ok(match (schema, mime.as_deref()) {
        (Some(schema), None | Some("application/json" | "text/x.enum")) => {
            Format::Schema { name: String::new(), description: None, schema, strict: None }
        }
        (None, None | Some("text/plain")) => Format::Text,
        (None, Some("application/json")) => Format::Json,
        (_, Some(other)) => {
            return Err(config.unknown(
                "responseMimeType",
                other,
                "text/plain, application/json or text/x.enum",
            ));
        }
    })
}

fn read_modalities(config: &mut Fields) -> Result<Vec<Modality>, Error> {
    let words = config.texts("responseModalities")?;
    let read = |word: String| match word.to_ascii_uppercase().as_str() {
        "TEXT" => Ok(Modality::Text),
        "AUDIO" => Ok(Modality::Audio),
        "IMAGE" => Ok(Modality::Image),
        other => Err(config.unknown("responseModalities", other, "TEXT, IMAGE or AUDIO")),
    };
    words.into_iter().map(read).collect()
}

fn read_speech(config: &mut Fields, extra: &mut Extra) -> Result<Option<AudioOutput>, Error> {
    let Some(mut speech) = config.object("speechConfig")? else { return Ok(None) };
    let mut voice = None;
    if let Some(mut set) = speech.object("voiceConfig")? {
        if let Some(mut built_in) = set.object("prebuiltVoiceConfig")? {
            voice = built_in.text("voiceName")?;
            built_in.rest(extra);
        }
        set.rest(extra);
    }
    speech.rest(extra);
    Ok(Some(AudioOutput { voice, format: None }))
}

/// `thinkingConfig`. A budget of −1 leaves the measure to the model, and 0 turns thinking off.
fn read_thinking(config: &mut Fields, extra: &mut Extra) -> Result<Option<Reasoning>, Error> {
    let Some(mut thinking) = config.object("thinkingConfig")? else { return Ok(None) };
    let mut reasoning = Reasoning { visible: thinking.flag("includeThoughts")?, ..Reasoning::default() };
    match thinking.integer("thinkingBudget")? {
        None => {}
        Some(0) => reasoning.enabled = Some(false),
        Some(budget) => match u64::try_from(budget) {
            Ok(budget) => reasoning.budget = Some(budget),
            Err(_) => reasoning.enabled = Some(true),
        },
    }
    if let Some(word) = thinking.text("thinkingLevel")? {
        reasoning.effort = match word.to_ascii_lowercase().as_str() {
            "thinking_level_unspecified" => None,
            word => {
                let unknown =
                    || thinking.unknown("thinkingLevel", word, "MINIMAL, LOW, MEDIUM, HIGH or XHIGH");
                Some(Effort::from_word(word).ok_or_else(unknown)?)
            }
        };
    }
    thinking.rest(extra);
    Ok((reasoning != Reasoning::default()).then_some(reasoning))
}

/// A value of JSON as text: texts as they are.
pub(super) fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
