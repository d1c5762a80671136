//! TLS of HTTP/3 as of any listener: certificates by name, certificates of clients, hosts that a connection is not for.

use std::net::SocketAddr;

use super::{
    FIXED,
    client::{Client, How, dial, request},
};
use crate::{
    harness::{Gateway, free_port, h2::run},
    wire::tls::Authority,
};

fn gateway(authority: &Authority, tls: &str, rest: &str) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    authority.issue(&["a.test"]).write(folder.path(), "one");
    authority.issue(&["b.test"]).write(folder.path(), "two");
    Authority::new("clients").issue(&["x"]).write(folder.path(), "other");
    std::fs::write(folder.path().join("ca.crt"), authority.pem()).expect("a file");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text =
        format!("listeners: [{{name: tls, address: \"{address}\", http3: true, tls: {{{tls}}}}}]\n{rest}");
    Gateway::in_folder(folder, &text, address, |_| {})
}

const TWO: &str =
    "certificates: [{certFile: one.crt, keyFile: one.key}, {certFile: two.crt, keyFile: two.key}]";

#[test]
fn the_certificate_is_chosen_by_name_and_holds_the_connection_to_it() {
    let authority = Authority::new("ca");
    let gateway = gateway(&authority, TWO, FIXED);
    run(async {
        for name in ["a.test", "b.test"] {
            // The client checks that what it is shown is for this name.
            let how = How { name, ..How::plain(&authority) };
            let mut client = Client::with(gateway.address, &how).await.expect(name);
            let uri = format!("https://{name}/");
            let asked = http::Request::get(uri).body(()).expect("a request");
            assert_eq!(client.fetch(asked, b"", None).await.expect("an answer").text(), "inside");
            let other = if name == "a.test" { "b.test" } else { "a.test" };
            let asked = http::Request::get(format!("https://{other}/")).body(()).expect("a request");
            assert_eq!(client.fetch(asked, b"", None).await.expect("an answer").status, 421);
        }
        let how = How { name: "c.test", ..How::plain(&authority) };
        assert!(dial(gateway.address, &how).await.is_err(), "nobody has a certificate for it");
    });
}

#[test]
fn a_client_shows_its_certificate_or_is_no_client() {
    let authority = Authority::new("ca");
    let tls = format!("{TWO}, clientAuth: {{mode: required, caFile: ca.crt}}");
    let gateway = gateway(&authority, &tls, FIXED);
    let (good, bad) = (authority.issue(&["me"]), Authority::new("stranger").issue(&["me"]));
    run(async {
        let how = |identity| How { identity, ..How::plain(&authority) };
        let mut client = Client::with(gateway.address, &how(Some(&good))).await.expect("it is known");
        assert_eq!(client.fetch(request("GET", "/"), b"", None).await.expect("an answer").status, 200);
        for identity in [None, Some(&bad)] {
            // The client is through with its own part before it hears of the refusal.
            if let Ok((_endpoint, connection)) = dial(gateway.address, &how(identity)).await {
                let error = connection.closed().await;
                assert!(error.to_string().contains("rypto"), "{error}");
            }
        }
    });
    assert_eq!(gateway.metric("tidegate_tls_handshake_failures_total{listener=\"tls\"}"), Some(2.0));
}

#[test]
fn suites_without_the_one_of_the_first_packets_will_do_and_those_of_old_versions_alone_will_not() {
    let authority = Authority::new("ca");
    let suites = format!("{TWO}, cipherSuites: [TLS_AES_256_GCM_SHA384]");
    let gateway = gateway(&authority, &suites, FIXED);
    run(async {
        let mut client = Client::connect(gateway.address, &authority).await;
        assert_eq!(client.get("/").await.expect("an answer").text(), "inside");
    });
    let old = TWO.to_owned() + ", cipherSuites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]";
    let text = format!(
        "listeners: [{{name: tls, address: \"{}\", http3: true, tls: {{{old}}}}}]\n{FIXED}",
        gateway.address
    );
    let after = gateway.reload(&text);
    assert_eq!(after["reloadsRefused"], 1, "{after}");
    assert!(gateway.stderr().contains("http3: tls"), "{}", gateway.stderr());
}
