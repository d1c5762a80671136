//! Ways to a receiver: a connection that is opened when it is needed and kept, and what an export's answer means.

mod grpc;
mod http1;

use std::time::Duration;

use ::base64::{Engine, prelude::BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use prost::Message;

use super::{
    proto::{RetryInfo, RpcStatus},
    settings::{Settings, Signal},
};
use crate::receiver::{self, retry_after};

/// What became of an export.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The receiver took it; this is its answer.
    Taken(Bytes),
    /// It may be sent again, at once or after the time that the receiver asks for.
    Again { after: Option<Duration>, why: String },
    /// It will never be taken.
    Refused(String),
}

/// A connection to a receiver, for one signal.
pub(super) enum Transport {
    Http(receiver::Client),
    Grpc(grpc::Client),
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Self {
        match settings.is_grpc {
            true => Self::Grpc(grpc::Client::default()),
            false => Self::Http(receiver::Client::default()),
        }
    }

    /// Sends a request and reads the answer.
    pub(super) async fn export(&mut self, settings: &Settings, signal: Signal, body: Bytes) -> Exchange {
        let sending = async {
            match self {
                Self::Http(client) => http1::export(client, settings, signal, body).await,
                Self::Grpc(client) => client.export(settings, signal, body).await,
            }
        };
        match tokio::time::timeout(settings.timeout, sending).await {
            Ok(exchange) => exchange,
            Err(_) => {
                // What is still under way on the connection would mix with what comes next.
                *self = Self::new(settings);
                Exchange::Again { after: None, why: format!("no answer within {:?}", settings.timeout) }
            }
        }
    }
}

/// What an HTTP status means for an export over `http/protobuf` (OTLP specification, "Failures").
fn judge_status(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Exchange {
    if status.is_success() {
        return Exchange::Taken(body.clone());
    }
    let said = RpcStatus::decode(body.clone()).map(|status| status.message).unwrap_or_default();
    let why = match said.is_empty() {
        true => format!("status {}", status.as_u16()),
        false => format!("status {}: {said}", status.as_u16()),
    };
    match status.as_u16() {
        429 | 502 | 503 | 504 => Exchange::Again { after: retry_after(headers), why },
        _ => Exchange::Refused(why),
    }
}

/// What a gRPC status means for an export (OTLP specification, "Failures").
fn judge_grpc(code: u32, message: &str, details: Option<&HeaderValue>) -> Exchange {
    let why = format!("gRPC status {code}: {message}");
    let delay = details.and_then(retry_delay);
    match code {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        1 | 4 | 10 | 11 | 14 | 15 => Exchange::Again { after: delay, why },
        // RESOURCE_EXHAUSTED passes only when the receiver says when.
        8 if delay.is_some() => Exchange::Again { after: delay, why },
        _ => Exchange::Refused(why),
    }
}

/// The delay of a `RetryInfo` among the details.
fn retry_delay(details: &HeaderValue) -> Option<Duration> {
    let status = RpcStatus::decode(Bytes::from(base64(details.as_bytes())?)).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

/// Decodes base64 with or without padding, as gRPC's `-bin` headers have it.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text.trim_ascii_end().split(|byte| *byte == b'=').next()?).ok()
}

#[cfg(test)]
mod tests {
    use ::base64::prelude::BASE64_STANDARD as STANDARD;

    use ::http::header;

    use super::*;
    use crate::otlp::proto::{AnyMessage, Delay};

    fn after(exchange: Exchange) -> Option<Option<Duration>> {
        match exchange {
            Exchange::Again { after, .. } => Some(after),
            Exchange::Taken(_) | Exchange::Refused(_) => None,
        }
    }

    #[test]
    fn http_statuses_are_repeated_as_the_specification_says() {
        let judge = |status: u16, retry: &'static str| {
            let mut headers = HeaderMap::new();
            if !retry.is_empty() {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(retry));
            }
            judge_status(StatusCode::from_u16(status).expect("a status"), &headers, &Bytes::new())
        };
        for status in [429, 502, 503, 504] {
            assert_eq!(after(judge(status, "")), Some(None), "{status}");
            assert_eq!(after(judge(status, "7")), Some(Some(Duration::from_secs(7))), "{status}");
        }
        assert_eq!(after(judge(503, "Thu, 01 Jan 1970 00:00:00 GMT")), Some(Some(Duration::ZERO)));
        for status in [301, 400, 401, 404, 413, 500, 501] {
            assert!(matches!(judge(status, "7"), Exchange::Refused(_)), "{status}");
        }
        assert!(matches!(judge(200, ""), Exchange::Taken(_)));
        assert!(matches!(judge(202, ""), Exchange::Taken(_)));
    }

    #[test]
    fn grpc_statuses_are_repeated_as_the_specification_says() {
        for code in [1, 4, 10, 11, 14, 15] {
            assert_eq!(after(judge_grpc(code, "", None)), Some(None), "{code}");
        }
        for code in [2, 3, 5, 6, 7, 8, 9, 12, 13, 16, 99] {
            assert!(matches!(judge_grpc(code, "", None), Exchange::Refused(_)), "{code}");
        }
    }

    #[test]
    fn exhausted_resources_are_waited_for_when_the_receiver_says_how_long() {
        let info = RetryInfo { retry_delay: Some(Delay { seconds: 2, nanos: 500_000_000 }) };
        let status = RpcStatus {
            code: 8,
            message: "slow down".into(),
            details: vec![AnyMessage {
                type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
                value: info.encode_to_vec(),
            }],
        };
        for engine in [STANDARD_NO_PAD, STANDARD] {
            let details = HeaderValue::from_str(&engine.encode(status.encode_to_vec())).expect("a value");
            assert_eq!(after(judge_grpc(8, "", Some(&details))), Some(Some(Duration::from_millis(2500))));
        }
        let broken = HeaderValue::from_static("!!");
        assert!(matches!(judge_grpc(8, "", Some(&broken)), Exchange::Refused(_)));
    }
}
