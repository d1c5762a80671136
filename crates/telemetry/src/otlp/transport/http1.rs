//! `http/protobuf`: a POST over HTTP/1.1 on a kept connection.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;

use super::{Exchange, judge_status};
use crate::{
    otlp::settings::{Settings, Signal},
    receiver::Client,
};

pub(super) async fn export(
    client: &mut Client,
    settings: &Settings,
    signal: Signal,
    body: Bytes,
) -> Exchange {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = settings.endpoint.below(signal.path());
    let headers = request.headers_mut();
    headers.extend(settings.headers.clone());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    if settings.gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    match client.ask(&settings.endpoint, request).await {
        Ok((parts, body)) => judge_status(parts.status, &parts.headers, &body),
        Err(why) => Exchange::Again { after: None, why },
    }
}
