//! Kafka: what is published, delivered and listened to, with librdkafka's mock cluster and its clients on the other side.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json as value};

use super::{
    json,
    mock::{Mock, header},
    post,
};
use crate::harness::{Client, Gateway, Upstream, eventually, free_port, pause};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BROKEN: &[u8] = b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n";

fn publishing(mock: &Mock, broker: &str, publish: &str) -> Gateway {
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout, format: json}}]
{}routes:
  - name: orders
    match: [{{path: {{template: \"/orders/{{topic}}\"}}}}]
    publish: {{broker: events, subject: \"{{{{ captures.topic }}}}\"{publish}}}
",
        mock.broker(broker)
    ));
    is_up(&gateway, 1.0);
    gateway
}

fn is_up(gateway: &Gateway, up: f64) {
    eventually("the broker is up, or away", || gateway.metric("tidegate_broker_up") == Some(up));
}

#[test]
fn a_record_is_kept_in_the_partition_that_librdkafka_has_for_its_key_and_read_back_as_it_came() {
    let mock = Mock::start();
    mock.topic("orders");
    mock.topic("theirs");
    let gateway = publishing(
        &mock,
        ", compression: lz4",
        ", key: \"{{ request.header.x-key }}\", headers: [x-tenant], cloudEvents: {wrap: {type: t, source: /s}}",
    );
    let keys = ["a", "b", "customer-17", "x/y z", "a-little-bit-longer-string", "x"];
    let theirs = mock.produce("theirs", &keys.map(|key| (key, "x")));
    let mut places = Vec::new();
    for (number, key) in keys.iter().chain(&keys).enumerate() {
        let headers = format!(
            "\nce-specversion: 1.0\nce-id: {number}\nce-source: /s\nce-type: t\nce-subject: gr%C3%B6%C3%9Fe\ncontent-type: text/plain\nx-tenant: blue\nx-other: red\nx-key: {key}"
        );
        let answer = post(&gateway, "/orders/orders", &headers, &format!("value {number}"));
        assert_eq!(answer.status, 202, "{}", answer.text());
        let told = json(&answer);
        assert_eq!((&told["stream"], &told["id"]), (&"orders".into(), &number.to_string().into()), "{told}");
        assert_eq!(told.get("duplicate"), None);
        places.push((told["partition"].clone(), told["sequence"].clone()));
    }
    let kept = mock.read("orders");
    assert_eq!(kept.len(), 12);
    for (number, place) in places.iter().enumerate() {
        let one = kept.iter().find(|one| (&one["partition"], &one["offset"]) == (&place.0, &place.1));
        let one = one.unwrap_or_else(|| panic!("{place:?} of {kept:?}"));
        let key = keys[number % keys.len()];
        assert_eq!((&one["key"], &one["value"]), (&key.into(), &format!("value {number}").into()));
        for (name, want) in [
            ("ce_id", Some(&*number.to_string())),
            ("ce_subject", Some("größe")),
            ("ce_partitionkey", Some(key)),
            ("content-type", Some("text/plain")),
            ("x-tenant", Some("blue")),
            ("x-other", None),
        ] {
            assert_eq!(header(one, name), want, "{name}: {one}");
        }
        assert!(header(one, "message-id").is_some_and(|id| id.ends_with(&format!("/{number}"))), "{one}");
    }
    for (number, place) in theirs.as_array().expect("places").iter().enumerate() {
        assert_eq!(place[0], places[number].0, "the partition of {}", keys[number]);
    }
    let structured =
        r#"{"specversion":"1.0","id":"s","source":"/s","type":"t","partitionkey":"a","data":{"n":1.0}}"#;
    let answer = post(
        &gateway,
        "/orders/orders",
        "\ncontent-type: application/cloudevents+json\nx-key: a",
        structured,
    );
    let told = json(&answer);
    let kept = mock.read("orders");
    let one =
        kept.iter().find(|one| one["partition"] == told["partition"] && one["offset"] == told["sequence"]);
    let one = one.expect("the record");
    assert_eq!(header(one, "content-type"), Some("application/cloudevents+json; charset=utf-8"));
    let event: Value = serde_json::from_str(one["value"].as_str().expect("text")).expect("JSON");
    assert_eq!(
        (&event["data"], &event["partitionkey"], &one["key"]),
        (&value!({"n": 1.0}), &"a".into(), &"a".into())
    );
    let record = gateway.record("a message", |record| record["route"] == "orders");
    assert_eq!((&record["publish"]["stream"], &record["publish"]["messages"]), (&"orders".into(), &1.into()));
    assert!(record["publish"]["partition"].is_u64(), "{record}");
    let stored = "tidegate_publish_messages_total{broker=\"events\",result=\"stored\"}";
    assert_eq!(gateway.metric(stored), Some(13.0));
    for bad in ["a.b", "%20", "gr%C3%B6%C3%9Fe", "__consumer_offsets"] {
        assert_eq!(post(&gateway, &format!("/orders/{bad}"), "", "x").status, 400, "{bad}");
    }
}

#[test]
fn while_the_cluster_is_away_it_is_told_at_once_and_what_nobody_knows_is_a_504() {
    let mock = Mock::with(&value!({"gate": free_port()}));
    mock.topic("orders");
    let gateway = publishing(&mock, ", maxInFlight: 2", ", timeout: 1s, key: k");
    assert_eq!(json(&post(&gateway, "/orders/orders", "", "1"))["sequence"], 0);
    let none = post(&gateway, "/orders/nowhere", "", "x");
    assert_eq!((none.status, none.problem().as_deref()), (503, Some("not-kept")), "{}", none.text());
    mock.gate(false);
    is_up(&gateway, 0.0);
    let began = Instant::now();
    let away = post(&gateway, "/orders/orders", "", "x");
    assert_eq!((away.status, away.header("retry-after")), (503, Some("1")), "{}", away.text());
    assert_eq!(away.problem().as_deref(), Some("broker-away"));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    mock.gate(true);
    is_up(&gateway, 1.0);
    // What was refused was not kept for later.
    assert_eq!(json(&post(&gateway, "/orders/orders", "", "2"))["sequence"], 1);
    mock.signal("STOP");
    let statuses: Vec<(u16, Option<String>)> = std::thread::scope(|scope| {
        let one = || {
            let answer = post(&gateway, "/orders/orders", "", "3");
            (answer.status, answer.problem())
        };
        let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    let count = |status: u16, problem: &str| {
        statuses.iter().filter(|(known, told)| *known == status && told.as_deref() == Some(problem)).count()
    };
    let (late, full) = (count(504, "broker-timeout") + count(503, "broker-away"), count(503, "overloaded"));
    assert_eq!((late, full), (2, 2), "{statuses:?}");
    assert!(count(504, "broker-timeout") >= 1, "{statuses:?}");
    mock.signal("CONT");
    eventually("it goes on", || post(&gateway, "/orders/orders", "", "4").status == 202);
    let values: Vec<String> =
        mock.read("orders").iter().map(|one| one["value"].as_str().unwrap_or_default().to_owned()).collect();
    // In order, and none twice but what was sent twice.
    assert_eq!(values[..2], ["1", "2"]);
    assert!(values.iter().filter(|one| *one == "3").count() <= 2, "{values:?}");
    assert_eq!(gateway.metric("tidegate_publish_waiting"), Some(0.0));
}

fn delivering(mock: &Mock, upstream: &Upstream, port: u16, subscription: &str) -> String {
    format!(
        "listeners:\n  - {{name: public, address: \"127.0.0.1:{port}\"}}
accessLog: [{{kind: stdout, format: json}}]
shutdown: {{deadline: 10s}}
{}upstreams: [{{name: billing, endpoints: [{{address: \"{}\"}}]}}]
subscriptions:
  - {{name: orders, broker: events, stream: orders, upstream: billing{subscription}}}
",
        mock.broker(""),
        upstream.address
    )
}

fn count(gateway: &Gateway, result: &str) -> f64 {
    let series =
        format!("tidegate_subscription_deliveries_total{{subscription=\"orders\",result=\"{result}\"}}");
    gateway.metric(&series).unwrap_or_default()
}

fn is_read(gateway: &Gateway) {
    eventually("the subscription is read", || gateway.metric("tidegate_subscription_up") == Some(1.0));
}

#[test]
fn records_are_delivered_in_the_order_of_their_keys_confirmed_given_up_and_gone_on_with() {
    let failing = Arc::new(AtomicBool::new(true));
    let fails = failing.clone();
    let upstream = Upstream::scripted(move |seen| {
        let is_bad = seen.body == b"dead" || seen.body == b"a1" && fails.load(Ordering::SeqCst);
        Some(if is_bad { BROKEN.to_vec() } else { OK.to_vec() })
    });
    let mock = Mock::start();
    for topic in ["orders", "dead"] {
        mock.topic(topic);
    }
    mock.produce("orders", &[("old", "old")]);
    let port = free_port();
    let settings = ", ordering: key, maxDeliveries: 30, deadLetter: dead, headers: [x-a], backoff: {initial: 100ms, max: 100ms}, sign: [0123456789abcdef]";
    let text = delivering(&mock, &upstream, port, settings);
    let mut gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    is_read(&gateway);
    let records: Vec<Value> = [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")]
        .iter()
        .map(|(key, body)| value!({"key": key, "value": body, "headers": [["x-a", body], ["ce_id", "ü"], ["content-type", "text/plain"]]}))
        .collect();
    mock.order(&value!({"do": "produce", "topic": "orders", "compression": "snappy", "records": records}));
    eventually("those of the other key are there", || count(&gateway, "delivered") == 2.0);
    let bodies = |of: &str| {
        let all = upstream.seen().into_iter().map(|one| String::from_utf8_lossy(&one.body).into_owned());
        let mut all: Vec<String> = all.filter(|body| body.starts_with(of)).collect();
        all.dedup();
        all
    };
    assert_eq!((bodies("a"), bodies("b")), (vec!["a1".to_owned()], vec!["b1".to_owned(), "b2".to_owned()]));
    failing.store(false, Ordering::SeqCst);
    eventually("all are there", || count(&gateway, "delivered") == 5.0);
    assert_eq!(bodies("a"), ["a1", "a2", "a3"]);
    assert!(bodies("old").is_empty(), "it begins with what comes");
    let seen = upstream.seen();
    let one = seen.iter().find(|one| one.body == b"b1").expect("a delivery");
    for (name, want) in [
        ("x-a", Some("b1")),
        ("ce-id", Some("%C3%BC")),
        ("content-type", Some("text/plain")),
        ("x-tidegate-subject", Some("orders")),
        ("x-tidegate-attempt", Some("1")),
    ] {
        assert_eq!(one.header(name), want, "{name}: {one:?}");
    }
    assert!(one.header("webhook-id").is_some_and(|id| id.starts_with("orders-")), "{one:?}");
    assert!(one.header("webhook-signature").is_some_and(|signature| signature.starts_with("v1,")));
    eventually("the group has confirmed them", || mock.committed("tidegate-orders", "orders") == 6);
    // An end is no loss: what comes meanwhile is delivered by the next process.
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    mock.produce("orders", &[("c", "late"), ("c", "dead")]);
    let text = text.replace("maxDeliveries: 30", "maxDeliveries: 2");
    let again = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    eventually("it is given up", || count(&again, "dead") == 1.0);
    assert_eq!((bodies("late"), count(&again, "delivered")), (vec!["late".to_owned()], 1.0));
    let dead = mock.read("dead");
    assert_eq!((dead.len(), &dead[0]["value"], &dead[0]["key"]), (1, &"dead".into(), &"c".into()));
    for (name, want) in [
        ("Tidegate-Subscription", "orders"),
        ("Tidegate-Stream", "orders"),
        ("Tidegate-Deliveries", "2"),
        ("Tidegate-Reason", "it was answered with 500"),
    ] {
        assert_eq!(header(&dead[0], name), Some(want), "{}", dead[0]);
    }
    eventually("the group has confirmed all", || mock.committed("tidegate-orders", "orders") == 8);
}

/// The mock takes nine seconds for each division of a group, however soon its members come; some tests wait for several.
fn after_divisions(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "never came to pass: {what}");
        pause(50);
    }
}

#[test]
fn gateways_of_one_group_share_the_partitions_and_take_over_from_each_other() {
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let mock = Mock::start();
    mock.topic("orders");
    let ports = [free_port(), free_port()];
    let start = |port: u16| {
        let text = delivering(&mock, &upstream, port, ", from: all");
        Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {})
    };
    let mut first = start(ports[0]);
    is_read(&first);
    let second = start(ports[1]);
    after_divisions("the second is read", || second.metric("tidegate_subscription_up") == Some(1.0));
    let keys: Vec<String> = (0..40).map(|number| format!("key {number}")).collect();
    let records: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), key.as_str())).collect();
    // Each has a share as soon as the first has heard that there is another.
    after_divisions("both get some", || {
        mock.produce("orders", &records);
        pause(500);
        count(&first, "delivered") > 0.0 && count(&second, "delivered") > 0.0
    });
    first.signal("TERM");
    assert!(first.wait().success());
    let sent = mock.read("orders").len() as i64;
    mock.produce("orders", &records);
    after_divisions("the other goes on with all", || {
        mock.committed("tidegate-orders", "orders") == sent + 40
    });
    let seen: std::collections::HashSet<String> =
        upstream.seen().iter().filter_map(|one| one.header("webhook-id").map(str::to_owned)).collect();
    assert_eq!(seen.len() as i64, sent + 40, "each was delivered");
}

#[test]
fn a_gateway_that_ends_while_the_partitions_are_divided_leaves_none_of_them_to_nobody() {
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let mock = Mock::with(&value!({"brokers": 1}));
    mock.topic("orders");
    let start = || {
        let port = free_port();
        let text = delivering(&mock, &upstream, port, ", from: all");
        Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {})
    };
    let mut first = start();
    is_read(&first);
    let second = start();
    let joined = Instant::now();
    // Both wait for the division by then, as the mock has it for nine seconds.
    pause(4500);
    assert_eq!(second.metric("tidegate_subscription_up"), Some(0.0));
    first.signal("TERM");
    assert!(first.wait().success());
    let keys: Vec<String> = (0..40).map(|number| format!("key {number}")).collect();
    let records: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), key.as_str())).collect();
    mock.produce("orders", &records);
    eventually("the second has them all", || count(&second, "delivered") == 40.0);
    // A member who is gone without a word is given a share, and keeps it until its session is over.
    assert!(joined.elapsed() < Duration::from_secs(16), "{:?}", joined.elapsed());
}

#[test]
fn a_gateway_whose_only_leader_is_away_does_not_have_the_others_divide_the_partitions_anew() {
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let ports = [free_port(), free_port(), free_port()];
    let mock = Mock::with(&value!({"brokers": 3, "gates": ports}));
    // Of two gateways each has two partitions beside each other: one broker leads those of one, and none of the other's.
    let found = (0..150).find_map(|number| {
        let topic = format!("orders-{number}");
        mock.topic(&topic);
        let told = mock.order(&value!({"do": "leaders", "topic": topic, "group": "tidegate-orders"}));
        let leaders: Vec<u64> = told["leaders"].as_array()?.iter().filter_map(Value::as_u64).collect();
        let (one, other) = leaders.split_at(2);
        let is_alone = |own: &[u64], others: &[u64]| {
            own[0] == own[1] && told["coordinator"] != own[0] && !others.contains(&own[0])
        };
        let away = is_alone(one, other).then_some(one[0]).or(is_alone(other, one).then_some(other[0]))?;
        Some((topic, leaders, away))
    });
    let (topic, leaders, away) = found.expect("a topic whose leaders are so");
    let start = || {
        let port = free_port();
        let text = delivering(&mock, &upstream, port, ", from: all");
        let text = text.replace("stream: orders", &format!("stream: {topic}"));
        Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {})
    };
    let gateways = [start(), start()];
    let up = || gateways.each_ref().map(|one| one.metric("tidegate_subscription_up"));
    let delivered = || gateways.iter().map(|one| count(one, "delivered")).sum::<f64>();
    let keys: Vec<String> = (0..40).map(|number| format!("key {number}")).collect();
    let records: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), key.as_str())).collect();
    after_divisions("both get some", || {
        mock.produce(&topic, &records);
        pause(500);
        gateways.iter().all(|one| count(one, "delivered") > 0.0)
    });
    let mut all = mock.read(&topic).len();
    eventually("all are delivered", || delivered() >= all as f64);
    mock.order(&value!({"do": "gate", "open": false, "at": away}));
    eventually("one of them can read nothing, and says so", || up().contains(&Some(0.0)));
    let stalled = gateways.iter().find(|one| one.metric("tidegate_subscription_up") == Some(0.0));
    let status = stalled.expect("it is so still").admin_get("/api/v1/status").text();
    assert!(status.contains("no partition of the topic can be read here"), "{status}");
    // A division anew would have the other stop for nine seconds, and it would be made again and again.
    for _ in 0..4 {
        let before = delivered();
        let places = mock.produce(&topic, &records);
        all += records.len();
        let of_away =
            |place: &&Value| place[0].as_u64().is_some_and(|number| leaders[number as usize] == away);
        let theirs = places.as_array().expect("places").iter().filter(of_away).count();
        assert!((1..40).contains(&theirs), "{places}");
        let began = Instant::now();
        eventually("the other goes on", || delivered() >= before + (40 - theirs) as f64);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        pause(2000);
    }
    assert!(up().contains(&Some(0.0)) && up().contains(&Some(1.0)), "{:?}", up());
    mock.order(&value!({"do": "gate", "open": true, "at": away}));
    eventually("both are read", || up() == [Some(1.0), Some(1.0)]);
    let seen = || {
        let all = upstream.seen();
        let ids = all.iter().filter_map(|one| one.header("webhook-id").map(str::to_owned));
        ids.collect::<std::collections::HashSet<_>>().len()
    };
    eventually("what waited is delivered", || seen() == all);
}

