//! A snapshot made ready to carry traffic: everything that can be compiled is, once, when it is published.
//!
//! State that outlives a configuration (limiters, key sets) is kept by owner, policy and settings: what did not
//! change goes on where it was.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use http::{HeaderName, Method};
use model::{Diagnostics, Finding, Snapshot, resource::stream_route::StreamRoute};
use serde::Serialize;

use crate::{
    broker::{
        Broker, BrokerStatus, Brokers,
        subscription::{Subscription, SubscriptionStatus, Subscriptions},
    },
    consumer::Consumers,
    handler::{
        Handler,
        ai::provider::{Provider, ProviderStatus, owner},
    },
    issuers::{IssuerStatus, Issuers},
    ledger::{Ledger, shared::Accounts},
    listener::Listener,
    openapi::fitting::Fitting,
    plugins::Plugins,
    policy::{
        Chain,
        chain::{Beyond, GLOBAL},
    },
    postgres,
    redis::{self, Connecting, RedisStatus},
    router::{RequestView, Router},
    stream::{self, Streams},
    upstream::{
        Upstream,
        cluster::{ClusterStatus, Clusters},
    },
};

/// Providers of models, by name.
pub(crate) type Providers = HashMap<Arc<str>, Arc<Provider>>;

type Kept = HashMap<String, (String, Arc<dyn Any + Send + Sync>)>;

/// A snapshot made ready to carry traffic. Immutable; shared by all workers.
pub struct Compiled {
    /// What it was made of.
    pub snapshot: Arc<Snapshot>,
    pub(crate) router: Router,
    pub(crate) routes: Vec<Route>,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) stream_routes: Vec<Arc<stream::Route>>,
    pub(crate) upstreams: HashMap<Arc<str>, Arc<Upstream>>,
    pub(crate) providers: Providers,
    /// What several gateways count together.
    pub(crate) accounts: Option<Arc<Accounts>>,
    /// What several gateways keep together.
    pub(crate) postgres: Option<Arc<postgres::Client>>,
    pub(crate) brokers: Brokers,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) issuers: Issuers,
    #[cfg_attr(not(feature = "wasm"), expect(dead_code, reason = "there is nobody to ask it"))]
    pub(crate) plugins: Plugins,
    /// Header names that are read or set here, which a client's `Connection` cannot remove.
    pub(crate) protected_headers: Vec<HeaderName>,
    /// Header names that the policies of consumers say who the caller is with.
    pub(crate) consumer_identity: Vec<HeaderName>,
    /// Somewhere the size of heads is bounded, so that they are measured as they come.
    pub(crate) measures_heads: bool,
    /// Whether some policy judges heads as they came.
    pub(crate) keeps_heads: bool,
    /// What is worth telling the operator.
    pub warnings: Diagnostics,
    kept: Mutex<Kept>,
}

/// A compiled route.
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) chain: Chain,
    /// What may follow its chain.
    pub(crate) beyond: Beyond,
    pub(crate) handler: Handler,
    pub(crate) path: model::resource::path_rules::PathRules,
    /// Of what its answers are made, as one number.
    pub(crate) made_by: u64,
}

/// What policies and handlers are built with.
pub(crate) struct Building<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Whose policy is being built, such as `routes/catalog/rateLimit`.
    pub(crate) owner: String,
    /// Where background work such as fetching key sets runs.
    pub(crate) background: &'a tokio::runtime::Handle,
    pub(crate) consumers: Option<&'a Arc<Consumers>>,
    pub(crate) upstreams: &'a HashMap<Arc<str>, Arc<Upstream>>,
    pub(crate) providers: &'a Providers,
    /// What budgets have spent.
    pub(crate) ledger: &'a Ledger,
    /// What several gateways count together.
    pub(crate) accounts: Option<&'a Arc<Accounts>>,
    /// What several gateways keep together.
    pub(crate) postgres: Option<&'a Arc<postgres::Client>>,
    /// Brokers, by name.
    pub(crate) brokers: Option<&'a Brokers>,
    /// Issuers of tokens, by name.
    pub(crate) issuers: Option<&'a Issuers>,
    /// Plugins, by name.
    pub(crate) plugins: Option<&'a Plugins>,
    previous: Option<&'a Compiled>,
    kept: &'a Mutex<Kept>,
}

