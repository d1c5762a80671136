//! From workers to sinks: batches of records go to the thread that writes access logs and to the OTLP exporter, each
//! behind a bounded queue of its own, so that neither holds up the other or a worker.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use model::{CallRecord, Snapshot};

use crate::{
    Error, Metrics,
    access::{self, Log},
    metrics::{Reason, Sink},
    otlp::{Exporter, Ready, TlsFor, Wanted},
};

/// Batches that wait for the thread that writes logs; beyond them records are lost and counted.
const BATCHES_MAX: usize = 64;
/// How long an exporter that is replaced may still send.
const REPLACED: Duration = Duration::from_secs(5);

/// The sinks, seen from outside.
pub(crate) struct Pipeline {
    metrics: Arc<Metrics>,
    sender: Sender<Message>,
    /// Batches that wait for the thread that writes.
    waiting: Arc<AtomicUsize>,
    has_logs: AtomicBool,
    wants_records: AtomicBool,
    /// Settings of the logs that are open.
    logs: Mutex<Vec<model::AccessLog>>,
    exporter: ArcSwapOption<Exporter>,
    tls: TlsFor,
}

enum Message {
    Batch(Arc<Vec<CallRecord>>),
    Logs(Vec<Log>),
    Reopen,
    Flush(SyncSender<()>),
}

/// Sinks that are open and wait to be used.
pub(crate) struct Prepared {
    /// None when the logs stay as they are.
    logs: Option<Vec<Log>>,
    exporter: Change,
}

enum Change {
    Stay,
    Stop,
    Start(Box<Ready>),
}

impl Pipeline {
    pub(crate) fn start(metrics: Arc<Metrics>, tls: TlsFor) -> Result<Self, Error> {
        let (sender, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (count, flow) = (waiting.clone(), metrics.clone());
        std::thread::Builder::new()
            .name("telemetry".into())
            .spawn(move || write(&receiver, &count, &flow))
            .map_err(|error| Error { place: "telemetry".into(), reason: error.to_string() })?;
        Ok(Self {
            metrics,
            sender,
            waiting,
            has_logs: AtomicBool::new(false),
            wants_records: AtomicBool::new(false),
            logs: Mutex::default(),
            exporter: ArcSwapOption::empty(),
            tls,
        })
    }

    /// Opens the sinks of a snapshot; what is open goes on.
    pub(crate) fn prepare(&self, snapshot: &Snapshot) -> Result<Prepared, Error> {
        let wanted = access::settings(snapshot);
        let is_open = *self.logs.lock().unwrap_or_else(PoisonError::into_inner) == wanted;
        let logs = if is_open { None } else { Some(open(&wanted)?) };
        let exporter = match (Wanted::of(snapshot), &*self.exporter.load()) {
            (None, None) => Change::Stay,
            (None, Some(_)) => Change::Stop,
            (Some(wanted), Some(running)) if running.is(&wanted) => Change::Stay,
            (Some(wanted), _) => Change::Start(Box::new(ready(wanted, snapshot, self.tls)?)),
        };
        Ok(Prepared { logs, exporter })
    }

    /// Takes over the sinks that were prepared for a snapshot.
    pub(crate) fn apply(&self, snapshot: &Snapshot, prepared: Prepared) -> Result<(), Error> {
        if let Some(logs) = prepared.logs {
            *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = access::settings(snapshot);
            self.has_logs.store(!logs.is_empty(), Ordering::Relaxed);
            let _ = self.sender.send(Message::Logs(logs));
        }
        let old = match prepared.exporter {
            Change::Stay => {
                if let Some(exporter) = &*self.exporter.load() {
                    exporter.follow(snapshot);
                }
                None
            }
            Change::Stop => self.exporter.swap(None),
            Change::Start(ready) => {
                let started = ready.start(&self.metrics);
                let started = started.map_err(|error| otlp_error(error.to_string()))?;
                self.exporter.swap(Some(Arc::new(started)))
            }
        };
        if let Some(old) = old {
            // It ends on its own; nobody waits for it.
            let _ = old.finish(REPLACED);
        }
        let exports = self.exporter.load().as_ref().is_some_and(|exporter| exporter.wants_records());
        let has_logs = self.has_logs.load(Ordering::Relaxed);
        self.wants_records.store(exports || has_logs, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn wants_records(&self) -> bool {
        self.wants_records.load(Ordering::Relaxed)
    }

    /// Hands a batch over. Never waits: a sink that is behind loses it, and the loss is counted.
    pub(crate) fn offer(&self, batch: Vec<CallRecord>) {
        let batch = Arc::new(batch);
        if let Some(exporter) = &*self.exporter.load()
            && exporter.wants_records()
        {
            exporter.offer(&batch);
        }
        if !self.has_logs.load(Ordering::Relaxed) {
            return;
        }
        let count = batch.len() as u64;
        let is_taken = self.waiting.fetch_add(1, Ordering::Relaxed) < BATCHES_MAX
            && self.sender.send(Message::Batch(batch)).is_ok();
        if !is_taken {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.flow.lost(Sink::AccessLog, Reason::Behind, count);
        }
    }

    pub(crate) fn reopen(&self) {
        let _ = self.sender.send(Message::Reopen);
    }

    /// Waits until everything handed over so far is written and sent, or the deadline is over.
    pub(crate) fn finish(&self, deadline: Duration) {
        let sent = self.exporter.swap(None).map(|exporter| exporter.finish(deadline));
        let (done, written) = sync_channel(1);
        if self.sender.send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(deadline);
        }
        if let Some(sent) = sent {
            // The exporter keeps the deadline itself; a little more lets it say what it lost.
            let _ = sent.recv_timeout(deadline + Duration::from_millis(500));
        }
    }
}

/// Whether the sinks of a snapshot could be opened, as far as that can be told without opening any.
pub(crate) fn check(snapshot: &Snapshot, tls: TlsFor) -> Result<(), Error> {
    for (index, settings) in snapshot.config.access_log.iter().enumerate() {
        let place = format!("accessLog[{index}].format");
        Log::check(settings).map_err(|reason| Error { place, reason })?;
    }
    if let Some(wanted) = Wanted::of(snapshot) {
        ready(wanted, snapshot, tls)?;
    }
    Ok(())
}

fn ready(wanted: Wanted, snapshot: &Snapshot, tls: TlsFor) -> Result<Ready, Error> {
    Ready::new(wanted, snapshot, tls).map_err(otlp_error)
}

fn otlp_error(reason: String) -> Error {
    Error { place: "telemetry.otlp".into(), reason }
}

fn log_error(index: usize, reason: String) -> Error {
    Error { place: format!("accessLog[{index}]"), reason }
}

fn open(wanted: &[model::AccessLog]) -> Result<Vec<Log>, Error> {
    let logs = wanted.iter().enumerate();
    logs.map(|(index, settings)| Log::open(settings).map_err(|reason| log_error(index, reason))).collect()
}

fn write(receiver: &Receiver<Message>, waiting: &AtomicUsize, metrics: &Metrics) {
    let mut logs: Vec<Log> = Vec::new();
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Batch(batch) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                for log in &mut logs {
                    let (written, lost) = log.write(&batch);
                    metrics.flow.taken(Sink::AccessLog, written);
                    metrics.flow.lost(Sink::AccessLog, Reason::WriteFailed, lost);
                }
            }
            Message::Logs(new) => logs = new,
            Message::Reopen => logs.iter_mut().for_each(Log::reopen),
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}
