//! Active health checks and passive outlier ejection.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Percent};

/// Active checks of each endpoint: an HTTP `path`, `grpc`, or a TCP connect when neither is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Path of an HTTP check.
    pub path: Option<String>,
    /// Check by `grpc.health.v1.Health/Check`; the service's name, empty for the whole server.
    pub grpc: Option<String>,
    /// Between two checks of an endpoint.
    pub interval: Duration,
    /// Bound of one check.
    pub timeout: Duration,
    /// Checks in a row that make an endpoint healthy.
    #[schemars(range(min = 1))]
    pub healthy_threshold: u32,
    /// Checks in a row that make an endpoint unhealthy.
    #[schemars(range(min = 1))]
    pub unhealthy_threshold: u32,
    /// Random share added to each interval.
    pub jitter: Percent,
    /// `Host` of an HTTP check; the endpoint's address without it.
    pub host: Option<String>,
    /// Port that is checked; the endpoint's own without it.
    pub port: Option<u16>,
    /// Statuses that count as healthy; 200 to 299 when empty.
    pub expected_statuses: Vec<u16>,
    /// Headers of an HTTP check.
    pub headers: BTreeMap<String, String>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            grpc: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            jitter: Percent(10.0),
            host: None,
            port: None,
            expected_statuses: Vec::new(),
            headers: BTreeMap::new(),
        }
    }
}

/// Ejection of endpoints that fail live traffic, with Envoy's names and caps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OutlierDetection {
    /// 5xx answers (and local failures) in a row that eject; 0 turns it off.
    pub consecutive_5xx: u32,
    /// 502, 503 and 504 in a row that eject; 0 turns it off.
    pub consecutive_gateway_failure: u32,
    /// Local failures (connect, reset, timeout) in a row that eject; 0 turns it off.
    pub consecutive_local_origin_failure: u32,
    /// How often success rates are compared.
    pub interval: Duration,
    /// First ejection; it grows with each further one.
    pub base_ejection_time: Duration,
    /// Longest ejection.
    pub max_ejection_time: Duration,
    /// Largest share of endpoints ejected at a time; at least one may be.
    pub max_ejection_percent: Percent,
    /// Endpoints needed for success rates to be compared.
    pub success_rate_minimum_hosts: u32,
    /// Calls per interval that an endpoint needs to be compared.
    pub success_rate_request_volume: u32,
    /// An endpoint this many thousandths of a standard deviation below the mean is ejected; 0 turns it off.
    pub success_rate_stdev_factor: u32,
    /// An endpoint with this share of failures is ejected; off without it.
    pub failure_percentage_threshold: Option<Percent>,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 5,
            consecutive_local_origin_failure: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: Percent(10.0),
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            success_rate_stdev_factor: 1900,
            failure_percentage_threshold: None,
        }
    }
}
