//! `ipReputation`: lists of files and of a real server on this machine, that answers, fails and counts.

use std::{
    fmt::Write,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    super::harness::{Gateway, Upstream, eventually, free_port, pause},
    refused, with_policies,
};

/// A server of a list that a test may change; `None` answers 500.
fn server(first: &str) -> (Upstream, Arc<Mutex<Option<String>>>) {
    let list = Arc::new(Mutex::new(Some(first.to_owned())));
    let served = list.clone();
    let server = Upstream::scripted(move |_| {
        let answer = match &*served.lock().expect("not poisoned") {
            Some(list) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{list}", list.len()),
            None => "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        Some(answer.into_bytes())
    });
    (server, list)
}

/// A gateway behind a trusted proxy on this machine, so that a test may come from anywhere, with these files.
fn gateway(settings: &str, files: &[(&str, &str)]) -> (Gateway, Upstream) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("a file");
    }
    let (upstream, port) = (Upstream::echo(), free_port());
    let text = format!(
        "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"127.0.0.1:{port}\", trustedProxies: [127.0.0.1/32]}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{ipReputation: {{{settings}}}}}], backends: [{{upstream: u}}]}}
",
        upstream.address
    );
    let address = ([127, 0, 0, 1], port).into();
    (Gateway::in_folder(folder, &text, address, |_| {}), upstream)
}

fn from(gateway: &Gateway, client: &str) -> u16 {
    gateway.send(&format!("GET / HTTP/1.1\nhost: a\nx-forwarded-for: {client}"), b"").status
}

fn count(gateway: &Gateway, outcome: &str) -> Option<f64> {
    let policy = "policy=\"routes/r/ipReputation\"";
    gateway.metric(&format!("tidegate_ip_reputation_total{{{policy},outcome=\"{outcome}\"}}"))
}

fn gauge(gateway: &Gateway, name: &str) -> Option<f64> {
    gateway.metric(&format!("tidegate_ip_reputation_{name}{{policy=\"routes/r/ipReputation\"}}"))
}

#[test]
fn lists_of_every_form_refuse_and_the_allow_list_wins() {
    let drop = "{\"cidr\":\"1.10.16.0/20\",\"sblid\":\"SBL256894\",\"rir\":\"apnic\"}\n\
        {\"cidr\":\"2001:db8:bad::/48\",\"sblid\":\"SBL1\",\"rir\":\"ripencc\"}\n\
        {\"type\":\"metadata\",\"timestamp\":1700000000,\"size\":9,\"records\":2,\"copyright\":\"(c) 2023\"}\n";
    let netset = "# a set\n198.51.100.0/24\n192.0.2.7 ; one alone\n203.0.113.4-203.0.113.9\n";
    let (gateway, upstream) = gateway(
        "lists: [{name: drop, file: drop.json}, {name: own, file: own.netset}], allow: [198.51.100.9, '2001:db8:bad:1::/64']",
        &[("drop.json", drop), ("own.netset", netset)],
    );
    for (client, status) in [
        ("1.10.16.1", 403),
        ("1.10.31.255", 403),
        ("1.10.32.0", 200),
        ("::ffff:1.10.16.1", 403),
        ("2001:db8:bad::1", 403),
        ("2001:db8:bad:1::1", 200),
        ("2001:db8:bae::1", 200),
        ("198.51.100.8", 403),
        ("198.51.100.9", 200),
        ("192.0.2.7", 403),
        ("192.0.2.8", 200),
        ("203.0.113.9", 403),
        ("203.0.113.10", 200),
        ("192.0.2.8, 192.0.2.7", 403),
        ("192.0.2.7, 192.0.2.8", 200),
    ] {
        assert_eq!(from(&gateway, client), status, "{client}");
    }
    let answer = gateway.send("GET / HTTP/1.1\nhost: a\nx-forwarded-for: 192.0.2.7", b"");
    assert_eq!(answer.problem().as_deref(), Some("forbidden"));
    assert!(!answer.text().contains("own"), "{}", answer.text());
    let record = gateway.record("a refusal", |record| record["client_ip"] == "1.10.31.255");
    let want = json!([{"policy": "ipReputation", "outcome": "refused", "reason": "drop"}]);
    assert_eq!((&record["judged"], &record["stopped_by"]), (&want, &json!("ipReputation")), "{record}");
    eventually("the metrics", || {
        (count(&gateway, "refused"), count(&gateway, "allowed"), gauge(&gateway, "networks"))
            == (Some(9.0), Some(2.0), Some(5.0))
    });
    assert_eq!(upstream.seen().len(), 7);
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
    let (gateway, _upstream) = gateway("lists: [{name: own, file: own.txt}]", &[("own.txt", "192.0.2.7\n")]);
    assert_eq!((from(&gateway, "192.0.2.7"), from(&gateway, "192.0.2.8")), (403, 200));
    let write = |content: &str| {
        let fresh = gateway.folder.path().join("fresh");
        fs::write(&fresh, content).expect("a file");
        fs::rename(&fresh, gateway.folder.path().join("own.txt")).expect("a swap");
    };
    write("192.0.2.8\n");
    eventually("the new list", || (from(&gateway, "192.0.2.7"), from(&gateway, "192.0.2.8")) == (200, 403));
    write("<html>oops</html>\n");
    eventually("the refusal", || gateway.stderr().contains("it is no list"));
    write("# cut off after its head\n");
    eventually("the refusal", || gateway.stderr().contains("minEntries"));
    assert_eq!((from(&gateway, "192.0.2.7"), from(&gateway, "192.0.2.8")), (200, 403));
}

