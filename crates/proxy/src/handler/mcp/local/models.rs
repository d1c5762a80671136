//! A model as a tool: one question, one answer, by the same way as on `ai` routes.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use model::resource::mcp_local::McpModel as Settings;
use serde_json::{Map, Value, json};

use super::{Outcome, receipt};
use crate::{
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::{ai::AiGateway, posing::Posing, prompt::reply},
    schema::Schema,
    worker::Worker,
};

/// Where conversations are had.
const PATH: &str = "/v1/chat/completions";

/// The compiled tool.
pub(super) struct ModelTool {
    gateway: AiGateway,
    model: String,
    system: Option<String>,
    max_tokens: Option<u64>,
    arguments: Schema,
}

impl ModelTool {
    /// Compiles it, and says what clients are told of it.
    pub(super) fn compile(settings: &Settings, cx: &Building<'_>) -> Result<(Value, Self), String> {
        let gateway = AiGateway::for_prompt(&settings.model, false, cx)?;
        let mut schema = json!({
            "type": "object",
            "required": ["prompt"],
            "additionalProperties": false,
            "properties": {"prompt": {"type": "string", "minLength": 1, "description": "What is asked."}},
        });
        if settings.system.is_none() {
            schema["properties"]["system"] =
                json!({"type": "string", "description": "Standing instructions for the answer."});
        }
        let told = json!({
            "name": settings.name,
            "description": settings.description,
            "inputSchema": schema,
            "annotations": {"readOnlyHint": true, "openWorldHint": true},
        });
        let tool = Self {
            gateway,
            model: settings.model.clone(),
            system: settings.system.clone(),
            max_tokens: settings.max_tokens,
            arguments: Schema::compile(&schema)?,
        };
        Ok((told, tool))
    }

    pub(super) async fn call(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        arguments: Map<String, Value>,
    ) -> Result<Outcome, Failure> {
        let arguments = Value::Object(arguments);
        let faults = self.arguments.faults(&arguments);
        if !faults.is_empty() {
            return Ok(Outcome::error(faults.join("; ")));
        }
        if let Some(consumer) = &call.consumer
            && !consumer.may_use(&self.model)
        {
            return Err(Failure::refused(Problem::Forbidden)
                .with_hint(format!("the key that was shown is not for the model `{}`", self.model)));
        }
        let mut messages = Vec::with_capacity(2);
        if let Some(system) = self.system.as_deref().or_else(|| arguments["system"].as_str()) {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": arguments["prompt"]}));
        let mut request = json!({"model": self.model, "messages": messages});
        if let Some(most) = self.max_tokens {
            request["max_completion_tokens"] = most.into();
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(crate::guard::X_REQUEST_ID, call.record.request_id.clone());
        let posing = Posing::new(call, Method::POST, http::Uri::from_static(PATH), headers);
        let response = self.gateway.converse(worker, posing.call, Bytes::from(request.to_string())).await?;
        let said = reply::said(reply::good(response).await?).await?;
        drop(posing);
        let mut outcome = match (said.text.is_empty(), &said.refusal) {
            (true, Some(refusal)) => Outcome::error(format!("the model declined: {refusal}")),
            (true, None) if said.finish != "stop" => {
                Outcome::error(format!("the model said nothing: it ended with `{}`", said.finish))
            }
            _ => Outcome::text(said.text),
        };
        outcome.receipt = call.record.ai.as_deref().map(receipt::of);
        Ok(outcome)
    }
}
