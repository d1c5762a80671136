//! `http/protobuf`: a POST over HTTP/1.1 on a kept connection.

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;

use super::{ANSWER_BYTES_MAX, Exchange, connect, judge_status};
use crate::otlp::settings::{Settings, Signal};

/// A connection that is kept.
#[derive(Default)]
pub(in crate::otlp) struct Client {
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) async fn export(&mut self, settings: &Settings, signal: Signal, body: Bytes) -> Exchange {
        let mut sender = match self.sender().await {
            Some(sender) => sender,
            None => match open(settings).await {
                Ok(sender) => sender,
                Err(why) => return Exchange::Again { after: None, why },
            },
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = settings.endpoint.path(signal);
        let headers = request.headers_mut();
        headers.extend(settings.headers.clone());
        headers.insert(header::HOST, settings.endpoint.host_header.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::USER_AGENT, settings.user_agent());
        if settings.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => return Exchange::Again { after: None, why: error.to_string() },
        };
        let (parts, body) = response.into_parts();
        match read(body).await {
            Ok(body) => {
                self.sender = Some(sender);
                judge_status(parts.status, &parts.headers, &body)
            }
            // An answer that is not read to its end says what it says by its status.
            Err(_) => judge_status(parts.status, &parts.headers, &Bytes::new()),
        }
    }

    /// The kept connection, when it still stands.
    async fn sender(&mut self) -> Option<http1::SendRequest<Full<Bytes>>> {
        let mut sender = self.sender.take()?;
        sender.ready().await.ok()?;
        Some(sender)
    }
}

async fn open(settings: &Settings) -> Result<http1::SendRequest<Full<Bytes>>, String> {
    let stream = connect(&settings.endpoint).await?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        // Each exchange has its own error; the connection's adds nothing.
        let _ = connection.await;
    });
    Ok(sender)
}

async fn read(body: Incoming) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes())
}
