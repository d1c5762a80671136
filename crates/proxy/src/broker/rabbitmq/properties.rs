//! Messages as RabbitMQ has them: properties, and a table of headers.
//!
//! Attributes of events are headers that begin with `cloudEvents:`, as the binding of AMQP has it; what others write with
//! `cloudEvents_` or `ce-` is read as well.

use events::cloud;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString},
};

use super::short;
use crate::broker::link::Outgoing;

/// What attributes of events begin with, and what they are read with.
const PREFIX: &str = "cloudEvents:";
const PREFIXES: [&str; 3] = [PREFIX, "cloudEvents_", cloud::PREFIX];
/// The header of what messages belong together.
const PARTITION_KEY: &str = "Partition-Key";
/// The header in which quorum queues count; it is told to nobody.
const COUNT: &str = "x-delivery-count";
/// A message that outlasts the broker.
const PERSISTENT: u8 = 2;

/// The properties of a message; nothing when a name or the type is too long.
pub(super) fn written(outgoing: &Outgoing, seconds: u64) -> Option<BasicProperties> {
    let mut table = FieldTable::default();
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(seconds)
        .with_message_id(short(&outgoing.id)?);
    for (name, value) in &outgoing.headers {
        let (name, value) = match name.strip_prefix(cloud::PREFIX) {
            // What HTTP has to escape is a plain text here.
            Some(attribute) => {
                let plain = cloud::decoded(value.as_bytes()).unwrap_or_else(|| value.clone());
                (format!("{PREFIX}{attribute}"), plain)
            }
            None if name == "content-type" => {
                properties = properties.with_content_type(short(value)?);
                continue;
            }
            None => (name.clone(), value.clone()),
        };
        table.insert(short(&name)?, AMQPValue::LongString(LongString::from(value)));
    }
    if let Some(key) = &outgoing.key {
        table.insert(short(PARTITION_KEY)?, AMQPValue::LongString(LongString::from(key.to_vec())));
    }
    Some(properties.with_headers(table))
}

/// How often a message came back to its queue, as quorum queues write it into one that comes again. In other queues it is
/// what the publisher wrote.
pub(super) fn came_back(properties: &BasicProperties) -> Option<i64> {
    let table = properties.headers().as_ref()?;
    table.inner().get(COUNT).and_then(number)
}

/// What is read of a message.
pub(super) struct Read {
    pub(super) id: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) key: Option<bytes::Bytes>,
}

pub(super) fn read(properties: &BasicProperties) -> Read {
    let mut found = Read {
        id: properties.message_id().as_ref().map(|id| id.as_str().to_owned()).filter(|id| !id.is_empty()),
        headers: Vec::new(),
        key: None,
    };
    if let Some(kind) = properties.content_type() {
        found.headers.push(("content-type".to_owned(), kind.as_str().to_owned()));
    }
    for (name, value) in properties.headers().iter().flat_map(|table| table.inner()) {
        let name = name.as_str();
        if name == COUNT {
            continue;
        }
        let Some(value) = text(value) else { continue };
        if name == PARTITION_KEY {
            found.key = Some(value.clone().into());
        }
        let attribute = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
        found.headers.push(match attribute {
            Some(attribute) => (format!("{}{attribute}", cloud::PREFIX), cloud::encoded(&value)),
            None => (name.to_owned(), value),
        });
    }
    found
}

/// A value that a header of HTTP can have; tables and lists cannot be one.
fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        AMQPValue::Boolean(truth) => Some(truth.to_string()),
        other => number(other).map(|number| number.to_string()),
    }
}

fn number(value: &AMQPValue) -> Option<i64> {
    Some(match value {
        AMQPValue::ShortShortInt(number) => i64::from(*number),
        AMQPValue::ShortShortUInt(number) => i64::from(*number),
        AMQPValue::ShortInt(number) => i64::from(*number),
        AMQPValue::ShortUInt(number) => i64::from(*number),
        AMQPValue::LongInt(number) => i64::from(*number),
        AMQPValue::LongUInt(number) => i64::from(*number),
        AMQPValue::LongLongInt(number) => *number,
        AMQPValue::Timestamp(number) => i64::try_from(*number).ok()?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lapin::types::ShortString;

    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![
            header("content-type", "text/plain"),
            header("ce-subject", "gr%C3%B6%C3%9Fe"),
            header("x-a", "b"),
        ];
        let outgoing = Outgoing {
            subject: "a".to_owned(),
            exchange: None,
            stream: None,
            id: "7".to_owned(),
            key: Some(Bytes::from("k")),
            headers: headers.clone(),
            payload: Bytes::new(),
        };
        let properties = written(&outgoing, 5).expect("properties");
        let table = properties.headers().as_ref().expect("headers");
        assert_eq!(table.inner().get("cloudEvents:subject").and_then(text).as_deref(), Some("größe"));
        let mut found = read(&properties);
        found.headers.retain(|(name, _)| name != PARTITION_KEY);
        found.headers.sort();
        let mut want = headers;
        want.sort();
        assert_eq!((found.id.as_deref(), found.headers), (Some("7"), want));
        assert_eq!(found.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(came_back(&properties), None);
        let mut table = FieldTable::default();
        table.insert(ShortString::from(COUNT), AMQPValue::LongLongInt(3));
        let counted = BasicProperties::default().with_headers(table);
        assert_eq!((came_back(&counted), read(&counted).headers.len()), (Some(3), 0));
        let long = Outgoing { id: "x".repeat(256), ..outgoing };
        assert!(written(&long, 5).is_none());
    }
}
