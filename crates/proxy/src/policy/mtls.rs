//! `mtls`: who calls, by the certificate of the connection, or by what a trusted proxy says of one.
//!
//! A certificate is believed because the listener has checked it against its authorities; a header because the other end
//! of the connection is a trusted proxy. Headers of everybody else that tell of certificates are removed before anything
//! reads them.

mod told;

use std::{rc::Rc, sync::Arc};

use http::{HeaderName, HeaderValue};
use identity::{client_cert, xfcc};
use model::policy::mtls::{CertificateHeader, CertificateIdentity, OtherCertificates, XfccPart};
use serde_json::{Map, Value};

use self::told::Told;
use super::{
    Flow, Needs, NeedsOf, Policy,
    counted::{Counted, Metric},
    credentials,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::{Consumer, Consumers},
    failure::{Failure, Problem},
    template,
};

static METRIC: Metric = Metric {
    name: "tidegate_mtls_total",
    help: "Calls by what their certificate came to: `known`, let in by an entry of the configuration; `other`, let in \
           without one; `anonymous` and `missing` had none; `refused`.",
    outcomes: &["known", "other", "anonymous", "missing", "refused"],
    gauges: &[],
};
const KNOWN: usize = 0;
const OTHER: usize = 1;
const ANONYMOUS: usize = 2;
const MISSING: usize = 3;
const REFUSED: usize = 4;

/// There is no scheme for certificates, and a challenge there has to be (RFC 9110 §15.5.2).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Certificate");
const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// The compiled policy.
pub(crate) struct Mtls {
    identities: Vec<Identity>,
    others: OtherCertificates,
    consumers: Arc<Consumers>,
    consumer_claim: Option<Box<[Box<str>]>>,
    sent: Vec<(HeaderName, Box<[Box<str>]>)>,
    trusted: Option<CertificateHeader>,
    xfcc: Option<xfcc::Parts>,
    client_cert: bool,
    client_cert_chain: bool,
    anonymous: Option<Arc<Consumer>>,
    counted: Arc<Counted>,
}

/// An entry, with its consumer.
struct Identity {
    rules: CertificateIdentity,
    /// In small letters, without colons.
    fingerprint: Option<String>,
    consumer: Option<Arc<Consumer>>,
}

impl Identity {
    fn compile(rules: &CertificateIdentity, consumers: &Consumers) -> Result<Self, String> {
        let consumer = rules.consumer.as_deref().map(|name| {
            consumers.named(name).cloned().ok_or_else(|| format!("`consumer` names no consumer: `{name}`"))
        });
        let digits = |text: &String| text.replace(':', "").to_ascii_lowercase();
        let fingerprint = rules.fingerprint.as_ref().map(digits);
        Ok(Self { rules: rules.clone(), fingerprint, consumer: consumer.transpose()? })
    }

    /// Whether everything that it says is so.
    fn fits(&self, told: &Told) -> bool {
        let (rules, names) = (&self.rules, &*told.names);
        let is = |wanted: &Option<String>, is_so: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(is_so);
        is(&rules.subject, &|wanted| names.distinguished == wanted)
            && is(&rules.issuer, &|wanted| names.issuer == wanted)
            && is(&rules.common_name, &|wanted| names.common_name.as_deref() == Some(wanted))
            && is(&rules.dns, &|wanted| names.dns.iter().any(|name| is_of(name, wanted)))
            && is(&rules.uri, &|wanted| {
                names.uris.iter().any(|uri| match wanted.strip_suffix('*') {
                    Some(begin) => uri.starts_with(begin),
                    None => uri == wanted,
                })
            })
            && is(&rules.email, &|wanted| names.emails.iter().any(|email| email == wanted))
            && self.fingerprint.as_ref().is_none_or(|wanted| told.fingerprint.as_deref() == Some(wanted))
    }
}

/// Whether a DNS name is the wanted one; `*.` covers one label.
fn is_of(name: &str, wanted: &str) -> bool {
    match wanted.strip_prefix("*.") {
        Some(rest) => name.split_once('.').is_some_and(|(label, after)| {
            !label.is_empty() && label != "*" && after.eq_ignore_ascii_case(rest)
        }),
        None => name.eq_ignore_ascii_case(wanted),
    }
}

