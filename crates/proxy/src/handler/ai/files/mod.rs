//! Files and batches at providers: each with the caller that made it.
//!
//! Ids are sealed ([`ids`]): they say which provider and which of its keys they belong to, and open for their owner
//! alone. Lists tell what the caller itself made ([`made`]). The requests of a batch are read where they come in
//! ([`batch`]): their models are those of the route, and what they may spend is held until the results tell what they
//! did ([`results`]).

mod batch;
mod ids;
mod made;
mod results;
mod way;

use std::{cell::Cell, rc::Rc, sync::Arc};

use ai::{
    batch::Upload,
    canon::{Error, ErrorKind, Losses},
    dialect::Dialect,
    endpoint::{Endpoint, Operation},
    peek::Peek,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use model::{AiRecord, resource::ai::FilesRoute};
use serde_json::{Value, json};

pub(super) use self::ids::{Named, Seals};
use self::{
    made::{Kind, Made},
    way::{Act, Way},
};
use resilience::turnstile::Priority;

use super::{
    AiGateway, answer, gathered, outgoing,
    prepare::{self, Conversation},
    provider::Provider,
    reply,
    sending::{self, Outgoing, Unanswered},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    handler::mcp,
    worker::Worker,
};

/// Bytes of what a provider tells of a file or batch.
const OBJECT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a refusal that are looked through for ids.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// What a list tells at a time, where the caller wants more.
const LISTED_MAX: usize = 100;
/// Names the provider that a caller wants.
const PROVIDER: &str = "x-tidegate-provider";

/// Files and batches of a route.
pub(super) struct Files {
    pub(super) providers: Vec<Arc<Provider>>,
    pub(super) seals: Arc<Seals>,
    made: Arc<Made>,
    bytes_max: usize,
}

/// A caller's request, and where it goes.
struct Asking<'a> {
    gateway: &'a AiGateway,
    files: &'a Files,
    who: String,
    dialect: Dialect,
    way: Way,
    came: HeaderMap,
    query: Option<String>,
}

/// What a provider is sent.
struct Sent<'a> {
    provider: &'a Arc<Provider>,
    /// The mark of the one key that will do.
    key: Option<&'a str>,
    method: Method,
    /// Below the kind of thing: the provider's own id, and what is wanted of it.
    below: String,
    /// A form's media type; else it is JSON.
    form: Option<HeaderValue>,
    body: Bytes,
}

impl Files {
    pub(super) fn compile(settings: &FilesRoute, cx: &Building<'_>) -> Result<Self, String> {
        let mut providers = Vec::with_capacity(settings.providers.len());
        for name in &settings.providers {
            let provider = cx.providers.get(name.as_str());
            let provider = provider.ok_or_else(|| format!("provider `{name}` is not there"))?;
            let speaks = matches!(provider.kind.dialect, Dialect::OpenAiChat | Dialect::Anthropic);
            if !speaks || !(provider.offers(Operation::Files) || provider.offers(Operation::Batches)) {
                let kind = &provider.kind.name;
                return Err(format!(
                    "`files.providers`: a provider of kind `{kind}` keeps no files or batches"
                ));
            }
            providers.push(provider.clone());
        }
        let secret = match &settings.id_key {
            Some(key) => {
                let key = cx.snapshot.secret(key).trim().as_bytes().to_vec();
                if key.len() < 16 {
                    return Err("`files.idKey`: expected at least 16 characters".to_owned());
                }
                key
            }
            None => own_secret()?,
        };
        Ok(Self {
            providers,
            seals: Arc::new(Seals::new(&secret)?),
            made: made::of_process(),
            bytes_max: usize::try_from(settings.max_size.bytes()).unwrap_or(usize::MAX),
        })
    }

    /// The provider of what an id names, while this route still has it.
    pub(super) fn provider(&self, named: &Named) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| *provider.name == *named.provider)
    }
}

/// Where a conversation must go, because its files are there.
pub(super) struct Pin {
    provider: Box<str>,
    key: Box<str>,
}

impl Pin {
    /// Whether a provider is the one.
    pub(super) fn is(&self, provider: &Provider) -> bool {
        *self.provider == *provider.name
    }

