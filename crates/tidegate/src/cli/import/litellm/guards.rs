//! Caches, budgets and guardrails, as policies of the one route.

use serde_json::{Map, Value, json};

use super::{Import, facts, taken, variable};

/// What Presidio looks for, and the kind of personal data that it is here.
const PERSONAL: [(&str, &str); 12] = [
    ("EMAIL_ADDRESS", "email"),
    ("PHONE_NUMBER", "phone"),
    ("CREDIT_CARD", "card"),
    ("IBAN_CODE", "iban"),
    ("US_SSN", "nationalId"),
    ("UK_NINO", "nationalId"),
    ("ES_NIF", "nationalId"),
    ("ES_NIE", "nationalId"),
    ("IT_FISCAL_CODE", "nationalId"),
    ("PL_PESEL", "nationalId"),
    ("FI_PERSONAL_IDENTITY_CODE", "nationalId"),
    ("SG_NRIC_FIN", "nationalId"),
];

impl Import {
    /// `cache: true` with its `cache_params`.
    pub(super) fn cache(&mut self, fields: &mut Map<String, Value>) {
        let is_on = taken(fields, "litellm_settings", "cache");
        let params = taken(fields, "litellm_settings", "cache_params");
        if is_on.is_none_or(|value| value != true) {
            return;
        }
        let at = "litellm_settings.cache_params";
        let mut params = match params {
            Some(Value::Object(params)) => params,
            _ => Map::new(),
        };
        let kind = params.remove("type").as_ref().and_then(Value::as_str).unwrap_or("local").to_owned();
        if params.remove("mode").is_some_and(|mode| mode == "default_off") {
            return self.note(
                &format!("{at}.mode"),
                "a cache that callers ask for has no counterpart: `aiCache` serves all that do not say \
                 `cache-control: no-store`; left out",
            );
        }
        // As theirs: whatever the temperature, with tools, and for everybody.
        let mut cache = Map::from_iter([
            ("scope".to_owned(), Value::from("shared")),
            ("anyTemperature".to_owned(), true.into()),
            ("tools".to_owned(), true.into()),
        ]);
        match params.remove("ttl").as_ref().and_then(facts::number) {
            Some(seconds) => drop(cache.insert("ttl".into(), millis(seconds).into())),
            None => self.note(at, "no `ttl` is given: answers are given again for an hour"),
        }
        self.note(at, "`scope: shared` gives one caller's answers to others, as LiteLLM does; `consumer` keeps them apart");
        if kind.ends_with("-semantic") {
            let threshold =
                params.remove("similarity_threshold").as_ref().and_then(facts::number).unwrap_or(0.8);
            let model = ["redis", "qdrant", "valkey"]
                .iter()
                .find_map(|store| params.remove(&format!("{store}_semantic_cache_embedding_model")));
            let model = model.as_ref().and_then(Value::as_str).unwrap_or("text-embedding-ada-002").to_owned();
            match self.models.iter().any(|model_of| model_of.name == model) {
                true => {
                    drop(cache.insert("semantic".into(), json!({"model": model, "threshold": threshold})))
                }
                false => self.note(
                    at,
                    format_args!(
                        "the embeddings of `{model}` are of no model of the list: add it to `ai.models`, and \
                         `semantic: {{model: {model}, threshold: {threshold}}}` to `aiCache`"
                    ),
                ),
            }
        }
        let is_shared = !matches!(kind.as_str(), "local" | "disk");
        if is_shared {
            self.note(
                &format!("{at}.type"),
                format_args!(
                    "answers of `{kind}` are kept in the memory of each gateway; `postgres: {{url: …}}` and `aiCache: \
                     {{store: postgres}}` share them"
                ),
            );
            for gone in ["host", "port", "password", "namespace", "url", "redis_startup_nodes", "ssl"] {
                params.remove(gone);
            }
        }
        for gone in
            ["supported_call_types", "max_connections", "default_in_memory_ttl", "default_in_redis_ttl"]
        {
            params.remove(gone);
        }
        super::leftovers(&params.into(), at, &mut self.notes);
        self.policies.push(json!({"aiCache": cache}));
    }

