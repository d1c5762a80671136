//! Rules of the store that several gateways share.

use crate::{EndpointAddress, load::Context, resource::redis::Redis};

pub(super) fn check(redis: &Redis, at: &mut Context<'_, '_>) {
    if redis.addresses.is_empty() {
        at.error_with("expected `addresses`", "such as `addresses: [\"127.0.0.1:6379\"]`");
    }
    if redis.cluster && redis.sentinel.is_some() {
        at.error("expected either `cluster` or `sentinel`, found both");
    }
    if redis.cluster && redis.database != 0 {
        at.field("database", |at| at.error("a cluster has only the database 0"));
    }
    if redis.addresses.len() > 1 && !redis.cluster && redis.sentinel.is_none() {
        at.field("addresses", |at| {
            at.error_with(
                "expected one address",
                "several are the nodes of a `cluster: true`, or those of a `sentinel: {master: …}`",
            );
        });
    }
    let is_unix = |address: &EndpointAddress| matches!(address, EndpointAddress::Unix(_));
    if redis.addresses.iter().any(is_unix)
        && (redis.cluster || redis.sentinel.is_some() || redis.tls.is_some())
    {
        at.field("addresses", |at| at.error("a Unix socket is one server's, without TLS"));
    }
    if redis.username.is_some() && redis.password.is_none() {
        at.field("username", |at| at.error("expected a `password` beside it"));
    }
    if redis.prefix.is_empty() || redis.prefix.contains(['{', '}', ' ']) {
        at.field("prefix", |at| at.error("expected letters, without braces and spaces"));
    }
    for (key, time) in
        [("timeout", redis.timeout), ("connectTimeout", redis.connect_timeout), ("lease", redis.lease)]
    {
        if time.is_zero() {
            at.field(key, |at| at.error("expected more than nothing"));
        }
    }
    if let Some(sentinel) = &redis.sentinel {
        at.field("sentinel", |at| {
            if sentinel.master.is_empty() {
                at.error("expected a `master`: what the sentinels call the group");
            }
            if sentinel.username.is_some() && sentinel.password.is_none() {
                at.field("username", |at| at.error("expected a `password` beside it"));
            }
        });
    }
    if let Some(tls) = &redis.tls
        && tls.cert_file.is_some() != tls.key_file.is_some()
    {
        at.field("tls", |at| at.error("expected `certFile` and `keyFile` together"));
    }
}
