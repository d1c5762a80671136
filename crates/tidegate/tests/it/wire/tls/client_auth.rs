//! Certificates of clients: required or optional, by authority and by name, and what policies see of them.

use super::{
    super::super::harness::{Gateway, Upstream, eventually, run},
    *,
};

fn front(auth: &str, upstream: &Upstream, authority: &Authority, clients: &Authority) -> Gateway {
    let rest = format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: named
    match: [{{path: {{prefix: /named}}, when: 'tls.sni == \"a.test\"'}}]
    policies:
      - headers:
          request:
            set:
              x-subject: \"{{{{ tls.client.subject }}}}\"
              x-names: \"{{{{ tls.client.names }}}}\"
              x-serial: \"{{{{ tls.client.serial }}}}\"
              x-fingerprint: \"{{{{ tls.client.fingerprint }}}}\"
    backends: [{{upstream: u}}]
",
        upstream.address
    );
    let tls = format!(
        "certificates: [{{certFile: one.crt, keyFile: one.key}}], clientAuth: {{caFile: clients.crt, {auth}}}"
    );
    gateway(&tls, &rest, |folder| {
        authority.issue(&["a.test"]).write(folder, "one");
        replace(&folder.join("clients.crt"), clients.0.pem().as_bytes());
    })
}

/// The answer to a client, or nothing when the handshake or what follows it fails.
fn visit(gateway: &Gateway, roots: RootCertStore, identity: Option<&Issued>) -> Option<Answer> {
    let mut stream = dial(gateway.address, &client(roots, identity, &[]), "a.test").ok()?;
    ask(&mut stream, "a.test", "/named")
}

#[test]
fn a_required_certificate_must_come_from_the_authority_and_bear_a_name() {
    let (authority, clients, strangers) =
        (Authority::new("ca"), Authority::new("clients"), Authority::new("others"));
    let upstream = Upstream::echo();
    let gateway = front(
        "mode: required, subjectAltNames: [\"*.partner.test\", \"spiffe://a/b\"]",
        &upstream,
        &authority,
        &clients,
    );
    let good = clients.issue(&["x.partner.test"]);
    assert_eq!(visit(&gateway, authority.roots(), Some(&good)).expect("an answer").status, 200);
    let by_uri = clients.issue(&["svc", "spiffe://a/b"]);
    assert_eq!(visit(&gateway, authority.roots(), Some(&by_uri)).expect("an answer").status, 200);
    for (what, identity) in [
        ("none", None),
        ("another authority's", Some(strangers.issue(&["x.partner.test"]))),
        ("another name", Some(clients.issue(&["x.other.test"]))),
        ("two labels under the wildcard", Some(clients.issue(&["x.y.partner.test"]))),
        ("the wildcard's own stem", Some(clients.issue(&["partner.test"]))),
    ] {
        assert!(visit(&gateway, authority.roots(), identity.as_ref()).is_none(), "{what}");
    }
    assert_eq!(upstream.seen().len(), 2);
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.header("x-subject"), Some("CN=x.partner.test"));
    assert_eq!(seen.header("x-names"), Some("x.partner.test"));
    assert!(seen.header("x-serial").is_some_and(|serial| !serial.is_empty()));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &good.cert);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(seen.header("x-fingerprint"), Some(&*hex));
}

#[test]
fn an_optional_certificate_may_stay_away_but_not_be_wrong() {
    let (authority, clients, strangers) =
        (Authority::new("ca"), Authority::new("clients"), Authority::new("others"));
    let upstream = Upstream::echo();
    let gateway = front("mode: optional", &upstream, &authority, &clients);
    assert_eq!(visit(&gateway, authority.roots(), None).expect("an answer").status, 200);
    // Without an identity, what says who it is stays absent, whatever the client claims.
    assert!(upstream.seen()[0].header("x-subject").is_none(), "{:?}", upstream.seen()[0]);
    let mut stream =
        dial(gateway.address, &client(authority.roots(), None, &[]), "a.test").expect("a connection");
    write!(stream, "GET /named HTTP/1.1\r\nhost: a.test\r\nx-subject: CN=forged\r\n\r\n").expect("sent");
    assert!(Answer::read(&mut std::io::BufReader::new(&mut stream), false).is_some());
    assert!(upstream.seen()[1].header("x-subject").is_none(), "{:?}", upstream.seen()[1]);
    let good = clients.issue(&["someone"]);
    assert_eq!(visit(&gateway, authority.roots(), Some(&good)).expect("an answer").status, 200);
    assert_eq!(upstream.seen()[2].header("x-subject"), Some("CN=someone"));
    assert!(visit(&gateway, authority.roots(), Some(&strangers.issue(&["someone"]))).is_none());
}

