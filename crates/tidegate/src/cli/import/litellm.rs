//! LiteLLM's `config.yaml`: `model_list`, fallbacks, aliases, the master key and timeouts.
//!
//! Whatever is read is taken out of a copy; what is left in the end has no counterpart and is told with its path.

use serde_json::{Map, Value, json};

use super::{Imported, providers};

/// Where LiteLLM's proxy listens.
const ADDRESS: &str = "127.0.0.1:4000";
/// Most targets' weight that ours takes.
const WEIGHT_MAX: u64 = 1_000_000;

/// What has been made so far.
#[derive(Default)]
struct Import {
    providers: Vec<Map<String, Value>>,
    /// Names with their targets, in their order.
    models: Vec<(String, Vec<Value>)>,
    notes: Vec<String>,
}

/// Turns their configuration into ours.
pub(super) fn import(theirs: &Value) -> Result<Imported, String> {
    let mut rest = theirs.clone();
    let fields = rest.as_object_mut().ok_or("expected a mapping with `model_list`")?;
    let Some(Value::Array(list)) = fields.remove("model_list") else {
        return Err("model_list: expected a list".to_owned());
    };
    let mut import = Import::default();
    for (index, entry) in list.into_iter().enumerate() {
        import.deployment(index, entry);
    }
    import.share();
    let timeout =
        taken(fields, "litellm_settings", "request_timeout").or(taken(fields, "router_settings", "timeout"));
    if let Some(seconds) = timeout.as_ref().and_then(Value::as_f64) {
        for provider in &mut import.providers {
            provider.entry("timeouts").or_insert_with(|| timeouts(seconds));
        }
    }
    for section in ["router_settings", "litellm_settings"] {
        if let Some(fallbacks) = taken(fields, section, "fallbacks") {
            import.fallbacks(&fallbacks, section);
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
    // What these say is so here without being said.
    taken(fields, "litellm_settings", "drop_params");
    if let Some(strategy) = taken(fields, "router_settings", "routing_strategy")
        && strategy != "simple-shuffle"
    {
        import.note(
            "router_settings.routing_strategy",
            format!("{strategy} has no counterpart: targets share by weight"),
        );
    }
    let key = taken(fields, "general_settings", "master_key");
    leftovers(&rest, "", &mut import.notes);
    if import.models.is_empty() {
        return Err(format!("model_list: nothing of it could be taken over\n{}", import.notes.join("\n")));
    }
    Ok(import.finished(key))
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

fn timeouts(seconds: f64) -> Value {
    json!({"request": format!("{}ms", (seconds.clamp(0.001, 86_400.0) * 1000.0) as u64)})
}

/// `os.environ/NAME`.
fn variable(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix("os.environ/")
}

/// Tells everything that is left, by its path.
pub(super) fn leftovers(value: &Value, path: &str, notes: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leftovers(value, &path, notes);
            }
        }
        Value::Null => {}
        _ => notes.push(format!("{path}: no counterpart")),
    }
}

impl Import {
    fn note(&mut self, path: &str, what: impl std::fmt::Display) {
        self.notes.push(format!("{path}: {what}"));
    }

