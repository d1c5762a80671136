//! LiteLLM's `config.yaml`: models with their providers, credentials, prices and facts, routing, fallbacks, caches,
//! budgets, guardrails and the master key.
//!
//! Whatever is read is taken out of a copy; what is left in the end has no counterpart and is told with its path, and
//! with what to do about it where there is something to do.

mod credentials;
mod facts;
mod guards;

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use self::guards::millis;
use super::{Imported, providers};

/// Where LiteLLM's proxy listens.
const ADDRESS: &str = "127.0.0.1:4000";
/// Most targets' weight that ours takes.
const WEIGHT_MAX: u64 = 1_000_000;

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

fn timeouts(seconds: f64) -> Value {
    json!({"request": millis(seconds.min(86_400.0))})
}

/// What is to be done about a setting that has no counterpart, by its last name.
fn remedy(key: &str) -> Option<&'static str> {
    Some(match key {
        "max_retries" | "retry_policy" | "retry_after" | "model_group_retry_policy" => {
            "a call that fails goes to the model's next target at once; `retry` of the model asks all of them again"
        }
        "database_url" | "store_model_in_db" | "database_connection_pool_limit" | "proxy_batch_write_at" => {
            "what budgets have spent is kept in `--data-dir` or in `redis`; keys are `consumers`"
        }
        "tags" | "tag_regex" | "enable_tag_filtering" => {
            "`when` of a target chooses by header, consumer or claim"
        }
        "alerting" | "alerting_threshold" | "alert_types" => "alerts are in deploy/prometheus/rules.yaml",
        "max_parallel_requests" => "`keyQueue: {maxConcurrent: …}` of the provider bounds calls at its keys",
        "global_max_parallel_requests" => "`concurrencyLimit` of the route bounds calls",
        "max_budget" | "budget_duration" => "`budget: {key: model}` of the route bounds each model",
        "provider_budget_config" => "`budget: {key: model}` of the route bounds each model",
        "itpm" | "otpm" => "`tokenRateLimit: {input: …, output: …, key: model}` of the route bounds tokens",
        "base_model" => "`ai.prices` has prices of one's own, `ai.catalogue` facts",
        "mock_response" => "a route with `respond` answers without a model",
        "organization" => "`headers: {openai-organization: …}` of the provider",
        "extra_headers" | "default_headers" => "`headers` of the provider",
        "custom_auth" | "enable_jwt_auth" | "litellm_jwtauth" => "`jwt`, `oidc` and `keyAuth` say who calls",
        "environment_variables" => "set them in the environment of the process",
        "pass_through_endpoints" => "a route with `backends` passes anything on",
        "mcp_servers" => "a route with `mcp` has servers of tools",
        _ => return None,
    })
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
        _ => {
            let names = path.rsplit('.').map(|name| name.split('[').next().unwrap_or_default());
            let remedy = names.into_iter().find_map(remedy).map(|remedy| format!(": {remedy}"));
            notes.push(format!("{path}: no counterpart{}", remedy.unwrap_or_default()));
        }
    }
}

impl Import {
    fn note(&mut self, path: &str, what: impl std::fmt::Display) {
        self.notes.push(format!("{path}: {what}"));
    }

