//! The directory: servers in order, a bounded pool of connections, and what one sign-in asks of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapResult, Scope, SearchEntry, SearchOptions};
use model::policy::ldap_auth::LdapScope;
use rustls::ClientConfig;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::text;

/// How long a server that was away comes last.
const AWAY_FOR: Duration = Duration::from_secs(10);

/// Result codes (RFC 4511 §4.1.9) that say that it is no good what was shown; all others say that nobody knows.
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_DN: u32 = 34;
const INAPPROPRIATE: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;
const INSUFFICIENT_RIGHTS: u32 = 50;
const UNWILLING: u32 = 53;
const CONSTRAINT: u32 = 19;
const SIZE_LIMIT: u32 = 4;
const REFERRAL: u32 = 10;

/// How a user's entry is found.
pub(super) enum Way {
    /// By a DN with `{user}`.
    Dn(String),
    Search {
        /// Who searches, with the password.
        bind: Option<(String, String)>,
        base: String,
        filter: String,
        scope: Scope,
    },
}

/// How groups are found.
pub(super) struct Groups {
    pub(super) attribute: Option<String>,
    pub(super) base: Option<String>,
    pub(super) filter: Option<String>,
    pub(super) scope: Scope,
    pub(super) name_attribute: String,
    pub(super) max: usize,
}

/// What all servers are asked.
pub(super) struct Questions {
    pub(super) way: Way,
    pub(super) groups: Option<Groups>,
    pub(super) user_attribute: String,
    pub(super) attributes: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) start_tls: bool,
    pub(super) tls: Arc<ClientConfig>,
}

/// A directory.
pub(super) struct Directory {
    questions: Questions,
    servers: Vec<Server>,
    places: Semaphore,
    places_max: usize,
}

struct Server {
    url: String,
    idle: Mutex<Vec<Pair>>,
    away_until: Mutex<Option<Instant>>,
}

/// Two connections: one that is always bound as who searches, and one that is bound as users, one after the other.
#[derive(Default)]
struct Pair {
    search: Option<Ldap>,
    bind: Option<Ldap>,
}

/// An entry that was found.
struct Entry {
    dn: String,
    attributes: HashMap<String, Vec<String>>,
}

pub(super) fn scope(scope: LdapScope) -> Scope {
    match scope {
        LdapScope::Subtree => Scope::Subtree,
        LdapScope::One => Scope::OneLevel,
    }
}

impl Directory {
    pub(super) fn new(urls: &[String], places: usize, questions: Questions) -> Self {
        let server =
            |url: &String| Server { url: url.clone(), idle: Mutex::default(), away_until: Mutex::default() };
        Self {
            questions,
            servers: urls.iter().map(server).collect(),
            places: Semaphore::new(places),
            places_max: places,
        }
    }

    /// What is claimed of a user whose password this is; nothing where it is not. The error is for the log.
    pub(super) async fn ask(&self, user: &str, password: &str) -> Result<Option<Map<String, Value>>, String> {
        // An empty password would be a bind as nobody, which succeeds (RFC 4513 §5.1.2).
        if user.is_empty() || password.is_empty() {
            return Ok(None);
        }
        let _place = self.places.acquire().await.map_err(|_| "it is being closed".to_owned())?;
        let now = Instant::now();
        let (well, away): (Vec<&Server>, Vec<&Server>) =
            self.servers.iter().partition(|server| !server.is_away(now));
        let mut said: Vec<String> = Vec::new();
        for server in well.into_iter().chain(away) {
            match self.ask_one(server, user, password).await {
                Ok(answer) => {
                    server.note_away(None);
                    return Ok(answer);
                }
                Err(error) => {
                    let error = format!("{}: {error}", server.url);
                    if !server.is_away(Instant::now()) {
                        tracing::warn!("ldapAuth: nobody can be asked about at {error}");
                    }
                    server.note_away(Some(Instant::now() + AWAY_FOR));
                    said.push(error);
                }
            }
        }
        // What the first said counts as much as what the last did.
        Err(if said.is_empty() { "there is no server".to_owned() } else { said.join("; ") })
    }

