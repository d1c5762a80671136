//! `requestLimits`: bounds the size of requests.
//!
//! A body that announces too much is refused before anything is forwarded; one that does not announce its size is
//! counted as it flows, and ends with the same refusal where it crosses the bound.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Flow, Needs, NeedsOf, Policy};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
};

/// The compiled policy.
pub(crate) struct RequestLimits {
    body: Option<u64>,
    header_bytes: Option<u64>,
    headers: Option<usize>,
    uri: Option<u64>,
    parameters: Option<usize>,
}

impl RequestLimits {
    pub(crate) fn compile(settings: &model::policy::RequestLimits, _: &Building<'_>) -> Result<Self, String> {
        Ok(Self {
            body: settings.max_body_size.map(model::Size::bytes),
            header_bytes: settings.max_header_size.map(model::Size::bytes),
            headers: settings.max_headers,
            uri: settings.max_uri_size.map(model::Size::bytes),
            parameters: settings.max_query_parameters,
        })
    }

    fn judge(&self, call: &Call, body: &Body) -> Result<(), Failure> {
        let uri = &call.head.uri;
        let target = uri.path_and_query().map_or(0, |target| target.as_str().len() as u64);
        if self.uri.is_some_and(|most| target > most) {
            return Err(Failure::refused(Problem::UriTooLong));
        }
        let parameters =
            uri.query().map_or(0, |query| query.split('&').filter(|part| !part.is_empty()).count());
        if self.parameters.is_some_and(|most| parameters > most) {
            return Err(Failure::refused(Problem::UriTooLong).with_hint("the target has too many parameters"));
        }
        if self.headers.is_some_and(|most| call.received.fields > most) {
            return Err(Failure::refused(Problem::HeadTooLarge).with_hint("there are too many header fields"));
        }
        if self.header_bytes.is_some_and(|most| call.received.field_bytes > most) {
            return Err(Failure::refused(Problem::HeadTooLarge));
        }
        match self.body {
            Some(most) if announced(&call.head.headers, body).is_some_and(|length| length > most) => {
                Err(too_large())
            }
            _ => Ok(()),
        }
    }
}

/// The length that is known beforehand, from the framing or, for HTTP/2, from what the client says.
fn announced(headers: &HeaderMap, body: &Body) -> Option<u64> {
    body.length().or_else(|| headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok())
}

fn too_large() -> Failure {
    Failure::client(Stage::Policy, Problem::BodyTooLarge)
}

impl NeedsOf for model::policy::RequestLimits {
    fn needs(&self) -> Needs {
        Needs { head_size: self.bounds_heads(), ..Needs::default() }
    }
}

impl Policy for RequestLimits {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        if let Err(failure) = self.judge(call, body) {
            return Flow::Fail(failure);
        }
        if let Some(most) = self.body
            && body.length().is_none()
        {
            *body = Body::boxed(Counted { inner: std::mem::take(body), left: most });
        }
        Flow::Continue
    }
}

/// A body that breaks off where it crosses its bound.
struct Counted {
    inner: Body,
    left: u64,
}

impl Wrapper for Counted {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match this.left.checked_sub(data.len() as u64) {
                Some(left) => this.left = left,
                None => {
                    this.inner = Body::Empty;
                    return Poll::Ready(Some(Err(too_large())));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::policy::testing::{building, call, pieces, with_header};

    fn compile(settings: serde_json::Value) -> RequestLimits {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| RequestLimits::compile(&settings, cx)).expect("compiles")
    }

    fn judge(settings: serde_json::Value, call: &Call) -> Option<Problem> {
        compile(settings).judge(call, &Body::Empty).err().map(|failure| failure.problem())
    }

    #[test]
    fn heads_are_bounded_in_every_way() {
        let call = with_header(with_header(call("GET", "/abc?a=1&b=2&&c"), "x-a", "1234"), "x-a", "5");
        for (settings, want) in [
            (serde_json::json!({}), None),
            (serde_json::json!({"maxUriSize": 15}), None),
            (serde_json::json!({"maxUriSize": 14}), Some(Problem::UriTooLong)),
            (serde_json::json!({"maxQueryParameters": 3}), None),
            (serde_json::json!({"maxQueryParameters": 2}), Some(Problem::UriTooLong)),
            (serde_json::json!({"maxHeaders": 3}), None),
            (serde_json::json!({"maxHeaders": 2}), Some(Problem::HeadTooLarge)),
            (serde_json::json!({"maxHeaderSize": 43}), None),
            (serde_json::json!({"maxHeaderSize": 42}), Some(Problem::HeadTooLarge)),
        ] {
            assert_eq!(judge(settings.clone(), &call), want, "{settings}");
        }
    }

    #[test]
    fn a_body_that_announces_too_much_is_refused_before_it_is_read() {
        let policy = compile(serde_json::json!({"maxBodySize": 5}));
        for (length, want) in [(5, None), (6, Some(Problem::BodyTooLarge))] {
            let mut call = call("POST", "/");
            let mut body = Body::Full(Bytes::from(vec![b'x'; length]));
            let got = match policy.request(&mut call, &mut body) {
                Flow::Fail(failure) => Some(failure.problem()),
                _ => None,
            };
            assert_eq!(got, want, "{length}");
        }
        let call = with_header(call("POST", "/"), "content-length", "6");
        let refused = policy.judge(&call, &pieces(&["x"])).err().map(|failure| failure.problem());
        assert_eq!(refused, Some(Problem::BodyTooLarge));
    }

    #[test]
    fn a_streamed_body_is_refused_where_it_crosses_the_bound() {
        for (sent, want) in [(&["ab", "cde"][..], Ok(5)), (&["ab", "cde", "f"], Err(Problem::BodyTooLarge))] {
            let policy = compile(serde_json::json!({"maxBodySize": 5}));
            let (mut call, mut body) = (call("POST", "/"), pieces(sent));
            assert!(matches!(policy.request(&mut call, &mut body), Flow::Continue));
            let mut cx = Context::from_waker(Waker::noop());
            let mut through = Ok(0);
            while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
                through = match frame {
                    Ok(frame) => through.map(|sum| sum + frame.data_ref().map_or(0, Bytes::len)),
                    Err(failure) => Err(failure.problem()),
                };
            }
            assert_eq!(through, want);
        }
    }
}
