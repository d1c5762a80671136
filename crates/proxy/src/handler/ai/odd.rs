//! What the catalogue knows to be odd or wrong about providers and their models: told when a snapshot is compiled.

use ai::catalogue;
use model::{
    Finding, Snapshot,
    resource::ai::{Ai, Provider},
};

use super::prices;

/// Kinds whose models are deployments, with names of the operator's own.
const DEPLOYED: [&str; 2] = ["azure-foundry", "azure-openai"];

/// All that is warned of.
pub(crate) fn all(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found = prices::unknown(snapshot);
    if let Some(ai) = &snapshot.config.ai {
        retired(ai, &mut found);
    }
    found
}

/// Targets and shadows that their provider does not serve any more.
fn retired(ai: &Ai, found: &mut Vec<Finding>) {
    for (place, model) in ai.models.iter().enumerate() {
        let targets = model.targets.iter().map(|target| (&target.provider, &target.model)).enumerate();
        let shadows = model.shadow.iter().map(|shadow| (&shadow.provider, &shadow.model)).enumerate();
        let all = targets
            .map(|(index, one)| (format!("targets[{index}]"), one))
            .chain(shadows.map(|(index, one)| (format!("shadow[{index}]"), one)));
        for (key, (provider, model)) in all {
            let provider = ai.providers.iter().find(|one| one.name == *provider);
            if let Some(message) = provider.and_then(|provider| turned_off(ai, provider, model)) {
                found.push(Finding::new("", format!("ai.models[{place}].{key}.model"), message));
            }
        }
    }
}

/// What is said of a model that was turned off before the catalogue's facts were taken. A day that was still to come then
/// was a plan, and such are moved. Who has a server of one's own, or says of the model what it is, knows better.
fn turned_off(ai: &Ai, provider: &Provider, model: &str) -> Option<String> {
    let kind = provider.kind.as_str();
    let is_told = ai.catalogue.iter().any(|entry| entry.kind == kind && entry.model == model);
    if provider.base_url.is_some() || is_told || DEPLOYED.contains(&kind) {
        return None;
    }
    let models = catalogue::models(kind).ok()?;
    let day = models.exact(model)?.retires?;
    (day <= models.taken?).then(|| {
        format!("`{model}` was turned off on {day}: `tidegate models --provider {kind}` lists what there is")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(provider: &Value, model: &Value, more: &Value) -> Ai {
        let mut all = json!({"providers": [provider], "models": [model]});
        if let Some(more) = more.as_object() {
            all.as_object_mut().expect("a mapping").extend(more.clone());
        }
        serde_json::from_value(all).expect("good settings")
    }

    #[test]
    fn a_model_that_its_own_provider_has_turned_off_is_told_and_one_of_another_server_is_not() {
        let target = |model: &str| json!({"name": "m", "targets": [{"provider": "p", "model": model}]});
        let openai = json!({"name": "p", "kind": "openai"});
        let own = json!({"name": "p", "kind": "openai", "baseUrl": "http://127.0.0.1:1/v1"});
        let deployed = json!({"name": "p", "kind": "azure-openai", "values": {"resource": "r"}});
        let known = json!({"catalogue": [{"kind": "openai", "model": "gpt-4", "context": 8192}]});
        let shadow = json!({"name": "m", "targets": [{"provider": "p", "model": "gpt-4o"}],
            "shadow": [{"provider": "p", "model": "gpt-4"}]});
        for (provider, model, more, want) in [
            (&openai, target("gpt-4"), json!({}), Some("ai.models[0].targets[0].model")),
            (&openai, shadow, json!({}), Some("ai.models[0].shadow[0].model")),
            (&openai, target("gpt-4"), known, None),
            (&openai, target("gpt-4o"), json!({}), None),
            (&openai, target("nobodys-own"), json!({}), None),
            (&openai, target("*"), json!({}), None),
            (&own, target("gpt-4"), json!({}), None),
            (&deployed, target("command-r-plus"), json!({}), None),
        ] {
            let mut found = Vec::new();
            retired(&settings(provider, &model, &more), &mut found);
            assert_eq!(found.first().map(|one| one.key.as_str()), want, "{provider} {model}");
            for one in found {
                assert!(one.message.starts_with("`gpt-4` was turned off on 2026-10-23: "), "{one}");
            }
        }
    }
}
