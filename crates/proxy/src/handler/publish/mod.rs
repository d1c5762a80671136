//! `publish`: a request becomes a message of a broker's, and is answered when the broker has confirmed that it is kept.
//!
//! [`text`] fills subjects and ids from the call, [`message`] makes messages; what an event is, the crate `events` knows.

mod message;
mod text;

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use events::cloud::{self, BATCH, Data, Event, Form, STRUCTURED};
use http::{HeaderValue, Method, Response, StatusCode, header};
use model::{
    PublishRecord, Route,
    resource::publish::{CloudEventForm, CloudEvents, Publish as Settings},
};
use serde_json::{Value, json};

use self::message::{Message, Messages};
use super::{
    Answering, Answers,
    ai::gathered::{Ungathered, gather},
};
use crate::{
    body::Body,
    broker::{Broker, Confirmed, Unconfirmed},
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    schema::Schema,
    worker::Worker,
};

/// When a client may come again while the broker is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The compiled handler.
pub(crate) struct Publish {
    broker: Arc<Broker>,
    messages: Messages,
    content_types: Box<[String]>,
    schema: Option<Schema>,
    events: Option<CloudEvents>,
    bytes_max: usize,
    timeout: Duration,
}

impl Publish {
    /// Compiles the handler; an error begins with the place in it.
    pub(crate) fn compile(settings: &Settings, _: &Route, cx: &Building<'_>) -> Result<Self, String> {
        let broker = cx.brokers.and_then(|brokers| brokers.get(settings.broker.as_str()));
        let broker = broker.ok_or_else(|| format!("broker: no broker `{}`", settings.broker))?;
        let schema = settings.schema.as_ref().map(Schema::compile).transpose();
        if let Some(wrap) = settings.cloud_events.as_ref().and_then(|events| events.wrap.as_ref()) {
            let mut event = Event::new("1", &wrap.source, &wrap.kind);
            event
                .set("source", &wrap.source)
                .and_then(|()| event.set("type", &wrap.kind))
                .map_err(|wrong| format!("cloudEvents.wrap: {wrong}"))?;
        }
        Ok(Self {
            broker: broker.clone(),
            messages: Messages::compile(settings, broker.rules())?,
            content_types: settings.content_types.iter().map(|kind| kind.to_ascii_lowercase()).collect(),
            schema: schema.map_err(|error| format!("schema: {error}"))?,
            events: settings.cloud_events.clone(),
            bytes_max: settings.max_body_size.get(),
            timeout: settings.timeout.get(),
        })
    }

