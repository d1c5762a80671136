//! Locations that others ask: whether a call is let in, and for a copy of it.

use serde_json::{Value, json};

use super::{Import, Scope, syntax::Directive};

impl<'a> Import<'a> {
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
        self.note(
            ask,
            "it sees `authorization`, `cookie` and what its location names of the client's headers, and the target as \
             `X-Forwarded-Uri`: write others that it needs into `requestHeaders` of `extAuth`",
        );
        let names: Vec<String> = judged(scope).map(|(_, name)| name).collect();
        if !names.is_empty() {
            policy["upstreamHeaders"] = json!(names);
        }
        Some(json!({"extAuth": policy}))
    }

    /// `mirror`.
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

/// The header of its answer that `auth_request` keeps in a variable.
pub(super) fn judged_by(scope: &Scope<'_>, value: &str) -> Option<String> {
    let is_asked = scope.one("auth_request").is_some_and(|one| one.arg(0) != "off");
    judged(scope).filter(|_| is_asked).find(|(variable, _)| *variable == value).map(|(_, name)| name)
}
