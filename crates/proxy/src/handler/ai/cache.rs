//! Answers of models that are given again.
//!
//! What is kept is what the provider said, before rules over answers see it: they run over what is given again as over
//! anything else, and a datum that was masked in the request is in no kept answer. The key is the request as it was
//! understood, without what says who asks and in which form the answer is wanted. Equal requests at the same time all
//! go to their model; the last answer stays.

pub(crate) mod store;

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ai::{
    canon::{Answer, Assembler, Conversation as Remembered, Event, Finish, Modality, Part, Request, Role},
    dialect::Spoken,
    endpoint::Operation,
    fit::Names,
};
use aws_lc_rs::digest;
use http::{HeaderValue, Response, header};
use model::{
    AiRecord,
    policy::{AiCache as Settings, ai_cache::AiCacheScope},
    resource::postgres::KeptIn,
};
use serde_json::json;

use self::store::Database;
use super::{AiGateway, aside, prepare::Conversation, read};
use crate::{body::Body, call::Call, compiled::Building, failure::Failure, worker::Worker};

type Key = [u8; 32];

/// Numbers of one embedding: the largest models have fewer.
const DIMENSIONS_MAX: usize = 16_384;
/// Questions of one kind that a new one is compared with, the newest first: some milliseconds' work.
const COMPARED_MAX: usize = 4_000;
/// Bytes of an answer that are gathered for keeping it: a longer one is not kept.
const GATHERED_MAX: usize = 4 * 1024 * 1024;
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

/// The answers of one policy.
pub(crate) struct Store {
    entries_max: usize,
    bytes_max: usize,
    ttl: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_key: HashMap<Key, Entry>,
    /// By when they were last asked for: the first goes first.
    by_use: BTreeMap<u64, Key>,
    /// The keys of answers to questions of one kind, for those that mean about the same.
    alike: HashMap<Key, Vec<Key>>,
    uses: u64,
    bytes: usize,
}

struct Entry {
    answer: Arc<Answer>,
    since: Instant,
    bytes: usize,
    used: u64,
    meaning: Option<(Key, Arc<[f32]>)>,
}

impl Store {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            entries_max: settings.max_entries.max(1),
            bytes_max: settings.max_size.get(),
            ttl: settings.ttl.get(),
            kept: Mutex::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of a key, and how old it is.
    fn get(&self, key: &Key, now: Instant) -> Option<(Arc<Answer>, Duration)> {
        let mut kept = self.lock();
        let age = now.saturating_duration_since(kept.by_key.get(key)?.since);
        if age >= self.ttl {
            kept.remove(key);
            return None;
        }
        kept.uses += 1;
        let uses = kept.uses;
        let entry = kept.by_key.get_mut(key)?;
        let (before, answer) = (std::mem::replace(&mut entry.used, uses), entry.answer.clone());
        kept.by_use.remove(&before);
        kept.by_use.insert(uses, *key);
        Some((answer, age))
    }

    /// The key of the answer whose question means most nearly the same.
    fn nearest(&self, group: &Key, meaning: &[f32], threshold: f64, now: Instant) -> Option<Key> {
        // Others wait for as long as the references are taken, not for as long as vectors are compared.
        let known: Vec<(Key, Arc<[f32]>)> = {
            let kept = self.lock();
            let keys = kept.alike.get(group)?;
            let newest = keys.iter().rev().take(COMPARED_MAX);
            let young = newest.filter_map(|key| {
                let entry = kept.by_key.get(key)?;
                let is_young = now.saturating_duration_since(entry.since) < self.ttl;
                let (_, other) = entry.meaning.as_ref().filter(|_| is_young)?;
                Some((*key, other.clone()))
            });
            young.collect()
        };
        let near = known.into_iter().filter_map(|(key, other)| Some((cosine(meaning, &other)?, key)));
        let best = near.max_by(|(a, _), (b, _)| a.total_cmp(b));
        best.filter(|(likeness, _)| *likeness >= threshold).map(|(_, key)| key)
    }

    fn put(&self, key: Key, meaning: Option<(Key, Vec<f32>)>, answer: Answer, now: Instant) {
        let numbers = meaning.as_ref().map_or(0, |(_, numbers)| numbers.len() * size_of::<f32>());
        let bytes = weight(&answer) + numbers + size_of::<Entry>() + 2 * size_of::<Key>();
        if bytes > self.bytes_max {
            return;
        }
        let mut kept = self.lock();
        kept.remove(&key);
        while kept.by_key.len() >= self.entries_max || kept.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = kept.by_use.first_key_value().map(|(used, key)| (*used, *key)) else {
                break;
            };
            kept.remove(&oldest);
        }
        kept.uses += 1;
        let used = kept.uses;
        kept.bytes += bytes;
        kept.by_use.insert(used, key);
        if let Some((group, _)) = &meaning {
            kept.alike.entry(*group).or_default().push(key);
        }
        let meaning = meaning.map(|(group, numbers)| (group, Arc::from(numbers)));
        kept.by_key.insert(key, Entry { answer: Arc::new(answer), since: now, bytes, used, meaning });
    }
}

impl Kept {
    fn remove(&mut self, key: &Key) {
        let Some(entry) = self.by_key.remove(key) else { return };
        self.bytes -= entry.bytes;
        self.by_use.remove(&entry.used);
        if let Some((group, _)) = &entry.meaning
            && let Some(keys) = self.alike.get_mut(group)
        {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.alike.remove(group);
            }
        }
    }
}

