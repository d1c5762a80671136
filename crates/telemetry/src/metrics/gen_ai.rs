//! Calls to models, as OpenTelemetry's conventions for generative AI count them.
//!
//! Labels are bounded: operations and providers are of fixed lists, a model is the name that the configuration gives
//! it and never a caller's word.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use model::{AiRecord, CallRecord};

use super::exposition::{Buckets, Exposition};

/// Seconds; as the conventions advise for each metric.
const DURATION: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const EACH: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Tokens.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// What calls are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    operation: &'static str,
    provider: &'static str,
    model: Arc<str>,
}

/// Calls of one kind.
#[derive(Debug, Clone)]
struct OfKey {
    /// By why they failed; an empty word for those that did not.
    duration: BTreeMap<&'static str, Buckets>,
    input: Buckets,
    output: Buckets,
    first: Buckets,
    each: Buckets,
}

impl Default for OfKey {
    fn default() -> Self {
        Self {
            duration: BTreeMap::new(),
            input: Buckets::new(TOKENS),
            output: Buckets::new(TOKENS),
            first: Buckets::new(FIRST),
            each: Buckets::new(EACH),
        }
    }
}

/// The counts of calls to models.
#[derive(Debug, Default)]
pub(super) struct GenAi(BTreeMap<Key, OfKey>);

impl GenAi {
    pub(super) fn record(&mut self, call: &CallRecord, ai: &AiRecord) {
        let provider = provider_name(ai.kind);
        let key = Key { operation: ai.operation, provider, model: ai.alias.clone() };
        let cells = self.0.entry(key).or_default();
        let total = call.timings.total;
        let duration = cells.duration.entry(error(call)).or_insert_with(|| Buckets::new(DURATION));
        duration.observe(total.as_secs_f64());
        let Some(spent) = ai.spending().map(|spending| spending.usage) else { return };
        cells.input.observe(spent.input as f64);
        cells.output.observe(spent.output as f64);
        if ai.is_stream
            && let Some(first) = ai.first_token()
        {
            cells.first.observe(first.as_secs_f64());
            if let Some(each) = each_token(total, first, spent.output) {
                cells.each.observe(each);
            }
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (key, more) in &other.0 {
            let cells = self.0.entry(key.clone()).or_default();
            for (error, more) in &more.duration {
                cells.duration.entry(error).or_insert_with(|| Buckets::new(DURATION)).add(more);
            }
            cells.input.add(&more.input);
            cells.output.add(&more.output);
            cells.first.add(&more.first);
            cells.each.add(&more.each);
        }
    }

    /// Forgets models that are not configured any more. What is of no model (files, names that there are not) is as few as
    /// operations and kinds of providers, and stays.
    pub(super) fn prune(&mut self, is_live: impl Fn(&str) -> bool) {
        self.0.retain(|key, _| key.model.is_empty() || is_live(&key.model));
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let labels = |key: &Key| {
            [
                ("gen_ai_operation_name", key.operation.to_owned()),
                ("gen_ai_provider_name", key.provider.to_owned()),
                ("gen_ai_request_model", key.model.to_string()),
            ]
        };
        for (key, cells) in &self.0 {
            for (error, buckets) in &cells.duration {
                let mut all: Vec<(&str, String)> = labels(key).into();
                if !error.is_empty() {
                    all.push(("error_type", (*error).to_owned()));
                }
                let help = "Whole calls to models, in seconds.";
                out.buckets("gen_ai_client_operation_duration_seconds", help, &all, buckets);
            }
        }
        for (key, cells) in &self.0 {
            for (kind, buckets) in [("input", &cells.input), ("output", &cells.output)] {
                let mut all: Vec<(&str, String)> = labels(key).into();
                all.push(("gen_ai_token_type", kind.to_owned()));
                out.buckets("gen_ai_client_token_usage", "Tokens of calls to models.", &all, buckets);
            }
        }
        for (key, cells) in &self.0 {
            let help = "From the request to the first token of a stream, in seconds.";
            out.buckets("gen_ai_server_time_to_first_token_seconds", help, &labels(key), &cells.first);
        }
        for (key, cells) in &self.0 {
            let help = "From token to token of a stream after the first, in seconds.";
            out.buckets("gen_ai_server_time_per_output_token_seconds", help, &labels(key), &cells.each);
        }
    }
}

/// Seconds from token to token after the first.
fn each_token(total: Duration, first: Duration, tokens: u64) -> Option<f64> {
    let others = tokens.checked_sub(1).filter(|others| *others > 0)?;
    Some(total.saturating_sub(first).as_secs_f64() / others as f64)
}

fn error(call: &CallRecord) -> &'static str {
    match &call.failure {
        Some(failure) => failure.reason,
        None if call.status.is_server_error() => "5xx",
        None if call.status.is_client_error() => "4xx",
        None => "",
    }
}

/// The conventions' name of a provider, by its kind; the kind where they have none.
pub(crate) fn provider_name(kind: &'static str) -> &'static str {
    match kind {
        "azure-openai" => "azure.ai.openai",
        "azure-foundry" => "azure.ai.inference",
        "bedrock" | "bedrock-mantle" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "vertex" | "vertex-anthropic" | "vertex-ranking" => "gcp.vertex_ai",
        "mistral" => "mistral_ai",
        "watsonx" => "ibm.watsonx.ai",
        "xai" => "x_ai",
        other => other,
    }
}
