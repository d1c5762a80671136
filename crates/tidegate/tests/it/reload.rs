//! Reloads: atomic, refused whole, without harm to what is in flight or to state that did not change.

mod exposure;
mod kept;
mod order;
mod state;
mod streams;
mod watch;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::harness::{Client, Gateway, Upstream, eventually, pause};

fn config(gateway: &Gateway, routes: &str) -> String {
    format!("listeners: [{{name: public, address: \"{}\"}}]\n{routes}", gateway.address)
}

fn fixed(body: &str) -> String {
    format!("routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{body: {body}}}}}]\n")
}

#[test]
fn a_changed_file_is_live_without_being_asked() {
    let gateway = Gateway::start(&fixed("one"));
    assert_eq!(gateway.get("/").text(), "one");
    let text = format!("admin: {{address: \"{}\"}}\n{}", gateway.admin, config(&gateway, &fixed("two")));
    fs::write(gateway.config(), text).expect("a file");
    eventually("the new answer", || gateway.get("/").text() == "two");
}

#[test]
fn a_bad_configuration_leaves_the_old_running_and_says_why() {
    let gateway = Gateway::start(&fixed("one"));
    let state = gateway.reload(&config(&gateway, "routes: [{name: r, nonsense: 1}]\n"));
    assert_eq!(gateway.get("/").text(), "one");
    assert_eq!(state["lastReload"], "refused");
    let error = state["reloadError"].as_str().expect("a reason");
    assert!(error.contains("routes[0].nonsense") && error.contains("tidegate.yaml:3:"), "{error}");
    assert_eq!(gateway.metric("tidegate_config_last_reload_successful"), Some(0.0));
    // The watch may have seen the file before the signal came: then it was refused twice.
    let refused = gateway.metric("tidegate_config_reloads_total{result=\"refused\"}");
    assert!(refused.is_some_and(|count| count >= 1.0), "{}", gateway.metrics());
    assert!(gateway.stderr().contains("the old one stays"));
    let state = gateway.reload(&config(&gateway, &fixed("two")));
    assert_eq!((state["lastReload"].as_str(), gateway.get("/").text().as_str()), (Some("ok"), "two"));
    assert_eq!(gateway.metric("tidegate_config_last_reload_successful"), Some(1.0));
}

#[test]
fn a_refusal_is_a_line_per_mistake_without_warnings_or_drawings() {
    let gateway = Gateway::start(&fixed("one"));
    let bad = "consumers: [{name: c, keys: [a-literal-key-of-the-test]}]
routes:
  - {name: r, nonsense: 1}
  - {name: s, match: [{path: {prefix: /}}], respond: {status: lots}}\n";
    let state = gateway.reload(&config(&gateway, bad));
    let error = state["reloadError"].as_str().expect("a reason").to_owned();
    let lines: Vec<&str> = error.lines().collect();
    let path = gateway.config().display().to_string();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines.iter().all(|line| line.starts_with(&format!("{path}:"))), "{error}");
    assert!(error.contains(":5:15: routes[0].nonsense: unknown key `nonsense` ("), "{error}");
    assert!(error.contains("routes[1].respond.status: expected"), "{error}");
    assert!(!error.contains("literal secret") && !error.contains(['│', '╭']), "{error}");
    let logged = gateway.stderr();
    let line = logged.lines().rfind(|line| line.contains("the old one stays")).expect("a line");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let message = line["message"].as_str().expect("a message");
    assert_eq!(message, format!("the new configuration is refused, the old one stays: {error}"));
}

#[test]
fn a_policy_that_cannot_be_built_never_leaves_its_route_open() {
    let guarded = "consumers: [{name: c, keys: [the-key-of-the-test]}]
routes: [{name: r, match: [{path: {prefix: /}}], policies: [{keyAuth: {}}], respond: {body: inside}}]\n";
    let gateway = Gateway::start(guarded);
    assert_eq!(gateway.get("/").status, 401);
    let broken = guarded.replace("{keyAuth: {}}", "{keyAuth: {anonymous: nobody}}");
    let state = gateway.reload(&config(&gateway, &broken));
    assert_eq!(state["lastReload"], "refused");
    assert_eq!(gateway.get("/").status, 401);
    let no_jwks = guarded.replace(
        "{keyAuth: {}}",
        "{jwt: {issuer: i, audiences: [a], algorithms: [ES256], jwks: {file: none.json}}}",
    );
    assert_eq!(gateway.reload(&config(&gateway, &no_jwks))["lastReload"], "refused");
    assert_eq!(gateway.get("/").status, 401);
}

