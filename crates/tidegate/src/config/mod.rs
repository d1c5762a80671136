//! Configuration files: where they are, what is in them, and when they change.

mod files;
mod watch;

use std::path::Path;

use bytes::Bytes;
use model::{Diagnostics, Snapshot, Source};

pub(crate) use self::{
    files::Files,
    watch::{INTERVAL as WATCH_INTERVAL, Watch},
};

/// What runs when no file is given.
pub(crate) const DEFAULT: &str = include_str!("default.yaml");

/// Reads the environment and files for the model, which does neither.
struct System;

impl model::Resolver for System {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> std::io::Result<Bytes> {
        std::fs::read(path).map(Bytes::from)
    }
}

/// Why a configuration could not be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// A file could not be read.
    Files(String),
    /// What is in them is refused.
    Refused(Diagnostics),
}

impl LoadError {
    /// The whole story, for a terminal or a log.
    pub(crate) fn render(&self, color: bool) -> String {
        match self {
            Self::Files(text) => text.clone(),
            Self::Refused(diagnostics) => diagnostics.render(color),
        }
    }
}

/// Loads a configuration; without files, the built-in one.
pub(crate) fn load(files: Option<&Files>) -> Result<Snapshot, LoadError> {
    let sources = match files {
        Some(files) => files.read().map_err(LoadError::Files)?,
        None => vec![Source::new("(built-in default)", DEFAULT)],
    };
    model::load(&sources, &System).map_err(LoadError::Refused)
}
