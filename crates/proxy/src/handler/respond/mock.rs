//! Answers that an OpenAPI document describes: its examples, or data in the shape of its schemas.
//!
//! `Prefer` chooses among them (`code=404`, `example=name`, `dynamic=true`, RFC 7240), and `Accept` the media type. What is
//! made is the same for the same request.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use model::resource::mock::Mock as Settings;
use serde_json::Value;

use super::made::Maker;
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    openapi::{
        self,
        api::{Api, Found, Operation, Reading, Wanted},
        check::{self, Fault},
        media::{self, MediaRange},
        schema::Document,
    },
    policy::held::Held,
};

/// The compiled document.
pub(super) struct Mock {
    document: Document,
    api: Api,
    validates: bool,
    body_bytes_max: usize,
}

/// What a request asks for beside the operation.
#[derive(Debug, Default, PartialEq)]
struct Wish {
    code: Option<String>,
    example: Option<String>,
    is_dynamic: bool,
}

impl Wish {
    /// Of `Prefer`; preferences that nobody knows mean nothing (RFC 7240 §2).
    fn of(headers: &HeaderMap) -> Self {
        let mut wish = Self::default();
        let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split([',', ';'])).take(16) {
            let Some((name, value)) = preference.split_once('=') else { continue };
            let value = value.trim().trim_matches('"').to_owned();
            match name.trim().to_ascii_lowercase().as_str() {
                "code" if wish.code.is_none() => wish.code = Some(value),
                "example" if wish.example.is_none() => wish.example = Some(value),
                "dynamic" => wish.is_dynamic = value == "true",
                _ => {}
            }
        }
        wish
    }
}

impl Mock {
    pub(super) fn compile(settings: &Settings, cx: &Building<'_>) -> Result<Self, String> {
        let wrong = |error: String| format!("openapi.file: `{}`: {error}", settings.file);
        let document = openapi::read(&settings.file, &settings.with, cx.snapshot).map_err(wrong)?;
        let build = |requests| {
            let wanted = Wanted { requests, answers: false };
            Api::compile(&document, settings.base_path.as_deref(), wanted)
        };
        let api = build(settings.validate).map_err(|error| {
            // What it says of requests is wrong, and nothing that answers are made of.
            let is_of_requests = settings.validate && build(false).is_ok();
            let help =
                if is_of_requests { "; `validate: false` answers without judging requests" } else { "" };
            wrong(format!("{error}{help}"))
        })?;
        let body_bytes_max = settings.max_body_size.get();
        let mock = Self { document, api, validates: settings.validate, body_bytes_max };
        // Each answer is made once, so that what cannot be made is known now.
        for operation in mock.api.operations() {
            mock.try_out(operation).map_err(|error| wrong(format!("{}: {error}", operation.name)))?;
        }
        Ok(mock)
    }

    fn try_out(&self, operation: &Operation) -> Result<(), String> {
        let answers = operation.written.get("responses").and_then(Value::as_object);
        if answers.is_none_or(|answers| answers.keys().all(|status| status.starts_with("x-"))) {
            return Err("it has no `responses`".to_owned());
        }
        for (status, answer) in answers.into_iter().flatten().filter(|(status, _)| !status.starts_with("x-"))
        {
            let wrong = |error: String| format!("responses.{status}: {error}");
            status_of(status).ok_or_else(|| wrong("it is no status".to_owned()))?;
            let answer = self.document.part(answer).map_err(wrong)?;
            self.fields(answer, None).map_err(wrong)?;
            for (kind, one) in answer.get("content").and_then(Value::as_object).into_iter().flatten() {
                let wrong = |error: String| wrong(format!("content.{kind}: {error}"));
                MediaRange::parse(kind).ok_or_else(|| wrong("it is no media type".to_owned()))?;
                let one = self.document.part(one).map_err(wrong)?;
                for (name, example) in one.get("examples").and_then(Value::as_object).into_iter().flatten() {
                    self.document
                        .part(example)
                        .map_err(|error| wrong(format!("examples.{name}: {error}")))?;
                }
                if let Some(schema) = one.get("schema") {
                    Maker::new(&self.document, Some(0)).make(schema).map_err(wrong)?;
                }
            }
        }
        Ok(())
    }

    /// Answers a call.
    pub(super) async fn handle(&self, call: &Call, mut body: Body) -> Result<Response<Body>, Failure> {
        let head = &call.head;
        let (operation, captured) = match self.api.find(&head.method, call.path()) {
            Found::Operation(operation, captured) => (operation, captured),
            Found::Method(allow) => {
                return Err(
                    Failure::refused(Problem::MethodNotAllowed).with_header(header::ALLOW, allow.clone())
                );
            }
            Found::Nothing => {
                return Err(Failure::refused(Problem::NoRoute).with_hint("the API has no such path"));
            }
        };
        let query = head.uri.query().unwrap_or_default();
        if self.validates {
            let mut faults = operation.head(&captured, query, &head.headers, None);
            faults.extend(self.body_faults(operation, &head.headers, &mut body).await?);
            if !faults.is_empty() {
                return Err(Failure::refused(Problem::Invalid).with_errors(check::told(&faults)));
            }
        }
        let wish = Wish::of(&head.headers);
        let mut seed = DefaultHasher::new();
        (&*operation.name, call.path(), query).hash(&mut seed);
        let mut response = self.answer(operation, &wish, &head.headers, seed.finish())?;
        // Whoever keeps it must not give one's choice to others.
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept, prefer"));
        let length = response.body().length().unwrap_or_default();
        if head.method == Method::HEAD && length > 0 {
            // What a GET would be sent (RFC 9110 §8.6).
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            *response.body_mut() = Body::Empty;
        }
        Ok(response)
    }