#[test]
fn limits_go_on_where_they_were() {
    let limited = |body: &str| {
        format!(
            "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{rateLimit: {{limit: 3, window: 1h}}}}], respond: {{body: {body}}}}}]\n"
        )
    };
    let gateway = Gateway::start(&limited("one"));
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(gateway.get("/").status, 429);
    gateway.reload(&config(&gateway, &limited("two")));
    assert_eq!(gateway.get("/").status, 429, "the limiter is the same one");
    gateway.reload(&config(&gateway, &limited("two").replace("limit: 3", "limit: 4")));
    assert_eq!(gateway.get("/").text(), "two", "a changed limit begins anew");
}

#[test]
fn one_named_limiter_is_one_limiter_on_a_hundred_routes() {
    let routes: Vec<_> = (0..100)
        .map(|at| format!("  - {{name: r{at}, match: [{{path: {{exact: /{at}}}}}], policies: [{{use: shared}}], respond: {{}}}}"))
        .collect();
    let gateway = Gateway::start(&format!(
        "policies: [{{name: shared, policy: {{rateLimit: {{limit: 10, window: 1h, key: global}}}}}}]\nroutes:\n{}\n",
        routes.join("\n")
    ));
    let statuses: Vec<_> = (0..20).map(|at| gateway.get(&format!("/{}", at * 5)).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10, "{statuses:?}");
}

#[test]
fn upstream_connections_survive_and_a_stream_in_flight_is_not_cut() {
    let upstream = Upstream::raw(|mut reader, seen| {
        use std::io::Write;
        while let Some(request) = super::harness::read_request(&mut reader) {
            let slow = request.target() == "/slow";
            seen.lock().expect("not poisoned").push(request);
            let stream = reader.get_mut();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345");
            if slow {
                pause(800);
            }
            if stream.write_all(b"67890").is_err() {
                return;
            }
        }
    });
    let rest = |extra: &str| {
        format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}{extra}]\n",
            upstream.address
        )
    };
    let gateway = Gateway::start(&format!("runtime: {{workers: 1}}\n{}", rest("")));
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.get("/").expect("an answer").text(), "1234567890");
    assert_eq!(upstream.connections(), 1);
    let mut slow = Client::connect(gateway.address);
    slow.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    pause(100);
    let more = ", {name: extra, match: [{path: {exact: /extra}}], respond: {body: extra}}";
    gateway.reload(&config(&gateway, &format!("runtime: {{workers: 1}}\n{}", rest(more))));
    assert_eq!(client.get("/extra").expect("the connection lives on").text(), "extra");
    assert_eq!(slow.read().expect("the whole answer").text(), "1234567890");
    let before = upstream.connections();
    assert_eq!(client.get("/").expect("an answer").text(), "1234567890");
    assert_eq!(upstream.connections(), before, "the pool is the same");
}

#[test]
fn edits_under_load_give_right_answers_alone() {
    let body = |n: usize| {
        format!("routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{body: v{n}}}}}]\n")
    };
    let gateway = Gateway::start(&body(0));
    let (stop, wrong, total) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (stop, wrong, total, address) = (stop.clone(), wrong.clone(), total.clone(), gateway.address);
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    let good = client
                        .get("/")
                        .is_some_and(|answer| answer.status == 200 && answer.text().starts_with('v'));
                    wrong.fetch_add(usize::from(!good), Ordering::Relaxed);
                    total.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for n in 1..=30 {
        gateway.reload(&config(&gateway, &body(n)));
        assert_eq!(gateway.get("/").text(), format!("v{n}"), "the reload is live when it says so");
    }
    stop.store(true, Ordering::Relaxed);
    load.into_iter().for_each(|thread| thread.join().expect("load"));
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    assert!(total.load(Ordering::Relaxed) > 100);
}

