//! `cors`: answers preflights and marks answers for the origins that may read them (the Fetch standard).
//!
//! The gateway's word replaces the upstream's: two `Access-Control-Allow-Origin` would be none to a browser.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::{
    Flow, Needs, NeedsOf, Policy, credentials::in_header, origins::Origins, scope::routes_of, vary::vary,
};
use crate::{body::Body, call::Call, compiled::Building};

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The compiled policy.
pub(crate) struct Cors {
    any_origin: bool,
    origins: Origins,
    /// Methods that may be asked for; any when empty.
    methods: Vec<Method>,
    methods_value: Option<HeaderValue>,
    /// Headers that may be asked for; any when empty.
    headers: HashSet<HeaderName>,
    headers_value: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
    private_network: bool,
}

/// What the request phase found, for the response phase.
enum Seen {
    /// A preflight: its answer is complete.
    Preflight,
    /// The origin may read the answer.
    Allowed(HeaderValue),
}

impl Cors {
    pub(crate) fn compile(settings: &model::policy::Cors, cx: &Building<'_>) -> Result<Self, String> {
        let mut policy = Self {
            any_origin: false,
            origins: Origins::default(),
            methods: methods(settings, cx)?,
            methods_value: None,
            headers: settings.allow_headers.iter().map(model::HeaderName::to_http).collect(),
            headers_value: list(settings.allow_headers.iter().map(|name| name.as_str())),
            expose: list(settings.expose_headers.iter().map(|name| name.as_str())),
            credentials: settings.allow_credentials,
            max_age: HeaderValue::from(settings.max_age.as_secs()),
            private_network: settings.allow_private_network,
        };
        policy.methods_value = list(policy.methods.iter().map(Method::as_str));
        for origin in &settings.allow_origins {
            match origin.as_str() {
                "*" => policy.any_origin = true,
                origin => policy.origins.add(origin)?,
            }
        }
        if policy.any_origin && policy.credentials {
            return Err("`allowCredentials` never goes with origin `*`: list the origins".into());
        }
        Ok(policy)
    }

    /// The value of `Access-Control-Allow-Origin` for this call; nothing when its origin may not read.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        // Two origins are none: which one would be meant?
        let origin = in_header(headers, &header::ORIGIN).ok()??;
        let text = std::str::from_utf8(origin).ok()?;
        if self.any_origin {
            return Some(HeaderValue::from_static("*"));
        }
        if self.origins.has(text) { HeaderValue::from_bytes(origin).ok() } else { None }
    }

    fn preflight(&self, headers: &HeaderMap, asked: &HeaderValue) -> Response<Body> {
        let mut answer = Response::new(Body::Empty);
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let out = answer.headers_mut();
        out.insert(
            header::VARY,
            HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
        let asked_headers = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        // Without these headers the browser does not send the request; that is the refusal.
        let Some(origin) = self.allowed(headers) else { return answer };
        if !self.allows_method(asked) || !self.allows_headers(asked_headers) {
            return answer;
        }
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let methods = self.methods_value.as_ref().unwrap_or(asked);
        out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        if let Some(names) = self.headers_value.as_ref().or(asked_headers) {
            out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        out.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        if self.credentials {
            out.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if self.private_network && headers.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
            out.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        answer
    }

    fn allows_method(&self, asked: &HeaderValue) -> bool {
        match Method::from_bytes(asked.as_bytes()) {
            Ok(method) => self.methods.is_empty() || self.methods.contains(&method),
            Err(_) => false,
        }
    }

    fn allows_headers(&self, asked: Option<&HeaderValue>) -> bool {
        let Some(asked) = asked else { return true };
        let Ok(text) = asked.to_str() else { return false };
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).all(|name| {
            HeaderName::try_from(name)
                .is_ok_and(|name| self.headers.is_empty() || self.headers.contains(&name))
        })
    }
}

/// The configured methods, or those of the routes that the policy runs for; none means any.
fn methods(settings: &model::policy::Cors, cx: &Building<'_>) -> Result<Vec<Method>, String> {
    let wrong = |name: &str| format!("`{name}` is not a method");
    if !settings.allow_methods.is_empty() {
        let parse = |name: &String| Method::from_bytes(name.as_bytes()).map_err(|_| wrong(name));
        return settings.allow_methods.iter().map(parse).collect();
    }
    let mut methods = Vec::new();
    for one in routes_of(cx).iter().flat_map(|route| &route.matches) {
        if one.methods.is_empty() {
            return Ok(Vec::new());
        }
        for name in &one.methods {
            let method = Method::from_bytes(name.as_bytes()).map_err(|_| wrong(name))?;
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    Ok(methods)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let text = names.collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&text).ok().filter(|value| !value.is_empty())
}

/// What a handler lets scripts of other origins read of its answer; an extension of that answer.
#[derive(Clone)]
#[cfg_attr(
    not(any(test, feature = "transcode")),
    allow(dead_code, reason = "no handler is built that has any")
)]
pub(crate) struct Exposed(pub(crate) HeaderValue);