    async fn handle(&self, call: &mut Call, body: Body) -> Result<Response<Body>, Failure> {
        if call.upgrade.is_some() {
            return Err(Failure::client(Stage::Guard, Problem::NotImplemented)
                .with_hint("this route does not switch protocols"));
        }
        if !matches!(call.head.method, Method::POST | Method::PUT | Method::PATCH) {
            return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
                .with_header(header::ALLOW, HeaderValue::from_static("POST, PUT, PATCH")));
        }
        let coding = call.head.headers.get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| coding != "identity") {
            return Err(unsupported("the body is compressed; send it as it is"));
        }
        let body = gather(body, self.bytes_max).await.map_err(|why| match why {
            Ungathered::TooLarge => too_large(self.bytes_max),
            Ungathered::Failed(failure) => failure,
        })?;
        let content_type = call.head.headers.get(header::CONTENT_TYPE);
        let content_type = content_type
            .map(|kind| kind.to_str().map(str::to_owned))
            .transpose()
            .map_err(|_| unsupported("the content type is no text"))?;
        let form = match &self.events {
            None => None,
            Some(_) => {
                let has_version = call.head.headers.contains_key("ce-specversion");
                Form::of(content_type.as_deref(), has_version).map_err(|wrong| unsupported(&wrong.0))?
            }
        };
        let is_batch = form == Some(Form::Batch);
        let messages = match form {
            Some(form) => self.events(call, form, content_type.as_deref(), body)?,
            None => vec![self.plain(call, content_type.as_deref(), body)?],
        };
        let bytes_max = self.broker.message_bytes_max();
        if messages.iter().any(|message| message.outgoing.size() > bytes_max) {
            return Err(too_large(bytes_max));
        }
        let told = self.send(call, messages).await?;
        answer(is_batch, told)
    }

    /// The one message of a body that is no event.
    fn plain(&self, call: &Call, content_type: Option<&str>, body: Bytes) -> Result<Message, Failure> {
        self.judge_type(content_type)?;
        if let Some(schema) = &self.schema {
            if !cloud::is_json(content_type) {
                return Err(unsupported("expected JSON"));
            }
            let value = serde_json::from_slice(&body)
                .map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
            judge(schema, &value, "")?;
        }
        let wrapped = match &self.events {
            None => None,
            Some(events) => {
                let wrap = events.wrap.as_ref().ok_or_else(|| {
                    invalid("expected a CloudEvent: the headers `ce-specversion`, `ce-id`, `ce-source` and `ce-type`, \
                             or `application/cloudevents+json`")
                })?;
                let mut event = Event::new("1", &wrap.source, &wrap.kind);
                let mut set =
                    |name: &str, value: &str| event.set(name, value).map_err(|wrong| invalid(wrong.0));
                if let Some(kind) = content_type {
                    set("datacontenttype", kind)?;
                }
                set("time", &now())?;
                if !body.is_empty() {
                    event.data = Data::Bytes(body.clone());
                }
                Some(event)
            }
        };
        self.messages.plain(call, wrapped, body)
    }

    /// The messages of events.
    fn events(
        &self,
        call: &Call,
        form: Form,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Vec<Message>, Failure> {
        let Some(settings) = &self.events else { return Err(invalid("this route takes no events")) };
        let is_taken = settings.accept.contains(&match form {
            Form::Binary => CloudEventForm::Binary,
            Form::Structured => CloudEventForm::Structured,
            Form::Batch => CloudEventForm::Batch,
        });
        if !is_taken {
            let forms = settings.accept.iter().map(|form| match form {
                CloudEventForm::Binary => "headers `ce-…`",
                CloudEventForm::Structured => STRUCTURED,
                CloudEventForm::Batch => BATCH,
            });
            let forms = forms.collect::<Vec<_>>().join(", ");
            return Err(unsupported(&format!("events come in another form here: {forms}")));
        }
        if form != Form::Binary && !content_type.is_none_or(is_utf8) {
            return Err(unsupported("JSON is UTF-8"));
        }
        let wrong = |wrong: cloud::Wrong| invalid(format!("this is no CloudEvent: {wrong}"));
        let mut messages = Vec::new();
        let events = match form {
            Form::Binary => {
                self.judge_type(content_type)?;
                let all = &call.head.headers;
                let fields = all.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
                vec![Event::binary(fields, content_type, body.clone()).map_err(wrong)?]
            }
            Form::Structured => vec![Event::structured(&body).map_err(wrong)?],
            Form::Batch => Event::batch(&body, settings.max_batch).map_err(wrong)?,
        };
        let is_batch = form == Form::Batch;
        for (number, event) in events.into_iter().enumerate() {
            let place = if is_batch { format!("event {number}: ") } else { String::new() };
            if form != Form::Binary {
                self.judge_type(event.text("datacontenttype"))?;
            }
            let kind = event.text("type").unwrap_or_default();
            if !settings.types.is_empty() && !settings.types.iter().any(|known| known == kind) {
                let known = settings.types.join("`, `");
                return Err(invalid(format!("{place}`type`: expected one of `{known}`")));
            }
            if let Some(schema) = &self.schema {
                let value = event.value().map_err(|wrong| invalid(format!("{place}{wrong}")))?;
                let value = value.ok_or_else(|| invalid(format!("{place}expected data that is JSON")))?;
                judge(schema, &value, &place)?;
            }
            let whole = (form == Form::Structured).then(|| body.clone());
            messages.push(self.messages.of_event(call, event, form, whole)?);
        }
        Ok(messages)
    }

    fn judge_type(&self, content_type: Option<&str>) -> Result<(), Failure> {
        if self.content_types.is_empty() {
            return Ok(());
        }
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match self.content_types.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            true => Ok(()),
            false => Err(unsupported(&format!("expected {}", self.content_types.join(", ")))),
        }
    }

    /// Sends messages one after the other, so that they keep their order, all of them within the time there is.
    async fn send(
        &self,
        call: &mut Call,
        messages: Vec<Message>,
    ) -> Result<Vec<(String, Confirmed)>, Failure> {
        let until = Instant::now() + self.timeout;
        let all = messages.len();
        let mut record = PublishRecord {
            broker: self.broker.name().clone(),
            subject: String::new(),
            stream: None,
            exchange: None,
            partition: None,
            sequence: None,
            messages: 0,
            duplicates: 0,
        };
        let mut told = Vec::with_capacity(all);
        let mut failed = None;
        for Message { id, outgoing } in messages {
            record.subject.clone_from(&outgoing.subject);
            let left = until.saturating_duration_since(Instant::now());
            match self.broker.publish(outgoing, left).await {
                Ok(confirmed) => {
                    record.messages += 1;
                    record.duplicates += u32::from(confirmed.is_duplicate == Some(true));
                    record.stream.clone_from(&confirmed.stream);
                    record.exchange.clone_from(&confirmed.exchange);
                    (record.partition, record.sequence) = (confirmed.partition, confirmed.sequence);
                    told.push((id, confirmed));
                }
                Err(why) => {
                    failed = Some(failure(why, &record.subject, told.len(), all));
                    break;
                }
            }
        }
        call.record.published = Some(Arc::new(record));
        match failed {
            Some(failure) => Err(failure),
            None => Ok(told),
        }
    }
}

