//! Orders that fail, what is said of them, and what is served meanwhile.

use super::{
    Shape, nowhere, open,
    pebble::{Pebble, Ways},
    seconds_until,
};
use crate::{
    harness::{eventually, pause},
    wire::tls::{client, dial},
};

const QUICK: &str = ", backoff: {initial: 300ms, max: 1s}";

#[test]
fn an_authority_that_is_away_is_asked_again_and_handshakes_are_refused_meanwhile() {
    let mut pebble = Pebble::with(Ways { is_away: true, ..Ways::default() });
    let door = open(&pebble, Shape { authority: QUICK, names: "api.example.test", ..Shape::default() });
    eventually("two failures", || door.told()[0]["failures"].as_u64() >= Some(2));
    let told = door.told();
    assert_eq!(told[0]["state"], "missing");
    assert!(told[0]["error"].as_str().expect("a reason").contains("cannot connect"), "{told:?}");
    assert!(door.gateway.metric("tidegate_acme_orders_total{outcome=\"failed\"}") >= Some(2.0));
    assert!(door.gateway.metric("tidegate_acme_certificate_failures") >= Some(2.0));
    assert!(door.gateway.stderr().contains("no certificate for api.example.test"));
    let anyone = client(rustls::RootCertStore::empty(), None, &[]);
    let refused = dial(door.tls, &anyone, "api.example.test").expect_err("no handshake");
    assert!(refused.to_string().contains("alert"), "not a certificate that nobody trusts: {refused}");
    pebble.come();
    door.gets("api.example.test", &pebble);
    eventually("no failure is left", || door.told()[0]["failures"] == 0);
}

#[test]
fn what_failed_is_known_after_a_restart_and_nobody_is_asked_before_its_time() {
    let pebble = Pebble::with(Ways { is_away: true, ..Ways::default() });
    let authority = ", backoff: {initial: 1h, max: 1h}";
    let mut door = open(&pebble, Shape { authority, names: "api.example.test", ..Shape::default() });
    eventually("a failure", || door.told()[0]["failures"] == 1);
    let next = door.told()[0]["nextOrder"].clone();
    assert!(seconds_until(&next) > 2000.0, "{next}");
    door.gateway.restart("TERM");
    let told = door.told();
    assert_eq!(
        (&told[0]["failures"], &told[0]["nextOrder"]),
        (&1.into(), &next),
        "what was written down holds"
    );
    // And it is what is gone by: a gateway that asks at once would have failed by now, and say another time.
    pause(1000);
    assert_eq!((&door.told()[0]["failures"], &door.told()[0]["nextOrder"]), (&1.into(), &next));
    assert_eq!(door.gateway.metric("tidegate_acme_orders_total{outcome=\"failed\"}"), Some(0.0));
}

#[test]
fn a_name_that_is_not_found_to_be_ours_by_one_way_is_shown_by_the_next() {
    // It looks over HTTP where nobody answers.
    let wrong = nowhere();
    let mut pebble = Pebble::with(Ways { http_port: Some(wrong), ..Ways::default() });
    pebble.http_port = nowhere();
    let authority = format!("{QUICK}, challenges: [http01, tlsAlpn01]");
    let shape = Shape { authority: &authority, names: "api.example.test", ..Shape::default() };
    let door = open(&pebble, shape);
    door.gets("api.example.test", &pebble);
    let log = door.gateway.stderr();
    assert!(log.contains("looked by http-01 and did not find the names to be ours"), "{log}");
    assert!(log.contains("Connection refused") || log.contains("connection refused"), "it says why: {log}");
    assert_eq!(door.gateway.metric("tidegate_acme_orders_total{outcome=\"failed\"}"), Some(1.0));
    door.has_counted(1.0);
}

