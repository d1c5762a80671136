//! The client of PostgreSQL, for what several gateways keep together: it knows statements and not what they are for.
//!
//! As with Redis no call waits for a connection: while the server is away every question is answered so at once, and
//! somebody in the background connects again with growing pauses. A question that is not answered within `timeout` is
//! given up. Statements are prepared when a connection is made, after its tables are there.

mod tls;

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use telemetry::{Collect, Exposition, Histogram};
use tokio::{runtime::Handle, sync::Notify};
use tokio_postgres::{Config, NoTls, Row, Statement, config::SslMode, types::ToSql};

use crate::worker::Shared;

/// The first pause before connecting again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether a connection is still there.
const LOOK: Duration = Duration::from_secs(1);
/// Questions that nobody waits for, in flight at a time; more are dropped.
const ASIDE_MAX: usize = 64;

/// What a client makes of the database before it is used, and what it asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Run in one transaction, by one gateway at a time.
    pub(crate) schema: &'static str,
    pub(crate) statements: &'static [&'static str],
}

/// The server is away, too slow, or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away;

/// A client, shared by all workers.
pub(crate) struct Client {
    config: Result<Config, String>,
    plan: Plan,
    timeout: Duration,
    connections: usize,
    link: ArcSwapOption<Link>,
    started: AtomicBool,
    lost: Notify,
    background: Handle,
    aside: AtomicUsize,
    numbers: Numbers,
}

#[derive(Default)]
struct Numbers {
    round_trips: Mutex<Histogram>,
    errors: AtomicU64,
    timeouts: AtomicU64,
    dropped: AtomicU64,
}

struct Link {
    all: Vec<Connection>,
    next: AtomicUsize,
}

struct Connection {
    client: tokio_postgres::Client,
    statements: Vec<Statement>,
}

