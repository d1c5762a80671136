//! Rules of the AI gateway: its providers, its models, and the routes that serve them.

mod credentials;

pub(crate) use self::credentials::aws;
use super::{Around, World};
use crate::{
    Config, Duration, Route,
    load::{Context, scope::Named},
    resource::{
        ai::{Ai, AiRoute, Model, ModelPrice, ModelRetry, Provider, Strategy},
        handler::Settings,
    },
};

pub(super) fn check(ai: &Ai, at: &mut Context<'_, '_>) {
    let mut seen: Vec<&str> = Vec::new();
    at.each("providers", &ai.providers, |at, provider| {
        unique(&provider.name, &mut seen, at);
        self::provider(provider, at);
        if provider.first_token.is_some() && is_always_alone(provider, ai) {
            at.field("firstToken", |at| {
                at.warning_with(
                    "no model has another target that could be asked after this provider: this does nothing",
                    LAST_IS_WAITED_FOR,
                );
            });
        }
    });
    let mut seen: Vec<&str> = Vec::new();
    at.each("models", &ai.models, |at, model| {
        unique(&model.name, &mut seen, at);
        self::model(model, at);
    });
    let mut before: Vec<&ModelPrice> = Vec::new();
    at.each("prices", &ai.prices, |at, price| {
        at.field("provider", |at| at.refer(Named::Provider, &price.provider));
        if price.model.is_empty() || price.model.trim_end_matches('*').contains('*') {
            at.field("model", |at| at.error("expected a model's name, with at most one `*` at its end"));
        } else if at.is_whole() && is_of_nobody(price, ai) {
            at.field("model", |at| {
                at.warning_with(
                    format!("no target of provider `{}` has the model `{}`", price.provider, price.model),
                    "write it as the provider names it: the names of `ai.models` have no prices",
                );
            });
        } else if let Some(wider) = before.iter().find(|wider| takes_all_of(wider, price)) {
            let help = match takes_all_of(price, wider) {
                true => "leave one of the two out",
                false => "put it before that one",
            };
            at.field("model", |at| {
                at.warning_with(
                    format!(
                        "this price counts for nothing: `{}` before it fits each of its models, and the first that fits \
                         counts",
                        wider.model
                    ),
                    help,
                );
            });
        }
        before.push(price);
        let units = [
            ("image", price.image),
            ("character", price.character),
            ("secondIn", price.second_in),
            ("secondOut", price.second_out),
            ("query", price.query),
        ];
        for (key, usd) in units {
            if usd.is_some_and(|usd| usd.picodollars() > 1_000_000_000_000_000) {
                at.field(key, |at| at.error("expected dollars for one, up to 1000"));
            }
        }
        if price.input.is_none() && price.output.is_none() && units.iter().all(|(_, usd)| usd.is_none()) {
            at.error_with(
                "expected `input`, `output` or the price of something else",
                "`input: 0, output: 0` is a model that costs nothing",
            );
        }
        let all = [("input", price.input), ("output", price.output)];
        let cached = [("cacheRead", price.cache_read), ("cacheWrite", price.cache_write)];
        for (key, usd) in all.into_iter().chain(cached) {
            if let Some(usd) = usd
                && (usd.picodollars() % 1_000_000 != 0 || usd.picodollars() / 1_000_000 > 10_000_000_000)
            {
                at.field(key, |at| {
                    at.error("expected dollars per million tokens, up to 10000 and with at most six places")
                });
            }
        }
    });
}

/// Whether a price is of all models that another one is of, and another than it.
fn takes_all_of(wider: &ModelPrice, price: &ModelPrice) -> bool {
    let fits = match wider.model.strip_suffix('*') {
        Some(begin) => price.model.trim_end_matches('*').starts_with(begin),
        None => price.model == wider.model,
    };
    fits && wider.provider == price.provider && wider != price
}

/// Whether a price is of no model that its provider is asked for. Of a provider that nothing leads to none is missed.
fn is_of_nobody(price: &ModelPrice, ai: &Ai) -> bool {
    let targets = ai.models.iter().flat_map(|model| &model.targets);
    let shadows = ai.models.iter().flat_map(|model| &model.shadow);
    let mut asked = targets
        .map(|target| (&target.provider, &target.model))
        .chain(shadows.map(|shadow| (&shadow.provider, &shadow.model)))
        .filter(|(provider, _)| **provider == price.provider)
        .map(|(_, model)| model)
        .peekable();
    asked.peek().is_some() && !asked.any(|model| may_be(model, &price.model))
}

