//! `requestLimits`: bounds the size of requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Size, load::Context};

/// Bounds the size of requests: 413 for the body, 431 for headers, 414 for the target.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestLimits {
    /// Bytes of body, whether announced or streamed.
    pub max_body_size: Option<Size>,
    /// Bytes of all headers.
    pub max_header_size: Option<Size>,
    /// Number of headers.
    pub max_headers: Option<usize>,
    /// Bytes of the target.
    pub max_uri_size: Option<Size>,
    /// Number of query parameters.
    pub max_query_parameters: Option<usize>,
}

impl RequestLimits {
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        if *self == Self::default() {
            at.error("nothing is limited here");
        }
    }
}
