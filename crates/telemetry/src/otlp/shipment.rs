//! Log records that were written down one by one, brought to a receiver in one request: what an access log of kind
//! `otlp` sends.

use bytes::Bytes;
use model::{CallRecord, Snapshot, resource::access_log::Redact};
use prost::Message;
use sinks::Outcome;

use super::{
    facts::Routes,
    log,
    proto::{RawLogsRequest, RawResourceLogs, RawScopeLogs, Response},
    resource,
    settings::{Settings, Signal, Wanted},
    transport::{Exchange, Transport},
};
use crate::receiver::{TlsFor, gzip};

/// The way to a receiver of log records.
pub(crate) struct Shipment {
    settings: Settings,
    transport: Transport,
}

impl Shipment {
    /// Checks what is wanted.
    pub(crate) fn new(wanted: &Wanted, snapshot: &Snapshot, tls: TlsFor) -> Result<Self, String> {
        let settings = wanted.settings(snapshot, tls)?;
        let transport = Transport::new(&settings);
        Ok(Self { settings, transport })
    }

    /// A call's log record as bytes.
    pub(crate) fn record(call: &CallRecord, redact: &Redact, routes: &Routes, out: &mut Vec<u8>) {
        out.extend_from_slice(&log::record(call, redact, routes).encode_to_vec());
    }

    /// Sends records.
    pub(crate) async fn send(&mut self, records: &[Bytes]) -> Outcome {
        let request = RawLogsRequest {
            resource_logs: vec![RawResourceLogs {
                resource: Some(self.settings.resource.clone()),
                scope_logs: vec![RawScopeLogs {
                    scope: Some(resource::scope()),
                    log_records: records.to_vec(),
                    schema_url: resource::SCHEMA_URL.to_owned(),
                }],
                schema_url: resource::SCHEMA_URL.to_owned(),
            }],
        };
        let body = request.encode_to_vec();
        let body = if self.settings.gzip { gzip(&body) } else { Bytes::from(body) };
        match self.transport.export(&self.settings, Signal::Logs, body).await {
            Exchange::Taken(answer) => {
                let partial =
                    Response::decode(answer).unwrap_or_default().partial_success.unwrap_or_default();
                match u64::try_from(partial.rejected).unwrap_or_default() {
                    0 => Outcome::Taken,
                    rejected => Outcome::Partly { rejected, why: partial.error_message },
                }
            }
            Exchange::Again { after, why } => Outcome::Again { after, why },
            // What is wrong with one record is not wrong with all.
            Exchange::Refused(why) if why.starts_with("status 400") || why.starts_with("status 413") => {
                Outcome::Poison(why)
            }
            Exchange::Refused(why) => Outcome::Refused(why),
        }
    }

    /// Gives up a connection on which something is under way.
    pub(crate) fn reset(&mut self) {
        self.transport = Transport::new(&self.settings);
    }
}
