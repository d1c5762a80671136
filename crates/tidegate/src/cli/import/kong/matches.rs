//! What Kong's routes match: hosts, paths, methods, headers and SNIs as conditions of ours.

use serde_json::{Value, json};

use super::{Fields, Import, list, text, texts};

/// What a route names, as Kong's order counts it.
#[derive(Clone, Default)]
pub(super) struct Named {
    pub(super) has_methods: bool,
    pub(super) has_hosts: bool,
    pub(super) has_wildcard: bool,
    pub(super) has_snis: bool,
    pub(super) headers: usize,
    /// One for each entry of `match`, if there is any.
    pub(super) paths: Vec<TheirPath>,
    /// Of two regular expressions the higher one is tried first.
    pub(super) regex_priority: i64,
}

/// A path as Kong has it.
#[derive(Clone)]
pub(super) struct TheirPath {
    /// Without the `~` of a regular expression.
    pub(super) text: String,
    pub(super) is_regex: bool,
}

/// What a route's fields say of what it takes.
pub(super) struct Matched {
    pub(super) hosts: Vec<String>,
    pub(super) entries: Vec<Value>,
    pub(super) named: Named,
}

impl Import {
    /// Reads what a route takes; none where none of its paths can be written.
    pub(super) fn matched(&mut self, at: &str, fields: &mut Fields) -> Option<Matched> {
        let mut named = Named::default();
        let mut conditions = Vec::new();
        let hosts = self.hosts(at, fields, &mut named, &mut conditions);
        let common = conditions_of_all(fields, &mut named, conditions);
        named.regex_priority = fields.remove("regex_priority").as_ref().and_then(Value::as_i64).unwrap_or(0);
        let mut entries: Vec<Value> = Vec::new();
        let theirs = texts(fields, "paths");
        let has_paths = !theirs.is_empty();
        for path in theirs {
            let (is_regex, text) = match path.strip_prefix('~') {
                Some(regex) => (true, regex.to_owned()),
                None => (self.has_old_paths && !is_plain(&path), path),
            };
            let written = if is_regex {
                let Some(regex) = whole(&text) else {
                    let what = format_args!("`{text}` is no regular expression here; left out");
                    self.note(&format!("{at}.paths"), what);
                    continue;
                };
                json!({"regex": regex})
            } else {
                let prefix = if text.len() > 1 { text.trim_end_matches('/') } else { &text };
                json!({"prefix": prefix})
            };
            let mut one = common.clone();
            one.insert("path".to_owned(), written);
            entries.push(one.into());
            named.paths.push(TheirPath { text, is_regex });
        }
        if has_paths && entries.is_empty() {
            return None;
        }
        if entries.is_empty() && !common.is_empty() {
            entries.push(common.into());
        }
        Some(Matched { hosts, entries, named })
    }

    /// Hosts, or a condition where a wildcard stands at their end.
    fn hosts(
        &mut self,
        at: &str,
        fields: &mut Fields,
        named: &mut Named,
        conditions: &mut Vec<String>,
    ) -> Vec<String> {
        let theirs = texts(fields, "hosts");
        let hosts: Vec<String> = theirs.iter().map(|host| without_port(host).to_owned()).collect();
        if hosts != theirs {
            self.note(&format!("{at}.hosts"), "ports are left out: it takes these hosts at any port");
        }
        named.has_hosts = !hosts.is_empty();
        named.has_wildcard = hosts.iter().any(|host| host.contains('*'));
        if hosts.iter().all(|host| !host.ends_with('*')) {
            return hosts;
        }
        conditions.push(any_name("request.host", &hosts));
        Vec::new()
    }
}

/// A path of letters that no regular expression needs, before 3.0.
fn is_plain(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._~%-".contains(&byte))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A condition that a name is one of these, of which each may have a wildcard at one of its ends.
fn any_name(of: &str, names: &[String]) -> String {
    let each = names.iter().map(|name| {
        let name = name.to_ascii_lowercase();
        match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(end), _) => format!("{of}.endsWith({})", json!(end)),
            (None, Some(begin)) => format!("{of}.startsWith({})", json!(begin)),
            (None, None) => format!("{of} == {}", json!(name)),
        }
    });
    each.collect::<Vec<_>>().join(" || ")
}

