//! Where a caller is between 0 and 1: the same place on every gateway, and for every share.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderName, HeaderValue, header};
use model::policy::strangler::{StranglerCookie, StranglerKey};
use resilience::hash;

use crate::{call::Call, template};

/// Leading bits of an IPv6 address that are one caller.
const IPV6_PREFIX: u32 = 64;

/// How a caller is found.
pub(super) struct Key {
    kind: Kind,
    seed: u64,
}

enum Kind {
    Consumer,
    ClientAddress,
    Header(HeaderName),
    Claim(Box<[Box<str>]>),
    Cookie(StranglerCookie),
}

impl Key {
    pub(super) fn compile(settings: &StranglerKey, seed: &str) -> Self {
        let kind = match settings {
            StranglerKey::Consumer => Kind::Consumer,
            StranglerKey::ClientAddress => Kind::ClientAddress,
            StranglerKey::Header(name) => Kind::Header(name.to_http()),
            StranglerKey::Claim(path) => Kind::Claim(path.split('.').map(Into::into).collect()),
            StranglerKey::Cookie(cookie) => Kind::Cookie(cookie.clone()),
        };
        Self { kind, seed: hash::hash64(seed.as_bytes()) }
    }

    /// Where the caller is, and the cookie that it is to be told by from now on.
    pub(super) fn place(&self, call: &Call) -> (f64, Option<HeaderValue>) {
        let own = match &self.kind {
            Kind::ClientAddress => None,
            Kind::Consumer => call.consumer.as_ref().map(|consumer| self.hash(1, consumer.name.as_bytes())),
            Kind::Header(name) => call.head.headers.get(name).map(|value| self.hash(3, value.as_bytes())),
            Kind::Claim(path) => {
                let value = call.claims.as_deref().and_then(|claims| template::claim(claims, path));
                value.and_then(template::claim_text).map(|text| self.hash(4, text.as_bytes()))
            }
            Kind::Cookie(cookie) => match shown(call, &cookie.name) {
                Some(value) => Some(self.hash(5, value)),
                None if cookie.issue => {
                    let value = format!("{:016x}", hash::mix(call.random ^ 0x57A7_61E2));
                    let place = self.hash(5, value.as_bytes());
                    return (place, cookie_of(cookie, &value, call));
                }
                None => None,
            },
        };
        (own.unwrap_or_else(|| self.address(call.client)), None)
    }

    fn address(&self, client: IpAddr) -> f64 {
        match client.to_canonical() {
            IpAddr::V4(v4) => self.hash(2, &v4.octets()),
            IpAddr::V6(v6) => {
                let mask = u128::MAX << (128 - IPV6_PREFIX);
                self.hash(2, &Ipv6Addr::from_bits(v6.to_bits() & mask).octets())
            }
        }
    }

    /// Kinds never share a place by name: a consumer that is called like an address is not that address.
    fn hash(&self, kind: u64, bytes: &[u8]) -> f64 {
        let hash = hash::mix(hash::hash64(bytes) ^ self.seed.wrapping_add(kind));
        // The upper 53 bits are what a double holds exactly, so that the place is below 1.
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Headers that a key reads.
pub(super) fn headers(settings: &StranglerKey) -> Vec<HeaderName> {
    match settings {
        StranglerKey::Header(name) => vec![name.to_http()],
        StranglerKey::Cookie(_) => vec![header::COOKIE],
        StranglerKey::Consumer | StranglerKey::ClientAddress | StranglerKey::Claim(_) => Vec::new(),
    }
}

fn shown<'c>(call: &'c Call, name: &str) -> Option<&'c [u8]> {
    let lines = call.head.headers.get_all(header::COOKIE).iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs
        .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .filter(|value| !value.is_empty())
}

fn cookie_of(cookie: &StranglerCookie, value: &str, call: &Call) -> Option<HeaderValue> {
    let secure = if call.is_https() { "; Secure" } else { "" };
    let (name, age) = (&cookie.name, cookie.ttl.as_secs());
    HeaderValue::from_str(&format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"))
        .ok()
}