impl Mtls {
    pub(crate) fn compile(settings: &model::policy::Mtls, cx: &Building<'_>) -> Result<Self, String> {
        let consumers = credentials::consumers(cx)?;
        let identity = |(index, rules): (usize, &CertificateIdentity)| {
            Identity::compile(rules, &consumers).map_err(|error| format!("`identities[{index}]`: {error}"))
        };
        let path = |claim: &str| claim.split('.').map(Into::into).collect();
        let parts = settings.forward.xfcc.as_ref().map(|parts| {
            let has = |part| parts.contains(&part);
            xfcc::Parts {
                subject: has(XfccPart::Subject),
                uri: has(XfccPart::Uri),
                dns: has(XfccPart::Dns),
                cert: has(XfccPart::Cert),
                chain: has(XfccPart::Chain),
            }
        });
        Ok(Self {
            identities: settings.identities.iter().enumerate().map(identity).collect::<Result<_, _>>()?,
            others: settings.others,
            consumer_claim: settings.consumer_claim.as_deref().map(path),
            sent: settings
                .claims_to_headers
                .iter()
                .map(|(name, claim)| (name.to_http(), path(claim)))
                .collect(),
            trusted: settings.trusted_header,
            xfcc: parts,
            client_cert: settings.forward.client_cert,
            client_cert_chain: settings.forward.client_cert_chain,
            anonymous: credentials::anonymous(settings.anonymous.as_deref(), &consumers)?,
            consumers,
            counted: Counted::of(&METRIC, cx),
        })
    }

    /// What is known of the caller's certificate: by the word of a proxy, where one is trusted, else by the connection.
    fn told(&self, call: &Call) -> Result<Option<Told>, &'static str> {
        if let Some(header) = self.trusted
            && call.listener().trusts(call.peer.ip())
        {
            return told::by_header(header, &call.head.headers);
        }
        Ok(call.peer.tls.as_ref().and_then(|tls| tls.client.as_ref()).map(Told::of_connection))
    }

    fn refused(&self, hint: &str) -> Failure {
        self.counted.note(REFUSED);
        credentials::unauthenticated(&CHALLENGE, hint)
    }

    fn enter(&self, call: &mut Call, told: &Told) -> Result<(), Failure> {
        let identity = self.identities.iter().find(|identity| identity.fits(told));
        let has_entries = !self.identities.is_empty();
        if identity.is_none() && has_entries && self.others == OtherCertificates::Deny {
            self.counted.note(REFUSED);
            return Err(Failure::refused(Problem::Forbidden)
                .with_hint("this certificate is none of those that may call")
                .with_detail(format!("no identity fits {}", told.names.distinguished)));
        }
        let name = identity.and_then(|identity| identity.rules.name.as_deref());
        let claims = told.claims(name);
        let consumer = match identity.and_then(|identity| identity.consumer.as_ref()) {
            Some(consumer) => Some(consumer),
            None => self.consumer(told, &claims)?,
        };
        match consumer {
            Some(consumer) => credentials::enter(call, consumer, &CHALLENGE)?,
            None => Consumer::step_aside(call),
        }
        self.counted.note(if identity.is_some() { KNOWN } else { OTHER });
        for (name, path) in &self.sent {
            let value = template::claim(&claims, path).and_then(template::claim_text);
            // A value that no header can hold is not sent, in whole or in part.
            if let Some(Ok(value)) = value.map(|text| HeaderValue::from_str(&text)) {
                call.head.headers.insert(name, value);
            }
        }
        // Who shows a token beside it is who the token says, on this connection.
        if call.claims.is_none() {
            call.claims = Some(Rc::new(claims));
        }
        self.forward(call, told);
        Ok(())
    }

    /// The consumer that the certificate is of, by what it says; of several names each may be the one.
    fn consumer(&self, told: &Told, claims: &Map<String, Value>) -> Result<Option<&Arc<Consumer>>, Failure> {
        let issuer = told.names.issuer.as_str();
        for key in ["uri", "dns", "email"] {
            for one in claims.get(key).and_then(Value::as_array).into_iter().flatten() {
                let alone = Map::from_iter([(key.to_owned(), one.clone())]);
                if let Some(consumer) = self.consumers.with_claims(issuer, &alone) {
                    return Ok(Some(consumer));
                }
            }
        }
        let plain = claims.iter().filter(|(_, value)| value.is_string());
        let plain = plain.map(|(key, value)| (key.clone(), value.clone())).collect();
        if let Some(consumer) = self.consumers.with_claims(issuer, &plain) {
            return Ok(Some(consumer));
        }
        let Some(path) = &self.consumer_claim else { return Ok(None) };
        let found = match template::claim(claims, path) {
            Some(Value::Array(all)) => {
                all.iter().find_map(|one| self.consumers.named(one.as_str().unwrap_or_default()))
            }
            Some(Value::String(one)) => self.consumers.named(one),
            _ => None,
        };
        found.map(Some).ok_or_else(|| self.refused("the certificate names no consumer"))
    }

    /// Tells the upstream of the certificate.
    fn forward(&self, call: &mut Call, told: &Told) {
        let headers = &mut call.head.headers;
        let chain: Vec<&[u8]> = told.chain.iter().map(|one| &**one).collect();
        let mut set = |name: HeaderName, text: String| {
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                headers.insert(name, value);
            }
        };
        if let (Some(parts), Some(hash)) = (self.xfcc, &told.fingerprint) {
            set(XFCC, xfcc::element(&told.names, hash, &chain, parts));
        }
        if let (true, Some(leaf)) = (self.client_cert, chain.first()) {
            set(CLIENT_CERT, client_cert::write(leaf));
        }
        if let (true, Some(rest)) = (self.client_cert_chain, chain.get(1..).filter(|rest| !rest.is_empty())) {
            set(CLIENT_CERT_CHAIN, client_cert::write_chain(rest));
        }
    }
}