/// Whether a target's model may be one that a price is of. A target's `*` may stand anywhere.
fn may_be(target: &str, priced: &str) -> bool {
    let (begin, is_pattern) = target.split_once('*').map_or((target, false), |(begin, _)| (begin, true));
    match priced.strip_suffix('*') {
        Some(stem) => begin.starts_with(stem) || is_pattern && stem.starts_with(begin),
        None => begin == priced || is_pattern && priced.starts_with(begin),
    }
}

/// Bytes of a text that may be recorded.
const RECORDED_BYTES_MAX: u64 = 64 * 1024;

fn unique<'n>(name: &'n str, seen: &mut Vec<&'n str>, at: &mut Context<'_, '_>) {
    if seen.contains(&name) {
        at.field("name", |at| at.error(format!("the name `{name}` is there twice")));
    }
    seen.push(name);
}

fn provider(provider: &Provider, at: &mut Context<'_, '_>) {
    if let Some(url) = &provider.base_url {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
        if host.is_none_or(str::is_empty) || url.contains(['?', '#', ' ', '@']) {
            at.field("baseUrl", |at| {
                at.error_with(
                    "expected `http://` or `https://`, a host and a path",
                    "such as https://api.example.com/v1",
                );
            });
        }
    }
    if let Some(url) = &provider.base_url {
        version_of(&provider.kind, url.trim_end_matches('/'), at);
    }
    credentials::check(provider, at);
    if let Some(queue) = &provider.key_queue {
        at.field("keyQueue", |at| {
            if queue.max_concurrent == 0 {
                at.field("maxConcurrent", |at| {
                    at.error("expected at least 1: with 0 no call would ever be sent")
                });
            }
            if queue.per_key.contains(&0) {
                at.field("perKey", |at| at.error("expected at least 1 for each key"));
            }
            if queue.per_key.len() > provider.keys.len() {
                at.field("perKey", |at| at.error("expected at most as many bounds as there are `keys`"));
            }
            if provider.keys.len() > KEYS_QUEUED_MAX {
                at.error(format!("expected at most {KEYS_QUEUED_MAX} keys where calls wait for them"));
            }
        });
    }
    times(provider.first_token, provider.between_tokens, at);
    at.field("headers", |at| {
        for (name, value) in &provider.headers {
            at.field(name.as_str(), |at| {
                crate::policy::headers::header_value(name, value, at);
            });
        }
    });
}

/// A base address is what the vendor's SDK is given: some add the version of their API to it, and some want it there.
fn version_of(kind: &str, url: &str, at: &mut Context<'_, '_>) {
    let last = url.rsplit('/').next().unwrap_or_default();
    let is_version =
        last.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    let added = match kind {
        "anthropic" => "/v1/messages",
        "cohere" => "/v2/chat",
        _ => "",
    };
    let is_bare = url.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'));
    let is_whole = ["/chat/completions", "/completions", "/responses", "/embeddings", "/messages"];
    let said = match (kind, is_version) {
        _ if is_whole.iter().any(|end| url.ends_with(end)) => {
            format!(
                "`{url}/…` would be asked: the path of each endpoint is added to this, so leave `/{last}` out"
            )
        }
        ("openai", false) => {
            format!(
                "`{url}/chat/completions` would be asked: OpenAI's paths begin with their version; write `{url}/v1`"
            )
        }
        ("anthropic" | "cohere", true) => {
            format!(
                "`{url}{added}` would be asked: paths of `{kind}` begin with their version, which this ends with"
            )
        }
        _ if is_version && url.rsplit('/').nth(1) == Some(last) => {
            format!("`{url}/…` would be asked, with `/{last}` twice: leave one out")
        }
        ("ollama" | "mistral" | "groq" | "openai-compatible", false) if is_bare => {
            format!(
                "`{url}/chat/completions` would be asked: servers of this kind have their version in the path; write \
                 such as `{url}/v1`"
            )
        }
        ("gemini", false) => {
            format!("`{url}/models/…` would be asked: write the version, such as `{url}/v1beta`")
        }
        _ => return,
    };
    at.field("baseUrl", |at| at.warning(said));
}

/// Keys of a provider for which calls may wait.
const KEYS_QUEUED_MAX: usize = 64;

/// What to do where `firstToken` does nothing.
const LAST_IS_WAITED_FOR: &str =
    "the last target is waited for, within `timeouts`: add a target, or leave `firstToken` out";

/// Whether a provider is the one target of each model that it serves. One that serves none is another matter.
fn is_always_alone(provider: &Provider, ai: &Ai) -> bool {
    let is_asked = |model: &&Model| model.targets.iter().any(|target| target.provider == provider.name);
    let mut models = ai.models.iter().filter(is_asked).peekable();
    models.peek().is_some() && models.all(|model| model.targets.len() == 1)
}

