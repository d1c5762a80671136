//! Hellos as TLS libraries make them, cut and spoilt in every way.

mod fuzz;

use std::sync::Arc;

use layer4::{HELLO_BYTES_MAX, Peek, Seen};
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};

/// The first bytes of a client of rustls, which brings a post-quantum key share, of a kilobyte and more.
fn hello(name: &str, padding: usize) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(RootCertStore::empty());
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = (0..padding).map(|n| format!("{n:0200}").into_bytes()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("bytes");
    bytes
}

fn look(bytes: &[u8]) -> Seen {
    Peek::default().look(bytes)
}

fn named(name: &str) -> Seen {
    Seen::Hello { server_name: Some(name.to_owned()) }
}

/// The same hello in records of so many bytes.
fn recut(hello: &[u8], size: usize) -> Vec<u8> {
    let mut message = Vec::new();
    let mut rest = hello;
    while let [kind, _, _, high, low, after @ ..] = rest {
        assert_eq!(*kind, 22);
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        message.extend_from_slice(&after[..length]);
        rest = &after[length..];
    }
    let records = message.chunks(size).map(|part| {
        let length = u16::try_from(part.len()).expect("a length").to_be_bytes();
        [&[22, 3, 1], &length[..], part].concat()
    });
    records.collect::<Vec<_>>().concat()
}

#[test]
fn a_name_is_read_from_what_a_library_sends_also_without_one() {
    assert_eq!(look(&hello("Db.Example.TEST", 0)), named("db.example.test"));
    assert_eq!(look(&hello("127.0.0.1", 0)), Seen::Hello { server_name: None });
}

#[test]
fn every_cut_of_a_large_hello_shows_the_same_and_nothing_before_its_end() {
    let bytes = hello("a.test", 20);
    assert!(bytes.len() > 4000, "{}", bytes.len());
    let mut peek = Peek::default();
    for end in 0..bytes.len() {
        assert_eq!(peek.look(&bytes[..end]), Seen::NotYet, "{end}");
    }
    assert_eq!(peek.look(&bytes), named("a.test"));
    assert_eq!(peek.look(&[&bytes[..], b"more"].concat()), named("a.test"), "what follows is not its matter");
    for size in [1, 2, 3, 5, 100, 1000] {
        assert_eq!(look(&recut(&bytes, size)), named("a.test"), "records of {size}");
    }
}

#[test]
fn what_is_no_tls_is_told_by_its_first_bytes() {
    for bytes in
        [&b"G"[..], b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n", &[22, 2], &[22, 3, 9], &[21, 3, 3, 0, 2], &[0]]
    {
        assert_eq!(look(bytes), Seen::NotTls, "{bytes:?}");
    }
    // A server's hello is no beginning either.
    assert_eq!(look(&[22, 3, 3, 0, 4, 2]), Seen::NotTls);
    for bytes in [&b""[..], &[22], &[22, 3], &[22, 3, 1, 0]] {
        assert_eq!(look(bytes), Seen::NotYet, "{bytes:?}");
    }
}

#[test]
fn a_hello_without_an_end_is_given_up_at_the_bound() {
    // A message that says that it has as many bytes as there may be, in full records.
    let mut bytes = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    bytes.resize(5 + 0x4000, 0);
    let record = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    let mut all = bytes;
    let mut seen = look(&all);
    while seen == Seen::NotYet {
        assert!(all.len() <= HELLO_BYTES_MAX + record.len());
        all.extend_from_slice(&record);
        seen = look(&all);
    }
    assert_eq!(seen, Seen::Malformed);
    assert_eq!(look(&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]), Seen::Malformed, "it will never fit");
}

#[test]
fn a_hello_that_two_could_read_in_two_ways_is_malformed() {
    let bytes = hello("a.test", 0);
    let at = bytes.windows(6).position(|six| six == b"a.test").expect("the name");
    // The name's own bytes.
    for (byte, wanted) in [(b' ', Seen::Malformed), (0, Seen::Malformed), (0xff, Seen::Malformed)] {
        let mut odd = bytes.clone();
        odd[at] = byte;
        assert_eq!(look(&odd), wanted, "{byte}");
    }
    // The name's length, shorter and longer than the list says.
    for length in [0, 1, 5, 7, 200] {
        let mut odd = bytes.clone();
        odd[at - 1] = length;
        assert_eq!(look(&odd), Seen::Malformed, "{length}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_in_any_pieces_show_the_same(
        spoilt in proptest::collection::vec((0usize..600, proptest::num::u8::ANY), 0..4),
        cuts in proptest::collection::vec(0usize..2000, 0..6),
    ) {
        let mut bytes = hello("a.test", 0);
        for (at, byte) in spoilt {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        fuzz::peek(&bytes, &cuts);
    }
}
