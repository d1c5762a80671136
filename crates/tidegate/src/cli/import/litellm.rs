//! LiteLLM's `config.yaml`: models with their providers, credentials, prices and facts, routing, fallbacks, caches,
//! budgets, guardrails and the master key.
//!
//! Whatever is read is taken out of a copy; what is left in the end has no counterpart and is told with its path, and
//! with what to do about it where there is something to do.

mod access;
mod credentials;
mod deployments;
mod facts;
mod fallbacks;
mod guards;
mod remedies;
mod routing;

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use self::remedies::leftovers;
use super::Imported;

/// Where LiteLLM's proxy listens.
const ADDRESS: &str = "127.0.0.1:4000";

/// What has been made so far.
#[derive(Default)]
struct Import {
    providers: Vec<Map<String, Value>>,
    models: Vec<Model>,
    prices: Vec<Value>,
    catalogue: Vec<Value>,
    /// Of the route.
    policies: Vec<Value>,
    /// Where `*` stands for whatever there is.
    everything: Option<String>,
    redis: Option<Value>,
    telemetry: Option<Value>,
    /// Its way to sign in is not taken over, so that nobody may call.
    is_closed: bool,
    /// Variables that the file names.
    variables: HashSet<String>,
    /// Secrets that stand in the file, with the variables that they are to be in.
    secrets: Vec<(Value, String)>,
    notes: Vec<String>,
}

/// A name with its targets, in their order.
#[derive(Clone)]
struct Model {
    name: String,
    targets: Vec<Value>,
    fallback_on: Vec<&'static str>,
}

/// Turns their configuration into ours.
pub(super) fn import(theirs: &Value) -> Result<Imported, String> {
    let mut rest = theirs.clone();
    let fields = rest.as_object_mut().ok_or("expected a mapping with `model_list`")?;
    let Some(Value::Array(list)) = fields.remove("model_list") else {
        return Err("model_list: expected a list".to_owned());
    };
    let mut import = Import::default();
    variables(theirs, &mut import.variables);
    let credentials = fields.remove("credential_list").unwrap_or_default();
    for (index, entry) in list.into_iter().enumerate() {
        import.deployment(index, entry, &credentials);
    }
    import.everything();
    import.share();
    import.timeouts(fields);
    import.cooldown(fields);
    for section in ["router_settings", "litellm_settings"] {
        for (key, on) in [
            ("fallbacks", None),
            ("context_window_fallbacks", Some("contextLength")),
            ("content_policy_fallbacks", Some("contentFilter")),
        ] {
            if let Some(fallbacks) = taken(fields, section, key) {
                import.fallbacks(&fallbacks, &format!("{section}.{key}"), on);
            }
        }
    }
    if let Some(defaults) = taken(fields, "litellm_settings", "default_fallbacks") {
        import.default_fallbacks(&defaults);
    }
    // Last, so that an alias has the fallbacks of its model.
    for section in ["router_settings", "litellm_settings"] {
        if let Some(aliases) = taken(fields, section, "model_group_alias") {
            import.aliases(&aliases, section);
        }
    }
    import.access(fields);
    import.first_tokens();
    import.cache(fields);
    import.budget(fields);
    import.guardrails(fields);
    import.callbacks(fields);
    import.redis(fields);
    // What these say is so here without being said.
    for key in ["drop_params", "set_verbose", "json_logs", "modify_params", "turn_off_message_logging"] {
        taken(fields, "litellm_settings", key);
    }
    taken(fields, "router_settings", "enable_pre_call_checks");
    let strategy = import.strategy(taken(fields, "router_settings", "routing_strategy"));
    let mut retries = 0;
    for section in ["litellm_settings", "router_settings"] {
        let theirs = fields.get(section).and_then(|section| section.get("num_retries"));
        if let Some(number) = theirs.and_then(Value::as_u64) {
            retries = number;
            taken(fields, section, "num_retries");
        }
    }
    let key = taken(fields, "general_settings", "master_key");
    leftovers(&rest, "", &mut import.notes);
    if import.models.is_empty() {
        return Err(format!("model_list: nothing of it could be taken over\n{}", import.notes.join("\n")));
    }
    Ok(import.finished(key, strategy, retries))
}

/// A key is looked for where each vendor's SDK puts it.
fn policies() -> Value {
    let text = "[{keyAuth: {headers: [authorization, x-api-key, x-goog-api-key]}}]";
    model::document(&model::Source::new("policies", text)).unwrap_or_default()
}

/// Takes a setting out of a section.
fn taken(fields: &mut Map<String, Value>, section: &str, key: &str) -> Option<Value> {
    fields.get_mut(section)?.as_object_mut()?.remove(key)
}

/// `os.environ/NAME`.
fn variable(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix("os.environ/")
}

/// All variables that are named somewhere.
fn variables(value: &Value, all: &mut HashSet<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|value| variables(value, all)),
        Value::Array(items) => items.iter().for_each(|value| variables(value, all)),
        value => all.extend(variable(value).map(str::to_owned)),
    }
}

impl Import {
    fn note(&mut self, path: &str, what: impl std::fmt::Display) {
        self.notes.push(format!("{path}: {what}"));
    }

    fn finished(mut self, key: Option<Value>, strategy: Option<&str>, retries: u64) -> Imported {
        let model = |model: Model| {
            let mut one = json!({"name": model.name});
            if let Some(strategy) = strategy.filter(|_| model.targets.len() > 1) {
                one["strategy"] = strategy.into();
            }
            if !model.fallback_on.is_empty() {
                one["fallbackOn"] = model.fallback_on.into();
            }
            if retries > 0 {
                one["retry"] = json!({"maxAttempts": retries.saturating_add(1).min(10)});
            }
            one["targets"] = model.targets.into();
            one
        };
        let models: Vec<Value> = std::mem::take(&mut self.models).into_iter().map(model).collect();
        let mut route = json!({"name": "models", "match": [{"path": {"prefix": "/"}}]});
        let mut config = json!({"listeners": [{"name": "public", "address": ADDRESS}]});
        let mut all = Vec::new();
        match &key {
            Some(key) => {
                let name = variable(key).unwrap_or("LITELLM_MASTER_KEY");
                if variable(key).is_none() {
                    self.note(
                        "general_settings.master_key",
                        format_args!("a key in the file is not copied: put it into the variable `{name}`"),
                    );
                }
                config["consumers"] = json!([{"name": "master", "keys": [{"env": name}]}]);
                all.extend(policies().as_array().cloned().unwrap_or_default());
            }
            None if self.is_closed => {}
            None => self.note(
                "general_settings.master_key",
                "there is none: whoever reaches the listener may call; where LiteLLM has it from its environment, write a \
                 consumer with `keys: [{env: LITELLM_MASTER_KEY}]`, and `keyAuth` at the route",
            ),
        }
        all.append(&mut self.policies);
        if !all.is_empty() {
            route["policies"] = all.into();
        }
        route["ai"] = json!({});
        config["routes"] = json!([route]);
        config["ai"] = json!({"providers": self.providers, "models": models});
        for (name, made) in [("prices", self.prices), ("catalogue", self.catalogue)] {
            if !made.is_empty() {
                config["ai"][name] = made.into();
            }
        }
        for (name, made) in [("redis", self.redis), ("telemetry", self.telemetry)] {
            if let Some(made) = made {
                config[name] = made;
            }
        }
        Imported { config, notes: self.notes }
    }
}
