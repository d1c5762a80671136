//! How calls end: codes with their counterparts in HTTP and Connect, and `google.rpc.Status`.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::{Message, bytes::Bytes};
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value, json};

use crate::{json::Json, schema::Schema};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Bytes of details that are looked at.
const DETAILS_BYTES_MAX: usize = 64 * 1024;

macro_rules! codes {
    ($($name:ident = $number:literal, $text:literal, $connect:literal, $http:literal, $title:literal;)*) => {
        /// A code of gRPC (google/rpc/code.proto).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "they are those of google/rpc/code.proto")]
        pub enum Code { $($name,)* }

        impl Code {
            /// All codes by their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// Its number.
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// Its name: `NOT_FOUND`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Its name in Connect: `not_found`.
            pub fn connect_name(self) -> &'static str {
                match self { $(Self::$name => $connect,)* }
            }

            /// The status of HTTP that says the same, as google/rpc/code.proto and Connect have it.
            pub fn http(self) -> u16 {
                match self { $(Self::$name => $http,)* }
            }

            /// A short text for people.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    Ok = 0, "OK", "ok", 200, "All is well";
    Cancelled = 1, "CANCELLED", "canceled", 499, "The call was cancelled";
    Unknown = 2, "UNKNOWN", "unknown", 500, "The call failed";
    InvalidArgument = 3, "INVALID_ARGUMENT", "invalid_argument", 400, "An argument is invalid";
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED", "deadline_exceeded", 504, "The deadline has passed";
    NotFound = 5, "NOT_FOUND", "not_found", 404, "Not found";
    AlreadyExists = 6, "ALREADY_EXISTS", "already_exists", 409, "It exists already";
    PermissionDenied = 7, "PERMISSION_DENIED", "permission_denied", 403, "The caller may not do this";
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED", "resource_exhausted", 429, "Too much was asked for";
    FailedPrecondition = 9, "FAILED_PRECONDITION", "failed_precondition", 400, "The state does not allow this";
    Aborted = 10, "ABORTED", "aborted", 409, "The call was aborted";
    OutOfRange = 11, "OUT_OF_RANGE", "out_of_range", 400, "Out of range";
    Unimplemented = 12, "UNIMPLEMENTED", "unimplemented", 501, "This is not implemented";
    Internal = 13, "INTERNAL", "internal", 500, "The service broke";
    Unavailable = 14, "UNAVAILABLE", "unavailable", 503, "The service is unavailable";
    DataLoss = 15, "DATA_LOSS", "data_loss", 500, "Data was lost";
    Unauthenticated = 16, "UNAUTHENTICATED", "unauthenticated", 401, "A valid credential is needed";
}

impl Code {
    /// A code by its number; what is not known is `UNKNOWN`.
    pub fn of(number: u32) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or(Self::Unknown)
    }

    /// What an answer that is no gRPC means (github.com/grpc/grpc, doc/http-grpc-status-mapping.md).
    pub fn of_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// `type.googleapis.com/package.Message`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// What the server says to it.
    pub message: String,
    /// What it says of it in messages.
    pub details: Vec<Any>,
}

impl Status {
    /// A status with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    /// What trailers, or the head of an answer without any, say; none when they say nothing.
    pub fn read(trailers: &HeaderMap) -> Option<Self> {
        let code = trailers.get(&STATUS)?.to_str().ok().and_then(|text| text.trim().parse().ok());
        let message = trailers.get(&MESSAGE).map(HeaderValue::as_bytes).unwrap_or_default();
        let message = percent_decoded(&String::from_utf8_lossy(message)).into_owned();
        let mut status = Self::new(code.map_or(Code::Unknown, Code::of), message);
        if let Some(details) = trailers.get(&DETAILS).and_then(|value| value.to_str().ok())
            && details.len() <= DETAILS_BYTES_MAX
            && let Some(bytes) = crate::field::base64(details)
            && let Ok(read) = RpcStatus::decode(bytes.as_slice())
        {
            status.details = read.details;
        }
        Some(status)
    }

    /// Writes it into trailers.
    pub fn write(&self, trailers: &mut HeaderMap) {
        trailers.insert(STATUS, HeaderValue::from(self.code.number()));
        if !self.message.is_empty()
            && let Ok(message) = HeaderValue::from_str(&percent_encoded(&self.message))
        {
            trailers.insert(MESSAGE, message);
        }
    }

