//! `loadShed`: a real upstream that can do so much at a time, and more clients than that.

use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    super::harness::{Gateway, Upstream, eventually, pause, read_request},
    refused, with_policies,
};

/// Serves so many at a time, each in so many milliseconds; the others wait, and those that waited for longer than
/// anybody would are served all the same, as such upstreams do.
fn serving(places: usize, millis: u64) -> Upstream {
    let free = Arc::new((Mutex::new(places), Condvar::new()));
    Upstream::raw(move |mut reader: BufReader<TcpStream>, _| {
        while read_request(&mut reader).is_some() {
            let (count, changed) = &*free;
            let mut left =
                changed.wait_while(count.lock().expect("whole"), |left| *left == 0).expect("whole");
            *left -= 1;
            drop(left);
            pause(millis);
            *count.lock().expect("whole") += 1;
            changed.notify_one();
            if reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    })
}

fn before(upstream: &Upstream, policies: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policies}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ))
}

/// What clients saw: statuses, and how long good answers took.
#[derive(Default)]
struct Told {
    good: Mutex<Vec<Duration>>,
    refused: AtomicUsize,
}

/// So many clients, each of which asks again when it is answered, and a moment later when it is refused.
fn load(gateway: &Gateway, clients: usize, path: &str, lasts: Duration) -> Told {
    let (told, stop) = (Told::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(gateway.address).expect("a connection");
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
                let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
                let mut bytes = vec![0; 4096];
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    stream.write_all(request.as_bytes()).expect("sent");
                    // Answers are small, and come in one piece.
                    let length = stream.read(&mut bytes).expect("an answer");
                    match &bytes[..length.min(12)] {
                        b"HTTP/1.1 200" => told.good.lock().expect("whole").push(began.elapsed()),
                        b"HTTP/1.1 503" => {
                            let text = String::from_utf8_lossy(&bytes[..length]).to_lowercase();
                            assert!(text.contains("retry-after: 1") && text.contains("overloaded"), "{text}");
                            told.refused.fetch_add(1, Ordering::Relaxed);
                            pause(20);
                        }
                        other => panic!("{}", String::from_utf8_lossy(other)),
                    }
                }
            });
        }
        pause(u64::try_from(lasts.as_millis()).expect("a moment"));
        stop.store(true, Ordering::Relaxed);
    });
    told
}

fn gauge(gateway: &Gateway, name: &str) -> f64 {
    let series = format!("tidegate_load_shed_{name}{{policy=\"routes/r/loadShed\"}}");
    gateway.metric(&series).unwrap_or_else(|| panic!("{name}:\n{}", gateway.metrics()))
}

#[test]
fn the_limit_finds_its_level_and_what_is_let_in_is_served_as_fast_as_ever() {
    // It can do 8 at a time, 200 a second; 64 clients would have each wait for 320 ms.
    let upstream = serving(8, 40);
    let gateway = before(&upstream, "{loadShed: {minLimit: 4, maxLimit: 200, tolerance: 1.6}}");
    load(&gateway, 64, "/", Duration::from_secs(4));
    let limit = gauge(&gateway, "limit");
    assert!((6.0..=26.0).contains(&limit), "the limit is {limit}");
    let base = gauge(&gateway, "base_seconds");
    assert!((0.035..0.075).contains(&base), "{base}");
    let told = load(&gateway, 64, "/", Duration::from_secs(4));
    let mut good = told.good.into_inner().expect("whole");
    good.sort_unstable();
    // 800 could be done in that time.
    assert!(good.len() >= 560, "goodput is kept: {}", good.len());
    let median = good[good.len() / 2];
    assert!(median < Duration::from_millis(150), "{median:?}");
    assert!(told.refused.load(Ordering::Relaxed) > 100);
    let record = gateway.record("one that was refused", |record| record["status"] == 503);
    assert_eq!(
        (&record["stopped_by"], &record["failure"]["reason"]),
        (&"loadShed".into(), &"overloaded".into())
    );
    // When few ask nobody is refused, and all places are given back.
    let told = load(&gateway, 2, "/", Duration::from_secs(1));
    assert_eq!(told.refused.load(Ordering::Relaxed), 0);
    assert_eq!(gauge(&gateway, "in_flight"), 0.0);
    let refused = "tidegate_load_shed_calls_total{policy=\"routes/r/loadShed\",outcome=\"refused\"}";
    assert!(gateway.metric(refused) > Some(100.0));
}

