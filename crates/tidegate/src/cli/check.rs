//! `validate`, `schema` and `version`.

use std::sync::Arc;

use super::{ConfigArgs, Done, color, load};
use crate::exit::Exit;

/// Checks a configuration as `run` would, without serving it: certificates are read, expressions compiled.
pub(crate) fn validate(args: &ConfigArgs) -> Done {
    let files = args.files();
    let snapshot = load(files.as_ref())?;
    if !snapshot.warnings.is_empty() {
        eprintln!("{}", snapshot.warnings.render(color()));
    }
    let config = snapshot.config.clone();
    let background = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })?;
    if let Err(error) = telemetry::Telemetry::check(&snapshot, proxy::receiver_tls) {
        eprintln!("error: {error}");
        return Err(Exit::Configuration);
    }
    match proxy::Gateway::check(Arc::new(snapshot), background.handle()) {
        Ok(warnings) => {
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            show!(
                "ok: {} listeners, {} routes, {} upstreams, {} consumers",
                config.listeners.len(),
                config.routes.len(),
                config.upstreams.len(),
                config.consumers.len()
            );
            Ok(())
        }
        Err(error) => {
            eprintln!("error: {error}");
            Err(Exit::Configuration)
        }
    }
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
