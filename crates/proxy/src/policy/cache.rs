//! `cache`: gives answers again, as a shared cache by RFC 9111.
//!
//! Its request phase answers with what is kept, or lets the call go on: as it is, or with the question whether what is
//! kept is still right. Its response phase keeps what came, confirms what was kept, or gives that instead of an error.
//! What policies of later phases do to answers is kept with them; what earlier ones do is done to each.

mod answering;
mod coming;
mod conditional;
mod control;
mod disk;
mod entry;
mod file;
mod flights;
mod freshness;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod key;
pub(crate) mod made_by;
mod marks;
mod outcome;
pub(crate) mod refresh;
pub(crate) mod report;
mod shared;
mod source;
mod store;
mod storing;
mod tiers;
mod waiting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use model::resource::redis::Store;

use self::{
    conditional::Conditions,
    control::Directives,
    disk::Disk,
    entry::Stored,
    flights::{Flights, Leader, Turn},
    freshness::Rules,
    key::{Key, Keys, Whom},
    outcome::{Account, Counts, Forward, Outcome},
    shared::Shared,
    store::{Found, Memory},
    tiers::{Below, Epochs, Tiers},
};
use super::{Flow, Needs, NeedsOf, Policy};
use crate::{body::Body, call::Call, compiled::Building};

/// The compiled policy.
pub(crate) struct Cache {
    keys: Arc<Keys>,
    rules: Rules,
    kept: Arc<Kept>,
    bytes_max: usize,
    collapse: Option<Duration>,
    heeds_requests: bool,
    tells: bool,
    /// What upstreams are told that heed `Surrogate-Control`.
    capability: Option<HeaderValue>,
}

/// Tells an origin that a surrogate stands before it (Edge Architecture Specification, W3C Note).
const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");

/// How `Cache-Status` says that an answer came from the tier on disk.
const DISK: &str = "disk";
/// The same of one that came from Redis.
const REDIS: &str = "redis";
/// Where the directories of caches are in the data directory.
const FOLDER: &str = "cache";

/// What goes on over a reload: the answers, and what is being fetched.
pub(crate) struct Kept {
    tiers: Tiers,
    flights: Arc<Flights>,
    counts: Counts,
    refreshing: AtomicUsize,
    keys: Arc<Keys>,
}

/// What the response phase must know of a request that went on.
struct Asking {
    key: Key,
    epoch: Epochs,
    conditions: Conditions,
    directives: Directives,
    /// The head's fields as they were compared.
    headers: HeaderMap,
    is_identified: bool,
    has_cookies: bool,
    /// Whom it was known to be from when its key was made.
    whom: Whom,
    sent: Instant,
    /// What is kept and not fresh.
    stale: Option<Arc<Stored>>,
    /// The upstream is asked about that.
    validates: bool,
    forward: Forward,
    is_collapsed: bool,
    leader: Option<Leader>,
}

/// What the response phase must do.
enum Note {
    /// The answer may be kept.
    Asking(Box<Asking>),
    /// What is kept of this address may be wrong after it.
    Unsafe(Key),
    /// Nothing but to tell that the cache had no part in it.
    Bypass(Forward),
}

/// What a kept answer is good for.
enum Use {
    Fresh,
    Stale,
    StaleWhileRefreshed,
    Ask(Forward),
}