    /// The details as JSON: each with its `@type`, those whose type nobody knows with their bytes in base64.
    pub fn details_json(&self, schema: Option<&Schema>, json: &Json) -> Vec<Value> {
        self.details.iter().map(|detail| detail.json(schema, json)).collect()
    }

    /// After how many seconds a client may come again: `google.rpc.RetryInfo`.
    pub fn retry_after(&self) -> Option<u64> {
        #[derive(Clone, PartialEq, Message)]
        struct RetryInfo {
            #[prost(message, optional, tag = "1")]
            delay: Option<Delay>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct Delay {
            #[prost(int64, tag = "1")]
            seconds: i64,
            #[prost(int32, tag = "2")]
            nanos: i32,
        }
        let detail = self.details.iter().find(|detail| detail.name() == "google.rpc.RetryInfo")?;
        let delay = RetryInfo::decode(detail.value.clone()).ok()?.delay?;
        let seconds = u64::try_from(delay.seconds).ok()?;
        Some(seconds.saturating_add(u64::from(delay.nanos > 0)))
    }

    /// The members of its problem document (RFC 9457).
    pub fn problem(&self, schema: Option<&Schema>, json: &Json, request_id: &str) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("type".into(), "urn:tidegate:problem:grpc-status".into());
        members.insert("title".into(), self.code.title().into());
        members.insert("status".into(), self.code.http().into());
        if !self.message.is_empty() {
            members.insert("detail".into(), self.message.as_str().into());
        }
        members.insert("code".into(), self.code.name().into());
        if !self.details.is_empty() {
            members.insert("details".into(), self.details_json(schema, json).into());
        }
        members.insert("requestId".into(), request_id.into());
        members
    }
}

impl Any {
    /// The name of its type: `package.Message`.
    pub fn name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }

    /// The message, where its type is known.
    pub fn message(&self, schema: Option<&Schema>) -> Option<DynamicMessage> {
        DynamicMessage::decode(schema?.message(self.name())?, self.value.clone()).ok()
    }

    fn json(&self, schema: Option<&Schema>, json: &Json) -> Value {
        let told = self.message(schema).and_then(|message| {
            let mut text = Vec::new();
            json.write(&message, &mut text).ok()?;
            serde_json::from_slice::<Value>(&text).ok()
        });
        match told {
            Some(Value::Object(members)) => {
                let mut all = Map::new();
                all.insert("@type".into(), self.type_url.as_str().into());
                all.extend(members);
                Value::Object(all)
            }
            Some(value) => json!({"@type": self.type_url, "value": value}),
            None => json!({"@type": self.type_url, "value": general_purpose::STANDARD.encode(&self.value)}),
        }
    }
}

/// `grpc-message` without its encoding; what is none stays as it is.
pub fn percent_decoded(text: &str) -> Cow<'_, str> {
    crate::template::decoded(text, false)
}

/// What gRPC does not allow in `grpc-message`, encoded.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_numbers_and_names_are_unique() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), at);
            assert_eq!(Code::of(u32::try_from(at).expect("a number")), *code);
        }
        assert_eq!(Code::of(99), Code::Unknown);
    }

    #[test]
    fn a_status_is_read_with_its_details() {
        let detail =
            Any { type_url: "type.googleapis.com/x.Y".into(), value: Bytes::from_static(b"\x08\x01") };
        let rpc = RpcStatus { code: 5, message: "no".into(), details: vec![detail.clone()] };
        let mut trailers = HeaderMap::new();
        Status::new(Code::NotFound, "no ship \u{2693} 100%").write(&mut trailers);
        assert_eq!(trailers[&MESSAGE], "no ship %E2%9A%93 100%25");
        let encoded = general_purpose::STANDARD_NO_PAD.encode(rpc.encode_to_vec());
        trailers.insert(DETAILS, HeaderValue::from_str(&encoded).expect("a value"));
        let status = Status::read(&trailers).expect("a status");
        assert_eq!((status.code, status.message.as_str()), (Code::NotFound, "no ship \u{2693} 100%"));
        assert_eq!(status.details, [detail]);
        assert_eq!(status.details_json(None, &Json::default())[0]["value"], "CAE=");
        assert_eq!(Status::read(&HeaderMap::new()), None);
    }
}
