//! What is counted of stream routes, and told at the time of a scrape.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use telemetry::{Collect, Exposition};

use super::route::add;
use crate::worker::Shared;

/// How a connection or a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Both sides have ended it.
    Closed,
    /// Nothing flowed for too long.
    Idle,
    /// One side broke it off.
    Reset,
    /// The gateway ends.
    Drained,
    /// The client may not come.
    Denied,
    /// There are as many as there may be.
    Full,
    /// No endpoint could be reached.
    Unreachable,
    /// TLS did not come about.
    Handshake,
    /// No route is for it.
    NoRoute,
}

const ENDED: [Ended; 9] = [
    Ended::Closed,
    Ended::Idle,
    Ended::Reset,
    Ended::Drained,
    Ended::Denied,
    Ended::Full,
    Ended::Unreachable,
    Ended::Handshake,
    Ended::NoRoute,
];

impl Ended {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Reset => "reset",
            Self::Drained => "drained",
            Self::Denied => "denied",
            Self::Full => "full",
            Self::Unreachable => "unreachable",
            Self::Handshake => "handshake",
            Self::NoRoute => "no-route",
        }
    }

    /// The status that logs file it under.
    pub(super) fn status(self) -> http::StatusCode {
        match self {
            Self::Closed | Self::Idle | Self::Reset | Self::Drained => http::StatusCode::OK,
            Self::Denied => http::StatusCode::FORBIDDEN,
            Self::NoRoute => http::StatusCode::NOT_FOUND,
            Self::Handshake => http::StatusCode::BAD_REQUEST,
            Self::Full => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable => http::StatusCode::BAD_GATEWAY,
        }
    }
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dropped {
    TooLarge,
    /// The socket to the other side takes no more at the moment.
    Busy,
}

/// How long a change is not told of after another one, so that one that comes and goes does not fill the log.
const CHANGES: Duration = Duration::from_secs(10);

/// Why no session of datagrams can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// There is no endpoint, or none that can be reached.
    Endpoint,
    /// The gateway itself has no descriptor, port or memory for one.
    Own,
}

/// What is lacking, told when it changes and not for each datagram: anybody can send as many as they like.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    is_any: AtomicBool,
    /// What was told last, and when.
    told: Mutex<(Option<Lack>, Option<Instant>)>,
}

impl Lacking {
    /// Whether what is lacking now, if anything is, should be told.
    pub(super) fn is_news(&self, now: Instant, lack: Option<Lack>) -> bool {
        if lack.is_none() && !self.is_any.load(Ordering::Relaxed) {
            return false;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = told.1.is_some_and(|before| now.saturating_duration_since(before) < CHANGES);
        if told.0 == lack || is_early {
            return false;
        }
        *told = (lack, Some(now));
        self.is_any.store(lack.is_some(), Ordering::Relaxed);
        true
    }
}

/// Connections and sessions by whose they are.
#[derive(Debug, Default)]
pub(super) struct ByClient(Mutex<HashMap<IpAddr, u64>>);

impl ByClient {
    /// Counts one of a client's, unless there are as many as it may have.
    pub(super) fn enter(&self, client: IpAddr, max: u64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(client).or_default();
        let has_room = *count < max;
        *count += u64::from(has_room);
        if *count == 0 {
            all.remove(&client);
        }
        has_room
    }

    /// One is over. Who has none is forgotten.
    pub(super) fn leave(&self, client: IpAddr) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&client);
            }
        }
    }
}

/// The counts of one route. They go on over reloads.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) open: AtomicU64,
    pub(super) by_client: ByClient,
    ended: [AtomicU64; ENDED.len()],
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) datagrams_received: AtomicU64,
    pub(super) datagrams_sent: AtomicU64,
    dropped: [AtomicU64; 2],
    pub(super) lacking: Lacking,
}

impl Counts {
    pub(super) fn ended(&self, how: Ended) {
        add(&self.ended[how as usize], 1);
    }

    pub(super) fn dropped(&self, why: Dropped) {
        add(&self.dropped[why as usize], 1);
    }
}

/// Tells of the live configuration's stream routes.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let value = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let mut all: Vec<_> = compiled.stream_routes.iter().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        for route in &all {
            let help = "Connections, or sessions of datagrams, of a stream route that are open.";
            out.gauge("tidegate_stream_open", help, &[("route", &route.name)], value(&route.counts.open));
        }
        for route in &all {
            let help = "Connections, or sessions of datagrams, of a stream route, by how they ended.";
            for how in ENDED {
                let labels = [("route", &*route.name), ("ended", how.as_str())];
                let count = value(&route.counts.ended[how as usize]);
                out.counter("tidegate_stream_connections_total", help, &labels, count);
            }
        }
        for route in &all {
            let help = "Bytes that a stream route has passed on.";
            for (direction, count) in [("received", &route.counts.received), ("sent", &route.counts.sent)] {
                let labels = [("route", &*route.name), ("direction", direction)];
                out.counter("tidegate_stream_bytes_total", help, &labels, value(count));
            }
        }
        for route in &all {
            let help = "Datagrams that a stream route has passed on.";
            let counts =
                [("received", &route.counts.datagrams_received), ("sent", &route.counts.datagrams_sent)];
            for (direction, count) in counts {
                let labels = [("route", &*route.name), ("direction", direction)];
                out.counter("tidegate_stream_datagrams_total", help, &labels, value(count));
            }
        }
        for route in &all {
            let help = "Datagrams that a stream route has dropped, by why.";
            for (why, count) in ["too-large", "busy"].iter().zip(&route.counts.dropped) {
                let labels = [("route", &*route.name), ("reason", *why)];
                out.counter("tidegate_stream_datagrams_dropped_total", help, &labels, value(count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_told_when_it_changes_and_not_each_time() {
        let (lacking, start) = (Lacking::default(), Instant::now());
        let news = |seconds: u64, lack| lacking.is_news(start + Duration::from_secs(seconds), lack);
        assert!(!news(0, None), "nothing ever lacked");
        assert!(news(0, Some(Lack::Own)));
        assert!(!news(1, Some(Lack::Own)));
        assert!(!news(60, Some(Lack::Own)), "however long it lasts");
        assert!(news(61, Some(Lack::Endpoint)));
        assert!(!news(62, None), "not each time when it comes and goes");
        assert!(news(72, None));
        assert!(!news(100, None));
    }
}
