//! `ldapAuth`: lets in who shows a user name and password that a directory knows.
//!
//! A password is asked about once at a time, however many calls show it, away from workers; that it is good is kept for a
//! while by a keyed digest. That it is not is never kept: it may be good the next moment.

mod directory;
mod text;

use std::{rc::Rc, sync::Arc, time::Duration};

use aws_lc_rs::{hmac, rand};
use http::{HeaderName, HeaderValue, header};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Map, Value};
use tokio::{runtime::Handle, sync::watch};

use self::directory::{Directory, Groups, Questions, Way};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict, basic_auth,
    counted::{Counted, Metric},
    credentials::{self, Repeated},
    oauth2_introspection::known::{Digest, Known, Looked, Said},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::{Consumer, Consumers},
    failure::{Failure, Problem, Stage},
    template,
};

/// Bytes of a user name and of a password that a directory is asked about.
const TEXT_BYTES_MAX: usize = 1024;

const WRONG: &str = "the user name or the password is not valid";

static METRIC: Metric = Metric {
    name: "tidegate_ldap_auth_total",
    help: "User names and passwords that calls showed, by what the directory says of them: `kept` is what it said before.",
    outcomes: &["good", "bad", "kept", "away"],
    gauges: &[],
};
const GOOD: usize = 0;
const BAD: usize = 1;
const KEPT: usize = 2;
const AWAY: usize = 3;

/// The compiled policy.
pub(crate) struct LdapAuth {
    directory: Arc<Directory>,
    state: Arc<State>,
    ttl: Duration,
    patience: Duration,
    sent: Vec<(HeaderName, Box<[Box<str>]>)>,
    group_consumers: Vec<(String, Arc<Consumer>)>,
    consumer_claim: Option<Box<[Box<str>]>>,
    consumers: Arc<Consumers>,
    anonymous: Option<Arc<Consumer>>,
    hide: bool,
    challenge: HeaderValue,
    background: Handle,
    counted: Arc<Counted>,
}

/// Goes on over reloads while the settings stay.
struct State {
    known: Known,
    key: hmac::Key,
}

impl LdapAuth {
    pub(crate) fn compile(settings: &model::policy::LdapAuth, cx: &Building<'_>) -> Result<Self, String> {
        let consumers = credentials::consumers(cx)?;
        let path = |claim: &str| claim.split('.').map(Into::into).collect();
        let group_consumers = settings.group_consumers.iter().map(|one| {
            let consumer = consumers.named(&one.consumer).cloned();
            let consumer =
                consumer.ok_or_else(|| format!("`groupConsumers` names no consumer: `{}`", one.consumer));
            Ok::<_, String>((one.group.clone(), consumer?))
        });
        let ca = settings.ca_file.as_ref().map(|file| cx.snapshot.file(file));
        let mut seed = [0; 32];
        rand::fill(&mut seed).map_err(|_| "the system gives no random bytes")?;
        // What another directory, or this one asked otherwise, has said is nothing to go by.
        let whole = serde_json::to_value(settings).unwrap_or_default();
        let state = cx.keep("known", &(whole, ca.as_deref()), || State {
            known: Known::new(settings.max_users, settings.max_in_flight),
            key: hmac::Key::new(hmac::HMAC_SHA256, &seed),
        });
        let servers = u32::try_from(settings.servers.len()).unwrap_or(1);
        Ok(Self {
            directory: Arc::new(directory(settings, ca.as_deref(), cx)?),
            state,
            ttl: settings.ttl.get(),
            // A place to wait for, then each server in turn: connecting, and four questions.
            patience: (settings.connect_timeout.get() + settings.timeout.get() * 4) * servers
                + settings.timeout.get(),
            sent: settings
                .claims_to_headers
                .iter()
                .map(|(name, claim)| (name.to_http(), path(claim)))
                .collect(),
            group_consumers: group_consumers.collect::<Result<_, _>>()?,
            consumer_claim: settings.consumer_claim.as_deref().map(path),
            anonymous: credentials::anonymous(settings.anonymous.as_deref(), &consumers)?,
            consumers,
            hide: settings.hide_credentials,
            challenge: credentials::challenge("Basic", &settings.realm)?,
            background: cx.background.clone(),
            counted: Counted::of(&METRIC, cx),
        })
    }

