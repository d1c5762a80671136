//! `compress`: compresses answers for clients that accept it.
//!
//! What is streamed is flushed whenever the upstream pauses, so that events and messages still leave at once.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{
    Needs, NeedsOf, Policy,
    coding::{Coding, Encoded, Encoder, choose, content_codings},
    vary::vary,
};
use crate::{body::Body, call::Call, compiled::Building};

/// Headers that describe the exact bytes of the answer that was.
const OF_THE_PLAIN_BYTES: [&str; 6] =
    ["content-length", "accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"];

/// The compiled policy.
pub(crate) struct Compress {
    codings: Vec<Coding>,
    min_size: u64,
    types: Vec<MediaType>,
    level: u32,
}

/// `text/html`, `text/*` or `application/*+json`, cut at the star.
struct MediaType {
    before: Box<str>,
    after: Option<Box<str>>,
}

impl Compress {
    pub(crate) fn compile(settings: &model::policy::Compress, _: &Building<'_>) -> Result<Self, String> {
        if settings.algorithms.is_empty() {
            return Err("`algorithms` is empty".into());
        }
        let types = settings.content_types.iter().map(|text| {
            let lower = text.to_ascii_lowercase();
            match lower.split_once('*') {
                _ if !lower.contains('/') => Err(format!("`{text}` is not a media type such as `text/*`")),
                Some((_, after)) if after.contains('*') => Err(format!("`{text}` has more than one `*`")),
                Some((before, after)) => Ok(MediaType { before: before.into(), after: Some(after.into()) }),
                None => Ok(MediaType { before: lower.into(), after: None }),
            }
        });
        Ok(Self {
            codings: settings.algorithms.iter().map(|coding| Coding::from(*coding)).collect(),
            min_size: settings.min_size.bytes(),
            types: types.collect::<Result<_, _>>()?,
            level: settings.level,
        })
    }

    /// Whether this answer may be compressed for a client that wants it.
    fn applies(&self, call: &Call, answer: &Response<Body>) -> bool {
        let headers = answer.headers();
        let has_body = call.head.method != Method::HEAD
            && call.head.method != Method::CONNECT
            && !matches!(
                answer.status(),
                StatusCode::NO_CONTENT
                    | StatusCode::RESET_CONTENT
                    | StatusCode::NOT_MODIFIED
                    | StatusCode::PARTIAL_CONTENT
            )
            && !answer.status().is_informational()
            && !answer.body().is_empty();
        has_body
            && !headers.contains_key(header::CONTENT_RANGE)
            && content_codings(headers).is_empty()
            && !forbids_transforming(headers)
            && !forbids_transforming(&call.head.headers)
            && answer.body().length().is_none_or(|length| length >= self.min_size)
            && self.is_listed(headers)
    }

    fn is_listed(&self, headers: &HeaderMap) -> bool {
        let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else {
            return false;
        };
        let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        self.types.iter().any(|listed| match &listed.after {
            None => media_type == *listed.before,
            Some(after) => media_type
                .strip_prefix(&*listed.before)
                .is_some_and(|rest| rest.len() > after.len() && rest.ends_with(&**after)),
        })
    }
}

fn forbids_transforming(headers: &HeaderMap) -> bool {
    headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
        let directives = value.to_str().unwrap_or_default().split(',');
        directives.map(str::trim).any(|directive| directive.eq_ignore_ascii_case("no-transform"))
    })
}

/// A strong tag promises the same bytes, which compression does not keep (RFC 9110 §8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else { return };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) => headers.insert(header::ETAG, weak),
        Err(_) => headers.remove(header::ETAG),
    };
}

impl NeedsOf for model::policy::Compress {
    fn needs(&self) -> Needs {
        Needs::headers([header::ACCEPT_ENCODING])
    }
}

