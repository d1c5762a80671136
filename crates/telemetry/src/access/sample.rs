//! A call for tests: one of each field.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, StatusCode, Version};
use model::{CallRecord, Timings, TraceContext, TryRecord};

pub(crate) fn call() -> CallRecord {
    CallRecord {
        started: std::time::UNIX_EPOCH + Duration::from_secs(1_709_164_800),
        timings: Timings { total: Duration::from_micros(1500), ..Timings::default() },
        request_id: HeaderValue::from_static("abc"),
        trace: Some(TraceContext { trace_id: [1; 16], span_id: [2; 8], parent_span_id: None, sampled: true }),
        listener: "public".into(),
        route: Some("catalog".into()),
        rule: Some(0),
        upstream: Some("catalog".into()),
        endpoint: Some("127.0.0.1:7001".into()),
        consumer: None,
        method: Method::GET,
        uri: "/v1/products?q=1&token=secret".parse().expect("a target"),
        host: Some(HeaderValue::from_static("shop.example")),
        user_agent: Some(HeaderValue::from_bytes(b"odd \"agent\"\xff").expect("a value")),
        version: Version::HTTP_11,
        tls: false,
        client: "203.0.113.77".parse().expect("an address"),
        status: StatusCode::OK,
        grpc_status: None,
        request_bytes: 0,
        response_bytes: 1024,
        attempts: 2,
        hedges: 1,
        hedge_won: true,
        failed_tries: vec![TryRecord {
            endpoint: Arc::from("127.0.0.1:7002"),
            status: None,
            reason: "connect-failed",
            duration: Duration::from_millis(1),
            upstream: None,
        }],
        tries: Vec::new(),
        failure: None,
        ai: None,
        mcp: None,
        prompt_version: None,
        a2a: None,
        cache: None,
        waf: None,
        graphql: None,
        judged: Vec::new(),
        onward: Vec::new(),
        geo: None,
        content: None,
        composed: None,
        transcoded: None,
        published: None,
        delivered: None,
        fed: None,
        traffic: None,
        mirrored: None,
        sign_in: None,
        stopped_by: None,
    }
}