impl Cache {
    pub(crate) fn compile(settings: &model::policy::Cache, cx: &Building<'_>) -> Result<Self, String> {
        if cx.owner.starts_with("upstreams/") {
            // What it answers there is not asked again beside the call, and routes would share answers.
            return Err(
                "`cache` stands on a route, a listener, a consumer or globally, not on an upstream".into()
            );
        }
        let keys = Arc::new(Keys::new(&settings.key));
        let disk = settings.disk.as_ref().and_then(|disk| below(settings, disk, &cx.owner));
        let accounts = match settings.store {
            Store::Redis => Some(cx.accounts.ok_or("there is no `redis` in the configuration")?),
            Store::Memory => None,
        };
        let memory = Arc::new(Memory::new(settings.max_size.get()));
        let shared =
            accounts.map(|accounts| Shared::new((&cx.owner, settings), accounts, &memory, cx.background));
        // Another server has other answers.
        let redis = cx.snapshot.config.redis.as_ref().filter(|_| shared.is_some());
        let of = (settings, redis.map(|redis| crate::redis::identity(redis, cx.snapshot)));
        let kept = cx.keep(report::KEPT, &of, || Kept {
            tiers: Tiers::new(memory, disk, shared),
            flights: Arc::default(),
            counts: Counts::default(),
            refreshing: AtomicUsize::new(0),
            keys: keys.clone(),
        });
        let heuristic = settings.heuristic.as_ref();
        let targets_surrogates = settings.targets.iter().any(|name| name.as_str() == "surrogate-control");
        Ok(Self {
            keys,
            rules: Rules {
                targets: settings.targets.iter().map(model::HeaderName::to_http).collect(),
                heuristic: heuristic.map(|guess| (guess.fraction, guess.max.get().as_secs())),
                default_ttl: settings.default_ttl.get().as_secs(),
                stale_while_revalidate: settings.stale_while_revalidate.get().as_secs(),
                stale_if_error: settings.stale_if_error.get().as_secs(),
                set_cookie: settings.set_cookie,
            },
            kept,
            bytes_max: settings.max_body_size.get(),
            collapse: Some(settings.collapse.get()).filter(|wait| !wait.is_zero()),
            heeds_requests: settings.request_directives,
            tells: settings.status,
            capability: targets_surrogates.then(|| HeaderValue::from_static("tidegate=\"Surrogate/1.0\"")),
        })
    }

    /// What a request is, before anything is looked for.
    fn asking(&self, call: &Call) -> Box<Asking> {
        let key = self.keys.of(call);
        let directives = match self.heeds_requests {
            true => asked_for(&call.head.headers),
            false => Directives::default(),
        };
        Box::new(Asking {
            key,
            epoch: Epochs::default(),
            conditions: Conditions::of(&call.head.headers),
            directives,
            headers: HeaderMap::new(),
            is_identified: self.keys.leaves_out_who_asks(call),
            has_cookies: self.keys.leaves_out_cookies(call),
            whom: Whom::of(call),
            sent: Instant::now(),
            stale: None,
            validates: false,
            forward: Forward::UriMiss,
            is_collapsed: false,
            leader: None,
        })
    }

    /// The answer from what is kept. Without one, what is known of it is noted.
    fn look(&self, call: &mut Call, asking: &mut Box<Asking>) -> Option<Response<Body>> {
        let now = Instant::now();
        let stored = match self.kept.tiers.find(&asking.key, &call.head.headers) {
            Found::Answer(stored) => stored,
            Found::OtherVariants => {
                asking.forward = Forward::VaryMiss;
                return None;
            }
            Found::Nothing => {
                asking.forward = Forward::UriMiss;
                return None;
            }
        };
        self.use_kept(call, asking, stored, now, None)
    }

    /// The answer from one that is kept, if it may be given; `detail` says where it came from.
    fn use_kept(
        &self,
        call: &mut Call,
        asking: &mut Box<Asking>,
        stored: Arc<Stored>,
        now: Instant,
        detail: Option<&'static str>,
    ) -> Option<Response<Body>> {
        let account = Account { detail, ..Account::default() };
        match usable(&stored, &asking.directives, now) {
            Use::Fresh => Some(self.give(call, asking, &stored, Outcome::Hit, account)),
            Use::Stale => Some(self.give(call, asking, &stored, Outcome::Stale, account)),
            Use::StaleWhileRefreshed => {
                let answer = self.give(call, asking, &stored, Outcome::Stale, account);
                self.refresh(call, asking, stored);
                Some(answer)
            }
            Use::Ask(forward) => {
                asking.forward = forward;
                asking.stale = Some(stored);
                None
            }
        }
    }

    /// Gives a kept answer.
    fn give(
        &self,
        call: &mut Call,
        asking: &Asking,
        stored: &Stored,
        outcome: Outcome,
        account: Account,
    ) -> Response<Body> {
        let now = Instant::now();
        let mut answer = asking.conditions.answer(stored, &call.head.method, now);
        let given = answer.body().length().unwrap_or(0);
        self.kept.counts.bytes_given.fetch_add(given, Ordering::Relaxed);
        self.tell_given(call, asking, &mut answer, (stored, now), outcome, account);
        answer
    }

