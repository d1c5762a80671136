//! `ldapAuth`: lets in who shows a user name and password that a directory knows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authentication, Place, Settings, headers::FRAMING};
use crate::{
    Duration, FilePath, HeaderName, Secret,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::{Context, scope::Named},
};

/// Lets in who shows a user name and password (RFC 7617) that a directory (LDAP, Active Directory) takes; otherwise 401. The
/// directory is asked by a bind with that password: as the DN that `userDn` makes of the name, or as the one entry that
/// `search` finds. While it cannot be asked, those of whom nothing is known get 503.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LdapAuth {
    /// The servers, asked in this order: `ldaps://host`, `ldap://host` with `startTls`, or `ldap://` at a loopback address.
    #[schemars(length(min = 1, max = 8))]
    pub servers: Vec<String>,
    /// Begin TLS on connections to `ldap://` servers, before anything else is said.
    #[serde(default)]
    pub start_tls: bool,
    /// PEM file with the authorities to trust; the system's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<FilePath>,
    /// The DN of a user, with `{user}` in the place of the name: `uid={user},ou=people,dc=example,dc=com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_dn: Option<String>,
    /// How a user's entry is searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<LdapSearch>,
    /// The attribute that is the user's name from then on (`sub`), however it was typed. Without it in the entry it is the
    /// name in small letters.
    #[serde(default = "user_attribute")]
    #[schemars(length(min = 1))]
    pub user_attribute: String,
    /// How a user's groups are found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<LdapGroups>,
    /// More attributes of the user's entry that become claims, such as `mail`.
    #[serde(default)]
    pub attributes: Vec<String>,
    /// Consumers by group: who is in the group counts as the consumer, with its groups, policies and limits. The first of the
    /// user's groups counts, in this order.
    #[serde(default)]
    pub group_consumers: Vec<GroupConsumer>,
    /// The claim that names the consumer; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_claim: Option<String>,
    /// Claims that are sent on as headers, by header name. Such headers from outside are removed first.
    #[serde(default)]
    pub claims_to_headers: BTreeMap<HeaderName, String>,
    /// How long a good password is known without the directory being asked; `0s` asks each time. Bad ones are always asked
    /// about.
    #[serde(default = "ttl")]
    pub ttl: Duration,
    /// Good passwords that are known at a time.
    #[serde(default = "max_users")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_users: usize,
    /// Connections of each kind to the directory at a time: for searches, and for passwords.
    #[serde(default = "max_connections")]
    #[schemars(range(min = 1, max = 256))]
    pub max_connections: usize,
    /// Passwords that are asked about at a time, or wait for that; more get 503.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_in_flight: usize,
    /// Bound of each request to a server.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// Bound of connecting to a server, TLS included.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Duration,
    /// Realm of the challenge.
    #[serde(default = "realm")]
    pub realm: String,
    /// Remove `Authorization` before the request goes on.
    #[serde(default = "yes")]
    pub hide_credentials: bool,
    /// Name of the consumer that calls without credentials count as; without it they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<String>,
}

/// How an entry is searched for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LdapSearch {
    /// Who searches; nobody in particular without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_dn: Option<String>,
    /// The password of who searches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_password: Option<Secret>,
    /// Below which entry.
    pub base: String,
    /// What has to hold for the entry, with `{user}` in the place of the name.
    #[serde(default = "user_filter")]
    pub filter: String,
    /// How deep.
    #[serde(default)]
    pub scope: LdapScope,
}

/// How deep is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LdapScope {
    /// Everything below.
    #[default]
    Subtree,
    /// One step below.
    One,
}

