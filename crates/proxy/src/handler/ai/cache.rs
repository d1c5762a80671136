//! Answers of models that are given again.
//!
//! What is kept is what the provider said, before rules over answers see it: they run over what is given again as over
//! anything else, and a datum that was masked in the request is in no kept answer. The key is the request as it was
//! understood, without what says who asks and in which form the answer is wanted. Equal requests at the same time all
//! go to their model; the last answer stays.

mod memory;
pub(crate) mod store;
mod ticket;

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use ai::{
    canon::{Answer, Conversation as Remembered, Modality, Part, Request, Role},
    dialect::Spoken,
    endpoint::Operation,
};
use aws_lc_rs::digest;
use http::{HeaderValue, Response, header};
use model::{
    AiRecord,
    policy::{AiCache as Settings, ai_cache::AiCacheScope},
    resource::postgres::KeptIn,
};
use serde_json::json;

pub(super) use self::ticket::Ticket;
use self::{memory::Store, store::Database};
use super::{AiGateway, aside, prepare::Conversation, read};
use crate::{body::Body, call::Call, compiled::Building, failure::Failure, worker::Worker};

type Key = [u8; 32];

/// Numbers of one embedding: the largest models have fewer.
const DIMENSIONS_MAX: usize = 16_384;
/// Characters of a question that are embedded.
const QUESTION_CHARS_MAX: usize = 32 * 1024;

/// What is to be done for one call.
#[derive(Clone)]
pub(crate) struct Duty {
    pub(crate) settings: Arc<Settings>,
    pub(crate) place: Place,
}

/// Where answers are kept.
#[derive(Clone)]
pub(crate) enum Place {
    /// In this process.
    Memory(Arc<Store>),
    /// In a database that gateways share.
    Database(Arc<Database>),
}

impl Place {
    /// As the settings of a policy say.
    pub(crate) fn of(policy: &str, settings: &Settings, cx: &Building<'_>) -> Result<Self, String> {
        match settings.store {
            KeptIn::Memory => Ok(Self::Memory(cx.keep(policy, settings, || Store::new(settings)))),
            KeptIn::Postgres => {
                let client = cx.postgres.ok_or("there is no `postgres` in the configuration")?.clone();
                let owner = cx.owner.clone();
                Ok(Self::Database(
                    cx.keep(policy, &(settings, "postgres"), || Database::new(client, owner, settings)),
                ))
            }
        }
    }

    async fn get(&self, scope: &str, key: &Key, now: Instant) -> Option<(Arc<Answer>, Duration)> {
        match self {
            Self::Memory(store) => store.get(key, now),
            Self::Database(database) => database.get(scope, key).await,
        }
    }

    async fn nearest(
        &self,
        scope: &str,
        group: &Key,
        meaning: &[f32],
        threshold: f64,
        now: Instant,
    ) -> Option<Key> {
        match self {
            Self::Memory(store) => store.nearest(group, meaning, threshold, now),
            Self::Database(database) => database.nearest(scope, group, meaning, threshold).await,
        }
    }

    fn put(&self, scope: String, key: Key, meaning: Option<(Key, Vec<f32>)>, answer: Answer) {
        match self {
            Self::Memory(store) => store.put(key, meaning, answer, Instant::now()),
            Self::Database(database) => Database::put(database, scope, key, meaning, &answer),
        }
    }
}

/// What a caller says about caches.
fn wishes(call: &Call) -> (bool, bool) {
    let values = call.head.headers.get_all(header::CACHE_CONTROL).iter();
    let texts: Vec<String> =
        values.filter_map(|value| value.to_str().ok()).map(str::to_ascii_lowercase).collect();
    let has = |wanted: &str| {
        let mut parts = texts.iter().flat_map(|text| text.split(','));
        parts.any(|part| part.split('=').next().is_some_and(|name| name.trim() == wanted))
    };
    let no_store = has("no-store");
    (!no_store && !has("no-cache"), !no_store)
}

