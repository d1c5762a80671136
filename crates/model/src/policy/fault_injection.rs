//! `faultInjection`: breaks a share of the calls, for trials.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Duration, HeaderName, Percent, Size, load::Context};

/// Breaks a share of the calls, for trials.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FaultInjection {
    /// Waits before the call goes on.
    pub delay: Option<DelayFault>,
    /// Answers instead of the handler.
    pub abort: Option<AbortFault>,
    /// Bytes of answer per second.
    pub bandwidth: Option<Size>,
    /// Only calls that carry this header, whatever its value.
    pub only_when_header: Option<HeaderName>,
}

/// A wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DelayFault {
    /// How long.
    pub fixed: Duration,
    /// Up to this much more, drawn evenly.
    #[serde(default)]
    pub jitter: Duration,
    /// Share of the calls.
    #[serde(default = "all")]
    pub percent: Percent,
}

/// An answer instead of the handler's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbortFault {
    /// Its status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Share of the calls.
    #[serde(default = "all")]
    pub percent: Percent,
}

fn all() -> Percent {
    Percent::ALL
}

impl Settings for FaultInjection {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.delay.is_none() && self.abort.is_none() && self.bandwidth.is_none() {
            at.error("expected `delay`, `abort` or `bandwidth`, found none");
        }
        if self.bandwidth.is_some_and(|bandwidth| bandwidth.bytes() == 0) {
            at.field("bandwidth", |at| at.error("expected more than nothing"));
        }
    }
}