    async fn ask_one(
        &self,
        server: &Server,
        user: &str,
        password: &str,
    ) -> Result<Option<Map<String, Value>>, String> {
        let kept = server.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut pair) = kept {
            // A connection that the server has closed meanwhile is no news.
            if let Ok(answer) = self.sign_in(server, &mut pair, user, password).await {
                server.keep(pair, self.places_max);
                return Ok(answer);
            }
        }
        let mut pair = Pair::default();
        let answer = self.sign_in(server, &mut pair, user, password).await?;
        server.keep(pair, self.places_max);
        Ok(answer)
    }

    async fn sign_in(
        &self,
        server: &Server,
        pair: &mut Pair,
        user: &str,
        password: &str,
    ) -> Result<Option<Map<String, Value>>, String> {
        let (entry, is_read) = match &self.questions.way {
            Way::Dn(template) => {
                let dn = text::filled(template, &[("user", &text::in_dn(user))]);
                (Entry { dn, attributes: HashMap::new() }, false)
            }
            Way::Search { base, filter, scope, .. } => {
                let search = self.searching(server, pair).await?;
                let filter = text::filled(filter, &[("user", &text::in_filter(user))]);
                let mut found = self.search(search, base, *scope, &filter, &self.wanted(), 2).await?;
                // Nobody of this name, or more than one: nobody is meant.
                match (found.pop(), found.is_empty()) {
                    (Some(only), true) => (only, true),
                    _ => return Ok(None),
                }
            }
        };
        if !self.bind(server, pair, &entry.dn, password).await? {
            return Ok(None);
        }
        let entry = if is_read { entry } else { self.read(pair, entry).await? };
        let groups = self.groups(server, pair, &entry, user).await?;
        Ok(Some(self.claims(user, &entry, groups)))
    }

    /// Shows a password. It is no good where the server says so; where it says anything else nobody knows.
    async fn bind(&self, server: &Server, pair: &mut Pair, dn: &str, password: &str) -> Result<bool, String> {
        if dn.trim().is_empty() || password.is_empty() {
            return Ok(false);
        }
        let mut ldap = match pair.bind.take() {
            Some(ldap) => ldap,
            None => self.connect(server).await?,
        };
        let answer = ldap.with_timeout(self.questions.timeout).simple_bind(dn, password).await;
        let answer = answer.map_err(|error| format!("bind: {error}"))?;
        pair.bind = Some(ldap);
        match answer.rc {
            0 => Ok(true),
            NO_SUCH_OBJECT | INVALID_DN | INAPPROPRIATE | INVALID_CREDENTIALS | INSUFFICIENT_RIGHTS
            | UNWILLING | CONSTRAINT => Ok(false),
            _ => Err(wrong("bind", &answer)),
        }
    }

    /// The connection of who searches.
    async fn searching<'p>(&self, server: &Server, pair: &'p mut Pair) -> Result<&'p mut Ldap, String> {
        if pair.search.is_none() {
            let mut ldap = self.connect(server).await?;
            if let Way::Search { bind: Some((dn, password)), .. } = &self.questions.way {
                let answer = ldap.with_timeout(self.questions.timeout).simple_bind(dn, password).await;
                let answer = answer.map_err(|error| format!("bind of who searches: {error}"))?;
                if answer.rc != 0 {
                    return Err(wrong("bind of who searches", &answer));
                }
            }
            pair.search = Some(ldap);
        }
        pair.search.as_mut().ok_or_else(|| "no connection".to_owned())
    }

    /// Reads a user's own entry, as the user. What may not be read is not known.
    async fn read(&self, pair: &mut Pair, entry: Entry) -> Result<Entry, String> {
        let Some(ldap) = &mut pair.bind else { return Ok(entry) };
        let found = self.search(ldap, &entry.dn, Scope::Base, "(objectClass=*)", &self.wanted(), 1).await?;
        Ok(found.into_iter().next().unwrap_or(entry))
    }

    async fn search(
        &self,
        ldap: &mut Ldap,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
        max: usize,
    ) -> Result<Vec<Entry>, String> {
        let most = i32::try_from(max).unwrap_or(i32::MAX);
        let ldap = ldap.with_timeout(self.questions.timeout);
        let ldap = ldap.with_search_options(SearchOptions::new().sizelimit(most));
        let answer = ldap.search(base, scope, filter, attributes.to_vec()).await;
        let ldap3::SearchResult(entries, result) = answer.map_err(|error| format!("search: {error}"))?;
        // Who may not read the own entry has no attributes; in which groups they are somebody has to know.
        let may_lack = matches!(scope, Scope::Base)
            && self.questions.groups.as_ref().is_none_or(|groups| groups.attribute.is_none());
        // References to other servers are not followed: nobody said that these may be asked.
        let entries: Vec<_> =
            entries.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate()).collect();
        match result.rc {
            rc if is_told(rc, entries.len(), max) => {}
            NO_SUCH_OBJECT | INSUFFICIENT_RIGHTS if may_lack => {}
            _ => return Err(wrong("search", &result)),
        }
        let entries = entries
            .into_iter()
            .map(SearchEntry::construct)
            .map(|entry| Entry { dn: entry.dn, attributes: entry.attrs });
        Ok(entries.take(max).collect())
    }

    /// The DNs and names of a user's groups.
    async fn groups(
        &self,
        server: &Server,
        pair: &mut Pair,
        entry: &Entry,
        user: &str,
    ) -> Result<Vec<(String, String)>, String> {
        let Some(groups) = &self.questions.groups else { return Ok(Vec::new()) };
        let mut found: Vec<(String, String)> = Vec::new();
        for dn in groups.attribute.iter().flat_map(|name| entry.values(name)) {
            let is_ours = groups.base.as_ref().is_none_or(|base| text::is_below(dn, base));
            if let (true, Some(name)) = (is_ours, text::first_value(dn)) {
                found.push((dn.clone(), name));
            }
        }
        if let (Some(base), Some(filter)) = (&groups.base, &groups.filter) {
            let (dn, name) = (text::in_filter(&entry.dn), text::in_filter(user));
            let filter = text::filled(filter, &[("dn", &dn), ("user", &name)]);
            let wanted = [groups.name_attribute.as_str()];
            let ldap = match &self.questions.way {
                Way::Search { .. } => self.searching(server, pair).await?,
                Way::Dn(_) => pair.bind.as_mut().ok_or("no connection")?,
            };
            for group in self.search(ldap, base, groups.scope, &filter, &wanted, groups.max + 1).await? {
                let name = group.values(&groups.name_attribute).next().cloned();
                if let Some(name) = name.or_else(|| text::first_value(&group.dn)) {
                    found.push((group.dn, name));
                }
            }
        }
        if found.len() > groups.max {
            return Err(format!("a user has more than {} groups", groups.max));
        }
        Ok(found)
    }

    /// Attributes of a user's entry that are asked for.
    fn wanted(&self) -> Vec<&str> {
        let questions = &self.questions;
        let of_groups = questions.groups.as_ref().and_then(|groups| groups.attribute.as_deref());
        let own = [questions.user_attribute.as_str()].into_iter().chain(of_groups);
        own.chain(questions.attributes.iter().map(String::as_str)).collect()
    }

    fn claims(&self, user: &str, entry: &Entry, groups: Vec<(String, String)>) -> Map<String, Value> {
        let mut claims = Map::new();
        for name in &self.questions.attributes {
            let mut values: Vec<Value> =
                entry.values(name).map(|value| Value::from(value.as_str())).collect();
            let value = match values.len() {
                0 => continue,
                1 => values.remove(0),
                _ => Value::Array(values),
            };
            claims.insert(name.clone(), value);
        }
        // However it was typed, it is one name: the directory takes small letters for great ones.
        let name = entry.values(&self.questions.user_attribute).next().cloned();
        claims.insert("sub".to_owned(), Value::from(name.unwrap_or_else(|| user.to_lowercase())));
        claims.insert("dn".to_owned(), Value::from(entry.dn.as_str()));
        if self.questions.groups.is_some() {
            let (dns, names): (Vec<String>, Vec<String>) = groups.into_iter().unzip();
            claims.insert("groups".to_owned(), Value::from(names));
            claims.insert("groupDns".to_owned(), Value::from(dns));
        }
        claims
    }

    async fn connect(&self, server: &Server) -> Result<Ldap, String> {
        let Questions { connect_timeout, start_tls, tls, .. } = &self.questions;
        let settings = LdapConnSettings::new()
            .set_conn_timeout(*connect_timeout)
            .set_starttls(*start_tls)
            .set_config(tls.clone());
        let connecting = LdapConnAsync::with_settings(settings, &server.url);
        let made = tokio::time::timeout(*connect_timeout, connecting).await;
        let made = made.map_err(|_| format!("not connected within {connect_timeout:?}"))?;
        let (connection, ldap) = made.map_err(|error| format!("cannot connect: {error}"))?;
        tokio::spawn(async move {
            // It ends with the last who asks; what goes wrong with it they are told.
            let _ = connection.drive().await;
        });
        Ok(ldap)
    }
}

