//! What outlives the process: certificates, accounts, and who may order.

use std::os::unix::fs::PermissionsExt;

use super::{
    Shape, file, may_run, open, open_in,
    pebble::{Pebble, Ways},
    seconds_until,
};
use crate::harness::eventually;

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
    // What is due next is a renewal, in years: one that is ordered anew would be due at once.
    assert!(seconds_until(&door.told()[0]["nextOrder"]) > 24.0 * 3600.0, "{:?}", door.told());
    assert_eq!(pebble.orders(), 2);
}

#[test]
fn an_order_under_way_goes_on_after_a_kill_with_the_key_that_it_was_made_for() {
    let pebble = Pebble::start();
    let folder = tempfile::tempdir().expect("a folder");
    pebble.write_authority(folder.path());
    // A program that does not return before it may: the order waits for it.
    let (path, may) = (folder.path().join("hook.sh"), folder.path().join("may"));
    let script = format!(
        "#!/bin/sh\nn=0; until [ -e {} ] || [ $n -gt 400 ]; do n=$((n+1)); sleep 0.05; done\nexec curl -sf -d \"{{\\\"host\\\": \\\"$2.\\\", \\\"value\\\": \\\"$3\\\"}}\" http://{}/$1-txt\n",
        may.display(),
        pebble.names_at
    );
    std::fs::write(&path, script).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its rights");
    let authority = format!(
        ", challenges: [dns01], dns: {{command: [\"{}\"], propagation: 0s, timeout: 20s}}",
        path.display()
    );
    let rest = may_run(&path.display().to_string());
    let shape = Shape { authority: &authority, names: "api.example.test", rest: &rest, ..Shape::default() };
    let mut door = open_in(folder, &pebble, shape);
    eventually("an order", || crate::tidy::files(&door.kept(), "order.json").len() == 1);
    let begun: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file(&door.kept(), "order.json")).expect("a file"))
            .expect("JSON");
    door.gateway.restart("KILL");
    std::fs::write(may, "").expect("a file");
    door.gets("api.example.test", &pebble);
    assert_eq!(pebble.orders(), 1, "nothing is ordered twice\n{}", door.gateway.stderr());
    assert!(door.gateway.stderr().contains("goes on with the order"), "{}", door.gateway.stderr());
    let pem = std::fs::read_to_string(file(&door.kept(), "certificate.pem")).expect("a file");
    assert!(pem.starts_with(begun["key"].as_str().expect("a key")), "the same key");
    eventually("the order is over", || crate::tidy::files(&door.kept(), "order.json").is_empty());
}

#[test]
fn a_certificate_that_cannot_be_kept_is_in_use_and_is_not_ordered_again() {
    let mut pebble = Pebble::with(Ways { is_away: true, ..Ways::default() });
    let authority = ", backoff: {initial: 200ms, max: 300ms}";
    let mut door = open(&pebble, Shape { authority, names: "api.example.test", ..Shape::default() });
    eventually("a failure", || door.told()[0]["failures"].as_u64() >= Some(1));
    // Where the file should be there is a folder: nothing can be moved there.
    let place = door
        .kept()
        .join("certificates")
        .join(door.told()[0]["id"].as_str().expect("an id"))
        .join("certificate.pem");
    std::fs::create_dir_all(place.join("in-the-way")).expect("a folder");
    pebble.come();
    let first = door.gets("api.example.test", &pebble);
    let is_told = |door: &super::Door| {
        door.told()[0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("it is in use, but it cannot be kept"))
    };
    eventually("it is told", || is_told(&door));
    assert_eq!(crate::tidy::files(&door.kept(), "order.json").len(), 1, "what it can be had with stays");
    // A kill in between loses nothing.
    door.gateway.restart("KILL");
    assert_eq!(door.gets("api.example.test", &pebble), first);
    eventually("it is told again", || is_told(&door));
    std::fs::remove_dir_all(&place).expect("it is gone");
    eventually("it is kept", || place.is_file() && door.told()[0]["failures"] == 0);
    eventually("the order is over", || crate::tidy::files(&door.kept(), "order.json").is_empty());
    assert_eq!(pebble.orders(), 1, "{}", door.gateway.stderr());
    assert_eq!(door.gets("api.example.test", &pebble), first);
}

/// A gateway whose order has set its record by a program, and waits until the record is seen everywhere. Clearing takes the
/// program a moment.
fn in_the_middle(pebble: &Pebble) -> (super::Door, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    pebble.write_authority(folder.path());
    let (path, log) = (folder.path().join("hook.sh"), folder.path().join("hook.log"));
    let script = format!("#!/bin/sh\n[ $1 = clear ] && sleep 1\necho \"$@\" >> {}\n", log.display());
    std::fs::write(&path, script).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its rights");
    let program = path.display().to_string();
    let authority = format!(", challenges: [dns01], dns: {{command: [\"{program}\"], propagation: 1h}}");
    let rest = may_run(&program);
    let shape = Shape { authority: &authority, names: "api.example.test", rest: &rest, ..Shape::default() };
    let door = open_in(folder, pebble, shape);
    eventually("the record is set", || {
        std::fs::read_to_string(&log)
            .is_ok_and(|log| log.starts_with("set _acme-challenge.api.example.test "))
    });
    (door, log)
}

#[test]
fn a_record_that_is_set_is_cleared_before_a_stop_ends_and_before_an_upgrade_does() {
    let pebble = Pebble::start();
    let cleared = |log: &std::path::Path| {
        let log = std::fs::read_to_string(log).expect("a log");
        log.lines().filter(|line| line.starts_with("clear _acme-challenge.api.example.test ")).count()
    };
    let (mut door, log) = in_the_middle(&pebble);
    door.gateway.signal("TERM");
    assert!(door.gateway.wait().success());
    assert_eq!(cleared(&log), 1, "{}", door.gateway.stderr());
    let (mut door, log) = in_the_middle(&pebble);
    door.gateway.upgrade();
    // The one that took over may have set its own by now, and clears none of that.
    assert_eq!(cleared(&log), 1, "{}", door.gateway.stderr());
}

#[test]
fn a_stop_waits_for_no_connection_that_the_authority_keeps() {
    let pebble = Pebble::start();
    let mut door = open(&pebble, Shape { names: "api.example.test", ..Shape::default() });
    door.gets("api.example.test", &pebble);
    eventually("the order is over", || crate::tidy::files(&door.kept(), "order.json").is_empty());
    let began = std::time::Instant::now();
    door.gateway.signal("TERM");
    assert!(door.gateway.wait().success());
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
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
