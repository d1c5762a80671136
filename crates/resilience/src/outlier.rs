//! Outlier ejection, with Envoy's names and caps.
//!
//! An endpoint that fails live traffic is set aside for a while that grows with each time; never more endpoints than
//! the cap allows, but at least one may be. A refused connect sets an endpoint aside as well, cap or no cap: there is
//! nobody there to carry load.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Settings of outlier ejection.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierSettings {
    /// 5xx answers and local failures in a row that eject; 0 turns it off.
    pub consecutive_5xx: u32,
    /// 502, 503 and 504 in a row that eject; 0 turns it off.
    pub consecutive_gateway_failure: u32,
    /// Local failures in a row that eject; 0 turns it off.
    pub consecutive_local_origin_failure: u32,
    /// How often endpoints are compared.
    pub interval: Duration,
    /// First ejection; it grows with each further one.
    pub base_ejection_time: Duration,
    /// Longest ejection.
    pub max_ejection_time: Duration,
    /// Largest share of endpoints ejected at a time, in percent.
    pub max_ejection_percent: f64,
    /// Endpoints needed for a comparison.
    pub success_rate_minimum_hosts: u32,
    /// Calls in an interval that an endpoint needs to be compared.
    pub success_rate_request_volume: u32,
    /// Thousandths of a standard deviation below the mean that eject; 0 turns it off.
    pub success_rate_stdev_factor: u32,
    /// Share of failures, in percent, that ejects.
    pub failure_percentage_threshold: Option<f64>,
}

/// How a call to an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An answer below 500.
    Success,
    /// A 5xx that is none of the following.
    ServerError,
    /// 502, 503 or 504.
    GatewayFailure,
    /// No answer: connect, reset, timeout.
    LocalFailure,
}

/// What is known of one endpoint.
#[derive(Debug)]
pub struct HostOutlier {
    born: Instant,
    /// Until when it is set aside, in nanoseconds after `born`.
    until: AtomicU64,
    /// Until when it counts as refusing connections.
    refusing_until: AtomicU64,
    /// When its last ejection was to end: from there on the multiplier fades.
    ended_at: AtomicU64,
    /// Ejections that the next one builds on.
    ejections: AtomicU32,
    row_5xx: AtomicU32,
    row_gateway: AtomicU32,
    row_local: AtomicU32,
    /// Calls and successes since the last comparison.
    calls: AtomicU32,
    successes: AtomicU32,
}

impl HostOutlier {
    /// An endpoint of which nothing is known.
    pub fn new(now: Instant) -> Self {
        Self {
            born: now,
            until: AtomicU64::new(0),
            refusing_until: AtomicU64::new(0),
            ended_at: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            row_5xx: AtomicU32::new(0),
            row_gateway: AtomicU32::new(0),
            row_local: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            successes: AtomicU32::new(0),
        }
    }

    /// Whether it is set aside.
    pub fn is_ejected(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        // Most endpoints never are, and a look at zero is cheaper than a difference of clocks.
        until != 0 && self.nanos(now) < until
    }

    /// For how long it is still set aside.
    pub fn ejected_for(&self, now: Instant) -> Option<Duration> {
        let left = self.until.load(Ordering::Relaxed).saturating_sub(self.nanos(now));
        (left > 0).then(|| Duration::from_nanos(left))
    }

    /// Ejections that the next one builds on.
    pub fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Whether it was last seen to refuse connections.
    pub fn is_refusing(&self, now: Instant) -> bool {
        let until = self.refusing_until.load(Ordering::Relaxed);
        until != 0 && self.nanos(now) < until
    }

    /// Sets it aside for refusing a connection.
    pub fn refuse(&self, now: Instant, aside: Duration) {
        let until = self.nanos(now + aside);
        self.refusing_until.fetch_max(until, Ordering::Relaxed);
        self.until.fetch_max(until, Ordering::Relaxed);
    }

