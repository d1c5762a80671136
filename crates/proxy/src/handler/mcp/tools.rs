//! Rules of tools: who may call one, how often, with what, and whether it is still what was approved.

use std::sync::Arc;

use http::Response;
use model::resource::mcp::McpRoute;
use serde_json::{Map, Value};

use super::{
    answer,
    catalog::Tool,
    list,
    message::{Members, quoted},
    relay::Way,
    server::Server,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    expression::{Expression, Scope, ToolFacts},
    failure::{Failure, Problem, Stage},
    policy::{Flow, Policy, Verdict, facts::facts, rate_limit::RateLimit},
};

/// What a tool's limit is called, like the policy that it is.
const KEY: &str = model::policy::RateLimit::KEY;
/// Bytes of arguments that a rule may ask about.
const ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;

/// The compiled rules of a route's tools.
pub(super) struct Tools {
    rules: Vec<Rule>,
    pin_all: bool,
    only_listed: bool,
}

struct Rule {
    /// Without the `*` at its end.
    name: Box<str>,
    is_pattern: bool,
    allow: Option<Allow>,
    limit: Option<Box<RateLimit>>,
    validates: bool,
    pin: Option<Box<str>>,
}

struct Allow {
    expression: Expression,
    /// It cannot be decided before there are any.
    asks_for_arguments: bool,
}

impl Tools {
    pub(super) fn compile(settings: &McpRoute, cx: &Building<'_>) -> Result<Self, String> {
        let mut rules = Vec::with_capacity(settings.tools.len());
        for rule in &settings.tools {
            let wrong = |key: &str, error: String| format!("`tools.{}.{key}`: {error}", rule.name);
            let allow = match &rule.allow {
                Some(text) => Some(Allow {
                    expression: Expression::condition(text, Scope::Tool)
                        .map_err(|error| wrong("allow", error))?,
                    asks_for_arguments: text.contains("arguments"),
                }),
                None => None,
            };
            let limit = match &rule.rate_limit {
                Some(limit) => {
                    let owner = format!("{}/mcp/tools/{}", cx.owner, rule.name);
                    let limit = RateLimit::compile(limit, &cx.of(&owner));
                    Some(Box::new(limit.map_err(|error| wrong(KEY, error))?))
                }
                None => None,
            };
            rules.push(Rule {
                name: rule.name.trim_end_matches('*').into(),
                is_pattern: rule.name.ends_with('*'),
                allow,
                limit,
                validates: rule.validate_arguments,
                pin: rule.pin.as_deref().map(Into::into),
            });
        }
        Ok(Self { rules, pin_all: settings.pin_tools, only_listed: settings.only_listed_tools })
    }

    /// Whether a rule is about this very tool.
    pub(super) fn is_named(&self, full: &str) -> bool {
        self.rules.iter().any(|rule| !rule.is_pattern && *rule.name == *full)
    }

    fn rule(&self, full: &str) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| if rule.is_pattern { full.starts_with(&*rule.name) } else { *rule.name == *full })
    }

    /// Whether a caller is told of a tool that its server has just listed.
    pub(super) fn shows(&self, call: &Call, server: &Server, name: &str) -> bool {
        let full = format!("{}{name}", server.prefix);
        let rule = self.rule(&full);
        if self.only_listed && rule.is_none() {
            return false;
        }
        let allow = rule.and_then(|rule| rule.allow.as_ref());
        let allowed = allow.is_none_or(|allow| allow.asks_for_arguments || allow.holds(call, &full, None));
        allowed && self.withheld(server, name, &full, rule).is_none()
    }

    /// Why a tool is withheld, if it is: it is not what was approved.
    fn withheld(&self, server: &Server, name: &str, full: &str, rule: Option<&Rule>) -> Option<String> {
        let tool = server.known.catalog.tool(name)?;
        let approved: &str = match rule.and_then(|rule| rule.pin.as_deref()) {
            Some(pin) => pin,
            None if self.pin_all => &tool.first,
            None => return None,
        };
        if *tool.digest == *approved {
            return None;
        }
        if !tool.is_told.swap(true, std::sync::atomic::Ordering::Relaxed) {
            tracing::warn!(
                server = %server.name,
                tool = full,
                digest = %tool.digest,
                "tool `{full}` is withheld: it is not what was approved; to approve it, pin `{}`",
                tool.digest
            );
        }
        Some(format!("the tool `{full}` has changed and is withheld until it is approved"))
    }

    /// Whether a call must know what the server says of its tool.
    fn must_know(&self, rule: Option<&Rule>) -> bool {
        self.pin_all || rule.is_some_and(|rule| rule.validates || rule.pin.is_some())
    }

    /// Judges a call; what is refused has its answer.
    pub(super) async fn judge(
        &self,
        way: &Way<'_>,
        call: &mut Call,
        id: &str,
        name: &str,
        params: &Members<'_>,
    ) -> Result<Option<Response<Body>>, Failure> {
        let full = format!("{}{name}", way.server.prefix);
        let rule = self.rule(&full);
        if self.only_listed && rule.is_none() {
            return Ok(Some(unknown(id, &full)));
        }
        if let Some(allow) = rule.and_then(|rule| rule.allow.as_ref()) {
            let arguments = arguments(params)?;
            if !allow.holds(call, &full, Some(&arguments)) {
                let text = format!("this caller may not call `{full}`");
                return Ok(Some(answer::error(id, answer::REFUSED, &text)));
            }
        }
        if self.must_know(rule) {
            let catalog = &way.server.known.catalog;
            if catalog.has_tool(name) != Some(true) || !catalog.is_fresh() {
                list::learn_tools(way.sender, way.session, way.server).await?;
            }
            let Some(tool) = catalog.tool(name) else { return Ok(Some(unknown(id, &full))) };
            if let Some(why) = self.withheld(way.server, name, &full, rule) {
                return Ok(Some(answer::error(id, answer::REFUSED, &why)));
            }
            if rule.is_some_and(|rule| rule.validates)
                && let Some(why) = misfit(&tool, &arguments(params)?)
            {
                let text = format!("the arguments do not fit `{full}`: {why}");
                return Ok(Some(answer::error(id, answer::INVALID_PARAMS, &text)));
            }
        }
        if let Some(limit) = rule.and_then(|rule| rule.limit.as_ref()) {
            limited(limit, call).await?;
        }
        Ok(None)
    }
}

