//! Everything goes wrong at once, and nobody notices.
//!
//! Under steady load, endpoints are killed, hang, slow down and come back; a name stands for other addresses, or for
//! none because the name server fails; the configuration changes every second; and the gateway itself is replaced
//! while it serves. Clients of HTTP/1.1 and HTTP/2, in the clear and over TLS, ask and send bodies. No idempotent request fails, nothing else is executed twice, and memory stays flat.
//!
//! With `TIDEGATE_FAULT_REQUESTS=1000000` the load makes that many requests at least, without pause.

mod dns;
mod endpoint;
mod load;
mod ways;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use self::{
    dns::{Mode, NameServer},
    endpoint::{Endpoint, Executed},
    load::{Load, Outcome},
    ways::Doors,
};
use super::harness::{Gateway, free_port, get, pause};

/// Requests that the load makes at least when the environment says nothing, and the pause after each.
const REQUESTS: u64 = 10_000;
const PACE: Duration = Duration::from_millis(3);
/// How much the gateway's memory may differ between the last two looks.
const GROWTH_BYTES_MAX: u64 = 12 << 20;
/// The configuration in its `turn`-th form: the routes that carry the load stay, what is beside them changes.
fn config(turn: usize, doors: &Doors, endpoints: &[SocketAddr], dns: SocketAddr) -> String {
    let listed: Vec<_> = endpoints.iter().map(|address| format!("{{address: \"{address}\"}}")).collect();
    let effort = "retry: {maxAttempts: 4, on: [connectFailure, reset, timeout, refusedStream]}
    timeouts: {connect: 500ms, perTry: 1s, request: 10s}
    outlierDetection: {baseEjectionTime: 2s, maxEjectionTime: 2s, maxEjectionPercent: 50}";
    let idle = 30 + turn % 3;
    format!(
        "listeners:
  - {{name: public, address: \"{plain}\"}}
  - {{name: secure, address: \"{secure}\", tls: {{certificates: [{{certFile: server.crt, keyFile: server.key}}]}}}}
runtime: {{dnsServers: [\"{dns}\"], workers: {workers}}}
shutdown: {{deadline: 15s}}
upstreams:
  - name: fixed
    endpoints: [{}]
    pool: {{idleTimeout: {idle}s}}
    {effort}
  - name: named
    discovery: {{dns: {{name: service.test, port: {port}, minRefresh: 200ms, maxRefresh: 1s}}}}
    {effort}
routes:
  - {{name: fixed, match: [{{path: {{prefix: /fixed}}}}], backends: [{{upstream: fixed}}]}}
  - {{name: named, match: [{{path: {{prefix: /named}}}}], backends: [{{upstream: named}}]}}
  - {{name: beside-{turn}, match: [{{path: {{exact: /turn}}}}], respond: {{body: \"{turn}\"}}}}
",
        listed.join(", "),
        plain = doors.plain,
        secure = doors.secure,
        port = endpoints[0].port(),
        workers = 2 + turn % 2,
    )
}

/// Writes another configuration every second until it is dropped.
struct Edits {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Edits {
    fn start(gateway: &Gateway, text: impl Fn(usize) -> String + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (folder, path) = (gateway.folder.path().to_owned(), gateway.config());
        let head = format!("admin: {{address: \"{}\"}}\n", gateway.admin);
        let thread = std::thread::spawn(move || {
            let mut turn = 0;
            while !stopped.load(Ordering::Relaxed) {
                turn += 1;
                fs::write(folder.join("next.tmp"), format!("{head}{}", text(turn))).expect("a file");
                fs::rename(folder.join("next.tmp"), &path).expect("a swap");
                pause(1_000);
            }
            turn
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().expect("edits"))
    }
}

/// One of everything that goes wrong, in turn. `midway` comes while an endpoint hangs.
fn all_goes_wrong(endpoints: &mut [Endpoint], dns: &NameServer, load: &Load, midway: impl FnOnce()) {
    load.phase("an endpoint is killed");
    endpoints[0].kill();
    pause(700);
    endpoints[0].start();
    pause(300);

    load.phase("an endpoint hangs");
    endpoints[1].hang();
    pause(1_000);
    midway();
    pause(1_000);
    endpoints[1].kill();
    endpoints[1].start();
    pause(300);

    load.phase("an endpoint is slow");
    endpoints[2].slow(Duration::from_millis(150));
    pause(500);
    endpoints[2].slow(Duration::ZERO);

    load.phase("an address leaves the name, and then its endpoint ends");
    dns.set(&[0, 1, 2].map(|at: usize| endpoints[at].address));
    pause(1_200);
    endpoints[3].kill();
    pause(300);
    endpoints[3].start();
    dns.set(&[0, 1, 2, 3].map(|at: usize| endpoints[at].address));

    load.phase("the name server fails, then is silent");
    dns.mode(Mode::Failing);
    pause(700);
    dns.mode(Mode::Silent);
    pause(700);
    dns.mode(Mode::Answering);

    load.phase("all endpoints restart, one after the other");
    for endpoint in endpoints {
        endpoint.kill();
        pause(100);
        endpoint.start();
        pause(200);
    }
    load.phase("all is well");
}

#[test]
fn nothing_is_lost_and_nothing_is_done_twice_while_everything_goes_wrong() {
    let wanted: Option<u64> =
        std::env::var("TIDEGATE_FAULT_REQUESTS").ok().map(|text| text.parse().expect("a number"));
    let executed = Arc::new(Executed::default());
    let port = free_port();
    let mut endpoints: Vec<_> =
        (2..6).map(|at| Endpoint::new(([127, 0, 0, at], port).into(), executed.clone())).collect();
    let dns = NameServer::start();
    let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
    dns.set(&addresses);
    let name_server = dns.address;
    let folder = tempfile::tempdir().expect("a folder");
    let [plain, secure] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let doors = Doors::new(plain, secure, folder.path());
    let text = config(0, &doors, &addresses, name_server);
    let mut gateway = Gateway::in_folder(folder, &text, plain, |_| {});
    let kept = doors.clone();
    let edits = Edits::start(&gateway, move |turn| config(turn, &kept, &addresses, name_server));
    let pace = if wanted.is_some() { Duration::ZERO } else { PACE };
    let load = Load::start(&doors, pace);

    let start = Instant::now();
    let wanted = wanted.unwrap_or(REQUESTS);
    // The first half of the load sees upgrades; the process that serves the second is looked at for its memory.
    let mut upgrades = 0;
    while upgrades < 2 || load.requests() < wanted / 2 {
        all_goes_wrong(&mut endpoints, &dns, &load, || {
            gateway.upgrade();
            upgrades += 1;
        });
    }
    let (before, from) = (gateway.rss(), load.requests());
    let mut cycles = 0;
    while cycles == 0 || load.requests() < wanted {
        all_goes_wrong(&mut endpoints, &dns, &load, || cycles += 1);
    }
    let after = gateway.rss();
    let turns = edits.end();
    let outcome = load.end();
    eprintln!(
        "{} requests in {:?}, {upgrades} upgrades, {turns} edits; {} of {} unsafe ones failed; memory {} KiB, {} requests later {} KiB",
        outcome.requests,
        start.elapsed(),
        outcome.unsafe_failures.len(),
        outcome.unsafe_requests,
        before >> 10,
        outcome.requests - from,
        after >> 10,
    );
    judge(&outcome, &executed, &gateway);
    assert!(after.saturating_sub(before) < GROWTH_BYTES_MAX, "memory grew from {before} to {after} bytes");
}

fn judge(outcome: &Outcome, executed: &Executed, gateway: &Gateway) {
    let some = |failures: &[String]| failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        outcome.failures.is_empty(),
        "{} idempotent requests failed:\n{}\n{}",
        outcome.failures.len(),
        some(&outcome.failures),
        gateway.stderr().lines().rev().take(40).collect::<Vec<_>>().join("\n"),
    );
    assert_eq!(executed.twice(), Vec::<u64>::new(), "executed more than once");
    let lost: Vec<_> = outcome.acknowledged.iter().filter(|id| executed.count(**id) != 1).collect();
    assert!(lost.is_empty(), "acknowledged and not executed: {lost:?}");
    // What may have been executed fails when its endpoint does; nothing else.
    assert!(
        outcome.unsafe_failures.len() as u64 * 20 < outcome.unsafe_requests,
        "{} of {} unsafe requests failed:\n{}",
        outcome.unsafe_failures.len(),
        outcome.unsafe_requests,
        some(&outcome.unsafe_failures),
    );
    let applied = gateway.readiness()["reloadsApplied"].as_u64().unwrap_or(0);
    assert!(applied > 3, "the last process applied {applied} edits");
    assert_ne!(get(gateway.address, "/turn").expect("an answer").text(), "0");
}
