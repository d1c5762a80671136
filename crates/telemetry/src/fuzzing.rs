//! A door for the fuzz targets: thin functions that feed any bytes to what reads the bytes of strangers, and panic
//! when a law does not hold. In tests and with the feature `fuzzing` only.

use http::{HeaderValue, Uri};
use model::TraceContext;

use crate::{access, trace};

/// `traceparent` is read or begins a new trace; what is read is written so that it reads the same again.
pub fn traceparent(bytes: &[u8]) {
    let Some(parent) = trace::parse_traceparent(bytes) else { return };
    assert!(parent.trace_id != [0; 16] && parent.span_id != [0; 8]);
    let written = trace::write_traceparent(&TraceContext {
        trace_id: parent.trace_id,
        span_id: parent.span_id,
        parent_span_id: None,
        sampled: parent.sampled,
    });
    assert_eq!(trace::parse_traceparent(&written), Some(parent));
}

/// A log line of a request that holds any bytes, as JSON and after a template of the first line: it stays one line,
/// and JSON.
pub fn access_line(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (first, rest) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let mut call = access::test_call();
    if let Ok(uri) = Uri::try_from(rest) {
        call.uri = uri;
    }
    let value = HeaderValue::from_bytes(rest).ok();
    (call.host, call.user_agent) = (value.clone(), value.clone());
    call.request_id = value.unwrap_or(call.request_id);
    call.consumer = Some(String::from_utf8_lossy(rest).into());
    let json = access::json_line(&call);
    assert!(!json.contains(&b'\n'));
    let read: serde_json::Value = serde_json::from_slice(&json).expect("a line of JSON");
    assert_eq!(read["consumer"], call.consumer.as_deref().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(first) else { return };
    if let Ok(line) = access::template_line(text, &call) {
        assert!(!line.contains(&b'\n') && !line.contains(&b'\r') || text.contains('\r'), "{text}");
    }
}

#[cfg(test)]
mod short {
    #[test]
    fn traceparent() {
        mutate::fuzz("traceparent", super::traceparent);
    }

    #[test]
    fn access_line() {
        mutate::fuzz("access_line", super::access_line);
    }
}
