//! A subject of a real NATS server, with and without a stream that confirms.

use super::{calls, dropped, paths, sink};
use crate::{
    events::server::Nats,
    harness::{Gateway, eventually},
};

const ROUTES: &str = "routes: [{name: r, match: [{path: {prefix: /ok}}], respond: {body: hello}}]\n";

fn start(nats: &Nats, settings: &str) -> Gateway {
    Gateway::start(&format!(
        "{}accessLog: [{{kind: nats, batch: {{time: 50ms}}, retry: {{first: 50ms, max: 200ms}}, nats: {{broker: events, subject: logs.access{settings}}}}}]\n{ROUTES}",
        nats.broker()
    ))
}

#[test]
fn a_stream_confirms_every_record_and_takes_none_twice() {
    let mut nats = Nats::start();
    nats.stream("LOGS", &["logs.>"]);
    let gateway = start(&nats, ", timeout: 1s");
    calls(&gateway, 0..50);
    eventually("all is confirmed", || sink(&gateway, "records_total", "nats") == 50.0);
    assert_eq!(nats.count("LOGS"), 50);
    let told: Vec<String> = (1..=50)
        .map(|sequence| {
            let message = nats.message("LOGS", sequence);
            assert_eq!(message.subject, "logs.access");
            assert!(message.header("Nats-Msg-Id").is_some_and(|id| id.len() == 32));
            let record: serde_json::Value = serde_json::from_str(&message.text()).expect("JSON");
            record["path"].as_str().expect("a path").to_owned()
        })
        .collect();
    assert_eq!(told, paths(0..50));
    // While the server is away records wait; what was sent and not confirmed comes again, and is taken once.
    nats.stop();
    calls(&gateway, 50..80);
    eventually("it is noticed", || sink(&gateway, "up", "nats") == 0.0);
    nats.again();
    eventually("all arrives", || nats.count("LOGS") == 80);
    eventually("all is confirmed", || sink(&gateway, "records_total", "nats") == 80.0);
    assert_eq!(nats.count("LOGS"), 80);
}

#[test]
fn a_record_that_the_stream_never_takes_costs_itself_alone() {
    let nats = Nats::start();
    nats.stream_of("LOGS", &["logs.>"], 4096);
    let gateway = start(&nats, ", timeout: 2s");
    calls(&gateway, 0..3);
    assert_eq!(gateway.get(&format!("/ok/{}", "x".repeat(5000))).status, 200);
    calls(&gateway, 3..6);
    eventually("the others are confirmed", || sink(&gateway, "records_total", "nats") == 6.0);
    eventually("it is counted", || dropped(&gateway, "nats", "partial") == 1.0);
    assert_eq!((nats.count("LOGS"), sink(&gateway, "up", "nats")), (6, 1.0));
}

#[test]
fn without_confirmation_whoever_listens_hears_and_without_a_stream_confirmation_is_waited_for() {
    let nats = Nats::start();
    let mut listener = nats.client();
    listener.subscribe("logs.*");
    let gateway = start(&nats, ", acknowledged: false");
    calls(&gateway, 0..5);
    for path in paths(0..5) {
        let (subject, payload) = listener.next();
        let record: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
        assert_eq!((subject.as_str(), record["path"].as_str()), ("logs.access", Some(&*path)));
    }
    let gateway = start(&nats, "");
    calls(&gateway, 0..1);
    eventually("nobody confirms", || sink(&gateway, "up", "nats") == 0.0);
    assert_eq!(sink(&gateway, "waiting_records", "nats"), 1.0);
    nats.stream("LOGS", &["logs.>"]);
    eventually("somebody does", || nats.count("LOGS") >= 1);
}
