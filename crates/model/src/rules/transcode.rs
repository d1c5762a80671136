//! Rules of `transcode`: where descriptors come from, and what fits together. What they say themselves is judged when
//! they are read.

use super::{Around, World};
use crate::{
    Route, Upstream,
    load::{Context, scope::Named},
    resource::{
        handler::Settings,
        transcode::{Transcode, TranscodeProtocol},
        upstream::Protocol,
    },
};

impl Settings for Transcode {
    fn validate(&self, route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
        check(self, world.upstream(&self.upstream), at);
        if let Some(prefix) = &self.strip_prefix {
            at.field("stripPrefix", |at| {
                super::strip_prefix::fits(prefix, &Around::handler(world, route), at)
            });
        }
    }

    fn upstreams(&self) -> Vec<&str> {
        vec![self.upstream.as_str()]
    }

    fn has_tries(&self) -> bool {
        true
    }
}

fn check(transcode: &Transcode, upstream: Option<&Upstream>, at: &mut Context<'_, '_>) {
    at.field("upstream", |at| {
        at.refer(Named::Upstream, &transcode.upstream);
        let speaks = upstream.map(|upstream| (upstream.protocol, upstream.tls.is_some()));
        if matches!(speaks, Some((Protocol::Http1, _) | (Protocol::Auto, false))) {
            at.error_with(
                format!("`{}` speaks HTTP/1.1, and gRPC goes over HTTP/2", transcode.upstream),
                "give the upstream `protocol: grpc`",
            );
        }
    });
    let has_descriptors = transcode.descriptor_set.is_some() || transcode.reflection.is_some();
    if transcode.descriptor_set.is_some() && transcode.reflection.is_some() {
        at.field("reflection", |at| {
            at.error_with("expected at most one of `descriptorSet` and `reflection`", "take one of them out");
        });
    }
    if let Some(reflection) = &transcode.reflection {
        at.field("reflection", |at| {
            for (key, duration) in [("refresh", &reflection.refresh), ("timeout", &reflection.timeout)] {
                if duration.is_zero() {
                    at.field(key, |at| at.error("expected more than nothing"));
                }
            }
        });
    }
    at.field("protocols", |at| {
        if transcode.protocols.is_empty() {
            at.error("nobody could call: expected at least one protocol");
        }
    });
    if !has_descriptors {
        let why = "the messages are not known without `descriptorSet` or `reflection`";
        if at.is_written("protocols") && transcode.protocols.contains(&TranscodeProtocol::Rest) {
            at.field("protocols", |at| at.error_with(format!("`rest`: {why}"), "add one of them"));
        } else if !at.is_written("protocols") {
            at.error_with(why, "add one of them, or leave `rest` out of `protocols`");
        }
        for (key, is_there) in [("method", transcode.method.is_some()), ("json", at.is_written("json"))] {
            if is_there {
                at.field(key, |at| at.error_with(why, "add one of them"));
            }
        }
    }
    if transcode.method.is_none() {
        for (key, is_there) in
            [("body", transcode.body.is_some()), ("responseBody", transcode.response_body.is_some())]
        {
            if is_there {
                at.field(key, |at| at.error("it belongs to `method`; annotations say it for all methods"));
            }
        }
    } else if !transcode.services.is_empty() {
        at.field("services", |at| {
            at.error_with("expected at most one of `method` and `services`", "take one of them out");
        });
    }
}
