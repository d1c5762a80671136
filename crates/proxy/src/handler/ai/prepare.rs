//! A conversation as it came, and what one target is sent for it: the bytes as they are, or their translation.

use ai::{
    canon::{Error, ErrorKind, Losses, Request},
    dialect::{Dialect, Spoken},
    endpoint::{Endpoint, Operation},
    peek::Peek,
    rules::Target as Written,
};
use bytes::Bytes;
use http::{Uri, uri::PathAndQuery};

use super::models::{Asked, Target};
use crate::failure::{Failure, Problem, Stage};

/// A conversation as it came.
pub(super) struct Conversation<'c> {
    pub(super) endpoint: &'c Endpoint,
    pub(super) body: Bytes,
    pub(super) peek: Peek,
    pub(super) stream: bool,
    pub(super) query: Option<String>,
    /// The gateway composed it: it is written anew for every target.
    pub(super) is_composed: bool,
    /// The conversation in the middle, read when the first target needs it.
    pub(super) canonical: Option<Request>,
}

/// What one target is sent.
pub(super) struct Prepared {
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) losses: Losses,
    pub(super) headers: Vec<(&'static str, String)>,
    /// The dialect that is spoken to it.
    pub(super) dialect: Dialect,
}

/// A query without what some SDKs put their key in.
pub(super) fn without_credentials(query: &str) -> Option<String> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            !matches!(pair.split('=').next(), Some("key" | "api_key" | "api-key" | "access_token"))
        })
        .collect();
    (!kept.is_empty() && !kept[0].is_empty()).then(|| kept.join("&"))
}

/// What a target is sent for a conversation.
pub(super) fn prepare(
    conversation: &mut Conversation<'_>,
    asked: &Asked<'_>,
    target: &Target,
) -> Result<Prepared, Error> {
    let endpoint = conversation.endpoint;
    let model = asked.model(target);
    let dialect = target.provider.dialect_for(endpoint.dialect, &model);
    let stream = conversation.stream;
    let path = |own: &str| {
        let path = target.provider.path(dialect, endpoint.operation, &model, stream, own);
        path
    };
    if dialect == endpoint.dialect && !conversation.is_composed {
        let mut path = path(&dialect.path(endpoint.operation, &model, conversation.stream)?)?;
        if let Some(query) = &conversation.query {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(query);
        }
        let body = match (endpoint.model.is_some(), dialect) {
            (true, _) => conversation.body.clone(),
            (false, Dialect::OpenAiChat) => {
                conversation.peek.with_model_and_usage(&conversation.body, &model).into()
            }
            (false, _) => conversation.peek.with_model(&conversation.body, &model).into(),
        };
        let headers = dialect.headers();
        return Ok(Prepared { path, body, losses: Losses::default(), headers, dialect });
    }
    if endpoint.operation != Operation::Chat {
        let message =
            format!("`{model}` does not speak the dialect that {} is asked in", endpoint.operation.name());
        return Err(Error { status: 501, ..Error::new(ErrorKind::Invalid, message) });
    }
    if conversation.canonical.is_none() {
        let spoken = Spoken { model: endpoint.model.clone(), stream: endpoint.stream };
        conversation.canonical = Some(endpoint.dialect.read_request(&spoken, &conversation.body)?);
    }
    let Some(request) = &conversation.canonical else {
        return Err(Error::new(ErrorKind::Server, "the request was not read"));
    };
    let written = dialect.write_request(request, Written { model: &model, rules: &target.rules(&model) })?;
    Ok(Prepared {
        path: path(&written.path)?,
        body: written.body.into(),
        losses: written.losses,
        headers: written.headers,
        dialect,
    })
}

/// A path as an address.
pub(super) fn uri(path: String) -> Result<Uri, Failure> {
    let joined = PathAndQuery::try_from(path);
    joined.map(Uri::from).map_err(|error| {
        Failure::gateway(Stage::Pick, Problem::Invalid)
            .with_hint("the model's name cannot stand in a path")
            .with_detail(error.to_string())
    })
}