    /// Sets it aside; returns for how long. One that is set aside already stays so, and no longer.
    pub fn eject(&self, settings: &OutlierSettings, now: Instant) -> Option<Duration> {
        let until = self.until.load(Ordering::Relaxed);
        if until > self.nanos(now) {
            return None;
        }
        let last = self.ended_at.load(Ordering::Relaxed);
        // The multiplier fades by one for each base time that passed in use.
        let base = settings.base_ejection_time.as_nanos().max(1) as u64;
        let faded = u32::try_from(self.nanos(now).saturating_sub(last) / base).unwrap_or(u32::MAX);
        let before = self.ejections.load(Ordering::Relaxed).saturating_sub(faded);
        let multiplier = before.saturating_add(1);
        let aside = settings.base_ejection_time.saturating_mul(multiplier).min(settings.max_ejection_time);
        let end = self.nanos(now + aside);
        // Of several that find it failing at once, one ejects it.
        self.until.compare_exchange(until, end, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        self.ejections.store(multiplier, Ordering::Relaxed);
        self.ended_at.store(end, Ordering::Relaxed);
        for row in [&self.row_5xx, &self.row_gateway, &self.row_local] {
            row.store(0, Ordering::Relaxed);
        }
        Some(aside)
    }

    /// Takes it back before its time.
    pub fn forgive(&self) {
        self.until.store(0, Ordering::Relaxed);
        self.refusing_until.store(0, Ordering::Relaxed);
    }

    /// Takes note of a result; true when a row of failures says that it should be ejected. While it is set aside, what
    /// was in flight says nothing new: one fault would count many times.
    pub fn on_result(&self, settings: &OutlierSettings, now: Instant, kind: Kind) -> bool {
        if self.is_ejected(now) {
            return false;
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let step = |row: &AtomicU32, is_failure: bool, threshold: u32| {
            if !is_failure {
                if row.load(Ordering::Relaxed) != 0 {
                    row.store(0, Ordering::Relaxed);
                }
                return false;
            }
            let length = row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            threshold != 0 && length >= threshold
        };
        if kind == Kind::Success {
            self.successes.fetch_add(1, Ordering::Relaxed);
        }
        let is_local = kind == Kind::LocalFailure;
        let by_5xx = step(&self.row_5xx, kind != Kind::Success, settings.consecutive_5xx);
        let is_gateway = kind == Kind::GatewayFailure || is_local;
        let by_gateway = step(&self.row_gateway, is_gateway, settings.consecutive_gateway_failure);
        let by_local = step(&self.row_local, is_local, settings.consecutive_local_origin_failure);
        by_5xx || by_gateway || by_local
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Whether one more may be ejected when `ejected` of `total` are.
pub fn may_eject(ejected: usize, total: usize, max_percent: f64) -> bool {
    ejected == 0 && total > 1 || ((ejected + 1) as f64) * 100.0 <= total as f64 * max_percent
}

/// Compares endpoints over the interval that has passed; returns those that do clearly worse, the worst first.
pub fn compare(settings: &OutlierSettings, hosts: &[&HostOutlier], now: Instant) -> Vec<usize> {
    let mut rates: Vec<(usize, f64)> = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        let calls = host.calls.swap(0, Ordering::Relaxed);
        let successes = host.successes.swap(0, Ordering::Relaxed);
        if calls >= settings.success_rate_request_volume.max(1) && !host.is_ejected(now) {
            rates.push((index, f64::from(successes.min(calls)) * 100.0 / f64::from(calls)));
        }
    }
    if rates.len() < settings.success_rate_minimum_hosts as usize {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    let by_deviation = (settings.success_rate_stdev_factor > 0)
        .then(|| mean - variance.sqrt() * f64::from(settings.success_rate_stdev_factor) / 1000.0);
    let by_percentage = settings.failure_percentage_threshold.map(|threshold| 100.0 - threshold);
    rates.retain(|(_, rate)| {
        by_deviation.is_some_and(|bound| *rate < bound) || by_percentage.is_some_and(|bound| *rate <= bound)
    });
    rates.sort_by(|a, b| a.1.total_cmp(&b.1));
    rates.into_iter().map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests;