#[test]
fn a_list_from_an_address_is_kept_fresh_and_the_last_good_one_stays() {
    let (server, list) = server("192.0.2.7\n");
    let settings = format!(
        "untilLoaded: closed, lists: [{{name: far, url: 'http://{}/list', refresh: 1s, timeout: 500ms, maxSize: 1KiB, maxEntries: 3}}]",
        server.address
    );
    let (gateway, _upstream) = gateway(&settings, &[]);
    eventually("the first fetch", || from(&gateway, "192.0.2.7") == 403);
    assert_eq!(from(&gateway, "192.0.2.8"), 200);
    let set = |content: Option<&str>| *list.lock().expect("not poisoned") = content.map(str::to_owned);
    set(Some("192.0.2.8\n192.0.2.9\n"));
    eventually("the new list", || (from(&gateway, "192.0.2.7"), from(&gateway, "192.0.2.8")) == (200, 403));
    assert_eq!(gauge(&gateway, "networks"), Some(2.0));
    let long = "# a comment\n".repeat(200);
    for broken in [
        None,
        Some("Too many requests"),
        Some(""),
        Some("# service suspended\n"),
        Some("{\"data\": [], \"error\": \"quota\"}"),
        Some("1.1.1.1\n2.2.2.2\n3.3.3.3\n4.4.4.4\n"),
        Some(&*long),
    ] {
        set(broken);
        let before = server.seen().len();
        eventually("failed fetches", || server.seen().len() >= before + 2);
        assert_eq!((from(&gateway, "192.0.2.7"), from(&gateway, "192.0.2.8")), (200, 403), "{broken:?}");
        eventually("the gauge", || gauge(&gateway, "failing_lists") == Some(1.0));
    }
    let text = fs::read_to_string(gateway.config()).expect("the configuration");
    let text = text.split_once('\n').expect("admin stands first").1;
    gateway.reload(&text.replace("name: r,", "name: r, timeouts: {request: 9s},"));
    assert_eq!(from(&gateway, "192.0.2.8"), 403, "a reload keeps what was fetched");
    // The server is in its last state, and answers with nothing that is a list.
    gateway.reload(&text.replace("refresh: 1s, timeout: 500ms", "refresh: 2s, timeout: 700ms"));
    assert_eq!(
        (from(&gateway, "192.0.2.7"), from(&gateway, "192.0.2.8")),
        (200, 403),
        "and so does one that changes how it is fetched"
    );
    drop(server);
    pause(1500);
    assert_eq!(from(&gateway, "192.0.2.8"), 403, "nobody listens any more");
    assert!(gateway.stderr().contains("stays as it was"), "{}", gateway.stderr());
}

#[test]
fn until_it_is_there_calls_pass_or_wait_as_is_chosen() {
    // It takes connections and never answers.
    let silent = Upstream::raw(|reader, _| {
        pause(30_000);
        drop(reader);
    });
    let list = format!("lists: [{{name: far, url: 'http://{}/list', timeout: 20s}}]", silent.address);
    let (open, _upstream) = gateway(&list, &[]);
    assert_eq!(from(&open, "192.0.2.7"), 200);
    let (closed, _upstream) = gateway(&format!("untilLoaded: closed, {list}"), &[]);
    let answer = closed.send("GET / HTTP/1.1\nhost: a\nx-forwarded-for: 192.0.2.7", b"");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    eventually("the metric", || count(&closed, "unloaded") == Some(1.0));
    let record = closed.record("a refusal", |record| record["status"] == 503);
    assert_eq!(record["judged"][0]["outcome"], "refused", "{record}");
    let settings = format!("untilLoaded: closed, allow: [192.0.2.7], {list}");
    let (allowing, _upstream) = gateway(&settings, &[]);
    assert_eq!((from(&allowing, "192.0.2.7"), from(&allowing, "192.0.2.8")), (200, 503));
    let (detecting, _upstream) = gateway(&format!("untilLoaded: closed, mode: detect, {list}"), &[]);
    assert_eq!(from(&detecting, "192.0.2.7"), 200);
    let record = detecting.record("the call", |record| record["judged"].is_array());
    assert_eq!(record["judged"][0]["outcome"], "detected", "{record}");
    // One that is there refuses whom it tells of, whatever becomes of the other.
    let both = list.replace("lists: [", "lists: [{name: own, file: own.txt}, ");
    let (both, _upstream) = gateway(&format!("untilLoaded: closed, {both}"), &[("own.txt", "192.0.2.7\n")]);
    assert_eq!((from(&both, "192.0.2.7"), from(&both, "192.0.2.8")), (403, 503));
}

