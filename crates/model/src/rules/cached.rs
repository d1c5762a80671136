//! An answer that is given again never comes to an upstream, nor to the policies that stand there. And what lies on disk
//! lies in a directory of one cache.

use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
};

use crate::{Config, Phase, Policy, PolicyUse, Route, Upstream, load::Context, policy::cache::CacheKey};

/// Refuses a cache before an upstream whose own policies judge who may have an answer, and one whose answers hold
/// something of one caller's.
pub(super) fn check(config: &Config, at: &mut Context<'_, '_>) {
    let judges = |policy: &Policy| {
        matches!(policy.phase(), Phase::IpRestriction | Phase::Authentication | Phase::Authorization)
    };
    // Looked up once for all routes, of which there may be thousands.
    let known: HashMap<&str, &Upstream> =
        config.upstreams.iter().map(|upstream| (upstream.name.as_str(), upstream)).collect();
    let of_consumers =
        config.consumers.iter().find_map(|one| of(config, &one.policies).find_map(Policy::cache_key));
    at.each("routes", &config.routes, |at, route| {
        let of_consumers = of_consumers.map(|key| ("of a consumer", key));
        let Some((place, key)) = cached_by(config, route).or(of_consumers) else { return };
        let mut names = route.handler.upstreams();
        names.extend(of(config, &route.policies).flat_map(Policy::leads_to));
        let upstreams = names.iter().filter_map(|name| known.get(name).copied());
        let judged = upstreams.clone().find_map(|upstream| {
            Some((&upstream.name, of(config, &upstream.policies).find(|policy| judges(policy))?.name()))
        });
        if let Some((upstream, policy)) = judged {
            at.error_with(
                format!(
                    "`cache` {place} gives answers that never pass `{policy}` of upstream `{upstream}`: whoever \
                     asks would get what that keeps from them"
                ),
                format!("attach `{policy}` to the route, or leave out `cache`"),
            );
        }
        let chains = [&route.policies, &config.global_policies].into_iter();
        let all: Vec<&Policy> = chains
            .chain(listeners(config, route).map(|listener| &listener.policies))
            .chain(upstreams.map(|upstream| &upstream.policies))
            .flat_map(|uses| of(config, uses))
            .collect();
        let mut values = all.iter().copied().flat_map(Policy::answer_values);
        let found =
            values.find_map(|(name, text)| Some((name, places(text).find(|name| !is_in_key(name, key))?)));
        if let Some((header, name)) = found {
            at.error_with(
                format!(
                    "answers are kept with what `headers` makes of them: others would get `{header}` with the \
                     `{name}` of whoever asked first"
                ),
                "leave the value out, have it in `key` of `cache`, or leave out `cache`",
            );
        }
        let found = all.iter().find_map(|policy| {
            policy.target_values().iter().find_map(|(what, text)| {
                let name = places(text).find(|name| !is_in_key(name, key))?;
                Some((policy.name(), *what, name.to_owned()))
            })
        });
        if let Some((policy, what, name)) = found {
            at.error_with(
                format!(
                    "answers are kept by what clients ask for, and `{policy}` makes the {what} of `{name}`: others \
                     would get the answer to whoever asked first"
                ),
                "have it in `key` of `cache`, or leave out `cache`",
            );
        }
    });
}

/// Refuses caches that would have one directory on disk.
pub(super) fn directories(config: &Config, at: &mut Context<'_, '_>) {
    let mut taken = Taken(Vec::new());
    at.each("policies", &config.policies, |at, named| {
        at.field("policy", |at| taken.take(&named.policy, format!("policies/{}", named.name), at));
    });
    let place = "globalPolicies".to_owned();
    taken.take_all("globalPolicies", &config.global_policies, &place, at);
    at.each("listeners", &config.listeners, |at, listener| {
        taken.take_all("policies", &listener.policies, &format!("listeners/{}", listener.name), at);
    });
    at.each("consumers", &config.consumers, |at, consumer| {
        taken.take_all("policies", &consumer.policies, &format!("consumers/{}", consumer.name), at);
    });
    at.each("routes", &config.routes, |at, route| {
        taken.take_all("policies", &route.policies, &format!("routes/{}", route.name), at);
    });
}

/// Directories of caches so far, with who has them.
struct Taken(Vec<(Directory, String)>);

