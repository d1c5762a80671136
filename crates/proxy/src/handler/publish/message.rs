//! One message: its subject, its id, its headers and its payload.

use aws_lc_rs::digest;
use bytes::Bytes;
use events::{
    cloud::{Event, Form, STRUCTURED},
    subject::Rules,
};
use http::{HeaderName, header};
use model::resource::publish::{CloudEventSent, Publish as Settings};

use super::{invalid, text::Text};
use crate::{broker::Outgoing, call::Call, failure::Failure, hex::hex};

/// Bytes of an id as the broker is told it, and of a key.
const ID_BYTES_MAX: usize = 255;

/// How messages are made.
pub(super) struct Messages {
    rules: Rules,
    subject: Text,
    exchange: Option<String>,
    stream: Option<String>,
    id: Option<Text>,
    key: Option<Text>,
    headers: Box<[HeaderName]>,
    set: Box<[(HeaderName, Text)]>,
    send: Option<CloudEventSent>,
}

/// A message, and what its sender is told that it is called.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) outgoing: Outgoing,
}

impl Messages {
    pub(super) fn compile(settings: &Settings, rules: Rules) -> Result<Self, String> {
        let has_types = settings.cloud_events.as_ref().is_some_and(|events| !events.types.is_empty());
        let text =
            |key: &str, text: &str| Text::compile(text, has_types).map_err(|error| format!("{key}: {error}"));
        let optional = |key: &str, written: &Option<String>| {
            written.as_deref().map(|written| text(key, written)).transpose()
        };
        let set = settings.set.iter().map(|(name, value)| Ok((name.to_http(), text("set", value)?)));
        let id = optional("id", &settings.id)?;
        let takes_batches = settings
            .cloud_events
            .as_ref()
            .is_some_and(|events| events.accept.contains(&model::resource::publish::CloudEventForm::Batch));
        if takes_batches && id.as_ref().is_some_and(|id| !id.is_of_event()) {
            return Err(
                "id: all events of a batch would have the same; use `{{ event.id }}`, or leave it out".into(),
            );
        }
        Ok(Self {
            rules,
            subject: text("subject", &settings.subject)?,
            exchange: settings.exchange.clone(),
            stream: settings.stream.clone(),
            id,
            key: optional("key", &settings.key)?,
            headers: settings.headers.iter().map(model::HeaderName::to_http).collect(),
            set: set.collect::<Result<_, String>>()?,
            send: settings.cloud_events.as_ref().and_then(|events| events.send),
        })
    }

    /// The message of a plain body. `wrapped` is the event that is made of it.
    pub(super) fn plain(&self, call: &Call, wrapped: Option<Event>, body: Bytes) -> Result<Message, Failure> {
        let shown = match (&self.id, shown_key(call)?) {
            (None, Some(key)) => Some(key.to_owned()),
            _ => None,
        };
        let (id, dedup) = match (self.id(call, wrapped.as_ref())?, shown) {
            (Some(id), _) => (id.clone(), id),
            (None, Some(key)) => (key.clone(), scoped(call, &key)),
            (None, None) => {
                let id = random_id();
                (id.clone(), id)
            }
        };
        if let Some(mut event) = wrapped {
            event.set("id", &id).map_err(|wrong| invalid(wrong.0))?;
            return self.event(call, event, id, dedup, None);
        }
        let subject = self.subject.subject(self.rules, call, None).map_err(invalid)?;
        let mut headers = self.common(call, None)?;
        if let Some(kind) = text_of(call, &header::CONTENT_TYPE) {
            headers.push(("content-type".to_owned(), kind.to_owned()));
        }
        let key = self.key(call, None)?;
        Ok(Message { id, outgoing: self.outgoing(subject, dedup, key, headers, body) })
    }

    /// The message of an event. `whole` is the event as it came, where that is what may be sent.
    pub(super) fn of_event(
        &self,
        call: &Call,
        event: Event,
        form: Form,
        whole: Option<Bytes>,
    ) -> Result<Message, Failure> {
        let (source, own) = event.identity();
        let identity = format!("{}:{source}/{own}", source.len());
        let own = own.to_owned();
        let dedup = match self.id(call, Some(&event))? {
            Some(id) => id,
            None => scoped(call, &identity),
        };
        let came = if form == Form::Binary { CloudEventSent::Binary } else { CloudEventSent::Structured };
        self.event(call, event, own, dedup, Some((came, whole)))
    }

