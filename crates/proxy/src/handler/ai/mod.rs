//! `ai`: every model through every dialect's endpoints, below one prefix.
//!
//! [`chat`] reads conversations (at the [`doors`] of clouds too), [`asking`] asks target after target, [`given`] gives the answer:
//! where caller and provider speak alike the bytes pass ([`metered`]), else they are translated ([`translated`]); [`prepare`] and [`reply`] are the two ways. [`models`] knows what the names of models
//! stand for, [`provider`] how a provider is spoken to, [`outgoing`] what it is sent, [`meters`] what is held and settled
//! for a call, [`receipts`] what it is told to have cost, [`answer`] what callers are told when something fails.
//!
//! [`choice`] says which targets are asked for a call and in which order. [`sending`] goes through a provider's
//! [`keys`]; each is a [`proof`] of who pays, made of [`credentials`]: a text, a signature ([`aws`]), or a token that a
//! [`grant`] yields and a [`token_source`] keeps.
//!
//! What policies leave to do ([`duties`]) is done by [`guards`] and [`cache`], over answers that are [`read`]; both may
//! ask others ([`aside`]).

mod again;
pub(crate) mod answer;
mod aside;
mod asking;
mod aws;
mod begun;
mod beside;
mod betas;
pub(crate) mod cache;
mod chat;
pub(crate) mod choice;
mod counted;
mod counter;
mod credentials;
mod doors;
mod dropped;
pub(crate) mod duties;
mod estimated;
mod fallback;
mod fault;
mod federated;
mod files;
pub(crate) mod gathered;
mod given;
mod grant;
pub(crate) mod guards;
mod keys;
mod listing;
mod metadata;
mod metered;
pub(crate) mod meters;
pub(crate) mod metrics;
mod models;
pub(crate) mod most;
pub(crate) mod odd;
mod onward;
mod outgoing;
mod passed;
mod pause;
mod prepare;
pub(crate) mod prices;
mod proof;
pub(crate) mod provider;
mod queue;
mod read;
pub(crate) mod realtime;
mod receipts;
mod recorded;
mod refusals;
mod reply;
mod resets;
mod sending;
mod shadow;
pub(crate) mod shared;
mod stored;
mod token_source;
/// Tokens of token servers, for handlers beside this one.
pub(crate) mod tokens {
    pub(crate) use super::{
        aws::AwsKey,
        grant::{Grant, bearer, encode},
        token_source::{Material, Patience, Token, TokenSource},
    };
}
mod transcripts;
mod translated;
mod units;
mod unpacked;
mod vectors;
mod worded;

use std::{rc::Rc, sync::Arc};

use ai::{
    dialect::Dialect,
    door::Door,
    endpoint::{Endpoint, Operation, misplaced},
};
use http::{HeaderMap, Method, Response};
use model::resource::ai::AiRoute;

use self::{choice::Urgency, models::Models};
use super::{Answering, Answers};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

/// Tells Anthropic's SDKs from OpenAI's on the one path that both have.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// Tells Google's.
const GOOGLE: [&str; 2] = ["x-goog-api-client", "x-goog-api-key"];

/// The compiled handler.
pub(crate) struct AiGateway {
    strip: Option<String>,
    strict: bool,
    /// Streams that break off are gone on with.
    continues: bool,
    /// How urgent calls are.
    priority: Option<Urgency>,
    body_bytes_max: usize,
    models: Models,
    /// Every model, for what the gateway asks itself.
    helpers: Models,
    /// The caller is a prompt of ours: every target gets what it takes, those of the same dialect included.
    composes: bool,
    realtime: model::resource::ai::RealtimeRoute,
    /// Where callers' files and batches are kept.
    files: Option<Arc<files::Files>>,
    /// Bytes of each text that is recorded.
    record_text: Option<usize>,
    /// Seals the ids of what callers have kept at providers.
    seals: Arc<files::Seals>,
}

