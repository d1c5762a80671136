//! `X-Forwarded-Client-Cert`, as Envoy writes and reads it: elements of one certificate each, of `Key=value` pairs.

use crate::names::Names;
use std::fmt::Write;

/// Bytes of a header that are read.
const BYTES_MAX: usize = 32 * 1024;
/// Certificates that one header tells of.
const ELEMENTS_MAX: usize = 16;

/// What one element tells of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// URI names of whoever took the connection.
    pub by: Vec<String>,
    /// SHA-256 of the certificate, in hexadecimal.
    pub hash: Option<String>,
    /// The certificate in PEM.
    pub cert: Option<String>,
    /// With it those that lead to its authority, in PEM.
    pub chain: Option<String>,
    /// The subject, as RFC 4514 writes it.
    pub subject: Option<String>,
    /// URI names.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
}

/// What an element tells beside the hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// The subject.
    pub subject: bool,
    /// URI names.
    pub uri: bool,
    /// DNS names.
    pub dns: bool,
    /// The certificate.
    pub cert: bool,
    /// The chain.
    pub chain: bool,
}

/// The element of a certificate.
pub fn element(names: &Names, hash: &str, chain: &[&[u8]], parts: Parts) -> String {
    let mut out = format!("Hash={hash}");
    let mut add = |key: &str, value: &str| {
        out.push(';');
        out.push_str(key);
        out.push('=');
        push(value, &mut out);
    };
    if let (true, Some(leaf)) = (parts.cert, chain.first()) {
        add("Cert", &encoded(&pem(leaf)));
    }
    if parts.chain && !chain.is_empty() {
        add("Chain", &encoded(&chain.iter().map(|one| pem(one)).collect::<String>()));
    }
    if parts.subject {
        // Always in quotes, as Envoy has it.
        add("Subject", &names.distinguished);
    }
    if parts.uri {
        names.uris.iter().for_each(|uri| add("URI", uri));
    }
    if parts.dns {
        names.dns.iter().for_each(|name| add("DNS", name));
    }
    out
}

/// A value, in quotes where it holds what parts values.
fn push(value: &str, out: &mut String) {
    let is_plain = !value.is_empty()
        && value.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && !b",;=\"\\".contains(&byte));
    if is_plain {
        out.push_str(value);
        return;
    }
    out.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            // No header holds it.
            control if control.is_control() => {}
            other => out.push(other),
        }
    }
    out.push('"');
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap_or_default());
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 5 / 4);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let value = digit()? << 4 | digit()?;
                out.push(u8::try_from(value).ok()?);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

/// Reads a header: an element per certificate, that of the client who came first first. One that is malformed is
/// nothing at all, for a part of it may mean something else.
pub fn parse(text: &str) -> Option<Vec<Element>> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let mut elements = vec![Element::default()];
    let mut rest = text.trim_matches([' ', '\t']);
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        let element = elements.last_mut()?;
        match key.trim_matches([' ', '\t']).to_ascii_lowercase().as_str() {
            "by" => element.by.push(value),
            "hash" => once(&mut element.hash, value.to_ascii_lowercase())?,
            "cert" => once(&mut element.cert, decoded(&value)?)?,
            "chain" => once(&mut element.chain, decoded(&value)?)?,
            "subject" => once(&mut element.subject, value)?,
            "uri" => element.uris.push(value),
            "dns" => element.dns.push(value.to_ascii_lowercase()),
            // What is not known says nothing.
            key if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {}
            _ => return None,
        }
        let after = after.trim_start_matches([' ', '\t']);
        if after.is_empty() {
            return Some(elements);
        }
        rest = match after.strip_prefix(',') {
            Some(more) if elements.len() < ELEMENTS_MAX => {
                elements.push(Element::default());
                more
            }
            _ => after.strip_prefix(';')?,
        };
    }
}

/// A key that is there once at most.
fn once(place: &mut Option<String>, value: String) -> Option<()> {
    match place.replace(value) {
        None => Some(()),
        Some(_) => None,
    }
}

/// A value, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';']).unwrap_or(text.len());
        let (value, after) = text.split_at_checked(end)?;
        return (!value.contains('"')).then(|| (value.trim_matches([' ', '\t']).to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                escaped @ ('"' | '\\') => value.push(escaped),
                // An escape of the name's own, which Envoy does not escape once more.
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            distinguished: r#"CN=a\, b "c",O=x"#.to_owned(),
            uris: vec!["spiffe://a.test/ns;x".to_owned()],
            dns: vec!["a.test".to_owned(), "b.test".to_owned()],
            ..Names::default()
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let all = Parts { subject: true, uri: true, dns: true, cert: true, chain: true };
        let written = element(&names(), "ab12", &[b"leaf", b"authority"], all);
        let read = parse(&written).expect("an element");
        let [one] = &read[..] else { panic!("{read:?}") };
        assert_eq!(one.subject.as_deref(), Some(names().distinguished.as_str()), "{written}");
        assert_eq!((&one.uris, &one.dns), (&names().uris, &names().dns));
        assert_eq!(one.hash.as_deref(), Some("ab12"));
        assert!(
            one.cert.as_ref().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----\nbGVhZg==\n"))
        );
        assert_eq!(one.chain.as_ref().map(|pem| pem.matches("BEGIN").count()), Some(2));
        let two = format!("{written},{written}");
        assert_eq!(parse(&two).map(|all| all.len()), Some(2));
    }

    #[test]
    fn what_envoy_writes_is_read() {
        let text = "By=spiffe://a.test/front;Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688;\
                    Subject=\"/C=US/CN=Test Client\";URI=http://testclient.lyft.com;URI=b;DNS=C.test";
        let one = parse(text).expect("an element").remove(0);
        assert_eq!(one.by, ["spiffe://a.test/front"]);
        assert_eq!(one.subject.as_deref(), Some("/C=US/CN=Test Client"));
        assert_eq!(one.uris, ["http://testclient.lyft.com", "b"]);
        assert_eq!(one.dns, ["c.test"]);
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        for text in [
            "",
            "Hash",
            "Hash=a,",
            "Hash=a;Hash=b",
            "Subject=\"a",
            "Subject=\"a\"b",
            "Subject=\"a\"é",
            "Subject=a\"b\"",
            "=a",
            "H ash=a",
            "Cert=%zz",
            ";Hash=a",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let many = vec!["Hash=a"; ELEMENTS_MAX + 1].join(",");
        assert_eq!(parse(&many), None);
        assert_eq!(parse(&format!("Hash={}", "a".repeat(BYTES_MAX))), None);
    }
}