    /// One entry of `model_list`.
    fn deployment(&mut self, index: usize, entry: Value, credentials: &Value) {
        let place = format!("model_list[{index}]");
        let Value::Object(mut entry) = entry else {
            return self.note(&place, "expected a mapping; left out");
        };
        let name = entry.remove("model_name").as_ref().and_then(Value::as_str).map(str::to_owned);
        let Some(Value::Object(mut params)) = entry.remove("litellm_params") else {
            return self.note(&format!("{place}.litellm_params"), "expected a mapping; left out");
        };
        self.named_credential(&mut params, credentials, &place);
        let model = params.remove("model").as_ref().and_then(Value::as_str).map(str::to_owned);
        let (Some(name), Some(model)) = (name, model) else {
            return self.note(&place, "`model_name` and `litellm_params.model` are needed; left out");
        };
        let at = format!("{place}.litellm_params");
        let custom = params.remove("custom_llm_provider").as_ref().and_then(Value::as_str).map(str::to_owned);
        let full = custom.map_or(model.clone(), |custom| format!("{custom}/{model}"));
        if name == "*" && full == "*" {
            // Whatever follows a provider's name, at the providers that the list has.
            self.everything = Some(place);
            return;
        }
        let Some((kind, own)) = providers::split(&full) else {
            return self
                .note(&format!("{at}.model"), format_args!("no kind of provider for `{full}`; left out"));
        };
        if !providers::is_served(kind) {
            let why = format_args!("how `{kind}` wants to know who calls is not in this build; left out");
            return self.note(&format!("{at}.model"), why);
        }
        let is_pattern = own.contains('*');
        if is_pattern && (!name.ends_with('*') || own.find('*') != Some(own.len() - 1)) {
            let why = format_args!("the pattern `{name}` for `{model}` has no counterpart; left out");
            return self.note(&format!("{place}.model_name"), why);
        }
        let target = providers::own_name(kind, own);
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
        let mut info = match entry.remove("model_info") {
            Some(Value::Object(info)) => info,
            _ => Map::new(),
        };
        // What is said of a model is said of its kind of provider as it is here.
        let named = self.providers.iter().find(|one| one.get("name").is_some_and(|name| *name == provider));
        let kind = named.and_then(|one| one.get("kind")).and_then(Value::as_str).unwrap_or(kind).to_owned();
        self.facts(&provider, &kind, &target, &mut params, &mut info, &at);
        leftovers(&params.into(), &at, &mut self.notes);
        leftovers(&info.into(), &format!("{place}.model_info"), &mut self.notes);
        leftovers(&entry.into(), &place, &mut self.notes);
        let target = json!({"provider": provider, "model": target, "weight": weight});
        match self.models.iter_mut().find(|known| known.name == name) {
            Some(known) => known.targets.push(target),
            None => self.models.push(Model { name, targets: vec![target], fallback_on: Vec::new() }),
        }
    }

    /// `litellm_credential_name` stands for what `credential_list` has under that name.
    fn named_credential(&mut self, params: &mut Map<String, Value>, credentials: &Value, place: &str) {
        let Some(name) = params.remove("litellm_credential_name") else { return };
        let found = credentials.as_array().into_iter().flatten().find(|one| one["credential_name"] == name);
        match found.and_then(|one| one["credential_values"].as_object()) {
            Some(values) => {
                for (key, value) in values {
                    params.entry(key).or_insert_with(|| value.clone());
                }
            }
            None => self.note(
                &format!("{place}.litellm_params.litellm_credential_name"),
                format_args!("there is no credential {name}"),
            ),
        }
    }

    /// `*` for `*`: a pattern for each provider that is there so far.
    fn everything(&mut self) {
        let Some(place) = self.everything.take() else { return };
        let mut named: Vec<(String, String)> = self
            .providers
            .iter()
            .filter_map(|one| {
                Some((one.get("name")?.as_str()?.to_owned(), one.get("kind")?.as_str()?.to_owned()))
            })
            .collect();
        // `openai/…` is OpenAI's own where the list has it, and no server's that speaks like it.
        named.sort_by_key(|(_, kind)| kind == "openai-compatible");
        let mut made = Vec::new();
        for (provider, kind) in named {
            let name = format!("{}/*", providers::theirs(&kind));
            if self.models.iter().all(|model| model.name != name) {
                let targets = vec![json!({"provider": provider, "model": "*", "weight": 1})];
                made.push(name.clone());
                self.models.push(Model { name, targets, fallback_on: Vec::new() });
            }
        }
        let what = if made.is_empty() { "nothing".to_owned() } else { format!("`{}`", made.join("`, `")) };
        self.note(
            &format!("{place}.model_name"),
            format_args!(
                "`*` for every provider there is became {what}, of the providers of the list; add others to \
                 `ai.providers` with a model `KIND/*`"
            ),
        );
    }

