//! Rules of `compose`: every expression is read, every name known, and no call waits for itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::World;
use crate::{
    Route,
    load::{Context, nearest::nearest, scope::Named},
    resource::{
        compose::{Compose, ComposeCall},
        compose_path::{ComposeLeaf, ComposePath, ComposeRoot, ComposeText},
        handler::Settings,
    },
};

/// Calls of one answer.
const CALLS_MAX: usize = 64;

/// What expressions at a place may use.
struct Place<'c> {
    compose: &'c Compose,
    /// Captures that every match of the route offers; `None` when the route has no match, and so offers none.
    captures: &'c [Vec<String>],
    /// Whether `$item` and `$index` mean something.
    has_item: bool,
    /// Whether `$` alone, all results, does.
    has_all: bool,
}

impl Settings for Compose {
    fn validate(&self, route: &Route, _: &World<'_>, at: &mut Context<'_, '_>) {
        check(self, route, at);
    }

    fn upstreams(&self) -> Vec<&str> {
        self.calls.values().map(|call| call.upstream.as_str()).collect()
    }
}

fn check(compose: &Compose, route: &Route, at: &mut Context<'_, '_>) {
    let captures: Vec<Vec<String>> = route.matches.iter().map(super::route::captures).collect();
    at.field("calls", |at| {
        if compose.calls.is_empty() {
            at.error_with(
                "expected at least one call",
                "such as `order: {upstream: orders, path: \"/v1/orders/{id}\"}`",
            );
        }
        if compose.calls.len() > CALLS_MAX {
            at.error(format!("more than {CALLS_MAX} calls"));
        }
        for (name, call) in &compose.calls {
            at.field(name, |at| {
                call_name(name, at);
                let has_item = call.for_each.is_some();
                let place = Place { compose, captures: &captures, has_item, has_all: false };
                self::call(call, &place, at);
            });
        }
        cycles(compose, at);
    });
    if compose.timeout.is_zero() {
        at.field("timeout", |at| at.error("expected more than nothing"));
    }
    forwarded(&compose.forward_headers, at);
    if compose.response.is_some() && compose.jq.is_some() {
        at.field("jq", |at| {
            at.error_with("expected at most one of `response` and `jq`, found both", "take one of them out");
        });
    }
    if let Some(response) = &compose.response {
        let place = Place { compose, captures: &captures, has_item: false, has_all: true };
        at.field("response", |at| {
            if response.get("degraded").is_some() {
                at.field("degraded", |at| {
                    at.error_with(
                        "`degraded` is the gateway's own: the calls that failed",
                        "give it another name",
                    );
                });
            }
            shape(response, &place, at);
        });
    }
}

fn call_name(name: &str, at: &mut Context<'_, '_>) {
    let is_good = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !is_good {
        at.error("the name of a call has up to 64 letters, digits, `_` and `-`");
    }
    if name == "degraded" {
        at.error_with("`degraded` is the gateway's own: the calls that failed", "give the call another name");
    }
}

fn call(call: &ComposeCall, place: &Place<'_>, at: &mut Context<'_, '_>) {
    at.field("upstream", |at| at.refer(Named::Upstream, &call.upstream));
    at.field("path", |at| {
        if !call.path.starts_with('/') || call.path.starts_with("//") {
            at.error("expected a path that begins with one `/`");
        }
        if call.path.contains('#') || call.path.bytes().any(|byte| byte.is_ascii_control()) {
            at.error("a path has no `#` and no control characters");
        }
        if let Some(character) =
            outside_braces(&call.path).find(|c| c.is_ascii_whitespace() || "<>`".contains(*c))
        {
            at.error_with(
                format!("{character:?} is no character of a path"),
                "percent-encode it; a value is encoded by itself",
            );
        }
        if is_expression(outside_braces(&call.path)) {
            at.error_with("`$.` stands for nothing here", "write expressions as `{{ $.order.id }}`");
        }
        if let Err(reason) = literal_segments(&call.path) {
            at.error(reason);
        }
        text(&call.path, true, place, at);
    });
    if matches!(call.method.as_str(), "CONNECT" | "TRACE") {
        at.field("method", |at| {
            at.error("expected a method with an answer of its own, such as `GET` or `POST`")
        });
    }
    at.field("headers", |at| {
        for (name, value) in &call.headers {
            at.field(name, |at| {
                crate::policy::headers::header_value(name, value, at);
                if name.as_str() == "host" {
                    at.error_with("the host is the upstream's", "set its `hostHeader`");
                }
                if value.starts_with("$.") || value.starts_with("$request") || value.starts_with("$item") {
                    at.error_with(
                        "a header field takes expressions in templates alone, and would be this text",
                        format!("write `{{{{ {value} }}}}`"),
                    );
                }
                text(value, false, place, at);
            });
        }
    });
    if let Some(names) = &call.forward_headers {
        forwarded(names, at);
    }
    if let Some(body) = &call.body {
        at.field("body", |at| {
            if matches!(call.method.as_str(), "GET" | "HEAD") {
                at.error_with(
                    format!("a {} has no body", call.method),
                    "give the call another `method`, such as `POST`",
                );
            }
            shape(body, place, at);
        });
    }
    if call.timeout.is_some_and(|timeout| timeout.is_zero()) {
        at.field("timeout", |at| at.error("expected more than nothing"));
    }
    if let Some(list) = &call.for_each {
        at.field("forEach", |at| {
            at.field("in", |at| {
                let outer = Place { has_item: false, ..*place };
                expression(&list.list, &outer, at);
            });
        });
    }
    at.each("after", &call.after, |at, name| known(name, place, at));
}

