//! What the admin endpoint proves and is proved by: its token and its TLS, read anew with every configuration.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_rustls::rustls::ServerConfig;

use super::{tls, token};

/// Token and TLS as they are now.
pub(crate) struct Secrets {
    /// The token of the command line or the environment, which goes over all others.
    given: Option<String>,
    data_dir: PathBuf,
    now: Mutex<Current>,
}

/// Token and TLS of one configuration.
#[derive(Clone, Default)]
pub(crate) struct Current {
    token: Arc<str>,
    tls: Option<Arc<ServerConfig>>,
}

impl Secrets {
    pub(crate) fn new(given: Option<String>, data_dir: PathBuf) -> Self {
        Self { given, data_dir, now: Mutex::default() }
    }

    /// Reads them as a configuration has them. Nothing has changed yet.
    pub(crate) fn read(&self, snapshot: &model::Snapshot) -> Result<Current, String> {
        let Some(settings) = &snapshot.config.admin else { return Ok(Current::default()) };
        let tls = tls::config(settings, snapshot).map_err(|error| format!("admin.tls: {error}"))?;
        let token = token::find(settings, snapshot, self.given.as_deref(), &self.data_dir)?;
        Ok(Current { token: token.into(), tls })
    }

    /// Follows a configuration. Without `admin` in it, and without TLS where there was some, things stay as they are
    /// until the next start.
    pub(crate) fn set(&self, next: Current) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if !next.token.is_empty() {
            now.token = next.token;
        }
        now.tls = next.tls.or_else(|| now.tls.take());
    }

    pub(super) fn token(&self) -> Arc<str> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).token.clone()
    }

    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).tls.clone()
    }
}
