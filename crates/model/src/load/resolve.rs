//! Resolves what a configuration refers to, and freezes both in a snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::check::{Reference, Referred};
use crate::{
    Config, Resolver, Snapshot, VaultName,
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
            // When all that opens it is known.
            Reference::Vault(_) => Ok(()),
        };
        if let Err(wrong) = resolved {
            found.push(Diagnostic::error(&one.path, wrong).at(one.place));
        }
    }
    Resolved { env, secret_files, files }
}

/// A snapshot that still lacks what lies in a vault, and its revision.
pub(super) fn unfinished(config: Arc<Config>, resolved: Resolved, places: Places) -> Snapshot {
    let Resolved { env, secret_files, files } = resolved;
    Snapshot {
        config,
        revision: String::new(),
        warnings: Arc::default(),
        places: Arc::new(places),
        env,
        secret_files,
        files,
        vault: BTreeMap::new(),
        unread: 0,
    }
}

/// Asks for what lies in the vault; what cannot be had is told.
pub(super) fn ask_vault(
    snapshot: &mut Snapshot,
    referred: &[Referred],
    resolver: &dyn Resolver,
    found: &mut Diagnostics,
) {
    let all = || {
        referred.iter().filter_map(|one| match &one.reference {
            Reference::Vault(name) => Some((one, name)),
            _ => None,
        })
    };
    let names: Vec<VaultName> =
        all().map(|(_, name)| name.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let Some((first, _)) = all().next() else { return };
    if snapshot.config.vault.is_none() {
        for (one, _) in all() {
            let wrong = Diagnostic::error(&one.path, "there is no vault in this configuration").at(one.place);
            found.push(wrong.help("say under `vault` where it is and how it is opened"));
        }
        return;
    }
    let Some(told) = resolver.vault(snapshot, &names) else {
        let count = names.len();
        let (what, were) = if count == 1 { ("secret", "was") } else { ("secrets", "were") };
        let text = format!("the vault was not asked: {count} {what} of it {were} neither read nor checked");
        let odd = Diagnostic::warning(&first.path, text).at(first.place);
        found.push(odd.help("`tidegate validate --vault` reads and checks them"));
        snapshot.unread = count;
        snapshot.vault = names.into_iter().map(|name| (name.clone(), stand_in(&name))).collect();
        return;
    };
    let told: BTreeMap<VaultName, Result<String, String>> = names.into_iter().zip(told).collect();
    for (one, name) in all() {
        let wrong = match told.get(name) {
            Some(Ok(value)) if value.is_empty() => format!("`{name}` is empty in the vault"),
            Some(Ok(_)) => continue,
            Some(Err(wrong)) => wrong.clone(),
            None => format!("`{name}` cannot be read from the vault"),
        };
        found.push(Diagnostic::error(&one.path, wrong).at(one.place));
    }
    snapshot.vault = told.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))).collect();
}

/// What stands in for a secret that nobody asked for: another one for each name, and long enough for anything.
fn stand_in(name: &VaultName) -> String {
    let mut digest = Digest::default();
    digest.add(name.to_string());
    let once = digest.finish();
    format!("not-read-{once}-{once}-{once}")
}

/// Freezes a configuration with what it refers to.
pub(super) fn freeze(
    mut snapshot: Snapshot,
    literals: &[(Place, String)],
    found: &mut Diagnostics,
) -> Snapshot {
    let mut digest = Digest::default();
    digest.add(serde_json::to_string(&*snapshot.config).unwrap_or_default());
    literals.iter().for_each(|(_, literal)| digest.add(literal));
    let Snapshot { env, secret_files, vault, files, .. } = &snapshot;
    env.values().chain(secret_files.values()).chain(vault.values()).for_each(|secret| digest.add(secret));
    files.values().for_each(|content| digest.add(content));
    snapshot.revision = digest.finish();
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
