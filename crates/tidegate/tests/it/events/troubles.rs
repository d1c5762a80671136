//! A broker that is away, does not answer, keeps nothing, or does not want it.

use std::time::{Duration, Instant};

use super::{json, post, server::Nats};
use crate::harness::{Gateway, eventually};

fn gateway(nats: &Nats, more: &str, broker: &str) -> Gateway {
    let broker = nats.broker().replace("]}}", &format!("]{broker}}}}}"));
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout, format: json}}]
{broker}routes:
  - name: orders
    match: [{{path: {{exact: /orders}}}}]
    publish: {{broker: events, subject: orders.placed{more}}}
"
    ))
}

fn is_up(gateway: &Gateway, up: f64) {
    eventually("the broker is up, or away", || gateway.metric("tidegate_broker_up") == Some(up));
}

#[test]
fn while_the_broker_is_away_it_is_told_at_once_and_nothing_waits_for_it() {
    let mut nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    nats.stop();
    let gateway = gateway(&nats, "", "");
    let away = || {
        let began = Instant::now();
        let answer = post(&gateway, "/orders", "", "x");
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text());
        assert_eq!(answer.problem().as_deref(), Some("broker-away"));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    };
    away();
    nats.again();
    is_up(&gateway, 1.0);
    assert_eq!(json(&post(&gateway, "/orders", "", "x"))["sequence"], 1);
    nats.stop();
    is_up(&gateway, 0.0);
    away();
    nats.again();
    is_up(&gateway, 1.0);
    // What was refused was not kept for later.
    assert_eq!(json(&post(&gateway, "/orders", "", "x"))["sequence"], 2);
    assert!(gateway.stderr().contains("the broker `events` is away"), "{}", gateway.stderr());
}

#[test]
fn a_broker_that_does_not_confirm_is_a_504_and_no_more_wait_than_may() {
    let nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    let gateway = gateway(&nats, ", timeout: 1s", ", maxInFlight: 2");
    is_up(&gateway, 1.0);
    nats.signal("STOP");
    let began = Instant::now();
    let statuses: Vec<(u16, Option<String>)> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let answer = post(&gateway, "/orders", "\nidempotency-key: k", "x");
                    (answer.status, answer.problem())
                })
            })
            .collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let count = |status: u16, problem: &str| {
        statuses.iter().filter(|(known, told)| *known == status && told.as_deref() == Some(problem)).count()
    };
    assert_eq!((count(504, "broker-timeout"), count(503, "overloaded")), (2, 2), "{statuses:?}");
    nats.signal("CONT");
    // The two that nobody knew of were kept, once: their ids were the same.
    eventually("the message is there", || nats.count("ORDERS") == 1);
    assert_eq!(json(&post(&gateway, "/orders", "\nidempotency-key: k", "x"))["duplicate"], true);
    assert_eq!(gateway.metric("tidegate_publish_waiting"), Some(0.0));
    let record = gateway.record("a 504", |record| record["status"] == 504);
    assert_eq!(record["failure"]["reason"], "broker-timeout");
    assert_eq!(
        (&record["publish"]["subject"], &record["publish"]["messages"]),
        (&"orders.placed".into(), &0.into())
    );
}

#[test]
fn what_waits_is_told_when_the_connection_breaks() {
    let mut nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    let gateway = gateway(&nats, ", timeout: 15s", "");
    is_up(&gateway, 1.0);
    nats.signal("STOP");
    let began = Instant::now();
    let answer = std::thread::scope(|scope| {
        let waits = scope.spawn(|| post(&gateway, "/orders", "", "x"));
        eventually("it waits", || gateway.metric("tidegate_publish_waiting") == Some(1.0));
        nats.stop();
        waits.join().expect("an answer")
    });
    assert_eq!(
        (answer.status, answer.problem().as_deref()),
        (504, Some("broker-timeout")),
        "{}",
        answer.text()
    );
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn what_is_kept_beside_what_is_not_brings_no_further_lines() {
    let nats = Nats::start();
    nats.stream("GOOD", &["things.good"]);
    let gateway = Gateway::start(&format!(
        "{}routes:
  - name: things
    match: [{{path: {{template: \"/things/{{kind}}\"}}}}]
    publish: {{broker: events, subject: \"things.{{{{ captures.kind }}}}\"}}
",
        nats.broker()
    ));
    is_up(&gateway, 1.0);
    for _ in 0..3 {
        assert_eq!(post(&gateway, "/things/bad", "", "x").status, 503);
        assert_eq!(post(&gateway, "/things/good", "", "x").status, 202);
    }
    let told = || gateway.stderr().matches("nothing at the broker `events` keeps messages of").count();
    eventually("it is told", || told() > 0);
    crate::harness::pause(100);
    assert_eq!(told(), 1, "{}", gateway.stderr());
}

#[test]
fn what_nothing_keeps_and_what_another_stream_keeps_is_told_apart() {
    let nats = Nats::start();
    let gateway = gateway(&nats, ", stream: ORDERS", "");
    is_up(&gateway, 1.0);
    nats.stream("OTHER", &["other"]);
    let answer = post(&gateway, "/orders", "", "x");
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("not-kept")), "{}", answer.text());
    assert!(!answer.text().contains("orders.placed"), "nothing of the inside: {}", answer.text());
    let told = || gateway.stderr().matches("nothing at the broker `events` keeps messages of").count();
    assert_eq!(post(&gateway, "/orders", "", "x").status, 503);
    eventually("it is told", || told() > 0);
    assert_eq!(told(), 1, "once: {}", gateway.stderr());
    let record = gateway.record("what is not kept", |record| record["failure"]["reason"] == "not-kept");
    assert!(
        record["failure"]["detail"].as_str().is_some_and(|told| told.contains("nothing keeps")),
        "{record}"
    );
    nats.stream("WRONG", &["orders.>"]);
    let answer = post(&gateway, "/orders", "", "x");
    assert_eq!(
        (answer.status, answer.problem().as_deref()),
        (502, Some("broker-refused")),
        "{}",
        answer.text()
    );
    // What the broker says is for the log alone.
    assert!(!answer.text().contains("expected stream"), "{}", answer.text());
    let record = gateway.record("a 502", |record| record["status"] == 502);
    assert!(
        record["failure"]["detail"].as_str().is_some_and(|told| told.contains("expected stream")),
        "{record}"
    );
    assert_eq!(nats.count("WRONG"), 0);
}