impl Policy for Compress {
    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        if !self.applies(call, answer) {
            return;
        }
        // Whether it is compressed for this client or not, another one may get it otherwise.
        vary(answer.headers_mut(), "Accept-Encoding");
        let Some(coding) = choose(&call.head.headers, &self.codings) else { return };
        let Ok(encoder) = Encoder::new(coding, self.level) else { return };
        let inner = std::mem::take(answer.body_mut());
        *answer.body_mut() = Body::boxed(Encoded::new(inner, encoder));
        let headers = answer.headers_mut();
        for name in OF_THE_PLAIN_BYTES {
            headers.remove(name);
        }
        weaken(headers);
        headers.insert(header::CONTENT_ENCODING, coding.value());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::policy::testing::{building, call, with_header};

    fn compressed(
        method: &str,
        accepts: &str,
        status: u16,
        size: usize,
        headers: &[(&str, &str)],
    ) -> Response<Body> {
        let settings = serde_json::from_value(serde_json::json!({"minSize": 100})).expect("good settings");
        let policy = building("", |cx| Compress::compile(&settings, cx)).expect("compiles");
        let mut call = with_header(call(method, "/"), "accept-encoding", accepts);
        let mut answer = Response::builder().status(status).header("content-length", size);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        let mut answer = answer.body(Body::Full(Bytes::from(vec![b'a'; size]))).expect("an answer");
        policy.response(&mut call, &mut answer);
        answer
    }

    #[test]
    fn an_answer_is_compressed_when_it_may_be() {
        let json = ("content-type", "application/problem+json; charset=utf-8");
        for (method, accepts, status, size, headers, want) in [
            ("GET", "gzip", 200, 100, &[json][..], Some("gzip")),
            ("GET", "gzip, br", 200, 100, &[json], Some("br")),
            ("GET", "gzip", 200, 100, &[("content-type", "TEXT/html")], Some("gzip")),
            ("GET", "gzip", 200, 99, &[json], None),
            ("HEAD", "gzip", 200, 100, &[json], None),
            ("GET", "identity", 200, 100, &[json], None),
            ("GET", "gzip", 206, 100, &[json], None),
            ("GET", "gzip", 204, 100, &[json], None),
            ("GET", "gzip", 304, 100, &[json], None),
            ("GET", "gzip", 200, 100, &[], None),
            ("GET", "gzip", 200, 100, &[("content-type", "image/png")], None),
            ("GET", "gzip", 200, 100, &[("content-type", "application/grpc")], None),
            ("GET", "gzip", 200, 100, &[json, ("content-encoding", "zstd")], None),
            ("GET", "gzip", 200, 100, &[json, ("content-encoding", "identity")], Some("gzip")),
            ("GET", "gzip", 200, 100, &[json, ("content-range", "bytes 0-99/100")], None),
            ("GET", "gzip", 200, 100, &[json, ("cache-control", "public, No-Transform")], None),
        ] {
            let answer = compressed(method, accepts, status, size, headers);
            let coding = answer.headers().get("content-encoding").filter(|value| *value != "zstd");
            let coding = coding.map(|value| value.to_str().expect("text")).filter(|name| *name != "identity");
            assert_eq!(coding, want, "{method} {accepts} {status} {size} {headers:?}");
            assert_eq!(answer.headers().contains_key("content-length"), want.is_none());
        }
    }

    #[test]
    fn what_described_the_plain_bytes_goes_and_tags_get_weak() {
        let json = ("content-type", "application/json");
        let headers =
            [json, ("etag", "\"1\""), ("vary", "Accept"), ("accept-ranges", "bytes"), ("digest", "x")];
        let answer = compressed("GET", "gzip", 200, 100, &headers);
        assert_eq!(answer.headers()["etag"], "W/\"1\"");
        assert_eq!(answer.headers()["vary"], "Accept, Accept-Encoding");
        assert!(!answer.headers().contains_key("accept-ranges") && !answer.headers().contains_key("digest"));
        assert_eq!(
            compressed("GET", "gzip", 200, 100, &[json, ("etag", "W/\"1\"")]).headers()["etag"],
            "W/\"1\""
        );
        assert_eq!(compressed("GET", "x", 200, 100, &[json]).headers()["vary"], "Accept-Encoding");
    }
}