    async fn body_faults(
        &self,
        operation: &Operation,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Vec<Fault>, Failure> {
        match operation.reading(headers, !body.is_empty()) {
            Err(fault) => Ok(vec![fault]),
            Ok(Reading::No) => Ok(Vec::new()),
            Ok(Reading::Yes(judged)) if media::is_plain(headers) => {
                let held = Held::read(body, self.body_bytes_max).await?;
                match held.is_whole() {
                    true => Ok(judged.faults(&held.beginning(self.body_bytes_max))),
                    false => Err(Failure::refused(Problem::BodyTooLarge)),
                }
            }
            Ok(Reading::Yes(_)) => {
                Err(Failure::refused(Problem::UnsupportedMedia).with_hint("the body must not be encoded"))
            }
            Ok(Reading::Unsupported(types)) => {
                Err(Failure::refused(Problem::UnsupportedMedia)
                    .with_hint(format!("expected a body of {types}")))
            }
        }
    }

    fn answer(
        &self,
        operation: &Operation,
        wish: &Wish,
        headers: &HeaderMap,
        seed: u64,
    ) -> Result<Response<Body>, Failure> {
        let (status, written) = chosen(operation, wish)?;
        let broken = |error: String| {
            Failure::gateway(crate::failure::Stage::Policy, Problem::Internal).with_detail(error)
        };
        let written = self.document.part(written).map_err(broken)?;
        let seed = wish.is_dynamic.then_some(seed);
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status;
        *response.headers_mut() = self.fields(written, seed).map_err(broken)?;
        let content = written.get("content").and_then(Value::as_object).filter(|content| !content.is_empty());
        let is_bodiless = matches!(status.as_u16(), 204 | 205 | 304) || status.is_informational();
        let Some(content) = content.filter(|_| !is_bodiless) else { return Ok(response) };
        let accepted = media::accepted(headers);
        let mut best: Option<(f32, bool, MediaRange, &Value)> = None;
        for (name, one) in content {
            let Some(kind) = MediaRange::parse(name) else { continue };
            let kind = concrete(kind);
            let weight = media::weight(&accepted, &kind);
            // JSON before others that are as welcome.
            let is_better = best.as_ref().is_none_or(|best| (weight, kind.is_json()) > (best.0, best.1));
            if weight > 0.0 && is_better {
                best = Some((weight, kind.is_json(), kind, one));
            }
        }
        let Some((_, _, kind, one)) = best else {
            let names: Vec<&str> = content.keys().map(String::as_str).take(8).collect();
            let hint = format!("the answer is there as {}", names.join(", "));
            return Err(Failure::refused(Problem::Invalid)
                .with_status(StatusCode::NOT_ACCEPTABLE)
                .with_hint(hint));
        };
        let value = self.value(self.document.part(one).map_err(broken)?, wish, seed)?;
        let bytes = match value {
            Value::String(text) if !kind.is_json() => text.into_bytes(),
            value => value.to_string().into_bytes(),
        };
        if let Ok(kind) = HeaderValue::from_str(&kind.to_string()) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        *response.body_mut() = Body::Full(Bytes::from(bytes));
        Ok(response)
    }

    fn value(&self, media: &Value, wish: &Wish, seed: Option<u64>) -> Result<Value, Failure> {
        let broken = |error: String| {
            Failure::gateway(crate::failure::Stage::Policy, Problem::Internal).with_detail(error)
        };
        let examples = media.get("examples").and_then(Value::as_object);
        if let Some(name) = &wish.example {
            let found = examples.and_then(|all| all.get(name)).and_then(|one| self.document.part(one).ok());
            return match found.and_then(|one| one.get("value")) {
                Some(value) => Ok(value.clone()),
                None => {
                    let names: Vec<&str> =
                        examples.into_iter().flatten().map(|(name, _)| name.as_str()).take(8).collect();
                    Err(Failure::refused(Problem::Invalid).with_hint(match names.is_empty() {
                        true => "`Prefer`: the answer has no examples with names".to_owned(),
                        false => {
                            format!("`Prefer`: there is no such example; there are {}", names.join(", "))
                        }
                    }))
                }
            };
        }
        if seed.is_none() {
            let first = examples
                .into_iter()
                .flatten()
                .find_map(|(_, one)| self.document.part(one).ok()?.get("value"));
            if let Some(given) = media.get("example").or(first) {
                return Ok(given.clone());
            }
        }
        match media.get("schema") {
            Some(schema) => Maker::new(&self.document, seed).make(schema).map_err(broken),
            None => Ok(Value::String(String::new())),
        }
    }

    /// The header fields that an answer is said to have.
    fn fields(&self, written: &Value, seed: Option<u64>) -> Result<HeaderMap, String> {
        let mut fields = HeaderMap::new();
        for (name, one) in written.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let one = self.document.part(one)?;
            let value = match (one.get("example").filter(|_| seed.is_none()), one.get("schema")) {
                (Some(given), _) => given.clone(),
                (None, Some(schema)) => Maker::new(&self.document, seed).make(schema)?,
                (None, None) => continue,
            };
            let text = match value {
                Value::String(text) => text,
                Value::Array(items) => {
                    let texts = items
                        .iter()
                        .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                    texts.collect::<Vec<_>>().join(", ")
                }
                other => other.to_string(),
            };
            let own =
                ["content-type", "content-length", "transfer-encoding", "connection", "content-encoding"];
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(&text))
                && !own.contains(&name.as_str())
            {
                fields.insert(name, value);
            }
        }
        Ok(fields)
    }
}

