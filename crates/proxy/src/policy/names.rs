//! The headers that a policy reads or sets: a client's `Connection` must not be able to remove them, and those that
//! say who the caller is are never the client's own.

use http::{HeaderName, header};
use model::policy::{Policy, headers::HeaderChanges, rate_limit::RateLimitKey, rewrite::PathRewrite};

use crate::{protected::of_expression, template::Template};

/// Names of the request headers that this policy reads or sets.
pub(crate) fn headers_of(policy: &Policy) -> Vec<HeaderName> {
    let key = |key: &RateLimitKey| match key {
        RateLimitKey::Header(name) => vec![name.to_http()],
        RateLimitKey::Cel(text) => of_expression(text),
        RateLimitKey::Consumer
        | RateLimitKey::ClientAddress
        | RateLimitKey::Global
        | RateLimitKey::Claim(_) => Vec::new(),
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
            keys.flat_map(key).collect()
        }
        Policy::ConcurrencyLimit(settings) => key(&settings.key),
        Policy::Headers(settings) => {
            let read = [&settings.request, &settings.response].into_iter().flat_map(read);
            changed(&settings.request).into_iter().chain(read).collect()
        }
        Policy::Rewrite(settings) => {
            let path = settings.path.as_ref().and_then(|path| match path {
                PathRewrite::Template(text) => Some(text),
                _ => None,
            });
            path.into_iter().chain(&settings.host).flat_map(|text| in_template(text)).collect()
        }
        Policy::FaultInjection(settings) => {
            settings.only_when_header.iter().map(model::HeaderName::to_http).collect()
        }
        Policy::Compress(_) => vec![header::ACCEPT_ENCODING],
        Policy::Decompress(_) => vec![header::CONTENT_ENCODING],
        Policy::Acl(_) | Policy::IpRestriction(_) | Policy::RequestLimits(_) | Policy::Deprecation(_) => {
            Vec::new()
        }
    }
}

/// Names of the request headers that this policy says who the caller is with.
pub(crate) fn identity_of(policy: &Policy) -> Vec<HeaderName> {
    match policy {
        Policy::Jwt(settings) => settings.claims_to_headers.keys().map(model::HeaderName::to_http).collect(),
        Policy::Headers(settings) => {
            let read = read(&settings.request);
            let both = settings.request.set.iter().chain(&settings.request.add);
            both.filter(|(_, text)| Template::compile(text).is_ok_and(|template| template.tells_who()))
                .map(|(name, _)| name.to_http())
                .filter(|name| !read.contains(name))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Names of the request headers that this policy finds the caller by.
pub(crate) fn credentials_of(policy: &Policy) -> Vec<HeaderName> {
    match policy {
        Policy::KeyAuth(_) | Policy::BasicAuth(_) => headers_of(policy),
        Policy::Jwt(settings) => match &settings.source.header {
            Some(name) => vec![name.to_http()],
            None => vec![header::AUTHORIZATION, header::COOKIE],
        },
        _ => Vec::new(),
    }
}

/// Headers that the values read.
fn read(changes: &HeaderChanges) -> Vec<HeaderName> {
    changes.set.values().chain(changes.add.values()).flat_map(|text| in_template(text)).collect()
}

fn in_template(text: &str) -> Vec<HeaderName> {
    let parts = text.split("request.header.").skip(1);
    parts.filter_map(|rest| HeaderName::try_from(rest.split(['}', ' ']).next()?).ok()).collect()
}

fn changed(changes: &HeaderChanges) -> Vec<HeaderName> {
    let renamed = changes.rename.iter().flat_map(|(from, to)| [from, to]);
    renamed.chain(changes.set.keys()).chain(changes.add.keys()).map(model::HeaderName::to_http).collect()
}