impl Entry {
    /// Values of an attribute; case does not count in its name.
    fn values<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e String> {
        self.attributes
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .flat_map(|(_, all)| all)
    }
}

impl Server {
    fn is_away(&self, now: Instant) -> bool {
        self.away_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }

    fn note_away(&self, until: Option<Instant>) {
        *self.away_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn keep(&self, pair: Pair, max: usize) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < max {
            idle.push(pair);
        }
    }
}

/// Whether a search has told what it was asked for: all that there is, or as many as were wanted. Where the server's own
/// limit is less than that, nobody knows what is missing: whoever is the only one that it shows may not be the only one.
fn is_told(rc: u32, found: usize, wanted: usize) -> bool {
    rc == 0 || (rc == SIZE_LIMIT && found >= wanted)
}

/// What a server said, for the log.
fn wrong(what: &str, answer: &LdapResult) -> String {
    let words = match answer.rc {
        REFERRAL => "referral, and referrals are not followed",
        3 => "the time limit is exceeded",
        7 => "the way to sign in is not supported",
        8 => "a stronger way to sign in is required",
        11 => "the administrative limit is exceeded",
        13 => "confidentiality is required: use ldaps or startTls",
        16 => "no such attribute",
        18 => "inappropriate matching",
        32 => "no such object: is the base right?",
        34 => "invalid syntax of a distinguished name",
        48 => "inappropriate authentication",
        49 => "invalid credentials: are `bindDn` and its password right?",
        50 => "insufficient access rights",
        51 => "the server is busy",
        52 => "the server is unavailable",
        53 => "the server is unwilling to perform it",
        _ => "see RFC 4511, appendix A",
    };
    format!("{what}: result {}, {words}", answer.rc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_cuts_off_by_a_limit_of_its_own_is_no_answer() {
        for (rc, found, wanted, want) in [
            (0, 0, 2, true),
            (0, 1, 2, true),
            (SIZE_LIMIT, 2, 2, true),
            (SIZE_LIMIT, 1, 2, false),
            (SIZE_LIMIT, 0, 2, false),
            (SIZE_LIMIT, 500, 1001, false),
            (NO_SUCH_OBJECT, 2, 2, false),
        ] {
            assert_eq!(is_told(rc, found, wanted), want, "{rc} {found} {wanted}");
        }
    }
}