#[test]
fn where_nothing_is_refused_the_upstream_is_told_and_clients_cannot_tell_it() {
    let (gateway, upstream) = gateway(
        "mode: detect, header: x-reputation, lists: [{name: a, file: a.txt}, {name: b, file: b.txt}]",
        &[("a.txt", "192.0.2.0/24\n"), ("b.txt", "192.0.2.7\n2001:db8::/32\n")],
    );
    for (client, more, want) in [
        ("192.0.2.7", "", Some("a,b")),
        ("192.0.2.8", "", Some("a")),
        ("2001:db8::1", "\nx-reputation: mine", Some("b")),
        ("198.51.100.1", "\nx-reputation: mine", None),
        ("192.0.2.7", "\nconnection: x-reputation", Some("a,b")),
        ("198.51.100.1", "\nx_reputation: mine", None),
    ] {
        let head = format!("GET / HTTP/1.1\nhost: a\nx-forwarded-for: {client}{more}");
        let status = gateway.send(&head, b"").status;
        if status == 200 {
            let seen = upstream.seen().pop().expect("a request");
            let told: Vec<&str> = seen
                .headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("x-reputation") || name == "x_reputation")
                .map(|(_, value)| value.as_str())
                .collect();
            assert_eq!(told, want.into_iter().collect::<Vec<_>>(), "{client} {more}");
        } else {
            assert!(more.contains('_'), "{client} {more}: {status}");
        }
    }
    let record = gateway.record("a listed one", |record| record["client_ip"] == "192.0.2.8");
    assert_eq!(record["judged"][0]["outcome"], "detected", "{record}");
}

#[test]
fn a_shared_list_is_held_once_however_often_it_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("own.txt"), "192.0.2.7\n192.0.2.9\n").expect("a file");
    let port = free_port();
    let routes: String = (0..20)
        .map(|number| {
            format!(
                "  - {{name: r{number}, match: [{{path: {{prefix: /{number}}}}}], policies: [{{use: bad}}], respond: {{}}}}\n"
            )
        })
        .collect();
    let text = format!(
        "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"127.0.0.1:{port}\", trustedProxies: [127.0.0.1/32]}}]
policies: [{{name: bad, policy: {{ipReputation: {{lists: [{{name: own, file: own.txt}}]}}}}}}]
routes:
{routes}"
    );
    let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |_| {});
    for number in [0, 19] {
        let head = format!("GET /{number} HTTP/1.1\nhost: a\nx-forwarded-for: 192.0.2.7");
        assert_eq!(gateway.send(&head, b"").status, 403);
    }
    let name = "tidegate_ip_reputation_networks{policy=\"policies/bad/ipReputation\"}";
    assert_eq!(gateway.metric(name), Some(2.0));
}

#[test]
fn a_hundred_and_fifty_thousand_networks_load_and_are_looked_up_at_once() {
    let mut list = String::new();
    for number in 0_u32..150_000 {
        // No two touch, so that nothing is merged.
        let bits = 0x0b00_0000 + number * 512;
        let _ = writeln!(list, "{}/24", std::net::Ipv4Addr::from_bits(bits));
    }
    let start = Instant::now();
    let (gateway, _upstream) = gateway("lists: [{name: long, file: long.netset}]", &[("long.netset", &list)]);
    let loading = start.elapsed();
    assert!(loading < Duration::from_secs(15), "it took {loading:?} to start");
    assert_eq!(gauge(&gateway, "networks"), Some(150_000.0));
    for number in [0_u32, 1, 77_777, 149_999] {
        let address = |plus| std::net::Ipv4Addr::from_bits(0x0b00_0000 + number * 512 + plus).to_string();
        assert_eq!((from(&gateway, &address(255)), from(&gateway, &address(256))), (403, 200), "{number}");
    }
    assert!(gateway.rss() < 120 * 1024 * 1024, "{} bytes", gateway.rss());
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for (settings, words) in [
        ("lists: []", &["lists"][..]),
        ("lists: [{name: a}]", &["`file` or `url`"]),
        ("lists: [{name: a, url: 'http://lists.test/'}]", &["https"]),
        ("lists: [{name: 'a b', url: 'https://lists.test/'}]", &["letters"]),
        ("lists: [{name: a, url: 'https://x.test/', refresh: 10ms}]", &["1s or more"]),
        (
            "lists: [{name: a, url: 'https://x.test/'}, {name: a, url: 'https://y.test/'}]",
            &["another list `a`"],
        ),
        ("lists: [{name: a, url: 'https://x.test/'}], header: connection", &["gateway's own"]),
        ("lists: [{name: a, file: missing.txt}]", &["missing.txt"]),
        (
            "lists: [{name: a, url: 'https://x.test/', minEntries: 3, maxEntries: 2}]",
            &["`maxEntries` or less"],
        ),
    ] {
        refused(&with_policies(&format!("[{{ipReputation: {{{settings}}}}}]")), words);
    }
}
