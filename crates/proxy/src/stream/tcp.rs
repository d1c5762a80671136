//! A connection of a stream route, from its first byte to its record.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use model::{CallRecord, StreamRecord, TryRecord, resource::stream_route::StreamTls};

use super::{
    Shown,
    copy::{Way, both},
    report::Ended,
    route::{Route, Target},
    target::{self, Held},
};
use crate::{
    call::new_record,
    conn::{
        peer::Peer,
        wire::{Io, Wire},
    },
    failure::{Failure, Stage},
    guard,
    listener::{Listener, accept, handshake},
    upstream::cluster::TryResult,
    worker::Worker,
};

/// The record of a stream that has just begun.
pub(super) fn record(
    worker: &Worker,
    listener: &Arc<Listener>,
    remote: Option<SocketAddr>,
    stream: StreamRecord,
) -> CallRecord {
    let peer = Peer::new(listener.clone(), remote, None);
    let (head, ()) = http::Request::new(()).into_parts();
    let mut record = new_record(&peer, &head, peer.ip(), guard::mint_request_id(worker), None);
    record.stream = Some(Box::new(stream));
    record
}

/// Writes down a connection that no route is for.
pub(super) fn refused(
    worker: &Worker,
    listener: &Arc<Listener>,
    remote: Option<SocketAddr>,
    Shown { is_tls, server_name }: Shown,
) {
    let protocol = if is_tls { "tls" } else { "tcp" };
    let ended = Ended::NoRoute;
    let stream = StreamRecord { protocol, server_name, ended: ended.as_str(), datagrams: None };
    let mut record = record(worker, listener, remote, stream);
    record.status = ended.status();
    record.tls = is_tls;
    worker.note(record);
}

/// A connection from its beginning to its record. One that is dropped on the way, as the deadline of a shutdown does, has one,
/// too.
struct Passing {
    worker: Rc<Worker>,
    route: Arc<Route>,
    started: Instant,
    /// Taken by whoever writes it.
    record: Option<CallRecord>,
    told: Told,
    ended: Ended,
}

impl Drop for Passing {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        let (told, ended) = (std::mem::take(&mut self.told), self.ended);
        self.route.counts.ended(ended);
        record.status = ended.status();
        record.failure = told.failure.map(|failure| failure.to_record());
        record.upstream = told.upstream;
        record.endpoint = told.endpoint;
        record.attempts = told.attempts;
        record.failed_tries = told.failed_tries;
        record.request_bytes = told.received.load(Ordering::Relaxed);
        record.response_bytes = told.sent.load(Ordering::Relaxed);
        record.timings.connect = told.connect;
        record.timings.total = self.started.elapsed();
        if let Some(stream) = &mut record.stream {
            stream.ended = ended.as_str();
        }
        self.worker.note(record);
    }
}

/// What a connection came to.
#[derive(Default)]
struct Told {
    failure: Option<Failure>,
    upstream: Option<Arc<str>>,
    endpoint: Option<Arc<str>>,
    attempts: u16,
    /// Tries before the last one, oldest first.
    failed_tries: Vec<TryRecord>,
    connect: Option<Duration>,
    received: AtomicU64,
    sent: AtomicU64,
}

/// Carries a connection to its end.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    listener: &Arc<Listener>,
    route: &Arc<Route>,
    io: Io,
    remote: Option<SocketAddr>,
    shown: Shown,
) {
    let started = Instant::now();
    let is_terminated = route.tls == StreamTls::Terminate;
    let protocol = match (is_terminated, shown.is_tls) {
        (true, _) => "tls-terminated",
        (false, true) => "tls",
        (false, false) => "tcp",
    };
    let stream = StreamRecord { protocol, server_name: shown.server_name, ended: "", datagrams: None };
    let mut record = record(worker, listener, remote, stream);
    record.route = Some(route.name.clone());
    record.tls = is_terminated || shown.is_tls;
    let client = record.client;
    let mut passing = Passing {
        worker: worker.clone(),
        route: route.clone(),
        started,
        record: Some(record),
        told: Told::default(),
        // Unless it comes to an end of its own.
        ended: Ended::Drained,
    };
    passing.ended = carried(worker, listener, route, io, (remote, client), &mut passing.told).await;
}

async fn carried(
    worker: &Rc<Worker>,
    listener: &Arc<Listener>,
    route: &Route,
    io: Io,
    (remote, client): (Option<SocketAddr>, IpAddr),
    told: &mut Told,
) -> Ended {
    if !route.lets_in(client) {
        return Ended::Denied;
    }
    let Some(_open) = route.open(client) else { return Ended::Full };
    let local = io.local_addr();
    let io = match terminated(worker, listener, route, io, remote).await {
        Ok(io) => io,
        Err(ended) => return ended,
    };
    let Some(target) = route.target() else { return Ended::Unreachable };
    told.upstream = Some(target.upstream.name.clone());
    let tries = &mut told.failed_tries;
    let (reached, attempts) = target::reach(worker, target, client, (remote, local), tries).await;
    told.attempts = attempts;
    let reached = match reached {
        Ok(reached) => reached,
        Err(failure) => {
            // What the last try failed with is told of the connection itself.
            if failure.stage() != Stage::Pick {
                told.endpoint = told.failed_tries.pop().map(|last| last.endpoint);
            }
            told.failure = Some(failure);
            return Ended::Unreachable;
        }
    };
    let held = reached.held;
    (told.connect, told.endpoint) = (Some(reached.took), Some(held.endpoint.label.clone()));
    let (near, far) = (Wire::new(io), Wire::new(reached.io));
    let began = Instant::now();
    // One that takes connections and breaks them off without a word is ill: that it took one says nothing yet.
    let has_spoken = Cell::new(false);
    let speaks = || {
        has_spoken.set(true);
        report(target, &held, TryResult::Answered { status: 200, latency: reached.took });
    };
    let counts = &route.counts;
    let forth = Way { from: &near, to: &far, bytes: &told.received, total: &counts.received, begins: None };
    let back = Way { from: &far, to: &near, bytes: &told.sent, total: &counts.sent, begins: Some(&speaks) };
    let ended = both(forth, back, route.idle).await;
    if !has_spoken.get() {
        let is_theirs = ended == Ended::Reset && far.is_eof();
        report(
            target,
            &held,
            match is_theirs {
                true => TryResult::Reset { waited: began.elapsed() },
                false => TryResult::Answered { status: 200, latency: reached.took },
            },
        );
    }
    ended
}

fn report(target: &Target, held: &Held, result: TryResult) {
    target.upstream.cluster.report(&held.endpoint, Instant::now(), result);
}

/// The connection as it goes on: what is inside of TLS where that ends here.
async fn terminated(
    worker: &Rc<Worker>,
    listener: &Arc<Listener>,
    route: &Route,
    io: Io,
    remote: Option<SocketAddr>,
) -> Result<Io, Ended> {
    let Some(ours) = listener.tls.as_ref().filter(|_| route.tls == StreamTls::Terminate) else {
        return Ok(io);
    };
    let work = handshake::accept(ours, &ours.streams, io);
    match accept::within(worker, listener.limits.tls_timeout, work).await {
        Some(Ok(Some(stream))) => Ok(Io::TlsServer(Box::new(stream))),
        Some(Ok(None)) => Err(Ended::Closed),
        Some(Err(error)) => {
            handshake::failed(worker, listener, remote, &error);
            Err(Ended::Handshake)
        }
        None => Err(Ended::Handshake),
    }
}