    /// `max_budget` with its `budget_duration`, of all callers together.
    pub(super) fn budget(&mut self, fields: &mut Map<String, Value>) {
        for section in ["litellm_settings", "general_settings"] {
            let amount = taken(fields, section, "max_budget");
            let duration = taken(fields, section, "budget_duration");
            let Some(amount) = amount.as_ref().and_then(facts::number).filter(|amount| *amount > 0.0) else {
                continue;
            };
            let text = duration.as_ref().and_then(Value::as_str).unwrap_or_default();
            let per = match text {
                "1d" | "24h" | "86400s" => "day",
                "7d" | "1w" => "week",
                "1mo" => "month",
                "30d" | "31d" => {
                    self.note(
                        &format!("{section}.budget_duration"),
                        format_args!("`{text}` became `per: month`: it begins with the calendar's month"),
                    );
                    "month"
                }
                _ => {
                    self.note(
                        &format!("{section}.budget_duration"),
                        format_args!("`{text}` is no day, week or month: `per: month` stands in its place"),
                    );
                    "month"
                }
            };
            self.policies.push(json!({"budget": {
                "name": "proxy", "amount": facts::dollars(amount), "per": per, "key": "global", "unknownPrice": "free",
            }}));
        }
    }

    /// `guardrails`.
    pub(super) fn guardrails(&mut self, fields: &mut Map<String, Value>) {
        let Some(Value::Array(all)) = fields.remove("guardrails") else { return };
        let mut rules = Vec::new();
        for (index, one) in all.into_iter().enumerate() {
            let at = format!("guardrails[{index}]");
            let Value::Object(mut one) = one else { continue };
            let name =
                one.remove("guardrail_name").as_ref().and_then(Value::as_str).unwrap_or("guard").to_owned();
            let Some(Value::Object(mut params)) = one.remove("litellm_params") else { continue };
            one.remove("guardrail_info");
            let kind =
                params.remove("guardrail").as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
            let (side, is_sure) = side(params.remove("mode").as_ref());
            if !is_sure {
                self.note(&format!("{at}.litellm_params.mode"), format_args!("became `on: {side}`"));
            }
            let is_on = params.remove("default_on").is_some_and(|value| value == true);
            let before = rules.len();
            match kind.as_str() {
                "presidio" => self.presidio(&name, side, &mut params, &at, &mut rules),
                "hide-secrets" => {
                    rules.push(json!({"name": named(&name), "on": side, "mode": "mask", "personalData": ["secret"]}));
                }
                "litellm_content_filter" => self.filter(&name, side, &mut params, &at, &mut rules),
                "openai_moderation" => self.note(
                    &at,
                    "add the moderation model to `ai.models`, and a rule with `moderation: {model: …}` to `guardrails`",
                ),
                "lakera" | "lakera_v2" | "azure/prompt_shield" | "promptguard" => {
                    self.note(
                        &at,
                        format_args!(
                            "`{kind}` became the gateway's own rule for injected instructions, which asks nobody; a \
                             service of yours is `webhook: {{upstream: …}}`"
                        ),
                    );
                    params.clear();
                    let injection = json!({"name": named(&name), "on": "request", "mode": "block", "injection": {}});
                    rules.push(injection);
                }
                "llm_as_a_judge" => self.note(&at, "write it as a rule with `judge: {model: …, instructions: …}`"),
                other => self.note(
                    &at,
                    format_args!("`{other}` has no counterpart: a service with an HTTP endpoint is `webhook: {{upstream: …}}`"),
                ),
            }
            if rules.len() > before {
                if !is_on {
                    self.note(
                        &at,
                        "guardrails that callers ask for have no counterpart: it is on for all; put it at a route or a \
                         consumer of its own to have it for some",
                    );
                }
                for gone in [
                    "presidio_analyzer_api_base",
                    "presidio_anonymizer_api_base",
                    "output_parse_pii",
                    "presidio_language",
                ] {
                    params.remove(gone);
                }
                super::leftovers(&params.into(), &format!("{at}.litellm_params"), &mut self.notes);
            }
            super::leftovers(&one.into(), &at, &mut self.notes);
        }
        if !rules.is_empty() {
            self.policies.push(json!({"guardrails": {"rules": rules}}));
        }
    }

