//! Calls that the gateway makes on its own while it serves one: to a model that judges, a service, an embedding.
//!
//! They go the way of every other try (pool, breaker, retries, timeouts), and leave no trace in the record of the call
//! that they are made for.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use ai::{
    canon::{Answer, Part, Request, Usage},
    dialect::Dialect,
    endpoint::Operation,
    rules::Target as Written,
    vocabulary::Vocabulary,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header, request::Parts};
use model::{AiRecord, CallRecord, TokenPrices, TokenUsage};
use resilience::turnstile::Priority;
use serde_json::Value;

use super::{
    AiGateway, Told,
    duties::Asides,
    gathered::{Ungathered, gather},
    metered,
    models::Target,
    outgoing,
    sending::{self, Outgoing, Unanswered},
};
use crate::{
    body::Body,
    call::{Call, Interim, Upgrade},
    handler::backends,
    upstream::tries::{self, Wish},
    worker::Worker,
};

/// Bytes of an answer that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is asked.
pub(super) struct Aside {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) timeout: Duration,
}

/// Why there is no answer.
pub(super) struct Silent {
    /// For the log.
    pub(super) text: String,
    /// The request may have been worked on all the same, and be billed.
    pub(super) is_due: bool,
}

impl From<String> for Silent {
    fn from(text: String) -> Self {
        Self { text, is_due: false }
    }
}

/// A request whose answer nobody has heard yet: when its client leaves meanwhile, what it may have cost is owed all the
/// same.
pub(super) struct Owed<F: FnOnce()> {
    /// By which it is known that it was sent: who waits for a key owes nothing.
    told: Told,
    owe: Option<F>,
}

impl<F: FnOnce()> Owed<F> {
    pub(super) fn new(owe: F) -> Self {
        Self { told: Arc::new(AiRecord::new("aside", "", "".into())), owe: Some(owe) }
    }

    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// What became of it is known.
    pub(super) fn heard(mut self) {
        self.owe = None;
    }
}

impl<F: FnOnce()> Drop for Owed<F> {
    fn drop(&mut self) {
        if let Some(owe) = self.owe.take().filter(|_| self.told.is_due()) {
            owe();
        }
    }
}

/// A call that is about something else for a while. It is itself again whatever becomes of that: its client may leave
/// meanwhile, and what is recorded then is the call.
struct Own<'c> {
    call: &'c mut Call,
    head: Parts,
    record: CallRecord,
    host_from_endpoint: bool,
    interim: Option<Rc<dyn Interim>>,
    upgrade: Option<Upgrade>,
    started: Instant,
    asked: Option<Instant>,
}

impl<'c> Own<'c> {
    fn set_aside(call: &'c mut Call, head: Parts) -> Self {
        Self {
            head: std::mem::replace(&mut call.head, head),
            record: call.record.clone(),
            host_from_endpoint: std::mem::replace(&mut call.host_from_endpoint, true),
            interim: call.interim.take(),
            upgrade: call.upgrade.take(),
            // What is asked has a time of its own, not what the call has left.
            started: std::mem::replace(&mut call.started, Instant::now()),
            asked: call.asked.take(),
            call,
        }
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        std::mem::swap(&mut self.call.head, &mut self.head);
        std::mem::swap(&mut self.call.record, &mut self.record);
        self.call.host_from_endpoint = self.host_from_endpoint;
        self.call.interim = self.interim.take();
        self.call.upgrade = self.upgrade.take();
        (self.call.started, self.call.asked) = (self.started, self.asked);
    }
}

/// Asks an upstream, and reads the answer whole.
async fn ask(
    worker: &Rc<Worker>,
    call: &mut Call,
    target: &backends::Target,
    aside: Aside,
) -> Result<(StatusCode, Bytes), Silent> {
    let uri = Uri::try_from(aside.path).map_err(|error| error.to_string())?;
    let name = target.upstream.name.clone();
    apart(call, aside.timeout, async |call: &mut Call| {
        call.head.uri = uri;
        call.head.headers = aside.headers;
        let (body, wish) = (Body::Full(aside.body.into()), Wish::default());
        let answer = tries::forward(worker, call, target, &wish, body).await;
        answer.map_err(|failure| Silent::from(format!("{name}: {}", failure.problem().title())))
    })
    .await
}

