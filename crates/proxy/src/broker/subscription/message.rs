//! A message as a request: its headers, its event, its signature.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use events::cloud::{Data, Event, Form, PREFIX};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::DeliveryRecord;

use super::{Held, given_up::Why, send::Delivery};
use crate::broker::link::Message;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const ATTEMPT: HeaderName = HeaderName::from_static("x-tidegate-attempt");
const SUBJECT: HeaderName = HeaderName::from_static("x-tidegate-subject");

/// What a message belongs together with.
pub(super) fn key(message: &Message) -> Bytes {
    let of_event = || message.header("ce-partitionkey").map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let subject = || Bytes::copy_from_slice(message.subject.as_bytes());
    message.key.clone().or_else(of_event).unwrap_or_else(subject)
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
        let named = message.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name.as_str()));
        for (_, value) in named {
            add(name.as_str(), value)?;
        }
    }
    let content_type = message.header("content-type");
    let form = Form::of(content_type, message.header("ce-specversion").is_some()).ok().flatten();
    let mut body = message.payload.clone();
    match (&settings.wrap, form) {
        (Some(wrap), None) => {
            let id = match (message.partition, message.sequence) {
                (None, Some(sequence)) => format!("{}/{sequence}", settings.stream),
                _ => message.id.clone(),
            };
            let mut event = Event::new(&id, &wrap.source, &wrap.kind);
            let key = key(message);
            let key = String::from_utf8_lossy(&key);
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
            for (name, value) in &message.headers {
                let name = name.to_ascii_lowercase();
                if name.starts_with(PREFIX) || name == "content-type" {
                    add(&name, value)?;
                }
            }
        }
    }
    let id = message.id.clone();
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
            partition: message.partition,
            sequence: message.sequence,
            attempt: held.deliveries,
        },
    })
}
