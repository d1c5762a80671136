//! Any bytes as headers about certificates, and as certificates that headers tell of: what the fuzz target runs, and a
//! short run of it.
#![allow(unreachable_pub, reason = "`fuzz/` exports it")]

use identity::{
    client_cert,
    names::{self, Names},
    xfcc::{self, Element, Parts},
};

const ALL: Parts = Parts { subject: true, uri: true, dns: true, cert: true, chain: true };

fn plain(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| text.chars().filter(|character| !character.is_control()).collect()).collect()
}

/// What is written of a certificate is one element that says what its names say: no name can pose as another.
fn told(names: &Names, chain: &[&[u8]]) {
    let written = xfcc::element(names, "ab", chain, ALL);
    let read = xfcc::parse(&written);
    if written.len() > 32 * 1024 {
        return;
    }
    let mut read = read.unwrap_or_else(|| panic!("what is written is read: {written}"));
    assert_eq!(read.len(), 1, "{written}");
    let Element { hash, subject, uris, dns, cert, .. } = read.remove(0);
    assert_eq!(hash.as_deref(), Some("ab"), "{written}");
    assert_eq!(subject.map(|subject| vec![subject]), Some(plain(std::slice::from_ref(&names.distinguished))));
    assert_eq!(uris, plain(&names.uris), "{written}");
    assert_eq!(dns, plain(&names.dns), "{written}");
    assert_eq!(cert.is_some(), !chain.is_empty());
}

/// Headers about certificates.
pub fn certificate_headers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(der) = client_cert::parse(&text) {
        assert_eq!(client_cert::parse(&client_cert::write(&der)), Some(der));
    }
    for element in xfcc::parse(&text).into_iter().flatten() {
        let distinguished = element.subject.unwrap_or_default();
        told(&Names { distinguished, uris: element.uris, dns: element.dns, ..Names::default() }, &[]);
    }
    if let Ok(names) = names::of(bytes) {
        assert!(!names.distinguished.chars().any(char::is_control), "{}", names.distinguished);
        told(&names, &[bytes, b"authority"]);
    }
}

#[cfg(test)]
mod short {
    #[test]
    fn certificate_headers() {
        mutate::fuzz("certificate_headers", super::certificate_headers);
    }
}
