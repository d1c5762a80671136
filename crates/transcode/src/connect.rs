//! Connect: RPCs as plain requests, and streams in envelopes (connectrpc.com/docs/protocol).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::{
    Wrong, frame,
    json::Json,
    metadata,
    schema::Schema,
    status::{Code, Status},
    template::decoded,
};

/// Flag of the envelope that ends a stream.
pub const END_STREAM: u8 = 2;

/// A form of Connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Messages are in envelopes.
    pub is_stream: bool,
    /// Messages are JSON.
    pub is_json: bool,
}

impl Form {
    /// The form that a `content-type` says.
    pub fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (is_stream, is_json) = match essence.as_str() {
            "application/json" => (false, true),
            "application/proto" => (false, false),
            "application/connect+json" => (true, true),
            "application/connect+proto" => (true, false),
            _ => return None,
        };
        Some(Self { is_stream, is_json })
    }

    /// The `content-type` of its answers.
    pub fn content_type(self) -> &'static str {
        match (self.is_stream, self.is_json) {
            (false, true) => "application/json",
            (false, false) => "application/proto",
            (true, true) => "application/connect+json",
            (true, false) => "application/connect+proto",
        }
    }
}

/// `connect-timeout-ms`: at most ten digits. An error for what is none.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Wrong> {
    let Some(value) = headers.get("connect-timeout-ms") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    match text.parse() {
        Ok(millis) if text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Some(Duration::from_millis(millis)))
        }
        _ => Err(Wrong::new("connect-timeout-ms", "expected at most ten digits")),
    }
}

/// A call by GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Get {
    /// Whether its message is JSON.
    pub is_json: bool,
    /// The message.
    pub message: Vec<u8>,
}

impl Get {
    /// Whether a query is that of such a call.
    pub fn is_one(query: Option<&str>) -> bool {
        query.is_some_and(|query| {
            query.split('&').any(|pair| pair.starts_with("encoding=") || pair == "connect=v1")
        })
    }

    /// Reads a query.
    pub fn read(query: &str, bytes_max: usize) -> Result<Self, Wrong> {
        let (mut encoding, mut message, mut is_base64, mut is_packed) = (None, None, false, false);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value, false);
            match (name, &*value) {
                ("encoding", "json") => encoding = Some(true),
                ("encoding", "proto") => encoding = Some(false),
                ("encoding", _) => return Err(Wrong::new("encoding", "expected `json` or `proto`")),
                ("message", _) => message = pair.split_once('=').map(|(_, raw)| raw.to_owned()),
                ("base64", "1") => is_base64 = true,
                ("compression", "gzip") => is_packed = true,
                ("compression", "identity" | "") => {}
                ("compression", _) => return Err(Wrong::new("compression", "expected `gzip` or `identity`")),
                ("connect", "v1") => {}
                ("connect", _) => return Err(Wrong::new("connect", "expected `v1`")),
                _ => {}
            }
        }
        let is_json = encoding.ok_or_else(|| Wrong::new("encoding", "it is missing"))?;
        let message = message.ok_or_else(|| Wrong::new("message", "it is missing"))?;
        let mut message = match is_base64 {
            true => crate::field::base64(&decoded(&message, false))
                .ok_or_else(|| Wrong::new("message", "it is no base64"))?,
            false => bytes_of(&message),
        };
        if is_packed {
            message = frame::gunzip(&message, bytes_max)
                .map_err(|error| Wrong::new("message", error.to_string()))?;
        }
        Ok(Self { is_json, message })
    }
}

/// The bytes of a percent-encoded value, which need not be text.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut left = text.as_bytes();
    while let Some((first, rest)) = left.split_first() {
        let pair = rest.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                left = rest.get(2..).unwrap_or_default();
            }
            (b'+', _) => {
                out.push(b' ');
                left = rest;
            }
            _ => {
                out.push(*first);
                left = rest;
            }
        }
    }
    out
}

/// An error as its client reads it.
pub fn error(status: &Status, schema: Option<&Schema>, json: &Json) -> Value {
    let mut members = Map::new();
    members.insert("code".into(), status.code.connect_name().into());
    if !status.message.is_empty() {
        members.insert("message".into(), status.message.as_str().into());
    }
    if !status.details.is_empty() {
        let details = status.details.iter().map(|detail| {
            let mut members = Map::new();
            members.insert("type".into(), detail.name().into());
            members.insert("value".into(), STANDARD_NO_PAD.encode(&detail.value).into());
            let mut text = Vec::new();
            if let Some(message) = detail.message(schema)
                && json.write(&message, &mut text).is_ok()
                && let Ok(debug) = serde_json::from_slice::<Value>(&text)
            {
                members.insert("debug".into(), debug);
            }
            Value::Object(members)
        });
        members.insert("details".into(), details.collect());
    }
    Value::Object(members)
}

/// The last envelope of a stream: how it ended, and the metadata that came last.
pub fn end_stream(
    status: &Status,
    trailers: &HeaderMap,
    schema: Option<&Schema>,
    json: &Json,
    out: &mut Vec<u8>,
) {
    let mut members = Map::new();
    if status.code != Code::Ok {
        members.insert("error".into(), error(status, schema, json));
    }
    let mut last: Map<String, Value> = Map::new();
    for (name, value) in metadata::metadata(trailers) {
        if let Value::Array(values) = last.entry(name.as_str()).or_insert_with(|| json!([])) {
            values.push(metadata::text_of(value).into());
        }
    }
    if !last.is_empty() {
        members.insert("metadata".into(), Value::Object(last));
    }
    frame::put(END_STREAM, Value::Object(members).to_string().as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_a_message() {
        let get = |query: &str| Get::read(query, 1000);
        let json = Get { is_json: true, message: b"{\"a\":1}".to_vec() };
        assert_eq!(get("connect=v1&encoding=json&message=%7B%22a%22%3A1%7D"), Ok(json.clone()));
        assert_eq!(get("encoding=json&base64=1&message=eyJhIjoxfQ"), Ok(json.clone()));
        let packed = crate::field::base64("").map(|_| frame::gzip(b"{\"a\":1}")).expect("bytes");
        let packed = base64::engine::general_purpose::URL_SAFE.encode(packed).replace('=', "%3D");
        assert_eq!(get(&format!("encoding=json&compression=gzip&base64=1&message={packed}")), Ok(json));
        assert_eq!(get("encoding=proto&message=%08%ff").map(|get| get.message), Ok(vec![8, 255]));
        for (query, place) in [
            ("message=x", "encoding"),
            ("encoding=xml&message=x", "encoding"),
            ("encoding=json", "message"),
            ("encoding=json&base64=1&message=!", "message"),
            ("encoding=json&compression=br&message=x", "compression"),
        ] {
            assert_eq!(get(query).expect_err(query).place, place);
        }
    }
}
