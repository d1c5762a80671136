//! What goes along with a call: header fields as metadata, and back.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose};
use http::{HeaderMap, HeaderName, HeaderValue};

/// What is about the client's own body, connection and copies, and no metadata.
const NOT_METADATA: [&str; 26] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-range",
    "content-type",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-grpc-web",
];

fn is_protocols(name: &str) -> bool {
    name.starts_with("grpc-") || name.starts_with("connect-") || NOT_METADATA.contains(&name)
}

/// The head of a gRPC request of what a client's head has.
pub fn request(from: &HeaderMap, host: Option<&HeaderValue>) -> HeaderMap {
    let mut to = HeaderMap::with_capacity(from.len() + 4);
    for (name, value) in from {
        if is_protocols(name.as_str()) {
            continue;
        }
        match name.as_str().ends_with("-bin") {
            true => put_bytes(name, value, &mut to),
            false => drop(to.append(name.clone(), value.clone())),
        }
    }
    if let Some(host) = host {
        to.insert(http::header::HOST, host.clone());
    }
    to.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    to.insert(http::header::TE, HeaderValue::from_static("trailers"));
    to
}

/// Metadata in bytes is base64, several values with commas between them: what is none would end the call at the server,
/// for a reason that nobody finds.
fn put_bytes(name: &HeaderName, value: &HeaderValue, to: &mut HeaderMap) {
    for text in value.to_str().unwrap_or(",").split(',').map(str::trim) {
        if (!text.is_empty() || value.is_empty())
            && crate::field::base64(text).is_some()
            && let Ok(value) = HeaderValue::from_str(text)
        {
            to.append(name.clone(), value);
        }
    }
}

/// Puts the metadata of an answer into the head of the client's. `prefix` stands before each name.
pub fn answer(from: &HeaderMap, prefix: &str, to: &mut HeaderMap) {
    for (name, value) in metadata(from) {
        let name = match prefix {
            "" => Some(name.clone()),
            prefix => HeaderName::try_from(format!("{prefix}{name}")).ok(),
        };
        if let Some(name) = name {
            to.append(name, value.clone());
        }
    }
}

/// The metadata among the fields of an answer's head or trailers.
pub fn metadata(from: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    from.iter().filter(|(name, _)| !is_protocols(name.as_str()))
}

/// A deadline as `grpc-timeout` says it: at most eight digits and a unit.
pub fn timeout(left: Duration) -> HeaderValue {
    let text = match left.as_micros() {
        micros @ ..=99_999_999 => format!("{micros}u"),
        micros if micros / 1000 <= 99_999_999 => format!("{}m", micros / 1000),
        micros => format!("{}S", (micros / 1_000_000).min(99_999_999)),
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("1S"))
}

/// A value of metadata as text: bytes stay in base64, without padding as Connect has it.
pub(crate) fn text_of(value: &HeaderValue) -> String {
    match value.to_str() {
        Ok(text) => text.to_owned(),
        Err(_) => general_purpose::STANDARD_NO_PAD.encode(value.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_fits_eight_digits() {
        for (millis, want) in
            [(1, "1000u"), (90_000, "90000000u"), (100_000, "100000m"), (u64::MAX, "99999999S")]
        {
            assert_eq!(timeout(Duration::from_millis(millis)), want);
        }
    }

    #[test]
    fn what_is_about_the_clients_body_is_no_metadata() {
        let mut head = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("grpc-timeout", "1S"),
            ("connect-timeout-ms", "1"),
            ("authorization", "Bearer x"),
            ("x-id-bin", "AAE="),
            ("x-bad-bin", "no base64!"),
            ("x-many-bin", "AAE=, AAI ,no base64!"),
        ] {
            head.insert(name, HeaderValue::from_static(value));
        }
        let metadata = request(&head, None);
        let mut names: Vec<&str> = metadata.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "content-type", "te", "x-id-bin", "x-many-bin"]);
        let many: Vec<_> = metadata.get_all("x-many-bin").iter().collect();
        assert_eq!(many, ["AAE=", "AAI"]);
        assert_eq!(metadata["content-type"], "application/grpc");
    }
}
