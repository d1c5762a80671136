//! `normalizeErrors`: makes problem documents of services' errors.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::{
    Needs, NeedsOf, Policy,
    counted::{Counted, Metric},
    held::Held,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    content,
    failure::{Failure, is_grpc},
    openapi::media,
};

/// Letters of a text that is told.
const DETAIL_MAX: usize = 1_000;

static METRIC: Metric = Metric {
    name: "tidegate_normalized_errors_total",
    help: "Errors of services that became problem documents, or were some already.",
    outcomes: &["normalized", "kept"],
    gauges: &[],
};

/// Fields that describe a body that is not there any more.
const OF_THE_BODY: [HeaderName; 7] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_DISPOSITION,
    header::CONTENT_RANGE,
    header::ETAG,
    header::LAST_MODIFIED,
];

/// The compiled policy.
pub(crate) struct NormalizeErrors {
    on: Vec<u16>,
    keeps: bool,
    details: Vec<Vec<String>>,
    details_on: Vec<u16>,
    bytes_max: usize,
    counted: Arc<Counted>,
}

impl NormalizeErrors {
    pub(crate) fn compile(
        settings: &model::policy::NormalizeErrors,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        if cx.owner.starts_with("upstreams/") && !settings.detail_from.is_empty() {
            return Err(
                "`detailFrom` is looked for on a route, a listener or globally, not on an upstream".into()
            );
        }
        let statuses = |all: &[String]| {
            let one = |text: &String| {
                model::policy::transform::status(text).ok_or_else(|| format!("`{text}` is no status"))
            };
            all.iter().map(one).collect::<Result<Vec<u16>, String>>()
        };
        Ok(Self {
            on: statuses(&settings.on)?,
            keeps: settings.keep_problems,
            details: settings
                .detail_from
                .iter()
                .map(|path| path.split('.').map(str::to_owned).collect())
                .collect(),
            details_on: statuses(&settings.detail_on)?,
            bytes_max: settings.max_size.get(),
            counted: Counted::of(&METRIC, cx),
        })
    }

    /// Whether an answer is an error of a service that is to become a document.
    fn applies(&self, call: &Call, answer: &Response<Body>) -> bool {
        // What the gateway says itself is a document already, or what its callers understand.
        let is_own = call.record.failure.is_some() || call.record.stopped_by.is_some();
        if is_own || call.is_switched_by(answer) || !has(&self.on, answer.status()) {
            return false;
        }
        if is_grpc(&call.head.headers) || is_grpc(answer.headers()) {
            return false;
        }
        let is_problem =
            media::of(answer.headers()).is_some_and(|kind| kind.is("application", "problem+json"));
        if is_problem && self.keeps {
            self.counted.note(1);
            return false;
        }
        true
    }

    fn replace(&self, call: &Call, answer: &mut Response<Body>, detail: Option<String>) {
        let status = answer.status();
        let mut fields = Map::new();
        // RFC 9457 §4.2.1: the status says all there is to say, and the title is its own.
        fields.insert("type".to_owned(), "about:blank".into());
        fields.insert("title".to_owned(), status.canonical_reason().unwrap_or("Error").into());
        fields.insert("status".to_owned(), status.as_u16().into());
        if let Some(detail) = detail {
            fields.insert("detail".to_owned(), detail.into());
        }
        let id = String::from_utf8_lossy(call.record.request_id.as_bytes()).into_owned();
        fields.insert("requestId".to_owned(), id.into());
        let text = Value::Object(fields).to_string();
        let headers = answer.headers_mut();
        content::changed(headers);
        for name in OF_THE_BODY {
            headers.remove(name);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        *answer.body_mut() =
            if call.head.method == Method::HEAD { Body::Empty } else { Body::Full(Bytes::from(text)) };
        self.counted.note(0);
    }

    /// The text that may be told, where a body has one.
    async fn detail(&self, call: &Call, answer: &mut Response<Body>) -> Option<String> {
        let is_json = media::of(answer.headers()).is_some_and(|kind| kind.is_json());
        if !is_json || !media::is_plain(answer.headers()) || call.head.method == Method::HEAD {
            return None;
        }
        let held = Held::read(answer.body_mut(), self.bytes_max).await.ok()?;
        let read: Value =
            serde_json::from_slice(&held.beginning(self.bytes_max)).ok().filter(|_| held.is_whole())?;
        self.details.iter().find_map(|path| {
            let found = path.iter().try_fold(&read, |value, name| value.get(name))?.as_str()?;
            let letters = found.chars().filter(|letter| !letter.is_control()).take(DETAIL_MAX);
            Some(letters.collect())
        })
    }
}

fn has(statuses: &[u16], status: StatusCode) -> bool {
    statuses.contains(&status.as_u16()) || statuses.contains(&(status.as_u16() / 100))
}

impl NeedsOf for model::policy::NormalizeErrors {
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

impl Policy for NormalizeErrors {
    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        if self.applies(call, answer) {
            self.replace(call, answer, None);
        }
    }

    fn waits_for_answers(&self) -> bool {
        !self.details.is_empty()
    }

    fn judge<'a>(
        &'a self,
        call: &'a mut Call,
        answer: &'a mut Response<Body>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if self.applies(call, answer) {
                let detail = match has(&self.details_on, answer.status()) {
                    true => self.detail(call, answer).await,
                    false => None,
                };
                self.replace(call, answer, detail);
            }
            Ok(())
        })
    }
}
