//! TLS handshakes with clients, and with authorities that look whether names are ours.
//!
//! It is said which ones failed and why, so many in a second at most: anyone can make them fail.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};

use super::Listener;
use crate::{
    conn::wire::Io,
    tls::{certificates, managed, server::ListenerTlsConfig},
    worker::Worker,
};

/// Lines about failed handshakes that the process writes in a second at most.
const LINES_MAX: u32 = 10;

/// Shakes hands with whoever comes. None when it was an authority that looked whether a name is ours, which has seen all
/// that there is.
pub(crate) async fn accept(
    ours: &ListenerTlsConfig,
    config: &Arc<ServerConfig>,
    io: Io,
) -> io::Result<Option<TlsStream<Box<Io>>>> {
    if !ours.answers_authorities {
        return TlsAcceptor::from(config.clone()).accept(Box::new(io)).await.map(Some);
    }
    let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), Box::new(io)).await?;
    if !managed::is_challenge(&begun.client_hello()) {
        return begun.into_stream(config.clone()).await.map(Some);
    }
    let shown = managed::challenge_config().map_err(io::Error::other)?;
    let mut stream = begun.into_stream(shown).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// Counts a handshake that failed, and says so; of a client that comes and goes without a word, as checks of a mere
/// connection do, at level debug alone.
pub(crate) fn failed(worker: &Worker, listener: &Listener, remote: Option<SocketAddr>, why: &io::Error) {
    static LINES: Mutex<Lines> = Mutex::new(Lines { began: None, said: 0, left_out: 0 });
    worker.handshake_failed(&listener.name);
    let is_mere_look = why.kind() == io::ErrorKind::UnexpectedEof;
    let why = in_words(&why.to_string(), certificates::lack());
    if is_mere_look {
        tracing::debug!(listener = %listener.name, "TLS handshake failed: {why}");
        return;
    }
    let asked = LINES.lock().unwrap_or_else(PoisonError::into_inner).ask(Instant::now());
    let Some(left_out) = asked else { return };
    let peer = remote.map_or_else(|| "a local socket".to_owned(), |remote| remote.to_string());
    match left_out {
        0 => tracing::info!(
            listener = %listener.name,
            peer,
            "a TLS handshake with {peer} on listener `{}` failed: {why}",
            listener.name
        ),
        _ => tracing::info!(
            listener = %listener.name,
            peer,
            left_out,
            "a TLS handshake with {peer} on listener `{}` failed: {why}; {left_out} more before it are not shown",
            listener.name
        ),
    }
}

/// Why a handshake failed, in words of ours where the library's say little.
fn in_words(why: &str, lack: Option<String>) -> String {
    let is_lack = why.contains("no server certificate chain resolved");
    lack.filter(|_| is_lack).unwrap_or_else(|| why.to_owned())
}

/// The lines of the current second.
struct Lines {
    began: Option<Instant>,
    said: u32,
    left_out: u64,
}

impl Lines {
    /// Whether one more may be written, and then how many were not since the last one.
    fn ask(&mut self, now: Instant) -> Option<u64> {
        let is_over = |began: Instant| now.saturating_duration_since(began) >= Duration::from_secs(1);
        if self.began.is_none_or(is_over) {
            self.began = Some(now);
            self.said = 0;
        }
        if self.said == LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_a_certificate_is_told_and_other_failures_keep_their_words() {
        let lack = || Some("there is no certificate for `a.test` yet".to_owned());
        let librarys = "unexpected error: no server certificate chain resolved";
        assert_eq!(in_words(librarys, lack()), "there is no certificate for `a.test` yet");
        assert_eq!(in_words(librarys, None), librarys);
        assert_eq!(
            in_words("received fatal alert: BadCertificate", lack()),
            "received fatal alert: BadCertificate"
        );
    }

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_tells_of_the_rest() {
        let mut lines = Lines { began: None, said: 0, left_out: 0 };
        let now = Instant::now();
        assert!((0..LINES_MAX).all(|_| lines.ask(now) == Some(0)));
        assert!((0..7).all(|_| lines.ask(now + Duration::from_millis(999)).is_none()));
        assert_eq!(lines.ask(now + Duration::from_secs(1)), Some(7));
        assert_eq!(lines.ask(now + Duration::from_secs(1)), Some(0));
    }
}