impl Client {
    pub(crate) fn new(
        settings: &model::resource::postgres::Postgres,
        url: &str,
        plan: Plan,
        background: &Handle,
    ) -> Self {
        let config = url.parse::<Config>().map(|mut config| {
            config.connect_timeout(settings.connect_timeout.get()).application_name("tidegate");
            config
        });
        Self {
            // What is wrong with an address is told, the address is not: it may hold a password.
            config: config.map_err(|_| {
                "this is no address of PostgreSQL: expected one such as `postgres://user:password@db.internal:5432/tidegate`"
                    .to_owned()
            }),
            plan,
            timeout: settings.timeout.get(),
            connections: settings.connections.clamp(1, 64),
            link: ArcSwapOption::empty(),
            started: AtomicBool::new(false),
            lost: Notify::new(),
            background: background.clone(),
            aside: AtomicUsize::new(0),
            numbers: Numbers::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.config.as_ref().map(drop).map_err(Clone::clone)
    }

    /// Starts to connect, once.
    pub(crate) fn start(this: &Arc<Self>) {
        if !this.started.swap(true, Ordering::Relaxed) {
            this.background.spawn(keep(Arc::downgrade(this)));
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.link.load().is_some()
    }

    /// Asks one of the plan's statements, within the timeout.
    pub(crate) async fn ask(
        &self,
        statement: usize,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Away> {
        let link = self.link.load_full().ok_or(Away)?;
        let connection = link.connection().ok_or(Away)?;
        let statement = connection.statements.get(statement).ok_or(Away)?;
        self.within(&link, connection.client.query(statement, parameters)).await
    }

    /// Asks something that is in no plan, within the timeout.
    pub(crate) async fn ask_text(
        &self,
        text: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Away> {
        let link = self.link.load_full().ok_or(Away)?;
        let connection = link.connection().ok_or(Away)?;
        self.within(&link, connection.client.query(text, parameters)).await
    }

    async fn within(
        &self,
        link: &Arc<Link>,
        asked: impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>>,
    ) -> Result<Vec<Row>, Away> {
        let began = Instant::now();
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(rows)) => {
                let mut trips = self.numbers.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
                trips.observe(began.elapsed());
                Ok(rows)
            }
            Ok(Err(error)) => {
                let count = self.numbers.errors.fetch_add(1, Ordering::Relaxed);
                if error.is_closed() {
                    self.lose(link);
                } else if count.is_power_of_two() || count == 0 {
                    tracing::warn!(%error, "postgres refuses what it is asked: {error}");
                }
                Err(Away)
            }
            Err(_) => {
                // One that hangs is not asked again until it has answered to a new connection.
                self.numbers.timeouts.fetch_add(1, Ordering::Relaxed);
                self.lose(link);
                Err(Away)
            }
        }
    }

    /// Does something that no call waits for, unless too much of it is under way.
    pub(crate) fn aside<F>(this: &Arc<Self>, what: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if this.aside.fetch_add(1, Ordering::Relaxed) >= ASIDE_MAX || !this.is_up() {
            this.aside.fetch_sub(1, Ordering::Relaxed);
            this.numbers.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (client, doing) = (this.clone(), what(this.clone()));
        this.background.spawn(async move {
            doing.await;
            client.aside.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Runs text as it is, without a bound: for changes of the schema.
    pub(crate) async fn run(&self, text: &str) -> Result<(), String> {
        let link = self.link.load_full().ok_or("postgres is away")?;
        let connection = link.connection().ok_or("postgres is away")?;
        connection.client.batch_execute(text).await.map_err(|error| error.to_string())
    }

    fn lose(&self, link: &Arc<Link>) {
        let known = self.link.compare_and_swap(link, None);
        if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, link)) {
            tracing::warn!("postgres is away");
            self.lost.notify_one();
        }
    }

    async fn connect(&self) -> Result<Link, String> {
        let config = self.config.as_ref().map_err(Clone::clone)?;
        let mut all = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let client = match config.get_ssl_mode() {
                SslMode::Disable => {
                    let (client, connection) = config.connect(NoTls).await.map_err(told)?;
                    self.background.spawn(async move {
                        let _ = connection.await;
                    });
                    client
                }
                _ => {
                    let (client, connection) = config.connect(tls::Tls::new()?).await.map_err(told)?;
                    self.background.spawn(async move {
                        let _ = connection.await;
                    });
                    client
                }
            };
            if number == 0 {
                client.batch_execute(self.plan.schema).await.map_err(told)?;
            }
            let mut statements = Vec::with_capacity(self.plan.statements.len());
            for text in self.plan.statements {
                statements.push(client.prepare(text).await.map_err(told)?);
            }
            all.push(Connection { client, statements });
        }
        Ok(Link { all, next: AtomicUsize::new(0) })
    }
}

/// What an error says; the library's own words leave out the server's.
fn told(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(known) => known.message().to_owned(),
        None => error.to_string(),
    }
}

impl Link {
    fn connection(&self) -> Option<&Connection> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.all.get(next % self.all.len().max(1))
    }
}

/// Connects, and connects again.
async fn keep(client: Weak<Client>) {
    let mut pause = PAUSE_FIRST;
    let mut is_told = false;
    loop {
        let Some(strong) = client.upgrade() else { return };
        let bound = Duration::from_secs(30);
        let connected = tokio::time::timeout(bound, strong.connect()).await;
        match connected.unwrap_or_else(|_| Err(format!("not connected within {bound:?}"))) {
            Ok(link) => {
                strong.link.store(Some(Arc::new(link)));
                tracing::info!("connected to postgres");
                (pause, is_told) = (PAUSE_FIRST, false);
                drop(strong);
                if !watch(&client).await {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "cannot connect to postgres, and it is tried again: {error}");
                }
                drop(strong);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Waits until the link is lost. False when nobody needs the client any more.
async fn watch(client: &Weak<Client>) -> bool {
    loop {
        let Some(strong) = client.upgrade() else { return false };
        let Some(link) = strong.link.load_full() else { return true };
        if link.all.iter().any(|one| one.client.is_closed()) {
            strong.lose(&link);
            continue;
        }
        tokio::select! {
            () = strong.lost.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What the metrics tell of it.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let Some(client) = &compiled.postgres else { return };
        let up = f64::from(u8::from(client.is_up()));
        out.gauge("tidegate_postgres_up", "Whether PostgreSQL is connected and answers.", &[], up);
        let trips = *client.numbers.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Questions to PostgreSQL that it answered.";
        out.histogram("tidegate_postgres_round_trip_seconds", help, &[], &trips);
        let help = "Questions to PostgreSQL without a good answer, and those that were not asked.";
        for (reason, count) in [
            ("timeout", &client.numbers.timeouts),
            ("answer", &client.numbers.errors),
            ("dropped", &client.numbers.dropped),
        ] {
            let count = count.load(Ordering::Relaxed) as f64;
            out.counter("tidegate_postgres_errors_total", help, &[("reason", reason)], count);
        }
    }
}
