//! `run`: starts everything, follows signals and files, and ends in order.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use model::resource::listener::ListenerProtocol;
use proxy::{ByHand, Gateway, ledger::Ledger};
use telemetry::Telemetry;
use tokio::task::JoinHandle;

use crate::{
    admin::{self, Admin, Secrets},
    certificates::{self, Certificates},
    cli::{Done, RunArgs, color},
    config::{self, Files, VaultReport, Vaults, Watch},
    exit::Exit,
    handover::{self, Owner, Predecessor, Sockets, Successor, Waiting},
    reload::{self, Reloads},
    service,
    signals::{Asked, Signals},
    store::{Kept, Spent, Writer},
};

/// How long records of calls may take to reach their sinks at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// What the control side shares: the parts of a running process.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) telemetry: Telemetry,
    pub(crate) files: Option<Files>,
    pub(crate) vaults: Arc<Vaults>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) guard_exposure: bool,
    pub(crate) reloads: Reloads,
    pub(crate) admin: Arc<Secrets>,
}

/// Serves until a signal, or a process that takes over, ends it.
pub(crate) fn run(args: &RunArgs) -> Done {
    // Before there is any thread: taking sockets from the environment changes it.
    let mut sockets = service::sockets().map_err(|error| say(&error))?;
    telemetry::logging::init(&args.log_level).map_err(|error| say(&error))?;
    let files = args.config.files();
    let watch = Watch::new(files.clone());
    let vaults = Arc::new(Vaults::default());
    let snapshot = crate::cli::load_with(files.as_ref(), Some(&vaults))?;
    vaults.follow(&snapshot);
    if !snapshot.warnings.is_empty() {
        eprintln!("{}", snapshot.warnings.render(color()));
    }
    let snapshot = Arc::new(snapshot);
    let predecessor = predecessor(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| say(&error))?;
    let telemetry = Telemetry::new(&snapshot, proxy::receiver_tls).map_err(|error| {
        say(&error);
        Exit::Configuration
    })?;
    telemetry.register(Arc::new(VaultReport(Arc::downgrade(&vaults))));
    let certificates = Arc::new(Certificates::new(&args.data_dir));
    telemetry.register(Arc::new(certificates::Report(Arc::downgrade(&certificates))));
    proxy::keep_keys_in(args.data_dir.clone());
    let spent = Arc::new(Spent::new(args.data_dir.clone()));
    let ledger =
        Arc::new(Ledger::kept_by(spent.clone()).with_answers(Arc::new(Kept::new(args.data_dir.clone()))));
    let handle = runtime.handle().clone();
    let by_hand = ByHand::of(args.data_dir.clone()).map_err(|error| say(&error))?;
    let gateway = Gateway::prepare(snapshot.clone(), telemetry.clone(), ledger.clone(), by_hand, handle)
        .map_err(|error| refused(&error))?;
    let writer = Writer::start(ledger, spent).map_err(|error| say(&error))?;
    warn_of(&gateway.compiled().warnings);
    // Before anybody is served: what was got before is in use from the first handshake on.
    certificates.load(&snapshot);
    let running = Arc::new(Running {
        gateway,
        telemetry,
        files,
        vaults,
        certificates,
        guard_exposure: args.guard_exposure,
        reloads: Reloads::new(snapshot),
        admin: Arc::new(Secrets::new(args.admin_token.clone(), args.data_dir.clone())),
    });
    // All that can fail comes before the sockets of another process are asked for and served from.
    if let Some(predecessor) = &predecessor {
        let taken = predecessor.take().map_err(|error| say(&not_taken_over(predecessor, &error)))?;
        sockets.extend(taken);
    }
    let done = runtime.block_on(serve(running, watch, args, predecessor, sockets));
    // Whatever still runs there has no say in when the process ends.
    runtime.shutdown_background();
    writer.finish();
    done
}

pub(crate) fn warn_of(found: &model::Diagnostics) {
    for line in found.to_string().lines() {
        tracing::warn!("{line}");
    }
}

fn say(error: &dyn std::fmt::Display) -> Exit {
    eprintln!("error: {error}");
    Exit::Failed
}

fn refused(error: &proxy::Error) -> Exit {
    match error {
        proxy::Error::Configuration(found) => {
            eprintln!("{}", found.render(color()));
            Exit::Configuration
        }
        proxy::Error::Listen { .. } => {
            say(error);
            Exit::Address
        }
        proxy::Error::Worker(_) => say(error),
    }
}

/// The process to take over from. That there is one, unasked for, ends this one.
fn predecessor(args: &RunArgs) -> Result<Option<Predecessor>, Exit> {
    let met = handover::meet(&args.data_dir).map_err(|error| {
        say(&format!("cannot meet the process that runs with {}: {error}", args.data_dir.display()))
    })?;
    match met {
        Some(met) if !args.upgrade => {
            say(&format!(
                "process {} runs with the data directory {}; `run --upgrade` takes over from it without losing a \
                 connection, and another --data-dir runs beside it",
                met.pid,
                args.data_dir.display()
            ));
            Err(Exit::Running)
        }
        None if args.upgrade => {
            tracing::info!("nobody runs with {}: starting anew", args.data_dir.display());
            Ok(None)
        }
        met => Ok(met),
    }
}

