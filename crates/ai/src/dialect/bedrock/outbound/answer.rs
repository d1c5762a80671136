//! Reads a whole answer.

use serde_json::Value;

use crate::{
    canon::{Answer, Choice, Error, ErrorKind, Extra, Part, Proof, ProofKind},
    dialect::bedrock::{DIALECT, ISSUER, citation_of, finish_of, media::Media, redacted_of, usage_of},
    fields::Fields,
};

pub(in crate::dialect) fn read_answer(body: &[u8]) -> Result<Answer, Error> {
    read(body).map_err(|error| Error {
        status: 502,
        ..Error::new(ErrorKind::Server, format!("the provider's answer: {}", error.message))
    })
}

fn read(body: &[u8]) -> Result<Answer, Error> {
    let mut fields = Fields::document(body)?;
    let mut extra = Extra::new();
    let mut output = fields.object("output")?.ok_or_else(|| fields.missing("output"))?;
    let mut message = output.object("message")?.ok_or_else(|| output.missing("message"))?;
    message.take("role");
    let mut choice = Choice::default();
    for block in message.objects("content")? {
        choice.parts.push(read_block(block)?);
    }
    message.rest(&mut extra);
    output.rest(&mut extra);
    let beside = fields.peek("additionalModelResponseFields").cloned();
    choice.finish = fields.text("stopReason")?.map(|word| finish_of(&word, beside.as_ref()));
    let mut answer = Answer {
        choices: vec![choice],
        usage: fields.take("usage").as_ref().and_then(usage_of),
        ..Answer::default()
    };
    if let Some(mut tier) = fields.object("serviceTier")? {
        answer.tier = tier.text("type")?;
    }
    fields.take("metrics");
    fields.rest(&mut extra);
    answer.extra = extra;
    Ok(answer)
}

/// A block is an object of one field, which says what it is.
fn read_block(mut block: Fields) -> Result<Part, Error> {
    if let Some(text) = block.text("text")? {
        return Ok(Part::text(text));
    }
    if block.peek("toolUse").is_some_and(|call| call.get("type").is_none())
        && let Some(mut call) = block.object("toolUse")?
    {
        return Ok(Part::ToolCall {
            id: call.text("toolUseId")?.unwrap_or_default(),
            name: call.required_text("name")?,
            arguments: Value::Object(call.map("input")?).to_string(),
            custom: false,
            proof: None,
            cache: None,
        });
    }
    if let Some(mut thought) = block.object("reasoningContent")? {
        if let Some(data) = thought.text("redactedContent")? {
            return Ok(Part::Thinking { text: String::new(), proof: Some(redacted_of(data)) });
        }
        let mut said = thought.object("reasoningText")?.ok_or_else(|| thought.missing("reasoningText"))?;
        let signature = said.text("signature")?.filter(|signature| !signature.is_empty());
        return Ok(Part::Thinking {
            text: said.text("text")?.unwrap_or_default(),
            proof: signature.map(proof),
        });
    }
    if let Some(mut cited) = block.object("citationsContent")? {
        let texts = cited.list("content")?;
        let text: String = texts.iter().filter_map(|text| text.get("text").and_then(Value::as_str)).collect();
        let length = text.chars().count() as u64;
        let mut citations: Vec<_> = cited.list("citations")?.iter().map(citation_of).collect();
        // A block is what its citations apply to.
        citations.iter_mut().for_each(|citation| citation.span = Some((0, length)));
        return Ok(Part::Text { text, citations, cache: None, proof: None });
    }
    if let Some(mut image) = block.object("image")? {
        return Ok(Part::Image { source: Media::Image.read(&mut image)?, detail: None, cache: None });
    }
    if let Some(mut audio) = block.object("audio")? {
        return Ok(Part::Audio { source: Media::Audio.read(&mut audio)?, transcript: None, id: None });
    }
    Ok(Part::Vendor { dialect: DIALECT, value: block.into_value() })
}

/// A signature of Claude's.
pub(super) fn proof(value: String) -> Proof {
    Proof { issuer: ISSUER.to_owned(), kind: ProofKind::Signature, value, id: None }
}