#[test]
fn what_a_service_said_of_one_certificate_is_not_said_of_another_that_has_its_subject() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let (upstream, service) = (Upstream::echo(), Upstream::fixed(200, ""));
    let rest = format!(
        "upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}]}}
  - {{name: judge, endpoints: [{{address: \"{}\"}}]}}
routes:
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{extAuth: {{upstream: judge, cache: {{ttl: 1m}}}}}}], backends: [{{upstream: u}}]}}
",
        upstream.address, service.address
    );
    let tls = "certificates: [{certFile: one.crt, keyFile: one.key}], clientAuth: {caFile: clients.crt, mode: optional}";
    let gateway = gateway(tls, &rest, |folder| {
        authority.issue(&["a.test"]).write(folder, "one");
        replace(&folder.join("clients.crt"), clients.0.pem().as_bytes());
    });
    // All of them are at one address, and ask for one thing; two of them differ in an alternative name alone.
    let one = clients.issue(&["svc", "spiffe://a/one"]);
    let other = clients.issue(&["svc", "spiffe://a/other"]);
    let third = clients.issue(&["third", "spiffe://a/one"]);
    for (number, identity) in [None, Some(&one), Some(&other), Some(&third)].into_iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(visit(&gateway, authority.roots(), identity).expect("an answer").status, 200);
        }
        assert_eq!(service.seen().len(), number + 1, "each is asked about once");
    }
}

#[test]
fn a_client_authority_that_cannot_be_read_is_an_error() {
    let authority = Authority::new("ca");
    let folder = tempfile::tempdir().expect("a folder");
    authority.issue(&["a.test"]).write(folder.path(), "one");
    let path = folder.path().join("t.yaml");
    let text = "listeners: [{name: l, address: 127.0.0.1:1, tls: {certificates: [{certFile: one.crt, keyFile: one.key}], clientAuth: {mode: optional, caFile: clients.crt}}}]\n";
    std::fs::write(&path, format!("{text}{FIXED}")).expect("a file");
    let validate = || {
        let (code, out, err) = run(&["validate", "--config", path.to_str().expect("a path")]);
        (code, format!("{out}{err}"))
    };
    let bad = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
    for content in [None, Some(""), Some("nonsense"), Some(bad)] {
        if let Some(content) = content {
            std::fs::write(folder.path().join("clients.crt"), content).expect("a file");
        }
        let (code, text) = validate();
        assert!(
            code != 0 && text.contains("clients.crt") || text.contains("clientAuth"),
            "{content:?}: {code} {text}"
        );
        assert_ne!(code, 0, "{content:?}");
    }
    std::fs::write(folder.path().join("clients.crt"), authority.0.pem()).expect("a file");
    assert_eq!(validate().0, 0, "{}", validate().1);
}

#[test]
fn a_failed_handshake_is_counted_and_logged_with_its_peer_so_many_times_a_second() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let upstream = Upstream::echo();
    let gateway = front("mode: required", &upstream, &authority, &clients);
    let failures = "tidegate_tls_handshake_failures_total{listener=\"tls\"}";
    assert_eq!(gateway.metric(failures).unwrap_or(0.0), 0.0);
    for _ in 0..60 {
        assert!(visit(&gateway, authority.roots(), None).is_none());
    }
    eventually("all are counted", || gateway.metric(failures) == Some(60.0));
    let logged = gateway.stderr();
    let lines: Vec<&str> =
        logged.lines().filter(|line| line.contains("a TLS handshake with 127.0.0.1:")).collect();
    assert!((10..60).contains(&lines.len()), "{logged}");
    assert!(
        lines[0].contains("on listener `tls` failed: ") && lines[0].contains("\"peer\":\"127.0.0.1:"),
        "{}",
        lines[0]
    );
}

