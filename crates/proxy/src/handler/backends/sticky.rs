//! Ties a client to the upstream and endpoint that served it before.
//!
//! The cookie holds names, not addresses that a client could choose: it is signed, and a cookie with a wrong
//! signature is as good as none.

use std::sync::Arc;

use aws_lc_rs::hmac;
use http::{HeaderName, HeaderValue, Response, header};
use model::resource::route::{SameSite, Sticky as Settings, StickyCookie};

use crate::{body::Body, call::Call, compiled::Building, hex::hex};

/// How a client is tied.
pub(crate) enum Sticky {
    Cookie(Box<Cookie>),
    Header(HeaderName),
    Consumer,
}

pub(crate) struct Cookie {
    settings: StickyCookie,
    key: hmac::Key,
}

/// What a client is tied to.
pub(crate) struct Tied {
    pub(crate) upstream: Option<String>,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) hash: Option<u64>,
}

impl Sticky {
    pub(crate) fn compile(settings: &Settings, cx: &Building<'_>) -> Result<Self, String> {
        Ok(match settings {
            Settings::Cookie(settings) => {
                let secret = cx.snapshot.secret(&settings.secret);
                if secret.len() < 16 {
                    return Err("`cookie.secret`: at least 16 characters are needed".into());
                }
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                Self::Cookie(Box::new(Cookie { settings: settings.clone(), key }))
            }
            Settings::Header(name) => Self::Header(
                HeaderName::from_bytes(name.to_string().as_bytes())
                    .map_err(|error| format!("`header`: {error}"))?,
            ),
            Settings::Consumer(_) => Self::Consumer,
        })
    }

    /// What the client of a call is tied to, if anything.
    pub(crate) fn tied(&self, call: &Call) -> Option<Tied> {
        let by_hash = |bytes: &[u8]| Tied {
            upstream: None,
            endpoint: None,
            hash: Some(resilience::hash::hash64(bytes)),
        };
        match self {
            Self::Cookie(cookie) => cookie.read(call),
            Self::Header(name) => call.head.headers.get(name).map(|value| by_hash(value.as_bytes())),
            Self::Consumer => call.consumer.as_ref().map(|consumer| by_hash(consumer.name.as_bytes())),
        }
    }

    /// Ties the client to what served it.
    pub(crate) fn tie(
        &self,
        call: &Call,
        tied: Option<&Tied>,
        upstream: &str,
        response: &mut Response<Body>,
    ) {
        let (Self::Cookie(cookie), Some(endpoint)) = (self, &call.record.endpoint) else { return };
        let is_same = tied.is_some_and(|tied| {
            tied.upstream.as_deref() == Some(upstream) && tied.endpoint.as_deref() == Some(&**endpoint)
        });
        if !is_same && let Ok(value) = HeaderValue::from_str(&cookie.write(call, upstream, endpoint)) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}

impl Cookie {
    fn read(&self, call: &Call) -> Option<Tied> {
        let name = self.settings.name.as_bytes();
        let value = call
            .head
            .headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .find_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))?;
        let text = std::str::from_utf8(value).ok()?;
        let (payload, signature) = text.rsplit_once('.')?;
        hmac::verify(&self.key, payload.as_bytes(), &unhex(signature)?).ok()?;
        let plain = String::from_utf8(unhex(payload)?).ok()?;
        let (upstream, endpoint) = plain.split_once('\n')?;
        Some(Tied { upstream: Some(upstream.to_owned()), endpoint: Some(endpoint.into()), hash: None })
    }

    fn write(&self, call: &Call, upstream: &str, endpoint: &str) -> String {
        let payload = hex(format!("{upstream}\n{endpoint}").as_bytes());
        let signature = hex(hmac::sign(&self.key, payload.as_bytes()).as_ref());
        let settings = &self.settings;
        let mut cookie = format!("{}={payload}.{signature}; Path={}; HttpOnly", settings.name, settings.path);
        if let Some(ttl) = settings.ttl {
            cookie.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        cookie.push_str(match settings.same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::Strict => "; SameSite=Strict",
            SameSite::None => "; SameSite=None",
        });
        if settings.secure.unwrap_or(call.peer.tls.is_some()) {
            cookie.push_str("; Secure");
        }
        cookie
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