async fn limited(limit: &RateLimit, call: &mut Call) -> Result<(), Failure> {
    let mut none = Body::Empty;
    let refused = match limit.request(call, &mut none) {
        Flow::Fail(failure) => failure,
        Flow::Wait(wait) => match wait.await {
            Verdict::Fail(failure) => failure,
            _ => return Ok(()),
        },
        Flow::Continue | Flow::Answer(_) => return Ok(()),
    };
    call.record.stopped_by = Some(KEY);
    Err(refused)
}

fn unknown(id: &str, full: &str) -> Response<Body> {
    answer::error(id, answer::INVALID_PARAMS, &format!("unknown tool: {full}"))
}

/// The arguments of a call; none are an empty object.
fn arguments(params: &Members<'_>) -> Result<Map<String, Value>, Failure> {
    let refused = |hint: &str| {
        Failure::client(Stage::Policy, Problem::Invalid).with_hint(hint).with_rpc_code(answer::INVALID_PARAMS)
    };
    match params.get("arguments") {
        None | Some("null") => Ok(Map::new()),
        Some(text) if text.len() > ARGUMENTS_BYTES_MAX => Err(refused("the arguments are too large")),
        Some(text) => serde_json::from_str(text).map_err(|_| refused("`arguments` must be an object")),
    }
}

/// What is wrong with arguments, by the tool's own schema.
fn misfit(tool: &Tool, arguments: &Map<String, Value>) -> Option<String> {
    let schema = tool.schema.as_deref()?;
    let validator = tool.validator.get_or_init(|| {
        let schema: Value = serde_json::from_str(schema).ok()?;
        match jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex()).build(&schema) {
            Ok(validator) => Some(validator),
            Err(error) => {
                tracing::warn!("a tool's schema cannot be used to check arguments: {error}");
                None
            }
        }
    });
    let arguments = Value::Object(arguments.clone());
    let Some(validator) = validator.as_ref() else {
        return Some("cannot be checked: the tool's schema cannot be used".to_owned());
    };
    // The first fault alone: all of them are gathered before any is given.
    let error = validator.validate(&arguments).err()?;
    let place = error.instance_path().to_string();
    // The value itself may be a secret; the place and the rule are not.
    let rule = error.schema_path().to_string();
    Some(format!("{} breaks {}", if place.is_empty() { "the whole" } else { &place }, quoted(&rule)))
}

impl Allow {
    fn holds(&self, call: &Call, full: &str, arguments: Option<&Map<String, Value>>) -> bool {
        let mut facts = facts(call);
        facts.tool = Some(ToolFacts { name: full, arguments });
        self.expression.eval_bool(&facts)
    }
}

/// The servers that may have a tool or a prompt of this name: those with the longest prefix first.
pub(super) fn owners<'s>(servers: &'s [Arc<Server>], full: &str) -> Vec<(&'s Arc<Server>, String)> {
    let mut owners: Vec<(&Arc<Server>, String)> = servers
        .iter()
        .filter_map(|server| Some((server, full.strip_prefix(server.prefix.as_str())?.to_owned())))
        .filter(|(_, own)| !own.is_empty())
        .collect();
    owners.sort_by_key(|(server, _)| std::cmp::Reverse(server.prefix.len()));
    owners
}
