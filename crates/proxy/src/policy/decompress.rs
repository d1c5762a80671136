//! `decompress`: decompresses requests' bodies for upstreams that cannot.
//!
//! The caps on size and ratio bind while the body unfolds; a body beyond them is 413, and never reaches anyone as
//! if it were whole.

use std::sync::Arc;

use http::{HeaderValue, header};

use super::{
    Flow, Needs, NeedsOf, Policy,
    coding::{Caps, Coding, Decoded, content_codings},
    counted::{Counted, Metric},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
};

/// Headers that describe the compressed bytes.
const OF_THE_CODED_BYTES: [&str; 6] =
    ["content-encoding", "content-length", "content-md5", "digest", "content-digest", "repr-digest"];

static METRIC: Metric = Metric {
    name: "tidegate_decompress_requests_total",
    help: "Requests whose body is in a content coding, by whether it is one that is undone.",
    outcomes: &["unpacked", "refused"],
    gauges: &[],
};
const UNPACKED: usize = 0;
const REFUSED: usize = 1;

/// The compiled policy.
pub(crate) struct Decompress {
    codings: Vec<Coding>,
    caps: Caps,
    /// What a client that used another coding is told (RFC 9110 §15.5.16).
    accept: HeaderValue,
    counted: Arc<Counted>,
}

impl Decompress {
    pub(crate) fn compile(settings: &model::policy::Decompress, cx: &Building<'_>) -> Result<Self, String> {
        let codings: Vec<Coding> = settings.algorithms.iter().map(|coding| Coding::from(*coding)).collect();
        let names: Vec<_> = codings.iter().map(|coding| coding.name()).collect();
        let accept = HeaderValue::from_str(&names.join(", ")).map_err(|error| error.to_string())?;
        let caps = Caps { size: settings.max_size.bytes(), ratio: settings.max_ratio.into() };
        if caps.ratio == 0 {
            return Err("`maxRatio` is 0; expected at least 1".into());
        }
        Ok(Self { codings, caps, accept, counted: Counted::of(&METRIC, cx) })
    }

    fn unsupported(&self, hint: &str) -> Failure {
        self.counted.note(REFUSED);
        Failure::refused(Problem::UnsupportedMedia)
            .with_header(header::ACCEPT_ENCODING, self.accept.clone())
            .with_hint(hint)
    }
}

impl NeedsOf for model::policy::Decompress {
    fn needs(&self) -> Needs {
        Needs::headers([header::CONTENT_ENCODING])
    }
}

impl Policy for Decompress {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        if !call.head.headers.contains_key(header::CONTENT_ENCODING) {
            return Flow::Continue;
        }
        let coding = match *content_codings(&call.head.headers) {
            [] => return Flow::Continue,
            [name] => Coding::named(name).filter(|coding| self.codings.contains(coding)),
            // Layers multiply what a few bytes unfold to.
            _ => return Flow::Fail(self.unsupported("the body is encoded more than once")),
        };
        let Some(coding) = coding else {
            return Flow::Fail(self.unsupported("the body's content coding is not supported"));
        };
        let inner = std::mem::take(body);
        if !inner.is_empty() {
            self.counted.note(UNPACKED);
            *body = match Decoded::new(inner, coding, self.caps) {
                Ok(decoded) => Body::boxed(decoded),
                Err(error) => {
                    let failure = Failure::gateway(crate::failure::Stage::Policy, Problem::Internal);
                    return Flow::Fail(failure.with_detail(error.to_string()));
                }
            };
        }
        for name in OF_THE_CODED_BYTES {
            call.head.headers.remove(name);
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::policy::testing::{building, call, with_header};

    fn gzip(data: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).expect("written");
        encoder.finish().expect("finished").into()
    }

    fn received(codings: &[&str], sent: Bytes) -> Result<(Bytes, Call), Problem> {
        let settings = serde_json::json!({"algorithms": ["gzip"], "maxSize": 100_000, "maxRatio": 50});
        let settings = serde_json::from_value(settings).expect("good settings");
        let policy = building("", |cx| Decompress::compile(&settings, cx)).expect("compiles");
        let (mut call, mut body) = (call("POST", "/"), Body::Full(sent));
        for coding in codings {
            call = with_header(call, "content-encoding", coding);
        }
        if let Flow::Fail(failure) = policy.request(&mut call, &mut body) {
            return Err(failure.problem());
        }
        let collected = body.collect().now_or_never().expect("all is there");
        collected.map(|body| (body.to_bytes(), call)).map_err(|failure| failure.problem())
    }

    #[test]
    fn the_upstream_sees_the_plain_body_and_no_coding() {
        let (body, call) = received(&["GZIP"], gzip(b"hello")).expect("decoded");
        assert_eq!(&*body, b"hello");
        assert!(!call.head.headers.contains_key("content-encoding"));
        let (body, _) = received(&["identity"], Bytes::from_static(b"as it is")).expect("untouched");
        assert_eq!(&*body, b"as it is");
    }

    #[test]
    fn what_cannot_be_undone_is_refused() {
        for codings in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &["gzip, br"], &["unknown"]] {
            assert_eq!(received(codings, gzip(b"x")).err(), Some(Problem::UnsupportedMedia), "{codings:?}");
        }
        assert_eq!(received(&["gzip"], Bytes::from_static(b"not gzip")).err(), Some(Problem::Invalid));
    }

    #[test]
    fn a_bomb_is_refused_by_size_and_by_ratio() {
        for length in [100_001, 50_000_000] {
            let problem = received(&["gzip"], gzip(&vec![0; length])).err();
            assert_eq!(problem, Some(Problem::BodyTooLarge), "{length}");
        }
    }
}
