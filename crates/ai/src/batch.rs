//! Batches: many requests in one document, each found where it stands, and what their results tell of their usage.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    canon::{Error, ErrorKind, Usage},
    dialect::Dialect,
    form,
};

/// Requests of one batch, at most; more than any vendor takes.
const REQUESTS_MAX: usize = 200_000;

/// What an upload says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// What the file is for, where the form tells.
    pub purpose: Option<String>,
    /// Where the file's bytes stand.
    pub file: Range<usize>,
}

impl Upload {
    /// Reads a form over.
    pub fn of(content_type: &str, body: &[u8]) -> Result<Self, Error> {
        let fields = form::fields(content_type, body)?;
        let one = |name: &str| {
            let mut found = fields.iter().filter(|field| field.name == name);
            match (found.next(), found.next()) {
                (Some(_), Some(_)) => Err(Error::invalid(name, format!("`{name}` is there twice"))),
                (found, _) => Ok(found.map(|field| field.value.clone())),
            }
        };
        let file = one("file")?.ok_or_else(|| Error::invalid("file", "`file` is required"))?;
        let purpose = one("purpose")?.and_then(|at| body.get(at));
        let purpose = purpose.map(|text| String::from_utf8_lossy(text).into_owned());
        Ok(Self { purpose, file })
    }
}

/// One request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How a caller finds it: its line, or its place among the others.
    pub place: String,
    /// The dialect that its body is in.
    pub dialect: Dialect,
    /// It is answered with text; else with vectors or verdicts.
    pub has_output: bool,
    /// Where its body stands in the document.
    pub body: Range<usize>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(default)]
    url: String,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow)]
    requests: Vec<Item<'a>>,
}

fn at(raw: &RawValue, text: &str) -> Option<Range<usize>> {
    let begin = (raw.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    Some(begin..begin + raw.get().len())
}

fn strange(place: &str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("{place}: {what}"))
}

/// The requests of a file of lines of JSON, as OpenAI has them.
pub fn lines(file: &[u8]) -> Result<Vec<Request>, Error> {
    let text = std::str::from_utf8(file)
        .map_err(|_| Error::new(ErrorKind::Invalid, "the file of a batch must be lines of JSON in UTF-8"))?;
    let mut requests = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("line {}", index + 1);
        let read: Line<'_> = serde_json::from_str(line).map_err(|error| strange(&place, error))?;
        let body = read.body.ok_or_else(|| strange(&place, "`body` is required"))?;
        let body = at(body, text).ok_or_else(|| strange(&place, "`body` is required"))?;
        let (dialect, has_output) = match read.url.as_str() {
            "/v1/chat/completions" | "/v1/completions" => (Dialect::OpenAiChat, true),
            "/v1/responses" => (Dialect::OpenAiResponses, true),
            "/v1/embeddings" | "/v1/moderations" => (Dialect::OpenAiChat, false),
            other => {
                return Err(strange(&place, format!("`url`: batches of `{other}` are not taken here")));
            }
        };
        push(&mut requests, Request { place, dialect, has_output, body })?;
    }
    Ok(requests)
}

/// The requests of a body, as Anthropic has them.
pub fn items(body: &[u8]) -> Result<Vec<Request>, Error> {
    let broken = |what: String| Error::new(ErrorKind::Invalid, format!("the body is no batch: {what}"));
    let text = std::str::from_utf8(body).map_err(|error| broken(error.to_string()))?;
    let read: Items<'_> = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
    let mut requests = Vec::new();
    for (index, item) in read.requests.iter().enumerate() {
        let place = format!("requests[{index}]");
        let body = item.params.and_then(|params| at(params, text));
        let body = body.ok_or_else(|| strange(&place, "`params` is required"))?;
        push(&mut requests, Request { place, dialect: Dialect::Anthropic, has_output: true, body })?;
    }
    Ok(requests)
}

fn push(requests: &mut Vec<Request>, request: Request) -> Result<(), Error> {
    if requests.len() == REQUESTS_MAX {
        return Err(Error::new(ErrorKind::TooLarge, format!("a batch has at most {REQUESTS_MAX} requests")));
    }
    requests.push(request);
    Ok(())
}

