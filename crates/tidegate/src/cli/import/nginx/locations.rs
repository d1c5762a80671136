//! Servers and their locations as routes: in nginx's order, which is exact paths, then prefixes that end the search, then
//! regular expressions, then the longest prefix.

use serde_json::{Map, Value, json};

use super::{
    Import, Scope,
    faces::Face,
    files,
    handlers::{Handled, OTHER},
    lookahead,
    order::{self, Found, found, locations, refuses},
    syntax::Directive,
    words,
};

/// Lengths of prefixes as priorities hold them are below this, in letters.
const LENGTHS: i64 = 1000;

/// Ranks among the routes of a server, all below those of names: what the server itself sends elsewhere, exact paths,
/// regular expressions within other locations (the deeper one more), prefixes that end the search, regular expressions,
/// prefixes.
pub(super) const MOVED: i64 = 9;
const EXACT: i64 = 8;
const WITHIN: i64 = 5;
const ENDING: i64 = 4;
const REGEX: i64 = 2;
const PREFIX: i64 = 1;

impl<'a> Import<'a> {
    /// The routes of a server.
    pub(super) fn server(&mut self, scope: &Scope<'a>, server: &'a Directive, faces: &[Face]) {
        self.logs(scope);
        let title = server.inside().iter().find(|one| one.name == "server_name");
        let title = title.map(|one| words::name(one.arg(0))).filter(|name| name != "unnamed");
        let title = title.unwrap_or_else(|| "server".to_owned());
        self.secured(server);
        self.is_mixed = order::is_mixed(server.inside());
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
            self.moved(&title, server, one, faces);
        }
        let mut has_root = false;
        for location in locations(server.inside()) {
            has_root |= matches!(found(location), Found::Prefix("/", _));
            self.location(scope, server, location, &title, faces);
        }
        if has_root {
            return;
        }
        let has_files = server.inside().iter().any(|one| ["root", "try_files"].contains(&one.name.as_str()));
        if has_files {
            let (handled, policies) = self.answered(scope, scope, server, Some("/"), false);
            self.placed(&title, Map::new(), 0, handled, policies, faces);
            return;
        }
        // What none of its locations takes is no other server's.
        let named = faces.iter().filter(|face| !face.hosts.is_empty() || face.when.is_some()).cloned();
        let named: Vec<Face> = named.collect();
        self.placed(&format!("{title}-rest"), Map::new(), 0, Handled::status(404), Vec::new(), &named);
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
        let Some((mut how, rank)) = self.how(server, location, title, faces) else { return };
        let (prefix, is_exact) = match found(location) {
            Found::Exact(path) => (Some(path), true),
            Found::Prefix(path, _) => (Some(path), order::with_slash(server.inside(), path).is_some()),
            _ => (None, false),
        };
        let name = format!("{title}-{}", words::name(location.args.last().map_or("", String::as_str)));
        if let Found::Prefix(path, _) = found(location)
            && !path.ends_with('/')
            && refuses(location)
        {
            self.beside(location, path, &format!("{name}-beside"), rank, faces);
        }
        if let Found::Prefix(path, _) = found(location)
            && is_exact
            && order::has_exact(server.inside(), path)
        {
            return;
        }
        // What stands within is so, too.
        if scope.levels.iter().any(|level| level.iter().any(|one| one.name == "internal")) {
            location.take();
            self.note(location, "it is `internal`: from outside it is 404");
            self.placed(&name, how, rank, Handled::status(404), Vec::new(), faces);
            return;
        }
        if let Some(only) = location.inside().iter().find(|one| one.name == "limit_except") {
            // The other methods would go to a wider location.
            let refused = format!("{name}-refused");
            self.placed(&refused, how.clone(), rank, Handled::status(403), Vec::new(), faces);
            self.only(only, &mut how);
        }
        let (handled, policies) = self.answered(outer, &scope, location, prefix, is_exact);
        self.placed(&name, how, rank, handled, policies, faces);
    }

    /// What matches as a location does, and its rank; none where nothing here does.
    fn how(
        &mut self,
        server: &'a Directive,
        location: &'a Directive,
        title: &str,
        faces: &[Face],
    ) -> Option<(Map<String, Value>, i64)> {
        let level = server.inside();
        let is_mixed = self.is_mixed;
        let mut how = Map::new();
        match found(location) {
            Found::Named => None,
            Found::Exact(path) | Found::Prefix(path, _) if !path.starts_with('/') => {
                self.note(location, format_args!("`{path}` is no path: nothing is found by it; left out"));
                None
            }
            Found::Exact(path) => {
                how.insert("path".to_owned(), json!({"exact": words::path(path)}));
                Some((how, self.rank(EXACT, path)))
            }
            Found::Prefix(path, ends) => {
                let ends = !is_mixed && (ends || order::is_inside(level, path));
                let short = path.trim_end_matches('/');
                if !short.is_empty() && !path.ends_with('/') && !refuses(location) {
                    let last = short.rsplit('/').next().unwrap_or_default();
                    if !last.contains('.') {
                        self.note(
                            location,
                            format_args!("it takes `{path}` and what is below it, no `{path}x` as in nginx"),
                        );
                    }
                }
                if let Some(other_ends) = order::with_slash(level, path).filter(|_| !path.ends_with('/')) {
                    // What is below is the other's.
                    how.insert("path".to_owned(), json!({"exact": words::path(path)}));
                    let rank = if ends || (other_ends && !is_mixed) { ENDING } else { PREFIX };
                    return Some((how, self.rank(rank, &format!("{path}/"))));
                }
                if !short.is_empty() {
                    how.insert("path".to_owned(), json!({"prefix": words::path(short)}));
                }
                Some((how, self.rank(if ends { ENDING } else { PREFIX }, path)))
            }
            Found::Regex(pattern, is_blind) => {
                let depth = order::depth(level, location);
                let rank = if depth > 0 { WITHIN + depth.min(2) } else { REGEX };
                let rank = self.rank(rank, "");
                let (regex, conditions) =
                    (words::location(pattern, is_blind), order::around(level, location));
                let (Some(regex), Some(mut conditions)) = (regex, conditions) else {
                    self.unknown(server, location, pattern, rank, title, faces);
                    return None;
                };
                if depth == 0 && is_mixed {
                    conditions = order::is_tried(level);
                }
                how.insert("path".to_owned(), json!({"regex": regex}));
                if !conditions.is_empty() {
                    how.insert("when".to_owned(), json!(conditions.join(" && ")));
                }
                Some((how, rank))
            }
        }
    }

    /// A regular expression that is none here: where it guards, a wider one is closed in its place.
    fn unknown(
        &mut self,
        server: &'a Directive,
        location: &'a Directive,
        pattern: &str,
        rank: i64,
        title: &str,
        faces: &[Face],
    ) {
        let has_script = location.inside().iter().any(|one| OTHER.contains(&one.name.as_str()));
        if !refuses(location) && !has_script {
            self.note(
                location,
                format_args!(
                    "`{pattern}` is no regular expression here; left out, and answered by whatever else fits"
                ),
            );
            return;
        }
        location.take();
        let wider = lookahead::wider(pattern);
        self.note(
            location,
            format_args!(
                "CLOSED, for `{pattern}` is no regular expression here, with all that `{wider}` takes"
            ),
        );
        let regex = words::location(&wider, true).unwrap_or_else(|| "(?s).*".to_owned());
        let mut how = Map::from_iter([("path".to_owned(), json!({"regex": regex}))]);
        let around = order::around(server.inside(), location).unwrap_or_default();
        if !around.is_empty() {
            how.insert("when".to_owned(), json!(around.join(" && ")));
        }
        let name = format!("{title}-{}-closed", words::name(pattern));
        let status = if has_script { 501 } else { 403 };
        self.placed(&name, how, rank, Handled::status(status), Vec::new(), faces);
    }

    /// What answers at a place, with the policies of it and of the location that answers in its stead.
    fn answered(
        &mut self,
        outer: &Scope<'a>,
        scope: &Scope<'a>,
        place: &'a Directive,
        prefix: Option<&str>,
        is_exact: bool,
    ) -> (Handled, Vec<Value>) {
        let Some((tried, named)) = files::stand_in(outer, place) else {
            let handled = self.handled(scope, place, prefix, is_exact);
            return (handled, self.policies(scope, place));
        };
        named.seen.set(true);
        self.note(
            tried,
            format_args!(
                "files are not looked for first here: all goes to `{}`; give the files a route of their own",
                named.arg(0)
            ),
        );
        let inner = outer.with(named.inside());
        let handled = self.handled(&inner, named, prefix, is_exact);
        let mut policies = self.passed_on(scope, place);
        for policy in self.policies(&inner, named) {
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        (handled, policies)
    }

    /// A rank among those of a server, with the length of a prefix where lengths count.
    pub(super) fn rank(&self, rank: i64, prefix: &str) -> i64 {
        let length = i64::try_from(prefix.len()).unwrap_or(i64::MAX).min(LENGTHS - 1);
        if self.has_lengths { rank * LENGTHS + length } else { rank }
    }

    /// Refuses what a prefix takes that goes on within its last segment, so that no wider location answers it.
    fn beside(&mut self, location: &Directive, path: &str, name: &str, rank: i64, faces: &[Face]) {
        let regex = format!("(?s){}[^/].*", regex::escape(&words::path(path)));
        let how = Map::from_iter([("path".to_owned(), json!({"regex": regex}))]);
        self.note(
            location,
            format_args!(
                "it takes `{path}` and what is below it; `{path}x`, which it takes in nginx, is CLOSED here"
            ),
        );
        self.placed(name, how, rank, Handled::status(403), Vec::new(), faces);
    }

    fn only(&mut self, only: &'a Directive, how: &mut Map<String, Value>) {
        let refuses = only.inside().iter().any(|one| one.name == "deny" && one.arg(0) == "all");
        let is_plain = only.inside().len() == 1 && refuses;
        if !is_plain {
            self.note(only, "CLOSED for the other methods, for who may use them is not taken over");
        }
        only.take();
        let mut methods: Vec<String> = only.args.iter().map(|method| method.to_ascii_uppercase()).collect();
        if methods.iter().any(|method| method == "GET") && !methods.iter().any(|method| method == "HEAD") {
            methods.push("HEAD".to_owned());
        }
        how.insert("methods".to_owned(), json!(methods));
    }

    /// Writes a route for each face of its server.
    pub(super) fn placed(
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
                let both = match how.get("when").and_then(Value::as_str) {
                    Some(own) => format!("({when}) && {own}"),
                    None => when.clone(),
                };
                how.insert("when".to_owned(), json!(both));
            }
            if !how.is_empty() {
                route.insert("match".to_owned(), json!([how]));
            }
            let scale = if self.has_lengths { LENGTHS } else { 1 };
            let rank = face.rank * scale + if self.has_levels || rank == MOVED { rank } else { 0 };
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