    /// Personal data: what is to be masked in one rule, what is to be blocked in another.
    fn presidio(
        &mut self,
        name: &str,
        side: &str,
        params: &mut Map<String, Value>,
        at: &str,
        rules: &mut Vec<Value>,
    ) {
        let wanted = params.remove("pii_entities_config");
        let Some(Value::Object(wanted)) = wanted else {
            self.note(
                at,
                "no entities are named: all kinds of personal data that the gateway knows are masked",
            );
            rules.push(json!({"name": named(name), "on": side, "mode": "mask",
                "personalData": ["email", "phone", "card", "iban", "nationalId"]}));
            return;
        };
        for (mode, theirs) in [("mask", "MASK"), ("block", "BLOCK")] {
            let mut kinds: Vec<&str> = Vec::new();
            for (entity, _) in wanted.iter().filter(|(_, action)| action.as_str() == Some(theirs)) {
                match PERSONAL.iter().find(|(known, _)| known == entity) {
                    Some((_, kind)) if !kinds.contains(kind) => kinds.push(kind),
                    Some(_) => {}
                    None => self.note(
                        &format!("{at}.litellm_params.pii_entities_config.{entity}"),
                        "not among the personal data that the gateway knows: a rule with `patterns` or a `webhook` in front \
                         of Presidio finds it",
                    ),
                }
            }
            if !kinds.is_empty() {
                let name = format!("{}-{mode}", named(name));
                rules.push(json!({"name": name, "on": side, "mode": mode, "personalData": kinds}));
            }
        }
    }

    /// Words and patterns of their own filter.
    fn filter(
        &mut self,
        name: &str,
        side: &str,
        params: &mut Map<String, Value>,
        at: &str,
        rules: &mut Vec<Value>,
    ) {
        for (key, what, field) in [("blocked_words", "words", "keyword"), ("patterns", "patterns", "pattern")]
        {
            for (mode, theirs) in [("block", "BLOCK"), ("mask", "MASK")] {
                let mut found = Vec::new();
                for one in params.get(key).and_then(Value::as_array).into_iter().flatten() {
                    if one["action"].as_str().unwrap_or("BLOCK") != theirs {
                        continue;
                    }
                    match one[field].as_str() {
                        Some(text) => found.push(text.to_owned()),
                        None => self.note(
                            &format!("{at}.litellm_params.{key}"),
                            format_args!(
                                "{one} has no counterpart: write it as `patterns` or `personalData`"
                            ),
                        ),
                    }
                }
                if !found.is_empty() {
                    let mut rule =
                        json!({"name": format!("{}-{what}-{mode}", named(name)), "on": side, "mode": mode});
                    rule[what] = found.into();
                    rules.push(rule);
                }
            }
            params.remove(key);
        }
    }

