//! OTLP export: traces, metrics and logs to a receiver, over `http/protobuf` or `grpc`.
//!
//! An exporter is a thread with a runtime of its own. Workers hand it the batches of records that the access logs
//! get, over a bounded queue; it makes spans and log records of them and sends them, so that a receiver that is slow
//! or away costs the traffic nothing.

mod composed;
mod facts;
mod gen_ai;
mod lane;
mod log;
mod mcp;
mod metric;
mod proto;
mod resource;
mod settings;
mod shipment;
mod span;
mod transport;

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, SystemTime},
};

use model::{CallRecord, Snapshot};
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};

pub(crate) use self::{facts::Routes, settings::Wanted, shipment::Shipment};
use self::{
    lane::{Courier, Ending, Queue, drain},
    metric::Window,
    settings::{Settings, Signal},
};
use crate::{
    metrics::{Metrics, Reason},
    receiver::TlsFor,
};

/// Batches of records that wait for the thread; beyond them they are lost and counted.
const BATCHES_MAX: usize = 64;
/// How long an exporter that is replaced may still send.
const REPLACED: Duration = Duration::from_secs(5);

/// A running exporter, seen from outside.
pub(crate) struct Exporter {
    wanted: Wanted,
    sender: mpsc::UnboundedSender<Message>,
    waiting: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

enum Message {
    Batch(Arc<Vec<CallRecord>>),
    Routes(Routes),
    Finish(Duration, SyncSender<()>),
}

/// An exporter that can be started.
pub(crate) struct Ready {
    wanted: Wanted,
    settings: Settings,
    routes: Routes,
}

impl Ready {
    /// Checks what a snapshot wants.
    pub(crate) fn new(wanted: Wanted, snapshot: &Snapshot, tls: TlsFor) -> Result<Self, String> {
        let settings = wanted.settings(snapshot, tls)?;
        Ok(Self { wanted, settings, routes: Routes::new(&snapshot.config) })
    }

    /// Starts it.
    pub(crate) fn start(self, metrics: &Arc<Metrics>) -> std::io::Result<Exporter> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (for_thread, count) = (metrics.clone(), waiting.clone());
        std::thread::Builder::new().name("otlp".into()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return tracing::error!("OTLP export cannot start: {error}"),
            };
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, run(self.settings, self.routes, for_thread, receiver, &count));
        })?;
        Ok(Exporter { wanted: self.wanted, sender, waiting, metrics: metrics.clone() })
    }
}

impl Exporter {
    /// Whether it is what a snapshot wants.
    pub(crate) fn is(&self, wanted: &Wanted) -> bool {
        self.wanted == *wanted
    }

    /// Follows the routes of another snapshot.
    pub(crate) fn follow(&self, snapshot: &Snapshot) {
        let _ = self.sender.send(Message::Routes(Routes::new(&snapshot.config)));
    }

    /// Whether it needs records; metrics alone do not.
    pub(crate) fn wants_records(&self) -> bool {
        let signals = self.wanted.signals();
        signals.traces || signals.logs
    }

