//! Paths: one spelling for what is equivalent, a refusal for what is ambiguous.

use std::borrow::Cow;

use model::resource::path_rules::{Allowance, PathRules};
use proptest::prelude::*;

use super::{Form, PathRefusal, canonical, canonical_pattern, is_canonical, normalise};

fn permissive(merge: bool) -> PathRules {
    let allow = Some(Allowance::Allow);
    PathRules {
        encoded_slash: allow,
        semicolon: allow,
        backslash: allow,
        nul: allow,
        double_encoding: allow,
        merge_slashes: Some(merge),
    }
}

const REFUSED_SLASH: Result<&str, PathRefusal> = Err(PathRefusal::Form(Form::EncodedSlash));
const REFUSED_SEMICOLON: Result<&str, PathRefusal> = Err(PathRefusal::Form(Form::Semicolon));
const REFUSED_BACKSLASH: Result<&str, PathRefusal> = Err(PathRefusal::Form(Form::Backslash));
const REFUSED_NUL: Result<&str, PathRefusal> = Err(PathRefusal::Form(Form::Nul));
const REFUSED_TWICE: Result<&str, PathRefusal> = Err(PathRefusal::Form(Form::DoubleEncoding));
const ABOVE: Result<&str, PathRefusal> = Err(PathRefusal::AboveRoot);
const HIDDEN: Result<&str, PathRefusal> = Err(PathRefusal::HiddenDots);
const ESCAPE: Result<&str, PathRefusal> = Err(PathRefusal::Escape);

