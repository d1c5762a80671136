//! Whose tokens or money are counted together: the keys of a call, as texts that outlive the process.

use std::net::{IpAddr, Ipv6Addr};

use aws_lc_rs::digest;
use http::HeaderName;
use model::policy::token_rate_limit::MeterKey as Settings;

use super::facts::facts;
use crate::{
    call::Call,
    expression::{Expression, Scope},
    protected::of_expression,
    template,
};

/// Bytes of a digest that stand for what a caller wrote.
const DIGEST_BYTES: usize = 16;

/// How the keys of a call are found.
pub(crate) struct MeterKey {
    kind: Kind,
    ipv6_prefix: u8,
}

enum Kind {
    Consumer,
    Group,
    Model,
    Key,
    ClientAddress,
    Global,
    Header(HeaderName),
    Claim(Box<[Box<str>]>),
    Cel(Expression),
}

/// Who is counted for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subjects {
    /// These, each on its own. Names of the configuration are there as they are; what callers write, as its digest.
    Named(Vec<String>),
    /// The model, which the body names.
    Model,
}

impl Subjects {
    /// With the model known.
    pub(crate) fn resolve(&self, model: &str) -> Vec<String> {
        match self {
            Self::Named(names) => names.clone(),
            Self::Model => vec![format!("model:{model}")],
        }
    }
}

impl MeterKey {
    pub(crate) fn compile(settings: &Settings, ipv6_prefix: u8) -> Result<Self, String> {
        let kind = match settings {
            Settings::Consumer => Kind::Consumer,
            Settings::Group => Kind::Group,
            Settings::Model => Kind::Model,
            Settings::Key => Kind::Key,
            Settings::ClientAddress => Kind::ClientAddress,
            Settings::Global => Kind::Global,
            Settings::Header(name) => Kind::Header(name.to_http()),
            Settings::Claim(path) => Kind::Claim(path.split('.').map(Into::into).collect()),
            Settings::Cel(text) => Kind::Cel(
                Expression::scalar(text, Scope::Call).map_err(|error| format!("`key.cel`: {error}"))?,
            ),
        };
        Ok(Self { kind, ipv6_prefix })
    }

    /// Who is counted for this call. Kinds never share a name.
    pub(crate) fn of(&self, call: &Call) -> Subjects {
        let one = match &self.kind {
            Kind::Model => return Subjects::Model,
            Kind::Group => match &call.consumer {
                Some(consumer) if !consumer.groups.is_empty() => {
                    let mut names: Vec<String> =
                        consumer.groups.iter().map(|group| format!("group:{group}")).collect();
                    names.sort_unstable();
                    names.dedup();
                    return Subjects::Named(names);
                }
                _ => self.consumer(call),
            },
            Kind::Consumer => self.consumer(call),
            Kind::Key => match (&call.consumer, call.shown_key) {
                (Some(consumer), Some(place)) => format!("key:{}/{place}", consumer.name),
                _ => self.consumer(call),
            },
            Kind::ClientAddress => self.client(call.client),
            Kind::Global => "global".to_owned(),
            Kind::Header(name) => {
                let values = call.head.headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
                digested("header", values)
            }
            Kind::Claim(path) => {
                let value = call.claims.as_deref().and_then(|claims| template::claim(claims, path));
                let value = value.and_then(template::claim_text);
                digested("claim", value.iter().map(|text| text.as_bytes()))
            }
            Kind::Cel(expression) => {
                let value = expression.eval_string(&facts(call));
                digested("cel", value.iter().map(|text| text.as_bytes()))
            }
        };
        Subjects::Named(vec![one])
    }

    fn consumer(&self, call: &Call) -> String {
        match &call.consumer {
            Some(consumer) => format!("consumer:{}", consumer.name),
            None => self.client(call.client),
        }
    }

    fn client(&self, client: IpAddr) -> String {
        match client.to_canonical() {
            IpAddr::V4(v4) => format!("client:{v4}"),
            IpAddr::V6(v6) => {
                let mask = u128::MAX << (128 - u32::from(self.ipv6_prefix.clamp(1, 128)));
                format!("client:{}", Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        }
    }
}

/// What callers write is not kept as it is: it may be long, or a secret.
pub(crate) fn digested<'v>(kind: &str, values: impl Iterator<Item = &'v [u8]>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for value in values {
        context.update(&(value.len() as u64).to_be_bytes());
        context.update(value);
    }
    let digest = context.finish();
    let mut name = format!("{kind}:");
    for byte in digest.as_ref().iter().take(DIGEST_BYTES) {
        use std::fmt::Write;
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Headers that a key reads.
pub(super) fn headers_of(key: &Settings) -> Vec<HeaderName> {
    match key {
        Settings::Header(name) => vec![name.to_http()],
        Settings::Cel(text) => of_expression(text),
        Settings::Consumer
        | Settings::Group
        | Settings::Model
        | Settings::Key
        | Settings::ClientAddress
        | Settings::Global
        | Settings::Claim(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, call_in, with_header};

    fn key(settings: serde_json::Value) -> MeterKey {
        MeterKey::compile(&serde_json::from_value(settings).expect("good settings"), 64).expect("compiles")
    }

    fn named(key: &MeterKey, call: &Call) -> Vec<String> {
        key.of(call).resolve("smart")
    }

    #[test]
    fn consumers_groups_keys_and_models_are_told_by_name() {
        building("consumers: [{name: app, groups: [b, a, b], keys: [k]}]\n", |cx| {
            let mut call = call_in(cx, "GET", "/");
            for kind in ["consumer", "group", "key"] {
                assert_eq!(named(&key(serde_json::json!(kind)), &call), ["client:192.0.2.7"], "{kind}");
            }
            let consumer = cx.consumers.and_then(|all| all.named("app")).expect("a consumer");
            consumer.enter(&mut call).expect("the only one");
            call.shown_key = Some(2);
            for (kind, want) in [
                ("consumer", &["consumer:app"][..]),
                ("group", &["group:a", "group:b"]),
                ("key", &["key:app/2"]),
                ("model", &["model:smart"]),
                ("global", &["global"]),
                ("clientAddress", &["client:192.0.2.7"]),
            ] {
                assert_eq!(named(&key(serde_json::json!(kind)), &call), want, "{kind}");
            }
        });
    }

    #[test]
    fn what_callers_write_is_kept_as_its_digest() {
        let header = key(serde_json::json!({"header": "x-tenant"}));
        let of = |value| named(&header, &with_header(call("GET", "/"), "x-tenant", value)).remove(0);
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert!(!of("a-secret").contains("secret"));
        assert_ne!(of("a"), named(&header, &call("GET", "/")).remove(0));
    }
}