impl AiGateway {
    pub(crate) fn compile(settings: &AiRoute, _: &model::Route, cx: &Building<'_>) -> Result<Self, String> {
        let ai = cx.snapshot.config.ai.as_ref().ok_or("`ai` is missing at the top")?;
        let files = settings
            .files
            .as_ref()
            .map(|files| files::Files::compile(files, cx).map(Arc::new))
            .transpose()?;
        Ok(Self {
            strip: settings.strip_prefix.clone().filter(|prefix| prefix != "/"),
            strict: settings.strict,
            continues: settings.continue_streams,
            priority: settings.priority.as_deref().map(Urgency::compile).transpose()?,
            body_bytes_max: usize::try_from(settings.max_body_size.bytes()).unwrap_or(usize::MAX),
            models: Models::compile(ai, settings.models.as_deref(), cx)?,
            helpers: Models::compile(ai, None, cx)?,
            composes: false,
            realtime: settings.realtime.clone(),
            seals: stored::seals(files.as_deref())?,
            record_text: settings.record_text.map(|most| usize::try_from(most.bytes()).unwrap_or(usize::MAX)),
            files,
        })
    }

    /// Serves the one model that a prompt names to the prompt alone.
    pub(crate) fn for_prompt(model: &str, strict: bool, cx: &Building<'_>) -> Result<Self, String> {
        let ai = cx.snapshot.config.ai.as_ref().ok_or("`ai` is missing at the top")?;
        let only = models::serving(ai, model).ok_or_else(|| format!("no model `{model}` in `ai.models`"))?;
        let models = Models::compile(ai, Some(&[only.to_owned()]), cx)?;
        Ok(Self {
            strip: None,
            strict,
            continues: false,
            priority: None,
            body_bytes_max: usize::MAX,
            models,
            helpers: Models::compile(ai, None, cx)?,
            composes: true,
            realtime: Default::default(),
            files: None,
            seals: stored::seals(None)?,
            record_text: None,
        })
    }

    /// Whether every target of a model takes a feature.
    pub(crate) fn takes(&self, model: &str, feature: ai::canon::Feature) -> bool {
        self.models.take(model, feature)
    }

    /// Answers a conversation that the gateway itself composed, in OpenAI's chat dialect and in no caller's name.
    pub(crate) async fn converse(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: bytes::Bytes,
    ) -> Result<Response<Body>, Failure> {
        let (dialect, operation) = (Dialect::OpenAiChat, Operation::Chat);
        let endpoint = Endpoint { dialect, operation, model: None, stream: false };
        let answer = chat::answer(self, worker, call, endpoint, Body::Full(body)).await;
        self.noted(call, operation, answer)
    }

    /// Has the record of a call that was refused before anybody was asked say what it was for.
    fn noted(
        &self,
        call: &mut Call,
        operation: Operation,
        answer: Result<Response<Body>, Failure>,
    ) -> Result<Response<Body>, Failure> {
        let is_call = !matches!(operation, Operation::Models | Operation::Other);
        if answer.is_err() && is_call && call.record.ai.is_none() {
            let is_door = self.below(call.path()).and_then(Door::of).is_some();
            let spoken = match call.dialect {
                _ if self.composes => "prompt",
                // At a cloud's door Claude's own words are spoken, as the record of a call says that is answered.
                _ if is_door => Dialect::Anthropic.name(),
                Some(dialect) => dialect.name(),
                None => "prompt",
            };
            let duties::Wanted { model, alias, stream } = std::mem::take(&mut call.ai.wanted);
            let mut record = model::AiRecord::new(operation.name(), spoken, model.unwrap_or_default());
            record.alias = alias.unwrap_or_default();
            record.is_stream = stream;
            call.record.ai = Some(Arc::new(record));
        }
        answer
    }

