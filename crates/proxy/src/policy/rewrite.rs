//! `rewrite`: changes the path and the host that the upstream sees.
//!
//! Whatever made the path, it must be its own normal form afterwards, or the call ends with 400: `/api` stripped
//! from `/api../admin` must not reach the upstream as `/../admin`.

use std::{borrow::Cow, collections::HashMap};

use http::{HeaderValue, header, uri::Authority};
use model::{policy::rewrite::PathRewrite, resource::route_match::PathMatch};
use regex::Regex;

use super::{Flow, Needs, NeedsOf, Policy, credentials::set_target, needs::of_template, scope::routes_of};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    guard::path::is_canonical,
    router::prefixes_of,
    template::Template,
};

/// The `Host` that a policy wants sent, over the route's and the upstream's; an extension of the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentHost(pub(crate) HeaderValue);

/// The compiled policy.
pub(crate) struct Rewrite {
    path: Option<Path>,
    host: Option<Template>,
}

enum Path {
    /// The prefixes that each route matches, and what replaces the one that matched.
    Prefix(HashMap<Box<str>, Vec<Box<str>>>, Box<str>),
    Strip(Box<str>),
    Template(Template),
    Regex(Regex, Box<str>),
    Full(Box<str>),
}

impl Rewrite {
    pub(crate) fn compile(settings: &model::policy::Rewrite, cx: &Building<'_>) -> Result<Self, String> {
        let host = settings.host.as_deref().map(compile_host).transpose()?;
        let path = settings.path.as_ref().map(|path| Path::compile(path, cx)).transpose()?;
        if host.is_none() && path.is_none() {
            return Err("neither `path` nor `host` is given".into());
        }
        Ok(Self { path, host })
    }

    fn apply(&self, call: &mut Call) -> Result<(), Failure> {
        if let Some(host) = &self.host {
            let value = host.render(call).filter(|host| Authority::try_from(&**host).is_ok());
            let value = value.and_then(|host| HeaderValue::from_str(&host).ok());
            let value = value.ok_or_else(|| {
                Failure::refused(Problem::BadRequest).with_hint("no host can be made of this request")
            })?;
            call.head.headers.insert(header::HOST, value.clone());
            call.head.extensions.insert(SentHost(value));
        }
        let Some(path) = self.path.as_ref().and_then(|path| path.of(call)) else { return Ok(()) };
        let bad =
            || Failure::refused(Problem::BadPath).with_hint("the path is not in normal form once rewritten");
        let route = call.route.and_then(|route| call.plan.routes.get(route));
        let listener = &call.listener().path;
        let rules = route.map_or_else(|| listener.clone(), |route| route.path.over(listener));
        if !is_canonical(&path, &rules) {
            return Err(bad().with_detail(format!("the rewritten path is `{}`", path.escape_debug())));
        }
        let target = match call.head.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        };
        if set_target(call, target) { Ok(()) } else { Err(bad()) }
    }
}

impl Path {
    fn compile(settings: &PathRewrite, cx: &Building<'_>) -> Result<Self, String> {
        Ok(match settings {
            PathRewrite::ReplacePrefix(by) => Self::Prefix(prefixes(cx)?, absolute(by)?.into()),
            PathRewrite::StripPrefix(prefix) => Self::Strip(absolute(prefix)?.trim_end_matches('/').into()),
            PathRewrite::Template(text) => Self::Template(compile_template(absolute(text)?, cx)?),
            PathRewrite::Regex(regex) => Self::Regex(
                Regex::new(&regex.pattern)
                    .map_err(|error| format!("`pattern` is no regular expression: {error}"))?,
                regex.replacement.as_str().into(),
            ),
            PathRewrite::Full(path) => Self::Full(absolute(path)?.into()),
        })
    }

    /// The new path; nothing when it stays as it is.
    fn of<'a>(&'a self, call: &'a Call) -> Option<Cow<'a, str>> {
        let path = call.path();
        match self {
            Self::Prefix(prefixes, by) => {
                let prefixes = prefixes.get(call.record.route.as_deref()?)?;
                let rest = prefixes.iter().find_map(|prefix| after_prefix(path, prefix))?;
                Some(joined(by, rest))
            }
            Self::Strip(prefix) => after_prefix(path, prefix).map(|rest| joined("", rest)),
            // A missing value leaves an empty path, which is no normal form.
            Self::Template(template) => Some(template.render_path(call).unwrap_or_default().into()),
            Self::Regex(regex, by) => match regex.replace_all(path, &**by) {
                Cow::Borrowed(_) => None,
                Cow::Owned(path) => Some(path.into()),
            },
            Self::Full(path) => Some(Cow::Borrowed(path)),
        }
    }
}

