//! Of a message to a server of tools.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// A message of the Model Context Protocol.
#[derive(Debug, Default)]
pub struct McpRecord {
    /// Its method, such as `tools/call`; `response` for an answer of the client's.
    pub method: Box<str>,
    /// The tool, prompt or resource that it names, as the client does.
    pub name: Option<Box<str>>,
    /// It is a call of a tool that its server lists or that a rule names, so that it can be counted by its name.
    pub is_known_tool: bool,
    /// The server that it went to, where it was one.
    pub server: Option<Arc<str>>,
    /// A digest of the session, which says nothing of its id.
    pub session: Option<Box<str>>,
    /// The revision that the client speaks.
    pub revision: &'static str,
    /// How it ended, as far as is known: 1 well, 2 with an error of the protocol's, 3 with a tool's, 4 with
    /// questions that the client is to answer first.
    end: AtomicU8,
}

impl McpRecord {
    /// Notes how it ended: with an error of the protocol's, or with a result that is one of the tool's.
    pub fn ended(&self, is_error: bool, is_tool_error: bool) {
        let end = if is_error {
            2
        } else if is_tool_error {
            3
        } else {
            1
        };
        self.end.store(end, Ordering::Relaxed);
    }

    /// Notes that the client is asked something before it gets an answer.
    pub fn asked(&self) {
        self.end.store(4, Ordering::Relaxed);
    }

    /// Whether the client is asked something before it gets an answer.
    pub fn is_asked(&self) -> bool {
        self.end.load(Ordering::Relaxed) == 4
    }

    /// What kind of error it ended with, in the words of OpenTelemetry's conventions.
    pub fn failed(&self) -> Option<&'static str> {
        match self.end.load(Ordering::Relaxed) {
            2 => Some("_OTHER"),
            3 => Some("tool_error"),
            _ => None,
        }
    }

    /// Whether it ended with an error, of either kind; `None` when that is not known.
    pub fn is_error(&self) -> Option<bool> {
        match self.end.load(Ordering::Relaxed) {
            0 => None,
            end => Some(matches!(end, 2 | 3)),
        }
    }
}