    /// How long calls may take, for providers that do not say it themselves.
    fn timeouts(&mut self, fields: &mut Map<String, Value>) {
        let found = [
            taken(fields, "litellm_settings", "request_timeout"),
            taken(fields, "router_settings", "timeout"),
        ];
        let stream = taken(fields, "router_settings", "stream_timeout");
        if let Some(seconds) = found.iter().flatten().find_map(facts::number) {
            for provider in &mut self.providers {
                provider.entry("timeouts").or_insert_with(|| timeouts(seconds));
            }
        }
        if let Some(seconds) = stream.as_ref().and_then(facts::number) {
            for provider in &mut self.providers {
                provider.entry("firstToken").or_insert_with(|| millis(seconds).into());
            }
        }
    }

    /// How many failures set a deployment aside, and for how long.
    fn cooldown(&mut self, fields: &mut Map<String, Value>) {
        let mut find = |key: &str| {
            let found = [taken(fields, "router_settings", key), taken(fields, "litellm_settings", key)];
            found.iter().flatten().find_map(facts::number)
        };
        let (fails, time) = (find("allowed_fails"), find("cooldown_time"));
        let disabled =
            taken(fields, "router_settings", "disable_cooldowns").is_some_and(|value| value == true);
        if disabled || (fails.is_none() && time.is_none()) {
            return;
        }
        let mut breaker = json!({"slidingWindow": "60s"});
        if let Some(fails) = fails {
            breaker["minimumNumberOfCalls"] = ((fails as u64).min(1_000_000) + 1).into();
        }
        if let Some(seconds) = time.filter(|seconds| *seconds > 0.0) {
            breaker["waitDurationInOpenState"] = millis(seconds).into();
        }
        for provider in &mut self.providers {
            provider.insert("circuitBreaker".into(), breaker.clone());
            if let Some(seconds) = time.filter(|seconds| *seconds > 0.0) {
                let max = millis(seconds.max(600.0));
                provider.insert("keyCooldown".into(), json!({"first": millis(seconds), "max": max}));
            }
        }
        self.note(
            "router_settings.allowed_fails",
            "`allowed_fails` and `cooldown_time` became a `circuitBreaker` (half of that many calls in a minute must fail) and \
             the `keyCooldown` of each provider",
        );
    }

