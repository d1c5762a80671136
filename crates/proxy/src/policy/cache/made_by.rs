//! What makes the answers of a route: its backends, and all policies that change what passes. Answers that were made
//! otherwise are not given again after a reload.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use model::{Config, Phase, Policy, PolicyUse, Route, resource::route::Handler};

use crate::plugins::{self, Plugins};

/// Of a configuration.
pub(crate) struct MadeBy<'c> {
    config: &'c Config,
    plugins: &'c Plugins,
    /// Of what changes the answers of any route; none where nothing is kept.
    common: Option<u64>,
}

impl<'c> MadeBy<'c> {
    pub(crate) fn of(config: &'c Config, plugins: &'c Plugins) -> Self {
        let routes = config.routes.iter().map(|route| &route.policies);
        let listeners = config.listeners.iter().map(|listener| &listener.policies);
        let consumers = config.consumers.iter().map(|consumer| &consumer.policies);
        let common = || listeners.clone().chain(consumers.clone()).chain([&config.global_policies]);
        let keeps = |uses: &Vec<PolicyUse>| {
            uses.iter().filter_map(|used| policy(config, used)).any(|policy| policy.phase() == Phase::Cache)
        };
        let common = routes.chain(common()).any(keeps).then(|| {
            let mut hasher = DefaultHasher::new();
            common().for_each(|uses| changes(config, plugins, uses, &mut hasher));
            hasher.finish()
        });
        Self { config, plugins, common }
    }

    /// Of the answers of this route.
    pub(crate) fn route(&self, route: &Route) -> u64 {
        let Some(common) = self.common else { return 0 };
        let mut hasher = DefaultHasher::new();
        common.hash(&mut hasher);
        changes(self.config, self.plugins, &route.policies, &mut hasher);
        match &route.handler {
            Handler::Backends { backends, .. } => {
                route.host_header.hash(&mut hasher);
                let others = route.policies.iter().filter_map(|used| policy(self.config, used));
                let others = others.flat_map(Policy::leads_to);
                let names: BTreeSet<&str> =
                    backends.iter().map(|backend| backend.upstream.as_str()).chain(others).collect();
                for name in names {
                    name.hash(&mut hasher);
                    let upstream = self.config.upstreams.iter().find(|upstream| upstream.name == name);
                    if let Some(upstream) = upstream {
                        changes(self.config, self.plugins, &upstream.policies, &mut hasher);
                    }
                }
            }
            handler => {
                if let Some(plugin) = handler.runs() {
                    plugins::digest(self.plugins, plugin).hash(&mut hasher);
                }
                serde_json::to_string(route).unwrap_or_default().hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

fn policy<'c>(config: &'c Config, used: &'c PolicyUse) -> Option<&'c Policy> {
    match used {
        PolicyUse::Inline(policy) => Some(policy),
        PolicyUse::Shared(shared) => {
            config.policies.iter().find(|named| named.name == shared.name).map(|named| &named.policy)
        }
    }
}

fn changes(config: &Config, plugins: &Plugins, uses: &[PolicyUse], hasher: &mut DefaultHasher) {
    let all = uses.iter().filter_map(|used| policy(config, used));
    let mut all = all.filter(|policy| policy.phase() == Phase::Transform).peekable();
    // Whoever comes or goes and changes nothing is nobody here.
    if all.peek().is_none() {
        return;
    }
    for policy in all {
        serde_json::to_string(policy).unwrap_or_default().hash(hasher);
        policy.runs().map(|plugin| plugins::digest(plugins, plugin)).hash(hasher);
    }
    // One owner's end is not another's beginning.
    0xff_u8.hash(hasher);
}
