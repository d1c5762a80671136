//! Reads a whole answer.

use serde_json::Value;

use crate::{
    canon::{Answer, Choice, Error, ErrorKind, Extra, Part, Proof, ProofKind},
    dialect::anthropic::{Counts, DIALECT, ISSUER, citation::citation_of, finish_of, tier_of},
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
    fields.take("type");
    fields.take("role");
    let usage = fields.take("usage");
    let mut choice = Choice::default();
    if !fields.has("content") {
        return Err(fields.missing("content"));
    }
    for block in fields.objects("content")? {
        choice.parts.extend(read_block(block, &mut extra)?);
    }
    let sequence = fields.text("stop_sequence")?;
    choice.finish = fields.text("stop_reason")?.map(|word| finish_of(&word, sequence.as_deref()));
    choice.parts.extend(fields.take("stop_details").as_ref().and_then(refusal_of));
    let mut answer = Answer {
        id: fields.text("id")?.unwrap_or_default(),
        model: fields.text("model")?.unwrap_or_default(),
        choices: vec![choice],
        tier: usage.as_ref().and_then(|usage| usage.get("service_tier")).and_then(Value::as_str).map(tier_of),
        usage: usage.map(|usage| {
            let mut counts = Counts::default();
            counts.take(&usage);
            counts.usage()
        }),
        ..Answer::default()
    };
    fields.rest(&mut extra);
    answer.extra = extra;
    Ok(answer)
}

/// Why Claude declined, where it is said.
pub(super) fn refusal_of(details: &Value) -> Option<Part> {
    let text = details.get("explanation")?.as_str().filter(|text| !text.is_empty())?;
    Some(Part::Refusal { text: text.to_owned() })
}

fn read_block(mut block: Fields, extra: &mut Extra) -> Result<Option<Part>, Error> {
    let part = match block.peek_text("type").unwrap_or_default() {
        "text" => {
            let text = block.text("text")?.unwrap_or_default();
            let length = text.chars().count() as u64;
            let mut citations: Vec<_> = block.list("citations")?.iter().filter_map(citation_of).collect();
            // A block is what its citations apply to.
            citations.iter_mut().for_each(|citation| citation.span = Some((0, length)));
            Part::Text { text, citations, cache: None, proof: None }
        }
        "thinking" => {
            let signature = block.text("signature")?.filter(|signature| !signature.is_empty());
            let text = block.text("thinking")?.unwrap_or_default();
            Part::Thinking { text, proof: signature.map(|value| proof(value, ProofKind::Signature)) }
        }
        "redacted_thinking" => {
            let data = proof(block.required_text("data")?, ProofKind::Encrypted);
            Part::Thinking { text: String::new(), proof: Some(data) }
        }
        "tool_use" => Part::ToolCall {
            id: block.text("id")?.unwrap_or_default(),
            name: block.required_text("name")?,
            arguments: Value::Object(block.map("input")?).to_string(),
            custom: false,
            proof: None,
            cache: None,
        },
        _ => return Ok(Some(Part::Vendor { dialect: DIALECT, value: block.into_value() })),
    };
    block.take("type");
    block.rest(extra);
    Ok(Some(part))
}

/// A proof of Claude's.
pub(super) fn proof(value: String, kind: ProofKind) -> Proof {
    Proof { issuer: ISSUER.to_owned(), kind, value, id: None }
}
