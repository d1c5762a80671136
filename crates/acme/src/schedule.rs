//! What is due when: renewals by age or as the authority suggests, and pauses after failures. The clock is passed in.

use std::time::{Duration, SystemTime};

/// What an authority's limits are given to recover in when it does not say for how long.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(3600);
/// No pause that an authority asks for is longer.
const PAUSE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A pause is no longer than one part of so many of what the certificate in use has left.
const LEFT_SHARE: u32 = 8;
/// The longest pause while one is in use that has ended: it is urgent, and may be wanted no more.
const ENDED_PAUSE: Duration = Duration::from_secs(3600);

/// A share of a hash: the same for the same text, spread evenly over 0 to 1.
pub(crate) fn unit(text: &str) -> f64 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_ref()[..8]);
    (u64::from_be_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
}

/// When a certificate is renewed by its age: with this share of its life left, and up to a fiftieth of its life before, so
/// that certificates of one day are not all renewed in one second.
pub(crate) fn by_age(valid: (SystemTime, SystemTime), left: f64, unit: f64) -> SystemTime {
    let life = valid.1.duration_since(valid.0).unwrap_or_default();
    let before_end = life.mul_f64((left + 0.02 * unit).clamp(0.0, 1.0));
    valid.1.checked_sub(before_end).unwrap_or(valid.0)
}

/// When a certificate is renewed as the authority suggests: at a time in the window that is this gateway's own (RFC 9773
/// §4.2), at once when the window is over.
pub(crate) fn as_suggested(window: (SystemTime, SystemTime), unit: f64) -> SystemTime {
    let length = window.1.duration_since(window.0).unwrap_or_default();
    window.0 + length.mul_f64(unit)
}

/// The first pause after a failed order and the longest, while a certificate is in use that has so much of its life left: a share of
/// that at most, so that an authority that is back is asked again before it ends, or soon after that.
pub(crate) fn pressed(backoff: (Duration, Duration), left: Option<Duration>) -> (Duration, Duration) {
    let (first, longest) = backoff;
    let pressing = match left {
        None => longest,
        Some(left) if left.is_zero() => ENDED_PAUSE,
        Some(left) => left / LEFT_SHARE,
    };
    (first, longest.min(pressing.max(first)))
}

/// What is known of orders that failed.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Failures {
    /// In a row.
    pub(crate) count: u32,
    /// Why the last one failed.
    pub(crate) error: Option<String>,
    /// When the next one may be made, in seconds since 1970.
    pub(crate) not_before: Option<f64>,
}

/// Why an order failed, as far as it says when the next may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The authority wants to hear nothing for a while, perhaps for this long.
    Limited(Option<Duration>),
    /// Anything else.
    Other,
}

impl Failures {
    /// Takes note of one more; until when nothing is ordered.
    pub(crate) fn add(
        &mut self,
        now: SystemTime,
        cause: Cause,
        error: String,
        backoff: (Duration, Duration),
        unit: f64,
    ) -> SystemTime {
        let doubled = backoff.0.saturating_mul(1u32.checked_shl(self.count.min(31)).unwrap_or(u32::MAX));
        let own = doubled.min(backoff.1);
        // Jitter shortens: many gateways that failed together do not come back together.
        let own = own.mul_f64(1.0 - 0.2 * unit);
        let pause = match cause {
            Cause::Limited(asked) => own.max(asked.unwrap_or(RATE_LIMIT_PAUSE).min(PAUSE_MAX)),
            Cause::Other => own,
        };
        self.count = self.count.saturating_add(1);
        self.error = Some(error);
        let until = now + pause;
        self.not_before = until.duration_since(SystemTime::UNIX_EPOCH).ok().map(|at| at.as_secs_f64());
        until
    }

    /// Until when nothing is ordered.
    pub(crate) fn until(&self) -> Option<SystemTime> {
        let at = Duration::try_from_secs_f64(self.not_before?).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_certificate_is_renewed_with_a_third_of_its_life_left_and_not_all_at_once() {
        let valid = (at(0), at(9000));
        assert_eq!(by_age(valid, 1.0 / 3.0, 0.0), at(6000));
        assert_eq!(by_age(valid, 1.0 / 3.0, 1.0), at(5820));
        assert_eq!(by_age((at(10), at(5)), 0.5, 0.5), at(5), "a life that makes no sense is over");
    }

    #[test]
    fn what_is_suggested_is_a_time_within_the_window() {
        assert_eq!(as_suggested((at(100), at(200)), 0.25), at(125));
        assert_eq!(as_suggested((at(200), at(100)), 0.25), at(200));
    }

    #[test]
    fn each_pause_is_twice_the_one_before_up_to_the_bound() {
        let backoff = (Duration::from_secs(60), Duration::from_secs(300));
        let mut failures = Failures::default();
        for pause in [60, 120, 240, 300, 300] {
            let until = failures.add(at(1000), Cause::Other, "no".into(), backoff, 0.0);
            assert_eq!(until, at(1000 + pause));
            assert_eq!(failures.until(), Some(until));
        }
        assert_eq!(failures.count, 5);
        assert!(failures.add(at(0), Cause::Other, "no".into(), backoff, 1.0) >= at(240));
    }

    #[test]
    fn the_nearer_the_end_the_shorter_the_pauses_and_none_is_shorter_than_the_first() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let backoff = (minute, 12 * hour);
        for (left, want) in [
            (None, 12 * hour),
            (Some(720 * hour), 12 * hour),
            (Some(8 * hour), hour),
            (Some(hour), hour / 8),
            (Some(minute), minute),
            (Some(Duration::ZERO), hour),
        ] {
            assert_eq!(pressed(backoff, left), (minute, want), "{left:?}");
        }
        assert_eq!(pressed((hour, minute), Some(hour)), (hour, minute), "what is written holds");
        // A certificate of a day, whose authority was away for half of what was left, has another before it ends.
        let (mut failures, mut now, end) = (Failures::default(), at(0), at(8 * 3600));
        while now < at(4 * 3600) {
            let left = end.duration_since(now).ok();
            now = failures.add(now, Cause::Other, "away".into(), pressed(backoff, left), 0.0);
        }
        assert!(now < end - 2 * hour, "{now:?}");
    }

    #[test]
    fn an_authority_that_limits_us_is_left_alone_for_as_long_as_it_says() {
        let backoff = (Duration::from_secs(1), Duration::from_secs(10));
        let mut failures = Failures::default();
        let asked = Some(Duration::from_secs(7200));
        assert_eq!(failures.add(at(0), Cause::Limited(asked), "slow".into(), backoff, 0.0), at(7200));
        assert_eq!(failures.add(at(0), Cause::Limited(None), "slow".into(), backoff, 0.0), at(3600));
        let ages = Some(Duration::from_secs(1 << 40));
        assert_eq!(failures.add(at(0), Cause::Limited(ages), "no".into(), backoff, 0.0), at(7 * 24 * 3600));
    }

    #[test]
    fn shares_of_texts_are_theirs_and_within_bounds() {
        assert_eq!(unit("a").to_bits(), unit("a").to_bits());
        assert!((0..1000).map(|n| unit(&n.to_string())).all(|unit| (0.0..1.0).contains(&unit)));
    }
}
