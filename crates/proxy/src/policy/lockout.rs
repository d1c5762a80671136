//! `lockout`: locks out who fails to sign in too often.
//!
//! It stands before whatever finds out who calls and sees what came of that on the way back: a 401 of the gateway's own to a
//! call that showed credentials is a failure, and a caller who is known afterwards has succeeded.

mod attempts;
mod name;
mod shared;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{digest, hmac, rand};
use http::{HeaderName, Response, StatusCode, header};
use model::policy::lockout::LockoutBy;

use self::{
    attempts::{Attempts, Bounds, Mark, Place},
    shared::Store,
};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict, basic_auth, chain,
    counted::{Counted, Gauge, Metric},
    credentials, judged,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::ai::realtime,
};

static METRIC: Metric = Metric {
    name: "tidegate_lockout_total",
    help: "What lockouts did: failed sign-ins that were counted, locks that began, and calls that were refused for one.",
    outcomes: &["failed", "locked", "refused"],
    gauges: &[Gauge {
        name: "tidegate_lockout_entries",
        help: "Addresses, users and keys whose failed sign-ins are counted now.",
    }],
};
const FAILED: usize = 0;
const LOCKED: usize = 1;
const REFUSED: usize = 2;
const ENTRIES: usize = 0;

/// Where services look for what they judge themselves, beside what policies say.
const OF_SERVICES: [HeaderName; 2] = [header::AUTHORIZATION, HeaderName::from_static("x-api-key")];

/// The compiled policy.
pub(crate) struct Lockout {
    by: Vec<LockoutBy>,
    of_one: Bounds,
    of_address: Bounds,
    status: StatusCode,
    key_prefix: usize,
    exempt: Vec<model::Cidr>,
    ipv6_prefix: u8,
    upstream_statuses: Vec<u16>,
    /// Headers in which keys are that are told apart by how they begin.
    keys: Vec<HeaderName>,
    state: Arc<State>,
    store: Option<Store>,
    counted: Arc<Counted>,
}

/// Goes on over reloads while its settings stay.
struct State {
    attempts: Attempts,
    /// Nobody outside can tell which names share a mark.
    salt: [u8; 32],
}

/// Who tries: by each way of counting, with its mark, and from where.
struct Trying {
    marks: Vec<(LockoutBy, Mark)>,
    place: Place,
    /// It shows one credential alone: one that is good is that.
    is_alone: bool,
    /// Others may have counted failures that a good sign-in takes back.
    is_failing: bool,
}

impl Lockout {
    pub(crate) fn compile(settings: &model::policy::Lockout, cx: &Building<'_>) -> Result<Self, String> {
        let mut salt = [0; 32];
        let store = match settings.store {
            model::resource::redis::Store::Memory => None,
            model::resource::redis::Store::Redis => {
                let accounts = cx.accounts.cloned().ok_or("there is no `redis` in the configuration")?;
                Some(Store::new(accounts, &cx.owner))
            }
        };
        match store {
            None => rand::fill(&mut salt).map_err(|_| "the system gives no random bytes")?,
            Some(_) => salt = shared_salt(settings, cx),
        }
        let bounds = |failures_max| Bounds {
            failures_max,
            window: settings.window.get(),
            lock: settings.duration.get(),
            lock_max: settings.max_duration.get(),
        };
        let counted = Counted::of(&METRIC, cx);
        // With another secret the marks are others. In memory they are made of what is kept.
        let terms = (settings.clone(), store.as_ref().map(|_| salt));
        let state =
            cx.keep("attempts", &terms, || State { attempts: Attempts::new(settings.max_entries), salt });
        counted.watch(ENTRIES, state.attempts.count());
        let mut keys: Vec<HeaderName> =
            cx.snapshot.key_headers().iter().map(model::HeaderName::to_http).collect();
        if !settings.upstream_statuses.is_empty() {
            keys.extend(OF_SERVICES);
        }
        Ok(Self {
            by: settings.by.clone(),
            of_one: bounds(settings.max_failures),
            of_address: bounds(settings.max_failures_per_address),
            status: StatusCode::from_u16(settings.status).map_err(|error| error.to_string())?,
            key_prefix: settings.key_prefix,
            exempt: settings.exempt.clone(),
            ipv6_prefix: settings.ipv6_prefix,
            upstream_statuses: settings.upstream_statuses.clone(),
            keys,
            state,
            store,
            counted,
        })
    }

