//! AWS Signature Version 4 in header fields, as the AWS reference "Create a signed AWS API request" has it.
//!
//! Signed are the host, the type of the body and every `x-amz-*` field; what connections add on the way is not. S3 has
//! rules of its own: its paths are encoded once, and the digest of the body stands in a field.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use http::{HeaderMap, HeaderValue, Uri, header};

/// An access key.
#[derive(Clone)]
pub struct AccessKey {
    /// What it is called.
    pub id: String,
    /// What signs.
    pub secret: String,
    /// Of a temporary key.
    pub token: Option<String>,
}

/// What a signature is for.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Where the service is.
    pub region: String,
    /// What it is called.
    pub service: String,
}

impl Scope {
    /// Whether it is S3, or what speaks as it does.
    pub fn is_s3(&self) -> bool {
        is_s3(&self.service)
    }
}

/// Whether a service is S3, or speaks as it does.
pub fn is_s3(service: &str) -> bool {
    matches!(service, "s3" | "s3-object-lambda" | "s3-outposts")
}

/// What of the body is signed.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'b> {
    /// All of it.
    Signed(&'b [u8]),
    /// Nothing (`UNSIGNED-PAYLOAD`), which S3 takes.
    Unsigned,
}

impl Payload<'_> {
    fn digest(self) -> String {
        match self {
            Self::Signed(body) => hex(sha256(body).as_ref()),
            Self::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
        }
    }
}

/// Signs a request: sets `x-amz-date`, `x-amz-security-token`, `authorization`, and for S3 `x-amz-content-sha256`. `host`
/// must be set already.
///
/// # Errors
/// When the key holds what no header can.
pub fn sign(
    key: &AccessKey,
    scope: &Scope,
    method: &str,
    uri: &Uri,
    headers: &mut HeaderMap,
    payload: Payload<'_>,
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
    let digest = payload.digest();
    if scope.is_s3() {
        headers.insert("x-amz-content-sha256", value(&digest)?);
    }
    let (canonical, signed) = canonical(method, uri, headers, &digest, scope.is_s3());
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
fn canonical(method: &str, uri: &Uri, headers: &HeaderMap, digest: &str, is_s3: bool) -> (String, String) {
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
    // Every service but S3 digests the path as it is sent, in its shortest form and encoded once more.
    let path = match is_s3 {
        true => encoded(&decoded(uri.path()), true),
        false => encoded(shortest(uri.path()).as_bytes(), true),
    };
    let query = query(uri.query().unwrap_or_default());
    (format!("{method}\n{path}\n{query}\n{fields}\n{signed}\n{digest}"), signed)
}

fn is_signed(name: &str) -> bool {
    matches!(name, "host" | "content-type") || name.starts_with("x-amz-")
}

/// A path without empty parts and dots (RFC 3986 §5.2.4).
fn shortest(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
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
        sign(&key, &scope, method, &uri, &mut headers, Payload::Signed(body.as_bytes()), at).expect("signed");
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
        let path = |uri: &str, is_s3| {
            let uri: Uri = uri.parse().expect("a path");
            let (text, _) = canonical("POST", &uri, &HeaderMap::new(), "", is_s3);
            text.lines().nth(1).expect("a path").to_owned()
        };
        assert_eq!(path("/model/a%3A0/converse", false), "/model/a%253A0/converse");
        assert_eq!(path("//a/.././b//c/", false), "/b/c/");
        assert_eq!(path("/", false), "/");
        // S3 takes a name as it is, also where it looks like a path that could be shorter.
        assert_eq!(path("/bucket//a%2Bb/../c(1)", true), "/bucket//a%2Bb/../c%281%29");
    }

    #[test]
    fn s3_has_the_digest_in_a_field_and_takes_bodies_that_nobody_has_digested() {
        let key = AccessKey { id: "AKID".into(), secret: "s".into(), token: None };
        let scope = Scope { region: "us-east-1".into(), service: "s3".into() };
        let uri: Uri = "/a".parse().expect("a path");
        let signed = |payload| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("b.s3.example"));
            sign(&key, &scope, "PUT", &uri, &mut headers, payload, UNIX_EPOCH).expect("signed");
            let told = headers[header::AUTHORIZATION].to_str().expect("text").to_owned();
            assert!(told.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date"), "{told}");
            headers["x-amz-content-sha256"].to_str().expect("text").to_owned()
        };
        assert_eq!(signed(Payload::Unsigned), "UNSIGNED-PAYLOAD");
        let digest = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(signed(Payload::Signed(b"foo")), digest);
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
