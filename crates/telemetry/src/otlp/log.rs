//! A call as a log record, in its trace.

use std::time::SystemTime;

use model::{CallRecord, resource::access_log::Redact};

use super::{
    facts::{self, Routes},
    proto::{Any, LogRecord},
    resource::{any, double},
    span::nanos,
};

const INFO: i32 = 9;
const ERROR: i32 = 17;

/// The log record of a call.
pub(super) fn record(call: &CallRecord, redact: &Redact, routes: &Routes) -> LogRecord {
    let mut attributes = facts::call(call, redact, routes);
    attributes.push(double("tidegate.duration_ms", facts::millis(call.timings.total)));
    LogRecord {
        body: Some(any(Any::Text(format!("{} {} {}", call.method, call.uri.path(), call.status.as_u16())))),
        attributes,
        event_name: "tidegate.request".to_owned(),
        ..bare(call)
    }
}

/// When a call ended, how bad that was, and its trace.
pub(super) fn bare(call: &CallRecord) -> LogRecord {
    let (severity_number, severity_text) =
        if call.status.is_server_error() { (ERROR, "ERROR") } else { (INFO, "INFO") };
    let trace = call.trace.as_ref();
    LogRecord {
        time_unix_nano: nanos(call.started + call.timings.total),
        observed_time_unix_nano: nanos(SystemTime::now()),
        severity_number,
        severity_text: severity_text.to_owned(),
        flags: trace.map_or(0, |trace| u32::from(trace.sampled)),
        trace_id: trace.map(|trace| trace.trace_id.to_vec()).unwrap_or_default(),
        span_id: trace.map(|trace| trace.span_id.to_vec()).unwrap_or_default(),
        ..LogRecord::default()
    }
}