#[test]
fn another_client_authority_in_the_same_file_counts_from_the_next_connection_on() {
    let (authority, old, new) = (Authority::new("ca"), Authority::new("old"), Authority::new("new"));
    let upstream = Upstream::echo();
    let gateway = front("mode: required", &upstream, &authority, &old);
    let (of_old, of_new) = (old.issue(&["someone"]), new.issue(&["someone"]));
    let is_let_in = |who: &Issued| visit(&gateway, authority.roots(), Some(who)).is_some();
    assert_eq!((is_let_in(&of_old), is_let_in(&of_new)), (true, false));
    // The configuration itself is not touched.
    replace(&gateway.folder.path().join("clients.crt"), new.0.pem().as_bytes());
    eventually("the new authority", || is_let_in(&of_new));
    assert!(!is_let_in(&of_old));
    // One that cannot be read leaves what was there.
    replace(&gateway.folder.path().join("clients.crt"), b"nonsense");
    eventually("the refusal", || gateway.readiness()["lastReload"] == "refused");
    assert_eq!((is_let_in(&of_old), is_let_in(&of_new)), (false, true));
}

#[test]
fn a_certificate_that_was_taken_back_opens_no_connection_from_the_moment_that_the_list_says_so() {
    let (authority, clients, others) =
        (Authority::new("ca"), Authority::new("clients"), Authority::new("others"));
    let upstream = Upstream::echo();
    let (good, bad) = (clients.issue_numbered(&["good"], Some(7)), clients.issue_numbered(&["bad"], Some(8)));
    let unlisted = others.issue_numbered(&["unlisted"], Some(8));
    for (settings, list, lets_in) in [
        ("", clients.revokes(&[8], 1), [true, false, false]),
        ("crlUnknown: allow", clients.revokes(&[8], 1), [true, false, true]),
        ("", clients.revokes(&[8], -1), [true, false, false]),
        ("crlExpiry: refuse", clients.revokes(&[8], -1), [false, false, false]),
        ("", clients.revokes(&[8], 1) + &others.revokes(&[9], 1), [true, false, true]),
    ] {
        let comma = if settings.is_empty() { "" } else { ", " };
        let auth = format!("mode: required, crlFiles: [taken.crl]{comma}{settings}");
        let tls = format!(
            "certificates: [{{certFile: one.crt, keyFile: one.key}}], clientAuth: {{caFile: clients.crt, {auth}}}"
        );
        let rest =
            format!("upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]\n{FIXED}", upstream.address);
        let gateway = gateway(&tls, &rest, |folder| {
            authority.issue(&["a.test"]).write(folder, "one");
            replace(&folder.join("clients.crt"), (clients.0.pem() + &others.0.pem()).as_bytes());
            replace(&folder.join("taken.crl"), list.as_bytes());
        });
        for (identity, is_in) in [&good, &bad, &unlisted].into_iter().zip(lets_in) {
            let answer = visit(&gateway, authority.roots(), Some(identity));
            assert_eq!(answer.is_some(), is_in, "{settings} {:?}", answer.map(|answer| answer.status));
        }
        if lets_in[0] {
            replace(&gateway.folder.path().join("taken.crl"), clients.revokes(&[7, 8], 1).as_bytes());
            gateway.signal("HUP");
            eventually("the list counts", || visit(&gateway, authority.roots(), Some(&good)).is_none());
        }
    }
}

#[test]
fn a_list_that_is_none_refuses_the_configuration() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let folder = tempfile::tempdir().expect("a folder");
    authority.issue(&["a.test"]).write(folder.path(), "one");
    replace(&folder.path().join("clients.crt"), clients.0.pem().as_bytes());
    let config = folder.path().join("tidegate.yaml");
    for list in [
        clients.0.pem(),
        "nonsense".to_owned(),
        "-----BEGIN X509 CRL-----\nYQ==\n-----END X509 CRL-----\n".to_owned(),
    ] {
        replace(&folder.path().join("taken.crl"), list.as_bytes());
        let text = format!(
            "listeners: [{{name: l, address: \"127.0.0.1:8443\", tls: {{certificates: [{{certFile: one.crt, keyFile: one.key}}], \
             clientAuth: {{mode: required, caFile: clients.crt, crlFiles: [taken.crl]}}}}}}]\n{FIXED}"
        );
        std::fs::write(&config, text).expect("a configuration");
        let (code, out, err) = run(&["validate", "--config", &config.display().to_string()]);
        assert!(code != 0 && format!("{out}{err}").contains("clientAuth"), "{list}: {out}{err}");
    }
}
