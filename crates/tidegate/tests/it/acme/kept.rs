//! What outlives the process: certificates, accounts, and who may order.

use super::{Shape, file, open, pebble::Pebble};
use crate::harness::{eventually, pause};

#[test]
fn a_restart_serves_what_is_kept_before_anybody_is_asked() {
    let mut pebble = Pebble::start();
    let mut door = open(&pebble, Shape { names: "api.example.test", ..Shape::default() });
    let before = door.gets("api.example.test", &pebble);
    let roots = pebble.roots();
    pebble.leave();
    door.gateway.restart("TERM");
    assert_eq!(door.shown("api.example.test", &roots), Some(before), "with the authority away");
    assert_eq!(door.told()[0]["state"], "valid");
    assert_eq!(door.gateway.metric("tidegate_acme_orders_total{outcome=\"issued\"}"), Some(0.0));
    assert_eq!(door.gateway.metric("tidegate_acme_orders_total{outcome=\"failed\"}"), Some(0.0));
}

#[test]
fn a_process_that_takes_over_has_the_certificate_and_the_right_to_order() {
    let pebble = Pebble::start();
    let mut door = open(&pebble, Shape { names: "api.example.test", ..Shape::default() });
    let before = door.gets("api.example.test", &pebble);
    door.gateway.upgrade();
    assert_eq!(door.shown("api.example.test", &pebble.roots()), Some(before.clone()));
    assert_eq!(pebble.orders(), 1, "nothing is ordered twice");
    renew(&door);
    eventually("another certificate", || {
        door.shown("api.example.test", &pebble.roots()).is_some_and(|now| now != before)
    });
    assert_eq!(pebble.orders(), 2);
}

#[test]
fn an_account_that_the_authority_has_forgotten_is_made_anew() {
    let mut pebble = Pebble::start();
    let door = open(&pebble, Shape { names: "api.example.test", ..Shape::default() });
    let before = door.gets("api.example.test", &pebble);
    let account = std::fs::read_to_string(file(&door.kept().join("accounts"), ".json")).expect("an account");
    pebble.leave();
    pebble.come();
    renew(&door);
    let after = door.gets("api.example.test", &pebble);
    assert_ne!(after, before);
    assert_ne!(std::fs::read_to_string(file(&door.kept().join("accounts"), ".json")).expect("one"), account);
    assert_eq!(door.told()[0]["failures"], 0);
}

#[test]
fn a_reload_that_names_more_gets_more_and_what_is_no_longer_named_is_forgotten() {
    let pebble = Pebble::start();
    let first = Shape { names: "api.example.test", ..Shape::default() };
    let door = open(&pebble, first);
    let before = door.gets("api.example.test", &pebble);
    let both = Shape { names: "api.example.test, new.example.test", ..Shape::default() };
    assert_eq!(door.gateway.reload(&super::text(&pebble, both))["lastReload"], "ok");
    door.gets("new.example.test", &pebble);
    assert_eq!(door.told().len(), 1);
    assert_eq!(door.gateway.reload(&super::text(&pebble, first))["lastReload"], "ok");
    assert_eq!(door.gets("api.example.test", &pebble), before, "what is kept is used again");
    assert!(door.shown("new.example.test", &pebble.roots()).is_none());
    pause(100);
    assert_eq!(pebble.orders(), 2);
}

/// Asks for a certificate now.
pub(super) fn renew(door: &super::Door) {
    let id = door.told()[0]["id"].as_str().expect("an id").to_owned();
    let request = format!(
        "POST /api/v1/acme/{id}/renew HTTP/1.1\r\nhost: a\r\nauthorization: Bearer test-admin-token\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    let answer = crate::harness::raw(door.gateway.admin, request.as_bytes());
    let answer = crate::harness::Answer::parse(&answer).expect("an answer");
    assert_eq!(answer.status, 202, "{}", answer.text());
}
