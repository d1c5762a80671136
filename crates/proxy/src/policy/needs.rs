//! What a policy needs of a request's head before it runs: which headers a client's `Connection` must not be able to
//! remove, which of them are never the client's own, and what is to be known of the head as it came.

use http::HeaderName;
use model::policy::rate_limit::RateLimitKey;

use crate::protected::of_expression;

/// What a policy needs of a request's head.
#[derive(Default)]
pub(crate) struct Needs {
    /// The headers that it reads or sets.
    pub(crate) headers: Vec<HeaderName>,
    /// Of them, those that it says who the caller is with.
    pub(crate) identity: Vec<HeaderName>,
    /// Whether these say who the gateway is, and the same whoever calls.
    pub(crate) of_gateway: bool,
    /// Those that it sets, whatever the client's own say.
    pub(crate) set: Vec<HeaderName>,
    /// Whether it judges the size of heads.
    pub(crate) head_size: bool,
    /// Whether it judges heads as they came.
    pub(crate) whole_head: bool,
}

/// Settings that tell what their policy needs. There is no default: what is forgotten here, a client can forge.
pub(crate) trait NeedsOf {
    /// Needs beside the credentials, which are known already where a policy finds out who calls.
    fn needs(&self) -> Needs;
}

impl Needs {
    /// Needs of headers alone.
    pub(super) fn headers(headers: impl IntoIterator<Item = HeaderName>) -> Self {
        Self { headers: headers.into_iter().collect(), ..Self::default() }
    }

    /// With the headers that the policy finds the caller by.
    pub(super) fn and_credentials(mut self, policy: &model::Policy) -> Self {
        self.headers.extend(policy.credential_headers().iter().map(model::HeaderName::to_http));
        self
    }
}

/// Headers that a key of calls reads.
pub(super) fn of_key(key: &RateLimitKey) -> Vec<HeaderName> {
    match key {
        RateLimitKey::Header(name) => vec![name.to_http()],
        RateLimitKey::Cel(text) => of_expression(text),
        RateLimitKey::Consumer
        | RateLimitKey::ClientAddress
        | RateLimitKey::Global
        | RateLimitKey::Claim(_) => Vec::new(),
    }
}

/// Headers that a template reads.
pub(super) fn of_template(text: &str) -> Vec<HeaderName> {
    let parts = text.split("request.header.").skip(1);
    parts.filter_map(|rest| HeaderName::try_from(rest.split(['}', ' ']).next()?).ok()).collect()
}