    /// Which target is asked first.
    fn strategy(&mut self, theirs: Option<Value>) -> Option<&'static str> {
        let text = theirs.as_ref().and_then(Value::as_str).unwrap_or("simple-shuffle").to_owned();
        let place = "router_settings.routing_strategy";
        match text.as_str() {
            "simple-shuffle" => None,
            "latency-based-routing" => Some("leastLatency"),
            "least-busy" => Some("leastBusy"),
            "cost-based-routing" => Some("leastCost"),
            "usage-based-routing" | "usage-based-routing-v2" => {
                self.note(
                    place,
                    format_args!("`{text}` became `leastBusy`, which is nearest: calls in flight by weight"),
                );
                Some("leastBusy")
            }
            _ => {
                self.note(place, format_args!("`{text}` has no counterpart: targets share by weight"));
                None
            }
        }
    }

    /// A model that later orders alone serve is shared by them.
    fn share(&mut self) {
        for Model { targets, .. } in &mut self.models {
            if targets.iter().all(|target| target["weight"] == 0) {
                targets.iter_mut().for_each(|target| target["weight"] = 1.into());
            }
        }
    }

    /// The provider of a deployment: one that is there already, or a new one. Its name.
    fn provider(&mut self, kind: &str, params: &mut Map<String, Value>, at: &str) -> String {
        let mut provider = Map::new();
        let base = ["api_base", "base_url", "aws_bedrock_runtime_endpoint"]
            .into_iter()
            .find_map(|key| params.remove(key));
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
        let values = self.placeholders(kind, params, at);
        if !values.is_empty() {
            provider.insert("values".into(), values.into());
        }
        self.identity(kind, params, &mut provider, at);
        let has_identity =
            ["aws", "azure", "google", "metadata"].iter().any(|key| provider.contains_key(*key));
        let has_base = base.is_some();
        let key = params.remove("api_key").filter(|_| !has_identity);
        if let Some(name) = self.key(kind, key, has_base || has_identity, at) {
            provider.insert("keys".into(), json!([{"env": name}]));
        }
        if let Some(seconds) = params.remove("timeout").as_ref().and_then(facts::number) {
            provider.insert("timeouts".into(), timeouts(seconds));
        }
        if let Some(seconds) = params.remove("stream_timeout").as_ref().and_then(facts::number) {
            provider.insert("firstToken".into(), millis(seconds).into());
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
                    // The customary variable of a server of one's own is that of OpenAI itself.
                    let own = customary.filter(|_| kind != "openai-compatible");
                    let own = own.unwrap_or_else(|| {
                        format!("{}_API_KEY", kind.to_ascii_uppercase().replace('-', "_"))
                    });
                    let name = self.variable_of(&key, &own);
                    self.note(
                        &format!("{at}.api_key"),
                        format_args!("a key in the file is not copied: put it into the variable `{name}`"),
                    );
                    Some(name)
                }
            },
            None if has_base => None,
            None => {
                self.variables.extend(customary.clone());
                customary
            }
        }
    }

    /// `{alias: model}`.
    fn aliases(&mut self, aliases: &Value, section: &str) {
        for (alias, of) in aliases.as_object().into_iter().flatten() {
            let of = of.as_str().or_else(|| of.get("model").and_then(Value::as_str)).unwrap_or_default();
            match self.models.iter().find(|model| model.name == of).cloned() {
                Some(model) => self.models.push(Model { name: alias.clone(), ..model }),
                None => self.note(
                    &format!("{section}.model_group_alias.{alias}"),
                    format_args!("there is no model `{of}`"),
                ),
            }
        }
    }

    /// `[{model: [others]}]`: the others' targets serve when all of the model's own fail, or after what `on` says.
    fn fallbacks(&mut self, fallbacks: &Value, section: &str, on: Option<&'static str>) {
        for (index, one) in fallbacks.as_array().into_iter().flatten().enumerate() {
            for (model, others) in one.as_object().into_iter().flatten() {
                let place = format!("{section}[{index}].{model}");
                for other in others.as_array().into_iter().flatten() {
                    self.fall_back(model, other.as_str().unwrap_or_default(), &place);
                }
                let Some(on) = on else { continue };
                if let Some(known) = self.models.iter_mut().find(|known| known.name == *model)
                    && !known.fallback_on.contains(&on)
                {
                    known.fallback_on.push(on);
                    self.note(&place, "these targets serve after any other failure, too");
                }
            }
        }
    }

    fn default_fallbacks(&mut self, others: &Value) {
        let names: Vec<String> = self.models.iter().map(|model| model.name.clone()).collect();
        for name in names.iter().filter(|name| !name.ends_with('*')) {
            for other in others.as_array().into_iter().flatten().filter_map(Value::as_str) {
                if other != name {
                    self.fall_back(name, other, "litellm_settings.default_fallbacks");
                }
            }
        }
    }

    fn fall_back(&mut self, model: &str, other: &str, place: &str) {
        let theirs = self.models.iter().find(|known| known.name == other && !other.ends_with('*'));
        let Some(theirs) = theirs.map(|known| known.targets.clone()) else {
            return self.note(place, format_args!("there is no model `{other}`"));
        };
        let Some(own) = self.models.iter_mut().find(|known| known.name == model) else {
            return self.note(place, format_args!("there is no model `{model}`"));
        };
        for mut target in theirs {
            target["weight"] = 0.into();
            let is_there = own.targets.iter().any(|known| {
                (&known["provider"], &known["model"]) == (&target["provider"], &target["model"])
            });
            if !is_there {
                own.targets.push(target);
            }
        }
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
            None => self
                .note("general_settings.master_key", "there is none: whoever reaches the listener may call"),
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
