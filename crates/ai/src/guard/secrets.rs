//! Keys and tokens by the beginnings that their vendors gave them so that they can be found, JSON Web Tokens, and
//! private keys in PEM.

use super::detect::{Begins, undecided};

/// Beginnings, and how many letters follow at least.
const PREFIXES: [(&str, usize); 37] = [
    ("sk-", 20),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("rk_test_", 16),
    ("whsec_", 24),
    ("AKIA", 16),
    ("ASIA", 16),
    ("ABIA", 16),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghu_", 36),
    ("ghs_", 36),
    ("ghr_", 36),
    ("github_pat_", 22),
    ("glpat-", 20),
    ("gldt-", 20),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxa-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("AIza", 35),
    ("ya29.", 20),
    ("npm_", 36),
    ("pypi-", 50),
    ("hf_", 30),
    ("dop_v1_", 64),
    ("SG.", 40),
    ("shpat_", 32),
    ("gsk_", 40),
    ("xai-", 40),
    ("pplx-", 40),
    ("dckr_pat_", 20),
    ("hvs.", 20),
    ("AGE-SECRET-KEY-1", 40),
];

/// All beginnings of what is found here.
pub(super) fn beginnings() -> impl Iterator<Item = &'static str> {
    PREFIXES.iter().map(|(prefix, _)| *prefix).chain([TOKEN, BEGIN])
}

/// By the letter that keys and tokens begin with, a bit for what may follow: the last five bits of a letter.
const SECONDS: [u32; 256] = {
    let mut seconds = [0; 256];
    let mut index = 0;
    while index < PREFIXES.len() {
        let prefix = PREFIXES[index].0.as_bytes();
        seconds[prefix[0] as usize] |= 1 << (prefix[1] & 31);
        index += 1;
    }
    seconds[b'e' as usize] |= 1 << (b'y' & 31);
    seconds
};

/// Whether a text that begins so is sure to be no key.
fn is_none(text: &[u8]) -> bool {
    match text {
        [first, second, ..] => SECONDS[usize::from(*first)] & (1 << (second & 31)) == 0,
        [first] => SECONDS[usize::from(*first)] == 0,
        [] => false,
    }
}

pub(super) fn begins(text: &str, more: bool) -> Begins {
    match text.as_bytes().first() {
        None => undecided(more),
        Some(b'-') => pem(text, more),
        Some(_) if is_none(text.as_bytes()) => Begins::No,
        Some(first) => {
            let mut open = false;
            for (prefix, least) in
                PREFIXES.iter().filter(|(prefix, _)| prefix.as_bytes().first() == Some(first))
            {
                match prefixed(text, prefix, *least, more) {
                    Begins::No => {}
                    Begins::More => open = true,
                    yes @ Begins::Yes(_) => return yes,
                }
            }
            match token(text, more) {
                Begins::No if open => Begins::More,
                other => other,
            }
        }
    }
}

/// Letters of a key that are looked at; a longer one is found by as many.
const KEY_BYTES_MAX: usize = 512;
/// Letters of the first part of a token, at most: every `eyJ` of a text may begin one.
const HEAD_BYTES_MAX: usize = 1024;
/// Letters of another part, at most.
const PART_BYTES_MAX: usize = 2048;

fn is_key_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'/' | b'=')
}

fn prefixed(text: &str, prefix: &str, least: usize, more: bool) -> Begins {
    let Some(rest) = text.strip_prefix(prefix) else {
        return if prefix.starts_with(text) { undecided(more) } else { Begins::No };
    };
    let end = rest.bytes().take(KEY_BYTES_MAX).position(|byte| !is_key_letter(byte));
    let end = end.unwrap_or(rest.len().min(KEY_BYTES_MAX));
    if end == rest.len() && more && end < KEY_BYTES_MAX {
        return Begins::More;
    }
    let key = rest[..end].trim_end_matches(['.', '-', '=', '/']);
    // Words joined by hyphens have no digits.
    let good = key.len() >= least && key.bytes().any(|byte| byte.is_ascii_digit());
    if good { Begins::Yes(prefix.len() + key.len()) } else { Begins::No }
}

/// An object in base64url.
const TOKEN: &str = "eyJ";

/// A JSON Web Token: two objects in base64url and a signature.
fn token(text: &str, more: bool) -> Begins {
    if !text.starts_with(TOKEN) {
        return if TOKEN.starts_with(text) { undecided(more) } else { Begins::No };
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let head = text.as_bytes().get(..HEAD_BYTES_MAX);
    if head.is_some_and(|head| memchr::memchr(b'.', head).is_none()) {
        return Begins::No;
    }
    let mut parts = 0;
    let mut from = 0;
    loop {
        let most = if parts == 0 { HEAD_BYTES_MAX } else { PART_BYTES_MAX };
        let end = text[from..].bytes().take(most).position(|byte| !is_part(byte)).map(|at| from + at);
        let Some(end) = end else {
            if text.len() - from >= most {
                return Begins::No;
            }
            if more {
                return Begins::More;
            }
            let good = parts == 2 && text.len() - from >= 8;
            return if good { Begins::Yes(text.len()) } else { Begins::No };
        };
        parts += 1;
        if end - from < 8 {
            return Begins::No;
        }
        match (parts, text.as_bytes()[end]) {
            (3, _) => return Begins::Yes(end),
            (1, b'.') if text[end + 1..].starts_with(TOKEN) => from = end + 1,
            (1, b'.') if more && TOKEN.starts_with(&text[end + 1..]) => return Begins::More,
            (2, b'.') => from = end + 1,
            _ => return Begins::No,
        }
    }
}

const BEGIN: &str = "-----BEGIN ";
const PRIVATE: &str = "PRIVATE KEY-----";

/// A private key from its first line to its last. One that is cut off is one as far as it goes.
fn pem(text: &str, more: bool) -> Begins {
    let Some(rest) = text.strip_prefix(BEGIN) else {
        return if BEGIN.starts_with(text) { undecided(more) } else { Begins::No };
    };
    let end =
        rest.bytes().position(|byte| !(byte.is_ascii_uppercase() || byte == b' ')).unwrap_or(rest.len());
    if end > 32 {
        return Begins::No;
    }
    let dashes = rest[end..].bytes().take_while(|byte| *byte == b'-').count();
    if end + dashes == rest.len() && dashes < 5 {
        return undecided(more);
    }
    if dashes < 5 || !format!("{}-----", &rest[..end]).ends_with(PRIVATE) {
        return Begins::No;
    }
    let from = BEGIN.len() + end + 5;
    match text[from..].find("-----END ") {
        Some(at) => {
            let last = from + at + "-----END ".len();
            match text[last..].find("-----") {
                Some(at) => Begins::Yes(last + at + 5),
                None if more => Begins::More,
                None => Begins::Yes(text.len()),
            }
        }
        None if more => Begins::More,
        None => {
            let is_body = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\r\n \\:,-".contains(&byte);
            let length = text[from..].bytes().position(|byte| !is_body(byte)).unwrap_or(text.len() - from);
            Begins::Yes(from + length)
        }
    }
}
