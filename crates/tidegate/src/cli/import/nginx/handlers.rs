//! What answers at a place: an upstream, files, a redirect, a fixed answer; and the locations that others ask.

use serde_json::{Map, Value, json};

use super::{Import, Scope, syntax::Directive, words};

/// A handler, and what goes with it.
#[derive(Default)]
pub(super) struct Handled {
    /// Keys of the route.
    pub(super) keys: Map<String, Value>,
    pub(super) policies: Vec<Value>,
}

impl Handled {
    fn of(key: &str, value: Value) -> Self {
        let mut handled = Self::default();
        handled.keys.insert(key.to_owned(), value);
        handled
    }

    /// An answer in the place of what cannot be had.
    pub(super) fn missing() -> Self {
        Self::of("respond", json!({"status": 501}))
    }
}

/// Protocols that are not HTTP.
const OTHER: [&str; 9] = [
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
        if let Some(other) = OTHER.iter().find_map(|name| own.one(name)) {
            self.note(other, "no counterpart: the location answers 501");
            return Handled::missing();
        }
        if let Some(pass) = own.one("proxy_pass").or_else(|| own.one("grpc_pass")) {
            return self.passed(scope, pass, prefix, is_exact);
        }
        self.files(scope, place, prefix)
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
        if is_exact {
            handled.policies.push(json!({"rewrite": {"path": {"full": path}}}));
            return;
        }
        // Where both end with a slash, or neither does, what is behind stays as it is.
        let is_even = prefix.ends_with('/') == path.ends_with('/');
        if !is_even && prefix != "/" {
            let pattern = format!("^{}", regex::escape(prefix));
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
            let is_redirect = ["redirect", "permanent"].contains(&one.arg(2)) || replacement.contains("://");
            let is_known = regex::Regex::new(pattern).is_ok();
            let has_other = variables(replacement).any(|name| name.parse::<usize>().is_err());
            if number > 0 || is_redirect || !is_known || has_other {
                continue;
            }
            one.seen.set(true);
            // The whole path is replaced, wherever the pattern is found.
            let before = if pattern.starts_with('^') { "" } else { "^.*?" };
            let behind = if pattern.ends_with('$') { "" } else { ".*$" };
            let pattern = format!("{before}{pattern}{behind}");
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

    fn files(&mut self, scope: &Scope<'a>, place: &'a Directive, prefix: Option<&str>) -> Handled {
        let own = Scope { levels: vec![place.inside()] };
        let tried = scope.one("try_files");
        let last = tried.and_then(|one| one.args.last()).map(String::as_str);
        if let Some((tried, name)) = tried.zip(last.filter(|name| name.starts_with('@'))) {
            let all = scope.levels.iter().flat_map(|level| level.iter());
            let found = all.filter(|one| one.name == "location").find(|one| one.arg(0) == name);
            if let Some(target) = found {
                target.seen.set(true);
                self.note(
                    tried,
                    format_args!("files are not looked for first here: all goes to `{name}`; give the files a route of their own"),
                );
                return self.handled(&scope.with(target.inside()), target, prefix, false);
            }
        }
        let alias = own.arg("alias");
        let Some(root) = alias.or_else(|| scope.arg("root")) else {
            self.note(place, "it has no `root` and nothing that answers: the location answers 404");
            return Handled::of("respond", json!({"status": 404}));
        };
        if root.contains('$') || (alias.is_some() && prefix.is_none()) {
            self.note(place, format_args!("no counterpart: files under `{root}`; the location answers 501"));
            return Handled::missing();
        }
        let mut files = json!({"root": self.path(root.trim_end_matches('/'))});
        if let (Some(_), Some(prefix)) = (alias, prefix) {
            let prefix = prefix.trim_end_matches('/');
            if !prefix.is_empty() {
                files["stripPrefix"] = json!(prefix);
            }
        }
        if let Some(index) = scope.one("index") {
            files["index"] = json!(index.args);
        }
        if let Some(page) = last.filter(|name| name.starts_with('/')) {
            files["spaFallback"] = json!(page.trim_start_matches('/').split('?').next());
        }
        for page in scope.all("error_page") {
            let target = page.args.last().map_or("", String::as_str);
            if page.args.iter().any(|status| status == "404") && target.starts_with('/') {
                files["notFound"] = json!(target.trim_start_matches('/'));
            } else {
                self.note(page, "no counterpart");
            }
        }
        let mut encoded = Vec::new();
        for (name, coding) in [("brotli_static", "br"), ("gzip_static", "gzip")] {
            if scope.arg(name).is_some_and(|way| way != "off") {
                encoded.push(coding);
            }
        }
        if !encoded.is_empty() {
            files["precompressed"] = json!(encoded);
        }
        if scope.is_on("autoindex") {
            self.note(place, "no counterpart: `autoindex`, directories are never listed");
        }
        Handled::of("static", files)
    }

    /// `return`.
    pub(super) fn returned(&mut self, own: &Scope<'a>, scope: &Scope<'a>, answer: &'a Directive) -> Handled {
        let (status, text) = match answer.arg(0).parse::<u64>() {
            Ok(status) => (status, answer.arg(1)),
            Err(_) => (302, answer.arg(0)),
        };
        if matches!(status, 301..=303 | 307 | 308) {
            return match redirect(text, status) {
                Some(redirect) => Handled::of("redirect", redirect),
                None => {
                    self.note(answer, format_args!("no counterpart: `{text}`; the location answers 501"));
                    Handled::missing()
                }
            };
        }
        if status == 444 {
            self.note(answer, "a connection is not closed without an answer here: it is 404");
            return Handled::of("respond", json!({"status": 404}));
        }
        let mut respond = json!({"status": status});
        if !text.is_empty() {
            if text.contains('$') {
                self.note(
                    answer,
                    format_args!("no counterpart: variables in `{text}`, which is sent as it is"),
                );
            }
            let fields = own.all("add_header");
            let named = fields.iter().find(|one| one.arg(0).eq_ignore_ascii_case("content-type"));
            let kind =
                named.map(|one| one.arg(1)).or_else(|| scope.arg("default_type")).unwrap_or("text/plain");
            respond["headers"] = json!({"content-type": kind});
            respond["body"] = json!(text);
        }
        Handled::of("respond", respond)
    }

    /// The location that `auth_request` asks, as `extAuth`.
    pub(super) fn judge(&mut self, scope: &Scope<'a>, ask: &'a Directive) -> Option<Value> {
        let (inner, pass) = asked(scope, ask.arg(0))?;
        let target = self.target(&inner, pass)?;
        let path = target.path.unwrap_or_else(|| ask.arg(0).to_owned());
        let mut policy = json!({"upstream": target.upstream, "path": path});
        let fields = inner.all("proxy_set_header");
        let shown = fields.iter().filter_map(|one| one.arg(1).strip_prefix("$http_"));
        let mut shown: Vec<String> = shown.map(|name| name.replace('_', "-")).collect();
        if !shown.is_empty() {
            for name in ["authorization", "cookie"] {
                if !shown.iter().any(|known| known == name) {
                    shown.push(name.to_owned());
                }
            }
            policy["requestHeaders"] = json!(shown);
        }
        let names: Vec<String> = judged(scope).map(|(_, name)| name).collect();
        if !names.is_empty() {
            policy["upstreamHeaders"] = json!(names);
        }
        Some(json!({"extAuth": policy}))
    }

    /// Whether a value is one that `auth_request` found.
    pub(super) fn is_judged(&mut self, scope: &Scope<'a>, value: &str) -> bool {
        judged(scope).any(|(variable, _)| variable == value)
    }

    pub(super) fn mirror(&mut self, scope: &Scope<'a>) -> Option<Value> {
        let mirror = scope.one("mirror").filter(|one| one.arg(0) != "off")?;
        let found = asked(scope, mirror.arg(0));
        let target = found.and_then(|(inner, pass)| self.target(&inner, pass));
        let Some(target) = target else {
            self.note(mirror, "no counterpart: it leads to no upstream");
            return None;
        };
        Some(json!({"mirror": {"upstream": target.upstream}}))
    }
}

/// The location of a path that others ask, and what it passes to.
fn asked<'a>(scope: &Scope<'a>, path: &str) -> Option<(Scope<'a>, &'a Directive)> {
    let all = scope.levels.iter().rev().flat_map(|level| level.iter());
    let found = all
        .filter(|one| one.name == "location")
        .find(|one| one.args.last().is_some_and(|own| own == path))?;
    let inner = scope.with(found.inside());
    found.take();
    let pass = found.inside().iter().find(|one| one.name == "proxy_pass")?;
    Some((inner, pass))
}