/// How groups are found. They are the claims `groups`, by name, and `groupDns`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LdapGroups {
    /// The attribute of the user's entry that holds them, such as `memberOf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// Below which entry groups lie: others do not count, so that nobody makes a group of a mighty name elsewhere. Where groups
    /// are searched for it is searched there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The filter by which groups are searched for, with `{dn}` in the place of the user's DN and `{user}` in that of the
    /// name: `(member={dn})`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How deep.
    pub scope: LdapScope,
    /// The attribute that is the name of a group that was searched for.
    pub name_attribute: String,
    /// Groups of a user that count; of more than these nobody knows which are missing, and the user gets 503.
    #[schemars(range(min = 1, max = 10_000))]
    pub max: usize,
}

impl Default for LdapGroups {
    fn default() -> Self {
        Self {
            attribute: None,
            base: None,
            filter: None,
            scope: LdapScope::Subtree,
            name_attribute: "cn".to_owned(),
            max: 1000,
        }
    }
}

/// Whom a group counts as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupConsumer {
    /// The group's name, or its DN.
    pub group: String,
    /// The consumer's name.
    pub consumer: String,
}

fn user_attribute() -> String {
    "uid".to_owned()
}

fn user_filter() -> String {
    "(uid={user})".to_owned()
}

fn ttl() -> Duration {
    Duration::from_secs(60)
}

fn max_users() -> usize {
    10_000
}

fn max_connections() -> usize {
    8
}

fn max_in_flight() -> usize {
    256
}

fn timeout() -> Duration {
    Duration::from_secs(3)
}

fn connect_timeout() -> Duration {
    Duration::from_secs(2)
}

fn realm() -> String {
    "tidegate".to_owned()
}

fn yes() -> bool {
    true
}

/// Whether passwords may go to a server: within TLS, or not out of this machine.
fn is_server(url: &str, start_tls: bool) -> Result<(), &'static str> {
    let expected = Err("expected such as `ldaps://ldap.example.com`");
    let Ok(uri) = url.parse::<http::Uri>() else { return expected };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let rest = uri.path_and_query().map_or("", |rest| rest.as_str());
    if host.is_empty()
        || !matches!(rest, "" | "/")
        || uri.authority().is_some_and(|all| all.as_str().contains('@'))
    {
        return expected;
    }
    let is_here =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("ldaps") if start_tls => Err("`ldaps` is TLS from the beginning: `startTls` is for `ldap`"),
        Some("ldaps") => Ok(()),
        Some("ldap") if start_tls || is_here => Ok(()),
        Some("ldap") => {
            Err("passwords go over `ldaps`, or over `ldap` with `startTls` or at a loopback address")
        }
        _ => expected,
    }
}

impl Settings for LdapAuth {
    fn place(&self) -> Place<'_> {
        Place::Authentication(Authentication {
            anonymous: self.anonymous.as_deref(),
            headers: vec![HeaderName::from_static("authorization")],
            parameter: None,
            asks: self,
        })
    }

    fn tells_claims(&self) -> bool {
        true
    }

    fn reads_passwords(&self) -> bool {
        true
    }

    fn reads_keys(&self) -> bool {
        false
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.each("servers", &self.servers, |at, url| {
            if let Err(wrong) = is_server(url, self.start_tls) {
                at.error(wrong);
            }
        });
        match (&self.user_dn, &self.search) {
            (None, None) => at.error("expected `userDn` or `search`, found neither"),
            (Some(_), Some(_)) => at.error("expected either `userDn` or `search`, found both"),
            _ => {}
        }
        if self.user_dn.as_ref().is_some_and(|dn| !dn.contains("{user}") || !dn.contains('=')) {
            at.field("userDn", |at| {
                at.error("expected a DN with `{user}`, such as `uid={user},ou=people,dc=example,dc=com`")
            });
        }
        if let Some(search) = &self.search {
            at.field("search", |at| {
                if search.bind_dn.is_some() != search.bind_password.is_some() {
                    at.error("expected `bindDn` and `bindPassword` together");
                }
                if !search.filter.contains("{user}") || !is_filter(&search.filter) {
                    at.field("filter", |at| {
                        at.error("expected a filter with `{user}`, such as `(uid={user})`")
                    });
                }
            });
        }
        if let Some(groups) = &self.groups {
            at.field("groups", |at| groups.validate(at));
        }
        at.each("groupConsumers", &self.group_consumers, |at, one| {
            at.field("consumer", |at| at.refer(Named::Consumer, &one.consumer));
        });
        if !self.group_consumers.is_empty() && self.groups.is_none() {
            at.field("groupConsumers", |at| {
                at.error("expected `groups` beside it: nothing says who is in them")
            });
        }
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
        at.field("claimsToHeaders", |at| {
            for name in self.claims_to_headers.keys().filter(|name| FRAMING.contains(&name.as_str())) {
                at.field(name, |at| at.error(format!("`{name}` is the gateway's own to set")));
            }
        });
        for (key, time) in [("timeout", self.timeout), ("connectTimeout", self.connect_timeout)] {
            if time.is_zero() || time > Duration::from_secs(60) {
                at.field(key, |at| at.error("expected more than nothing and 60s or less"));
            }
        }
        if self.ttl > Duration::from_secs(24 * 3600) {
            at.field("ttl", |at| {
                at.error("expected 24h or less: so long a password is good that is good no more")
            });
        }
        if self.realm.contains(['"', '\\']) || self.realm.chars().any(char::is_control) {
            at.field("realm", |at| at.error("a realm has no quotes, backslashes or control characters"));
        }
    }
}

