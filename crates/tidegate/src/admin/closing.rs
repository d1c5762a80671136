//! Leaves the admin endpoint to another process without losing a request.
//!
//! Nothing more is accepted, which leaves what waits in the socket's queue to the other process; a connection that is
//! open ends with its next answer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
    serve::Listener,
};
use tokio::sync::Notify;

/// Whether the endpoint is being left.
#[derive(Default)]
pub(crate) struct Closing {
    has_begun: AtomicBool,
    told: Notify,
}

impl Closing {
    /// Leaves it.
    pub(crate) fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    async fn begun(&self) {
        let mut told = std::pin::pin!(self.told.notified());
        if !told.as_mut().enable() && !self.has_begun.load(Ordering::Acquire) {
            told.await;
        }
    }
}

/// Ends connections with their next answer once the endpoint is being left.
pub(super) async fn say_goodbye(
    State(closing): State<Arc<Closing>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if closing.has_begun.load(Ordering::Acquire) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A listener that accepts until the endpoint is left.
pub(super) struct Closable<L> {
    listener: L,
    closing: Arc<Closing>,
}

impl<L> Closable<L> {
    pub(super) fn new(listener: L, closing: Arc<Closing>) -> Self {
        Self { listener, closing }
    }
}

impl<L: Listener> Listener for Closable<L> {
    type Io = L::Io;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        tokio::select! {
            biased;
            () = self.closing.begun() => std::future::pending().await,
            accepted = self.listener.accept() => accepted,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
