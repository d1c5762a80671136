//! Resolves what a configuration refers to, and freezes both in a snapshot.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::check::{Reference, Referred};
use crate::{
    Config, Resolver, Snapshot,
    diagnostic::{Diagnostic, Diagnostics, Place},
    digest::Digest,
    load::places::Places,
};

/// Bytes of a file that the configuration refers to.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the references stand for.
#[derive(Default)]
pub(super) struct Resolved {
    env: BTreeMap<String, String>,
    secret_files: BTreeMap<PathBuf, String>,
    files: BTreeMap<PathBuf, Bytes>,
}

/// Asks for everything that is referred to; what cannot be had is told.
pub(super) fn ask(referred: &[Referred], resolver: &dyn Resolver, found: &mut Diagnostics) -> Resolved {
    let Resolved { mut env, mut secret_files, mut files } = Resolved::default();
    for one in referred {
        let resolved = match &one.reference {
            Reference::Env(name) => {
                variable(resolver, name).map(|value| drop(env.insert(name.clone(), value)))
            }
            Reference::SecretFile(path) => {
                secret(resolver, path).map(|value| drop(secret_files.insert(PathBuf::from(path), value)))
            }
            Reference::File(path) => {
                file(resolver, path).map(|content| drop(files.insert(PathBuf::from(path), content)))
            }
        };
        if let Err(wrong) = resolved {
            found.push(Diagnostic::error(&one.path, wrong).at(one.place));
        }
    }
    Resolved { env, secret_files, files }
}

/// Freezes a configuration with what it refers to.
pub(super) fn freeze(
    config: Config,
    Resolved { env, secret_files, files }: Resolved,
    literals: &[(Place, String)],
    places: Places,
    found: &mut Diagnostics,
) -> Snapshot {
    let mut digest = Digest::default();
    digest.add(serde_json::to_string(&config).unwrap_or_default());
    literals.iter().for_each(|(_, literal)| digest.add(literal));
    env.values().chain(secret_files.values()).for_each(|secret| digest.add(secret));
    files.values().for_each(|content| digest.add(content));
    let revision = digest.finish();
    let snapshot = Snapshot {
        config: Arc::new(config),
        revision,
        warnings: Arc::default(),
        places: Arc::new(places),
        env,
        secret_files,
        files,
    };
    crate::rules::credentials::check(&snapshot, found);
    snapshot
}

fn variable(resolver: &dyn Resolver, name: &str) -> Result<String, String> {
    match resolver.env(name) {
        Some(value) if !value.is_empty() => Ok(value),
        Some(_) => Err(format!("the environment variable `{name}` is empty")),
        None => Err(format!("the environment variable `{name}` is not set")),
    }
}

fn file(resolver: &dyn Resolver, path: &str) -> Result<Bytes, String> {
    let content = resolver.file(Path::new(path)).map_err(|wrong| format!("cannot read `{path}`: {wrong}"))?;
    match content.len() > FILE_BYTES_MAX {
        true => Err(format!("`{path}` has more than {FILE_BYTES_MAX} bytes")),
        false => Ok(content),
    }
}

fn secret(resolver: &dyn Resolver, path: &str) -> Result<String, String> {
    let content = file(resolver, path)?;
    let text = std::str::from_utf8(&content).map_err(|_| format!("`{path}` is not a text"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text.is_empty() {
        true => Err(format!("`{path}` is empty")),
        false => Ok(text.to_owned()),
    }
}