    fn event(
        &self,
        call: &Call,
        mut event: Event,
        id: String,
        dedup: String,
        came: Option<(CloudEventSent, Option<Bytes>)>,
    ) -> Result<Message, Failure> {
        let subject = self.subject.subject(self.rules, call, Some(&event)).map_err(invalid)?;
        let mut headers = self.common(call, Some(&event))?;
        let key = self.key(call, Some(&event))?;
        if let Some(key) = &key {
            event.set("partitionkey", key).map_err(|wrong| invalid(wrong.0))?;
        }
        // Whoever delivers it looks at the header, whatever form the event has.
        let partition = event.text("partitionkey").filter(|key| (1..=ID_BYTES_MAX).contains(&key.len()));
        let partition = partition.map(str::to_owned);
        let (came, whole) = came.unwrap_or((CloudEventSent::Binary, None));
        let payload = match self.send.unwrap_or(came) {
            CloudEventSent::Binary => {
                let (fields, payload) = event.to_binary();
                headers.extend(fields);
                payload
            }
            CloudEventSent::Structured => {
                headers.push(("content-type".to_owned(), format!("{STRUCTURED}; charset=utf-8")));
                // As it came, where nothing was added to it.
                match whole.filter(|_| key.is_none()) {
                    Some(whole) => whole,
                    None => event.to_structured(),
                }
            }
        };
        Ok(Message { id, outgoing: self.outgoing(subject, dedup, partition, headers, payload) })
    }

    fn outgoing(
        &self,
        subject: String,
        id: String,
        key: Option<String>,
        headers: Vec<(String, String)>,
        payload: Bytes,
    ) -> Outgoing {
        let (stream, exchange) = (self.stream.clone(), self.exchange.clone());
        let key = key.map(Bytes::from);
        Outgoing { subject, exchange, stream, id, key, headers, payload }
    }

    fn id(&self, call: &Call, event: Option<&Event>) -> Result<Option<String>, Failure> {
        let Some(id) = &self.id else { return Ok(None) };
        let id = id
            .render(call, event)
            .ok_or_else(|| invalid("the request lacks what the message's id is made of"))?;
        plain_text("the message's id", &id)?;
        Ok(Some(id))
    }

    fn key(&self, call: &Call, event: Option<&Event>) -> Result<Option<String>, Failure> {
        let Some(key) = self.key.as_ref().and_then(|key| key.render(call, event)) else { return Ok(None) };
        plain_text("the key", &key)?;
        Ok(Some(key))
    }

    /// Headers that every message has.
    fn common(&self, call: &Call, event: Option<&Event>) -> Result<Vec<(String, String)>, Failure> {
        let mut headers = Vec::new();
        for name in &self.headers {
            for value in call.head.headers.get_all(name) {
                let value = std::str::from_utf8(value.as_bytes());
                let value = value.map_err(|_| invalid(format!("`{name}` is no text")))?;
                headers.push((name.as_str().to_owned(), value.to_owned()));
            }
        }
        for (name, value) in &self.set {
            let Some(value) = value.render(call, event) else { continue };
            if value.chars().any(char::is_control) {
                return Err(invalid(format!("what `{name}` is made of has a control character")));
            }
            // What is set takes the place of what came.
            headers.retain(|(known, _)| known != name.as_str());
            headers.push((name.as_str().to_owned(), value));
        }
        Ok(headers)
    }
}

/// The key that the client shows for its request, without its quotes.
fn shown_key(call: &Call) -> Result<Option<&str>, Failure> {
    let name = HeaderName::from_static("idempotency-key");
    let mut values = call.head.headers.get_all(&name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("`idempotency-key` is there more than once"));
    }
    let text = value.to_str().map_err(|_| invalid("`idempotency-key` is no plain text"))?;
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    plain_text("`idempotency-key`", text)?;
    Ok(Some(text))
}

fn plain_text(what: &str, text: &str) -> Result<(), Failure> {
    if text.is_empty() || text.len() > ID_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(invalid(format!("{what} has 1 to {ID_BYTES_MAX} bytes, and no control characters")));
    }
    Ok(())
}

/// An id that a caller chose, as the broker is told it: another route's or another consumer's never equals it.
fn scoped(call: &Call, id: &str) -> String {
    let route = call.record.route.as_deref().unwrap_or_default();
    let consumer = call.consumer.as_ref().map_or("", |consumer| &*consumer.name);
    let whole = format!("{route}/{consumer}/{id}");
    if whole.len() <= ID_BYTES_MAX && !whole.chars().any(char::is_control) {
        return whole;
    }
    hex(digest::digest(&digest::SHA256, whole.as_bytes()).as_ref())
}

fn random_id() -> String {
    let mut bytes = [0; 16];
    // The system's random numbers do not run out; a clash would be told as a duplicate.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    hex(&bytes)
}

fn text_of<'c>(call: &'c Call, name: &HeaderName) -> Option<&'c str> {
    call.head.headers.get(name).and_then(|value| value.to_str().ok())
}
