//! `requestLimits`: bounds the size of requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Size, load::Context};

/// Bounds the size of requests: 413 for the body, 431 for headers, 414 for the target.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestLimits {
    /// Bytes of body, whether announced or streamed.
    pub max_body_size: Option<Size>,
    /// Bytes of all headers that the client sent.
    pub max_header_size: Option<Size>,
    /// Number of headers that the client sent.
    pub max_headers: Option<usize>,
    /// Bytes of the target.
    pub max_uri_size: Option<Size>,
    /// Number of query parameters.
    pub max_query_parameters: Option<usize>,
}

impl RequestLimits {
    /// Whether it looks at the size of heads.
    pub fn bounds_heads(&self) -> bool {
        self.max_header_size.is_some() || self.max_headers.is_some()
    }
}

impl Settings for RequestLimits {
    fn place(&self) -> Place<'_> {
        Place::Validation
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if *self == Self::default() {
            at.error("nothing is limited here");
        }
    }
}
