//! Consumers: who may call, found by what they show.
//!
//! Credentials are kept as digests alone. Keys are digested with a salt that is drawn anew with every snapshot, so
//! the time that a lookup takes tells nothing about any key; the last comparison is constant in time.

mod slow;

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, rand};
use http::HeaderName;
use model::Finding;
use serde_json::{Map, Value};

use self::slow::Slow;
pub use self::slow::hash as hash_password;
pub(crate) use self::slow::{Busy, Slowly};
use crate::{call::Call, compiled::Building, policy::Chain, template};

/// Bytes of a SHA-256 digest.
const DIGEST_BYTES: usize = 32;
/// Bytes that are digested without an allocation: the salt and a key of usual length.
const INLINE_BYTES: usize = 256;

type Digest = [u8; DIGEST_BYTES];

/// Who calls.
pub(crate) struct Consumer {
    /// Unique name.
    pub name: Arc<str>,
    /// Groups that `acl` may name.
    pub groups: Vec<Box<str>>,
    /// When its credentials end.
    expires_at: Option<std::time::SystemTime>,
    /// The models that it may use; all without it.
    models: Option<Vec<Box<str>>>,
    /// Policies of this consumer's calls, whatever the route.
    pub(crate) chain: Chain,
}

/// Credentials that have ended, told together where the first of them stands.
pub(crate) fn ended(config: &model::Config, now: std::time::SystemTime) -> Option<Finding> {
    let past = |end: Option<model::types::Date>| end.filter(|end| end.time() <= now);
    let mut all = config.consumers.iter().flat_map(|one| {
        let keys = one.hashed_keys.iter().enumerate();
        let keys = keys.map(|(entry, key)| (format!("hashedKeys[{entry}].expiresAt"), key.expires_at));
        let own = std::iter::once(("expiresAt".to_owned(), one.expires_at));
        own.chain(keys).filter_map(move |(key, end)| Some((&one.name, key, past(end)?)))
    });
    let (name, key, end) = all.next()?;
    let more = match all.count() {
        0 => String::new(),
        count => format!(", and {count} more"),
    };
    let message = format!("this ended on {end}{more}: whoever shows such credentials is 401");
    Some(Finding::new(format!("consumers/{name}"), key, message))
}

impl Consumer {
    /// Whether its credentials have ended.
    pub(crate) fn has_expired(&self, now: std::time::SystemTime) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }

    /// Whether it may use a model, by the name that it asks for.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| {
            models.iter().any(|known| match known.strip_suffix('*') {
                Some(begin) => model.starts_with(begin),
                None => model == &**known,
            })
        })
    }

    /// Makes this consumer the one who calls. A call has one caller: whoever comes after another one has to be the
    /// same, unless the first only stands in for nobody and nothing has been decided by it yet.
    pub(crate) fn enter(self: &Arc<Self>, call: &mut Call) -> Result<(), SomebodyElse> {
        let is_known = call.consumer.as_ref().is_some_and(|known| known.name != self.name);
        if is_known && !call.stands_in {
            return Err(SomebodyElse);
        }
        call.stands_in = false;
        call.is_stranger = false;
        self.become_caller(call);
        Ok(())
    }

    /// Lets this consumer stand in for a caller who has shown nothing; who is somebody already stays who they are.
    pub(crate) fn stand_in(self: &Arc<Self>, call: &mut Call) {
        if call.consumer.is_none() && call.claims.is_none() {
            call.stands_in = true;
            call.is_stranger = true;
            self.become_caller(call);
        }
    }

    /// Ends that a consumer stands in for nobody: the caller is somebody, though no consumer.
    pub(crate) fn step_aside(call: &mut Call) {
        if std::mem::take(&mut call.stands_in) {
            call.is_stranger = false;
            call.consumer = None;
            call.record.consumer = None;
        }
    }

    fn become_caller(self: &Arc<Self>, call: &mut Call) {
        call.record.consumer = Some(self.name.clone());
        call.consumer = Some(self.clone());
    }
}

/// The caller has shown the credentials of two consumers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SomebodyElse;

