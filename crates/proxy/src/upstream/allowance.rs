//! How long a try may take until the head of its answer, while the request's body is on its way.
//!
//! The clock stands still for as long as the body moves at [`PACE_BYTES_PER_SECOND`], so that a long upload is not cut;
//! what a slower body takes counts, and what has counted does not come back.

use std::time::{Duration, Instant};

use super::h1::Patience;
use crate::failure::{Failure, Problem, Stage};

/// A body that moves faster than this takes nothing from the time. Apache httpd holds clients to the same by default
/// (`RequestReadTimeout body=20,MinRate=500`).
const PACE_BYTES_PER_SECOND: u64 = 500;

/// What is left of a try's time.
#[derive(Debug)]
pub(super) struct Allowance {
    left: Duration,
    /// When a piece of the body last moved.
    since: Instant,
    /// Messages of a gRPC stream come when they come: its own deadline bounds them.
    is_stream: bool,
}

impl Allowance {
    /// All of the time.
    pub(super) fn new(patience: Patience, is_stream: bool) -> Self {
        Self { left: patience.head, since: patience.now, is_stream }
    }

    /// What is left while nothing moves.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// Takes note of so many bytes that have moved now, after the client or the upstream was waited for.
    pub(super) fn moved(&mut self, bytes: u64, for_client: bool, now: Instant) -> Result<(), Failure> {
        let waited = now.saturating_duration_since(std::mem::replace(&mut self.since, now));
        // The end of a body comes once, and may be waited for as long as the listener waits for any byte.
        if for_client && (self.is_stream || bytes == 0) {
            return Ok(());
        }
        let paid = Duration::from_millis(bytes.saturating_mul(1000) / PACE_BYTES_PER_SECOND);
        self.left = self.left.saturating_sub(waited.saturating_sub(paid));
        if !self.left.is_zero() {
            return Ok(());
        }
        Err(if for_client {
            Failure::client(Stage::Body, Problem::RequestTimeout)
                .with_hint("the request's body comes too slowly")
        } else {
            Failure::upstream(Stage::Send, Problem::UpstreamTimeout, "the upstream takes the body too slowly")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Side;

    /// Moves a piece of so many bytes after each pause; says how many moved before time was up, and whose fault it was.
    fn play(is_stream: bool, for_client: bool, millis: u64, bytes: u64) -> (usize, Option<Side>) {
        let mut now = Instant::now();
        let patience = Patience { now, head: Duration::from_secs(10), idle: Duration::from_secs(60) };
        let mut allowance = Allowance::new(patience, is_stream);
        for piece in 0..1000 {
            now += Duration::from_millis(millis);
            if let Err(failure) = allowance.moved(bytes, for_client, now) {
                return (piece, Some(failure.side()));
            }
        }
        (1000, None)
    }

    #[test]
    fn a_trickle_is_cut_and_an_upload_is_not() {
        let (pieces, side) = play(false, true, 100, 1);
        assert!((100..105).contains(&pieces), "{pieces} pieces within ten seconds");
        assert_eq!(side, Some(Side::Client));
        assert_eq!(play(false, true, 20_000, 16_384), (1000, None), "in bursts, with long pauses");
        assert_eq!(play(false, true, 10, 64), (1000, None));
    }

    #[test]
    fn an_upstream_that_takes_next_to_nothing_is_at_fault() {
        let (pieces, side) = play(false, false, 1000, 10);
        assert!((10..12).contains(&pieces), "{pieces}");
        assert_eq!(side, Some(Side::Upstream));
    }

    #[test]
    fn messages_of_a_stream_may_be_small_and_rare() {
        assert_eq!(play(true, true, 5000, 20), (1000, None));
    }
}
