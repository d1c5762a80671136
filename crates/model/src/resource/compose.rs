//! `compose`: one answer made of several calls.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compose_path::{ComposeLeaf, ComposePath, ComposeRoot, ComposeText};
use crate::{Duration, HeaderName, Size};

/// One answer made of several calls, each to an upstream of its own: those that need nothing of each other at once, the
/// others as soon as what they need is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compose {
    /// The calls by their names, which expressions use: `$.order.id` is the `id` in the answer of `order`.
    pub calls: BTreeMap<String, ComposeCall>,
    /// The answer: any JSON, in which a text that begins with `$` is an expression (`$.order.items[*].sku`), a text
    /// with `{{ … }}` a template, and anything else itself. Without it and without `jq`: all results by their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Value>,
    /// The answer as a jq program over all results by their names, in place of `response`; `$request` is the client's
    /// request and `$degraded` the list of calls that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jq: Option<String>,
    /// The status of the answer.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 299))]
    pub status: u16,
    /// Time for all calls together. What is optional and has not come by then is left out; for the rest it is a 504.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// Bytes of all answers of calls together, and of the answer.
    #[serde(default = "max_size")]
    pub max_size: Size,
    /// Bytes of the client's body, where `$request.body` is used.
    #[serde(default = "max_call_size")]
    pub max_request_size: Size,
    /// Steps of `jq`.
    #[serde(default = "max_steps")]
    #[schemars(range(min = 1, max = 10000000))]
    pub max_steps: u32,
    /// Header fields of the client's that go to every call; `*` for all that are not about the client's own connection
    /// and body. The trace context, the request id, `x-forwarded-*` and what policies say who the caller is with go
    /// anyway.
    #[serde(default = "forward_headers")]
    pub forward_headers: Vec<String>,
    /// Tell clients in `Server-Timing` how long each call took.
    #[serde(default)]
    pub server_timing: bool,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComposeCall {
    /// Where it goes: a name of `upstreams`, whose balancing, retries, breaker and policies hold for it.
    pub upstream: String,
    /// Path and query: `/v1/orders/{id}?lang={{ request.query.lang }}&for={{ $.customer.id }}`. `{id}` is a capture of
    /// the route. A value is always one segment or one parameter, whatever is in it; a parameter without its value is
    /// left out, and a path without it is not asked for.
    pub path: String,
    /// Its method.
    #[serde(default = "get")]
    #[schemars(extend("format" = "method"))]
    pub method: String,
    /// Header fields, as templates; one without its value is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<HeaderName, String>,
    /// Header fields of the client's that go with it, in place of those of all calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_headers: Option<Vec<String>>,
    /// Its body: any JSON with expressions and templates, as in `response`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Its failure leaves `null`, and names it in `degraded`; else it fails the whole answer.
    #[serde(default)]
    pub optional: bool,
    /// Time for it, retries and the answer's body included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Make it once for each item of a list. Its result is the list of answers, in the list's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// Calls that must have ended well before it begins, beside those that its expressions name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Statuses of its answer that the client gets as they came, with their body, in place of a problem document: such
    /// as 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("items" = {"type": "integer", "minimum": 300, "maximum": 599}))]
    pub pass_on: Vec<u16>,
    /// Bytes of one answer.
    #[serde(default = "max_call_size")]
    pub max_size: Size,
}

/// A list that a call is made for each item of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForEach {
    /// The list, as an expression. The item is `$item`, its place `$index`.
    #[serde(rename = "in")]
    pub list: String,
    /// Most items: a longer list fails the call.
    #[serde(default = "max_items")]
    #[schemars(range(min = 1, max = 1000))]
    pub max: usize,
    /// Most of them at once.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: usize,
}

fn ok() -> u16 {
    200
}

fn timeout() -> Duration {
    Duration::from_secs(15)
}

fn max_size() -> Size {
    Size::mib(8)
}

fn max_call_size() -> Size {
    Size::mib(1)
}

fn max_steps() -> u32 {
    100_000
}

fn forward_headers() -> Vec<String> {
    vec!["accept-language".to_owned()]
}

fn get() -> String {
    "GET".to_owned()
}

fn max_items() -> usize {
    100
}

fn concurrency() -> usize {
    8
}

impl Compose {
    /// Every expression of the answer.
    pub fn answer_paths(&self) -> Vec<ComposePath> {
        let mut paths = Vec::new();
        if let Some(response) = &self.response {
            leaves(response, &mut paths);
        }
        paths
    }
}

impl ComposeCall {
    /// Every expression in it. What cannot be read is left out, and told by the rules.
    pub fn paths(&self) -> Vec<ComposePath> {
        let mut paths = Vec::new();
        let texts = self.headers.values().map(|text| (text, false)).chain([(&self.path, true)]);
        for text in texts.filter_map(|(text, is_path)| ComposeText::parse(text, is_path).ok()) {
            paths.extend(text.paths().cloned());
        }
        if let Some(list) = &self.for_each {
            paths.extend(list.list.parse::<ComposePath>());
        }
        if let Some(body) = &self.body {
            leaves(body, &mut paths);
        }
        paths
    }

    /// Names of the calls that must have ended before it begins.
    pub fn needs(&self) -> BTreeSet<String> {
        let of_paths = self.paths().into_iter().filter_map(|path| match path.root {
            ComposeRoot::Call(name) => Some(name),
            _ => None,
        });
        of_paths.chain(self.after.iter().cloned()).collect()
    }
}

fn leaves(value: &Value, paths: &mut Vec<ComposePath>) {
    match value {
        Value::String(text) => match ComposeLeaf::parse(text) {
            Ok(ComposeLeaf::Path(path)) => paths.push(path),
            Ok(ComposeLeaf::Text(text)) => paths.extend(text.paths().cloned()),
            Err(_) => {}
        },
        Value::Array(items) => items.iter().for_each(|item| leaves(item, paths)),
        Value::Object(members) => members.values().for_each(|member| leaves(member, paths)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