    /// One entry of `model_list`.
    fn deployment(&mut self, index: usize, entry: Value) {
        let place = format!("model_list[{index}]");
        let Value::Object(mut entry) = entry else {
            return self.note(&place, "expected a mapping; left out");
        };
        let name = entry.remove("model_name").as_ref().and_then(Value::as_str).map(str::to_owned);
        let Some(Value::Object(mut params)) = entry.remove("litellm_params") else {
            return self.note(&format!("{place}.litellm_params"), "expected a mapping; left out");
        };
        let model = params.remove("model").as_ref().and_then(Value::as_str).map(str::to_owned);
        let (Some(name), Some(model)) = (name, model) else {
            return self.note(&place, "`model_name` and `litellm_params.model` are needed; left out");
        };
        let at = format!("{place}.litellm_params");
        let custom = params.remove("custom_llm_provider").as_ref().and_then(Value::as_str).map(str::to_owned);
        let full = custom.map_or(model.clone(), |custom| format!("{custom}/{model}"));
        let Some((kind, own)) = providers::split(&full) else {
            return self
                .note(&format!("{at}.model"), format_args!("no kind of provider for `{full}`; left out"));
        };
        if !providers::is_served(kind) {
            let why = format_args!("how `{kind}` wants to know who calls is not in this build; left out");
            return self.note(&format!("{at}.model"), why);
        }
        let is_pattern = own.contains('*');
        if is_pattern && (!name.ends_with('*') || name == "*" || own.find('*') != Some(own.len() - 1)) {
            let why = format_args!("the pattern `{name}` for `{model}` has no counterpart; left out");
            return self.note(&format!("{place}.model_name"), why);
        }
        let target = own.to_owned();
        let provider = self.provider(kind, &mut params, &at);
        let order = params.remove("order").as_ref().and_then(Value::as_u64);
        let shares = ["weight", "rpm", "tpm"].map(|key| params.remove(key).as_ref().and_then(Value::as_u64));
        if shares[0].is_none() && (shares[1].is_some() || shares[2].is_some()) {
            self.note(&at, "`rpm` and `tpm` became weights, as LiteLLM uses them; as limits they are `tokenRateLimit` and `rateLimit`");
        }
        let weight = match order {
            Some(order) if order > 1 => 0,
            _ => shares.into_iter().flatten().next().unwrap_or(1).clamp(1, WEIGHT_MAX),
        };
        leftovers(&params.into(), &at, &mut self.notes);
        leftovers(&entry.into(), &place, &mut self.notes);
        let target = json!({"provider": provider, "model": target, "weight": weight});
        match self.models.iter_mut().find(|(known, _)| *known == name) {
            Some((_, targets)) => targets.push(target),
            None => self.models.push((name, vec![target])),
        }
    }

    /// A model that later orders alone serve is shared by them.
    fn share(&mut self) {
        for (_, targets) in &mut self.models {
            if targets.iter().all(|target| target["weight"] == 0) {
                targets.iter_mut().for_each(|target| target["weight"] = 1.into());
            }
        }
    }

    /// The provider of a deployment: one that is there already, or a new one. Its name.
    fn provider(&mut self, kind: &str, params: &mut Map<String, Value>, at: &str) -> String {
        let mut provider = Map::new();
        let base = params.remove("api_base").or_else(|| params.remove("base_url"));
        // A server of one's own that speaks like OpenAI.
        let kind = if kind == "openai" && base.is_some() { "openai-compatible" } else { kind };
        provider.insert("kind".into(), kind.into());
        match base.as_ref().map(|base| (variable(base), base)) {
            Some((Some(name), _)) => {
                self.note(
                    &format!("{at}.api_base"),
                    format_args!(
                        "an address is no secret and cannot come from `{name}`: write it into `baseUrl`"
                    ),
                );
                provider.insert("baseUrl".into(), "http://127.0.0.1:11434/v1".into());
            }
            Some((None, Value::String(url))) => {
                let url = url.trim_end_matches('/');
                // LiteLLM speaks to Ollama in Ollama's own dialect, below another path.
                let version = if kind == "ollama" && !url.ends_with("/v1") { "/v1" } else { "" };
                provider.insert("baseUrl".into(), format!("{url}{version}").into());
            }
            _ if kind == "openai-compatible" => {
                self.note(&format!("{at}.api_base"), "it has no address: write it into `baseUrl`");
                provider.insert("baseUrl".into(), "http://127.0.0.1:11434/v1".into());
            }
            _ => {}
        }
        let mut values = Map::new();
        for (theirs, ours) in [
            ("api_version", "api-version"),
            ("aws_region_name", "region"),
            ("vertex_project", "project"),
            ("vertex_location", "location"),
        ] {
            if !providers::leaves_open(kind, ours) {
                continue;
            }
            match params.remove(theirs) {
                Some(value) if variable(&value).is_some() => {
                    self.note(
                        &format!("{at}.{theirs}"),
                        format_args!("write what the variable holds into `values.{ours}`"),
                    );
                }
                Some(value) => drop(
                    values
                        .insert(ours.into(), value.as_str().map_or(value.to_string(), str::to_owned).into()),
                ),
                None => {}
            }
        }
        if !values.is_empty() {
            provider.insert("values".into(), values.into());
        }
        let has_base = base.is_some();
        if let Some(name) = self.key(kind, params.remove("api_key"), has_base, at) {
            provider.insert("keys".into(), json!([{"env": name}]));
        }
        if let Some(seconds) = params.remove("timeout").as_ref().and_then(Value::as_f64) {
            provider.insert("timeouts".into(), timeouts(seconds));
        }
        let same =
            |known: &&Map<String, Value>| known.iter().filter(|(key, _)| *key != "name").eq(provider.iter());
        if let Some(known) = self.providers.iter().find(same) {
            return known.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        }
        let count = self.providers.iter().filter(|known| known.get("kind") == provider.get("kind")).count();
        let name = if count == 0 { kind.to_owned() } else { format!("{kind}-{}", count + 1) };
        let mut named = Map::from_iter([("name".to_owned(), Value::from(name.as_str()))]);
        named.extend(provider);
        self.providers.push(named);
        name
    }

