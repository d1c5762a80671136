//! `lockout`: locks out who fails to sign in too often.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Policy, Settings};
use crate::{
    Cidr, Duration, Percent, Secret,
    load::Context,
    resource::redis::{Store, WhenAway},
    rules::Around,
};

/// Locks out who fails to sign in too often: 429, whatever they show, until their time is over. A failure is a 401 of the
/// gateway's own to a call that shows credentials, whichever policy finds out who calls. One without credentials is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Lockout {
    /// Whose failures are counted; each of them by itself.
    #[schemars(length(min = 1))]
    pub by: Vec<LockoutBy>,
    /// Failures within `window` that lock.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_failures: u32,
    /// Failures of an address that lock it, where it is counted by address, too: behind one address there may be many people.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_failures_per_address: u32,
    /// How long a failure counts after the first.
    pub window: Duration,
    /// How long the first lock lasts. Each further one lasts twice as long as the one before, until a day passes without one.
    pub duration: Duration,
    /// The longest lock.
    pub max_duration: Duration,
    /// The status that who is locked out gets.
    #[schemars(range(min = 400, max = 499))]
    pub status: u16,
    /// Characters at the beginning of an API key that tell keys apart, for `by: [key]`: more than what all keys begin with, and
    /// no more than may be known.
    #[schemars(range(min = 4, max = 64))]
    pub key_prefix: usize,
    /// Addresses that are never locked out.
    pub exempt: Vec<Cidr>,
    /// Leading bits of an IPv6 client address that count as one client.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Answers of upstreams that are failures, too: of services that judge credentials themselves, in `Authorization`, `X-Api-Key`
    /// or where a policy looks. What they answer well forgives nothing.
    #[schemars(inner(range(min = 400, max = 499)))]
    pub upstream_statuses: Vec<u16>,
    /// Those that are counted at a time; beyond, the oldest is forgotten.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub max_entries: usize,
    /// Where failures are counted. With `redis` all gateways count together, and while it is away each counts what comes to itself.
    pub store: Store,
    /// With `store: redis`, what the names there are digests with: who reads the store cannot try which they are. The password of
    /// `redis` without it, if it has one. Gateways that count together have the same.
    pub secret: Option<Secret>,
}

/// Whose failures are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LockoutBy {
    /// The client's address. A sign-in that succeeds takes nothing back: with one password of one's own nobody may try those
    /// of others for ever.
    Address,
    /// The user name of `Authorization: Basic`, however it is written, from wherever it comes. A sign-in that succeeds takes
    /// back the failures from its own address.
    User,
    /// The user name at this address: who tries passwords elsewhere locks nobody out here.
    UserAtAddress,
    /// The first `keyPrefix` characters of a key, or of a token that is no JWT: those of all people begin alike, and so do signatures
    /// and certificates. A sign-in that succeeds takes back the failures from its own address.
    Key,
}

impl LockoutBy {
    /// Who is told by something that nobody shows is never counted.
    fn validate_around(self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        match self {
            Self::Address => {}
            Self::User | Self::UserAtAddress => {
                if !around.has(Policy::reads_passwords) {
                    at.warning_with(
                        "no policy here reads users' names: this counts nobody",
                        "`key` counts by how keys begin, `address` by where they come from",
                    );
                }
            }
            Self::Key => {
                if !around.has(Policy::reads_keys) {
                    at.warning_with(
                        "no policy here reads keys that are told apart by how they begin: this counts nobody",
                        "`user` counts by users' names, `address` by where they come from",
                    );
                }
            }
        }
    }
}

impl Default for Lockout {
    fn default() -> Self {
        Self {
            by: vec![LockoutBy::Address, LockoutBy::User],
            max_failures: 5,
            max_failures_per_address: 20,
            window: Duration::from_secs(600),
            duration: Duration::from_secs(60),
            max_duration: Duration::from_secs(3600),
            status: 429,
            key_prefix: 8,
            exempt: Vec::new(),
            ipv6_prefix: 64,
            upstream_statuses: Vec::new(),
            max_entries: 100_000,
            store: Store::Memory,
            secret: None,
        }
    }
}

impl Settings for Lockout {
    fn place(&self) -> Place<'_> {
        Place::Waf
    }

    fn judges_arrivals(&self) -> bool {
        true
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        if self.upstream_statuses.is_empty() && !around.authenticates() {
            at.warning_with(
                "nothing finds out who calls here, so that no sign-in ever fails: this locks nobody out",
                "where upstreams judge credentials themselves, `upstreamStatuses: [401]`",
            );
        } else if self.upstream_statuses.is_empty() && !around.is_shared && at.is_written("by") {
            at.each("by", &self.by, |at, by| by.validate_around(around, at));
        }
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.stored(self.store, WhenAway::Local, Percent(100.0));
        if self.secret.is_some() && self.store == Store::Memory {
            at.field("secret", |at| {
                at.error("what is counted in memory needs none: expected `store: redis` with it")
            });
        }
        for (key, time) in [("window", self.window), ("duration", self.duration)] {
            if time.is_zero() || time > Duration::from_secs(7 * 24 * 3600) {
                at.field(key, |at| at.error("expected more than nothing and 7d or less"));
            }
        }
        if self.max_duration < self.duration || self.max_duration > Duration::from_secs(30 * 24 * 3600) {
            at.field("maxDuration", |at| at.error("expected `duration` or more, and 30d or less"));
        }
        if matches!(self.status, 401 | 407) {
            at.field("status", |at| at.error("that would ask for credentials: expected such as 429 or 403"));
        }
    }
}
