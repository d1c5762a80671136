//! `run`: starts everything, follows signals and files, and ends in order.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxy::Gateway;
use telemetry::Telemetry;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    admin::{self, Admin},
    cli::{Done, RunArgs, color},
    config::{self, Files, Watch},
    exit::Exit,
};

/// What the control side shares: the parts of a running process.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) telemetry: Telemetry,
    pub(crate) files: Option<Files>,
    pub(crate) guard_exposure: bool,
    pub(crate) state: Mutex<ReloadState>,
}

/// How the last reload went.
#[derive(Debug, Default, Clone)]
pub(crate) struct ReloadState {
    /// Reloads that were applied.
    pub(crate) applied: u64,
    /// Reloads that were refused.
    pub(crate) refused: u64,
    /// Why the last one was refused; none when it was applied.
    pub(crate) error: Option<String>,
    /// Revision of a configuration that exposes more and waits for an acknowledgement.
    pub(crate) pending_exposure: Option<PendingExposure>,
}

/// A configuration that would expose more than the running one.
#[derive(Debug, Clone)]
pub(crate) struct PendingExposure {
    pub(crate) revision: String,
    pub(crate) exposure: Vec<String>,
}

/// Serves until a signal ends it.
pub(crate) fn run(args: &RunArgs) -> Done {
    telemetry::logging::init(&args.log_level).map_err(|error| say(&error))?;
    let files = args.config.files();
    let watch = Watch::new(files.clone());
    let snapshot = crate::cli::load(files.as_ref())?;
    if !snapshot.warnings.is_empty() {
        eprintln!("{}", snapshot.warnings.render(color()));
    }
    let snapshot = Arc::new(snapshot);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| say(&error))?;
    let telemetry = Telemetry::new(&snapshot, proxy::receiver_tls).map_err(|error| say(&error))?;
    let gateway =
        Gateway::start(snapshot.clone(), telemetry.clone(), runtime.handle().clone()).map_err(|error| {
            say(&error);
            match error {
                proxy::Error::Configuration(_) => Exit::Configuration,
                proxy::Error::Listen { .. } => Exit::Address,
                proxy::Error::Worker(_) => Exit::Failed,
            }
        })?;
    for warning in &gateway.compiled().warnings {
        tracing::warn!("{warning}");
    }
    let running = Arc::new(Running {
        gateway,
        telemetry,
        files,
        guard_exposure: args.guard_exposure,
        state: Mutex::default(),
    });
    runtime.block_on(serve(running, watch, args))
}

fn say(error: &dyn std::fmt::Display) -> Exit {
    eprintln!("error: {error}");
    Exit::Failed
}

async fn serve(running: Arc<Running>, mut watch: Watch, args: &RunArgs) -> Done {
    let snapshot = running.gateway.compiled().snapshot.clone();
    watch.refer_to(snapshot.referenced_files());
    let admin = match &snapshot.config.admin {
        Some(settings) => Some(start_admin(&running, settings, &snapshot, args).await?),
        None => None,
    };
    announce(&running, args);
    let signals = Signals::new().map_err(|error| say(&error))?;
    follow(&running, &mut watch, signals).await;
    let shutdown = running.gateway.compiled().snapshot.config.shutdown.clone();
    tracing::info!("shutting down: readiness fails now, draining begins in {}", shutdown.drain_delay);
    running.state.lock().unwrap_or_else(PoisonError::into_inner).error = Some("shutting down".into());
    if let Some(admin) = &admin {
        admin.fail_readiness();
    }
    tokio::time::sleep(shutdown.drain_delay.get()).await;
    let clean = running.gateway.drain(shutdown.deadline.get()).await;
    if !clean {
        tracing::warn!("the deadline of {} ended calls that were still in flight", shutdown.deadline);
    }
    running.telemetry.shutdown(Duration::from_secs(2)).await;
    tracing::info!("stopped");
    Ok(())
}

