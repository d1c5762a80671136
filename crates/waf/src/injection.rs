//! libinjection's two detectors, by its port to Rust.
//!
//! The port is safe code and passes the tests of the original, but it indexes slices: a panic in it is caught here
//! and counts as found, so that what breaks the detector does not pass it. Words are shortened for it: the original
//! asks of the first 31 bytes of a word whether a keyword ends there, the port of all of them, which is quadratic.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Bytes of a part that the detectors look at. They take long for each word of a text that goes on like a list, and
/// cannot be paused: of longer texts they get twice as much of the beginning, so much from the first quote of either
/// kind on, where the text would go on behind a quoted value, and so much of the end.
const PART_BYTES_MAX: usize = 1 << 10;
/// What stays before a quote.
const BEFORE_QUOTE: usize = 64;

/// The parts of a text that are looked at.
fn parts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, rest) = text.split_at(text.len().min(2 * PART_BYTES_MAX));
    let from = |at: usize| {
        let after = text.get(at.saturating_sub(BEFORE_QUOTE)..).unwrap_or_default();
        after.get(..PART_BYTES_MAX).unwrap_or(after)
    };
    let quoted = [b'\'', b'"'].into_iter().filter_map(move |quote| {
        let at = memchr::memchr(quote, text)?;
        (at + PART_BYTES_MAX > first.len() && !rest.is_empty()).then(|| from(at))
    });
    let last =
        (!rest.is_empty()).then(|| rest.get(rest.len().saturating_sub(PART_BYTES_MAX)..).unwrap_or_default());
    std::iter::once(first).chain(quoted).chain(last)
}

/// Steps that looking at a text takes: it is words that take long.
pub(crate) fn steps(text: &[u8]) -> usize {
    let of_part = |part: &[u8]| 16 * part.len() + 500 * part.iter().filter(|byte| is_end(byte)).count();
    parts(text).map(of_part).sum()
}

/// Bytes that end a word for the detector.
const ENDS: &[u8] = b" []{}<>:\\?=@!#~+-*/&|^%(),';\t\n\x0B\x0C\r\"\xA0\0";
/// The same by number: every byte of a text is asked.
static IS_END: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < ENDS.len() {
        table[ENDS[at] as usize] = true;
        at += 1;
    }
    table
};

fn is_end(byte: &u8) -> bool {
    IS_END.get(usize::from(*byte)).copied().unwrap_or_default()
}

/// Longest run without such a byte that stays as it is.
const RUN_BYTES_MAX: usize = 512;
/// Marks that stay at either end of a run, and bytes between two of them: more than a keyword has.
const MARKS_MAX: usize = 8;
const BETWEEN_BYTES_MAX: usize = 40;

/// The text with long runs, and those of many dots or backticks, shortened.
fn shortened(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    for run in text.split_inclusive(is_end) {
        let is_mark = |byte: &u8| matches!(byte, b'.' | b'`');
        let count = run.iter().filter(|byte| is_mark(byte)).count();
        if count > 2 * MARKS_MAX || run.len() > RUN_BYTES_MAX {
            let out = out.get_or_insert_with(|| text.get(..at).unwrap_or_default().to_vec());
            let mut is_open = false;
            for (index, piece) in run.split_inclusive(is_mark).enumerate() {
                let (body, last) = piece.split_at(piece.len().saturating_sub(1));
                if index >= MARKS_MAX && index + MARKS_MAX < count {
                    is_open ^= last == b"`";
                    continue;
                }
                if std::mem::take(&mut is_open) {
                    // What is quoted stays quoted.
                    out.push(b'`');
                }
                out.extend_from_slice(body.get(..BETWEEN_BYTES_MAX).unwrap_or(body));
                out.extend_from_slice(last);
            }
        } else if let Some(out) = &mut out {
            out.extend_from_slice(run);
        }
        at += run.len();
    }
    out.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Whether a text is SQL where none should be: its fingerprint.
pub(crate) fn sqli(text: &[u8]) -> Option<Vec<u8>> {
    let text = shortened(text);
    parts(&text).find_map(sqli_part)
}

fn sqli_part(text: &[u8]) -> Option<Vec<u8>> {
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
    parts(text).any(xss_part)
}

fn xss_part(text: &[u8]) -> bool {
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

    /// Milliseconds that a detector takes, of a build without optimizations.
    fn took(judge: impl Fn(&[u8]), text: &[u8]) -> u128 {
        let start = std::time::Instant::now();
        judge(text);
        start.elapsed().as_millis()
    }

    #[test]
    fn the_time_is_bounded() {
        for piece in [
            "a.",
            "a`",
            "`a",
            "a.b,",
            "and.",
            "select.",
            "null.",
            "1.",
            ".",
            "`",
            "$a",
            "$a$",
            "@",
            "@@a",
            "a",
            "1",
            "0x",
            "'",
            "''",
            "\"'",
            "\\",
            "\\'",
            "/*",
            "/*!",
            "*/",
            "--",
            "-- ",
            "#",
            "(",
            "((1),",
            "1,",
            "1+",
            "a,",
            "[",
            "[a",
            "{",
            "{a ",
            "<",
            "<a ",
            "<a b=c ",
            "<!--",
            "<!",
            "<![CDATA[",
            "<?",
            "--!",
            "a=\"",
            "&#",
            "&#x41;",
            "javascript:",
            "\0",
            "on",
            "\u{a0}",
            "u&'",
            "q'(",
            "n'",
            "b'",
            "x'",
            ";",
            "if;",
            "case ",
            "a b ",
            "not ",
            "\n",
            "<=>",
            "||",
            "::",
        ] {
            let text = piece.repeat((1 << 20) / piece.len());
            let text = text.as_bytes();
            for (name, took) in
                [("sqli", took(|text| _ = sqli(text), text)), ("xss", took(|text| _ = xss(text), text))]
            {
                assert!(took < 1_000, "{name} {piece}: {took} ms");
            }
        }
    }

    #[test]
    fn what_is_shortened_is_found_all_the_same() {
        let long = "a.".repeat(100_000);
        for attack in [
            format!("{long}' OR '1'='1"),
            format!("' UNION SELECT {long}x FROM users--"),
            format!("1 UNION SELECT `{}` FROM users--", "a".repeat(10_000)),
            "1 UNION SELECT `a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a` FROM users--".into(),
            format!("{}' OR 1=1--", "many words ".repeat(90_000)),
            format!("{}' OR 1=1-- {}", "many words ".repeat(900), "and more ".repeat(900)),
            format!("' UNION/*{long}*/SELECT password FROM users--"),
        ] {
            assert!(sqli(attack.as_bytes()).is_some(), "{}", attack.get(..60).unwrap_or_default());
        }
        for text in [long.as_str(), "a.b.c", "192.0.2.1 and 192.0.2.2", "`a` b.c"] {
            assert!(sqli(text.as_bytes()).is_none());
        }
        assert!(matches!(shortened(b"select a.b.c, `d`"), Cow::Borrowed(_)));
        assert_eq!(
            shortened("`.".repeat(1_000).as_bytes()).iter().filter(|byte| **byte == b'`').count() % 2,
            0
        );
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
