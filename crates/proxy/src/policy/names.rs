//! The headers that a policy reads or sets: a client's `Connection` must not be able to remove them.

use http::{HeaderName, header};
use model::policy::{Policy, headers::HeaderChanges, rate_limit::RateLimitKey};

/// Names of the request headers that this policy reads or sets.
pub(crate) fn headers_of(policy: &Policy) -> Vec<HeaderName> {
    let key = |key: &RateLimitKey| match key {
        RateLimitKey::Header(name) => Some(name.to_http()),
        RateLimitKey::Consumer
        | RateLimitKey::ClientAddress
        | RateLimitKey::Global
        | RateLimitKey::Claim(_)
        | RateLimitKey::Cel(_) => None,
    };
    match policy {
        Policy::KeyAuth(settings) => settings.sources().iter().map(model::HeaderName::to_http).collect(),
        Policy::BasicAuth(_) => vec![header::AUTHORIZATION],
        Policy::Jwt(settings) => {
            let given = settings.source.header.as_ref().map(model::HeaderName::to_http);
            let sent = settings.claims_to_headers.keys().map(model::HeaderName::to_http);
            [given.unwrap_or(header::AUTHORIZATION), header::COOKIE].into_iter().chain(sent).collect()
        }
        Policy::Cors(_) => vec![
            header::ORIGIN,
            header::ACCESS_CONTROL_REQUEST_METHOD,
            header::ACCESS_CONTROL_REQUEST_HEADERS,
        ],
        Policy::RateLimit(settings) => {
            let all = settings.all();
            let keys = all.iter().filter_map(|limit| limit.key.as_ref()).chain([&settings.key]);
            keys.filter_map(key).collect()
        }
        Policy::ConcurrencyLimit(settings) => key(&settings.key).into_iter().collect(),
        Policy::Headers(settings) => changed(&settings.request),
        Policy::FaultInjection(settings) => {
            settings.only_when_header.iter().map(model::HeaderName::to_http).collect()
        }
        Policy::Compress(_) => vec![header::ACCEPT_ENCODING],
        Policy::Decompress(_) => vec![header::CONTENT_ENCODING],
        Policy::Acl(_)
        | Policy::IpRestriction(_)
        | Policy::RequestLimits(_)
        | Policy::Rewrite(_)
        | Policy::Deprecation(_) => Vec::new(),
    }
}

fn changed(changes: &HeaderChanges) -> Vec<HeaderName> {
    let renamed = changes.rename.iter().flat_map(|(from, to)| [from, to]);
    renamed.chain(changes.set.keys()).chain(changes.add.keys()).map(model::HeaderName::to_http).collect()
}
