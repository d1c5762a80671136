//! `mtls`: who calls, by the certificate of the connection.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authentication, Place, Settings, headers::FRAMING};
use crate::{
    HeaderName,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::{Context, scope::Named},
    rules::Around,
};

/// Finds out who calls by the client's certificate, which the listener's `tls.clientAuth` has asked for and checked, or
/// by what a trusted proxy says of one. Without a certificate: 401, or `anonymous`. What the certificate says are claims
/// (`sub`, `subject`, `commonName`, `dns`, `uri`, `email`, `issuer`, `fingerprint`, `serial`) for `{{ jwt.… }}`,
/// expressions and `acl`. `X-Forwarded-Client-Cert`, `Client-Cert` and `Client-Cert-Chain` of clients are removed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mtls {
    /// Who may come, by what their certificates say: the first that fits counts. All that the listener lets in when
    /// empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<CertificateIdentity>,
    /// What becomes of certificates that no entry of `identities` fits.
    pub others: OtherCertificates,
    /// The claim that names the consumer, such as `commonName`, for certificates that no entry and no consumer's `jwt`
    /// entry covers: then it has to name one. Off without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_claim: Option<String>,
    /// Claims that are sent on as headers, by header name. Such headers from outside are removed first.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims_to_headers: BTreeMap<HeaderName, String>,
    /// Take the word of a trusted proxy (`trustedProxies`) about the client's certificate: then the certificate of its
    /// own connection means nothing, and what it does not tell is not there. From everybody else the header is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_header: Option<CertificateHeader>,
    /// What upstreams are told of the certificate.
    pub forward: ForwardCertificate,
    /// Name of the consumer that calls without a certificate count as; without it they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<String>,
}

/// Whose certificate it is, when everything that is given here fits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificateIdentity {
    /// The subject, as RFC 4514 writes it: `CN=client,O=Partner,C=DE` (`openssl x509 -noout -subject -nameopt RFC2253`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The subject's common name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// One of the DNS names; `*.` covers one label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// One of the URIs, such as `spiffe://prod.example/ns/shop/sa/cart`; a `*` at its end stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// One of the mailboxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// SHA-256 of the certificate, in hexadecimal with or without colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Who signed it, as RFC 4514 writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The consumer that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// What whoever comes with it is called: the claim `sub`. Without it a URI, a DNS name, the common name or the
    /// subject, whichever is there first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What becomes of certificates that no entry fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OtherCertificates {
    /// 403.
    #[default]
    Deny,
    /// They are let in as what they say they are.
    Allow,
}

/// A header that tells of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CertificateHeader {
    /// Envoy's `X-Forwarded-Client-Cert`; of several elements the last counts, which is of the proxy's own client.
    Xfcc,
    /// `Client-Cert` (RFC 9440).
    ClientCert,
}

/// What upstreams are told of the certificate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ForwardCertificate {
    /// Set Envoy's `X-Forwarded-Client-Cert`, with its hash and these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xfcc: Option<Vec<XfccPart>>,
    /// Set `Client-Cert` (RFC 9440), where the certificate itself is known.
    pub client_cert: bool,
    /// Set `Client-Cert-Chain` (RFC 9440), where there is one.
    pub client_cert_chain: bool,
}

/// A part of `X-Forwarded-Client-Cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum XfccPart {
    /// The subject.
    Subject,
    /// Every URI.
    Uri,
    /// Every DNS name.
    Dns,
    /// The certificate in PEM.
    Cert,
    /// It and those that lead to its authority, in PEM.
    Chain,
}

impl Mtls {
    /// Headers that tell of certificates, none of which is the client's own.
    pub const HEADERS: [&str; 3] = ["x-forwarded-client-cert", "client-cert", "client-cert-chain"];
}

impl CertificateHeader {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xfcc => Mtls::HEADERS[0],
            Self::ClientCert => Mtls::HEADERS[1],
        }
    }
}

impl Settings for Mtls {
    fn place(&self) -> Place<'_> {
        Place::Authentication(Authentication {
            anonymous: self.anonymous.as_deref(),
            headers: self
                .trusted_header
                .map(|header| HeaderName::from_static(header.name()))
                .into_iter()
                .collect(),
            parameter: None,
            asks: self,
        })
    }

    fn tells_claims(&self) -> bool {
        true
    }

    /// Certificates begin alike.
    fn reads_keys(&self) -> bool {
        false
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        if self.trusted_header.is_none() && !around.asks_for_certificates() {
            at.warning_with(
                "no listener of this route asks clients for a certificate, so that nobody ever shows one",
                "`tls: {clientAuth: {mode: optional, caFile: …}}` at the listener, or `trustedHeader` behind a proxy",
            );
        }
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.each("identities", &self.identities, |at, one| one.validate(at));
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
        if self.identities.is_empty() && at.is_written("others") {
            at.field("others", |at| at.error("without `identities` there are no others"));
        }
        at.field("claimsToHeaders", |at| {
            for name in self.claims_to_headers.keys().map(HeaderName::as_str) {
                if FRAMING.contains(&name) || Self::HEADERS.contains(&name) {
                    at.field(name, |at| at.error(format!("`{name}` is the gateway's own to set")));
                }
            }
        });
    }
}

impl CertificateIdentity {
    fn validate(&self, at: &mut Context<'_, '_>) {
        let told = [
            &self.subject,
            &self.common_name,
            &self.dns,
            &self.uri,
            &self.email,
            &self.fingerprint,
            &self.issuer,
        ];
        if told.iter().all(|one| one.is_none()) {
            at.error_with(
                "this fits every certificate",
                "say whose it is: `subject`, `commonName`, `dns`, `uri`, `email`, `fingerprint` or `issuer`",
            );
        }
        if let Some(consumer) = &self.consumer {
            at.field("consumer", |at| at.refer(Named::Consumer, consumer));
        }
        if let Some(digest) = &self.fingerprint {
            let digits: String = digest.chars().filter(|character| *character != ':').collect();
            if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                at.field("fingerprint", |at| at.error("expected 64 hexadecimal digits, of SHA-256"));
            }
        }
        if self.uri.as_deref() == Some("*") {
            at.field("uri", |at| at.error("expected what the URI begins with before the `*`"));
        }
    }
}

impl Asks for Mtls {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        Some(demand(Certificate { rules: self.clone() }))
    }
}

/// A certificate that one of these entries fits.
struct Certificate {
    rules: Mtls,
}

impl Certificate {
    /// Whether any certificate is enough.
    fn takes_all(&self) -> bool {
        self.rules.identities.is_empty() || self.rules.others == OtherCertificates::Allow
    }
}

impl Terms for Certificate {
    fn implies(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.rules, &other.rules);
        let is_among = |one: &CertificateIdentity| theirs.identities.contains(one);
        (other.takes_all() || (!self.takes_all() && mine.identities.iter().all(is_among)))
            && (mine.trusted_header.is_none() || mine.trusted_header == theirs.trusted_header)
            && (theirs.consumer_claim.is_none() || mine.consumer_claim == theirs.consumer_claim)
    }

    fn words(&self) -> String {
        match self.takes_all() {
            true => "mtls with any certificate".to_owned(),
            false => format!("mtls with one of {} identities", self.rules.identities.len()),
        }
    }
}