#[test]
fn kept_answers_say_nothing_about_how_long_the_upstream_takes_and_take_no_place() {
    let upstream = Upstream::scripted(|_| {
        pause(40);
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 2";
        Some(format!("{head}\r\n\r\nok").into_bytes())
    });
    let gateway = before(&upstream, "{loadShed: {minLimit: 4, maxLimit: 100}}, {cache: {}}");
    assert_eq!(gateway.get("/kept").status, 200);
    let kept = load(&gateway, 2, "/kept", Duration::from_secs(1));
    assert!(kept.good.into_inner().expect("whole").len() > 100);
    for n in 0..60 {
        assert_eq!(gateway.get(&format!("/new/{n}")).status, 200);
    }
    let base = gauge(&gateway, "base_seconds");
    assert!(base >= 0.035, "{base}");
    eventually("all places are given back", || gauge(&gateway, "in_flight") == 0.0);
}

#[test]
fn under_load_what_matters_is_served_and_probes_are_never_refused() {
    let upstream = serving(4, 40);
    let gateway = before(
        &upstream,
        "{loadShed: {minLimit: 4, maxLimit: 12, priorities: [{when: \"request.path == '/low'\", priority: low}, {when: \"request.path == '/pay'\", priority: critical}]}}",
    );
    std::thread::scope(|scope| {
        let [normal, low] = ["/", "/low"].map(|path| {
            let gateway = &gateway;
            scope.spawn(move || load(gateway, 24, path, Duration::from_secs(3)))
        });
        pause(500);
        let probes = load(&gateway, 1, "/healthz", Duration::from_secs(2));
        let critical = load(&gateway, 1, "/pay", Duration::from_millis(400));
        for told in [&probes, &critical] {
            assert_eq!(told.refused.load(Ordering::Relaxed), 0);
            assert!(told.good.lock().expect("whole").len() >= 2);
        }
        let [normal, low] = [normal, low].map(|one| one.join().expect("told"));
        let good = |told: &Told| told.good.lock().expect("whole").len();
        assert!(good(&normal) > good(&low) * 2, "{} {}", good(&normal), good(&low));
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (settings, words) in [
        ("{minLimit: 10, maxLimit: 5}", "at least `minLimit`"),
        ("{remeasure: 1ms}", "a second or more"),
        ("{probes: [healthz]}", "expected a path"),
        ("{priorities: [{when: 'request.pth == 1', priority: low}]}", "loadShed"),
    ] {
        refused(&with_policies(&format!("[{{loadShed: {settings}}}]")), &[words, "tidegate.yaml:6:"]);
    }
}

#[test]
fn who_uses_more_cpu_than_is_allowed_is_refused_a_share_that_outlives_a_reload() {
    let upstream = serving(8, 0);
    let policies = "{loadShed: {minLimit: 100, maxLimit: 200, cpu: 1, priorities: [{when: \"request.path == '/low'\", priority: low}, {when: \"request.path == '/high'\", priority: high}]}}";
    let gateway = before(&upstream, policies);
    assert_eq!(gateway.get("/low").status, 200);
    // Four clients that ask as fast as they can use far more than a hundredth of any machine.
    let told = load(&gateway, 4, "/", Duration::from_secs(4));
    assert!(told.refused.load(Ordering::Relaxed) > 0 && !told.good.into_inner().expect("whole").is_empty());
    let share = gauge(&gateway, "cpu_share");
    assert!(share >= 0.3, "{share}");
    let refused = "tidegate_load_shed_calls_total{policy=\"routes/r/loadShed\",outcome=\"refused_cpu\"}";
    assert!(gateway.metric(refused) > Some(0.0), "{}", gateway.metrics());
    // Another route comes: what is refused is so still. Of low priority all is, of high nothing.
    let text = std::fs::read_to_string(gateway.config()).expect("a file");
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("admin:"))
        .fold(String::new(), |all, line| all + line + "\n");
    let more = text.replace(
        "routes: [",
        "routes: [{name: other, match: [{path: {prefix: /other}}], respond: {status: 204}}, ",
    );
    let state = gateway.reload(&more);
    let after: Vec<u16> = ["/low", "/high"].map(|path| gateway.get(path).status).to_vec();
    assert_eq!((gateway.get("/other").status, after), (204, vec![503, 200]), "{state}");
    assert!(gauge(&gateway, "cpu_share") >= 0.1, "{}", gateway.metrics());
}