    /// Who tries with this call; nobody when it shows no credentials.
    fn trying(&self, call: &Call) -> Option<Trying> {
        let mut names = chain::credential_headers(call);
        if !self.upstream_statuses.is_empty() {
            let more: Vec<_> = OF_SERVICES.into_iter().filter(|name| !names.contains(name)).collect();
            names.extend(more);
        }
        // Sessions are no guesses: a cookie that has ended is shown by every browser that was away.
        let shown =
            names.iter().filter(|name| **name != header::COOKIE && call.head.headers.contains_key(*name));
        let shown: Vec<&HeaderName> = shown.collect();
        let parameters = chain::credential_parameters(call);
        let is_shown = |name: &str| !matches!(credentials::in_query(&call.head.uri, name), Ok(None));
        let in_query = parameters.iter().filter(|name| is_shown(name)).count();
        // Browsers show a key among the subprotocols of a WebSocket in place of `Authorization`.
        let offers = call.upgrade.is_some() && names.contains(&header::AUTHORIZATION);
        let offered = realtime::offered_keys(&call.head.headers).next().filter(|_| offers);
        let things = shown.len() + in_query + usize::from(offered.is_some());
        if things == 0 {
            return None;
        }
        let address = self.address(call.client);
        // Where nobody looks at it, a name is no guess.
        let looks = shown.contains(&&header::AUTHORIZATION);
        let authorization = call.head.headers.get(header::AUTHORIZATION).filter(|_| looks);
        let user = authorization.and_then(|value| basic_auth::parse(value.as_bytes()));
        let user = user.map(|(user, _)| name::folded(&user));
        let mut marks = Vec::with_capacity(self.by.len());
        for by in &self.by {
            let mark = match by {
                LockoutBy::Address => Some(self.mark(b"address", &[&address])),
                LockoutBy::User => user.as_ref().map(|user| self.mark(b"user", &[user.as_bytes()])),
                LockoutBy::UserAtAddress => {
                    user.as_ref().map(|user| self.mark(b"user at", &[user.as_bytes(), &address]))
                }
                LockoutBy::Key => {
                    let begin = self.key_beginning(call, &shown, offered, &parameters);
                    begin.map(|begin| self.mark(b"key", &[&begin]))
                }
            };
            marks.extend(mark.map(|mark| (*by, mark)));
        }
        let place = self.mark(b"place", &[&address]);
        Some(Trying { marks, place, is_alone: things == 1, is_failing: false })
    }

    /// The beginning of the key that is shown, in a header, among subprotocols or in the query.
    fn key_beginning(
        &self,
        call: &Call,
        shown: &[&HeaderName],
        offered: Option<&[u8]>,
        parameters: &[Box<str>],
    ) -> Option<Vec<u8>> {
        let names = shown.iter().filter(|name| self.keys.contains(**name));
        let values = names.filter_map(|name| call.head.headers.get(*name)).map(http::HeaderValue::as_bytes);
        let values = values.map(|value| credentials::after_scheme(value, "Bearer").unwrap_or(value));
        // Behind other schemes are passwords, signatures and tickets; those of all people begin alike.
        let values = values.filter(|value| !value.contains(&b' '));
        let mut values = values.chain(offered);
        let key: Vec<u8> = match values.find(|value| !is_jwt(value)) {
            Some(value) => value.to_vec(),
            None => {
                let found =
                    parameters.iter().find_map(|name| credentials::in_query(&call.head.uri, name).ok()?);
                found.filter(|value| !is_jwt(value.as_bytes()))?.as_bytes().to_vec()
            }
        };
        Some(key.get(..self.key_prefix.min(key.len())).unwrap_or_default().to_vec())
    }

