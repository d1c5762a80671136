//! `cache`: answers that are given again, as HTTP's own rules for shared caches say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Policy, Settings};
use crate::{
    Duration, HeaderName, Percent, Size,
    load::Context,
    resource::redis::{Store, WhenAway},
    rules::Around,
};

/// The largest answer that may be kept in Redis: each takes its place on a connection that others wait for.
const SHARED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Gives answers to GET and HEAD again, as a shared cache by RFC 9111: what upstreams say about their answers decides.
/// `Cache-Status` tells what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cache {
    /// Room for all answers together, their heads and keys included. Beyond it those that are not asked for go first.
    pub max_size: Size,
    /// Answers with a longer body are passed on and not kept.
    pub max_body_size: Size,
    /// What tells answers apart beside scheme, host, path, query, and what `Vary` names.
    pub key: CacheKey,
    /// How long an answer is fresh that says nothing about it but `Last-Modified`; without this it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heuristic: Option<Heuristic>,
    /// How long an answer is fresh that says nothing at all about it, if its status is one that may be kept without
    /// leave: 200, 203, 204, 300, 301, 308, 404, 405, 410, 414 and 501.
    pub default_ttl: Duration,
    /// How long a stale answer may be given while a new one is fetched, where the answer itself says nothing
    /// (`stale-while-revalidate`, RFC 5861).
    pub stale_while_revalidate: Duration,
    /// How long a stale answer may be given instead of an error, where the answer itself says nothing
    /// (`stale-if-error`, RFC 5861).
    pub stale_if_error: Duration,
    /// How long requests for what is being fetched already wait for that instead of asking again; `0s` turns it off.
    pub collapse: Duration,
    /// Heed `Cache-Control` of requests. Without it no client can make the upstream work by asking past the cache.
    pub request_directives: bool,
    /// Fields that take the place of `Cache-Control` and `Expires` for this cache, the first that is there wins
    /// (RFC 9213).
    pub targets: Vec<HeaderName>,
    /// What is done with answers that set cookies.
    pub set_cookie: SetCookie,
    /// Tell by `Cache-Status` what the cache did (RFC 9211).
    pub status: bool,
    /// Where answers are kept beside the memory of each gateway: nowhere (`memory`), or in the `redis` of the configuration,
    /// together with all gateways that share it.
    pub store: Store,
    /// With `store: redis`: answers with a longer body stay in memory alone.
    pub max_shared_size: Size,
    /// Keep answers on disk as well, where they outlive the process; without this they are in memory alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<CacheDisk>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max_size: Size::kib(64 * 1024),
            max_body_size: Size::kib(8 * 1024),
            key: CacheKey::default(),
            heuristic: None,
            default_ttl: Duration::from_secs(0),
            stale_while_revalidate: Duration::from_secs(0),
            stale_if_error: Duration::from_secs(0),
            collapse: Duration::from_secs(10),
            request_directives: true,
            targets: ["cdn-cache-control", "surrogate-control"].map(HeaderName::from_static).to_vec(),
            set_cookie: SetCookie::default(),
            status: true,
            store: Store::Memory,
            max_shared_size: Size::kib(1024),
            disk: None,
        }
    }
}

impl Cache {
    /// The settings that decide what is kept and how answers are told apart, as a text that is the same for the same
    /// settings: answers that were kept by others are not given.
    pub fn fingerprint(&self) -> String {
        let mut settings = serde_json::to_value(self).unwrap_or_default();
        if let Some(settings) = settings.as_object_mut() {
            let others = ["maxSize", "maxBodySize", "collapse", "requestDirectives", "status"];
            for other in others.into_iter().chain(["store", "maxSharedSize", "disk"]) {
                settings.remove(other);
            }
        }
        settings.to_string()
    }
}

/// Answers on disk, a second tier below memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheDisk {
    /// Room for all files together. Beyond it those that are not asked for go first.
    pub max_size: Size,
    /// Where they lie; a relative path starts at the directory of this file. No other cache may use it. Without it: a
    /// folder of this cache's own in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "directory"))]
    pub directory: Option<String>,
    /// Room in memory for the index of all files, beside the cache's `maxSize`: some 400 bytes for each, and its key.
    /// When it is full, answers go though there is room on disk.
    pub max_index_size: Size,
}

