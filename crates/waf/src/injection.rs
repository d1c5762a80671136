//! libinjection's two detectors, by its port to Rust.
//!
//! The port is safe code and passes the tests of the original, but it indexes slices: a panic in it is caught here
//! and counts as found, so that what breaks the detector does not pass it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Longest text that the detectors look at; of longer ones the beginning.
const BYTES_MAX: usize = 1 << 20;

/// Whether a text is SQL where none should be: its fingerprint.
pub(crate) fn sqli(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.get(..BYTES_MAX).unwrap_or(text);
    let judge = || {
        let judged = libinjectionrs::detect_sqli(text);
        let is_injection = judged.is_injection();
        let fingerprint = judged.fingerprint.map(|fingerprint| fingerprint.to_string().into_bytes());
        is_injection.then(|| fingerprint.unwrap_or_default())
    };
    catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|_| Some(Vec::new()))
}

/// Whether a text is script where none should be.
pub(crate) fn xss(text: &[u8]) -> bool {
    let text = text.get(..BYTES_MAX).unwrap_or(text);
    let judge = || libinjectionrs::detect_xss(text).is_injection();
    catch_unwind(AssertUnwindSafe(judge)).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attacks_are_told_from_texts() {
        for attack in
            ["1' OR '1'='1", "1 UNION SELECT password FROM users--", "'; DROP TABLE users;--", "1 or 1=1"]
        {
            assert!(sqli(attack.as_bytes()).is_some(), "{attack}");
        }
        for text in ["hello", "it's a nice day", "O'Reilly", "select a chair from the union", ""] {
            assert!(sqli(text.as_bytes()).is_none(), "{text}");
        }
        for attack in
            ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)\" onload=\"x"]
        {
            assert!(xss(attack.as_bytes()), "{attack}");
        }
        for text in ["a < b and c > d", "<b>bold</b>", "plain"] {
            assert!(!xss(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_judged(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            libinjectionrs::detect_sqli(&text);
            libinjectionrs::detect_xss(&text);
        }

        #[test]
        fn any_signs_can_be_judged(text in r#"(?:['"`;#@\\/*<>=!&|%x0-9a-c() \x00-]|--|/\*|<!--|select|on)*{0,40}"#) {
            libinjectionrs::detect_sqli(text.as_bytes());
            libinjectionrs::detect_xss(text.as_bytes());
        }
    }
}