#[test]
fn a_topic_that_is_made_after_its_subscription_is_told_of_and_read() {
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let mock = Mock::with(&value!({"brokers": 1}));
    let port = free_port();
    // What is put there before the gateway has noticed is new, too.
    let text = delivering(&mock, &upstream, port, ", from: new");
    let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    eventually("it is told", || gateway.stderr().contains("there is no topic `orders` at the broker"));
    assert_eq!(gateway.metric("tidegate_subscription_up"), Some(0.0));
    mock.topic("orders");
    mock.produce("orders", &[("a", "1"), ("b", "2"), ("c", "3")]);
    after_divisions("they are delivered", || count(&gateway, "delivered") == 3.0);
    is_read(&gateway);
}

#[test]
fn a_leader_that_is_away_holds_up_its_own_partitions_alone_until_it_is_back() {
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let ports = [free_port(), free_port(), free_port()];
    let mock = Mock::with(&value!({"brokers": 3, "gates": ports}));
    // Who leads what is by chance: a topic is taken that another than the group's coordinator leads in part.
    let found = (0..20).find_map(|number| {
        let topic = format!("orders-{number}");
        mock.topic(&topic);
        let told = mock.order(&value!({"do": "leaders", "topic": topic, "group": "tidegate-orders"}));
        let leaders: Vec<u64> = told["leaders"].as_array()?.iter().filter_map(Value::as_u64).collect();
        let coordinator = told["coordinator"].as_u64()?;
        let away = leaders.iter().copied().find(|leader| *leader != coordinator)?;
        leaders.iter().any(|leader| *leader != away).then_some((topic, leaders, away))
    });
    let (topic, leaders, away) = found.expect("a topic of several leaders");
    let port = free_port();
    let text = delivering(&mock, &upstream, port, ", from: all");
    let text = text.replace("stream: orders", &format!("stream: {topic}"));
    let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    is_read(&gateway);
    let keys: Vec<String> = (0..40).map(|number| format!("key {number}")).collect();
    let records: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), key.as_str())).collect();
    mock.produce(&topic, &records);
    eventually("all are delivered", || count(&gateway, "delivered") == 40.0);
    let listening = Gateway::start(&format!(
        "{}routes: [{{name: news, subscribe: {{broker: events, stream: {topic}, from: all}}}}]\n",
        mock.broker("")
    ));
    is_up(&listening, 1.0);
    let mut client = Client::connect(listening.address);
    client.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.read_head().expect("a head").status, 200);
    let mut heard = 0;
    let mut hears = |all: usize| {
        while heard < all {
            heard += usize::from(client.read_line().starts_with("data: "));
        }
    };
    hears(40);
    mock.order(&value!({"do": "gate", "open": false, "at": away}));
    let places = mock.produce(&topic, &records);
    let of_away = |place: &&Value| place[0].as_u64().is_some_and(|number| leaders[number as usize] == away);
    let theirs = places.as_array().expect("places").iter().filter(of_away).count();
    assert!((1..40).contains(&theirs), "{places}");
    eventually("the others go on", || count(&gateway, "delivered") == (80 - theirs) as f64);
    hears(80 - theirs);
    eventually("it is told", || gateway.stderr().contains("cannot be read, and it is tried again"));
    assert_eq!(gateway.metric("tidegate_subscription_up"), Some(1.0));
    mock.order(&value!({"do": "gate", "open": true, "at": away}));
    eventually("what waited is delivered", || count(&gateway, "delivered") >= 80.0);
    hears(80);
    let seen: std::collections::HashSet<String> =
        upstream.seen().iter().filter_map(|one| one.header("webhook-id").map(str::to_owned)).collect();
    assert_eq!(seen.len(), 80, "each was delivered");
    eventually("it is told", || gateway.stderr().contains("is read again"));
}

