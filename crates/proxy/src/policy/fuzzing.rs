//! What policies read from strangers: credentials, tokens, key sets, codings, keys of limits. Part of
//! [`crate::fuzzing`].

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri, header};
use http_body::Body as _;
use model::policy::rate_limit::RateLimitKey;

use super::{
    call_key,
    coding::{Caps, Coding, Decoded, Encoded, Encoder, choose, content_codings},
    credentials,
    jwt::keys::{self, Algorithm, Keys},
    jwt::token::Token,
    testing,
};
use crate::{body::Body, call::Call, failure::Failure, fuzzing::header_lines, template};

pub(crate) use super::facts::facts as facts_of;

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];
const ALGORITHMS: [Algorithm; 4] = [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

/// What a store says of so many limits: each of them once, or which of them is at its end.
pub(crate) fn limits_said(value: &::redis::Value, limits: usize) {
    super::rate_limit::said_of(value, limits);
}

/// Text of a request's query or headers. What is shown once is found; what is hidden is gone, wherever else it is
/// looked for.
pub fn credentials(bytes: &[u8]) {
    let (first, rest) = split_line(bytes);
    let mut call = testing::call("GET", "/p");
    if let Ok(text) = std::str::from_utf8(first)
        && let Ok(uri) = format!("/p?{text}").parse::<Uri>()
    {
        call.head.uri = uri;
    }
    call.head.headers.extend(header_lines(rest));
    let _ = credentials::in_header(&call.head.headers, &header::AUTHORIZATION)
        .map(|value| value.map(|value| credentials::after_scheme(value, "Bearer").map(<[u8]>::len)));
    let _ = super::basic_auth::parse(first);
    for name in ["key", "t"] {
        let path = call.path().to_owned();
        let _ = credentials::in_query(&call.head.uri, name);
        credentials::hide_in_query(&mut call, name);
        assert_eq!(credentials::in_query(&call.head.uri, name), Ok(None), "{}", call.head.uri);
        let query = call.head.uri.query().unwrap_or_default();
        assert_eq!(template::query_parameter(query, name), None, "{query}");
        assert_eq!(call.path(), path);
        if let Ok(Some(value)) = credentials::in_cookie(&call.head.headers, name)
            && let Ok(text) = std::str::from_utf8(value)
        {
            let elsewhere = template::cookie(&call, name);
            assert!(elsewhere.is_none_or(|other| other.trim() == text), "{text:?} or {elsewhere:?}");
        }
        credentials::hide_in_cookie(&mut call.head.headers, name);
        assert_eq!(credentials::in_cookie(&call.head.headers, name), Ok(None));
        assert_eq!(template::cookie(&call, name), None);
        assert!(crate::router::cookies(&call.head.headers).all(|(known, _)| known != name));
    }
}

/// A key set of our own, whose private keys nobody has any more.
const JWKS: &str = include_str!("../../../../fuzz/corpus/jwks/set");

fn judge() -> &'static Arc<super::jwt::Jwt> {
    static POLICY: OnceLock<Arc<super::jwt::Jwt>> = OnceLock::new();
    POLICY.get_or_init(|| {
        let keys = Keys::parse(JWKS.as_bytes(), &ALGORITHMS).expect("a good set");
        Arc::new(super::jwt::Jwt::over(keys, &ALGORITHMS))
    })
}

/// A token is taken apart or refused; none that a fuzzer makes is ever let in, and what is read of it has one
/// spelling.
pub fn jwt_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = Token::parse(text) {
        assert_eq!(text.matches('.').count(), 2);
        assert!(text.len() <= super::jwt::token::TOKEN_BYTES_MAX);
        let _ = token.claims();
    }
    let mut call = testing::call("GET", "/");
    let Ok(value) = HeaderValue::from_str(&format!("Bearer {text}")) else { return };
    call.head.headers.insert(header::AUTHORIZATION, value);
    call.record.started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000);
    assert!(testing::outcome(&**judge(), &mut call).is_err(), "forged: {text}");
    assert!(call.claims.is_none() && call.consumer.is_none());
}

/// A key set is read or refused, and none of its keys takes a signature that nobody made.
pub fn jwks(bytes: &[u8]) {
    let Ok(keys) = Keys::parse(bytes, &ALGORITHMS) else { return };
    for algorithm in ALGORITHMS {
        for signature in [&[0; 64][..], &[0; 256], &[1; 64], b""] {
            let verdict = keys.verify(None, algorithm, b"message", signature);
            assert_ne!(verdict, keys::Verdict::Good, "{algorithm:?}");
        }
    }
}

