//! `loadShed`: refuses some calls while there are more than can be served, so that the others are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Duration, Percent, load::Context};

/// Refuses some calls with 503 and `Retry-After` while there are more than can be served, so that the others are served
/// as fast as ever. How many can be on their way at a time it finds out by itself, by how long answers take; and it
/// refuses a growing share while this process is short of CPU. Those of low priority go first, probes never.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadShed {
    /// The fewest calls at a time that it allows; it begins with so many.
    #[schemars(range(min = 1))]
    pub min_limit: u32,
    /// The most calls at a time that it allows.
    #[schemars(range(min = 1))]
    pub max_limit: u32,
    /// How many times as long as without a queue answers may take before fewer calls are let in.
    #[schemars(range(min = 1.1, max = 10.0))]
    pub tolerance: f64,
    /// How often it lets in half as many for a moment, to see how long answers take without a queue.
    pub remeasure: Duration,
    /// The share of the CPU that this process may use before calls are refused for that; they are not without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Percent>,
    /// What calls are, by the first expression that is true; `normal` without one.
    pub priorities: Vec<PriorityRule>,
    /// Paths that are never refused, nor counted: probes of whoever watches over the upstream.
    pub probes: Vec<String>,
    /// What refused callers are told to wait.
    pub retry_after: Duration,
}

impl Default for LoadShed {
    fn default() -> Self {
        let probes = ["/healthz", "/livez", "/readyz", "/health", "/grpc.health.v1.Health/Check"];
        Self {
            min_limit: 10,
            max_limit: 1000,
            tolerance: 2.0,
            remeasure: Duration::from_secs(30),
            cpu: None,
            priorities: Vec::new(),
            probes: probes.map(str::to_owned).into(),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// What some calls are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriorityRule {
    /// An expression over the call.
    #[schemars(extend("format" = "cel"))]
    pub when: String,
    /// What it is then.
    pub priority: ShedPriority,
}

/// How much of the limit calls may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ShedPriority {
    /// They are never refused.
    Critical,
    /// A quarter more than the limit.
    High,
    /// The limit.
    #[default]
    Normal,
    /// Three quarters of it; none while this process is short of CPU.
    Low,
}

impl Settings for LoadShed {
    fn place(&self) -> Place<'_> {
        Place::RateLimit
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.max_limit < self.min_limit {
            at.field("maxLimit", |at| at.error("expected at least `minLimit`"));
        }
        if self.remeasure.get() < std::time::Duration::from_secs(1) {
            at.field("remeasure", |at| at.error("expected a second or more"));
        }
        if self.cpu.is_some_and(|cpu| cpu.get() <= 0.0) {
            at.field("cpu", |at| at.error("expected more than nothing"));
        }
        at.each("probes", &self.probes, |at, path| {
            if !path.starts_with('/') {
                at.error("expected a path, such as `/healthz`");
            }
        });
    }
}