    /// The variable that holds a provider's key.
    fn key(&mut self, kind: &str, key: Option<Value>, has_base: bool, at: &str) -> Option<String> {
        let customary = providers::variable(kind);
        match key {
            Some(key) => match variable(&key) {
                Some(name) => Some(name.to_owned()),
                None => {
                    let name = customary.unwrap_or_else(|| {
                        format!("{}_API_KEY", kind.to_ascii_uppercase().replace('-', "_"))
                    });
                    self.note(
                        &format!("{at}.api_key"),
                        format_args!("a key in the file is not copied: put it into the variable `{name}`"),
                    );
                    Some(name)
                }
            },
            None if has_base => None,
            None => customary,
        }
    }

    /// `{alias: model}`.
    fn aliases(&mut self, aliases: &Value, section: &str) {
        for (alias, of) in aliases.as_object().into_iter().flatten() {
            let of = of.as_str().or_else(|| of.get("model").and_then(Value::as_str)).unwrap_or_default();
            let targets = self.models.iter().find(|(name, _)| name == of).map(|(_, targets)| targets.clone());
            match targets {
                Some(targets) => self.models.push((alias.clone(), targets)),
                None => self.note(
                    &format!("{section}.model_group_alias.{alias}"),
                    format_args!("there is no model `{of}`"),
                ),
            }
        }
    }

    /// `[{model: [others]}]`: the others' targets serve when all of the model's own fail.
    fn fallbacks(&mut self, fallbacks: &Value, section: &str) {
        for (index, one) in fallbacks.as_array().into_iter().flatten().enumerate() {
            for (model, others) in one.as_object().into_iter().flatten() {
                let place = format!("{section}.fallbacks[{index}].{model}");
                for other in others.as_array().into_iter().flatten() {
                    self.fall_back(model, other.as_str().unwrap_or_default(), &place);
                }
            }
        }
    }

    fn default_fallbacks(&mut self, others: &Value) {
        let names: Vec<String> = self.models.iter().map(|(name, _)| name.clone()).collect();
        for name in names.iter().filter(|name| !name.ends_with('*')) {
            for other in others.as_array().into_iter().flatten().filter_map(Value::as_str) {
                if other != name {
                    self.fall_back(name, other, "litellm_settings.default_fallbacks");
                }
            }
        }
    }

    fn fall_back(&mut self, model: &str, other: &str, place: &str) {
        let theirs = self.models.iter().find(|(name, _)| name == other && !name.ends_with('*'));
        let Some(theirs) = theirs.map(|(_, targets)| targets.clone()) else {
            return self.note(place, format_args!("there is no model `{other}`"));
        };
        let Some((_, own)) = self.models.iter_mut().find(|(name, _)| name == model) else {
            return self.note(place, format_args!("there is no model `{model}`"));
        };
        for mut target in theirs {
            target["weight"] = 0.into();
            let is_there = own.iter().any(|known| {
                (&known["provider"], &known["model"]) == (&target["provider"], &target["model"])
            });
            if !is_there {
                own.push(target);
            }
        }
    }

    fn finished(mut self, key: Option<Value>) -> Imported {
        let models: Vec<Value> = std::mem::take(&mut self.models)
            .into_iter()
            .map(|(name, targets)| json!({"name": name, "targets": targets}))
            .collect();
        let mut route = json!({"name": "models", "match": [{"path": {"prefix": "/"}}]});
        let mut config = json!({"listeners": [{"name": "public", "address": ADDRESS}]});
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
                route["policies"] = policies();
            }
            None => self
                .note("general_settings.master_key", "there is none: whoever reaches the listener may call"),
        }
        route["ai"] = json!({});
        config["routes"] = json!([route]);
        config["ai"] = json!({"providers": self.providers, "models": models});
        Imported { config, notes: self.notes }
    }
}