#[test]
fn what_nobody_can_read_holds_up_its_partition_alone_and_is_passed_over_where_that_is_wanted() {
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let mock = Mock::start();
    mock.topic("orders");
    let produce = |compression: &str, records: &[Value]| {
        mock.order(
            &value!({"do": "produce", "topic": "orders", "compression": compression, "records": records}),
        )
    };
    // A few kilobytes, which unfold to more than anybody is to hold.
    let bomb = produce("zstd", &[value!({"key": "a", "zeros": 17 * 1024 * 1024})]);
    let records: Vec<Value> = (0..12)
        .map(|number| value!({"key": format!("key {number}"), "value": format!("value {number}")}))
        .collect();
    let places = produce("none", &records);
    let behind = places.as_array().expect("places").iter().filter(|place| place[0] == bomb[0][0]).count();
    assert!((1..12).contains(&behind), "{places}");
    let port = free_port();
    let text = delivering(&mock, &upstream, port, ", from: all");
    let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    eventually("the other partitions go on", || count(&gateway, "delivered") == (12 - behind) as f64);
    eventually("it is counted", || count(&gateway, "unreadable") == 1.0);
    let said = format!("what `orders` has at {} of partition {} cannot be read", bomb[0][1], bomb[0][0]);
    assert!(gateway.stderr().contains(&said), "{}", gateway.stderr());
    assert!(gateway.admin_get("/api/v1/status").text().contains(&said));
    // It is looked at again now and then, and told once.
    pause(6000);
    assert_eq!((count(&gateway, "unreadable"), count(&gateway, "delivered")), (1.0, (12 - behind) as f64));
    let skipping = delivering(&mock, &upstream, port, ", from: all, whenUnreadable: skip");
    assert_eq!(gateway.reload(&skipping)["reloadsApplied"], 1);
    let seen = || {
        let all = upstream.seen();
        all.iter().map(|one| one.body.clone()).collect::<std::collections::HashSet<_>>().len()
    };
    eventually("what stands behind it is delivered", || seen() == 12);
    assert_eq!(count(&gateway, "unreadable"), 1.0);
    eventually("the group has confirmed all", || mock.committed("tidegate-orders", "orders") == 13);
    // Whoever listens cannot do anything about it.
    let listening = Gateway::start(&format!(
        "{}routes: [{{name: news, subscribe: {{broker: events, stream: orders, from: all}}}}]\n",
        mock.broker("")
    ));
    is_up(&listening, 1.0);
    let mut client = Client::connect(listening.address);
    client.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.read_head().expect("a head").status, 200);
    let mut heard = 0;
    while heard < 12 {
        heard += usize::from(client.read_line().starts_with("data: "));
    }
    let left_out = "tidegate_subscribe_messages_total{broker=\"events\",result=\"left-out\"}";
    assert_eq!(listening.metric(left_out), Some(1.0));
}

