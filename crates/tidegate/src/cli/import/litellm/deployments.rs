//! `model_list`: deployments as targets of models, and the providers that they need.

use serde_json::{Map, Value, json};

use super::remedies::leftovers;
use super::routing::request_within;
use super::{Import, Model, facts, guards::millis, variable};
use crate::cli::import::providers;

/// Most targets' weight that ours takes.
const WEIGHT_MAX: u64 = 1_000_000;

impl Import {
    /// One entry of `model_list`.
    pub(super) fn deployment(&mut self, index: usize, entry: Value, credentials: &Value) {
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
    pub(super) fn everything(&mut self) {
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
            provider.insert("timeouts".into(), request_within(seconds));
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
}
