//! What the catalogue knows to be odd or wrong about providers and their models: told when a snapshot is compiled.

use ai::catalogue;
use model::{
    Finding, Snapshot, nearest,
    resource::ai::{Ai, Provider},
};

use super::prices;

/// Kinds whose models are deployments, with names of the operator's own.
const DEPLOYED: [&str; 2] = ["azure-foundry", "azure-openai"];

/// Kinds that serve nobody without credentials.
const PAID: [&str; 7] = ["anthropic", "azure-openai", "bedrock", "cohere", "gemini", "mistral", "openai"];

/// All that is warned of.
pub(crate) fn all(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found = prices::unknown(snapshot);
    if let Some(ai) = &snapshot.config.ai {
        retired(ai, &mut found);
        for (place, provider) in ai.providers.iter().enumerate() {
            found.extend(elsewhere(place, provider));
            found.extend(unpaid(place, provider));
        }
    }
    found
}

/// Values of a provider that its kind has no use for.
pub(crate) fn wrong_values(provider: &Provider) -> Vec<Finding> {
    // That there is no such kind is told elsewhere.
    let Ok(kind) = catalogue::provider(&provider.kind) else { return Vec::new() };
    let wrong = provider.values.keys().filter(|name| !kind.placeholders.contains_key(name.as_str()));
    let told = wrong.map(|name| {
        let help = match nearest(name, kind.placeholders.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if kind.placeholders.is_empty() => "it takes none".to_owned(),
            None => {
                let known: Vec<&str> = kind.placeholders.keys().map(String::as_str).collect();
                format!("it takes `{}`", known.join("`, `"))
            }
        };
        let message = format!("the kind `{}` has no value `{name}`; {help}", kind.name);
        Finding::new(format!("ai/providers/{}", provider.name), format!("values.{name}"), message)
    });
    told.collect()
}

/// A location of Vertex AI whose own host is not asked (Google Cloud: "Vertex AI locations").
fn elsewhere(place: usize, provider: &Provider) -> Option<Finding> {
    let is_vertex = ["vertex", "vertex-anthropic"].contains(&provider.kind.as_str());
    if !is_vertex || provider.base_url.is_some() || provider.values.contains_key("host") {
        return None;
    }
    let location = provider.values.get("location").filter(|location| *location != "global")?;
    let host = match location.as_str() {
        "eu" | "us" => format!("aiplatform.{location}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    };
    let message = format!(
        "without `host`, `aiplatform.googleapis.com` is asked, which is that of the location `global`: write `host: \
         {host}` beside it"
    );
    Some(Finding::new("", format!("ai.providers[{place}].values.location"), message))
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

/// A vendor that is asked at its own address with nothing that says who pays.
fn unpaid(place: usize, provider: &Provider) -> Option<Finding> {
    let has_some = !provider.keys.is_empty()
        || !provider.headers.is_empty()
        || provider.aws.is_some()
        || provider.azure.is_some()
        || provider.google.is_some()
        || provider.oauth.is_some()
        || provider.metadata.is_some();
    if has_some || provider.base_url.is_some() || !PAID.contains(&provider.kind.as_str()) {
        return None;
    }
    let title = &catalogue::provider(&provider.kind).ok()?.title;
    let message = format!(
        "this provider has no credentials, and {title} refuses every call without: give it `keys`, or one of the other \
         ways that its kind takes"
    );
    Some(Finding::new("", format!("ai.providers[{place}]"), message))
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

    fn provider(kind: &str, more: Value) -> Provider {
        let mut all = json!({"name": "p", "kind": kind});
        let more = more.as_object().expect("a mapping").clone();
        all.as_object_mut().expect("a mapping").extend(more);
        serde_json::from_value(all).expect("good settings")
    }

    #[test]
    fn a_value_that_its_kind_does_not_know_is_refused_with_the_one_that_is_meant() {
        for (kind, name, want) in [
            ("azure-openai", "api_version", Some("did you mean `api-version`?")),
            ("bedrock", "regon", Some("did you mean `region`?")),
            ("bedrock", "project", Some("it takes `region`")),
            ("openai", "organisation", Some("it takes none")),
            ("azure-openai", "api-version", None),
            ("nobodys", "region", None),
        ] {
            let found = wrong_values(&provider(kind, json!({"values": {name: "x"}})));
            match want {
                Some(help) => {
                    let [one] = &*found else { panic!("{kind} {name}: {found:?}") };
                    assert!(one.key == format!("values.{name}") && one.message.ends_with(help), "{one}");
                }
                None => assert!(found.is_empty(), "{kind} {name}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_location_of_vertex_with_the_host_of_another_is_told() {
        let host = |location: &str, more: Value| {
            let mut values = json!({"values": {"project": "p", "location": location}});
            values.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
            elsewhere(0, &provider("vertex", values)).map(|found| found.message)
        };
        let regional = host("europe-west1", json!({})).expect("told");
        assert!(regional.contains("`host: europe-west1-aiplatform.googleapis.com`"), "{regional}");
        let wide = host("eu", json!({})).expect("told");
        assert!(wide.contains("`host: aiplatform.eu.rep.googleapis.com`"), "{wide}");
        assert_eq!(host("global", json!({})), None);
        assert_eq!(host("europe-west1", json!({"baseUrl": "http://127.0.0.1:1/v1"})), None);
        let with_host = json!({"values": {"location": "europe-west1", "host": "h.test"}});
        assert_eq!(elsewhere(0, &provider("vertex", with_host)), None);
        let ranks = json!({"values": {"location": "eu"}});
        assert_eq!(elsewhere(0, &provider("vertex-ranking", ranks)), None);
    }

    #[test]
    fn a_vendor_without_credentials_is_told() {
        for (kind, more, want) in [
            ("openai", json!({}), true),
            ("bedrock", json!({"values": {"region": "r"}}), true),
            ("openai", json!({"keys": ["a-key"]}), false),
            ("openai", json!({"headers": {"authorization": "Bearer a-key"}}), false),
            ("openai", json!({"baseUrl": "http://127.0.0.1:1/v1"}), false),
            ("ollama", json!({}), false),
        ] {
            assert_eq!(unpaid(0, &provider(kind, more.clone())).is_some(), want, "{kind} {more}");
        }
    }
}