#[test]
fn clients_hear_what_is_theirs_and_go_on_where_they_were() {
    let mock = Mock::start();
    mock.topic("news");
    let gateway = Gateway::start(&format!(
        "{}routes:
  - name: news
    match: [{{path: {{template: \"/news/{{who}}\"}}}}]
    subscribe: {{broker: events, stream: news, key: \"{{{{ captures.who }}}}\", heartbeat: 1s}}
",
        mock.broker("")
    ));
    is_up(&gateway, 1.0);
    mock.produce("news", &[("ann", "old")]);
    let listen = |who: &str, headers: &str| {
        let mut client = Client::connect(gateway.address);
        client.write(format!("GET /news/{who} HTTP/1.1\r\nhost: x\r\n{headers}\r\n"));
        let head = client.read_head().expect("a head");
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")), "{head:?}");
        client
    };
    let next = |client: &mut Client| {
        let (mut id, began) = (String::new(), Instant::now());
        loop {
            let line = client.read_line();
            assert!(began.elapsed() < Duration::from_secs(20), "no event comes");
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.trim_end().to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                return (id, text.trim_end().to_owned());
            }
        }
    };
    let (mut ann, mut bob) = (listen("ann", ""), listen("bob", ""));
    mock.produce("news", &[("ann", "1"), ("bob", "2"), ("ann", "3")]);
    let (id, first) = next(&mut ann);
    assert_eq!((first, next(&mut ann).1, next(&mut bob).1), ("1".into(), "3".into(), "2".into()));
    let mut again = listen("ann", &format!("last-event-id: {id}\r\n"));
    assert_eq!(next(&mut again).1, "3");
    mock.produce("news", &[("ann", "4")]);
    assert_eq!((next(&mut ann).1, next(&mut again).1), ("4".to_owned(), "4".to_owned()));
    let mut wrong = Client::connect(gateway.address);
    wrong.write("GET /news/ann HTTP/1.1\r\nhost: x\r\nlast-event-id: 17\r\n\r\n");
    assert_eq!(wrong.read_head().expect("a head").status, 400);
}

#[test]
fn the_gateway_signs_in_over_tls_and_tells_no_password() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
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
        std::fs::write(file(name), text).expect("a file");
    }
    for (mechanism, written) in [
        ("SCRAM-SHA-512", ""),
        ("SCRAM-SHA-256", "mechanism: scramSha256, "),
        ("PLAIN", "mechanism: plain, "),
    ] {
        let sasl = value!([mechanism, "gateway", "the-password"]);
        let mock = Mock::with(
            &value!({"gate": free_port(), "cert": file("server.crt"), "key": file("server.key"), "sasl": sasl}),
        );
        mock.topic("orders");
        let broker = |password: &str| {
            format!(
                ", tls: {{caFile: \"{}\"}}, sasl: {{{written}username: gateway, password: {password}}}",
                file("ca.crt")
            )
        };
        let gateway = publishing(&mock, &broker("the-password"), "");
        let answer = post(&gateway, "/orders/orders", "", "x");
        assert_eq!(answer.status, 202, "{mechanism}: {}", answer.text());
        if mechanism == "SCRAM-SHA-512" {
            let wrong = Gateway::start(&format!(
                "{}routes: [{{name: o, publish: {{broker: events, subject: orders}}}}]\n",
                mock.broker(&broker("another-password"))
            ));
            eventually("it is told", || wrong.stderr().contains("signing in failed"));
            assert_eq!(post(&wrong, "/", "", "x").status, 503);
            assert!(!wrong.stderr().contains("another-password"), "{}", wrong.stderr());
        }
    }
}
