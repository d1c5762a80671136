//! Brokers in the configuration: who the gateway is to them, what a reload keeps, and what is refused.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{json, post, server::Nats};
use crate::harness::{Gateway, eventually, free_port, run};

fn route(publish: &str) -> String {
    format!("routes:\n  - {{name: orders, publish: {{{publish}}}}}\n")
}

fn is_up(gateway: &Gateway) {
    eventually("the broker is up", || gateway.metric("tidegate_broker_up") == Some(1.0));
}

#[test]
fn the_gateway_shows_what_the_broker_asks_for() {
    let password = Nats::with("authorization { user: gateway, password: \"the-password\" }");
    let token = Nats::with("authorization { token: \"the-token-of-the-test\" }");
    // The key pair of a seed that counts from 0 to 31.
    let (seed, public) = (
        "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y",
        "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK",
    );
    let key = Nats::with(&format!("authorization {{ users: [{{ nkey: \"{public}\" }}] }}"));
    for (nats, who) in [
        (&password, "username: gateway, password: the-password"),
        (&token, "token: the-token-of-the-test"),
        (&key, &*format!("nkey: {seed}")),
    ] {
        let broker = nats.broker().replace("]}}", &format!("], {who}}}}}"));
        is_up(&Gateway::start(&format!("{broker}{}", route("broker: events, subject: a"))));
    }
    let broker = password.broker().replace("]}}", "], username: gateway, password: another-password}}");
    let gateway = Gateway::start(&format!("{broker}{}", route("broker: events, subject: a")));
    eventually("it is told", || gateway.stderr().contains("cannot connect to the broker `events`"));
    assert_eq!(post(&gateway, "/", "", "x").status, 503);
    assert!(!gateway.stderr().contains("another-password"), "{}", gateway.stderr());
}

#[test]
fn a_reload_keeps_the_connection_and_a_changed_broker_gets_a_new_one() {
    let (nats, other) = (Nats::start(), Nats::start());
    nats.stream("A", &["a", "b"]);
    other.stream("A", &["a", "b"]);
    let port = free_port();
    let text = |nats: &Nats, subject: &str| {
        let listener = format!("listeners:\n  - {{name: public, address: \"127.0.0.1:{port}\"}}\n");
        format!("{listener}{}{}", nats.broker(), route(&format!("broker: events, subject: {subject}")))
    };
    let gateway = Gateway::from_text(&text(&nats, "a"), ([127, 0, 0, 1], port).into(), |_| {});
    is_up(&gateway);
    assert_eq!(json(&post(&gateway, "/", "", "x"))["sequence"], 1);
    gateway.reload(&text(&nats, "b"));
    assert_eq!(json(&post(&gateway, "/", "", "x"))["sequence"], 2);
    assert_eq!(nats.message("A", 2).subject, "b");
    assert_eq!(gateway.metric("tidegate_broker_connects_total"), Some(1.0));
    gateway.reload(&text(&other, "b"));
    is_up(&gateway);
    assert_eq!(json(&post(&gateway, "/", "", "x"))["sequence"], 1);
    assert_eq!(other.count("A"), 1);
}

#[test]
fn what_is_wrong_with_brokers_and_routes_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let broker = "brokers: [{name: events, nats: {servers: [\"127.0.0.1:4222\"]}}]\n";
    let of = |publish: &str| format!("{broker}{}", route(publish));
    for (text, want) in [
        (of("broker: event, subject: a"), "there is no broker `event`"),
        (of("broker: event, subject: a"), "did you mean `events`?"),
        (of("broker: events, subject: \"a.*\""), "without wildcards"),
        (of("broker: events, subject: \"a..b\""), "without wildcards"),
        (of("broker: events, subject: \"$JS.API.x\""), "one of the broker's own"),
        (
            of("broker: events, subject: \"a.{{ captures.id }}\""),
            "not every match of this route captures `id`",
        ),
        (of("broker: events, subject: \"a.{{ nonsense }}\""), "is unknown in a template"),
        (of("broker: events, subject: \"a.{{ event.type }}\""), "there are no events without `cloudEvents`"),
        (of("broker: events, subject: a, headers: [nats-msg-id]"), "not a client's to set"),
        (of("broker: events, subject: a, set: {ce-id: x}"), "not a client's to set"),
        (of("broker: events, subject: a, schema: {type: strin}"), "schema"),
        (of("broker: events, subject: a, id: x, cloudEvents: {accept: [batch]}"), "use `{{ event.id }}`"),
        (of("broker: events, subject: a, cloudEvents: {accept: []}"), "nobody could send anything"),
        (of("broker: events, subject: a, cloudEvents: {maxBatch: 5}"), "no batch is taken"),
        (of("broker: events, subject: a, timeout: 0s"), "expected more than nothing"),
        ("brokers: [{name: a, nats: {}}]\n".to_owned(), "expected `servers`"),
        ("brokers: [{name: a, kafka: {}}]\n".to_owned(), "kafka"),
        (
            "brokers: [{name: a, nats: {servers: [\"h:1\"], token: a, nkey: b}}]\n".to_owned(),
            "at most one of `token` and `nkey`",
        ),
        (
            "brokers: [{name: a, nats: {servers: [\"h:1\"], credentials: nonsense}}]\n".to_owned(),
            "a JWT with its seed",
        ),
        (
            format!(
                "{}  - {{name: events, nats: {{servers: [\"h:1\"]}}}}\n",
                "brokers:\n  - {name: events, nats: {servers: [\"h:1\"]}}\n"
            ),
            "that of another broker",
        ),
    ] {
        std::fs::write(&path, format!("listeners: [{{name: a, address: \"127.0.0.1:1\"}}]\n{text}"))
            .expect("a file");
        let (code, _, told) = run(&["validate", "--config", &path.display().to_string()]);
        assert_ne!(code, 0, "{text}");
        assert!(told.contains(want), "{text}\n{told}");
    }
}

