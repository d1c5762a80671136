//! The AI gateway over sockets: every dialect's endpoint, a provider that answers from fixtures, and official SDKs.

mod again;
mod agents;
mod agents_rounds;
mod agents_rules;
mod agents_said;
mod applied;
mod asides;
mod batches;
mod batches_left;
mod budgets;
mod bytes;
mod cache;
mod chat;
mod checks;
mod claims;
mod continued;
mod embeddings;
mod evasions;
mod failovers;
mod fallback;
mod features;
mod federated;
mod files;
mod fitting;
mod forms;
mod guardrails;
mod judges;
mod keys;
mod kinds;
mod ledger;
mod limits;
mod metadata;
mod mock_provider;
mod names;
mod offers;
mod parameters;
pub(crate) mod parrot;
mod postgres_cache;
mod promises;
pub(crate) mod provider;
mod queue;
mod realtime;
mod realtime_bounds;
mod realtime_holds;
mod receipts;
mod recorded;
mod redis_tls;
mod rounds;
mod rounds_long;
mod routing;
mod sdk;
mod sdk_errors;
mod shadow;
mod shared;
mod shared_cache;
mod signing;
mod spending;
mod stored;
mod strategies;
mod surfaces;
mod surfaces_guarded;
mod telemetry;
mod units;
mod unread;
mod unshown;
mod uploads;
mod vendor_types;
mod vendors;
mod vocabulary;
mod words;
mod words_judges;

use std::fmt::Write;

use super::harness::{Answer, Gateway};

/// The key of the one consumer that may call.
const KEY: &str = "the-callers-own-key";

/// A model: its name, and of each target the provider, the model there and the weight.
type Named<'n> = (&'n str, &'n [(&'n str, &'n str, u32)]);

/// A gateway whose models are `name: [(provider, model, weight)]` over providers `(name, kind, base address)`.
fn gateway(providers: &[(&str, &str, String)], models: &[Named<'_>], route: &str) -> Gateway {
    Gateway::start(&config(providers, models, route))
}

/// The configuration of such a gateway, without its listeners.
fn config(providers: &[(&str, &str, String)], models: &[Named<'_>], route: &str) -> String {
    let mut text =
        format!("consumers: [{{name: app, keys: [{KEY}]}}]\naccessLog: [{{kind: stdout, format: json}}]\n");
    let comma = if route.is_empty() { "" } else { ", " };
    text.push_str("routes:\n  - name: models\n    match: [{path: {prefix: /ai}}]\n    policies: [{keyAuth: {headers: [x-api-key, authorization, x-goog-api-key]}}]\n");
    writeln!(text, "    ai: {{stripPrefix: /ai{comma}{route}}}\nai:\n  providers:").expect("written");
    for (name, kind, base) in providers {
        writeln!(
            text,
            "    - {{name: {name}, kind: {kind}, baseUrl: \"{base}\", keys: [provider-key-of-the-test]}}"
        )
        .expect("written");
    }
    text.push_str("  models:\n");
    for (name, targets) in models {
        writeln!(text, "    - name: \"{name}\"\n      targets:").expect("written");
        for (provider, model, weight) in *targets {
            writeln!(text, "        - {{provider: {provider}, model: \"{model}\", weight: {weight}}}")
                .expect("written");
        }
    }
    text
}

/// A POST of JSON with a key.
fn post_to(gateway: &Gateway, path: &str, key: &str, body: &str) -> Answer {
    let head = format!("POST {path} HTTP/1.1\nhost: gw\nx-api-key: {key}\ncontent-length: {}", body.len());
    gateway.send(&head, body.as_bytes())
}

/// A POST to an endpoint of the gateway, with the key.
fn post(gateway: &Gateway, path: &str, headers: &str, body: &str) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\nhost: gw\nx-api-key: {KEY}\ncontent-type: application/json\ncontent-length: {}{headers}",
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}