/// What follows the prefix, when the prefix ends with a segment.
pub(crate) fn after_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn joined(by: &str, rest: &str) -> Cow<'static, str> {
    let by = if rest.is_empty() { by } else { by.trim_end_matches('/') };
    let path = format!("{by}{rest}");
    if path.is_empty() { Cow::Borrowed("/") } else { Cow::Owned(path) }
}

/// The prefixes of the routes that this policy may run for, the longest first.
fn prefixes(cx: &Building<'_>) -> Result<HashMap<Box<str>, Vec<Box<str>>>, String> {
    let mut all = HashMap::new();
    let routes = routes_of(cx);
    for route in &routes {
        // In their normal form, as the router matches them.
        let prefixes: Vec<Box<str>> = prefixes_of(route).into_iter().map(Into::into).collect();
        if !prefixes.is_empty() {
            all.insert(route.name.as_str().into(), prefixes);
        }
    }
    match (all.is_empty(), routes.as_slice()) {
        (true, [route]) => Err(format!("route `{}` matches no prefix that could be replaced", route.name)),
        _ => Ok(all),
    }
}

/// `{id}` is short for `{{ captures.id }}`; every route of the policy must capture what is used.
fn compile_template(text: &str, cx: &Building<'_>) -> Result<Template, String> {
    let mut long = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, inner) = rest.split_at(open);
        long.push_str(before);
        let end = if inner.starts_with("{{") {
            inner.find("}}").map(|at| at + 2)
        } else {
            inner.find('}').map(|at| at + 1)
        };
        let end = end.ok_or_else(|| format!("`{text}` opens a brace and never closes it"))?;
        if inner.starts_with("{{") {
            long.push_str(&inner[..end]);
        } else {
            long.push_str(&format!("{{{{ captures.{} }}}}", &inner[1..end - 1]));
        }
        rest = &inner[end..];
    }
    long.push_str(rest);
    let template = Template::compile(&long)?;
    for name in template.captures() {
        for route in routes_of(cx) {
            let captures = |one: &model::resource::route_match::Match| match &one.path {
                Some(PathMatch::Template(path)) => capture_names(path).any(|known| known == name),
                Some(PathMatch::Regex(pattern)) => Regex::new(pattern)
                    .is_ok_and(|regex| regex.capture_names().flatten().any(|known| known == name)),
                _ => false,
            };
            if route.matches.is_empty() || !route.matches.iter().all(captures) {
                return Err(format!("`{{{name}}}` is not captured by every match of route `{}`", route.name));
            }
        }
    }
    Ok(template)
}

/// Names in a path template such as `/a/{id:int}/{rest*}`.
fn capture_names(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|part| {
        let name = part.split('}').next()?;
        name.split([':', '*']).next()
    })
}

fn compile_host(text: &str) -> Result<Template, String> {
    let template = Template::compile(text)?;
    match template.constant() {
        Some(host) if Authority::try_from(host).is_err() || host.contains('@') => {
            Err(format!("`{host}` is not a host"))
        }
        _ => Ok(template),
    }
}

fn absolute(path: &str) -> Result<&str, String> {
    if path.starts_with('/') && !path.contains(['?', '#']) {
        Ok(path)
    } else {
        Err(format!("`{path}` is not an absolute path without a query"))
    }
}

impl NeedsOf for model::policy::Rewrite {
    fn needs(&self) -> Needs {
        let path = self.path.as_ref().and_then(|path| match path {
            PathRewrite::Template(text) => Some(text),
            PathRewrite::ReplacePrefix(_)
            | PathRewrite::StripPrefix(_)
            | PathRewrite::Regex(_)
            | PathRewrite::Full(_) => None,
        });
        Needs::headers(path.into_iter().chain(&self.host).flat_map(|text| of_template(text)))
    }
}

impl Policy for Rewrite {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        match self.apply(call) {
            Ok(()) => Flow::Continue,
            Err(failure) => Flow::Fail(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building_for, outcome, with_header};

    const ROUTES: &str = "routes:
- {name: r, match: [{path: {prefix: /api}}, {path: {prefix: /api/v1}}], respond: {status: 200}}
- {name: t, match: [{path: {template: '/o/{id}'}}], respond: {status: 200}}
";

    fn compile(route: &str, settings: serde_json::Value) -> Result<Rewrite, String> {
        let settings = serde_json::from_value(settings).expect("good settings");
        building_for(&format!("routes/{route}/rewrite"), ROUTES, |cx| Rewrite::compile(&settings, cx))
    }

    fn rewritten(settings: serde_json::Value, target: &str) -> Result<String, Problem> {
        let policy = compile("r", settings).expect("compiles");
        let mut call = crate::policy::testing::call("GET", target);
        call.record.route = Some("r".into());
        outcome(&policy, &mut call).map_err(|failure| failure.problem())?;
        Ok(call.head.uri.to_string())
    }