#[derive(PartialEq)]
enum Directory {
    Named(PathBuf),
    /// That of this place, in the data directory.
    Own(String),
}

impl Directory {
    /// Whether both are one, or one lies in the other.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Named(one), Self::Named(other)) => one.starts_with(other) || other.starts_with(one),
            (one, other) => one == other,
        }
    }
}

impl Taken {
    fn take_all(&mut self, key: &str, uses: &[PolicyUse], place: &str, at: &mut Context<'_, '_>) {
        at.each(key, uses, |at, used| match used {
            PolicyUse::Inline(policy) => self.take(policy, place.to_owned(), at),
            PolicyUse::Shared(_) => {}
        });
    }

    fn take(&mut self, policy: &Policy, place: String, at: &mut Context<'_, '_>) {
        let Some(disk) = policy.cache_disk() else { return };
        let own = match &disk.directory {
            Some(directory) => Directory::Named(plain(Path::new(directory))),
            None => Directory::Own(place.clone()),
        };
        if let Some((_, other)) = self.0.iter().find(|(taken, _)| taken.meets(&own)) {
            at.field(policy.name(), |at| {
                at.field("disk", |at| {
                    at.error_with(
                        format!("the cache of `{other}` keeps its answers in this directory, or in one around or below it"),
                        "give each a `directory` of its own, or define one cache under `policies` and use it in both places",
                    );
                });
            });
        }
        self.0.push((own, place));
    }
}

/// A path without `.` and `..`, as it is written.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// The names in a template's places.
fn places(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()))
}

/// Fields of how a request came, which every cache tells answers apart by.
const IN_EVERY_KEY: [&str; 5] =
    ["host", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto"];

/// Whether answers with different values of it have different keys.
fn is_in_key(name: &str, key: &CacheKey) -> bool {
    if let Some(header) = name.strip_prefix("request.header.") {
        let mut known = key.headers.iter().map(|known| known.as_str()).chain(IN_EVERY_KEY);
        return known.any(|known| known.eq_ignore_ascii_case(header));
    }
    if let Some(cookie) = name.strip_prefix("request.cookie.") {
        return key.cookies.iter().any(|known| known == cookie);
    }
    if let Some(parameter) = name.strip_prefix("request.query.") {
        return !key.ignore_query.iter().any(|ignored| may_ignore(ignored, parameter));
    }
    match name {
        // Of GET and HEAD, which share answers, only the first is kept.
        "request.method" | "request.path" | "request.host" | "request.scheme" | "route.name" => true,
        "consumer.name" | "consumer.groups" | "jwt.iss" | "jwt.sub" => key.consumer,
        "request.query" => key.ignore_query.is_empty(),
        _ => name.starts_with("captures."),
    }
}

/// Whether what is left out of keys may be this parameter. Keys are made of names as they are written, and with an escape one
/// is written in several ways.
fn may_ignore(ignored: &str, parameter: &str) -> bool {
    ignored.contains(['%', '+'])
        || match ignored.strip_suffix('*') {
            Some(begin) => parameter.starts_with(begin),
            None => parameter == ignored,
        }
}

fn listeners<'c>(config: &'c Config, route: &'c Route) -> impl Iterator<Item = &'c crate::Listener> {
    let is_on = |name: &String| route.listeners.as_ref().is_none_or(|names| names.contains(name));
    config.listeners.iter().filter(move |listener| is_on(&listener.name))
}

/// Where the cache stands that a route's answers may be kept in whoever calls, and how it tells them apart.
fn cached_by<'c>(config: &'c Config, route: &'c Route) -> Option<(&'static str, &'c CacheKey)> {
    let cache = |uses| of(config, uses).find_map(Policy::cache_key);
    cache(&route.policies)
        .map(|key| ("of the route", key))
        .or_else(|| {
            listeners(config, route)
                .find_map(|listener| cache(&listener.policies))
                .map(|key| ("of a listener", key))
        })
        .or_else(|| cache(&config.global_policies).map(|key| ("of `globalPolicies`", key)))
}

fn of<'c>(config: &'c Config, uses: &'c [PolicyUse]) -> impl Iterator<Item = &'c Policy> {
    uses.iter().filter_map(|used| match used {
        PolicyUse::Inline(policy) => Some(policy),
        PolicyUse::Shared(shared) => {
            config.policies.iter().find(|named| named.name == shared.name).map(|named| &named.policy)
        }
    })
}
