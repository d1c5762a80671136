//! Servers and their locations as routes: in nginx's order, which is exact paths, then prefixes that end the search, then
//! regular expressions, then the longest prefix.

use serde_json::{Map, Value, json};

use super::{
    Import, Scope,
    faces::Face,
    handlers::{Handled, redirect},
    policies::{is_guard, nobody},
    syntax::Directive,
    words,
};

/// Lengths of prefixes as priorities hold them are below this, in letters.
const LENGTHS: i64 = 1000;

/// How a location is found.
enum Found<'a> {
    Exact(&'a str),
    /// The flag is `^~`: no regular expression goes before it.
    Prefix(&'a str, bool),
    /// The flag is `~*`: whatever the case.
    Regex(&'a str, bool),
    Named,
}

fn found(location: &Directive) -> Found<'_> {
    match (location.arg(0), location.args.get(1)) {
        ("=", Some(path)) => Found::Exact(path),
        ("^~", Some(path)) => Found::Prefix(path, true),
        ("~", Some(pattern)) => Found::Regex(pattern, false),
        ("~*", Some(pattern)) => Found::Regex(pattern, true),
        (name, _) if name.starts_with('@') => Found::Named,
        // The sign and the path may be one word.
        (one, _) => match (
            one.strip_prefix("^~"),
            one.strip_prefix("~*"),
            one.strip_prefix('~'),
            one.strip_prefix('='),
        ) {
            (Some(path), ..) => Found::Prefix(path, true),
            (_, Some(pattern), ..) => Found::Regex(pattern, true),
            (_, _, Some(pattern), _) => Found::Regex(pattern, false),
            (.., Some(path)) => Found::Exact(path),
            _ => Found::Prefix(one, false),
        },
    }
}

fn locations(level: &[Directive]) -> Vec<&Directive> {
    let mut all = Vec::new();
    for one in level.iter().filter(|one| one.name == "location") {
        all.push(one);
        all.extend(locations(one.inside()));
    }
    all
}

/// Whether some location goes before others whatever its length.
pub(super) fn has_levels(server: &[Directive]) -> bool {
    locations(server).into_iter().any(|one| matches!(found(one), Found::Regex(..) | Found::Prefix(_, true)))
}

/// Whether some prefix refuses what is longer than its last segment, too: `/admin` takes `/adminx` in nginx.
pub(super) fn has_refusing(server: &[Directive]) -> bool {
    locations(server).into_iter().any(|one| match found(one) {
        Found::Prefix(path, _) => !path.ends_with('/') && refuses(one),
        _ => false,
    })
}

/// Whether something in a location itself refuses.
fn refuses(location: &Directive) -> bool {
    location.inside().iter().any(|one| match one.name.as_str() {
        "deny" | "internal" | "limit_except" | "satisfy" => true,
        "auth_basic" | "auth_request" => one.arg(0) != "off",
        "return" => one.arg(0).starts_with('4'),
        "if" => refuses(one),
        name => is_guard(name) && one.arg(0) != "off",
    })
}

impl<'a> Import<'a> {
    /// The routes of a server.
    pub(super) fn server(&mut self, scope: &Scope<'a>, server: &'a Directive, faces: &[Face]) {
        self.logs(scope);
        let title = server.inside().iter().find(|one| one.name == "server_name");
        let title = title.map(|one| words::name(one.arg(0))).filter(|name| name != "unnamed");
        let title = title.unwrap_or_else(|| "server".to_owned());
        self.secured(server);
        self.is_unasked = self.unasked.iter().any(|one| std::ptr::eq(*one, server));
        if let Some(answer) = server.inside().iter().find(|one| one.name == "return") {
            // It answers all, whatever locations there are.
            answer.seen.set(true);
            let own = Scope { levels: vec![server.inside()] };
            let handled = self.returned(&own, scope, answer);
            let policies = self.policies(scope, server);
            server.inside().iter().filter(|one| one.name == "location").for_each(Directive::take);
            self.placed(&title, Map::new(), 0, handled, policies, faces);
            return;
        }
        for one in server.inside().iter().filter(|one| one.name == "rewrite") {
            self.moved(&title, one, faces);
        }
        let mut has_root = false;
        for location in locations(server.inside()) {
            has_root |= matches!(found(location), Found::Prefix("/", _));
            self.location(scope, server, location, &title, faces);
        }
        let has_files = server.inside().iter().any(|one| ["root", "try_files"].contains(&one.name.as_str()));
        if !has_root && has_files {
            let handled = self.handled(scope, server, Some("/"), false);
            let policies = self.policies(scope, server);
            self.placed(&title, Map::new(), 0, handled, policies, faces);
        }
    }

    /// `if ($scheme = http) { return 301 https://… }`, which a listener without TLS may say of itself.
    fn secured(&mut self, server: &'a Directive) {
        for one in server.inside().iter().filter(|one| one.name == "if") {
            let condition = one.args.join(" ").replace(['(', ')', '"', '\''], "");
            let is_plain = ["$scheme = http", "$scheme != https", "$https = ", "$https !~ on"]
                .contains(&condition.trim())
                || condition.trim() == "$https =";
            let leads = one.inside().iter().find(|inner| inner.name == "return");
            if is_plain && leads.is_some_and(|leads| leads.args.iter().any(|arg| arg.starts_with("https://")))
            {
                one.take();
                self.note(one, "write `redirectToHttps: true` at the listener without TLS");
            }
        }
    }

    /// The levels around a location, itself the last.
    fn levels(scope: &Scope<'a>, level: &'a [Directive], location: &Directive) -> Option<Scope<'a>> {
        for one in level.iter().filter(|one| one.name == "location") {
            let inner = scope.with(one.inside());
            if std::ptr::eq(one, location) {
                return Some(inner);
            }
            if let Some(found) = Self::levels(&inner, one.inside(), location) {
                return Some(found);
            }
        }
        None
    }

    fn location(
        &mut self,
        outer: &Scope<'a>,
        server: &'a Directive,
        location: &'a Directive,
        title: &str,
        faces: &[Face],
    ) {
        if !matches!(found(location), Found::Named) {
            location.seen.set(true);
        }
        let Some(scope) = Self::levels(outer, server.inside(), location) else { return };
        let mut how = Map::new();
        let rank;
        let (mut prefix, mut is_exact) = (None, false);
        let name = match found(location) {
            Found::Named => return,
            Found::Exact(path) => {
                rank = 4;
                (prefix, is_exact) = (Some(path), true);
                how.insert("path".to_owned(), json!({"exact": path}));
                path
            }
            Found::Prefix(path, ends) => {
                let is_inside = self.is_inside(server, path);
                rank = if ends || is_inside { 3 } else { 1 };
                prefix = Some(path);
                if is_inside && !ends && has_regex(server) {
                    self.note(
                        location,
                        "it stands within a `^~` location: regular expressions do not go before it here",
                    );
                }
                let short = if path == "/" { path } else { path.trim_end_matches('/') };
                if path != "/" {
                    how.insert("path".to_owned(), json!({"prefix": short}));
                    if !path.ends_with('/')
                        && !refuses(location)
                        && short.rsplit('/').next().is_some_and(|last| !last.contains('.'))
                    {
                        self.note(
                            location,
                            format_args!("it takes `{path}` and what is below it, no `{path}x` as in nginx"),
                        );
                    }
                }
                path
            }
            Found::Regex(pattern, is_blind) => {
                rank = 2;
                let Some(regex) = words::whole(pattern, is_blind) else {
                    self.note(location, format_args!("`{pattern}` is no regular expression here; left out, and answered by whatever else fits"));
                    return;
                };
                how.insert("path".to_owned(), json!({"regex": regex}));
                pattern
            }
        };
        let rank = self.rank(rank, prefix.unwrap_or_default());
        if let Found::Prefix(path, _) = found(location)
            && !path.ends_with('/')
            && refuses(location)
        {
            self.beside(location, path, &format!("{title}-{}-beside", words::name(name)), rank, faces);
        }
        if location.inside().iter().any(|one| one.name == "internal") {
            location.take();
            self.note(location, "it is `internal`: from outside it is 404");
            let handled = Handled {
                keys: Map::from_iter([("respond".to_owned(), json!({"status": 404}))]),
                policies: Vec::new(),
            };
            self.placed(&format!("{title}-{}", words::name(name)), how, rank, handled, Vec::new(), faces);
            return;
        }
        if let Some(only) = location.inside().iter().find(|one| one.name == "limit_except") {
            // The other methods would go to a wider location.
            let refused = Handled {
                keys: Map::from_iter([("respond".to_owned(), json!({"status": 403}))]),
                policies: Vec::new(),
            };
            let refused_name = format!("{title}-{}-refused", words::name(name));
            self.placed(&refused_name, how.clone(), rank, refused, Vec::new(), faces);
            self.only(only, &mut how);
        }
        let mut handled = self.handled(&scope, location, prefix, is_exact);
        let policies = self.policies(&scope, location);
        handled.policies.extend(policies);
        let policies = std::mem::take(&mut handled.policies);
        self.placed(&format!("{title}-{}", words::name(name)), how, rank, handled, policies, faces);
    }

    /// A rank among those of a server, with the length of a prefix where lengths count.
    fn rank(&self, rank: i64, prefix: &str) -> i64 {
        let length = i64::try_from(prefix.len()).unwrap_or(i64::MAX).min(LENGTHS - 1);
        if self.has_lengths { rank * LENGTHS + length } else { rank }
    }

    /// Refuses what a prefix takes that goes on within its last segment, so that no wider location answers it.
    fn beside(&mut self, location: &Directive, path: &str, name: &str, rank: i64, faces: &[Face]) {
        let regex = format!("(?s){}[^/].*", regex::escape(path));
        let how = Map::from_iter([("path".to_owned(), json!({"regex": regex}))]);
        let handled = Handled {
            keys: Map::from_iter([("respond".to_owned(), json!({"status": 403}))]),
            policies: Vec::new(),
        };
        self.note(
            location,
            format_args!(
                "it takes `{path}` and what is below it; `{path}x`, which it takes in nginx, is CLOSED here"
            ),
        );
        self.placed(name, how, rank, handled, Vec::new(), faces);
    }

    /// Whether a prefix lies below one that ends the search.
    fn is_inside(&self, server: &Directive, path: &str) -> bool {
        locations(server.inside()).into_iter().any(|one| {
            matches!(found(one), Found::Prefix(outer, true) if path.len() > outer.len() && path.starts_with(outer))
        })
    }

    fn only(&mut self, only: &'a Directive, how: &mut Map<String, Value>) {
        let refuses = only.inside().iter().any(|one| one.name == "deny" && one.arg(0) == "all");
        let is_plain = only.inside().len() == 1 && refuses;
        if !is_plain {
            self.note(only, "CLOSED for the other methods, for who may use them is not taken over");
        }
        only.take();
        let mut methods = only.args.clone();
        if methods.iter().any(|method| method == "GET") && !methods.iter().any(|method| method == "HEAD") {
            methods.push("HEAD".to_owned());
        }
        how.insert("methods".to_owned(), json!(methods));
    }

    /// `rewrite … permanent` of a server, whose target has no variables.
    fn moved(&mut self, title: &str, rewrite: &'a Directive, faces: &[Face]) {
        let status = match rewrite.arg(2) {
            "permanent" => 301,
            _ if rewrite.arg(2) == "redirect" || rewrite.arg(1).contains("://") => 302,
            _ => return,
        };
        let (Some(regex), Some(mut made)) =
            (words::whole(rewrite.arg(0), false), redirect(rewrite.arg(1).trim_end_matches('?'), status))
        else {
            return;
        };
        rewrite.seen.set(true);
        // Unlike `return`, it keeps the query unless a `?` ends it.
        if !rewrite.arg(1).ends_with('?')
            && let Some(made) = made.as_object_mut()
        {
            made.remove("keepQuery");
        }
        let how = Map::from_iter([("path".to_owned(), json!({"regex": regex}))]);
        let handled = Handled { keys: Map::from_iter([("redirect".to_owned(), made)]), policies: Vec::new() };
        let policies = if self.is_unasked { vec![nobody()] } else { Vec::new() };
        self.placed(&format!("{title}-moved"), how, self.rank(5, ""), handled, policies, faces);
    }

    /// Writes a route for each face of its server.
    fn placed(
        &mut self,
        name: &str,
        how: Map<String, Value>,
        rank: i64,
        handled: Handled,
        mut policies: Vec<Value>,
        faces: &[Face],
    ) {
        policies.splice(0..0, handled.policies);
        for face in faces {
            let mut route = Map::new();
            route.insert("name".to_owned(), json!(self.free_name(name)));
            if !face.hosts.is_empty() {
                route.insert("hosts".to_owned(), json!(face.hosts));
            }
            if self.listeners.len() > 1 && face.listeners.len() < self.listeners.len() {
                route.insert("listeners".to_owned(), json!(face.listeners));
            }
            let mut how = how.clone();
            if let Some(when) = &face.when {
                how.insert("when".to_owned(), json!(when));
            }
            if !how.is_empty() {
                route.insert("match".to_owned(), json!([how]));
            }
            let scale = if self.has_lengths { LENGTHS } else { 1 };
            let rank = face.rank * scale + if self.has_levels || rank == 5 { rank } else { 0 };
            if rank > 0 {
                route.insert("priority".to_owned(), json!(rank));
            }
            if !policies.is_empty() {
                route.insert("policies".to_owned(), json!(policies));
            }
            route.extend(handled.keys.clone());
            self.routes.push(route.into());
        }
    }

    fn logs(&mut self, scope: &Scope<'a>) {
        for log in scope.all("access_log") {
            match log.arg(0) {
                "off" => {}
                path if path.starts_with("syslog:") || path.contains('$') => {
                    if log.seen.replace(true) {
                        self.note(
                            log,
                            "no counterpart as it is: write an `accessLog` of kind `syslog`, or a fixed path",
                        );
                    }
                }
                path => {
                    let made = json!({"kind": "file", "path": self.path(path), "format": "json"});
                    if !self.logs.contains(&made) {
                        self.logs.push(made);
                        self.note(log, "every call is written to it, as JSON");
                    }
                }
            }
        }
    }
}

fn has_regex(server: &Directive) -> bool {
    locations(server.inside()).into_iter().any(|one| matches!(found(one), Found::Regex(..)))
}
