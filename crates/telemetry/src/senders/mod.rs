//! Access logs that go elsewhere: what makes a record of a call, and what brings records to a receiver.
//!
//! A kind is a file here and a line in the table below; its settings are a file of the same name in the model. Queue,
//! batches, spill and retries are the crate `sinks`' business, and the same for all.

mod judge;
mod post;

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use model::{
    AccessLog, CallRecord, Snapshot,
    resource::access_log::{
        Redact,
        buffering::{Batch, Queue, Retry},
    },
};
use sinks::{Courier, Rules, SpillTo};

use crate::{access::Line, otlp::Routes, receiver::TlsFor};

/// Makes the bytes that are kept of a call until it is sent.
pub(crate) type Encode = Box<dyn Fn(&CallRecord, &mut Vec<u8>) + Send>;

/// A kind's two ends.
pub(crate) struct Built {
    pub(crate) encode: Encode,
    pub(crate) courier: Box<dyn Courier + Send>,
    /// Bound of one try.
    pub(crate) timeout: Duration,
}

/// What a kind is built with.
pub(crate) struct Building<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) tls: TlsFor,
    pub(crate) line: Line,
    pub(crate) redact: Redact,
    /// Routes of the configuration that is live, whatever it will be.
    pub(crate) routes: Arc<ArcSwap<Routes>>,
}

/// Makes of each line a module, and its place in [`build`].
macro_rules! kinds {
    ($($file:ident;)*) => {
        $(mod $file;)*

        /// Builds what an access log asks for; the error begins with the key.
        pub(crate) fn build(log: &AccessLog, building: Building<'_>) -> Result<Built, String> {
            let kind = log.kind.as_str();
            $(
                if let Some(settings) = log.$file.as_ref().filter(|_| kind == stringify!($file)) {
                    return $file::build(settings, building).map_err(|wrong| format!("{kind}.{wrong}"));
                }
            )*
            Err(format!("kind `{kind}` needs its settings under `{kind}`"))
        }
    };
}

// Every kind. rustfmt finds no file by way of a macro: `make fmt` names these to it.
kinds! {
    syslog;
    http;
    nats;
    kafka;
    loki;
    clickhouse;
    otlp;
}

/// The rules that an access log's settings are.
pub(crate) fn rules(log: &AccessLog, name: &str, timeout: Duration) -> Rules {
    let Batch { records, size, time } = log.batch.clone().unwrap_or_default();
    let batch = sinks::Batch { records, bytes: size.get(), time: time.get() };
    let Queue { records, size } = log.queue.clone().unwrap_or_default();
    let queue = sinks::Queue { records, bytes: size.get() };
    let Retry { first, max, keep } = log.retry.clone().unwrap_or_default();
    let retry = sinks::Retry { first: first.get(), max: max.get(), keep: keep.get() };
    let spill = log.spill.as_ref().map(|spill| {
        let folder: PathBuf = spill.directory.as_path().join(name);
        SpillTo { folder, bytes: spill.size.bytes() }
    });
    Rules { name: name.to_owned(), batch, queue, retry, timeout, spill }
}