    fn address(&self, client: IpAddr) -> [u8; 16] {
        match client.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => {
                let kept = u128::MAX.checked_shl(128 - u32::from(self.ipv6_prefix)).unwrap_or(u128::MAX);
                (v6.to_bits() & kept).to_be_bytes()
            }
        }
    }

    fn mark(&self, kind: &[u8], parts: &[&[u8]]) -> Mark {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.state.salt);
        for part in [kind].iter().chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut mark = Mark::default();
        let length = mark.len();
        mark.copy_from_slice(&context.finish().as_ref()[..length]);
        mark
    }

    fn bounds(&self, by: LockoutBy) -> Bounds {
        match by {
            LockoutBy::Address => self.of_address,
            LockoutBy::User | LockoutBy::UserAtAddress | LockoutBy::Key => self.of_one,
        }
    }

    fn fail(&self, call: &mut Call, trying: &Trying, now: Instant) {
        self.counted.note(FAILED);
        if let Some(store) = self.store.clone() {
            let client = call.client;
            let all: Vec<_> = trying.marks.iter().map(|(by, mark)| (*by, *mark, self.bounds(*by))).collect();
            let (state, counted, place) = (self.state.clone(), self.counted.clone(), trying.place);
            // The answer does not wait for it.
            tokio::task::spawn_local(async move {
                let asked: Vec<(Mark, Bounds)> =
                    all.iter().map(|(_, mark, bounds)| (*mark, *bounds)).collect();
                let told = store.fail(&asked, &place).await;
                let now = Instant::now();
                for (place_of, (by, mark, bounds)) in all.into_iter().enumerate() {
                    let lock = match &told {
                        Some(locks) => locks.get(place_of).copied().filter(|lock| !lock.is_zero()),
                        // It is away: what comes to this gateway counts here.
                        None => state.attempts.fail(mark, place, now, bounds),
                    };
                    let Some(lock) = lock else { continue };
                    if told.is_some() {
                        state.attempts.lock(mark, now, lock, bounds);
                    }
                    counted.note(LOCKED);
                    said(client, by, lock);
                }
            });
            return;
        }
        for (by, mark) in &trying.marks {
            if let Some(lock) = self.state.attempts.fail(*mark, trying.place, now, self.bounds(*by)) {
                self.counted.note(LOCKED);
                judged::note(call, "lockout", "locked", word(*by));
                said(call.client, *by, lock);
            }
        }
    }

    /// Who is locked out here is refused.
    fn refusal(&self, call: &mut Call, trying: &Trying, now: Instant) -> Option<Failure> {
        let left =
            trying.marks.iter().filter_map(|(by, mark)| Some((*by, self.state.attempts.locked(mark, now)?)));
        let (by, left) = left.max_by_key(|(_, left)| *left)?;
        self.counted.note(REFUSED);
        judged::note(call, "lockout", "refused", word(by));
        Some(
            Failure::refused(Problem::RateLimited)
                .with_status(self.status)
                .with_retry_after(left.max(Duration::from_secs(1)))
                .with_hint("too many failed sign-ins: try again later")
                .with_detail(format!("locked out by {}", word(by))),
        )
    }

    /// Learns from the store who is locked out, and who has failed.
    async fn learn(&self, store: &Store, trying: &mut Trying) {
        let marks: Vec<Mark> = trying.marks.iter().map(|(_, mark)| *mark).collect();
        let Some(all) = store.look(&marks).await else { return };
        let now = Instant::now();
        for ((by, mark), standing) in trying.marks.iter().zip(all) {
            trying.is_failing |= standing.has_failures;
            if !standing.locked.is_zero() {
                self.state.attempts.lock(*mark, now, standing.locked, self.bounds(*by));
            }
        }
    }
}

/// All who count together have the same marks, and nobody who reads them the secret.
fn shared_salt(settings: &model::policy::Lockout, cx: &Building<'_>) -> [u8; 32] {
    let redis = cx.snapshot.config.redis.as_ref().and_then(|redis| redis.password.as_ref());
    let secret = settings.secret.as_ref().or(redis).map_or("", |secret| cx.snapshot.secret(secret));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("lockout of {}", cx.owner).as_bytes());
    let mut salt = [0; 32];
    salt.copy_from_slice(tag.as_ref());
    salt
}

/// Whether it is a signed token (RFC 7515 §3.1): those of all people begin alike.
fn is_jwt(value: &[u8]) -> bool {
    value.starts_with(b"eyJ") && value.iter().filter(|byte| **byte == b'.').count() >= 2
}

