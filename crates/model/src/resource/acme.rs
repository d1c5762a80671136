//! Certificate authorities that the gateway asks for certificates itself (ACME, RFC 8555).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, Duration, FilePath, Percent, Secret, digest::Digest};

/// Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// A certificate authority that is asked for certificates over ACME, and how it is shown that names are ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcmeAuthority {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Its directory; that of Let's Encrypt without it.
    #[serde(default = "lets_encrypt")]
    #[schemars(extend("format" = "url"))]
    pub directory: String,
    /// Mail addresses that the authority may write to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// You have read the authority's terms of service and agree. No account is made without it.
    #[serde(default)]
    pub terms_agreed: bool,
    /// PEM file with the authorities that sign the directory's own certificate; the system's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<FilePath>,
    /// The account at the authority that this one belongs to, where the authority wants to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account: Option<ExternalAccount>,
    /// How names are shown to be ours, in order of preference; a failed order goes on with the next that there is. Those
    /// that can be answered here when empty: `tlsAlpn01`, then `http01`, then `dns01`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<Challenge>,
    /// Who sets records in the domain name system, for `dns01`. Names with a wildcard need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsHook>,
    /// Keys of certificates.
    #[serde(default)]
    pub key_type: KeyType,
    /// One of the kinds of certificates that the authority has, such as `shortlived`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How much of its life a certificate has left when it is renewed; a third without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at_left: Option<Percent>,
    /// Renew when the authority suggests it (RFC 9773), where it does.
    #[serde(default = "yes")]
    pub renewal_info: bool,
    /// Bound of each request to the authority.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How long an order may wait for the authority, each time.
    #[serde(default = "order_timeout")]
    pub order_timeout: Duration,
    /// Pauses after orders that failed.
    #[serde(default)]
    pub backoff: OrderBackoff,
}

/// An account at an authority that is known to it otherwise (RFC 8555 §7.3.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalAccount {
    /// Its id, as the authority gave it.
    #[schemars(length(min = 1))]
    pub key_id: String,
    /// Its key in base64url, as the authority gave it.
    pub hmac_key: Secret,
}

/// How a name is shown to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Challenge {
    /// In a TLS handshake at the listener that the name's port 443 leads to (RFC 8737).
    #[serde(rename = "tlsAlpn01")]
    TlsAlpn01,
    /// At a plain listener that the name's port 80 leads to.
    #[serde(rename = "http01")]
    Http01,
    /// By a record in the domain name system.
    #[serde(rename = "dns01")]
    Dns01,
}

/// Who sets and clears records in the domain name system: a program, or a service over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsHook {
    /// A program by its absolute path, which `runtime.allowedCommands` lists, with its arguments, to which `set` or `clear`, the
    /// record's name and its value are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The program's environment: of the gateway's own it has `PATH` alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
    /// Where `{"action": "set" | "clear", "name": …, "value": …, "domain": …}` is posted to in place of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url"))]
    pub url: Option<String>,
    /// Headers of such a request, such as `authorization`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// How long it may take; a program is ended then.
    #[serde(default = "hook_timeout")]
    pub timeout: Duration,
    /// How long a record that was set takes to be seen everywhere.
    #[serde(default = "propagation")]
    pub propagation: Duration,
}

/// Keys of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeyType {
    /// ECDSA on P-256.
    #[default]
    #[serde(rename = "ecdsaP256")]
    EcdsaP256,
    /// ECDSA on P-384.
    #[serde(rename = "ecdsaP384")]
    EcdsaP384,
    /// RSA of 2048 bits.
    #[serde(rename = "rsa2048")]
    Rsa2048,
    /// RSA of 4096 bits.
    #[serde(rename = "rsa4096")]
    Rsa4096,
}

/// Pauses after orders that failed: each is twice the one before, up to a bound. A longer one that the authority asks for is
/// kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OrderBackoff {
    /// The first pause.
    pub initial: Duration,
    /// The longest.
    pub max: Duration,
}

impl Default for OrderBackoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(60), max: Duration::from_secs(12 * 3600) }
    }
}

