//! The names in a certificate: subject, serial number and subject alternative names (RFC 5280 §4.1, §4.2.1.6).

use std::net::IpAddr;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a certificate says about its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) subject: String,
    pub(crate) common_name: Option<String>,
    /// In hexadecimal.
    pub(crate) serial: String,
    /// In lower case.
    pub(crate) dns: Vec<String>,
    pub(crate) uris: Vec<String>,
    pub(crate) emails: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// Reads the names of a certificate.
pub(crate) fn of(der: &[u8]) -> Result<Names, String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| format!("not a certificate: {error}"))?;
    let subject = certificate.subject();
    let mut names = Names {
        subject: subject.to_string(),
        common_name: subject.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned),
        serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        ..Names::default()
    };
    let alternative = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase()),
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::RFC822Name(email) => names.emails.push((*email).to_owned()),
            GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
            _ => {}
        }
    }
    Ok(names)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

impl Names {
    /// Every alternative name, as text.
    pub(crate) fn alternatives(&self) -> impl Iterator<Item = String> + '_ {
        let texts = self.dns.iter().chain(&self.uris).chain(&self.emails).cloned();
        texts.chain(self.addresses.iter().map(ToString::to_string))
    }

    /// Whether a name that is let in is among the alternative names; `*.` covers one label.
    pub(crate) fn matches(&self, wanted: &str) -> bool {
        if let Some(rest) = wanted.strip_prefix("*.") {
            return self.dns.iter().any(|name| {
                name.split_once('.')
                    .is_some_and(|(label, after)| !label.is_empty() && after.eq_ignore_ascii_case(rest))
            });
        }
        self.dns.iter().any(|name| name.eq_ignore_ascii_case(wanted))
            || self.alternatives().any(|name| name == wanted)
    }
}
