//! A conversation as it came, and what one target is sent for it: the bytes as they are, or their translation.

use std::borrow::Cow;

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
    /// Nothing may be lost.
    pub(super) is_strict: bool,
    /// The conversation in the middle, read when the first target needs it.
    pub(super) canonical: Option<Request>,
    /// How urgent it is.
    pub(super) priority: resilience::turnstile::Priority,
    /// How long the answer may pause between two tokens.
    pub(super) between: Option<std::time::Duration>,
    /// Who may go on with the answer when it breaks off.
    pub(super) heirs: Option<Box<super::onward::Heirs>>,
    /// Rules over what is asked and answered.
    pub(super) watch: super::guards::Watch,
    /// Where the answer is to be kept.
    pub(super) ticket: Option<super::cache::Ticket>,
    /// What the cache said.
    pub(super) cached: Option<&'static str>,
    /// What is held for it, where that was done before others were asked.
    pub(super) bill: Option<super::meters::Bill>,
    /// It names files that are at one provider.
    pub(super) pin: Option<super::files::Pin>,
    /// Who may be asked beside the model.
    pub(super) beside: Vec<super::beside::Beside>,
    /// Whose the answer is, where its provider keeps it.
    pub(super) owner: Option<std::sync::Arc<super::stored::Owner>>,
}

impl Conversation<'_> {
    /// What is asked for beside tokens.
    pub(super) fn units(&self) -> Option<ai::units::Asked> {
        let (body, peek) = (&self.body, &self.peek);
        ai::units::Asked::of(self.endpoint.operation, body, peek.is_form(), peek.file())
    }
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
            let name = name_of(pair);
            !matches!(&*name, "key" | "api_key" | "api-key" | "access_token") && !name.starts_with("X-Amz-")
        })
        .collect();
    (!kept.is_empty() && !kept[0].is_empty()).then(|| kept.join("&"))
}

/// The name of a pair of a query, as whoever decodes it reads it.
pub(super) fn name_of(pair: &str) -> Cow<'_, str> {
    let read = form_urlencoded::parse(pair.as_bytes()).next();
    read.map_or(Cow::Borrowed(""), |(name, _)| name)
}

/// What a target is sent for a conversation.
pub(super) fn prepare(
    conversation: &mut Conversation<'_>,
    asked: &Asked<'_>,
    target: &Target,
) -> Result<Prepared, Error> {
    let endpoint = conversation.endpoint;
    let model = asked.model(target);
    // Whoever ranks documents is asked for it in the same words.
    let is_rank = endpoint.operation == Operation::Rerank;
    let dialect = match is_rank {
        true => target.provider.kind.dialect,
        false => target.dialect_for(endpoint.dialect, &model),
    };
    if !target.provider.offers(endpoint.operation) {
        let message = format!("`{model}` is at a provider that has no {}", endpoint.operation.name());
        return Err(Error { status: 501, ..Error::new(ErrorKind::Invalid, message) });
    }
    let stream = conversation.stream;
    let path = |own: &str| target.provider.path(dialect, endpoint.operation, &model, stream, own);
    if (dialect == endpoint.dialect && !conversation.is_composed) || is_rank {
        let mut path = path(&dialect.path(endpoint.operation, &model, conversation.stream)?)?;
        if let Some(query) = &conversation.query {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(query);
        }
        // What earlier turns hold of other vendors' goes no further.
        let is_chat = endpoint.operation == Operation::Chat;
        let has_usage = is_chat || endpoint.operation == Operation::Completions;
        let unsealed = if is_chat { ai::sealed::unsealed(dialect, &conversation.body) } else { None };
        let (came, peek, losses) = match unsealed {
            Some((body, losses)) => {
                let peek = Peek::of(&body)?;
                (Bytes::from(body), peek, losses)
            }
            None => (conversation.body.clone(), conversation.peek.clone(), Losses::default()),
        };
        let body = match (endpoint.model.is_some(), dialect) {
            (true, _) => came,
            (false, Dialect::OpenAiChat) if has_usage => peek.with_model_and_usage(&came, &model).into(),
            (false, _) => peek.with_model(&came, &model).into(),
        };
        let body =
            if peek.is_form() { body } else { target.provider.body(endpoint.operation, body, &model)? };
        let headers = dialect.headers();
        // What is asked in the same words is answered in the same words.
        let dialect = endpoint.dialect;
        return Ok(Prepared { path, body, losses, headers, dialect });
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
        body: target.provider.body(endpoint.operation, written.body.into(), &model)?,
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