/// All consumers of a snapshot.
pub(crate) struct Consumers {
    all: Vec<Arc<Consumer>>,
    by_name: HashMap<Arc<str>, usize>,
    salt: Digest,
    /// Whose key it is, and which of them.
    by_key: HashMap<Digest, (usize, usize)>,
    /// Those of which only a digest is known, by that digest with the salt.
    by_hash: HashMap<Digest, HashedKey>,
    by_user: HashMap<Box<str>, (usize, Password)>,
    /// There where a password is one of Argon2's.
    slow: Option<Slow>,
    /// Claims that identify consumers, and who has which value under which issuer.
    by_claim: Vec<Claim>,
}

/// A key of which only a digest is known.
struct HashedKey {
    at: usize,
    /// Its place among the keys of its consumer, behind those that are known.
    entry: usize,
    expires_at: Option<SystemTime>,
}

/// What is known of a password.
enum Password {
    Digest(Digest),
    Argon2(Arc<str>),
}

/// Whom a key is one of.
pub(crate) enum KeyOf<'c> {
    /// This consumer; which of its keys it is.
    Consumer(&'c Arc<Consumer>, usize),
    /// A consumer, whose key has ended.
    Ended,
    Nobody,
}

/// Whom a user name and a password are those of.
pub(crate) enum PasswordOf<'c> {
    Consumer(&'c Arc<Consumer>),
    Nobody,
    /// That takes too long to be known at once.
    Slowly(Slowly),
}

struct Claim {
    path: Box<[Box<str>]>,
    owners: HashMap<(Option<Box<str>>, Box<str>), usize>,
}

impl Default for Consumers {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            by_name: HashMap::new(),
            salt: [0; DIGEST_BYTES],
            by_key: HashMap::new(),
            by_hash: HashMap::new(),
            slow: None,
            by_user: HashMap::new(),
            by_claim: Vec::new(),
        }
    }
}

impl Consumers {
    /// Builds all consumers. Every finding names the consumer and the entry that is wrong; all are told at once.
    pub(crate) fn compile(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Self {
        let snapshot = cx.snapshot;
        let mut built = Self::default();
        if rand::fill(&mut built.salt).is_err() {
            errors.push(Finding::new("", "consumers", "the system gives no random bytes"));
        }
        for (at, settings) in snapshot.config.consumers.iter().enumerate() {
            let name: Arc<str> = settings.name.as_str().into();
            if built.by_name.insert(name.clone(), at).is_some() {
                errors.push(Finding::new(format!("consumers/{name}"), "", "a consumer is given twice"));
            }
            let owner = format!("consumers/{name}");
            let chain = Chain::compile(&settings.policies, &owner, cx, errors);
            let groups = settings.groups.iter().map(|group| group.as_str().into()).collect();
            let expires_at = settings.expires_at.map(model::types::Date::time);
            let models = settings.models.as_ref();
            let models = models.map(|models| models.iter().map(|model| model.as_str().into()).collect());
            built.all.push(Arc::new(Consumer { name, groups, expires_at, models, chain }));
            built.add_keys(at, settings, snapshot, errors);
            built.add_hashed_keys(at, settings, errors);
            built.add_passwords(at, settings, snapshot, errors);
            built.add_identities(at, settings, errors);
        }
        built
    }

    fn add_keys(
        &mut self,
        at: usize,
        settings: &model::Consumer,
        snapshot: &model::Snapshot,
        errors: &mut Vec<Finding>,
    ) {
        for (entry, secret) in settings.keys.iter().enumerate() {
            let key = snapshot.secret(secret);
            let wrong = |message: &str| {
                Finding::new(format!("consumers/{}", settings.name), format!("keys[{entry}]"), message)
            };
            if key.is_empty() {
                errors.push(wrong("the key is empty"));
                continue;
            }
            // No header can carry it, so that it would never be found.
            if !key.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
                errors.push(wrong("the key has a space or a character outside of ASCII"));
                continue;
            }
            let digest = self.digest(key.as_bytes());
            match self.by_key.insert(digest, (at, entry)) {
                Some((other, _)) if other != at => {
                    let other = &self.all[other].name;
                    errors.push(wrong(&format!("this is also a key of consumer `{other}`")));
                }
                _ => {}
            }
        }
    }