#[test]
fn what_is_given_up_may_not_come_again_as_a_message_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let head = "listeners: [{name: a, address: \"127.0.0.1:1\"}]
brokers: [{name: events, nats: {servers: [\"127.0.0.1:4222\"]}}, {name: other, nats: {servers: [\"127.0.0.1:4223\"]}}]
upstreams: [{name: u, endpoints: [{address: \"127.0.0.1:2\"}]}]
subscriptions:\n";
    let own = "  - {name: one, broker: events, stream: A, upstream: u, deadLetter: a.dead";
    let other = |broker: &str, subject: &str| {
        format!("  - {{name: two, broker: {broker}, stream: B, upstream: u, subject: \"{subject}\"}}\n")
    };
    for (text, want) in [
        (format!("{own}}}\n"), Some("name the `subject` that is read")),
        (format!("{own}, subject: \"a.>\"}}\n"), Some("what is given up would come again")),
        (format!("{own}, subject: \">\"}}\n"), Some("what is given up would come again")),
        (format!("{own}, subject: \"*.*\"}}\n"), Some("what is given up would come again")),
        (format!("{own}, subject: a.dead}}\n"), Some("what is given up would come again")),
        (
            format!("{own}, subject: b}}\n{}", other("events", "*.dead")),
            Some("what is given up would come again"),
        ),
        (format!("{own}, subject: b}}\n{}", other("other", "*.dead")), None),
        (format!("{own}, subject: \"a.*.dead\"}}\n"), None),
        (format!("{own}, subject: \"a\"}}\n"), None),
        (format!("{own}, subject: \"a.dead.>\"}}\n"), None),
        (format!("{own}, subject: \"*\"}}\n"), None),
    ] {
        std::fs::write(&path, format!("{head}{text}")).expect("a file");
        let (code, _, told) = run(&["validate", "--config", &path.display().to_string()]);
        assert_eq!(code == 0, want.is_none(), "{text}\n{told}");
        if let Some(want) = want {
            assert!(told.contains(want) && told.contains("deadLetter"), "{text}\n{told}");
        }
    }
}

#[test]
fn a_broker_is_asked_for_its_certificate_and_shown_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("a file");
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        write(name, made.pem());
        made
    };
    let (known, _) = (authority("ca.crt"), authority("other.crt"));
    for (name, host) in [("server", "127.0.0.1"), ("client", "gateway")] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("params");
        write(&format!("{name}.crt"), params.signed_by(&key, &known).expect("signed").pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
    let file = |name: &str| folder.path().join(name).display().to_string();
    let nats = Nats::with(&format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        file("server.crt"),
        file("server.key"),
        file("ca.crt")
    ));
    let gateway = |tls: &str| {
        let broker = nats.broker().replace("]}}", &format!("], tls: {{{tls}}}}}}}"));
        Gateway::start(&format!("{broker}{}", route("broker: events, subject: a")))
    };
    let own = format!("certFile: \"{}\", keyFile: \"{}\"", file("client.crt"), file("client.key"));
    is_up(&gateway(&format!("caFile: \"{}\", {own}", file("ca.crt"))));
    for wrong in
        [format!("caFile: \"{}\", {own}", file("other.crt")), format!("caFile: \"{}\"", file("ca.crt"))]
    {
        let gateway = gateway(&wrong);
        eventually("it is told", || gateway.stderr().contains("cannot connect to the broker `events`"));
        assert_eq!(gateway.metric("tidegate_broker_up"), Some(0.0), "{wrong}");
    }
}