/// See [`super::cache::fuzzing`].
pub fn cache_fields(bytes: &[u8]) {
    super::cache::fuzzing::cache_fields(bytes);
}

fn read_all(mut body: Body) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
        if let Ok(data) = frame?.into_data() {
            out.extend_from_slice(&data);
        }
    }
    Ok(out)
}

/// Bodies in a coding that the first byte picks: what is decoded stays within its caps and does not depend on how its
/// bytes come in; what is encoded is decoded to the same.
pub fn codings(bytes: &[u8]) {
    const CAPS: Caps = Caps { size: 256 * 1024, ratio: 100 };
    let Some((pick, data)) = bytes.split_first() else { return };
    let coding = CODINGS[usize::from(*pick) % CODINGS.len()];
    let decode = |body: Body| {
        let decoded = Decoded::new(body, coding, CAPS).expect("a decoder");
        read_all(Body::boxed(decoded)).map_err(|failure| failure.problem())
    };
    let whole = decode(Body::Full(Bytes::copy_from_slice(data)));
    let (left, right) = data.split_at(data.len() / 3);
    let halves = decode(testing::chunks([left, right]));
    if let (Ok(whole), Ok(halves)) = (&whole, &halves) {
        assert_eq!(whole, halves);
        assert!(whole.len() as u64 <= CAPS.size);
    }
    assert_eq!(whole.is_ok(), halves.is_ok(), "{whole:?} {halves:?}");
    let level = u32::from(*pick) / 32 + 1;
    let encoded =
        Encoded::new(testing::chunks([left, right]), Encoder::new(coding, level).expect("an encoder"));
    let encoded = read_all(Body::boxed(encoded)).expect("encoded");
    let wide = Caps { size: 1 << 30, ratio: u64::MAX };
    let decoded = Decoded::new(Body::Full(encoded.into()), coding, wide).expect("a decoder");
    assert!(read_all(Body::boxed(decoded)).expect("decoded") == data, "{coding:?} at level {level}");
}

/// `Accept-Encoding` and `Content-Encoding`: only a coding that is named, or `*`, is chosen.
pub fn accept_encoding(bytes: &[u8]) {
    let headers = header_lines(bytes);
    let chosen = choose(&headers, &CODINGS);
    if let Some(coding) = chosen {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter();
        let text: String = values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
        let text = text.to_ascii_lowercase();
        assert!(text.contains(coding.name()) || text.contains('*'), "{text}");
        assert_eq!(choose(&headers, &[coding]), chosen, "it is liked alone, too");
    }
    assert!(content_codings(&headers).iter().all(|name| !name.is_empty() && !name.contains(',')));
}

/// Keys of limits: a call has one key, another header value another, and the client's address none of them.
pub fn rate_key(bytes: &[u8]) {
    static KEYS: OnceLock<(call_key::KeyHasher, Vec<call_key::CallKey>)> = OnceLock::new();
    let (hasher, keys) = KEYS.get_or_init(|| {
        let settings = [
            RateLimitKey::Header("x-tenant".parse().expect("a name")),
            RateLimitKey::Claim("org.id".into()),
            RateLimitKey::Cel("request.headers['x-tenant']".into()),
            RateLimitKey::ClientAddress,
        ];
        let compile = |one| call_key::CallKey::compile(one, 64).expect("good settings");
        (call_key::KeyHasher::default(), settings.iter().map(compile).collect())
    });
    let call = |headers: &[u8]| -> Call {
        let mut call = testing::call("GET", "/");
        call.head.headers.extend(header_lines(headers));
        if let Ok(claims) = serde_json::from_slice(headers) {
            call.claims = Some(std::rc::Rc::new(claims));
        }
        call
    };
    let (one, plain) = (call(bytes), call(b""));
    let of = |call: &Call| keys.iter().map(|key| key.of(call, hasher)).collect::<Vec<_>>();
    assert_eq!(of(&one), of(&one));
    assert_eq!(of(&one)[3], of(&plain)[3], "the address is no header");
    let name = HeaderName::from_static("x-tenant");
    let values = |call: &Call| call.head.headers.get_all(&name).iter().cloned().collect::<Vec<_>>();
    assert_eq!(values(&one) == values(&plain), of(&one)[0] == of(&plain)[0]);
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}