/// Variables of `auth_request_set` that are headers of the answer, with these.
fn judged<'a>(scope: &Scope<'a>) -> impl Iterator<Item = (&'a str, String)> {
    scope.all("auth_request_set").into_iter().filter_map(|one| {
        let name = one.arg(1).strip_prefix("$upstream_http_")?;
        Some((one.arg(0), name.replace('_', "-")))
    })
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

/// A redirect to an address; none where it has parts that a redirect here cannot have.
pub(super) fn redirect(to: &str, status: u64) -> Option<Value> {
    let mut redirect = Map::new();
    let mut path = to;
    if let Some((scheme, rest)) = to.split_once("://") {
        let end = rest
            .find('/')
            .or_else(|| rest.find("$request_uri"))
            .or_else(|| rest.find("$uri"))
            .unwrap_or(rest.len());
        let (host, behind) = rest.split_at(end);
        match scheme {
            "http" | "https" => drop(redirect.insert("scheme".to_owned(), json!(scheme))),
            "$scheme" => {}
            _ => return None,
        }
        let (name, port) =
            host.rsplit_once(':').map_or((host, None), |(name, port)| (name, port.parse::<u64>().ok()));
        match name {
            "$host" | "$http_host" | "$server_name" => {}
            name if name.contains('$') => return None,
            name => drop(redirect.insert("host".to_owned(), json!(name))),
        }
        if let Some(port) = port {
            redirect.insert("port".to_owned(), json!(port));
        }
        path = behind;
    }
    match path {
        "$request_uri" | "$uri$is_args$args" => {}
        "$uri" => drop(redirect.insert("keepQuery".to_owned(), json!(false))),
        _ => {
            let (fixed, keeps) = match path.strip_suffix("$is_args$args") {
                Some(fixed) => (fixed, true),
                None => (path, false),
            };
            if fixed.contains(['$', '?', '#']) {
                return None;
            }
            redirect.insert("path".to_owned(), json!(if fixed.is_empty() { "/" } else { fixed }));
            if !keeps {
                redirect.insert("keepQuery".to_owned(), json!(false));
            }
        }
    }
    redirect.insert("status".to_owned(), json!(status));
    Some(redirect.into())
}

/// A `rewrite` after which another location answers: with `last`, or without a flag.
fn leads_away(one: &Directive) -> bool {
    let is_redirect = ["http://", "https://", "$scheme"].iter().any(|start| one.arg(1).starts_with(start));
    one.name == "rewrite" && !is_redirect && !["break", "redirect", "permanent"].contains(&one.arg(2))
}

fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(|rest| {
        let rest = rest.trim_start_matches('{');
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap_or_default()
    })
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
    fn redirects_are_read_by_their_parts() {
        let made = |to| redirect(to, 301).map(|made| made.to_string());
        assert_eq!(made("https://$host$request_uri").as_deref(), Some(r#"{"scheme":"https","status":301}"#));
        assert_eq!(
            made("https://new.test:8443/a$is_args$args").as_deref(),
            Some(r#"{"scheme":"https","host":"new.test","port":8443,"path":"/a","status":301}"#)
        );
        assert_eq!(made("/b").as_deref(), Some(r#"{"path":"/b","keepQuery":false,"status":301}"#));
        assert_eq!(
            made("$scheme://x.test$uri").as_deref(),
            Some(r#"{"host":"x.test","keepQuery":false,"status":301}"#)
        );
        assert_eq!(made("https://$sub.test/"), None);
        assert_eq!(braced("/v2/$1x$2"), "/v2/${1}x${2}");
    }
}
