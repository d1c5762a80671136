//! AWS Signature Version 4 in header fields, as the AWS reference "Create a signed AWS API request" has it.
//!
//! Signed are the host, the type of the body and every `x-amz-*` field; what connections add on the way is not.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use http::{HeaderMap, HeaderValue, Uri, header};

/// An access key.
#[derive(Clone)]
pub(crate) struct AccessKey {
    pub(super) id: String,
    pub(super) secret: String,
    /// Of a temporary key.
    pub(super) token: Option<String>,
}

/// What a signature is for.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) region: String,
    pub(super) service: String,
}

/// Signs a request: sets `x-amz-date`, `x-amz-security-token` and `authorization`. `host` must be set already.
pub(super) fn sign(
    key: &AccessKey,
    scope: &Scope,
    method: &str,
    uri: &Uri,
    headers: &mut HeaderMap,
    body: &[u8],
    at: SystemTime,
) -> Result<(), String> {
    let stamp = stamp(at);
    let day = stamp.get(..8).unwrap_or_default();
    let value =
        |text: &str| HeaderValue::from_str(text).map_err(|_| "a byte that no header can hold".to_owned());
    headers.remove(header::AUTHORIZATION);
    headers.insert("x-amz-date", value(&stamp)?);
    match &key.token {
        Some(token) => {
            let mut token = value(token)?;
            token.set_sensitive(true);
            headers.insert("x-amz-security-token", token);
        }
        None => {
            headers.remove("x-amz-security-token");
        }
    }
    let (canonical, signed) = canonical(method, uri, headers, body);
    let within = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{within}\n{}", hex(sha256(canonical.as_bytes()).as_ref()));
    let mut derived = mac(format!("AWS4{}", key.secret).as_bytes(), day);
    for part in [&*scope.region, &*scope.service, "aws4_request"] {
        derived = mac(derived.as_ref(), part);
    }
    let signature = hex(mac(derived.as_ref(), &text).as_ref());
    let mut authorization = value(&format!(
        "AWS4-HMAC-SHA256 Credential={}/{within}, SignedHeaders={signed}, Signature={signature}",
        key.id
    ))?;
    authorization.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, authorization);
    Ok(())
}

/// The request in the one form that both sides digest, and the names of the fields in it.
fn canonical(method: &str, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> (String, String) {
    let mut names: Vec<&str> =
        headers.keys().map(http::HeaderName::as_str).filter(|name| is_signed(name)).collect();
    names.sort_unstable();
    let mut fields = String::new();
    for name in &names {
        let values: Vec<String> = headers
            .get_all(*name)
            .iter()
            .map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes());
                text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        fields.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    let signed = names.join(";");
    // Every service but S3 digests the path as it is sent, encoded once more.
    let path = encoded(uri.path().as_bytes(), true);
    let query = query(uri.query().unwrap_or_default());
    let digest = hex(sha256(body).as_ref());
    (format!("{method}\n{path}\n{query}\n{fields}\n{signed}\n{digest}"), signed)
}

fn is_signed(name: &str) -> bool {
    matches!(name, "host" | "content-type") || name.starts_with("x-amz-")
}

/// The parameters in order, each encoded in the one way.
fn query(text: &str) -> String {
    let mut pairs: Vec<(String, String)> = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(&decoded(name), false), encoded(&decoded(value), false))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let code = text.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

fn encoded(bytes: &[u8], keeps_slashes: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || (keeps_slashes && *byte == b'/') {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20150830T123600Z`.
fn stamp(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let moon = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * moon + 2) / 5 + 1;
    let month = if moon < 10 { moon + 3 } else { moon - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2015-08-30T12:36:00Z, as in AWS's published examples.
    const AT: u64 = 1_440_938_160;

    fn check(
        method: &str,
        target: &str,
        fields: &[(&'static str, &str)],
        body: &str,
        service: &str,
        want: &str,
    ) {
        let key = AccessKey {
            id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let scope = Scope { region: "us-east-1".into(), service: service.into() };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let uri: Uri = target.parse().expect("a path");
        let at = UNIX_EPOCH + Duration::from_secs(AT);
        sign(&key, &scope, method, &uri, &mut headers, body.as_bytes(), at).expect("signed");
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        let told = headers[header::AUTHORIZATION].to_str().expect("text");
        assert_eq!(told.rsplit_once("Signature=").expect("a signature").1, want, "{method} {target} {told}");
    }

    #[test]
    fn published_requests_have_their_published_signatures() {
        let host = ("host", "example.amazonaws.com");
        check(
            "GET",
            "/?Action=ListUsers&Version=2010-05-08",
            &[
                ("host", "iam.amazonaws.com"),
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ],
            "",
            "iam",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        );
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        check("GET", "/", &[host], "", "service", vanilla);
        let ordered = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        check("GET", "/?Param2=value2&Param1=value1", &[host], "", "service", ordered);
        let post = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        check("POST", "/", &[host], "", "service", post);
        let form = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        let kind = ("content-type", "application/x-www-form-urlencoded");
        check("POST", "/", &[host, kind], "Param1=value1", "service", form);
    }

    #[test]
    fn paths_are_encoded_once_more_than_they_are_sent() {
        let uri: Uri = "/model/a%3A0/converse".parse().expect("a path");
        let (text, _) = canonical("POST", &uri, &HeaderMap::new(), b"");
        assert!(text.starts_with("POST\n/model/a%253A0/converse\n\n"), "{text}");
    }

    #[test]
    fn stamps_know_leap_days() {
        for (seconds, want) in
            [(0, "19700101T000000Z"), (1_709_209_799, "20240229T122959Z"), (AT, "20150830T123600Z")]
        {
            assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), want);
        }
    }
}
