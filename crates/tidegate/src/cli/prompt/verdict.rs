//! One call of a case, judged.

use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

use super::{
    Run,
    cases::{Case, Expect},
    client::Reply,
    judge,
};

/// Steps of an answer that are told where a pointer leads to none.
const STEPS_TOLD: usize = 8;
/// Letters of an answer that a report shows.
const SHOWN_MAX: usize = 200;

/// How one call went.
pub(super) struct Verdict {
    /// What was not as it must be; nothing when all was.
    pub(super) faults: Vec<String>,
    /// How long the answer took.
    pub(super) took: Duration,
    /// What it was, shortened.
    pub(super) answer: String,
    /// The version of the prompt that answered.
    pub(super) version: Option<String>,
}

/// Sends a case and judges the answer.
pub(super) async fn of(run: &Run, case: &Case) -> Verdict {
    let mut headers = run.headers.clone();
    if let Some(version) = case.version.as_ref().or(run.version.as_ref()) {
        match HeaderValue::from_str(version) {
            Ok(value) => drop(headers.insert("x-tidegate-prompt-version", value)),
            Err(error) => return broken(format!("version: {error}")),
        }
    }
    let reply = match run.client.post(&run.url, &headers, case.input.to_string()).await {
        Ok(reply) => reply,
        Err(error) => return broken(error),
    };
    let whole = String::from_utf8_lossy(&reply.body).into_owned();
    let version = reply.headers.get("x-tidegate-prompt-version").and_then(|value| value.to_str().ok());
    Verdict {
        version: version.map(str::to_owned),
        faults: faults(run, case, &reply, &whole).await,
        took: reply.took,
        answer: shortened(&whole),
    }
}

fn broken(fault: String) -> Verdict {
    Verdict { faults: vec![fault], took: Duration::ZERO, answer: String::new(), version: None }
}

async fn faults(run: &Run, case: &Case, reply: &Reply, whole: &str) -> Vec<String> {
    let expect = &case.expect;
    let mut faults = Vec::new();
    let wanted = expect.status.unwrap_or(200);
    if reply.status.as_u16() != wanted {
        return vec![format!(
            "status: expected {wanted}, got {}: {}",
            reply.status.as_u16(),
            shortened(whole)
        )];
    }
    if let Some(most) = expect.max_latency.map(|most| most.get())
        && reply.took > most
    {
        faults.push(format!("maxLatency: took {:.1?}, more than {most:?}", reply.took));
    }
    let json: Value = serde_json::from_str(whole).unwrap_or_else(|_| Value::String(whole.to_owned()));
    let Some(part) = expect.at.as_ref().map_or(Some(&json), |pointer| json.pointer(pointer)) else {
        let pointer = expect.at.as_deref().unwrap_or_default();
        let there = beside(&json, pointer);
        faults.push(format!("at: the answer has nothing at {pointer}; {there}: {}", shortened(whole)));
        return faults;
    };
    let text = text(part);
    plain(expect, part, &text, &mut faults);
    for criterion in expect.judge.all() {
        let model = criterion.model.as_ref().or(run.judge_model.as_ref()).map_or("", String::as_str);
        if let Err(fault) = judge::ask(run, model, &criterion.criterion, &case.input, &text).await {
            faults.push(format!("judge: {fault}"));
        }
    }
    faults
}

/// What there is in the place of what a pointer leads to: the step that was meant, else those that there are.
fn beside(answer: &Value, pointer: &str) -> String {
    let (mut at, mut before) = (answer, String::new());
    for step in pointer.split('/').skip(1) {
        let plain = step.replace("~1", "/").replace("~0", "~");
        let within = format!("{before}/{step}");
        if let Some(next) = answer.pointer(&within) {
            (at, before) = (next, within);
            continue;
        }
        return match at {
            Value::Object(fields) => match model::nearest(&plain, fields.keys().map(String::as_str)) {
                Some(meant) => format!("did you mean `{before}/{}`?", written(meant)),
                None => among(&before, fields.keys().map(|key| written(key))),
            },
            Value::Array(items) => among(&before, (0..items.len()).map(|at| at.to_string())),
            Value::String(_) => format!("there is a text at `{before}`"),
            _ => format!("there is no more below `{before}`"),
        };
    }
    "there is nothing".to_owned()
}

/// A name as a step of a pointer.
fn written(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The first few steps that there are.
fn among(before: &str, steps: impl Iterator<Item = String>) -> String {
    let known: Vec<String> = steps.take(STEPS_TOLD + 1).map(|step| format!("`{before}/{step}`")).collect();
    match known.len() {
        0 => format!("there is nothing below `{before}/`"),
        1..=STEPS_TOLD => format!("there is {}", known.join(", ")),
        _ => format!("there are {}, …", known[..STEPS_TOLD].join(", ")),
    }
}

/// What a text is looked for in: the answer's `text` when it has nothing else, else all of its JSON.
fn text(part: &Value) -> String {
    match part {
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.len() == 1 => match fields.get("text") {
            Some(Value::String(text)) => text.clone(),
            _ => part.to_string(),
        },
        other => other.to_string(),
    }
}

/// What can be judged without a model.
fn plain(expect: &Expect, part: &Value, text: &str, faults: &mut Vec<String>) {
    for wanted in expect.contains.all() {
        if !text.contains(wanted.as_str()) {
            faults.push(format!("contains: `{wanted}` is not in {}", shortened(text)));
        }
    }
    for unwanted in expect.not_contains.all() {
        if text.contains(unwanted.as_str()) {
            faults.push(format!("notContains: `{unwanted}` is in {}", shortened(text)));
        }
    }
    for pattern in expect.matches.all() {
        // It was compiled when the file was read.
        if !regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text)) {
            faults.push(format!("matches: `{pattern}` does not match {}", shortened(text)));
        }
    }
    if let Some(wanted) = &expect.equals {
        let same = part == wanted || wanted.as_str() == Some(text);
        if !same {
            faults.push(format!("equals: expected {wanted}, got {}", shortened(text)));
        }
    }
    if let Some(schema) = &expect.schema {
        match jsonschema::draft202012::new(schema) {
            Ok(schema) => faults.extend(
                schema.iter_errors(part).map(|error| format!("schema: `{}`: {error}", error.instance_path())),
            ),
            Err(error) => faults.push(format!("schema: {error}")),
        }
    }
}

fn shortened(text: &str) -> String {
    let text = text.replace('\n', " ");
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(expect: Value, answer: Value) -> Vec<String> {
        let expect: Expect = serde_json::from_value(expect).expect("what is expected");
        let mut faults = Vec::new();
        plain(&expect, &answer, &text(&answer), &mut faults);
        faults
    }

    #[test]
    fn each_expectation_can_hold_and_can_fail() {
        let answer = json!({"text": "Hallo Welt"});
        for (expect, holds) in [
            (json!({"contains": "Hallo"}), true),
            (json!({"contains": ["Hallo", "Moin"]}), false),
            (json!({"notContains": "Hello"}), true),
            (json!({"notContains": ["Welt"]}), false),
            (json!({"matches": "^Hallo\\s\\w+$"}), true),
            (json!({"matches": "^Welt"}), false),
            (json!({"equals": "Hallo Welt"}), true),
            (json!({"equals": {"text": "Hallo Welt"}}), true),
            (json!({"equals": {"text": "Hallo"}}), false),
            (json!({"schema": {"properties": {"text": {"minLength": 5}}}}), true),
            (json!({"schema": {"properties": {"text": {"maxLength": 5}}}}), false),
        ] {
            assert_eq!(told(expect.clone(), answer.clone()).is_empty(), holds, "{expect}");
        }
    }
}
