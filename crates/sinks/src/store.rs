//! What waits: in memory first, on disk behind that, always in the order in which it came.

use std::{collections::VecDeque, io, time::Instant};

use bytes::Bytes;

use crate::{
    counts::Reason,
    rules::{Batch, Queue},
    spill::{RECORD_BYTES_MAX, Spill},
};

/// A record that waits.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) bytes: Bytes,
    /// When it came, or was read.
    pub(crate) since: Instant,
    /// Whether a file on disk still has it.
    is_kept: bool,
}

/// All that waits, what is on its way included.
pub(crate) struct Store {
    queue: Queue,
    memory: VecDeque<Entry>,
    /// Of `memory` alone.
    memory_bytes: usize,
    /// Of everything that is in memory: what waits, and what was taken and not released.
    records: usize,
    bytes: usize,
    spill: Option<Spill>,
}

impl Store {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, memory: VecDeque::new(), memory_bytes: 0, records: 0, bytes: 0, spill: None }
    }

    /// From now on what finds the queue full goes there; what it holds came before what comes.
    pub(crate) fn spill_to(&mut self, spill: Spill) {
        self.spill = Some(spill);
    }

    pub(crate) fn has_spill(&self) -> bool {
        self.spill.is_some()
    }

    /// Takes a record, or says why not.
    pub(crate) fn push(&mut self, record: Bytes, now: Instant) -> Result<(), Reason> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(Reason::TooLarge);
        }
        let has_room = self.records < self.queue.records && self.bytes + record.len() <= self.queue.bytes;
        match &mut self.spill {
            // What came before waits on disk, so this has to wait behind it.
            Some(spill) if !has_room || spill.has_waiting() => match spill.append(&record) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Reason::QueueFull),
                Err(error) => {
                    tracing::debug!("a record cannot be written to disk: {error}");
                    Err(Reason::WriteFailed)
                }
            },
            _ if has_room => {
                self.hold(record, now, false);
                Ok(())
            }
            _ => Err(Reason::QueueFull),
        }
    }

    fn hold(&mut self, bytes: Bytes, since: Instant, is_kept: bool) {
        self.records += 1;
        self.bytes += bytes.len();
        self.memory_bytes += bytes.len();
        self.memory.push_back(Entry { bytes, since, is_kept });
    }

    /// Reads from disk when nothing is left in memory; says how much could not be read.
    pub(crate) fn refill(&mut self, now: Instant) -> io::Result<u64> {
        let mut corrupt = 0;
        while self.memory.is_empty()
            && let Some(spill) = &mut self.spill
            && let Some(found) = spill.read()?
        {
            corrupt += found.corrupt;
            found.records.into_iter().for_each(|record| self.hold(record, now, true));
        }
        Ok(corrupt)
    }

    /// When the oldest came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.memory.front().map(|entry| entry.since)
    }

    /// Whether there is enough for a batch, or more than memory holds.
    pub(crate) fn is_full(&self, batch: &Batch) -> bool {
        self.memory.len() >= batch.records
            || self.memory_bytes >= batch.bytes
            || self.spill.as_ref().is_some_and(Spill::has_waiting)
    }

    /// The next batch. It counts as waiting until it is [released](Self::release).
    pub(crate) fn take(&mut self, batch: &Batch) -> Vec<Entry> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.memory.front()
            && taken.len() < batch.records
            && (taken.is_empty() || bytes + next.bytes.len() <= batch.bytes)
        {
            bytes += next.bytes.len();
            taken.extend(self.memory.pop_front());
        }
        self.memory_bytes -= bytes;
        taken
    }

    /// These are done with: delivered, or lost and counted. They are the oldest that were taken.
    pub(crate) fn release(&mut self, entries: &[Entry]) {
        self.records = self.records.saturating_sub(entries.len());
        self.bytes = self.bytes.saturating_sub(entries.iter().map(|entry| entry.bytes.len()).sum());
        let kept = entries.iter().filter(|entry| entry.is_kept).count();
        if let Some(spill) = &mut self.spill {
            spill.done(kept);
        }
    }

    /// Records and bytes in memory, and bytes on disk.
    pub(crate) fn sizes(&self) -> (usize, usize, u64) {
        (self.records, self.bytes, self.spill.as_ref().map_or(0, Spill::bytes))
    }

    /// Ends: what was taken and not released, and what waits, is written down where there is a place for it. Says
    /// how many records are lost.
    pub(crate) fn close(self, taken: &[Entry]) -> u64 {
        let count = (taken.len() + self.memory.len()) as u64;
        let Some(spill) = self.spill else { return count };
        let left = taken.iter().chain(&self.memory);
        spill.close(left.map(|entry| &entry.bytes)).unwrap_or_else(|error| {
            tracing::error!("what waits cannot be written to disk: {error}");
            // Those that a file still has are not lost.
            taken.iter().chain(&self.memory).filter(|entry| !entry.is_kept).count() as u64
        })
    }
}
