//! Reads a whole answer.

use serde_json::Value;

use super::{
    citation::{Cited, citations_of, span},
    error::error_of,
};
use crate::{
    canon::{Answer, Choice, Error, ErrorKind, Extra, Finish, Part, Proof, ProofKind},
    dialect::gemini::{DIALECT, finish_of, part::read_media, probabilities_of, proof_of, tier_of, usage_of},
    fields::Fields,
};

pub(in crate::dialect) fn read_answer(body: &[u8]) -> Result<Answer, Error> {
    read(body).map_err(|error| match error.kind {
        ErrorKind::Invalid => Error {
            status: 502,
            ..Error::new(ErrorKind::Server, format!("the provider's answer: {}", error.message))
        },
        _ => error,
    })
}

fn read(body: &[u8]) -> Result<Answer, Error> {
    let mut fields = Fields::document(body)?;
    if let Some(error) = fields.take("error") {
        return Err(error_of(502, &error));
    }
    let mut extra = Extra::new();
    fields.take("createTime");
    let usage = fields.take("usageMetadata");
    let mut answer = Answer {
        id: fields.text("responseId")?.unwrap_or_default(),
        model: fields.text("modelVersion")?.unwrap_or_default(),
        tier: usage.as_ref().and_then(tier_of).map(str::to_owned),
        usage: usage.as_ref().and_then(usage_of),
        ..Answer::default()
    };
    for candidate in fields.objects("candidates")? {
        answer.choices.push(read_candidate(candidate, &answer.id, &mut extra)?);
    }
    // A prompt that the filter refused has no candidates.
    let feedback = fields.take("promptFeedback");
    if answer.choices.is_empty() {
        if feedback.as_ref().is_none_or(|feedback| feedback.get("blockReason").is_none()) {
            return Err(Error::invalid("candidates", "`candidates` is empty"));
        }
        answer.choices.push(Choice { finish: Some(Finish::ContentFilter), ..Choice::default() });
    }
    extra.extend(feedback.map(|feedback| ("promptFeedback".to_owned(), feedback)));
    fields.rest(&mut extra);
    answer.extra = extra;
    Ok(answer)
}

fn read_candidate(mut candidate: Fields, answer: &str, extra: &mut Extra) -> Result<Choice, Error> {
    let index = candidate.count("index")?.unwrap_or(0);
    let mut parts = Parts { answer, choice: index, parts: Vec::new(), calls: 0, places: Vec::new() };
    if let Some(mut content) = candidate.object("content")? {
        content.take("role");
        for part in content.objects("parts")? {
            parts.places.push(parts.parts.len());
            parts.read(part, extra)?;
        }
        content.rest(extra);
    }
    let grounding = candidate.take("groundingMetadata");
    let citations = candidate.take("citationMetadata");
    for cited in citations_of(grounding.as_ref(), citations.as_ref()) {
        parts.cite(cited);
    }
    let calls = parts.calls > 0;
    let mut choice = Choice { parts: parts.parts, ..Choice::default() };
    choice.finish = candidate.text("finishReason")?.map(|word| finish_of(&word, calls));
    if let Some(probabilities) = candidate.take("logprobsResult") {
        choice.log_probabilities = probabilities_of(&probabilities);
    }
    if let Some(mut grounding) =
        grounding.and_then(|value| Fields::at(value, &candidate.place("groundingMetadata")).ok())
    {
        grounding.take("groundingChunks");
        grounding.take("groundingSupports");
        grounding.rest(extra);
    }
    candidate.rest(extra);
    Ok(choice)
}

/// The id of a call that came without one: of the answer's own, so that it is none of another turn's.
pub(super) fn call_id(answer: &str, choice: u64, call: u32) -> String {
    let letters: String = answer.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    format!("call_{letters}_{choice}_{call}")
}

struct Parts<'a> {
    answer: &'a str,
    choice: u64,
    parts: Vec<Part>,
    calls: u32,
    /// Where each part of the content begins among those read.
    places: Vec<usize>,
}

impl Parts<'_> {
    fn read(&mut self, mut part: Fields, extra: &mut Extra) -> Result<(), Error> {
        let thought = part.flag("thought")?.unwrap_or(false);
        let signature = part.text("thoughtSignature")?.filter(|text| !text.is_empty());
        let kind = if thought { ProofKind::Signature } else { ProofKind::Mark };
        let proof = signature.clone().map(|text| proof_of(text, kind));
        if part.has("text") {
            let text = part.required_text("text")?;
            match (thought, proof) {
                (_, None) if text.is_empty() => {}
                (true, proof) => self.parts.push(Part::Thinking { text, proof }),
                (false, proof) => {
                    self.parts.push(Part::Text { text, citations: Vec::new(), cache: None, proof });
                }
            }
        } else if let Some(call) = part.object("functionCall")? {
            self.call(call, proof, extra)?;
        } else if let Some(media) = read_media(&mut part)? {
            self.parts.extend(proof.map(|proof| Part::Thinking { text: String::new(), proof: Some(proof) }));
            self.parts.push(media);
        } else {
            if let Some(signature) = signature {
                part.put("thoughtSignature", signature.into());
            }
            self.parts.push(Part::Vendor { dialect: DIALECT, value: part.into_value() });
            return Ok(());
        }
        part.rest(extra);
        Ok(())
    }

    fn call(&mut self, mut call: Fields, proof: Option<Proof>, extra: &mut Extra) -> Result<(), Error> {
        self.calls += 1;
        let id = call.text("id")?.filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| call_id(self.answer, self.choice, self.calls));
        let arguments = Value::Object(call.map("args")?).to_string();
        let name = call.required_text("name")?;
        call.rest(extra);
        self.parts.push(Part::ToolCall { id, name, arguments, custom: false, proof, cache: None });
        Ok(())
    }

    /// Puts a citation on the text that it belongs to: the part that it names, else the one that its place falls in
    /// when all texts are read as one.
    fn cite(&mut self, cited: Cited) {
        let named = cited.part.and_then(|part| self.places.get(part)).copied();
        let mut before = 0;
        let last = self.parts.iter().rposition(|part| matches!(part, Part::Text { .. }));
        for (at, part) in self.parts.iter_mut().enumerate() {
            let Part::Text { text, citations, .. } = part else { continue };
            let start = cited.bytes.map_or(0, |(start, _)| start);
            let here = match named {
                Some(named) => named == at,
                None => start < before + text.len() || Some(at) == last,
            };
            if here {
                let begin = if named.is_some() { 0 } else { before };
                let bytes =
                    cited.bytes.map(|(from, to)| (from.saturating_sub(begin), to.saturating_sub(begin)));
                let mut citation = cited.citation;
                citation.span = bytes.map(|bytes| span(text, bytes));
                citations.push(citation);
                return;
            }
            before += text.len();
        }
    }
}