#[cfg(any(test, feature = "fuzzing"))]
impl Building<'_> {
    /// Runs a function with what a policy of this owner is built with.
    pub(crate) fn in_test<T>(
        snapshot: &Snapshot,
        owner: &str,
        background: &tokio::runtime::Handle,
        run: impl FnOnce(&Building<'_>) -> T,
    ) -> T {
        let (kept, none, nobody) = (Mutex::new(Kept::new()), HashMap::new(), Providers::new());
        let ledger = Ledger::default();
        let cx = |owner: &str, consumers| Building {
            snapshot,
            owner: owner.to_owned(),
            background,
            consumers,
            upstreams: &none,
            providers: &nobody,
            ledger: &ledger,
            accounts: None,
            postgres: None,
            brokers: None,
            issuers: None,
            plugins: None,
            previous: None,
            kept: &kept,
        };
        let consumers = Arc::new(Consumers::compile(&cx("", None), &mut Vec::new()));
        run(&cx(owner, Some(&consumers)))
    }
}

impl<'a> Building<'a> {
    /// The same for another owner.
    pub(crate) fn of(&self, owner: &str) -> Building<'a> {
        Building { owner: owner.to_owned(), ..*self }
    }

    /// State that goes on over a reload while its owner and its settings stay as they are.
    pub(crate) fn keep<T: Any + Send + Sync>(
        &self,
        key: &str,
        settings: &impl Serialize,
        init: impl FnOnce() -> T,
    ) -> Arc<T> {
        let place = format!("{}/{key}", self.owner);
        let written = serde_json::to_string(settings).unwrap_or_default();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A second policy of one kind at one place has the next number.
        let known = |kept: &Kept, place: &str| {
            kept.get(place).filter(|(settings, _)| *settings == written).map(|(_, state)| state.clone())
        };
        let shared = self.owner.starts_with("policies/") || self.owner.starts_with("ai/providers/");
        if shared && let Some(state) = known(&kept, &place).and_then(|state| state.downcast().ok()) {
            return state;
        }
        let mut numbered = place.clone();
        let mut number = 1;
        while !shared && kept.contains_key(&numbered) {
            number += 1;
            numbered = format!("{place}#{number}");
        }
        let before = self.previous.and_then(|previous| {
            known(&previous.kept.lock().unwrap_or_else(PoisonError::into_inner), &numbered)
        });
        let state = before.and_then(|state| state.downcast().ok()).unwrap_or_else(|| Arc::new(init()));
        kept.insert(numbered, (written, state.clone()));
        state
    }
}

impl Compiled {
    /// The method that the route of a preflight is found by in place of its own.
    pub(crate) fn stands_for(&self, request: &RequestView<'_>) -> Option<Method> {
        self.router.stands_for(request, |id| self.answers_preflights(request.listener, id.0 as usize))
    }

    /// Whether a preflight that comes to a route by a listener is answered there, and goes no further.
    pub(crate) fn answers_preflights(&self, listener: usize, route: usize) -> bool {
        self.routes.get(route).is_some_and(|route| route.chain.answers_preflights())
            || self.listeners.get(listener).is_some_and(|listener| listener.chain.answers_preflights())
    }

