//! What answers at a place, and of that: an upstream, with what goes with asking it.

use serde_json::{Map, Value, json};

use super::{
    Import, Scope,
    redirects::{is_redirect, leads_away},
    syntax::Directive,
    words,
};

/// A handler, and what goes with it.
#[derive(Default)]
pub(super) struct Handled {
    /// Keys of the route.
    pub(super) keys: Map<String, Value>,
    pub(super) policies: Vec<Value>,
}

impl Handled {
    pub(super) fn of(key: &str, value: Value) -> Self {
        let mut handled = Self::default();
        handled.keys.insert(key.to_owned(), value);
        handled
    }

    /// A bare answer.
    pub(super) fn status(status: u16) -> Self {
        Self::of("respond", json!({"status": status}))
    }

    /// An answer in the place of what cannot be had.
    pub(super) fn missing() -> Self {
        Self::status(501)
    }
}

/// Protocols that are not HTTP.
pub(super) const OTHER: [&str; 9] = [
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "memcached_pass",
    "content_by_lua_block",
    "content_by_lua_file",
    "content_by_lua",
    "js_content",
    "perl",
];

/// Whether a directive answers in the place of files.
pub(super) fn answers(one: &Directive) -> bool {
    ["return", "proxy_pass", "grpc_pass"].contains(&one.name.as_str())
        || OTHER.contains(&one.name.as_str())
        || leads_away(one)
}

impl<'a> Import<'a> {
    /// What answers at a place. `prefix` is the path of its location, if that is no regular expression.
    pub(super) fn handled(
        &mut self,
        scope: &Scope<'a>,
        place: &'a Directive,
        prefix: Option<&str>,
        is_exact: bool,
    ) -> Handled {
        let own = Scope { levels: vec![place.inside()] };
        if let Some(answer) = own.one("return") {
            return self.returned(&own, scope, answer);
        }
        if place.name == "location"
            && let Some(away) = place.inside().iter().find(|one| leads_away(one))
        {
            away.seen.set(true);
            self.note(
                away,
                "no counterpart: nginx looks for another location then, whose guards would not hold here; the location answers 501",
            );
            return Handled::missing();
        }
        if place.name == "location"
            && let Some(sent) = self.sent_away(place, prefix)
        {
            return sent;
        }
        if let Some(other) = OTHER.iter().find_map(|name| own.one(name)) {
            self.note(other, "no counterpart: the location answers 501");
            return Handled::missing();
        }
        if let Some(pass) = own.one("proxy_pass").or_else(|| own.one("grpc_pass")) {
            return self.passed(scope, pass, prefix, is_exact);
        }
        self.files(scope, place, prefix, is_exact)
    }

    fn passed(
        &mut self,
        scope: &Scope<'a>,
        pass: &'a Directive,
        prefix: Option<&str>,
        is_exact: bool,
    ) -> Handled {
        let mut handled = Handled::default();
        if let Some(shares) = self.shares_of(scope, pass) {
            handled.keys.insert("backends".to_owned(), shares);
        } else if let Some(target) = self.target(scope, pass) {
            handled.keys.insert("backends".to_owned(), json!([{"upstream": target.upstream}]));
            if let Some(path) = &target.path {
                self.replaced(pass, prefix, path, is_exact, &mut handled);
            }
            self.host(scope, &target.host, &mut handled);
        } else {
            self.note(
                pass,
                format_args!("no counterpart: `{}` has variables; the location answers 501", pass.arg(0)),
            );
            return Handled::missing();
        }
        self.rewritten(scope, &mut handled);
        times(scope, &mut handled);
        self.tries(scope, &mut handled);
        for name in ["proxy_redirect", "proxy_cookie_domain", "proxy_cookie_path"] {
            if let Some(one) = scope.one(name).filter(|one| !["off", "default"].contains(&one.arg(0))) {
                self.note(one, "no counterpart: answers' own addresses stay as the upstream says them");
            }
        }
        if scope.is_on("proxy_intercept_errors") {
            self.note(pass, "no counterpart: `proxy_intercept_errors`");
        }
        handled
    }

    /// Backends by the shares of `split_clients`.
    fn shares_of(&mut self, scope: &Scope<'a>, pass: &'a Directive) -> Option<Value> {
        let (start, rest) = pass.arg(0).split_once("://")?;
        let shares = self.shares.get(rest)?.clone();
        let mut backends = Vec::new();
        for (name, percent) in shares {
            let one = Directive {
                name: pass.name.clone(),
                args: vec![format!("{start}://{name}")],
                block: None,
                place: pass.place.clone(),
                seen: std::cell::Cell::new(true),
            };
            let upstream = self.target(scope, &one)?.upstream;
            backends.push(json!({"upstream": upstream, "weight": (percent * 100.0).round().max(0.0) as u64}));
        }
        self.note(pass, "shares are by call here: add `sticky` to keep clients where they are");
        Some(json!(backends))
    }

