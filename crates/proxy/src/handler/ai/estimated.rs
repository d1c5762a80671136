//! Counts the tokens of a conversation here, for callers in whose dialect no target of the model can be asked for them.

use std::sync::Arc;

use ai::{
    dialect::{Dialect, Spoken},
    endpoint::Operation,
};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use model::{AiRecord, CountsTokens};
use serde_json::json;

use super::{
    counter::Counter,
    models::{Asked, Target},
    prepare::Conversation,
};
use crate::{body::Body, call::Call};

/// The count as the caller's dialect has it, marked as an estimate; nothing where a target can be asked.
pub(super) fn count(
    call: &mut Call,
    conversation: &Conversation<'_>,
    name: &str,
    asked: &Asked<'_>,
    targets: &[&Target],
) -> Option<Response<Body>> {
    let endpoint = conversation.endpoint;
    if endpoint.operation != Operation::CountTokens {
        return None;
    }
    let caller = endpoint.dialect;
    let speaks = |target: &&Target| {
        let provider = &target.provider;
        provider.dialect_for(caller, &asked.model(target)) == caller && provider.counts_for(caller)
    };
    if targets.iter().any(speaks) {
        return None;
    }
    let model = asked.model(targets.first()?);
    let spoken = Spoken { model: endpoint.model.clone(), stream: false };
    let tokens = Counter::new(&model, caller, spoken, &conversation.body).prompt();
    let value = match caller {
        Dialect::Gemini => json!({"totalTokens": tokens}),
        Dialect::Bedrock => json!({"inputTokens": tokens}),
        Dialect::OpenAiResponses => json!({"object": "response.input_tokens", "input_tokens": tokens}),
        _ => json!({"input_tokens": tokens}),
    };
    let mut record = AiRecord::new(endpoint.operation.name(), caller.name(), name.into());
    record.alias = asked.alias.full_name().clone();
    call.record.ai = Some(Arc::new(record));
    let mut response = Response::new(Body::Full(Bytes::from(value.to_string())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-tidegate-estimate", HeaderValue::from_static("true"));
    if let Ok(value) = HeaderValue::from_str(&model) {
        headers.insert("x-tidegate-model", value);
    }
    Some(response)
}