fn times(first: Option<Duration>, between: Option<Duration>, at: &mut Context<'_, '_>) {
    for (key, time) in [("firstToken", first), ("betweenTokens", between)] {
        if time.is_some_and(|time| time.get().is_zero()) {
            at.field(key, |at| at.error("expected more than nothing"));
        }
    }
}

fn model(model: &Model, at: &mut Context<'_, '_>) {
    times(model.first_token, model.between_tokens, at);
    if model.first_token.is_some() && model.targets.len() == 1 {
        at.field("firstToken", |at| {
            let message = "the model has no other target that could be asked: this does nothing";
            at.warning_with(message, LAST_IS_WAITED_FOR);
        });
    }
    let is_pattern = model.name.ends_with('*');
    if model.name.is_empty() || model.name.trim_end_matches('*').contains('*') || model.name.ends_with("**") {
        at.field("name", |at| at.error("expected a name, with at most one `*` at its end"));
    }
    if model.targets.is_empty() {
        at.field("targets", |at| at.error("expected at least one target"));
    } else if model.targets.iter().all(|target| target.weight == 0) {
        at.field("targets", |at| at.error("all weights are 0: nothing would take a request"));
    }
    if model.sticky.is_some() && model.strategy != Strategy::Weighted {
        at.field("sticky", |at| {
            at.error_with(
                "what is sticky is not chosen by another measure",
                "leave `strategy` out, or `sticky`",
            );
        });
    }
    if let Some(retry) = &model.retry {
        at.field("retry", |at| again(retry, at));
    }
    at.each("shadow", &model.shadow, |at, shadow| {
        at.field("provider", |at| at.refer(Named::Provider, &shadow.provider));
        if shadow.model.is_empty() || shadow.model.contains('*') {
            at.field("model", |at| at.error("expected a model as its provider names it, without `*`"));
        }
        if !(0.0..=100.0).contains(&shadow.percent) {
            at.field("percent", |at| at.error("expected 0 to 100"));
        }
        if shadow.max_concurrent == 0 {
            at.field("maxConcurrent", |at| at.error("expected at least 1"));
        }
    });
    at.each("targets", &model.targets, |at, target| {
        at.field("provider", |at| at.refer(Named::Provider, &target.provider));
        if target.model.contains('*') && !is_pattern {
            at.field("model", |at| {
                at.error_with("nothing stands for `*` here", "end the model's `name` in `*` too");
            });
        }
    });
}

/// The longest that a call may pause between its tries.
const PAUSES_MAX: Duration = Duration::from_secs(600);

fn again(retry: &ModelRetry, at: &mut Context<'_, '_>) {
    if retry.max_wait.get().is_zero() || retry.max_wait > PAUSES_MAX {
        at.field("maxWait", |at| at.error("expected more than nothing, and at most 10m"));
    }
    if retry.backoff.initial > retry.backoff.max {
        at.field("backoff", |at| at.field("initial", |at| at.error("expected at most `max`")));
    }
    if retry.budget.window.get().is_zero() {
        at.field("budget", |at| at.field("window", |at| at.error("expected more than nothing")));
    }
}

/// Whether somebody pays for what a provider is asked.
pub(super) fn has_credentials(provider: &Provider) -> bool {
    !provider.keys.is_empty()
        || provider.aws.is_some()
        || provider.azure.is_some()
        || provider.google.is_some()
        || provider.oauth.is_some()
        || provider.metadata.is_some()
}

impl Settings for AiRoute {
    fn validate(&self, of: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
        route(self, world.config(), at);
        super::strip_prefix::check(self.strip_prefix.as_deref(), &Around::handler(world, of), at);
    }

    fn is_for_models(&self) -> bool {
        true
    }
}

fn route(route: &AiRoute, config: &Config, at: &mut Context<'_, '_>) {
    if route.record_text.is_some_and(|most| most.bytes() == 0 || most.bytes() > RECORDED_BYTES_MAX) {
        at.field("recordText", |at| at.error("expected a size from 1B to 64KiB"));
    }
    if config.ai.as_ref().is_none_or(|ai| ai.models.is_empty()) {
        at.error_with("this route has no models to serve", "give `ai.models` at the top");
    }
    at.each("models", route.models.as_deref().unwrap_or_default(), |at, name| at.refer(Named::Model, name));
    if let Some(files) = &route.files {
        at.field("files", |at| {
            if files.providers.is_empty() {
                at.field("providers", |at| at.error("expected at least one provider"));
            }
            at.each("providers", &files.providers, |at, name| at.refer(Named::Provider, name));
            if files.max_open_batches == 0 {
                at.field("maxOpenBatches", |at| at.error("expected at least 1"));
            }
        });
    }
}
