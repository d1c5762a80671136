//! Rules of plugins, and of routes that they answer.

use super::World;
use crate::{
    Duration, Route, Size,
    load::{Context, scope::Named},
    resource::{handler::Settings, plugin::Plugin, plugin_route::PluginRoute},
};

pub(super) fn check(plugin: &Plugin, at: &mut Context<'_, '_>) {
    let (least, most) = (Size::kib(64), Size::mib(1024));
    if plugin.max_memory.get() < least.get() || plugin.max_memory.get() > most.get() {
        at.field("maxMemory", |at| at.error(format!("expected {least} to {most}")));
    }
    for (key, time, least, most) in [
        ("cpuTime", plugin.cpu_time, Duration::from_millis(1), Duration::from_secs(60)),
        ("timeout", plugin.timeout, Duration::from_millis(1), Duration::from_secs(600)),
    ] {
        if time < least || time > most {
            at.field(key, |at| at.error(format!("expected {least} to {most}")));
        }
    }
    if plugin.cpu_time > plugin.timeout {
        at.field("cpuTime", |at| at.error("expected no more than `timeout`, which bounds all that it takes"));
    }
    let is_digest = |text: &str| {
        text.strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    if plugin.digest.as_deref().is_some_and(|digest| !is_digest(digest)) {
        at.field("digest", |at| {
            at.error_with("expected `sha256:` and 64 hex digits", "`sha256sum` tells those of a file");
        });
    }
}

impl Settings for PluginRoute {
    fn validate(&self, _: &Route, _: &World<'_>, at: &mut Context<'_, '_>) {
        at.field("plugin", |at| at.refer(Named::Plugin, &self.plugin));
        at.each("upstreams", &self.upstreams, |at, upstream| at.refer(Named::Upstream, upstream));
    }

    fn runs(&self) -> Option<&str> {
        Some(&self.plugin)
    }
}