    fn add_hashed_keys(&mut self, at: usize, settings: &model::Consumer, errors: &mut Vec<Finding>) {
        for (entry, key) in settings.hashed_keys.iter().enumerate() {
            let wrong = |message: String| {
                Finding::new(format!("consumers/{}", settings.name), format!("hashedKeys[{entry}]"), message)
            };
            let Some(digest) = unhex(&key.sha256) else {
                errors.push(wrong("expected 64 hexadecimal digits".to_owned()));
                continue;
            };
            let digest = self.digest(&digest);
            let hashed = HashedKey {
                at,
                entry: settings.keys.len() + entry,
                expires_at: key.expires_at.map(model::types::Date::time),
            };
            match self.by_hash.insert(digest, hashed) {
                Some(other) if other.at != at => {
                    let other = &self.all[other.at].name;
                    errors.push(wrong(format!("this is also a key of consumer `{other}`")));
                }
                Some(_) => errors.push(wrong("this key is there twice".to_owned())),
                None => {}
            }
        }
    }

    fn add_passwords(
        &mut self,
        at: usize,
        settings: &model::Consumer,
        snapshot: &model::Snapshot,
        errors: &mut Vec<Finding>,
    ) {
        for (entry, credential) in settings.basic.iter().enumerate() {
            let wrong = |message: &str| {
                Finding::new(format!("consumers/{}", settings.name), format!("basic[{entry}]"), message)
            };
            let user = credential.username.as_str();
            if user.is_empty() || user.contains(':') {
                errors.push(wrong("a user name is not empty and has no colon"));
                continue;
            }
            let password = snapshot.secret(&credential.password);
            let known = match password.strip_prefix("sha256:") {
                _ if password.is_empty() => Err("the password is empty".to_owned()),
                Some(hex) => {
                    let digest =
                        unhex(hex).ok_or("`sha256:` is followed by 64 hexadecimal digits".to_owned());
                    digest.map(Password::Digest)
                }
                None if password.starts_with("$argon2") => slow::check(password).map(|()| {
                    let hash: Arc<str> = password.into();
                    self.slow.get_or_insert_with(|| Slow::new(hash.clone()));
                    Password::Argon2(hash)
                }),
                None => Ok(Password::Digest(sha256(password.as_bytes()))),
            };
            let known = match known {
                Ok(known) => known,
                Err(error) => {
                    errors.push(wrong(&error));
                    continue;
                }
            };
            if let Some((other, _)) = self.by_user.insert(user.into(), (at, known)) {
                let other = &self.all[other].name;
                errors.push(wrong(&format!("user `{user}` is also a user of consumer `{other}`")));
            }
        }
    }

    fn add_identities(&mut self, at: usize, settings: &model::Consumer, errors: &mut Vec<Finding>) {
        for (entry, identity) in settings.jwt.iter().enumerate() {
            let path: Box<[Box<str>]> = identity.claim.split('.').map(Into::into).collect();
            let index = self.by_claim.iter().position(|claim| claim.path == path).unwrap_or_else(|| {
                self.by_claim.push(Claim { path, owners: HashMap::new() });
                self.by_claim.len() - 1
            });
            let key = (identity.issuer.as_deref().map(Into::into), identity.value.as_str().into());
            match self.by_claim[index].owners.insert(key, at) {
                Some(other) if other != at => errors.push(Finding::new(
                    format!("consumers/{}", settings.name),
                    format!("jwt[{entry}]"),
                    format!("this also identifies consumer `{}`", self.all[other].name),
                )),
                _ => {}
            }
        }
    }

    /// Request headers that the policies of any of them say who the caller is with.
    pub(crate) fn identity(&self) -> Vec<HeaderName> {
        let mut names: Vec<_> =
            self.all.iter().flat_map(|consumer| consumer.chain.identity()).cloned().collect();
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        names
    }

