//! What a broker keeps comes to an upstream: at least once, in the order that is wanted, signed, and given up in the end.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::server::Nats;
use crate::harness::{Gateway, Seen, Upstream, eventually, free_port, pause};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BROKEN: &[u8] = b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n";

/// A configuration that delivers what `ORDERS` keeps, on a port.
fn config(nats: &Nats, upstream: &Upstream, port: u16, subscription: &str) -> String {
    format!(
        "listeners:\n  - {{name: public, address: \"127.0.0.1:{port}\"}}
accessLog: [{{kind: stdout, format: json}}]
shutdown: {{deadline: 10s}}
{}upstreams: [{{name: billing, endpoints: [{{address: \"{}\"}}]}}]
subscriptions:
  - {{name: orders, broker: events, stream: ORDERS, upstream: billing{subscription}}}
",
        nats.broker(),
        upstream.address
    )
}

fn started(upstream: &Upstream, subscription: &str) -> (Nats, Gateway) {
    let nats = Nats::start();
    nats.stream("ORDERS", &["orders.>", "dead"]);
    let port = free_port();
    let text = config(&nats, upstream, port, subscription);
    let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    is_read(&gateway);
    (nats, gateway)
}

fn is_read(gateway: &Gateway) {
    eventually("the subscription is read", || gateway.metric("tidegate_subscription_up") == Some(1.0));
}

fn count(gateway: &Gateway, result: &str) -> f64 {
    let series =
        format!("tidegate_subscription_deliveries_total{{subscription=\"orders\",result=\"{result}\"}}");
    gateway.metric(&series).unwrap_or_default()
}

/// What the broker has not heard of yet: messages that wait there, and those that are held.
fn left(nats: &Nats) -> u64 {
    let info = nats.client().ask("$JS.API.CONSUMER.INFO.ORDERS.tidegate-orders", &serde_json::json!({}));
    let number = |name: &str| info[name].as_u64().unwrap_or_else(|| panic!("{info}"));
    number("num_pending") + number("num_ack_pending")
}

fn bodies(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect()
}

#[test]
fn a_message_is_delivered_signed_and_confirmed_after_a_2xx() {
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let (nats, gateway) = started(
        &upstream,
        &format!(
            ", path: /hooks/orders, subject: \"orders.*.placed\", headers: [x-tenant], sign: [\"{secret}\"]"
        ),
    );
    let mut client = nats.client();
    client.publish("orders.7.paid", "not this");
    client.publish_with(
        "orders.7.placed",
        &[
            ("Content-Type", "application/json"),
            ("ce-id", "1"),
            ("X-Tenant", "blue"),
            ("X-Other", "red"),
            ("Nats-Msg-Id", "m"),
        ],
        "{\"total\":1}",
    );
    eventually("it is delivered", || count(&gateway, "delivered") == 1.0);
    let seen = upstream.seen();
    let one = seen.first().expect("a request");
    assert_eq!(one.line, "POST /hooks/orders HTTP/1.1");
    for (name, value) in [
        ("content-type", Some("application/json")),
        ("content-length", Some("11")),
        ("ce-id", Some("1")),
        ("x-tenant", Some("blue")),
        ("x-other", None),
        ("nats-msg-id", None),
        ("webhook-id", Some("ORDERS-2")),
        ("x-tidegate-attempt", Some("1")),
        ("x-tidegate-subject", Some("orders.7.placed")),
    ] {
        assert_eq!(one.header(name), value, "{name}: {one:?}");
    }
    assert_eq!(one.body, b"{\"total\":1}");
    let seconds = one.header("webhook-timestamp").expect("a time");
    let key = hmac(secret, &format!("ORDERS-2.{seconds}.{{\"total\":1}}"));
    assert_eq!(one.header("webhook-signature"), Some(&*format!("v1,{key}")));
    eventually("the broker has heard of it", || left(&nats) == 0);
    let record = gateway.record("the delivery", |record| record["delivery"]["sequence"] == 2);
    assert_eq!((&record["delivery"]["subscription"], &record["status"]), (&"orders".into(), &200.into()));
    let status = gateway.admin_get("/api/v1/status").json();
    assert_eq!(status["subscriptions"][0]["state"], "UP");
    assert_eq!(count(&gateway, "failed"), 0.0);
}

/// HMAC-SHA-256 as another implementation has it.
fn hmac(secret: &str, text: &str) -> String {
    let script = "import sys,hmac,hashlib,base64\nkey=base64.b64decode(sys.argv[1][6:])\n\
                  print(base64.b64encode(hmac.new(key,sys.argv[2].encode(),hashlib.sha256).digest()).decode())";
    let output = crate::harness::python(script, &[secret, text]).output().expect("python runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_delivery_that_fails_comes_again_and_others_go_on_meanwhile() {
    let upstream = Upstream::scripted(|seen| {
        let fails = seen.body == b"bad" && seen.header("x-tidegate-attempt") != Some("3");
        Some(if fails { BROKEN.to_vec() } else { OK.to_vec() })
    });
    let (nats, gateway) = started(&upstream, ", backoff: {initial: 200ms, max: 300ms}");
    let mut client = nats.client();
    client.publish("orders.1", "bad");
    client.publish("orders.2", "good");
    eventually("both are delivered", || count(&gateway, "delivered") == 2.0);
    let all = bodies(&upstream.seen());
    assert_eq!((all.len(), all.iter().filter(|body| *body == "bad").count()), (4, 3), "{all:?}");
    assert!(all[..2].contains(&"good".to_owned()), "{all:?}");
    assert_eq!(count(&gateway, "failed"), 2.0);
    eventually("the broker has heard of it", || left(&nats) == 0);
    let seen = upstream.seen();
    let bad: Vec<_> = seen.iter().filter(|one| one.body == b"bad").collect();
    let attempts: Vec<_> = bad.iter().filter_map(|one| one.header("x-tidegate-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    // Who knows it already knows it again.
    assert_eq!(bad[0].header("webhook-id"), bad[2].header("webhook-id"));
}

#[test]
fn what_is_given_up_is_put_elsewhere_with_what_happened_to_it() {
    let upstream = Upstream::scripted(|_| Some(BROKEN.to_vec()));
    let settings = ", subject: \"orders.>\", maxDeliveries: 2, deadLetter: dead, backoff: {initial: 50ms, max: 50ms}, maxMessageSize: 16";
    let (nats, gateway) = started(&upstream, settings);
    let mut client = nats.client();
    client.publish_with("orders.1", &[("X-A", "b")], "payload");
    eventually("it is given up", || count(&gateway, "dead") == 1.0);
    let dead = nats.message("ORDERS", 2);
    assert_eq!((&*dead.subject, &*dead.text()), ("dead", "payload"));
    for (name, value) in [
        ("X-A", "b"),
        ("Tidegate-Subscription", "orders"),
        ("Tidegate-Stream", "ORDERS"),
        ("Tidegate-Sequence", "1"),
        ("Tidegate-Subject", "orders.1"),
        ("Tidegate-Deliveries", "2"),
        ("Tidegate-Reason", "it was answered with 500"),
    ] {
        assert_eq!(dead.header(name), Some(value), "{dead:?}");
    }
    // One that is too large is never sent.
    client.publish("orders.1", &"x".repeat(17));
    eventually("it is given up", || count(&gateway, "dead") == 2.0);
    assert!(
        nats.message("ORDERS", 4)
            .header("Tidegate-Reason")
            .is_some_and(|why| why.contains("larger than 16 bytes"))
    );
    assert_eq!(upstream.seen().len(), 2);
    eventually("the broker has heard of it", || left(&nats) == 0);
}

#[test]
fn messages_of_one_key_keep_their_order_and_do_not_wait_for_those_of_another() {
    let failing = Arc::new(AtomicBool::new(true));
    let fails = failing.clone();
    let upstream = Upstream::scripted(move |seen| {
        let is_bad = seen.body.starts_with(b"a1") && fails.load(Ordering::SeqCst);
        Some(if is_bad { BROKEN.to_vec() } else { OK.to_vec() })
    });
    let settings = ", ordering: key, maxDeliveries: 100, backoff: {initial: 50ms, max: 50ms}";
    let (nats, gateway) = started(&upstream, settings);
    let mut client = nats.client();
    for (key, body) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")] {
        client.publish_with("orders.x", &[("Partition-Key", key)], body);
    }
    eventually("those of the other key are there", || count(&gateway, "delivered") == 2.0);
    let early = bodies(&upstream.seen());
    assert!(!early.iter().any(|body| body == "a2" || body == "a3"), "{early:?}");
    failing.store(false, Ordering::SeqCst);
    eventually("all are there", || count(&gateway, "delivered") == 5.0);
    let mut all = bodies(&upstream.seen());
    all.dedup();
    let of = |key: &str| all.iter().filter(|body| body.starts_with(key)).cloned().collect::<Vec<_>>();
    let mut a = of("a");
    a.dedup();
    assert_eq!((a, of("b")), (vec!["a1".into(), "a2".into(), "a3".into()], vec!["b1".into(), "b2".into()]));
}

#[test]
fn no_more_are_on_their_way_than_may_be() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counting, peak) = (now.clone(), most.clone());
    let upstream = Upstream::scripted(move |_| {
        peak.fetch_max(counting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        pause(50);
        counting.fetch_sub(1, Ordering::SeqCst);
        Some(OK.to_vec())
    });
    let (nats, gateway) = started(&upstream, ", concurrency: 3");
    let mut client = nats.client();
    for number in 0..20 {
        client.publish("orders.x", &number.to_string());
    }
    eventually("all are delivered", || count(&gateway, "delivered") == 20.0);
    assert!((2..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

#[test]
fn a_slow_upstream_is_given_up_on_and_a_reload_changes_what_runs_without_losing_any() {
    let slow = Arc::new(AtomicBool::new(true));
    let is_slow = slow.clone();
    let upstream = Upstream::scripted(move |_| {
        if is_slow.load(Ordering::SeqCst) {
            pause(1500);
        }
        Some(OK.to_vec())
    });
    let nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    let port = free_port();
    let text = |more: &str| config(&nats, &upstream, port, more);
    let first = text(", timeout: 300ms, backoff: {initial: 5s, max: 5s}");
    let gateway = Gateway::from_text(&first, ([127, 0, 0, 1], port).into(), |_| {});
    is_read(&gateway);
    let mut client = nats.client();
    client.publish("orders.1", "slow");
    eventually("it has failed", || count(&gateway, "failed") == 1.0);
    slow.store(false, Ordering::SeqCst);
    // Another path: what is published from here on goes there, by the same durable.
    gateway.reload(&text(", path: /new"));
    is_read(&gateway);
    client.publish("orders.2", "second");
    eventually("it is there", || {
        upstream.seen().iter().any(|one| one.target() == "/new" && one.body == b"second")
    });
    eventually("the first one came again", || {
        upstream.seen().iter().filter(|one| one.body == b"slow").count() == 2
    });
    eventually("the broker has heard of all", || left(&nats) == 0);
    // Without it nothing is delivered, and nothing is lost.
    let none = text("").split("subscriptions:").next().expect("text").to_owned();
    gateway.reload(&none);
    pause(1500);
    client.publish("orders.3", "third");
    pause(500);
    assert!(!bodies(&upstream.seen()).contains(&"third".to_owned()));
    gateway.reload(&text(""));
    eventually("it is there", || bodies(&upstream.seen()).contains(&"third".to_owned()));
}

#[test]
fn what_is_on_its_way_when_its_subscription_changes_is_not_delivered_a_second_time() {
    // Longer than the broker waits for a sign of life.
    let upstream = Upstream::scripted(|_| {
        pause(34_000);
        Some(OK.to_vec())
    });
    let nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    let port = free_port();
    let text = |more: &str| {
        let text = config(&nats, &upstream, port, &format!(", timeout: 60s{more}"));
        text.replace("name: billing, ", "name: billing, timeouts: {request: 60s}, ")
    };
    let gateway = Gateway::from_text(&text(""), ([127, 0, 0, 1], port).into(), |_| {});
    is_read(&gateway);
    nats.client().publish("orders.1", "slow");
    eventually("it is on its way", || upstream.seen().len() == 1);
    gateway.reload(&text(", path: /new"));
    is_read(&gateway);
    pause(35_000);
    eventually("the broker has heard of it", || left(&nats) == 0);
    assert_eq!(upstream.seen().len(), 1, "{:?}", upstream.seen());
}

#[test]
fn an_end_waits_for_what_is_on_its_way_and_the_next_process_goes_on() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = seen.clone();
    let upstream = Upstream::scripted(move |one| {
        noted.lock().expect("a lock").push(String::from_utf8_lossy(&one.body).into_owned());
        pause(700);
        Some(OK.to_vec())
    });
    let nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    let port = free_port();
    let text = config(&nats, &upstream, port, ", concurrency: 1");
    let mut gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    is_read(&gateway);
    let mut client = nats.client();
    for body in ["1", "2", "3"] {
        client.publish("orders.x", body);
    }
    eventually("the first is on its way", || !seen.lock().expect("a lock").is_empty());
    let began = Instant::now();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(*seen.lock().expect("a lock"), ["1"]);
    assert_eq!(left(&nats), 2);
    let again = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    eventually("the others are delivered", || count(&again, "delivered") == 2.0);
    assert_eq!(*seen.lock().expect("a lock"), ["1", "2", "3"]);
}

#[test]
fn an_end_waits_also_for_what_a_subscription_had_on_its_way_that_was_changed_just_before() {
    let upstream = Upstream::scripted(|_| {
        pause(3000);
        Some(OK.to_vec())
    });
    let nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    let port = free_port();
    let text = |more: &str| config(&nats, &upstream, port, more);
    let mut gateway = Gateway::from_text(&text(""), ([127, 0, 0, 1], port).into(), |_| {});
    is_read(&gateway);
    nats.client().publish("orders.1", "slow");
    eventually("it is on its way", || upstream.seen().len() == 1);
    gateway.reload(&text(", path: /new"));
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!((left(&nats), upstream.seen().len()), (0, 1), "the broker has heard of it");
}

#[test]
fn a_broker_that_comes_back_goes_on_where_it_was() {
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let (mut nats, gateway) = started(&upstream, ", wrap: {type: order.placed, source: /orders}");
    nats.client().publish("orders.1", "first");
    eventually("it is there", || count(&gateway, "delivered") == 1.0);
    nats.stop();
    eventually("it is told", || gateway.metric("tidegate_broker_up") == Some(0.0));
    nats.again();
    nats.stream("ORDERS", &["orders.>", "dead"]);
    nats.client().publish("orders.2", "second");
    eventually("it is there", || count(&gateway, "delivered") == 2.0);
    let seen = upstream.seen();
    let second = seen.last().expect("a request");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "ORDERS/2"),
        ("ce-source", "/orders"),
        ("ce-type", "order.placed"),
        ("ce-subject", "orders.2"),
    ] {
        assert_eq!(second.header(name), Some(value), "{second:?}");
    }
}

#[test]
fn what_is_given_back_is_no_try() {
    let times: Arc<Mutex<Vec<(bool, Instant)>>> = Arc::default();
    let noted = times.clone();
    let upstream = Upstream::scripted(move |seen| {
        if seen.body == b"a1" {
            pause(1000);
        }
        noted.lock().expect("a lock").push((seen.target() == "/new", Instant::now()));
        let fails = seen.target() == "/new" && seen.header("x-tidegate-attempt") == Some("1");
        Some(if fails { BROKEN.to_vec() } else { OK.to_vec() })
    });
    let nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    let port = free_port();
    let settings = ", ordering: key, concurrency: 1, maxDeliveries: 2, backoff: {initial: 50ms, max: 50ms}";
    let text = |more: &str| config(&nats, &upstream, port, &format!("{settings}{more}"));
    let gateway = Gateway::from_text(&text(""), ([127, 0, 0, 1], port).into(), |_| {});
    is_read(&gateway);
    let mut client = nats.client();
    for body in ["a1", "a2", "a3"] {
        client.publish_with("orders.x", &[("Partition-Key", "a")], body);
    }
    eventually("the first is on its way", || !upstream.seen().is_empty());
    eventually("the others wait here", || {
        let info = nats.client().ask("$JS.API.CONSUMER.INFO.ORDERS.tidegate-orders", &serde_json::json!({}));
        info["num_ack_pending"] == 3
    });
    gateway.reload(&text(", path: /new"));
    eventually("all are done with", || left(&nats) == 0);
    let new: Vec<(String, String)> = upstream
        .seen()
        .iter()
        .filter(|one| one.target() == "/new")
        .map(|one| {
            let attempt = one.header("x-tidegate-attempt").unwrap_or_default();
            (String::from_utf8_lossy(&one.body).into_owned(), attempt.to_owned())
        })
        .collect();
    let of = |body: &str| new.iter().filter(|one| one.0 == body).map(|one| &*one.1).collect::<Vec<_>>();
    // Both of the tries that each may have were made, though both came back once before any.
    assert_eq!((of("a2"), of("a3")), (vec!["1", "2"], vec!["1", "2"]), "{new:?}");
    // They went back when the first had ended, and not to and fro: the broker was to wait.
    let times = times.lock().expect("a lock").clone();
    let (old, new) =
        (times.iter().rfind(|one| !one.0).expect("one"), times.iter().find(|one| one.0).expect("one"));
    assert!(new.1 - old.1 > Duration::from_millis(1500), "{times:?}");
}

#[test]
fn with_order_over_all_each_waits_for_the_one_before() {
    let upstream = Upstream::scripted(|seen| {
        let fails = seen.body == b"1" && seen.header("x-tidegate-attempt") != Some("3");
        Some(if fails { BROKEN.to_vec() } else { OK.to_vec() })
    });
    let (nats, gateway) = started(&upstream, ", ordering: all, backoff: {initial: 200ms, max: 200ms}");
    let mut client = nats.client();
    for (subject, body) in [("orders.1", "1"), ("orders.2", "2"), ("orders.3", "3")] {
        client.publish(subject, body);
    }
    eventually("all are delivered", || count(&gateway, "delivered") == 3.0);
    assert_eq!(bodies(&upstream.seen()), ["1", "1", "1", "2", "3"]);
}

#[test]
fn a_new_subscription_begins_with_what_is_published_from_then_on_or_with_all() {
    for (from, want) in [("", &["new"][..]), (", from: new", &["new"]), (", from: all", &["old", "new"])] {
        let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
        let nats = Nats::start();
        nats.stream("ORDERS", &["orders.>"]);
        nats.client().publish("orders.1", "old");
        eventually("it is kept", || nats.count("ORDERS") == 1);
        let port = free_port();
        let text = config(&nats, &upstream, port, &format!(", concurrency: 1{from}"));
        let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
        is_read(&gateway);
        nats.client().publish("orders.2", "new");
        eventually("it is delivered", || bodies(&upstream.seen()).contains(&"new".to_owned()));
        assert_eq!(bodies(&upstream.seen()), want, "{from}");
    }
}

#[test]
fn who_asks_for_time_is_given_it_and_no_more_than_the_longest_pause() {
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = times.clone();
    let upstream = Upstream::scripted(move |seen| {
        noted.lock().expect("a lock").push(Instant::now());
        let later = |when| format!("HTTP/1.1 503 Later\r\nretry-after: {when}\r\ncontent-length: 0\r\n\r\n");
        Some(match seen.header("x-tidegate-attempt") {
            Some("1") => later("2").into_bytes(),
            Some("2") => later("Thu, 31 Dec 2099 23:59:59 GMT").into_bytes(),
            _ => OK.to_vec(),
        })
    });
    for ordering in ["none", "key"] {
        times.lock().expect("a lock").clear();
        let settings = format!(", ordering: {ordering}, backoff: {{initial: 50ms, max: 3s}}");
        let (nats, gateway) = started(&upstream, &settings);
        nats.client().publish("orders.1", "x");
        eventually("it is delivered", || count(&gateway, "delivered") == 1.0);
        let times = times.lock().expect("a lock").clone();
        let pauses: Vec<u128> = times.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect();
        assert!(matches!(pauses[..], [1950..3000, 2950..6000]), "{ordering}: {pauses:?}");
    }
}

#[test]
fn what_is_given_up_and_cannot_be_put_elsewhere_stays_where_it_is_and_is_delivered_no_more() {
    let upstream = Upstream::scripted(|_| Some(BROKEN.to_vec()));
    // Nothing keeps this subject.
    let settings = ", subject: \"orders.>\", maxDeliveries: 1, deadLetter: nowhere";
    let (nats, gateway) = started(&upstream, settings);
    nats.client().publish("orders.1", "payload");
    eventually("it is told", || gateway.stderr().contains("cannot put the message ORDERS-1 to `nowhere`"));
    pause(500);
    assert_eq!((left(&nats), count(&gateway, "dead"), count(&gateway, "dropped")), (1, 0.0, 0.0));
    // It is tried again after 30 seconds.
    nats.stream("SOMEWHERE", &["nowhere"]);
    pause(20_000);
    eventually("there is a place for it", || count(&gateway, "dead") == 1.0);
    let dead = nats.message("SOMEWHERE", 1);
    for (name, value) in [
        ("Tidegate-Deliveries", "1"),
        ("Tidegate-Reason", "it was answered with 500"),
        ("Tidegate-Sequence", "1"),
    ] {
        assert_eq!(dead.header(name), Some(value), "{dead:?}");
    }
    assert_eq!(upstream.seen().len(), 1, "it had its try");
    eventually("the broker has heard of it", || left(&nats) == 0);
}
