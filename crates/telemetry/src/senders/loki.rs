//! Grafana Loki: the push API, as JSON. Records of a batch that have the same labels are a stream.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use model::{
    CallRecord,
    resource::access_log::{
        Redact,
        loki::{LabelField, Loki as Settings, MetadataField},
    },
};
use sinks::{Courier, Sending};

use super::{Building, Built, judge::judge, post::Post};
use crate::{
    access::{Line, line},
    json, receiver,
    trace::write_hex,
};

/// Where records are pushed to.
const PUSH: &str = "/loki/api/v1/push";
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");
/// Between the parts of a record: JSON escapes it wherever it stands.
const BETWEEN: u8 = b'\n';

struct Loki(Post);

pub(super) fn build(settings: &Settings, cx: Building<'_>) -> Result<Built, String> {
    let mut headers = receiver::headers(&settings.headers, cx.snapshot)?;
    if let Some(tenant) = &settings.tenant {
        let tenant = HeaderValue::from_str(tenant).map_err(|_| "tenant: it cannot stand in a header")?;
        headers.insert(TENANT, tenant);
    }
    let to = (settings.url.as_str(), settings.tls.as_ref());
    let post = Post::new(to, headers, "application/json", settings.compression, &cx)?;
    let entry = Encoder {
        labels: settings.labels.clone(),
        fields: settings.label_fields.clone(),
        metadata: settings.structured_metadata.clone(),
        line: cx.line,
        redact: cx.redact,
    };
    Ok(Built {
        encode: Box::new(move |call, out| entry.write(call, out)),
        courier: Box::new(Loki(post)),
        timeout: settings.timeout.get(),
    })
}

/// Makes records of calls: labels, nanoseconds, metadata and line, each as JSON.
struct Encoder {
    labels: BTreeMap<String, String>,
    fields: Vec<LabelField>,
    metadata: Vec<MetadataField>,
    line: Line,
    redact: Redact,
}

impl Encoder {
    fn write(&self, call: &CallRecord, out: &mut Vec<u8>) {
        let fixed = self.labels.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let found = self.fields.iter().filter_map(|field| label(*field, call));
        object(fixed.chain(found), out);
        out.push(BETWEEN);
        let nanos = call.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // Twenty digits, so that their order as text is that of time.
        out.extend_from_slice(format!("{nanos:020}").as_bytes());
        out.push(BETWEEN);
        if !self.metadata.is_empty() {
            object(self.metadata.iter().filter_map(|field| metadata(*field, call, &self.redact)), out);
        }
        out.push(BETWEEN);
        let mut text = Vec::with_capacity(512);
        self.line.write(call, &mut text);
        json::bytes(&text, out);
    }
}

fn label(field: LabelField, call: &CallRecord) -> Option<(&'static str, String)> {
    Some(match field {
        LabelField::Level => {
            ("level", if call.status.is_server_error() { "error" } else { "info" }.to_owned())
        }
        LabelField::Listener => ("listener", call.listener.to_string()),
        LabelField::Route => ("route", call.route.as_ref()?.to_string()),
        LabelField::Upstream => ("upstream", call.upstream.as_ref()?.to_string()),
        LabelField::Method => ("method", known(&call.method).to_owned()),
        LabelField::StatusClass => ("status_class", format!("{}xx", call.status.as_u16() / 100)),
    })
}

/// A method that has a name of its own, so that clients cannot make labels.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("OTHER")
}

fn metadata(field: MetadataField, call: &CallRecord, redact: &Redact) -> Option<(&'static str, String)> {
    let hex = |id: &[u8]| {
        let mut digits = vec![0; id.len() * 2];
        write_hex(id, &mut digits);
        String::from_utf8_lossy(&digits).into_owned()
    };
    Some(match field {
        MetadataField::RequestId => {
            ("request_id", String::from_utf8_lossy(call.request_id.as_bytes()).into_owned())
        }
        MetadataField::TraceId => ("trace_id", hex(&call.trace.as_ref()?.trace_id)),
        MetadataField::SpanId => ("span_id", hex(&call.trace.as_ref()?.span_id)),
        MetadataField::Consumer => ("consumer", call.consumer.as_ref()?.to_string()),
        MetadataField::ClientIp => ("client_ip", line::client(call.client, redact)),
        MetadataField::Status => ("status", call.status.as_u16().to_string()),
    })
}

