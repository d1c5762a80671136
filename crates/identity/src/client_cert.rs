//! `Client-Cert` and `Client-Cert-Chain` (RFC 9440): certificates as byte sequences of structured fields (RFC 9651).

use base64::{Engine, engine::general_purpose::STANDARD};

/// Bytes of a certificate that is read.
const BYTES_MAX: usize = 32 * 1024;

/// A certificate as a byte sequence.
pub fn write(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

/// Certificates as a list.
pub fn write_chain(chain: &[&[u8]]) -> String {
    chain.iter().map(|der| write(der)).collect::<Vec<_>>().join(", ")
}

/// The certificate in a byte sequence; nothing where it is none.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_matches([' ', '\t']);
    let inner = text.strip_prefix(':')?.strip_suffix(':')?;
    if inner.is_empty() || inner.len() > BYTES_MAX {
        return None;
    }
    STANDARD.decode(inner).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else() {
        assert_eq!(parse(&write(b"abc")).as_deref(), Some(&b"abc"[..]));
        assert_eq!(write_chain(&[b"a", b"b"]), ":YQ==:, :Yg==:");
        for text in ["", ":", "::", ":YQ==", "YQ==", ":Y*==:", ":YQ==:, :YQ==:", ":YQ==:;a=1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
