//! What became of records, for whoever looks: a lane counts, metrics and the admin endpoint read.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

/// Why a record was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The thread that takes records was behind.
    Behind,
    /// The queue was full, and so was the spill where there is one.
    QueueFull,
    /// The record alone is larger than anything may be.
    TooLarge,
    /// It could not be written: to its file, or to the spill.
    WriteFailed,
    /// The receiver refused it for good.
    Refused,
    /// The receiver took the batch, but not all that was in it.
    Partial,
    /// The receiver was away for longer than a batch is kept.
    Unreachable,
    /// What the spill held of it could not be read again.
    Corrupt,
    /// The end came first.
    Shutdown,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Behind,
        Self::QueueFull,
        Self::TooLarge,
        Self::WriteFailed,
        Self::Refused,
        Self::Partial,
        Self::Unreachable,
        Self::Corrupt,
        Self::Shutdown,
    ];

    /// As metrics say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::QueueFull => "queue-full",
            Self::TooLarge => "too-large",
            Self::WriteFailed => "write-failed",
            Self::Refused => "refused",
            Self::Partial => "partial",
            Self::Unreachable => "unreachable",
            Self::Corrupt => "corrupt",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The counts of a lane.
#[derive(Debug, Default)]
pub struct Counts {
    delivered: AtomicU64,
    dropped: [AtomicU64; Reason::ALL.len()],
    batches: AtomicU64,
    retries: AtomicU64,
    waiting_records: AtomicU64,
    waiting_bytes: AtomicU64,
    spilled_bytes: AtomicU64,
    is_failing: AtomicBool,
    error: Mutex<Option<String>>,
}

impl Counts {
    /// Records that the receiver took.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    /// Records that were lost so.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize].load(Relaxed)
    }

    /// Records that were lost.
    pub fn all_dropped(&self) -> u64 {
        Reason::ALL.into_iter().map(|reason| self.dropped(reason)).sum()
    }

    /// Batches that the receiver took.
    pub fn batches(&self) -> u64 {
        self.batches.load(Relaxed)
    }

    /// Tries after a first one.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Records that wait in memory, what is on its way included.
    pub fn waiting_records(&self) -> u64 {
        self.waiting_records.load(Relaxed)
    }

    /// Their bytes.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Relaxed)
    }

    /// Bytes on disk.
    pub fn spilled_bytes(&self) -> u64 {
        self.spilled_bytes.load(Relaxed)
    }

    /// Whether the last try was taken; true before the first one.
    pub fn is_up(&self) -> bool {
        !self.is_failing.load(Relaxed)
    }

    /// Why the last try failed, while it is the last.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a loss.
    pub fn lost(&self, reason: Reason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Relaxed);
    }

    /// Counts records that were taken.
    pub fn taken(&self, count: u64) {
        self.delivered.fetch_add(count, Relaxed);
    }

    /// States whether the last try went well. True when that is news.
    pub fn went(&self, error: Option<&str>) -> bool {
        let was_failing = self.is_failing.swap(error.is_some(), Relaxed);
        if was_failing || error.is_some() {
            *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error.map(str::to_owned);
        }
        was_failing != error.is_some()
    }

    pub(crate) fn batch(&self) {
        self.batches.fetch_add(1, Relaxed);
    }

    pub(crate) fn again(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn waits(&self, records: usize, bytes: usize, spilled: u64) {
        self.waiting_records.store(records as u64, Relaxed);
        self.waiting_bytes.store(bytes as u64, Relaxed);
        self.spilled_bytes.store(spilled, Relaxed);
    }
}
