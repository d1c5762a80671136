//! `grpc`: a unary call on a kept HTTP/2 connection.

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};

use super::{Exchange, judge_grpc};
use crate::{
    otlp::settings::{Settings, Signal},
    receiver::{ANSWER_BYTES_MAX, connect, user_agent},
};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// A message begins with a byte for compression and four for its length.
const PREFIX_BYTES: usize = 5;

/// A connection that is kept.
#[derive(Default)]
pub(in crate::otlp) struct Client {
    sender: Option<SendRequest<Bytes>>,
}

impl Client {
    pub(super) async fn export(&mut self, settings: &Settings, signal: Signal, body: Bytes) -> Exchange {
        let again = |why: String| Exchange::Again { after: None, why };
        let sender = match self.sender().await {
            Some(sender) => sender,
            None => match open(settings).await {
                Ok(sender) => sender,
                Err(why) => return again(why),
            },
        };
        let mut sender = match sender.ready().await {
            Ok(sender) => sender,
            Err(error) => return again(error.to_string()),
        };
        let request = match request(settings, signal) {
            Ok(request) => request,
            Err(error) => return Exchange::Refused(error.to_string()),
        };
        let answered = async {
            let (response, mut stream) = sender.send_request(request, false)?;
            stream.send_data(message(settings.gzip, &body), true)?;
            answer(response.await?).await
        };
        match answered.await {
            Ok(exchange) => {
                self.sender = Some(sender);
                exchange
            }
            Err(error) => again(error.to_string()),
        }
    }

    /// The kept connection, when it still stands.
    async fn sender(&mut self) -> Option<SendRequest<Bytes>> {
        self.sender.take()?.ready().await.ok()
    }
}

async fn open(settings: &Settings) -> Result<SendRequest<Bytes>, String> {
    let stream =
        connect(&settings.endpoint.host, settings.endpoint.port, settings.endpoint.tls.as_ref()).await?;
    let (sender, connection) = h2::client::Builder::new()
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        // Each call has its own error; the connection's adds nothing.
        let _ = connection.await;
    });
    Ok(sender)
}

fn request(settings: &Settings, signal: Signal) -> Result<Request<()>, http::Error> {
    let uri = http::Uri::builder()
        .scheme(if settings.endpoint.tls.is_some() { "https" } else { "http" })
        .authority(settings.endpoint.authority.as_str())
        .path_and_query(signal.method())
        .build()?;
    let mut request = Request::post(uri).body(())?;
    let headers = request.headers_mut();
    headers.extend(settings.headers.clone());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::USER_AGENT, user_agent());
    let timeout = format!("{}m", settings.timeout.as_millis().clamp(1, 99_999_999));
    headers.insert("grpc-timeout", HeaderValue::from_str(&timeout)?);
    if settings.gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    Ok(request)
}

fn message(is_compressed: bool, body: &Bytes) -> Bytes {
    let mut message = BytesMut::with_capacity(PREFIX_BYTES + body.len());
    message.put_u8(u8::from(is_compressed));
    message.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    message.put_slice(body);
    message.freeze()
}

async fn answer(response: Response<RecvStream>) -> Result<Exchange, h2::Error> {
    let (parts, mut body) = response.into_parts();
    if parts.status != StatusCode::OK {
        return Ok(judge_grpc(
            of_http(parts.status),
            &format!("HTTP status {}", parts.status.as_u16()),
            None,
        ));
    }
    if parts.headers.contains_key(GRPC_STATUS) {
        return Ok(judge(&parts.headers, Bytes::new()));
    }
    let mut read = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if read.len() + data.len() > ANSWER_BYTES_MAX {
            return Ok(Exchange::Refused("the answer is too long".to_owned()));
        }
        read.put(data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(judge(&trailers, read.freeze()))
}

fn judge(status: &HeaderMap, body: Bytes) -> Exchange {
    let text = |name: HeaderName| status.get(name).and_then(|value| value.to_str().ok());
    match text(GRPC_STATUS).and_then(|code| code.parse().ok()) {
        // No message, or one that is compressed, tells no more than the status did.
        Some(0) if body.first() == Some(&0) => Exchange::Taken(body.slice(PREFIX_BYTES.min(body.len())..)),
        Some(0) => Exchange::Taken(Bytes::new()),
        Some(code) => judge_grpc(code, text(GRPC_MESSAGE).unwrap_or_default(), status.get(GRPC_DETAILS)),
        None => judge_grpc(2, "no grpc-status", None),
    }
}

/// The gRPC status of an answer that is none of gRPC's (gRPC over HTTP/2, "HTTP to gRPC status code mapping").
fn of_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
