//! The names in a certificate: subject, issuer, serial number and subject alternative names (RFC 5280 §4.1, §4.2.1.6).

use std::net::IpAddr;

use x509_parser::{
    asn1_rs::{Any, Tag},
    prelude::{FromDer, GeneralName, X509Certificate, X509Name},
};

/// What a certificate says about its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// For people to read: a value's own commas are not told from those between.
    pub subject: String,
    /// The same as RFC 4514 writes it, where no value can be taken for another attribute.
    pub distinguished: String,
    /// Of whoever signed it, as RFC 4514 writes it.
    pub issuer: String,
    /// The first, where there are several.
    pub common_name: Option<String>,
    /// In hexadecimal.
    pub serial: String,
    /// In lower case.
    pub dns: Vec<String>,
    /// Such as those of SPIFFE.
    pub uris: Vec<String>,
    /// Mailboxes.
    pub emails: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// Who that is in one text, as Envoy says it: the first URI, else the first name of a host, else the subject.
    pub fn principal(&self) -> &str {
        self.uris.first().or(self.dns.first()).unwrap_or(&self.subject)
    }
}

/// Reads the names of a certificate.
pub fn of(der: &[u8]) -> Result<Names, String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| format!("not a certificate: {error}"))?;
    let subject = certificate.subject();
    let mut names = Names {
        subject: subject.to_string(),
        distinguished: distinguished(subject),
        issuer: distinguished(certificate.issuer()),
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

/// What attributes are called (RFC 4514 §3, and what OpenSSL calls the others that certificates have).
const ATTRIBUTES: [(&str, &str); 12] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A name as RFC 4514 writes it: the last attribute first, without spaces between, `CN=client,O=Partner,C=DE`.
fn distinguished(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|relative| {
            let one = relative.iter().map(|attribute| {
                let oid = attribute.attr_type().to_id_string();
                let known = ATTRIBUTES.iter().find(|(id, _)| *id == oid).map(|(_, name)| *name);
                format!("{}={}", known.unwrap_or(&oid), value(attribute.attr_value()))
            });
            one.collect::<Vec<_>>().join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// A value with what means something to a name escaped (RFC 4514 §2.4).
fn value(value: &Any<'_>) -> String {
    let text = match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        Tag::BmpString => {
            let units: Vec<u16> = value
                .data
                .chunks(2)
                .map(|pair| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte)))
                .collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    };
    let Some(text) = text else {
        return value.data.iter().fold("#".to_owned(), |out, byte| format!("{out}{byte:02x}"));
    };
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, character) in text.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', character]),
            '#' | ' ' if at == 0 => out.extend(['\\', character]),
            ' ' if at == last => out.push_str("\\ "),
            // No line and no header can be broken by it.
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("\\{byte:02X}"));
                }
            }
            other => out.push(other),
        }
    }
    out
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
    pub fn alternatives(&self) -> impl Iterator<Item = String> + '_ {
        let texts = self.dns.iter().chain(&self.uris).chain(&self.emails).cloned();
        texts.chain(self.addresses.iter().map(ToString::to_string))
    }

    /// Whether a name that is let in is among the alternative names; `*.` covers one label.
    pub fn matches(&self, wanted: &str) -> bool {
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
