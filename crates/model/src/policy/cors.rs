//! `cors`: cross-origin resource sharing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, HeaderName};

/// Answers preflights and marks answers for the origins that may read them (the Fetch standard).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cors {
    /// Origins: exact, `https://*.example.com`, or `*`.
    pub allow_origins: Vec<String>,
    /// Methods that may be asked for; those of the route when empty.
    pub allow_methods: Vec<String>,
    /// Headers that may be asked for; whatever is asked for when empty.
    pub allow_headers: Vec<HeaderName>,
    /// Headers of answers that scripts may read.
    pub expose_headers: Vec<HeaderName>,
    /// Whether cookies and credentials may come; never with origin `*`.
    pub allow_credentials: bool,
    /// How long a preflight's answer may be kept.
    pub max_age: Duration,
    /// Allow requests from public sites to a private network.
    pub allow_private_network: bool,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            allow_origins: Vec::new(),
            allow_methods: Vec::new(),
            allow_headers: Vec::new(),
            expose_headers: Vec::new(),
            allow_credentials: false,
            max_age: Duration::from_secs(600),
            allow_private_network: false,
        }
    }
}
