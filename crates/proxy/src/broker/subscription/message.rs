//! A message as a request: its headers, its event, its signature.

use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::jetstream::Message;
use events::cloud::{Data, Event, Form, PREFIX};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::DeliveryRecord;

use super::{Held, given_up::Why, send::Delivery};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const ATTEMPT: HeaderName = HeaderName::from_static("x-tidegate-attempt");
const SUBJECT: HeaderName = HeaderName::from_static("x-tidegate-subject");

/// A message's headers, names in lower case.
pub(super) fn headers(message: &Message) -> impl Iterator<Item = (String, &str)> {
    let all = message.headers.iter().flat_map(|headers| headers.iter());
    all.flat_map(|(name, values)| {
        let name = AsRef::<str>::as_ref(name).to_ascii_lowercase();
        values.iter().map(move |value| (name.clone(), value.as_str()))
    })
}

fn header<'m>(message: &'m Message, wanted: &str) -> Option<&'m str> {
    headers(message).find(|(name, _)| name == wanted).map(|(_, value)| value)
}

/// What a message belongs together with.
pub(super) fn key(message: &Message) -> String {
    let key = header(message, "partition-key").or_else(|| header(message, "ce-partitionkey"));
    key.unwrap_or(message.subject.as_str()).to_owned()
}

/// The request of a message that is delivered.
pub(super) fn request(held: &Held) -> Result<Delivery, Why> {
    let (owner, message) = (&held.owner, &held.message);
    let settings = &owner.settings;
    let most = settings.max_message_size.get();
    if message.payload.len() > most {
        return Err(Why::Unfit(format!("it is larger than {most} bytes")));
    }
    let unfit = |error: &dyn std::fmt::Display| Why::Unfit(format!("no request can be made of it: {error}"));
    let mut all = HeaderMap::new();
    let mut add = |name: &str, value: &str| -> Result<(), Why> {
        let name = HeaderName::try_from(name).map_err(|error| unfit(&error))?;
        all.append(name, HeaderValue::from_str(value).map_err(|error| unfit(&error))?);
        Ok(())
    };
    for name in &settings.headers {
        for (_, value) in headers(message).filter(|(known, _)| known == name.as_str()) {
            add(name.as_str(), value)?;
        }
    }
    let content_type = header(message, "content-type");
    let form = Form::of(content_type, header(message, "ce-specversion").is_some()).ok().flatten();
    let mut body = message.payload.clone();
    match (&settings.wrap, form) {
        (Some(wrap), None) => {
            let id = format!("{}/{}", settings.stream, held.sequence);
            let mut event = Event::new(&id, &wrap.source, &wrap.kind);
            let key = key(message);
            for (name, value) in [
                ("subject", Some(message.subject.as_str())),
                ("datacontenttype", content_type),
                ("partitionkey", Some(&*key)),
            ] {
                if let Some(value) = value {
                    event.set(name, value).map_err(|wrong| unfit(&wrong))?;
                }
            }
            event.data = if body.is_empty() { Data::None } else { Data::Bytes(body) };
            let (fields, payload) = event.to_binary();
            body = payload;
            for (name, value) in fields {
                add(&name, &value)?;
            }
        }
        _ => {
            for (name, value) in
                headers(message).filter(|(name, _)| name.starts_with(PREFIX) || name == "content-type")
            {
                add(&name, value)?;
            }
        }
    }
    let id = format!("{}-{}", settings.stream, held.sequence);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut set = |name: HeaderName, value: &str| -> Result<(), Why> {
        all.insert(name, HeaderValue::from_str(value).map_err(|error| unfit(&error))?);
        Ok(())
    };
    set(WEBHOOK_ID, &id)?;
    set(WEBHOOK_TIMESTAMP, &seconds.to_string())?;
    if let Some(signature) = owner.keys.sign(&id, seconds, &body) {
        set(WEBHOOK_SIGNATURE, &signature)?;
    }
    set(ATTEMPT, &held.deliveries.to_string())?;
    set(SUBJECT, message.subject.as_str())?;
    set(header::USER_AGENT, "tidegate")?;
    set(header::CONTENT_LENGTH, &body.len().to_string())?;
    Ok(Delivery {
        upstream: settings.upstream.as_str().into(),
        path: settings.path.clone(),
        headers: all,
        body,
        timeout: settings.timeout.get(),
        id,
        record: DeliveryRecord {
            subscription: owner.name.clone(),
            subject: message.subject.to_string(),
            sequence: held.sequence,
            attempt: held.deliveries,
        },
    })
}
