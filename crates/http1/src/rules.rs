//! What is accepted, each line with its source. Everything else is refused, with a [`crate::ParseErrorKind`].
//!
//! | accepted | where it is written |
//! |---|---|
//! | lines end in CRLF, never in LF or CR alone | RFC 9112 §2.2 |
//! | one empty line before a request line | RFC 9112 §2.2 |
//! | `method SP target SP version`, single spaces, nothing around | RFC 9112 §3 |
//! | a method is a token, here of at most 32 bytes | RFC 9110 §9.1 |
//! | `HTTP/1.1` and `HTTP/1.0`, in capitals | RFC 9112 §2.3 |
//! | origin-form `/path?query` | RFC 9112 §3.2.1 |
//! | absolute-form with `http` or `https`, its authority equal to Host | RFC 9112 §3.2.2 |
//! | authority-form `host:port` for CONNECT alone | RFC 9112 §3.2.3 |
//! | asterisk-form for OPTIONS alone | RFC 9112 §3.2.4 |
//! | path bytes: `pchar`, `/`, and <code>[ ] ^ &#124;</code> as browsers send them | RFC 3986 §3.3, WHATWG URL §1.3 |
//! | query bytes: `pchar`, `/ ?`, and <code>[ ] { } ^ &#96; &#124; \\</code> as browsers send them | RFC 3986 §3.4, WHATWG URL §1.3 |
//! | exactly one Host on HTTP/1.1, at most one on HTTP/1.0 | RFC 9112 §3.2 |
//! | Host: name of unreserved bytes without empty labels but the last, IPv4 or bracketed IPv6, with an optional port of 0 to 65535 | RFC 9110 §7.2, RFC 3986 §3.2.2 |
//! | `HTTP-version SP 3DIGIT [SP reason]`, status 100 to 599 | RFC 9112 §4, RFC 9110 §15 |
//! | a field name is a token, directly followed by a colon | RFC 9112 §5.1 |
//! | a field value: visible ASCII, obs-text, inner SP and HTAB; white space around it is not part of it | RFC 9110 §5.5 |
//! | an empty field value | RFC 9110 §5.5 |
//! | one Content-Length of digits, below 2^63 | RFC 9110 §8.6, RFC 9112 §6.2 |
//! | one Transfer-Encoding, `chunked` in any case, on HTTP/1.1, without Content-Length | RFC 9112 §6.1, §7 |
//! | Connection: a list of tokens with perhaps empty elements; `close` wins | RFC 9110 §7.6.1, RFC 9112 §9.3 |
//! | Expect: `100-continue` in any case is told, all else passes | RFC 9110 §10.1.1 |
//! | an answer to HEAD, a 1xx, 204 or 304, and a 2xx to CONNECT have no body | RFC 9112 §6.3 |
//! | an answer without framing fields lasts until the connection closes | RFC 9112 §6.3 |
//! | a chunk size of 1 to 16 hexadecimal digits, below 2^63 | RFC 9112 §7.1 |
//! | chunk extensions `;name`, `;name=token`, `;name="quoted"` without white space, bounded over the body | RFC 9112 §7.1.1 |
//! | chunk data of exactly that size, then CRLF | RFC 9112 §7.1 |
//! | trailers of the same grammar as fields; see [`is_dropped_trailer`] | RFC 9112 §7.1.2, RFC 9110 §6.5.1 |

use http::{HeaderName, header};

use crate::{ParseErrorKind, target};

/// A longer method is refused.
pub const METHOD_BYTES_MAX: usize = 32;

const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;
const HOST: u8 = 8;
const TEXT: u8 = 16;