impl Default for CacheDisk {
    fn default() -> Self {
        Self { max_size: Size::mib(10 * 1024), directory: None, max_index_size: Size::mib(64) }
    }
}

/// What tells answers apart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheKey {
    /// Request headers; each value has answers of its own, and so have requests without it.
    pub headers: Vec<HeaderName>,
    /// Cookies by name.
    pub cookies: Vec<String>,
    /// Query parameters that tell nothing apart, such as `utm_*`. They still go to the upstream.
    pub ignore_query: Vec<String>,
    /// Each consumer has answers of its own. Then answers to authenticated calls may be kept without `public`.
    pub consumer: bool,
}

/// Freshness by a guess: a share of the time since the last change (RFC 9111, section 4.2.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Heuristic {
    /// The share of the time since `Last-Modified`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fraction: f64,
    /// Never longer than this.
    pub max: Duration,
}

impl Default for Heuristic {
    fn default() -> Self {
        Self { fraction: 0.1, max: Duration::from_secs(86_400) }
    }
}

/// What is done with answers that set cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SetCookie {
    /// They are not kept: a session's cookie must not reach somebody else.
    #[default]
    Skip,
    /// They are kept without the cookie, which only the one who asked first gets.
    Strip,
    /// They are kept with it.
    Store,
}

impl Settings for Cache {
    fn place(&self) -> Place<'_> {
        Place::Cache
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn cache_key(&self) -> Option<&CacheKey> {
        Some(&self.key)
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        // A shared one is told by such a route which of its answers have changed.
        if !around.is_shared && !around.may_take(&["GET", "HEAD"]) {
            at.warning("the route takes neither GET nor HEAD, whose answers alone are kept: this keeps none");
        }
        // A shared one may stand on routes that are open, too.
        let assumes = !self.default_ttl.is_zero() && !self.key.consumer && !around.is_shared;
        if assumes && around.surely_has(Policy::knows_everybody) {
            at.field("defaultTtl", |at| {
                at.warning_with(
                    "nothing is assumed of answers to callers who are known, as all are here: this keeps none",
                    "`key: {consumer: true}` where each may have answers of its own; where all get the same, let the \
                     upstream say `public` or `s-maxage`",
                );
            });
        }
    }

    fn cache_disk(&self) -> Option<&CacheDisk> {
        self.disk.as_ref()
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.max_size.bytes() == 0 {
            at.field("maxSize", |at| at.error("expected more than nothing"));
        }
        if self.max_body_size.bytes() > self.max_size.bytes() {
            at.field("maxBodySize", |at| at.error("expected at most `maxSize`"));
        }
        at.stored(self.store, WhenAway::Open, Percent(100.0));
        if self.store == Store::Redis && self.disk.is_some() {
            at.field("disk", |at| {
                at.error_with(
                    "expected either `disk` or `store: redis`, found both",
                    "answers that gateways share outlive each of them as well",
                );
            });
        }
        at.field("maxSharedSize", |at| match self.max_shared_size.bytes() {
            0 => at.error("expected more than nothing"),
            bytes if bytes > SHARED_BYTES_MAX => at.error("expected at most 64MiB"),
            _ => {}
        });
        if let Some(disk) = &self.disk {
            at.field("disk", |at| {
                if disk.max_size.bytes() < self.max_body_size.bytes().max(1) {
                    at.field("maxSize", |at| at.error("expected at least `maxBodySize` of the cache"));
                }
                if disk.max_index_size.bytes() == 0 {
                    at.field("maxIndexSize", |at| at.error("expected more than nothing"));
                }
            });
        }
        if let Some(heuristic) = &self.heuristic {
            at.field("heuristic", |at| {
                if !(0.0..=1.0).contains(&heuristic.fraction) {
                    at.field("fraction", |at| at.error("expected 0 to 1"));
                }
            });
        }
        at.field("key", |at| {
            at.each("ignoreQuery", &self.key.ignore_query, |at, name| {
                let name = name.strip_suffix('*').unwrap_or(name);
                if name.contains(['*', '&', '=']) {
                    at.error("expected a parameter's name, or the beginning of one before `*`");
                }
            });
            at.each("cookies", &self.key.cookies, |at, name| {
                if name.is_empty() || name.contains([';', '=', ' ', ',']) {
                    at.error("expected a cookie's name");
                }
            });
        });
    }
}
