//! Whether documents and routes fit: where no path of a document is one that its route matches, no request is ever known.

use std::{collections::HashMap, path::PathBuf};

use model::{
    FilePath, Phase, Route, Snapshot,
    resource::route_match::{Match, PathMatch},
};
use serde_json::Value;

/// Documents as far as they were read for this, each once.
pub(crate) struct Fitting<'s> {
    pub(crate) snapshot: &'s Snapshot,
    read: HashMap<PathBuf, Option<Known>>,
}

/// What counts of a document.
struct Known {
    /// The path of its first server.
    base: String,
    paths: Vec<String>,
}

impl<'s> Fitting<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot) -> Self {
        Self { snapshot, read: HashMap::new() }
    }

    /// What is wrong where no path of a document is one that a route matches. `last` is when the path of a request is looked at:
    /// what may change it until then changes what is right.
    pub(crate) fn wrong(
        &mut self,
        (file, base): (&FilePath, Option<&str>),
        route: &Route,
        last: Phase,
    ) -> Option<String> {
        let matches = &route.matches;
        let takes_all = |one: &Match| match &one.path {
            Some(PathMatch::Prefix(path)) => path.trim_end_matches('/').is_empty(),
            Some(_) => false,
            None => true,
        };
        if matches.is_empty() || matches.iter().any(takes_all) || self.moves_paths(route, last) {
            return None;
        }
        let snapshot = self.snapshot;
        let known = self.read.entry(file.as_path().to_path_buf());
        let known = known.or_insert_with(|| Known::read(file, snapshot)).as_ref()?;
        let base = base.map_or(known.base.as_str(), |base| base.trim_end_matches('/'));
        if known.may_fit(base, matches) {
            return None;
        }
        let below = if base.is_empty() { String::new() } else { format!(" below `{base}`") };
        let prefix = matches.iter().find_map(|one| match &one.path {
            Some(PathMatch::Prefix(path)) => Some(path.trim_end_matches('/')),
            _ => None,
        });
        let remedy = match prefix {
            _ if known.may_fit("", matches) => "write `basePath: /`".to_owned(),
            Some(prefix) => format!("write such as `basePath: {prefix}`"),
            None => "say by `basePath` what stands before them".to_owned(),
        };
        Some(format!(
            "no path of `{file}`{below} is one that the route matches, so that no request is known to it: {remedy}"
        ))
    }

    /// Whether a policy may change paths in this phase or before.
    fn moves_paths(&self, route: &Route, last: Phase) -> bool {
        let config = &self.snapshot.config;
        let listeners = config.listeners.iter().flat_map(|listener| &listener.policies);
        let consumers = config.consumers.iter().flat_map(|consumer| &consumer.policies);
        let all = route.policies.iter().chain(&config.global_policies).chain(listeners).chain(consumers);
        let mut all = all.filter_map(|used| self.snapshot.policy(used));
        all.any(|policy| policy.moves_paths() && policy.phase() <= last)
    }
}

impl Known {
    fn read(file: &FilePath, snapshot: &Snapshot) -> Option<Self> {
        let root = super::tree(file, snapshot).ok()?;
        let paths = root.get("paths").and_then(Value::as_object)?;
        let paths = paths.keys().filter(|path| path.starts_with('/')).cloned().collect();
        Some(Self { base: super::base(&root).unwrap_or_default(), paths })
    }

    /// Whether some path below a base may be one that one of these matches.
    fn may_fit(&self, base: &str, matches: &[Match]) -> bool {
        self.paths.iter().any(|path| {
            let whole = whole(base, path);
            matches.iter().any(|one| one.path.as_ref().is_none_or(|own| may_meet(own, &whole)))
        })
    }
}

/// What a path of a document is below a base; what stands in braces may be anything.
fn whole(base: &str, path: &str) -> PathMatch {
    match path.split_once('{') {
        // The base alone is this path, too.
        None if path == "/" => PathMatch::Prefix(format!("{base}/")),
        None => PathMatch::Exact(format!("{base}{path}")),
        Some((before, _)) => {
            let head = before.rsplit_once('/').map_or("", |(head, _)| head);
            PathMatch::Prefix(format!("{base}{head}/"))
        }
    }
}

/// Whether both may match one path. With escapes one path is written in several ways.
fn may_meet(own: &PathMatch, whole: &PathMatch) -> bool {
    let is_plain = |path: &PathMatch| match path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Template(path) => {
            path.is_ascii() && !path.contains('%')
        }
        PathMatch::Regex(_) => true,
    };
    !is_plain(own) || !is_plain(whole) || own.may_meet(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_fits_where_one_of_its_paths_may_be_one_of_the_routes() {
        let known =
            |paths: &str| Known { base: String::new(), paths: paths.split(' ').map(str::to_owned).collect() };
        let prefix = |path: &str| PathMatch::Prefix(path.to_owned());
        for (paths, base, own, fits) in [
            ("/pets", "", prefix("/"), true),
            ("/pets", "/v1", prefix("/v1"), true),
            ("/pets", "/v1", prefix("/v1/pets"), true),
            ("/pets", "/v1", prefix("/pets"), false),
            ("/pets", "", prefix("/api"), false),
            ("/pets", "", prefix("/pet"), false),
            ("/pets/{id}", "", prefix("/pets/mine"), true),
            ("/{kind}/{id}", "", prefix("/pets"), true),
            ("/report.{format}", "", PathMatch::Exact("/report.pdf".to_owned()), true),
            ("/report.{format}", "/v1", PathMatch::Exact("/report.pdf".to_owned()), false),
            ("/", "/v1", PathMatch::Exact("/v1".to_owned()), true),
            ("/pets/mine", "", PathMatch::Template("/pets/{id}".to_owned()), true),
            ("/pets/mine", "", PathMatch::Template("/dogs/{id}".to_owned()), false),
            ("/pets", "", PathMatch::Regex("/p.*".to_owned()), true),
            ("/pets", "/v1", PathMatch::Regex("/p.*".to_owned()), false),
            ("/caf%C3%A9", "", prefix("/caf\u{e9}"), true),
            ("/dogs /pets", "", prefix("/pets"), true),
        ] {
            let matches = [Match { path: Some(own.clone()), ..Match::default() }];
            assert_eq!(known(paths).may_fit(base, &matches), fits, "{base} {paths} {own:?}");
        }
    }
}
