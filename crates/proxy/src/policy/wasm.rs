//! `wasm`: a WebAssembly component judges and changes requests and answers.
//!
//! What a component is and how calls go through one is in [`crate::plugins`].

use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, Response, header};

use super::{Flow, Needs, NeedsOf, Policy};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::Failure,
    plugins::{Used, Wanted},
};

/// What a client says of encodings.
type Accepted = Vec<HeaderValue>;

/// The compiled policy.
pub(crate) struct Wasm {
    used: Used,
    plain_answers: bool,
}

impl Wasm {
    pub(crate) fn compile(settings: &model::policy::Wasm, cx: &Building<'_>) -> Result<Self, String> {
        let wanted = Wanted {
            plugin: &settings.plugin,
            config: &settings.config,
            upstreams: &settings.upstreams,
            bytes_max: settings.max_body_size.get(),
        };
        let used = Used::compile(&wanted, cx)?;
        if !used.sees_requests() && !used.sees_responses() {
            return Err(format!(
                "the plugin `{}` exports neither `on-request` nor `on-response`: it is a handler, for a route's `wasm`",
                settings.plugin
            ));
        }
        if settings.plain_answers && !used.sees_responses() {
            return Err(format!("`plainAnswers`: the plugin `{}` exports no `on-response`", settings.plugin));
        }
        Ok(Self { used, plain_answers: settings.plain_answers })
    }
}

impl NeedsOf for model::policy::Wasm {
    fn needs(&self) -> Needs {
        Needs::headers(self.headers.iter().map(model::HeaderName::to_http))
    }
}

impl Policy for Wasm {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        if self.plain_answers {
            // Whoever sees the answer afterwards knows again what the client takes.
            let accepted: Accepted =
                call.head.headers.get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
            for name in [header::ACCEPT_ENCODING, header::RANGE, header::IF_RANGE] {
                call.head.headers.remove(name);
            }
            call.keep(self, accepted);
        }
        if !self.used.sees_requests() {
            return Flow::Continue;
        }
        Flow::Wait(Box::pin(self.used.on_request(call, body)))
    }

    fn waits_for_answers(&self) -> bool {
        self.used.sees_responses()
    }

    fn judge<'a>(
        &'a self,
        call: &'a mut Call,
        answer: &'a mut Response<Body>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            for value in call.take::<Self, Accepted>(self).unwrap_or_default() {
                call.head.headers.append(header::ACCEPT_ENCODING, value);
            }
            // What the gateway says itself stays as it is.
            if call.record.failure.is_some() || call.is_switched_by(answer) {
                return Ok(());
            }
            self.used.on_response(call, answer).await.inspect_err(|_| {
                call.record.stopped_by = Some("wasm");
            })
        })
    }
}