/// What holds for each path.
fn conditions_of_all(fields: &mut Fields, named: &mut Named, mut conditions: Vec<String>) -> Fields {
    let mut common = Fields::new();
    let methods = texts(fields, "methods");
    if !methods.is_empty() {
        named.has_methods = true;
        common.insert("methods".to_owned(), json!(methods));
    }
    if let Some(Value::Object(headers)) = fields.remove("headers") {
        named.headers = headers.len();
        let all: Vec<Value> = headers.iter().map(|(name, values)| header(name, values)).collect();
        common.insert("headers".to_owned(), all.into());
    }
    let snis = texts(fields, "snis");
    if !snis.is_empty() {
        named.has_snis = true;
        // Kong asks for names of handshakes alone: a call without TLS has none, and is taken.
        conditions.push(format!("request.scheme != \"https\" || {}", any_name("tls.sni", &snis)));
    }
    match conditions.as_slice() {
        [] => {}
        [one] => {
            common.insert("when".to_owned(), json!(one));
        }
        several => {
            let each: Vec<String> = several.iter().map(|one| format!("({one})")).collect();
            common.insert("when".to_owned(), json!(each.join(" && ")));
        }
    }
    let sources = list(fields, "sources");
    let addresses: Vec<String> = sources.into_iter().filter_map(|mut one| text(&mut one, "ip")).collect();
    if !addresses.is_empty() {
        common.insert("clientAddress".to_owned(), json!(addresses));
    }
    common
}

/// A header with one of several values, whose case says nothing.
fn header(name: &str, values: &Value) -> Value {
    let all: Vec<String> = match values {
        Value::Array(values) => values.iter().map(shown).collect(),
        value => vec![shown(value)],
    };
    let pattern = match all.as_slice() {
        [one] if one.starts_with("~*") => format!("(?i).*(?:{}).*", one.trim_start_matches("~*")),
        [one] if !one.contains(char::is_alphabetic) => return json!({"name": name, "exact": one}),
        several => {
            let any: Vec<String> = several.iter().map(|value| regex::escape(value)).collect();
            format!("(?i){}", any.join("|"))
        }
    };
    json!({"name": name, "regex": pattern})
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A regular expression that matches whole paths. Kong's begin at the beginning and need not reach to the end.
fn whole(regex: &str) -> Option<String> {
    let ended = regex.strip_suffix('$').filter(|rest| !rest.ends_with('\\'));
    let written = match ended {
        // The beginning is that of the first branch alone.
        _ if has_branches(regex) => format!(".*(?:^{}).*", regex.trim_start_matches('^')),
        Some(rest) => rest.to_owned(),
        None => format!("{regex}.*"),
    };
    regex::Regex::new(&written).is_ok().then_some(written)
}

/// Whether there is a `|` outside of all groups.
fn has_branches(regex: &str) -> bool {
    let (mut depth, mut is_in_class) = (0_i64, false);
    let mut letters = regex.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '[' => is_in_class = true,
            ']' => is_in_class = false,
            '(' if !is_in_class => depth += 1,
            ')' if !is_in_class => depth -= 1,
            '|' if !is_in_class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// Takes off what a path was matched by, some of it by regular expressions, and puts the service's own path there.
pub(super) fn stripping(paths: &[TheirPath], path: &str) -> Value {
    let mut paths: Vec<&TheirPath> = paths.iter().collect();
    // Of prefixes that begin alike the longest is the one that matched.
    paths.sort_by_key(|one| (!one.is_regex, std::cmp::Reverse(one.text.len())));
    let each = paths.into_iter().map(|one| match one.is_regex {
        true => format!("(?:{})", unnamed(&one.text)),
        false => regex::escape(one.text.trim_end_matches('/')),
    });
    let each: Vec<String> = each.collect();
    let pattern = format!("^(?:{})/?", each.join("|"));
    json!({"rewrite": {"path": {"regex": {"pattern": pattern, "replacement": format!("{path}/")}}}})
}

/// Its groups without names: no name may stand twice in one expression.
fn unnamed(regex: &str) -> String {
    let mut out = String::new();
    let mut rest = regex;
    while let Some((before, group)) = rest.split_once("(?") {
        out.push_str(before);
        let name = group.strip_prefix("P<").or_else(|| group.strip_prefix('<'));
        let name = name.filter(|name| !name.starts_with(['=', '!']));
        match name.and_then(|name| name.split_once('>')) {
            Some((_, behind)) => {
                out.push('(');
                rest = behind;
            }
            None => {
                out.push_str("(?");
                rest = group;
            }
        }
    }
    out.push_str(rest);
    out
}
