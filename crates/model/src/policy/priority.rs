//! `priority`: divides places among classes of calls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, rate_limit::RateLimitKey};
use crate::{Duration, HeaderName, load::Context};

/// Most calls that may wait in a class.
const WAITING_MAX: u32 = 100_000;

/// Lets so many calls through at a time, and divides the places among classes of calls: some are kept for a class, the others
/// go by weight to those who wait. Whoever waits in vain, or finds too many waiting, gets 503 with `Retry-After`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Priority {
    /// Calls at a time, of all classes together.
    #[schemars(range(min = 1))]
    pub max_concurrent: u32,
    /// The classes; a call is in the first that fits it. The last one is for all others, and has no conditions.
    #[schemars(length(min = 1))]
    pub classes: Vec<PriorityClass>,
    /// Callers who take turns within a class, such as `consumer`; without it whoever came first is first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fair_by: Option<RateLimitKey>,
    /// Leading bits of an IPv6 client address that count as one client.
    #[serde(default = "ipv6_prefix")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// What refused callers are told to wait.
    #[serde(default = "one_second")]
    pub retry_after: Duration,
}

/// A class of calls. Of its conditions all that are given must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriorityClass {
    /// Unique name among the classes.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Consumers in one of these groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Calls with this header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<PriorityHeader>,
    /// Calls for which this expression is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cel"))]
    pub when: Option<String>,
    /// Its share of places that several classes wait for.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
    /// Places that are kept for it, and that nobody else gets.
    #[serde(default)]
    pub guaranteed: u32,
    /// Places that it may have in all; as many as there are without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max: Option<u32>,
    /// Calls that may wait.
    #[serde(default = "hundred")]
    pub max_waiting: u32,
    /// How long a call may wait.
    #[serde(default = "one_second")]
    pub max_wait: Duration,
}

/// A header that a class is told by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriorityHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value; any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

fn one() -> u32 {
    1
}

fn hundred() -> u32 {
    100
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn ipv6_prefix() -> u8 {
    64
}

impl PriorityClass {
    fn is_for_all(&self) -> bool {
        self.groups.is_empty() && self.header.is_none() && self.when.is_none()
    }
}

impl Settings for Priority {
    fn place(&self) -> Place<'_> {
        Place::RateLimit
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        let kept: u64 = self.classes.iter().map(|class| u64::from(class.guaranteed)).sum();
        if kept > u64::from(self.max_concurrent) {
            at.field("classes", |at| {
                at.error_with(
                    format!("classes are guaranteed {kept} places, and there are {}", self.max_concurrent),
                    "raise `maxConcurrent`, or guarantee less",
                );
            });
        }
        let (last, mut seen): (usize, Vec<&str>) = (self.classes.len().saturating_sub(1), Vec::new());
        let mut number = 0;
        at.each("classes", &self.classes, |at, class| {
            let is_last = number == last;
            number += 1;
            if seen.contains(&class.name.as_str()) {
                at.field("name", |at| at.error(format!("there are two classes `{}`", class.name)));
            }
            seen.push(&class.name);
            match (is_last, class.is_for_all()) {
                (true, false) => at.error_with(
                    "the last class is for all other calls, and has no `groups`, `header` or `when`",
                    "add a class without conditions behind it",
                ),
                (false, true) => at.error_with(
                    "this class takes every call, so that those behind it get none",
                    "give it `groups`, a `header` or a condition `when`, or make it the last",
                ),
                _ => {}
            }
            if class.max.is_some_and(|max| max < class.guaranteed) {
                at.field("max", |at| at.error("expected at least `guaranteed`"));
            }
            let open = u64::from(self.max_concurrent).saturating_sub(kept);
            if class.guaranteed == 0 && open == 0 {
                at.error_with(
                    "all places are kept for other classes, so that this one never gets any",
                    "guarantee it some, or guarantee others less",
                );
            }
            if class.max_waiting > WAITING_MAX {
                at.field("maxWaiting", |at| at.error(format!("expected {WAITING_MAX} at most")));
            }
            if class.max_waiting > 0 && class.max_wait.is_zero() {
                at.field("maxWait", |at| {
                    at.error_with("nobody waits for no time", "`maxWaiting: 0` refuses at once");
                });
            }
        });
    }
}
