//! Which policies make sense where: those of a consumer and of an upstream run when some decisions are past.

use crate::{Config, Phase, Policy, PolicyUse, load::Context};

pub(super) fn check(config: &Config, at: &mut Context<'_, '_>) {
    at.each("consumers", &config.consumers, |at, consumer| {
        each(config, &consumer.policies, at, |policy| match policy.phase() {
            Phase::Authentication => {
                Some("a consumer's policies run once it is known who calls: they cannot find it out")
            }
            Phase::Cors => Some("a preflight carries no credentials, so it is no consumer's"),
            Phase::Guard => Some("answers that come before it is known who calls would lack it"),
            Phase::Waf if policy.judges_arrivals() => {
                Some("it runs before it is known who calls, so that a consumer's would come too late")
            }
            Phase::IpRestriction
            | Phase::Waf
            | Phase::Authorization
            | Phase::RateLimit
            | Phase::Validation
            | Phase::Cache
            | Phase::Transform
            | Phase::Handler => None,
        });
    });
    at.each("upstreams", &config.upstreams, |at, upstream| {
        each(config, &upstream.policies, at, |policy| {
            if policy.is_of_ai() {
                return Some("providers of models are no upstreams that this could be attached to");
            }
            if policy.judges_arrivals() {
                return Some(
                    "it judges requests as they arrive, and an upstream is asked again by the gateway itself",
                );
            }
            let is_late = policy.phase() == Phase::Cors;
            let preflights = is_late.then_some("a preflight is answered before an upstream is picked");
            preflights.or_else(|| policy.comes_too_late())
        });
    });
}

fn each(
    config: &Config,
    policies: &[PolicyUse],
    at: &mut Context<'_, '_>,
    wrong: impl Fn(&Policy) -> Option<&'static str>,
) {
    at.each("policies", policies, |at, used| {
        let policy = match used {
            PolicyUse::Inline(policy) => Some(policy),
            PolicyUse::Shared(shared) => {
                config.policies.iter().find(|named| named.name == shared.name).map(|named| &named.policy)
            }
        };
        if let Some((policy, message)) = policy.and_then(|policy| Some((policy, wrong(policy)?))) {
            let help = format!("attach `{}` to a route, a listener or `globalPolicies`", policy.name());
            at.error_with(message, help);
        }
    });
}