/// For each byte, the classes it is in.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0usize;
    while byte < 256 {
        let is_control = (byte < 0x20 && byte != 0x09) || byte == 0x7f;
        if !is_control {
            table[byte] |= TEXT;
        }
        let ascii = byte as u8;
        if ascii.is_ascii_alphanumeric() {
            table[byte] |= TOKEN | PATH | QUERY | HOST;
        }
        byte += 1;
    }
    mark(&mut table, b"!#$%&'*+-.^_`|~", TOKEN);
    mark(&mut table, b"-._~!$&'()*+,;=:@%/[]^|", PATH | QUERY);
    mark(&mut table, b"?{}`\\", QUERY);
    mark(&mut table, b"-._~", HOST);
    table
}

const fn mark(table: &mut [u8; 256], bytes: &[u8], class: u8) {
    let mut index = 0;
    while index < bytes.len() {
        table[bytes[index] as usize] |= class;
        index += 1;
    }
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all_in(TOKEN, bytes)
}

/// Whether all bytes are in a class. Bad bytes are rare, so nothing is decided before the end.
#[inline]
fn all_in(class: u8, bytes: &[u8]) -> bool {
    let (quads, rest) = bytes.as_chunks::<4>();
    let mut common = class;
    for [a, b, c, d] in quads {
        common &= CLASSES[usize::from(*a)]
            & CLASSES[usize::from(*b)]
            & CLASSES[usize::from(*c)]
            & CLASSES[usize::from(*d)];
    }
    rest.iter().fold(common, |common, byte| common & CLASSES[usize::from(*byte)]) != 0
}

pub(crate) fn are_path(bytes: &[u8]) -> bool {
    all_in(PATH, bytes)
}

pub(crate) fn is_query_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & QUERY != 0
}

pub(crate) fn are_query(bytes: &[u8]) -> bool {
    all_in(QUERY, bytes)
}

/// Whether this is a host with perhaps a port, as Host on HTTP/1.1 and `:authority` on HTTP/2 must be.
pub fn is_host(value: &[u8]) -> bool {
    target::check_host(value).is_ok()
}

/// Whether this is a query as a target of HTTP/1.1 may hold it, without its `?`.
pub fn is_query(query: &str) -> bool {
    are_query(query.as_bytes())
}

/// IPv4, and of `reg-name` its unreserved bytes: no DNS name has others, and commas and the like only serve to be
/// misread (RFC 3986 §3.2.2).
pub(crate) fn are_host(bytes: &[u8]) -> bool {
    all_in(HOST, bytes)
}

/// HTAB, SP, visible ASCII and obs-text.
pub(crate) fn is_text_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TEXT != 0
}

/// Why a version is refused: another version, or none.
#[cold]
pub(crate) fn bad_version(version: &[u8]) -> ParseErrorKind {
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => ParseErrorKind::UnsupportedVersion,
        _ => ParseErrorKind::MalformedVersion,
    }
}

/// Trailers that would move the message's borders or its addressee: their message is refused (RFC 9110 §6.5.1).
pub fn is_refused_trailer(name: &HeaderName) -> bool {
    *name == header::TRANSFER_ENCODING || *name == header::CONTENT_LENGTH || *name == header::HOST
}

/// Trailers that routing, authentication, content handling or caching would have had to see before the body
/// (RFC 9110 §6.5.1): they are left out, and the rest of the message passes.
pub fn is_dropped_trailer(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 34] = [
        header::ACCEPT_RANGES,
        header::AGE,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::COOKIE,
        header::DATE,
        header::EXPECT,
        header::EXPIRES,
        header::FORWARDED,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::LOCATION,
        header::MAX_FORWARDS,
        header::ORIGIN,
        header::PRAGMA,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::RANGE,
        header::RETRY_AFTER,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::VARY,
        header::VIA,
        header::WARNING,
        header::WWW_AUTHENTICATE,
        header::REFERER,
        header::USER_AGENT,
        header::STRICT_TRANSPORT_SECURITY,
    ];
    const PREFIXES: [&str; 5] = ["content-", "x-forwarded-", "proxy-", "access-control-", "keep-alive"];
    NAMES.contains(name) || PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}