    /// What follows from what the directory says.
    fn enter(&self, call: &mut Call, said: &Said) -> Result<(), Failure> {
        let claims = match said {
            Said::Active(claims) => claims,
            Said::Inactive => return Err(self.refused(WRONG)),
            Said::Away(detail) => {
                self.counted.note(AWAY);
                return Err(Failure::gateway(Stage::Policy, Problem::Unavailable)
                    .with_hint("the directory cannot be asked now")
                    .with_retry_after(Duration::from_secs(1))
                    .with_detail(detail.to_string()));
            }
        };
        match self.consumer(claims)? {
            Some(consumer) => credentials::enter(call, consumer, &self.challenge)?,
            None => Consumer::step_aside(call),
        }
        for (name, path) in &self.sent {
            let value = template::claim(claims, path).and_then(template::claim_text);
            // A value that no header can hold is not sent, in whole or in part.
            if let Some(Ok(value)) = value.map(|text| HeaderValue::from_str(&text)) {
                call.head.headers.insert(name, value);
            }
        }
        call.claims = Some(Rc::new((**claims).clone()));
        credentials::enter_by_password(call);
        if self.hide {
            call.head.headers.remove(header::AUTHORIZATION);
        }
        Ok(())
    }

    fn consumer(&self, claims: &Map<String, Value>) -> Result<Option<&Arc<Consumer>>, Failure> {
        let texts = |name: &str| {
            claims.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        };
        let by_group = self.group_consumers.iter().find(|(group, _)| {
            texts("groups").any(|name| name == group) || texts("groupDns").any(|dn| text::is_same(dn, group))
        });
        if let Some((_, consumer)) = by_group {
            return Ok(Some(consumer));
        }
        if let Some(consumer) = self.consumers.with_claims("", claims) {
            return Ok(Some(consumer));
        }
        let Some(path) = &self.consumer_claim else { return Ok(None) };
        let name = template::claim(claims, path).and_then(template::claim_text);
        let found = name.and_then(|name| self.consumers.named(&name));
        found.map(Some).ok_or_else(|| self.refused(WRONG).with_detail("the user is no consumer"))
    }

    fn refused(&self, hint: &str) -> Failure {
        credentials::unauthenticated(&self.challenge, hint)
    }

    fn digest(&self, user: &str, password: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.state.key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// Asks in the background, so that a client who leaves takes nobody's answer along.
    fn ask(&self, digest: Digest, user: String, password: String) -> watch::Receiver<Option<Said>> {
        let (tell, told) = watch::channel(None);
        self.state.known.begin(digest, told.clone());
        let (directory, state, counted) = (self.directory.clone(), self.state.clone(), self.counted.clone());
        let (ttl, patience) = (self.ttl, self.patience);
        self.background.spawn(async move {
            let asked =
                tokio::spawn(
                    async move { tokio::time::timeout(patience, directory.ask(&user, &password)).await },
                );
            let said = match asked.await {
                Ok(Ok(Ok(Some(claims)))) => {
                    counted.note(GOOD);
                    Said::Active(Arc::new(claims))
                }
                Ok(Ok(Ok(None))) => {
                    counted.note(BAD);
                    Said::Inactive
                }
                Ok(Ok(Err(error))) => Said::Away(error.into()),
                Ok(Err(_)) => Said::Away("no answer in time".into()),
                Err(_) => Said::Away("its answer makes no sense".into()),
            };
            // That a password is no good is not kept.
            let lasts = if matches!(said, Said::Active(_)) { ttl } else { Duration::ZERO };
            state.known.end(digest, said.clone(), lasts);
            tell.send_replace(Some(said));
        });
        told
    }
}

fn directory(
    settings: &model::policy::LdapAuth,
    ca: Option<&[u8]>,
    cx: &Building<'_>,
) -> Result<Directory, String> {
    let way = match (&settings.user_dn, &settings.search) {
        (Some(dn), _) => Way::Dn(dn.clone()),
        (None, Some(search)) => {
            let password = search.bind_password.as_ref().map(|secret| cx.snapshot.secret(secret).to_owned());
            let bind = search.bind_dn.clone().zip(password);
            if bind.as_ref().is_some_and(|(dn, password)| dn.is_empty() || password.is_empty()) {
                return Err("`search`: without a name and a password nobody in particular searches".into());
            }
            Way::Search {
                bind,
                base: search.base.clone(),
                filter: search.filter.clone(),
                scope: directory::scope(search.scope),
            }
        }
        (None, None) => return Err("expected `userDn` or `search`".into()),
    };
    let groups = settings.groups.as_ref().map(|groups| Groups {
        attribute: groups.attribute.clone(),
        base: groups.base.clone(),
        filter: groups.filter.clone(),
        scope: directory::scope(groups.scope),
        name_attribute: groups.name_attribute.clone(),
        max: groups.max,
    });
    let needs_tls = settings.start_tls || settings.servers.iter().any(|url| url.starts_with("ldaps:"));
    let questions = Questions {
        way,
        groups,
        user_attribute: settings.user_attribute.clone(),
        attributes: settings.attributes.clone(),
        timeout: settings.timeout.get(),
        connect_timeout: settings.connect_timeout.get(),
        start_tls: settings.start_tls,
        tls: Arc::new(tls(ca, needs_tls)?),
    };
    Ok(Directory::new(&settings.servers, settings.max_connections, questions))
}

/// TLS with these authorities, or the system's.
fn tls(ca: Option<&[u8]>, is_needed: bool) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("`caFile`: {error}"))?;
                roots.add(certificate).map_err(|error| format!("`caFile`: {error}"))?;
            }
            if roots.is_empty() {
                return Err("`caFile` has no certificate".into());
            }
        }
        None if is_needed => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("the system has no root certificates: name a `caFile`".into());
            }
        }
        None => {}
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl NeedsOf for model::policy::LdapAuth {
    fn needs(&self) -> Needs {
        let identity: Vec<_> = self.claims_to_headers.keys().map(model::HeaderName::to_http).collect();
        Needs { headers: identity.clone(), identity, ..Needs::default() }
    }
}