    fn tell_given(
        &self,
        call: &mut Call,
        asking: &Asking,
        answer: &mut Response<Body>,
        (stored, now): (&Stored, Instant),
        outcome: Outcome,
        account: Account,
    ) {
        let age = i64::try_from(stored.age(now).as_secs()).unwrap_or(i64::MAX);
        let lifetime = i64::try_from(stored.terms.lifetime).unwrap_or(i64::MAX);
        let is_hit = account.forward.is_none();
        let account = Account {
            is_hit,
            ttl: Some(lifetime.saturating_sub(age)),
            is_collapsed: asking.is_collapsed,
            ..account
        };
        self.tell(call, answer, outcome, &account);
    }

    fn tell(&self, call: &mut Call, answer: &mut Response<Body>, outcome: Outcome, account: &Account) {
        self.kept.counts.note(outcome);
        call.record.cache = Some(outcome.as_str());
        if self.tells {
            account.write(answer);
        }
    }

    /// Has a stale answer asked about beside the call, unless somebody does already.
    fn refresh(&self, call: &mut Call, asking: &mut Asking, stored: Arc<Stored>) {
        // Whoever leads already need not ask whether somebody does.
        let leads = asking.leader.take();
        if self.kept.tiers.rests(&asking.key) {
            return;
        }
        let leader = match leads.map_or_else(|| self.kept.flights.join(&asking.key, |_| true), Turn::Lead) {
            Turn::Lead(leader) => leader,
            Turn::Follow(_) | Turn::Alone => return,
        };
        let Some(place) = refresh::Place::take(&self.kept) else { return };
        let mut own = self.asking(call);
        own.conditions = Conditions::default();
        own.headers = call.head.headers.clone();
        own.forward = Forward::Stale;
        own.validates = stored.has_validator();
        own.stale = Some(stored);
        own.epoch = self.kept.tiers.epoch(&own.key);
        own.leader = Some(leader);
        let beside = self.capability.iter().map(|value| (SURROGATE_CAPABILITY, value.clone())).collect();
        refresh::leave(self, call, own, place, beside);
    }

    /// Lets a request go on to the upstream.
    fn go_on(&self, call: &mut Call, mut asking: Box<Asking>) {
        asking.sent = Instant::now();
        asking.epoch = self.kept.tiers.epoch(&asking.key);
        asking.headers = call.head.headers.clone();
        if let Some(capability) = &self.capability {
            call.head.headers.append(SURROGATE_CAPABILITY, capability.clone());
        }
        if let Some(stored) = &asking.stale
            && stored.has_validator()
            && call.head.method == Method::GET
        {
            Conditions::ask_about(stored, &mut call.head.headers);
            asking.validates = true;
        }
        call.keep(self, Note::Asking(asking));
    }
}

/// The tier on disk of the cache that stands at this place.
fn below(
    settings: &model::policy::Cache,
    disk: &model::policy::cache::CacheDisk,
    place: &str,
) -> Option<Disk> {
    let root = match (&disk.directory, crate::handler::mcp::session::data_dir()) {
        (Some(directory), _) => Some(directory.into()),
        (None, data) => data.map(|data| data.join(FOLDER).join(disk::folder_name(place))),
    };
    // Without a data directory the configuration is only checked, and nothing is opened.
    root.map(|root| Disk::new(place, root, disk, &settings.fingerprint()))
}

/// What a request asks of caches. `Pragma` speaks where `Cache-Control` does not (RFC 9111 §5.4).
fn asked_for(headers: &HeaderMap) -> Directives {
    if let Some(told) = Directives::of(headers, &header::CACHE_CONTROL) {
        return told;
    }
    let is_no_cache = |line: &HeaderValue| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
    };
    Directives { no_cache: headers.get_all(header::PRAGMA).iter().any(is_no_cache), ..Directives::default() }
}

