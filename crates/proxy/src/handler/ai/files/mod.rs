//! Files and batches at providers: each with the caller that made it.
//!
//! Ids are sealed ([`ids`]): they say which provider and which of its keys they belong to, and open for their owner
//! alone. What is [asked](asking) goes to the provider that has it, and what that [tells](telling) comes back with sealed
//! ids; a large file may come in parts ([`uploads`]). Lists tell what the caller itself made ([`made`]). The requests of a
//! batch are read where they come in ([`batch`]): their models are those of the route, and what they may spend is
//! [held](paid) until the results tell what they did ([`results`]).

mod asking;
mod batch;
mod ids;
mod journal;
mod list;
mod made;
mod paid;
mod results;
mod sent;
mod telling;
mod uploads;
mod way;

use std::{cell::Cell, rc::Rc, sync::Arc};

use ai::{
    canon::{Error, ErrorKind},
    dialect::Dialect,
    endpoint::{Endpoint, Operation},
    peek::Peek,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use model::resource::ai::FilesRoute;

pub(super) use self::ids::{Named, Seals};
use self::{
    made::{Kind, Made},
    way::Way,
};
use super::{
    AiGateway, answer,
    prepare::{self, Conversation},
    provider::Provider,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::mcp,
    worker::Worker,
};

/// Names the provider that a caller wants.
const PROVIDER: &str = "x-tidegate-provider";

/// Files and batches of a route.
pub(super) struct Files {
    pub(super) providers: Vec<Arc<Provider>>,
    pub(super) seals: Arc<Seals>,
    made: Arc<Made>,
    bytes_max: usize,
    /// Batches that may wait for their results at a time.
    open_max: usize,
}

/// A caller's request.
struct Asking<'a> {
    gateway: &'a AiGateway,
    desk: Rc<Desk>,
}

/// What is wanted, and by whom: all that it takes to ask a provider and to tell what that says.
struct Desk {
    files: Arc<Files>,
    who: String,
    dialect: Dialect,
    way: Way,
    came: HeaderMap,
    query: Option<String>,
}

impl std::ops::Deref for Asking<'_> {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
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
            open_max: usize::try_from(settings.max_open_batches).unwrap_or(usize::MAX),
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
    let desk = Desk { files: files.clone(), who, dialect: endpoint.dialect, way, came, query };
    let asking = Asking { gateway, desk: Rc::new(desk) };
    let answer = Box::pin(asking.answer(worker, call, body)).await;
    call.head.headers = Rc::try_unwrap(asking.desk).map_or_else(|desk| desk.came.clone(), |desk| desk.came);
    call.head.uri = uri;
    call.head.method = method;
    answer
}

/// No such thing, as callers are told of what is not theirs.
fn unknown(kind: Kind, id: &str) -> Failure {
    let what = match kind {
        Kind::File => "file",
        Kind::Batch => "batch",
        Kind::Upload => "upload",
    };
    answer::refused(Error::new(ErrorKind::NotFound, format!("no {what} `{id}` here")))
}

fn invalid(message: impl Into<String>) -> Failure {
    answer::refused(Error::new(ErrorKind::Invalid, message))
}