    /// The consumer of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.by_name.get(name).map(|at| &self.all[*at])
    }

    /// The consumer with this API key, and which of its keys it is.
    pub(crate) fn with_key(&self, key: &[u8]) -> KeyOf<'_> {
        let digest = self.digest(key);
        if let Some((found, (at, entry))) = self.by_key.get_key_value(&digest)
            && verify_slices_are_equal(found, &digest).is_ok()
        {
            return KeyOf::Consumer(&self.all[*at], *entry);
        }
        if self.by_hash.is_empty() {
            return KeyOf::Nobody;
        }
        let digest = self.digest(&sha256(key));
        match self.by_hash.get_key_value(&digest) {
            Some((found, hashed)) if verify_slices_are_equal(found, &digest).is_ok() => {
                match hashed.expires_at.is_some_and(|end| SystemTime::now() >= end) {
                    true => KeyOf::Ended,
                    false => KeyOf::Consumer(&self.all[hashed.at], hashed.entry),
                }
            }
            _ => KeyOf::Nobody,
        }
    }

    /// The consumer with this user name and password. An unknown name takes as long as a wrong password, of Argon2's where
    /// there is one.
    pub(crate) fn with_password(&self, user: &str, password: &[u8]) -> PasswordOf<'_> {
        let known = self.by_user.get(user);
        let (at, hash) = match (known, &self.slow) {
            (Some((at, Password::Argon2(hash))), Some(_)) => (Some(*at), hash.clone()),
            (None, Some(slow)) => (None, slow.any_hash()),
            (Some((at, Password::Digest(kept))), _) => {
                let is_equal = verify_slices_are_equal(kept, &sha256(password)).is_ok();
                return if is_equal { PasswordOf::Consumer(&self.all[*at]) } else { PasswordOf::Nobody };
            }
            _ => {
                let _ = verify_slices_are_equal(&self.salt, &sha256(password));
                return PasswordOf::Nobody;
            }
        };
        let mark = self.digest(&[sha256(user.as_bytes()), sha256(password)].concat());
        match (at, &self.slow) {
            (Some(at), Some(slow)) if slow.knows(&mark) => PasswordOf::Consumer(&self.all[at]),
            (_, Some(slow)) if slow.knows_wrong(&mark) => PasswordOf::Nobody,
            _ => PasswordOf::Slowly(Slowly { at, hash, mark }),
        }
    }

    /// The same where it takes time, for somebody at this address: away from the thread that asks.
    pub(crate) async fn with_password_slowly(
        &self,
        asked: Slowly,
        password: Vec<u8>,
        client: std::net::IpAddr,
        background: &tokio::runtime::Handle,
    ) -> Result<Option<&Arc<Consumer>>, Busy> {
        let Some(slow) = &self.slow else { return Ok(None) };
        let at = asked.at;
        let is_right = slow.verify(asked, password, client, background).await?;
        Ok(at.filter(|_| is_right).map(|at| &self.all[at]))
    }

    /// The consumer that the claims of a verified token identify; an entry with the issuer comes before one without.
    pub(crate) fn with_claims(&self, issuer: &str, claims: &Map<String, Value>) -> Option<&Arc<Consumer>> {
        self.by_claim.iter().find_map(|claim| {
            let value = template::claim_text(template::claim(claims, &claim.path)?)?;
            let value: Box<str> = value.into();
            let own = claim.owners.get(&(Some(issuer.into()), value.clone()));
            own.or_else(|| claim.owners.get(&(None, value))).map(|at| &self.all[*at])
        })
    }

    fn digest(&self, key: &[u8]) -> Digest {
        let length = DIGEST_BYTES + key.len();
        if length <= INLINE_BYTES {
            let mut buffer = [0; INLINE_BYTES];
            buffer[..DIGEST_BYTES].copy_from_slice(&self.salt);
            buffer[DIGEST_BYTES..length].copy_from_slice(key);
            sha256(&buffer[..length])
        } else {
            sha256(&[&self.salt, key].concat())
        }
    }
}

fn sha256(data: &[u8]) -> Digest {
    let mut out = [0; DIGEST_BYTES];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

fn unhex(text: &str) -> Option<Digest> {
    let mut out = [0; DIGEST_BYTES];
    if text.len() != 2 * DIGEST_BYTES {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(out)
}