fn object<'a>(pairs: impl Iterator<Item = (&'a str, String)>, out: &mut Vec<u8>) {
    let mut separator = b'{';
    for (name, value) in pairs {
        out.push(separator);
        separator = b',';
        json::text(name, out);
        out.push(b':');
        json::text(&value, out);
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

/// The request of a batch: streams, each with its entries in the order of time.
fn request(batch: &[Bytes]) -> Vec<u8> {
    let mut streams: BTreeMap<&[u8], Vec<[&[u8]; 3]>> = BTreeMap::new();
    for record in batch {
        let mut parts = record.splitn(4, |byte| *byte == BETWEEN);
        let (Some(labels), Some(nanos), Some(metadata), Some(line)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let entry = [nanos, line, metadata];
        match streams.entry(labels) {
            Entry::Vacant(place) => drop(place.insert(vec![entry])),
            Entry::Occupied(mut entries) => entries.get_mut().push(entry),
        }
    }
    let mut body = Vec::with_capacity(batch.iter().map(|record| record.len() + 16).sum());
    body.extend_from_slice(b"{\"streams\":[");
    for (place, (labels, mut entries)) in streams.into_iter().enumerate() {
        entries.sort_by_key(|[nanos, ..]| *nanos);
        body.extend_from_slice(if place > 0 { b",{\"stream\":" } else { b"{\"stream\":" });
        body.extend_from_slice(labels);
        body.extend_from_slice(b",\"values\":");
        let mut separator = b'[';
        for [nanos, line, metadata] in entries {
            body.push(separator);
            separator = b',';
            body.extend_from_slice(b"[\"");
            let zeroes = nanos.iter().take_while(|digit| **digit == b'0').count().min(nanos.len() - 1);
            body.extend_from_slice(&nanos[zeroes..]);
            body.extend_from_slice(b"\",");
            body.extend_from_slice(line);
            if !metadata.is_empty() {
                body.push(b',');
                body.extend_from_slice(metadata);
            }
            body.push(b']');
        }
        body.extend_from_slice(b"]}");
    }
    body.extend_from_slice(b"]}");
    body
}

impl Courier for Loki {
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a> {
        Box::pin(async move {
            let target = self.0.below(PUSH);
            judge(self.0.send(Method::POST, target, request(batch)).await)
        })
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::access::test_call;

    fn encoder(metadata: Vec<MetadataField>) -> Encoder {
        Encoder {
            labels: BTreeMap::from([("job".to_owned(), "edge \"1\"".to_owned())]),
            fields: vec![LabelField::Route, LabelField::StatusClass, LabelField::Method],
            metadata,
            line: Line::of("{{ status }} \n{{ path }}", Redact::default()).expect("a format"),
            redact: Redact::default(),
        }
    }

    fn record(encoder: &Encoder, call: &CallRecord) -> Bytes {
        let mut out = Vec::new();
        encoder.write(call, &mut out);
        out.into()
    }

    #[test]
    fn records_of_the_same_labels_are_a_stream_in_the_order_of_time() {
        let encoder = encoder(Vec::new());
        let late = CallRecord { started: test_call().started + Duration::from_nanos(5), ..test_call() };
        let bad = CallRecord {
            status: StatusCode::BAD_GATEWAY,
            route: None,
            method: Method::from_bytes(b"MADE-UP").expect("a method"),
            ..test_call()
        };
        let batch = [&late, &bad, &test_call()].map(|call| record(&encoder, call));
        let body: Value = serde_json::from_slice(&request(&batch)).expect("JSON");
        let line = "200 \n/v1/products";
        assert_eq!(
            body,
            json!({"streams": [
                {"stream": {"job": "edge \"1\"", "route": "catalog", "status_class": "2xx", "method": "GET"},
                 "values": [["1709164800000000000", line], ["1709164800000000005", line]]},
                {"stream": {"job": "edge \"1\"", "status_class": "5xx", "method": "OTHER"},
                 "values": [["1709164800000000000", "502 \n/v1/products"]]},
            ]})
        );
    }

    #[test]
    fn metadata_stands_beside_the_line() {
        let encoder = encoder(vec![MetadataField::TraceId, MetadataField::Consumer, MetadataField::ClientIp]);
        let body: Value = serde_json::from_slice(&request(&[record(&encoder, &test_call())])).expect("JSON");
        assert_eq!(
            body["streams"][0]["values"][0][2],
            json!({"trace_id": "01".repeat(16), "client_ip": "203.0.113.77"})
        );
    }
}
