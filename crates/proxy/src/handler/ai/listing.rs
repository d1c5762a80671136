//! The models that a caller may use, as its dialect lists them.

use ai::{catalogue::Surface, dialect::Dialect};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

use super::AiGateway;
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
};

pub(super) fn answer(gateway: &AiGateway, call: &Call, dialect: Dialect) -> Result<Response<Body>, Failure> {
    let may_use = |name: &str| call.consumer.as_ref().is_none_or(|consumer| consumer.may_use(name));
    let names = gateway.models.names().map(|(name, owner, surface)| (&**name, owner, surface));
    let names: Vec<Listed<'_>> = names.filter(|(name, ..)| may_use(name)).collect();
    let one = call.path().rsplit_once("/models/").map(|(_, name)| name).filter(|name| !name.is_empty());
    let value = match one {
        None => list(dialect, &names),
        Some(wanted) => {
            let found = names.iter().find(|(name, ..)| *name == wanted).ok_or_else(|| {
                Failure::client(Stage::Router, Problem::NoRoute)
                    .with_code("model_not_found")
                    .with_hint(format!("no model `{wanted}` here"))
            })?;
            entry(dialect, found)
        }
    };
    let mut response = Response::new(Body::Full(Bytes::from(value.to_string())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A name, whose it is, and what its model is for, where that is known.
type Listed<'l> = (&'l str, &'l str, Option<Surface>);

fn list(dialect: Dialect, names: &[Listed<'_>]) -> Value {
    let entries: Vec<Value> = names.iter().map(|name| entry(dialect, name)).collect();
    match dialect {
        // Cohere's SDK asks at the same path, and reads what OpenAI's does not look at.
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            let theirs: Vec<Value> = names.iter().map(|name| entry(Dialect::Cohere, name)).collect();
            json!({"object": "list", "data": entries, "models": theirs})
        }
        Dialect::Anthropic => json!({
            "data": entries,
            "has_more": false,
            "first_id": names.first().map(|(name, ..)| name),
            "last_id": names.last().map(|(name, ..)| name),
        }),
        Dialect::Gemini | Dialect::Cohere => json!({"models": entries}),
        Dialect::Bedrock => json!({"modelSummaries": entries}),
    }
}

fn entry(dialect: Dialect, (name, owner, surface): &Listed<'_>) -> Value {
    // Nobody knows when a name was made; the clients' types demand a time.
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            json!({"id": name, "object": "model", "created": 0, "owned_by": owner})
        }
        Dialect::Anthropic => {
            json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"})
        }
        Dialect::Gemini => json!({
            "name": format!("models/{name}"),
            "displayName": name,
            "supportedGenerationMethods": match surface {
                Some(Surface::Embeddings) => json!(["embedContent", "batchEmbedContents"]),
                None | Some(Surface::Chat | Surface::Responses) => {
                    json!(["generateContent", "streamGenerateContent", "countTokens"])
                }
                Some(_) => json!([]),
            },
        }),
        Dialect::Cohere => {
            let endpoint = match surface {
                Some(Surface::Embeddings) => "embed",
                Some(Surface::Rerank) => "rerank",
                _ => "chat",
            };
            json!({"name": name, "endpoints": [endpoint]})
        }
        Dialect::Bedrock => json!({"modelId": name, "modelName": name, "providerName": owner}),
    }
}
