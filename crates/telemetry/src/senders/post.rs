//! Batches brought to a receiver by requests of HTTP/1.1: where it is, what each request says of itself, and whether bodies
//! are compressed.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, response::Parts};
use http_body_util::Full;
use model::resource::{telemetry::Compression, tls::UpstreamTls};

use super::Building;
use crate::receiver::{Client, Endpoint, Speaks, gzip};

/// What an exchange came to; the error is for the log.
pub(super) type Exchange = Result<(Parts, Bytes), String>;

/// The way to a receiver.
pub(super) struct Post {
    endpoint: Endpoint,
    headers: HeaderMap,
    is_compressed: bool,
    client: Client,
}

impl Post {
    /// A receiver by its settings; `headers` are those of each request, `kind` is the type of its body.
    pub(super) fn new(
        (url, tls): (&str, Option<&UpstreamTls>),
        mut headers: HeaderMap,
        kind: &'static str,
        compression: Compression,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let endpoint = Endpoint::of(url, tls, Speaks::Http1, cx.snapshot, cx.tls)
            .map_err(|wrong| format!("url: {wrong}"))?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let is_compressed = compression == Compression::Gzip;
        if is_compressed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Self { endpoint, headers, is_compressed, client: Client::default() })
    }

    /// The target that its address names itself.
    pub(super) fn itself(&self) -> Uri {
        self.endpoint.itself()
    }

    /// The target below its address.
    pub(super) fn below(&self, end: &str) -> Uri {
        self.endpoint.below(end)
    }

    /// Sends a body, and reads the answer.
    pub(super) async fn send(&mut self, method: Method, target: Uri, body: Vec<u8>) -> Exchange {
        let body = if self.is_compressed { gzip(&body) } else { Bytes::from(body) };
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (method, target);
        *request.headers_mut() = self.headers.clone();
        self.client.ask(&self.endpoint, request).await
    }

    /// Gives up a connection on which something is under way.
    pub(super) fn reset(&mut self) {
        self.client = Client::default();
    }
}
