//! What is delivered: in order, again, elsewhere; and what neither a reload nor a server that ends may lose.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json as value};

use super::{Rabbit, is_up};
use crate::harness::{Gateway, Upstream, eventually, free_port, pause};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BROKEN: &[u8] = b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n";

/// A configuration on a port with some subscriptions, each a line of settings behind `broker: events, upstream: billing`.
fn delivering(rabbit: &Rabbit, upstream: &Upstream, port: u16, subscriptions: &[&str]) -> String {
    let each = |settings: &&str| format!("  - {{broker: events, upstream: billing, {settings}}}\n");
    let subscriptions: String = subscriptions.iter().map(each).collect();
    format!(
        "listeners:\n  - {{name: public, address: \"127.0.0.1:{port}\"}}
accessLog: [{{kind: stdout, format: json}}]
shutdown: {{deadline: 10s}}
{}upstreams: [{{name: billing, endpoints: [{{address: \"{}\"}}]}}]
subscriptions:\n{subscriptions}",
        rabbit.broker(", heartbeat: 2s"),
        upstream.address
    )
}

fn started(text: &str, port: u16) -> Gateway {
    Gateway::from_text(text, ([127, 0, 0, 1], port).into(), |_| {})
}

fn count(gateway: &Gateway, name: &str, result: &str) -> f64 {
    let series =
        format!("tidegate_subscription_deliveries_total{{subscription=\"{name}\",result=\"{result}\"}}");
    gateway.metric(&series).unwrap_or_default()
}

fn are_read(gateway: &Gateway, names: &[&str]) {
    for name in names {
        let up = format!("tidegate_subscription_up{{subscription=\"{name}\"}}");
        eventually(&format!("`{name}` is read"), || gateway.metric(&up) == Some(1.0));
    }
}

/// Bodies that begin so, as they came, without those that came twice in a row.
fn bodies(upstream: &Upstream, begin: &str) -> Vec<String> {
    let all = upstream.seen().into_iter().map(|one| String::from_utf8_lossy(&one.body).into_owned());
    let mut all: Vec<String> = all.filter(|body| body.starts_with(begin)).collect();
    all.dedup();
    all
}

fn message(queue: &str, key: &str, body: &str) -> Value {
    let headers = value!({"Partition-Key": key, "x-a": 7, "cloudEvents:id": "ü", "x-delivery-count": 77});
    value!({"key": queue, "value": body, "id": body, "type": "text/plain", "headers": headers})
}

#[test]
fn messages_are_delivered_in_the_order_of_their_keys_tried_again_and_given_up() {
    let failing = Arc::new(AtomicBool::new(true));
    let fails = failing.clone();
    let upstream = Upstream::scripted(move |seen| {
        let is_bad = seen.body.starts_with(b"dead") || seen.body == b"a1" && fails.load(Ordering::SeqCst);
        Some(if is_bad { BROKEN.to_vec() } else { OK.to_vec() })
    });
    let rabbit = Rabbit::start();
    rabbit.exchange("graves");
    for queue in ["orders", "dead", "others"] {
        rabbit.queue(queue, &value!({}));
    }
    rabbit.order(&value!({"do": "queue", "name": "graves", "exchange": "graves", "key": "grave.#"}));
    // What is given up here, the queue itself sends elsewhere.
    let own = value!({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "others", "x-queue-type": "quorum"});
    rabbit.queue("own", &own);
    rabbit.queue("odd", &value!({"x-queue-type": "quorum"}));
    let port = free_port();
    let backoff = "backoff: {initial: 50ms, max: 50ms}";
    let text = delivering(
        &rabbit,
        &upstream,
        port,
        &[
            &format!(
                "name: orders, stream: orders, ordering: key, maxDeliveries: 200, deadLetter: dead, headers: [x-a], {backoff}, concurrency: 2, sign: [0123456789abcdef]"
            ),
            &format!("name: own, stream: own, path: /own, maxDeliveries: 2, {backoff}"),
            &format!(
                "name: odd, stream: odd, maxDeliveries: 3, deadLetter: grave.odd, deadLetterExchange: graves, headers: [x-line], maxMessageSize: 1KiB, {backoff}"
            ),
        ],
    );
    let gateway = started(&text, port);
    are_read(&gateway, &["orders", "own", "odd"]);
    let all = [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")];
    rabbit.publish("", &all.map(|(key, body)| message("orders", key, body)));
    eventually("those of the other key are there", || count(&gateway, "orders", "delivered") == 2.0);
    assert_eq!(bodies(&upstream, "a"), ["a1"]);
    assert_eq!(bodies(&upstream, "b"), ["b1", "b2"]);
    eventually("it was tried again", || count(&gateway, "orders", "failed") > 1.0);
    failing.store(false, Ordering::SeqCst);
    eventually("all are there", || count(&gateway, "orders", "delivered") == 5.0);
    assert_eq!(bodies(&upstream, "a"), ["a1", "a2", "a3"]);
    let seen = upstream.seen();
    let one = seen.iter().find(|one| one.body == b"b1").expect("a delivery");
    for (name, want) in [
        ("x-a", "7"),
        ("ce-id", "%C3%BC"),
        ("content-type", "text/plain"),
        ("x-tidegate-subject", "orders"),
        ("webhook-id", "orders-b1"),
        // Whatever the publisher has written of it.
        ("x-tidegate-attempt", "1"),
    ] {
        assert_eq!(one.header(name), Some(want), "{name}: {one:?}");
    }
    assert!(one.header("webhook-signature").is_some_and(|signature| signature.starts_with("v1,")));
    assert_eq!(one.header("x-delivery-count"), None);
    rabbit.publish("", &[message("own", "", "dead 1")]);
    eventually("the queue has sent it elsewhere", || rabbit.count("others") == 1);
    assert_eq!((count(&gateway, "own", "dropped"), count(&gateway, "own", "failed")), (1.0, 2.0));
    // Some poison: one that fails, one of which no request can be made, and one that is too large.
    let mut line = message("odd", "", "line");
    line["headers"]["x-line"] = "a\r\nb".into();
    let mut dead = message("odd", "", "dead 2");
    dead["id"] = "x".repeat(250).into();
    rabbit.publish("", &[dead, line, message("odd", "", &"x".repeat(200)), message("odd", "", "good")]);
    let mut large = message("odd", "", "");
    large["value"] = "large".repeat(1000).into();
    rabbit.publish("", &[large]);
    eventually("the others go on", || count(&gateway, "odd", "delivered") == 2.0);
    eventually("the three are given up", || count(&gateway, "odd", "dead") == 3.0);
    assert_eq!((bodies(&upstream, "line").len(), bodies(&upstream, "large").len()), (0, 0));
    let graves = rabbit.get("graves");
    let reasons: BTreeMap<&str, (&str, &str)> = graves
        .iter()
        .map(|one| {
            let header = |name: &str| one["headers"][name].as_str().unwrap_or_default();
            let begin = &one["value"].as_str().unwrap_or_default()[..4];
            assert_eq!((&one["key"], &one["mode"]), (&"grave.odd".into(), &2.into()), "{one}");
            assert_eq!((header("Tidegate-Subscription"), header("Tidegate-Stream")), ("odd", "odd"), "{one}");
            assert_eq!((header("Partition-Key"), header("cloudEvents:id")), ("", "ü"), "{one}");
            (begin, (header("Tidegate-Deliveries"), header("Tidegate-Reason")))
        })
        .collect();
    assert_eq!(reasons["dead"], ("3", "it was answered with 500"), "{reasons:?}");
    assert_eq!(reasons["larg"], ("1", "it is larger than 1024 bytes"), "{reasons:?}");
    assert!(reasons["line"].1.starts_with("no request can be made of it"), "{reasons:?}");
    for queue in ["orders", "own", "odd"] {
        eventually("nothing is left", || rabbit.count(queue) == 0);
    }
    let delivery = gateway.record("a delivery", |record| record["delivery"]["subscription"] == "odd");
    assert_eq!((&delivery["delivery"]["subject"], &delivery["upstream"]), (&"odd".into(), &"billing".into()));
}

#[test]
fn neither_a_reload_nor_a_server_that_ends_loses_a_message_and_what_comes_back_is_no_try() {
    let slow = Arc::new(AtomicBool::new(true));
    let is_slow = slow.clone();
    let held = Arc::new(AtomicBool::new(true));
    let is_held = held.clone();
    let upstream = Upstream::scripted(move |seen| {
        if seen.body.starts_with(b"q") && is_slow.load(Ordering::SeqCst) {
            pause(150);
        }
        // Held until the test has seen what waits.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while seen.body.starts_with(b"q1")
            && is_held.load(Ordering::SeqCst)
            && std::time::Instant::now() < until
        {
            pause(20);
        }
        Some(OK.to_vec())
    });
    let mut rabbit = Rabbit::start();
    rabbit.queue("classic", &value!({}));
    rabbit.queue("quorum", &value!({"x-queue-type": "quorum"}));
    let port = free_port();
    let text = |more: &str| {
        delivering(
            &rabbit,
            &upstream,
            port,
            &[
                &format!("name: classic, stream: classic, concurrency: 2{more}"),
                &format!("name: quorum, stream: quorum, concurrency: 2{more}"),
            ],
        )
    };
    let plain = text("");
    let others = [", timeout: 5s", ", timeout: 6s", ", timeout: 7s"].map(text);
    let mut gateway = started(&plain, port);
    are_read(&gateway, &["classic", "quorum"]);
    let publish = |queue: &str, begin: &str, many: usize| {
        let all: Vec<Value> =
            (0..many).map(|number| message(queue, "", &format!("{begin}-{queue}-{number}"))).collect();
        rabbit.publish("", &all);
    };
    for queue in ["classic", "quorum"] {
        publish(queue, "q1", 20);
        // Two on their way, and as many more as wait here: the rest is left to others.
        eventually("no more is taken than there is room for", || (9..=16).contains(&rabbit.count(queue)));
    }
    held.store(false, Ordering::SeqCst);
    for (before, other) in others.iter().enumerate() {
        assert_eq!(gateway.reload(other)["reloadsApplied"], before + 1);
        pause(200);
    }
    let all = |begin: &str| -> BTreeSet<String> {
        upstream
            .seen()
            .iter()
            .map(|one| String::from_utf8_lossy(&one.body).into_owned())
            .filter(|body| body.starts_with(begin))
            .collect()
    };
    eventually("each was delivered", || all("q1").len() == 40);
    let tries: BTreeSet<String> = upstream
        .seen()
        .iter()
        .filter_map(|one| one.header("x-tidegate-attempt").map(str::to_owned))
        .collect();
    assert_eq!(tries.into_iter().collect::<Vec<_>>(), ["1"], "none has failed, however often it came back");
    for queue in ["classic", "quorum"] {
        eventually("the queue is empty", || rabbit.count(queue) == 0);
        publish(queue, "q2", 20);
    }
    // The server is killed in the middle of it.
    eventually("some are on their way", || all("q2").len() > 2);
    rabbit.stop();
    is_up(&gateway, 0.0);
    slow.store(false, Ordering::SeqCst);
    rabbit.again();
    is_up(&gateway, 1.0);
    are_read(&gateway, &["classic", "quorum"]);
    eventually("each was delivered", || all("q2").len() == 40);
    // An end of the process waits for what is on its way, and gives the rest back.
    slow.store(true, Ordering::SeqCst);
    for queue in ["classic", "quorum"] {
        eventually("the queue is empty", || rabbit.count(queue) == 0);
        let all: Vec<Value> =
            (0..20).map(|number| message(queue, "", &format!("q3-{queue}-{number}"))).collect();
        rabbit.publish("", &all);
    }
    eventually("some are on their way", || all("q3").len() > 2);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let sent = all("q3").len() as i64;
    eventually("what was sent is not there any more, and the rest is", || {
        rabbit.count("classic") + rabbit.count("quorum") + sent == 40
    });
    let again = started(&plain, port);
    eventually("the next one delivers the rest", || all("q3").len() == 40);
    let sent = upstream.seen().iter().filter(|one| one.body.starts_with(b"q3")).count();
    assert_eq!(sent, 40, "none was sent twice");
    drop(again);
}

#[test]
fn a_connection_that_breaks_while_a_message_waits_for_its_next_try_makes_it_no_new_one() {
    let upstream = Upstream::scripted(|_| Some(BROKEN.to_vec()));
    let mut rabbit = Rabbit::start();
    for queue in ["orders", "dead"] {
        rabbit.queue(queue, &value!({}));
    }
    let port = free_port();
    // Nothing but the server gives it out a second time so soon.
    let settings =
        "name: orders, stream: orders, maxDeliveries: 2, deadLetter: dead, backoff: {initial: 90s, max: 90s}";
    let gateway = started(&delivering(&rabbit, &upstream, port, &[settings]), port);
    are_read(&gateway, &["orders"]);
    rabbit.publish("", &[value!({"key": "orders", "value": "x", "id": "1"})]);
    eventually("it has failed", || count(&gateway, "orders", "failed") == 1.0);
    rabbit.stop();
    is_up(&gateway, 0.0);
    rabbit.again();
    is_up(&gateway, 1.0);
    eventually("it is given up", || count(&gateway, "orders", "dead") == 1.0);
    let attempts: Vec<String> = upstream
        .seen()
        .iter()
        .filter_map(|one| one.header("x-tidegate-attempt").map(str::to_owned))
        .collect();
    assert_eq!(attempts, ["1", "2"]);
}

#[test]
fn what_a_quorum_queue_counts_is_told_in_time_and_a_queue_that_goes_is_told() {
    let upstream = Upstream::scripted(|_| Some(BROKEN.to_vec()));
    let rabbit = Rabbit::start();
    for queue in ["dead", "gone"] {
        rabbit.queue(queue, &value!({}));
    }
    rabbit.queue("quorum", &value!({"x-queue-type": "quorum"}));
    rabbit.publish("", &[message("quorum", "", "once")]);
    rabbit.order(&value!({"do": "return", "name": "quorum", "times": 12}));
    let port = free_port();
    let text = delivering(
        &rabbit,
        &upstream,
        port,
        &[
            "name: quorum, stream: quorum, maxDeliveries: 2, deadLetter: dead, backoff: {initial: 20ms, max: 20ms}",
            "name: gone, stream: gone",
        ],
    );
    let gateway = started(&text, port);
    eventually("it is given up", || count(&gateway, "quorum", "dead") == 1.0);
    // What the queue counts was no try.
    assert_eq!(count(&gateway, "quorum", "failed"), 2.0);
    assert_eq!(rabbit.get("dead")[0]["headers"]["Tidegate-Deliveries"], "2");
    assert!(gateway.stderr().contains("has had a message back 12 times"), "{}", gateway.stderr());
    assert!(gateway.stderr().contains("`delivery-limit`"), "{}", gateway.stderr());
    are_read(&gateway, &["gone"]);
    rabbit.order(&value!({"do": "delete", "name": "gone"}));
    let gone = "tidegate_subscription_up{subscription=\"gone\"}";
    eventually("it is told", || gateway.metric(gone) == Some(0.0));
    eventually("it is told why", || gateway.stderr().contains("no queue 'gone'"));
    rabbit.queue("gone", &value!({}));
    are_read(&gateway, &["gone"]);
}