impl NeedsOf for model::policy::Mtls {
    fn needs(&self) -> Needs {
        let told = Self::HEADERS.map(HeaderName::from_static);
        let sent = self.claims_to_headers.keys().map(model::HeaderName::to_http);
        let identity: Vec<HeaderName> = sent.chain(told).collect();
        Needs { headers: identity.clone(), identity, ..Needs::default() }
    }
}

impl Policy for Mtls {
    fn is_shown(&self, call: &Call) -> bool {
        !matches!(self.told(call), Ok(None))
    }

    fn conceal(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool, _: &dyn Fn(&str) -> bool) {
        for name in [XFCC, CLIENT_CERT, CLIENT_CERT_CHAIN].iter().filter(|name| !stays(name)) {
            call.head.headers.remove(name);
        }
    }

    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let told = self.told(call);
        // Whatever comes of it, these headers say only what this policy has found out.
        let own = [XFCC, CLIENT_CERT, CLIENT_CERT_CHAIN];
        for name in self.sent.iter().map(|(name, _)| name).chain(&own) {
            call.head.headers.remove(name);
        }
        match told {
            Ok(Some(told)) => self.enter(call, &told).map_or_else(Flow::Fail, |()| Flow::Continue),
            Err(why) => {
                Flow::Fail(self.refused("what is told of a certificate is malformed").with_detail(why))
            }
            Ok(None) => match &self.anonymous {
                Some(consumer) => {
                    self.counted.note(ANONYMOUS);
                    consumer.stand_in(call);
                    Flow::Continue
                }
                None => {
                    self.counted.note(MISSING);
                    Flow::Fail(credentials::unauthenticated(&CHALLENGE, "a client certificate is needed"))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use identity::names::Names;

    use super::*;

    fn told(subject: &str, dns: &[&str], uris: &[&str]) -> Told {
        let names = Names {
            distinguished: subject.to_owned(),
            issuer: "CN=ca".to_owned(),
            common_name: Some("client".to_owned()),
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
            ..Names::default()
        };
        Told { names: Arc::new(names), fingerprint: Some("ab".repeat(32).into()), chain: Arc::new([]) }
    }

    #[test]
    fn an_entry_fits_when_everything_that_it_says_is_so() {
        let told = told("CN=client,O=a", &["x.partner.test"], &["spiffe://a/ns/shop"]);
        let check = |yaml: serde_json::Value, want: bool| {
            let rules: CertificateIdentity = serde_json::from_value(yaml.clone()).expect("an entry");
            let identity = Identity::compile(&rules, &Consumers::default()).expect("an identity");
            assert_eq!(identity.fits(&told), want, "{yaml}");
        };
        use serde_json::json;
        check(json!({"subject": "CN=client,O=a"}), true);
        check(json!({"subject": "CN=client"}), false);
        check(json!({"dns": "*.partner.test"}), true);
        check(json!({"dns": "*.test"}), false);
        check(json!({"dns": "X.partner.test", "issuer": "CN=ca"}), true);
        check(json!({"dns": "x.partner.test", "issuer": "CN=another"}), false);
        check(json!({"uri": "spiffe://a/*"}), true);
        check(json!({"uri": "spiffe://a/"}), false);
        check(json!({"fingerprint": (["AB"; 32].join(":"))}), true);
        check(json!({"fingerprint": ("ab".repeat(31) + "ac")}), false);
        check(json!({"email": "a@b"}), false);
        check(json!({"commonName": "client"}), true);
    }
}
