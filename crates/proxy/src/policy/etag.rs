//! `etag`: tags answers by their bodies, and answers 304 to whoever has them (RFC 9110 §8.8.3, §13.1.2).

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::{
    Needs, NeedsOf, Policy,
    counted::{Counted, Metric},
    held::Held,
};
use crate::{body::Body, call::Call, compiled::Building, failure::Failure, openapi::media};

/// Bytes of a digest that are a tag.
const TAG_BYTES: usize = 16;

static METRIC: Metric = Metric {
    name: "tidegate_etag_answers_total",
    help: "Answers that were tagged by their bodies, by whether the client had them.",
    outcomes: &["sent", "not-modified"],
    gauges: &[],
};

/// The compiled policy.
pub(crate) struct Etag {
    weak: bool,
    bytes_max: usize,
    counted: Arc<Counted>,
}

impl Etag {
    pub(crate) fn compile(settings: &model::policy::Etag, cx: &Building<'_>) -> Result<Self, String> {
        if cx.owner.starts_with("upstreams/") {
            return Err("`etag` stands on a route, a listener or globally, not on an upstream".into());
        }
        Ok(Self {
            weak: settings.weak,
            bytes_max: settings.max_size.get(),
            counted: Counted::of(&METRIC, cx),
        })
    }

    /// Whether an answer is one that gets a tag.
    fn applies(&self, call: &Call, answer: &Response<Body>) -> bool {
        let headers = answer.headers();
        call.head.method == Method::GET
            && answer.status() == StatusCode::OK
            && !headers.contains_key(header::ETAG)
            && !has_directive(headers, "no-store")
            && match answer.body().length() {
                Some(length) => length <= self.bytes_max as u64,
                // What says nothing of its length may be a stream: only what is JSON ends soon.
                None => media::of(headers).is_some_and(|kind| kind.is_json() && !kind.is_stream()),
            }
    }
}

fn has_directive(headers: &HeaderMap, wanted: &str) -> bool {
    headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
        let directives = value.to_str().unwrap_or_default().split(',');
        directives.map(str::trim).any(|directive| directive.eq_ignore_ascii_case(wanted))
    })
}

/// Whether a client has what this tag is of: tags are compared weakly here (RFC 9110 §13.1.2).
fn is_had(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag);
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        // These tags have no comma in them; one of another's that has fits none.
        value.trim() == "*"
            || value.split(',').map(str::trim).any(|one| one.strip_prefix("W/").unwrap_or(one) == opaque)
    })
}

/// Fields of an answer that a 304 does not have: they describe what is not sent (RFC 9110 §15.4.5).
const OF_THE_BODY: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
    header::TRANSFER_ENCODING,
];

impl NeedsOf for model::policy::Etag {
    fn needs(&self) -> Needs {
        Needs::headers([header::IF_NONE_MATCH])
    }
}

impl Policy for Etag {
    fn waits_for_answers(&self) -> bool {
        true
    }

    fn judge<'a>(
        &'a self,
        call: &'a mut Call,
        answer: &'a mut Response<Body>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if call.record.failure.is_some() || !self.applies(call, answer) {
                return Ok(());
            }
            let held = Held::read(answer.body_mut(), self.bytes_max).await?;
            if !held.is_whole() {
                *answer.body_mut() = held.into_body();
                return Ok(());
            }
            let digest =
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &held.beginning(self.bytes_max));
            let text = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..TAG_BYTES).unwrap_or_default());
            let tag = if self.weak { format!("W/\"{text}\"") } else { format!("\"{text}\"") };
            *answer.body_mut() = held.into_body();
            if let Ok(value) = HeaderValue::from_str(&tag) {
                answer.headers_mut().insert(header::ETAG, value);
            }
            let is_had = is_had(&call.head.headers, &tag);
            self.counted.note(usize::from(is_had));
            if is_had {
                *answer.status_mut() = StatusCode::NOT_MODIFIED;
                *answer.body_mut() = Body::Empty;
                for name in OF_THE_BODY {
                    answer.headers_mut().remove(name);
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        for (value, want) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"x\", W/\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            assert_eq!(is_had(&headers, "\"a\""), want, "{value}");
            assert_eq!(is_had(&headers, "W/\"a\""), want, "{value}");
        }
    }
}
