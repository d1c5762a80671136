//! Reloads: a configuration is loaded anew and made live, or refused as a whole while the old one runs on.
//!
//! Files, signals and the admin API ask for them; they run one after the other, so that what was read last is what is
//! live in the end.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    config,
    run::{Running, warn_of},
    service,
};

/// The reloads of a process.
pub(crate) struct Reloads {
    /// Held by the one that runs.
    turn: Mutex<()>,
    state: Mutex<State>,
    /// What the process was started with, or what was acknowledged since: what it exposes needs no other word.
    accepted: Mutex<Arc<model::Snapshot>>,
}

/// How the last reload went.
#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    /// Reloads that were applied.
    pub(crate) applied: u64,
    /// Reloads that were refused.
    pub(crate) refused: u64,
    /// Why the last one was refused; none when it was applied.
    pub(crate) error: Option<String>,
    /// Revision of a configuration that exposes more and waits for an acknowledgement.
    pub(crate) pending_exposure: Option<PendingExposure>,
    /// Files that the last refused configuration refers to: one of them may be what has to change.
    tried: Vec<PathBuf>,
}

/// A configuration that would expose more than the running one.
#[derive(Debug, Clone)]
pub(crate) struct PendingExposure {
    pub(crate) revision: String,
    pub(crate) exposure: Vec<String>,
}

impl Reloads {
    /// No reload yet of a process that was started with this.
    pub(crate) fn new(started_with: Arc<model::Snapshot>) -> Self {
        Self { turn: Mutex::default(), state: Mutex::default(), accepted: Mutex::new(started_with) }
    }

    /// What of a configuration nobody has accepted: it is neither live nor in what was accepted last.
    fn exposure(&self, live: &model::Snapshot, new: &model::Snapshot) -> Vec<String> {
        let exposure = model::diff::diff(live, new).exposure;
        if exposure.is_empty() || model::diff::diff(&self.accepted(), new).exposure.is_empty() {
            return Vec::new();
        }
        exposure.iter().map(ToString::to_string).collect()
    }

    fn accepted(&self) -> MutexGuard<'_, Arc<model::Snapshot>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        let state = self.lock();
        state.applied + state.refused
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files to watch beside the configuration's own: those of what runs, and of what was refused.
pub(crate) fn watched(running: &Running) -> Vec<PathBuf> {
    let mut files = running.gateway.compiled().snapshot.referenced_files();
    files.extend(running.reloads.lock().tried.iter().cloned());
    files
}

/// Reads vaults anew, and then the configuration: somebody asks for all that is there now.
pub(crate) fn reload_all(running: &Running, acknowledged: Option<&str>) {
    running.vaults.refresh();
    reload(running, acknowledged);
}

/// Loads the configuration anew and makes it live; a bad one leaves the old running.
///
/// `acknowledged` is the revision that may expose more than the running one.
pub(crate) fn reload(running: &Running, acknowledged: Option<&str>) {
    let _turn = running.reloads.turn.lock().unwrap_or_else(PoisonError::into_inner);
    service::reloading();
    let outcome = load(running, acknowledged);
    let mut state = running.reloads.lock();
    match outcome {
        Ok(None) => {}
        Ok(Some(revision)) => {
            state.applied += 1;
            state.error = None;
            state.pending_exposure = None;
            state.tried = Vec::new();
            tracing::info!(revision, "the new configuration is live");
            running.telemetry.metrics().config_reload(true);
        }
        Err(Refusal { why, pending, files }) => {
            state.refused += 1;
            tracing::error!("the new configuration is refused, the old one stays: {why}");
            state.error = Some(why);
            state.pending_exposure = pending;
            state.tried = files;
            running.telemetry.metrics().config_reload(false);
        }
    }
    let status =
        if state.error.is_none() { "serving" } else { "serving; the last configuration was refused" };
    service::ready(status);
}

/// Why a configuration was refused.
struct Refusal {
    /// A line per mistake, without a line of any file: the log and the open part of the admin endpoint show it.
    why: String,
    pending: Option<PendingExposure>,
    /// What it refers to.
    files: Vec<PathBuf>,
}

impl Refusal {
    fn new(error: &dyn std::fmt::Display) -> Self {
        Self { why: error.to_string(), pending: None, files: Vec::new() }
    }
}

fn load(running: &Running, acknowledged: Option<&str>) -> Result<Option<String>, Refusal> {
    let snapshot = config::load(running.files.as_ref(), Some(&running.vaults))
        .map_err(|error| Refusal { files: error.referenced_files(), ..Refusal::new(&error.summary()) })?;
    let live = running.gateway.compiled().snapshot.clone();
    let failed_before = running.reloads.lock().error.is_some();
    let may_differ = snapshot.policies().any(model::Policy::reads_folders);
    if snapshot.revision == live.revision && !failed_before && !may_differ {
        return Ok(None);
    }
    let files = snapshot.referenced_files();
    let snapshot = Arc::new(snapshot);
    apply(running, &live, &snapshot, acknowledged).map_err(|refusal| Refusal { files, ..refusal })?;
    Ok(Some(snapshot.revision.clone()))
}

fn apply(
    running: &Running,
    live: &model::Snapshot,
    snapshot: &Arc<model::Snapshot>,
    acknowledged: Option<&str>,
) -> Result<(), Refusal> {
    // Only what was shown is acknowledged: the files may hold something else by now.
    if running.guard_exposure && acknowledged != Some(snapshot.revision.as_str()) {
        let exposure = running.reloads.exposure(live, snapshot);
        if !exposure.is_empty() {
            let text = format!(
                "it exposes more than before and waits for POST /api/v1/config/acknowledge: {}",
                exposure.join("; ")
            );
            let pending = Some(PendingExposure { revision: snapshot.revision.clone(), exposure });
            return Err(Refusal { pending, ..Refusal::new(&text) });
        }
    }
    let secrets = running.admin.read(snapshot).map_err(|error| Refusal::new(&error))?;
    // Sinks first: what cannot be opened refuses the configuration before anything has changed.
    let sinks = running.telemetry.prepare(snapshot).map_err(|error| Refusal::new(&error))?;
    running.certificates.load(snapshot);
    running.gateway.apply(snapshot.clone()).map_err(|error| Refusal::new(&error))?;
    running.vaults.follow(snapshot);
    running.certificates.follow(snapshot);
    if acknowledged == Some(snapshot.revision.as_str()) {
        *running.reloads.accepted() = snapshot.clone();
    }
    running.admin.set(secrets);
    if let Err(error) = running.telemetry.apply(snapshot, sinks) {
        tracing::error!("telemetry keeps its old settings: {error}");
    }
    warn_of(&snapshot.warnings);
    warn_of(&running.gateway.compiled().warnings);
    for (key, differs) in [
        ("admin", fixed_at_start(live) != fixed_at_start(snapshot)),
        ("runtime.workers", live.config.runtime.workers != snapshot.config.runtime.workers),
    ] {
        if differs {
            tracing::warn!("`{key}` has changed: that takes effect at the next start or upgrade");
        }
    }
    Ok(())
}

/// What of the admin endpoint is read at the start alone: where it is, and whether it speaks TLS.
fn fixed_at_start(snapshot: &model::Snapshot) -> Option<(&str, bool)> {
    snapshot.config.admin.as_ref().map(|admin| (admin.address.as_str(), admin.tls.is_some()))
}