/// Asks a model of a provider, with whichever of its keys can be taken.
async fn ask_provider(
    worker: &Rc<Worker>,
    call: &mut Call,
    (target, model, dialect): (&Target, &str, Dialect),
    aside: Aside,
    told: &Told,
) -> Result<(StatusCode, Bytes), Silent> {
    let uri = Uri::try_from(aside.path).map_err(|error| error.to_string())?;
    let mut headers = aside.headers;
    target.provider.address(&mut headers);
    let name = target.provider.name.clone();
    let answer = apart(call, aside.timeout, async |call: &mut Call| {
        call.host_from_endpoint = false;
        told.owe(true);
        call.record.ai = Some(told.clone());
        let body = aside.body.into();
        let priority = Priority::Normal;
        let outgoing = Outgoing {
            provider: &target.provider,
            model,
            dialect,
            uri,
            headers,
            body,
            priority,
            key: None,
            words: None,
        };
        sending::send(worker, call, outgoing).await.map_err(|unanswered| {
            let is_due = sending::is_due(&unanswered);
            let text = match unanswered {
                Unanswered::Away(_) => format!("{name}: none of its keys can be taken"),
                Unanswered::Failed(failure) => format!("{name}: {}", failure.problem().title()),
            };
            Silent { text, is_due }
        })
    });
    answer.await.map_err(|silent| Silent { is_due: silent.is_due && told.is_due(), ..silent })
}

