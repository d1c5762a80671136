//! Kong's routes: where they lead, under which policies, and which path goes on.

use serde_json::{Value, json};

use super::super::leftovers;
use super::{
    Fields, Import, Route, Service, defaults, idle, known_as,
    matches::{Matched, Named, stripping},
    name_of, reference,
    scope::kind,
    text, texts,
};

/// What routes speak that know no requests.
const STREAMS: [&str; 4] = ["tcp", "tls", "udp", "tls_passthrough"];
/// What routes speak that answer no call without TLS.
const ENCRYPTED: [&str; 3] = ["https", "grpcs", "wss"];

impl Import {
    /// A route of a service, which is `of` or named in it.
    pub(super) fn route(&mut self, at: &str, mut fields: Fields, of: Option<usize>) {
        let known_as = known_as(&fields);
        idle(&mut fields);
        let named = fields.remove("service").map(|service| reference(&service).unwrap_or_default());
        let mut place = of;
        if let (None, Some(name)) = (of, &named) {
            place = self.services.iter().position(|one| one.known_as.contains(name));
            if place.is_none() {
                return self.note(at, format_args!("there is no service `{name}`; left out"));
            }
        }
        let service = place.and_then(|place| self.services.get(place)).cloned().unwrap_or_default();
        let upstream = Some(service.upstream.clone()).filter(|name| !name.is_empty());
        let title = text(&mut fields, "name").unwrap_or_else(|| {
            let of = if service.title.is_empty() { "route" } else { &service.title };
            format!("{of}-{}", self.routes.len() + 1)
        });
        if let Some(expression) = fields.remove("expression") {
            return self.note(
                &format!("{at}.expression"),
                format_args!(
                    "left out, and answered by whatever else fits: write {expression} as conditions of `match`, or in \
                     CEL as `match[].when`"
                ),
            );
        }
        let protocols = texts(&mut fields, "protocols");
        let is_stream = |protocol: &String| STREAMS.contains(&protocol.as_str());
        if protocols.iter().any(is_stream) || fields.contains_key("destinations") {
            return self.note(
                at,
                format_args!("`{title}` is no route for HTTP; left out: write it under `streamRoutes`"),
            );
        }
        let Some(Matched { hosts, entries, named }) = self.matched(at, &mut fields) else {
            return self.note(at, format_args!("`{title}` has no path that could be taken over; left out"));
        };
        let mut route = Fields::new();
        route.insert("name".to_owned(), json!(self.free_name(&name_of(&title))));
        if !hosts.is_empty() {
            route.insert("hosts".to_owned(), json!(hosts));
        }
        if !entries.is_empty() {
            route.insert("match".to_owned(), json!(entries));
        }
        let mut policies = service.policies.clone();
        let plugins = self.policies(at, &mut fields);
        let own: Vec<String> = plugins.iter().map(kind).collect();
        policies.retain(|policy| !own.contains(&kind(policy)));
        policies.extend(plugins);
        let is_stripped = fields.remove("strip_path").and_then(|strip| strip.as_bool()).unwrap_or(true);
        policies.extend(onward(&service, &named, is_stripped));
        if fields.remove("preserve_host") != Some(Value::Bool(true)) && upstream.is_some() {
            route.insert("hostHeader".to_owned(), json!("upstream"));
        }
        if !protocols.is_empty() && protocols.iter().all(|one| ENCRYPTED.contains(&one.as_str())) {
            policies.push(encrypted());
            self.note(
                &format!("{at}.protocols"),
                "calls without TLS are 426, as in Kong: give the listener `tls`, and let one without it `redirect`",
            );
        }
        // Bodies are streamed here in any case.
        for key in ["request_buffering", "response_buffering"] {
            fields.remove(key);
        }
        defaults(&mut fields, &[("https_redirect_status_code", json!(426)), ("path_handling", json!("v0"))]);
        if !policies.is_empty() {
            route.insert("policies".to_owned(), policies.into());
        }
        leftovers(&fields.into(), at, &mut self.notes);
        self.routes.push(Route { fields: route, known_as, service: place, upstream, named, own });
    }

    /// A name that no route has yet.
    pub(super) fn free_name(&self, name: &str) -> String {
        let is_free = |name: &str| self.routes.iter().all(|route| route.fields["name"] != name);
        crate::cli::import::free_name(name, is_free)
    }
}

/// Refuses calls without TLS.
fn encrypted() -> Value {
    let message = "Please use HTTPS protocol";
    let rule = json!({"require": "request.scheme == \"https\"", "message": message, "status": 426});
    json!({"authorize": {"rules": [rule]}})
}

/// How the path changes on the way to a service.
fn onward(service: &Service, named: &Named, is_stripped: bool) -> Option<Value> {
    if is_stripped && named.paths.iter().any(|path| path.is_regex) {
        return Some(stripping(&named.paths, &service.path));
    }
    if is_stripped && !named.paths.is_empty() {
        let path = if service.path.is_empty() { "/" } else { &service.path };
        return Some(json!({"rewrite": {"path": {"replacePrefix": path}}}));
    }
    let regex = json!({"pattern": "^", "replacement": service.path});
    (!service.path.is_empty()).then(|| json!({"rewrite": {"path": {"regex": regex}}}))
}
