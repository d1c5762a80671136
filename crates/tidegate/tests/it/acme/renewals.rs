//! Renewals: by age, as the authority suggests, and without anybody noticing.

use std::time::SystemTime;

use super::{
    Shape,
    kept::renew,
    open,
    pebble::{Pebble, Ways},
    seconds_until,
};
use crate::{
    harness::{Upstream, eventually, pause},
    wire::tls::{ask, client, dial},
};

#[test]
fn a_certificate_is_renewed_with_a_third_of_its_life_left_and_no_connection_is_cut() {
    let pebble = Pebble::with(Ways { settings: r#", "certificateValidityPeriod": 15"#, ..Ways::default() });
    let door = open(&pebble, Shape { names: "api.example.test", ..Shape::default() });
    let before = door.gets("api.example.test", &pebble);
    let config = client(pebble.roots(), None, &[]);
    let mut kept = dial(door.tls, &config, "api.example.test").expect("a connection");
    assert_eq!(ask(&mut kept, "api.example.test", "/").expect("an answer").text(), "inside");
    let end = door.told()[0]["notAfter"].clone();
    eventually("another certificate", || {
        door.shown("api.example.test", &pebble.roots()).is_some_and(|now| now != before)
    });
    assert!(seconds_until(&end) > 0.0, "before the end of the first");
    assert_eq!(ask(&mut kept, "api.example.test", "/").expect("an answer").text(), "inside");
}

#[test]
fn an_authority_that_suggests_a_renewal_gets_its_order() {
    let pebble = Pebble::start();
    // Pebble of this version suggests nothing: somebody stands before its directory who does (RFC 9773 §4.1).
    let directory = pebble.told_directory();
    let fake = Upstream::scripted(move |seen| {
        let host = seen.header("host").unwrap_or_default().to_owned();
        let body = match seen.target() {
            "/dir" => {
                let mut all: serde_json::Value = serde_json::from_str(&directory).ok()?;
                all["renewalInfo"] = format!("http://{host}/info").into();
                all.to_string()
            }
            _ => r#"{"suggestedWindow": {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}}"#
                .to_owned(),
        };
        Some(
            format!("HTTP/1.1 200 OK\r\nretry-after: 3600\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .into_bytes(),
        )
    });
    let folder = tempfile::tempdir().expect("a folder");
    pebble.write_authority(folder.path());
    let shape = Shape { names: "api.example.test", ..Shape::default() };
    let real = super::text(&pebble, shape);
    let text = real.replace(&pebble.directory(), &format!("http://{}/dir", fake.address));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], pebble.http_port));
    let gateway = crate::harness::Gateway::in_folder(folder, &text, address, |_| {});
    let door = super::Door { gateway, tls: std::net::SocketAddr::from(([127, 0, 0, 1], pebble.tls_port)) };
    eventually(&format!("a second certificate\n{}", door.gateway.stderr()), || {
        door.gateway.metric("tidegate_acme_orders_total{outcome=\"issued\"}") >= Some(2.0)
    });
    // Once a day at most: without that bound a third would be due at once, for the suggestion is of the past.
    eventually("the next is due tomorrow", || {
        door.gateway.metric("tidegate_acme_certificate_next_order_timestamp_seconds").is_some_and(|next| {
            let now =
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
            next > now + 20.0 * 3600.0
        })
    });
    crate::harness::pause(1500);
    // Pebble of this version does not know what a renewal replaces: that order is left, and one without is made.
    assert_eq!((pebble.issued(), pebble.orders()), (2, 3), "{}", door.gateway.stderr());
    let asked = fake.seen().into_iter().find(|seen| seen.target().starts_with("/info/")).expect("a question");
    let id = asked.target().trim_start_matches("/info/").to_owned();
    let (signer, number) = id.split_once('.').expect("two parts");
    assert!(signer.len() > 20 && number.len() > 5, "{id}");
}

#[test]
fn a_renewal_that_fails_leaves_the_old_certificate_in_use() {
    let mut pebble = Pebble::start();
    let door = open(&pebble, Shape { names: "api.example.test", ..Shape::default() });
    let before = door.gets("api.example.test", &pebble);
    let roots = pebble.roots();
    pebble.leave();
    renew(&door);
    eventually("a failure", || door.told()[0]["failures"] == 1);
    assert_eq!(door.shown("api.example.test", &roots), Some(before));
    assert_eq!(door.told()[0]["state"], "valid");
}

#[test]
fn the_nearer_the_end_of_a_certificate_the_sooner_an_authority_that_is_away_is_asked_again() {
    let mut pebble =
        Pebble::with(Ways { settings: r#", "certificateValidityPeriod": 40"#, ..Ways::default() });
    let authority = ", renewAtLeft: 90, backoff: {initial: 1s, max: 1h}";
    let door = open(&pebble, Shape { names: "api.example.test", authority, ..Shape::default() });
    door.gets("api.example.test", &pebble);
    pebble.leave();
    let mut told = serde_json::Value::Null;
    eventually("four failures", || {
        told = door.told()[0].clone();
        told["failures"] == 4
    });
    assert_eq!(told["state"], "valid");
    // By doubling alone it would be 8 seconds, less a fifth at most.
    let (next, left) = (seconds_until(&told["nextOrder"]), seconds_until(&told["notAfter"]));
    assert!(next > 0.0 && next < left / 8.0 + 0.5, "{next} of {left}");
}

#[test]
fn while_a_certificate_is_in_use_that_has_ended_an_authority_is_asked_each_hour_at_least() {
    let mut pebble =
        Pebble::with(Ways { settings: r#", "certificateValidityPeriod": 25"#, ..Ways::default() });
    let authority = ", renewAtLeft: 90, backoff: {initial: 1s, max: 12h}";
    let door = open(&pebble, Shape { names: "api.example.test", authority, ..Shape::default() });
    door.gets("api.example.test", &pebble);
    pebble.leave();
    pause(15_000);
    let mut next = 0.0;
    eventually("a failure after its end", || {
        let told = door.told()[0].clone();
        next = seconds_until(&told["nextOrder"]);
        told["state"] == "expired" && next > 60.0
    });
    // By doubling alone it would be most of twelve hours by then.
    assert!(next <= 3600.0, "{next}");
}
