//! Rules of tools: who may call one, how often, with what, and whether it is still what was approved.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Response;
use model::resource::mcp::McpRoute;
use serde_json::{Map, Value};

use super::{
    allow::{Allow, lookalike, unfit},
    answer,
    catalog::Tool,
    list,
    message::{Members, quoted},
    relay::Way,
    server::Server,
    strict,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::Failure,
    policy::{Flow, Policy, Verdict, rate_limit::RateLimit},
    schema::{Judged, Strange},
};

/// What a tool's limit is called, like the policy that it is.
const KEY: &str = model::policy::RateLimit::KEY;
/// Letters of what a schema wants that are told.
const WANTED_LETTERS_MAX: usize = 200;
/// Bytes of arguments that a rule may ask about.
const ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;

/// The compiled rules of a route's tools.
pub(super) struct Tools {
    rules: Vec<Rule>,
    pin_all: bool,
    only_listed: bool,
    /// Whether it was told which rules are about no tool.
    told: AtomicBool,
}

struct Rule {
    /// Without the `*` at its end.
    name: Box<str>,
    is_pattern: bool,
    allow: Option<Allow>,
    limit: Option<Box<RateLimit>>,
    validates: bool,
    pin: Option<Box<str>>,
    /// Whether a tool was listed that it is about.
    seen: AtomicBool,
}

impl Rule {
    fn is_about(&self, full: &str) -> bool {
        if self.is_pattern { full.starts_with(&*self.name) } else { *self.name == *full }
    }
}

/// The names of members that a schema knows, at any depth.
fn known_by(schema: &Value, names: &mut Vec<Box<str>>) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                if let (true, Value::Object(properties)) = (name == "properties", value) {
                    names.extend(properties.keys().map(|name| name.as_str().into()));
                }
                known_by(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| known_by(item, names)),
        _ => {}
    }
}