fn not_taken_over(predecessor: &Predecessor, error: &std::io::Error) -> String {
    format!("cannot take over from process {}: {error}", predecessor.pid)
}

async fn serve(
    running: Arc<Running>,
    mut watch: Watch,
    args: &RunArgs,
    predecessor: Option<Predecessor>,
    mut sockets: Sockets,
) -> Done {
    let snapshot = running.gateway.compiled().snapshot.clone();
    watch.refer_to(snapshot.referenced_files());
    let admin = match &snapshot.config.admin {
        Some(settings) => Some(prepare_admin(&running, settings, &snapshot, &mut sockets)?),
        None => None,
    };
    let mut signals = Signals::new().map_err(|error| say(&error))?;
    running.gateway.open(&mut sockets.listeners).map_err(|error| refused(&error))?;
    for left in sockets.listeners.iter().chain(&sockets.admin) {
        tracing::info!(
            listener = left.listener,
            "no listener of this configuration is at a socket that was taken over: it closes"
        );
    }
    drop(sockets);
    let admin = admin.map(|admin| admin.serve(running.clone()));
    if let Some(predecessor) = predecessor {
        if let Err(error) = predecessor.relieve() {
            running.gateway.drain(snapshot.config.shutdown.deadline.get()).await;
            return Err(say(&not_taken_over(&predecessor, &error)));
        }
        tracing::info!("took over from process {}", predecessor.pid);
        // An operator may have spoken to it since this one has read what is set.
        if let Err(error) = running.gateway.set_by_hand_again() {
            tracing::error!("{error}");
        }
    }
    announce(&running, args);
    // After the process before has been relieved: it orders nothing more, and authorities find this one. Of what is live now:
    // the admin endpoint may have loaded another configuration since.
    running.certificates.follow(&running.gateway.compiled().snapshot);
    let mut waiting = wait_for_upgrade(&running, admin.as_ref(), args);
    let alive = running.clone();
    tokio::spawn(service::watchdog(move |within| alive.gateway.is_alive(within)));
    service::ready("serving");
    match follow(&running, &mut watch, &mut signals, waiting.as_mut()).await {
        End::Asked => {
            if let Some(waiting) = waiting {
                waiting.withdraw();
            }
            let done = tokio::select! {
                biased;
                exit = signals.impatient() => at_once(&running, exit).await,
                () = end(&running, admin.as_ref()) => Ok(()),
            };
            if let Some(admin) = &admin {
                admin.remove();
            }
            done
        }
        End::Upgraded(pid) => {
            service::succeeded_by(pid);
            let ordering = stop_ordering(&running);
            tracing::info!(pid, "a new process serves; this one ends with what it has in flight");
            if let Some(admin) = &admin {
                admin.close();
            }
            tokio::select! {
                biased;
                exit = signals.impatient() => at_once(&running, exit).await,
                () = drain(&running, ordering) => Ok(()),
            }
        }
    }
}

/// Fails readiness, waits until balancers have noticed, and drains.
async fn end(running: &Running, admin: Option<&Admin>) {
    let shutdown = running.gateway.compiled().snapshot.config.shutdown.clone();
    let patience = (shutdown.drain_delay.get() + shutdown.deadline.get()).max(acme::FAREWELL);
    service::stopping(patience + 2 * FLUSH);
    let ordering = stop_ordering(running);
    tracing::info!("shutting down: readiness fails now, draining begins in {}", shutdown.drain_delay);
    if let Some(admin) = admin {
        admin.fail_readiness();
    }
    tokio::time::sleep(shutdown.drain_delay.get()).await;
    drain(running, ordering).await;
}

/// No certificate is ordered any more; what was laid out for authorities is taken back meanwhile.
fn stop_ordering(running: &Running) -> JoinHandle<()> {
    let certificates = running.certificates.clone();
    tokio::task::spawn_blocking(move || certificates.stop())
}

/// Lets what is in flight end, records that were set for authorities among it.
async fn drain(running: &Running, ordering: JoinHandle<()>) {
    let deadline = running.gateway.compiled().snapshot.config.shutdown.deadline;
    if !running.gateway.drain(deadline.get()).await {
        tracing::warn!("the deadline of {deadline} ended calls that were still in flight");
    }
    // It has a bound of its own.
    let _ = ordering.await;
    running.telemetry.shutdown(FLUSH).await;
    tracing::info!("stopped");
}

/// Ends without waiting for anything in flight.
async fn at_once(running: &Running, exit: Exit) -> Done {
    tracing::warn!("told to end a second time: what is in flight is cut");
    running.gateway.drain(Duration::ZERO).await;
    running.telemetry.shutdown(FLUSH / 4).await;
    Err(exit)
}

