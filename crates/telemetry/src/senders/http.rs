//! JSON over HTTP: a list of records, or a record per line.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::Full;
use model::resource::{
    access_log::http::{Http as Settings, HttpBody, HttpMethod},
    telemetry::Compression,
};
use sinks::{Courier, Sending};

use super::{Building, Built, judge::judge};
use crate::receiver::{self, Client, Endpoint, Speaks, gzip};

struct Http {
    endpoint: Endpoint,
    method: Method,
    headers: HeaderMap,
    is_list: bool,
    is_compressed: bool,
    client: Client,
}

pub(super) fn build(settings: &Settings, cx: Building<'_>) -> Result<Built, String> {
    let endpoint = Endpoint::of(&settings.url, settings.tls.as_ref(), Speaks::Http1, cx.snapshot, cx.tls)
        .map_err(|wrong| format!("url: {wrong}"))?;
    let is_list = settings.body == HttpBody::Array;
    let mut headers = receiver::headers(&settings.headers, cx.snapshot)?;
    let kind = match (is_list, cx.line.is_json()) {
        (true, _) => "application/json",
        (false, true) => "application/x-ndjson",
        (false, false) => "text/plain; charset=utf-8",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let is_compressed = settings.compression == Compression::Gzip;
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let method = match settings.method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
    };
    let courier = Http { endpoint, method, headers, is_list, is_compressed, client: Client::default() };
    let line = cx.line;
    Ok(Built {
        encode: Box::new(move |call, out| line.write(call, out)),
        courier: Box::new(courier),
        timeout: settings.timeout.get(),
    })
}

impl Courier for Http {
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a> {
        Box::pin(async move {
            let body = body(batch, self.is_list);
            let body = if self.is_compressed { gzip(&body) } else { Bytes::from(body) };
            let mut request = Request::new(Full::new(body));
            *request.method_mut() = self.method.clone();
            *request.uri_mut() = self.endpoint.itself();
            *request.headers_mut() = self.headers.clone();
            judge(self.client.ask(&self.endpoint, request).await)
        })
    }

    fn reset(&mut self) {
        self.client = Client::default();
    }
}

fn body(batch: &[Bytes], is_list: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(batch.iter().map(|record| record.len() + 1).sum::<usize>() + 2);
    let [open, between, close]: [&[u8]; 3] = if is_list { [b"[", b",", b"]"] } else { [b"", b"\n", b"\n"] };
    body.extend_from_slice(open);
    for (place, record) in batch.iter().enumerate() {
        if place > 0 {
            body.extend_from_slice(between);
        }
        body.extend_from_slice(record);
    }
    body.extend_from_slice(close);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_list_or_a_record_per_line() {
        let batch = [Bytes::from("{\"a\":1}"), Bytes::from("{}")];
        assert_eq!(body(&batch, true), b"[{\"a\":1},{}]");
        assert_eq!(body(&batch, false), b"{\"a\":1}\n{}\n");
        assert_eq!(body(&batch[..1], true), b"[{\"a\":1}]");
    }
}