    /// Compiles a snapshot. Everything that is wrong is told at once, with its place; nothing of it goes live then.
    pub(crate) fn build(
        snapshot: Arc<Snapshot>,
        clusters: &Clusters,
        background: &tokio::runtime::Handle,
        ledger: &Ledger,
        previous: Option<&Compiled>,
    ) -> Result<Self, Diagnostics> {
        let mut errors = Vec::new();
        let config = snapshot.config.clone();
        let kept = Mutex::new(Kept::new());
        let (none, nobody) = (HashMap::new(), Providers::new());
        let bare = Building {
            snapshot: &snapshot,
            owner: String::new(),
            background,
            consumers: None,
            upstreams: &none,
            providers: &nobody,
            ledger,
            accounts: None,
            postgres: None,
            brokers: None,
            issuers: None,
            plugins: None,
            previous,
            kept: &kept,
        };
        let (accounts, postgres) = (accounts(&bare, &mut errors), postgres(&bare, &mut errors));
        let brokers = brokers(&bare, &mut errors);
        let has_brokers = brokers.len() == config.brokers.len();
        let issuers = crate::issuers::compile(&bare, &mut errors);
        let plugins = crate::plugins::compile(&bare, &mut errors);
        let building = |upstreams, consumers| Building {
            upstreams,
            consumers,
            accounts: accounts.as_ref(),
            postgres: postgres.as_ref(),
            brokers: Some(&brokers),
            issuers: Some(&issuers),
            plugins: Some(&plugins),
            ..bare.of("")
        };
        let consumers = Arc::new(Consumers::compile(&building(&none, None), &mut errors));
        let cx = building(&none, Some(&consumers));
        let upstreams = upstreams(&cx, clusters, &mut errors);
        let wanted = config.ai.as_ref().map_or(0, |ai| ai.providers.len());
        let others = wanted + config.mcp_servers().count() + config.a2a_agents().count();
        let cx = building(&upstreams, Some(&consumers));
        let providers = providers(&cx, &mut errors);
        let cx = Building { providers: &providers, ..cx };
        let wrong = crate::handler::ai::choice::wrong_conditions(&config);
        // Each is told once, and not again by every route.
        let has_conditions = wrong.is_empty();
        errors.extend(wrong);
        let has_upstreams =
            has_conditions && upstreams.len() == config.upstreams.len() + others && providers.len() == wanted;
        let (listeners, stream_routes) = listeners(&config, has_upstreams, &cx, &mut errors);
        let global = Chain::compile(&config.global_policies, GLOBAL, &cx, &mut errors);
        let mut routes = Vec::with_capacity(config.routes.len());
        let made_by = crate::policy::cache::made_by::MadeBy::of(&config, &plugins);
        for settings in &config.routes {
            let chain = Route::chain(settings, &global, &cx, &mut errors);
            // Without its upstreams a route would only say that they are not there.
            if has_upstreams {
                let made_by = made_by.route(settings);
                routes.extend(Route::compile(settings, chain, made_by, &cx, &mut errors));
            }
        }
        let subscriptions = if has_brokers { subscriptions(&cx, &mut errors) } else { Subscriptions::new() };
        let router = match Router::compile(&config.routes, &config.listeners) {
            Ok(router) => Some(router),
            Err(problems) => {
                errors.extend(problems.into_iter().map(Finding::from));
                None
            }
        };
        match router {
            Some((router, odd)) if errors.is_empty() => {
                let mut odd: Vec<Finding> = odd.into_iter().map(Finding::from).collect();
                odd.extend(oddities(&snapshot));
                let consumer_identity = consumers.identity();
                let protected_headers = crate::protected::headers(&snapshot);
                let some = |need: fn(&crate::policy::Needs) -> bool| {
                    snapshot.policies().any(|policy| need(&crate::policy::needs(policy)))
                };
                let mut compiled = Self {
                    measures_heads: some(|need| need.head_size),
                    keeps_heads: some(|need| need.whole_head),
                    snapshot,
                    router,
                    routes,
                    listeners,
                    stream_routes,
                    upstreams,
                    providers,
                    accounts: accounts.clone(),
                    postgres: postgres.clone(),
                    brokers: brokers.clone(),
                    subscriptions,
                    issuers: issuers.clone(),
                    plugins: plugins.clone(),
                    protected_headers,
                    consumer_identity,
                    warnings: Diagnostics::default(),
                    kept,
                };
                odd.extend(crate::policy::waf::report::warnings(&compiled));
                if !odd.is_empty() {
                    compiled.warnings = compiled.snapshot.oddities(&odd);
                }
                Ok(compiled)
            }
            _ => Err(snapshot.errors(&errors)),
        }
    }