impl Policy for LdapAuth {
    fn is_shown(&self, call: &Call) -> bool {
        call.head.headers.contains_key(header::AUTHORIZATION)
    }

    fn conceal(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool, _: &dyn Fn(&str) -> bool) {
        if !stays(&header::AUTHORIZATION) {
            call.head.headers.remove(header::AUTHORIZATION);
        }
    }

    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        // Whatever the directory says, these headers say only that.
        for (name, _) in &self.sent {
            call.head.headers.remove(name);
        }
        let (user, password) = match credentials::in_header(&call.head.headers, &header::AUTHORIZATION) {
            Err(Repeated) => return Flow::Fail(self.refused("the credentials are given more than once")),
            Ok(Some(value)) => match basic_auth::parse(value) {
                Some(pair) => pair,
                None => return Flow::Fail(self.refused(WRONG)),
            },
            Ok(None) => {
                return match &self.anonymous {
                    Some(consumer) => {
                        consumer.stand_in(call);
                        Flow::Continue
                    }
                    None => Flow::Fail(self.refused("a user name and a password are needed")),
                };
            }
        };
        let Ok(password) = String::from_utf8(password) else { return Flow::Fail(self.refused(WRONG)) };
        let is_askable =
            |text: &str| !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.contains('\0');
        if !is_askable(&user) || !is_askable(&password) {
            return Flow::Fail(self.refused(WRONG));
        }
        let digest = self.digest(&user, password.as_bytes());
        let mut told = match self.state.known.look(&digest) {
            Looked::Said(said) => {
                self.counted.note(KEPT);
                return self.enter(call, &said).map_or_else(Flow::Fail, |()| Flow::Continue);
            }
            Looked::Full => {
                let away = Said::Away("too many passwords are being asked about".into());
                return self.enter(call, &away).map_or_else(Flow::Fail, |()| Flow::Continue);
            }
            Looked::Asked(told) => told,
            Looked::Nothing => self.ask(digest, user, password),
        };
        Flow::Wait(Box::pin(async move {
            let patience = self.patience + Duration::from_millis(200);
            let said = match tokio::time::timeout(patience, told.wait_for(Option::is_some)).await {
                Ok(Ok(said)) => said.clone(),
                _ => None,
            };
            let said = said.unwrap_or_else(|| Said::Away("no answer in time".into()));
            self.enter(call, &said).map_or_else(Verdict::Fail, |()| Verdict::Continue)
        }))
    }
}