impl Answers for Publish {
    fn serve<'a>(&'a self, _: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(call, body)))
    }

    fn explain(&self) -> String {
        format!("publish `{}`", self.broker.name())
    }
}

/// What the client and the log are told of a message that is not confirmed.
fn failure(why: Unconfirmed, subject: &str, confirmed: usize, all: usize) -> Failure {
    let upstream = |stage, problem, detail: String| Failure::upstream(stage, problem, detail);
    let failure = match why {
        Unconfirmed::Away => {
            upstream(Stage::Connect, Problem::BrokerAway, "there is no connection to the broker".into())
                .never_sent()
                .with_retry_after(RETRY_AFTER)
        }
        Unconfirmed::NoStream => {
            upstream(Stage::FirstByte, Problem::NotKept, format!("nothing keeps messages of `{subject}`"))
                .with_retry_after(RETRY_AFTER)
        }
        Unconfirmed::Full => {
            Failure::gateway(Stage::Pick, Problem::Overloaded).never_sent().with_retry_after(RETRY_AFTER)
        }
        Unconfirmed::TooLarge => Failure::client(Stage::Send, Problem::BodyTooLarge)
            .with_hint("the message is larger than the broker takes"),
        Unconfirmed::Unknown(why) => upstream(Stage::FirstByte, Problem::BrokerTimeout, why.to_owned())
            .with_hint("whether the message is kept is unknown: send it again with the same id"),
        Unconfirmed::Refused { code, why } => upstream(
            Stage::FirstByte,
            Problem::BrokerRefused,
            format!("the broker refused it ({code}): {why}"),
        ),
    };
    match all {
        0 | 1 => failure,
        _ => failure.with_hint(format!(
            "{confirmed} of {all} events are kept: send the batch again, and those are known by their ids"
        )),
    }
}

fn answer(is_batch: bool, told: Vec<(String, Confirmed)>) -> Result<Response<Body>, Failure> {
    let mut all = told.into_iter().map(|(id, confirmed)| {
        let Confirmed { stream, exchange, partition, sequence, is_duplicate } = confirmed;
        let fields = [
            ("id", Some(json!(id))),
            ("stream", stream.map(|stream| json!(stream))),
            ("exchange", exchange.map(|exchange| json!(exchange))),
            ("partition", partition.map(|partition| json!(partition))),
            ("sequence", sequence.map(|sequence| json!(sequence))),
            ("duplicate", is_duplicate.map(|is_duplicate| json!(is_duplicate))),
        ];
        let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(there.collect())
    });
    let value = match is_batch {
        true => json!({"events": all.collect::<Vec<_>>()}),
        false => all.next().unwrap_or_default(),
    };
    let text = Bytes::from(value.to_string());
    let mut response = Response::new(Body::Full(text.clone()));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    Ok(response)
}

fn judge(schema: &Schema, value: &Value, place: &str) -> Result<(), Failure> {
    let faults = schema.faults(value);
    match faults.is_empty() {
        true => Ok(()),
        false => Err(invalid(format!("{place}{}", faults.join("; ")))),
    }
}

/// Whether a content type says nothing else than UTF-8.
fn is_utf8(content_type: &str) -> bool {
    let charset = content_type.split(';').skip(1).filter_map(|part| part.split_once('='));
    let mut charset = charset.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charset.all(|(_, value)| value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8"))
}

/// The time as an event has it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn invalid(hint: impl Into<String>) -> Failure {
    Failure::client(Stage::Body, Problem::Invalid).with_hint(hint)
}

fn unsupported(hint: &str) -> Failure {
    Failure::client(Stage::Body, Problem::UnsupportedMedia).with_hint(hint)
}

fn too_large(bytes_max: usize) -> Failure {
    Failure::client(Stage::Body, Problem::BodyTooLarge)
        .with_hint(format!("a message has {bytes_max} bytes at most"))
}