    /// All kept state of one kind, by its place.
    pub(crate) fn kept<T: Any + Send + Sync>(&self) -> Vec<(String, Arc<T>)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = |(place, (_, state)): (&String, &(String, Arc<dyn Any + Send + Sync>))| {
            Some((place.clone(), state.clone().downcast().ok()?))
        };
        kept.iter().filter_map(of_kind).collect()
    }

    /// The state of every upstream, by name.
    pub(crate) fn status(&self) -> Vec<ClusterStatus> {
        let now = Instant::now();
        let mut all: Vec<_> = self.upstreams.values().map(|upstream| upstream.cluster.status(now)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The state of every provider of models, by name.
    pub(crate) fn provider_status(&self) -> Vec<ProviderStatus> {
        let now = Instant::now();
        let mut all: Vec<_> = self.providers.values().map(|provider| provider.status(now)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The state of every broker, by name.
    pub(crate) fn broker_status(&self) -> Vec<BrokerStatus> {
        let mut all: Vec<_> = self.brokers.iter().collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        all.into_iter().map(|(_, broker)| broker.status()).collect()
    }

    /// The state of every subscription, by name.
    pub(crate) fn subscription_status(&self) -> Vec<SubscriptionStatus> {
        let mut all: Vec<_> = self.subscriptions.iter().collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        all.into_iter().map(|(_, subscription)| subscription.status()).collect()
    }

    /// What every issuer of tokens is like, by name.
    pub(crate) fn issuer_status(&self) -> Vec<IssuerStatus> {
        let mut all: Vec<_> = self.issuers.iter().collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        all.into_iter().map(|(_, issuer)| issuer.status()).collect()
    }

    /// The state of the shared store, where there is one.
    pub(crate) fn redis_status(&self) -> Option<RedisStatus> {
        self.accounts.as_ref().map(|accounts| accounts.client().status())
    }

    /// The place of a connection's listener in this snapshot; none when it is gone. A place means something in its
    /// own snapshot alone.
    pub(crate) fn place_of(&self, known: &Listener) -> Option<usize> {
        match self.listeners.get(known.index) {
            Some(same) if same.name == known.name => Some(known.index),
            _ => self.listeners.iter().position(|listener| listener.name == known.name),
        }
    }
}

impl Route {
    fn chain(settings: &model::Route, global: &Chain, cx: &Building<'_>, errors: &mut Vec<Finding>) -> Chain {
        Chain::compile(&settings.policies, &format!("routes/{}", settings.name), cx, errors).under(global)
    }

    fn compile(
        settings: &model::Route,
        chain: Chain,
        made_by: u64,
        cx: &Building<'_>,
        errors: &mut Vec<Finding>,
    ) -> Option<Self> {
        let owner = format!("routes/{}", settings.name);
        let handler = match crate::handler::compile(settings, &cx.of(&owner)) {
            Ok(handler) => handler,
            Err((key, message)) => {
                errors.push(Finding::new(owner, key, message));
                return None;
            }
        };
        debug_assert!(
            are_the_same(&handler.upstreams(), &settings.handler.upstreams()),
            "the settings of `{}` name other upstreams than its behaviour asks",
            settings.handler.name()
        );
        let others = match &handler {
            Handler::Backends(_) => chain.leads_to(),
            _ => Vec::new(),
        };
        let upstreams = handler.upstreams().into_iter().chain(&others);
        let beyond = Beyond::of(upstreams.map(|upstream| &upstream.chain));
        let (name, path) = (settings.name.as_str().into(), settings.path.clone());
        Some(Self { name, chain, beyond, handler, path, made_by })
    }
}

/// Whether upstreams are those of these names, each at least once.
fn are_the_same(upstreams: &[&Arc<Upstream>], names: &[&str]) -> bool {
    upstreams.iter().all(|one| names.contains(&&*one.name))
        && names.iter().all(|name| upstreams.iter().any(|one| *one.name == **name))
}

/// What gateways count together, where the configuration names a Redis.
fn accounts(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Option<Arc<Accounts>> {
    let settings = cx.snapshot.config.redis.as_ref()?;
    if let Err(error) = Connecting::of(settings, cx.snapshot).check() {
        errors.push(Finding::new("redis".to_owned(), "", error));
    }
    Some(cx.of("redis").keep("accounts", &redis::identity(settings, cx.snapshot), || {
        let clients = std::array::from_fn(|_| redis::client(settings, cx.snapshot));
        Accounts::new(clients, settings.prefix.clone(), settings.lease.get())
    }))
}

/// What gateways keep together, where the configuration names a database.
fn postgres(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Option<Arc<postgres::Client>> {
    let settings = cx.snapshot.config.postgres.as_ref()?;
    let url = cx.snapshot.secret(&settings.url);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, url.as_bytes());
    let client = cx.of("postgres").keep("client", &(settings, digest.as_ref()), || {
        postgres::Client::new(settings, url, crate::handler::ai::cache::store::PLAN, cx.background)
    });
    if let Err(error) = client.check() {
        errors.push(Finding::new("postgres".to_owned(), "url", error));
    }
    Some(client)
}

/// The brokers; those that cannot be built are told and are not among them.
fn brokers(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Brokers {
    let mut brokers = Brokers::new();
    for settings in &cx.snapshot.config.brokers {
        match Broker::compile(settings, cx) {
            Ok(broker) => {
                brokers.insert(settings.name.as_str().into(), broker);
            }
            Err(error) => {
                let kind = settings.kinds().first().map_or("name", |kind| kind.as_str());
                errors.push(Finding::new(format!("brokers/{}", settings.name), kind, error));
            }
        }
    }
    brokers
}

/// All listeners that can be, and the routes of streams that they have; what is wrong with the others is told.
fn listeners(
    config: &model::Config,
    has_upstreams: bool,
    cx: &Building<'_>,
    errors: &mut Vec<Finding>,
) -> (Vec<Arc<Listener>>, Vec<Arc<stream::Route>>) {
    // Without its upstreams a route would only say that they are not there.
    let streams = if has_upstreams { stream_routes(cx, errors) } else { Vec::new() };
    let mut listeners = Vec::with_capacity(config.listeners.len());
    for (index, settings) in config.listeners.iter().enumerate() {
        let streams = Streams::of(settings, &streams);
        match Listener::compile(settings, index, streams, cx, errors) {
            Ok(listener) => listeners.push(Arc::new(listener)),
            Err(error) => errors.push(Finding::new(format!("listeners/{}", settings.name), "tls", error)),
        }
    }
    (listeners, streams.into_iter().map(|(_, route)| route).collect())
}

/// The routes of streams; those that cannot be built are told and are not among them.
fn stream_routes<'a>(
    cx: &Building<'a>,
    errors: &mut Vec<Finding>,
) -> Vec<(&'a StreamRoute, Arc<stream::Route>)> {
    let mut routes = Vec::with_capacity(cx.snapshot.config.stream_routes.len());
    for settings in &cx.snapshot.config.stream_routes {
        match stream::Route::compile(settings, cx) {
            Ok(route) => routes.push((settings, Arc::new(route))),
            Err((key, error)) => {
                errors.push(Finding::new(format!("streamRoutes/{}", settings.name), key, error));
            }
        }
    }
    routes
}

/// What is delivered; those that cannot be built are told and are not among them.
fn subscriptions(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Subscriptions {
    let mut subscriptions = Subscriptions::new();
    for settings in &cx.snapshot.config.subscriptions {
        match Subscription::compile(settings, cx) {
            Ok(subscription) => {
                subscriptions.insert(settings.name.as_str().into(), subscription);
            }
            Err((key, error)) => {
                errors.push(Finding::new(format!("subscriptions/{}", settings.name), key, error));
            }
        }
    }
    subscriptions
}

/// The providers of models; those that cannot be built are told and are not among them.
fn providers(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Providers {
    let mut providers = Providers::new();
    for settings in cx.snapshot.config.ai.iter().flat_map(|ai| &ai.providers) {
        errors.extend(crate::handler::ai::odd::wrong_values(settings));
        // One that cannot be an upstream was told before.
        if !cx.upstreams.contains_key(crate::handler::ai::provider::upstream_name(&settings.name).as_str()) {
            continue;
        }
        match Provider::compile(settings, cx) {
            Ok(provider) => {
                providers.insert(provider.name.clone(), Arc::new(provider));
            }
            Err(error) => errors.push(Finding::new(format!("ai/providers/{}", settings.name), "", error)),
        }
    }
    providers
}

/// The providers of models and the servers of tools as upstreams; those that cannot be one are told.
fn provider_upstreams(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Vec<model::Upstream> {
    let mut upstreams = Vec::new();
    for settings in cx.snapshot.config.ai.iter().flat_map(|ai| &ai.providers) {
        match crate::handler::ai::provider::upstream(settings) {
            Ok(upstream) => upstreams.push(upstream),
            Err(error) => {
                let key = if error.starts_with("`kind`: ") { "kind" } else { "" };
                errors.push(Finding::new(format!("ai/providers/{}", settings.name), key, error));
            }
        }
    }
    for (route, settings) in cx.snapshot.config.mcp_servers() {
        match crate::handler::mcp::server::upstream(route, settings, cx.snapshot) {
            Ok(upstream) => upstreams.push(upstream),
            Err(error) => errors.push(Finding::new(format!("routes/{route}"), "mcp", error)),
        }
    }
    for (route, settings) in cx.snapshot.config.a2a_agents() {
        match crate::handler::a2a::agent::upstream(route, settings) {
            Ok(upstream) => upstreams.push(upstream),
            Err(error) => errors.push(Finding::new(format!("routes/{route}"), "a2a", error)),
        }
    }
    upstreams
}

/// What is worth telling of a snapshot that can be compiled, and what only files and the clock tell.
fn oddities(snapshot: &Snapshot) -> Vec<Finding> {
    let mut odd = crate::handler::ai::odd::all(snapshot);
    odd.extend(crate::consumer::ended(&snapshot.config, std::time::SystemTime::now()));
    odd.extend(crate::handler::static_files::unfit(snapshot));
    let mut fitting = Fitting::new(snapshot);
    odd.extend(crate::handler::respond::unfit(&mut fitting));
    odd.extend(crate::policy::validate::unfit(&mut fitting));
    odd
}

/// The upstreams of a snapshot; those that cannot be built are told and are not among them.
fn upstreams(
    cx: &Building<'_>,
    clusters: &Clusters,
    errors: &mut Vec<Finding>,
) -> HashMap<Arc<str>, Arc<Upstream>> {
    let mut upstreams = HashMap::new();
    let before = cx.previous.map(|previous| &previous.upstreams);
    let providers = provider_upstreams(cx, errors);
    let all: Vec<_> = cx.snapshot.config.upstreams.iter().chain(&providers).collect();
    let built = match clusters.build(cx.snapshot, &all, before) {
        Ok(built) => built,
        Err(found) => {
            errors.extend(found);
            HashMap::new()
        }
    };
    for settings in all {
        let Some(cluster) = built.get(settings.name.as_str()) else { continue };
        match Upstream::compile(settings, cluster.clone(), cx, errors) {
            Ok(upstream) => {
                upstreams.insert(upstream.name.clone(), Arc::new(upstream));
            }
            Err(error) => errors.push(Finding::new(owner(&settings.name), "tls", error)),
        }
    }
    upstreams
}