    fn replaced(
        &mut self,
        pass: &'a Directive,
        prefix: Option<&str>,
        path: &str,
        is_exact: bool,
        handled: &mut Handled,
    ) {
        let Some(prefix) = prefix else {
            return self.note(pass, "nginx refuses a path here, within a regular expression; left out");
        };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if !query.is_empty() {
            self.note(pass, format_args!("no counterpart: `?{query}`, which is not added to the query"));
        }
        if is_exact {
            handled.policies.push(json!({"rewrite": {"path": {"full": path}}}));
            return;
        }
        // Where both end with a slash, or neither does, what is behind stays as it is.
        let is_even = prefix.ends_with('/') == path.ends_with('/');
        if !is_even && prefix != "/" {
            let pattern = format!("^{}", regex::escape(&words::path(prefix)));
            let replacement = path.replace('$', "$$");
            handled.policies.push(
                json!({"rewrite": {"path": {"regex": {"pattern": pattern, "replacement": replacement}}}}),
            );
            return;
        }
        let short = |text: &str| match text.trim_end_matches('/') {
            "" => "/".to_owned(),
            rest => rest.to_owned(),
        };
        if short(prefix) != short(path) {
            handled.policies.push(json!({"rewrite": {"path": {"replacePrefix": short(path)}}}));
        }
    }

    fn host(&mut self, scope: &Scope<'a>, own: &str, handled: &mut Handled) {
        let fields = scope.all("proxy_set_header");
        let fields = if fields.is_empty() { scope.all("grpc_set_header") } else { fields };
        let host = fields.iter().find(|one| one.arg(0).eq_ignore_ascii_case("host"));
        let host = match host.map(|one| one.arg(1)) {
            Some(
                "$host" | "$http_host" | "$host:$server_port" | "$server_name" | "$http_host:$server_port",
            ) => return,
            Some("$proxy_host") | None => own,
            Some(literal) if !literal.contains('$') => literal,
            Some(other) => {
                if let Some(one) = host {
                    self.note(one, format_args!("no counterpart: `{other}`; the client's own is sent"));
                }
                return;
            }
        };
        handled.keys.insert("hostHeader".to_owned(), json!(host));
    }

    /// `rewrite … break`, before the upstream is asked.
    fn rewritten(&mut self, scope: &Scope<'a>, handled: &mut Handled) {
        let level = scope.levels.last().copied().unwrap_or_default();
        let own: Vec<&Directive> =
            level.iter().filter(|one| one.name == "rewrite" && !one.seen.get()).collect();
        for (number, one) in own.into_iter().enumerate() {
            let (pattern, replacement) = (one.arg(0), one.arg(1));
            let is_known = regex::Regex::new(pattern).is_ok();
            let has_other = words::variables(replacement).any(|name| name.parse::<usize>().is_err());
            // A path here has no query.
            if number > 0 || is_redirect(one) || !is_known || has_other || replacement.contains('?') {
                continue;
            }
            one.seen.set(true);
            // The whole path is replaced, wherever the pattern is found.
            let before = if pattern.starts_with('^') { "" } else { "^.*?" };
            let behind = if pattern.ends_with('$') { "" } else { ".*$" };
            let pattern = if pattern.contains('|') {
                format!("^.*?(?:{pattern}).*$")
            } else {
                format!("{before}{pattern}{behind}")
            };
            let replacement = braced(replacement);
            handled.policies.retain(|policy| policy.get("rewrite").is_none());
            handled.policies.push(
                json!({"rewrite": {"path": {"regex": {"pattern": pattern, "replacement": replacement}}}}),
            );
        }
    }

    /// `proxy_next_upstream`.
    fn tries(&mut self, scope: &Scope<'a>, handled: &mut Handled) {
        let mut retry = Map::new();
        let count = scope.arg("proxy_next_upstream_tries").and_then(|count| count.parse::<u64>().ok());
        if let Some(count) = count.filter(|count| *count > 0) {
            retry.insert("maxAttempts".to_owned(), json!(count.min(10)));
        }
        if let Some(on) = scope.one("proxy_next_upstream") {
            let mut causes: Vec<String> = Vec::new();
            for word in &on.args {
                let cause: &[&str] = match word.as_str() {
                    "error" => &["connectFailure", "reset", "refusedStream"],
                    "timeout" => &["timeout"],
                    "invalid_header" => &["reset"],
                    "off" => {
                        retry.insert("maxAttempts".to_owned(), json!(1));
                        &[]
                    }
                    "non_idempotent" => {
                        self.note(
                            on,
                            "calls that may not be repeated are not repeated here: `non_idempotent`",
                        );
                        &[]
                    }
                    other => match other.strip_prefix("http_") {
                        Some(status) => &[status],
                        None => &[],
                    },
                };
                for one in cause {
                    if !causes.iter().any(|known| known == one) {
                        causes.push((*one).to_owned());
                    }
                }
            }
            if !causes.is_empty() {
                retry.insert("on".to_owned(), json!(causes));
            }
        }
        if !retry.is_empty() {
            handled.keys.insert("retry".to_owned(), retry.into());
        }
    }
}

fn times(scope: &Scope<'_>, handled: &mut Handled) {
    let mut times = Map::new();
    if let Some(time) = scope.arg("proxy_connect_timeout").and_then(words::time) {
        times.insert("connect".to_owned(), json!(time));
    }
    let read = scope.arg("proxy_read_timeout").or_else(|| scope.arg("grpc_read_timeout"));
    if let Some(time) = read.and_then(words::time) {
        times.insert("request".to_owned(), json!(time));
        times.insert("idle".to_owned(), json!(time));
    }
    scope.one("proxy_send_timeout");
    if !times.is_empty() {
        handled.keys.insert("timeouts".to_owned(), times.into());
    }
}

/// `$1` as `${1}`, so that what stands behind it is no part of the name.
fn braced(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        out.push(letter);
        if letter == '$'
            && let Some(digit) = letters.peek().copied().filter(char::is_ascii_digit)
        {
            letters.next();
            out.push_str(&format!("{{{digit}}}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_in_braces() {
        assert_eq!(braced("/v2/$1x$2"), "/v2/${1}x${2}");
    }
}
