//! Orders that come to a certificate, by each way to show that names are ours.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt};

use super::{
    Shape, file, may_run, open, open_in,
    pebble::{Pebble, Ways},
};
use crate::{
    harness::{Answer, Upstream, eventually, raw},
    wire::tls::{Authority, client, dial},
};

#[test]
fn a_plain_listener_that_redirects_answers_the_authority_all_the_same() {
    let pebble = Pebble::start();
    let names = "api.example.test, www.example.test";
    let door = open(&pebble, Shape { authority: ", challenges: [http01]", names, ..Shape::default() });
    let certificate = door.gets("api.example.test", &pebble);
    assert_eq!(door.gets("www.example.test", &pebble), certificate, "one certificate for both names");
    assert_eq!(door.inside("www.example.test", &pebble), "inside");
    let plain = door.gateway.get("/x");
    assert_eq!(plain.status, 308, "everything else is redirected");
    assert_eq!(door.gateway.get("/.well-known/acme-challenge/none-of-ours").status, 308);
    door.has_counted(1.0);
    // The authority looks from several places.
    assert!(door.gateway.metric("tidegate_acme_answers_total{challenge=\"http-01\"}") >= Some(2.0));
    let told = door.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["state"], "valid");
    assert_eq!(told[0]["names"], serde_json::json!(["api.example.test", "www.example.test"]));
    assert_eq!(told[0]["failures"], 0);
    let end = door.gateway.metric("tidegate_acme_certificate_not_after_timestamp_seconds").expect("a metric");
    assert!(end > 1.0e9, "{end}");
    // Keys and accounts are their owner's alone, and no half-written file lies beside them.
    for name in ["certificate.pem", ".json"] {
        let path = file(&door.kept(), name);
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600, "{path:?}");
    }
    assert!(!door.gateway.stderr().contains("PRIVATE KEY"));
}

#[test]
fn a_tls_listener_answers_the_authority_though_it_asks_clients_for_certificates() {
    let pebble = Pebble::start();
    let folder = tempfile::tempdir().expect("a folder");
    pebble.write_authority(folder.path());
    let clients = Authority::new("clients");
    std::fs::write(folder.path().join("clients.crt"), clients.pem()).expect("a file");
    let door = open_in(
        folder,
        &pebble,
        Shape {
            authority: ", challenges: [tlsAlpn01]",
            names: "api.example.test",
            tls: ", minVersion: \"1.3\", clientAuth: {mode: required, caFile: clients.crt}",
            ..Shape::default()
        },
    );
    eventually(&format!("a certificate\n{}", door.gateway.stderr()), || door.told()[0]["state"] == "valid");
    assert!(door.gateway.metric("tidegate_acme_answers_total{challenge=\"tls-alpn-01\"}") >= Some(1.0));
    let own = clients.issue(&["a.client"]);
    let config = client(pebble.roots(), Some(&own), &[]);
    let mut stream = dial(door.tls, &config, "api.example.test").expect("a client with a certificate");
    assert_eq!(
        crate::wire::tls::ask(&mut stream, "api.example.test", "/").expect("an answer").text(),
        "inside"
    );
    // Who comes as authorities do while none is expected sees nothing, and no one gets to a route that way.
    let as_one = client(pebble.roots(), None, &["acme-tls/1"]);
    assert!(dial(door.tls, &as_one, "api.example.test").is_err());
    let both = client(pebble.roots(), Some(&own), &["acme-tls/1", "http/1.1"]);
    let stream = dial(door.tls, &both, "api.example.test").expect("a client like others");
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
}

/// What sets records in the name server of the test, as a program: it appends what it is told to a file.
fn hook(pebble: &Pebble, folder: &std::path::Path) -> String {
    let (at, log) = (pebble.names_at, folder.join("hook.log").display().to_string());
    let script = format!(
        "#!/bin/sh\necho \"$@ [$ZONE_TOKEN$TIDEGATE_ADMIN_TOKEN]\" >> {log}\nexec curl -sf -d \"{{\\\"host\\\": \\\"$2.\\\", \\\"value\\\": \\\"$3\\\"}}\" \
         http://{at}/$1-txt\n"
    );
    let path = folder.join("hook.sh");
    std::fs::write(&path, script).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its rights");
    path.display().to_string()
}

#[test]
fn names_with_a_wildcard_are_shown_by_records_that_a_program_sets_and_clears() {
    let pebble = Pebble::start();
    let folder = tempfile::tempdir().expect("a folder");
    pebble.write_authority(folder.path());
    let program = hook(&pebble, folder.path());
    let authority = format!(
        ", challenges: [dns01], dns: {{command: [\"{}\"], env: {{ZONE_TOKEN: {{file: zone.txt}}}}, propagation: 0s}}",
        program
    );
    std::fs::write(folder.path().join("zone.txt"), "of-the-zone").expect("a file");
    let names = "\"*.example.test\", example.test";
    let rest = may_run(&program);
    let door =
        open_in(folder, &pebble, Shape { authority: &authority, names, rest: &rest, ..Shape::default() });
    door.gets("a.example.test", &pebble);
    assert_eq!(door.inside("example.test", &pebble), "inside");
    let log = door.gateway.folder.path().join("hook.log");
    let mut lines = Vec::new();
    eventually("what was set is cleared", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        lines = text.lines().map(str::to_owned).collect();
        lines.len() >= 4
    });
    let of = |action: &str| lines.iter().filter(|line| line.starts_with(action)).count();
    assert_eq!((of("set _acme-challenge.example.test "), of("clear _acme-challenge.example.test ")), (2, 2));
    // It has what it is given, and nothing that is the gateway's own.
    assert!(lines.iter().all(|line| line.ends_with("[of-the-zone]")), "{lines:?}");
}