/// What came, what it becomes under the default rules, and where the case is from.
#[rustfmt::skip]
const BY_DEFAULT: &[(&str, Result<&str, PathRefusal>, &str)] = &[
    // Equivalent spellings become one.
    ("", Ok("/"), "RFC 3986 §6.2.3: an empty path is `/`"),
    ("/", Ok("/"), "RFC 9112 §3.2.1"),
    ("/a/b/c", Ok("/a/b/c"), "RFC 3986 §3.3"),
    ("/a/", Ok("/a/"), "RFC 3986 §3.3: a last empty segment means something"),
    ("/%7Euser", Ok("/~user"), "RFC 3986 §6.2.2.2"),
    ("/%7euser", Ok("/~user"), "RFC 3986 §6.2.2.2"),
    ("/%61dmin", Ok("/admin"), "RFC 3986 §6.2.2.2; ACLs passed by escaped letters"),
    ("/%41%2D%5F%2E%7E", Ok("/A-_.~"), "RFC 3986 §2.3: all unreserved marks"),
    ("/a%c3%a9", Ok("/a%C3%A9"), "RFC 3986 §6.2.2.1: capitals in escapes"),
    ("/a%C3%A9", Ok("/a%C3%A9"), "RFC 3986 §6.2.2.1"),
    ("/a%20b", Ok("/a%20b"), "RFC 3986 §2.1"),
    ("/a+b", Ok("/a+b"), "RFC 3986 §3.3: `+` is not a space in a path"),
    ("/a%2bb", Ok("/a%2Bb"), "RFC 3986 §2.2: reserved escapes are not equivalent"),
    ("/%40scope", Ok("/%40scope"), "RFC 3986 §2.2"),
    ("/a%3fb", Ok("/a%3Fb"), "RFC 3986 §2.2: an escaped `?` begins no query"),
    ("/a%23b", Ok("/a%23b"), "RFC 3986 §2.2: an escaped `#` begins no fragment"),
    ("/100%25", Ok("/100%25"), "RFC 3986 §2.4: a percent sign alone is no double encoding"),
    ("/100%25-sure", Ok("/100%25-sure"), "RFC 3986 §2.4"),
    ("/a:b@c!$&'()*+,=", Ok("/a:b@c!$&'()*+,="), "RFC 3986 §3.3: pchar"),
    ("/{id}", Ok("/%7Bid%7D"), "WHATWG URL, path percent-encode set"),
    ("/a|b^c`d", Ok("/a%7Cb%5Ec%60d"), "RFC 3986 §2: outside the grammar, but sent by browsers"),
    ("/a[0]", Ok("/a%5B0%5D"), "RFC 3986 §3.2.2: brackets are for hosts alone"),
    ("/<\">", Ok("/%3C%22%3E"), "WHATWG URL, path percent-encode set"),
    ("/ABC", Ok("/ABC"), "RFC 3986 §6.2.2.1: paths keep their case"),
    // Dot segments.
    ("/a/b/c/./../../g", Ok("/a/g"), "RFC 3986 §5.2.4, its example"),
    ("/mid/content=5/../6", Ok("/mid/6"), "RFC 3986 §5.2.4, its example"),
    ("/.", Ok("/"), "RFC 3986 §5.2.4"),
    ("/./a", Ok("/a"), "RFC 3986 §5.2.4"),
    ("/a/.", Ok("/a/"), "RFC 3986 §5.2.4"),
    ("/a/..", Ok("/"), "RFC 3986 §5.2.4"),
    ("/a/b/..", Ok("/a/"), "RFC 3986 §5.2.4"),
    ("/a/b/../", Ok("/a/"), "RFC 3986 §5.2.4"),
    ("/a/%2e%2e/b", Ok("/b"), "RFC 3986 §6.2.2.3; CVE-2021-41773"),
    ("/a/.%2e/b", Ok("/b"), "CVE-2021-41773: `.%2e`"),
    ("/a/%2E./b", Ok("/b"), "CVE-2021-41773"),
    ("/...", Ok("/..."), "RFC 3986 §3.3: three dots are a name"),
    ("/..a", Ok("/..a"), "RFC 3986 §3.3"),
    ("/a..", Ok("/a.."), "RFC 3986 §3.3"),
    ("/api../admin", Ok("/api../admin"), "nginx `alias` traversal: a name, so not under /api"),
    ("/.well-known/x", Ok("/.well-known/x"), "RFC 8615"),
    ("/..", ABOVE, "CVE-2021-41773: above the root is an attack, not a typing error"),
    ("/../etc/passwd", ABOVE, "CVE-2021-41773"),
    ("/a/../../etc", ABOVE, "CVE-2019-9901 (Envoy)"),
    ("/%2e%2e/etc", ABOVE, "CVE-2021-41773"),
    ("/cgi-bin/.%2e/.%2e/etc", ABOVE, "CVE-2021-41773, as exploited"),
    // Runs of slashes.
    ("//a", Ok("/a"), "nginx merge_slashes"),
    ("/a//b", Ok("/a/b"), "nginx merge_slashes"),
    ("/a///b//", Ok("/a/b/"), "nginx merge_slashes"),
    ("//", Ok("/"), "nginx merge_slashes"),
    ("/a//../b", Ok("/b"), "merged before `..` counts segments"),
    ("//../a", ABOVE, "merged before `..` counts segments"),
    // Encoded slashes.
    ("/a%2fb", REFUSED_SLASH, "CVE-2021-29492 (Envoy): escaped slashes"),
    ("/a%2Fb", REFUSED_SLASH, "CVE-2021-29492"),
    ("/public/..%2fadmin", HIDDEN, "CVE-2021-29492"),
    ("/public/%2e%2e%2fadmin", HIDDEN, "CVE-2021-29492: each spelling of the dots"),
    // Path parameters.
    ("/admin;x=1", REFUSED_SEMICOLON, "CVE-2020-1957 (Shiro)"),
    ("/admin%3bx=1", REFUSED_SEMICOLON, "CVE-2020-11989 (Shiro): the escaped spelling"),
    ("/a/..;/admin", HIDDEN, "CVE-2020-5902 (F5): `/..;/`"),
    ("/a/.;/b", HIDDEN, "CVE-2020-5902 (F5), with one dot"),
    ("/a/..%3bx/admin", HIDDEN, "CVE-2020-5902 (F5), the escaped spelling"),
    // Backslashes.
    ("/a\\b", REFUSED_BACKSLASH, "WHATWG URL §4.4: browsers read it as a slash"),
    ("/a%5cb", REFUSED_BACKSLASH, "CVE-2021-29492: `%5C`"),
    ("/a/..\\admin", HIDDEN, "CVE-2018-1271 (Spring): traversal on Windows"),
    ("/a/%2e%2e%5cadmin", HIDDEN, "CVE-2018-1271 (Spring): `%5c`"),
    // NUL and other controls.
    ("/a%00", REFUSED_NUL, "CVE-2006-7243 (PHP): truncation at NUL"),
    ("/admin%00.png", REFUSED_NUL, "CVE-2006-7243"),
    ("/a%0d%0aX: y", Err(PathRefusal::Byte(b' ')), "CWE-93: a raw space ends the target"),
    ("/a%0d%0aX:y", REFUSED_NUL, "CWE-93: CRLF injection through a decoded path"),
    ("/a%7f", REFUSED_NUL, "RFC 9110 §5.5: DEL is a control character"),
    // Double encoding.
    ("/a%252fb", REFUSED_TWICE, "CVE-2020-17519 (Flink)"),
    ("/logs/..%252f..%252fetc", HIDDEN, "CVE-2020-17519 (Flink), as exploited"),
    ("/%252e%252e/x", HIDDEN, "CVE-2021-42013"),
    ("/a%25%32%66b", REFUSED_TWICE, "CVE-2021-42013: the digits are escapes too"),
    ("/a%2525", REFUSED_TWICE, "CVE-2021-42013"),
    ("/a%%32%65", ESCAPE, "CVE-2021-42013, as exploited"),
    // No path at all.
    ("/a%", ESCAPE, "RFC 3986 §2.1"),
    ("/a%2", ESCAPE, "RFC 3986 §2.1"),
    ("/a%zz", ESCAPE, "RFC 3986 §2.1"),
    ("/a%u0041", ESCAPE, "the `%u` escapes of IIS are none of RFC 3986"),
    ("/a%+1", ESCAPE, "a lenient number parser takes `+1`"),
    ("a", Err(PathRefusal::NotAbsolute), "RFC 9112 §3.2.1"),
    ("*", Err(PathRefusal::NotAbsolute), "RFC 9112 §3.2.4: no path"),
    ("../a", Err(PathRefusal::NotAbsolute), "what a careless prefix strip leaves"),
    ("/a b", Err(PathRefusal::Byte(b' ')), "RFC 9112 §3: the request line splits here"),
    ("/a\tb", Err(PathRefusal::Byte(b'\t')), "RFC 3986 §2"),
    ("/a\r\nb", Err(PathRefusal::Byte(b'\r')), "CWE-93"),
    ("/a\0b", Err(PathRefusal::Byte(0)), "RFC 3986 §2"),
    ("/a?b", Err(PathRefusal::Byte(b'?')), "RFC 3986 §3.3: the query is no part of the path"),
    ("/a#b", Err(PathRefusal::Byte(b'#')), "CVE-2021-32779 (Envoy): a fragment in the target"),
    ("/é", Err(PathRefusal::Byte(0xc3)), "RFC 3986 §2: ASCII alone"),
];

