//! The question by Envoy's `ext_authz`: one gRPC call of `envoy.service.auth.v3.Authorization/Check`. The messages here have
//! the fields that are used, with Envoy's numbers.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::BodyExt;
use prost::Message;
use transcode::{
    frame::{One, put},
    status::{Code, Status},
};

use super::{ExtAuth, REFUSAL_BYTES_MAX, Said};
use crate::call::Call;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Characters that are told of a media type that is none of gRPC.
const KIND_CHARS_MAX: usize = 64;

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, optional, tag = "1")]
    source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    request: Option<Asked>,
}

#[derive(Clone, PartialEq, Message)]
struct Peer {
    #[prost(message, optional, tag = "1")]
    address: Option<Address>,
    #[prost(string, tag = "4")]
    principal: String,
}

#[derive(Clone, PartialEq, Message)]
struct Address {
    #[prost(message, optional, tag = "1")]
    socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
struct SocketAddress {
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, optional, tag = "3")]
    port: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(message, optional, tag = "1")]
    time: Option<Timestamp>,
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct HttpRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "6")]
    scheme: String,
    #[prost(int64, tag = "9")]
    size: i64,
    #[prost(string, tag = "10")]
    protocol: String,
    #[prost(string, tag = "11")]
    body: String,
    #[prost(bytes = "bytes", tag = "12")]
    raw_body: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RpcStatus>,
    #[prost(message, optional, tag = "2")]
    denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    ok: Option<Allowed>,
}

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Denied {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct HttpStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Allowed {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    response_headers_to_add: Vec<HeaderOption>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    header: Option<Field>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(bytes = "bytes", tag = "3")]
    raw_value: Bytes,
}

impl ExtAuth {
    pub(super) async fn ask_envoy(&self, call: &Call, shown: Bytes) -> Result<Said, String> {
        let message = self.question(call, shown).encode_to_vec();
        let mut framed = Vec::with_capacity(message.len() + 8);
        put(0, &message, &mut framed);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let answer = self.send(call, Method::POST, Uri::from_static(PATH), headers, framed.into()).await?;
        let (head, mut body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return Err(format!("it answered {}", head.status));
        }
        // Where ALPN decides, it may be HTTP/1.1 that is spoken. What some server says there is nothing to read.
        let kind = head.headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
        let kind = kind.unwrap_or_else(|| b"of no type".to_vec());
        if !kind.starts_with(b"application/grpc") {
            let kind: String = String::from_utf8_lossy(&kind).chars().take(KIND_CHARS_MAX).collect();
            return Err(format!(
                "its answer is no gRPC, but `{kind}`: is its upstream one of `protocol: grpc`?"
            ));
        }
        let mut one = One::new(ANSWER_BYTES_MAX);
        let mut status = Status::read(&head.headers);
        while let Some(frame) = body.frame().await {
            match frame.map_err(|failure| failure.to_string())?.into_data() {
                Ok(data) => one.push(&data).map_err(|broken| broken.to_string())?,
                Err(frame) => status = frame.into_trailers().ok().as_ref().and_then(Status::read).or(status),
            }
        }
        match status {
            Some(status) if status.code == Code::Ok => {}
            Some(status) => return Err(format!("gRPC status {}", status.code.number())),
            None => return Err("a gRPC answer without a status".to_owned()),
        }
        let message = one.end().map_err(|broken| broken.to_string())?.ok_or("an answer without a message")?;
        let told = CheckResponse::decode(message).map_err(|error| error.to_string())?;
        self.read(told)
    }

    fn question(&self, call: &Call, shown: Bytes) -> CheckRequest {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut headers: HashMap<String, String> = HashMap::new();
        for (name, value) in &Self::named(&call.head.headers, &self.shown) {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|known| {
                    // RFC 9113 §8.2.3, RFC 9110 §5.3.
                    known.push_str(if *name == header::COOKIE { "; " } else { "," });
                    known.push_str(&value);
                })
                .or_insert_with(|| value.into_owned());
        }
        let text = |value: Option<&HeaderValue>| {
            value.map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let size = i64::try_from(shown.len()).unwrap_or(i64::MAX);
        // One of the two: what is no text is bytes.
        let (body, raw_body) = match std::str::from_utf8(&shown) {
            Ok(body) => (body.to_owned(), Bytes::new()),
            Err(_) => (String::new(), shown),
        };
        let http = HttpRequest {
            id: text(Some(&call.record.request_id)),
            method: call.head.method.to_string(),
            headers,
            path: call.head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            host: text(call.head.headers.get(header::HOST)),
            scheme: call.scheme().to_owned(),
            size,
            protocol: call.protocol().to_owned(),
            body,
            raw_body,
        };
        let time = Timestamp {
            seconds: i64::try_from(now.as_secs()).unwrap_or_default(),
            nanos: i32::try_from(now.subsec_nanos()).unwrap_or_default(),
        };
        let certificate = call.peer.tls.as_ref().and_then(|tls| tls.client.as_ref());
        let principal = certificate.map_or_else(String::new, |client| client.names.principal().to_owned());
        let remote = call.peer.remote.filter(|remote| remote.ip().to_canonical() == call.client);
        let source = peer(call.client, remote.map_or(0, |remote| remote.port()), principal);
        let own = call.peer.listener.address.parse::<SocketAddr>().ok();
        let destination = own.map(|own| peer(own.ip(), own.port(), String::new()));
        let request = Asked { time: Some(time), http: Some(http) };
        CheckRequest {
            attributes: Some(Attributes { source: Some(source), destination, request: Some(request) }),
        }
    }

    fn read(&self, told: CheckResponse) -> Result<Said, String> {
        // Nothing is allowed that does not say so.
        let status = told.status.ok_or("an answer without a status")?;
        if status.code == 0 {
            let ok = told.ok.unwrap_or_default();
            let kept = ["host", "content-length", "transfer-encoding", "connection"];
            let removed =
                ok.headers_to_remove.iter().filter_map(|name| HeaderName::try_from(name.as_str()).ok());
            return Ok(Said::Allowed {
                headers: self.for_upstream(&fields(ok.headers)),
                removed: removed.filter(|name| !kept.contains(&name.as_str())).collect(),
                answer: Self::named(&fields(ok.response_headers_to_add), &self.to_client),
            });
        }
        let denied = told.denied.unwrap_or_default();
        let code = denied.status.map_or(0, |status| status.code);
        let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.filter(|status| status.as_u16() >= 300).unwrap_or(StatusCode::FORBIDDEN);
        let body = if denied.body.len() > REFUSAL_BYTES_MAX { Bytes::new() } else { denied.body.into() };
        let headers = Self::named(&fields(denied.headers), &self.with_refusal);
        Ok(Said::Refused { status, headers, body })
    }
}

/// An address always has a port by Envoy's rules of validation; one that a proxy tells has 0.
fn peer(address: IpAddr, port: u16, principal: String) -> Peer {
    let socket = SocketAddress { address: address.to_string(), port: Some(port.into()) };
    Peer { address: Some(Address { socket_address: Some(socket) }), principal }
}

/// Fields of a message as those of a head; what no head can hold is left out.
fn fields(options: Vec<HeaderOption>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in options.into_iter().filter_map(|option| option.header) {
        let value = if field.raw_value.is_empty() { field.value.as_bytes() } else { &field.raw_value };
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(field.key.as_str()), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}
