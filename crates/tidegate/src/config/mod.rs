//! Configuration files: where they are, what is in them, and when they change.

mod files;
mod vaults;
mod watch;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use bytes::Bytes;
use model::{Diagnostics, Snapshot, Source};

pub(crate) use self::{
    files::Files,
    vaults::{Report as VaultReport, Vaults},
    watch::{INTERVAL as WATCH_INTERVAL, Watch},
};

/// Ports that the built-in configuration tries.
const PORTS_TRIED: u16 = 100;

/// What runs when no file is given. Ports that somebody else has give way to the next ones, once for the process.
fn built_in() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let text = include_str!("default.yaml");
        [8080, 9080].into_iter().fold(text.to_owned(), |text, usual: u16| {
            let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
            let port = (usual..usual + PORTS_TRIED).find(free).unwrap_or(usual);
            text.replace(&format!(":{usual}"), &format!(":{port}"))
        })
    })
}

/// Reads the environment, files and vaults for the model, which does nothing of that.
struct System<'v> {
    /// Nothing lies in the vault for whoever only looks at a configuration.
    vaults: Option<&'v Vaults>,
}

impl model::Resolver for System<'_> {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> std::io::Result<Bytes> {
        std::fs::read(path).map(Bytes::from).map_err(|error| match std::path::absolute(path) {
            // Where a relative path begins is the first thing to go wrong.
            Ok(whole) if path.is_relative() => std::io::Error::new(
                error.kind(),
                format!("{error}; it was looked for at `{}`", whole.display()),
            ),
            _ => error,
        })
    }

    fn vault(&self, so_far: &Snapshot, names: &[model::VaultName]) -> Option<Vec<Result<String, String>>> {
        self.vaults.map(|vaults| vaults.read(so_far, names))
    }
}

/// For whoever looks at settings alone: no secret and no file of a configuration is read, and none has to be there.
struct Unread;

impl model::Resolver for Unread {
    fn env(&self, name: &str) -> Option<String> {
        Some(format!("not-read-{name}"))
    }

    fn file(&self, path: &Path) -> std::io::Result<Bytes> {
        Ok(Bytes::from(format!("not-read-{}", path.display())))
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
    /// What is wrong, where, and what to do, a line each, without a line of any file: for whoever may ask.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Files(text) => text.clone(),
            Self::Refused(diagnostics) => diagnostics.errors().to_string(),
        }
    }

    /// Files that the configuration refers to, as far as it could be read.
    pub(crate) fn referenced_files(&self) -> Vec<PathBuf> {
        match self {
            Self::Files(_) => Vec::new(),
            Self::Refused(diagnostics) => diagnostics.referenced_files().to_vec(),
        }
    }

    /// The whole story, for a terminal.
    pub(crate) fn render(&self, color: bool) -> String {
        match self {
            Self::Files(text) => text.clone(),
            Self::Refused(diagnostics) => diagnostics.render(color),
        }
    }
}

/// Loads a configuration; without files, the built-in one. Without vaults nobody is asked for what lies there.
pub(crate) fn load(files: Option<&Files>, vaults: Option<&Vaults>) -> Result<Snapshot, LoadError> {
    let sources = match files {
        Some(files) => sources(files)?,
        None => vec![Source::new("(built-in default)", built_in())],
    };
    model::load(&sources, &System { vaults }).map_err(LoadError::Refused)
}

/// Loads what a configuration says, without what it refers to: something stands in for each secret and each file.
pub(crate) fn load_settings(files: &Files) -> Result<Snapshot, LoadError> {
    model::load(&sources(files)?, &Unread).map_err(LoadError::Refused)
}

fn sources(files: &Files) -> Result<Vec<Source>, LoadError> {
    let sources = files.read().map_err(LoadError::Files)?;
    refuse_empty(&sources).map_err(LoadError::Files)?;
    Ok(sources)
}

/// Refuses a file that somebody has cut short, and files that say nothing at all: taken at their word they close every
/// listener.
fn refuse_empty(sources: &[Source]) -> Result<(), String> {
    let is_blank = |line: &str| line.trim().is_empty();
    let says_nothing =
        |line: &str| is_blank(line) || line.trim_start().starts_with('#') || line.trim() == "---";
    let cut = sources.iter().find(|source| source.text.lines().all(is_blank));
    let silent = || sources.iter().all(|source| source.text.lines().all(says_nothing));
    match (cut, sources) {
        (Some(source), _) => Err(empty(&source.name)),
        (None, [first, ..]) if silent() => Err(empty(&first.name)),
        (None, _) => Ok(()),
    }
}

fn empty(name: &str) -> String {
    format!(
        "{name} is empty; `listeners: []` says that nothing is to be listened on, and without --config a built-in \
         page shows how to begin"
    )
}
