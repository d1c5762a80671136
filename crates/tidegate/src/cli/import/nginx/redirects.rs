//! What sends clients elsewhere or answers by itself: `return`, and `rewrite` with a new address.

use serde_json::{Map, Value, json};

use super::{
    Import, Scope,
    faces::Face,
    handlers::Handled,
    locations::MOVED,
    order::{Found, found, locations, refuses},
    syntax::Directive,
    words,
};
use crate::cli::import::nobody;

/// Starts of addresses to which `rewrite` sends clients without a flag.
const ADDRESSES: [&str; 3] = ["http://", "https://", "$scheme"];

impl<'a> Import<'a> {
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
        if !(200..600).contains(&status) {
            self.note(answer, format_args!("no counterpart: the status {status}; the location answers 501"));
            return Handled::missing();
        }
        if status == 444 {
            self.note(answer, "a connection is not closed without an answer here: it is 404");
            return Handled::status(404);
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

    /// `rewrite` of a server.
    pub(super) fn moved(
        &mut self,
        title: &str,
        server: &'a Directive,
        rewrite: &'a Directive,
        faces: &[Face],
    ) {
        let Some(regex) = words::location(rewrite.arg(0), false) else { return };
        let (handled, name) = match redirected(rewrite) {
            Some(made) => (Handled::of("redirect", made), "moved"),
            // What cannot be had must not open what it kept clients away from.
            None if is_redirect(rewrite) && takes_all(rewrite, "/") || leads_to_refusing(server, rewrite) => {
                self.note(rewrite, "no counterpart: what it takes answers 501");
                (Handled::missing(), "away")
            }
            None => return,
        };
        rewrite.seen.set(true);
        let how = Map::from_iter([("path".to_owned(), json!({"regex": regex}))]);
        let policies = if self.is_unasked { vec![nobody()] } else { Vec::new() };
        self.placed(&format!("{title}-{name}"), how, self.rank(MOVED, ""), handled, policies, faces);
    }

    /// `rewrite` of a location that sends all its calls elsewhere.
    pub(super) fn sent_away(&mut self, place: &'a Directive, prefix: Option<&str>) -> Option<Handled> {
        let mut all = place.inside().iter().filter(|one| one.name == "rewrite" && is_redirect(one));
        let one = all.find(|one| takes_all(one, prefix.unwrap_or("/")))?;
        one.seen.set(true);
        let made = redirected(one).map(|made| Handled::of("redirect", made));
        if made.is_none() {
            self.note(one, "no counterpart: the location answers 501");
        }
        Some(made.unwrap_or_else(Handled::missing))
    }
}

/// Whether a `rewrite` sends clients elsewhere.
pub(super) fn is_redirect(one: &Directive) -> bool {
    ["redirect", "permanent"].contains(&one.arg(2))
        || ADDRESSES.iter().any(|start| one.arg(1).starts_with(start))
}

/// A `rewrite` after which another location answers: with `last`, or without a flag.
pub(super) fn leads_away(one: &Directive) -> bool {
    one.name == "rewrite" && !is_redirect(one) && one.arg(2) != "break"
}

/// Whether a `rewrite` takes every path of a place.
fn takes_all(one: &Directive, prefix: &str) -> bool {
    let pattern = one.arg(0);
    let bare = pattern.replace(['^', '$', '(', ')'], "");
    let rest = bare.strip_prefix(prefix.trim_end_matches('/')).unwrap_or(&bare);
    let is_open = ["", "/", "."].contains(&rest) && !pattern.ends_with('$');
    is_open || [".*", "/.*", "/?.*", "/.*?", ".+", "/.+"].contains(&rest)
}

/// Whether a `rewrite` of a server leads to a location that refuses somebody.
fn leads_to_refusing(server: &Directive, one: &Directive) -> bool {
    let target = one.arg(1).split('$').next().unwrap_or_default();
    leads_away(one)
        && target.len() > 1
        && locations(server.inside()).into_iter().filter(|location| refuses(location)).any(|location| {
            match found(location) {
                Found::Exact(path) | Found::Prefix(path, _) => {
                    path.starts_with(target) || target.starts_with(path)
                }
                Found::Regex(..) | Found::Named => false,
            }
        })
}

/// `rewrite` as a redirect. Unlike `return`, it keeps the query unless a `?` ends it.
fn redirected(one: &Directive) -> Option<Value> {
    if !is_redirect(one) {
        return None;
    }
    let status = if one.arg(2) == "permanent" { 301 } else { 302 };
    let mut made = redirect(one.arg(1).trim_end_matches('?'), status)?;
    if !one.arg(1).ends_with('?')
        && let Some(made) = made.as_object_mut()
    {
        made.remove("keepQuery");
    }
    Some(made)
}

/// A redirect to an address; none where it has parts that a redirect here cannot have.
fn redirect(to: &str, status: u64) -> Option<Value> {
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
    }

    #[test]
    fn a_pattern_takes_all_of_a_place_or_some() {
        let rewrite = |pattern: &str| Directive {
            name: "rewrite".to_owned(),
            args: vec![pattern.to_owned(), "/x".to_owned()],
            block: None,
            place: String::new(),
            seen: std::cell::Cell::new(false),
        };
        for pattern in
            ["^", "^(.*)$", "^/(.*)", "/", ".", "^/old(/.*)?$", "^/old", "/old/(.*)$", "^/old/(.+)$"]
        {
            assert!(takes_all(&rewrite(pattern), "/old/"), "{pattern}");
        }
        for pattern in ["^/$", "^/old$", "^/old/x", "^/old/?$", "^/(a|b)$", "^/older/(.*)$"] {
            assert!(!takes_all(&rewrite(pattern), "/old/"), "{pattern}");
        }
    }
}
