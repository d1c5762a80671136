//! What is known of a certificate, and the claims that it makes.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use identity::{client_cert, names::Names, xfcc};
use model::policy::mtls::CertificateHeader;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Map, Value};

use crate::tls::server::ClientIdentity;

/// What is known of a certificate.
pub(super) struct Told {
    pub(super) names: Arc<Names>,
    /// SHA-256, in hexadecimal.
    pub(super) fingerprint: Option<Arc<str>>,
    /// Where it is known, the certificate itself first.
    pub(super) chain: Arc<[CertificateDer<'static>]>,
}

impl Told {
    pub(super) fn of_connection(client: &ClientIdentity) -> Self {
        Self {
            names: client.names.clone(),
            fingerprint: Some(client.fingerprint.clone()),
            chain: client.chain.clone(),
        }
    }

    /// By the certificate itself.
    fn of_chain(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        ClientIdentity::of(chain).map(|client| Self::of_connection(&client))
    }

    /// What it claims. A list where there may be several, a text where there is one at most.
    pub(super) fn claims(&self, name: Option<&str>) -> Map<String, Value> {
        let names = &*self.names;
        let mut claims = Map::new();
        let subject = Some(names.distinguished.as_str()).filter(|subject| !subject.is_empty());
        let first = |all: &'_ [String]| all.first().cloned();
        let called = name
            .map(str::to_owned)
            .or_else(|| first(&names.uris))
            .or_else(|| first(&names.dns))
            .or_else(|| names.common_name.clone())
            .or_else(|| subject.map(str::to_owned));
        let mut add = |key: &str, value: Option<&str>| {
            claims
                .extend(value.filter(|value| !value.is_empty()).map(|value| (key.to_owned(), value.into())));
        };
        add("sub", called.as_deref());
        add("subject", subject);
        add("commonName", names.common_name.as_deref());
        add("issuer", Some(&names.issuer));
        add("fingerprint", self.fingerprint.as_deref());
        add("serial", Some(&names.serial));
        for (key, all) in [("dns", &names.dns), ("uri", &names.uris), ("email", &names.emails)] {
            if !all.is_empty() {
                claims.insert(key.to_owned(), all.iter().map(String::as_str).collect());
            }
        }
        claims
    }
}

/// What a trusted proxy says of its client's certificate.
pub(super) fn by_header(
    header: CertificateHeader,
    headers: &HeaderMap,
) -> Result<Option<Told>, &'static str> {
    let lines: Vec<&HeaderValue> = headers.get_all(HeaderName::from_static(header.name())).iter().collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let texts: Result<Vec<&str>, _> = lines.iter().map(|line| std::str::from_utf8(line.as_bytes())).collect();
    let text = texts.map_err(|_| "it is no text")?.join(",");
    match header {
        CertificateHeader::ClientCert => {
            let der = client_cert::parse(&text).ok_or("it is not one byte sequence (RFC 9440)")?;
            Told::of_chain(vec![der.into()]).map(Some).ok_or("what it holds is no certificate")
        }
        CertificateHeader::Xfcc => {
            let element =
                xfcc::parse(&text).and_then(|mut all| all.pop()).ok_or("it is not as Envoy writes it")?;
            of_element(element).map(Some)
        }
    }
}

/// By an element, and where that has the certificate, by this alone.
fn of_element(element: xfcc::Element) -> Result<Told, &'static str> {
    if let Some(pem) = element.chain.or(element.cert) {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let chain = chain.map_err(|_| "what it holds is no certificate in PEM")?;
        let told = Told::of_chain(chain).ok_or("what it holds is no certificate")?;
        if element.hash.is_some() && element.hash.as_deref() != told.fingerprint.as_deref() {
            return Err("its hash is that of another certificate");
        }
        return Ok(told);
    }
    let fingerprint: Option<Arc<str>> = element.hash.filter(|hash| !hash.is_empty()).map(Into::into);
    let distinguished = element.subject.unwrap_or_default();
    if fingerprint.is_none() && distinguished.is_empty() && element.uris.is_empty() && element.dns.is_empty()
    {
        return Err("it says nothing of a certificate");
    }
    let common_name = common_name(&distinguished);
    let (uris, dns) = (element.uris, element.dns);
    let names =
        Names { subject: distinguished.clone(), distinguished, common_name, uris, dns, ..Names::default() };
    Ok(Told { names: Arc::new(names), fingerprint, chain: Arc::new([]) })
}

/// The common name in a subject that RFC 4514 wrote: of an attribute of its own, without anything escaped.
fn common_name(subject: &str) -> Option<String> {
    if subject.contains(['\\', '"', '+']) {
        return None;
    }
    subject.split(',').find_map(|part| part.trim().strip_prefix("CN=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: CertificateHeader, values: &[&str]) -> Result<Option<Told>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_str(value).expect("a value");
            headers.append(HeaderName::from_static(header.name()), value);
        }
        by_header(header, &headers)
    }

    #[test]
    fn of_several_elements_the_last_counts_and_what_is_malformed_is_an_error() {
        let told =
            of(CertificateHeader::Xfcc, &["Hash=aa;URI=forged", "Hash=bb;URI=mine;Subject=\"CN=x,O=y\""]);
        let told = told.expect("well-formed").expect("a certificate");
        assert_eq!(
            (told.fingerprint.as_deref(), &told.names.uris[..]),
            (Some("bb"), &["mine".to_owned()][..])
        );
        assert_eq!(told.names.common_name.as_deref(), Some("x"));
        assert!(of(CertificateHeader::Xfcc, &[]).is_ok_and(|told| told.is_none()));
        for text in ["", "Hash=", "By=a", "nonsense", "Cert=abc"] {
            assert!(of(CertificateHeader::Xfcc, &[text]).is_err(), "{text}");
        }
        for values in [&[":YQ==:"][..], &["YQ=="], &[":YQ==:", ":YQ==:"]] {
            assert!(of(CertificateHeader::ClientCert, values).is_err(), "{values:?}");
        }
    }

    #[test]
    fn a_common_name_is_read_only_where_nothing_is_escaped() {
        for (subject, want) in
            [("CN=a,O=b", Some("a")), ("O=b,CN=a", Some("a")), (r"O=b\,CN=root,CN=a", None), ("O=b", None)]
        {
            assert_eq!(common_name(subject).as_deref(), want, "{subject}");
        }
    }
}