async fn start_admin(
    running: &Arc<Running>,
    settings: &model::Admin,
    snapshot: &model::Snapshot,
    args: &RunArgs,
) -> Result<Admin, Exit> {
    let token = admin::token::find(settings, snapshot, args.admin_token.as_deref(), &args.data_dir)
        .map_err(|error| say(&error))?;
    admin::start(running.clone(), settings, snapshot, token).await.map_err(|error| {
        say(&error);
        Exit::Address
    })
}

fn announce(running: &Running, args: &RunArgs) {
    let compiled = running.gateway.compiled();
    let config = &compiled.snapshot.config;
    for listener in &config.listeners {
        let scheme = if listener.tls.is_some() { "https" } else { "http" };
        tracing::info!(listener = %listener.name, address = %listener.address, "listening on {scheme}://{}", listener.address);
    }
    if let Some(admin) = &config.admin {
        tracing::info!(address = %admin.address, "admin endpoint on http://{}", admin.address);
    }
    if args.config.config.is_none() {
        tracing::info!(
            "no --config was given: serving the built-in page; open the first address above to read what to do next"
        );
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    rotate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            rotate: signal(SignalKind::user_defined1())?,
        })
    }
}

/// Follows files and signals until one says to end.
async fn follow(running: &Arc<Running>, watch: &mut Watch, mut signals: Signals) {
    let mut ticks = tokio::time::interval(config::WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => true,
            _ = signals.rotate.recv() => {
                running.telemetry.reopen_logs();
                false
            }
            _ = ticks.tick() => false,
        };
        if watch.changed() || asked {
            let running = running.clone();
            let referenced = tokio::task::spawn_blocking(move || {
                reload(&running, false);
                running.gateway.compiled().snapshot.referenced_files()
            })
            .await;
            if let Ok(referenced) = referenced {
                watch.refer_to(referenced);
            }
        }
    }
}

/// Loads the configuration anew and makes it live; a bad one leaves the old running.
pub(crate) fn reload(running: &Running, acknowledged: bool) {
    let outcome = try_reload(running, acknowledged);
    let mut state = running.state.lock().unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Ok(None) => {}
        Ok(Some(revision)) => {
            state.applied += 1;
            state.error = None;
            state.pending_exposure = None;
            tracing::info!(revision, "the new configuration is live");
            running.telemetry.metrics().config_reload(true);
        }
        Err((error, pending)) => {
            state.refused += 1;
            tracing::error!("the new configuration is refused, the old one stays: {error}");
            state.error = Some(error);
            state.pending_exposure = pending;
            running.telemetry.metrics().config_reload(false);
        }
    }
}

type Refusal = (String, Option<PendingExposure>);

fn try_reload(running: &Running, acknowledged: bool) -> Result<Option<String>, Refusal> {
    let snapshot = config::load(running.files.as_ref()).map_err(|error| (error.render(false), None))?;
    let live = running.gateway.compiled().snapshot.clone();
    let failed_before = running.state.lock().unwrap_or_else(PoisonError::into_inner).error.is_some();
    if snapshot.revision == live.revision && !failed_before {
        return Ok(None);
    }
    if running.guard_exposure && !acknowledged {
        let exposure: Vec<String> =
            model::diff::diff(&live, &snapshot).exposure.iter().map(ToString::to_string).collect();
        if !exposure.is_empty() {
            let text = format!(
                "it exposes more than before and waits for POST /api/v1/config/acknowledge: {}",
                exposure.join("; ")
            );
            return Err((text, Some(PendingExposure { revision: snapshot.revision.clone(), exposure })));
        }
    }
    let revision = snapshot.revision.clone();
    let snapshot = Arc::new(snapshot);
    let refused = |error: &dyn std::fmt::Display| (error.to_string(), None);
    let sinks = running.telemetry.prepare(&snapshot).map_err(|error| refused(&error))?;
    running.gateway.apply(snapshot.clone()).map_err(|error| refused(&error))?;
    if let Err(error) = running.telemetry.apply(&snapshot, sinks) {
        tracing::error!("telemetry keeps its old settings: {error}");
    }
    Ok(Some(revision))
}

/// The data directory, made when it is not there, for nobody else to read.
pub(crate) fn data_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
