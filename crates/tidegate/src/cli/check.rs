//! `validate`, `schema` and `version`.

use std::sync::Arc;

use super::{Done, ValidateArgs, color, here, load_with};
use crate::{config::Vaults, exit::Exit};

/// Checks a configuration as `run` would, without serving it: certificates are read, expressions compiled.
pub(crate) fn validate(args: &ValidateArgs) -> Done {
    let files = args.config.files();
    if files.is_none() {
        eprintln!(
            "warning: no file was named, so this is the configuration that is built in: give `--config FILE`, or set \
             TIDEGATE_CONFIG"
        );
    }
    let vaults = args.vault.then(Vaults::of_a_check);
    let snapshot = load_with(files.as_ref(), vaults.as_ref())?;
    let unread = snapshot.unread_secrets();
    if !snapshot.warnings.is_empty() {
        eprintln!("{}", snapshot.warnings.render(color()));
    }
    let config = snapshot.config.clone();
    let odd = snapshot.oddities(&here::oddities(&config));
    if !odd.is_empty() {
        eprintln!("{}", odd.render(color()));
    }
    let background = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })?;
    let snapshot = Arc::new(snapshot);
    let mut found = Vec::new();
    if let Err(error) = telemetry::Telemetry::check(&snapshot, proxy::receiver_tls) {
        found.push(model::Finding::new("", error.place, error.reason));
    }
    if let Some(Err(error)) =
        config.admin.as_ref().and_then(|admin| Some(proxy::server_tls(admin.tls.as_ref()?, &snapshot)))
    {
        found.push(model::Finding::new("", "admin.tls", error));
    }
    let found = snapshot.errors(&found);
    if !found.is_empty() {
        eprintln!("{}", found.render(color()));
    }
    match proxy::Gateway::check(snapshot, background.handle()) {
        Ok(warnings) if found.is_empty() => {
            if !warnings.is_empty() {
                eprintln!("{}", warnings.render(color()));
            }
            let models = config.ai.as_ref().map_or_else(String::new, |ai| {
                let providers = counted(ai.providers.len(), "AI provider");
                format!(", {providers}, {}", counted(ai.models.len(), "model"))
            });
            show!(
                "ok: {}, {}, {}, {}{models}",
                counted(config.listeners.len(), "listener"),
                counted(config.routes.len(), "route"),
                counted(config.upstreams.len(), "upstream"),
                counted(config.consumers.len(), "consumer")
            );
            Ok(())
        }
        outcome => {
            let exit = outcome.err().map_or(Exit::Configuration, |error| refused(&error));
            if unread > 0 {
                eprintln!(
                    "note: secrets of the vault were not read, so that what is said about their form is nothing to go by; \
                     `--vault` reads them"
                );
            }
            Err(exit)
        }
    }
}

/// A number of things, in words.
fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Says why a configuration that could be read cannot be served.
pub(crate) fn refused(error: &proxy::Error) -> Exit {
    match error {
        proxy::Error::Configuration(found) => eprintln!("{}", found.render(color())),
        error => eprintln!("error: {error}"),
    }
    Exit::Configuration
}

/// Prints the JSON Schema.
pub(crate) fn schema() -> Done {
    let schema = model::schema();
    match serde_json::to_string_pretty(&schema) {
        Ok(text) => {
            show!("{text}");
            Ok(())
        }
        Err(error) => {
            eprintln!("error: {error}");
            Err(Exit::Failed)
        }
    }
}

/// Prints the version.
pub(crate) fn version() -> Done {
    show!("tidegate {}", env!("CARGO_PKG_VERSION"));
    show!("profile: {}", if cfg!(debug_assertions) { "dev" } else { "release" });
    Ok(())
}
