//! What is published: kept and confirmed, told when nobody takes it, and what becomes of it when the server is away.

use std::time::{Duration, Instant};

use serde_json::{Value, json as value};

use super::{Rabbit, is_up};
use crate::{
    events::{json, post},
    harness::{Gateway, eventually, pause},
};

const ROUTES: &str = "routes:
  - name: orders
    match: [{path: {template: \"/orders/{id}\"}}]
    publish: {broker: events, exchange: orders, subject: \"orders.{{ captures.id }}\", key: \"{{ request.header.x-key }}\", headers: [x-tenant], cloudEvents: {wrap: {type: t, source: /s}}, timeout: 2s}
  - name: queue
    match: [{path: {template: \"/queue/{name}\"}}]
    publish: {broker: events, subject: \"{{ captures.name }}\", timeout: 2s}
  - name: nowhere
    match: [{path: {exact: /nowhere}}]
    publish: {broker: events, exchange: nowhere, subject: a}
";

fn published(gateway: &Gateway, result: &str) -> f64 {
    let series = format!("tidegate_publish_messages_total{{broker=\"events\",result=\"{result}\"}}");
    gateway.metric(&series).unwrap_or_default()
}

#[test]
fn a_message_is_kept_as_it_was_sent_and_told_when_no_queue_takes_it() {
    let rabbit = Rabbit::start();
    rabbit.exchange("orders");
    rabbit.order(&value!({"do": "queue", "name": "all", "exchange": "orders", "key": "orders.7"}));
    let quorum = value!({"x-queue-type": "quorum"});
    rabbit.order(
        &value!({"do": "queue", "name": "some", "exchange": "orders", "key": "orders.#", "arguments": quorum}),
    );
    rabbit.queue("small", &value!({"x-max-length": 1, "x-overflow": "reject-publish"}));
    let text = format!("accessLog: [{{kind: stdout, format: json}}]\n{}{ROUTES}", rabbit.broker(""));
    let gateway = Gateway::start(&text);
    is_up(&gateway, 1.0);
    let event = "\nce-specversion: 1.0\nce-id: e1\nce-source: /s\nce-type: t\nce-subject: gr%C3%B6%C3%9Fe\ncontent-type: text/plain\nx-tenant: blue\nx-key: k";
    let answer = post(&gateway, "/orders/7", event, "hello");
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(json(&answer), value!({"id": "e1", "exchange": "orders"}));
    let structured = r#"{"specversion":"1.0","id":"e2","source":"/s","type":"t","data":1.0}"#;
    let headers = "\ncontent-type: application/cloudevents+json\nx-key: k";
    let answer = post(&gateway, "/orders/7", headers, structured);
    assert_eq!(answer.status, 202, "{}", answer.text());
    // A queue of either kind has them.
    for queue in ["all", "some"] {
        let kept = rabbit.get(queue);
        assert_eq!(kept.len(), 2, "{queue}: {kept:?}");
        for (field, want) in [
            ("key", value!("orders.7")),
            ("exchange", value!("orders")),
            ("value", value!("hello")),
            ("type", value!("text/plain")),
            ("mode", value!(2)),
        ] {
            assert_eq!(kept[0][field], want, "{queue}: {}", kept[0]);
        }
        let id = kept[0]["id"].as_str().expect("an id");
        assert!(id.ends_with("/e1"), "{id}");
        for (name, want) in [
            ("cloudEvents:subject", "größe"),
            ("cloudEvents:id", "e1"),
            ("Partition-Key", "k"),
            ("x-tenant", "blue"),
        ] {
            assert_eq!(kept[0]["headers"][name], want, "{queue}: {}", kept[0]);
        }
        let event: Value = serde_json::from_str(kept[1]["value"].as_str().expect("text")).expect("JSON");
        assert_eq!((&event["data"], &event["partitionkey"]), (&value!(1.0), &"k".into()));
        assert_eq!(kept[1]["headers"].get("cloudEvents:id"), None);
        assert_eq!(kept[1]["type"], "application/cloudevents+json; charset=utf-8");
    }
    // No queue has that name, or there is no such exchange: that is told, and does not disturb others.
    for path in ["/queue/none", "/nowhere"] {
        let answer = post(&gateway, path, "", "x");
        assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("not-kept")), "{path}");
    }
    assert_eq!(published(&gateway, "no-stream"), 2.0);
    assert_eq!(json(&post(&gateway, "/queue/small", "", "first"))["exchange"], "");
    let full = post(&gateway, "/queue/small", "", "second");
    assert_eq!((full.status, full.problem().as_deref()), (502, Some("broker-refused")), "{}", full.text());
    assert_eq!((published(&gateway, "refused"), published(&gateway, "stored")), (1.0, 3.0));
    let record = gateway.record("a message", |record| record["route"] == "orders" && record["status"] == 202);
    assert_eq!(
        (&record["publish"]["exchange"], &record["publish"]["messages"]),
        (&"orders".into(), &1.into())
    );
    for bad in ["a.b", "*"] {
        assert_eq!(post(&gateway, &format!("/orders/{bad}"), "\nx-key: k", "x").status, 400, "{bad}");
    }
    assert_eq!(
        gateway.metric("tidegate_broker_connects_total"),
        Some(1.0),
        "one connection, whatever was refused"
    );
}

#[test]
fn while_the_server_is_away_it_is_told_at_once_and_what_was_confirmed_outlasts_it() {
    let mut rabbit = Rabbit::start();
    rabbit.queue("classic", &value!({}));
    rabbit.queue("quorum", &value!({"x-queue-type": "quorum"}));
    let gateway = Gateway::start(&format!("{}{ROUTES}", rabbit.broker(", maxInFlight: 2, heartbeat: 2s")));
    is_up(&gateway, 1.0);
    for queue in ["classic", "quorum"] {
        assert_eq!(post(&gateway, &format!("/queue/{queue}"), "", "before").status, 202, "{queue}");
    }
    // It takes what is sent, and says nothing.
    rabbit.signal("STOP");
    let statuses: Vec<(u16, Option<String>)> = std::thread::scope(|scope| {
        let one = || {
            let answer = post(&gateway, "/queue/classic", "", "late");
            (answer.status, answer.problem())
        };
        let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    let count = |status: u16, problem: &str| {
        statuses.iter().filter(|(known, told)| *known == status && told.as_deref() == Some(problem)).count()
    };
    assert_eq!((count(504, "broker-timeout"), count(503, "overloaded")), (2, 2), "{statuses:?}");
    assert_eq!(gateway.metric("tidegate_publish_waiting"), Some(0.0));
    // Both sides count heartbeats: one that says nothing is gone, and so it is said.
    is_up(&gateway, 0.0);
    let began = Instant::now();
    let away = post(&gateway, "/queue/classic", "", "x");
    assert_eq!((away.status, away.header("retry-after")), (503, Some("1")), "{}", away.text());
    // Long before anything is waited for in vain.
    assert!(began.elapsed() < Duration::from_millis(1900), "{:?}", began.elapsed());
    rabbit.signal("CONT");
    is_up(&gateway, 1.0);
    rabbit.stop();
    is_up(&gateway, 0.0);
    assert_eq!(post(&gateway, "/queue/classic", "", "x").status, 503);
    rabbit.again();
    is_up(&gateway, 1.0);
    eventually("it goes on", || post(&gateway, "/queue/quorum", "", "after").status == 202);
    assert_eq!(post(&gateway, "/queue/classic", "", "after").status, 202);
    let values = |queue: &str| -> Vec<String> {
        let all = rabbit.get(queue).into_iter();
        all.map(|one| one["value"].as_str().unwrap_or_default().to_owned()).collect()
    };
    // Nobody knows what became of those that were late: the server has them, unless it wrote to the connection that is gone before
    // it read from it, for then the kernel throws away what it has not read. Nothing was kept here for later.
    let kept = values("classic");
    let late = kept.iter().filter(|one| *one == "late").count();
    assert!(late <= 2, "{kept:?}");
    let expected = [vec!["before"], vec!["late"; late], vec!["after"]].concat();
    assert_eq!(kept, expected);
    // Of those that were tried until one was confirmed, some may be kept.
    let mut kept = values("quorum");
    kept.dedup();
    assert_eq!(kept, ["before", "after"]);
}

/// Certificates for 127.0.0.1, in a folder.
fn certificates() -> tempfile::TempDir {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let folder = tempfile::tempdir().expect("a folder");
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("one");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("params");
    for (name, text) in [
        ("ca.crt", authority.pem()),
        ("server.crt", params.signed_by(&key, &authority).expect("signed").pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

#[test]
fn the_gateway_signs_in_over_tls_and_what_is_wrong_is_told_once_and_clearly() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let rabbit = Rabbit::with(&format!(
        "{{ssl_listeners, [{{\"127.0.0.1\", TLS_PORT}}]}}, {{ssl_options, [{{cacertfile, \"{}\"}}, {{certfile, \"{}\"}}, {{keyfile, \"{}\"}}]}}, ",
        file("ca.crt"),
        file("server.crt"),
        file("server.key")
    ));
    rabbit.queue("small", &value!({}));
    let (plain, tls) = (rabbit.port, rabbit.tls_port);
    let gateway = Gateway::start(&format!(
        "brokers:
  - {{name: events, rabbitmq: {{servers: [\"127.0.0.1:{tls}\"], tls: {{caFile: \"{}\"}}, username: guest, password: guest}}}}
  - {{name: stranger, rabbitmq: {{servers: [\"127.0.0.1:{tls}\"], tls: {{}}}}}}
  - {{name: no-tls, rabbitmq: {{servers: [\"127.0.0.1:{plain}\"], tls: {{caFile: \"{}\"}}}}}}
  - {{name: password, rabbitmq: {{servers: [\"127.0.0.1:{plain}\"], username: guest, password: another-password}}}}
  - {{name: host, rabbitmq: {{servers: [\"127.0.0.1:{plain}\"], virtualHost: another-host}}}}
upstreams: [{{name: billing, endpoints: [{{address: \"127.0.0.1:1\"}}]}}]
subscriptions: [{{name: absent, broker: events, stream: absent, upstream: billing}}]
{ROUTES}",
        file("ca.crt"),
        file("ca.crt"),
    ));
    eventually("the broker is up", || gateway.metric("tidegate_broker_up{broker=\"events\"}") == Some(1.0));
    assert_eq!(post(&gateway, "/queue/small", "", "by TLS").status, 202);
    assert_eq!(rabbit.get("small")[0]["value"], "by TLS");
    let line = |begin: &str| {
        let lines: Vec<String> =
            gateway.stderr().lines().filter(|line| line.contains(begin)).map(str::to_owned).collect();
        (lines.len(), lines.first().cloned().unwrap_or_default())
    };
    for (begin, says) in [
        ("cannot connect to the broker `stranger`", "UnknownIssuer"),
        ("cannot connect to the broker `no-tls`", "speaks no TLS there"),
        ("cannot connect to the broker `password`", "ACCESS_REFUSED"),
        ("cannot connect to the broker `host`", "vhost another-host not found"),
        ("the subscription `absent` cannot be read", "no queue 'absent' in vhost '/'"),
    ] {
        eventually(&format!("it is told: {begin}"), || line(begin).0 > 0);
        assert!(line(begin).1.contains(says), "{says}: {}", line(begin).1);
    }
    // Tries go on; what is told already is not told again, nor by anybody else, and no password is.
    pause(2000);
    let stderr = gateway.stderr();
    assert_eq!((line("broker `password`").0, line("subscription `absent`").0), (1, 1), "{stderr}");
    assert!(!stderr.contains("lapin") && !stderr.contains("another-password"), "{stderr}");
    let status = gateway.admin_get("/api/v1/status").text();
    assert!(status.contains("ACCESS_REFUSED") && status.contains("no queue 'absent'"), "{status}");
    assert!(!status.contains("another-password"), "{status}");
}