/// The answer that is meant: the one that is wished for, else the first that went well.
fn chosen<'o>(operation: &'o Operation, wish: &Wish) -> Result<(StatusCode, &'o Value), Failure> {
    let answers = operation.written.get("responses").and_then(Value::as_object);
    let all: Vec<(&String, &Value)> =
        answers.into_iter().flatten().filter(|(status, _)| !status.starts_with("x-")).collect();
    let of = |wanted: &str| {
        all.iter().find(|(status, _)| status.eq_ignore_ascii_case(wanted)).map(|(_, one)| *one)
    };
    if let Some(code) = &wish.code {
        let status = code.parse::<u16>().ok().filter(|code| (200..=599).contains(code));
        let status = status.and_then(|code| StatusCode::from_u16(code).ok());
        let found = status.and_then(|status| {
            let class = format!("{}XX", status.as_u16() / 100);
            Some((status, of(status.as_str()).or_else(|| of(&class)).or_else(|| of("default"))?))
        });
        return found.ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|(status, _)| status.as_str()).take(16).collect();
            let hint = format!("`Prefer`: there is no such answer; there are {}", names.join(", "));
            Failure::refused(Problem::Invalid).with_hint(hint)
        });
    }
    let good =
        all.iter().filter(|(status, _)| status.starts_with('2')).min_by_key(|(status, _)| status.as_str());
    let any =
        good.copied().or_else(|| of("default").map(|one| (&*DEFAULT, one))).or_else(|| all.first().copied());
    let found = any.and_then(|(status, one)| Some((status_of(status)?, one)));
    found.ok_or_else(|| Failure::refused(Problem::NotImplemented))
}

static DEFAULT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "default".to_owned());

/// The status that a key of `responses` stands for.
fn status_of(key: &str) -> Option<StatusCode> {
    match key.to_ascii_uppercase().as_str() {
        "DEFAULT" => Some(StatusCode::OK),
        text => match text.strip_suffix("XX") {
            Some(class) => class
                .parse::<u16>()
                .ok()
                .filter(|class| (2..=5).contains(class))
                .and_then(|class| StatusCode::from_u16(class * 100).ok()),
            None => text
                .parse::<u16>()
                .ok()
                .filter(|code| (200..=599).contains(code))
                .and_then(|code| StatusCode::from_u16(code).ok()),
        },
    }
}

/// A type that an answer may have, of a range.
fn concrete(range: MediaRange) -> MediaRange {
    match range.is_one() {
        true => range,
        false => {
            let all = ["application/json", "text/plain", "application/octet-stream"];
            let fitting =
                all.iter().filter_map(|text| MediaRange::parse(text)).find(|kind| range.fits(kind).is_some());
            fitting.unwrap_or(range)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wishes_are_read_as_they_are_written() {
        for (text, want) in [
            (
                "code=404, example=cat",
                Wish { code: Some("404".into()), example: Some("cat".into()), is_dynamic: false },
            ),
            ("respond-async; wait=10, Dynamic=true", Wish { is_dynamic: true, ..Wish::default() }),
            (
                "example=\"a b\"; code=200, code=500",
                Wish { code: Some("200".into()), example: Some("a b".into()), is_dynamic: false },
            ),
            ("return=minimal", Wish::default()),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(text));
            assert_eq!(Wish::of(&headers), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_more_is_wished_than_stands_there(
            text in "[a-z=\",; ]{0,40}|((code|example|dynamic|x)=(true|404|\"a b\")[,;]? ?){0,4}",
        ) {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::try_from(text.as_str()).expect("a value"));
            let wish = Wish::of(&headers);
            for (name, taken) in [("code", &wish.code), ("example", &wish.example)] {
                let stands = |taken: &String| text.contains(name) && text.contains(taken.as_str());
                prop_assert!(taken.as_ref().is_none_or(stands), "{} {:?}", name, taken);
            }
            prop_assert!(!wish.is_dynamic || text.contains("dynamic"));
        }
    }
}
