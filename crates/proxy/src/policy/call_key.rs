//! Whose calls are counted together: the key of a limit, as a hash that tells nothing about what it was made of.

use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    net::{IpAddr, Ipv6Addr},
};

use http::HeaderName;
use model::policy::rate_limit::RateLimitKey;

use super::facts::facts;
use crate::{
    call::Call,
    expression::{Expression, Scope},
    template,
};

/// How the key of a call is found.
pub(crate) struct CallKey {
    kind: Kind,
    ipv6_prefix: u8,
}

enum Kind {
    Consumer,
    ClientAddress,
    Global,
    Header(HeaderName),
    Claim(Box<[Box<str>]>),
    Cel(Expression),
}

/// Draws a seed that keys are hashed with, so that nobody outside can make two keys meet.
#[derive(Default)]
pub(crate) struct KeyHasher(RandomState);

impl CallKey {
    pub(crate) fn compile(settings: &RateLimitKey, ipv6_prefix: u8) -> Result<Self, String> {
        if !(1..=128).contains(&ipv6_prefix) {
            return Err(format!("`ipv6Prefix` is {ipv6_prefix}; expected 1 to 128"));
        }
        let kind = match settings {
            RateLimitKey::Consumer => Kind::Consumer,
            RateLimitKey::ClientAddress => Kind::ClientAddress,
            RateLimitKey::Global => Kind::Global,
            RateLimitKey::Header(name) => Kind::Header(name.to_http()),
            RateLimitKey::Claim(path) => Kind::Claim(path.split('.').map(Into::into).collect()),
            RateLimitKey::Cel(text) => Kind::Cel(
                Expression::scalar(text, Scope::Call).map_err(|error| format!("`key.cel`: {error}"))?,
            ),
        };
        Ok(Self { kind, ipv6_prefix })
    }

    /// The key of this call. Kinds never share a key: a consumer named like an address is not that address.
    pub(crate) fn of(&self, call: &Call, hasher: &KeyHasher) -> u64 {
        let mut state = hasher.0.build_hasher();
        match &self.kind {
            Kind::Global => 0_u8.hash(&mut state),
            Kind::Consumer => match &call.consumer {
                Some(consumer) => (1_u8, &*consumer.name).hash(&mut state),
                None => self.hash_client(call.client, &mut state),
            },
            Kind::ClientAddress => self.hash_client(call.client, &mut state),
            Kind::Header(name) => {
                3_u8.hash(&mut state);
                // Every value of a repeated header counts: one more must not make another key that is chosen freely
                // beside a first one that an upstream reads.
                for value in call.head.headers.get_all(name) {
                    value.as_bytes().hash(&mut state);
                }
            }
            Kind::Claim(path) => {
                let value = call.claims.as_deref().and_then(|claims| template::claim(claims, path));
                (4_u8, value.and_then(template::claim_text)).hash(&mut state);
            }
            Kind::Cel(expression) => (5_u8, expression.eval_string(&facts(call))).hash(&mut state),
        }
        state.finish()
    }

    fn hash_client(&self, client: IpAddr, state: &mut impl Hasher) {
        2_u8.hash(state);
        match client.to_canonical() {
            IpAddr::V4(v4) => v4.hash(state),
            IpAddr::V6(v6) => {
                let mask = u128::MAX << (128 - u32::from(self.ipv6_prefix));
                Ipv6Addr::from_bits(v6.to_bits() & mask).hash(state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{call, with_claims, with_header};

    fn key(settings: serde_json::Value) -> CallKey {
        CallKey::compile(&serde_json::from_value(settings).expect("good settings"), 64).expect("compiles")
    }

    fn from(address: &str) -> Call {
        let mut call = call("GET", "/");
        call.client = address.parse().expect("an address");
        call
    }

    #[test]
    fn an_ipv6_client_is_its_whole_network() {
        let (key, hasher) = (key(serde_json::json!("clientAddress")), KeyHasher::default());
        let of = |address| key.of(&from(address), &hasher);
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }

    #[test]
    fn without_a_consumer_the_client_is_counted() {
        let hasher = KeyHasher::default();
        let consumer = key(serde_json::json!("consumer"));
        assert_ne!(consumer.of(&from("192.0.2.1"), &hasher), consumer.of(&from("192.0.2.2"), &hasher));
    }

    #[test]
    fn headers_and_claims_part_the_calls() {
        let hasher = KeyHasher::default();
        let header = key(serde_json::json!({"header": "x-tenant"}));
        let tenant = |value| header.of(&with_header(call("GET", "/"), "x-tenant", value), &hasher);
        assert_eq!(tenant("a"), tenant("a"));
        assert_ne!(tenant("a"), tenant("b"));
        assert_ne!(tenant("a"), header.of(&call("GET", "/"), &hasher));
        let claim = key(serde_json::json!({"claim": "org.id"}));
        let org = |claims| claim.of(&with_claims(call("GET", "/"), claims), &hasher);
        assert_eq!(org(r#"{"org":{"id":1}}"#), org(r#"{"org":{"id":1},"sub":"x"}"#));
        assert_ne!(org(r#"{"org":{"id":1}}"#), org(r#"{"org":{"id":2}}"#));
    }
}