#[test]
fn records_are_set_by_a_service_that_is_shown_a_secret() {
    let pebble = Pebble::start();
    let at = pebble.names_at;
    let service = Upstream::scripted(move |seen| {
        let told: serde_json::Value = serde_json::from_slice(&seen.body).ok()?;
        let path = format!("/{}-txt", told["action"].as_str()?);
        let body =
            serde_json::json!({"host": format!("{}.", told["name"].as_str()?), "value": told["value"]});
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = Answer::parse(&raw(at, format!("{head}{body}").as_bytes()))?;
        Some(format!("HTTP/1.1 {} X\r\ncontent-length: 0\r\n\r\n", answer.status).into_bytes())
    });
    let authority = format!(
        ", dns: {{url: \"http://{}/records\", headers: {{authorization: {{env: DNS_TOKEN}}}}, propagation: 0s}}, challenges: [dns01]",
        service.address
    );
    let folder = tempfile::tempdir().expect("a folder");
    pebble.write_authority(folder.path());
    let shape = Shape { authority: &authority, names: "\"*.example.test\"", ..Shape::default() };
    let address = SocketAddr::from(([127, 0, 0, 1], pebble.http_port));
    let gateway =
        crate::harness::Gateway::in_folder(folder, &super::text(&pebble, shape), address, |command| {
            command.env("DNS_TOKEN", "Bearer of-the-test");
        });
    let door = super::Door { gateway, tls: SocketAddr::from(([127, 0, 0, 1], pebble.tls_port)) };
    door.gets("b.example.test", &pebble);
    eventually("it is told to clear", || service.seen().len() >= 2);
    for seen in service.seen() {
        assert_eq!(seen.header("authorization"), Some("Bearer of-the-test"));
        let told: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(told["domain"], "example.test");
    }
    assert!(!door.gateway.stderr().contains("of-the-test"), "secrets are not logged");
}

#[test]
fn an_authority_that_wants_to_know_whose_account_it_is_is_told() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let settings = format!(
        r#", "externalAccountBindingRequired": true, "externalAccountMACKeys": {{"kid-1": "{key}"}}"#
    );
    let pebble = Pebble::with(Ways { settings: &settings, ..Ways::default() });
    let authority = format!(", keyType: rsa2048, externalAccount: {{keyId: kid-1, hmacKey: \"{key}\"}}");
    let shape = Shape { authority: &authority, names: "api.example.test", ..Shape::default() };
    let door = open(&pebble, shape);
    door.gets("api.example.test", &pebble);
    let pem = std::fs::read_to_string(file(&door.kept(), "certificate.pem")).expect("a file");
    assert!(pem.len() > 3000, "a key of RSA is a long one");
    assert!(!door.gateway.stderr().contains(key));
}

#[test]
fn no_certificate_is_ordered_twice_by_listeners_that_want_the_same() {
    let pebble = Pebble::start();
    let other = crate::harness::free_port();
    let rest = "runtime: {workers: 3}\n";
    let folder = tempfile::tempdir().expect("a folder");
    pebble.write_authority(folder.path());
    let shape = Shape { names: "api.example.test", rest, ..Shape::default() };
    let twice = format!(
        "  - {{name: more, address: 127.0.0.1:{other}, tls: {{acme: [{{authority: pebble, names: [API.example.test]}}]}}}}\nacme:\n"
    );
    let text = super::text(&pebble, shape).replacen("acme:\n", &twice, 1);
    let address = SocketAddr::from(([127, 0, 0, 1], pebble.http_port));
    let gateway = crate::harness::Gateway::in_folder(folder, &text, address, |_| {});
    let door = super::Door { gateway, tls: SocketAddr::from(([127, 0, 0, 1], pebble.tls_port)) };
    let one = door.gets("api.example.test", &pebble);
    let beside = super::Door { gateway: door.gateway, tls: SocketAddr::from(([127, 0, 0, 1], other)) };
    assert_eq!(beside.gets("api.example.test", &pebble), one);
    assert_eq!(pebble.orders(), 1, "{}", pebble.log());
}

#[test]
fn orders_that_have_a_name_in_common_do_not_take_each_others_answers_away() {
    let pebble = Pebble::start();
    let folder = tempfile::tempdir().expect("a folder");
    pebble.write_authority(folder.path());
    // A name of the second is one of the first, and so on: each would answer for the other in the same handshake.
    let names = "a.example.test, shared.example.test";
    let more = (0..3)
        .map(|number| {
            format!(", {{authority: pebble, names: [shared.example.test, n{number}.example.test]}}")
        })
        .collect::<String>();
    let shape = Shape { authority: ", challenges: [tlsAlpn01]", names, ..Shape::default() };
    let text = super::text(&pebble, shape).replacen(
        &format!("names: [{names}]}}"),
        &format!("names: [{names}]}}{more}"),
        1,
    );
    let address = SocketAddr::from(([127, 0, 0, 1], pebble.http_port));
    let gateway = crate::harness::Gateway::in_folder(folder, &text, address, |_| {});
    let door = super::Door { gateway, tls: SocketAddr::from(([127, 0, 0, 1], pebble.tls_port)) };
    for name in ["a", "n0", "n1", "n2"] {
        door.gets(&format!("{name}.example.test"), &pebble);
    }
    assert_eq!(
        door.gateway.metric("tidegate_acme_orders_total{outcome=\"failed\"}"),
        Some(0.0),
        "{}",
        door.gateway.stderr()
    );
    door.has_counted(4.0);
}