/// Looks for an answer. Where there is none, the conversation is given a ticket for the one to come.
pub(super) async fn look(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    name: &str,
    duty: Duty,
) -> Result<Option<Response<Body>>, Failure> {
    if conversation.endpoint.operation != Operation::Chat {
        return Ok(None);
    }
    conversation.cached = Some("bypass");
    let (reads, stores) = wishes(call);
    let Some(request) = request_of(conversation).filter(|request| suits(&duty.settings, request)) else {
        return Ok(None);
    };
    let (true, Some(scope)) = (stores, scope(&duty.settings, call)) else { return Ok(None) };
    let key = key_of(&scope, name, &request);
    let now = Instant::now();
    let mut found = if reads { duty.place.get(&scope, &key, now).await } else { None };
    let mut meaning = None;
    if found.is_none()
        && let Some(settings) = &duty.settings.semantic
    {
        let mut rest = request;
        if let Some(question) = question(&mut rest) {
            let body = json!({"input": question});
            let (model, timeout) = (&settings.model, settings.timeout.get());
            let told = aside::endpoint(gateway, worker, call, model, "/embeddings", body, timeout).await;
            match told.and_then(|told| embedding(&told).ok_or("no embedding is in its answer".to_owned())) {
                Ok(numbers) => {
                    // All but the question must be the same, for the same embedding model.
                    let group = key_of(&format!("{scope}\n{model}"), name, &rest);
                    let nearest = match reads {
                        true => {
                            let threshold = settings.threshold;
                            duty.place.nearest(&scope, &group, &numbers, threshold, now).await
                        }
                        false => None,
                    };
                    if let Some(key) = nearest {
                        found = duty.place.get(&scope, &key, now).await;
                    }
                    meaning = Some((group, numbers));
                }
                Err(error) => tracing::warn!(%model, %error, "a question could not be embedded: {error}"),
            }
        }
    }
    let Some((answer, age)) = found else {
        conversation.cached = Some(if reads { "miss" } else { "bypass" });
        conversation.ticket = Some(Ticket::new(duty.place, scope, key, meaning));
        return Ok(None);
    };
    again(gateway, worker, call, conversation, name, &answer, age).await.map(Some)
}

/// Gives an answer again.
async fn again(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    name: &str,
    answer: &Arc<Answer>,
    age: Duration,
) -> Result<Response<Body>, Failure> {
    let endpoint = conversation.endpoint;
    let mut record = AiRecord::new(endpoint.operation.name(), endpoint.dialect.name(), name.into());
    record.served.clone_from(&answer.model);
    record.is_stream = conversation.stream;
    record.alias = call.ai.wanted.alias.clone().unwrap_or_default();
    record.cache = Some("hit");
    record.guard(conversation.watch.fired());
    let told = Arc::new(record);
    call.record.ai = Some(told.clone());
    let answer = Answer::clone(answer);
    let mut response =
        read::tell(gateway, worker, call, conversation, conversation.endpoint.dialect, None, answer, &told)
            .await?;
    let headers = response.headers_mut();
    headers.insert("x-tidegate-cache", HeaderValue::from_static("hit"));
    headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    Ok(response)
}

/// The request as it is understood, without what says who asks and in which form the answer is wanted.
fn request_of(conversation: &mut Conversation<'_>) -> Option<Request> {
    let endpoint = conversation.endpoint;
    if conversation.canonical.is_none() {
        let spoken = Spoken { model: endpoint.model.clone(), stream: endpoint.stream };
        conversation.canonical = endpoint.dialect.read_request(&spoken, &conversation.body).ok();
    }
    let mut request = conversation.canonical.clone()?;
    request.model.clear();
    request.stream = false;
    request.include_usage = false;
    request.user = None;
    request.metadata = Default::default();
    request.cache_key = None;
    request.tier = None;
    request.store = None;
    request.places.clear();
    Some(request)
}

/// Whether an answer may be given again for this request.
fn suits(settings: &Settings, request: &Request) -> bool {
    let is_fixed = settings.any_temperature || request.sampling.temperature == Some(0.0);
    let is_text = request.modalities.iter().all(|modality| *modality == Modality::Text);
    let remembers = matches!(&request.conversation, Some(Remembered::After(_) | Remembered::Stored(_)));
    is_fixed && is_text && !remembers && (settings.tools || request.tools.is_empty())
}

/// Who shares answers. Nobody does with those who are nobody.
fn scope(settings: &Settings, call: &Call) -> Option<String> {
    match settings.scope {
        AiCacheScope::Shared => Some("shared".to_owned()),
        AiCacheScope::Consumer => {
            call.consumer.as_ref().map(|consumer| format!("consumer {}", consumer.name))
        }
    }
}

fn key_of(scope: &str, name: &str, request: &Request) -> Key {
    // The written form of a request tells everything that it holds, and texts in it are quoted.
    let text = format!("{scope:?} {name:?} {request:?}");
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    key
}

/// Takes the question out of a request: what the user said last, when it is text alone.
fn question(request: &mut Request) -> Option<String> {
    let last = request.messages.last_mut().filter(|message| message.role == Role::User)?;
    let mut text = String::new();
    for part in &last.parts {
        match part {
            Part::Text { text: more, .. } => text.push_str(more),
            _ => return None,
        }
    }
    last.parts.clear();
    let good = !text.trim().is_empty() && text.len() <= QUESTION_CHARS_MAX;
    good.then_some(text)
}

/// The embedding in an answer of OpenAI's form.
fn embedding(told: &serde_json::Value) -> Option<Vec<f32>> {
    let numbers = told.pointer("/data/0/embedding")?.as_array()?;
    if numbers.is_empty() || numbers.len() > DIMENSIONS_MAX {
        return None;
    }
    numbers.iter().map(|number| number.as_f64().map(|number| number as f32)).collect()
}
