//! What providers of OpenAI's Responses keep: answers and conversations, each with the caller that made it.
//!
//! Callers see sealed ids, as those of files ([`files`](super::files)): each says which provider and which of its keys
//! it belongs to, and opens for its owner alone. Ids are sealed in answers that pass as they are; an answer that was
//! translated or told anew is kept by nobody, and its id opens nothing.

mod sealing;

use std::{cell::Cell, rc::Rc, sync::Arc};

use ai::{
    canon::{Error, ErrorKind, Losses},
    dialect::Dialect,
    endpoint::Operation,
    peek::Peek,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use model::AiRecord;
use resilience::turnstile::Priority;

use self::sealing::Sealing;
use super::{
    AiGateway, Told, answer, files,
    files::{Named, Seals},
    gathered,
    models::Target,
    outgoing,
    prepare::{self, Conversation},
    provider::Provider,
    reply,
    sending::{self, Outgoing, Unanswered},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    handler::mcp,
    worker::Worker,
};

const DIALECT: Dialect = Dialect::OpenAiResponses;
/// Bytes of a refusal that are looked through for ids.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Names the provider that a caller wants a conversation at.
const PROVIDER: &str = "x-tidegate-provider";

/// What ids of a route are sealed with: the key of its files, else the gateway's own.
pub(super) fn seals(files: Option<&files::Files>) -> Result<Arc<Seals>, String> {
    match files {
        Some(files) => Ok(files.seals.clone()),
        None => Ok(Arc::new(Seals::new(&files::own_secret()?)?)),
    }
}

/// Whose something is.
pub(super) struct Owner {
    seals: Arc<Seals>,
    who: String,
}

impl Owner {
    /// An id as its owner gets it.
    fn sealed(&self, provider: &Provider, key: &str, id: &str) -> Option<String> {
        let (provider, key, id) = (provider.name.to_string(), key.to_owned(), id.to_owned());
        self.seals.seal(&self.who, &Named { provider, key, id, estimate: None, batch: None, kept: None })
    }

    /// An answer that passes as it is, with its ids sealed.
    pub(super) fn seal(
        self: &Arc<Self>,
        response: Response<Body>,
        target: &Target,
        told: &Told,
    ) -> Response<Body> {
        let mark = target.provider.keys.mark_of(told.key().as_deref());
        self.seal_all(response, &target.provider, mark)
    }

    fn seal_all(
        self: &Arc<Self>,
        response: Response<Body>,
        provider: &Arc<Provider>,
        mark: &str,
    ) -> Response<Body> {
        if response.headers().contains_key(header::CONTENT_ENCODING) {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        let mut sealing = Sealing::new(self.clone(), provider.clone(), mark.into());
        let body = match body {
            Body::Full(bytes) => {
                let text = sealing.whole(&bytes);
                parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
                Body::Full(text)
            }
            Body::Empty => Body::Empty,
            flowing => {
                parts.headers.remove(header::CONTENT_LENGTH);
                Body::boxed(sealing.over(flowing))
            }
        };
        Response::from_parts(parts, body)
    }
}

/// Looks at what a conversation goes on from, opens the ids that it names, and notes whose its answer is.
pub(super) fn open_in(
    gateway: &AiGateway,
    call: &Call,
    conversation: &mut Conversation<'_>,
) -> Result<(), Failure> {
    let endpoint = conversation.endpoint;
    let operations = [Operation::Chat, Operation::Compact, Operation::CountTokens];
    let is_kept = endpoint.dialect == DIALECT && operations.contains(&endpoint.operation);
    if is_kept {
        let owner = Owner { seals: gateway.seals.clone(), who: mcp::door::who(call) };
        check(call, &owner.seals, &owner.who, &conversation.peek).map_err(answer::refused)?;
        conversation.owner = Some(Arc::new(owner));
    }
    let goes_on = is_kept && conversation.peek.goes_on_from.iter().any(Option::is_some);
    if gateway.files.is_some() || goes_on {
        gateway.seals.open_in(call, conversation)?;
    }
    Ok(())
}

/// Whether what a request goes on from is its caller's, and when it is answered.
pub(super) fn check(call: &Call, seals: &Seals, who: &str, peek: &Peek) -> Result<(), Error> {
    check_background(call, peek)?;
    let [answer, talk] = &peek.goes_on_from;
    if let Some(id) = answer.as_ref().filter(|id| seals.open(who, id).is_none()) {
        let message = format!(
            "`previous_response_id`: no answer `{id}` of yours is kept by a provider; send the conversation itself"
        );
        return Err(Error::invalid("previous_response_id", message));
    }
    match talk.as_ref().filter(|id| seals.open(who, id).is_none()) {
        Some(id) => Err(Error::new(ErrorKind::NotFound, format!("no conversation `{id}` here"))),
        None => Ok(()),
    }
}

/// An answer that comes later is told in a request that nobody could count or judge.
fn check_background(call: &Call, peek: &Peek) -> Result<(), Error> {
    if !peek.background {
        return Ok(());
    }
    let why = if !call.ai.meters.is_empty() {
        "what it spends later would be on no bill"
    } else if !call.ai.guards.is_empty() {
        "the rules of this route could not read its answer"
    } else {
        return Ok(());
    };
    let message = format!("`background` is not taken here: {why}; ask without it, or for a stream");
    Err(Error::invalid("background", message))
}

/// No such thing, as callers are told of what is not theirs.
fn unknown(what: &str, id: &str) -> Failure {
    answer::refused(Error::new(ErrorKind::NotFound, format!("no {what} `{id}` here")))
}

fn invalid(message: impl Into<String>) -> Failure {
    answer::refused(Error::new(ErrorKind::Invalid, message))
}

/// What is wanted of what.
#[derive(Debug, PartialEq, Eq)]
struct Way {
    /// `/responses` or `/conversations`.
    root: &'static str,
    /// As the caller has it; none where one is made.
    id: Option<String>,
    /// Behind it.
    rest: String,
}

impl Way {
    fn of(path: &str, method: &Method) -> Result<Self, Failure> {
        let nowhere = || {
            Failure::client(Stage::Router, Problem::NoRoute)
                .with_hint("no vendor's API has an endpoint at this path")
        };
        let roots = ["/responses", "/conversations"];
        let found = roots.into_iter().find_map(|root| Some((root, path.split_once(root)?.1)));
        let (root, rest) = found.ok_or_else(nowhere)?;
        let segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty()).collect();
        let is_talk = root == "/conversations";
        let allowed = match (segments.as_slice(), is_talk) {
            ([], true) => "POST",
            ([_], false) => "GET, DELETE",
            ([_], true) => "GET, POST, DELETE",
            ([_, "cancel"], false) => "POST",
            ([_, "input_items"], false) => "GET",
            ([_, "items"], true) => "GET, POST",
            ([_, "items", item], true) if is_plain(item) => "GET, DELETE",
            _ => return Err(nowhere()),
        };
        if !allowed.split(", ").any(|one| one == method.as_str()) {
            return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
                .with_header(header::ALLOW, HeaderValue::from_static(allowed)));
        }
        let behind = segments.get(1..).unwrap_or_default();
        let rest = behind.iter().map(|segment| format!("/{segment}")).collect();
        Ok(Self { root, id: segments.first().map(|id| (*id).to_owned()), rest })
    }

    fn what(&self) -> &'static str {
        if self.root == "/responses" { "response" } else { "conversation" }
    }
}

