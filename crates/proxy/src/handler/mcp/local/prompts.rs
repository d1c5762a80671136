//! A prompt's route as a tool: the call goes through the policies and the handler of that route.
//!
//! Who calls was found out by the `mcp` route, and is not asked again; whatever else the prompt's route judges, limits or
//! counts it does for a tool as for a request.

use std::rc::Rc;

use http::{HeaderValue, Method, Request, header};
use model::resource::route::Handler as Settings;
use serde_json::{Map, Value};

use super::{Outcome, receipt};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    handler::{
        self,
        ai::gathered::{Ungathered, gather},
    },
    policy::{Passed, chain},
    worker::Worker,
};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The compiled tool.
pub(super) struct PromptTool {
    /// The place of its route in the snapshot.
    route: usize,
}

impl PromptTool {
    /// Compiles it, and says what clients are told of it.
    pub(super) fn compile(name: &str, cx: &Building<'_>) -> Result<(Value, Self), String> {
        let routes = &cx.snapshot.config.routes;
        let place = routes.iter().position(|route| route.name == *name);
        match place.and_then(|place| Some((place, &routes.get(place)?.handler))) {
            Some((route, Settings::Prompt(prompt))) => {
                let mut told = prompt.tool(name);
                told["annotations"] = serde_json::json!({"readOnlyHint": true, "openWorldHint": true});
                Ok((told, Self { route }))
            }
            _ => Err(format!("no route `{name}` has `prompt`")),
        }
    }

    pub(super) async fn call(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        arguments: Map<String, Value>,
    ) -> Result<Outcome, Failure> {
        let plan = call.plan.clone();
        let lost =
            || Failure::gateway(Stage::Pick, Problem::Internal).with_detail("the prompt's route is gone");
        let route = plan.routes.get(self.route).ok_or_else(lost)?;
        let text = Value::Object(arguments).to_string();
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::POST;
        head.uri = http::Uri::from_static("/.tidegate/tool");
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        head.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        head.headers.insert(crate::guard::X_REQUEST_ID, call.record.request_id.clone());
        let mut own = call.errand(head);
        own.route = Some(self.route);
        own.record.route = Some(route.name.clone());
        own.record.consumer = call.record.consumer.clone();
        own.claims = call.claims.clone();
        own.token = call.token.clone();
        own.shown_key = call.shown_key;
        own.ai = std::mem::take(&mut call.ai);
        let mut body = Body::Full(text.into());
        let asked = async {
            let mut response = match chain::within(&route.chain, &mut own, &mut body).await? {
                Passed::Answered(response) => *response,
                Passed::Through | Passed::Around => {
                    handler::handle(worker, &mut own, &route.handler, body).await?
                }
            };
            chain::within_response(&route.chain, &mut own, &mut response).await?;
            let status = response.status();
            let text = gather(response.into_body(), ANSWER_BYTES_MAX).await.map_err(|why| match why {
                Ungathered::TooLarge => {
                    Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, "the answer is too large")
                }
                Ungathered::Failed(failure) => failure,
            })?;
            Ok((status, text))
        };
        let done = Box::pin(asked).await;
        call.record.ai = own.record.ai.take();
        call.record.prompt_version = own.record.prompt_version.take();
        call.record.stopped_by = own.record.stopped_by.or(call.record.stopped_by);
        call.record.upstream = own.record.upstream.take();
        call.record.endpoint = own.record.endpoint.take();
        call.record.attempts = call.record.attempts.saturating_add(own.record.attempts);
        call.record.failed_tries = std::mem::take(&mut own.record.failed_tries);
        let later = own.started.saturating_duration_since(call.started);
        call.trail.adopt(std::mem::take(&mut own.trail), later);
        call.answer_headers.extend(std::mem::take(&mut own.answer_headers));
        let (status, text) = done?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut outcome = match (status.is_success(), serde_json::from_str::<Value>(&text)) {
            (true, Ok(value @ Value::Object(_))) => {
                // Clients that know no typed results read the text.
                let plain = value
                    .as_object()
                    .filter(|answer| answer.len() == 1)
                    .and_then(|answer| answer.get("text").and_then(Value::as_str).map(str::to_owned));
                let mut outcome = Outcome::text(plain.unwrap_or(text));
                outcome.structured = Some(value);
                outcome
            }
            (true, _) => Outcome::text(text),
            (false, _) => Outcome::error(format!("{status}: {text}")),
        };
        outcome.receipt = call.record.ai.as_deref().map(receipt::of);
        Ok(outcome)
    }
}
