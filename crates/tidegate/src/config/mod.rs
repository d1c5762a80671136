//! Configuration files: where they are, what is in them, and when they change.

mod files;
mod watch;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::{Diagnostics, Snapshot, Source};

pub(crate) use self::{
    files::Files,
    watch::{INTERVAL as WATCH_INTERVAL, Watch},
};

/// What runs when no file is given.
pub(crate) const DEFAULT: &str = include_str!("default.yaml");

/// Reads the environment and files for the model, which does neither.
pub(crate) struct System {
    /// What relative paths are relative to: the folder of the configuration.
    base: PathBuf,
}

impl System {
    pub(crate) fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into() }
    }
}

impl model::Resolver for System {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> std::io::Result<Bytes> {
        std::fs::read(self.base.join(path)).map(Bytes::from)
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
    let (sources, base) = match files {
        Some(files) => (files.read().map_err(LoadError::Files)?, files.base()),
        None => (vec![Source::new("(built-in default)", DEFAULT)], PathBuf::from(".")),
    };
    model::load(&sources, &System::new(base)).map_err(LoadError::Refused)
}
