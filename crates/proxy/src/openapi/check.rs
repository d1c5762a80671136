//! What is wrong with a message: where, and what was expected there, never what was found.

use serde_json::{Value, json};

/// Faults of one message that are told.
pub(crate) const FAULTS_MAX: usize = 16;
/// Letters of a place and of an expectation that are told.
const TOLD_MAX: usize = 300;

/// Where in a message a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Path,
    Query,
    Header,
    Cookie,
    Body,
    Status,
}

impl Where {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::Body => "body",
            Self::Status => "status",
        }
    }
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Where,
    /// The name of the parameter.
    pub(crate) name: Option<Box<str>>,
    /// A JSON pointer into the value.
    pub(crate) pointer: String,
    /// What was expected, in words of the document.
    pub(crate) expected: String,
}

impl Fault {
    pub(crate) fn body(pointer: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { at: Where::Body, name: None, pointer: pointer.into(), expected: expected.into() }
    }

    /// As a line for the log.
    pub(crate) fn line(&self) -> String {
        let name = self.name.as_deref().map(|name| format!(" {}", cut(name))).unwrap_or_default();
        let pointer =
            if self.pointer.is_empty() { String::new() } else { format!(" {}", cut(&self.pointer)) };
        format!("{}{name}{pointer}: {}", self.at.as_str(), cut(&self.expected))
    }

    fn told(&self) -> Value {
        let mut told = json!({"in": self.at.as_str(), "detail": cut(&self.expected)});
        if let Some(name) = &self.name {
            told["name"] = cut(name).into();
        }
        if self.name.is_none() || !self.pointer.is_empty() {
            told["pointer"] = format!("#{}", cut(&self.pointer)).into();
        }
        told
    }
}

/// The faults as a member of a problem document.
pub(crate) fn told(faults: &[Fault]) -> Value {
    faults.iter().take(FAULTS_MAX).map(Fault::told).collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TOLD_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
