//! What components ask of the world outside: requests to upstreams of the configuration.

use bytes::Bytes;
use http::{HeaderValue, header};
use wasm::{Answer, Fetch, Outside, Subject};

use crate::{
    call::Call,
    handler::ai::gathered::{Ungathered, gather},
    policy::errand,
};

/// The world outside, for a component that serves a call.
pub(super) struct World<'c> {
    call: &'c mut Call,
    /// What the call names as its host, while its head is with the component.
    host: Option<HeaderValue>,
    bytes_max: usize,
}

impl<'c> World<'c> {
    pub(super) fn new(call: &'c mut Call, subject: &Subject, bytes_max: usize) -> Self {
        Self { call, host: subject.request.headers.get(header::HOST).cloned(), bytes_max }
    }
}

impl Outside for World<'_> {
    async fn fetch(&mut self, fetch: Fetch) -> Result<Answer, String> {
        let Fetch { upstream, method, target, headers, body } = fetch;
        if let Some(host) = self.host.take() {
            self.call.head.headers.insert(header::HOST, host);
        }
        let asking = errand::Asking { method, target, headers, body };
        let answer = Box::pin(errand::ask(self.call, &upstream, asking)).await;
        let answer =
            answer.inspect_err(|error| tracing::debug!(%upstream, error, "a component got no answer"))?;
        let (head, body) = answer.into_parts();
        let body: Bytes = gather(body, self.bytes_max).await.map_err(|why| match why {
            Ungathered::TooLarge => format!("the answer has more than {} bytes", self.bytes_max),
            Ungathered::Failed(failure) => failure.to_string(),
        })?;
        Ok(Answer::of(head.status, &head.headers, &body))
    }
}