/// What a kept answer is good for now (RFC 9111 §4.2, §5.2.1).
fn usable(stored: &Stored, asked: &Directives, now: Instant) -> Use {
    let (terms, age) = (&stored.terms, stored.age(now).as_secs());
    if asked.no_cache {
        return Use::Ask(Forward::Request);
    }
    if terms.no_cache {
        return Use::Ask(Forward::Stale);
    }
    if asked.max_age.is_some_and(|most| age > most || most == 0) && asked.max_stale.is_none() {
        return Use::Ask(Forward::Request);
    }
    if stored.is_spent() {
        return Use::Ask(Forward::Stale);
    }
    let Some(staleness) = stored.staleness(now) else {
        let left = terms.lifetime.saturating_sub(age);
        return match asked.min_fresh.is_some_and(|least| left < least) {
            true => Use::Ask(Forward::Request),
            false => Use::Fresh,
        };
    };
    if terms.must_revalidate || asked.min_fresh.is_some() {
        return Use::Ask(Forward::Stale);
    }
    if asked.max_stale.is_some_and(|most| staleness.as_secs() <= most) {
        return Use::Stale;
    }
    if staleness < Duration::from_secs(terms.stale_while_revalidate) {
        return Use::StaleWhileRefreshed;
    }
    Use::Ask(Forward::Stale)
}

impl NeedsOf for model::policy::Cache {
    fn needs(&self) -> Needs {
        let conditions = [
            header::CACHE_CONTROL,
            header::PRAGMA,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::RANGE,
            header::IF_RANGE,
            header::AUTHORIZATION,
            header::COOKIE,
        ];
        Needs::headers(conditions.into_iter().chain(self.key.headers.iter().map(model::HeaderName::to_http)))
    }
}

impl Policy for Cache {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        let method = &call.head.method;
        let is_read = *method == Method::GET || *method == Method::HEAD;
        if !is_read || call.upgrade.is_some() || !body.is_empty() {
            let is_safe = is_read || *method == Method::OPTIONS || *method == Method::TRACE;
            let note = match is_safe || call.upgrade.is_some() {
                true => Note::Bypass(if is_read { Forward::Bypass } else { Forward::Method }),
                false => Note::Unsafe(self.keys.of(call)),
            };
            call.keep(self, note);
            return Flow::Continue;
        }
        // Whether these hold only the origin can tell.
        if [header::IF_MATCH, header::IF_UNMODIFIED_SINCE]
            .iter()
            .any(|name| call.head.headers.contains_key(name))
        {
            call.keep(self, Note::Bypass(Forward::Bypass));
            return Flow::Continue;
        }
        let mut asking = self.asking(call);
        if let Some(answer) = self.look(call, &mut asking) {
            return Flow::Answer(Box::new(answer));
        }
        // What is stale here may be fresh at another gateway.
        if self.kept.tiers.shared.is_some() && asking.forward != Forward::Request {
            return Flow::Wait(Box::pin(self.look_shared(call, asking)));
        }
        // Memory has the last word on what it has.
        if asking.stale.is_some() || !self.kept.tiers.has_below() {
            return self.miss(call, asking);
        }
        asking.epoch = self.kept.tiers.epoch(&asking.key);
        match self.kept.tiers.below(&asking.key, &call.head.headers) {
            Below::Answer(seeking) => Flow::Wait(Box::pin(self.look_below(call, asking, seeking))),
            Below::OtherVariants => {
                asking.forward = Forward::VaryMiss;
                self.miss(call, asking)
            }
            Below::Nothing => self.miss(call, asking),
        }
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let note = call.take::<_, Note>(self);
        let forward = match note {
            None => match call.take::<_, Asking>(self) {
                Some(asking) => return self.came(call, Box::new(asking), answer),
                None => return,
            },
            Some(Note::Asking(asking)) => return self.came(call, asking, answer),
            Some(Note::Unsafe(key)) => {
                self.invalidate(call, &key, answer);
                Forward::Method
            }
            Some(Note::Bypass(forward)) => forward,
        };
        if call.upgrade.is_none() {
            let account = Account { forward: Some(forward), ..Account::default() };
            self.tell(call, answer, Outcome::Bypass, &account);
        }
    }
}

#[cfg(test)]
mod tests;
