//! Tools of the gateway's own: a server of the protocol within the process.
//!
//! To everything around it such a server is like any other: it is asked by messages, and answers them. What its tools
//! do is done by [`openapi`] (a call of an API), [`prompts`] (a route of its own) and [`models`].

mod models;
mod openapi;
mod prompts;
mod receipt;

use std::{collections::HashMap, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use model::resource::mcp::McpServer as Settings;
use serde_json::{Map, Value, json};

use self::{models::ModelTool, openapi::Operation, prompts::PromptTool};
use super::{
    answer,
    message::{self, Kind, Message, quoted},
    revision::Revision,
    session::Leg,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    worker::Worker,
};

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use self::openapi::tools_of;

/// Tools of one server.
const TOOLS_MAX: usize = 4096;

/// The compiled server.
pub(super) struct Local {
    name: Arc<str>,
    tools: HashMap<Box<str>, Act>,
    /// The result of `tools/list`.
    list: String,
}

/// What a tool does.
enum Act {
    Api(Box<Operation>),
    Prompt(PromptTool),
    Model(Box<ModelTool>),
}

/// What a tool has done.
pub(super) struct Outcome {
    content: Vec<Value>,
    structured: Option<Value>,
    is_error: bool,
    /// What it cost.
    receipt: Option<Value>,
}

impl Outcome {
    fn text(text: impl Into<String>) -> Self {
        let content = vec![json!({"type": "text", "text": text.into()})];
        Self { content, structured: None, is_error: false, receipt: None }
    }

    /// What went wrong, for the model that called.
    fn error(text: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::text(text) }
    }

    fn result(self, is_modern: bool) -> Value {
        let mut result = json!({"content": self.content});
        if let Some(structured) = self.structured {
            result["structuredContent"] = structured;
        }
        if self.is_error {
            result["isError"] = true.into();
        }
        if let Some(receipt) = self.receipt {
            result["_meta"] = json!({"tidegate/receipt": receipt});
        }
        if is_modern {
            result["resultType"] = "complete".into();
        }
        result
    }
}

impl Local {
    /// Compiles the tools of a server; none when it is one to connect to. An error begins with the place in it.
    pub(super) fn compile(
        settings: &Settings,
        headers: &[(HeaderName, HeaderValue)],
        cx: &Building<'_>,
    ) -> Result<Option<Self>, String> {
        if !settings.is_local() {
            return Ok(None);
        }
        let mut all: Vec<(Value, Act)> = Vec::new();
        if let Some(openapi) = &settings.openapi {
            let tools = openapi::compile(openapi, headers, cx).map_err(|error| format!("openapi.{error}"))?;
            all.extend(tools.into_iter().map(|(told, operation)| (told, Act::Api(Box::new(operation)))));
        }
        for name in &settings.prompts {
            let (told, tool) = PromptTool::compile(name, cx).map_err(|error| format!("prompts: {error}"))?;
            all.push((told, Act::Prompt(tool)));
        }
        for model in &settings.models {
            let (told, tool) =
                ModelTool::compile(model, cx).map_err(|error| format!("models.{}: {error}", model.name))?;
            all.push((told, Act::Model(Box::new(tool))));
        }
        if all.len() > TOOLS_MAX {
            return Err(format!("{} tools are too many: at most {TOOLS_MAX} are served", all.len()));
        }
        let told: Vec<&Value> = all.iter().map(|(told, _)| told).collect();
        let list = json!({"tools": told}).to_string();
        let named = |(told, act): (Value, Act)| (told["name"].as_str().unwrap_or_default().into(), act);
        Ok(Some(Self {
            name: settings.name.as_str().into(),
            tools: all.into_iter().map(named).collect(),
            list,
        }))
    }

    /// All that is told of the tools.
    pub(super) fn list(&self) -> &str {
        &self.list
    }

    /// Answers what was sent to the server.
    pub(super) async fn answer(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        leg: Option<&Leg>,
        method: &Method,
        body: &Bytes,
    ) -> Result<Response<Body>, Failure> {
        match *method {
            Method::POST => {}
            // There is no session, and nothing to say unasked.
            Method::DELETE => return Ok(answer::accepted()),
            _ => return Ok(answer::json(StatusCode::METHOD_NOT_ALLOWED, "")),
        }
        let message = std::str::from_utf8(body).ok().and_then(|text| Message::parse(text).ok());
        let Some(message) = message else {
            return Ok(answer::error("null", answer::INVALID_REQUEST, "this is no message"));
        };
        let id = match (message.kind, message.id()) {
            (Kind::Request, Some(id)) => id,
            _ => return Ok(answer::accepted()),
        };
        let result = match message.method.as_str() {
            "initialize" => self.hello(&message.params().text("protocolVersion").unwrap_or_default()),
            "server/discover" => format!(
                "{{\"supportedVersions\":[{}],\"capabilities\":{{\"tools\":{{}}}},\"resultType\":\"complete\"}}",
                quoted(Revision::V2026_07_28.as_str())
            ),
            "ping" => "{}".to_owned(),
            "tools/list" => self.list.clone(),
            "tools/call" => {
                let is_modern = leg.is_some_and(|leg| !leg.revision.has_sessions());
                return self.call(worker, call, id, &message, is_modern).await;
            }
            other => {
                let text = format!("Method not found: {other}");
                return Ok(answer::error(id, answer::METHOD_NOT_FOUND, &text));
            }
        };
        Ok(answer::result(id, &result))
    }

    fn hello(&self, revision: &str) -> String {
        format!(
            "{{\"protocolVersion\":{},\"capabilities\":{{\"tools\":{{}}}},\"serverInfo\":{{\"name\":{},\"version\":\"{}\"}}}}",
            quoted(revision),
            quoted(&self.name),
            env!("CARGO_PKG_VERSION")
        )
    }

    async fn call(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        id: &str,
        message: &Message<'_>,
        is_modern: bool,
    ) -> Result<Response<Body>, Failure> {
        let params = message.params();
        let name = params.text("name").unwrap_or_default();
        let Some(act) = self.tools.get(name.as_str()) else {
            return Ok(answer::error(id, answer::INVALID_PARAMS, &format!("unknown tool: {name}")));
        };
        let arguments = match params.get("arguments") {
            None | Some("null") => Some(Map::new()),
            Some(text) => serde_json::from_str(text).ok(),
        };
        let Some(arguments) = arguments else {
            return Ok(answer::error(id, answer::INVALID_PARAMS, "`arguments` must be an object"));
        };
        let done = match act {
            Act::Api(operation) => operation.call(worker, call, arguments).await,
            Act::Prompt(prompt) => prompt.call(worker, call, arguments).await,
            Act::Model(model) => model.call(worker, call, arguments).await,
        };
        let outcome = match done {
            Ok(outcome) => outcome,
            Err(failure) => told(call, failure)?,
        };
        let result = outcome.result(is_modern).to_string();
        Ok(answer::json(StatusCode::OK, message::result(id, &result)))
    }
}

/// A failure as the model is told it, which may do better next time. What limits or forbids is the client's business,
/// and stays a failure.
fn told(call: &mut Call, failure: Failure) -> Result<Outcome, Failure> {
    match failure.problem() {
        Problem::RateLimited
        | Problem::ConcurrencyLimited
        | Problem::Forbidden
        | Problem::Unauthenticated
        | Problem::ClientLeft => Err(failure),
        problem => {
            call.record_failure(&failure);
            Ok(Outcome::error(failure.hint().unwrap_or(problem.title())))
        }
    }
}
