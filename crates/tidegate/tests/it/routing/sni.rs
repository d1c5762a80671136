//! Routes by the name that a client asks for in its TLS handshake.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};

use super::{
    super::harness::{Answer, Gateway, free_port},
    answering,
};

#[test]
fn a_route_is_chosen_by_the_name_in_the_handshake() {
    let names = ["a.test", "x.b.test", "c.test"].map(str::to_owned).to_vec();
    let own = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("own.crt"), own.cert.pem()).expect("a file");
    std::fs::write(folder.path().join("own.key"), own.signing_key.serialize_pem()).expect("a file");
    let port = free_port();
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{port}\", tls: {{certificates: [{{certFile: own.crt, keyFile: own.key}}]}}}}]\n{}",
        answering(&[
            ("exact", "match: [{sni: [a.test]}]"),
            ("wildcard", "match: [{sni: ['*.b.test']}]"),
            ("other", "match: [{path: {prefix: /}}]"),
        ])
    );
    let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |_| {});
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    for (name, want) in [("a.test", "exact"), ("x.b.test", "wildcard"), ("c.test", "other")] {
        let server = ServerName::try_from(name).expect("a name");
        let connection = ClientConnection::new(config.clone(), server).expect("a client");
        let mut stream =
            StreamOwned::new(connection, TcpStream::connect(gateway.address).expect("a connection"));
        // The Host header says nothing about the handshake.
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
            .expect("bytes go out");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        assert_eq!(Answer::parse(&bytes).expect("an answer").text(), want, "{name}");
    }
}
