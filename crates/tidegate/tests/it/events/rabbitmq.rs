//! RabbitMQ: what is published, delivered and listened to, with a real server. It takes long to start, so that a few tests
//! promise much each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json as value};

use super::{json, post, rabbit::Rabbit};
use crate::harness::{Client, Gateway, Upstream, eventually, free_port, pause};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BROKEN: &[u8] = b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n";

fn is_up(gateway: &Gateway, up: f64) {
    eventually("the broker is up, or away", || gateway.metric("tidegate_broker_up") == Some(up));
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

const ROUTES: &str = "routes:
  - name: orders
    match: [{path: {template: \"/orders/{id}\"}}]
    publish: {broker: events, exchange: orders, subject: \"orders.{{ captures.id }}\", key: \"{{ request.header.x-key }}\", headers: [x-tenant], cloudEvents: {wrap: {type: t, source: /s}}, timeout: 1s}
  - name: queue
    match: [{path: {exact: /queue}}]
    publish: {broker: events, subject: small, timeout: 2s}
  - name: nowhere
    match: [{path: {exact: /nowhere}}]
    publish: {broker: events, exchange: nowhere, subject: a}
";

#[test]
fn a_message_is_confirmed_and_told_when_no_queue_takes_it() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut rabbit = Rabbit::start(&format!(
        "listeners.ssl.1 = 127.0.0.1:TLS_PORT\nssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n",
        file("ca.crt"),
        file("server.crt"),
        file("server.key")
    ));
    rabbit.order(&value!({"do": "exchange", "name": "orders"}));
    rabbit.order(&value!({"do": "queue", "name": "all", "exchange": "orders", "key": "orders.7"}));
    rabbit.queue("small", &value!({"x-max-length": 1, "x-overflow": "reject-publish"}));
    let text =
        format!("accessLog: [{{kind: stdout, format: json}}]\n{}{ROUTES}", rabbit.broker(", maxInFlight: 2"));
    let gateway = Gateway::start(&text);
    is_up(&gateway, 1.0);
    let event = "\nce-specversion: 1.0\nce-id: e1\nce-source: /s\nce-type: t\nce-subject: gr%C3%B6%C3%9Fe\ncontent-type: text/plain\nx-tenant: blue\nx-key: k";
    let answer = post(&gateway, "/orders/7", event, "hello");
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(json(&answer), value!({"id": "e1", "exchange": "orders"}));
    let structured = r#"{"specversion":"1.0","id":"e2","source":"/s","type":"t","data":1.0}"#;
    let headers = "\ncontent-type: application/cloudevents+json";
    assert_eq!(post(&gateway, "/orders/7", headers, structured).status, 202);
    let kept = rabbit.get("all");
    assert_eq!(kept.len(), 2, "{kept:?}");
    for (field, want) in [
        ("key", value!("orders.7")),
        ("exchange", value!("orders")),
        ("value", value!("hello")),
        ("type", value!("text/plain")),
        ("mode", value!(2)),
        ("id", value!("orders//2:/s/e1")),
    ] {
        assert_eq!(kept[0][field], want, "{}", kept[0]);
    }
    for (name, want) in [
        ("cloudEvents:subject", "größe"),
        ("cloudEvents:id", "e1"),
        ("Partition-Key", "k"),
        ("x-tenant", "blue"),
    ] {
        assert_eq!(kept[0]["headers"][name], want, "{}", kept[0]);
    }
    assert_eq!(
        (&kept[1]["value"], &kept[1]["headers"]["cloudEvents:id"]),
        (&structured.into(), &Value::Null)
    );
    assert_eq!(kept[1]["type"], "application/cloudevents+json; charset=utf-8");
    // No queue is bound to that, or there is no such exchange: that is told, and does not disturb others.
    for path in ["/orders/8", "/nowhere"] {
        let answer = post(&gateway, path, "", "x");
        assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("broker-away")), "{path}");
    }
    assert_eq!(
        gateway.metric("tidegate_publish_messages_total{broker=\"events\",result=\"no-stream\"}"),
        Some(2.0)
    );
    assert_eq!(json(&post(&gateway, "/queue", "", "first"))["exchange"], "");
    let full = post(&gateway, "/queue", "", "second");
    assert_eq!((full.status, full.problem().as_deref()), (502, Some("broker-refused")), "{}", full.text());
    let record = gateway.record("a message", |record| record["route"] == "orders" && record["status"] == 202);
    assert_eq!(record["publish"]["exchange"], "orders");
    // By TLS, with a certificate that is checked.
    let tls = |ca: &str| {
        let broker = format!(
            "brokers:\n  - {{name: events, rabbitmq: {{servers: [\"127.0.0.1:{}\"], tls: {{{ca}}}}}}}\n",
            rabbit.tls_port
        );
        Gateway::start(&format!("{broker}{ROUTES}"))
    };
    let secure = tls(&format!("caFile: \"{}\"", file("ca.crt")));
    is_up(&secure, 1.0);
    assert_eq!(post(&secure, "/orders/7", "", "x").status, 202);
    let wary = tls("");
    eventually("it is told", || wary.stderr().contains("cannot connect to the broker `events`"));
    let stranger = Gateway::start(&format!(
        "{}{ROUTES}",
        rabbit.broker(", username: nobody, password: another-password")
    ));
    eventually("it is told", || stranger.stderr().contains("cannot connect to the broker `events`"));
    assert!(!stranger.stderr().contains("another-password"), "{}", stranger.stderr());
    drop((secure, wary, stranger));
    rabbit.get("all");
    // A server that does not answer, and one that is away.
    rabbit.signal("STOP");
    let statuses: Vec<(u16, Option<String>)> = std::thread::scope(|scope| {
        let one = || {
            let answer = post(&gateway, "/orders/7", "", "late");
            (answer.status, answer.problem())
        };
        let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    let count = |status: u16, problem: &str| {
        statuses.iter().filter(|(known, told)| *known == status && told.as_deref() == Some(problem)).count()
    };
    assert_eq!((count(504, "broker-timeout"), count(503, "overloaded")), (2, 2), "{statuses:?}");
    rabbit.signal("CONT");
    eventually("what nobody knew of was kept", || rabbit.count("all") == 2);
    rabbit.stop();
    is_up(&gateway, 0.0);
    let began = Instant::now();
    let away = post(&gateway, "/orders/7", "", "x");
    assert_eq!((away.status, away.header("retry-after")), (503, Some("1")), "{}", away.text());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    rabbit.again();
    is_up(&gateway, 1.0);
    assert_eq!(post(&gateway, "/orders/7", "", "again").status, 202);
    let values: Vec<Value> = rabbit.get("all").into_iter().map(|mut one| one["value"].take()).collect();
    assert_eq!(
        values,
        ["late", "late", "again"],
        "what was to outlast the server did, and nothing was kept for later"
    );
}

fn delivering(rabbit: &Rabbit, upstream: &Upstream, port: u16, subscriptions: &str) -> String {
    format!(
        "listeners:\n  - {{name: public, address: \"127.0.0.1:{port}\"}}
accessLog: [{{kind: stdout, format: json}}]
shutdown: {{deadline: 10s}}
{}upstreams: [{{name: billing, endpoints: [{{address: \"{}\"}}]}}]
subscriptions:\n{subscriptions}
routes:
  - name: news
    match: [{{path: {{template: \"/news/{{who}}\"}}}}]
    subscribe: {{broker: events, exchange: news, subject: \"news.{{{{ captures.who }}}}.#\", heartbeat: 1s}}
",
        rabbit.broker(""),
        upstream.address
    )
}

fn count(gateway: &Gateway, name: &str, result: &str) -> f64 {
    let series =
        format!("tidegate_subscription_deliveries_total{{subscription=\"{name}\",result=\"{result}\"}}");
    gateway.metric(&series).unwrap_or_default()
}

#[test]
fn messages_are_delivered_in_order_given_up_and_given_back_and_clients_hear_an_exchange() {
    let failing = Arc::new(AtomicBool::new(true));
    let fails = failing.clone();
    let upstream = Upstream::scripted(move |seen| {
        if seen.body == b"slow" {
            pause(1000);
        }
        let is_bad = seen.body.starts_with(b"dead") || seen.body == b"a1" && fails.load(Ordering::SeqCst);
        Some(if is_bad { BROKEN.to_vec() } else { OK.to_vec() })
    });
    let mut rabbit = Rabbit::start("");
    rabbit.order(&value!({"do": "exchange", "name": "news"}));
    for name in ["orders", "dead", "others"] {
        rabbit.queue(name, &value!({}));
    }
    // What is given up here, the queue itself sends elsewhere.
    rabbit.queue("own", &value!({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "others", "x-queue-type": "quorum"}));
    let port = free_port();
    let text = delivering(
        &rabbit,
        &upstream,
        port,
        "  - {name: orders, broker: events, stream: orders, upstream: billing, ordering: key, maxDeliveries: 20, deadLetter: dead, headers: [x-a], backoff: {initial: 100ms, max: 100ms}, concurrency: 2}
  - {name: own, broker: events, stream: own, upstream: billing, path: /own, maxDeliveries: 2, backoff: {initial: 50ms, max: 50ms}}",
    );
    let mut gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    let are_read = |gateway: &Gateway| {
        for name in ["orders", "own"] {
            let up = format!("tidegate_subscription_up{{subscription=\"{name}\"}}");
            eventually("the subscriptions are read", || gateway.metric(&up) == Some(1.0));
        }
    };
    are_read(&gateway);
    let publish = |queue: &str, all: &[(&str, &str)]| {
        let one = |(key, body): &(&str, &str)| value!({"key": queue, "value": body, "id": body, "type": "text/plain", "headers": {"Partition-Key": key, "x-a": 7, "cloudEvents:id": "ü"}});
        let messages: Vec<Value> = all.iter().map(one).collect();
        rabbit.order(&value!({"do": "publish", "messages": messages}));
    };
    publish("orders", &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")]);
    eventually("those of the other key are there", || count(&gateway, "orders", "delivered") == 2.0);
    let bodies = |of: &str| {
        let all = upstream.seen().into_iter().map(|one| String::from_utf8_lossy(&one.body).into_owned());
        let mut all: Vec<String> = all.filter(|body| body.starts_with(of)).collect();
        all.dedup();
        all
    };
    assert_eq!((bodies("a"), bodies("b")), (vec!["a1".to_owned()], vec!["b1".to_owned(), "b2".to_owned()]));
    failing.store(false, Ordering::SeqCst);
    eventually("all are there", || count(&gateway, "orders", "delivered") == 5.0);
    assert_eq!(bodies("a"), ["a1", "a2", "a3"]);
    let seen = upstream.seen();
    let one = seen.iter().find(|one| one.body == b"b1").expect("a delivery");
    for (name, want) in [
        ("x-a", "7"),
        ("ce-id", "%C3%BC"),
        ("content-type", "text/plain"),
        ("x-tidegate-subject", "orders"),
        ("webhook-id", "orders-b1"),
    ] {
        assert_eq!(one.header(name), Some(want), "{one:?}");
    }
    publish("own", &[("", "dead 1")]);
    eventually("the queue has sent it elsewhere", || rabbit.count("others") == 1);
    assert_eq!((count(&gateway, "own", "dropped"), count(&gateway, "own", "failed")), (1.0, 2.0));
    // Clients of an exchange.
    let listen = |who: &str| {
        let mut client = Client::connect(gateway.address);
        client.write(format!("GET /news/{who} HTTP/1.1\r\nhost: x\r\n\r\n"));
        assert_eq!(client.read_head().expect("a head").status, 200);
        client
    };
    let next = |client: &mut Client| {
        let began = Instant::now();
        loop {
            let line = client.read_line();
            assert!(began.elapsed() < Duration::from_secs(20), "no event comes");
            if let Some(text) = line.strip_prefix("data: ") {
                return text.trim_end().to_owned();
            }
        }
    };
    let (mut ann, mut bob) = (listen("ann"), listen("bob"));
    let news = value!({"do": "publish", "exchange": "news", "messages": [{"key": "news.bob.x", "value": "1"}, {"key": "news.ann", "value": "2"}]});
    rabbit.order(&news);
    assert_eq!((next(&mut ann), next(&mut bob)), ("2".to_owned(), "1".to_owned()));
    let mut wild = Client::connect(gateway.address);
    wild.write("GET /news/a.b HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(wild.read_head().expect("a head").status, 400);
    // An end waits for what is on its way, and gives the rest back.
    publish("orders", &[("s", "slow"), ("s", "next"), ("s", "last")]);
    eventually("the first is on its way", || bodies("slow").len() == 1);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!((rabbit.count("orders"), bodies("next").len()), (2, 0));
    let text = text.replace("maxDeliveries: 20", "maxDeliveries: 1");
    let again = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    eventually("the others are delivered", || count(&again, "orders", "delivered") == 2.0);
    // A server that comes back, and what is given up.
    rabbit.stop();
    is_up(&again, 0.0);
    rabbit.again();
    are_read(&again);
    let dead = value!({"do": "publish", "messages": [{"key": "orders", "value": "dead 2", "id": "d2", "headers": {"x-b": "c"}}]});
    rabbit.order(&dead);
    eventually("it is given up", || count(&again, "orders", "dead") == 1.0);
    let dead = rabbit.get("dead");
    assert_eq!((dead.len(), &dead[0]["value"], &dead[0]["mode"]), (1, &"dead 2".into(), &2.into()));
    for (name, want) in [
        ("x-b", "c"),
        ("Tidegate-Subscription", "orders"),
        ("Tidegate-Deliveries", "1"),
        ("Tidegate-Reason", "it was answered with 500"),
    ] {
        assert_eq!(dead[0]["headers"][name], want, "{}", dead[0]);
    }
    eventually("nothing is left", || rabbit.count("orders") == 0);
}
