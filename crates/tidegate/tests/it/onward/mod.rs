//! Who calls, told onward: tokens that the gateway signs, tokens that it fetches, and certificates.

mod certificates;
mod exchanged;
mod internal;
mod own;
mod signed;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::harness::Upstream;

/// An upstream that answers with the head that it saw, as lines.
fn telling() -> Upstream {
    Upstream::scripted(|seen| {
        let lines = seen.headers.iter().map(|(name, value)| format!("{}: {value}\n", name.to_lowercase()));
        let body = format!("{}\n{}", seen.line, lines.collect::<String>());
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    })
}

/// The claims of a token, unverified.
fn claims(token: &str) -> serde_json::Value {
    part(token, 1)
}

/// The head of a token.
fn head(token: &str) -> serde_json::Value {
    part(token, 0)
}

fn part(token: &str, at: usize) -> serde_json::Value {
    let part = token.split('.').nth(at).unwrap_or_else(|| panic!("{token}"));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

/// A private key of the curve P-256 in PEM.
fn key() -> String {
    rcgen::KeyPair::generate().expect("a key").serialize_pem()
}