/// Whether an id is made of what ids are made of.
fn is_plain(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A request about something that is kept, and who asks.
struct Asking<'a> {
    gateway: &'a AiGateway,
    owner: Arc<Owner>,
    way: Way,
    came: HeaderMap,
    query: Option<String>,
}

/// Answers a request about an answer or a conversation that is kept.
pub(super) async fn answer(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let way = Way::of(gateway.below(call.path()).unwrap_or_default(), &call.head.method)?;
    if !call.ai.guards.is_empty() {
        return Err(Failure::refused(Problem::NotImplemented)
            .with_hint("what a provider keeps cannot be read by the rules of this route"));
    }
    let uri = call.head.uri.clone();
    let query = uri.query().and_then(prepare::without_credentials);
    let came = std::mem::take(&mut call.head.headers);
    let owner = Arc::new(Owner { seals: gateway.seals.clone(), who: mcp::door::who(call) });
    let asking = Asking { gateway, owner, way, came, query };
    let answer = Box::pin(asking.answer(worker, call, body)).await;
    call.head.headers = asking.came;
    call.head.uri = uri;
    answer
}

impl Asking<'_> {
    async fn answer(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let most = self.gateway.body_bytes_max;
        let body = gathered::gather(body, most).await.map_err(|why| match why {
            gathered::Ungathered::TooLarge => Failure::refused(Problem::BodyTooLarge)
                .with_hint(format!("the body is larger than {most} bytes")),
            gathered::Ungathered::Failed(failure) => failure,
        })?;
        // Items may name files, which are the caller's own.
        let (body, files) = match self.owner.seals.opened(&self.owner.who, &body) {
            Some((opened, files)) => (Bytes::from(opened), files),
            None => (body, Vec::new()),
        };
        let (named, provider) = match &self.way.id {
            Some(id) => {
                let named = self.owner.seals.open(&self.owner.who, id);
                let named = named.ok_or_else(|| unknown(self.way.what(), id))?;
                let provider = self.providers().find(|one| *one.name == *named.provider);
                (Some(named), provider.ok_or_else(|| unknown(self.way.what(), id))?)
            }
            None => (None, self.candidate(files.first())?),
        };
        let at = named.as_ref().or(files.first());
        if files
            .iter()
            .any(|file| at.is_some_and(|at| (&at.provider, &at.key) != (&file.provider, &file.key)))
        {
            return Err(invalid("the request names files that are at another provider or account"));
        }
        let key = Cell::new(at.and_then(|at| provider.keys.place(&at.key)));
        let response = self.send(worker, call, provider, named.as_ref(), &key, body).await?;
        if !response.status().is_success() {
            return self.refused(response, named.as_ref()).await;
        }
        let response = match reply::is_stream(&response) {
            true => response,
            false => {
                let (parts, body) = reply::plain(response)?.into_parts();
                Response::from_parts(parts, Body::Full(reply::provided(body, reply::ANSWER_BYTES_MAX).await?))
            }
        };
        let mark = key.get().map_or("", |index| provider.keys.mark(index));
        let mut response = self.owner.seal_all(response, provider, mark);
        if let Ok(name) = HeaderValue::from_str(&provider.name) {
            response.headers_mut().insert(PROVIDER, name);
        }
        Ok(response)
    }

    /// The providers of this route that speak of answers that are kept.
    fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        let all = self.gateway.models.providers().into_iter();
        all.filter(|provider| provider.dialect_for(DIALECT, "") == DIALECT)
    }

    /// Where a new conversation is kept: where its files are, where the caller wants it, or at the first that can.
    fn candidate(&self, file: Option<&Named>) -> Result<&Arc<Provider>, Failure> {
        let wanted = self.came.get(PROVIDER).map(HeaderValue::as_bytes);
        let wanted = file.map(|file| file.provider.as_bytes()).or(wanted);
        let mut fitting =
            self.providers().filter(|one| wanted.is_none_or(|name| one.name.as_bytes() == name));
        fitting.next().ok_or_else(|| match wanted {
            Some(_) => invalid(format!("`{PROVIDER}`: no provider of this name keeps conversations here")),
            None => Failure::refused(Problem::NotImplemented).with_hint(
                "no provider of this route keeps conversations: those that speak OpenAI's Responses do",
            ),
        })
    }

    async fn send(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        provider: &Arc<Provider>,
        named: Option<&Named>,
        key: &Cell<Option<usize>>,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let responses = provider.path(DIALECT, Operation::Chat, "", false, "/responses");
        let responses = responses.map_err(answer::refused)?;
        let (path, own) =
            responses.split_once('?').map_or((&*responses, None), |(path, own)| (path, Some(own)));
        let base = path.strip_suffix("/responses").ok_or_else(|| {
            Failure::refused(Problem::NotImplemented)
                .with_hint("this provider keeps nothing that can be asked for")
        })?;
        let mut path = format!("{base}{}", self.way.root);
        if let Some(named) = named {
            path.push('/');
            path.push_str(&ai::name::segment(&named.id).map_err(answer::refused)?);
            path.push_str(&self.way.rest);
        }
        let query: Vec<&str> = own.into_iter().chain(self.query.as_deref()).collect();
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query.join("&"));
        }
        let mut headers = outgoing::headers(&self.came, provider, DIALECT, DIALECT, &mut Losses::default());
        headers.remove(PROVIDER);
        headers.remove(header::RANGE);
        if body.is_empty() {
            headers.remove(header::CONTENT_TYPE);
        }
        provider.address(&mut headers);
        call.host_from_endpoint = false;
        call.record.upstream = Some(provider.target.upstream.name.clone());
        let mut record = AiRecord::new(Operation::Stored.name(), DIALECT.name(), "".into());
        record.provider = provider.name.clone();
        record.kind = &provider.kind.name;
        call.record.ai = Some(Arc::new(record));
        let uri = prepare::uri(path)?;
        let (dialect, priority, key) = (DIALECT, Priority::Normal, Some(key));
        let outgoing =
            Outgoing { provider, model: "", dialect, uri, headers, body, priority, key, words: None };
        sending::send(worker, call, outgoing).await.map_err(|unanswered| match unanswered {
            Unanswered::Away(away) => sending::all_away(away),
            Unanswered::Failed(failure) => failure,
        })
    }

    /// A refusal of a provider's, in which the caller's own id stands for the provider's.
    async fn refused(
        &self,
        response: Response<Body>,
        named: Option<&Named>,
    ) -> Result<Response<Body>, Failure> {
        if reply::refuses_us(response.status()) {
            return reply::failed(DIALECT, DIALECT, response).await;
        }
        let (mut parts, body) = response.into_parts();
        let body = reply::provided(body, ERROR_BYTES_MAX).await.unwrap_or_default();
        let mut text = String::from_utf8_lossy(&body).into_owned();
        if let (Some(named), Some(id)) = (named, &self.way.id) {
            text = text.replace(&named.id, id);
        }
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        if parts.status == StatusCode::NO_CONTENT {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        Ok(Response::from_parts(parts, Body::Full(text.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_paths_say_what_is_wanted() {
        for (method, path, want) in [
            ("GET", "/v1/responses/r1", Some(("/responses", Some("r1"), ""))),
            ("POST", "/v1/responses/r1/cancel", Some(("/responses", Some("r1"), "/cancel"))),
            ("GET", "/responses/r1/input_items", Some(("/responses", Some("r1"), "/input_items"))),
            ("POST", "/v1/conversations", Some(("/conversations", None, ""))),
            ("DELETE", "/v1/conversations/c1", Some(("/conversations", Some("c1"), ""))),
            ("GET", "/v1/conversations/c1/items/m_1", Some(("/conversations", Some("c1"), "/items/m_1"))),
            ("GET", "/v1/conversations/c1/items/%2e%2e", None),
            ("POST", "/v1/responses/r1", None),
            ("GET", "/v1/responses/r1/cancel", None),
            ("GET", "/v1/conversations", None),
            ("GET", "/v1/responses/r1/items", None),
        ] {
            let way = Way::of(path, &Method::from_bytes(method.as_bytes()).expect("a method")).ok();
            let found = way.as_ref().map(|way| (way.root, way.id.as_deref(), way.rest.as_str()));
            assert_eq!(found, want, "{method} {path}");
        }
    }
}