/// What of a text is no value: without `{{ … }}` and `{…}`.
fn outside_braces(text: &str) -> impl Iterator<Item = char> {
    let mut open = 0_usize;
    text.chars().filter(move |character| {
        match character {
            '{' => open += 1,
            '}' => open = open.saturating_sub(1),
            _ => return open == 0,
        }
        false
    })
}

/// Whether a text holds what looks like an expression.
fn is_expression(text: impl Iterator<Item = char>) -> bool {
    text.collect::<String>().contains("$.")
}

/// Dots as literal segments would lead out of the path that is written.
fn literal_segments(path: &str) -> Result<(), &'static str> {
    let path = path.split('?').next().unwrap_or_default();
    match path.split('/').any(|segment| segment == "." || segment == "..") {
        true => Err("`.` and `..` are no segments of a path; write where it leads"),
        false => Ok(()),
    }
}

fn forwarded(names: &[String], at: &mut Context<'_, '_>) {
    at.each("forwardHeaders", names, |at, name| {
        if name != "*" && http::HeaderName::try_from(name.as_str()).is_err() {
            at.error("expected the name of a header field, or `*`");
        } else if name != "*" && name.contains('*') {
            at.error_with("`*` stands for all fields, and alone", "name each field");
        } else if crate::policy::headers::FRAMING.contains(&name.to_ascii_lowercase().as_str())
            || name.eq_ignore_ascii_case("host")
        {
            at.error(format!("`{name}` is about the client's own connection and never goes on"));
        }
    });
}

fn shape(value: &Value, place: &Place<'_>, at: &mut Context<'_, '_>) {
    match value {
        Value::String(text) => match ComposeLeaf::parse(text) {
            Ok(ComposeLeaf::Path(path)) => self::path(&path, place, at),
            Ok(ComposeLeaf::Text(text)) => parts(&text, place, at),
            Err(reason) => at.error(reason),
        },
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                at.item(position, |at| shape(item, place, at));
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                at.field(key, |at| shape(member, place, at));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn text(text: &str, is_path: bool, place: &Place<'_>, at: &mut Context<'_, '_>) {
    match ComposeText::parse(text, is_path) {
        Ok(text) => parts(&text, place, at),
        Err(reason) => at.error(reason),
    }
}

fn parts(text: &ComposeText, place: &Place<'_>, at: &mut Context<'_, '_>) {
    for path in text.paths() {
        self::path(path, place, at);
    }
    for name in text.captures() {
        let is_offered = !place.captures.is_empty()
            && place.captures.iter().all(|names| names.iter().any(|known| known == name));
        if !is_offered {
            at.error_with(
                format!("not every `match` of the route captures `{name}`"),
                format!("such as `path: {{template: \"/…/{{{name}}}\"}}`"),
            );
        }
    }
}

fn expression(text: &str, place: &Place<'_>, at: &mut Context<'_, '_>) {
    match text.parse::<ComposePath>() {
        Ok(path) => self::path(&path, place, at),
        Err(reason) => at.error(reason),
    }
}

fn path(path: &ComposePath, place: &Place<'_>, at: &mut Context<'_, '_>) {
    match &path.root {
        ComposeRoot::Call(name) => known(name, place, at),
        ComposeRoot::Calls if !place.has_all => {
            at.error_with(
                "`$` is the results of all calls, this one among them",
                "name the call: `$.<name>`",
            );
        }
        ComposeRoot::Item | ComposeRoot::Index if !place.has_item => {
            at.error_with(
                "`$item` and `$index` are those of a call with `forEach`",
                "give the call a `forEach`",
            );
        }
        ComposeRoot::Calls | ComposeRoot::Item | ComposeRoot::Index | ComposeRoot::Request => {}
    }
}

fn known(name: &str, place: &Place<'_>, at: &mut Context<'_, '_>) {
    if place.compose.calls.contains_key(name) {
        return;
    }
    let message = format!("there is no call `{name}`");
    match nearest(name, place.compose.calls.keys().map(String::as_str)) {
        Some(meant) => at.error_with(message, format!("did you mean `{meant}`?")),
        None => {
            let all: Vec<String> = place.compose.calls.keys().map(|name| format!("`{name}`")).collect();
            at.error_with(message, format!("there are {}", all.join(", ")));
        }
    }
}

/// Calls that wait for each other would wait for ever.
fn cycles(compose: &Compose, at: &mut Context<'_, '_>) {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for name in compose.calls.keys() {
        let mut way = Vec::new();
        if let Some(round) = visit(name, compose, &mut done, &mut way) {
            let told: Vec<String> = round.iter().map(|name| format!("`{name}`")).collect();
            let first = round.first().copied().unwrap_or_default();
            at.field(first, |at| {
                at.error_with(
                    format!("{} wait for each other: none of them could ever begin", told.join(" → ")),
                    "take one of these references out",
                );
            });
            return;
        }
    }
}

/// The first round that is found from a call on; its first name is its last one, too.
fn visit<'c>(
    name: &'c str,
    compose: &'c Compose,
    done: &mut BTreeSet<&'c str>,
    way: &mut Vec<&'c str>,
) -> Option<Vec<&'c str>> {
    if let Some(at) = way.iter().position(|known| *known == name) {
        let mut round = way.get(at..).unwrap_or_default().to_vec();
        round.push(name);
        return Some(round);
    }
    if !done.insert(name) {
        return None;
    }
    way.push(name);
    let needs = compose.calls.get(name).map(ComposeCall::needs).unwrap_or_default();
    let known = needs.iter().filter_map(|need| compose.calls.get_key_value(need));
    for (need, _) in known {
        if let Some(round) = visit(need, compose, done, way) {
            return Some(round);
        }
    }
    way.pop();
    None
}
