//! What a call record has of a message to an agent.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

/// A message of the Agent2Agent protocol.
#[derive(Debug, Default)]
pub struct A2aRecord {
    /// The agent's name.
    pub agent: Arc<str>,
    /// Its method, by the name in 1.0; `card` for a card.
    pub method: &'static str,
    task: OnceLock<Box<str>>,
    context: OnceLock<Box<str>>,
    events: AtomicU64,
    error: AtomicI64,
}

impl A2aRecord {
    /// Begins the record of a message.
    pub fn new(agent: Arc<str>, method: &'static str) -> Self {
        Self { agent, method, ..Self::default() }
    }

    /// Notes the task that it is about, by the id that the client knows; the first counts.
    pub fn about_task(&self, id: &str) {
        let _ = self.task.set(id.into());
    }

    /// The same of the context.
    pub fn in_context(&self, id: &str) {
        let _ = self.context.set(id.into());
    }

    /// Notes an event of a stream.
    pub fn event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the code of an error.
    pub fn fail(&self, code: i64) {
        self.error.store(code, Ordering::Relaxed);
    }

    /// The task's id.
    pub fn task(&self) -> Option<&str> {
        self.task.get().map(|id| &**id)
    }

    /// The context's id.
    pub fn context(&self) -> Option<&str> {
        self.context.get().map(|id| &**id)
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The code of the error that it ended with.
    pub fn error(&self) -> Option<i64> {
        Some(self.error.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }
}
