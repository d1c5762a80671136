//! Header fields that no argument of a tool may set: an API may take them for what the gateway says of whoever calls.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue};
use model::Snapshot;

/// Fields of the protocol's own.
const OF_THE_PROTOCOL: [&str; 22] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
];
/// Fields by which APIs know who calls.
const OF_THE_CALLER: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "remote-user", "x-remote-user"];
/// Beginnings of such fields, as gateways and proxies set them.
const BEGINNINGS: [(&str, &str); 5] = [
    ("x-forwarded-", PROTOCOL),
    ("x-consumer-", CALLER),
    ("x-credential-", CALLER),
    ("x-authenticated-", CALLER),
    ("x-tidegate-", CALLER),
];
const PROTOCOL: &str = "it belongs to the protocol";
const CALLER: &str = "it says who calls";

/// Names of fields, with why they are nobody's to set.
#[derive(Default)]
pub(super) struct Guarded(HashMap<String, &'static str>);

/// A name as an API by way of CGI reads it, which knows no difference between `_` and `-`.
fn plain(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

impl Guarded {
    /// All of a configuration, beside the operator's own for the API.
    pub(super) fn of(snapshot: &Snapshot, own: &[(HeaderName, HeaderValue)]) -> Self {
        let mut all: HashMap<String, &'static str> = HashMap::new();
        for policy in snapshot.policies() {
            let credentials = policy.credential_headers().into_iter().map(|name| name.to_http().clone());
            let names = crate::policy::needs(policy).headers.into_iter().chain(credentials);
            all.extend(names.map(|name| (plain(&name), "a policy sets it or reads it")));
        }
        all.extend(OF_THE_PROTOCOL.map(|name| (name.to_owned(), PROTOCOL)));
        all.extend(OF_THE_CALLER.map(|name| (name.to_owned(), CALLER)));
        all.extend(own.iter().map(|(name, _)| (plain(name), "`headers` of the server sets it")));
        Self(all)
    }

    /// Why a field is nobody's to set.
    pub(super) fn why(&self, field: &HeaderName) -> Option<&'static str> {
        let name = plain(field);
        let begins = || BEGINNINGS.iter().find(|(beginning, _)| name.starts_with(beginning));
        self.0.get(&name).copied().or_else(|| begins().map(|(_, why)| *why))
    }
}
