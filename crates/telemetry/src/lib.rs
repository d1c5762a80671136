//! Telemetry: takes one record per call and makes metrics, access logs and traces of it.
//!
//! Workers hand records over in batches and never wait: what a sink cannot take is dropped and counted.

mod access;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod json;
pub mod logging;
pub mod metrics;
mod otlp;
mod outlet;
mod pipeline;
mod receiver;
mod recorder;
mod reports;
mod senders;
pub mod trace;

use std::{sync::Arc, time::Duration};

use model::Snapshot;

use self::pipeline::Pipeline;
pub use self::{
    metrics::{Collect, Exposition, Histogram, Metrics},
    receiver::{ReceiverTls, Speaks, TlsFor, TlsWish, retry_after},
    recorder::Recorder,
    reports::SinkStatus,
};

/// Telemetry of the process; clones share it.
#[derive(Clone)]
pub struct Telemetry {
    metrics: Arc<Metrics>,
    pipeline: Arc<Pipeline>,
}

/// Why telemetry cannot do what a configuration asks for.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Error {
    /// Where in the configuration.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

/// Sinks that are open and wait for their snapshot to become live.
pub struct Prepared(pipeline::Prepared);

impl Telemetry {
    /// Telemetry as a snapshot asks for it; `tls` makes the TLS of receivers.
    pub fn new(snapshot: &Snapshot, tls: TlsFor) -> Result<Self, Error> {
        let metrics = Arc::new(Metrics::default());
        let pipeline = Arc::new(Pipeline::start(metrics.clone(), tls)?);
        let telemetry = Self { metrics, pipeline };
        let prepared = telemetry.prepare(snapshot)?;
        telemetry.apply(snapshot, prepared)?;
        Ok(telemetry)
    }

    /// Whether the sinks of a snapshot could be opened, as far as that can be told without opening any.
    pub fn check(snapshot: &Snapshot, tls: TlsFor) -> Result<(), Error> {
        pipeline::check(snapshot, tls)
    }

    /// Opens the sinks of another snapshot, so that what cannot be opened refuses it before anything has changed.
    pub fn prepare(&self, snapshot: &Snapshot) -> Result<Prepared, Error> {
        self.pipeline.prepare(snapshot).map(Prepared)
    }

    /// Follows another snapshot with the sinks that were prepared for it.
    pub fn apply(&self, snapshot: &Snapshot, prepared: Prepared) -> Result<(), Error> {
        self.pipeline.apply(snapshot, prepared.0)?;
        self.metrics.apply(snapshot);
        Ok(())
    }

    /// A recorder for one worker.
    pub fn recorder(&self, _worker: usize) -> Recorder {
        Recorder::new(&self.metrics, self.pipeline.clone())
    }

    /// The metrics as Prometheus reads them.
    pub fn render_prometheus(&self) -> String {
        self.metrics.render()
    }

    /// The metrics, to count what no record tells.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Adds something that is asked for its metrics at each scrape.
    pub fn register(&self, collector: Arc<dyn Collect>) {
        self.metrics.register(collector);
    }

    /// How each access log is doing.
    pub fn sinks(&self) -> Vec<SinkStatus> {
        self.metrics.reports.statuses()
    }

    /// Opens log files anew, after they were moved away.
    pub fn reopen_logs(&self) {
        self.pipeline.reopen();
    }

    /// Writes and sends what is waiting, for as long as the deadline allows.
    pub async fn shutdown(&self, deadline: Duration) {
        let pipeline = self.pipeline.clone();
        let _ = tokio::task::spawn_blocking(move || pipeline.finish(deadline)).await;
    }
}
