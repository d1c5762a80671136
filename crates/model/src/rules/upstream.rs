//! Rules of upstreams.

use crate::{
    Upstream,
    load::Context,
    resource::{
        balancing::Algorithm,
        tries::{Backoff, RetryOn, Timeouts},
        upstream::{Discovery, DnsDiscovery, DnsType, Protocol},
    },
};

/// How often somebody who is held may try, and how long anybody may be held.
const PROBE_INTERVAL_MIN: std::time::Duration = std::time::Duration::from_millis(50);
const HELD_MAX: std::time::Duration = std::time::Duration::from_secs(600);

pub(super) fn check(upstream: &Upstream, at: &mut Context<'_, '_>) {
    endpoints(upstream, at);
    balancing(upstream, at);
    health(upstream, at);
    tries(upstream, at);
    hedging(upstream, at);
    request_queue(upstream, at);
    pool(upstream, at);
    at.field("http2", |at| upstream.http2.check(at));
    let is_http1 = match upstream.protocol {
        Protocol::Http1 => true,
        Protocol::Auto => upstream.tls.is_none(),
        Protocol::Http2 | Protocol::Grpc => false,
    };
    if at.is_written("http2") && is_http1 {
        at.field("http2", |at| {
            at.warning_with(
                "this upstream is spoken to by HTTP/1.1 alone",
                "`protocol: http2`, or leave this out",
            );
        });
    }
    tls(upstream, at);
    at.field("hostHeader", |at| host_header(&upstream.host_header, at));
    super::policies::check("policies", &upstream.policies, at);
}

fn endpoints(upstream: &Upstream, at: &mut Context<'_, '_>) {
    match (&upstream.discovery, upstream.endpoints.is_empty()) {
        (None, true) => at.error_with("this upstream has no endpoints", "give `endpoints` or `discovery`"),
        (Some(_), false) => {
            at.field("discovery", |at| at.error("expected either `endpoints` or `discovery`, found both"))
        }
        _ => {}
    }
    if let Some(Discovery::Dns(dns)) = &upstream.discovery {
        at.field("discovery", |at| at.field("dns", |at| discovery(dns, at)));
    }
    if !upstream.endpoints.is_empty() && upstream.endpoints.iter().all(|endpoint| endpoint.backup) {
        at.field("endpoints", |at| at.error("expected at least one endpoint that is not a backup"));
    }
    let mut seen: Vec<&str> = Vec::new();
    at.each("endpoints", &upstream.endpoints, |at, endpoint| {
        if seen.contains(&endpoint.address.as_str()) {
            at.field("address", |at| at.error("this endpoint is there twice"));
        }
        seen.push(&endpoint.address);
    });
}

fn discovery(dns: &DnsDiscovery, at: &mut Context<'_, '_>) {
    match (dns.kind, dns.port) {
        (DnsType::A, None) => at.error("addresses need a `port`"),
        (DnsType::Srv, Some(_)) => at.field("port", |at| at.error("SRV records carry the port themselves")),
        _ => {}
    }
    if dns.min_refresh.is_zero() || dns.min_refresh > dns.max_refresh {
        at.field("minRefresh", |at| at.error("expected more than nothing and at most `maxRefresh`"));
    }
}

fn balancing(upstream: &Upstream, at: &mut Context<'_, '_>) {
    let settings = &upstream.load_balancing;
    at.field("loadBalancing", |at| {
        let hashes = matches!(settings.algorithm, Algorithm::RingHash | Algorithm::Maglev);
        if settings.hash.is_some() && !hashes {
            at.field("hash", |at| at.error("only `ringHash` and `maglev` hash"));
        }
        if settings.prefer_same_zone && settings.zone.is_none() {
            at.field("preferSameZone", |at| at.error("the own `zone` is missing"));
        }
        if settings.decay.is_zero() {
            at.field("decay", |at| at.error("expected more than nothing"));
        }
    });
}

fn health(upstream: &Upstream, at: &mut Context<'_, '_>) {
    if let Some(check) = &upstream.health_check {
        at.field("healthCheck", |at| {
            if check.path.is_some() && check.grpc.is_some() {
                at.error("expected at most one of `path` and `grpc`, found both");
            }
            if check.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
                at.field("path", |at| at.error("expected a path that begins with `/`"));
            }
            for (key, time) in [("interval", check.interval), ("timeout", check.timeout)] {
                if time.is_zero() {
                    at.field(key, |at| at.error("expected more than nothing"));
                }
            }
            at.each("expectedStatuses", &check.expected_statuses, |at, status| {
                if !(100..=599).contains(status) {
                    at.error("expected a status from 100 to 599");
                }
            });
            at.field("headers", |at| {
                for name in
                    check.headers.keys().filter(|name| http::HeaderName::from_bytes(name.as_bytes()).is_err())
                {
                    at.field(name, |at| at.error(format!("`{name}` is not the name of a header")));
                }
            });
        });
    }
    if let Some(outlier) = &upstream.outlier_detection {
        at.field("outlierDetection", |at| {
            let times = [("interval", outlier.interval), ("baseEjectionTime", outlier.base_ejection_time)];
            for (key, time) in times {
                if time.is_zero() {
                    at.field(key, |at| at.error("expected more than nothing"));
                }
            }
            if outlier.max_ejection_time < outlier.base_ejection_time {
                at.field("maxEjectionTime", |at| at.error("expected at least `baseEjectionTime`"));
            }
        });
    }
}