    /// The one key that will do.
    pub(super) fn key(&self, provider: &Provider) -> Cell<Option<usize>> {
        Cell::new(provider.keys.place(&self.key))
    }
}

impl Seals {
    /// Opens the ids that a conversation names: of files, and of what it goes on from.
    pub(super) fn open_in(&self, call: &Call, conversation: &mut Conversation<'_>) -> Result<(), Failure> {
        if conversation.peek.is_form() {
            return Ok(());
        }
        let who = mcp::door::who(call);
        let Some((body, files)) = self.opened(&who, &conversation.body) else { return Ok(()) };
        let Some(first) = files.first() else { return Ok(()) };
        if files.iter().any(|file| (&file.provider, &file.key) != (&first.provider, &first.key)) {
            return Err(invalid(
                "the request names files or answers that are at different providers or accounts",
            ));
        }
        conversation.peek = Peek::of(&body).map_err(answer::refused)?;
        conversation.body = body.into();
        conversation.pin =
            Some(Pin { provider: first.provider.as_str().into(), key: first.key.as_str().into() });
        Ok(())
    }
}

/// A key of the gateway's own, in the data directory where there is one.
pub(super) fn own_secret() -> Result<Vec<u8>, String> {
    use std::sync::OnceLock;
    static PROCESS: OnceLock<Option<[u8; 32]>> = OnceLock::new();
    match mcp::session::data_dir() {
        Some(folder) => mcp::session::kept(&folder.join("ai-ids.key")),
        None => PROCESS
            .get_or_init(|| {
                let mut key = [0; 32];
                aws_lc_rs::rand::fill(&mut key).ok().map(|()| key)
            })
            .map(|key| key.to_vec())
            .ok_or_else(|| "the system gives no random bytes".to_owned()),
    }
}

/// Answers a request about files or batches.
pub(super) async fn answer(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    endpoint: Endpoint,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let Some(files) = &gateway.files else {
        return Err(Failure::refused(Problem::NotImplemented).with_hint(
            "this route keeps no files and batches: the operator names providers that do in `files.providers`",
        ));
    };
    let path = gateway.below(call.path()).unwrap_or_default();
    let way = Way::of(endpoint.operation, path, &call.head.method)?;
    let uri = call.head.uri.clone();
    let method = call.head.method.clone();
    let query = uri.query().and_then(prepare::without_credentials);
    let came = std::mem::take(&mut call.head.headers);
    let who = mcp::door::who(call);
    let asking = Asking { gateway, files, who, dialect: endpoint.dialect, way, came, query };
    let answer = Box::pin(asking.answer(worker, call, body)).await;
    call.head.headers = asking.came;
    call.head.uri = uri;
    call.head.method = method;
    answer
}

/// No such thing, as callers are told of what is not theirs.
fn unknown(kind: Kind, id: &str) -> Failure {
    let what = if kind == Kind::File { "file" } else { "batch" };
    answer::refused(Error::new(ErrorKind::NotFound, format!("no {what} `{id}` here")))
}

fn invalid(message: impl Into<String>) -> Failure {
    answer::refused(Error::new(ErrorKind::Invalid, message))
}

