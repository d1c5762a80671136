//! TLS settings, towards clients and towards upstreams.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acme::AcmeCertificate;
use crate::FilePath;

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates; the one whose names cover the client's SNI is used. There is at least one here or under `acme`.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Certificates that the gateway gets and renews itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acme: Vec<AcmeCertificate>,
    /// Oldest version spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Cipher suites by IANA name, in order of preference; those of rustls when empty.
    #[serde(default)]
    pub cipher_suites: Vec<String>,
    /// Protocols offered by ALPN, in order; `h2` and `http/1.1` when empty.
    #[serde(default)]
    pub alpn: Vec<Alpn>,
    /// Certificates asked of clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
}

/// A certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// PEM file with the chain, leaf first.
    pub cert_file: FilePath,
    /// PEM file with the private key.
    pub key_file: FilePath,
    /// DER file with an OCSP response to staple; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_file: Option<FilePath>,
    /// Used when SNI is absent or matches none; otherwise the first certificate is.
    #[serde(default)]
    pub default: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[derive(PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// A protocol offered by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Alpn {
    /// HTTP/2.
    #[default]
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http11,
}

/// Certificates asked of clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientAuth {
    /// Whether a client may come without one.
    pub mode: ClientAuthMode,
    /// PEM file with the authorities that sign them.
    pub ca_file: FilePath,
    /// Subject alternative names that are let in (`*.partner.example` covers one label); any when empty.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// Files with lists of certificates that were taken back (CRL, PEM or DER); they are read again when they change.
    /// Nothing is looked up over the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crl_files: Vec<FilePath>,
    /// What becomes of certificates whose authority has no list among `crlFiles`.
    #[serde(default)]
    pub crl_unknown: CrlUnknown,
    /// What becomes of certificates whose list should have been renewed by now.
    #[serde(default)]
    pub crl_expiry: CrlExpiry,
}

/// What becomes of a certificate about which no list says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CrlUnknown {
    /// It is refused, so that a list that was forgotten is noticed.
    #[default]
    Deny,
    /// It is good.
    Allow,
}

/// What becomes of a certificate whose list is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CrlExpiry {
    /// The list counts as it is.
    #[default]
    Ignore,
    /// It is refused.
    Refuse,
}

/// Whether a client may come without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientAuthMode {
    /// A certificate that comes must be valid; none is fine.
    Optional,
    /// No handshake without a valid certificate.
    #[default]
    Required,
}

/// TLS towards an upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// PEM file with the authorities to trust; the system's without it.
    pub ca_file: Option<FilePath>,
    /// PEM file with the certificate shown to the upstream.
    pub cert_file: Option<FilePath>,
    /// PEM file with its key.
    pub key_file: Option<FilePath>,
    /// Name for SNI and verification; the endpoint's host without it.
    pub server_name: Option<String>,
    /// Verify the upstream's certificate. Off is for trials alone, and draws a warning.
    pub verify: bool,
    /// Oldest version spoken.
    pub min_version: TlsVersion,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            ca_file: None,
            cert_file: None,
            key_file: None,
            server_name: None,
            verify: true,
            min_version: TlsVersion::default(),
        }
    }
}