impl Tools {
    pub(super) fn compile(settings: &McpRoute, cx: &Building<'_>) -> Result<Self, String> {
        let mut rules = Vec::with_capacity(settings.tools.len());
        for rule in &settings.tools {
            let wrong = |key: &str, error: String| format!("`tools.{}.{key}`: {error}", rule.name);
            let allow = match &rule.allow {
                Some(text) => Some(Allow::compile(text).map_err(|error| wrong("allow", error))?),
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
                seen: AtomicBool::new(false),
            });
        }
        let told = AtomicBool::new(false);
        Ok(Self { rules, pin_all: settings.pin_tools, only_listed: settings.only_listed_tools, told })
    }

    /// A server has listed a tool.
    pub(super) fn note(&self, full: &str) {
        for rule in self.rules.iter().filter(|rule| rule.is_about(full)) {
            rule.seen.store(true, Ordering::Relaxed);
        }
    }

    /// All servers have listed all their tools: a rule that is about none of them protects nothing, and is told once.
    pub(super) fn tell_unused(&self, route: &str) {
        let unused = self.rules.iter().filter(|rule| !rule.seen.load(Ordering::Relaxed));
        let names: Vec<String> =
            unused.map(|rule| format!("`{}{}`", rule.name, if rule.is_pattern { "*" } else { "" })).collect();
        if !names.is_empty() && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %route,
                "`tools` of route `{route}` has rules for {}, and no server has a tool of that name: nothing is held by them",
                names.join(", ")
            );
        }
    }

    /// Whether a rule is about this very tool.
    pub(super) fn is_named(&self, full: &str) -> bool {
        self.rules.iter().any(|rule| !rule.is_pattern && *rule.name == *full)
    }

    fn rule(&self, full: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.is_about(full))
    }

    /// Whether what one caller is told may differ from what another is.
    pub(super) fn choose(&self) -> bool {
        self.only_listed || self.pin_all || !self.rules.is_empty()
    }

    /// Whether a caller is told of a tool that its server has just listed.
    pub(super) fn shows(&self, call: &Call, server: &Server, name: &str, tool: &Tool) -> bool {
        let full = format!("{}{name}", server.prefix);
        let rule = self.rule(&full);
        if self.only_listed && rule.is_none() {
            return false;
        }
        let allow = rule.and_then(|rule| rule.allow.as_ref());
        let allowed = allow.is_none_or(|allow| allow.asks_for_arguments || allow.holds(call, &full, None));
        allowed && self.withheld(server, tool, &full, rule).is_none()
    }

    /// Why a tool is withheld, if it is: it is not what was approved, or nobody can say what it is.
    fn withheld(&self, server: &Server, tool: &Tool, full: &str, rule: Option<&Rule>) -> Option<String> {
        let pin = rule.and_then(|rule| rule.pin.as_deref());
        if pin.is_none() && !self.pin_all {
            return None;
        }
        let approved = pin.or(tool.first.as_deref());
        let (says, remedy) = match (&tool.digest, approved) {
            (Some(digest), Some(approved)) if **digest == *approved && !tool.is_double => return None,
            _ if tool.is_double => ("is listed twice", String::new()),
            (None, _) => ("can be read in two ways, or in none", String::new()),
            (Some(digest), None) => {
                ("is one of too many to remember", format!("; to approve it, pin `{digest}`"))
            }
            (Some(digest), Some(_)) => ("has changed", format!("; to approve it, pin `{digest}`")),
        };
        if !tool.is_told.swap(true, std::sync::atomic::Ordering::Relaxed) {
            tracing::warn!(
                server = %server.name,
                tool = full,
                digest = tool.digest.as_deref().unwrap_or_default(),
                "tool `{full}` is withheld: it is not what was approved: it {says}{remedy}"
            );
        }
        Some(format!("the tool `{full}` {says} and is withheld until it is approved"))
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
        let allow = rule.and_then(|rule| rule.allow.as_ref());
        // Whoever may not call it at all is told nothing of its schema.
        if let Some(allow) = allow.filter(|allow| !allow.asks_for_arguments)
            && !allow.holds(call, &full, None)
        {
            let text = format!("this caller may not call `{full}`");
            return Ok(Some(answer::error(id, answer::REFUSED, &text)));
        }
        if self.must_know(rule) {
            let catalog = &way.server.known.catalog;
            if catalog.has_tool(name) != Some(true) || !catalog.is_fresh() {
                list::learn_tools(way.sender, way.session, way.server).await?;
            }
            let Some(tool) = catalog.tool(name) else { return Ok(Some(unknown(id, &full))) };
            if let Some(why) = self.withheld(way.server, &tool, &full, rule) {
                return Ok(Some(answer::error(id, answer::REFUSED, &why)));
            }
            if rule.is_some_and(|rule| rule.validates)
                && let Some(why) = misfit(&tool, &arguments(params)?)
            {
                let text = format!("the arguments do not fit `{full}`: {why}");
                return Ok(Some(answer::error(id, answer::INVALID_PARAMS, &text)));
            }
        }
        if let Some(allow) = allow.filter(|allow| allow.asks_for_arguments) {
            let arguments = arguments(params)?;
            allow.judgeable(&arguments)?;
            if !allow.holds(call, &full, Some(&arguments)) {
                let text = format!("this caller may not call `{full}` with these arguments");
                return Ok(Some(answer::error(id, answer::REFUSED, &text)));
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
    match params.get("arguments") {
        None | Some("null") => Ok(Map::new()),
        Some(text) if text.len() > ARGUMENTS_BYTES_MAX => Err(unfit("the arguments are too large")),
        Some(text) if !text.starts_with('{') => Err(unfit("`arguments` must be an object")),
        Some(text) => match strict::unique(text) {
            Some(Value::Object(arguments)) => Ok(arguments),
            _ => Err(unfit("`arguments` must be an object in which every member stands once")),
        },
    }
}

/// What is wrong with arguments, by the tool's own schema.
fn misfit(tool: &Tool, arguments: &Map<String, Value>) -> Option<String> {
    let Some(schema) = tool.schema.as_deref() else {
        return Some("cannot be checked: the tool has no schema, or one that is too large".to_owned());
    };
    let validator = tool.validator.get_or_init(|| {
        let schema = strict::unique(schema)?;
        let mut names = Vec::new();
        known_by(&schema, &mut names);
        match Strange::compile(schema) {
            Ok(validator) => Some((validator, names)),
            Err(error) => {
                tracing::warn!("a tool's schema cannot be used to check arguments: {error}");
                None
            }
        }
    });
    let arguments = Value::Object(arguments.clone());
    let Some((validator, names)) = validator.as_ref() else {
        return Some("cannot be checked: the tool's schema cannot be used".to_owned());
    };
    if let Some(name) = lookalike(&arguments, names) {
        return Some(format!("{} is spelled otherwise than in the schema", quoted(name)));
    }
    let error = match validator.judge(&arguments) {
        Judged::Fits => return None,
        Judged::Breaks(error) => error,
        Judged::Tangled => {
            return Some("do not fit the tool's schema, or have too much in them to say so".to_owned());
        }
    };
    let place = error.instance_path().to_string();
    // The value itself may be a secret; the place and the rule are not.
    let rule = error.schema_path().to_string();
    let place = if place.is_empty() { "the arguments" } else { &place };
    Some(match wanted(&error) {
        Some(wanted) => format!("{place} breaks {}: {wanted}", quoted(&rule)),
        None => format!("{place} breaks {}", quoted(&rule)),
    })
}

/// What a schema wants where a value breaks it, in words of the schema alone.
fn wanted(error: &jsonschema::ValidationError<'_>) -> Option<String> {
    use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
    Some(match error.kind() {
        Kind::Type { kind: TypeKind::Single(kind) } => format!("expected {kind}"),
        Kind::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<String> = kinds.iter().map(|kind| kind.to_string()).collect();
            format!("expected {}", kinds.join(" or "))
        }
        Kind::Required { property } => format!("expected {} to be given", quoted(property.as_str()?)),
        Kind::AdditionalProperties { .. } => "a member is there that the schema does not know".to_owned(),
        Kind::Enum { options } => {
            let text: String = options.to_string().chars().take(WANTED_LETTERS_MAX).collect();
            format!("expected one of {text}")
        }
        Kind::Minimum { limit } => format!("expected at least {limit}"),
        Kind::Maximum { limit } => format!("expected at most {limit}"),
        Kind::MinLength { limit } => format!("expected at least {limit} characters"),
        Kind::MaxLength { limit } => format!("expected at most {limit} characters"),
        _ => return None,
    })
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
