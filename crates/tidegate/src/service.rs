//! The service manager (systemd): sockets that it has opened, and what it is told.
//!
//! Every message is sent only when the manager has asked for it (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).

use std::{io, os::fd::OwnedFd, time::Duration};

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::handover::Sockets;

/// The name of the admin endpoint's socket.
const ADMIN: &str = "admin";

/// Takes the sockets that the service manager has opened (`LISTEN_FDS`). Must come before any thread is started.
pub(crate) fn sockets() -> io::Result<Sockets> {
    let mut sockets = Sockets::default();
    let is_ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !is_ours {
        return Ok(sockets);
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut given = ListenFd::from_env();
    for index in 0..given.len() {
        let name = names.next().unwrap_or_default().to_owned();
        let socket = take(&mut given, index)
            .map_err(|error| io::Error::new(error.kind(), format!("LISTEN_FDS: `{name}`: {error}")))?;
        let place = if name == ADMIN { &mut sockets.admin } else { &mut sockets.listeners };
        place.push(proxy::Inherited { listener: name, address: None, socket });
    }
    Ok(sockets)
}

fn take(given: &mut ListenFd, index: usize) -> io::Result<OwnedFd> {
    let gone = || io::Error::other("taken twice");
    let socket: OwnedFd = match given.take_tcp_listener(index) {
        Ok(socket) => socket.ok_or_else(gone)?.into(),
        Err(_) => given.take_unix_listener(index)?.ok_or_else(gone)?.into(),
    };
    if !rustix::net::sockopt::socket_acceptconn(&socket)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket"));
    }
    Ok(socket)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}

/// The gateway serves.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being loaded anew; [`ready`] ends it.
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The gateway drains, for so long at most.
pub(crate) fn stopping(at_most: Duration) {
    let micros = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::Status("draining"), NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Another process is the service from now on.
pub(crate) fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Status("upgraded; the process before drains")]);
}

/// Tells the manager that all is alive, for as long as `is_alive` says so. Returns at once when there is no watchdog.
pub(crate) async fn watchdog(is_alive: impl Fn(Duration) -> bool) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(patience / 3);
    loop {
        ticks.tick().await;
        if is_alive(patience / 2) {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a worker does not answer: the watchdog is told nothing");
        }
    }
}