#[test]
fn a_path_is_canonical_or_refused_by_default() {
    for (raw, want, source) in BY_DEFAULT {
        // A form that hides dots is refused before the rules are asked; both are 400.
        let got = normalise(raw, &PathRules::default());
        assert_eq!(got.as_deref(), want.as_ref().map(|path| *path), "{raw:?} ({source})");
    }
    assert!(BY_DEFAULT.len() >= 60);
}

#[test]
fn what_the_rules_allow_stays_and_one_rule_allows_nothing_else() {
    let allow = Some(Allowance::Allow);
    let none = PathRules::default();
    let cases = [
        ("/a%2fb", "/a%2Fb", PathRules { encoded_slash: allow, ..none.clone() }),
        ("/a;x=1/b", "/a;x=1/b", PathRules { semicolon: allow, ..none.clone() }),
        ("/a%3bb", "/a%3Bb", PathRules { semicolon: allow, ..none.clone() }),
        ("/a\\b", "/a%5Cb", PathRules { backslash: allow, ..none.clone() }),
        ("/a%00b", "/a%00b", PathRules { nul: allow, ..none.clone() }),
        ("/a%252fb", "/a%252fb", PathRules { double_encoding: allow, ..none.clone() }),
    ];
    for (at, (raw, want, _)) in cases.iter().enumerate() {
        for (other, (_, _, rules)) in cases.iter().enumerate() {
            // Both spellings of the semicolon are under one rule.
            let allowed = at == other || matches!((at, other), (1, 2) | (2, 1));
            let got = normalise(raw, rules);
            assert_eq!(got.as_deref().ok(), allowed.then_some(*want), "{raw} under {rules:?}");
        }
    }
}

#[test]
fn no_rule_allows_a_hidden_dot_segment() {
    let hidden = [
        "/a/..;x/b",
        "/a/.;/b",
        "/a/..%3B/b",
        "/a/..%2fb",
        "/a%2f../b/..%2f",
        "/a/%2e%2e%2fb",
        "/a/..%5Cb",
        "/a/..\\b",
        "/a\\..\\b",
        "/a/%252e%252e/b",
        "/a/%25252e%25252e/b",
        "/a/..%00/b",
        "/a/..%0d/b",
        "/a/%252e%252e%252fb",
    ];
    for path in hidden {
        assert_eq!(normalise(path, &permissive(true)), Err(PathRefusal::HiddenDots), "{path}");
    }
}