    /// Hands a batch over; what does not fit is lost and counted.
    pub(crate) fn offer(&self, batch: &Arc<Vec<CallRecord>>) {
        let is_taken = self.waiting.fetch_add(1, Ordering::Relaxed) < BATCHES_MAX
            && self.sender.send(Message::Batch(batch.clone())).is_ok();
        if is_taken {
            return;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let signals = self.wanted.signals();
        if signals.traces {
            let sampled = batch.iter().filter(|call| call.trace.is_some_and(|trace| trace.sampled));
            let spans = sampled.map(|call| 1 + call.tries.len() as u64 + composed::count(call)).sum();
            self.metrics.flow.lost(Signal::Traces.sink(), Reason::Behind, spans);
        }
        if signals.logs {
            self.metrics.flow.lost(Signal::Logs.sink(), Reason::Behind, batch.len() as u64);
        }
    }

    /// Sends what is there for as long as the deadline allows, and ends; something comes out when it has.
    pub(crate) fn finish(&self, deadline: Duration) -> Receiver<()> {
        let (done, wait) = sync_channel(1);
        let _ = self.sender.send(Message::Finish(deadline, done));
        wait
    }
}

/// The exporter's life.
async fn run(
    settings: Settings,
    mut routes: Routes,
    metrics: Arc<Metrics>,
    mut receiver: mpsc::UnboundedReceiver<Message>,
    waiting: &AtomicUsize,
) {
    let settings = Rc::new(settings);
    let (end, ending) = watch::channel(None);
    let ending = Ending(ending);
    let courier = |signal| Courier::new(settings.clone(), signal, metrics.clone(), ending.clone());
    let traces = Queue::new(Signal::Traces, settings.max_queue, metrics.clone());
    let logs = Queue::new(Signal::Logs, settings.max_queue, metrics.clone());
    let mut lanes = tokio::task::JoinSet::new();
    lanes.spawn_local(drain(traces.clone(), courier(Signal::Traces), traces_request));
    lanes.spawn_local(drain(logs.clone(), courier(Signal::Logs), logs_request));
    if settings.signals.metrics {
        lanes.spawn_local(measure(courier(Signal::Metrics), metrics.clone()));
    }
    let (deadline, done) = loop {
        match receiver.recv().await {
            Some(Message::Batch(batch)) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                for call in &*batch {
                    if settings.signals.traces {
                        traces.extend(span::spans(call, &settings.redact, &routes));
                    }
                    if settings.signals.logs {
                        logs.extend([log::record(call, &settings.redact, &routes)]);
                        logs.extend(gen_ai::event(call));
                    }
                }
            }
            Some(Message::Routes(new)) => routes = new,
            Some(Message::Finish(deadline, done)) => break (deadline, Some(done)),
            None => break (REPLACED, None),
        }
    };
    end.send_replace(Some(Instant::now() + deadline));
    while lanes.join_next().await.is_some() {}
    drop(done);
}

/// Sends the metrics at every interval, and once more at the end.
async fn measure(mut courier: Courier, metrics: Arc<Metrics>) {
    let start = span::nanos(metrics.started());
    let period = courier.settings.interval;
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, before there is anything to tell.
    ticks.tick().await;
    let mut ending = courier.ending.clone();
    loop {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            _ = ending.begun() => true,
        };
        let window = Window { start, now: span::nanos(SystemTime::now()) };
        let mut is_away = false;
        for (metrics, points) in metric::requests(metrics.families(), window) {
            if is_away {
                courier.lose(Reason::Unreachable, points);
                continue;
            }
            // What is sent in the next interval says it all again.
            is_away = !courier.deliver(metrics_request(&courier.settings, metrics), points, period).await;
        }
        if is_last {
            return;
        }
    }
}

fn traces_request(settings: &Settings, spans: Vec<proto::Span>) -> Vec<u8> {
    let scope_spans = vec![proto::ScopeSpans {
        scope: Some(resource::scope()),
        spans,
        schema_url: resource::SCHEMA_URL.to_owned(),
    }];
    let resource_spans = vec![proto::ResourceSpans {
        resource: Some(settings.resource.clone()),
        scope_spans,
        schema_url: resource::SCHEMA_URL.to_owned(),
    }];
    proto::TracesRequest { resource_spans }.encode_to_vec()
}

fn logs_request(settings: &Settings, log_records: Vec<proto::LogRecord>) -> Vec<u8> {
    let scope_logs = vec![proto::ScopeLogs {
        scope: Some(resource::scope()),
        log_records,
        schema_url: resource::SCHEMA_URL.to_owned(),
    }];
    let resource_logs = vec![proto::ResourceLogs {
        resource: Some(settings.resource.clone()),
        scope_logs,
        schema_url: resource::SCHEMA_URL.to_owned(),
    }];
    proto::LogsRequest { resource_logs }.encode_to_vec()
}

fn metrics_request(settings: &Settings, metrics: Vec<proto::Metric>) -> Vec<u8> {
    let scope_metrics = vec![proto::ScopeMetrics {
        scope: Some(resource::scope()),
        metrics,
        schema_url: resource::SCHEMA_URL.to_owned(),
    }];
    let resource_metrics = vec![proto::ResourceMetrics {
        resource: Some(settings.resource.clone()),
        scope_metrics,
        schema_url: resource::SCHEMA_URL.to_owned(),
    }];
    proto::MetricsRequest { resource_metrics }.encode_to_vec()
}
