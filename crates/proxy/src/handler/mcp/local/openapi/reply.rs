//! What an API answered, as the result of a tool.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Response, header};
use serde_json::{Value, json};

use super::super::Outcome;
use crate::{
    body::Body,
    failure::{Failure, Problem, Stage},
    handler::ai::gathered::{Ungathered, gather},
    schema::Schema,
};

/// Bytes of a refusal that are told.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;

/// Reads an answer. `uri` names it where it is a file.
pub(super) async fn read(
    response: Response<Body>,
    output: Option<&Schema>,
    uri: &str,
    bytes_max: usize,
) -> Result<Outcome, Failure> {
    let status = response.status();
    let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let kind = field(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let coding = field(header::CONTENT_ENCODING).filter(|coding| *coding != "identity");
    if coding.is_some() {
        return Err(Failure::upstream(
            Stage::Body,
            Problem::BadUpstreamAnswer,
            "the API compressed its answer, which it was not asked for",
        ));
    }
    let location = field(header::LOCATION).map(str::to_owned);
    let body = match gather(response.into_body(), bytes_max).await {
        Ok(body) => body,
        Err(Ungathered::TooLarge) => {
            return Ok(Outcome::error(format!("{status}: the answer is larger than {bytes_max} bytes")));
        }
        Err(Ungathered::Failed(failure)) => return Err(failure),
    };
    if !status.is_success() {
        let cut = body.get(..REFUSAL_BYTES_MAX).unwrap_or(&body);
        let text = String::from_utf8_lossy(cut);
        let mut lines = vec![status.to_string()];
        lines.extend(location.map(|location| format!("location: {location}")));
        lines.extend(Some(text.into_owned()).filter(|text| !text.is_empty()));
        return Ok(Outcome::error(lines.join("\n")));
    }
    let is_json = kind == "application/json" || kind.ends_with("+json");
    let value = if is_json { serde_json::from_slice::<Value>(&body).ok() } else { None };
    if let Some(schema) = output {
        let faults = value.as_ref().map(|value| schema.faults(value));
        match faults {
            Some(faults) if faults.is_empty() => {}
            // A client would refuse what does not fit, and the model would see nothing of it.
            faults => {
                let why = faults.map_or("it is no JSON".to_owned(), |faults| faults.join("; "));
                let text = String::from_utf8_lossy(body.get(..REFUSAL_BYTES_MAX).unwrap_or(&body));
                return Ok(Outcome::error(format!(
                    "the API's answer is not what its document says: {why}\n{text}"
                )));
            }
        }
    }
    Ok(told(value, &kind, &body, uri))
}

fn told(value: Option<Value>, kind: &str, body: &[u8], uri: &str) -> Outcome {
    if let Some(value) = value {
        let mut outcome = Outcome::text(String::from_utf8_lossy(body));
        outcome.structured = Some(value).filter(Value::is_object);
        return outcome;
    }
    if body.is_empty() {
        return Outcome::text("");
    }
    let group = kind.split('/').next().unwrap_or_default();
    let mut outcome = Outcome::text("");
    outcome.content = vec![match (group, std::str::from_utf8(body)) {
        ("image" | "audio", _) if kind != "image/svg+xml" => {
            json!({"type": group, "data": STANDARD.encode(body), "mimeType": kind})
        }
        ("text" | "", Ok(text)) => json!({"type": "text", "text": text}),
        (_, Ok(text)) if is_text(kind) => json!({"type": "text", "text": text}),
        _ => {
            let kind = if kind.is_empty() { "application/octet-stream" } else { kind };
            let file = json!({"uri": uri, "mimeType": kind, "blob": STANDARD.encode(body)});
            json!({"type": "resource", "resource": file})
        }
    }];
    outcome
}

/// Media types whose names do not say that they are text.
fn is_text(kind: &str) -> bool {
    let ends = ["+xml", "+json", "+yaml"];
    ends.iter().any(|end| kind.ends_with(end))
        || matches!(
            kind,
            "application/json"
                | "application/xml"
                | "application/yaml"
                | "application/x-ndjson"
                | "application/x-www-form-urlencoded"
                | "application/javascript"
        )
}