#[test]
fn a_name_that_the_authority_does_not_take_is_told_with_its_reason() {
    let pebble =
        Pebble::with(Ways { settings: r#", "domainBlocklist": ["blocked.test"]"#, ..Ways::default() });
    let door = open(&pebble, Shape { names: "blocked.test", ..Shape::default() });
    eventually("a failure", || door.told()[0]["failures"] == 1);
    let error = door.told()[0]["error"].as_str().expect("a reason").to_owned();
    assert!(error.contains("rejectedIdentifier") && error.contains("blocked.test"), "{error}");
    // Whoever looks why a page does not come up reads it in the log.
    assert!(door.shown("blocked.test", &pebble.roots()).is_none());
    eventually("the handshake is told", || {
        door.gateway
            .stderr()
            .contains("there is no certificate for `blocked.test` yet: `acme` has not got it")
    });
}

#[test]
fn what_cannot_be_ordered_is_refused_with_its_place_and_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |acme: &str, tls: &str, plain: &str| {
        let text = format!(
            "listeners:\n  - {{name: tls, address: 127.0.0.1:8443, tls: {{{tls}}}}}\n{plain}acme:\n  - {{name: a{acme}}}\n"
        );
        let path = folder.path().join("tidegate.yaml");
        std::fs::write(&path, text).expect("a file");
        let (code, _, said) = crate::harness::run(&["validate", "--config", &path.display().to_string()]);
        // A message may stand on two lines.
        (code, said.replace("\n  │ ", " "))
    };
    let own = "acme: [{authority: a, names: [a.test]}]";
    let agreed = ", termsAgreed: true";
    let plain = "  - {name: plain, address: 127.0.0.1:8080}\n";
    assert_eq!(check(agreed, own, plain).0, 0, "{}", check(agreed, own, plain).1);
    let program = (
        ", termsAgreed: true, dns: {command: [/bin/hook, x]}",
        format!("{plain}runtime: {{allowedCommands: [/bin/hook]}}\n"),
    );
    assert_eq!(check(program.0, own, &program.1).0, 0, "{}", check(program.0, own, &program.1).1);
    for (acme, tls, plain, wanted) in [
        ("", own, plain, "acme[0].termsAgreed"),
        (agreed, "acme: [{authority: b, names: [a.test]}]", plain, "there is no authority of `acme` `b`"),
        (agreed, "acme: [{authority: a, names: [\"*.a.test\"]}]", plain, "shown to be ours by `dns01` alone"),
        (
            agreed,
            "acme: [{authority: a, names: [10.0.0.1]}]",
            plain,
            "certificates for addresses are not ordered",
        ),
        (agreed, "acme: [{authority: a, names: []}]", plain, "names"),
        (agreed, "certificates: []", plain, "there is no certificate"),
        (", termsAgreed: true, challenges: [http01]", own, "", "there is no listener without `tls`"),
        (", termsAgreed: true, challenges: [dns01]", own, plain, "nobody is there to set records"),
        (", termsAgreed: true, dns: {}", own, plain, "expected `command` or `url`"),
        (
            ", termsAgreed: true, dns: {command: [hook.sh]}",
            own,
            plain,
            "expected the whole path of a program first, found `hook.sh`",
        ),
        (", termsAgreed: true, dns: {command: [/bin/hook]}", own, plain, "`/bin/hook` may not be run here"),
        (", termsAgreed: true, dns: {command: [/bin/hook]}", own, plain, "allowedCommands: [/bin/hook]"),
        (
            ", termsAgreed: true, dns: {command: [/bin/hook, x]}",
            own,
            "runtime: {allowedCommands: [hook]}\n",
            "runtime.allowedCommands[0]",
        ),
        (", termsAgreed: true, dns: {command: [a], url: \"https://a.test\"}", own, plain, "found both"),
        (", termsAgreed: true, directory: \"http://ca.test/dir\"", own, plain, "expected an https address"),
        (", termsAgreed: true, contacts: [\"mailto:a@b.test\"]", own, plain, "expected a mail address"),
        (", termsAgreed: true, backoff: {initial: 1h, max: 1m}", own, plain, "acme[0].backoff.max"),
        (", termsAgreed: true, renewAtLeft: 95", own, plain, "expected 1 to 90"),
    ] {
        let (code, said) = check(acme, tls, plain);
        assert_eq!(code, 3, "{acme} {tls}\n{said}");
        assert!(said.contains(wanted), "{wanted} in\n{said}");
    }
}
