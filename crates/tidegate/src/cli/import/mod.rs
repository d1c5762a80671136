//! `import`: configurations of other gateways as ours, with a report of what has no counterpart.

mod kong;
mod leftovers;
mod litellm;
mod nginx;
mod providers;
mod yaml;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use self::leftovers::leftovers;
use super::{Done, color};
use crate::exit::Exit;

#[derive(Subcommand)]
pub(crate) enum ImportCommand {
    /// Turn a `config.yaml` of LiteLLM's proxy into a configuration of ours, on standard output.
    ///
    /// What has no counterpart is told on standard error, each with its path.
    Litellm {
        /// The file.
        file: PathBuf,
    },
    /// Turn a declarative configuration of Kong (`kong.yml`) into a configuration of ours, on standard output.
    ///
    /// What has no counterpart is told on standard error, each with its path.
    Kong {
        /// The file.
        file: PathBuf,
    },
    /// Turn a configuration of nginx (`nginx.conf`, with what it includes) into a configuration of ours, on standard output.
    ///
    /// What has no counterpart is told on standard error, each with its file and line.
    Nginx {
        /// The file.
        file: PathBuf,
    },
}

/// What an import gives.
#[derive(Default)]
struct Imported {
    /// Our configuration.
    config: serde_json::Value,
    /// What must be looked at, each with the path in their file.
    notes: Vec<String>,
}

/// What lets nobody in, until somebody has looked at it.
fn nobody() -> serde_json::Value {
    serde_json::json!({"ipRestriction": {"deny": ["0.0.0.0/0", "::/0"]}})
}

/// A name that nothing has yet: the wished one, or that with a number behind it.
fn free_name(wish: &str, is_free: impl Fn(&str) -> bool) -> String {
    let numbered = (2_u64..).map(|number| format!("{wish}-{number}"));
    std::iter::once(wish.to_owned()).chain(numbered).find(|name| is_free(name)).unwrap_or_default()
}

/// Turns theirs into ours.
type Turn = fn(&serde_json::Value) -> Result<Imported, String>;

/// Runs the command.
pub(crate) fn import(command: &ImportCommand) -> Done {
    let (file, from) = match command {
        ImportCommand::Litellm { file } => (file, "LiteLLM"),
        ImportCommand::Kong { file } => (file, "Kong"),
        ImportCommand::Nginx { file } => (file, "nginx"),
    };
    let imported = match command {
        ImportCommand::Litellm { file } => of_document(file, litellm::import)?,
        ImportCommand::Kong { file } => of_document(file, kong::import)?,
        ImportCommand::Nginx { file } => nginx::import(file).map_err(|what| {
            eprintln!("error: {what}");
            Exit::Configuration
        })?,
    };
    for note in &imported.notes {
        eprintln!("{note}");
    }
    show!(
        "# From {from}'s {}. Check it with `tidegate validate`.\n{}",
        file.display(),
        yaml::write(&imported.config).trim_end()
    );
    Ok(())
}

/// Reads a document of YAML and turns it into ours.
fn of_document(file: &Path, turn: Turn) -> Result<Imported, Exit> {
    let shown = file.display();
    let refused = |what: String| {
        eprintln!("error: {shown}: {what}");
        Exit::Configuration
    };
    let text = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
    let source = model::Source::new(shown.to_string(), text);
    let theirs = model::document(&source).map_err(|found| {
        eprintln!("{}", found.render(color()));
        Exit::Configuration
    })?;
    turn(&theirs).map_err(refused)
}