    /// A path below the route's prefix.
    fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        match &self.strip {
            Some(prefix) => path.strip_prefix(prefix.as_str()).filter(|rest| rest.starts_with('/')),
            None => Some(path),
        }
    }

    /// What a request wants. `None` when no vendor has such an endpoint.
    fn endpoint(&self, path: &str, headers: &HeaderMap) -> Option<Endpoint> {
        let path = self.below(path)?;
        match GOOGLE.iter().any(|name| headers.contains_key(*name)) {
            true => Endpoint::of_google(path),
            false => Endpoint::of(path, headers.contains_key(ANTHROPIC_VERSION)),
        }
    }

    /// The dialect that a request speaks, for telling it what went wrong.
    pub(crate) fn dialect(&self, path: &str, headers: &HeaderMap) -> Dialect {
        match self.endpoint(path, headers) {
            Some(endpoint) => endpoint.dialect,
            None => self.misplaced(path, headers).map_or(Dialect::OpenAiChat, |(dialect, _)| dialect),
        }
    }

    /// Whose SDK looks for an endpoint where there is none, and how the base address ends that it should have been given.
    fn misplaced(&self, path: &str, headers: &HeaderMap) -> Option<(Dialect, String)> {
        let (dialect, ends) = misplaced(self.below(path)?, headers.contains_key(ANTHROPIC_VERSION))?;
        Some((dialect, format!("{}{ends}", self.strip.as_deref().unwrap_or_default())))
    }

    /// Nobody has an endpoint where a call looks for one.
    fn lost(&self, call: &mut Call) -> Failure {
        let meant = self.misplaced(call.path(), &call.head.headers);
        let hint = match &meant {
            Some((_, ends)) if ends.is_empty() => {
                "the base address of the SDK has a version too many: leave its path away".to_owned()
            }
            Some((_, ends)) => {
                format!("the base address of the SDK has a version too many: let it end with `{ends}`")
            }
            None => "no vendor's API has an endpoint at this path".to_owned(),
        };
        call.dialect = Some(meant.map_or(Dialect::OpenAiChat, |(dialect, _)| dialect));
        Failure::client(Stage::Router, Problem::NoRoute).with_hint(hint)
    }

    async fn handle(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let Some(endpoint) = self.endpoint(call.path(), &call.head.headers) else {
            return Err(self.lost(call));
        };
        call.dialect = Some(endpoint.dialect);
        let operation = endpoint.operation;
        let answer = self.answer(worker, call, endpoint, body).await;
        self.noted(call, operation, answer)
    }

    async fn answer(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        endpoint: Endpoint,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        if matches!(endpoint.operation, Operation::Files | Operation::Batches) {
            return files::answer(self, worker, call, endpoint, body).await;
        }
        if endpoint.operation == Operation::Stored {
            return stored::answer(self, worker, call, body).await;
        }
        let is_post = call.head.method == Method::POST;
        if let Some(door) = self.below(call.path()).and_then(Door::of).filter(|_| is_post) {
            return doors::answer(self, worker, call, door, body).await;
        }
        if endpoint.operation == Operation::Chat && call.upgrade.is_some() {
            // Agents that find no WebSocket here go on over HTTP when they are told so in this way.
            return Err(Failure::client(Stage::Guard, Problem::BadRequest)
                .with_status(http::StatusCode::UPGRADE_REQUIRED)
                .with_header(http::header::UPGRADE, http::HeaderValue::from_static("HTTP/1.1"))
                .with_hint(
                    "conversations are answered over HTTP here, not over a WebSocket: POST to this path",
                ));
        }
        let is_get = matches!(endpoint.operation, Operation::Models | Operation::Realtime);
        let wanted = if is_get { Method::GET } else { Method::POST };
        if call.head.method != wanted && endpoint.operation != Operation::Other {
            return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed).with_header(
                http::header::ALLOW,
                http::HeaderValue::from_str(wanted.as_str())
                    .unwrap_or(http::HeaderValue::from_static("POST")),
            ));
        }
        match endpoint.operation {
            Operation::Models => listing::answer(self, call, endpoint.dialect),
            Operation::Chat
            | Operation::CountTokens
            | Operation::Embeddings
            | Operation::Completions
            | Operation::Images
            | Operation::ImageEdits
            | Operation::Speech
            | Operation::Transcriptions
            | Operation::Translations
            | Operation::Moderations
            | Operation::Compact
            | Operation::Rerank => chat::answer(self, worker, call, endpoint, body).await,
            Operation::Realtime => realtime::open(self, worker, call, endpoint).await,
            Operation::Files | Operation::Batches | Operation::Stored | Operation::Other => {
                let hint = match call.path().contains("/realtime/") {
                    true => {
                        "keys for a while would lead past this gateway: open `/v1/realtime` with your own key"
                    }
                    false => "this endpoint is not in this build; docs/ai.md lists those that are",
                };
                Err(Failure::client(Stage::Router, Problem::NotImplemented).with_hint(hint))
            }
        }
    }
}

impl Answers for AiGateway {
    fn serve<'a>(&'a self, worker: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(worker, call, body)))
    }

    fn explain(&self) -> String {
        "ai".to_owned()
    }

    fn speaks(&self, path: &str, headers: &HeaderMap) -> Option<Dialect> {
        Some(self.dialect(path, headers))
    }
}

/// What the record says of a call to a model.
pub(crate) type Told = Arc<model::AiRecord>;
