//! A conversation as it came, and what one target is sent for it: the bytes as they are, or their translation.

use std::borrow::Cow;

use ai::{
    canon::{Error, ErrorKind, Losses, Request},
    dialect::{Dialect, Spoken},
    embed,
    endpoint::{Endpoint, Operation},
    peek::Peek,
    rules::{Rules, Target as Written},
};
use bytes::Bytes;
use http::{Uri, uri::PathAndQuery};

use super::{
    models::{Asked, Target},
    outgoing, worded,
};
use crate::failure::{Failure, Problem, Stage};

/// A conversation as it came.
pub(super) struct Conversation<'c> {
    pub(super) endpoint: &'c Endpoint,
    pub(super) body: Bytes,
    pub(super) peek: Peek,
    pub(super) stream: bool,
    pub(super) query: Option<String>,
    /// The media type of a body that is a form.
    pub(super) form: Option<String>,
    /// The caller asks Claude to think between calls.
    pub(super) is_interleaved: bool,
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

    /// How many answers are asked for side by side.
    pub(super) fn answers(&self) -> u64 {
        match self.endpoint.operation {
            Operation::Chat => self.peek.answers(self.endpoint.dialect),
            _ => 1,
        }
    }
}

/// What one target is sent.
pub(super) struct Prepared {
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) losses: Losses,
    pub(super) headers: Vec<(&'static str, String)>,
    /// The media type of the body, where it is not as it came, and no JSON.
    pub(super) kind: Option<String>,
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
    let counts = endpoint.operation != Operation::CountTokens || target.provider.counts_for(dialect);
    if !target.provider.offers(endpoint.operation) || !counts {
        return Err(target.provider.lack(endpoint.operation, &model));
    }
    if let Some(words) = target.provider.words(endpoint.operation) {
        return worded::prepare(conversation, words, target, &model);
    }
    let stream = conversation.stream;
    let path = |own: &str| target.provider.path(dialect, endpoint.operation, &model, stream, own);
    if (dialect == endpoint.dialect && !conversation.is_composed) || is_rank {
        // Gemini's requests for vectors name the model in each part, and the path says whether there are several.
        let is_split = dialect == Dialect::Gemini && endpoint.operation == Operation::Embeddings;
        let (own, mut cuts) = match is_split {
            true => embed::pass(&conversation.body, &model)?,
            false => (dialect.path(endpoint.operation, &model, conversation.stream)?, Vec::new()),
        };
        let mut path = path(&own)?;
        // What earlier turns hold of other vendors' goes no further.
        let is_chat = matches!(endpoint.operation, Operation::Chat | Operation::Compact);
        let is_said = is_chat || endpoint.operation == Operation::CountTokens;
        let has_usage = is_chat || endpoint.operation == Operation::Completions;
        let unsealed = if is_said { ai::sealed::unsealed(dialect, &conversation.body) } else { None };
        let (came, peek, mut losses) = match unsealed {
            Some((body, losses)) => {
                let peek = Peek::of(&body)?;
                (Bytes::from(body), peek, losses)
            }
            None => (conversation.body.clone(), conversation.peek.clone(), Losses::default()),
        };
        let (came, peek) = match is_said && dialect == Dialect::Anthropic {
            true => folded(came, peek, &target.rules(&model), &mut losses)?,
            false => (came, peek),
        };
        let query = conversation.query.as_deref();
        let query = outgoing::query(query, &target.provider, true, &mut losses);
        if !query.is_empty() {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&query);
        }
        if is_chat && peek.is_ruled() {
            let asks = conversation.is_interleaved;
            let is_interleaved = outgoing::learns_of_interleaving(asks, &target.provider, dialect, &came);
            cuts = peek.edits(&came, dialect, &target.rules(&model), is_interleaved, &mut losses);
        }
        // Gemini and Bedrock have the model in the path alone.
        let named = is_rank || !matches!(dialect, Dialect::Gemini | Dialect::Bedrock);
        let wants_usage = dialect == Dialect::OpenAiChat
            && has_usage
            && !(stream && target.rules(&model).no_stream_options);
        let body = match named || !cuts.is_empty() {
            true => peek.edited(&came, Some(&*model).filter(|_| named), wants_usage, cuts).into(),
            false => came,
        };
        let body =
            if peek.is_form() { body } else { target.provider.body(endpoint.operation, body, &model)? };
        let headers = dialect.headers();
        // What is asked in the same words is answered in the same words.
        let dialect = endpoint.dialect;
        return Ok(Prepared { path, body, losses, headers, kind: None, dialect });
    }
    let mut losses = Losses::default();
    if !conversation.is_composed {
        let query = conversation.query.as_deref();
        outgoing::query(query, &target.provider, false, &mut losses);
    }
    if endpoint.operation == Operation::Embeddings && embed::is_spoken(dialect) {
        let asked = embed::read(endpoint.dialect, &conversation.body)?;
        let written = embed::write(&asked, dialect, &model, &mut losses)?;
        let body = target.provider.body(endpoint.operation, written.body.into(), &model)?;
        return Ok(Prepared {
            path: path(&written.path)?,
            body,
            losses,
            headers: dialect.headers(),
            kind: None,
            dialect,
        });
    }
    if endpoint.operation != Operation::Chat {
        let message = format!(
            "`{model}` is at {}, where {} is asked for in another dialect than yours ({}): ask in that one",
            target.provider.kind.title,
            endpoint.operation.name(),
            dialect.name(),
        );
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
    let mut lost = written.losses;
    lost.extend(losses);
    Ok(Prepared {
        path: path(&written.path)?,
        body: target.provider.body(endpoint.operation, written.body.into(), &model)?,
        losses: lost,
        headers: written.headers,
        kind: None,
        dialect,
    })
}

/// A request without system turns, where its model refuses them.
fn folded(body: Bytes, peek: Peek, rules: &Rules, losses: &mut Losses) -> Result<(Bytes, Peek), Error> {
    let folded = if rules.refuses_system_turns { ai::fold::folded(&body, losses) } else { None };
    match folded {
        Some(body) => {
            let peek = Peek::of(&body)?;
            Ok((body.into(), peek))
        }
        None => Ok((body, peek)),
    }
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
