//! The end of telemetry that a worker holds.

use std::sync::Arc;

use model::CallRecord;

use crate::{
    metrics::{Metrics, Shard},
    pipeline::Pipeline,
};

/// Records that are handed over at a time.
const BATCH: usize = 256;

/// Takes the records of one worker.
pub struct Recorder {
    pipeline: Arc<Pipeline>,
    shard: Arc<Shard>,
    batch: Vec<CallRecord>,
}

impl Recorder {
    pub(crate) fn new(metrics: &Metrics, pipeline: Arc<Pipeline>) -> Self {
        Self { shard: metrics.shard(), pipeline, batch: Vec::new() }
    }

    /// Takes a record. Never waits.
    pub fn record(&mut self, call: CallRecord) {
        self.shard.record(&call);
        if !self.pipeline.wants_records() {
            return;
        }
        if self.batch.capacity() == 0 {
            self.batch.reserve_exact(BATCH);
        }
        self.batch.push(call);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Takes a record of something that is no call of a client's: it is logged, and counted nowhere.
    pub fn note(&mut self, record: CallRecord) {
        if self.pipeline.wants_records() {
            self.batch.push(record);
            if self.batch.len() >= BATCH {
                self.flush();
            }
        }
    }

    /// Hands over what was taken since the last time.
    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.pipeline.offer(std::mem::take(&mut self.batch));
        }
    }

    /// Counts a client connection.
    pub fn connection_opened(&mut self, listener: &Arc<str>) {
        self.shard.connection(listener, true);
    }

    /// Counts a client connection whose TLS handshake failed.
    pub fn handshake_failed(&mut self, listener: &Arc<str>) {
        self.shard.handshake_failed(listener);
    }

    /// Counts the end of a client connection.
    pub fn connection_closed(&mut self, listener: &Arc<str>) {
        self.shard.connection(listener, false);
    }
}
