//! What a provider is sent beside the body: which of the caller's header fields go on, and which stay here.

use ai::{canon::Losses, dialect::Dialect};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Where vendors' SDKs put a key. All of them are ours to judge, and none goes on.
pub(crate) const CREDENTIALS: [&str; 5] =
    ["authorization", "x-api-key", "x-goog-api-key", "api-key", "proxy-authorization"];

/// What belongs to a caller's own signature, beside `authorization`.
const SIGNATURES: [&str; 3] = ["x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];

/// Fields that say where a caller is, or belong to its own session: no provider's business.
const PRIVATE: [&str; 9] = [
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-real-ip",
    "origin",
];

/// Fields that describe the body as it came, or what the caller itself can decode.
const OF_THE_BODY: [&str; 5] =
    ["content-length", "content-encoding", "accept-encoding", "content-type", "accept"];

/// Beginnings of the names that one vendor's own fields have.
const VENDORS: [(&str, &[Dialect]); 6] = [
    ("openai-", &[Dialect::OpenAiChat, Dialect::OpenAiResponses]),
    ("anthropic-", &[Dialect::Anthropic]),
    ("x-goog-", &[Dialect::Gemini]),
    ("x-amz", &[Dialect::Bedrock]),
    ("x-stainless-", &[]),
    ("x-client-name", &[Dialect::Cohere]),
];

/// The caller's fields as a provider gets them. Fields of another vendor's are left out, and named in `losses` where
/// they ask for something.
pub(super) fn headers(from: &HeaderMap, spoken: Dialect, target: Dialect, losses: &mut Losses) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(from.len() + 4);
    for (name, value) in from {
        let text = name.as_str();
        if CREDENTIALS.contains(&text)
            || SIGNATURES.contains(&text)
            || PRIVATE.contains(&text)
            || OF_THE_BODY.contains(&text)
        {
            continue;
        }
        let vendor = VENDORS.iter().find(|(begin, _)| text.starts_with(begin));
        if let Some((_, dialects)) = vendor
            && (spoken != target || !dialects.contains(&target))
        {
            // The version is a dialect's own; others ask for something.
            if spoken != target
                && !matches!(text, super::ANTHROPIC_VERSION)
                && !text.starts_with("x-stainless-")
            {
                losses.add(ai::canon::Loss::Field(text.to_owned()));
            }
            continue;
        }
        headers.append(name.clone(), value.clone());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// Adds the fields that a dialect demands.
pub(super) fn dialect_headers(headers: &mut HeaderMap, fields: &[(&'static str, String)]) {
    for (name, value) in fields {
        let name = HeaderName::from_static(name);
        if let (false, Ok(value)) = (headers.contains_key(&name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
}
