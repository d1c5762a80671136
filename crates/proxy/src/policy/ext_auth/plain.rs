//! The question over HTTP: a request of its own, in whose head stands what the client asked for.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::BodyExt;

use super::{ExtAuth, REFUSAL_BYTES_MAX, Said};
use crate::{body::Body, call::Call};

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const TARGET: HeaderName = HeaderName::from_static("x-forwarded-uri");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const SCHEME: HeaderName = HeaderName::from_static("x-forwarded-proto");
const CLIENT: HeaderName = HeaderName::from_static("x-forwarded-for");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl ExtAuth {
    pub(super) async fn ask_plainly(&self, call: &Call, shown: Bytes) -> Result<Said, String> {
        let mut headers = Self::named(&call.head.headers, &self.shown);
        let text = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        let target = call.head.uri.path_and_query().map_or("/", |target| target.as_str());
        headers.insert(METHOD, text(call.head.method.as_str())?);
        headers.insert(TARGET, text(target)?);
        if let Some(host) = call.head.headers.get(header::HOST) {
            headers.insert(HOST, host.clone());
        }
        headers.insert(SCHEME, HeaderValue::from_static(call.scheme()));
        headers.insert(CLIENT, text(&call.client.to_string())?);
        headers.insert(REQUEST_ID, call.record.request_id.clone());
        if !shown.is_empty()
            && let Some(kind) = call.head.headers.get(header::CONTENT_TYPE)
        {
            headers.insert(header::CONTENT_TYPE, kind.clone());
        }
        let answer = self.send(call, self.method.clone(), self.target.clone(), headers, shown).await?;
        let (head, mut body) = answer.into_parts();
        if head.status.is_success() {
            read_out(body, self.timeout);
            return Ok(Said::Allowed {
                headers: self.for_upstream(&head.headers),
                removed: Vec::new(),
                answer: Self::named(&head.headers, &self.to_client),
            });
        }
        if head.status.is_server_error() || head.status.as_u16() < 300 {
            read_out(body, self.timeout);
            return Err(format!("it answered {}", head.status));
        }
        let body = gathered(&mut body).await.unwrap_or_default();
        Ok(Said::Refused {
            status: head.status,
            headers: Self::named(&head.headers, &self.with_refusal),
            body,
        })
    }

    /// What upstreams and the search for the consumer need of a good answer.
    pub(super) fn for_upstream(&self, headers: &HeaderMap) -> HeaderMap {
        let mut found = Self::named(headers, &self.to_upstream);
        if let Some(name) = &self.consumer_header
            && let Some(value) = headers.get(name)
        {
            found.insert(name, value.clone());
        }
        found
    }
}

/// How long a body that nobody wants is waited for, at most: each that does not end holds a connection, and a place at the service.
const UNWANTED_MAX: Duration = Duration::from_secs(1);

/// Reads a body that nobody wants to its end, for a connection on which a part of one is left cannot be asked on again. What has
/// come already is read here; the rest, for so long, beside the call, which does not wait for it.
fn read_out(mut body: Body, patience: Duration) {
    if gathered(&mut body).now_or_never().is_none() {
        tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout(patience.min(UNWANTED_MAX), gathered(&mut body)).await;
        });
    }
}

/// A refusal's body; none where it is too large or breaks off.
async fn gathered(body: &mut Body) -> Option<Bytes> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if all.len() + data.len() > REFUSAL_BYTES_MAX {
            return None;
        }
        all.extend_from_slice(&data);
    }
    Some(all.freeze())
}