/// A certificate that the gateway gets and renews itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcmeCertificate {
    /// The authority of `acme` that is asked.
    pub authority: String,
    /// The names that it covers; `*.host` covers one label.
    #[schemars(length(min = 1), extend("items" = {"type": "string", "format": "host-pattern"}))]
    pub names: Vec<String>,
    /// Used when SNI is absent or matches none.
    #[serde(default)]
    pub default: bool,
}

impl AcmeCertificate {
    /// The names in their one form: lower case, in order, each once.
    pub fn covered(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What tells it from all others: listeners that name the same names of the same authority share one certificate.
    pub fn id(&self, authority: &AcmeAuthority) -> String {
        let names = self.covered();
        let mut digest = Digest::default();
        digest.add(&authority.directory);
        digest.add(serde_json::to_string(&(authority.key_type, &authority.profile)).unwrap_or_default());
        names.iter().for_each(|name| digest.add(name));
        // The shortest name that is no wildcard tells an operator most.
        let told = names.iter().min_by_key(|name| (name.starts_with('*'), name.len()));
        let told = told.map_or_else(String::new, |name| name.replace('*', "_"));
        let told: String = told.chars().take(100).collect();
        format!("{told}-{}", digest.finish())
    }
}

impl Config {
    /// The certificates that the gateway gets itself, each once, with their ids and authorities.
    pub fn acme_certificates(&self) -> Vec<(String, &AcmeAuthority, &AcmeCertificate)> {
        let listeners = self.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let admin = self.admin.iter().filter_map(|admin| admin.tls.as_ref());
        let mut found: Vec<(String, &AcmeAuthority, &AcmeCertificate)> = Vec::new();
        for certificate in listeners.chain(admin).flat_map(|tls| &tls.acme) {
            let Some(authority) = self.acme_authority(&certificate.authority) else { continue };
            let id = certificate.id(authority);
            if !found.iter().any(|(known, ..)| *known == id) {
                found.push((id, authority, certificate));
            }
        }
        found
    }

    /// An authority by name.
    pub fn acme_authority(&self, name: &str) -> Option<&AcmeAuthority> {
        self.acme.iter().find(|authority| authority.name == name)
    }

    /// How an authority is shown that names are ours: what it says, or what can be answered here.
    pub fn acme_challenges(&self, authority: &AcmeAuthority) -> Vec<Challenge> {
        if !authority.challenges.is_empty() {
            return authority.challenges.clone();
        }
        let answers_tls = self.listeners.iter().any(|listener| listener.answers_tls_alpn01());
        let answers_http = self.listeners.iter().any(|listener| listener.answers_http01());
        let mut all = Vec::new();
        all.extend(answers_tls.then_some(Challenge::TlsAlpn01));
        all.extend(answers_http.then_some(Challenge::Http01));
        all.extend(authority.dns.is_some().then_some(Challenge::Dns01));
        all
    }
}

fn lets_encrypt() -> String {
    LETS_ENCRYPT.to_owned()
}

fn yes() -> bool {
    true
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

fn order_timeout() -> Duration {
    Duration::from_secs(300)
}

fn hook_timeout() -> Duration {
    Duration::from_secs(60)
}

fn propagation() -> Duration {
    Duration::from_secs(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> AcmeAuthority {
        serde_json::from_value(serde_json::json!({"name": "a"})).expect("an authority")
    }

    fn certificate(names: &[&str]) -> AcmeCertificate {
        AcmeCertificate {
            authority: "a".into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            default: false,
        }
    }

    #[test]
    fn the_same_names_are_one_certificate_in_whatever_order_and_case() {
        let id = |names: &[&str]| certificate(names).id(&authority());
        assert_eq!(id(&["b.test", "A.test", "a.test"]), id(&["a.test", "B.test"]));
        assert_ne!(id(&["a.test"]), id(&["a.test", "b.test"]));
        assert!(id(&["*.a.test", "www.a.test", "a.test"]).starts_with("a.test-"));
        assert!(id(&["*.a.test"]).starts_with("_.a.test-"));
        let other = AcmeAuthority { key_type: KeyType::Rsa2048, ..authority() };
        assert_ne!(certificate(&["a.test"]).id(&other), id(&["a.test"]));
        let renamed = AcmeAuthority { name: "b".into(), ..authority() };
        assert_eq!(certificate(&["a.test"]).id(&renamed), id(&["a.test"]), "a name of ours is nobody else's");
    }
}
