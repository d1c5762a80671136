//! How often and how long a call is tried: timeouts, retries, hedging, breaker, bulkhead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Percent, Size};

/// How long each part of a call may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// Opening a connection.
    pub connect: Duration,
    /// The TLS handshake with the upstream.
    pub tls: Duration,
    /// One try until its answer's head; it then counts as a 504 for `retry.on`. Off without it.
    pub per_try: Option<Duration>,
    /// All tries until the answer's head. The clock stands still while the request's body moves at 500 bytes a second;
    /// the time of a slower one counts.
    pub request: Duration,
    /// Between bytes, either way, after the answer's head.
    pub idle: Duration,
    /// The whole exchange; off without it.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            tls: Duration::from_secs(5),
            per_try: None,
            request: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            total: None,
        }
    }
}

/// Timeouts of a route, over those of its upstream.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TimeoutOverrides {
    /// Opening a connection.
    pub connect: Option<Duration>,
    /// The TLS handshake with the upstream.
    pub tls: Option<Duration>,
    /// One try until its answer's head.
    pub per_try: Option<Duration>,
    /// All tries until the answer's head.
    pub request: Option<Duration>,
    /// Between bytes, either way, after the answer's head.
    pub idle: Option<Duration>,
    /// The whole exchange.
    pub total: Option<Duration>,
}

impl TimeoutOverrides {
    /// The upstream's timeouts with these over them.
    pub fn apply(&self, base: &Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.unwrap_or(base.connect),
            tls: self.tls.unwrap_or(base.tls),
            per_try: self.per_try.or(base.per_try),
            request: self.request.unwrap_or(base.request),
            idle: self.idle.unwrap_or(base.idle),
            total: self.total.or(base.total),
        }
    }
}

/// Further tries. Only idempotent methods are tried again, and others only with an `Idempotency-Key` or when the
/// request was provably never sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// Tries, the first included; 1 turns retries off.
    #[schemars(range(min = 1, max = 10))]
    pub max_attempts: u32,
    /// What is tried again.
    pub on: Vec<RetryOn>,
    /// The pause before a further try, with full jitter.
    pub backoff: Backoff,
    /// Bound of retries as a share of live traffic.
    pub budget: RetryBudget,
    /// Bodies up to this size are kept for a further try.
    pub max_body_size: Size,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 2,
            on: vec![RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::RefusedStream],
            backoff: Backoff::default(),
            budget: RetryBudget::default(),
            max_body_size: Size::kib(64),
        }
    }
}

/// Retries of a route, over those of its upstream.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryOverrides {
    /// Tries, the first included; 1 turns retries off.
    #[schemars(range(min = 1, max = 10))]
    pub max_attempts: Option<u32>,
    /// What is tried again.
    pub on: Option<Vec<RetryOn>>,
    /// The pause before a further try, with full jitter.
    pub backoff: Option<Backoff>,
    /// Bodies up to this size are kept for a further try.
    pub max_body_size: Option<Size>,
}

impl RetryOverrides {
    /// The upstream's settings with these over them.
    pub fn apply(&self, base: &Retry) -> Retry {
        Retry {
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            on: self.on.clone().unwrap_or_else(|| base.on.clone()),
            backoff: self.backoff.clone().unwrap_or_else(|| base.backoff.clone()),
            budget: base.budget.clone(),
            max_body_size: self.max_body_size.unwrap_or(base.max_body_size),
        }
    }
}

/// What is tried again: `connectFailure`, `reset`, `timeout`, `refusedStream`, `"5xx"`, or a status such as `"503"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// No connection, or no TLS.
    ConnectFailure,
    /// The connection or the stream broke before the answer's head.
    Reset,
    /// A try took longer than `perTry`.
    Timeout,
    /// HTTP/2 REFUSED_STREAM: the upstream says that it did nothing.
    RefusedStream,
    /// Any status from 500 to 599.
    AnyServerError,
    /// One status, 400 to 599.
    Status(u16),
}

