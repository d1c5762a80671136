//! Kong's routes: what they match, and which path goes on.

use serde_json::{Value, json};

use super::super::leftovers;
use super::{Fields, Import, Route, Service, closing, defaults, idle, list, name_of, text, texts};

/// What routes speak that know no requests.
const STREAMS: [&str; 4] = ["tcp", "tls", "udp", "tls_passthrough"];

impl Import {
    /// A route of a service, which is `of` or named in it.
    pub(super) fn route(&mut self, at: &str, mut fields: Fields, of: Option<&str>) {
        idle(&mut fields);
        let named = match fields.remove("service") {
            Some(Value::Object(service)) => service.get("name").and_then(Value::as_str).map(str::to_owned),
            Some(Value::String(name)) => Some(name),
            _ => None,
        };
        let name = of.map(str::to_owned).or(named);
        let mut service = Service::default();
        if let Some(name) = &name {
            let Some((_, known)) = self.services.iter().find(|(known, _)| known == name) else {
                return self.note(at, format_args!("there is no service `{name}`; left out"));
            };
            service = known.clone();
        }
        let upstream = Some(service.upstream.clone()).filter(|name| !name.is_empty());
        let title = text(&mut fields, "name")
            .unwrap_or_else(|| format!("{}-{}", name.as_deref().unwrap_or("route"), self.routes.len() + 1));
        if let Some(expression) = fields.remove("expression") {
            return self.note(
                &format!("{at}.expression"),
                format_args!(
                    "left out: write {expression} as conditions of `match`, or in CEL as `match[].when`"
                ),
            );
        }
        let protocols = texts(&mut fields, "protocols");
        let is_stream = |protocol: &String| STREAMS.contains(&protocol.as_str());
        if protocols.iter().any(is_stream) || fields.get("destinations").is_some_and(|all| !all.is_null()) {
            return self.note(
                at,
                format_args!("`{title}` is no route for HTTP; left out: write it under `streamRoutes`"),
            );
        }
        let mut route = Fields::new();
        route.insert("name".to_owned(), json!(self.free_name(&name_of(&title))));
        let hosts = texts(&mut fields, "hosts");
        if !hosts.is_empty() {
            route.insert("hosts".to_owned(), json!(hosts));
        }
        let matches = Self::matches(&mut fields);
        if !matches.is_empty() {
            route.insert("match".to_owned(), json!(matches));
        }
        let regex_priority = fields.remove("regex_priority").as_ref().and_then(Value::as_i64).unwrap_or(0);
        let mut policies = service.policies.clone();
        let own = self.policies(at, &mut fields);
        // A plugin of a route stands in the place of the service's.
        let kind = |policy: &Value| policy.as_object().and_then(|one| one.keys().next().cloned());
        let replaces =
            |other: &Value, one: &Value| kind(other) == kind(one) && (!closing::is_mark(one) || other == one);
        policies.retain(|policy| !own.iter().any(|other| replaces(other, policy)));
        policies.extend(own);
        let is_stripped = fields.remove("strip_path").and_then(|strip| strip.as_bool()).unwrap_or(true);
        let has_paths = matches.iter().any(|one| one.get("path").is_some());
        let path = if service.path.is_empty() { "/" } else { &service.path };
        let regexes = matches.iter().any(|one| one["path"].get("regex").is_some());
        if is_stripped && regexes {
            policies.push(stripping(&matches, &service.path));
        } else if is_stripped && has_paths {
            policies.push(json!({"rewrite": {"path": {"replacePrefix": path}}}));
        } else if !service.path.is_empty() {
            let regex = json!({"pattern": "^", "replacement": service.path});
            policies.push(json!({"rewrite": {"path": {"regex": regex}}}));
        }
        if fields.remove("preserve_host") != Some(Value::Bool(true)) && upstream.is_some() {
            route.insert("hostHeader".to_owned(), json!("upstream"));
        }
        if !protocols.is_empty()
            && protocols.iter().all(|protocol| matches!(protocol.as_str(), "https" | "grpcs"))
        {
            self.note(
                &format!("{at}.protocols"),
                "Kong answers 426 to calls without TLS; here give the listener `tls`, and let one without it `redirect`",
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
        self.routes.push(Route { fields: route, service: name, upstream, regex_priority });
    }

    fn free_name(&self, name: &str) -> String {
        let is_free = |name: &str| !self.routes.iter().any(|route| route.fields["name"] == name);
        let mut free = name.to_owned();
        let mut number = 1;
        while !is_free(&free) {
            number += 1;
            free = format!("{name}-{number}");
        }
        free
    }

    /// Each path of theirs with the methods and headers that hold for all of them.
    fn matches(fields: &mut Fields) -> Vec<Value> {
        let mut common = Fields::new();
        let methods = texts(fields, "methods");
        if !methods.is_empty() {
            common.insert("methods".to_owned(), json!(methods));
        }
        if let Some(Value::Object(headers)) = fields.remove("headers") {
            let mut all = Vec::new();
            for (name, values) in headers {
                let values: Vec<&str> =
                    values.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                match values.as_slice() {
                    [one] if one.starts_with("~*") => {
                        let pattern = one.trim_start_matches("~*");
                        all.push(json!({"name": name, "regex": format!("(?i).*(?:{pattern}).*")}));
                    }
                    [one] => all.push(json!({"name": name, "exact": one})),
                    several => {
                        let any: Vec<String> = several.iter().map(|value| regex_escaped(value)).collect();
                        all.push(json!({"name": name, "regex": any.join("|")}));
                    }
                }
            }
            common.insert("headers".to_owned(), json!(all));
        }
        let snis = texts(fields, "snis");
        if !snis.is_empty() {
            common.insert("sni".to_owned(), json!(snis));
        }
        let sources = list(fields, "sources");
        let addresses: Vec<String> = sources.into_iter().filter_map(|mut one| text(&mut one, "ip")).collect();
        if !addresses.is_empty() {
            common.insert("clientAddress".to_owned(), json!(addresses));
        }
        let mut made: Vec<Value> = Vec::new();
        for path in texts(fields, "paths") {
            let mut one = common.clone();
            let path = match path.strip_prefix('~') {
                // Theirs need not reach to the end.
                Some(regex) if regex.ends_with('$') && !regex.ends_with("\\$") => {
                    json!({"regex": regex.trim_end_matches('$')})
                }
                Some(regex) => json!({"regex": format!("{regex}.*")}),
                None => {
                    let plain = if path.len() > 1 { path.trim_end_matches('/') } else { &path };
                    json!({"prefix": plain})
                }
            };
            one.insert("path".to_owned(), path);
            made.push(one.into());
        }
        if made.is_empty() && !common.is_empty() {
            made.push(common.into());
        }
        made
    }
}

/// Takes off what a path was matched by, some of it by regular expressions, and puts the service's own path there.
fn stripping(matches: &[Value], path: &str) -> Value {
    let each = matches.iter().filter_map(|one| {
        let path = &one["path"];
        let regex = path["regex"].as_str().map(|regex| format!("(?:{})", regex.trim_end_matches(".*")));
        regex.or_else(|| Some(regex_escaped(path["prefix"].as_str()?.trim_end_matches('/'))))
    });
    let each: Vec<String> = each.collect();
    let pattern = format!("^(?:{})/?", each.join("|"));
    json!({"rewrite": {"path": {"regex": {"pattern": pattern, "replacement": format!("{path}/")}}}})
}

/// A text as a regular expression that means itself.
fn regex_escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, letter| {
        if letter.is_ascii_punctuation() && letter != '_' && letter != '-' {
            out.push('\\');
        }
        out.push(letter);
        out
    })
}