impl NeedsOf for model::policy::Cors {
    fn needs(&self) -> Needs {
        Needs::headers([
            header::ORIGIN,
            header::ACCESS_CONTROL_REQUEST_METHOD,
            header::ACCESS_CONTROL_REQUEST_HEADERS,
        ])
    }
}

impl Policy for Cors {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let headers = &call.head.headers;
        if !headers.contains_key(header::ORIGIN) {
            return Flow::Continue;
        }
        if call.head.method == Method::OPTIONS
            && let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            let answer = self.preflight(headers, asked);
            call.keep(self, Seen::Preflight);
            return Flow::Answer(Box::new(answer));
        }
        if let Some(origin) = self.allowed(headers) {
            call.keep(self, Seen::Allowed(origin));
        }
        Flow::Continue
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let seen = call.take::<_, Seen>(self);
        if matches!(seen, Some(Seen::Preflight)) {
            return;
        }
        let exposed = answer.extensions().get::<Exposed>().cloned();
        let headers = answer.headers_mut();
        for name in [
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
        ] {
            headers.remove(name);
        }
        vary(headers, "Origin");
        if let Some(Seen::Allowed(origin)) = seen {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if self.credentials {
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            // A handler's own fields are exposed where no list says otherwise; an upstream's word does not count.
            if let Some(expose) = self.expose.as_ref().or(exposed.as_ref().map(|Exposed(names)| names)) {
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{answered, building, building_for, call, outcome, with_header};

    fn compile(settings: serde_json::Value) -> Result<Cors, String> {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| Cors::compile(&settings, cx))
    }

    fn origin_seen(settings: serde_json::Value, origin: &str) -> Option<String> {
        let policy = compile(settings).expect("compiles");
        let mut call = with_header(call("GET", "/"), "origin", origin);
        outcome(&policy, &mut call).expect("goes on");
        let upstream =
            Response::builder().header("access-control-allow-origin", "*").header("vary", "Accept");
        let mut answer = upstream.body(Body::Empty).expect("an answer");
        policy.response(&mut call, &mut answer);
        assert_eq!(answer.headers()["vary"], "Accept, Origin");
        let values: Vec<_> = answer.headers().get_all("access-control-allow-origin").iter().collect();
        assert!(values.len() < 2);
        values.first().map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn what_a_handler_exposes_holds_without_a_list() {
        for (settings, want) in [
            (serde_json::json!({"allowOrigins": ["*"]}), "grpc-status"),
            (serde_json::json!({"allowOrigins": ["*"], "exposeHeaders": ["x-own"]}), "x-own"),
        ] {
            let policy = compile(settings).expect("compiles");
            let mut call = with_header(call("GET", "/"), "origin", "https://app.example.com");
            outcome(&policy, &mut call).expect("goes on");
            let upstream = Response::builder().header("access-control-expose-headers", "x-upstream");
            let mut answer = upstream.body(Body::Empty).expect("an answer");
            answer.extensions_mut().insert(Exposed(HeaderValue::from_static("grpc-status")));
            policy.response(&mut call, &mut answer);
            assert_eq!(answer.headers()["access-control-expose-headers"], want);
        }
    }

    #[test]
    fn only_listed_origins_may_read() {
        let settings =
            serde_json::json!({"allowOrigins": ["https://app.example.com", "https://*.shop.example:8443"]});
        for (origin, want) in [
            ("https://app.example.com", true),
            ("http://app.example.com", false),
            ("https://app.example.com.evil.test", false),
            ("https://app.example.com:443", false),
            ("https://evil.test", false),
            ("null", false),
            ("https://a.shop.example:8443", true),
            ("https://a.b.shop.example:8443", true),
            ("https://shop.example:8443", false),
            ("https://.shop.example:8443", false),
            ("https://a.shop.example", false),
            ("https://evil.test/.shop.example:8443", false),
            ("https://evil.test#.shop.example:8443", false),
            ("https://user@a.shop.example:8443", false),
        ] {
            let want = want.then(|| origin.to_owned());
            assert_eq!(origin_seen(settings.clone(), origin), want, "{origin}");
        }
        assert_eq!(
            origin_seen(serde_json::json!({"allowOrigins": ["*"]}), "https://x.test").as_deref(),
            Some("*")
        );
    }

    fn preflight(settings: serde_json::Value, headers: &[(&'static str, &str)]) -> Response<Body> {
        let policy = compile(settings).expect("compiles");
        let mut call = call("OPTIONS", "/");
        for (name, value) in headers {
            call = with_header(call, name, value);
        }
        let mut answer = answered(&policy, &mut call);
        policy.response(&mut call, &mut answer);
        answer
    }

    #[test]
    fn a_preflight_is_answered_for_what_it_asks() {
        let settings = serde_json::json!({
            "allowOrigins": ["https://a.test"], "allowMethods": ["PUT"], "allowHeaders": ["X-One"],
            "allowCredentials": true, "maxAge": "5m",
        });
        let asks = |origin, method, names| {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", names),
            ];
            preflight(settings.clone(), &headers)
        };
        let answer = asks("https://a.test", "PUT", "x-one");
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        for (name, want) in [
            ("access-control-allow-origin", "https://a.test"),
            ("access-control-allow-methods", "PUT"),
            ("access-control-allow-headers", "x-one"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "300"),
        ] {
            assert_eq!(answer.headers()[name], want, "{name}");
        }
        assert!(!answer.headers().contains_key("access-control-allow-private-network"));
        for (origin, method, names) in [
            ("https://b.test", "PUT", "x-one"),
            ("https://a.test", "DELETE", "x-one"),
            ("https://a.test", "PUT", "x-two"),
            ("https://a.test", "PUT", "x-one, x-two"),
            ("https://a.test", "P T", "x-one"),
        ] {
            let answer = asks(origin, method, names);
            assert!(
                !answer.headers().contains_key("access-control-allow-origin"),
                "{origin} {method} {names}"
            );
        }
    }

    #[test]
    fn a_plain_options_request_goes_on() {
        let policy = compile(serde_json::json!({"allowOrigins": ["*"]})).expect("compiles");
        let mut call = with_header(call("OPTIONS", "/"), "origin", "https://a.test");
        outcome(&policy, &mut call).expect("goes on");
    }

    #[test]
    fn the_routes_methods_are_allowed_when_none_are_given() {
        let yaml = "routes:\n- {name: r, match: [{methods: [GET, PATCH]}], respond: {status: 200}}\n";
        let settings = model::policy::Cors { allow_origins: vec!["*".into()], ..Default::default() };
        let policy =
            building_for("routes/r/cors", yaml, |cx| Cors::compile(&settings, cx)).expect("compiles");
        assert_eq!(policy.methods, [Method::GET, Method::PATCH]);
    }

    #[test]
    fn credentials_never_go_with_any_origin() {
        for settings in [
            serde_json::json!({"allowOrigins": ["*"], "allowCredentials": true}),
            serde_json::json!({"allowOrigins": ["app.example.com"]}),
            serde_json::json!({"allowOrigins": ["https://*"]}),
            serde_json::json!({"allowOrigins": ["https://*.com"]}),
            serde_json::json!({"allowOrigins": ["https://a.*.com"]}),
            serde_json::json!({"allowOrigins": ["https://a.test/path"]}),
        ] {
            assert!(compile(settings.clone()).is_err(), "{settings}");
        }
    }
}
