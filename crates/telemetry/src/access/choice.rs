//! Which calls are written: a sample of them, and those that a filter names.

use http::StatusCode;
use model::{AccessLog, CallRecord, resource::access_log::Filter};

/// A log's choice.
pub(crate) struct Choice {
    /// Calls whose number falls below it are written.
    threshold: u64,
    filter: Option<Filter>,
}

impl Choice {
    pub(crate) fn of(settings: &AccessLog) -> Self {
        let threshold = (settings.sample.fraction() * u64::MAX as f64) as u64;
        Self { threshold, filter: settings.filter.clone() }
    }

    /// Whether a call is written.
    pub(crate) fn takes(&self, call: &CallRecord) -> bool {
        self.filter.as_ref().is_none_or(|filter| passes(filter, call)) && is_sampled(call, self.threshold)
    }
}

fn passes(filter: &Filter, call: &CallRecord) -> bool {
    let is_of = |names: &[String], name: Option<&str>| {
        names.is_empty() || name.is_some_and(|name| names.iter().any(|one| one == name))
    };
    let has_status = filter.status.is_empty() || filter.status.iter().any(|wanted| is(wanted, call.status));
    has_status
        && is_of(&filter.routes, call.route.as_deref())
        && is_of(&filter.listeners, Some(&call.listener))
        && filter.slower_than.is_none_or(|least| call.timings.total >= least.get())
}

/// Whether a status is the one that is named, or of the class.
fn is(wanted: &str, status: StatusCode) -> bool {
    match wanted.strip_suffix("xx") {
        Some(class) => status.as_str().starts_with(class),
        None => status.as_str() == wanted,
    }
}

/// Whether a call is sampled. Failed ones always are; the choice goes by the request id, alike in every log.
fn is_sampled(call: &CallRecord, threshold: u64) -> bool {
    if threshold == u64::MAX || call.status.is_server_error() {
        return true;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in call.request_id.as_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) < threshold
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::access::test_call;

    #[test]
    fn sampling_keeps_its_share_and_every_failure() {
        let share = |status: StatusCode| {
            let threshold = (0.1 * u64::MAX as f64) as u64;
            let sampled = (0..10_000).filter(|number| {
                let request_id = HeaderValue::from_str(&format!("{number:032x}")).expect("a value");
                is_sampled(&CallRecord { request_id, status, ..test_call() }, threshold)
            });
            sampled.count()
        };
        assert!((900..1100).contains(&share(StatusCode::OK)), "{}", share(StatusCode::OK));
        assert_eq!(share(StatusCode::BAD_GATEWAY), 10_000);
    }

    #[test]
    fn a_filter_takes_calls_of_which_all_of_it_is_true() {
        let takes = |filter: &str, status: u16, millis: u64| {
            let text = format!(r#"{{"kind":"stdout","filter":{filter}}}"#);
            let choice = Choice::of(&serde_json::from_str(&text).expect("settings"));
            let mut call = test_call();
            call.status = StatusCode::from_u16(status).expect("a status");
            call.timings.total = Duration::from_millis(millis);
            choice.takes(&call)
        };
        for (filter, status, millis, want) in [
            ("{}", 200, 1, true),
            (r#"{"status":["5xx","404"]}"#, 200, 1, false),
            (r#"{"status":["5xx","404"]}"#, 404, 1, true),
            (r#"{"status":["5xx","404"]}"#, 503, 1, true),
            (r#"{"routes":["catalog"],"listeners":["public"]}"#, 200, 1, true),
            (r#"{"routes":["other"]}"#, 200, 1, false),
            (r#"{"listeners":["other"]}"#, 200, 1, false),
            (r#"{"slowerThan":"1s"}"#, 200, 999, false),
            (r#"{"slowerThan":"1s"}"#, 200, 1000, true),
            (r#"{"slowerThan":"1s","status":["5xx"]}"#, 200, 1000, false),
        ] {
            assert_eq!(takes(filter, status, millis), want, "{filter} {status} {millis}");
        }
    }
}