fn pool(upstream: &Upstream, at: &mut Context<'_, '_>) {
    let pool = &upstream.pool;
    at.field("pool", |at| {
        at.field("warmUp", |at| {
            if pool.warm_up > pool.max_idle_per_worker {
                at.error("expected at most `maxIdlePerWorker`");
            }
            if pool.warm_up > 0 && upstream.proxy_protocol.is_some() {
                at.error_with(
                    "a connection with a PROXY header serves one client: none can be opened ahead",
                    "leave out `warmUp` or `proxyProtocol`",
                );
            }
        });
    });
}

fn hedging(upstream: &Upstream, at: &mut Context<'_, '_>) {
    let Some(hedging) = &upstream.hedging else { return };
    at.field("hedging", |at| {
        at.field("delay", |at| {
            if hedging.delay.is_zero() {
                at.error("expected more than nothing");
            } else if hedging.delay >= upstream.timeouts.request {
                at.warning("no try takes that long: `timeouts.request` ends the call first");
            }
        });
    });
}

fn request_queue(upstream: &Upstream, at: &mut Context<'_, '_>) {
    let Some(queue) = &upstream.request_queue else { return };
    at.field("requestQueue", |at| {
        for (key, time) in [("maxWait", queue.max_wait), ("probeInterval", queue.probe_interval)] {
            if time.is_zero() {
                at.field(key, |at| at.error("expected more than nothing"));
            }
        }
        if queue.probe_interval.get() < PROBE_INTERVAL_MIN {
            at.field("probeInterval", |at| at.error("expected 50ms or more"));
        }
        if queue.max_wait.get() > HELD_MAX {
            at.field("maxWait", |at| at.error("expected ten minutes at most"));
        }
        if queue.probe_interval > queue.max_wait {
            at.field("probeInterval", |at| at.warning("nobody waits that long: `maxWait` is shorter"));
        }
        let Some(activation) = &queue.activate else { return };
        at.field("activate", |at| {
            if !["https://", "http://"].iter().any(|scheme| activation.url.starts_with(scheme)) {
                at.field("url", |at| {
                    at.error_with(
                        "expected an address",
                        "one that begins with https://, or http:// and loopback",
                    );
                });
            }
            if activation.timeout.is_zero() {
                at.field("timeout", |at| at.error("expected more than nothing"));
            }
        });
    });
}

fn tries(upstream: &Upstream, at: &mut Context<'_, '_>) {
    at.field("timeouts", |at| timeouts(&upstream.timeouts, at));
    at.field("retry", |at| {
        at.field("backoff", |at| backoff(&upstream.retry.backoff, at));
        at.field("budget", |at| {
            if upstream.retry.budget.window.is_zero() {
                at.field("window", |at| at.error("expected more than nothing"));
            }
        });
        let on_timeout = upstream.retry.on.contains(&RetryOn::Timeout);
        if on_timeout && upstream.timeouts.per_try.is_none() {
            at.field("on", |at| at.warning("`timeout` never happens without `timeouts.perTry`"));
        }
    });
    if let Some(breaker) = &upstream.circuit_breaker {
        at.field("circuitBreaker", |at| {
            let times = [
                ("slidingWindow", breaker.sliding_window),
                ("waitDurationInOpenState", breaker.wait_duration_in_open_state),
                ("maxWaitDurationInHalfOpenState", breaker.max_wait_duration_in_half_open_state),
                ("slowCallDurationThreshold", breaker.slow_call_duration_threshold),
            ];
            let rates = [
                ("failureRateThreshold", breaker.failure_rate_threshold),
                ("slowCallRateThreshold", breaker.slow_call_rate_threshold),
            ];
            let times = times.into_iter().filter(|(_, time)| time.is_zero()).map(|(key, _)| key);
            let rates = rates.into_iter().filter(|(_, rate)| rate.get() <= 0.0).map(|(key, _)| key);
            for key in times.chain(rates) {
                at.field(key, |at| at.error("expected more than nothing"));
            }
        });
    }
}

/// Timeouts that are not off are not zero, and a try fits into the whole.
pub(super) fn timeouts(timeouts: &Timeouts, at: &mut Context<'_, '_>) {
    let times = [
        ("connect", Some(timeouts.connect)),
        ("tls", Some(timeouts.tls)),
        ("perTry", timeouts.per_try),
        ("request", Some(timeouts.request)),
        ("idle", Some(timeouts.idle)),
        ("total", timeouts.total),
    ];
    for (key, time) in times {
        if time.is_some_and(|time| time.is_zero()) {
            at.field(key, |at| at.error("expected more than nothing"));
        }
    }
    if timeouts.per_try.is_some_and(|per_try| per_try > timeouts.request) {
        at.field("perTry", |at| at.warning("a try may take longer than `request` allows for all of them"));
    }
}

pub(super) fn backoff(backoff: &Backoff, at: &mut Context<'_, '_>) {
    if backoff.initial > backoff.max {
        at.field("initial", |at| at.error("expected at most `max`"));
    }
}

fn tls(upstream: &Upstream, at: &mut Context<'_, '_>) {
    let Some(tls) = &upstream.tls else { return };
    at.field("tls", |at| {
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => at.field("certFile", |at| at.error("a certificate needs its `keyFile`")),
            (None, Some(_)) => at.field("keyFile", |at| at.error("a key needs its `certFile`")),
            _ => {}
        }
        if !tls.verify {
            at.field("verify", |at| {
                at.warning("the upstream is not verified: anyone on the way can answer for it")
            });
        }
    });
}

/// `preserve`, `upstream`, or a host with or without a port.
pub(super) fn host_header(host: &str, at: &mut Context<'_, '_>) {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if !crate::load::format::host(name) {
        at.error("expected `preserve`, `upstream` or a host");
    }
}
