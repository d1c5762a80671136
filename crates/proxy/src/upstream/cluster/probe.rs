//! One active check of one endpoint: HTTP, gRPC, or a TCP connect.
//!
//! A check opens its own connection, so that it finds an endpoint that accepts no new ones.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use http1::{Framing, Limits, ResponseDecoder};
use model::{
    Snapshot,
    resource::{
        health::HealthCheck,
        upstream::{Protocol, Upstream},
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Address, Endpoint};
use crate::{conn::wire::Io, listener::proxy_protocol, tls::client::UpstreamTls, upstream::connect};

/// An answer's head to a check may not be longer.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// An answer's body to a gRPC check may not be longer.
const GRPC_ANSWER_BYTES_MAX: usize = 4 * 1024;
/// `grpc.health.v1.HealthCheckResponse{status: SERVING}` in a gRPC frame.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];

/// A compiled health check.
pub(super) struct Probe {
    pub(super) settings: HealthCheck,
    headers: HeaderMap,
    is_http2: bool,
    tls: Option<UpstreamTls>,
    proxy_protocol: Option<model::resource::upstream::ProxyProtocolVersion>,
}

impl Probe {
    /// The check that an upstream asks for, if it does.
    pub(super) fn new(upstream: &Upstream, snapshot: &Snapshot) -> Result<Option<Self>, String> {
        let Some(settings) = upstream.health_check.clone() else { return Ok(None) };
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static("tidegate-health-check"));
        for (name, value) in &settings.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            headers.insert(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
        }
        let tls = upstream.tls.as_ref().map(|tls| UpstreamTls::compile(tls, upstream.protocol, snapshot));
        let is_http2 =
            settings.grpc.is_some() || matches!(upstream.protocol, Protocol::Http2 | Protocol::Grpc);
        Ok(Some(Self {
            settings,
            headers,
            is_http2,
            tls: tls.transpose()?,
            proxy_protocol: upstream.proxy_protocol,
        }))
    }

    /// Checks an endpoint once; the caller bounds the time.
    pub(super) async fn check(&self, endpoint: &Endpoint) -> Result<(), String> {
        let io = self.connect(endpoint).await?;
        match (&self.settings.path, &self.settings.grpc) {
            (_, Some(service)) => grpc(io, service, self.scheme(), &self.authority(endpoint)).await,
            (Some(path), None) if self.is_http2 || is_h2(&io) => {
                let (status, _) = h2_call(io, self.request(path, endpoint, true)?, Bytes::new()).await?;
                self.judge(status)
            }
            (Some(path), None) => self.judge(h1(io, self.request(path, endpoint, false)?).await?),
            (None, None) => Ok(()),
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Io, String> {
        let address = match (&endpoint.address, self.settings.port) {
            (Address::Socket(address), Some(port)) => Address::Socket(SocketAddr::new(address.ip(), port)),
            (address, _) => address.clone(),
        };
        let patience = self.settings.timeout.get().max(Duration::from_millis(1));
        let mut io =
            connect::transport(&address, patience).await.map_err(|(failure, _)| failure.to_string())?;
        if let Some(version) = self.proxy_protocol {
            let local = proxy_protocol::write(version, None, None);
            io.write_all(&local).await.map_err(|error| error.to_string())?;
        }
        if let Some(tls) = &self.tls {
            let name = tls.server_name(&endpoint.host)?;
            let handshake = tls.connector(false).connect(name, Box::new(io));
            let stream = handshake.await.map_err(|error| format!("TLS: {error}"))?;
            io = Io::TlsClient(Box::new(stream));
        }
        Ok(io)
    }

    fn authority(&self, endpoint: &Endpoint) -> String {
        self.settings.host.clone().unwrap_or_else(|| endpoint.authority().to_owned())
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn request(&self, path: &str, endpoint: &Endpoint, is_http2: bool) -> Result<Request<()>, String> {
        let authority = self.authority(endpoint);
        let uri = if is_http2 { format!("{}://{authority}{path}", self.scheme()) } else { path.to_owned() };
        let mut request =
            Request::builder().method(Method::GET).uri(uri).body(()).map_err(|error| error.to_string())?;
        *request.headers_mut() = self.headers.clone();
        if !is_http2 {
            let host = HeaderValue::from_str(&authority).map_err(|error| error.to_string())?;
            request.headers_mut().insert(header::HOST, host);
        }
        Ok(request)
    }

    fn judge(&self, status: StatusCode) -> Result<(), String> {
        let expected = &self.settings.expected_statuses;
        let is_expected = match expected.is_empty() {
            true => status.is_success(),
            false => expected.contains(&status.as_u16()),
        };
        if is_expected { Ok(()) } else { Err(format!("answered {status}")) }
    }
}

fn is_h2(io: &Io) -> bool {
    matches!(io, Io::TlsClient(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
}

/// One HTTP/1.1 exchange; the connection is closed after the answer's head.
async fn h1(mut io: Io, request: Request<()>) -> Result<StatusCode, String> {
    let (parts, ()) = request.into_parts();
    let mut out = BytesMut::new();
    http1::encode_request_head(&parts, Framing::None, &mut out).map_err(|error| error.to_string())?;
    io.write_all(&out).await.map_err(|error| error.to_string())?;
    io.flush().await.map_err(|error| error.to_string())?;
    let limits = Limits { head_bytes: HEAD_BYTES_MAX, ..Limits::default() };
    let mut decoder = ResponseDecoder::new(limits);
    let mut input = BytesMut::with_capacity(2048);
    loop {
        let decoded = decoder.decode(&mut input, &Method::GET).map_err(|error| error.to_string())?;
        match decoded {
            Some(head) if head.parts.status.is_informational() => continue,
            Some(head) => return Ok(head.parts.status),
            None => {}
        }
        if io.read_buf(&mut input).await.map_err(|error| error.to_string())? == 0 {
            return Err("closed before it answered".to_owned());
        }
    }
}

/// One HTTP/2 exchange; returns the status and the beginning of the body.
async fn h2_call(io: Io, mut request: Request<()>, body: Bytes) -> Result<(StatusCode, Bytes), String> {
    *request.version_mut() = Version::HTTP_2;
    let (mut client, connection) = h2::client::handshake(io).await.map_err(|error| error.to_string())?;
    let exchange = async {
        futures_util::future::poll_fn(|cx| client.poll_ready(cx)).await?;
        let (answer, mut stream) = client.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body, true)?;
        }
        let (parts, mut body) = answer.await?.into_parts();
        let mut collected = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            collected.extend_from_slice(&data);
            if collected.len() > GRPC_ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok::<_, h2::Error>((parts.status, collected.freeze()))
    };
    tokio::select! {
        done = exchange => done.map_err(|error| error.to_string()),
        ended = connection => Err(match ended {
            Ok(()) => "closed before it answered".to_owned(),
            Err(error) => error.to_string(),
        }),
    }
}

/// `grpc.health.v1.Health/Check`.
async fn grpc(io: Io, service: &str, scheme: &str, authority: &str) -> Result<(), String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "tidegate-health-check")
        .body(())
        .map_err(|error| error.to_string())?;
    // `HealthCheckRequest{service}`: field 1, its length, its bytes.
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let (status, body) = h2_call(io, request, frame.into()).await?;
    match (status, &body[..]) {
        (StatusCode::OK, SERVING) => Ok(()),
        (StatusCode::OK, _) => Err("does not say SERVING".to_owned()),
        (status, _) => Err(format!("answered {status}")),
    }
}
