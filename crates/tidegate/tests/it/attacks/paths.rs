//! Paths of more than one name, against a prefix that asks for a key and against one that asks for a group.

use super::row::{BAD, Row, play, row, status, target};

const GUARDED: &[u16] = &[401];
const FORBIDDEN: &[u16] = &[403];
const NOWHERE: &[u16] = &[404];

fn forms() -> Vec<Row> {
    let at = |name: &str, source, path: &str, answers| row(name, source, target(path), answers);
    vec![
        // Spellings of the guarded path itself.
        at("encoded dots", "CVE-2021-41773", "/api/%2e%2e/admin", GUARDED),
        at("dots", "RFC 3986 §5.2.4", "/api/../admin", GUARDED),
        at("mixed dots", "CVE-2021-41773", "/api/.%2E/admin", GUARDED),
        at("dots in a row", "RFC 3986 §5.2.4", "/api/a/b/../../../admin", GUARDED),
        at("dots behind", "RFC 3986 §5.2.4", "/admin/x/..", GUARDED),
        at("dot", "RFC 3986 §5.2.4", "/./admin", GUARDED),
        at("encoded dot", "RFC 3986 §6.2.2.3", "/%2e/admin", GUARDED),
        at("dot behind", "RFC 3986 §5.2.4", "/admin/.", GUARDED),
        at("merged slashes", "RFC 3986 §3.3", "//admin", GUARDED),
        at("more slashes", "RFC 3986 §3.3", "///admin//", GUARDED),
        at("slashes and dots", "CVE-2019-9901", "/api//../admin", GUARDED),
        at("encoded letter", "RFC 3986 §2.3", "/%61dmin", GUARDED),
        at("encoded letters", "RFC 3986 §2.3", "/%61%64%6D%69%6e", GUARDED),
        at("slash at the end", "RFC 3986 §6.2.3", "/admin/", GUARDED),
        at("query", "RFC 3986 §3.4", "/admin?/api/x", GUARDED),
        at("query of dots", "RFC 3986 §3.4", "/admin?/../api/x", GUARDED),
        at("absolute form", "RFC 9112 §3.2.2", "http://a.test/admin", GUARDED),
        at("absolute form with dots", "RFC 9112 §3.2.2", "http://a.test/api/../admin", GUARDED),
        // Other paths: no spelling of it, and nobody's.
        at("capitals", "RFC 3986 §6.2.2.1", "/ADMIN", NOWHERE),
        at("space at the end", "CVE-2020-17523", "/admin%20", NOWHERE),
        at("dot at the end", "RFC 3986 §3.3", "/admin.", NOWHERE),
        at("suffix", "RFC 3986 §3.3", "/admin.json", NOWHERE),
        at("longer name", "RFC 3986 §3.3", "/administrator", NOWHERE),
        at("encoded query", "RFC 3986 §2.2", "/admin%3f", NOWHERE),
        at("encoded fragment", "RFC 3986 §2.2", "/admin%23", NOWHERE),
        at("line end", "CVE-2022-22978", "/admin%e2%80%a8", NOWHERE),
        at("wide letter", "Unicode UTS 39", "/%ef%bd%81dmin", NOWHERE),
        at("zero width", "Unicode UTS 39", "/%e2%80%8badmin", NOWHERE),
        // Refused: two readers would go to two places.
        at("above the root", "RFC 3986 §5.2.4", "/../admin", BAD),
        at("far above", "CVE-2021-42013", "/api/../../admin", BAD),
        at("encoded above", "CVE-2021-41773", "/%2e%2e/admin", BAD),
        at("encoded slash", "CVE-2021-29492", "/api/..%2fadmin", BAD),
        at("encoded slash alone", "CVE-2021-29492", "/api%2fadmin", BAD),
        at("encoded slash in capitals", "CVE-2021-29492", "/api%2F..%2Fadmin", BAD),
        at("double encoding", "CVE-2021-42013", "/api/%252e%252e/admin", BAD),
        at("triple encoding", "CVE-2021-42013", "/api/%25252e%25252e/admin", BAD),
        at("doubly encoded slash", "CVE-2020-17519", "/api/..%252fadmin", BAD),
        at("doubly encoded digits", "CVE-2021-42013", "/api/%%32%65%%32%65/admin", BAD),
        at("doubly encoded letter", "CVE-2020-17519", "/%2561dmin", BAD),
        at("backslash", "CVE-2018-1271", "/api/..\\admin", BAD),
        at("backslash for the slash", "CVE-2018-1271", "\\admin", BAD),
        at("encoded backslash", "CVE-2018-1271", "/api/..%5cadmin", BAD),
        at("encoded backslash alone", "CVE-2018-1271", "/api%5cadmin", BAD),
        at("dots and semicolon", "CVE-2020-5902", "/api/..;/admin", BAD),
        at("dot and semicolon", "CVE-2020-5902", "/api/.;/../admin", BAD),
        at("semicolon", "CVE-2020-11989", "/admin;x=1", BAD),
        at("semicolon before", "CVE-2020-1957", "/;/admin", BAD),
        at("encoded semicolon", "CVE-2020-11989", "/admin%3bx=1", BAD),
        at("session id", "CVE-2020-1957", "/admin;jsessionid=1/x", BAD),
        at("NUL", "CVE-2006-7243", "/admin%00", BAD),
        at("NUL and suffix", "CVE-2006-7243", "/admin%00.png", BAD),
        at("raw NUL", "CVE-2006-7243", "/admin\0", BAD),
        at("tab", "RFC 3986 §2", "/admin%09", BAD),
        at("raw tab", "RFC 9112 §3", "/admin\t", BAD),
        at("bad escape", "RFC 3986 §2.1", "/api/%zz", BAD),
        at("half an escape", "RFC 3986 §2.1", "/api/%6", BAD),
        at("escape of nothing", "RFC 3986 §2.1", "/admin%", BAD),
        at("escape with a sign", "RFC 3986 §2.1", "/api/%+2e", BAD),
        at("%u escape", "RFC 3986 §2.1", "/api/%u002e%u002e/admin", BAD),
        at("encoded newline", "CVE-2016-5699", "/api/%0d%0aX:y", BAD),
        at("overlong dots", "CVE-2000-0884", "/api/%c0%ae%c0%ae/admin", BAD),
        at("overlong slash", "CVE-2000-0884", "/api%c0%afadmin", BAD),
        at("overlong dot of three", "RFC 3629 §3", "/api/%e0%80%ae%e0%80%ae/admin", BAD),
        at("overlong dot of four", "RFC 3629 §3", "/api/%f0%80%80%ae/admin", BAD),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = forms();
    // The same against a prefix that a key opens and a group does not: whoever has a key is still kept out.
    let staff = rows.clone().into_iter().filter_map(|mut row| {
        let text = String::from_utf8(row.bytes).ok()?;
        if !text.contains("admin") {
            return None;
        }
        let text = text.replace("admin", "staff");
        row.bytes =
            text.replacen("Connection", "X-Api-Key: key-of-the-outsider\r\nConnection", 1).into_bytes();
        row.name = format!("{}, by an outsider", row.name);
        if row.answers == GUARDED {
            row.answers = FORBIDDEN;
        }
        Some(row)
    });
    rows.extend(staff.collect::<Vec<_>>());
    rows
}

#[test]
fn no_spelling_of_a_path_gets_past_its_policies() {
    play(rows(), status);
}