#[test]
fn slashes_stay_where_they_are_to_be_kept() {
    let keep = PathRules { merge_slashes: Some(false), ..PathRules::default() };
    let cases =
        [("//a", "//a"), ("/a//b/", "/a//b/"), ("/a//../b", "/a/b"), ("/a/..//b", "//b"), ("//", "//")];
    for (raw, want) in cases {
        assert_eq!(normalise(raw, &keep).as_deref(), Ok(want), "{raw}");
    }
}

#[test]
fn a_canonical_path_is_not_copied() {
    for path in ["/", "/v1/products", "/a%20b", "/%C3%A9/", "/.well-known/a..b", "/a%2Bb", "/x%7By"] {
        assert!(
            matches!(normalise(path, &PathRules::default()), Ok(Cow::Borrowed(same)) if same == path),
            "{path}"
        );
    }
}

#[test]
fn a_rewritten_path_must_be_its_own_normal_form() {
    let rules = PathRules::default();
    for path in ["/", "/admin", "/a%20b", "/api../admin"] {
        assert!(is_canonical(path, &rules), "{path}");
    }
    // `/api../admin` with `/api` cut off by a naive strip, and its kin.
    for path in ["../admin", "/../admin", "/./a", "//a", "", "a", "/%61", "/a%2fb", "/{id}", "/a b", "/a;b"] {
        assert!(!is_canonical(path, &rules), "{path}");
    }
    assert!(is_canonical("/a;b", &permissive(true)));
}

#[test]
fn forms_are_judged_once_the_route_is_known() {
    let found = canonical("/a%2fb;c", true).expect("no rule is asked yet");
    assert_eq!(found.path, "/a%2Fb;c");
    assert_eq!(found.forms.judge(&PathRules::default()), Err(PathRefusal::Form(Form::EncodedSlash)));
    let slash = PathRules { encoded_slash: Some(Allowance::Allow), ..PathRules::default() };
    assert_eq!(found.forms.judge(&slash), Err(PathRefusal::Form(Form::Semicolon)));
    assert_eq!(found.forms.judge(&permissive(true)), Ok(()));
}

#[test]
fn a_pattern_is_spelled_like_the_paths_that_it_is_to_match() {
    assert_eq!(canonical_pattern("/caf%c3%a9/%7Ex", true).as_deref(), Ok("/caf%C3%A9/~x"));
    assert_eq!(canonical_pattern("/a%2fb", true).as_deref(), Ok("/a%2Fb"));
    assert_eq!(canonical_pattern("/a/../..", true), Err(PathRefusal::AboveRoot));
}

/// Paths made of what matters: dots, slashes, escapes, and what surrounds them.
fn odd_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("//"),
        Just("."),
        Just(".."),
        Just("/../"),
        Just("/./"),
        Just("a"),
        Just("b2"),
        Just("%2e"),
        Just("%2f"),
        Just("%5c"),
        Just("\\"),
        Just(";"),
        Just("%3B"),
        Just("%25"),
        Just("%32"),
        Just("%66"),
        Just("%00"),
        Just("%c3%A9"),
        Just("{"),
        Just("F"),
        Just("2"),
        Just("%"),
        Just("~"),
        Just("%7e"),
        Just("+"),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn a_normal_form_is_its_own_normal_form(raw in odd_path(), merge: bool, strict: bool) {
        let rules = PathRules { merge_slashes: Some(merge), ..if strict { PathRules::default() } else { permissive(merge) } };
        if let Ok(once) = normalise(&raw, &rules) {
            let twice = normalise(&once, &rules);
            prop_assert!(matches!(&twice, Ok(Cow::Borrowed(_))), "{:?} is copied again", once);
            prop_assert_eq!(twice.as_deref(), Ok(&*once));
        }
    }

    #[test]
    fn a_normal_form_holds_no_dot_segment_however_often_it_is_decoded(raw in odd_path()) {
        if let Ok(path) = normalise(&raw, &permissive(true)) {
            let mut bytes = path.as_bytes().to_vec();
            for _ in 0..6 {
                let text = String::from_utf8_lossy(&bytes).replace(['\\', '\0'], "/");
                let dotted = text.split('/').any(|s| matches!(s.split(';').next(), Some("." | "..")));
                prop_assert!(!dotted, "{} from {}", text, raw);
                bytes = super::decode_all(&bytes);
            }
        }
    }

    #[test]
    fn any_text_is_answered_without_a_panic(raw in ".{0,40}") {
        if let Ok(path) = normalise(&raw, &permissive(false)) {
            prop_assert!(path.is_ascii() && path.starts_with('/'));
        }
    }
}
