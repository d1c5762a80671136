//! How an endpoint of an upstream is picked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, HeaderName, Percent};

/// How an endpoint is picked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadBalancing {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// What `ringHash` and `maglev` hash; the client's address without it.
    pub hash: Option<HashKey>,
    /// A new or recovered endpoint grows to its full share over this time; off without it.
    pub slow_start: Option<Duration>,
    /// The zone that this gateway is in.
    pub zone: Option<String>,
    /// Prefer endpoints of the own zone while enough of them are healthy.
    pub prefer_same_zone: bool,
    /// Below this share of healthy endpoints all are used.
    pub panic_threshold: Percent,
    /// Points on the ring of `ringHash`, for an endpoint of weight 1.
    #[schemars(range(min = 1, max = 65536))]
    pub ring_points: u32,
    /// Decay of the latency average of `peakEwma`.
    pub decay: Duration,
}

impl Default for LoadBalancing {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            hash: None,
            slow_start: None,
            zone: None,
            prefer_same_zone: false,
            panic_threshold: Percent(50.0),
            ring_points: 160,
            decay: Duration::from_secs(10),
        }
    }
}

/// A load balancing algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// In turn, smoothly by weight.
    #[default]
    RoundRobin,
    /// The less busy of two that are drawn.
    LeastRequest,
    /// The one of two with the better latency under its load.
    PeakEwma,
    /// Drawn by weight.
    Random,
    /// Consistent hashing on a ring.
    RingHash,
    /// Consistent hashing with a Maglev table.
    Maglev,
}

/// What is hashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum HashKey {
    /// A header.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// The consumer's name.
    Consumer,
    /// The client's address.
    ClientAddress,
    /// The normalised path.
    Path,
}