    #[test]
    fn paths_change_and_queries_stay() {
        let json = |path| serde_json::json!({"path": path});
        for (path, target, want) in [
            (serde_json::json!({"replacePrefix": "/v2"}), "/api/a?x=%2F", "/v2/a?x=%2F"),
            (serde_json::json!({"replacePrefix": "/v2"}), "/api/v1/a", "/v2/a"),
            (serde_json::json!({"replacePrefix": "/v2/"}), "/api/a", "/v2/a"),
            (serde_json::json!({"replacePrefix": "/"}), "/api/a", "/a"),
            (serde_json::json!({"replacePrefix": "/"}), "/api", "/"),
            (serde_json::json!({"replacePrefix": "/v2"}), "/api", "/v2"),
            (serde_json::json!({"replacePrefix": "/v2"}), "/apis", "/apis"),
            (serde_json::json!({"stripPrefix": "/api"}), "/api/a?q", "/a?q"),
            (serde_json::json!({"stripPrefix": "/api/"}), "/api", "/"),
            (serde_json::json!({"stripPrefix": "/api"}), "/apix", "/apix"),
            (
                serde_json::json!({"regex": {"pattern": "^/api/(\\d+)$", "replacement": "/n/$1"}}),
                "/api/7",
                "/n/7",
            ),
            (
                serde_json::json!({"regex": {"pattern": "^/api/(\\d+)$", "replacement": "/n/$1"}}),
                "/api/x",
                "/api/x",
            ),
            (serde_json::json!({"full": "/all"}), "/api/x?y=1", "/all?y=1"),
        ] {
            assert_eq!(rewritten(json(path.clone()), target).as_deref(), Ok(want), "{path} {target}");
        }
    }

    #[test]
    fn a_path_that_is_not_its_own_normal_form_is_refused() {
        for (path, target) in [
            (serde_json::json!({"regex": {"pattern": "^/api", "replacement": ""}}), "/api../admin"),
            (serde_json::json!({"regex": {"pattern": "^/api", "replacement": "/x/"}}), "/api/a"),
            (serde_json::json!({"regex": {"pattern": "x", "replacement": ".."}}), "/api/x/admin"),
            (serde_json::json!({"regex": {"pattern": "-", "replacement": "/"}}), "/api/a--b"),
            (serde_json::json!({"regex": {"pattern": "^/", "replacement": ""}}), "/api/a"),
            (serde_json::json!({"template": "/u/{{ request.query.u }}"}), "/api?u=..%2Fadmin"),
            (serde_json::json!({"template": "/u/{{ request.query.u }}"}), "/api?u=.."),
            (serde_json::json!({"template": "/u/{{ request.query.u }}"}), "/api"),
        ] {
            let got = rewritten(serde_json::json!({"path": path}), target);
            assert_eq!(got, Err(Problem::BadPath), "{path} {target}");
        }
    }

    #[test]
    fn the_host_is_set_for_whoever_sends() {
        let policy = compile("r", serde_json::json!({"host": "in.example.test:81"})).expect("compiles");
        let mut call = crate::policy::testing::call("GET", "/api");
        outcome(&policy, &mut call).expect("goes on");
        assert_eq!(call.head.headers[header::HOST], "in.example.test:81");
        assert!(call.head.extensions.get::<SentHost>().is_some());
        let policy = compile("r", serde_json::json!({"host": "{{ request.header.x-h }}"})).expect("compiles");
        let mut call = with_header(crate::policy::testing::call("GET", "/api"), "x-h", "a b");
        assert!(outcome(&policy, &mut call).is_err());
    }

    #[test]
    fn what_can_never_work_refuses_the_configuration() {
        for (route, settings) in [
            ("r", serde_json::json!({})),
            ("t", serde_json::json!({"path": {"replacePrefix": "/v2"}})),
            ("r", serde_json::json!({"path": {"template": "/v2/{id}"}})),
            ("t", serde_json::json!({"path": {"template": "/v2/{other}"}})),
            ("t", serde_json::json!({"path": {"template": "/v2/{id"}})),
            ("r", serde_json::json!({"path": {"full": "/a?b"}})),
            ("r", serde_json::json!({"path": {"full": "a"}})),
            ("r", serde_json::json!({"path": {"regex": {"pattern": "(", "replacement": ""}}})),
            ("r", serde_json::json!({"host": "a b"})),
            ("r", serde_json::json!({"host": "user@host"})),
        ] {
            assert!(compile(route, settings.clone()).is_err(), "{route} {settings}");
        }
        assert!(compile("t", serde_json::json!({"path": {"template": "/v2/{id}"}})).is_ok());
    }
}
