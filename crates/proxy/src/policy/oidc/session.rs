//! A session: that somebody is signed in, with the tokens that say so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::policy::jwt::token::Token;

/// That somebody is signed in. Times are in milliseconds since 1970; names are short, for browsers carry it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Session {
    /// Nobody else has it; not the id that a cookie has.
    #[serde(rename = "i")]
    pub(super) id: String,
    /// The ID token, verified when it came.
    #[serde(rename = "t")]
    pub(super) id_token: String,
    /// What the provider tells beside it.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) told: Option<Map<String, Value>>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<String>,
    /// When the access token ends, where that is known.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(super) access_ends: Option<u64>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh: Option<String>,
    #[serde(rename = "b")]
    pub(super) begun: u64,
    /// When it was last written because of a request.
    #[serde(rename = "s")]
    pub(super) seen: u64,
    /// How often its tokens were renewed.
    #[serde(rename = "n", default)]
    pub(super) renewals: u32,
}

impl Session {
    /// What is claimed of whoever it is.
    pub(super) fn claims(&self) -> Option<Map<String, Value>> {
        let mut claims = Token::parse(&self.id_token).ok()?.claims().ok()?;
        for (name, value) in self.told.iter().flatten() {
            // What is signed counts.
            if !claims.contains_key(name) {
                claims.insert(name.clone(), value.clone());
            }
        }
        Some(claims)
    }

    /// When it ends, whatever happens.
    pub(super) fn ends(&self, max_age: Duration, idle: Option<Duration>) -> u64 {
        let whole = self.begun.saturating_add(millis(max_age));
        idle.map_or(whole, |idle| whole.min(self.seen.saturating_add(millis(idle))))
    }

    /// Whether its access token ends within this time.
    pub(super) fn is_due(&self, now: u64, before: Duration) -> bool {
        self.access_ends.is_some_and(|ends| now.saturating_add(millis(before)) >= ends)
    }

    /// Whether its access token has ended.
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.access_ends.is_some_and(|ends| now >= ends)
    }
}

/// What a browser keeps of a sign-in that it has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Login {
    #[serde(rename = "s")]
    pub(super) state: String,
    #[serde(rename = "n")]
    pub(super) nonce: String,
    /// PKCE's (RFC 7636).
    #[serde(rename = "v")]
    pub(super) verifier: String,
    /// Where the provider sends the browser back to.
    #[serde(rename = "c")]
    pub(super) callback: String,
    /// Where the browser goes then: a path of the gateway's.
    #[serde(rename = "r")]
    pub(super) return_to: String,
    #[serde(rename = "b")]
    pub(super) begun: u64,
}

/// What PKCE shows of a verifier at the beginning.
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A place that a browser may be sent to after it has signed in or out: a path of the host that it asked, and nothing
/// that a browser takes for another host.
pub(super) fn is_own_path(target: &str) -> bool {
    const TARGET_BYTES_MAX: usize = 1_500;
    target.starts_with('/')
        && !target.starts_with("//")
        && target.len() <= TARGET_BYTES_MAX
        // A backslash is a slash to browsers, and tabs and line ends are nothing.
        && target.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_same_host_are_returned_to() {
        for good in ["/", "/a", "/a//b?c=//d", "/a?next=https://evil.test", "/%2F%2Fevil.test"] {
            assert!(is_own_path(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "//evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "https://evil.test",
            "/\t/evil.test",
            "/a\r\nset-cookie: b",
            "javascript:alert(1)",
            " /a",
            "/ä",
        ] {
            assert!(!is_own_path(bad), "{bad}");
        }
        assert!(!is_own_path(&format!("/{}", "a".repeat(2_000))));
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        // Appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