impl std::str::FromStr for RetryOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "connectFailure" => Ok(Self::ConnectFailure),
            "reset" => Ok(Self::Reset),
            "timeout" => Ok(Self::Timeout),
            "refusedStream" => Ok(Self::RefusedStream),
            "5xx" => Ok(Self::AnyServerError),
            _ => match text.parse() {
                Ok(status @ 400..=599) => Ok(Self::Status(status)),
                _ => Err(format!(
                    "`{text}` is not one of `connectFailure`, `reset`, `timeout`, `refusedStream`, `5xx` or a status"
                )),
            },
        }
    }
}

impl std::fmt::Display for RetryOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConnectFailure => f.write_str("connectFailure"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::RefusedStream => f.write_str("refusedStream"),
            Self::AnyServerError => f.write_str("5xx"),
            Self::Status(status) => write!(f, "{status}"),
        }
    }
}

crate::types::textual!(RetryOn, "RetryOn", {
    "type": ["string", "integer"],
    "format": "retry-on",
    "examples": ["connectFailure", "reset", "timeout", "refusedStream", "5xx", "503"],
});

/// The pause before a further try: drawn from zero up to a bound that grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Backoff {
    /// Bound of the first pause.
    pub initial: Duration,
    /// Growth of the bound.
    #[schemars(range(min = 1.0, max = 10.0))]
    pub multiplier: f64,
    /// Largest bound.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_millis(25), multiplier: 2.0, max: Duration::from_secs(1) }
    }
}

/// Bound of retries as a share of live traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryBudget {
    /// Retries as a share of first tries.
    pub percent: Percent,
    /// Over how long shares are saved up.
    pub window: Duration,
    /// Retries per second that are always allowed.
    pub min_per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: Percent(20.0), window: Duration::from_secs(10), min_per_second: 10 }
    }
}

/// Further tries beside a slow one, for calls that may be repeated and whose body is kept. The first answer that
/// `retry.on` would not repeat wins and the others are cancelled at once. Each draws on `retry.budget` and goes to
/// another endpoint while there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hedging {
    /// How long a try may take before another starts beside it, to a hundredth of a second.
    pub delay: Duration,
    /// Tries beside each other, the first included; those beyond the first are counted over the whole call.
    #[serde(default = "two")]
    #[schemars(range(min = 2, max = 5))]
    pub max_attempts: u32,
}

fn two() -> u32 {
    2
}

/// A circuit breaker, with the names and meanings of resilience4j.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Share of failed calls that opens it (at or above).
    pub failure_rate_threshold: Percent,
    /// Share of slow calls that opens it (at or above).
    pub slow_call_rate_threshold: Percent,
    /// A call that takes longer is slow.
    pub slow_call_duration_threshold: Duration,
    /// Over how long shares are taken.
    pub sliding_window: Duration,
    /// Calls in the window before shares count.
    #[schemars(range(min = 1))]
    pub minimum_number_of_calls: u32,
    /// How long it stays open.
    pub wait_duration_in_open_state: Duration,
    /// Trial calls that decide whether it closes.
    #[schemars(range(min = 1))]
    pub permitted_number_of_calls_in_half_open_state: u32,
    /// How long it may stay half open before it opens again.
    pub max_wait_duration_in_half_open_state: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            failure_rate_threshold: Percent(50.0),
            slow_call_rate_threshold: Percent(100.0),
            slow_call_duration_threshold: Duration::from_secs(10),
            sliding_window: Duration::from_secs(10),
            minimum_number_of_calls: 20,
            wait_duration_in_open_state: Duration::from_secs(10),
            permitted_number_of_calls_in_half_open_state: 5,
            max_wait_duration_in_half_open_state: Duration::from_secs(30),
        }
    }
}

/// Bound of calls at a time; beyond it 503 with `Retry-After`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bulkhead {
    /// Calls at a time.
    #[schemars(range(min = 1))]
    pub max_concurrent_calls: u32,
    /// How long a call may wait for a place.
    #[serde(default)]
    pub max_wait_duration: Duration,
}
