//! What became of calls for files, and how many files are on their way, as metrics.

use std::sync::{
    Weak,
    atomic::{AtomicU64, Ordering},
};

use telemetry::{Collect, Exposition};

use crate::{handler::Handler, worker::Shared};

/// What became of a call for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is answered with a file, a part of one, or that the client has it already.
    File,
    /// Sent to the directory's own address.
    Directory,
    /// Nothing is there.
    Missing,
    /// The gateway may not read it.
    Forbidden,
    /// It could not be read.
    Failed,
    /// As many files were on their way as there may be.
    Busy,
    /// The disk did not answer.
    Slow,
}

const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::File, "file"),
    (Outcome::Directory, "directory"),
    (Outcome::Missing, "missing"),
    (Outcome::Forbidden, "forbidden"),
    (Outcome::Failed, "failed"),
    (Outcome::Busy, "busy"),
    (Outcome::Slow, "slow"),
];

/// How something was looked for or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It was in memory.
    AtOnce,
    /// A thread waited for the disk.
    Waiting,
}

const HOWS: [(How, &str); 2] = [(How::AtOnce, "memory"), (How::Waiting, "disk")];

/// The counts of one route. They go on over reloads.
#[derive(Debug, Default)]
pub(super) struct Counts {
    answers: [AtomicU64; OUTCOMES.len()],
    reads: [AtomicU64; HOWS.len()],
}

impl Counts {
    pub(super) fn note(&self, outcome: Outcome) {
        self.answers[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, how: How) {
        self.reads[how as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells of the live configuration's files.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let mut all: Vec<_> = compiled
            .routes
            .iter()
            .filter_map(|route| match &route.handler {
                Handler::Static(files) => Some((&*route.name, files)),
                _ => None,
            })
            .collect();
        all.sort_by_key(|(name, _)| *name);
        let help = "Files of a route of files that are on their way.";
        for (route, files) in &all {
            out.gauge("tidegate_static_open_files", help, &[("route", route)], files.on_their_way() as f64);
        }
        let help = "Calls of a route of files, by what became of them.";
        for (route, files) in &all {
            for (outcome, name) in OUTCOMES {
                let count = files.0.counts.answers[outcome as usize].load(Ordering::Relaxed) as f64;
                out.counter(
                    "tidegate_static_answers_total",
                    help,
                    &[("route", route), ("outcome", name)],
                    count,
                );
            }
        }
        let help = "Files of a route that were looked for and parts of them that were read, by whether a disk was waited for.";
        for (route, files) in &all {
            for (how, name) in HOWS {
                let count = files.0.counts.reads[how as usize].load(Ordering::Relaxed) as f64;
                out.counter("tidegate_static_reads_total", help, &[("route", route), ("how", name)], count);
            }
        }
    }
}