/// Says that somebody is locked out. A user's name may be what somebody typed into the wrong field.
fn said(client: IpAddr, by: LockoutBy, lock: Duration) {
    tracing::warn!(%client, by = word(by), seconds = lock.as_secs(), "too many failed sign-ins: locked out");
}

fn word(by: LockoutBy) -> &'static str {
    match by {
        LockoutBy::Address => "address",
        LockoutBy::User => "user",
        LockoutBy::UserAtAddress => "userAtAddress",
        LockoutBy::Key => "key",
    }
}

impl NeedsOf for model::policy::Lockout {
    // It looks at what others find callers by.
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

impl Policy for Lockout {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if self.exempt.iter().any(|network| network.contains(call.client)) {
            return Flow::Continue;
        }
        let Some(mut trying) = self.trying(call) else { return Flow::Continue };
        if let Some(failure) = self.refusal(call, &trying, Instant::now()) {
            return Flow::Fail(failure);
        }
        let Some(store) = &self.store else {
            call.keep(self, trying);
            return Flow::Continue;
        };
        Flow::Wait(Box::pin(async move {
            self.learn(store, &mut trying).await;
            if let Some(failure) = self.refusal(call, &trying, Instant::now()) {
                return Verdict::Fail(failure);
            }
            call.keep(self, trying);
            Verdict::Continue
        }))
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let Some(trying) = call.take::<Self, Trying>(self) else { return };
        let now = Instant::now();
        let reason = call.record.failure.as_ref().map(|failure| failure.reason);
        let is_upstreams = reason.is_none() && self.upstream_statuses.contains(&answer.status().as_u16());
        // A guess that something good was shown beside is a guess.
        let is_beside = credentials::was_wrong_beside(call);
        if reason == Some(Problem::Unauthenticated.slug()) || is_upstreams || is_beside {
            return self.fail(call, &trying, now);
        }
        // What a service answers well proves nothing: most have something for everybody.
        let is_known = (call.consumer.is_some() && !call.is_stranger) || call.claims.is_some();
        if is_known {
            // With one password, or key, of one's own nobody tries those of others for ever.
            let by_key = trying.is_alone && (call.shown_key.is_some() || call.token.is_some());
            let by_password = credentials::was_by_password(call);
            let is_good = |by: LockoutBy| match by {
                LockoutBy::Address => false,
                LockoutBy::User | LockoutBy::UserAtAddress => by_password,
                LockoutBy::Key => by_key,
            };
            let marks = trying.marks.iter().filter(|(by, _)| is_good(*by));
            let marks: Vec<Mark> = marks.map(|(_, mark)| *mark).collect();
            marks.iter().for_each(|mark| self.state.attempts.succeed(mark, &trying.place));
            if let Some(store) = self.store.clone()
                && trying.is_failing
                && !marks.is_empty()
            {
                tokio::task::spawn_local(async move { store.forgive(&marks, &trying.place).await });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::building;

    #[test]
    fn an_address_is_its_network_and_marks_are_told_apart() {
        building("", |cx| {
            let policy = Lockout::compile(&model::policy::Lockout::default(), cx).expect("compiles");
            let address = |text: &str| policy.address(text.parse().expect("an address"));
            assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
            assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
            assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"));
            assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
            assert_ne!(policy.mark(b"user", &[b"ab", b"c"]), policy.mark(b"user", &[b"a", b"bc"]));
            assert_ne!(policy.mark(b"user", &[b"a"]), policy.mark(b"key", &[b"a"]));
        });
    }

    #[test]
    fn marks_in_a_store_are_of_the_secret_that_gateways_share() {
        let salt = |password: &str, secret: Option<&str>| {
            let redis = format!("redis: {{addresses: [\"127.0.0.1:1\"]{password}}}\n");
            building(&redis, |cx| {
                let secret = secret.map(|text| model::Secret::Literal(text.to_owned()));
                let store = model::resource::redis::Store::Redis;
                shared_salt(&model::policy::Lockout { store, secret, ..Default::default() }, cx)
            })
        };
        let with = ", password: \"a-password\"";
        assert_eq!(salt(with, None), salt(with, None), "gateways count together");
        assert_ne!(salt("", None), salt(with, None));
        assert_ne!(salt(with, Some("a-secret")), salt(with, None));
        assert_eq!(salt("", Some("a-secret")), salt(with, Some("a-secret")));
    }
}