/// A document with other bodies in the places of its requests'.
pub fn with(document: &[u8], requests: &[Request], bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(document.len() + 64);
    let mut from = 0;
    for (request, body) in requests.iter().zip(bodies) {
        out.extend_from_slice(document.get(from..request.body.start).unwrap_or_default());
        out.extend_from_slice(body);
        from = request.body.end;
    }
    out.extend_from_slice(document.get(from..).unwrap_or_default());
    out
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

/// The answer in one line of a batch's results, none where it failed.
fn answer(line: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow, default)]
        response: Option<Answered<'a>>,
        #[serde(borrow, default)]
        result: Option<Answered<'a>>,
    }
    let told: Told<'_> = serde_json::from_slice(line).ok()?;
    let answered = told.response.or(told.result)?;
    Some(answered.body.or(answered.message)?.get().as_bytes())
}

/// What one line of a batch's results tells of its usage; none where it failed.
pub fn usage(dialect: Dialect, line: &[u8]) -> Option<Usage> {
    let body = answer(line)?;
    // A line of Responses tells in its own words, and both words are in one family of endpoints.
    let dialect = match memchr::memmem::find(body, b"\"input_tokens\"") {
        Some(_) if dialect == Dialect::OpenAiChat => Dialect::OpenAiResponses,
        _ => dialect,
    };
    dialect.peek_usage(body)
}

/// The model that answered one request of a batch, as its provider names it.
pub fn model(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Top {
        model: String,
    }
    serde_json::from_slice::<Top>(answer(line)?).ok().map(|top| top.model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_found_where_it_stands() {
        let file = "{\"custom_id\":\"é\",\"url\":\"/v1/chat/completions\",\"body\": {\"model\":\"a\"}}\r\n\n{\"body\":{},\"url\":\"/v1/embeddings\"}";
        let found = lines(file.as_bytes()).expect("lines");
        let bodies: Vec<&str> = found.iter().map(|request| &file[request.body.clone()]).collect();
        assert_eq!(bodies, ["{\"model\":\"a\"}", "{}"]);
        assert_eq!((found[1].place.as_str(), found[1].has_output), ("line 3", false));
        let other = with(file.as_bytes(), &found, &[b"1".to_vec(), b"22".to_vec()]);
        let want = file.replace("{\"model\":\"a\"}", "1").replace("{}", "22");
        assert_eq!(String::from_utf8(other).expect("text"), want);
        let body = r#"{"requests":[{"custom_id":"x","params":{"model":"m"}}, {"params" : {}}]}"#;
        let found = items(body.as_bytes()).expect("items");
        let bodies: Vec<&str> = found.iter().map(|request| &body[request.body.clone()]).collect();
        assert_eq!(bodies, ["{\"model\":\"m\"}", "{}"]);
    }

    #[test]
    fn what_is_no_batch_names_its_line() {
        let error = lines(b"{\"body\":{},\"url\":\"/v1/embeddings\"}\n{").expect_err("broken");
        assert!(error.message.starts_with("line 2: "), "{}", error.message);
        let error = lines(b"{\"url\":\"/v1/responses\"}").expect_err("no body");
        assert_eq!(error.message, "line 1: `body` is required");
        assert!(lines(b"{\"body\":{},\"url\":\"/v1/videos\"}").is_err());
        assert!(items(b"{\"requests\":[{}]}").is_err());
    }

    #[test]
    fn results_tell_their_usage_in_their_own_words() {
        let chat = br#"{"response":{"status_code":200,"body":{"usage":{"prompt_tokens":5,"completion_tokens":7}}},"error":null}"#;
        let usage_of = |dialect, line: &[u8]| usage(dialect, line).map(|usage| (usage.input, usage.output));
        assert_eq!(usage_of(Dialect::OpenAiChat, chat), Some((5, 7)));
        let responses = br#"{"response":{"body":{"usage":{"input_tokens":5,"output_tokens":9}}}}"#;
        assert_eq!(usage_of(Dialect::OpenAiChat, responses), Some((5, 9)));
        let claude = br#"{"custom_id":"a","result":{"type":"succeeded","message":{"usage":{"input_tokens":3,"output_tokens":4}}}}"#;
        assert_eq!(usage_of(Dialect::Anthropic, claude), Some((3, 4)));
        assert_eq!(usage(Dialect::Anthropic, br#"{"result":{"type":"errored"}}"#), None);
    }
}