/// About how much memory an answer takes.
fn weight(answer: &Answer) -> usize {
    let texts: usize = answer.choices.iter().flat_map(|choice| &choice.parts).map(part_weight).sum();
    let tokens: usize = answer.choices.iter().map(|choice| choice.log_probabilities.len() * 256).sum();
    texts
        + tokens
        + answer.extra.iter().map(|(key, value)| key.len() + value.to_string().len()).sum::<usize>()
        + 256
}

fn part_weight(part: &Part) -> usize {
    // The written form is longer than what is kept, never much shorter.
    let inner = match part {
        Part::Text { text, citations, .. } if citations.is_empty() => text.len(),
        other => format!("{other:?}").len(),
    };
    inner + size_of::<Part>()
}

fn cosine(one: &[f32], two: &[f32]) -> Option<f64> {
    if one.len() != two.len() {
        return None;
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (dot(one, one) * dot(two, two)).sqrt();
    (lengths > 0.0).then(|| dot(one, two) / lengths)
}

/// Where an answer is to be kept once it is there.
pub(super) struct Ticket {
    place: Place,
    scope: String,
    key: Key,
    meaning: Option<(Key, Vec<f32>)>,
    assembler: Assembler,
    /// It breaks off, or is too long to be kept.
    is_broken: bool,
    bytes: usize,
    /// The caller's names of tools that the provider was told otherwise: what is kept has the caller's.
    names: Names,
}

impl Ticket {
    /// Hears what the provider says.
    pub(super) fn hear(&mut self, event: &Event) {
        if self.is_broken {
            return;
        }
        self.bytes = self.bytes.saturating_add(event.bytes());
        self.is_broken = matches!(event, Event::Error(_)) || self.bytes > GATHERED_MAX;
        if self.is_broken {
            // Nothing of it is held any longer.
            self.assembler = Assembler::default();
            return;
        }
        self.assembler.push(event.clone());
    }

    /// What the provider says is in these names.
    pub(super) fn named(&mut self, names: Names) {
        self.names = names;
    }

    /// All is said: what was heard is kept.
    pub(super) fn keep(self) {
        let Self { place, scope, key, meaning, assembler, is_broken, names, .. } = self;
        if let (false, Ok(answer)) = (is_broken, assembler.finish())
            && is_complete(&answer)
        {
            place.put(scope, key, meaning, names.answer(answer));
        }
    }

    /// Keeps an answer that is there whole.
    pub(super) fn keep_whole(self, answer: &Answer) {
        if is_complete(answer) {
            self.place.put(self.scope, self.key, self.meaning, self.names.answer(answer.clone()));
        }
    }
}

/// Whether an answer came to its own end.
fn is_complete(answer: &Answer) -> bool {
    let good = |finish: &Option<Finish>| {
        matches!(finish, Some(Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls))
    };
    !answer.choices.is_empty() && answer.choices.iter().all(|choice| good(&choice.finish))
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
) -> Result<Option<Response<Body>>, Failure> {
    let Some(duty) = call.ai.cache.take() else { return Ok(None) };
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
        conversation.ticket = Some(Ticket {
            place: duty.place,
            scope,
            key,
            meaning,
            assembler: Assembler::default(),
            is_broken: false,
            bytes: 0,
            names: Names::default(),
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        let parts = vec![Part::text(text)];
        let choice = ai::canon::Choice { parts, finish: Some(Finish::Stop), log_probabilities: Vec::new() };
        Answer { choices: vec![choice], ..Answer::default() }
    }

    fn store(entries: usize, bytes: u64) -> Store {
        let max_size = model::Size::kib(bytes);
        Store::new(&Settings { max_entries: entries, max_size, ..Settings::default() })
    }

    #[test]
    fn what_was_not_asked_for_the_longest_goes_first() {
        let (store, now) = (store(2, 64), Instant::now());
        for key in 0..2 {
            store.put([key; 32], None, answer("x"), now);
        }
        assert!(store.get(&[0; 32], now).is_some());
        store.put([2; 32], None, answer("x"), now);
        let there: Vec<bool> = (0..3).map(|key| store.get(&[key; 32], now).is_some()).collect();
        assert_eq!(there, [true, false, true]);
    }

    #[test]
    fn memory_and_time_are_bounded() {
        let (store, now) = (store(1000, 16), Instant::now());
        for key in 0..100 {
            store.put([key; 32], Some(([9; 32], vec![1.0; 64])), answer(&"x".repeat(1000)), now);
        }
        let kept = store.lock();
        assert!(kept.bytes <= 16 * 1024 && !kept.by_key.is_empty());
        assert_eq!(kept.by_key.len(), kept.by_use.len());
        assert_eq!(kept.alike.get(&[9; 32]).map(Vec::len), Some(kept.by_key.len()));
        drop(kept);
        store.put([200; 32], None, answer(&"x".repeat(20_000)), now);
        assert!(store.get(&[200; 32], now).is_none(), "larger than all of it");
        assert!(store.get(&[99; 32], now).is_some());
        assert!(store.get(&[99; 32], now + Duration::from_secs(3600)).is_none());
    }

    #[test]
    fn the_nearest_meaning_counts_from_the_threshold_on() {
        let (store, now) = (store(10, 64), Instant::now());
        store.put([1; 32], Some(([0; 32], vec![1.0, 0.0])), answer("a"), now);
        store.put([2; 32], Some(([0; 32], vec![1.0, 1.0])), answer("b"), now);
        store.put([3; 32], Some(([7; 32], vec![0.0, 1.0])), answer("c"), now);
        assert_eq!(store.nearest(&[0; 32], &[1.0, 0.9], 0.9, now), Some([2; 32]));
        assert_eq!(store.nearest(&[0; 32], &[0.0, 1.0], 0.9, now), None);
        assert_eq!(store.nearest(&[0; 32], &[0.0, 1.0, 0.0], 0.0, now), None);
    }
}
