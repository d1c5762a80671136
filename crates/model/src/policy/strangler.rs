//! `strangler`: moves paths from an old system to new services, step by step.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{
    Duration, HeaderName, Percent,
    load::{Context, scope::Named},
    resource::route_match::PathMatch,
    rules::Around,
};

/// Moves paths from the upstreams of its route, the old system, to others: of those who call a path, a share by percent,
/// always the same callers, and more of them as the share grows. When the new one fails, everybody returns to the old one
/// for a while.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Strangler {
    /// What moves where; of several that fit a request, the first.
    #[schemars(length(min = 1))]
    pub rules: Vec<StranglerRule>,
    /// What a caller is told by, so that it stays on its side. A call that does not show it is told by its address.
    pub sticky: StranglerKey,
    /// Drawn into the choice of callers: with another one, other callers move first. Gateways that have the same one agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// Lets testers choose their side.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub choice: Option<StranglerOverride>,
    /// When everybody returns to the old system, for rules that do not say it themselves; never without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<StranglerFallback>,
}

/// A part of the old system that moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StranglerRule {
    /// Unique name among the rules.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// The path, as it was routed; any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// Methods; any when empty.
    #[serde(default)]
    #[schemars(extend("items" = {"type": "string", "format": "method"}))]
    pub methods: Vec<String>,
    /// Name of the upstream that it moves to.
    pub to: String,
    /// The share of callers that is there already.
    pub percent: Percent,
    /// When everybody returns to the old system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<StranglerFallback>,
}

/// What a caller is told by.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum StranglerKey {
    /// The consumer.
    #[default]
    Consumer,
    /// The client's address; of IPv6 the network of 64 bits.
    ClientAddress,
    /// The value of a header.
    Header(HeaderName),
    /// The value of a token's claim.
    Claim(String),
    /// The value of a cookie.
    Cookie(StranglerCookie),
}

/// A cookie that a caller is told by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StranglerCookie {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Give one, with a random value, to whoever has none.
    #[serde(default)]
    pub issue: bool,
    /// How long it is kept, where it is given.
    #[serde(default = "cookie_ttl")]
    pub ttl: Duration,
}

/// Lets testers choose their side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StranglerOverride {
    /// A header that says `new` or `old`; anything else says nothing.
    pub header: HeaderName,
    /// Who may choose, as an expression over the call; everybody without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cel"))]
    pub when: Option<String>,
}

/// When everybody returns to the old system, and how the new one is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StranglerFallback {
    /// The share of calls of the new one that fail, at or above which everybody returns: answers of 500 and more, and calls
    /// without an answer.
    pub failure_rate: Percent,
    /// The same of calls that are slow.
    pub slow_rate: Percent,
    /// A call that takes longer to the head of its answer is slow.
    pub slow_duration: Duration,
    /// Over how long shares are taken.
    pub window: Duration,
    /// Calls in the window before shares count.
    #[schemars(range(min = 1))]
    pub minimum_calls: u32,
    /// How long everybody stays with the old one before the new one is tried again.
    pub wait: Duration,
    /// How long it takes then until the new one has its whole share again, from a twentieth on; `0s`: at once.
    pub ramp: Duration,
}

impl Default for StranglerFallback {
    fn default() -> Self {
        Self {
            failure_rate: Percent(50.0),
            slow_rate: Percent(100.0),
            slow_duration: Duration::from_secs(10),
            window: Duration::from_secs(10),
            minimum_calls: 20,
            wait: Duration::from_secs(60),
            ramp: Duration::from_secs(0),
        }
    }
}

fn cookie_ttl() -> Duration {
    Duration::from_secs(365 * 24 * 3600)
}

impl Settings for Strangler {
    fn place(&self) -> Place<'_> {
        Place::Around
    }

    fn leads_to(&self) -> Vec<&str> {
        // Nobody is sent where no share is, but testers may be.
        self.rules.iter().map(|rule| rule.to.as_str()).collect()
    }

    fn target_values(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let of = |choice: &StranglerOverride| format!("{{{{ request.header.{} }}}}", choice.header.as_str());
        self.choice.iter().map(|choice| ("upstream", Cow::Owned(of(choice)))).collect()
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        at.each("rules", &self.rules, |at, rule| rule.validate_around(around, at));
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.rules.is_empty() {
            at.error_with("expected `rules`, found none", "each says what moves, and where `to`");
        }
        let mut seen: Vec<&StranglerRule> = Vec::new();
        at.each("rules", &self.rules, |at, rule| {
            if seen.iter().any(|earlier| earlier.name == rule.name) {
                at.field("name", |at| at.error(format!("there are two rules `{}`", rule.name)));
            } else if let Some(wider) = seen.iter().find(|earlier| at.is_whole() && earlier.covers(rule)) {
                let help = match rule.covers(wider) {
                    true => "leave one of the two out".to_owned(),
                    false => format!("put it before `{}`", wider.name),
                };
                at.warning_with(
                    format!(
                        "`{}` stands before it and takes all of its calls: this rule moves nobody",
                        wider.name
                    ),
                    help,
                );
            }
            seen.push(rule);
            if let Some(path) = &rule.path {
                at.field("path", |at| path.validate(at));
            }
            at.field("to", |at| at.refer(Named::Upstream, &rule.to));
            at.each("methods", &rule.methods, |at, method| {
                if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
                {
                    at.error_with(
                        format!("`{method}` is no method"),
                        "methods are upper-case, such as `GET`",
                    );
                }
            });
            if let Some(fallback) = &rule.fallback {
                at.field("fallback", |at| fallback.validate(at));
            }
        });
        if let Some(fallback) = &self.fallback {
            at.field("fallback", |at| fallback.validate(at));
        }
        if let StranglerKey::Cookie(cookie) = &self.sticky {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if cookie.name.is_empty() || !cookie.name.bytes().all(is_token) {
                at.field("sticky", |at| at.error(format!("`{}` is not the name of a cookie", cookie.name)));
            }
        }
    }
}

impl StranglerRule {
    /// Whether it fits all calls that another fits.
    fn covers(&self, other: &Self) -> bool {
        let covers_path = match (&self.path, &other.path) {
            (None, _) => true,
            (Some(own), Some(path)) => own.covers(path),
            (Some(own), None) => own.covers(&PathMatch::Prefix("/".to_owned())),
        };
        let covers_methods = self.methods.is_empty()
            || (!other.methods.is_empty()
                && other.methods.iter().all(|method| self.methods.contains(method)));
        covers_path && covers_methods
    }

    /// A rule that no call of the route fits moves nobody.
    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        if self.path.as_ref().is_some_and(|path| !around.may_match(path)) {
            at.field("path", |at| at.warning("the route matches no such path: this rule moves nobody"));
        }
        let methods: Vec<&str> = self.methods.iter().map(String::as_str).collect();
        if !methods.is_empty() && !around.may_take(&methods) {
            at.field("methods", |at| {
                at.warning("the route takes none of these methods: this rule moves nobody")
            });
        }
    }
}

impl StranglerFallback {
    fn validate(&self, at: &mut Context<'_, '_>) {
        for (key, rate) in [("failureRate", self.failure_rate), ("slowRate", self.slow_rate)] {
            if rate.get() <= 0.0 {
                at.field(key, |at| at.error("expected more than nothing"));
            }
        }
        let times = [("slowDuration", self.slow_duration), ("window", self.window), ("wait", self.wait)];
        for (key, time) in times {
            if time.is_zero() {
                at.field(key, |at| at.error("expected more than nothing"));
            }
        }
    }
}