#[test]
fn edits_of_other_routes_never_change_a_routes_answer() {
    let upstream = Upstream::echo();
    let text = |n: usize| {
        let mut routes = vec![
            "{name: stable, hosts: [a.test], match: [{path: {template: '/stable/{id:int}'}}], backends: [{upstream: u}]}".to_owned(),
            format!("{{name: flip, match: [{{path: {{exact: /flip}}}}], respond: {{body: v{}}}}}", n % 2),
        ];
        for at in 0..40 {
            let path = match (at + n) % 4 {
                0 => format!("{{exact: /other/{at}}}"),
                1 => format!("{{prefix: /stable-{at}}}"),
                2 => format!("{{template: '/other/{{x}}/{at}'}}"),
                _ => format!("{{regex: '/other/{at}/.*'}}"),
            };
            let host =
                if (at + n).is_multiple_of(3) { "\"*.test\"".to_owned() } else { format!("h{at}.test") };
            routes.insert(
                (at + n) % routes.len(),
                format!("{{name: o{n}-{at}, hosts: [{host}], match: [{{path: {path}}}], respond: {{status: 418}}}}"),
            );
        }
        format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]\nroutes:\n  - {}\n",
            upstream.address,
            routes.join("\n  - ")
        )
    };
    let gateway = Gateway::start(&text(0));
    let (stop, total) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (stop, total, address) = (stop.clone(), total.clone(), gateway.address);
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut wrong = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    for (path, right) in [("/stable/7", &["/stable/7"][..]), ("/flip", &["v0", "v1"])] {
                        client.write(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
                        let answer = client.read().map(|answer| (answer.status, answer.text()));
                        if !answer
                            .as_ref()
                            .is_some_and(|(status, text)| *status == 200 && right.contains(&&**text))
                        {
                            wrong.push(format!("{path}: {answer:?}"));
                        }
                        total.fetch_add(1, Ordering::Relaxed);
                    }
                }
                wrong
            })
        })
        .collect();
    for n in 1..=20 {
        gateway.reload(&config(&gateway, &text(n)));
        let answer = gateway.send("GET /flip HTTP/1.1\nhost: a.test", b"");
        assert_eq!(answer.text(), format!("v{}", n % 2), "the reload is live when it says so");
    }
    stop.store(true, Ordering::Relaxed);
    let wrong: Vec<String> = load.into_iter().flat_map(|thread| thread.join().expect("load")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(total.load(Ordering::Relaxed) > 100);
}

#[test]
fn a_thousand_reloads_leak_nothing() {
    let upstream = Upstream::fixed(200, "ok");
    let text = |n: usize| {
        format!(
            "upstreams: [{{name: u{n}, endpoints: [{{address: \"{}\"}}], healthCheck: {{interval: 10s}}, circuitBreaker: {{}}}}]
routes: [{{name: r{n}, match: [{{path: {{prefix: /}}}}], policies: [{{rateLimit: {{limit: 1000000, window: 1s}}}}], backends: [{{upstream: u{n}}}]}}]\n",
            upstream.address
        )
    };
    let gateway = Gateway::start(&text(0));
    let reload = |n: usize| {
        let fresh = gateway.folder.path().join("fresh.tmp");
        let whole = format!("admin: {{address: \"{}\"}}\n{}", gateway.admin, config(&gateway, &text(n)));
        fs::write(&fresh, whole).expect("a file");
        fs::rename(&fresh, gateway.config()).expect("a swap");
        let request = "POST /api/v1/config/reload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer test-admin-token\r\nconnection: close\r\n\r\n";
        let answer = super::harness::raw(gateway.admin, request.as_bytes());
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    };
    for n in 1..=200 {
        reload(n);
        assert_eq!(gateway.get("/").text(), "ok");
    }
    let (rss, series) = (gateway.rss(), gateway.metrics().lines().count());
    for n in 201..=1_000 {
        reload(n);
        if n % 50 == 0 {
            assert_eq!(gateway.get("/").text(), "ok");
        }
    }
    // What the last ones have left behind is given back by and by; what leaks is not.
    eventually("memory has grown by less than 8 MiB over 800 reloads", || {
        assert_eq!(gateway.get("/").text(), "ok");
        gateway.rss().saturating_sub(rss) < 8 << 20
    });
    let more = gateway.metrics().lines().count();
    assert!(more < series + 200, "{series} lines of metrics became {more}");
    let threads = fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("tasks").count();
    assert!(threads < 40, "{threads} threads");
}

#[test]
fn an_empty_file_closes_nothing_and_is_refused_at_the_start_too() {
    let gateway = Gateway::start(&fixed("one"));
    for text in ["", "\n  \n", "# everything is commented out\n---\n"] {
        let before = gateway.readiness()["reloadsRefused"].as_u64();
        fs::write(gateway.config(), text).expect("a file");
        eventually("a refusal", || gateway.readiness()["reloadsRefused"].as_u64() > before);
        let error = gateway.readiness()["reloadError"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("tidegate.yaml is empty") && error.contains("listeners: []"), "{error}");
        assert_eq!(gateway.get("/").text(), "one");
    }
    let config = gateway.config().display().to_string();
    let data = gateway.folder.path().join("other").display().to_string();
    let (code, _, problems) = super::harness::run(&["run", "-c", &config, "--data-dir", &data]);
    assert!(code != 0 && problems.contains("is empty"), "{code} {problems}");
    // Nothing is what an explicit word says.
    let text = format!("admin: {{address: \"{}\"}}\nlisteners: []\n", gateway.admin);
    fs::write(gateway.config(), text).expect("a file");
    eventually("no listener", || super::harness::get(gateway.address, "/").is_none());
}
