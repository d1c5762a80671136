//! The names that clients of `ai` routes ask for, what stands behind each, and how many keys there are for it. Keys are
//! told by their place alone.

use model::{Config, resource::route::Handler};
use serde_json::{Value, json};

/// The names that a route serves; none of one that serves no models.
pub(super) fn of_route(config: &Config, name: &str) -> Vec<Value> {
    let route = config.routes.iter().find(|route| route.name == name);
    match route.map(|route| &route.handler) {
        Some(Handler::Ai(ai)) => of(config, ai.models.as_deref()),
        _ => Vec::new(),
    }
}

/// The names, with their targets; of some alone where they are said.
pub(super) fn of(config: &Config, served: Option<&[String]>) -> Vec<Value> {
    let Some(ai) = &config.ai else { return Vec::new() };
    let models = ai.models.iter().filter(|model| served.is_none_or(|served| served.contains(&model.name)));
    models
        .map(|model| {
            let targets = model.targets.iter().map(|target| {
                let provider = ai.providers.iter().find(|provider| provider.name == target.provider);
                json!({
                    "provider": target.provider,
                    "kind": provider.map(|provider| &provider.kind),
                    "model": target.model,
                    "weight": target.weight,
                    "when": target.when,
                    "variant": target.variant,
                    "keys": provider.map_or(0, |provider| provider.keys.len()),
                })
            });
            json!({
                "name": model.name,
                "strategy": model.strategy,
                "fallbackOn": model.fallback_on,
                "attempts": model.retry.as_ref().map_or(1, |retry| retry.max_attempts),
                "targets": targets.collect::<Vec<_>>(),
            })
        })
        .collect()
}

/// A line for each target, and before them one for each name. `live` is the status of a running gateway.
pub(super) fn lines(names: &[Value], live: Option<&Value>) -> Vec<String> {
    let mut lines = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for name in names {
        let again = match name["attempts"].as_u64() {
            Some(attempts @ 2..) => format!(", asked up to {attempts} times"),
            _ => String::new(),
        };
        lines.push(format!("model      {} ({}{again})", text(&name["name"]), text(&name["strategy"])));
        for target in name["targets"].as_array().into_iter().flatten() {
            let mut line = format!(
                "  target   {} {} weight {}",
                text(&target["provider"]),
                text(&target["model"]),
                target["weight"]
            );
            if let Some(when) = target["when"].as_str() {
                line.push_str(&format!(" when {when}"));
            }
            let keys = target["keys"].as_u64().unwrap_or_default();
            let plural = if keys == 1 { "" } else { "s" };
            line.push_str(&format!(
                " ({}, {keys} key{plural}{})",
                text(&target["kind"]),
                states(target, live)
            ));
            lines.push(line);
        }
    }
    lines
}

/// How the keys of a target's provider are now.
fn states(target: &Value, live: Option<&Value>) -> String {
    let providers = live.and_then(|live| live["providers"].as_array()).into_iter().flatten();
    let known = providers.into_iter().find(|one| one["name"] == target["provider"]);
    let keys = known.and_then(|one| one["keys"].as_array()).into_iter().flatten();
    let states: Vec<String> = keys
        .map(|key| {
            let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
            format!("{} {}", text(&key["key"]), text(&key["state"]))
        })
        .collect();
    if states.is_empty() { String::new() } else { format!(": {}", states.join(", ")) }
}
