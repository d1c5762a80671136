//! What callers of models can do that they could not, and where their words go that they did not: more models for a
//! consumer, a rule over texts that is gone or only looks on, a provider at another address.

use std::collections::BTreeMap;

use super::Exposure;
pub(crate) use crate::policy::guardrails::GuardRule;
use crate::{
    Config, Policy, PolicyUse, Snapshot,
    policy::guardrails::{GuardMode, GuardSide},
    resource::ai::Provider,
};

pub(super) fn exposure(old: &Snapshot, new: &Snapshot) -> Vec<Exposure> {
    let (old, new) = (&*old.config, &*new.config);
    let mut found = Vec::new();
    models(old, new, &mut found);
    let (before, after) = (guarded(old), guarded(new));
    for (place, rules) in &before {
        let Some(now) = after.get(place) else { continue };
        for rule in rules.iter().filter(|rule| rule.mode != GuardMode::Flag) {
            guardrail(place, rule, now, &mut found);
        }
    }
    let providers =
        |config| -> Vec<Provider> { Config::clone(config).ai.map_or_else(Vec::new, |ai| ai.providers) };
    let before = providers(old);
    for provider in providers(new) {
        if let Some(was) = before.iter().find(|was| was.name == provider.name) {
            let (was, now) = (address(was), address(&provider));
            if was != now {
                let resource = format!("ai/providers/{}", provider.name);
                found.push(exposed("providerMoved", resource, vec![was], vec![now]));
            }
        }
    }
    found
}

fn exposed(kind: &'static str, resource: String, was: Vec<String>, now: Vec<String>) -> Exposure {
    Exposure {
        kind,
        listener: String::new(),
        host: String::new(),
        path: String::new(),
        methods: Vec::new(),
        route: String::new(),
        resource,
        was: Some(was),
        now,
    }
}

/// Models that a consumer could not use before.
fn models(old: &Config, new: &Config, found: &mut Vec<Exposure>) {
    let before: BTreeMap<&str, &Vec<String>> = old
        .consumers
        .iter()
        .filter_map(|consumer| Some((consumer.name.as_str(), consumer.models.as_ref()?)))
        .collect();
    for consumer in &new.consumers {
        let Some(was) = before.get(consumer.name.as_str()) else { continue };
        let covered = |name: &String| {
            was.iter().any(|was| match was.strip_suffix('*') {
                Some(begin) => name.starts_with(begin),
                None => was == name,
            })
        };
        let now = match &consumer.models {
            None => vec!["any model".to_owned()],
            Some(names) if names.iter().all(covered) => continue,
            Some(names) => names.clone(),
        };
        let resource = format!("consumers/{}", consumer.name);
        found.push(exposed("moreModels", resource, (*was).clone(), now));
    }
}

/// The rules over texts of every route that asks models, and of every consumer.
fn guarded(config: &Config) -> BTreeMap<String, Vec<&GuardRule>> {
    let mut found = BTreeMap::new();
    for route in config.routes.iter().filter(|route| route.handler.is_for_models()) {
        let policies = config.global_policies.iter().chain(&route.policies);
        found.insert(format!("routes/{}", route.name), rules_of(config, policies));
    }
    for consumer in &config.consumers {
        found.insert(format!("consumers/{}", consumer.name), rules_of(config, consumer.policies.iter()));
    }
    found
}

fn rules_of<'c>(config: &'c Config, uses: impl Iterator<Item = &'c PolicyUse>) -> Vec<&'c GuardRule> {
    let shared = |name: &str| config.policies.iter().find(|one| one.name == name).map(|one| &one.policy);
    let policies = uses.filter_map(|used| match used {
        PolicyUse::Inline(policy) => Some(policy),
        PolicyUse::Shared(used) => shared(&used.name),
    });
    policies.flat_map(Policy::guards).collect()
}

/// A rule that masked or blocked, and what is there in its place.
fn guardrail(place: &str, rule: &GuardRule, now: &[&GuardRule], found: &mut Vec<Exposure>) {
    let same = |one: &&&GuardRule| {
        let bare =
            |rule: &GuardRule| GuardRule { name: String::new(), mode: GuardMode::Block, ..rule.clone() };
        bare(one) == bare(rule)
    };
    let after = now.iter().find(|one| one.name == rule.name).or_else(|| now.iter().find(same));
    let gone = match after {
        None => "nothing".to_owned(),
        Some(after) if after.mode == GuardMode::Flag => "what it finds is only noted".to_owned(),
        Some(after) if after.on != rule.on && after.on != GuardSide::Both => {
            "it looks at one side".to_owned()
        }
        Some(after) => {
            let kinds = after.personal_data.as_deref().unwrap_or_default();
            match rule.personal_data.iter().flatten().all(|kind| kinds.contains(kind)) {
                true => return,
                false => "it looks for fewer kinds of data".to_owned(),
            }
        }
    };
    let resource = format!("{place}/guardrails/{}", rule.name);
    let was =
        if rule.mode == GuardMode::Mask { "what it finds is masked" } else { "what it finds is blocked" };
    found.push(exposed("weakerGuardrail", resource, vec![was.to_owned()], vec![gone]));
}

/// Where callers' words go: scheme and host of an address that is given, else the kind's own.
fn address(provider: &Provider) -> String {
    match &provider.base_url {
        None => format!("the address of `{}`", provider.kind),
        Some(url) => {
            let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
            format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
        }
    }
}