/// Does something with a head and a record of its own, and reads the answer whole.
async fn apart(
    call: &mut Call,
    timeout: Duration,
    ask: impl AsyncFnOnce(&mut Call) -> Result<Response<Body>, Silent>,
) -> Result<(StatusCode, Bytes), Silent> {
    let mut request = http::Request::new(());
    *request.method_mut() = Method::POST;
    let own = Own::set_aside(call, request.into_parts().0);
    let call = &mut *own.call;
    // Which key is used is no matter of the call's own record.
    call.record.ai = None;
    let due = |text| Silent { text, is_due: true };
    let asked = async {
        let answer = ask(call).await?;
        let status = answer.status();
        match gather(answer.into_body(), ANSWER_BYTES_MAX).await {
            Ok(bytes) => Ok((status, bytes)),
            Err(Ungathered::TooLarge) => {
                Err(due(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes")))
            }
            Err(Ungathered::Failed(failure)) => Err(due(failure.problem().title().to_owned())),
        }
    };
    let result = tokio::time::timeout(timeout, Box::pin(asked)).await;
    result.unwrap_or_else(|_| Err(due(format!("no answer within {timeout:?}"))))
}

fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// Asks a service of the operator's own.
pub(super) async fn service(
    worker: &Rc<Worker>,
    call: &mut Call,
    upstream: &str,
    path: &str,
    body: &Value,
    timeout: Duration,
) -> Result<Value, String> {
    let upstream = call.plan.upstreams.get(upstream).cloned();
    let upstream = upstream.ok_or("its upstream is not there")?;
    let effort = crate::upstream::Effort::new(&upstream.settings.timeouts, &upstream.settings.retry, None);
    let target = backends::Target { upstream, effort, weight: 1 };
    let body = body.to_string().into_bytes();
    let aside = Aside { path: path.to_owned(), headers: json_headers(), body, timeout };
    let (status, bytes) = ask(worker, call, &target, aside).await.map_err(|silent| silent.text)?;
    if !status.is_success() {
        return Err(format!("it answered {status}"));
    }
    serde_json::from_slice(&bytes).map_err(|error| format!("its answer is no JSON: {error}"))
}

/// Asks an endpoint of OpenAI's form that is no chat: `/embeddings`, `/moderations`. `body` is given the model.
pub(super) async fn endpoint(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    alias: &str,
    path: &str,
    mut body: Value,
    timeout: Duration,
) -> Result<Value, String> {
    let asked = gateway.helpers.find(alias).ok_or("its model is not there")?;
    let asides = call.ai.asides.clone();
    let asides = asides.as_ref();
    let mut last = "it has no targets".to_owned();
    for target in asked.alias.targets() {
        let model = asked.model(target);
        body["model"] = model.as_str().into();
        let operation = if path == "/embeddings" { Operation::Embeddings } else { Operation::Other };
        let path = target.provider.path(Dialect::OpenAiChat, operation, &model, false, path);
        let path = path.map_err(|error| error.message)?;
        let aside = Aside { path, headers: json_headers(), body: body.to_string().into_bytes(), timeout };
        let owed = Owed::new(|| bill(asides, target, &model, estimated(operation, &model, &body)));
        let asking = ask_provider(worker, call, (target, &model, Dialect::OpenAiChat), aside, owed.told());
        let answer = asking.await;
        owed.heard();
        match answer {
            Ok((status, bytes)) if status.is_success() => match serde_json::from_slice(&bytes) {
                Ok(value) => {
                    bill(
                        asides,
                        target,
                        &model,
                        told_of(&value).or_else(|| estimated(operation, &model, &body)),
                    );
                    return Ok(value);
                }
                Err(error) => last = format!("its answer is no JSON: {error}"),
            },
            Ok((status, _)) => last = format!("it answered {status}"),
            Err(silent) => {
                let usage = estimated(operation, &model, &body).filter(|_| silent.is_due);
                bill(asides, target, &model, usage);
                last = silent.text;
            }
        }
    }
    Err(last)
}

/// Puts what an answer cost on the bill of the call that it is asked for.
fn bill(asides: Option<&Asides>, target: &Target, model: &str, usage: Option<TokenUsage>) {
    if let (Some(asides), Some(usage)) = (asides, usage) {
        let prices = target.prices.of(model);
        asides.spend(&usage, prices.map(|prices| TokenPrices::picodollars(&*prices, &usage, None)));
    }
}

/// The usage that an answer of OpenAI's form tells.
fn told_of(value: &Value) -> Option<TokenUsage> {
    let usage = value.get("usage")?;
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    let input = count("prompt_tokens").or_else(|| count("input_tokens")).or_else(|| count("total_tokens"))?;
    let output = count("completion_tokens").or_else(|| count("output_tokens")).unwrap_or_default();
    Some(TokenUsage { input, output, ..TokenUsage::default() })
}

/// What an embedding cost that does not tell. Moderation that tells nothing is free.
fn estimated(operation: Operation, model: &str, body: &Value) -> Option<TokenUsage> {
    (operation == Operation::Embeddings).then(|| {
        let input = vocabulary(model).about(body["input"].as_str().unwrap_or_default());
        TokenUsage { input, ..TokenUsage::default() }
    })
}

/// The vocabulary of a model that did not tell what it spent.
fn vocabulary(model: &str) -> Vocabulary {
    let vocabulary = Vocabulary::of(model);
    vocabulary.want();
    vocabulary
}

/// What a model was told and said, where it does not tell.
pub(super) fn counted(model: &str, request: &Request, answer: &Answer) -> Usage {
    let vocabulary = vocabulary(model);
    let texts = |parts: &[Part]| -> u64 {
        let text = |part: &Part| match part {
            Part::Text { text, .. } => vocabulary.about(text),
            _ => 0,
        };
        parts.iter().map(text).sum()
    };
    Usage {
        input: request.messages.iter().map(|message| texts(&message.parts)).sum(),
        output: answer.choices.iter().map(|choice| texts(&choice.parts)).sum(),
        ..Usage::default()
    }
}

/// Asks a model by its name.
pub(super) async fn model(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    alias: &str,
    request: &Request,
    timeout: Duration,
) -> Result<Answer, String> {
    let asked = gateway.helpers.find(alias).ok_or("its model is not there")?;
    let asides = call.ai.asides.clone();
    let asides = asides.as_ref();
    let mut last = "it has no targets".to_owned();
    for target in asked.alias.targets() {
        let model = asked.model(target);
        // Nobody knows what a provider did that had the request and then was silent.
        let unheard = || metered::counted(&counted(&model, request, &Answer::default()));
        let owed = Owed::new(|| bill(asides, target, &model, Some(unheard())));
        let answer = of_target(worker, call, target, &model, request, timeout, owed.told()).await;
        owed.heard();
        match answer {
            Ok(answer) => {
                let usage = answer.usage.unwrap_or_else(|| counted(&model, request, &answer));
                bill(asides, target, &model, Some(metered::counted(&usage)));
                return Ok(answer);
            }
            Err(silent) => {
                bill(asides, target, &model, silent.is_due.then(unheard));
                last = silent.text;
            }
        }
    }
    Err(last)
}

/// Asks a model of a provider.
pub(super) async fn of_target(
    worker: &Rc<Worker>,
    call: &mut Call,
    target: &Target,
    model: &str,
    request: &Request,
    timeout: Duration,
    told: &Told,
) -> Result<Answer, Silent> {
    let dialect = target.provider.dialect_for(Dialect::OpenAiChat, model);
    let written = Written { model, rules: &target.rules(model) };
    let written = dialect.write_request(request, written).map_err(|error| error.message)?;
    let path = target.provider.path(dialect, Operation::Chat, model, false, &written.path);
    let path = path.map_err(|error| error.message)?;
    let mut headers = json_headers();
    outgoing::dialect_headers(&mut headers, &written.headers);
    let body = target.provider.body(Operation::Chat, written.body.into(), model);
    let body = body.map_err(|error| error.message)?.to_vec();
    let aside = Aside { path, headers, body, timeout };
    let (status, bytes) = ask_provider(worker, call, (target, model, dialect), aside, told).await?;
    if !status.is_success() {
        return Err(format!("it answered {status}").into());
    }
    dialect.read_answer(&bytes).map_err(|error| Silent { text: error.message, is_due: true })
}
