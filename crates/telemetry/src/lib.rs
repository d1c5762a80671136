//! Telemetry: takes one record per call and makes metrics, access logs and traces of it.
//!
//! Workers hand records over in batches and never wait: what a sink cannot take is dropped and counted.

mod access;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod json;
pub mod logging;
pub mod metrics;
mod pipeline;
mod recorder;
pub mod trace;

use std::{sync::Arc, time::Duration};

use model::Snapshot;

use self::pipeline::Pipeline;
pub use self::{
    metrics::{Collect, Exposition, Metrics},
    recorder::Recorder,
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

/// Checks what a snapshot asks of telemetry, without opening anything.
///
/// # Errors
/// What cannot be done, and where the configuration asks for it.
pub fn check(snapshot: &Snapshot) -> Result<(), Error> {
    for (index, log) in snapshot.config.access_log.iter().enumerate() {
        let place = format!("accessLog[{index}].format");
        access::check(log).map_err(|reason| Error { place, reason })?;
    }
    Ok(())
}

impl Telemetry {
    /// Telemetry as a snapshot asks for it.
    pub fn new(snapshot: &Snapshot) -> Result<Self, Error> {
        let metrics = Arc::new(Metrics::default());
        let pipeline = Arc::new(Pipeline::start(metrics.clone())?);
        let telemetry = Self { metrics, pipeline };
        telemetry.apply(snapshot)?;
        Ok(telemetry)
    }

    /// Follows another snapshot. When a sink cannot be opened, the sinks stay as they were.
    pub fn apply(&self, snapshot: &Snapshot) -> Result<(), Error> {
        self.pipeline.apply(snapshot)?;
        self.metrics.apply(snapshot);
        Ok(())
    }

    /// A recorder for one worker.
    pub fn recorder(&self, _worker: usize) -> Recorder {
        Recorder::new(self.metrics.clone(), self.pipeline.clone())
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

    /// Opens log files anew, after they were moved away.
    pub fn reopen_logs(&self) {
        self.pipeline.reopen();
    }

    /// Writes what is waiting, for as long as the deadline allows.
    pub async fn shutdown(&self, deadline: Duration) {
        let pipeline = self.pipeline.clone();
        let _ = tokio::time::timeout(deadline, tokio::task::spawn_blocking(move || pipeline.flush(deadline)))
            .await;
    }
}
