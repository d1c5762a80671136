//! Operations of an OpenAPI document as tools.
//!
//! [`operations`] reads them out of the document, [`inputs`] what they take ([`multipart`] for forms with files, and none
//! of the fields that are [`guarded`]), [`request`] makes requests of arguments, and [`reply`] says what came back. The
//! document is read, and its schemas made such as clients of the protocol know, by [`crate::openapi`].

mod guarded;
mod inputs;
mod multipart;
mod operations;
mod reply;
mod request;

use std::{collections::HashMap, rc::Rc, sync::Arc};

use http::{HeaderName, HeaderValue, Request};
use model::resource::mcp_local::McpOpenapi as Settings;
use serde_json::{Map, Value};

use self::{guarded::Guarded, operations::Found, request::Plan};
use super::Outcome;
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::Failure,
    guard,
    handler::backends::Target,
    openapi,
    policy::{Passed, chain},
    schema::Schema,
    upstream::{Effort, tries},
    worker::Worker,
};

/// The compiled tool.
pub(super) struct Operation {
    plan: Plan,
    arguments: Schema,
    /// What a good answer is.
    output: Option<Schema>,
    target: Arc<Target>,
    /// Names a file that it answers with.
    uri: String,
    answer_bytes_max: usize,
}

/// Compiles the operations that are wanted, each with what clients are told of it. An error begins with the place.
pub(super) fn compile(
    settings: &Settings,
    headers: &[(HeaderName, HeaderValue)],
    cx: &Building<'_>,
) -> Result<Vec<(Value, Operation)>, String> {
    let upstream = cx.upstreams.get(settings.upstream.as_str());
    let upstream = upstream.ok_or_else(|| format!("upstream: no upstream `{}`", settings.upstream))?.clone();
    let effort = Effort::new(
        &upstream.settings.timeouts,
        &upstream.settings.retry,
        upstream.settings.hedging.as_ref(),
    );
    let target = Arc::new(Target { upstream, effort, weight: 1 });
    let file = settings.file.to_string();
    let wrong = |error: String| format!("file: `{file}`: {error}");
    let document = openapi::read(&settings.file, &[], cx.snapshot).map_err(wrong)?;
    let all = operations::all(&document).map_err(wrong)?;
    let base = match &settings.base_path {
        Some(base) => base.trim_end_matches('/').to_owned(),
        None => openapi::base(&document.root).map_err(wrong)?,
    };
    let chosen = choose(settings, all)?;
    let guarded = Guarded::of(cx.snapshot, headers);
    let mut names: HashMap<String, String> = HashMap::new();
    let mut tools = Vec::with_capacity(chosen.len());
    for found in chosen {
        let name = found.tool_name(&settings.names);
        let label = found.label();
        if let Some(other) = names.insert(name.clone(), label.clone()) {
            return Err(format!(
                "names: `{other}` and `{label}` would both be the tool `{name}`; give one of them another name here"
            ));
        }
        let made = found.tool(&document, &name, &base, headers, &guarded).map_err(|error| {
            wrong(format!("{label}: {error}; leave it out with `exclude` if it is not needed"))
        })?;
        let answer_bytes_max = usize::try_from(settings.max_answer_size.bytes()).unwrap_or(usize::MAX);
        let operation = Operation {
            plan: made.plan,
            arguments: made.arguments,
            output: made.output,
            target: target.clone(),
            uri: format!("tidegate://{}/{name}", settings.upstream),
            answer_bytes_max,
        };
        tools.push((made.told, operation));
    }
    Ok(tools)
}

/// The tools that a document becomes, by name; those that none can be made of are left out.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::handler::mcp) fn tools_of(document: &openapi::schema::Document) -> Vec<(String, Value)> {
    let all = operations::all(document).unwrap_or_default();
    let base = openapi::base(&document.root).unwrap_or_default();
    let made = all.iter().filter_map(|found| {
        let name = found.tool_name(&Default::default());
        let made = found.tool(document, &name, &base, &[], &Guarded::default()).ok()?;
        Some((name, made.told))
    });
    made.collect()
}

/// The operations that are wanted. A rule that fits none is a mistake.
fn choose(settings: &Settings, all: Vec<Found>) -> Result<Vec<Found>, String> {
    for (key, rules) in [("include", &settings.include), ("exclude", &settings.exclude)] {
        for (index, rule) in rules.iter().enumerate() {
            if !all.iter().any(|found| found.fits(rule)) {
                let some: Vec<String> = all.iter().take(8).map(Found::label).collect();
                return Err(format!(
                    "{key}[{index}]: the document has no such operation; it has {}{}",
                    some.join(", "),
                    if all.len() > some.len() { ", …" } else { "" }
                ));
            }
        }
    }
    for operation in settings.names.keys() {
        if !all.iter().any(|found| found.is(operation)) {
            return Err(format!("names.{operation}: the document has no such operation"));
        }
    }
    let wanted = |found: &Found| {
        (settings.include.is_empty() || settings.include.iter().any(|rule| found.fits(rule)))
            && !settings.exclude.iter().any(|rule| found.fits(rule))
    };
    let chosen: Vec<Found> = all.into_iter().filter(wanted).collect();
    match chosen.is_empty() {
        true => Err("file: no operation of the document is left".to_owned()),
        false => Ok(chosen),
    }
}

impl Operation {
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
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let ready = match self.plan.request(&arguments) {
            Ok(ready) => ready,
            Err(why) => return Ok(Outcome::error(why)),
        };
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.plan.method.clone();
        head.uri = ready.uri;
        head.headers = ready.headers;
        head.headers.insert(guard::X_REQUEST_ID, call.record.request_id.clone());
        let mut own = call.errand(head);
        // What the upstream's policies find out about whoever calls has no consequences on the route.
        own.route = None;
        own.listener = crate::call::NO_LISTENER;
        own.claims = call.claims.clone();
        own.token = call.token.clone();
        own.record.upstream = Some(self.target.upstream.name.clone());
        let host = self.target.upstream.settings.host_header.as_str();
        own.host_from_endpoint = matches!(host, "upstream" | "preserve");
        if let (false, Ok(host)) = (own.host_from_endpoint, HeaderValue::from_str(host)) {
            own.head.headers.insert(http::header::HOST, host);
        }
        let mut body = if ready.body.is_empty() { Body::Empty } else { Body::Full(ready.body) };
        let done = async {
            let sent = chain::upstream_request(&self.target.upstream.chain, &mut own, &mut body).await?;
            let mut response = match sent {
                Passed::Answered(response) => *response,
                Passed::Through | Passed::Around => {
                    let body = std::mem::take(&mut body);
                    tries::forward(worker, &mut own, &self.target, &tries::Wish::default(), body).await?
                }
            };
            chain::judged(&mut own, &mut response).await?;
            reply::read(response, self.output.as_ref(), &self.uri, self.answer_bytes_max).await
        };
        let done = Box::pin(done).await;
        let record = &mut call.record;
        record.upstream = own.record.upstream.take();
        record.endpoint = own.record.endpoint.take();
        record.attempts = record.attempts.saturating_add(own.record.attempts);
        record.hedges = own.record.hedges;
        record.hedge_won = own.record.hedge_won;
        record.failed_tries = std::mem::take(&mut own.record.failed_tries);
        let later = own.started.saturating_duration_since(call.started);
        call.trail.adopt(std::mem::take(&mut own.trail), later);
        done
    }
}