impl LdapGroups {
    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.attribute.is_none() && self.filter.is_none() {
            at.error("expected `attribute`, such as `memberOf`, or a `filter`, found neither");
        }
        if let Some(filter) = &self.filter {
            if !(filter.contains("{dn}") || filter.contains("{user}")) || !is_filter(filter) {
                at.field("filter", |at| {
                    at.error("expected a filter with `{dn}` or `{user}`, such as `(member={dn})`")
                });
            }
            if self.base.is_none() {
                at.error("expected the `base` below which groups are searched for");
            }
        }
    }
}

/// Whether a text looks like a filter: its brackets are in pairs.
fn is_filter(text: &str) -> bool {
    let mut open = 0_i32;
    for byte in text.bytes() {
        match byte {
            b'(' => open += 1,
            b')' => open -= 1,
            _ => {}
        }
        if open < 0 {
            return false;
        }
    }
    open == 0 && text.starts_with('(') && text.ends_with(')')
}

impl Asks for LdapAuth {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        Some(demand(InDirectory { servers: self.servers.clone() }))
    }
}

/// Somebody whom a directory knows.
struct InDirectory {
    servers: Vec<String>,
}

impl Terms for InDirectory {
    fn implies(&self, other: &Self) -> bool {
        self.servers.iter().all(|server| other.servers.contains(server))
    }

    fn words(&self) -> String {
        format!("ldapAuth at {}", self.servers.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_go_nowhere_in_the_clear() {
        for (url, start_tls, is_good) in [
            ("ldaps://ldap.example.com", false, true),
            ("ldaps://ldap.example.com:1636/", false, true),
            ("ldap://ldap.example.com", true, true),
            ("ldap://ldap.example.com", false, false),
            ("ldap://127.0.0.1:389", false, true),
            ("ldap://[::1]:389", false, true),
            ("ldaps://ldap.example.com", true, false),
            ("ldap://127.0.0.1.evil.example", false, false),
            ("ldaps://user:pass@host", false, false),
            ("ldaps://host/dc=example", false, false),
            ("https://host", false, false),
            ("host", false, false),
        ] {
            assert_eq!(is_server(url, start_tls).is_ok(), is_good, "{url}");
        }
        for (text, is_good) in [
            ("(uid={user})", true),
            ("(&(a=b)(uid={user}))", true),
            ("uid={user}", false),
            ("(uid={user}))(", false),
        ] {
            assert_eq!(is_filter(text), is_good, "{text}");
        }
    }
}