impl Asking<'_> {
    async fn answer(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        if !matches!(self.way.act, Act::Create) {
            // Nothing that is asked of a thing has a body that matters.
            drop(body);
            return match self.way.act {
                Act::List => self.list(worker, call).await,
                _ => self.of_one(worker, call).await,
            };
        }
        let body = gathered::gather(body, self.files.bytes_max).await.map_err(|why| match why {
            gathered::Ungathered::TooLarge => Failure::refused(Problem::BodyTooLarge).with_hint(format!(
                "the body is larger than the {} bytes of `files.maxSize`",
                self.files.bytes_max
            )),
            gathered::Ungathered::Failed(failure) => failure,
        })?;
        match (self.way.kind, self.dialect) {
            (Kind::File, _) => self.upload(worker, call, body).await,
            (Kind::Batch, Dialect::Anthropic) => self.create_items(worker, call, body).await,
            (Kind::Batch, _) => self.create_batch(worker, call, body).await,
        }
    }

    /// The providers that a caller may have a new thing at, the first first.
    fn candidates(&self) -> Result<Vec<&Arc<Provider>>, Failure> {
        let operation = self.way.kind.operation();
        let speaks =
            |provider: &&Arc<Provider>| provider.kind.dialect == self.dialect && provider.offers(operation);
        let mut found: Vec<&Arc<Provider>> = self.files.providers.iter().filter(speaks).collect();
        if let Some(wanted) = self.came.get(PROVIDER) {
            found.retain(|provider| provider.name.as_bytes() == wanted.as_bytes());
            if found.is_empty() {
                return Err(invalid(format!(
                    "`{PROVIDER}`: no provider of this name keeps {} for callers of this dialect",
                    operation.name()
                )));
            }
        }
        if found.is_empty() {
            return Err(Failure::refused(Problem::NotImplemented).with_hint(format!(
                "no provider in `files.providers` of this route has {} in this dialect",
                operation.name()
            )));
        }
        Ok(found)
    }

    /// A file is sent to be kept. One of requests is read first.
    async fn upload(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let kind = self.came.get(header::CONTENT_TYPE).cloned();
        let kind = kind.ok_or_else(|| invalid("a file comes in a form (`multipart/form-data`)"))?;
        let upload = Upload::of(kind.to_str().unwrap_or_default(), &body).map_err(answer::refused)?;
        let mut candidates = self.candidates()?;
        let mut body = body;
        let mut estimate = None;
        if upload.purpose.as_deref() == Some("batch") && self.dialect != Dialect::Anthropic {
            let file = body.get(upload.file.clone()).unwrap_or_default();
            let requests = ai::batch::lines(file).map_err(answer::refused)?;
            let read = self.read_requests(call, &candidates, file, &requests)?;
            candidates = vec![read.provider];
            let head = body.get(..upload.file.start).unwrap_or_default();
            let tail = body.get(upload.file.end..).unwrap_or_default();
            body = [head, &read.document, tail].concat().into();
            estimate = Some(read.estimate);
        }
        let provider = candidates.first().ok_or_else(|| invalid("no provider"))?;
        let sent =
            Sent { provider, key: None, method: Method::POST, below: String::new(), form: Some(kind), body };
        let (response, key) = self.send(worker, call, sent).await?;
        let named = |id: &str| Named {
            provider: provider.name.to_string(),
            key: key.clone(),
            id: id.to_owned(),
            estimate: estimate.clone(),
            batch: None,
        };
        self.told(response, provider, &named).await.map(|(response, _)| response)
    }

    /// Something is asked of one thing.
    async fn of_one(&self, worker: &Rc<Worker>, call: &mut Call) -> Result<Response<Body>, Failure> {
        let Some(named) = self.files.seals.open(&self.who, &self.way.id) else {
            return Err(unknown(self.way.kind, &self.way.id));
        };
        let provider = self.files.provider(&named).filter(|provider| provider.kind.dialect == self.dialect);
        let provider = provider.ok_or_else(|| unknown(self.way.kind, &self.way.id))?;
        let id = ai::name::segment(&named.id).map_err(answer::refused)?;
        let sent = Sent {
            provider,
            key: Some(&named.key),
            method: call.head.method.clone(),
            below: format!("/{id}{}", self.way.act.verb()),
            form: None,
            body: Bytes::new(),
        };
        let (response, _) = self.send(worker, call, sent).await?;
        let is_good = response.status().is_success();
        match self.way.act {
            Act::Content | Act::Results if is_good => Ok(self.content(call, &named, provider, response)),
            _ => {
                let (response, object) = self.told(response, provider, &|_| named.clone()).await?;
                let is_gone =
                    response.status() == StatusCode::NOT_FOUND || (self.way.act == Act::Delete && is_good);
                if is_gone {
                    self.files.made.forget(&self.who, self.way.kind, self.dialect, &self.way.id);
                }
                if let (Some(object), Kind::Batch) = (object, self.way.kind) {
                    self.settle(call, &named, &object);
                }
                Ok(response)
            }
        }
    }

    /// What the caller has made, as far as it is remembered here. Batches that are not over are asked after.
    async fn list(&self, worker: &Rc<Worker>, call: &mut Call) -> Result<Response<Body>, Failure> {
        let query = self.query.as_deref().unwrap_or_default();
        let parameter = |name: &str| way::parameter(query, name);
        let mut all = self.files.made.all(&self.who, self.way.kind, self.dialect);
        if let Some(purpose) = parameter("purpose") {
            all.retain(|thing| thing.object["purpose"].as_str() == Some(&purpose));
        }
        if parameter("order").as_deref() == Some("asc") {
            all.reverse();
        }
        let place = |id: Option<String>| id.map(|id| all.iter().position(|thing| thing.id == id));
        let cursor = parameter("after").or_else(|| parameter("after_id"));
        let from = match place(cursor) {
            Some(Some(at)) => at + 1,
            Some(None) => return Err(invalid("the cursor names nothing in this list")),
            None => 0,
        };
        let limit = parameter("limit").map(|limit| limit.parse::<usize>());
        let limit =
            limit.unwrap_or(Ok(20)).map_err(|_| invalid("`limit` must be a number"))?.clamp(1, LISTED_MAX);
        let until = place(parameter("before_id")).flatten().unwrap_or(all.len());
        let from = if until < all.len() { until.saturating_sub(limit) } else { from };
        let page: Vec<made::Thing> = all.get(from..until.min(from + limit)).unwrap_or_default().to_vec();
        let has_more = from + page.len() < all.len();
        let mut told = Vec::with_capacity(page.len());
        for thing in page {
            let is_open = self.way.kind == Kind::Batch && !results::is_over(&thing.object);
            let now =
                if is_open { self.refreshed(worker, call, &thing.id).await? } else { Some(thing.object) };
            told.extend(now);
        }
        let id = |object: Option<&Value>| object.map_or(Value::Null, |object| object["id"].clone());
        let mut list = json!({
            "data": told, "has_more": has_more, "first_id": id(told.first()), "last_id": id(told.last()),
        });
        if self.dialect != Dialect::Anthropic {
            list["object"] = "list".into();
        }
        Ok(whole(StatusCode::OK, &list))
    }

    /// A thing as its provider tells it now; `None` when it is gone.
    async fn refreshed(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        id: &str,
    ) -> Result<Option<Value>, Failure> {
        let named = self.files.seals.open(&self.who, id);
        let Some((named, provider)) =
            named.and_then(|named| Some((named.clone(), self.files.provider(&named)?)))
        else {
            return Ok(None);
        };
        let raw = ai::name::segment(&named.id).map_err(answer::refused)?;
        let sent = Sent {
            provider,
            key: Some(&named.key),
            method: Method::GET,
            below: format!("/{raw}"),
            form: None,
            body: Bytes::new(),
        };
        let (response, _) = self.send(worker, call, sent).await?;
        if response.status() == StatusCode::NOT_FOUND {
            self.files.made.forget(&self.who, self.way.kind, self.dialect, id);
            return Ok(None);
        }
        let (_, object) = self.told(response, provider, &|_| named.clone()).await?;
        Ok(object)
    }

    /// Sends a request, and tells the mark of the key that it was sent with.
    async fn send(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        sent: Sent<'_>,
    ) -> Result<(Response<Body>, String), Failure> {
        let Sent { provider, key, method, below, form, body } = sent;
        let operation = self.way.kind.operation();
        let own = way::root(self.dialect, self.way.kind);
        let mut path = provider.path(self.dialect, operation, "", false, own).map_err(answer::refused)?;
        path.push_str(&below);
        if let (Some(query), false) = (&self.query, self.way.act == Act::List) {
            path.push('?');
            path.push_str(query);
        }
        let mut headers = outgoing::headers(&self.came, self.dialect, self.dialect, &mut Losses::default());
        headers.remove(PROVIDER);
        // Of a part nobody could tell what all of it cost.
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
        outgoing::dialect_headers(&mut headers, &self.dialect.headers());
        if let Some(form) = form {
            headers.insert(header::CONTENT_TYPE, form);
        } else if body.is_empty() {
            headers.remove(header::CONTENT_TYPE);
        }
        provider.address(&mut headers);
        call.host_from_endpoint = false;
        call.head.method = method;
        call.record.upstream = Some(provider.target.upstream.name.clone());
        let mut record = AiRecord::new(operation.name(), self.dialect.name(), "".into());
        record.provider = provider.name.clone();
        record.kind = &provider.kind.name;
        call.record.ai = Some(Arc::new(record));
        let used = Cell::new(key.and_then(|mark| provider.keys.place(mark)));
        let uri: Uri = prepare::uri(path)?;
        let (dialect, key) = (self.dialect, Some(&used));
        let outgoing =
            Outgoing { provider, model: "", dialect, uri, headers, body, key, priority: Priority::Normal };
        let response =
            sending::send(worker, call, outgoing).await.map_err(|unanswered| match unanswered {
                Unanswered::Away(away) => sending::all_away(away),
                Unanswered::Failed(failure) => failure,
            })?;
        let mark = used.get().map_or("", |index| provider.keys.mark(index)).to_owned();
        Ok((response, mark))
    }

    /// What a provider tells of a thing, with its ids sealed; remembered, and given as it was written too.
    async fn told(
        &self,
        response: Response<Body>,
        provider: &Provider,
        named: &dyn Fn(&str) -> Named,
    ) -> Result<(Response<Body>, Option<Value>), Failure> {
        let status = response.status();
        if !status.is_success() {
            return self.refused(response).await.map(|response| (response, None));
        }
        let body = reply::provided(response.into_body(), OBJECT_BYTES_MAX).await?;
        let strange = |error: String| {
            Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error)
                .with_hint("the provider's answer could not be understood")
        };
        let mut object: Value = serde_json::from_slice(&body).map_err(|error| strange(error.to_string()))?;
        let raw = object["id"].as_str().ok_or_else(|| strange("it has no `id`".to_owned()))?;
        let own = named(raw);
        let id = self.files.seals.seal(&self.who, &Named { id: raw.to_owned(), ..own.clone() });
        let id = id.ok_or_else(|| strange("its `id` cannot be sealed".to_owned()))?;
        let is_deleted = object["deleted"] == true
            || object["type"].as_str().is_some_and(|kind| kind.ends_with("_deleted"));
        self.seal_in(&mut object, &own, &id);
        if !is_deleted {
            self.files.made.remember(&self.who, self.way.kind, self.dialect, &id, &object);
        }
        let mut response = whole(status, &object);
        if let Ok(name) = HeaderValue::from_str(&provider.name) {
            response.headers_mut().insert("x-tidegate-provider", name);
        }
        Ok((response, Some(object)))
    }

    /// Puts sealed ids in the places of a provider's.
    fn seal_in(&self, object: &mut Value, own: &Named, id: &str) {
        let raw = object["id"].as_str().unwrap_or_default().to_owned();
        object["id"] = id.into();
        let known = self.files.made.find(&self.who, self.way.kind, self.dialect, id);
        for field in ["input_file_id", "output_file_id", "error_file_id"] {
            let Some(file) = object[field].as_str() else { continue };
            // The file of requests is named as the caller named it.
            let before = known.as_ref().and_then(|thing| thing.object[field].as_str());
            let batch = (field == "output_file_id").then(|| raw.clone());
            let named = Named { id: file.to_owned(), estimate: None, batch, ..own.clone() };
            let sealed = match (field, before) {
                ("input_file_id", Some(before)) => Some(before.to_owned()),
                ("input_file_id", None) if self.way.input.borrow().is_some() => {
                    self.way.input.borrow().clone()
                }
                _ => self.files.seals.seal(&self.who, &named),
            };
            object[field] = sealed.into();
        }
        if object["results_url"].is_string() {
            object["results_url"] = format!("/v1/messages/batches/{id}/results").into();
        }
    }

    /// A refusal of a provider's, in which the caller's own id stands for the provider's.
    async fn refused(&self, response: Response<Body>) -> Result<Response<Body>, Failure> {
        if reply::refuses_us(response.status()) {
            return reply::failed(self.dialect, self.dialect, response).await;
        }
        let (mut parts, body) = response.into_parts();
        let body = reply::provided(body, ERROR_BYTES_MAX).await.unwrap_or_default();
        let mut text = String::from_utf8_lossy(&body).into_owned();
        if let Some(named) = self.files.seals.open(&self.who, &self.way.id) {
            text = text.replace(&named.id, &self.way.id);
        }
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        Ok(Response::from_parts(parts, Body::Full(text.into())))
    }
}

fn whole(status: StatusCode, value: &Value) -> Response<Body> {
    let text = value.to_string();
    let length = text.len();
    let mut response = Response::new(Body::Full(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
