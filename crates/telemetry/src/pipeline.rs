//! The thread that writes: batches of records come in over a bounded channel, lines go out.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use model::{CallRecord, Snapshot};

use crate::{Error, Metrics, access::Log};

/// Batches that wait for the thread; beyond them records are dropped and counted.
const QUEUE: usize = 64;

/// The thread that writes, seen from outside.
pub(crate) struct Pipeline {
    sender: SyncSender<Message>,
    has_sinks: AtomicBool,
    /// Settings of the logs that are open.
    logs: Mutex<Vec<model::AccessLog>>,
}

enum Message {
    Batch(Vec<CallRecord>),
    Logs(Vec<Log>),
    Reopen,
    Flush(SyncSender<()>),
}

impl Pipeline {
    pub(crate) fn start(_metrics: Arc<Metrics>) -> Result<Self, Error> {
        let (sender, receiver) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("telemetry".into())
            .spawn(move || write(&receiver))
            .map_err(|error| Error { place: "telemetry".into(), reason: error.to_string() })?;
        Ok(Self { sender, has_sinks: AtomicBool::new(false), logs: Mutex::default() })
    }

    /// Opens the logs of a snapshot; when one cannot be opened, all stay as they were.
    pub(crate) fn apply(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let wanted = &snapshot.config.access_log;
        let mut open = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if *open == *wanted {
            return Ok(());
        }
        let logs = wanted
            .iter()
            .enumerate()
            .map(|(index, settings)| {
                Log::open(settings).map_err(|reason| Error { place: format!("accessLog[{index}]"), reason })
            })
            .collect::<Result<Vec<_>, _>>()?;
        wanted.clone_into(&mut open);
        self.has_sinks.store(!logs.is_empty(), Ordering::Relaxed);
        let _ = self.sender.send(Message::Logs(logs));
        Ok(())
    }

    pub(crate) fn has_sinks(&self) -> bool {
        self.has_sinks.load(Ordering::Relaxed)
    }

    /// Hands a batch over; false when the thread is behind.
    pub(crate) fn offer(&self, batch: Vec<CallRecord>) -> bool {
        !matches!(
            self.sender.try_send(Message::Batch(batch)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
        )
    }

    pub(crate) fn reopen(&self) {
        let _ = self.sender.send(Message::Reopen);
    }

    /// Waits until everything handed over so far is written.
    pub(crate) fn flush(&self, deadline: Duration) {
        let (done, wait) = sync_channel(1);
        if self.sender.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(deadline);
        }
    }
}

fn write(receiver: &Receiver<Message>) {
    let mut logs: Vec<Log> = Vec::new();
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Batch(batch) => logs.iter_mut().for_each(|log| log.write(&batch)),
            Message::Logs(new) => logs = new,
            Message::Reopen => logs.iter_mut().for_each(Log::reopen),
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}