    /// What becomes of `callbacks`: each is told.
    pub(super) fn callbacks(&mut self, fields: &mut Map<String, Value>) {
        for key in ["callbacks", "success_callback", "failure_callback"] {
            let Some(found) = taken(fields, "litellm_settings", key) else { continue };
            let all = found.as_array().cloned().unwrap_or_else(|| vec![found]);
            for one in all.iter().filter_map(Value::as_str) {
                let place = format!("litellm_settings.{key}");
                match one {
                    "prometheus" => self.note(&place, "`prometheus`: metrics are at `/metrics` of the admin endpoint as it is"),
                    "otel" | "opentelemetry" => {
                        self.note(
                            &place,
                            format_args!("`{one}`: spans go to `telemetry.otlp.endpoint`, where the receiver of \
                                          `OTEL_EXPORTER_OTLP_ENDPOINT` is to be written"),
                        );
                        self.telemetry = Some(json!({"otlp": {"endpoint": "http://127.0.0.1:4318"}}));
                    }
                    "langfuse" | "langfuse_otel" | "arize" | "arize_phoenix" | "langsmith" | "logfire" => self.note(
                        &place,
                        format_args!("`{one}` takes OTLP: write its address and key into `telemetry.otlp` (`endpoint`, `headers`)"),
                    ),
                    _ => self.note(
                        &place,
                        format_args!("`{one}` has no counterpart: `telemetry.otlp` and `accessLog` tell of every call"),
                    ),
                }
            }
        }
    }

    /// `redis_host` and its like: where gateways count together.
    pub(super) fn redis(&mut self, fields: &mut Map<String, Value>) {
        let mut take = |key: &str| taken(fields, "router_settings", key);
        let (host, port, password) = (take("redis_host"), take("redis_port"), take("redis_password"));
        let Some(host) = host else { return };
        let text = |value: Option<&Value>, other: &str| match value {
            Some(value) if variable(value).is_none() => {
                value.as_str().map_or(value.to_string(), str::to_owned)
            }
            _ => other.to_owned(),
        };
        let address = format!("{}:{}", text(Some(&host), "127.0.0.1"), text(port.as_ref(), "6379"));
        if variable(&host).is_some() || port.as_ref().is_some_and(|port| variable(port).is_some()) {
            self.note(
                "router_settings.redis_host",
                "an address cannot come from a variable: write it into `redis.addresses`",
            );
        }
        let mut redis = json!({"addresses": [address]});
        if let Some(password) = password {
            let name = variable(&password).unwrap_or("REDIS_PASSWORD").to_owned();
            if variable(&password).is_none() {
                self.note(
                    "router_settings.redis_password",
                    format_args!("a secret in the file is not copied: put it into the variable `{name}`"),
                );
            }
            redis["password"] = json!({"env": name});
        }
        for policy in &mut self.policies {
            if let Some(budget) = policy.get_mut("budget") {
                budget["store"] = "redis".into();
            }
        }
        self.redis = Some(redis);
    }
}

/// A name as ours are: small letters, digits and dashes.
fn named(theirs: &str) -> String {
    let mut name = String::new();
    for letter in theirs.chars() {
        match letter.is_ascii_alphanumeric() {
            true => name.push(letter.to_ascii_lowercase()),
            false if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            false => {}
        }
    }
    let name = name.trim_end_matches('-').to_owned();
    if name.starts_with(|first: char| first.is_ascii_lowercase()) { name } else { format!("guard-{name}") }
}

/// Which side a mode looks at, and whether that says all of it.
fn side(mode: Option<&Value>) -> (&'static str, bool) {
    let one = |text: &str| match text {
        "pre_call" => ("request", true),
        "during_call" => ("request", false),
        "post_call" => ("answer", true),
        _ => ("request", false),
    };
    match mode {
        Some(Value::String(text)) => one(text),
        Some(Value::Array(all)) => {
            let sides: Vec<(&str, bool)> = all.iter().filter_map(Value::as_str).map(one).collect();
            let has = |side: &str| sides.iter().any(|(known, _)| *known == side);
            let is_sure = sides.iter().all(|(_, is_sure)| *is_sure);
            match (has("request"), has("answer")) {
                (true, true) => ("both", is_sure),
                (false, true) => ("answer", is_sure),
                _ => ("request", is_sure),
            }
        }
        _ => ("request", false),
    }
}

/// Seconds as our durations are written.
pub(super) fn millis(seconds: f64) -> String {
    format!("{}ms", (seconds.clamp(0.001, 31_536_000.0) * 1000.0) as u64)
}