/// From now on another process can take over. When it cannot be, this one serves none the less.
fn wait_for_upgrade(running: &Arc<Running>, admin: Option<&Admin>, args: &RunArgs) -> Option<Waiting> {
    let (gateway, admin) = (running.clone(), admin.map(Admin::sockets));
    let sockets = move || {
        let admin = admin.as_ref().map(|sockets| sockets.hand_over()).transpose()?;
        Ok(Sockets { listeners: gateway.gateway.hand_over()?, admin: admin.unwrap_or_default() })
    };
    match Owner::bind(&args.data_dir).and_then(|owner| owner.wait(sockets)) {
        Ok(waiting) => Some(waiting),
        Err(error) => {
            tracing::warn!("no process can take over from this one: {}: {error}", args.data_dir.display());
            None
        }
    }
}

/// Makes all of the admin endpoint that can fail.
fn prepare_admin(
    running: &Running,
    settings: &model::Admin,
    snapshot: &model::Snapshot,
    sockets: &mut Sockets,
) -> Result<admin::Prepared, Exit> {
    let secrets = running.admin.read(snapshot).map_err(|error| {
        say(&error);
        Exit::Configuration
    })?;
    running.admin.set(secrets);
    admin::prepare(settings, &mut sockets.admin).map_err(|error| {
        say(&error);
        Exit::Address
    })
}

fn announce(running: &Running, args: &RunArgs) {
    let compiled = running.gateway.compiled();
    let config = &compiled.snapshot.config;
    for listener in &config.listeners {
        let place = match listener.protocol {
            ListenerProtocol::Http => place(&listener.address, listener.tls.is_some()),
            ListenerProtocol::Tcp => format!("{} (TCP)", listener.address),
            ListenerProtocol::Udp => format!("{} (UDP)", listener.address),
        };
        tracing::info!(listener = %listener.name, address = %listener.address, "listening on {place}");
    }
    if config.listeners.is_empty() {
        tracing::warn!("nobody reaches this gateway: its configuration has no `listeners`");
    }
    if let Some(admin) = &config.admin {
        let place = place(&admin.address, admin.tls.is_some());
        tracing::info!(address = %admin.address, "admin endpoint on {place}");
    }
    if args.config.config.is_none() {
        tracing::info!(
            "no --config was given: this is the built-in page; open the first address above to read what to do next"
        );
    }
}

/// Where something answers, as a client would name it.
fn place(address: &str, is_tls: bool) -> String {
    match (address.starts_with("unix:"), is_tls) {
        (true, false) => address.to_owned(),
        (true, true) => format!("{address} over TLS"),
        (false, true) => format!("https://{address}"),
        (false, false) => format!("http://{address}"),
    }
}

/// Why the process is about to end.
enum End {
    /// A signal asks for it.
    Asked,
    /// The process with this id serves in its place.
    Upgraded(u32),
}

/// Follows files and signals until there is a reason to end.
async fn follow(
    running: &Arc<Running>,
    watch: &mut Watch,
    signals: &mut Signals,
    mut waiting: Option<&mut Waiting>,
) -> End {
    let successor = Successor::of_this_process();
    let mut ticks = tokio::time::interval(config::WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut wanted, mut asked_for, mut loading, mut known) = (false, false, None, 0);
    let mut read = running.vaults.changes();
    loop {
        let upgraded = async {
            match &mut waiting {
                Some(waiting) => waiting.upgraded().await,
                None => std::future::pending().await,
            }
        };
        // A signal is heard while a configuration is loaded, however long its files take.
        let loaded = async {
            match &mut loading {
                Some(loading) => {
                    let loading: &mut tokio::task::JoinHandle<()> = loading;
                    let _ = loading.await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            upgraded = upgraded => return End::Upgraded(upgraded.pid),
            asked = signals.next() => match asked {
                Asked::End => return End::Asked,
                Asked::Reload => {
                    // What a signal asks for is loaded as it is, without waiting until it has settled.
                    watch.catch_up();
                    // Many a rotation tells programs by this signal that their files were moved.
                    running.telemetry.reopen_logs();
                    (wanted, asked_for) = (true, true);
                }
                Asked::Rotate => running.telemetry.reopen_logs(),
                Asked::Upgrade => match &successor {
                    Ok(successor) => successor.start(),
                    Err(error) => tracing::error!("cannot start a new process: {error}"),
                },
            },
            () = loaded => loading = None,
            _ = ticks.tick() => {}
        }
        // The admin API loads as well, and then there may be other files to watch.
        let count = running.reloads.count();
        if count != known && loading.is_none() {
            known = count;
            watch.refer_to(reload::watched(running));
        }
        wanted |= watch.changed(Instant::now());
        // What a load itself reads for the first time counts, too: loading the same once more changes nothing.
        let changes = running.vaults.changes();
        wanted |= std::mem::replace(&mut read, changes) != changes;
        if wanted && loading.is_none() {
            let is_asked_for = std::mem::take(&mut asked_for);
            wanted = false;
            let running = running.clone();
            loading = Some(tokio::task::spawn_blocking(move || match is_asked_for {
                true => reload::reload_all(&running, None),
                false => reload::reload(&running, None),
            }));
        }
    }
}

/// The data directory, made when it is not there, for nobody else to read.
pub(crate) fn data_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
